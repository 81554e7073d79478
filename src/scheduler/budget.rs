//! The requests that an account may make: as many as are configured, and fewer where the provider says so. Pure: the time is
//! passed in.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::providers::{Call, Quota};

/// Of what the provider leaves until the end of its window so much is used; the rest is for whoever else uses the account.
const SHARE: f64 = 0.8;
/// After a refusal, the rate falls to this part of itself ...
const AFTER_REFUSAL: f64 = 0.7;
/// ... and grows again by this share of the configured one a minute.
const RECOVERY: f64 = 0.05;
/// Requests a second that are left whatever is refused, unless fewer are configured.
const LEAST: f64 = 1.0 / 60.0;
/// Two ends that are told no further apart are the end of one window: it is told in whole seconds.
const SAME_WINDOW: Duration = Duration::from_secs(3);
/// However little is left, after so long one more is asked: no window is longer.
const LONGEST_BETWEEN: Duration = Duration::from_secs(86_400);
/// What was in flight together is refused together: one refusal.
const TOGETHER: Duration = Duration::from_secs(10);

/// A rate of requests, shared by the accounts that the provider limits together.
#[derive(Clone)]
pub struct Budget(Arc<Mutex<State>>);

struct State {
    requests_per_minute: NonZeroU32,
    accounts: u32,
    configured: Allowance,
    learnt: [Learnt; Call::ALL.len()],
}

impl Budget {
    /// At most `requests_per_minute` in any minute, for so many accounts together.
    pub fn per_minute(requests_per_minute: NonZeroU32, accounts: u32) -> Self {
        let configured = Allowance::per_minute(requests_per_minute);
        let accounts = accounts.max(1);
        Self(Arc::new(Mutex::new(State { requests_per_minute, accounts, configured, learnt: Default::default() })))
    }

    /// Another rate, or another number of accounts, from now on; what has been asked counts on, and what was learnt stays.
    pub fn adjust(&self, requests_per_minute: NonZeroU32, accounts: u32) {
        let mut state = self.state();
        let next = state.configured.next;
        state.configured = Allowance { next, ..Allowance::per_minute(requests_per_minute) };
        (state.requests_per_minute, state.accounts) = (requests_per_minute, accounts.max(1));
    }

    /// Takes a request of this kind, or tells when to ask again.
    pub fn take(&self, call: Call, now: Instant) -> Result<(), Instant> {
        let mut state = self.state();
        let configured = state.per_second();
        let ready = state.configured.ready().max(state.learnt[call as usize].ready(configured, now));
        if let Some(ready) = ready.filter(|ready| *ready > now) {
            return Err(ready);
        }
        state.configured.take(now);
        state.learnt[call as usize].taken_at = Some(now);
        Ok(())
    }

    /// Learns what the provider tells of its limit.
    pub fn hear(&self, call: Call, quota: Quota, now: Instant) {
        self.state().learnt[call as usize].hear(quota, now);
    }

    /// Learns from a refusal. Returns the requests a minute that are left, when it slows the account down.
    pub fn refused(&self, call: Call, now: Instant) -> Option<f64> {
        let mut state = self.state();
        let configured = state.per_second();
        state.learnt[call as usize].refused(configured, now).map(|rate| rate * 60.0)
    }

    /// Goes on from what was learnt before a restart, in requests a minute.
    pub fn remember(&self, learnt_per_minute: f64, now: Instant) {
        let mut state = self.state();
        let (configured, rate) = (state.per_second(), learnt_per_minute / 60.0);
        let page = &mut state.learnt[Call::Page as usize];
        if page.refusal.is_none() && rate.is_finite() && rate < configured {
            page.refusal = Some(Refusal { at: now, rate: rate.max(LEAST.min(configured)) });
        }
    }

    /// Requests a second that one account may spend on calls of this kind, in the long run.
    pub fn per_second(&self, call: Call, now: Instant) -> f64 {
        let state = self.state();
        state.learnt(call, now).unwrap_or_else(|| state.per_second()) / f64::from(state.accounts)
    }

