//! The composition root: builds every part from the configuration, starts them in order and stops them in order.
//!
//! Start: store (lock, schema), sinks, first write, dispatcher, scheduler, ready. Stop: scheduler (a poll that has not
//! reached its commit has no effect), dispatcher (claims nothing new, attempts in flight get the grace time), store. A
//! rude end at any point is safe: what is on disk is complete, and what is not has not happened.
//!
//! Reload: polling ends, and deliveries go on until what is new is in the store; then the sinks are
//! built anew. Signals, commands and the loss of the store are heard in every one of these states.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod operator;
mod parts;
mod running;

use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::config::{self, Config, Sources};
use crate::dispatcher::{self, Drain};
use crate::ops::signals::Orders;
use crate::ops::{backlog, control::Control, logging, space, systemd};
use crate::providers::TlsError;
use crate::scheduler;
use crate::sinks::BuildError;
use crate::status::{Hold, HoldReason, Progress};
use crate::store::{self, Store};

pub use operator::operate;
use parts::{Budgets, Parts};
use running::{Running, Told};

/// Attempts in flight get this long to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(10);

/// Between two tries of what has to succeed: to write down what is followed, while another program writes to the database
/// or its disk is full, and to open sinks.
const TRY_AGAIN: Duration = Duration::from_secs(1);

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
    /// It was told to stop before it was done.
    pub cut_short: bool,
}

const NOTHING: Round = Round { polled: 0, announced: 0, failed: 0, still_failing: 0, cut_short: false };

/// Runs until told to stop. `sources` is read again on HUP.
pub async fn run(config: Config, sources: &Sources) -> Result<(), Error> {
    let orders = Orders::listen().map_err(Error::Signals)?;
    tokio::select! {
        biased;
        () = orders.leave.cancelled() => {
            tracing::warn!("told twice; leaving at once");
            Ok(())
        }
        ended = live(config, sources, &orders) => ended,
    }
}

async fn live(config: Config, sources: &Sources, orders: &Orders) -> Result<(), Error> {
    let Some(store) = orders.unless_stopped(open(config.store.clone())).await.transpose()? else { return Ok(()) };
    let daemon = Daemon {
        control: operator::listen(store.path()),
        answering: TaskTracker::new(),
        progress: Progress::default(),
        hold: Hold::default(),
        store,
        sources,
        orders,
    };
    let mut background = tokio::task::JoinSet::new();
    let store = daemon.store.clone();
    background.spawn({
        let store = store.clone();
        async move { store.keep_flushing().await }
    });
    background.spawn(systemd::keep_watchdog_fed(daemon.progress.clone(), store.clone()));
    let outcome = daemon.serve(config).await;
    background.shutdown().await;
    // Before the lock is given back: the socket of the next daemon must not be removed.
    drop(daemon);
    let closed = store.close().await;
    outcome.and(closed.map_err(Error::from))
}

/// Opens the store on a thread that may wait for it.
async fn open(configured: config::Store) -> Result<Store, Error> {
    let keeps_text = configured.keep_text;
    let opened = tokio::task::spawn_blocking(move || match configured.trust_folder {
        true => Store::open_in_any_folder(&configured.path),
        false => Store::open(&configured.path),
    });
    let store = opened.await.map_err(|_| store::Error::Closed)??;
    if !keeps_text {
        store.keep_no_text().await?;
    }
    Ok(store)
}

/// What outlives a reload.
struct Daemon<'a> {
    store: Store,
    progress: Progress,
    hold: Hold,
    control: Option<Control>,
    /// Commands that need the store alone; a reload does not cut them off.
    answering: TaskTracker,
    sources: &'a Sources,
    orders: &'a Orders,
}

