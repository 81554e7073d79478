//! Erasing what people wrote: text, attachments and names are gone from the file at once. Ids stay, so that nothing is
//! announced again.

use rusqlite::{Connection, OptionalExtension, params};

use super::{AccountId, Error, Store};

/// What was erased, and where it had gone before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Events.
    pub events: u64,
    /// Deliveries that were still to be made, and are not made now.
    pub pending: u64,
    /// Deliveries that had been made: the name of the sink, and how many.
    pub delivered: Vec<(String, u64)>,
}

/// Why nothing was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotErased {
    /// Nothing is known of the conversation.
    NoConversation,
    /// Nothing is known of the message in it.
    NoMessage,
    /// A long walk through the conversation is under way, and what it has read is not announced yet.
    BeingRead,
}

impl Store {
    /// Erases what is recorded of a conversation, or of one of its messages: events, deliveries, what sinks have answered,
    /// and what people call the conversation. The message is named by its id, or by that of an event about it; returned is
    /// its id.
    pub async fn erase(
        &self,
        account: AccountId,
        conversation_id: String,
        message_id: Option<String>,
    ) -> Result<Result<(Erased, Option<String>), NotErased>, Error> {
        let erased = self.write(move |tx| erase(tx, account, &conversation_id, message_id.as_deref())).await?;
        if erased.is_ok() {
            // Pages in use, and the log, may have pieces of it still.
            self.write_anew().await?;
        }
        Ok(erased)
    }
}

fn erase(
    tx: &Connection,
    account: AccountId,
    conversation_id: &str,
    message_id: Option<&str>,
) -> Result<Result<(Erased, Option<String>), NotErased>, Error> {
    let find = "SELECT id FROM conversations WHERE account = ?1 AND conversation_id = ?2";
    let found: Vec<i64> =
        tx.prepare(find)?.query_map(params![account.0, conversation_id], |r| r.get(0))?.collect::<Result<_, _>>()?;
    let Some(&source) = found.first() else { return Ok(Err(NotErased::NoConversation)) };
    let message_id: Option<String> = match message_id {
        Some(named) => {
            let meant: Option<String> = tx
                .prepare(
                    "SELECT message_id FROM messages WHERE conversation = ?1 AND message_id = ?2
                     UNION SELECT json_extract(body, '$.data.message.id') FROM events
                        WHERE conversation = ?1 AND event_id = ?2",
                )?
                .query_row(params![source, named], |r| r.get(0))
                .optional()?
                .flatten();
            match meant {
                Some(meant) => Some(meant),
                None => return Ok(Err(NotErased::NoMessage)),
            }
        }
        None => None,
    };
    // Whoever reads it holds what was read for new until it is announced.
    let is_being_read: bool =
        tx.query_row("SELECT EXISTS (SELECT 1 FROM staged_messages WHERE conversation = ?1)", [source], |r| r.get(0))?;
    if is_being_read {
        return Ok(Err(NotErased::BeingRead));
    }
    // An edit is an event of its own, which the record of the message does not name.
    let which = "SELECT id FROM events WHERE conversation = ?1
        AND (?2 IS NULL OR json_extract(body, '$.data.message.id') = ?2)";
    let of = params![source, message_id];
    let mut erased = Erased::default();
    let mut made = tx.prepare(&format!(
        "SELECT s.name, count(*) FROM deliveries d JOIN sinks s ON s.id = d.sink
         WHERE d.state = 1 AND d.event IN ({which}) GROUP BY s.name ORDER BY s.name"
    ))?;
    erased.delivered = made.query_map(of, |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    let pending = format!("SELECT count(*) FROM deliveries WHERE state = 0 AND event IN ({which})");
    erased.pending = tx.query_row(&pending, of, |r| r.get(0))?;
    tx.execute(&format!("DELETE FROM attempts WHERE event IN ({which})"), of)?;
    tx.execute(&format!("DELETE FROM deliveries WHERE event IN ({which})"), of)?;
    erased.events = tx.execute(&format!("DELETE FROM events WHERE id IN ({which})"), of)? as u64;
    // A lane without anything owed has nothing to wait for.
    tx.execute(
        "DELETE FROM lanes WHERE lane = ?1
            AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.sink = lanes.sink AND d.lane = lanes.lane AND d.state = 0)",
        [source],
    )?;
    if message_id.is_none() {
        tx.execute(
            "UPDATE conversations SET title = NULL, failure_detail = NULL, mark = NULL WHERE id = ?1",
            [source],
        )?;
    }
    Ok(Ok((erased, message_id)))
}
