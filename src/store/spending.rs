//! What an account has asked for and paid. Credits are reserved before a request is sent, so that a kill in between counts too
//! much rather than too little; marks of the budget are told in the same write that passes them.

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::{Outlet, StateChange};
use super::{AccountId, Error, Store};
use crate::calendar::Day;
use crate::model::{BudgetPeriod, BudgetView, Change, kind};
use crate::time::UnixMillis;

/// Shares of a budget that are told when they are passed, in percent, before all of it.
const WARNINGS: [u32; 2] = [80, 50];
const ALL: u32 = 100;

/// Credits of a day, and of its month where that is limited too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the day.
    pub day: u32,
    /// Of the month.
    pub month: Option<u32>,
}

/// Credits for one request.
#[derive(Clone, Copy, Debug)]
pub struct Reservation {
    /// Who pays.
    pub account: AccountId,
    /// When.
    pub day: Day,
    /// How many.
    pub credits: u32,
    /// What may be spent on requests like this one.
    pub limits: Limits,
    /// What may be spent on any.
    pub budget: Limits,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The limit that stands against it; `None`: the credits are reserved.
    pub refused_by: Option<BudgetPeriod>,
    /// Spent on this day, with what was reserved.
    pub today: u64,
    /// Spent in this month.
    pub month: u64,
}

impl Store {
    /// Reserves credits, unless the day or the month would then have spent more than the limits.
    pub async fn reserve_credits(&self, reservation: Reservation) -> Result<Reserved, Error> {
        let sinks = self.sinks();
        let (reserved, told) = self
            .write(move |tx| {
                let outlet = Outlet { tx, sinks: &sinks, now: UnixMillis::now() };
                let reserved = reserve(tx, &reservation)?;
                let told = tell(outlet, &reservation, &reserved)?;
                Ok((reserved, told))
            })
            .await?;
        if told {
            self.deliveries().notify_waiters();
        }
        Ok(reserved)
    }

    /// Corrects a reservation once it is known what the request has cost.
    pub async fn settle_credits(&self, account: AccountId, day: Day, reserved: u32, spent: u32) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached("UPDATE spending SET credits = max(0, credits + ?3) WHERE account = ?1 AND day = ?2")?
                .execute(params![account.0, day.number, i64::from(spent) - i64::from(reserved)])?;
            Ok(())
        })
        .await
    }

    /// Notes what was learnt of the rate of an account; `None`: it is as configured.
    pub async fn record_rate(&self, account: AccountId, learnt_per_minute: Option<f64>) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached("UPDATE accounts SET learnt_per_minute = ?2 WHERE id = ?1")?
                .execute(params![account.0, learnt_per_minute])?;
            Ok(())
        })
        .await
    }
}

/// Adds to what an account has asked for and paid on a day.
pub(super) fn add(tx: &Connection, account: AccountId, day: i64, requests: u64, credits: u32) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO spending (account, day, requests, credits) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET requests = requests + ?3, credits = credits + ?4",
    )?
    .execute(params![account.0, day, requests, credits])?;
    Ok(())
}

