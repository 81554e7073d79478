//! The composition root: builds every part from the configuration, starts them in order and stops them in order.
//!
//! Start: store (lock, schema), first write, sinks, dispatcher, scheduler, ready. Stop: scheduler (a poll that has not
//! reached its commit has no effect), dispatcher (claims nothing new, attempts in flight get the grace time), store. A
//! rude end at any point is safe: what is on disk is complete, and what is not has not happened.

mod operator;
mod parts;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{self, Config, Sources};
use crate::dispatcher::{self, Drain};
use crate::ops::signals::{Request, Signals};
use crate::ops::{backlog, space, systemd};
use crate::providers::TlsError;
use crate::scheduler;
use crate::sinks::{BuildError, Sink};
use crate::status::{Hold, HoldReason, Progress};
use crate::store::{self, Store};

use operator::Operator;
pub use operator::operate;
use parts::{Budgets, Parts};

/// Attempts in flight get this long to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(10);

/// Why the daemon ended, other than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] store::OpenError),
    /// The store was lost.
    #[error("the store is lost: {0}")]
    Store(#[from] store::Error),
    /// A sink cannot be built.
    #[error("sinks.{name}: {source}")]
    Sink {
        /// Its name.
        name: String,
        /// Why.
        source: BuildError,
    },
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Signals cannot be listened to.
    #[error("signals cannot be listened to: {0}")]
    Signals(std::io::Error),
    /// The running daemon could not be asked.
    #[error("the running daemon could not be asked: {0}")]
    Control(std::io::Error),
}

/// What a single round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Polls that ended well.
    pub polled: u64,
    /// Messages announced.
    pub announced: u64,
    /// Polls and deliveries that failed.
    pub failed: u64,
    /// Conversations that failed before and were not due.
    pub still_failing: u64,
}

