//! `POST /conversations/poll`: the stored messages of synced conversations since a time, without pages.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::Response;
use serde::Serialize;
use serde_json::Value;

use super::{Incoming, Refusal, answer, kind_of, success};
use crate::simulator::Endpoint;
use crate::simulator::conversation::{Conversation, Message};
use crate::simulator::exchange::{Answer, Twist};
use crate::simulator::switches::{EmptyText, LinkedApiSwitches, TimeFormat};
use crate::simulator::world::{ConversationRef, Kind, State, arrange};
use crate::time::UnixMillis;

/// One entry of the request.
struct Ask {
    person_url: String,
    kind: Kind,
    /// As sent, for the echo, and as read.
    since: Option<(String, UnixMillis)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Polled<'a> {
    person_url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    person_urn: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync_until: Option<UnixMillis>,
    messages: Vec<PolledMessage<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolledMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    sender: &'static str,
    /// As [`text_of`] says.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Option<&'a str>>,
    time: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<&'a str>,
}

pub(super) async fn poll(incoming: Incoming) -> Response {
    let asks = parse(&incoming.body);
    let concerns = |state: &State| {
        let asks = asks.as_ref().map(|asks| asks.0.as_slice()).unwrap_or_default();
        asks.iter().filter_map(|ask| state.find_person(ask.kind, &ask.person_url)).collect()
    };
    let respond = |state: &mut State, twist, now| match &asks {
        Ok((_, unknown)) if *unknown && state.switches.linked_api.refuse_unknown_fields => {
            Err(Refusal::payload("unknown field"))
        }
        Ok((asks, _)) => polled(state, asks, twist, now),
        Err(message) => Err(Refusal::payload(message.clone())),
    };
    answer(incoming, Endpoint::LinkedApiPoll, concerns, respond).await
}

/// The entries asked for, and whether any has a field that the contract does not know.
fn parse(body: &[u8]) -> Result<(Vec<Ask>, bool), String> {
    let entries: Vec<Value> = serde_json::from_slice(body).map_err(|_| "the body must be an array of objects")?;
    if entries.is_empty() {
        return Err("the array must not be empty".into());
    }
    let mut unknown = false;
    let mut ask = |entry: Value| {
        let Value::Object(mut entry) = entry else { return Err("each entry must be an object") };
        let Some(Value::String(person_url)) = entry.remove("personUrl") else {
            return Err("personUrl must be a string");
        };
        let kind = entry.remove("type").as_ref().and_then(Value::as_str).and_then(kind_of);
        let kind = kind.ok_or("type must be \"st\" or \"nv\"")?;
        let since = match entry.remove("since") {
            None => None,
            Some(Value::String(text)) => {
                let at = UnixMillis::parse(&text).ok_or("since must be an ISO 8601 time")?;
                Some((text, at))
            }
            Some(_) => return Err("since must be a string"),
        };
        unknown |= !entry.is_empty();
        Ok(Ask { person_url, kind, since })
    };
    let asks = entries.into_iter().map(&mut ask).collect::<Result<_, _>>()?;
    Ok((asks, unknown))
}

fn polled(state: &mut State, asks: &[Ask], twist: Twist, now: UnixMillis) -> Result<Answer, Refusal> {
    let mut found = synced(state, asks, now)?;
    if state.switches.linked_api.reorder_batch {
        found.reverse();
    }
    let mut chosen = Vec::with_capacity(found.len());
    for (ask, reference) in found {
        let entropy = state.entropy();
        let switches = &state.switches.linked_api;
        let mut places = choose(&state.conversations[reference.0], ask, switches, now);
        arrange(&mut places, switches.order, entropy);
        chosen.push((ask, reference, places));
    }
    let results: Vec<_> = chosen
        .iter()
        .map(|(ask, reference, places)| {
            result(ask, &state.conversations[reference.0], places, &state.switches.linked_api)
        })
        .collect();
    let answer = success(&results);
    if twist.delivered {
        for (_, reference, places) in chosen {
            state.conversations[reference.0].mark_served(places, now);
        }
    }
    Ok(answer)
}

