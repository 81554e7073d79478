//! Removing what has been settled long ago. Message ids stay: a provider may return a message for ever, and a
//! forgotten id would announce it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::params;

use super::open::open_writer;
use super::{Error, Store};
use crate::time::UnixMillis;

/// What one step of pruning did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Settled deliveries removed, with their attempts.
    pub deliveries: usize,
    /// Events removed, because nobody is owed them any more.
    pub events: usize,
    /// Where the next step begins; `None` when everything old has been looked at.
    pub next: Option<i64>,
}

/// Readers are done sooner.
const WIPES: u32 = 100;
const BETWEEN_WIPES: Duration = Duration::from_millis(50);

/// Dead deliveries that a sink keeps; beyond it the oldest go, whatever their age.
const DEAD_LIMIT: usize = 100_000;

/// Events looked at in one transaction, so that other writes do not wait long.
const STEP: i64 = 1_000;

impl Store {
    /// Removes deliveries that were delivered, filtered or given up before `before`, then events without deliveries: one
    /// step, from event row `from` (0 to begin). Pending deliveries are never touched.
    pub async fn prune(&self, before: UnixMillis, from: i64) -> Result<Pruned, Error> {
        self.write(move |tx| {
            let (last, oldest): (Option<i64>, Option<i64>) = tx
                .prepare_cached(
                    "SELECT max(id), min(created_at) FROM (SELECT id, created_at FROM events WHERE id > ?1 ORDER BY id LIMIT ?2)",
                )?
                .query_row(params![from, STEP], |r| Ok((r.get(0)?, r.get(1)?)))?;
            // Events are numbered as they are recorded: behind a step without an old one there is none.
            let Some(last) = last.filter(|_| oldest.is_some_and(|oldest| oldest < before.as_millis())) else {
                return Ok(Pruned { deliveries: 0, events: 0, next: None });
            };
            // Delivered or filtered; or dead, where the sinks have been told of that.
            let settled = "event > ?1 AND event <= ?2 AND settled_at < ?3 AND (state IN (1, 3)
                OR (state = 2 AND sink IN (SELECT id FROM sinks WHERE dead_since IS NOT NULL)))";
            let range = params![from, last, before.as_millis()];
            tx.prepare_cached(&format!(
                "DELETE FROM attempts WHERE (event, sink) IN (SELECT event, sink FROM deliveries WHERE {settled})"
            ))?
            .execute(range)?;
            let deliveries = tx.prepare_cached(&format!("DELETE FROM deliveries WHERE {settled}"))?.execute(range)?;
            let events = tx
                .prepare_cached(
                    "DELETE FROM events WHERE id > ?1 AND id <= ?2 AND created_at < ?3
                        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = events.id)",
                )?
                .execute(range)?;
            Ok(Pruned { deliveries, events, next: Some(last) })
        })
        .await
    }

    /// Removes the oldest dead deliveries of a sink that has more than `limit`, and events that nobody else was owed: one step.
    /// Returns the sinks, and how many of each.
    pub async fn bound_dead(&self, limit: usize) -> Result<Vec<(String, usize)>, Error> {
        self.write(move |tx| {
            let mut crowded = tx.prepare_cached(
                "SELECT s.id, s.name, n FROM (SELECT sink, count(*) AS n FROM deliveries WHERE state = 2 GROUP BY sink)
                    JOIN sinks s ON s.id = sink WHERE n > ?1",
            )?;
            let row = |r: &rusqlite::Row<'_>| Ok((r.get::<_, i64>(0)?, r.get::<_, String>(1)?, r.get::<_, usize>(2)?));
            let crowded = crowded.query_map([limit], row)?.collect::<Result<Vec<_>, _>>()?;
            let mut removed = Vec::new();
            for (sink, name, count) in crowded {
                let oldest = "SELECT event FROM deliveries WHERE sink = ?1 AND state = 2 ORDER BY event LIMIT ?2";
                let range = params![sink, (count - limit).min(STEP as usize)];
                let events: Vec<i64> =
                    tx.prepare_cached(oldest)?.query_map(range, |r| r.get(0))?.collect::<Result<_, _>>()?;
                for event in &events {
                    tx.prepare_cached("DELETE FROM attempts WHERE event = ?1 AND sink = ?2")?.execute([event, &sink])?;
                    tx.prepare_cached("DELETE FROM deliveries WHERE event = ?1 AND sink = ?2")?.execute([event, &sink])?;
                    tx.prepare_cached(
                        "DELETE FROM events WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = ?1)",
                    )?
                    .execute([event])?;
                }
                removed.push((name, events.len()));
            }
            Ok(removed)
        })
        .await
    }

    /// The same until no sink has too many. Returns how many were removed.
    async fn keep_dead_bounded(&self) -> Result<usize, Error> {
        let mut all = BTreeMap::new();
        loop {
            let removed = self.bound_dead(DEAD_LIMIT).await?;
            if removed.is_empty() {
                break;
            }
            removed.into_iter().for_each(|(sink, count)| *all.entry(sink).or_default() += count);
        }
        for (sink, count) in &all {
            tracing::warn!(%sink, count, "the oldest dead deliveries were removed: a sink keeps {DEAD_LIMIT} of them");
        }
        Ok(all.values().sum())
    }

    /// Writes the log beside the database back and empties it: it has what was there before a removal.
    pub(super) async fn wipe_log(&self) -> Result<(), Error> {
        self.wipe(false).await
    }

    /// The same after the whole file was written anew: when pages were parted, pieces of what stood in them stayed behind.
    pub(super) async fn write_anew(&self) -> Result<(), Error> {
        self.wipe(true).await
    }

    async fn wipe(&self, anew: bool) -> Result<(), Error> {
        let path = self.path().to_owned();
        let wiped = tokio::task::spawn_blocking(move || -> Result<(), Error> {
            let connection = open_writer(&path)?;
            if anew {
                connection.execute_batch("VACUUM")?;
            }
            // It waits with the right to write, and the writer with it.
            connection.busy_timeout(Duration::ZERO)?;
            for _ in 0..WIPES {
                // Whoever reads an older state of the database keeps the log from being emptied.
                let checkpoint = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get::<_, bool>(0));
                match checkpoint.map_err(Error::from) {
                    Ok(false) => return Ok(()),
                    Ok(true) | Err(Error::Busy(_)) => {}
                    Err(error) => return Err(error),
                }
                std::thread::sleep(BETWEEN_WIPES);
            }
            Err(Error::Busy(Arc::new(rusqlite::Error::QueryReturnedNoRows)))
        });
        wiped.await.map_err(|_| Error::Closed)?
    }

    /// Prunes every hour until the store is closed.
    pub async fn keep_pruning(&self, retention: Duration) {
        loop {
            let (mut from, mut removed) = (Some(0), 0);
            match self.keep_dead_bounded().await {
                Ok(dead) => removed += dead,
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(class = "storage", %error, "dead deliveries were not counted; trying again in an hour");
                }
            }
            while let Some(begin) = from {
                let pruned = self.prune(UnixMillis::now() - retention, begin).await;
                removed += pruned.as_ref().map_or(0, |pruned| pruned.events + pruned.deliveries);
                let pruned = match pruned {
                    Ok(Pruned { next: None, .. }) => self.leave_dead().await.map(|()| None),
                    pruned => pruned.map(|pruned| pruned.next),
                };
                from = match pruned {
                    Ok(next) => next,
                    Err(Error::Closed) => return,
                    Err(error) => {
                        tracing::warn!(class = "storage", %error, "old deliveries were not removed; trying again in an hour");
                        None
                    }
                };
            }
            if removed > 0
                && let Err(error) = self.wipe_log().await
            {
                tracing::debug!(%error, "the log still has what was removed; it is written over with the next changes");
            }
            tokio::time::sleep(Duration::from_secs(3600)).await;
        }
    }
}
