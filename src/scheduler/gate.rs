//! Where every request of an account passes: whether it may ask at all, at which rate, and for how much.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::budget::Budget;
use super::credits::{Credits, Reserved};
use super::pacing::Rate;
use crate::calendar::Calendar;
use crate::model::{AccountName, BudgetPeriod};
use crate::providers::{self, Call, Class, Fault, Listing, Page, Quota};
use crate::store::{self, AccountId, Store};
use crate::time::UnixMillis;

/// Credits may come back: what a request has cost less than was reserved for it, and a new day.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Why nothing may be asked now.
#[derive(Clone, Debug)]
pub(super) enum Closed {
    /// The account is paused.
    Paused,
    /// The credits are spent, as far as they may be spent on this.
    OutOfCredits {
        /// Of what.
        period: BudgetPeriod,
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

/// One request may be sent; [`Gate::settle`] takes it back when it has been answered.
#[must_use]
#[derive(Debug)]
pub(super) struct Permit {
    call: Call,
    reserved: Option<Reserved>,
}

/// What an answer tells of its price and of the provider's limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// What the request has cost; `None` where nobody knows.
    credits: Option<u32>,
    quota: Option<Quota>,
    is_refusal: bool,
}

impl Heard {
    pub(super) fn page(page: &Result<Page, providers::Error>) -> Self {
        Self::of(page, |page| (page.credits, page.quota))
    }

    pub(super) fn listing(listing: &Result<Listing, providers::Error>) -> Self {
        Self::of(listing, |listing| (listing.credits, listing.quota))
    }

    /// Of an answer that tells of no limit, and that costs so much when it is a success.
    pub(super) fn costing<T>(credits: u32, answer: &Result<T, providers::Error>) -> Self {
        Self::of(answer, |_| (credits, None))
    }

    /// Of a request of which nobody knows what it has cost.
    pub(super) fn unpriced<T>(answer: &Result<T, providers::Error>) -> Self {
        Self { credits: None, ..Self::costing(0, answer) }
    }

    fn of<T>(answer: &Result<T, providers::Error>, told: impl Fn(&T) -> (u32, Option<Quota>)) -> Self {
        match answer {
            Ok(answer) => {
                let (credits, quota) = told(answer);
                Self { credits: Some(credits), quota, is_refusal: false }
            }
            Err(error) => Self { credits: error.credits, quota: None, is_refusal: is_rate_limit(error) },
        }
    }
}

/// An account that is out of credits is throttled too, and no slower rate would help it.
fn is_rate_limit(error: &providers::Error) -> bool {
    error.class == Class::Throttled && error.fault != Fault::Plan
}

/// Where requests are counted, by the days of the account.
pub(super) struct Books {
    pub(super) store: Store,
    pub(super) account: AccountId,
    pub(super) calendar: Calendar,
}

impl Books {
    fn count_request(&self) {
        self.store.count_request(self.account, self.calendar.day(UnixMillis::now()));
    }
}

/// The budget of one account, and whether it may ask at all.
pub(super) struct Gate {
    account: AccountName,
    books: Books,
    budget: Budget,
    /// What a call of each kind can cost.
    prices: [u32; Call::ALL.len()],
    credits: Option<Credits>,
    closed_until: Mutex<Option<Instant>>,
    /// Until when, by the steady clock, there are no credits for looking at what has not moved, and what was said of it: the store
    /// need not be asked again before.
    spent_until: Mutex<Option<(Instant, BudgetPeriod, UnixMillis)>>,
    admitted: AtomicU64,
    /// Of these, listings of the inbox.
    listed: AtomicU64,
}

impl Gate {
    pub(super) fn new(
        account: AccountName,
        budget: Budget,
        prices: [u32; Call::ALL.len()],
        credits: Option<Credits>,
        books: Books,
    ) -> Self {
        let (closed_until, spent_until) = (Mutex::new(None), Mutex::new(None));
        Self {
            account,
            books,
            budget,
            prices,
            credits,
            closed_until,
            spent_until,
            admitted: AtomicU64::new(0),
            listed: AtomicU64::new(0),
        }
    }

