//! Ranges that could not be read. Each stays on record, is announced once, and is closed by a poll that has read it after
//! all.

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::{Outlet, StateChange};
use super::{Error, SourceId, Store, millis};
use crate::model::{Change, kind};
use crate::time::UnixMillis;

/// What is still missing of a conversation: a poll that reads everything from here on closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGaps {
    /// Lower end of the lowest gap; `None`: the beginning of the conversation.
    pub low: Option<UnixMillis>,
}

pub(super) fn open(tx: &Connection, source: SourceId) -> Result<Option<OpenGaps>, Error> {
    let lowest = tx
        .prepare_cached(
            "SELECT low FROM gaps WHERE conversation = ?1 AND closed_at IS NULL ORDER BY low NULLS FIRST LIMIT 1",
        )?
        .query_row([source.0], |r| Ok(OpenGaps { low: millis(r.get(0)?) }))
        .optional()?;
    Ok(lowest)
}

impl Store {
    /// Ends a walk that cannot go on: what could not be read stays on record as a gap, once however often it is met, and
    /// what was read is announced next.
    pub async fn close_walk_with_gap(
        &self,
        source: SourceId,
        low: Option<UnixMillis>,
        reason: String,
    ) -> Result<OpenGaps, Error> {
        let sinks = self.sinks();
        let gaps = self
            .write(move |tx| {
                let outlet = Outlet { tx, sinks: &sinks, now: UnixMillis::now() };
                record(outlet, source, low, &reason)?;
                tx.prepare_cached("UPDATE walks SET cursor = NULL, has_gap = 1 WHERE conversation = ?1")?
                    .execute([source.0])?;
                Ok(open(tx, source)?.unwrap_or(OpenGaps { low }))
            })
            .await?;
        self.deliveries().notify_waiters();
        Ok(gaps)
    }
}

/// A gap reaches from the walk's lower bound to the oldest message that it has read.
fn record(outlet: Outlet<'_>, source: SourceId, low: Option<UnixMillis>, reason: &str) -> Result<(), Error> {
    let high: Option<i64> = outlet
        .tx
        .prepare_cached("SELECT min(sent_at) FROM staged_messages WHERE conversation = ?1")?
        .query_row([source.0], |r| r.get(0))?;
    let low_millis = low.map(UnixMillis::as_millis);
    let widened = outlet
        .tx
        .prepare_cached(
            "UPDATE gaps SET low = CASE WHEN low IS NULL OR ?2 IS NULL THEN NULL ELSE min(low, ?2) END,
                    high = CASE WHEN high IS NULL OR ?3 IS NULL THEN NULL ELSE max(high, ?3) END
             WHERE conversation = ?1 AND closed_at IS NULL
                AND (low IS NULL OR ?3 IS NULL OR low <= ?3) AND (high IS NULL OR ?2 IS NULL OR high >= ?2)",
        )?
        .execute(params![source.0, low_millis, high])?;
    if widened > 0 {
        return Ok(());
    }
    outlet
        .tx
        .prepare_cached("INSERT INTO gaps (conversation, low, high, reason, found_at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![source.0, low_millis, high, reason, outlet.now.as_millis()])?;
    let from = low.map_or_else(|| "the beginning".to_owned(), |low| low.to_string());
    let until = millis(high).map_or_else(|| "now".to_owned(), |high| high.to_string());
    let detail = format!("messages between {from} and {until} could not be read: {reason}");
    let entered = StateChange {
        kind: kind::CONVERSATION_GAP,
        state: Change::Entered,
        reason: Some("protocol"),
        since: outlet.now,
        detail: &detail,
    };
    outlet.about_conversation(source, entered)
}

/// Closes the gaps of a conversation that a complete poll from `low` on has covered. Returns what is still missing and
/// whether anything was closed.
pub(super) fn close_covered(
    outlet: Outlet<'_>,
    source: SourceId,
    low: Option<UnixMillis>,
) -> Result<(Option<OpenGaps>, bool), Error> {
    let closed = outlet
        .tx
        .prepare_cached(
            "UPDATE gaps SET closed_at = ?3 WHERE conversation = ?1 AND closed_at IS NULL AND (?2 IS NULL OR low >= ?2)",
        )?
        .execute(params![source.0, low.map(UnixMillis::as_millis), outlet.now.as_millis()])?;
    if closed > 0 {
        let left = StateChange {
            kind: kind::CONVERSATION_GAP,
            state: Change::Left,
            reason: None,
            since: outlet.now,
            detail: "the range that was missing has been read",
        };
        outlet.about_conversation(source, left)?;
    }
    Ok((open(outlet.tx, source)?, closed > 0))
}