    /// Requests a minute that the provider seems to allow; `None`: as many as are configured.
    pub fn learnt_per_minute(&self, call: Call, now: Instant) -> Option<f64> {
        self.state().learnt(call, now).map(|rate| rate * 60.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Requests a second, as configured.
    fn per_second(&self) -> f64 {
        f64::from(self.requests_per_minute.get()) / 60.0
    }

    fn learnt(&self, call: Call, now: Instant) -> Option<f64> {
        let configured = self.per_second();
        self.learnt[call as usize].sustained(configured, now).filter(|rate| *rate < configured)
    }
}

/// Requests one after the other, at a steady rate; a second's worth may come at once, and is taken off the steady rate, so that it
/// cannot come on top of a full minute.
struct Allowance {
    between: Duration,
    /// How far ahead of the steady rate a request may be.
    ahead: Duration,
    /// When the next one would come at the steady rate.
    next: Option<Instant>,
}

impl Allowance {
    fn per_minute(requests_per_minute: NonZeroU32) -> Self {
        let at_once = (requests_per_minute.get() / 60).max(1);
        // Rounded up: a nanosecond less, and one more would fit into the minute.
        let between = Duration::from_secs(60) / (requests_per_minute.get() - (at_once - 1)) + Duration::from_nanos(1);
        Self { between, ahead: between * (at_once - 1), next: None }
    }

    /// `None`: at any time.
    fn ready(&self) -> Option<Instant> {
        self.next.map(|next| next.checked_sub(self.ahead).unwrap_or(next))
    }

    fn take(&mut self, now: Instant) {
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + self.between);
    }
}

/// What is known of the provider's own limit on calls of one kind.
#[derive(Default)]
struct Learnt {
    window: Option<Window>,
    refusal: Option<Refusal>,
    taken_at: Option<Instant>,
}

/// What the provider leaves until a moment.
#[derive(Clone, Copy)]
struct Window {
    ends: Instant,
    /// The longest time to its end that was told: its length, where the first answer in it was heard.
    length: Duration,
    /// Requests a second until then; zero: none.
    rate: f64,
    limit: Option<u32>,
}

#[derive(Clone, Copy)]
struct Refusal {
    at: Instant,
    /// Requests a second after it.
    rate: f64,
}

impl Learnt {
    fn ready(&self, configured: f64, now: Instant) -> Option<Instant> {
        let rate = match self.window.filter(|window| now < window.ends) {
            Some(window) if window.rate <= 0.0 => return Some(window.ends),
            Some(window) => window.rate.min(self.after_refusal(configured, now).unwrap_or(configured)),
            None => self.after_refusal(configured, now)?,
        };
        if rate >= configured {
            return None;
        }
        let between = Duration::try_from_secs_f64(1.0 / rate).unwrap_or(LONGEST_BETWEEN).min(LONGEST_BETWEEN);
        let ready = self.taken_at? + between;
        Some(self.window.filter(|window| now < window.ends).map_or(ready, |window| ready.min(window.ends)))
    }

    /// The rate since the last refusal, while that is below the configured one.
    fn after_refusal(&self, configured: f64, now: Instant) -> Option<f64> {
        let Refusal { at, rate } = self.refusal?;
        let minutes = now.saturating_duration_since(at).as_secs_f64() / 60.0;
        Some(rate + configured * RECOVERY * minutes).filter(|rate| *rate < configured)
    }

