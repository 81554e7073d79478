//! Who still has to be told: one loop per sink, so that none holds another.
//!
//! A loop claims the lanes that are due (a lane is what one sink is owed of one conversation, in order), hands their
//! events over and settles the outcome. A hand-over counts against the sink's limit until its outcome is on disk, so a
//! death repeats at most that many.

mod deliver;
mod fault_point;
mod health;
mod retry;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::SinkName;
use crate::sinks::{Intake, Rate, RetrySchedule, Sink};
use crate::status::{LONGEST_SLEEP, Progress, Pulse};
use crate::store::{ClaimLimit, Lane, LaneId, SinkHealth, SinkId, Store};
use crate::time::UnixMillis;
use deliver::{Courier, HandedOver};
use health::{Failure, Health};

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
    /// How many attempts it is given in a time; `None`: as many as it takes.
    pub rate: Option<Rate>,
    /// Nothing but failure for so long parks it.
    pub park_after: Duration,
    /// How it stood when it was last seen.
    pub stood: SinkHealth,
}

/// Spaces attempts evenly.
type Pace = governor::DefaultDirectRateLimiter;

fn pace(rate: Rate) -> Option<Pace> {
    let between = rate.per / rate.events.get();
    governor::Quota::with_period(between).map(governor::RateLimiter::direct)
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
    in_flight: HashSet<LaneId>,
    attempts: JoinSet<HandedOver>,
    clock: Clock,
    failed: u64,
    /// The last look at what is due has failed.
    store_failed: bool,
}

