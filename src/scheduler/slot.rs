//! A conversation in the timetable of its account: when it is looked at next, and why then.

use std::time::Duration;

use tokio::time::Instant;

use super::due::Cadence;
use crate::time::UnixMillis;

/// One moment on two clocks: waiting goes by the steady one, ages by that of the wall.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By the steady clock.
    pub at: Instant,
    /// By the clock on the wall.
    pub clock: UnixMillis,
}

impl Now {
    /// The present.
    pub fn read() -> Self {
        Self { at: Instant::now(), clock: UnixMillis::now() }
    }

    /// By the clock on the wall, when the steady one showed this.
    pub fn clock_at(self, at: Instant) -> UnixMillis {
        self.clock - self.at.saturating_duration_since(at)
    }
}

/// What has set the moment of the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has not been read yet.
    FirstPoll,
    /// The time since its last message, at the pace that the budget allows.
    Age,
    /// Sweeps of the inbox tell when it moves; this proves that nothing was missed.
    Proof,
    /// Only `max_interval` counts at this hour.
    QuietHours,
    /// The budget does not hold every conversation at its `max_interval`, or the credits are spent.
    Budget,
    /// A long walk goes on.
    Walk,
    /// The last poll failed.
    Retry,
    /// The provider, or what is known of it, says to wait.
    ProviderWait,
    /// Something tells that it has moved.
    Nudge,
    /// It was due while nobody could ask; what was missed is spread out.
    CatchUp,
}

impl Why {
    /// The word in `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FirstPoll => "first_poll",
            Self::Age => "age",
            Self::Proof => "proof",
            Self::QuietHours => "quiet_hours",
            Self::Budget => "budget",
            Self::Walk => "walk",
            Self::Retry => "retry",
            Self::ProviderWait => "provider_wait",
            Self::Nudge => "nudge",
            Self::CatchUp => "catch_up",
        }
    }
}

/// A conversation in the timetable.
#[derive(Clone, Debug)]
pub struct Slot {
    pub(super) cadence: Cadence,
    pub(super) seed: u64,
    pub(super) last_message_at: Option<UnixMillis>,
    pub(super) due: Instant,
    pub(super) why: Why,
    /// Its interval has set `due`, which therefore follows the pace.
    pub(super) paced: bool,
    pub(super) looked_at: Option<Instant>,
    pub(super) is_busy: bool,
    pub(super) has_left: bool,
    pub(super) is_urgent: bool,
    /// Nudged while it was busy.
    pub(super) again: bool,
    /// The walk that goes on is one through a history: nobody waits for it.
    pub(super) is_history: bool,
    /// A nudge has led to the look that is under way.
    pub(super) was_nudged: bool,
    pub(super) is_swept: bool,
}

impl Slot {
    /// A conversation that nobody has looked at, due at once; `seed` makes its intervals differ from those of others.
    pub fn new(cadence: Cadence, seed: u64, last_message_at: Option<UnixMillis>, now: Instant) -> Self {
        Self {
            cadence,
            seed,
            last_message_at,
            due: now,
            why: Why::FirstPoll,
            paced: false,
            looked_at: None,
            is_busy: false,
            has_left: false,
            is_urgent: false,
            again: false,
            is_history: true,
            was_nudged: false,
            is_swept: false,
        }
    }

    /// The same, waiting for a moment.
    pub fn waiting(self, due: Instant, why: Why) -> Self {
        Self { due, why, ..self }
    }

    /// The same, waiting for the end of the interval after its last look.
    pub fn looked(self, at: Instant) -> Self {
        Self { due: at, why: Why::Age, looked_at: Some(at), paced: true, ..self }
    }

    /// The same, with a walk that goes through a history or through what is new.
    pub fn walking(self, is_history: bool) -> Self {
        Self { is_history, ..self }
    }

    /// The same, shown by sweeps or not.
    pub fn swept(self, is_swept: bool) -> Self {
        Self { is_swept, ..self }
    }

    /// The bounds of its interval as configured.
    pub fn cadence(&self) -> Cadence {
        self.cadence
    }

    /// When it is looked at next, and what has set that.
    pub fn next(&self) -> (Instant, Why) {
        (self.due, if self.is_urgent { Why::Nudge } else { self.why })
    }

    /// It is being looked at, or for another reason not to be touched.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Nobody follows it any more.
    pub fn has_left(&self) -> bool {
        self.has_left
    }

    /// By when it should be looked at when more is due than the budget lets through: an interval of hours can stretch by minutes,
    /// one of a minute cannot. That it is a fixed moment keeps everybody's turn coming.
    pub(super) fn deadline(&self, longest: Duration) -> Instant {
        let Some(looked_at) = self.looked_at.filter(|_| self.paced) else { return self.due };
        let twice = self.due + self.due.saturating_duration_since(looked_at);
        twice.min(looked_at + longest).max(self.due)
    }

    /// Whether it is done beside what is due: first polls, and histories.
    pub(super) fn beside(&self) -> Option<usize> {
        match self.why {
            Why::FirstPoll if !self.paced => Some(0),
            Why::Walk if self.is_history => Some(1),
            _ => None,
        }
    }

    /// Takes it where it still waits for this moment.
    pub(super) fn is_taken(&mut self, due: Instant) -> bool {
        if self.due != due || !self.waits() {
            return false;
        }
        (self.is_busy, self.was_nudged) = (true, self.is_urgent || self.why == Why::Nudge);
        true
    }

    /// When it may be looked at where that costs nothing: a little before it is due.
    pub(super) fn earliest(&self) -> Instant {
        let Some(looked_at) = self.looked_at.filter(|_| self.paced) else { return self.due };
        let interval = self.due.saturating_duration_since(looked_at);
        (self.due - interval / 10).max(looked_at + self.cadence.min_interval)
    }

    /// It waits for its next look.
    pub fn waits(&self) -> bool {
        !self.is_busy && !self.has_left
    }
}
