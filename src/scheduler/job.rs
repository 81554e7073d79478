//! What a poll needs to know of its conversation, and what follows from it: from where on to read, and whom to tell.
//! Pure.

use std::sync::Arc;
use std::time::Duration;

use super::due::Rhythm;
use super::gate::Purpose;
use super::{Baseline, Polling};
use crate::model::{Conversation, Route};
use crate::store::{Announce, Mark, OpenGaps, SourceId, UnreadMessages, Walk};
use crate::time::UnixMillis;

/// A conversation as it is handed to a poll, and given back by it.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) source: SourceId,
    pub(super) conversation: Arc<Conversation>,
    pub(super) baseline: Baseline,
    /// What its next interval depends on, as it was when this poll began.
    pub(super) rhythm: Rhythm,
    pub(super) first_contact: bool,
    /// First contact announces what is younger than this, whatever the baseline says.
    pub(super) line: Option<UnixMillis>,
    pub(super) watermark: Option<UnixMillis>,
    pub(super) history_until: Option<UnixMillis>,
    pub(super) last_message_at: Option<UnixMillis>,
    pub(super) lapsed_at: Option<UnixMillis>,
    /// Everything up to here is known to be recorded.
    pub(super) verified_until: Option<UnixMillis>,
    pub(super) gaps: Option<OpenGaps>,
    /// What of it could not be read.
    pub(super) unread: Option<UnreadMessages>,
    /// What a sweep has shown, if that is why it is polled.
    pub(super) mark: Option<Mark>,
    /// A sweep has shown that it moved.
    pub(super) moved: bool,
    pub(super) walk: Option<Walk>,
    /// Walks that were refused or did not advance since the last complete poll.
    pub(super) dead_ends: u32,
    pub(super) failures: u32,
    pub(super) fingerprint: u64,
    pub(super) recheck: bool,
}

/// From where on a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) overlap: Duration,
    pub(super) resolution: Duration,
    pub(super) recheck_depth: Duration,
}

impl Bounds {
    pub(super) fn of(polling: &Polling) -> Self {
        Self {
            overlap: polling.overlap.max(polling.resolution),
            resolution: polling.resolution,
            recheck_depth: polling.recheck_depth,
        }
    }
}

impl Job {
    /// From where on the provider is asked; `None`: from the beginning. Never later than now, whatever times it has
    /// stamped.
    pub(super) fn lower_bound(&self, bounds: Bounds, now: UnixMillis) -> Option<UnixMillis> {
        let bound = match (self.first_contact, self.line, self.baseline.at(now)) {
            (true, Some(line), _) => Some(line - bounds.overlap),
            (true, None, Baseline::Now | Baseline::All) => None,
            // One resolution earlier, because the bound may be exclusive; what is older stays silent anyway.
            (true, None, Baseline::Since(since)) => Some(since - bounds.resolution),
            (false, ..) => self.next_bound(bounds, now),
        };
        bound.map(|bound| bound.min(now).max(UnixMillis::EPOCH))
    }

    fn next_bound(&self, bounds: Bounds, now: UnixMillis) -> Option<UnixMillis> {
        let reach = if self.recheck { bounds.recheck_depth.max(bounds.overlap) } else { bounds.overlap };
        // A time ahead of our clock must not eat the overlap.
        let mut bound = self.watermark.or(self.history_until).map(|w| w.min(now) - reach)?;
        if let Some(lapsed) = self.lapsed_at {
            bound = bound.min(lapsed - bounds.overlap);
        }
        if let Some(gaps) = self.gaps.filter(|_| self.recheck) {
            bound = bound.min(gaps.low?);
        }
        // What could not be read may be a message that can be read now.
        if let Some(unread) = self.unread.filter(|unread| unread.is_due(now)) {
            bound = bound.min(unread.low?);
        }
        Some(bound)
    }

    /// What becomes of the unknown messages that a poll finds which began at `asked_at`.
    pub(super) fn announce(&self, bounds: Bounds, asked_at: UnixMillis) -> Announce {
        let overlap = bounds.overlap;
        match (self.first_contact, self.line, self.baseline.at(asked_at)) {
            (true, Some(line), _) => Announce::After { route: self.route(), line, overlap },
            (true, None, Baseline::Now) => Announce::Baseline { overlap },
            (true, None, Baseline::All) => Announce::New { route: Route::Backfill, history_until: None },
            (true, None, Baseline::Since(since)) => {
                Announce::New { route: Route::Backfill, history_until: Some(since - Duration::from_millis(1)) }
            }
            (false, ..) => Announce::New { route: self.route(), history_until: self.history_until },
        }
    }

    /// The same for a walk that goes on: as it began, whatever the configuration says by now.
    pub(super) fn announce_walk(&self, walk: &Walk, bounds: Bounds) -> Announce {
        if walk.baseline {
            return Announce::Baseline { overlap: bounds.overlap };
        }
        match self.announce(bounds, walk.started_at) {
            Announce::Baseline { .. } => Announce::New { route: walk.route, history_until: self.history_until },
            Announce::New { history_until, .. } => Announce::New { route: walk.route, history_until },
            Announce::After { line, overlap, .. } => Announce::After { route: walk.route, line, overlap },
        }
    }

