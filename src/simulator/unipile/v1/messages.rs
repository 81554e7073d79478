//! Messages: of the account, of one chat, and one by its id. Newest first.

use axum::extract::Path;
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::paging::{Last, List, Page};
use super::{DIALECT, Refusal, answer, check_account};
use crate::simulator::Endpoint;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::{Answer, Incoming, Twist};
use crate::simulator::people;
use crate::simulator::unipile::index::{Moment, moment};
use crate::simulator::unipile::{attachments, ids};
use crate::simulator::world::{ConversationRef, State};
use crate::time::UnixMillis;

/// A chat, and the place of a message in it.
type Found = (ConversationRef, usize);

#[derive(Serialize)]
pub(super) struct MessageBody<'a> {
    object: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    account_id: &'a str,
    chat_id: &'a str,
    provider_id: String,
    chat_provider_id: &'a str,
    sender_id: String,
    sender_attendee_id: String,
    text: Option<&'a str>,
    timestamp: Value,
    is_sender: u8,
    seen: u8,
    seen_by: Value,
    hidden: u8,
    deleted: u8,
    edited: u8,
    is_event: u8,
    delivered: u8,
    attachments: Value,
    reactions: [Value; 0],
    behavior: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<u8>,
    original: String,
    message_type: &'static str,
    attendee_type: &'static str,
}

pub(super) async fn of_account(incoming: Incoming) -> Response {
    let page = Page::read(&incoming, None);
    let cursor = page.as_ref().is_ok_and(Page::goes_on);
    let respond = |state: &mut State, twist| {
        let page = page?;
        check_account(state, page.filters.account_id.as_deref())?;
        let (start, end) = bounds(state, &page)?;
        let feed = state.unipile.feed(end).take_while(move |(it, _)| *it >= start);
        let found = feed.filter_map(|(it, chat)| {
            let messages = &state.conversations[chat.0].messages;
            let place = messages.partition_point(|message| moment(message) < it);
            (place < messages.len()).then_some((chat, place))
        });
        let (places, more) = chosen(state, &page, found);
        Ok(listed(state, &page, places, more, twist))
    };
    answer(incoming, Endpoint::UnipileV1Messages, cursor, |_| Vec::new(), respond).await
}

pub(super) async fn of_chat(Path(id): Path<String>, incoming: Incoming) -> Response {
    let page = Page::read(&incoming, Some(&id));
    let cursor = page.as_ref().is_ok_and(Page::goes_on);
    let concerns = |state: &State| state.unipile.chat(DIALECT, &id).into_iter().collect();
    let respond = |state: &mut State, twist| {
        let page = page?;
        // LinkedIn's id will not do here.
        let chat = state.unipile.chat(DIALECT, &id).filter(|chat| state.conversations[chat.0].id == id);
        let chat = chat.ok_or_else(|| Refusal::not_found("Chat"))?;
        let messages = &state.conversations[chat.0].messages;
        let place = |bound: Moment| messages.partition_point(|message| moment(message) < bound);
        let (start, end) = bounds(state, &page)?;
        let found = (place(start)..place(end).max(place(start))).rev().map(|place| (chat, place));
        let (places, more) = chosen(state, &page, found);
        Ok(listed(state, &page, places, more, twist))
    };
    answer(incoming, Endpoint::UnipileV1ChatMessages, cursor, concerns, respond).await
}

pub(super) async fn one(Path(id): Path<String>, incoming: Incoming) -> Response {
    let concerns = |state: &State| state.unipile.message(&id).map(|(_, chat)| chat).into_iter().collect();
    let respond = |state: &mut State, twist: Twist| {
        let (it, chat) = state.unipile.message(&id).ok_or_else(|| Refusal::not_found("Message"))?;
        let now = UnixMillis::now();
        let view = state.unipile.view(DIALECT, now);
        let conversation = &state.conversations[chat.0];
        let sought = |message: &Message| moment(message) == it && view.shows(message);
        let place = conversation.messages.iter().position(sought).ok_or_else(|| Refusal::not_found("Message"))?;
        let answer = Answer::ok(&Writer::new(conversation, state).message(&conversation.messages[place]));
        if twist.delivered {
            state.conversations[chat.0].mark_served([place], now);
        }
        Ok(answer)
    };
    answer(incoming, Endpoint::UnipileV1Message, false, concerns, respond).await
}

