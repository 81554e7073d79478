//! Whether a sink only fails, and when it is parked and probed for that. Pure.
//!
//! A parked sink is owed what it was owed and more: nothing is dropped, and no retry is used up. One event at a time is
//! attempted, slowly, and the first that is delivered ends it.
//!
//! Failures that speak of the address park a sink sooner: every event would meet the same. Until
//! then they use up no retry either, unless other events get through meanwhile: then the answer is
//! about this one after all.

use std::time::Duration;

use tokio::time::Instant;

use crate::sinks::{self, Blame};
use crate::store::{SinkHealth, Standing};
use crate::time::UnixMillis;

/// Nothing but answers that speak of the address for so long park a sink.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A parked sink is probed at least this often, ...
const SLOWEST_PROBE: Duration = Duration::from_secs(300);
/// ... and at most this often.
const FASTEST_PROBE: Duration = Duration::from_millis(100);

/// How a sink has answered lately.
pub(super) struct Health {
    failing_since: Option<UnixMillis>,
    /// First answer about the address since anything else was heard.
    refusing_since: Option<UnixMillis>,
    /// The last one in this process; `None` after a success.
    last_failure: Option<Failure>,
    /// Nobody has asked yet whether the sink has to be parked for it.
    is_fresh: bool,
    delivered_at: Option<UnixMillis>,
    parked: Option<Parked>,
    park_after: Duration,
    next_probe: Instant,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    at: UnixMillis,
    blame: Blame,
    /// Not the reply: it may repeat a message, and other sinks are told this.
    pub(super) detail: String,
}

impl Failure {
    /// The error class in logs and events.
    pub(super) fn class(&self) -> &'static str {
        match self.blame {
            Blame::Moment | Blame::Body => "transient",
            Blame::Address | Blame::AddressGone => "gone",
        }
    }
}

#[derive(Clone, Copy)]
struct Parked {
    at: UnixMillis,
    /// For what it says of the address: probed sooner at first.
    for_address: bool,
    probes: u32,
}

impl Health {
    /// As the store remembers it; a sink that is parked is probed at once.
    pub(super) fn new(stood: SinkHealth, park_after: Duration, now: Instant) -> Self {
        let SinkHealth { failing_since, parked_at } = stood;
        Self {
            failing_since,
            refusing_since: None,
            last_failure: None,
            is_fresh: false,
            delivered_at: None,
            parked: parked_at.map(|at| Parked { at, for_address: false, probes: 0 }),
            park_after,
            next_probe: now,
        }
    }

    pub(super) fn parked_at(&self) -> Option<UnixMillis> {
        self.parked.map(|parked| parked.at)
    }

    pub(super) fn next_probe(&self) -> Instant {
        self.next_probe
    }

