//! What sinks receive: one message in our envelope (CloudEvents 1.0, structured JSON), with a stable id.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::envelope::{Envelope, stable_id};
use super::notice::ConversationView;
use super::{
    AccountName, Cited, Conversation, Direction, Flag, Message, MessageId, Sender, cut_at, raw::object_fit_for_event,
};
use crate::time::UnixMillis;

/// Types of events.
pub mod kind {
    /// A message that was not known.
    pub const MESSAGE_NEW: &str = "message.new";
    /// A known message whose content is another now.
    pub const MESSAGE_CHANGED: &str = "message.changed";
    /// An account waits for a person.
    pub const ACCOUNT_ACTION_REQUIRED: &str = "account.action_required";
    /// An account that waited for a person works again.
    pub const ACCOUNT_RECOVERED: &str = "account.recovered";
    /// The inbox of an account lists more conversations than are followed at most, or no longer.
    pub const ACCOUNT_FULL: &str = "account.full";
    /// The provider has stopped collecting a conversation, or collects it again.
    pub const CONVERSATION_COVERAGE_LAPSED: &str = "conversation.coverage_lapsed";
    /// Part of a conversation cannot be read, or has been read after all.
    pub const CONVERSATION_GAP: &str = "conversation.gap";
    /// A process has not survived an answer of a conversation, which is left alone for a while; or it has been read.
    pub const CONVERSATION_POISONED: &str = "conversation.poisoned";
    /// A part of the credits of an account is spent.
    pub const BUDGET_WARNING: &str = "budget.warning";
    /// The credits of an account are spent.
    pub const BUDGET_EXHAUSTED: &str = "budget.exhausted";
    /// A sink only fails.
    pub const SINK_PARKED: &str = "sink.parked";
    /// A sink that only failed takes events again.
    pub const SINK_RECOVERED: &str = "sink.recovered";
    /// Deliveries of a sink were given up, or none is dead any more.
    pub const DELIVERY_DEAD: &str = "delivery.dead";

    /// Every type there is.
    pub const ALL: &[&str] = &[
        MESSAGE_NEW,
        MESSAGE_CHANGED,
        ACCOUNT_ACTION_REQUIRED,
        ACCOUNT_RECOVERED,
        ACCOUNT_FULL,
        CONVERSATION_COVERAGE_LAPSED,
        CONVERSATION_GAP,
        CONVERSATION_POISONED,
        BUDGET_WARNING,
        BUDGET_EXHAUSTED,
        SINK_PARKED,
        SINK_RECOVERED,
        DELIVERY_DEAD,
    ];
}

/// Largest event in bytes. CloudEvents asks every intermediary to carry 64 KiB, so no sink may refuse one for its size.
pub const EVENT_LIMIT: usize = 64 * 1024;

/// By which road a message was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// A poll of its conversation.
    Poll,
    /// A poll that a sweep of the inbox asked for.
    Sweep,
    /// The walk through the history that `first_poll` or `since` asked for.
    Backfill,
}

/// The circumstances in which a message was found.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Seen {
    /// When inboxd recorded it.
    pub at: UnixMillis,
    /// By which road it was found.
    pub route: Route,
    /// True for a message that turned up after a younger one of the same conversation had been recorded.
    pub late: bool,
    /// True for history: the message is older than inboxd's following of the conversation, and was asked for with
    /// `first_poll` or `since`.
    pub backfill: bool,
}

/// Where a message was found: everything in an event that is not the message itself.
#[derive(Clone, Copy, Debug)]
pub struct EventContext<'a> {
    /// Name of the provider, as in the configuration.
    pub provider: &'a str,
    /// The account.
    pub account: &'a AccountName,
    /// The conversation.
    pub conversation: &'a Conversation,
    /// What people call the conversation, where the provider says.
    pub title: Option<&'a str>,
}

/// An event, rendered once: every attempt at every sink sends these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stable id, `[a-z0-9_]`.
    pub id: String,
    /// Its type.
    pub kind: &'static str,
    /// One JSON object on one line.
    pub body: String,
    /// The same with the provider's own object under `data.message.raw`, where [`Event::with_raw`] was asked for it.
    pub body_with_raw: Option<String>,
}

/// The id of a message's event: a pure function of its type and the key of its message, equal on every retry, replay and
/// host.
pub fn event_id(kind: &str, context: &EventContext<'_>, message: &MessageId) -> String {
    stable_id(&message_key(kind, context, message))
}

fn message_key<'a>(kind: &'a str, context: &EventContext<'a>, message: &'a MessageId) -> [&'a str; 5] {
    [kind, context.provider, context.account.as_str(), context.conversation.id.as_str(), message.as_str()]
}