    /// Time between listings of the inbox, where they cost anything: they have a third of the day, and what the rest of it leaves.
    pub(super) fn sweep_pace(&self) -> Option<Duration> {
        let price = self.prices[Call::Listing as usize];
        self.credits.as_ref().filter(|_| price > 0).map(|credits| credits.sweep_pace(price))
    }

    /// The requests that looks at conversations may take together: what the minute allows, and where every answer costs credits, a
    /// third of the day.
    pub(super) fn rate(&self) -> Rate {
        let (by_minute, price) = (self.unbilled_per_second(), self.prices[Call::Page as usize]);
        let credits = self.credits.as_ref().filter(|_| price > 0);
        let by_credits = credits.map_or(f64::INFINITY, |credits| 1.0 / credits.pace(price).as_secs_f64());
        Rate { per_second: by_minute.min(by_credits), is_enforced: by_minute <= by_credits }
    }

    /// Requests a second that this account may make, whatever they cost.
    pub(super) fn unbilled_per_second(&self) -> f64 {
        self.budget.per_second(Call::Page, Instant::now())
    }

    /// Requests a minute that the provider seems to allow; `None`: as many as are configured.
    pub(super) fn learnt_per_minute(&self) -> Option<f64> {
        self.budget.learnt_per_minute(Call::Page, Instant::now())
    }

    /// Requests that took from what looks may take, with looks themselves. Where answers cost credits, sweeps have their own.
    pub(super) fn beside_looks(&self) -> u64 {
        let sweeps = if self.prices[Call::Listing as usize] > 0 { self.listed.load(Ordering::Relaxed) } else { 0 };
        self.admitted().saturating_sub(sweeps)
    }

    /// Requests admitted since the start.
    pub(super) fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Waits for room in the budget. Also what waits already is turned away when the account is paused meanwhile.
    pub(super) async fn admit(&self, call: Call, purpose: Purpose) -> Result<Permit, Closed> {
        loop {
            if self.is_closed() {
                return Err(Closed::Paused);
            }
            if let Some((period, until)) = self.spent(call, purpose) {
                return Err(Closed::OutOfCredits { period, until });
            }
            match self.budget.take(call, Instant::now()) {
                Ok(()) => return self.reserve(call, purpose).await,
                Err(at) => tokio::time::sleep_until(at).await,
            }
        }
    }

    /// Waits for room whatever the pause says: for the probe that may end it.
    pub(super) async fn admit_probe(&self) -> Result<Permit, Closed> {
        while let Err(at) = self.budget.take(Call::Account, Instant::now()) {
            tokio::time::sleep_until(at).await;
        }
        self.reserve(Call::Account, Purpose::Live).await
    }

    /// What is free goes on when the credits are spent.
    async fn reserve(&self, call: Call, purpose: Purpose) -> Result<Permit, Closed> {
        let price = self.prices[call as usize];
        let reserved = match self.credits.as_ref().filter(|_| price > 0) {
            Some(credits) => {
                Some(credits.reserve(purpose, price).await.inspect_err(|closed| self.note(purpose, closed))?)
            }
            None => None,
        };
        self.admitted.fetch_add(1, Ordering::Relaxed);
        self.books.count_request();
        if call == Call::Listing {
            self.listed.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Permit { call, reserved })
    }

    fn note(&self, purpose: Purpose, closed: &Closed) {
        if let (Purpose::Background, Closed::OutOfCredits { period, until }) = (purpose, closed) {
            let wait = until.since(UnixMillis::now()).min(ASK_AGAIN);
            *self.spent_until.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((Instant::now() + wait, *period, *until));
        }
    }

