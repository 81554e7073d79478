//! `POST /inbox/poll`: what the monitored inboxes captured, newest first, without pages; or all that is known of one
//! person. Messages have other ids here than in `/conversations/poll`.

use std::collections::{BTreeMap, HashMap};

use axum::response::Response;
use serde_json::{Map, Value, json};

use super::poll::{coarse, text_of, was_missed, written};
use super::{Incoming, Refusal, answer, kind_of, success};
use crate::backoff::mix;
use crate::simulator::Endpoint;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::{Answer, Twist};
use crate::simulator::switches::LinkedApiSwitches;
use crate::simulator::world::{ConversationRef, Dialect, Kind, State};
use crate::time::UnixMillis;

const KINDS: [Kind; 2] = [Kind::Standard, Kind::SalesNavigator];

/// The account's inboxes, whether they are monitored or not.
#[derive(Default)]
pub(in crate::simulator) struct Inbox {
    threads: HashMap<String, ConversationRef>,
    /// Every message, by time and number.
    by_time: BTreeMap<(i64, u64), ConversationRef>,
    /// From when messages of a kind are captured; set by a workflow.
    monitored: HashMap<Kind, UnixMillis>,
}

impl Inbox {
    /// Captures messages of this kind from `now` on; a repeat changes nothing.
    pub(super) fn monitor(&mut self, kind: Kind, now: UnixMillis) {
        self.monitored.entry(kind).or_insert(now);
    }

    /// From when messages of a kind are captured.
    fn captures_from(&self, kind: Kind, switches: &LinkedApiSwitches) -> Option<UnixMillis> {
        if switches.inbox_monitoring {
            Some(UnixMillis::from_millis(i64::MIN))
        } else {
            self.monitored.get(&kind).copied()
        }
    }
}

impl State {
    /// Takes a new conversation up, if it is one of Linked API.
    pub(in crate::simulator) fn linked_api_added(&mut self, reference: ConversationRef) {
        let conversation = &self.conversations[reference.0];
        if conversation.dialect == Dialect::LinkedApi {
            self.inbox.threads.insert(conversation.thread.clone(), reference);
        }
    }

    /// Notes a new message, if its conversation is one of Linked API.
    pub(in crate::simulator) fn linked_api_written(&mut self, reference: ConversationRef, place: usize) {
        let conversation = &self.conversations[reference.0];
        if conversation.dialect == Dialect::LinkedApi {
            let message = &conversation.messages[place];
            self.inbox.by_time.insert((message.sent_at.as_millis(), message.seq), reference);
        }
    }
}

/// The id of a message in the inbox of the whole account; only Linked API has one.
pub(in crate::simulator) fn inbox_message_id(
    conversation: &Conversation,
    message: &Message,
    seed: u64,
) -> Option<String> {
    (conversation.dialect == Dialect::LinkedApi).then(|| format!("inb-{:016x}", mix(seed, message.seq)))
}

/// What is asked for.
struct Ask {
    kind: Option<Kind>,
    since: Option<UnixMillis>,
    thread_id: Option<String>,
    person_url: Option<String>,
    unknown_field: bool,
}

fn parse(body: &[u8]) -> Result<Ask, Refusal> {
    let mut body: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| Refusal::payload("the body must be an object"))?;
    let mut text = |name: &str| match body.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::payload(format!("{name} must be a string"))),
    };
    let kind = match text("type")? {
        None => None,
        Some(code) => Some(kind_of(&code).ok_or_else(|| Refusal::payload("type must be \"st\" or \"nv\""))?),
    };
    let since = match text("since")? {
        None => None,
        Some(text) => Some(UnixMillis::parse(&text).ok_or_else(|| Refusal::payload("since must be an ISO 8601 time"))?),
    };
    let (thread_id, person_url) = (text("threadId")?, text("personUrl")?);
    Ok(Ask { kind, since, thread_id, person_url, unknown_field: !body.is_empty() })
}

