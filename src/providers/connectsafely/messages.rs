//! The answer of the messages endpoint, read tolerantly: only an array of messages is required. Field names drift
//! between the documentation and live replies, and the whole payload may stand under `data`.

use serde::Deserialize;
use serde_json::Value;

use super::ConnectSafely;
use super::nested::Nested;
use crate::model::{Conversation, Direction, Flag, Message, MessageId, Sender, assign_missing_ids, cut_at};
use crate::providers::json::Received;
use crate::providers::{Page, Rest, http, urn};
use crate::time::UnixMillis;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Payload {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    data: Option<Box<Payload>>,
    #[serde(default)]
    messages: Option<Vec<Received<WireMessage>>>,
    #[serde(default)]
    participants: Option<Vec<Participant>>,
    #[serde(default)]
    has_more: Option<bool>,
    #[serde(default)]
    cursor: Option<Value>,
    #[serde(default)]
    note: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMessage {
    #[serde(default)]
    message_urn: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    sent_at: Option<Value>,
    #[serde(default)]
    sender_profile_id: Option<String>,
    #[serde(default)]
    sender_name: Option<String>,
    #[serde(default)]
    is_sent_by_owner: Option<bool>,
    #[serde(default)]
    attachments: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Participant {
    #[serde(default)]
    profile_id: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

impl Nested for Payload {
    const ARRAY: &str = "messages";

    fn success(&self) -> Option<bool> {
        self.success
    }

    fn has_array(&self) -> bool {
        self.messages.is_some()
    }

    fn take_nested(&mut self) -> Option<Box<Self>> {
        self.data.take()
    }
}

impl Payload {
    pub(super) fn len(&self) -> usize {
        self.messages.as_ref().map_or(0, Vec::len)
    }

    /// The cursor towards older messages, if there are any. Without `hasMore`, a cursor alone says so.
    pub(super) fn older(&self) -> Option<String> {
        let cursor = match &self.cursor {
            Some(Value::String(cursor)) if !cursor.is_empty() => cursor.clone(),
            Some(Value::Number(cursor)) => cursor.to_string(),
            _ => return None,
        };
        self.has_more.unwrap_or(true).then_some(cursor)
    }
}

impl ConnectSafely {
    /// Turns a payload into a page of the model.
    pub(super) async fn read(&self, conversation: &Conversation, payload: Payload, rest: Rest) -> Page {
        if let Some(note) = payload.note.as_ref().and_then(Value::as_str) {
            tracing::debug!(conversation = %conversation.id, note = http::safe(note), "the provider added a note");
        }
        let wire = payload.messages.unwrap_or_default();
        let owner = urn::mailbox_owner(&conversation.address)
            .or_else(|| wire.iter().find_map(|m| urn::mailbox_owner(m.part.message_urn.as_deref()?)))
            .map(str::to_owned);
        let needs_identity = wire.iter().any(|m| by_profile_id(&m.part, owner.as_deref()).is_none());
        let identity = if needs_identity { self.owner.identity(self).await } else { None };
        let participants = payload.participants.unwrap_or_default();
        let title = title(&participants, owner.as_deref());
        let mut messages: Vec<_> = wire
            .into_iter()
            .map(|Received { part: m, raw }| {
                let direction = by_profile_id(&m, owner.as_deref())
                    .or_else(|| identity.as_ref()?.direction(m.sender_profile_id.as_deref(), m.sender_name.as_deref()))
                    .or(if m.is_sent_by_owner == Some(true) { Some(Direction::Outbound) } else { None })
                    .unwrap_or(Direction::Unknown);
                Message { raw: Some(raw), ..message(m, direction) }
            })
            .collect();
        assign_missing_ids(&mut messages);
        Page { messages, rest, title, ..Page::default() }
    }
}

/// The direction, where the sender's id is of the same kind as the owner's. `isSentByOwner` is reported as unreliable
/// and used last, and only when it says yes.
fn by_profile_id(message: &WireMessage, owner: Option<&str>) -> Option<Direction> {
    let (sender, owner) = message.sender_profile_id.as_deref().zip(owner)?;
    if sender == owner {
        return Some(Direction::Outbound);
    }
    (urn::is_opaque(sender) && urn::is_opaque(owner)).then_some(Direction::Inbound)
}

/// Longest title in bytes: a group of twenty has a readable one, a page of names has none.
const TITLE_LIMIT: usize = 200;

pub(super) fn title(participants: &[Participant], owner: Option<&str>) -> Option<String> {
    let others = participants.iter().filter(|p| owner.is_none() || p.profile_id.as_deref() != owner);
    let names: Vec<_> = others.filter_map(|p| p.name.as_deref()).filter(|name| !name.is_empty()).collect();
    (!names.is_empty()).then(|| cut_at(&names.join(", "), TITLE_LIMIT).to_owned())
}

fn message(wire: WireMessage, direction: Direction) -> Message {
    let sent_at = match &wire.sent_at {
        Some(Value::Number(number)) => number.as_i64().and_then(UnixMillis::from_wire_millis),
        Some(Value::String(text)) => {
            text.parse().map_or_else(|_| UnixMillis::parse(text), UnixMillis::from_wire_millis)
        }
        _ => None,
    };
    let urn = wire.message_urn.unwrap_or_default();
    Message {
        id: MessageId::new(urn::message_id(&urn)),
        direction,
        sent_at,
        sender: Sender { id: wire.sender_profile_id, name: wire.sender_name, profile_url: None },
        text: wire.text.unwrap_or_default(),
        attachments: wire.attachments.unwrap_or_default(),
        flags: if sent_at.is_none() { vec![Flag::TimeUnknown] } else { vec![] },
        unannounced: false,
        raw: None,
    }
}
