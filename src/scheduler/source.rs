//! A conversation as the loop of its account holds it.

use std::time::Duration;

use tokio::time::Instant;

use super::job::Job;
use super::pace::Pace;
use super::{Cadence, LONGEST_WAIT, Polled, Polling};
use crate::backoff::stretched;
use crate::providers::Class;
use crate::time::UnixMillis;

pub(super) struct SourceState {
    pub(super) job: Job,
    /// The bounds of its interval as configured; the job has them as they are at present.
    pub(super) cadence: Cadence,
    /// A command has ended it.
    pub(super) unfollowed: bool,
    /// A sweep has shown it, so that polls only prove that nothing was missed.
    pub(super) swept: bool,
    /// To be polled before whatever is merely due.
    pub(super) urgent: bool,
    /// Polls that a mark has asked for and that did not find what it promised.
    pub(super) mark_tries: u32,
    pub(super) due: Instant,
    /// The due time that its interval gave it after its last poll: while nothing else has changed `due`, it follows the pace.
    pub(super) paced: Option<Instant>,
    /// When its last poll began.
    pub(super) began: Option<Instant>,
    pub(super) recheck_due: Instant,
    pub(super) in_flight: bool,
    /// Something asked for a poll while one was in flight.
    pub(super) nudged: bool,
    /// Upkeep has been told of this conversation.
    pub(super) upkeep_knows: bool,
    pub(super) collected_until: Option<UnixMillis>,
    pub(super) failing: Option<Class>,
}

impl SourceState {
    /// From what the store knows; `now` and `clock` are the same moment on the two clocks. `longest` is the longest
    /// interval that the budget allows it.
    pub(super) fn new(polled: Polled, polling: &Polling, longest: Duration, now: UnixMillis, clock: Instant) -> Self {
        let source = polled.source;
        // A stored time may be wrong by any clock step since; it is believed only inside what could have been stored.
        let longest = if source.failures > 0 { LONGEST_WAIT } else { longest };
        let rechecked = source.rechecked_at.map_or(Duration::ZERO, |at| now.since(at));
        let recheck_in = stretched(polling.recheck_interval, source.id.seed()).saturating_sub(rechecked);
        Self {
            cadence: polled.cadence,
            unfollowed: false,
            swept: source.swept,
            urgent: false,
            mark_tries: 0,
            began: None,
            paced: None,
            due: clock + source.due_at.since(now).min(longest),
            recheck_due: clock + recheck_in,
            in_flight: false,
            nudged: false,
            upkeep_knows: source.sync.is_some(),
            collected_until: source.sync.as_ref().and_then(|s| s.sync_until),
            failing: None,
            job: Job {
                source: source.id,
                conversation: polled.conversation,
                baseline: polled.baseline,
                cadence: polled.cadence,
                pace: Pace::FASTEST,
                first_contact: source.first_polled_at.is_none(),
                line: source.line,
                watermark: source.watermark,
                history_until: source.history_until,
                last_message_at: source.last_message_at,
                lapsed_at: source.lapsed_at,
                verified_until: source.verified_until,
                gaps: source.gaps,
                mark: None,
                moved: false,
                walk: source.walk,
                dead_ends: 0,
                failures: source.failures,
                fingerprint: 0,
                recheck: false,
            },
        }
    }

    /// Nothing stands against a poll.
    pub(super) fn may_begin(&self) -> bool {
        !self.in_flight && !self.unfollowed
    }

    /// Before this it is not polled, whatever happens.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.began.map(|began| began + self.cadence.min_interval)
    }

    /// Known to be collected and without anything special about its next poll: it may share a request.
    pub(super) fn can_share(&self) -> bool {
        !self.job.first_contact && self.job.walk.is_none() && self.job.failures == 0
    }
}