pub(super) async fn poll(incoming: Incoming) -> Response {
    let ask = parse(&incoming.body);
    let concerns = |state: &State| match &ask {
        Ok(Ask { person_url: Some(url), .. }) => people(state, url),
        Ok(Ask { thread_id: Some(id), .. }) => state.inbox.threads.get(id).copied().into_iter().collect(),
        Ok(_) => state.inbox.threads.values().copied().collect(),
        Err(_) => Vec::new(),
    };
    let respond = |state: &mut State, twist, now| {
        let ask = ask.as_ref().map_err(Refusal::clone)?;
        if ask.unknown_field && state.switches.linked_api.refuse_unknown_fields {
            return Err(Refusal::payload("unknown field"));
        }
        if let Some(id) = &ask.thread_id
            && !state.inbox.threads.contains_key(id)
        {
            return Err(Refusal::new("threadNotFound", "No such thread."));
        }
        match &ask.person_url {
            Some(_) if !state.switches.linked_api.inbox_by_person => Err(Refusal::payload("personUrl is not known")),
            Some(url) => Ok(of_person(state, ask, url, twist, now)),
            None => of_account(state, ask, twist, now),
        }
    };
    answer(incoming, Endpoint::LinkedApiInboxPoll, concerns, respond).await
}

/// The conversations with a person: at most one of each kind.
fn people(state: &State, url: &str) -> Vec<ConversationRef> {
    KINDS.into_iter().filter_map(|kind| state.find_person(kind, url)).collect()
}

impl Ask {
    fn wants(&self, conversation: &Conversation, message: &Message, switches: &LinkedApiSwitches) -> bool {
        let at = coarse(message.sent_at, switches.times);
        self.kind.is_none_or(|kind| kind == conversation.kind)
            && self.thread_id.as_ref().is_none_or(|id| *id == conversation.thread)
            && self.since.is_none_or(|since| if switches.since_inclusive { at >= since } else { at > since })
    }
}

/// The place of a message that the index knows by time and number.
fn place(conversation: &Conversation, (sent_at, seq): (i64, u64)) -> Option<usize> {
    let messages = &conversation.messages;
    let first = messages.partition_point(|message| message.sent_at.as_millis() < sent_at);
    (first..messages.len()).find(|place| messages[*place].seq == seq)
}

/// What the inboxes captured of the whole account.
fn of_account(state: &mut State, ask: &Ask, twist: Twist, now: UnixMillis) -> Result<Answer, Refusal> {
    /// The coarsest precision of times.
    const MINUTE: i64 = 60_000;
    let switches = &state.switches.linked_api;
    let inbox = &state.inbox;
    let asked_for = |kind: &Kind| ask.kind.is_none_or(|only| only == *kind);
    if !KINDS.iter().filter(|kind| asked_for(kind)).any(|kind| inbox.captures_from(*kind, switches).is_some()) {
        return match &switches.inbox_unsynced {
            Some(error_type) => Err(Refusal::new(error_type, "The inbox is not synced.")),
            None => Ok(success(json!({ "messages": [] }))),
        };
    }
    let from = ask.since.map_or(i64::MIN, |since| since.as_millis().saturating_sub(MINUTE));
    let mut chosen = Vec::new();
    for (key, reference) in inbox.by_time.range((from, 0)..).rev() {
        let conversation = &state.conversations[reference.0];
        let Some(place) = place(conversation, *key) else { continue };
        let message = &conversation.messages[place];
        let captured = inbox.captures_from(conversation.kind, switches).is_some_and(|from| message.created_at >= from);
        if captured && message.is_visible(now) && ask.wants(conversation, message, switches) {
            chosen.push((*reference, place));
        }
    }
    let seed = state.settings.seed;
    let written = chosen.iter().map(|(reference, place)| {
        let conversation = &state.conversations[reference.0];
        let message = &conversation.messages[*place];
        let mut written = message_body(conversation, message, switches);
        if !message.omit_id {
            written["id"] = json!(inbox_message_id(conversation, message, seed));
        }
        written
    });
    let answer = success(json!({ "messages": written.collect::<Vec<_>>() }));
    mark_served(state, chosen, twist, now);
    Ok(answer)
}

