//! One hand-over: the attempt, and its outcome on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::fault_point::fault_point;
use super::health::Health;
use super::{Drain, Pace, retry};
use crate::model::SinkName;
use crate::sinks::{self, Blame, Outgoing, RetrySchedule, Sink};
use crate::store::{Attempt, Lane, LaneId, Outcome, Owed, Settled, Settlement, SinkId, Standing, Store};
use crate::time::UnixMillis;

/// Between two tries to record an outcome while the store is busy or its disk full. The events are not sent again
/// meanwhile.
const SETTLE_AGAIN: Duration = Duration::from_secs(1);

/// Carries events to one sink and settles what came of it.
pub(super) struct Courier {
    pub(super) id: SinkId,
    pub(super) name: SinkName,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) retry: RetrySchedule,
    pub(super) pace: Option<Pace>,
    pub(super) health: Mutex<Health>,
    pub(super) store: Store,
    pub(super) drain: Drain,
}

/// What a hand-over came to.
pub(super) struct HandedOver {
    /// The lanes that it held.
    pub(super) lanes: Vec<LaneId>,
    /// Attempts that failed.
    pub(super) failed: u64,
}

impl Courier {
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers a lane event by event, each settled before the next is attempted.
    pub(super) async fn deliver_lane(&self, lane: Lane) -> HandedOver {
        fault_point("claimed");
        let mut handed_over = HandedOver { lanes: vec![lane.id], failed: 0 };
        let mut owed = lane.owed.into_iter().peekable();
        while let Some(next) = owed.next() {
            if self.must_wait_in_vain().await {
                break;
            }
            let delivered = self.sink.deliver(&[outgoing(&next)]).await;
            fault_point("answered");
            let at = UnixMillis::now();
            let attempt = self.attempt(&next, lane.id, delivered.failure.as_ref(), at);
            let is_settled = matches!(attempt.outcome, Outcome::Delivered | Outcome::Dead);
            let goes_on = is_settled && owed.peek().is_some() && !self.drain.stop.is_cancelled();
            handed_over.failed += u64::from(delivered.failure.is_some());
            let standing = self.health().note(delivered.count > 0, delivered.failure.as_ref(), at);
            let settlement = Settlement { lane: lane.id, attempts: vec![attempt], goes_on };
            match self.settle(vec![settlement], standing).await {
                Some(Settled::All) if goes_on => {}
                _ => break,
            }
            fault_point("recorded");
        }
        handed_over
    }

    /// Waits until the sink's rate allows an attempt; true when none must be begun any more.
    async fn must_wait_in_vain(&self) -> bool {
        let allowed = async {
            if let Some(pace) = &self.pace {
                pace.until_ready().await;
            }
        };
        tokio::select! {
            biased;
            () = self.drain.stop.cancelled() => true,
            () = allowed => false,
        }
    }

    /// Delivers many lanes in one hand-over, in the order their events were recorded.
    pub(super) async fn deliver_together(&self, lanes: Vec<Lane>) -> HandedOver {
        fault_point("claimed");
        let mut owed: Vec<_> = lanes.iter().flat_map(|lane| lane.owed.iter().map(|owed| (lane.id, owed))).collect();
        owed.sort_unstable_by_key(|(_, owed)| owed.event);
        let events: Vec<_> = owed.iter().map(|(_, owed)| outgoing(owed)).collect();
        let delivered = self.sink.deliver(&events).await;
        fault_point("answered");
        let at = UnixMillis::now();
        let mut settlements: HashMap<LaneId, Settlement> = lanes
            .iter()
            .map(|lane| {
                (lane.id, Settlement { lane: lane.id, attempts: Vec::with_capacity(lane.owed.len()), goes_on: false })
            })
            .collect();
        let mut failed = 0;
        for (position, (lane, owed)) in owed.into_iter().enumerate() {
            let Some(settlement) = settlements.get_mut(&lane) else { continue };
            let failure = delivered.failure.as_ref().filter(|_| position >= delivered.count);
            // Behind a failed event of its conversation nothing was attempted.
            let attempted = settlement.attempts.last().is_none_or(|last| last.outcome == Outcome::Delivered);
            if attempted {
                failed += u64::from(failure.is_some());
                settlement.attempts.push(self.attempt(owed, lane, failure, at));
            }
        }
        let standing = self.health().note(delivered.count > 0, delivered.failure.as_ref(), at);
        self.settle(settlements.into_values().collect(), standing).await;
        fault_point("recorded");
        HandedOver { lanes: lanes.iter().map(|lane| lane.id).collect(), failed }
    }