/// Credits of a day and of its month so far.
pub(super) fn spent(tx: &Connection, account: AccountId, day: Day) -> Result<(u64, u64), Error> {
    let spent = tx
        .prepare_cached(
            "SELECT coalesce(sum(credits) FILTER (WHERE day = ?2), 0), coalesce(sum(credits), 0) FROM spending
             WHERE account = ?1 AND day BETWEEN ?3 AND ?2",
        )?
        .query_row(params![account.0, day.number, day.month_begins], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(spent)
}

fn reserve(tx: &Connection, reservation: &Reservation) -> Result<Reserved, Error> {
    let Reservation { account, day, credits, limits, .. } = *reservation;
    let (today, month) = spent(tx, account, day)?;
    let wanted = u64::from(credits);
    let refused_by = match limits {
        Limits { month: Some(limit), .. } if month + wanted > u64::from(limit) => Some(BudgetPeriod::Month),
        Limits { day: limit, .. } if today + wanted > u64::from(limit) => Some(BudgetPeriod::Day),
        _ => None,
    };
    if refused_by.is_some() {
        return Ok(Reserved { refused_by, today, month });
    }
    add(tx, account, day.number, 0, credits)?;
    Ok(Reserved { refused_by, today: today + wanted, month: month + wanted })
}

/// A budget of one period.
struct Account {
    period: BudgetPeriod,
    begins: i64,
    ends_at: UnixMillis,
    spent: u64,
    limit: u32,
}

/// Tells which marks have been passed, and that there are credits again. Returns whether anything was told.
fn tell(outlet: Outlet<'_>, reservation: &Reservation, reserved: &Reserved) -> Result<bool, Error> {
    let Reservation { account, day, credits, budget, .. } = *reservation;
    let of_day = Account {
        period: BudgetPeriod::Day,
        begins: day.number,
        ends_at: day.ends_at,
        spent: reserved.today,
        limit: budget.day,
    };
    let of_month = budget.month.map(|limit| Account {
        period: BudgetPeriod::Month,
        begins: day.month_begins,
        ends_at: day.month_ends_at,
        spent: reserved.month,
        limit,
    });
    let mut told = false;
    for budget in [Some(of_day), of_month].into_iter().flatten() {
        let is_refused = reserved.refused_by.is_some() && budget.spent + u64::from(credits) > u64::from(budget.limit);
        let is_exhausted = is_refused || budget.spent >= u64::from(budget.limit);
        told |= leave(outlet, account, &budget, is_exhausted)?;
        if is_exhausted {
            told |= pass(outlet, account, &budget, ALL)?;
        } else if let Some(&percent) =
            WARNINGS.iter().find(|&&percent| budget.spent * 100 >= u64::from(budget.limit) * u64::from(percent))
        {
            told |= pass(outlet, account, &budget, percent)?;
        }
    }
    Ok(told)
}

/// Tells a mark, unless it or a higher one was told in this period.
fn pass(outlet: Outlet<'_>, account: AccountId, budget: &Account, percent: u32) -> Result<bool, Error> {
    let told: Option<u32> = outlet
        .tx
        .prepare_cached(
            "SELECT max(percent) FROM budget_marks
             WHERE account = ?1 AND period = ?2 AND begins = ?3 AND left_at IS NULL",
        )?
        .query_row(params![account.0, budget.period.as_str(), budget.begins], |r| r.get(0))?;
    if told.is_some_and(|told| told >= percent) {
        return Ok(false);
    }
    outlet
        .tx
        .prepare_cached(
            "INSERT INTO budget_marks (account, period, begins, percent, told_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET told_at = ?5, left_at = NULL",
        )?
        .execute(params![account.0, budget.period.as_str(), budget.begins, percent, outlet.now.as_millis()])?;
    let (period, spent, limit) = (budget.period.as_str(), budget.spent, budget.limit);
    let detail = format!("{spent} of {limit} credits of the {period} are spent; they begin anew at {}", budget.ends_at);
    let kind = if percent == ALL { kind::BUDGET_EXHAUSTED } else { kind::BUDGET_WARNING };
    announce(outlet, account, (kind, Change::Entered), budget, percent, &detail)?;
    Ok(true)
}

/// Tells that there are credits again: in a new period, or because the budget is larger now.
fn leave(outlet: Outlet<'_>, account: AccountId, budget: &Account, is_exhausted: bool) -> Result<bool, Error> {
    let began: Option<i64> = outlet
        .tx
        .prepare_cached(
            "SELECT begins FROM budget_marks WHERE account = ?1 AND period = ?2 AND percent = ?3 AND left_at IS NULL",
        )?
        .query_row(params![account.0, budget.period.as_str(), ALL], |r| r.get(0))
        .optional()?;
    let Some(began) = began.filter(|began| *began != budget.begins || !is_exhausted) else { return Ok(false) };
    outlet
        .tx
        .prepare_cached(
            "UPDATE budget_marks SET left_at = ?5 WHERE account = ?1 AND period = ?2 AND begins = ?3 AND percent = ?4",
        )?
        .execute(params![account.0, budget.period.as_str(), began, ALL, outlet.now.as_millis()])?;
    let detail = format!("there are credits again: {} of {} are spent", budget.spent, budget.limit);
    announce(outlet, account, (kind::BUDGET_EXHAUSTED, Change::Left), budget, ALL, &detail)?;
    Ok(true)
}

fn announce(
    outlet: Outlet<'_>,
    account: AccountId,
    (kind, state): (&'static str, Change),
    budget: &Account,
    percent: u32,
    detail: &str,
) -> Result<(), Error> {
    let Account { period, ends_at, spent, limit, .. } = *budget;
    let view = BudgetView { period, percent, spent, limit, resets_at: ends_at };
    let change = StateChange { kind, state, reason: None, since: outlet.now, detail };
    outlet.about_budget(account, change, view)
}