/// Bytes of events in one claim.
const CLAIM_BYTES: usize = 4 << 20;
/// Deliveries of a lane claimed at once. More would only age in memory.
const PER_LANE: usize = 16;
/// For a sink that takes many events in one hand-over.
const TOGETHER: ClaimLimit = ClaimLimit { lanes: 256, per_lane: 64, bytes: CLAIM_BYTES, untried_first: false };
/// For a sink that is parked. An event that was never attempted tells more than one that was refused before.
const PROBE: ClaimLimit = ClaimLimit { lanes: 1, per_lane: 1, bytes: CLAIM_BYTES, untried_first: true };
/// A wall clock that runs behind by more than this was set back; less is drift.
const CLOCK_STEP: Duration = Duration::from_secs(2);
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
                pace: destination.rate.and_then(pace),
                health: Mutex::new(Health::new(destination.stood, destination.park_after, Instant::now())),
                store,
                drain: drain.clone(),
            }),
            drain,
            in_flight: HashSet::new(),
            attempts: JoinSet::new(),
            clock: Clock { at: Instant::now(), wall: UnixMillis::now() },
            failed: 0,
            store_failed: false,
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
                // What could not be read may be due.
                return self.failed + u64::from(self.store_failed);
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
            Ok(wake) => {
                self.store_failed = false;
                wake.unwrap_or(latest).min(latest)
            }
            Err(error) => {
                tracing::warn!(sink = %self.courier.name, class = "storage", %error,
                    "what is due could not be read; looking again in 1 s");
                self.store_failed = true;
                Instant::now() + AFTER_STORE_ERROR
            }
        }
    }

    async fn claim_and_hand_over(&mut self) -> Result<Option<Instant>, crate::store::Error> {
        if let Some(set_back) = self.clock.set_back(Instant::now(), UnixMillis::now()) {
            self.courier.store.shift_due(self.courier.id, set_back).await?;
        }
        self.park_if_it_only_fails().await?;
        let parked = self.courier.health().parked_at().is_some();
        let limit = match self.intake {
            _ if parked && self.attempts.is_empty() => PROBE,
            _ if parked => return Ok(None),
            Intake::Single { concurrency } => ClaimLimit {
                lanes: concurrency - self.attempts.len(),
                per_lane: PER_LANE,
                bytes: CLAIM_BYTES,
                untried_first: false,
            },
            Intake::Together if self.attempts.is_empty() => TOGETHER,
            Intake::Together => return Ok(None),
        };
        if limit.lanes == 0 {
            return Ok(None);
        }
        let next_probe = self.courier.health().next_probe();
        if parked && next_probe > Instant::now() {
            return Ok(Some(next_probe));
        }
        // Whatever a parked sink is owed may serve as its probe.
        let due_until = if parked { UnixMillis::from_millis(i64::MAX) } else { UnixMillis::now() };
        let store = &self.courier.store;
        let claimed = store.claim_due(self.courier.id, self.held(), limit, due_until).await?;
        let takes_more = claimed.len() < limit.lanes && (claimed.is_empty() || self.intake != Intake::Together);
        if parked && !claimed.is_empty() {
            self.courier.health().probing(Instant::now());
        }
        self.hand_over(claimed);
        if !takes_more {
            // The end of a hand-over is the time to look again.
            return Ok(None);
        }
        let Some(next) = self.courier.store.next_due(self.courier.id, self.held()).await? else { return Ok(None) };
        let now = UnixMillis::now();
        let mut wake = next;
        if self.in_flight.is_empty() && next > now {
            // Everything waits for its next attempt, for hours perhaps; a parked sink is asked every few minutes.
            let failing = self.courier.health().fails_for_too_long(now);
            if let Some((since, failure)) = failing {
                self.park(since, failure).await?;
                return Ok(Some(self.courier.health().next_probe()));
            }
            wake = self.courier.health().parks_at().map_or(next, |at| at.min(next));
        }
        Ok(Some(Instant::now() + wake.since(now)))
    }

    async fn park_if_it_only_fails(&self) -> Result<(), crate::store::Error> {
        let failing = self.courier.health().must_be_parked();
        let Some((failing_since, failure)) = failing else { return Ok(()) };
        let store = &self.courier.store;
        if self.in_flight.is_empty() && store.next_due(self.courier.id, vec![]).await?.is_none() {
            // What failed has been given up, and nothing waits for the sink.
            return Ok(());
        }
        self.park(failing_since, failure).await
    }

    async fn park(&self, failing_since: UnixMillis, failure: Failure) -> Result<(), crate::store::Error> {
        // Before it is written down: a success meanwhile unparks it again, here and there.
        self.courier.health().park(UnixMillis::now(), Instant::now());
        let class = failure.class();
        tracing::error!(sink = %self.courier.name, class,
            "parked: nothing but failure since {failing_since}, last: {}; what it is owed is kept, and one event at a time is tried",
            failure.detail);
        let parked = self.courier.store.park(self.courier.id, failing_since, class, failure.detail).await;
        if parked.is_err() {
            self.courier.health().unpark();
        }
        parked
    }

    fn held(&self) -> Vec<LaneId> {
        self.in_flight.iter().copied().collect()
    }

    fn hand_over(&mut self, claimed: Vec<Lane>) {
        self.in_flight.extend(claimed.iter().map(|lane| lane.id));
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
    }

    fn finished(&mut self, done: Result<HandedOver, tokio::task::JoinError>) {
        if let Ok(HandedOver { lanes, failed }) = done {
            for lane in lanes {
                self.in_flight.remove(&lane);
            }
            self.failed += failed;
        }
    }
}

/// Where the two clocks stood when they were last looked at. Due times are stored by the wall clock; when that is set
/// back they would lie in the future, and deliveries would stall.
struct Clock {
    at: Instant,
    wall: UnixMillis,
}

impl Clock {
    /// By how much the wall clock was set back since the last look.
    fn set_back(&mut self, now: Instant, wall: UnixMillis) -> Option<Duration> {
        let expected = self.wall + now.duration_since(self.at);
        *self = Self { at: now, wall };
        Some(expected.since(wall)).filter(|&behind| behind > CLOCK_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_was_set_back_is_noticed_once_and_drift_is_not() {
        let (start, wall) = (Instant::now(), UnixMillis::from_millis(1_000_000_000));
        let mut clock = Clock { at: start, wall };
        let second = Duration::from_secs(1);
        assert_eq!(clock.set_back(start + second, wall + second), None);
        assert_eq!(clock.set_back(start + 2 * second, wall + second), None, "drift");
        let hour_back = wall + 2 * second - Duration::from_secs(3_600);
        assert_eq!(clock.set_back(start + 3 * second, hour_back), Some(Duration::from_secs(3_600)));
        assert_eq!(clock.set_back(start + 4 * second, hour_back + second), None);
        assert_eq!(clock.set_back(start + 5 * second, wall + 7_200 * second), None, "forward needs nothing");
    }
}
