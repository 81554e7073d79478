//! Credits: what an account has spent today. A request is reserved before it is sent, so that a kill in between counts too
//! much rather than too little.

use rusqlite::params;

use super::{AccountId, Error, Store};
use crate::time::UnixMillis;

const DAY_MILLIS: i64 = 86_400_000;

/// Days since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(i64);

impl Day {
    /// The day of a moment.
    pub fn of(moment: UnixMillis) -> Self {
        Self(moment.as_millis().div_euclid(DAY_MILLIS))
    }

    /// When the next day begins.
    pub fn end(self) -> UnixMillis {
        UnixMillis::from_millis((self.0 + 1) * DAY_MILLIS)
    }
}

impl Store {
    /// Reserves credits, unless the day would then have spent more than `limit`. Returns whether it did.
    pub async fn reserve_credits(&self, account: AccountId, day: Day, credits: u32, limit: u32) -> Result<bool, Error> {
        self.write(move |tx| {
            tx.prepare_cached("INSERT INTO credits (account, day, spent) VALUES (?1, ?2, 0) ON CONFLICT DO NOTHING")?
                .execute(params![account.0, day.0])?;
            let reserved = tx
                .prepare_cached(
                    "UPDATE credits SET spent = spent + ?3 WHERE account = ?1 AND day = ?2 AND spent + ?3 <= ?4",
                )?
                .execute(params![account.0, day.0, credits, limit])?;
            Ok(reserved > 0)
        })
        .await
    }

    /// Corrects a reservation once it is known what the request has cost.
    pub async fn settle_credits(&self, account: AccountId, day: Day, reserved: u32, spent: u32) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached("UPDATE credits SET spent = max(0, spent + ?3) WHERE account = ?1 AND day = ?2")?
                .execute(params![account.0, day.0, i64::from(spent) - i64::from(reserved)])?;
            Ok(())
        })
        .await
    }
}