/// The first moment of a page's list, and the one that it ends before.
fn bounds(state: &State, page: &Page) -> Result<(Moment, Moment), Refusal> {
    let filters = &page.filters;
    // Both ends are left out, whatever else has their millisecond.
    let start = filters.after.map_or((i64::MIN, 0), |after| (after.as_millis() + 1, 0));
    let before = filters.before.map_or((i64::MAX, u64::MAX), |before| (before.as_millis(), 0));
    let last = match &page.last {
        None => before,
        Some(last) => {
            let ((_, seq), _) = state.unipile.message(&last.id).ok_or_else(Page::bad_cursor)?;
            (last.date.as_millis(), seq)
        }
    };
    Ok((start, before.min(last)))
}

/// The page out of what is found, and whether there is more.
fn chosen(state: &State, page: &Page, found: impl Iterator<Item = Found>) -> (Vec<Found>, bool) {
    let view = state.unipile.view(DIALECT, UnixMillis::now());
    let takes = |(chat, place): &Found| {
        let conversation = &state.conversations[chat.0];
        let message = &conversation.messages[*place];
        let by = |sender: &String| *sender == sender_id(conversation, message, state.settings.seed);
        view.shows(message) && page.filters.sender_id.as_ref().is_none_or(by)
    };
    let mut found = found.filter(takes);
    let places = found.by_ref().take(page.limit).collect();
    (places, found.next().is_some())
}

fn listed(state: &mut State, page: &Page, places: Vec<Found>, more: bool, twist: Twist) -> Answer {
    let message = |(chat, place): &Found| {
        let conversation = &state.conversations[chat.0];
        Writer::new(conversation, state).message(&conversation.messages[*place])
    };
    let last = places.last().filter(|_| more).map(|(chat, place)| {
        let message = &state.conversations[chat.0].messages[*place];
        Last { id: message.id.clone(), date: message.sent_at }
    });
    let cursor = page.cursor(last, twist.repeat_cursor);
    let items: Vec<_> = places.iter().map(message).collect();
    let answer = Answer::ok(&List { object: "MessageList", items, cursor });
    if twist.delivered {
        let now = UnixMillis::now();
        for (chat, place) in places {
            state.conversations[chat.0].mark_served([place], now);
        }
    }
    answer
}

fn sender_id(conversation: &Conversation, message: &Message, seed: u64) -> String {
    if message.outbound { ids::owner(seed) } else { conversation.person.profile_id.clone() }
}

/// Writes messages of one chat.
pub(super) struct Writer<'a> {
    conversation: &'a Conversation,
    account_id: &'a str,
    seed: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(conversation: &'a Conversation, state: &'a State) -> Self {
        Self { conversation, account_id: &state.settings.unipile_v1_account_id, seed: state.settings.seed }
    }

    pub(super) fn message(&self, message: &'a Message) -> MessageBody<'a> {
        let provider_id = people::message_token(message.sent_at.as_millis(), self.seed, message.seq);
        let attendee = if message.outbound { u64::MAX } else { self.conversation.person.member_number };
        MessageBody {
            object: "Message",
            id: (!message.omit_id).then_some(message.id.as_str()),
            account_id: self.account_id,
            chat_id: &self.conversation.id,
            chat_provider_id: &self.conversation.thread,
            sender_id: sender_id(self.conversation, message, self.seed),
            sender_attendee_id: ids::attendee_v1(self.seed, attendee),
            text: match message.text.as_str() {
                _ if message.deleted => None,
                "" if !message.attachments.is_null() => None,
                text => Some(text),
            },
            timestamp: match &message.time_text {
                Some(text) => json!(text),
                None => json!(message.sent_at),
            },
            is_sender: message.outbound.into(),
            seen: message.outbound.into(),
            seen_by: json!({}),
            hidden: message.hidden.into(),
            deleted: message.deleted.into(),
            edited: message.edited.into(),
            is_event: message.event.into(),
            delivered: 1,
            attachments: attachments(message),
            reactions: [],
            behavior: None,
            // A change of the subject.
            event_type: message.event.then_some(4),
            original: json!({ "entityUrn": provider_id, "deliveredAt": message.sent_at.as_millis() }).to_string(),
            provider_id,
            message_type: "MESSAGE",
            attendee_type: "MEMBER",
        }
    }
}
