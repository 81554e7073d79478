//! The parts of one configuration while they run.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::operator::{self, Operator};
use super::parts::{Parts, Sinks};
use super::{Daemon, Error, GRACE};
use crate::config::Config;
use crate::dispatcher::{self, Drain};
use crate::ops::signals::{Orders, Request};
use crate::ops::{backlog, space, systemd};
use crate::scheduler;
use crate::sinks::Sink;
use crate::store;

/// What ends the ordinary course of things.
pub(super) enum Told {
    Stop,
    Reload(Box<Config>),
    Lost(store::Error),
}

pub(super) struct Running {
    scheduler: TaskTracker,
    dispatcher: TaskTracker,
    stop: CancellationToken,
    drain: Drain,
    orders: Orders,
    sinks: Vec<Arc<dyn Sink>>,
    operator: Arc<Operator>,
    /// Commands under way that change who is polled.
    changing: TaskTracker,
    /// Looks after what the configuration says of disk space, retention and backlogs.
    _upkeep: JoinSet<()>,
}

impl Running {
    pub(super) fn start(daemon: &Daemon<'_>, config: &Config, mut parts: Parts, sinks: Sinks) -> Self {
        let (store, hold) = (&daemon.store, &daemon.hold);
        let mut upkeep = JoinSet::new();
        upkeep.spawn(space::keep_looking(store.path().to_owned(), config.store.min_free, hold.clone()));
        let (pruned, retention) = (store.clone(), config.store.retention);
        upkeep.spawn(async move { pruned.keep_pruning(retention).await });
        upkeep.spawn(backlog::keep_looking(std::mem::take(&mut parts.watched), store.clone(), hold.clone()));
        let (stop, drain) = (CancellationToken::new(), Drain::default());
        let (accounts, destinations) = parts.split(sinks);
        let sinks = destinations.iter().map(|d| Arc::clone(&d.sink)).collect();
        let dispatcher = dispatcher::start(destinations, store, &daemon.progress, &drain);
        let shared = scheduler::Shared { store, progress: &daemon.progress, hold, stop: &stop };
        let (scheduler, commands) = scheduler::start(accounts, &shared);
        let operator = Arc::new(Operator::new(config, store.clone(), Some(commands)));
        Self {
            scheduler,
            dispatcher,
            stop,
            drain,
            orders: daemon.orders.clone(),
            sinks,
            operator,
            changing: TaskTracker::new(),
            _upkeep: upkeep,
        }
    }

    /// Answers commands until the daemon is told something, or its store is lost.
    pub(super) async fn until_told(&mut self, daemon: &Daemon<'_>) -> Told {
        loop {
            let request = tokio::select! {
                error = daemon.store.broken() => return Told::Lost(error),
                request = self.orders.next() => request,
                () = self.obey(daemon) => continue,
            };
            match request {
                Request::Stop => return Told::Stop,
                Request::Reopen => self.sinks.iter().for_each(|sink| sink.reopen()),
                Request::Reload => match self.orders.unless_stopped(daemon.read_again()).await.transpose() {
                    Ok(None) => return Told::Stop,
                    Ok(Some(config)) => {
                        tracing::info!("the configuration was read again; starting afresh with it");
                        return Told::Reload(Box::new(config));
                    }
                    Err(error) => {
                        daemon.keep_old(&Error::Config(error));
                        systemd::reloading();
                        systemd::ready("the last reload failed; the old configuration stays in force");
                    }
                },
            }
        }
    }

    /// Does some work, and answers commands meanwhile.
    pub(super) async fn while_obeying<T>(
        &mut self,
        daemon: &Daemon<'_>,
        work: impl AsyncFnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.operator.polling_has_ended();
        let obeying = async {
            loop {
                self.obey(daemon).await;
            }
        };
        tokio::select! {
            done = work(self) => done,
            error = daemon.store.broken() => Err(error.into()),
            () = obeying => unreachable!("it goes on until the work is done"),
        }
    }

    /// Takes the next command. A rewind waits for a poll in flight; others need not wait for it.
    async fn obey(&self, daemon: &Daemon<'_>) {
        let asked = operator::next(daemon.control.as_ref()).await;
        let under_way = if asked.request.is_of_outbox() { &daemon.answering } else { &self.changing };
        let operator = Arc::clone(&self.operator);
        under_way.spawn(async move {
            let answer = operator.obey(asked.request.clone()).await;
            asked.answer(answer).await;
        });
    }

    /// Waits for the commands under way that change who is polled; later ones are refused meanwhile.
    pub(super) async fn changes_are_made(&self) {
        self.changing.close();
        self.changing.wait().await;
    }

    /// Ends polling. A poll that has not reached its commit is dropped without effect.
    pub(super) async fn stop_polling(&self) {
        tracing::info!("reloading: nothing new is polled; deliveries go on");
        self.stop.cancel();
        self.scheduler.wait().await;
    }

    /// Ends polling, then drains the sinks for as long as the grace time allows. Returns whether
    /// the daemon goes on: it may be told to stop meanwhile.
    pub(super) async fn drain(self, why: &str) -> bool {
        tracing::info!("{why}: nothing new is polled or attempted; attempts in flight get {} s", GRACE.as_secs());
        self.stop.cancel();
        self.drain.stop.cancel();
        let drained = async {
            self.scheduler.wait().await;
            self.dispatcher.wait().await;
        };
        tokio::select! {
            () = drained => {}
            () = tokio::time::sleep(GRACE) => {
                tracing::warn!("the grace time is over; what was in flight is attempted again at the next start");
                self.abandon();
            }
        }
        !self.orders.stop.is_cancelled()
    }

    pub(super) fn abandon(&self) {
        self.stop.cancel();
        self.drain.stop.cancel();
        self.drain.abandon.cancel();
    }
}
