//! Messages of a chat, newest first, and one by its id.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::paging::{RawQuery, Wanted, envelope, stamp, written};
use super::{Ask, Below, Refusal, answer_live};
use crate::simulator::Endpoint;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::{Answer, Incoming, Twist};
use crate::simulator::people::OWNER;
use crate::simulator::unipile::index::{Moment, moment};
use crate::simulator::unipile::switches::UnipileSwitches;
use crate::simulator::unipile::{attachments, ids};
use crate::simulator::world::{Dialect, Kind, State};
use crate::time::UnixMillis;

const DIALECT: Dialect = Dialect::UnipileV2;

#[derive(Serialize)]
struct MessageBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    timestamp: Value,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    rest: Option<Rest<'a>>,
}

/// What most clients can do without.
#[derive(Serialize)]
struct Rest<'a> {
    object: &'static str,
    chat_id: &'a str,
    sender_id: &'a str,
    sender: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Option<&'a str>>,
    is_sender: bool,
    is_hidden: bool,
    is_seen: bool,
    is_delivered: bool,
    is_pinned: bool,
    is_deleted: bool,
    is_edited: bool,
    is_event: bool,
    is_mentionned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<u8>,
    reactions_counter: [Value; 0],
    provider: &'static str,
    attachments: Value,
}

pub(super) async fn list(Path((account, id)): Below, incoming: Incoming) -> Response {
    let raw = RawQuery::of(&incoming);
    let goes_on = raw.as_ref().is_ok_and(RawQuery::goes_on);
    let ask = Ask { endpoint: Endpoint::UnipileMessages, account, goes_on };
    let concerns = |state: &State| state.unipile.chat(DIALECT, &id).into_iter().collect();
    let respond = |state: &mut State, twist| listed(state, &id, &raw?, twist);
    answer_live(incoming, ask, concerns, respond).await
}

fn listed(state: &mut State, id: &str, raw: &RawQuery, twist: Twist) -> Result<Answer, Refusal> {
    let chat = state.unipile.chat(DIALECT, id).ok_or_else(|| Refusal::not_found("Chat"))?;
    let now = UnixMillis::now();
    let view = state.unipile.view(DIALECT, now);
    let switches = &state.switches.unipile;
    let conversation = &state.conversations[chat.0];
    let wanted = Wanted::<Moment>::read(raw, &format!("chats/{id}"), Some(conversation.kind), switches)?;
    let writer = Writer::new(conversation, switches, state.settings.seed);
    let messages = &conversation.messages;
    let takes = |place: &usize| {
        let message = &messages[*place];
        view.shows(message)
            && wanted.filters.takes(stamp(message.sent_at, switches))
            && wanted.filters.user_id.as_ref().is_none_or(|sender| sender == writer.sender_id(message))
    };
    let before = |end: Option<Moment>| {
        let end = end.map_or(messages.len(), |end| messages.partition_point(|message| moment(message) < end));
        (0..end).rev().filter(|place| takes(place))
    };
    let keyed = before(wanted.behind).map(|place| (moment(&messages[place]), place));
    let (page, next) = wanted.page(keyed, twist.repeat_cursor);
    let total = switches.total_count.then(|| before(None).count());
    let bodies: Vec<_> = page.iter().map(|place| writer.message(&messages[*place])).collect();
    let answer = Answer::ok(&envelope(bodies, total, next));
    if twist.delivered {
        state.conversations[chat.0].mark_served(page, now);
    }
    Ok(answer)
}

pub(super) async fn one(Path((account, id, message)): Path<(String, String, String)>, incoming: Incoming) -> Response {
    let ask = Ask { endpoint: Endpoint::UnipileMessage, account, goes_on: false };
    let concerns = |state: &State| state.unipile.chat(DIALECT, &id).into_iter().collect();
    let respond = |state: &mut State, twist: Twist| {
        let chat = state.unipile.chat(DIALECT, &id).ok_or_else(|| Refusal::not_found("Chat"))?;
        let now = UnixMillis::now();
        let view = state.unipile.view(DIALECT, now);
        let conversation = &state.conversations[chat.0];
        if conversation.kind != Kind::Standard {
            let detail = "A single message cannot be read with this product.";
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "provider/method_not_allowed", detail));
        }
        let sought = |it: &Message| it.id == message && view.shows(it);
        let place = conversation.messages.iter().position(sought).ok_or_else(|| Refusal::not_found("Message"))?;
        let writer = Writer::new(conversation, &state.switches.unipile, state.settings.seed);
        let answer = Answer::ok(&writer.message(&conversation.messages[place]));
        if twist.delivered {
            state.conversations[chat.0].mark_served([place], now);
        }
        Ok(answer)
    };
    answer_live(incoming, ask, concerns, respond).await
}

/// Writes messages of one chat as the switches say.
struct Writer<'a> {
    conversation: &'a Conversation,
    switches: &'a UnipileSwitches,
    owner: String,
}

impl<'a> Writer<'a> {
    fn new(conversation: &'a Conversation, switches: &'a UnipileSwitches, seed: u64) -> Self {
        Self { conversation, switches, owner: ids::owner(seed) }
    }

    fn sender_id(&self, message: &Message) -> &str {
        if message.outbound { &self.owner } else { &self.conversation.person.profile_id }
    }

    fn message<'b>(&'b self, message: &'b Message) -> MessageBody<'b> {
        MessageBody {
            id: (!message.omit_id).then_some(message.id.as_str()),
            timestamp: match &message.time_text {
                Some(text) => json!(text),
                None => written(message.sent_at, self.switches),
            },
            rest: (!self.switches.minimal_messages).then(|| self.rest(message)),
        }
    }

    fn rest<'b>(&'b self, message: &'b Message) -> Rest<'b> {
        let sender_id = self.sender_id(message);
        Rest {
            object: "Message",
            chat_id: &self.conversation.id,
            sender_id,
            sender: self.sender(message),
            text: match message.text.as_str() {
                _ if message.deleted => Some(None),
                "" if !message.attachments.is_null() => None,
                text => Some(Some(text)),
            },
            is_sender: message.outbound,
            is_hidden: message.hidden,
            is_seen: message.outbound,
            is_delivered: true,
            is_pinned: false,
            is_deleted: message.deleted,
            is_edited: message.edited,
            is_event: message.event,
            is_mentionned: false,
            // A change of the chat's name.
            event_type: message.event.then_some(1),
            reactions_counter: [],
            provider: "linkedin",
            attachments: attachments(message),
        }
    }

    fn sender(&self, message: &Message) -> Value {
        let person = &self.conversation.person;
        let (name, slug) = match message.outbound {
            true => (OWNER.name(), OWNER.slug),
            false => (person.name.clone(), person.slug.as_str()),
        };
        json!({
            "object": "User",
            "id": self.sender_id(message),
            "type": "individual",
            "display_name": name,
            "public_identifier": slug,
            "profile_url": format!("https://www.linkedin.com/in/{slug}"),
        })
    }
}
