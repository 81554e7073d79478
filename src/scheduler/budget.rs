//! The requests an account may make. Every poll, probe and start passes here.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

use crate::store::{self, AccountId, Day, Store};
use crate::time::UnixMillis;

/// A rate of requests, shared by the accounts that the provider limits together.
#[derive(Clone)]
pub struct Budget {
    limiter: Arc<DefaultDirectRateLimiter>,
    requests_per_minute: NonZeroU32,
    accounts: u32,
}

impl Budget {
    /// At most `requests_per_minute` in any minute, for so many accounts together.
    pub fn per_minute(requests_per_minute: NonZeroU32, accounts: u32) -> Self {
        let limiter = Arc::new(RateLimiter::direct(quota(requests_per_minute)));
        Self { limiter, requests_per_minute, accounts: accounts.max(1) }
    }

    /// The share of one account.
    fn requests_per_second(&self) -> f64 {
        f64::from(self.requests_per_minute.get()) / 60.0 / f64::from(self.accounts)
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

/// Why nothing may be asked now.
#[derive(Clone, Debug)]
pub(super) enum Closed {
    /// The account is paused.
    Paused,
    /// The credits of the day are spent, as far as they may be spent on this.
    OutOfCredits {
        /// When there are some again.
        until: UnixMillis,
    },
    /// What is spent could not be written down.
    Store(store::Error),
}

/// What a request is for: credits are kept for what people wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Sweeps, and conversations that moved.
    Live,
    /// Histories, rechecks, and proofs that nothing has moved.
    Background,
}

/// The credits of an account, where its provider bills.
pub(super) struct Credits {
    pub(super) store: Store,
    pub(super) account: AccountId,
    /// The most that one request can cost.
    pub(super) price: u32,
    /// What a day, UTC, may cost.
    pub(super) daily: u32,
}

impl Credits {
    /// A third of the day is kept for what has moved.
    fn limit(&self, purpose: Purpose) -> u32 {
        match purpose {
            Purpose::Live => self.daily,
            Purpose::Background => self.share() * 2,
        }
    }

    /// The third of a day that sweeps are spread over, and the third for looking at what has not moved.
    fn share(&self) -> u32 {
        self.daily / 3
    }

    /// Time between requests of a kind that has a third of the day to itself.
    pub(super) fn pace(&self) -> Duration {
        credit_pace(self.price, self.daily)
    }

    async fn reserve(&self, purpose: Purpose) -> Result<Permit, Closed> {
        let day = Day::of(UnixMillis::now());
        let reserved = self.store.reserve_credits(self.account, day, self.price, self.limit(purpose)).await;
        match reserved.map_err(Closed::Store)? {
            true => Ok(Permit { day: Some(day) }),
            false => Err(Closed::OutOfCredits { until: day.end() }),
        }
    }
}

/// Time between requests of this price that together spend a third of a day's credits.
pub fn credit_pace(price: u32, daily_credits: u32) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    DAY.mul_f64(f64::from(price) / f64::from((daily_credits / 3).max(1)))
}

/// Requests a second that looks at conversations may take together: what the minute allows, and where answers cost credits
/// (price of one, credits of a day), a third of the day.
pub fn requests_per_second(requests_per_minute: NonZeroU32, (price, daily_credits): (u32, u32)) -> f64 {
    let by_minute = f64::from(requests_per_minute.get()) / 60.0;
    if price == 0 { by_minute } else { by_minute.min(1.0 / credit_pace(price, daily_credits).as_secs_f64()) }
}

/// One request may be sent; [`Gate::settle`] takes it back when its price is known.
#[must_use]
#[derive(Debug)]
pub(super) struct Permit {
    day: Option<Day>,
}

/// The budget of one account, and whether it may ask at all.
pub(super) struct Gate {
    budget: Budget,
    credits: Option<Credits>,
    closed_until: Mutex<Option<Instant>>,
    admitted: AtomicU64,
}

impl Gate {
    pub(super) fn new(budget: Budget, credits: Option<Credits>) -> Self {
        Self { budget, credits, closed_until: Mutex::new(None), admitted: AtomicU64::new(0) }
    }

    pub(super) fn credits(&self) -> Option<&Credits> {
        self.credits.as_ref()
    }

    /// Requests a second that looks at conversations may take together: what the minute allows, and where every answer costs
    /// credits, a third of the day.
    pub(super) fn requests_per_second(&self) -> f64 {
        let by_minute = self.budget.requests_per_second();
        self.credits.as_ref().map_or(by_minute, |credits| by_minute.min(1.0 / credits.pace().as_secs_f64()))
    }

    /// Requests admitted since the start.
    pub(super) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Waits for room in the budget. Also what waits already is turned away when the account is paused meanwhile.
    pub(super) async fn admit(&self, purpose: Purpose) -> Result<Permit, Closed> {
        loop {
            if self.is_closed() {
                return Err(Closed::Paused);
            }
            match self.budget.limiter.check() {
                Ok(()) => return self.reserve(purpose).await,
                Err(not_until) => tokio::time::sleep(wait(&not_until)).await,
            }
        }
    }

    /// Waits for room whatever the pause says: for the probe that may end it.
    pub(super) async fn admit_probe(&self) -> Result<Permit, Closed> {
        while let Err(not_until) = self.budget.limiter.check() {
            tokio::time::sleep(wait(&not_until)).await;
        }
        self.reserve(Purpose::Live).await
    }

    async fn reserve(&self, purpose: Purpose) -> Result<Permit, Closed> {
        self.admitted.fetch_add(1, Ordering::Relaxed);
        match &self.credits {
            Some(credits) => credits.reserve(purpose).await,
            None => Ok(Permit { day: None }),
        }
    }

    /// Writes down what a request has cost; `None` where nobody knows, which counts as its price.
    pub(super) async fn settle(&self, permit: Permit, spent: Option<u32>) {
        if let (Some(credits), Some(day), Some(spent)) = (&self.credits, permit.day, spent)
            && spent != credits.price
            && let Err(error) = credits.store.settle_credits(credits.account, day, credits.price, spent).await
        {
            tracing::warn!(class = "storage", %error, "what a request cost was not written down; it counts as its highest price");
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
        let gate = Arc::new(Gate::new(Budget::per_minute(NonZeroU32::new(60).unwrap(), 1), None));
        gate.settle(gate.admit(Purpose::Live).await.unwrap(), None).await;
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.admit(Purpose::Live).await }
        });
        tokio::task::yield_now().await;
        gate.close_until(Instant::now() + Duration::from_secs(60));
        assert!(matches!(waiting.await.unwrap(), Err(Closed::Paused)));
    }
}
