//! What the provider says is left of the credits; that it is low is told when that begins and when it is over.

use rusqlite::{Connection, params};

use super::announce::{Outlet, StateChange};
use super::{AccountId, Error, Store, millis};
use crate::model::{Change, kind};
use crate::time::UnixMillis;

/// What was last heard of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceSeen {
    /// When.
    pub at: Option<UnixMillis>,
    /// It was low.
    pub is_low: bool,
}

pub(super) fn load(tx: &Connection, account: AccountId) -> Result<BalanceSeen, Error> {
    let seen = tx
        .prepare_cached("SELECT credits_left_at, credits_low_since IS NOT NULL FROM accounts WHERE id = ?1")?
        .query_row([account.0], |r| Ok(BalanceSeen { at: millis(r.get(0)?), is_low: r.get(1)? }))?;
    Ok(seen)
}

impl Store {
    /// Records how many credits are left; fewer than `mark` are low. Returns whether that has begun or ended.
    pub async fn record_balance(&self, account: AccountId, left: u64, mark: u32) -> Result<bool, Error> {
        let sinks = self.sinks();
        let told = self
            .write(move |tx| record(Outlet { tx, sinks: &sinks, now: UnixMillis::now() }, account, left, mark))
            .await?;
        if told {
            self.deliveries().notify_waiters();
        }
        Ok(told)
    }
}

fn record(outlet: Outlet<'_>, account: AccountId, left: u64, mark: u32) -> Result<bool, Error> {
    let was_low = load(outlet.tx, account)?.is_low;
    let is_low = left < u64::from(mark);
    outlet
        .tx
        .prepare_cached(
            "UPDATE accounts SET credits_left = ?2, credits_left_at = ?3,
                credits_low_since = CASE WHEN ?4 THEN coalesce(credits_low_since, ?3) END WHERE id = ?1",
        )?
        .execute(params![account.0, i64::try_from(left).unwrap_or(i64::MAX), outlet.now.as_millis(), is_low])?;
    if was_low == is_low {
        return Ok(false);
    }
    let (state, detail) = match is_low {
        true => {
            let detail = format!("{left} credits are left at the provider, fewer than the {mark} that a day may cost");
            (Change::Entered, detail)
        }
        false => (Change::Left, format!("{left} credits are left at the provider, enough for a day again")),
    };
    let kind = kind::BUDGET_WARNING;
    outlet.about_account(account, StateChange { kind, state, reason: None, since: outlet.now, detail: &detail })?;
    Ok(true)
}