    fn spent(&self, call: Call, purpose: Purpose) -> Option<(BudgetPeriod, UnixMillis)> {
        let spent = *self.spent_until.lock().unwrap_or_else(PoisonError::into_inner);
        let costs = self.prices[call as usize] > 0 && purpose == Purpose::Background;
        spent.filter(|(at, ..)| costs && Instant::now() < *at).map(|(_, period, until)| (period, until))
    }

    /// Takes in what the answer to a request tells.
    pub(super) async fn settle(&self, permit: Permit, heard: Heard) {
        let Permit { call, reserved } = permit;
        if let Some(quota) = heard.quota {
            self.budget.hear(call, quota, Instant::now());
        }
        if heard.is_refusal
            && let Some(left) = self.budget.refused(call, Instant::now())
        {
            tracing::info!(account = %self.account, class = "throttled",
                "the provider refuses so many requests: at most {left:.1} a minute of this kind from now on, and slowly more again");
        }
        if let (Some(credits), Some(reserved)) = (&self.credits, reserved)
            && credits.settle(reserved, heard.credits).await
        {
            // Something was given back.
            *self.spent_until.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use super::*;
    use crate::scheduler::CreditBudget;

    async fn books(folder: &tempfile::TempDir, name: &AccountName) -> Books {
        let store = Store::open(&folder.path().join("inboxd.db")).unwrap();
        let account = store.account("linkup", name.clone()).await.unwrap();
        Books { store, account, calendar: Calendar::default() }
    }

    #[tokio::test]
    async fn a_pause_turns_away_what_already_waits() {
        let folder = tempfile::tempdir().unwrap();
        let name = AccountName::new("main").unwrap();
        let budget = Budget::per_minute(NonZeroU32::new(60).unwrap(), 1);
        let books = books(&folder, &name).await;
        let gate = Arc::new(Gate::new(name, budget, [0; Call::ALL.len()], None, books));
        let first = gate.admit(Call::Page, Purpose::Live).await.unwrap();
        gate.settle(first, Heard::default()).await;
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.admit(Call::Page, Purpose::Live).await }
        });
        tokio::task::yield_now().await;
        gate.close_until(Instant::now() + Duration::from_secs(60));
        assert!(matches!(waiting.await.unwrap(), Err(Closed::Paused)));
    }

    #[tokio::test]
    async fn when_the_credits_are_spent_only_what_is_free_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let name = AccountName::new("leads").unwrap();
        let books = books(&folder, &name).await;
        let (store, account) = (books.store.clone(), books.account);
        let budget = CreditBudget { daily: 6, monthly: None };
        let credits = Credits::new(store.clone(), account, budget, Calendar::default(), (0, 0));
        let rate = Budget::per_minute(NonZeroU32::new(600_000).unwrap(), 1);
        let gate = Gate::new(name, rate, [1, 1, 0, 0], Some(credits), books);
        let ask = async |call, purpose| match gate.admit(call, purpose).await {
            Ok(permit) => {
                gate.settle(permit, Heard { credits: Some(1), ..Heard::default() }).await;
                true
            }
            Err(closed) => {
                assert!(matches!(closed, Closed::OutOfCredits { period: BudgetPeriod::Day, .. }), "{closed:?}");
                false
            }
        };
        // Four when the day begins, and up to six when it ends.
        let mut beside = 0;
        while ask(Call::Page, Purpose::Background).await {
            beside += 1;
        }
        assert!((4..=6).contains(&beside), "a third is for what moves, less as the day goes by: {beside}");
        for _ in beside..6 {
            assert!(ask(Call::Listing, Purpose::Live).await);
        }
        assert!(!ask(Call::Page, Purpose::Live).await && !ask(Call::Listing, Purpose::Live).await);
        assert!(ask(Call::Account, Purpose::Live).await && ask(Call::Collecting, Purpose::Background).await);
        assert_eq!(gate.admitted(), 8);
    }
}