    fn attempt(&self, owed: &Owed, lane: LaneId, failure: Option<&sinks::Error>, at: UnixMillis) -> Attempt {
        let outcome = failure.map_or(Outcome::Delivered, |error| self.outcome(owed, lane, error, at));
        let (sink, event, attempt) = (&self.name, &owed.event_id, owed.retries + 1);
        let detail = failure.map(sinks::Error::to_string).unwrap_or_default();
        match &outcome {
            Outcome::Delivered if owed.last_attempt_at.is_some() => {
                tracing::info!(%sink, event, "delivered after failed attempts")
            }
            Outcome::Delivered => {}
            Outcome::Retry { due_at, .. } if owed.last_attempt_at.is_none() => {
                tracing::warn!(%sink, event, class = "transient", "not delivered ({detail}); next attempt at {due_at}");
            }
            Outcome::Retry { due_at, .. } => {
                tracing::debug!(%sink, event, attempt, class = "transient",
                    "not delivered ({detail}); next attempt at {due_at}");
            }
            Outcome::Probed => {
                tracing::debug!(%sink, event, class = "transient", "not delivered ({detail}); the sink stays parked");
            }
            Outcome::Dead => tracing::error!(%sink, event, attempt, class = "gone",
                "given up ({detail}); the event is kept as dead: inboxd deliveries retry {event}"),
        }
        Attempt { event: owed.event, at, outcome, detail: failure.map(sinks::Error::recorded) }
    }

    fn leave_alone_for(&self, told: Option<Duration>) {
        if let Some(wait) = told {
            self.health().leave_alone_until(tokio::time::Instant::now() + wait);
        }
    }

    fn outcome(&self, owed: &Owed, lane: LaneId, error: &sinks::Error, at: UnixMillis) -> Outcome {
        if error.blame == Blame::Body {
            return Outcome::Dead;
        }
        let health = self.health();
        if health.parked_at().is_some() {
            drop(health);
            self.leave_alone_for(error.wait);
            return Outcome::Probed;
        }
        let seed = crate::backoff::mix(lane.seed(), owed.event.unsigned_abs());
        let is_of_address =
            error.blame != Blame::Moment && !owed.last_attempt_at.is_some_and(|last| health.has_delivered_since(last));
        let again = match is_of_address {
            true => Some(retry::again_at_address(&self.retry, health.refuses_for(at), error.wait, seed)),
            false => retry::again(&self.retry, owed.retries, error.wait, at.since(owed.recorded_at), seed),
        };
        again.map_or(Outcome::Dead, |again| Outcome::Retry { due_at: at + again.wait, counts: again.counts })
    }

    /// Records outcomes, for as long as that takes. `None` when the store is lost or we must leave; then the events
    /// are due again at the next start.
    async fn settle(&self, settlements: Vec<Settlement>, standing: Option<Standing>) -> Option<Settled> {
        loop {
            match self.store.settle(self.id, settlements.clone(), standing.clone()).await {
                Ok(settled) => {
                    if standing == Some(Standing::Works) {
                        tracing::info!(sink = %self.name, "takes events again");
                    }
                    return Some(settled);
                }
                Err(error) if error.is_retryable() && !self.drain.abandon.is_cancelled() => {
                    tracing::warn!(sink = %self.name, class = "storage", %error, "an outcome was not recorded; trying again in 1 s");
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
                Err(error) => {
                    tracing::error!(sink = %self.name, class = "storage", %error,
                        "an outcome was not recorded; the event is sent again after the next start");
                    return None;
                }
            }
        }
    }
}

fn outgoing(owed: &Owed) -> Outgoing {
    Outgoing { id: owed.event_id.clone(), body: owed.body.clone() }
}
