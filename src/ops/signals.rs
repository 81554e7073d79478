//! Signals: TERM and INT drain, HUP reloads, USR1 reopens files. Handlers are installed explicitly, so they work as
//! process 1 of a container too.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Drain and end; the second time: end at once.
    Stop,
    /// Read the configuration again.
    Reload,
    /// Open file sinks afresh.
    Reopen,
}

/// The signals this process listens to.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
}

impl Signals {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Reload,
            _ = self.user_1.recv() => Request::Reopen,
        }
    }
}

/// What this process has been told so far. A task of its own listens, so that a signal is heard
/// whatever the daemon is busy with.
#[derive(Clone, Default)]
pub struct Orders {
    /// Drain and end.
    pub stop: CancellationToken,
    /// Told to stop a second time: end at once.
    pub leave: CancellationToken,
    reload: Arc<Notify>,
    reopen: Arc<Notify>,
}

impl Orders {
    /// Begins to listen.
    pub fn listen() -> std::io::Result<Self> {
        let (orders, mut signals) = (Self::default(), Signals::listen()?);
        let told = orders.clone();
        tokio::spawn(async move {
            loop {
                match signals.next().await {
                    Request::Stop if told.stop.is_cancelled() => told.leave.cancel(),
                    Request::Stop => told.stop.cancel(),
                    Request::Reload => told.reload.notify_one(),
                    Request::Reopen => told.reopen.notify_one(),
                }
            }
        });
        Ok(orders)
    }

    /// Waits until one of them asks for something; a request that came meanwhile is not forgotten.
    pub async fn next(&self) -> Request {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Request::Stop,
            () = self.reload.notified() => Request::Reload,
            () = self.reopen.notified() => Request::Reopen,
        }
    }

    /// Does some work; `None` as soon as the process is told to stop.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            done = work => Some(done),
        }
    }
}
