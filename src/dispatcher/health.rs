//! Whether a sink only fails, and when it is parked and probed for that. Pure.
//!
//! A parked sink is owed what it was owed and more: nothing is dropped, and no retry is used up. One event at a time is
//! attempted, slowly, and the first that is delivered ends it.

use std::time::Duration;

use tokio::time::Instant;

use crate::sinks;
use crate::store::{SinkHealth, Standing};
use crate::time::UnixMillis;

/// A parked sink is probed at least this often, ...
const SLOWEST_PROBE: Duration = Duration::from_secs(300);
/// ... and at most this often.
const FASTEST_PROBE: Duration = Duration::from_millis(100);

/// How a sink has answered lately.
pub(super) struct Health {
    failing_since: Option<UnixMillis>,
    /// The last one in this process; `None` after a success.
    last_failure: Option<Failure>,
    /// Nobody has asked yet whether the sink has to be parked for it.
    is_fresh: bool,
    parked_at: Option<UnixMillis>,
    park_after: Duration,
    next_probe: Instant,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    at: UnixMillis,
    /// Not the reply: it may repeat a message, and other sinks are told this.
    pub(super) detail: String,
}

impl Health {
    /// As the store remembers it; a sink that is parked is probed at once.
    pub(super) fn new(stood: SinkHealth, park_after: Duration, now: Instant) -> Self {
        let SinkHealth { failing_since, parked_at } = stood;
        Self { failing_since, last_failure: None, is_fresh: false, parked_at, park_after, next_probe: now }
    }

    pub(super) fn parked_at(&self) -> Option<UnixMillis> {
        self.parked_at
    }

    pub(super) fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// A probe begins: the next one is not due before this.
    pub(super) fn probing(&mut self, now: Instant) {
        self.next_probe = now + (self.park_after / 4).clamp(FASTEST_PROBE, SLOWEST_PROBE);
    }

    /// The sink has asked to be left alone for so long.
    pub(super) fn leave_alone_until(&mut self, until: Instant) {
        self.next_probe = self.next_probe.max(until);
    }

    /// Notes what a hand-over came to, and returns what that shows of the sink if it is news.
    pub(super) fn note(
        &mut self,
        any_delivered: bool,
        failure: Option<&sinks::Error>,
        at: UnixMillis,
    ) -> Option<Standing> {
        if any_delivered {
            (self.parked_at, self.last_failure) = (None, None);
            return self.failing_since.take().map(|_| Standing::Works);
        }
        let detail = failure?.detail.clone();
        (self.last_failure, self.is_fresh) = (Some(Failure { at, detail: detail.clone() }), true);
        if self.failing_since.is_some() {
            return None;
        }
        self.failing_since = Some(at);
        Some(Standing::Fails { since: at, detail })
    }

    /// Since when it only fails and how it failed last, if that failure has made it so long that it has to be parked. A failure
    /// is asked about once: what comes later is attempted first.
    pub(super) fn must_be_parked(&mut self) -> Option<(UnixMillis, Failure)> {
        let at = self.last_failure.as_ref().filter(|_| std::mem::take(&mut self.is_fresh))?.at;
        self.fails_for_too_long(at)
    }

    /// The same where all that is owed waits for its next attempt.
    pub(super) fn fails_for_too_long(&self, now: UnixMillis) -> Option<(UnixMillis, Failure)> {
        let (since, failure) = self.failing_since.zip(self.last_failure.clone())?;
        let long = now.since(since) >= self.park_after && self.parked_at.is_none();
        long.then_some((since, failure))
    }

    /// When that will be.
    pub(super) fn parks_at(&self) -> Option<UnixMillis> {
        let since = self.failing_since.filter(|_| self.last_failure.is_some() && self.parked_at.is_none())?;
        Some(since + self.park_after)
    }

    pub(super) fn park(&mut self, at: UnixMillis, now: Instant) {
        self.parked_at = Some(at);
        self.probing(now);
    }

    /// Parking could not be written down.
    pub(super) fn unpark(&mut self) {
        self.parked_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minute: u64) -> UnixMillis {
        UnixMillis::from_millis(0) + Duration::from_secs(60 * minute)
    }

    fn failure() -> sinks::Error {
        sinks::Error { rejected: false, detail: "status 503".into(), reply: None, wait: None }
    }

    #[test]
    fn a_sink_is_parked_after_nothing_but_failure_and_any_success_begins_anew() {
        let mut health = Health::new(SinkHealth::default(), HOUR, Instant::now());
        let fails = Standing::Fails { since: at(0), detail: "status 503".into() };
        assert_eq!(health.note(false, Some(&failure()), at(0)), Some(fails));
        assert_eq!(health.note(false, Some(&failure()), at(59)), None, "no news");
        assert_eq!(health.must_be_parked(), None);
        assert_eq!(health.note(true, None, at(60)), Some(Standing::Works));
        assert!(health.note(false, Some(&failure()), at(61)).is_some());
        assert_eq!(health.must_be_parked(), None);
        health.note(false, Some(&failure()), at(121));
        assert_eq!(health.must_be_parked().map(|(since, _)| since), Some(at(61)));
        health.park(at(121), Instant::now());
        health.note(false, Some(&failure()), at(200));
        assert_eq!(health.must_be_parked(), None, "it is parked");
        assert_eq!(health.note(true, None, at(201)), Some(Standing::Works));
        assert_eq!(health.parked_at(), None);
    }

    #[test]
    fn one_failure_long_ago_parks_nothing_before_the_next_attempt_has_failed_too() {
        let stood = SinkHealth { failing_since: Some(at(0)), parked_at: None };
        let mut health = Health::new(stood, HOUR, Instant::now());
        assert_eq!(health.must_be_parked(), None, "after a restart");
        assert_eq!((health.parks_at(), health.fails_for_too_long(at(300))), (None, None));
        health.note(false, Some(&failure()), at(300));
        assert!(health.must_be_parked().is_some());
        assert_eq!(health.must_be_parked(), None, "asked once for each failure");
        assert!(health.fails_for_too_long(at(300)).is_some(), "where everything waits");
    }

    #[test]
    fn a_hand_over_that_fails_in_its_middle_shows_that_the_sink_works() {
        let mut health = Health::new(SinkHealth::default(), HOUR, Instant::now());
        assert_eq!(health.note(true, Some(&failure()), at(0)), None);
        assert_eq!(health.must_be_parked(), None);
    }

    #[test]
    fn a_parked_sink_is_probed_at_a_quarter_of_the_time_it_took_and_at_least_every_five_minutes() {
        let start = Instant::now();
        for (park_after, every) in [(HOUR, 300), (Duration::from_secs(60), 15)] {
            let stood = SinkHealth { failing_since: Some(at(0)), parked_at: Some(at(9)) };
            let mut health = Health::new(stood, park_after, start);
            assert_eq!(health.next_probe(), start, "at once after a restart");
            health.probing(start);
            assert_eq!(health.next_probe(), start + Duration::from_secs(every));
        }
    }
}