impl Daemon<'_> {
    async fn serve(&self, mut config: Config) -> Result<(), Error> {
        let mut budgets = Budgets::default();
        let Some(sinks) = self.orders.unless_stopped(parts::build_sinks(&config)).await.transpose()? else {
            return Ok(());
        };
        let Some(parts) = self.follow(&config, &mut budgets).await? else { return Ok(()) };
        let mut running = self.start(&config, parts, sinks);
        loop {
            match running.until_told(self).await {
                Told::Stop => return self.stop(running).await,
                Told::Lost(error) => {
                    running.abandon();
                    return Err(error.into());
                }
                Told::Reload(new) => {
                    systemd::reloading();
                    match self.take_over(running, &config, &new, &mut budgets).await? {
                        TakenOver::New(next) => (running, config) = (next, *new),
                        TakenOver::Old(next) => running = next,
                        TakenOver::Stop(None) => {
                            systemd::stopping();
                            return Ok(());
                        }
                        TakenOver::Stop(Some(running)) => return self.stop(running).await,
                    }
                }
            }
        }
    }

    async fn stop(&self, running: Running) -> Result<(), Error> {
        systemd::stopping();
        running.drain("stopping").await;
        Ok(())
    }

    /// Writes down what the configuration follows, for as long as it takes; `None` once the daemon is told to stop.
    async fn follow(&self, config: &Config, budgets: &mut Budgets) -> Result<Option<Parts>, Error> {
        loop {
            let Some(followed) = self.orders.unless_stopped(Parts::follow(config, &self.store, budgets)).await else {
                return Ok(None);
            };
            match followed {
                Err(Error::Store(error)) if error.is_retryable() => {
                    tracing::warn!(class = "storage", %error,
                        "the configuration cannot be taken over yet; trying again in 1 s");
                    let wait = tokio::time::sleep(TRY_AGAIN);
                    if self.orders.unless_stopped(wait).await.is_none() {
                        return Ok(None);
                    }
                }
                followed => return followed.map(Some),
            }
        }
    }

    fn start(&self, config: &Config, parts: Parts, sinks: parts::Sinks) -> Running {
        space::look(self.store.path(), config.store.min_free, &self.hold);
        // What the sinks of the configuration before were owed holds nobody now.
        self.hold.set(HoldReason::Backlog, false);
        let status = parts.status();
        let running = Running::start(self, config, parts, sinks);
        tracing::info!("{status}");
        systemd::ready(&status);
        running
    }

    /// Goes from one configuration to another; where the new one cannot be run, back to the old one.
    async fn take_over(
        &self,
        mut running: Running,
        old: &Config,
        new: &Config,
        budgets: &mut Budgets,
    ) -> Result<TakenOver, Error> {
        let taken = running.while_obeying(self, async |running: &Running| {
            let ended = async {
                running.stop_polling().await;
                // What follows and unfollows is in the store then, before it is read.
                running.changes_are_made().await;
            };
            match self.orders.unless_stopped(ended).await {
                Some(()) => self.follow(new, budgets).await,
                None => Ok(None),
            }
        });
        let mut parts = match taken.await {
            Ok(Some(parts)) => parts,
            Ok(None) => return Ok(TakenOver::Stop(Some(running))),
            Err(error @ Error::Store(_)) => {
                running.abandon();
                return Err(error);
            }
            Err(error) => {
                self.keep_old(&error);
                let followed = running.while_obeying(self, async |_| self.follow(old, budgets).await);
                let Some(mut parts) = followed.await? else { return Ok(TakenOver::Stop(Some(running))) };
                if !running.drain("reloading").await {
                    return Ok(TakenOver::Stop(None));
                }
                parts.look_at_sinks(&self.store).await;
                let sinks = self.build_again(old).await;
                return Ok(sinks.map_or(TakenOver::Stop(None), |sinks| TakenOver::Old(self.start(old, parts, sinks))));
            }
        };
        if !running.drain("reloading").await {
            return Ok(TakenOver::Stop(None));
        }
        match self.orders.unless_stopped(parts::build_sinks(new)).await {
            None => return Ok(TakenOver::Stop(None)),
            Some(Ok(sinks)) => {
                parts.look_at_sinks(&self.store).await;
                return Ok(TakenOver::New(self.start(new, parts, sinks)));
            }
            Some(Err(error)) => self.keep_old(&error),
        }
        let Some(sinks) = self.build_again(old).await else { return Ok(TakenOver::Stop(None)) };
        let Some(parts) = self.follow(old, budgets).await? else { return Ok(TakenOver::Stop(None)) };
        Ok(TakenOver::Old(self.start(old, parts, sinks)))
    }

    /// Builds sinks that could be built before, for as long as it takes; `None` once the daemon is told to stop.
    async fn build_again(&self, config: &Config) -> Option<parts::Sinks> {
        loop {
            match self.orders.unless_stopped(parts::build_sinks(config)).await? {
                Ok(sinks) => return Some(sinks),
                Err(error) => {
                    tracing::error!(class = "config", "the sinks cannot be opened again, trying again in 1 s: {error}");
                }
            }
            self.orders.unless_stopped(tokio::time::sleep(TRY_AGAIN)).await?;
        }
    }

    fn keep_old(&self, error: &Error) {
        let told = error.to_string();
        for line in told.lines() {
            tracing::error!(class = "config", "the configuration was not reloaded, the old one stays in force: {line}");
        }
    }

    /// Reads the configuration again, on a thread that may wait for its files.
    async fn read_again(&self) -> Result<Config, config::Error> {
        let sources = self.sources.clone();
        let read = tokio::task::spawn_blocking(move || config::load(&sources)).await;
        let config = read.expect("a panic ends the process in the panic hook")?;
        logging::keep_out(&config.mask());
        let open = self.store.path();
        if store::resolved(&config.store.path).is_ok_and(|configured| configured != open) {
            tracing::warn!(class = "config", open = %open.display(), configured = %config.store.path.display(),
                "store.url has changed, which needs a restart; the open store is kept");
        }
        Ok(config)
    }
}