    /// A probe begins: the next one is not due before this.
    pub(super) fn probing(&mut self, now: Instant) {
        let refused_for = self.refused_for();
        let wait = match &mut self.parked {
            Some(Parked { for_address: true, probes, .. }) => {
                *probes += 1;
                // 30 s, a minute, two, and then every five.
                let doubled = refused_for.saturating_mul(1 << (*probes - 1).min(8)) / 2;
                doubled.min(refused_for.saturating_mul(5))
            }
            _ => self.park_after / 4,
        };
        self.next_probe = now + wait.clamp(FASTEST_PROBE, SLOWEST_PROBE);
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
            (self.parked, self.last_failure, self.refusing_since) = (None, None, None);
            self.delivered_at = Some(at);
            return self.failing_since.take().map(|_| Standing::Works);
        }
        let failure = failure?;
        self.refusing_since = match failure.blame {
            Blame::Address | Blame::AddressGone => self.refusing_since.or(Some(at)),
            Blame::Moment | Blame::Body => None,
        };
        let detail = failure.to_string();
        (self.last_failure, self.is_fresh) = (Some(Failure { at, blame: failure.blame, detail: detail.clone() }), true);
        if self.failing_since.is_some() {
            return None;
        }
        self.failing_since = Some(at);
        Some(Standing::Fails { since: at, detail })
    }

    /// For how long the address has been all that was complained of.
    pub(super) fn refuses_for(&self, now: UnixMillis) -> Duration {
        self.refusing_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Whether another event has got through since then.
    pub(super) fn has_delivered_since(&self, moment: UnixMillis) -> bool {
        self.delivered_at.is_some_and(|at| at >= moment)
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
        let is_gone = failure.blame == Blame::AddressGone;
        let long = is_gone || self.parks_at().is_some_and(|at| now >= at);
        (long && self.parked.is_none()).then_some((since, failure))
    }

    /// When that will be.
    pub(super) fn parks_at(&self) -> Option<UnixMillis> {
        let since = self.failing_since.filter(|_| self.last_failure.is_some() && self.parked.is_none())?;
        let by_failing = since + self.park_after;
        Some(self.refusing_since.map_or(by_failing, |since| by_failing.min(since + self.refused_for())))
    }

    fn refused_for(&self) -> Duration {
        REFUSED_FOR.min(self.park_after)
    }

    pub(super) fn park(&mut self, at: UnixMillis, now: Instant) {
        self.parked = Some(Parked { at, for_address: self.refusing_since.is_some(), probes: 0 });
        self.probing(now);
    }

    /// Parking could not be written down.
    pub(super) fn unpark(&mut self) {
        self.parked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(minute: u64) -> UnixMillis {
        UnixMillis::from_millis(0) + Duration::from_secs(60 * minute)
    }

    fn failure_of(blame: Blame) -> sinks::Error {
        sinks::Error { blame, detail: "status 503".into(), remedy: None, reply: None, wait: None }
    }

    fn failure() -> sinks::Error {
        failure_of(Blame::Moment)
    }

    fn healthy() -> Health {
        Health::new(SinkHealth::default(), HOUR, Instant::now())
    }

    #[test]
    fn a_sink_is_parked_after_nothing_but_failure_and_any_success_begins_anew() {
        let mut health = healthy();
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
    fn a_minute_of_nothing_but_the_address_parks_a_sink_and_another_answer_begins_it_anew() {
        let mut health = healthy();
        let address = failure_of(Blame::Address);
        health.note(false, Some(&address), at(0));
        assert_eq!((health.must_be_parked(), health.parks_at()), (None, Some(at(1))));
        health.note(false, Some(&failure()), at(1));
        assert_eq!((health.must_be_parked(), health.parks_at()), (None, Some(at(60))), "it fails otherwise");
        health.note(false, Some(&address), at(2));
        health.note(false, Some(&address), at(3));
        assert_eq!(health.must_be_parked().map(|(since, _)| since), Some(at(0)));
    }

    #[test]
    fn an_address_that_is_gone_parks_a_sink_at_once() {
        let mut health = healthy();
        health.note(false, Some(&failure_of(Blame::AddressGone)), at(0));
        assert!(health.must_be_parked().is_some());
    }

    #[test]
    fn a_sink_parked_for_its_address_is_probed_after_half_a_minute_and_then_up_to_five_minutes_apart() {
        let start = Instant::now();
        let mut health = healthy();
        health.note(false, Some(&failure_of(Blame::Address)), at(0));
        health.park(at(1), start);
        let mut waits = vec![];
        for _ in 0..6 {
            waits.push((health.next_probe() - start).as_secs());
            health.probing(start);
        }
        assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
    }

    #[test]
    fn whether_others_get_through_is_asked_of_the_time_since_the_last_attempt() {
        let mut health = healthy();
        assert!(!health.has_delivered_since(at(0)));
        health.note(true, None, at(5));
        assert!(health.has_delivered_since(at(5)) && !health.has_delivered_since(at(6)));
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
        let mut health = healthy();
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