    /// What can be kept up from window to window.
    fn sustained(&self, configured: f64, now: Instant) -> Option<f64> {
        let after_refusal = self.after_refusal(configured, now);
        // What a window was like says nothing once another one would have gone by.
        let window = self.window.filter(|window| now < window.ends + window.length);
        let by_window = window.and_then(|window| Some(SHARE * f64::from(window.limit?) / window.length.as_secs_f64()));
        match (after_refusal, by_window) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn hear(&mut self, quota: Quota, now: Instant) {
        let ends = now + quota.resets_in;
        let rate = SHARE * f64::from(quota.remaining) / quota.resets_in.as_secs_f64().max(1.0);
        let before = self.window.filter(|window| apart(window.ends, ends) <= SAME_WINDOW);
        let length = before.map_or(Duration::ZERO, |window| window.length).max(quota.resets_in);
        self.window = Some(Window { ends, length: length.max(Duration::from_secs(1)), rate, limit: quota.limit });
    }

    fn refused(&mut self, configured: f64, now: Instant) -> Option<f64> {
        if self.refusal.is_some_and(|refusal| now.saturating_duration_since(refusal.at) < TOGETHER) {
            return None;
        }
        let before = self.after_refusal(configured, now).unwrap_or(configured);
        let rate = (before * AFTER_REFUSAL).max(LEAST.min(configured));
        self.refusal = Some(Refusal { at: now, rate });
        Some(rate)
    }
}

fn apart(one: Instant, other: Instant) -> Duration {
    one.saturating_duration_since(other).max(other.saturating_duration_since(one))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budget(requests_per_minute: u32) -> Budget {
        Budget::per_minute(NonZeroU32::new(requests_per_minute).unwrap(), 1)
    }

    /// When requests go out that are asked for as often as may be, by a caller that waits `late` longer than it is told.
    fn taken(budget: &Budget, from: Instant, until: Instant, late: impl Fn(u64) -> Duration) -> Vec<Instant> {
        let (mut now, mut taken) = (from, vec![]);
        while now < until {
            match budget.take(Call::Page, now) {
                Ok(()) => taken.push(now),
                Err(at) => now = at + late(taken.len() as u64),
            }
        }
        taken
    }

    fn most_in(taken: &[Instant], window: Duration) -> usize {
        let in_window = |&from: &Instant| taken.iter().filter(|at| (from..from + window).contains(*at)).count();
        taken.iter().map(in_window).max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_minute_wherever_it_begins_holds_more_than_the_budget(
            per_minute in 1u32..400, pauses in proptest::collection::vec(0u64..90_000, 0..6)
        ) {
            let budget = budget(per_minute);
            let begin = Instant::now();
            // A caller that stops now and then must not save up what it did not ask for.
            let late = |n: u64| pauses.get((n / 37) as usize % pauses.len().max(1))
                .filter(|_| n.is_multiple_of(37)).map_or(Duration::ZERO, |&ms| Duration::from_millis(ms));
            let taken = taken(&budget, begin, begin + 300 * SECOND, late);
            prop_assert!(most_in(&taken, 60 * SECOND) <= per_minute as usize, "{}", most_in(&taken, 60 * SECOND));
        }
    }

    #[test]
    fn a_budget_that_is_asked_for_is_used() {
        for per_minute in [1u32, 2, 10, 59, 60, 119, 600, 6_000] {
            let begin = Instant::now();
            let taken = taken(&budget(per_minute), begin, begin + 600 * SECOND, |_| Duration::ZERO);
            assert!(
                taken.len() * 100 >= per_minute as usize * 10 * 98,
                "{} of {per_minute} in ten minutes",
                taken.len()
            );
        }
    }

    #[test]
    fn a_window_that_the_provider_tells_is_spread_and_a_fifth_of_it_left() {
        let (budget, begin) = (budget(60), Instant::now());
        let (mut now, mut used, mut taken) = (begin, 0u32, vec![]);
        // Fifty a minute, in windows that begin with the first request; somebody else takes none.
        while now < begin + 600 * SECOND {
            let since = now.duration_since(begin).as_secs() % 60;
            match budget.take(Call::Page, now) {
                Ok(()) => {
                    taken.push(now);
                    used = if taken.iter().rev().nth(1).is_none_or(|&last| {
                        last.duration_since(begin).as_secs() / 60 < now.duration_since(begin).as_secs() / 60
                    }) {
                        1
                    } else {
                        used + 1
                    };
                    assert!(used <= 50, "refused");
                    let resets_in = SECOND * u32::try_from(60 - since).unwrap();
                    budget.hear(Call::Page, Quota { limit: Some(50), remaining: 50 - used, resets_in }, now);
                }
                Err(at) => now = at,
            }
        }
        assert!((380..=500).contains(&taken.len()), "{}", taken.len());
        let sustained = budget.per_second(Call::Page, now) * 60.0;
        assert!((39.0..=41.0).contains(&sustained), "{sustained}");
        assert!(
            (budget.per_second(Call::Listing, now) - 1.0).abs() < 1e-9,
            "another kind of call has a limit of its own"
        );
    }

    #[test]
    fn nothing_is_asked_in_a_window_that_is_used_up() {
        let (budget, now) = (budget(600), Instant::now());
        budget.hear(Call::Page, Quota { limit: Some(5), remaining: 0, resets_in: 40 * SECOND }, now);
        assert_eq!(budget.take(Call::Page, now), Err(now + 40 * SECOND));
        assert_eq!(budget.take(Call::Listing, now), Ok(()));
        assert_eq!(budget.take(Call::Page, now + 40 * SECOND), Ok(()), "a new window");
    }

    #[test]
    fn refusals_slow_an_account_down_and_it_recovers_slowly() {
        let (budget, now) = (budget(60), Instant::now());
        assert_eq!(budget.learnt_per_minute(Call::Page, now), None);
        let left = budget.refused(Call::Page, now).unwrap();
        assert!((left - 42.0).abs() < 1e-9, "{left}");
        assert_eq!(budget.refused(Call::Page, now + SECOND), None, "it was in flight with the first");
        let again = budget.refused(Call::Page, now + 20 * SECOND).unwrap();
        assert!((30.0..31.0).contains(&again), "{again}");
        let rate = |minutes: u32| budget.per_second(Call::Page, now + 20 * SECOND + 60 * minutes * SECOND) * 60.0;
        assert!((rate(1) - again - 3.0).abs() < 1e-6 && rate(5) < 46.0, "{}", rate(5));
        assert!((rate(11) - 60.0).abs() < 1e-9, "{}", rate(11));
        let begin = now + 21 * SECOND;
        let taken = taken(&budget, begin, begin + 60 * SECOND, |_| Duration::ZERO);
        assert!((29..=34).contains(&taken.len()), "{}", taken.len());
    }

    #[test]
    fn however_often_it_is_refused_an_account_asks_once_a_minute() {
        let (budget, mut now) = (budget(600), Instant::now());
        for _ in 0..100 {
            budget.refused(Call::Page, now);
            now += 11 * SECOND;
        }
        let rate = budget.per_second(Call::Page, now) * 60.0;
        assert!((1.0..30.0).contains(&rate), "{rate}");
    }

    #[test]
    fn one_odd_answer_is_forgotten_with_its_window() {
        let (budget, now) = (budget(60), Instant::now());
        budget.hear(Call::Page, Quota { limit: Some(50), remaining: 49, resets_in: 86_400 * SECOND }, now);
        assert!(budget.per_second(Call::Page, now) < 1e-3);
        budget.hear(Call::Page, Quota { limit: Some(50), remaining: 49, resets_in: 60 * SECOND }, now + SECOND);
        let sustained = budget.per_second(Call::Page, now + SECOND) * 60.0;
        assert!((39.0..=41.0).contains(&sustained), "{sustained}");
        assert_eq!(
            budget.learnt_per_minute(Call::Page, now + 122 * SECOND),
            None,
            "nothing was heard for a whole window"
        );
    }

    #[test]
    fn another_rate_begins_where_the_one_before_has_ended() {
        let (budget, now) = (budget(60), Instant::now());
        let before = taken(&budget, now, now + 30 * SECOND, |_| Duration::ZERO);
        budget.refused(Call::Listing, now);
        budget.adjust(NonZeroU32::new(30).unwrap(), 1);
        let after = taken(&budget, now + 30 * SECOND, now + 60 * SECOND, |_| Duration::ZERO);
        assert_eq!((before.len(), after.len()), (30, 15));
        assert!(budget.learnt_per_minute(Call::Listing, now + SECOND).is_none(), "42 a minute are more than 30");
    }

    #[test]
    fn accounts_of_one_key_share_what_was_learnt() {
        let shared = Budget::per_minute(NonZeroU32::new(60).unwrap(), 3);
        let (other, now) = (shared.clone(), Instant::now());
        shared.refused(Call::Page, now);
        assert!((other.per_second(Call::Page, now) * 60.0 - 14.0).abs() < 1e-9);
    }
}