/// The conversations asked for; unsynced ones fail the whole request or are left out.
fn synced<'a>(state: &State, asks: &'a [Ask], now: UnixMillis) -> Result<Vec<(&'a Ask, ConversationRef)>, Refusal> {
    let switches = &state.switches.linked_api;
    let covered = |reference: &ConversationRef| {
        let until = state.conversations[reference.0].sync_until;
        until.is_some_and(|until| until > now || !switches.lapsed_refused)
    };
    let mut found = Vec::with_capacity(asks.len());
    let mut unsynced = Vec::new();
    for ask in asks {
        match state.find_person(ask.kind, &ask.person_url).filter(covered) {
            Some(reference) => found.push((ask, reference)),
            None => unsynced.push(format!("{} ({})", ask.person_url, ask.kind.code())),
        }
    }
    if !unsynced.is_empty() && (switches.whole_batch_failure || found.is_empty()) {
        let message = format!("These conversations are not synced: {}.", unsynced.join(", "));
        return Err(Refusal::new("conversationsNotSynced", message));
    }
    Ok(found)
}

/// Places of the messages to show, oldest first.
fn choose(conversation: &Conversation, ask: &Ask, switches: &LinkedApiSwitches, now: UnixMillis) -> Vec<usize> {
    let start = ask.since.as_ref().map_or(0, |(_, since)| {
        conversation.messages.partition_point(|message| {
            let at = coarse(message.sent_at, switches.times);
            if switches.since_inclusive { at < *since } else { at <= *since }
        })
    });
    let shown = |place: &usize| {
        let message = &conversation.messages[*place];
        message.is_visible(now) && !was_missed(conversation, message, now)
    };
    (start..conversation.messages.len()).filter(shown).collect()
}

/// Whether a message came when upkeep had ended, which brings nothing new, and nothing says so.
pub(super) fn was_missed(conversation: &Conversation, message: &Message, now: UnixMillis) -> bool {
    let lapsed = conversation.sync_until.filter(|until| *until <= now);
    lapsed.is_some_and(|until| message.sent_at > until || message.visible_at.is_some_and(|at| at > until))
}

/// The text of a message: outer `None` leaves the field out, inner `None` is null.
pub(super) fn text_of(message: &Message, empty_text: EmptyText) -> Option<Option<&str>> {
    match (message.text.as_str(), empty_text) {
        ("", EmptyText::Null) => Some(None),
        ("", EmptyText::Absent) => None,
        (text, _) => Some(Some(text)),
    }
}

fn result<'a>(
    ask: &'a Ask,
    conversation: &'a Conversation,
    places: &[usize],
    switches: &LinkedApiSwitches,
) -> Polled<'a> {
    let message = |place: &usize| {
        let message = &conversation.messages[*place];
        PolledMessage {
            id: (!message.omit_id).then_some(message.id.as_str()),
            sender: if message.outbound { "us" } else { "them" },
            text: text_of(message, switches.empty_text),
            time: match &message.time_text {
                Some(text) => Cow::Borrowed(text),
                None => Cow::Owned(written(message.sent_at, switches.times)),
            },
            thread_id: switches.thread_id.then_some(conversation.thread.as_str()),
        }
    };
    Polled {
        person_url: if switches.echo_person_url {
            Cow::Borrowed(&ask.person_url)
        } else if ask.kind == Kind::Standard {
            Cow::Owned(conversation.hashed_url())
        } else {
            Cow::Owned(format!("{}/", conversation.address))
        },
        person_urn: switches.person_urn.then(|| format!("urn:li:member:{}", conversation.person.member_number)),
        kind: conversation.kind.code(),
        since: ask.since.as_ref().map(|(text, _)| text.as_str()),
        sync_until: conversation.sync_until.filter(|_| switches.sync_until),
        messages: places.iter().map(message).collect(),
    }
}

/// The time at the precision of the answers.
pub(super) fn coarse(at: UnixMillis, format: TimeFormat) -> UnixMillis {
    let step = match format {
        TimeFormat::Millis | TimeFormat::Offset => 1,
        TimeFormat::Seconds => 1_000,
        TimeFormat::Minutes => 60_000,
    };
    UnixMillis::from_millis(at.as_millis() - at.as_millis().rem_euclid(step))
}

pub(super) fn written(at: UnixMillis, format: TimeFormat) -> String {
    const EAST: Duration = Duration::from_secs(2 * 3600);
    match format {
        TimeFormat::Millis => at.to_string(),
        TimeFormat::Seconds | TimeFormat::Minutes => coarse(at, format).to_string().replace(".000Z", "Z"),
        TimeFormat::Offset => (at + EAST).to_string().replace('Z', "+02:00"),
    }
}
