//! Who still has to be told: one loop per sink, so that none holds another.
//!
//! A loop claims the lanes that are due (a lane is what one sink is owed of one conversation, in order), hands their
//! events over and settles the outcome. A hand-over counts against the sink's limit until its outcome is on disk, so a
//! death repeats at most that many.

mod deliver;
mod retry;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::SinkName;
use crate::sinks::{Intake, RetrySchedule, Sink};
use crate::status::{LONGEST_SLEEP, Progress, Pulse};
use crate::store::{SinkId, SourceId, Store};
use crate::time::UnixMillis;
use deliver::Courier;

/// A sink to serve.
pub struct Destination {
    /// Its row.
    pub id: SinkId,
    /// Its name.
    pub name: SinkName,
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// How much it takes at once.
    pub intake: Intake,
    /// When a failed delivery is tried again.
    pub retry: RetrySchedule,
}

/// How to stop: first take nothing new, then leave.
#[derive(Clone, Default)]
pub struct Drain {
    /// Claim nothing and begin no attempt from now on; attempts in flight go on.
    pub stop: CancellationToken,
    /// Leave what is still in flight.
    pub abandon: CancellationToken,
}

/// Starts the loop of every sink. The tracker is done when all have drained.
pub fn start(destinations: Vec<Destination>, store: &Store, progress: &Progress, drain: &Drain) -> TaskTracker {
    let tracker = TaskTracker::new();
    for destination in destinations {
        let pulse = progress.register(format!("dispatcher of {}", destination.name));
        tracker.spawn(SinkLoop::new(destination, store.clone(), drain.clone()).run(pulse, Until::Stopped));
    }
    tracker.close();
    tracker
}

/// Delivers everything that is due, until nothing is, and returns how many deliveries failed.
pub async fn deliver_once(destinations: Vec<Destination>, store: &Store, progress: &Progress, drain: &Drain) -> u64 {
    let mut loops = JoinSet::new();
    for destination in destinations {
        let pulse = progress.register(format!("dispatcher of {}", destination.name));
        loops.spawn(SinkLoop::new(destination, store.clone(), drain.clone()).run(pulse, Until::NothingDue));
    }
    loops.join_all().await.into_iter().sum()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Stopped,
    NothingDue,
}

struct SinkLoop {
    courier: Arc<Courier>,
    intake: Intake,
    drain: Drain,
    in_flight: HashSet<SourceId>,
    attempts: JoinSet<(Vec<SourceId>, u64)>,
    failed: u64,
}

/// Deliveries of a lane claimed at once. More would only age in memory.
const PER_LANE: usize = 16;
/// Lanes and deliveries of a lane in one hand-over of a sink that takes many events together.
const LANES_TOGETHER: usize = 256;
const PER_LANE_TOGETHER: usize = 64;
/// Between two looks after the store could not be read.
const AFTER_STORE_ERROR: Duration = Duration::from_secs(1);

impl SinkLoop {
    fn new(destination: Destination, store: Store, drain: Drain) -> Self {
        Self {
            intake: destination.intake,
            courier: Arc::new(Courier {
                id: destination.id,
                name: destination.name,
                sink: destination.sink,
                retry: destination.retry,
                store,
                drain: drain.clone(),
            }),
            drain,
            in_flight: HashSet::new(),
            attempts: JoinSet::new(),
            failed: 0,
        }
    }

    async fn run(mut self, pulse: Pulse, until: Until) -> u64 {
        let store = self.courier.store.clone();
        let drain = self.drain.clone();
        loop {
            pulse.beat();
            // Interest is registered before looking, so that a commit in between is not missed.
            let mut news = std::pin::pin!(store.deliveries().notified());
            news.as_mut().enable();
            let wake = tokio::select! {
                biased;
                () = drain.stop.cancelled() => break,
                wake = self.hand_over_due() => wake,
            };
            if until == Until::NothingDue && self.attempts.is_empty() && wake > Instant::now() {
                return self.failed;
            }
            tokio::select! {
                biased;
                () = drain.stop.cancelled() => break,
                Some(done) = self.attempts.join_next() => self.finished(done),
                () = news => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        tokio::select! {
            () = drain.abandon.cancelled() => {}
            () = async { while let Some(done) = self.attempts.join_next().await { self.finished(done) } } => {}
        }
        self.failed
    }

    /// Hands over what is due as far as the sink takes more, and returns when to look again.
    async fn hand_over_due(&mut self) -> Instant {
        let latest = Instant::now() + LONGEST_SLEEP;
        match self.claim_and_hand_over().await {
            Ok(wake) => wake.unwrap_or(latest).min(latest),
            Err(error) => {
                tracing::warn!(sink = %self.courier.name, class = "storage", %error,
                    "what is due could not be read; looking again in 1 s");
                Instant::now() + AFTER_STORE_ERROR
            }
        }
    }

    async fn claim_and_hand_over(&mut self) -> Result<Option<Instant>, crate::store::Error> {
        let (lanes, per_lane) = match self.intake {
            Intake::Single { concurrency } => (concurrency - self.attempts.len(), PER_LANE),
            Intake::Together if self.attempts.is_empty() => (LANES_TOGETHER, PER_LANE_TOGETHER),
            Intake::Together => (0, 0),
        };
        if lanes == 0 {
            return Ok(None);
        }
        let in_flight = || self.in_flight.iter().copied().collect();
        let store = &self.courier.store;
        let now = UnixMillis::now();
        let claimed = store.claim_due(self.courier.id, in_flight(), lanes, per_lane, now).await?;
        let takes_more = claimed.len() < lanes && (claimed.is_empty() || self.intake != Intake::Together);
        self.in_flight.extend(claimed.iter().map(|lane| lane.conversation));
        match self.intake {
            _ if claimed.is_empty() => {}
            Intake::Together => {
                let courier = Arc::clone(&self.courier);
                self.attempts.spawn(async move { courier.deliver_together(claimed).await });
            }
            Intake::Single { .. } => {
                for lane in claimed {
                    let courier = Arc::clone(&self.courier);
                    self.attempts.spawn(async move { courier.deliver_lane(lane).await });
                }
            }
        }
        if !takes_more {
            // The end of a hand-over is the time to look again.
            return Ok(None);
        }
        let next = self.courier.store.next_due(self.courier.id, self.in_flight.iter().copied().collect()).await?;
        Ok(next.map(|at| Instant::now() + at.since(now)))
    }

    fn finished(&mut self, done: Result<(Vec<SourceId>, u64), tokio::task::JoinError>) {
        if let Ok((conversations, failed)) = done {
            for conversation in conversations {
                self.in_flight.remove(&conversation);
            }
            self.failed += failed;
        }
    }
}
