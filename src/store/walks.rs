//! Page walks that take more than one page.
//!
//! Pages arrive newest first, but a watermark may only move over a range that has been read whole, and nothing may
//! be announced out of order. So the pages of a walk are staged as they come, with the cursor of the next one, and
//! when the walk has met the recorded range they are announced oldest first. A kill at any point resumes the walk.
//! Memory holds one page, whatever the length of the conversation.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::record_poll::Recording;
use super::{Announce, Error, Recorded, SinkId, SourceId, Store, millis};
use crate::model::{AccountName, Conversation, EventContext, Message};
use crate::time::UnixMillis;

/// Messages announced in one transaction: enough to make the commit cheap, few enough not to hold up other writes.
const CHUNK: u32 = 500;

/// A walk in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The walk may stop below this; `None`: at the beginning of the conversation.
    pub low: Option<UnixMillis>,
    /// Where to go on; `None`: everything is read and waits to be announced.
    pub cursor: Option<String>,
    /// First contact that records silently.
    pub baseline: bool,
    /// History that the configuration asked for.
    pub backfill: bool,
    /// When its first page was asked for: coverage reaches up to here.
    pub started_at: UnixMillis,
    /// Pages read.
    pub pages: u32,
}

/// One page of a walk.
pub struct PageRecord {
    /// The conversation's row.
    pub source: SourceId,
    /// The walk as it stands after this page.
    pub walk: Walk,
    /// The page.
    pub messages: Vec<Message>,
}

pub(super) fn load(tx: &Connection) -> Result<HashMap<SourceId, Walk>, Error> {
    let mut statement =
        tx.prepare_cached("SELECT conversation, low, cursor, baseline, backfill, started_at, pages FROM walks")?;
    let rows = statement.query_map([], |row| {
        let walk = Walk {
            low: millis(row.get(1)?),
            cursor: row.get(2)?,
            baseline: row.get(3)?,
            backfill: row.get(4)?,
            started_at: UnixMillis::from_millis(row.get(5)?),
            pages: row.get(6)?,
        };
        Ok((SourceId(row.get(0)?), walk))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Store {
    /// Stages a page and the walk as it stands after it. Returns how many of its messages the walk had not yet seen:
    /// none means that the provider's paging does not advance.
    pub async fn stage_page(&self, page: PageRecord) -> Result<usize, Error> {
        self.write(move |tx| stage_page(tx, &page)).await
    }

    /// Announces the next part of a finished walk, oldest first. `None` when nothing is left.
    pub async fn announce_staged(
        &self,
        source: SourceId,
        provider: &'static str,
        account: AccountName,
        conversation: Arc<Conversation>,
        announce: Announce,
    ) -> Result<Option<Recorded>, Error> {
        let sinks = self.sinks();
        let recorded = self
            .write(move |tx| {
                let title: Option<String> = tx
                    .prepare_cached("SELECT title FROM conversations WHERE id = ?1")?
                    .query_row([source.0], |r| r.get(0))?;
                let context =
                    EventContext { provider, account: &account, conversation: &conversation, title: title.as_deref() };
                announce_staged(tx, source, context, announce, &sinks)
            })
            .await?;
        if recorded.is_some_and(|r| r.announced > 0) {
            self.deliveries().notify_waiters();
        }
        Ok(recorded)
    }

    /// Gives up a walk whose cursor the provider no longer takes: the next poll begins again from the newest message.
    pub async fn abandon_walk(&self, source: SourceId) -> Result<(), Error> {
        self.write(move |tx| forget(tx, source)).await
    }

    /// Ends a walk that cannot go on: what could not be read stays on record as a gap, once however often it is met, and
    /// what was read is announced next.
    pub async fn close_walk_with_gap(
        &self,
        source: SourceId,
        low: Option<UnixMillis>,
        reason: String,
    ) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached(
                "INSERT INTO gaps (conversation, low, high, reason, found_at)
                 SELECT ?1, ?2, high, ?3, ?4
                 FROM (SELECT min(sent_at) AS high FROM staged_messages WHERE conversation = ?1)
                 WHERE NOT EXISTS (SELECT 1 FROM gaps g WHERE g.conversation = ?1 AND g.low IS ?2 AND g.high IS high)",
            )?
            .execute(params![
                source.0,
                low.map(UnixMillis::as_millis),
                reason,
                UnixMillis::now().as_millis()
            ])?;
            tx.prepare_cached("UPDATE walks SET cursor = NULL WHERE conversation = ?1")?.execute([source.0])?;
            Ok(())
        })
        .await
    }
}

fn stage_page(tx: &Connection, page: &PageRecord) -> Result<usize, Error> {
    let walk = &page.walk;
    tx.prepare_cached(
        "INSERT INTO walks (conversation, low, cursor, baseline, backfill, started_at, pages)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (conversation) DO UPDATE SET low = ?2, cursor = ?3, pages = ?7",
    )?
    .execute(params![
        page.source.0,
        walk.low.map(UnixMillis::as_millis),
        walk.cursor,
        walk.baseline,
        walk.backfill,
        walk.started_at.as_millis(),
        walk.pages
    ])?;
    let mut statement = tx.prepare_cached(
        "INSERT INTO staged_messages (conversation, sent_at, message_id, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )?;
    let mut unseen = 0;
    for message in &page.messages {
        let body = serde_json::to_string(message).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        unseen += statement.execute(params![page.source.0, message.order().0, message.id.as_str(), body])?;
    }
    Ok(unseen)
}

fn announce_staged(
    tx: &Connection,
    source: SourceId,
    context: EventContext<'_>,
    announce: Announce,
    sinks: &[SinkId],
) -> Result<Option<Recorded>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT sent_at, message_id, body FROM staged_messages WHERE conversation = ?1
         ORDER BY sent_at, message_id LIMIT ?2",
    )?;
    let staged: Vec<(i64, String, String)> = statement
        .query_map(params![source.0, CHUNK], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let Some((last_time, last_id, _)) = staged.last().cloned() else {
        return Ok(None);
    };
    let mut recording = Recording::begin(tx, source, context, announce, sinks, UnixMillis::now())?;
    for (_, _, body) in staged {
        let message = serde_json::from_str(&body)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e)))?;
        recording.record(message)?;
    }
    let recorded = recording.finish()?;
    tx.prepare_cached("DELETE FROM staged_messages WHERE conversation = ?1 AND (sent_at, message_id) <= (?2, ?3)")?
        .execute(params![source.0, last_time, last_id])?;
    Ok(Some(recorded))
}

/// Removes a walk and what it staged.
pub(super) fn forget(tx: &Connection, source: SourceId) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM walks WHERE conversation = ?1")?.execute([source.0])?;
    tx.prepare_cached("DELETE FROM staged_messages WHERE conversation = ?1")?.execute([source.0])?;
    Ok(())
}
