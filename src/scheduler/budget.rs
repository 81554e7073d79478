//! The requests an account may make. Every poll, probe and start passes here.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// A rate of requests, shared by the accounts that the provider limits together.
#[derive(Clone)]
pub struct Budget {
    limiter: Arc<DefaultDirectRateLimiter>,
}

impl Budget {
    /// At most `requests_per_minute` in any minute.
    pub fn per_minute(requests_per_minute: NonZeroU32) -> Self {
        Self { limiter: Arc::new(RateLimiter::direct(quota(requests_per_minute))) }
    }
}

/// A second's worth may come at once; it is taken off the steady rate, so that it cannot come on top of a full minute.
fn quota(requests_per_minute: NonZeroU32) -> Quota {
    let burst = (requests_per_minute.get() / 60).max(1);
    let steady = requests_per_minute.get().saturating_sub(burst).max(1);
    Quota::with_period(Duration::from_secs(60) / steady)
        .unwrap_or_else(|| Quota::per_minute(requests_per_minute))
        .allow_burst(NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN))
}

/// The account is paused: nothing may be asked until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// The budget of one account, and whether it may ask at all.
pub(super) struct Gate {
    budget: Budget,
    closed_until: Mutex<Option<Instant>>,
}

impl Gate {
    pub(super) fn new(budget: Budget) -> Self {
        Self { budget, closed_until: Mutex::new(None) }
    }

    /// Waits for room in the budget. Also what waits already is turned away when the account is paused meanwhile.
    pub(super) async fn admit(&self) -> Result<(), Closed> {
        loop {
            if self.is_closed() {
                return Err(Closed);
            }
            match self.budget.limiter.check() {
                Ok(()) => return Ok(()),
                Err(not_until) => tokio::time::sleep(wait(&not_until)).await,
            }
        }
    }

    /// Waits for room whatever the pause says: for the probe that may end it.
    pub(super) async fn admit_probe(&self) {
        while let Err(not_until) = self.budget.limiter.check() {
            tokio::time::sleep(wait(&not_until)).await;
        }
    }

    pub(super) fn close_until(&self, until: Instant) {
        *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    pub(super) fn open(&self) {
        *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn is_closed(&self) -> bool {
        let until = *self.closed_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

fn wait(not_until: &governor::NotUntil<<DefaultClock as Clock>::Instant>) -> Duration {
    not_until.wait_time_from(DefaultClock::default().now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_holds_more_than_the_budget() {
        for per_minute in [1u32, 2, 59, 60, 119, 600, 6_000] {
            let clock = governor::clock::FakeRelativeClock::default();
            let limiter = RateLimiter::direct_with_clock(quota(NonZeroU32::new(per_minute).unwrap()), clock.clone());
            let mut admitted = 0;
            for _ in 0..59_999 {
                if limiter.check().is_ok() {
                    admitted += 1;
                }
                clock.advance(Duration::from_millis(1));
            }
            assert!(admitted <= per_minute, "{admitted} of {per_minute}");
            assert!(admitted * 10 >= per_minute * 9 || per_minute < 10, "{admitted} of {per_minute} wastes the budget");
        }
    }

    #[tokio::test]
    async fn a_pause_turns_away_what_already_waits() {
        let gate = Arc::new(Gate::new(Budget::per_minute(NonZeroU32::new(60).unwrap())));
        gate.admit().await.unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.admit().await }
        });
        tokio::task::yield_now().await;
        gate.close_until(Instant::now() + Duration::from_secs(60));
        assert_eq!(waiting.await.unwrap(), Err(Closed));
    }
}
