//! The credits of an account, where its provider bills: what a day and a month may cost, and on what.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::gate::{Closed, Purpose};
use crate::calendar::{Calendar, Day};
use crate::store::{AccountId, Limits, Reservation, Store};
use crate::time::UnixMillis;

/// What an account may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditBudget {
    /// Credits of a day.
    pub daily: u32,
    /// Credits of a month, where that is limited too.
    pub monthly: Option<u32>,
}

impl CreditBudget {
    /// What a day may cost on average.
    pub fn average_day(&self) -> u32 {
        const DAYS_OF_A_MONTH: f64 = 365.25 / 12.0;
        self.monthly.map_or(self.daily, |monthly| self.daily.min((f64::from(monthly) / DAYS_OF_A_MONTH) as u32))
    }

    /// What a day may be planned with: its own credits, or, where that is less, an even share of what was left of the month when
    /// the day began. What is not spent is shared by the days that follow.
    pub fn share_of(&self, day: Day, spent_before: u64) -> u32 {
        let Some(monthly) = self.monthly else { return self.daily };
        let left = u64::from(monthly).saturating_sub(spent_before) / u64::from(day.days_left.max(1));
        self.daily.min(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// Time between requests of this price that together spend a third of a day's share.
pub fn credit_pace(price: u32, share: u32) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    DAY.mul_f64(f64::from(price) / f64::from((share / 3).max(1)))
}

/// Requests a second that looks at conversations may take together: what the minute allows, and where answers cost credits
/// (price of one, share of a day), a third of the day.
pub fn requests_per_second(requests_per_minute: f64, (price, share): (u32, u32)) -> f64 {
    let by_minute = requests_per_minute / 60.0;
    if price == 0 { by_minute } else { by_minute.min(1.0 / credit_pace(price, share).as_secs_f64()) }
}

/// The credits of one account.
pub(super) struct Credits {
    store: Store,
    account: AccountId,
    budget: CreditBudget,
    calendar: Calendar,
    /// Spent in the month before the day began.
    spent_before: AtomicU64,
}

/// Credits reserved for one request.
#[derive(Debug)]
pub(super) struct Reserved {
    day: Day,
    credits: u32,
}

impl Credits {
    pub(super) fn new(
        store: Store,
        account: AccountId,
        budget: CreditBudget,
        calendar: Calendar,
        spent_before: u64,
    ) -> Self {
        Self { store, account, budget, calendar, spent_before: AtomicU64::new(spent_before) }
    }

    /// What today may be planned with.
    pub(super) fn share(&self) -> u32 {
        let today = self.calendar.day(UnixMillis::now());
        self.budget.share_of(today, self.spent_before.load(Ordering::Relaxed))
    }

    /// Time between requests of a price that have a third of the day to themselves.
    pub(super) fn pace(&self, price: u32) -> Duration {
        credit_pace(price, self.share())
    }

    /// A third of the day is kept for what has moved. That may borrow from the days to come: people wait for it.
    fn limits(&self, purpose: Purpose) -> Limits {
        let Limits { day, month } = self.all();
        match purpose {
            Purpose::Live => Limits { day, month },
            Purpose::Background => Limits { day: self.share() / 3 * 2, month },
        }
    }

    fn all(&self) -> Limits {
        Limits { day: self.budget.daily, month: self.budget.monthly }
    }

    pub(super) async fn reserve(&self, purpose: Purpose, credits: u32) -> Result<Reserved, Closed> {
        let day = self.calendar.day(UnixMillis::now());
        let (account, limits, budget) = (self.account, self.limits(purpose), self.all());
        let reservation = Reservation { account, day, credits, limits, budget };
        let reserved = self.store.reserve_credits(reservation).await.map_err(Closed::Store)?;
        self.spent_before.store(reserved.month.saturating_sub(reserved.today), Ordering::Relaxed);
        match reserved.refused_by {
            None => Ok(Reserved { day, credits }),
            Some(period) => {
                let until = if period == crate::model::BudgetPeriod::Day { day.ends_at } else { day.month_ends_at };
                Err(Closed::OutOfCredits { period, until })
            }
        }
    }

    /// Writes down what a request has cost; `None` where nobody knows, which counts as its price.
    pub(super) async fn settle(&self, reserved: Reserved, spent: Option<u32>) {
        let Reserved { day, credits } = reserved;
        if let Some(spent) = spent.filter(|spent| *spent != credits)
            && let Err(error) = self.store.settle_credits(self.account, day, credits, spent).await
        {
            tracing::warn!(class = "storage", %error, "what a request cost was not written down; it counts as its highest price");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_spread_over_the_days_that_are_left_of_it() {
        let budget = CreditBudget { daily: 300, monthly: Some(3_000) };
        let day = |text: &str| Calendar::default().day(UnixMillis::parse(text).unwrap());
        assert_eq!(budget.share_of(day("2026-11-01T00:00:00Z"), 0), 100);
        assert_eq!(budget.share_of(day("2026-11-21T12:00:00Z"), 2_000), 100);
        assert_eq!(budget.share_of(day("2026-11-21T12:00:00Z"), 500), 250, "what was saved is shared out");
        assert_eq!(budget.share_of(day("2026-11-30T12:00:00Z"), 500), 300, "and never more than a day may cost");
        assert_eq!(budget.share_of(day("2026-11-30T12:00:00Z"), 9_000), 0);
        assert_eq!(CreditBudget { monthly: None, ..budget }.share_of(day("2026-11-21T12:00:00Z"), 9_000), 300);
    }
}
