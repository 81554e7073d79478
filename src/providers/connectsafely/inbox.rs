//! The conversations of an account, youngest activity first. The list may come from the vendor's database and lag behind
//! LinkedIn: it tells what moved, never that nothing did.

use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::Value;

use super::messages::{Participant, title};
use super::nested::{self, Nested};
use super::{ConnectSafely, SEGMENT, http, urn};
use crate::model::{Conversation, ConversationId};
use crate::providers::{Class, Error, Inbox, ListRequest, Listed, Listing};
use crate::time::UnixMillis;

/// Conversations asked for in a page. The documented default is 20, an older list took 100.
const COUNT: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    conversations: Option<Vec<Row>>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    data: Option<Box<Payload>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(default)]
    conversation_urn: Option<String>,
    #[serde(default)]
    conversation_id: Option<String>,
    #[serde(default)]
    last_activity_at: Value,
    #[serde(default)]
    participants: Option<Vec<Participant>>,
    #[serde(default)]
    latest_message: Option<Latest>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    sales_nav_thread_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Latest {
    #[serde(default)]
    sent_at: Value,
    #[serde(default)]
    text: Option<String>,
}

#[async_trait]
impl Inbox for ConnectSafely {
    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error> {
        let mut query = format!("&count={COUNT}");
        if let Some(cursor) = request.cursor {
            query += &format!("&nextCursor={}", utf8_percent_encode(cursor, SEGMENT));
        }
        let answer = self.get("/conversations", &query).await?;
        let payload: Payload = nested::payload(&answer).map_err(|mut error| {
            // Any other refusal is of the account, not of a folder.
            if error.class == Class::Gone {
                error.class = Class::Protocol;
            }
            error
        })?;
        let quota = http::quota(&answer.headers, UnixMillis::now());
        let next = payload.next_cursor.filter(|cursor| !cursor.is_empty());
        let rows = payload.conversations.unwrap_or_default();
        let answered_at = http::answered_at(&answer.headers);
        let rows = rows.into_iter().filter_map(listed).collect();
        Ok(Listing { rows, next, quota, answered_at, ..Listing::default() })
    }
}

impl Nested for Payload {
    const ARRAY: &str = "conversations";

    fn success(&self) -> Option<bool> {
        self.success
    }

    fn has_array(&self) -> bool {
        self.conversations.is_some()
    }

    fn take_nested(&mut self) -> Option<Box<Self>> {
        self.data.take()
    }
}

/// A row without an address cannot be read, and is left out.
fn listed(row: Row) -> Option<Listed> {
    let sales_navigator = row.source.as_deref() == Some("sales_navigator");
    let address = row
        .conversation_urn
        .filter(|urn| !urn.is_empty())
        .or_else(|| row.sales_nav_thread_id.map(|id| format!("{}{id}", urn::SALES_NAVIGATOR)))
        .or(row.conversation_id.filter(|id| !id.is_empty()))?;
    let kind =
        if sales_navigator { crate::model::ConversationType::SalesNavigator } else { urn::conversation_type(&address) };
    let latest = row.latest_message.as_ref();
    let sent_at = latest.and_then(|latest| moment(&latest.sent_at));
    let last_activity_at = sent_at.max(moment(&row.last_activity_at));
    let text = latest.and_then(|latest| latest.text.as_deref()).unwrap_or_default();
    let mark = last_activity_at.map(|at| format!("{} {:08x}", at.as_millis(), brief(text)));
    let participants = row.participants.unwrap_or_default();
    Some(Listed {
        conversation: Conversation {
            id: ConversationId::new(urn::conversation_id(&address)),
            kind,
            person_url: None,
            address,
        },
        title: title(&participants, None),
        last_activity_at,
        mark,
    })
}

/// Tells texts apart; two messages may have one time.
fn brief(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// ISO 8601, a number of milliseconds, or one as text.
fn moment(value: &Value) -> Option<UnixMillis> {
    match value {
        Value::Number(number) => number.as_i64().and_then(UnixMillis::from_wire_millis),
        Value::String(text) => text.parse().map_or_else(|_| UnixMillis::parse(text), UnixMillis::from_wire_millis),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> Option<Listed> {
        listed(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn every_spelling_of_a_time_makes_one_mark() {
        let marks: Vec<_> = [r#""2025-10-09T08:55:23.456Z""#, "1760000123456", r#""1760000123456""#]
            .iter()
            .map(|at| row(&format!(r#"{{"conversationUrn":"urn:li:messagingThread:2-A","lastActivityAt":{at}}}"#)))
            .map(|listed| listed.unwrap().mark.unwrap())
            .collect();
        assert_eq!(marks[0], marks[1]);
        assert_eq!(marks[1], marks[2]);
        let null = row(r#"{"conversationUrn":"urn:li:messagingThread:2-A","lastActivityAt":null}"#).unwrap();
        assert_eq!(null.mark, None, "it may have moved at any time");
    }

    #[test]
    fn a_thread_of_sales_navigator_is_one_and_a_row_without_an_address_is_left_out() {
        let listed = row(r#"{"source":"sales_navigator","salesNavThreadId":"2-X"}"#).unwrap();
        assert_eq!(listed.conversation.address, "urn:li:salesNav_thread:2-X");
        assert_eq!(listed.conversation.kind, crate::model::ConversationType::SalesNavigator);
        assert_eq!(row(r#"{"participants":[]}"#), None);
    }
}
