//! Polls that found nothing new, and how many requests were made: written in bulk.
//!
//! Most polls find nothing; a transaction each would cost more than the poll. Their coverage and due times are kept
//! here and written together within [`FLUSH_INTERVAL`]. A crash loses at most that much of it, and what is lost is
//! on the safe side: the coverage is older and the poll comes sooner than need be.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{AccountId, Error, SourceId, Store, spending};
use crate::calendar::Day;
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
    /// By account and day of its calendar.
    requests: Mutex<Requests>,
}

type Requests = HashMap<(AccountId, i64), u64>;

impl Store {
    /// Notes a poll that found nothing new; it is on disk within a second.
    pub fn record_quiet_poll(&self, poll: QuietPoll) {
        let mut unwritten = self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.insert(poll.source, poll);
    }

    /// Counts a request of an account on this day; it is on disk within a second.
    pub fn count_request(&self, account: AccountId, day: Day) {
        let mut requests = self.shared.quiet.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((account, day.number)).or_default() += 1;
    }

    /// Writes what is noted every second until the store is closed. A failed write is tried again with the next one.
    pub async fn keep_flushing(&self) {
        loop {
            tokio::time::sleep(FLUSH_INTERVAL).await;
            match self.flush().await {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => tracing::warn!(%error,
                    "coverage of quiet polls and requests were not written; trying again in a second"),
            }
        }
    }

    /// Writes quiet polls and requests that are only noted so far. Whoever does not wait for the end stops nothing: what
    /// could not be written is noted again.
    pub async fn flush(&self) -> Result<(), Error> {
        let store = self.clone();
        tokio::spawn(async move { store.flush_now().await }).await.map_err(|_| Error::Closed)?
    }

    async fn flush_now(&self) -> Result<(), Error> {
        let polls = std::mem::take(&mut *self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        let requests = std::mem::take(&mut *self.shared.quiet.requests.lock().unwrap_or_else(PoisonError::into_inner));
        if polls.is_empty() && requests.is_empty() {
            return Ok(());
        }
        let mut batch: Vec<_> = polls.into_values().collect();
        batch.sort_unstable_by_key(|poll| poll.source);
        let noted = (batch, requests);
        let kept = noted.clone();
        let written = self.write(move |tx| {
            let (batch, requests) = noted;
            write(tx, &batch, UnixMillis::now())?;
            requests.into_iter().try_for_each(|((account, day), count)| spending::add(tx, account, day, count, 0))
        });
        let written = written.await;
        if written.is_err() {
            let (batch, requests) = kept;
            batch.into_iter().for_each(|poll| self.put_back_quiet_poll(poll));
            let mut since = self.shared.quiet.requests.lock().unwrap_or_else(PoisonError::into_inner);
            requests.into_iter().for_each(|(day, count)| *since.entry(day).or_default() += count);
        }
        written
    }

    /// What is noted for a conversation, for a record that is about to say more: it is written with that record.
    pub(super) fn take_quiet_poll(&self, source: SourceId) -> Option<QuietPoll> {
        self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner).remove(&source)
    }

    /// Notes again what could not be written; a poll that was noted meanwhile says more.
    pub(super) fn put_back_quiet_poll(&self, poll: QuietPoll) {
        let mut unwritten = self.shared.quiet.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        unwritten.entry(poll.source).or_insert(poll);
    }
}

/// Writes what polls have proved. A time ahead of the clock is from before that was set back, and
/// stands against nothing.
pub(super) fn write<'a>(
    tx: &Connection,
    polls: impl IntoIterator<Item = &'a QuietPoll>,
    now: UnixMillis,
) -> Result<(), Error> {
    let mut statement = tx.prepare_cached(&format!(
        "UPDATE conversations SET first_polled_at = coalesce(first_polled_at, ?2), last_polled_at = ?2,
            verified_until = {VERIFIED_NOW}, lapsed_at = ?4, due_at = ?5,
            failures = 0, failing_since = NULL, failure_class = NULL, failure_detail = NULL
         WHERE id = ?1 AND (last_polled_at IS NULL OR last_polled_at <= ?2 OR last_polled_at > ?6)
            AND (failing_since IS NULL OR failing_since <= ?2 OR failing_since > ?6)"
    ))?;
    for poll in polls {
        statement.execute(params![
            poll.source.0,
            poll.polled_at.as_millis(),
            poll.verified_until.map(UnixMillis::as_millis),
            poll.lapsed_at.map(UnixMillis::as_millis),
            poll.due_at.as_millis(),
            now.as_millis(),
        ])?;
    }
    Ok(())
}

/// The later of what was verified and ?3, for an update of `conversations` at the time ?6.
pub(super) const VERIFIED_NOW: &str = "max(
    coalesce(CASE WHEN verified_until > ?6 THEN min(watermark, ?6) ELSE verified_until END, ?3),
    coalesce(?3, CASE WHEN verified_until > ?6 THEN min(watermark, ?6) ELSE verified_until END))";

/// Up to when a conversation is verified, as it may be shown and compared at the time `now`. What
/// lies ahead was stored while the clock was: then only what has been read is known, which is up to
/// the watermark.
pub(super) fn verified(
    verified_until: Option<UnixMillis>,
    watermark: Option<UnixMillis>,
    now: UnixMillis,
) -> Option<UnixMillis> {
    match verified_until {
        Some(until) if until > now => watermark.map(|watermark| watermark.min(now)),
        until => until,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_verified_by_a_clock_that_was_ahead_is_what_has_been_read() {
        let at = |millis| Some(UnixMillis::from_millis(millis));
        let now = UnixMillis::from_millis(100);
        assert_eq!(verified(at(90), at(10), now), at(90));
        assert_eq!(verified(at(200), at(10), now), at(10));
        assert_eq!(verified(at(200), at(150), now), at(100));
        assert_eq!(verified(at(200), None, now), None);
        assert_eq!(verified(None, at(10), now), None);
    }
}
