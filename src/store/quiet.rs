//! Polls that found nothing new, written in bulk.
//!
//! Most polls find nothing; a transaction each would cost more than the poll. Their coverage and due times are kept
//! here and written together within [`FLUSH_INTERVAL`]. A crash loses at most that much of it, and what is lost is
//! on the safe side: the coverage is older and the poll comes sooner than need be.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::params;

use super::{Error, SourceId, Store};
use crate::time::UnixMillis;

/// Longest time a quiet poll stays unwritten.
pub(super) const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// A complete poll whose answer was the same as that of the poll before.
#[derive(Clone, Copy, Debug)]
pub struct QuietPoll {
    /// The conversation's row.
    pub source: SourceId,
    /// When the poll began.
    pub polled_at: UnixMillis,
    /// How far the answer proves that nothing is missing; `None` moves nothing.
    pub verified_until: Option<UnixMillis>,
    /// Where the provider does not collect any more; `None` when it does.
    pub lapsed_at: Option<UnixMillis>,
    /// When the next poll is due.
    pub due_at: UnixMillis,
}

#[derive(Default)]
pub(super) struct QuietPolls {
    unwritten: Mutex<HashMap<SourceId, QuietPoll>>,
}

impl Store {
    /// Notes a poll that found nothing new; it is on disk within a second.
    pub fn record_quiet_poll(&self, poll: QuietPoll) {
        let mut unwritten = self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.insert(poll.source, poll);
    }

    /// Writes quiet polls every second until the store is closed. A failed write is tried again with the next one.
    pub async fn keep_flushing_quiet_polls(&self) {
        loop {
            tokio::time::sleep(FLUSH_INTERVAL).await;
            match self.flush_quiet_polls().await {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => tracing::warn!(%error, "coverage of quiet polls not written; trying again in a second"),
            }
        }
    }

    pub(super) async fn flush_quiet_polls(&self) -> Result<(), Error> {
        let polls = std::mem::take(&mut *self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        if polls.is_empty() {
            return Ok(());
        }
        let mut batch: Vec<_> = polls.into_values().collect();
        batch.sort_unstable_by_key(|poll| poll.source);
        let kept = batch.clone();
        let written = self
            .write(move |tx| {
                let mut statement = tx.prepare_cached(
                    "UPDATE conversations SET first_polled_at = coalesce(first_polled_at, ?2), last_polled_at = ?2,
                        verified_until = max(coalesce(verified_until, ?3), coalesce(?3, verified_until)),
                        lapsed_at = ?4, due_at = ?5,
                        failures = 0, failing_since = NULL, failure_class = NULL, failure_detail = NULL
                     WHERE id = ?1 AND coalesce(last_polled_at, 0) <= ?2 AND coalesce(failing_since, 0) <= ?2",
                )?;
                for poll in batch {
                    statement.execute(params![
                        poll.source.0,
                        poll.polled_at.as_millis(),
                        poll.verified_until.map(UnixMillis::as_millis),
                        poll.lapsed_at.map(UnixMillis::as_millis),
                        poll.due_at.as_millis(),
                    ])?;
                }
                Ok(())
            })
            .await;
        if written.is_err() {
            let mut unwritten = self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
            for poll in kept {
                unwritten.entry(poll.source).or_insert(poll);
            }
        }
        written
    }

    /// Drops what is noted for a conversation whose next record is about to say more.
    pub(super) fn forget_quiet_poll(&self, source: SourceId) {
        self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(&source);
    }
}
