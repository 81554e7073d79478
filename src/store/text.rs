//! `keep_text = false`: an event holds what has to be sent until it is settled everywhere, then ids only.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::{Error, Store};

/// What is left of an event: whose it is, and that there is no more. JSON without this field is an event as it was sent.
pub(super) const NOT_KEPT: &str = "$.data.text_not_kept";

/// Takes the text out of an event, and out of what receivers have said to it, as soon as no delivery of it is pending or dead. On the connection that writes, so that it
/// is part of the same transaction, wherever in the program that is made.
pub(super) fn keep_none(connection: &Connection) -> Result<(), Error> {
    let stub = "json_object('specversion', json_extract(body, '$.specversion'), 'id', event_id,
        'source', json_extract(body, '$.source'), 'type', json_extract(body, '$.type'),
        'subject', json_extract(body, '$.subject'), 'time', json_extract(body, '$.time'),
        'data', json_object('account', json_extract(body, '$.data.account'),
            'conversation', json_object('id', json_extract(body, '$.data.conversation.id')),
            'message', json_object('id', json_extract(body, '$.data.message.id')), 'text_not_kept', json('true')))";
    let strip = |event: &str| {
        format!(
            "UPDATE events SET body = {stub}, raw_body = NULL WHERE id = {event}
                AND json_extract(body, '$.data.message.id') IS NOT NULL AND json_extract(body, '{NOT_KEPT}') IS NULL
                AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = {event} AND d.state IN (0, 2));
             UPDATE attempts SET detail = NULL WHERE event = {event} AND detail IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = {event} AND d.state IN (0, 2));"
        )
    };
    connection.execute_batch(&format!(
        "CREATE TEMP TRIGGER IF NOT EXISTS strip_settled AFTER UPDATE OF state ON main.deliveries
            WHEN new.state IN (1, 3) BEGIN {} END;
         CREATE TEMP TRIGGER IF NOT EXISTS strip_removed AFTER DELETE ON main.deliveries BEGIN {} END;
         CREATE TEMP TRIGGER IF NOT EXISTS strip_unwanted AFTER UPDATE OF created_at ON main.events BEGIN {} END;",
        strip("new.event"),
        strip("old.event"),
        strip("new.id"),
    ))?;
    Ok(())
}

/// Tells the triggers of an event that nobody is owed.
pub(super) fn is_owed_to_nobody(tx: &Connection, event: i64) -> Result<(), Error> {
    let mut has_triggers = tx.prepare_cached("SELECT 1 FROM temp.sqlite_schema WHERE name = 'strip_unwanted'")?;
    if has_triggers.exists([])? {
        tx.prepare_cached("UPDATE events SET created_at = created_at WHERE id = ?1")?.execute([event])?;
    }
    Ok(())
}

impl Store {
    /// From now on text is kept for as long as it has to be sent. What was settled before is stripped too.
    pub async fn keep_no_text(&self) -> Result<(), Error> {
        self.shared.keeps_no_text.store(true, Ordering::Relaxed);
        self.write(|tx| {
            keep_none(tx)?;
            tx.execute(
                &format!(
                    "UPDATE events SET created_at = created_at WHERE json_extract(body, '$.data.message.id') IS NOT NULL
                        AND json_extract(body, '{NOT_KEPT}') IS NULL
                        AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.event = events.id AND d.state IN (0, 2))"
                ),
                [],
            )?;
            Ok(())
        })
        .await
    }
}
