//! The credits of an account, where its provider bills: what a day and a month may cost, and on what.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::gate::{Closed, Purpose};
use crate::calendar::{Calendar, Day};
use crate::model::BudgetPeriod;
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
pub(super) fn credit_pace(price: u32, share: u32) -> Duration {
    const DAY: Duration = Duration::from_secs(86_400);
    DAY.mul_f64(f64::from(price) / f64::from((share / 3).max(1)))
}

/// Time between sweeps of the inbox, each of this price, on a day of which so much is spent and so much is left: they have the third of it
/// that is theirs, and beside that whatever looks and messages have left of theirs so far.
pub fn sweep_pace(price: u32, share: u32, spent_today: u64, left: Duration) -> Duration {
    let of_day = left.as_secs_f64() / 86_400.0;
    let a_third = f64::from(share / 3) * of_day;
    let free = f64::from(share) - spent_today as f64 - 2.0 * a_third;
    // However much has moved, sweeps are what tells of it; and the next day has credits of its own.
    let credits = free.max(a_third / 4.0);
    let pace = left.as_secs_f64() * f64::from(price) / credits.max(f64::MIN_POSITIVE);
    Duration::from_secs_f64(pace.min(left.as_secs_f64() + 1.0))
}

/// What a day may have spent before what has not moved is looked at: a third of it is kept for what has, less as the day goes by.
fn background_limit(share: u32, left: Duration) -> u32 {
    let kept = f64::from(share) / 3.0 * left.as_secs_f64() / 86_400.0;
    share.saturating_sub(kept.min(f64::from(share) / 3.0).ceil() as u32)
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
    /// The first day of the month that was reserved in last, and what it had spent before that day.
    spent_before: Mutex<(i64, u64)>,
    /// The day that was reserved for last, and what it has spent.
    today: Mutex<(i64, u64)>,
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
        (spent_before, spent_today): (u64, u64),
    ) -> Self {
        let day = calendar.day(UnixMillis::now());
        let (today, spent_before) =
            (Mutex::new((day.number, spent_today)), Mutex::new((day.month_begins, spent_before)));
        Self { store, account, budget, calendar, spent_before, today }
    }

    /// What today may be planned with.
    pub(super) fn share(&self) -> u32 {
        let today = self.calendar.day(UnixMillis::now());
        let (month, spent) = *self.spent_before.lock().unwrap_or_else(PoisonError::into_inner);
        self.budget.share_of(today, if month == today.month_begins { spent } else { 0 })
    }

    fn left_of_today(&self) -> Duration {
        let now = UnixMillis::now();
        self.calendar.day(now).ends_at.since(now)
    }

    /// Time between requests of a price that have a third of the day to themselves.
    pub(super) fn pace(&self, price: u32) -> Duration {
        credit_pace(price, self.share())
    }

    /// Time between sweeps of a price at this moment.
    pub(super) fn sweep_pace(&self, price: u32) -> Duration {
        let now = UnixMillis::now();
        let day = self.calendar.day(now);
        let (number, spent) = *self.today.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = if number == day.number { spent } else { 0 };
        sweep_pace(price, self.share(), spent, day.ends_at.since(now))
    }

    /// A third of the day is kept for what has moved. That may borrow from the days to come: people wait for it.
    fn limits(&self, purpose: Purpose) -> Limits {
        let Limits { day, month } = self.all();
        match purpose {
            Purpose::Live => Limits { day, month },
            Purpose::Background => Limits { day: background_limit(self.share(), self.left_of_today()), month },
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
        let spent_before = reserved.month.saturating_sub(reserved.today);
        *self.spent_before.lock().unwrap_or_else(PoisonError::into_inner) = (day.month_begins, spent_before);
        *self.today.lock().unwrap_or_else(PoisonError::into_inner) = (day.number, reserved.today);
        match reserved.refused_by {
            None => Ok(Reserved { day, credits }),
            Some(period) => {
                let until = match (period, purpose) {
                    (BudgetPeriod::Month, _) => day.month_ends_at,
                    (BudgetPeriod::Day, Purpose::Live) => day.ends_at,
                    // What is kept shrinks by so much until then.
                    (BudgetPeriod::Day, Purpose::Background) => {
                        day.ends_at.min(UnixMillis::now() + credit_pace(credits, self.share()))
                    }
                };
                Err(Closed::OutOfCredits { period, until })
            }
        }
    }

    /// Writes down what a request has cost; `None` where nobody knows, which counts as its price. Returns whether it was less.
    pub(super) async fn settle(&self, reserved: Reserved, spent: Option<u32>) -> bool {
        let Reserved { day, credits } = reserved;
        let Some(spent) = spent.filter(|spent| *spent != credits) else { return false };
        if let Err(error) = self.store.settle_credits(self.account, day, credits, spent).await {
            tracing::warn!(class = "storage", %error, "what a request cost was not written down; it counts as its highest price");
            return false;
        }
        spent < credits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_day_has_not_spent_makes_sweeps_more_frequent_and_what_it_has_less() {
        let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3_600));
        assert_eq!(sweep_pace(1, 300, 0, day), credit_pace(1, 300), "its own third, when the day begins");
        assert_eq!(sweep_pace(1, 300, 150, day / 2), credit_pace(1, 300), "and when everything goes as planned");
        // At noon, fifty have gone to sweeps and nothing has moved.
        let quiet = sweep_pace(1, 300, 50, day / 2);
        assert_eq!(quiet, day / 2 / 150);
        let busy = sweep_pace(1, 300, 290, hour);
        assert_eq!(busy.as_secs(), 2_160, "what is left, for what is left of the day: {busy:?}");
        assert_eq!(sweep_pace(1, 300, 300, day / 2), day * 4 / 100, "never less than a quarter of its third");
        for (share, spent, left) in
            [(0, 0, Duration::ZERO), (1, 1, day / 2), (2, 2, day / 2), (3, 9, hour), (15, 90, hour)]
        {
            let pace = sweep_pace(5, share, spent, left);
            assert!(pace <= left + Duration::from_secs(1), "the next day has credits of its own: {share} {pace:?}");
        }
    }

    #[test]
    fn what_is_kept_for_what_moves_is_free_for_the_rest_as_the_day_goes_by() {
        let day = Duration::from_secs(86_400);
        let limits = [day * 25 / 24, day, day / 2, day / 4, Duration::ZERO].map(|left| background_limit(300, left));
        assert_eq!(limits, [200, 200, 250, 275, 300]);
        assert_eq!([0, 1, 3, 15].map(|share| background_limit(share, day)), [0, 0, 2, 10]);
    }

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