/// A message, where it was found and how.
#[derive(Serialize, JsonSchema)]
pub(super) struct MessageData<'a> {
    /// The provider that showed it.
    #[schemars(schema_with = "super::schema::provider")]
    provider: &'a str,
    /// The account, by its name in the configuration.
    account: &'a AccountName,
    /// The conversation it belongs to.
    conversation: ConversationView<'a>,
    /// The message.
    message: MessageView<'a>,
    /// How it was found.
    seen: Seen,
}

/// A message as an event shows it. What the provider does not give is null.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Message", transform = younger_than_events_on_record)]
struct MessageView<'a> {
    /// The provider's id of the message, normalised; unique only together with account and conversation. With the flag
    /// `id_synthetic` the provider gave none.
    id: &'a str,
    /// Who wrote to whom.
    direction: Direction,
    /// The provider's time; null when it was missing or unreadable (flag `time_unknown`).
    sent_at: Option<UnixMillis>,
    /// The author.
    sender: &'a Sender,
    /// The text; empty when there are attachments alone.
    text: &'a str,
    /// The subject of an InMail.
    subject: Option<&'a str>,
    /// What a reply quotes.
    quoted: Option<&'a Cited>,
    /// What is passed on.
    forwarded: Option<&'a Cited>,
    /// Attachments, each as the provider sent it.
    #[schemars(with = "Vec<Value>")]
    attachments: &'a [Box<RawValue>],
    /// What is unusual about the message; mostly empty.
    flags: &'a [Flag],
    /// The provider's own object of the message, as received; null where there is none, or none that fits into an event.
    /// Only for sinks with `include_raw`, else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, Value>>")]
    raw: Raw<'a>,
}

/// Events that an older release has recorded are delivered as they are: without these.
fn younger_than_events_on_record(schema: &mut Schema) {
    const YOUNGER: [&str; 3] = ["subject", "quoted", "forwarded"];
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !YOUNGER.iter().any(|younger| name == younger));
    }
}

/// The provider's own object: left out, or null or there.
type Raw<'a> = Option<Option<&'a RawValue>>;

impl<'a> MessageView<'a> {
    fn of(message: &'a Message, raw: Raw<'a>) -> Self {
        Self {
            id: message.id.as_str(),
            direction: message.direction,
            sent_at: message.sent_at,
            sender: &message.sender,
            text: &message.text,
            subject: message.subject.as_deref(),
            quoted: message.quoted.as_deref(),
            forwarded: message.forwarded.as_deref(),
            attachments: &message.attachments,
            flags: &message.flags,
            raw,
        }
    }
}

impl Event {
    /// Renders the event that announces `message`.
    pub fn message_new(context: &EventContext<'_>, message: &Message, seen: Seen) -> Self {
        let id = event_id(kind::MESSAGE_NEW, context, &message.id);
        Self::of_message(kind::MESSAGE_NEW, id, context, message, seen)
    }

    /// Renders the event that tells what a known message says now. Its id contains the content, so that each content is told
    /// once.
    pub fn message_changed(context: &EventContext<'_>, message: &Message, seen: Seen) -> Self {
        let content = message.content_hash().to_string();
        let key = message_key(kind::MESSAGE_CHANGED, context, &message.id);
        let id = stable_id(&[key.as_slice(), &[content.as_str()]].concat());
        Self::of_message(kind::MESSAGE_CHANGED, id, context, message, seen)
    }

    fn of_message(kind: &'static str, id: String, context: &EventContext<'_>, message: &Message, seen: Seen) -> Self {
        let body = fitting(kind, &id, context, message, seen, None);
        Self { id, kind, body, body_with_raw: None }
    }

    /// The same with a body that has the provider's own object too, under `data.message.raw`: null where the provider gave
    /// none, and where the event would pass its size limit with it. To be given what the event was made of.
    pub fn with_raw(self, context: &EventContext<'_>, message: &Message, seen: Seen) -> Self {
        let raw = message.raw.as_deref().and_then(object_fit_for_event);
        let render = |raw: &RawValue| render(self.kind, &self.id, context, message, seen, Some(Some(raw)));
        let body = raw.as_deref().map(render).filter(|body| body.len() <= EVENT_LIMIT);
        let body = body.unwrap_or_else(|| fitting(self.kind, &self.id, context, message, seen, Some(None)));
        Self { body_with_raw: Some(body), ..self }
    }
}

