//! How many conversations of an account are followed at most: an inbox that lists ever more of them must not fill the memory.

use rusqlite::{Connection, params};

use super::AccountId;
use super::Error;
use super::announce::{Outlet, StateChange};
use crate::model::{Change, kind};

/// Room for conversations that nobody follows yet, while a page of the inbox is looked at.
pub(super) struct Room {
    account: AccountId,
    limit: u64,
    left: Option<u64>,
    refused: u64,
}

impl Room {
    pub(super) fn of(account: AccountId, limit: u64) -> Self {
        Self { account, limit, left: None, refused: 0 }
    }

    /// Takes a place; false where there is none.
    pub(super) fn take(&mut self, tx: &Connection) -> Result<bool, Error> {
        let left = match self.left {
            Some(left) => left,
            None => {
                let followed: u64 = tx
                    .prepare_cached(
                        "SELECT count(*) FROM conversations WHERE account = ?1 AND follow NOT IN ('none', 'unfollowed')",
                    )?
                    .query_row([self.account.0], |r| r.get(0))?;
                self.limit.saturating_sub(followed)
            }
        };
        self.left = Some(left.saturating_sub(1));
        self.refused += u64::from(left == 0);
        Ok(left > 0)
    }

    /// Whether something found no place.
    pub(super) fn is_full(&self) -> bool {
        self.refused > 0
    }

    /// Announces that the account has become full, or has room again.
    pub(super) fn tell(&self, outlet: Outlet<'_>) -> Result<(), Error> {
        let was_full: bool = outlet
            .tx
            .prepare_cached("SELECT full_since IS NOT NULL FROM accounts WHERE id = ?1")?
            .query_row([self.account.0], |r| r.get(0))?;
        let has_room = self.left.is_some() && !self.is_full();
        let (state, since, detail) = match (was_full, self.is_full()) {
            (false, true) => {
                let limit = self.limit;
                let detail = format!(
                    "{limit} conversations are followed, and the inbox lists more, which are not: raise max_conversations if they are real"
                );
                (Change::Entered, Some(outlet.now), detail)
            }
            (true, false) if has_room => {
                (Change::Left, None, "the account follows whatever its inbox lists again".into())
            }
            _ => return Ok(()),
        };
        outlet
            .tx
            .prepare_cached("UPDATE accounts SET full_since = ?2 WHERE id = ?1")?
            .execute(params![self.account.0, since.map(crate::time::UnixMillis::as_millis)])?;
        let change = StateChange { kind: kind::ACCOUNT_FULL, state, reason: None, since: outlet.now, detail: &detail };
        outlet.about_account(self.account, change)
    }
}