/// What came of a reload.
enum TakenOver {
    New(Running),
    Old(Running),
    /// The daemon was told to stop meanwhile; what still runs has to be drained.
    Stop(Option<Running>),
}

/// Polls everything due once, delivers everything due once, and returns what came of it.
pub async fn run_once(config: Config) -> Result<Round, Error> {
    let orders = Orders::listen().map_err(Error::Signals)?;
    let cut_short = Round { cut_short: true, ..NOTHING };
    tokio::select! {
        biased;
        () = orders.leave.cancelled() => Ok(cut_short),
        round = round(config, &orders) => Ok(round?.unwrap_or(cut_short)),
    }
}

/// `None` when it was told to stop before anything was polled.
async fn round(config: Config, orders: &Orders) -> Result<Option<Round>, Error> {
    let Some(store) = orders.unless_stopped(open(config.store.clone())).await.transpose()? else {
        return Ok(None);
    };
    let (progress, hold, drain) = (Progress::default(), Hold::default(), Drain::default());
    let Some(sinks) = orders.unless_stopped(parts::build_sinks(&config)).await.transpose()? else { return Ok(None) };
    let mut budgets = Budgets::default();
    let Some(followed) = orders.unless_stopped(Parts::follow(&config, &store, &mut budgets)).await else {
        return Ok(None);
    };
    let parts = match followed {
        Ok(parts) => parts,
        Err(Error::Store(error)) if error.is_retryable() => {
            tracing::warn!(class = "storage", %error, "nothing was polled: what is due could not be read");
            return Ok(Some(Round { failed: 1, ..NOTHING }));
        }
        Err(error) => return Err(error),
    };
    space::look(store.path(), config.store.min_free, &hold);
    backlog::look_once(&parts.watched, &store, &hold).await?;
    let shared = scheduler::Shared { store: &store, progress: &progress, hold: &hold, stop: &orders.stop };
    let (accounts, destinations) = parts.split(sinks);
    let round = async {
        let summary = scheduler::poll_once(accounts, &shared).await;
        let failed = dispatcher::deliver_once(destinations, &store, &progress, &drain).await;
        Round {
            polled: summary.polled,
            announced: summary.announced,
            failed: summary.failed + failed + u64::from(hold.is_set()),
            still_failing: summary.still_failing,
            cut_short: orders.stop.is_cancelled(),
        }
    };
    let told_to_stop = async {
        orders.stop.cancelled().await;
        tracing::info!("stopping: nothing new is polled or attempted; attempts in flight get {} s", GRACE.as_secs());
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
    Ok(Some(round))
}