/// What is known of the conversations with one person: captured, or loaded by a sync.
fn of_person(state: &mut State, ask: &Ask, url: &str, twist: Twist, now: UnixMillis) -> Answer {
    let switches = &state.switches.linked_api;
    let seed = state.settings.seed;
    let mut chosen = Vec::new();
    let mut messages = Vec::new();
    let mut threads = Vec::new();
    for reference in people(state, url) {
        let conversation = &state.conversations[reference.0];
        let from = state.inbox.captures_from(conversation.kind, switches);
        let captured = |message: &Message| from.is_some_and(|from| message.created_at >= from);
        let loaded = |message: &Message| conversation.sync_until.is_some() && !was_missed(conversation, message, now);
        let known = |message: &&Message| message.is_visible(now) && (captured(message) || loaded(message));
        let wanted = ask.kind.is_none_or(|kind| kind == conversation.kind)
            && ask.thread_id.as_ref().is_none_or(|id| *id == conversation.thread);
        let first = conversation.messages.iter().find(known);
        if !wanted || (first.is_none() && conversation.sync_until.is_none()) {
            continue;
        }
        threads.push(json!({
            "threadId": conversation.thread,
            "type": conversation.kind.code(),
            "personUrn": urn(conversation, switches),
            "historyFrom": first.map(|message| written(message.sent_at, switches.times)),
            "historyComplete": conversation.sync_until.is_some(),
        }));
        for (place, message) in conversation.messages.iter().enumerate().filter(|(_, message)| known(message)) {
            if !ask.wants(conversation, message, switches) {
                continue;
            }
            let mut written = message_body(conversation, message, switches);
            let inbox_id = inbox_message_id(conversation, message, seed);
            if !message.omit_id {
                let id = if switches.inbox_shares_ids { Some(message.id.clone()) } else { inbox_id.clone() };
                written["id"] = json!(id);
            }
            let captured = captured(message);
            written["inboxMessageId"] = json!(inbox_id.filter(|_| captured));
            // What only a sync has loaded does not know its thread.
            if !captured {
                written["threadId"] = Value::Null;
            }
            messages.push((message.sent_at, message.seq, written));
            chosen.push((reference, place));
        }
    }
    messages.sort_by_key(|(sent_at, seq, _)| std::cmp::Reverse((*sent_at, *seq)));
    let messages: Vec<Value> = messages.into_iter().map(|(_, _, written)| written).collect();
    let answer = success(json!({ "messages": messages, "threads": threads }));
    mark_served(state, chosen, twist, now);
    answer
}

fn mark_served(state: &mut State, chosen: Vec<(ConversationRef, usize)>, twist: Twist, now: UnixMillis) {
    for (reference, place) in chosen.into_iter().filter(|_| twist.delivered) {
        state.conversations[reference.0].mark_served([place], now);
    }
}

fn urn(conversation: &Conversation, switches: &LinkedApiSwitches) -> Option<String> {
    switches.person_urn.then(|| format!("urn:li:member:{}", conversation.person.member_number))
}

/// A message but for its ids.
fn message_body(conversation: &Conversation, message: &Message, switches: &LinkedApiSwitches) -> Value {
    let public = conversation.kind == Kind::Standard && switches.inbox_public_url;
    let mut body = json!({
        "type": conversation.kind.code(),
        "threadId": conversation.thread,
        "personUrn": urn(conversation, switches),
        "personHashedUrl": conversation.hashed_url(),
        "personPublicUrl": public.then_some(&conversation.address),
        "personUrl": conversation.hashed_url(),
        "sender": if message.outbound { "us" } else { "them" },
        "time": message.time_text.clone().unwrap_or_else(|| written(message.sent_at, switches.times)),
    });
    if let Some(text) = text_of(message, switches.empty_text) {
        body["text"] = json!(text);
    }
    body
}