/// Runs until told to stop. `sources` is read again on HUP.
pub async fn run(config: Config, sources: &Sources) -> Result<(), Error> {
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let store = Store::open(&config.store.path)?;
    let progress = Progress::default();
    let hold = Hold::default();
    let mut config = config;
    let mut background = tokio::task::JoinSet::new();
    {
        let store = store.clone();
        background.spawn(async move { store.keep_flushing_quiet_polls().await });
    }
    background.spawn(systemd::keep_watchdog_fed(progress.clone(), store.clone()));
    let path = config.store.path.clone();
    let control = operator::listen(&path);
    // What was in force before a reload, until the new one has proved that it can be built.
    let mut previous: Option<Config> = None;
    let mut budgets = Budgets::default();
    let outcome = loop {
        let mut parts = match Parts::build(&config, &store, &mut budgets).await {
            Ok(parts) => parts,
            Err(Error::Store(error)) if previous.is_some() && error.is_retryable() => {
                tracing::warn!(class = "storage", %error, "the configuration cannot be taken over yet; trying again in 1 s");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(error) => match previous.take() {
                Some(old) => {
                    tracing::error!(
                        class = "config",
                        "the configuration was not reloaded, the old one stays in force: {error}"
                    );
                    config = old;
                    continue;
                }
                None => break Err(error),
            },
        };
        let mut of_config = tokio::task::JoinSet::new();
        space::look(&path, config.store.min_free, &hold);
        of_config.spawn(space::keep_looking(path.clone(), config.store.min_free, hold.clone()));
        let (pruned, retention) = (store.clone(), config.store.retention);
        of_config.spawn(async move { pruned.keep_pruning(retention).await });
        // What the sinks of the configuration before were owed holds nobody now.
        hold.set(HoldReason::Backlog, false);
        let status = parts.status();
        of_config.spawn(backlog::keep_looking(std::mem::take(&mut parts.watched), store.clone(), hold.clone()));
        let running = parts.start(&store, &progress, &hold);
        let operator = Arc::new(Operator::new(&config, store.clone(), Some(running.commands.clone())));
        tracing::info!("{status}");
        systemd::ready(&status);
        let obeying = async {
            loop {
                let asked = operator::next(control.as_ref()).await;
                let operator = Arc::clone(&operator);
                // A rewind waits for a poll in flight; others need not wait for it.
                of_config.spawn(async move {
                    let answer = operator.obey(asked.request.clone()).await;
                    asked.answer(answer).await;
                });
            }
        };
        let told = tokio::select! {
            told = running.until_told(&mut signals, &store, sources, &path) => told,
            () = obeying => unreachable!("it goes on until the daemon is told something"),
        };
        match told {
            Told::Stop => {
                systemd::stopping();
                running.stop(Some(&mut signals)).await;
                break Ok(());
            }
            Told::Reload(new) => {
                running.stop(None).await;
                progress.clear();
                previous = Some(std::mem::replace(&mut config, *new));
            }
            Told::Lost(error) => {
                running.abandon();
                break Err(error.into());
            }
        }
    };
    background.shutdown().await;
    // Before the lock is given back: the socket of the next daemon must not be removed.
    drop(control);
    let closed = store.close().await;
    outcome.and(closed.map_err(Error::from))
}

/// Polls everything due once, delivers everything due once, and returns what came of it.
pub async fn run_once(config: Config) -> Result<Round, Error> {
    let mut signals = Signals::listen().map_err(Error::Signals)?;
    let store = Store::open(&config.store.path)?;
    let (progress, hold, drain) = (Progress::default(), Hold::default(), Drain::default());
    let parts = Parts::build(&config, &store, &mut Budgets::default()).await?;
    space::look(&config.store.path, config.store.min_free, &hold);
    backlog::look_once(&parts.watched, &store, &hold).await?;
    let stop = CancellationToken::new();
    let shared = scheduler::Shared { store: &store, progress: &progress, hold: &hold, stop: &stop };
    let round = async {
        let summary = scheduler::poll_once(parts.accounts, &shared).await;
        let failed = dispatcher::deliver_once(parts.destinations, &store, &progress, &drain).await;
        Round {
            polled: summary.polled,
            announced: summary.announced,
            failed: summary.failed + failed + u64::from(hold.is_set()),
            still_failing: summary.still_failing,
        }
    };
    let told_to_stop = async {
        while signals.next().await != Request::Stop {}
        tracing::info!("stopping: nothing new is polled or attempted; attempts in flight get {} s", GRACE.as_secs());
        stop.cancel();
        drain.stop.cancel();
        tokio::time::sleep(GRACE).await;
        drain.abandon.cancel();
        std::future::pending::<()>().await;
    };
    let round: Result<Round, Error> = tokio::select! {
        round = round => Ok(round),
        error = store.broken() => Err(error.into()),
        () = told_to_stop => unreachable!("it only tells the round to end"),
    };
    let closed = store.close().await;
    let round = round?;
    closed?;
    Ok(round)
}

enum Told {
    Stop,
    Reload(Box<Config>),
    Lost(store::Error),
}

struct Running {
    scheduler: tokio_util::task::TaskTracker,
    commands: scheduler::Commands,
    dispatcher: tokio_util::task::TaskTracker,
    stop: CancellationToken,
    drain: Drain,
    sinks: Vec<Arc<dyn Sink>>,
}

impl Running {
    async fn until_told(
        &self,
        signals: &mut Signals,
        store: &Store,
        sources: &Sources,
        path: &std::path::Path,
    ) -> Told {
        loop {
            let request = tokio::select! {
                error = store.broken() => return Told::Lost(error),
                request = signals.next() => request,
            };
            match request {
                Request::Stop => return Told::Stop,
                Request::Reopen => self.sinks.iter().for_each(|sink| sink.reopen()),
                Request::Reload => {
                    systemd::reloading();
                    match reloaded(sources, path) {
                        Ok(config) => {
                            tracing::info!("the configuration was read again; starting afresh with it");
                            return Told::Reload(Box::new(config));
                        }
                        Err(error) => {
                            tracing::error!(
                                class = "config",
                                "the configuration was not reloaded, the old one stays in force: {error}"
                            );
                            systemd::ready("the last reload failed; the old configuration stays in force");
                        }
                    }
                }
            }
        }
    }

    /// Ends polling, then drains the sinks for as long as the grace time or a second signal allows.
    async fn stop(self, signals: Option<&mut Signals>) {
        let why = if signals.is_some() { "stopping" } else { "reloading" };
        tracing::info!("{why}: nothing new is polled or attempted; attempts in flight get {} s", GRACE.as_secs());
        self.stop.cancel();
        self.drain.stop.cancel();
        let drained = async {
            self.scheduler.wait().await;
            self.dispatcher.wait().await;
        };
        let second_signal = async {
            match signals {
                Some(signals) => while signals.next().await != Request::Stop {},
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = drained => return,
            () = tokio::time::sleep(GRACE) => tracing::warn!("the grace time is over; what was in flight is attempted again at the next start"),
            () = second_signal => tracing::warn!("told twice; leaving at once"),
        }
        self.abandon();
    }

    fn abandon(&self) {
        self.stop.cancel();
        self.drain.stop.cancel();
        self.drain.abandon.cancel();
    }
}

/// Reads the configuration again.
fn reloaded(sources: &Sources, path: &std::path::Path) -> Result<Config, config::Error> {
    let config = config::load(sources)?;
    if config.store.path != path {
        tracing::warn!(class = "config", open = %path.display(), configured = %config.store.path.display(),
            "store.url has changed, which needs a restart; the open store is kept");
    }
    Ok(config)
}