/// Renders an event that keeps its size limit. One over it loses its attachments first where they are the larger part,
/// then the end of its text, and says so in `flags`.
fn fitting(kind: &str, id: &str, context: &EventContext<'_>, message: &Message, seen: Seen, raw: Raw<'_>) -> String {
    let body = render(kind, id, context, message, seen, raw);
    if body.len() <= EVENT_LIMIT {
        return body;
    }
    let mut smaller = Message { raw: None, ..message.clone() };
    if smaller.attachments.iter().map(|a| a.get().len()).sum::<usize>() > EVENT_LIMIT / 4 {
        smaller.attachments.clear();
        smaller.flag(Flag::AttachmentsCut);
    }
    for part in
        [&mut smaller.sender.name, &mut smaller.sender.profile_url, &mut smaller.sender.id].into_iter().flatten()
    {
        part.truncate(part.floor_char_boundary(NAME_LIMIT));
    }
    for cited in [&mut smaller.quoted, &mut smaller.forwarded].into_iter().flatten() {
        cited.shorten(NAME_LIMIT);
    }
    let mut body = render(kind, id, context, &smaller, seen, raw);
    if body.len() > EVENT_LIMIT {
        smaller.flag(Flag::TextCut);
    }
    while body.len() > EVENT_LIMIT && !smaller.text.is_empty() {
        // One byte of text may take six in JSON, so the excess alone does not say where to cut.
        let keep = (smaller.text.len() * EVENT_LIMIT / body.len()).saturating_sub(64);
        smaller.text = cut_at(&smaller.text, keep).to_owned();
        body = render(kind, id, context, &smaller, seen, raw);
    }
    // Ids and names of nothing but controls take six times their size; no person has such.
    let parts: [fn(&mut Message); 3] = [
        |message| {
            message.attachments.clear();
            message.flag(Flag::AttachmentsCut);
        },
        |message| message.forwarded = None,
        |message| message.quoted = None,
    ];
    for leave_out in parts {
        if body.len() > EVENT_LIMIT {
            leave_out(&mut smaller);
            body = render(kind, id, context, &smaller, seen, raw);
        }
    }
    body
}

/// Longest sender name, profile or repeated text kept in an event that is too large.
const NAME_LIMIT: usize = 512;

