//! One hand-over: the attempt, and its outcome on disk.

use std::sync::Arc;
use std::time::Duration;

use super::{Drain, retry};
use crate::model::SinkName;
use crate::sinks::{self, Outgoing, RetrySchedule, Sink};
use crate::store::{Attempt, Lane, Outcome, Owed, Settlement, SinkId, SourceId, Store};
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
    pub(super) store: Store,
    pub(super) drain: Drain,
}

impl Courier {
    /// Delivers a lane event by event, each settled before the next is attempted.
    pub(super) async fn deliver_lane(&self, lane: Lane) -> (Vec<SourceId>, u64) {
        let conversation = lane.conversation;
        for owed in lane.owed {
            if self.drain.stop.is_cancelled() {
                break;
            }
            let delivered = self.sink.deliver(&[outgoing(&owed)]).await;
            let attempt = self.attempt(&owed, conversation, delivered.failure.as_ref(), UnixMillis::now());
            let goes_on = !matches!(attempt.outcome, Outcome::Retry { .. });
            let failed = attempt.outcome != Outcome::Delivered;
            let settlement = Settlement { sink: self.id, conversation, attempts: vec![attempt] };
            if !self.settle(vec![settlement]).await || !goes_on {
                return (vec![conversation], u64::from(failed));
            }
        }
        (vec![conversation], 0)
    }

    /// Delivers many lanes in one hand-over, in the order their events were recorded.
    pub(super) async fn deliver_together(&self, lanes: Vec<Lane>) -> (Vec<SourceId>, u64) {
        let conversations: Vec<_> = lanes.iter().map(|lane| lane.conversation).collect();
        let mut owed: Vec<_> =
            lanes.iter().flat_map(|lane| lane.owed.iter().map(|owed| (lane.conversation, owed))).collect();
        owed.sort_unstable_by_key(|(_, owed)| owed.delivery);
        let events: Vec<_> = owed.iter().map(|(_, owed)| outgoing(owed)).collect();
        let delivered = self.sink.deliver(&events).await;
        let at = UnixMillis::now();
        let mut settlements: std::collections::HashMap<SourceId, Settlement> = lanes
            .iter()
            .map(|lane| {
                let conversation = lane.conversation;
                (
                    conversation,
                    Settlement { sink: self.id, conversation, attempts: Vec::with_capacity(lane.owed.len()) },
                )
            })
            .collect();
        let mut failed = 0;
        for (position, (conversation, owed)) in owed.into_iter().enumerate() {
            let Some(settlement) = settlements.get_mut(&conversation) else { continue };
            let failure = delivered.failure.as_ref().filter(|_| position >= delivered.count);
            // Behind a failed event of its conversation nothing was attempted.
            let attempted = settlement.attempts.last().is_none_or(|last| last.outcome == Outcome::Delivered);
            if attempted {
                failed += u64::from(failure.is_some());
                settlement.attempts.push(self.attempt(owed, conversation, failure, at));
            }
        }
        self.settle(settlements.into_values().collect()).await;
        (conversations, failed)
    }

    fn attempt(&self, owed: &Owed, conversation: SourceId, failure: Option<&sinks::Error>, at: UnixMillis) -> Attempt {
        let attempts = owed.attempts + 1;
        let (outcome, detail) = match failure {
            None => (Outcome::Delivered, None),
            Some(error) if error.rejected => (Outcome::Dead, Some(error.recorded())),
            Some(error) => {
                let seed = crate::backoff::mix(conversation.seed(), owed.delivery.unsigned_abs());
                let outcome = retry::wait(&self.retry, attempts, error.wait, seed)
                    .map_or(Outcome::Dead, |wait| Outcome::Retry { due_at: at + wait });
                (outcome, Some(error.recorded()))
            }
        };
        let detail_shown = failure.map_or("", |error| &error.detail);
        match &outcome {
            Outcome::Delivered if attempts > 1 => tracing::info!(sink = %self.name, event = owed.event_id, attempts,
                "delivered after failed attempts"),
            Outcome::Delivered => {}
            Outcome::Retry { due_at } if attempts == 1 => tracing::warn!(sink = %self.name, event = owed.event_id,
                class = "transient", "not delivered ({detail_shown}); next attempt at {due_at}"),
            Outcome::Retry { due_at } => tracing::debug!(sink = %self.name, event = owed.event_id, attempts,
                class = "transient", "not delivered ({detail_shown}); next attempt at {due_at}"),
            Outcome::Dead => tracing::error!(sink = %self.name, event = owed.event_id, attempts, class = "gone",
                "given up ({detail_shown}); the event is kept as dead"),
        }
        Attempt { delivery: owed.delivery, at, outcome, detail }
    }

    /// Records outcomes, for as long as that takes. False when the store is lost or we must leave; then the events
    /// are due again at the next start.
    async fn settle(&self, settlements: Vec<Settlement>) -> bool {
        loop {
            match self.store.settle(settlements.clone()).await {
                Ok(()) => return true,
                Err(error) if error.is_retryable() && !self.drain.abandon.is_cancelled() => {
                    tracing::warn!(sink = %self.name, class = "storage", %error, "an outcome was not recorded; trying again in 1 s");
                    tokio::time::sleep(SETTLE_AGAIN).await;
                }
                Err(error) => {
                    tracing::error!(sink = %self.name, class = "storage", %error,
                        "an outcome was not recorded; the event is sent again after the next start");
                    return false;
                }
            }
        }
    }
}

fn outgoing(owed: &Owed) -> Outgoing {
    Outgoing { id: owed.event_id.clone(), body: owed.body.clone() }
}
