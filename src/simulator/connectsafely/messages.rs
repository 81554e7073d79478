//! `GET /conversations/{urn}/messages`: one page of a conversation, walked from newest to oldest.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::Path;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Incoming, Refusal, answer, check_account, number, query, success, truth};
use crate::simulator::Endpoint;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::{Answer, Twist};
use crate::simulator::people::{self, OWNER};
use crate::simulator::switches::{ConnectSafelySwitches, OwnerFlag, SenderForm, Truncation, UrnForm};
use crate::simulator::world::{Kind, State, arrange};
use crate::time::UnixMillis;

const DEFAULT_COUNT: usize = 50;

/// The query as sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAsk {
    account_id: Option<String>,
    count: Option<String>,
    cursor: Option<String>,
    since: Option<String>,
    sync: Option<String>,
}

/// The query as read.
struct Ask {
    count: usize,
    cursor: Option<UnixMillis>,
    since: Option<UnixMillis>,
    sync: bool,
}

/// What goes onto a page.
struct Page {
    /// Oldest first.
    places: Vec<usize>,
    has_more: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageBody<'a> {
    success: bool,
    messages: Vec<MessageBody<'a>>,
    participants: [Participant<'a>; 1],
    has_more: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    note: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_urn: Option<Cow<'a, str>>,
    text: &'a str,
    sent_at: SentAt<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_profile_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id: Option<&'a str>,
    sender_name: &'a str,
    sender_photo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_sent_by_owner: Option<bool>,
    has_attachment: bool,
    attachments: Cow<'a, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SentAt<'a> {
    Number(i64),
    Text(Cow<'a, str>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Participant<'a> {
    profile_id: &'a str,
    name: &'a str,
    headline: &'static str,
    profile_picture: Option<&'a str>,
}

pub(super) async fn page(Path(urn): Path<String>, incoming: Incoming) -> Response {
    let ask = query::<RawAsk>(&incoming);
    let cursor = ask.as_ref().is_ok_and(|ask| ask.cursor.is_some());
    let concerns = |state: &State| state.find_thread(&urn).into_iter().collect();
    let respond = |state: &mut State, twist| respond(state, &urn, ask?, twist);
    answer(incoming, Endpoint::ConnectSafelyMessages, cursor, concerns, respond).await
}

fn respond(state: &mut State, urn: &str, raw: RawAsk, twist: Twist) -> Result<Answer, Refusal> {
    check_account(state, raw.account_id.as_deref())?;
    let ask = read(&raw, &state.switches.connect_safely)?;
    let reference = state.find_thread(urn).ok_or_else(|| Refusal::not_found("Conversation"))?;
    let now = UnixMillis::now();
    let entropy = state.entropy();
    let switches = &state.switches.connect_safely;
    let conversation = &state.conversations[reference.0];
    let mut page = choose(conversation, &ask, switches, now);
    let oldest = page.places.first().map(|place| conversation.messages[*place].sent_at.as_millis().to_string());
    let (has_more, cursor) = if twist.repeat_cursor {
        (true, raw.cursor.clone().or(oldest))
    } else {
        (page.has_more, oldest.filter(|_| page.has_more || switches.cursor_on_last_page))
    };
    arrange(&mut page.places, switches.order, entropy);
    let writer = Writer::new(conversation, switches, state.settings.seed);
    let body = PageBody {
        success: true,
        messages: page.places.iter().map(|place| writer.message(&conversation.messages[*place])).collect(),
        participants: [Participant {
            profile_id: &conversation.person.profile_id,
            name: &conversation.person.name,
            headline: "Operations lead",
            profile_picture: None,
        }],
        has_more,
        cursor,
        note: switches.note.as_deref(),
    };
    let answer = success(&state.switches, &body);
    if twist.delivered {
        state.conversations[reference.0].mark_served(page.places, now);
    }
    Ok(answer)
}

fn read(raw: &RawAsk, switches: &ConnectSafelySwitches) -> Result<Ask, Refusal> {
    let moment = |millis: Option<i64>| millis.map(UnixMillis::from_millis);
    let count =
        number("count", raw.count.as_deref(), 1)?.map_or(DEFAULT_COUNT, |count| usize::try_from(count).unwrap_or(1));
    Ok(Ask {
        count: count.min(switches.page_cap).max(1),
        cursor: moment(number("cursor", raw.cursor.as_deref(), i64::MIN)?),
        since: moment(number("since", raw.since.as_deref(), 0)?),
        sync: truth("sync", raw.sync.as_deref())?.unwrap_or(true),
    })
}

fn choose(conversation: &Conversation, ask: &Ask, switches: &ConnectSafelySwitches, now: UnixMillis) -> Page {
    let messages = &conversation.messages;
    let before = |moment: UnixMillis, inclusive: bool| {
        messages.partition_point(|message| message.sent_at < moment || (inclusive && message.sent_at == moment))
    };
    let ignores_since = conversation.kind == Kind::SalesNavigator && switches.sales_navigator_ignores_since;
    let since = ask.since.filter(|_| ask.cursor.is_none() && !ignores_since);
    let start = since.map_or(0, |since| before(since, !switches.since_inclusive));
    let end = ask.cursor.map_or(messages.len(), |cursor| before(cursor, switches.cursor_inclusive));
    let lag = Duration::from_millis(if ask.sync { 0 } else { switches.database_lag_ms });
    let shown = |place: &usize| messages[*place].is_visible(now) && messages[*place].is_copied(now, lag);
    let places: Vec<usize> = if since.is_some() && switches.since_keeps == Truncation::Oldest {
        (start..end).filter(shown).take(ask.count).collect()
    } else {
        let mut newest: Vec<usize> = (start..end).rev().filter(shown).take(ask.count).collect();
        newest.reverse();
        newest
    };
    let history = if switches.has_more_counts_history { 0 } else { start };
    let oldest = places.first().copied().unwrap_or(start);
    let has_more = (history..oldest).rev().any(|place| shown(&place));
    Page { places, has_more }
}

/// Writes messages of one conversation as the switches say.
struct Writer<'a> {
    conversation: &'a Conversation,
    switches: &'a ConnectSafelySwitches,
    /// The owner of the mailbox, as its URNs have them.
    owner: String,
    /// The owner as a sender: with another kind of id in Sales Navigator.
    owner_id: String,
    owner_name: String,
}

impl<'a> Writer<'a> {
    fn new(conversation: &'a Conversation, switches: &'a ConnectSafelySwitches, seed: u64) -> Self {
        let owner = people::profile_id("ACoAA", seed, u64::MAX);
        let owner_id = match conversation.kind {
            Kind::SalesNavigator => people::profile_id("ACwAA", seed, u64::MAX),
            _ => owner.clone(),
        };
        let owner_name = switches.owner_name.clone().unwrap_or_else(|| OWNER.name());
        Self { conversation, switches, owner, owner_id, owner_name }
    }

    fn message<'b>(&'b self, message: &'b Message) -> MessageBody<'b> {
        let person = &self.conversation.person;
        let has_attachment = !message.attachments.is_null();
        let id = if message.outbound { self.owner_id.as_str() } else { person.profile_id.as_str() };
        let form = self.switches.sender;
        MessageBody {
            message_urn: (!message.omit_id).then(|| self.urn(message)),
            text: &message.text,
            sent_at: match (&message.time_text, self.switches.sent_at_string) {
                (Some(text), _) => SentAt::Text(Cow::Borrowed(text)),
                (None, true) => SentAt::Text(Cow::Owned(message.sent_at.as_millis().to_string())),
                (None, false) => SentAt::Number(message.sent_at.as_millis()),
            },
            sender_profile_id: match form {
                SenderForm::Absent | SenderForm::SenderId => None,
                SenderForm::Slug if message.outbound => Some(OWNER.slug),
                SenderForm::Slug => Some(&person.slug),
                SenderForm::ProfileId => Some(id),
            },
            sender_id: (form == SenderForm::SenderId).then_some(id),
            sender_name: if message.outbound { &self.owner_name } else { &person.name },
            sender_photo: None,
            is_sent_by_owner: match self.switches.owner_flag {
                OwnerFlag::True => Some(message.outbound),
                OwnerFlag::Inverted => Some(!message.outbound),
                OwnerFlag::AlwaysFalse => Some(false),
                OwnerFlag::Absent => None,
            },
            has_attachment,
            attachments: if has_attachment {
                Cow::Borrowed(&message.attachments)
            } else {
                Cow::Owned(if self.switches.null_attachments { Value::Null } else { Value::Array(Vec::new()) })
            },
        }
    }

    fn urn<'b>(&self, message: &'b Message) -> Cow<'b, str> {
        if let Some(verbatim) = &message.verbatim_id {
            return Cow::Borrowed(verbatim);
        }
        let id = &message.id;
        Cow::Owned(match self.switches.message_urn {
            UrnForm::Mailbox => format!("urn:li:msg_message:(urn:li:fsd_profile:{},{id})", self.owner),
            UrnForm::OtherMailbox => {
                format!("urn:li:msg_message:(urn:li:fsd_profile:{},{id})", self.conversation.person.profile_id)
            }
            UrnForm::Messaging => format!("urn:li:messagingMessage:{id}"),
        })
    }
}
