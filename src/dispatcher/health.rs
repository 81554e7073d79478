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
    parked_at: Option<UnixMillis>,
    park_after: Duration,
    next_probe: Instant,
}

impl Health {
    /// As the store remembers it; a sink that is parked is probed at once.
    pub(super) fn new(stood: SinkHealth, park_after: Duration, now: Instant) -> Self {
        let SinkHealth { failing_since, parked_at } = stood;
        Self { failing_since, parked_at, park_after, next_probe: now }
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

    /// Notes what a hand-over came to, and returns what that shows of the sink if it is news.
    pub(super) fn note(
        &mut self,
        any_delivered: bool,
        failure: Option<&sinks::Error>,
        at: UnixMillis,
    ) -> Option<Standing> {
        let works = any_delivered && self.failing_since.take().is_some();
        if any_delivered {
            self.parked_at = None;
        }
        match failure {
            Some(failure) if self.failing_since.is_none() && !any_delivered => {
                self.failing_since = Some(at);
                // Not the reply: it may repeat a message, and other sinks are told this.
                Some(Standing::Fails { since: at, detail: failure.detail.clone() })
            }
            _ => works.then_some(Standing::Works),
        }
    }

    /// Since when it only fails, once that is so long that it has to be parked.
    pub(super) fn to_be_parked(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.failing_since.filter(|&since| self.parked_at.is_none() && now.since(since) >= self.park_after)
    }

    /// When it has to be parked if it goes on failing.
    pub(super) fn parks_at(&self) -> Option<UnixMillis> {
        self.failing_since.filter(|_| self.parked_at.is_none()).map(|since| since + self.park_after)
    }

    pub(super) fn park(&mut self, at: UnixMillis, now: Instant) {
        self.parked_at = Some(at);
        self.probing(now);
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
        assert_eq!(health.note(false, Some(&failure()), at(30)), None, "no news");
        assert_eq!(health.to_be_parked(at(59)), None);
        assert_eq!(health.note(true, None, at(59)), Some(Standing::Works));
        assert_eq!(health.note(false, Some(&failure()), at(60)).map(|_| ()), Some(()));
        assert_eq!((health.to_be_parked(at(119)), health.to_be_parked(at(120))), (None, Some(at(60))));
        assert_eq!(health.parks_at(), Some(at(120)));
        health.park(at(120), Instant::now());
        assert_eq!((health.to_be_parked(at(200)), health.parks_at()), (None, None), "once");
        assert_eq!(health.note(true, None, at(200)), Some(Standing::Works));
        assert_eq!(health.parked_at(), None);
    }

    #[test]
    fn a_hand_over_that_fails_in_its_middle_shows_that_the_sink_works() {
        let mut health = Health::new(SinkHealth::default(), HOUR, Instant::now());
        assert_eq!(health.note(true, Some(&failure()), at(0)), None);
        assert_eq!(health.to_be_parked(at(600)), None);
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