fn render(kind: &str, id: &str, context: &EventContext<'_>, message: &Message, seen: Seen, raw: Raw<'_>) -> String {
    let data = MessageData {
        provider: context.provider,
        account: context.account,
        conversation: ConversationView {
            id: context.conversation.id.as_str(),
            kind: context.conversation.kind,
            person_url: context.conversation.person_url.as_deref(),
            title: context.title,
        },
        message: MessageView::of(message, raw),
        seen,
    };
    let time = message.sent_at.unwrap_or(seen.at);
    Envelope::render(kind, id, context.account.source(), context.conversation.id.as_str(), time, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConversationId, ConversationType, event_schema};

    fn conversation() -> Conversation {
        Conversation {
            id: ConversationId::new("2-QWxwaGE="),
            address: "urn:li:messagingThread:2-QWxwaGE=".into(),
            kind: ConversationType::Standard,
            person_url: None,
        }
    }

    fn message(text: &str) -> Message {
        Message {
            id: MessageId::new("2-TTE="),
            direction: Direction::Inbound,
            sent_at: UnixMillis::parse("2026-11-20T09:14:03.512Z"),
            sender: Sender { id: Some("ACoAAb1".into()), name: Some("Ada Byron".into()), profile_url: None },
            text: text.into(),
            subject: None,
            quoted: None,
            forwarded: None,
            attachments: vec![],
            flags: vec![],
            unannounced: false,
            raw: None,
        }
    }

    fn seen() -> Seen {
        Seen {
            at: UnixMillis::parse("2026-11-20T09:14:31.002Z").unwrap(),
            route: Route::Poll,
            late: false,
            backfill: false,
        }
    }

    fn valid(event: &Event) -> Value {
        crate::model::strict::Strict::new(event_schema()).valid(&event.body)
    }

    #[test]
    fn an_event_keeps_its_limit_whatever_its_ids_and_names_are_made_of() {
        // As long as providers may give them, and each byte takes six.
        let longest = "\u{1}".repeat(1024);
        let sender =
            || Sender { id: Some(longest.clone()), name: Some(longest.clone()), profile_url: Some(longest.clone()) };
        let cited = || Some(Box::new(Cited::new(Some(longest.clone()), sender(), &longest, 0)));
        let attachment = |length: usize| serde_json::value::to_raw_value(&"x".repeat(length)).unwrap();
        let message = Message {
            id: MessageId::new(longest.as_str()),
            sender: sender(),
            subject: Some(longest.clone()),
            quoted: cited(),
            forwarded: cited(),
            attachments: vec![attachment(EVENT_LIMIT / 4 - 100)],
            ..message(&"\u{1}".repeat(EVENT_LIMIT))
        };
        let conversation = Conversation {
            id: ConversationId::new(longest.as_str()),
            person_url: Some(longest.clone()),
            ..conversation()
        };
        let account = AccountName::new("sales").unwrap();
        let context =
            EventContext { provider: "unipile", account: &account, conversation: &conversation, title: Some(&longest) };
        let event = Event::message_new(&context, &message, seen()).with_raw(&context, &message, seen());
        for body in [&event.body, event.body_with_raw.as_ref().unwrap()] {
            assert!(body.len() <= EVENT_LIMIT, "{} bytes", body.len());
            let read: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(read["data"]["message"]["id"], longest.as_str());
            assert_eq!(read["data"]["message"]["flags"], serde_json::json!(["text_cut", "attachments_cut"]));
        }
    }

    #[test]
    fn an_event_is_the_documented_cloud_event() {
        let account = AccountName::new("main").unwrap();
        let conversation = conversation();
        let context = EventContext {
            provider: "unipile",
            account: &account,
            conversation: &conversation,
            title: Some("Ada Byron"),
        };
        let event = Event::message_new(&context, &message("See you then"), seen());
        let expected = serde_json::json!({
            "specversion": "1.0", "id": event.id, "source": "/inboxd/accounts/main", "type": "message.new",
            "subject": "2-QWxwaGE=", "time": "2026-11-20T09:14:03.512Z", "datacontenttype": "application/json",
            "data": {
                "provider": "unipile", "account": "main",
                "conversation": {"id": "2-QWxwaGE=", "type": "standard", "person_url": null, "title": "Ada Byron"},
                "message": {
                    "id": "2-TTE=", "direction": "inbound", "sent_at": "2026-11-20T09:14:03.512Z",
                    "sender": {"id": "ACoAAb1", "name": "Ada Byron", "profile_url": null},
                    "text": "See you then", "subject": null, "quoted": null, "forwarded": null,
                    "attachments": [], "flags": []
                },
                "seen": {"at": "2026-11-20T09:14:31.002Z", "route": "poll", "late": false, "backfill": false}
            }
        });
        assert_eq!(valid(&event), expected);
        assert!(event.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{}", event.id);
    }

    #[test]
    fn the_event_id_never_changes_between_releases() {
        let account = AccountName::new("main").unwrap();
        let conversation = conversation();
        let context = EventContext { provider: "unipile", account: &account, conversation: &conversation, title: None };
        let id = event_id(kind::MESSAGE_NEW, &context, &MessageId::new("2-TTE="));
        assert_eq!(id, "evt_cxgkgatoy6au6fivbpu3xesgiwj7bvyz");
    }

    #[test]
    fn an_event_never_passes_its_size_limit() {
        let account = AccountName::new("main").unwrap();
        let conversation = conversation();
        let context = EventContext { provider: "unipile", account: &account, conversation: &conversation, title: None };
        for text in ["x".repeat(200_000), "\u{1}".repeat(200_000), "ü".repeat(70_000)] {
            let event = Event::message_new(&context, &message(&text), seen());
            assert!(event.body.len() <= EVENT_LIMIT);
            assert!(event.body.len() > EVENT_LIMIT / 2, "cut further than needed: {}", event.body.len());
            assert_eq!(valid(&event)["data"]["message"]["flags"], serde_json::json!(["text_cut"]));
        }
    }

    #[test]
    fn the_providers_own_object_is_in_the_body_that_was_asked_for_and_in_no_other() {
        let account = AccountName::new("main").unwrap();
        let conversation = conversation();
        let context = EventContext { provider: "unipile", account: &account, conversation: &conversation, title: None };
        let received = |raw: &str| Message { raw: serde_json::from_str(raw).unwrap(), ..message("See you then") };
        let rendered = |message: &Message| {
            let plain = Event::message_new(&context, message, seen());
            let with_raw = plain.clone().with_raw(&context, message, seen());
            assert_eq!((&with_raw.body, &plain.body_with_raw), (&plain.body, &None));
            assert!(valid(&plain)["data"]["message"].get("raw").is_none());
            let body = with_raw.body_with_raw.unwrap();
            assert!(body.len() <= EVENT_LIMIT && !body.contains('\n'), "{} bytes", body.len());
            let mut value = valid(&Event { body: body.clone(), ..plain.clone() });
            let raw = value["data"]["message"].as_object_mut().unwrap().remove("raw").unwrap();
            (value == valid(&plain), raw, body)
        };
        let own = "{\n \"id\": \"2-TTE=\",\n \"n\": 1.50, \"a\": null\n}";
        let (same, _, body) = rendered(&received(own));
        assert!(same && body.contains(r#""raw":{"id":"2-TTE=","n":1.50,"a":null}"#), "{body}");
        assert_eq!(rendered(&message("See you then")), (true, Value::Null, rendered(&message("See you then")).2));
        let large = format!("{{\"text\":\"{}\"}}", "x".repeat(EVENT_LIMIT - 500));
        let (same, raw, _) = rendered(&received(&large));
        assert!(same && raw.is_null(), "what does not fit is left out, and nothing else is cut for it");
        let both = Message { text: "x".repeat(EVENT_LIMIT), ..received(&large) };
        assert!(rendered(&both).1.is_null());
    }
}