    pub(super) fn route(&self) -> Route {
        if self.moved { Route::Sweep } else { Route::Poll }
    }

    /// What has moved is urgent; histories, rechecks and proofs that nothing has moved can wait.
    pub(super) fn purpose(&self) -> Purpose {
        if self.moved && self.walk.as_ref().is_none_or(|walk| walk.route != Route::Backfill) {
            Purpose::Live
        } else {
            Purpose::Background
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{ConversationId, ConversationType};
    use crate::scheduler::{Cadence, Pace, Priority};

    const SECOND: Cadence = Cadence {
        min_interval: Duration::from_secs(1),
        max_interval: Duration::from_secs(1),
        priority: Priority::Normal,
    };

    const BOUNDS: Bounds = Bounds {
        overlap: Duration::from_millis(10),
        resolution: Duration::from_millis(1),
        recheck_depth: Duration::from_millis(500),
    };

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    fn job() -> Job {
        Job {
            source: crate::store::SourceId::default(),
            conversation: Arc::new(Conversation {
                id: ConversationId::new("c"),
                address: "c".into(),
                kind: ConversationType::Standard,
                person_url: None,
            }),
            baseline: Baseline::Now,
            rhythm: Rhythm { cadence: SECOND, pace: Pace::FASTEST, seed: 0 },
            first_contact: false,
            line: None,
            watermark: Some(at(1_000)),
            history_until: None,
            last_message_at: None,
            lapsed_at: None,
            verified_until: None,
            gaps: None,
            unread: None,
            mark: None,
            moved: false,
            walk: None,
            dead_ends: 0,
            failures: 0,
            fingerprint: 0,
            recheck: false,
        }
    }

    #[test]
    fn a_poll_asks_from_the_overlap_and_a_recheck_from_its_depth_or_from_the_lowest_gap() {
        let bound = |job: &Job| job.lower_bound(BOUNDS, at(2_000)).map(UnixMillis::as_millis);
        assert_eq!(bound(&job()), Some(990));
        let recheck = Job { recheck: true, ..job() };
        assert_eq!(bound(&recheck), Some(500));
        let gap = |low: Option<i64>| Job { gaps: Some(OpenGaps { low: low.map(at) }), ..recheck.clone() };
        assert_eq!(bound(&gap(Some(100))), Some(100));
        assert_eq!(bound(&gap(Some(700))), Some(500));
        assert_eq!(bound(&gap(None)), None);
        assert_eq!(bound(&Job { recheck: false, ..gap(Some(100)) }), Some(990), "a gap is the recheck's business");
        assert_eq!(bound(&Job { lapsed_at: Some(at(400)), ..job() }), Some(390));
        let unread = |first_seen: i64, last_seen: i64| {
            let (first_seen_at, last_seen_at) = (at(first_seen), at(last_seen));
            Job { unread: Some(UnreadMessages { low: Some(at(200)), first_seen_at, last_seen_at }), ..job() }
        };
        assert_eq!(bound(&unread(1_900, 1_900)), Some(200), "the next poll");
        assert_eq!(bound(&unread(1_000, 1_400)), Some(200), "half of the time since the first look is over");
        assert_eq!(bound(&unread(1_000, 1_600)), Some(990), "what stays unreadable is looked at ever more rarely");
        assert_eq!(bound(&unread(3_000, 3_000)), Some(990), "the clock was set back");
    }

    #[test]
    fn no_bound_is_later_than_now() {
        assert_eq!(Job { watermark: Some(at(9_000)), ..job() }.lower_bound(BOUNDS, at(2_000)), Some(at(1_990)));
        let since = Job { first_contact: true, baseline: Baseline::Since(at(2_000)), ..job() };
        assert!(since.lower_bound(BOUNDS, at(2_000)).is_some_and(|bound| bound <= at(2_000)));
    }

    #[test]
    fn a_first_contact_before_since_is_the_line_itself() {
        let since = Job { first_contact: true, baseline: Baseline::Since(at(9_000)), ..job() };
        assert_eq!(since.lower_bound(BOUNDS, at(2_000)), None, "as with \"now\"");
        assert_eq!(since.announce(BOUNDS, at(2_000)), Announce::Baseline { overlap: BOUNDS.overlap });
        let from = |now| since.announce(BOUNDS, at(now));
        let told = Announce::New { route: Route::Backfill, history_until: Some(at(8_999)) };
        assert_eq!((from(9_000), from(9_500)), (told, told));
    }

    #[test]
    fn first_contact_with_a_listed_conversation_tells_what_is_younger_than_its_line() {
        let listed = Job { first_contact: true, line: Some(at(800)), watermark: None, moved: true, ..job() };
        assert_eq!(listed.lower_bound(BOUNDS, at(2_000)), Some(at(790)));
        assert_eq!(
            listed.announce(BOUNDS, at(2_000)),
            Announce::After { route: Route::Sweep, line: at(800), overlap: BOUNDS.overlap }
        );
    }
}
