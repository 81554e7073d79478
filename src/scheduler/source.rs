//! A conversation as the loop of its account holds it, beside its place in the timetable.

use std::time::Duration;

use tokio::time::Instant;

use super::due::Rhythm;
use super::job::Job;
use super::pace::Pace;
use super::slot::{Now, Slot, Why};
use super::{LONGEST_WAIT, Polled, Polling};
use crate::backoff::stretched;
use crate::providers::Class;
use crate::store::Source;
use crate::time::UnixMillis;

pub(super) struct SourceState {
    pub(super) job: Job,
    /// Polls that a mark has asked for and that did not find what it promised.
    pub(super) mark_tries: u32,
    pub(super) recheck_due: Instant,
    /// Upkeep has been told of this conversation.
    pub(super) upkeep_knows: bool,
    pub(super) collected_until: Option<UnixMillis>,
    pub(super) failing: Option<Class>,
    /// A process has not survived an answer of it: nothing but its time makes it due.
    pub(super) is_poisoned: bool,
}

/// A conversation from what the store knows of it, and its place in the timetable.
pub(super) fn known(polled: Polled, polling: &Polling, now: Now) -> (SourceState, Slot) {
    let slot = slot(&polled, now);
    let source = polled.source;
    let rechecked = source.rechecked_at.map_or(Duration::ZERO, |at| now.clock.since(at));
    let recheck_in = stretched(polling.recheck_interval, source.id.seed()).saturating_sub(rechecked);
    let state = SourceState {
        mark_tries: 0,
        recheck_due: now.at + recheck_in,
        upkeep_knows: source.sync.is_some(),
        collected_until: source.sync.as_ref().and_then(|s| s.sync_until),
        failing: None,
        is_poisoned: source.poisoned,
        job: Job {
            source: source.id,
            conversation: polled.conversation,
            baseline: polled.baseline,
            rhythm: Rhythm { cadence: polled.cadence, pace: Pace::FASTEST, seed: source.id.seed() },
            first_contact: source.first_polled_at.is_none(),
            line: source.line,
            watermark: source.watermark,
            history_until: source.history_until,
            last_message_at: source.last_message_at,
            lapsed_at: source.lapsed_at,
            verified_until: source.verified_until,
            gaps: source.gaps,
            unread: source.unread,
            mark: None,
            moved: false,
            walk: source.walk,
            dead_ends: 0,
            failures: source.failures,
            fingerprint: 0,
            recheck: false,
        },
    };
    (state, slot)
}

/// A stored time may be wrong by any clock step since; it is believed only inside what could have been stored.
fn slot(polled: &Polled, now: Now) -> Slot {
    let Source { due_at, failures, swept, last_polled_at, .. } = polled.source;
    let slot = Slot::new(polled.cadence, polled.source.id.seed(), polled.source.last_message_at, now.at).swept(swept);
    // What lies further ahead than anything could be stored is as good as due.
    let due_in =
        |longest: Duration| now.at + Some(due_at.since(now.clock)).filter(|wait| *wait <= longest).unwrap_or_default();
    if failures > 0 {
        return slot.waiting(due_in(LONGEST_WAIT), Why::Retry);
    }
    // A look that lies ahead was noted by a clock that was wrong: when it was nobody knows.
    let lies_ahead = last_polled_at.is_some_and(|at| at > now.clock + polled.cadence.min_interval);
    let ago = last_polled_at.map(|at| now.clock.since(at));
    match ago.and_then(|ago| now.at.checked_sub(ago)) {
        _ if let Some(walk) = &polled.source.walk => {
            slot.waiting(due_in(polled.cadence.max_interval), Why::Walk).walking(walk.is_history())
        }
        Some(looked_at) if due_at > now.clock && !lies_ahead => slot.looked(looked_at),
        Some(_) => slot.waiting(now.at, Why::CatchUp),
        None => slot.waiting(due_in(polled.cadence.max_interval), Why::FirstPoll),
    }
}

impl SourceState {
    /// Known to be collected and without anything special about its next poll: it may share a request.
    pub(super) fn can_share(&self) -> bool {
        !self.job.first_contact && self.job.walk.is_none() && self.job.failures == 0
    }
}
