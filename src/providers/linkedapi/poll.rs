//! `POST /conversations/poll`: the body is an array of conversations, the answer has an entry for each.

use std::collections::HashMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{LinkedApi, errors, one_spelling, wire_type};
use crate::model::{Conversation, Direction, Flag, Message, MessageId, Sender, assign_missing_ids};
use crate::providers::json::Received;
use crate::providers::{Class, Error, Page, PageRequest, Proof};
use crate::time::UnixMillis;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    person_url: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    // Left out, never null: that is how the SDKs ask for everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<UnixMillis>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    person_url: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    messages: Option<Vec<Received<WireMessage>>>,
    #[serde(default)]
    sync_until: Option<Value>,
}

impl Entry {
    fn answers(&self, conversation: &Conversation) -> bool {
        self.kind.as_deref() == Some(wire_type(conversation))
            && self.person_url.as_deref().is_some_and(|url| one_spelling(url) == one_spelling(&conversation.address))
    }
}

/// A message, as both channels have it.
#[derive(Deserialize)]
pub(super) struct WireMessage {
    #[serde(default)]
    pub(super) id: Option<Value>,
    #[serde(default)]
    sender: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    pub(super) time: Option<Value>,
}

impl LinkedApi {
    /// Polls one or more conversations, answered in the order asked.
    pub(super) async fn poll(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let asked: Vec<_> = requests
            .iter()
            .map(|r| Asked { person_url: &r.conversation.address, kind: wire_type(r.conversation), since: r.since })
            .collect();
        let body = serde_json::to_vec(&asked).expect("strings and times always serialise");
        let answer = self.call(Method::POST, "/conversations/poll", Some(body)).await?;
        let entries: Vec<Entry> = errors::result(&answer)?;
        matched(requests, entries)
    }
}

/// Puts the entries in the order of the requests, by type and person. That the answer keeps the order or repeats the
/// person's URL to the letter is not promised.
fn matched(requests: &[PageRequest<'_>], mut entries: Vec<Entry>) -> Result<Vec<Result<Page, Error>>, Error> {
    if requests.len() == 1 && entries.len() == 1 {
        return Ok(vec![page(requests[0], entries.remove(0))]);
    }
    let in_order = entries.len() == requests.len()
        && requests.iter().zip(&entries).all(|(request, entry)| entry.answers(request.conversation));
    if in_order {
        return Ok(requests.iter().zip(entries).map(|(request, entry)| page(*request, entry)).collect());
    }
    let mut by_person: HashMap<(String, String), Entry> = HashMap::with_capacity(entries.len());
    for entry in entries {
        let kind = entry.kind.clone().unwrap_or_default();
        let person = one_spelling(entry.person_url.as_deref().unwrap_or_default());
        if by_person.insert((kind, person), entry).is_some() {
            return Err(Error::new(Class::Protocol, "the answer has two entries for one conversation"));
        }
    }
    let pages = requests.iter().map(|request| {
        let person = one_spelling(&request.conversation.address);
        match by_person.remove(&(wire_type(request.conversation).to_owned(), person)) {
            Some(entry) => page(*request, entry),
            None => Err(Error::new(Class::Protocol, "the answer has no entry for the conversation")),
        }
    });
    Ok(pages.collect())
}

fn page(request: PageRequest<'_>, entry: Entry) -> Result<Page, Error> {
    let Some(messages) = entry.messages else {
        return Err(Error::new(Class::Protocol, "the entry of the conversation has no messages array"));
    };
    let mut messages: Vec<_> = messages.into_iter().map(|m| message(request.conversation, m.part, m.raw)).collect();
    assign_missing_ids(&mut messages);
    let proof = entry.sync_until.as_ref().and_then(time).map_or(Proof::Now, Proof::CollectedUntil);
    Ok(Page { messages, proof, ..Page::default() })
}

pub(super) fn message(conversation: &Conversation, wire: WireMessage, raw: Box<RawValue>) -> Message {
    let sent_at = wire.time.as_ref().and_then(time);
    let direction = match wire.sender.as_deref() {
        Some("us") => Direction::Outbound,
        Some("them") => Direction::Inbound,
        _ => Direction::Unknown,
    };
    let profile_url = if direction == Direction::Inbound { conversation.person_url.clone() } else { None };
    let id = match wire.id {
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    };
    Message {
        id: MessageId::new(id),
        direction,
        sent_at,
        sender: Sender { id: None, name: None, profile_url },
        text: wire.text.unwrap_or_default(),
        attachments: vec![],
        flags: if sent_at.is_none() { vec![Flag::TimeUnknown] } else { vec![] },
        unannounced: false,
        raw: Some(raw),
    }
}

/// Times are RFC 3339 text; a number is taken for milliseconds.
pub(super) fn time(value: &Value) -> Option<UnixMillis> {
    match value {
        Value::String(text) => UnixMillis::parse(text),
        Value::Number(number) => UnixMillis::from_wire_millis(number.as_i64()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConversationSettings;
    use super::*;

    #[test]
    fn an_answer_in_another_spelling_of_the_addresses_is_matched_all_the_same() {
        let conversation = |url: &str, kind: &str| {
            ConversationSettings { person_url: url.into(), kind: kind.into() }.conversation().unwrap()
        };
        let asked = [
            conversation("https://de.linkedin.com/in/J%C3%B6rg-Lind/?x=1", "st"),
            conversation("https://www.linkedin.com/in/ada-byron", "st"),
            conversation("https://www.linkedin.com/sales/lead/ACwAAB1,NAME_SEARCH,x", "nv"),
        ];
        let requests: Vec<_> =
            asked.iter().map(|conversation| PageRequest { conversation, since: None, cursor: None }).collect();
        for order in [[0, 1, 2], [2, 0, 1]] {
            let echoed = [
                ("https://www.linkedin.com/in/jörg-lind", "st", "1"),
                ("http://linkedin.com/in/ADA-byron/", "st", "2"),
                ("https://www.linkedin.com/sales/people/ACwAAB1", "nv", "3"),
            ];
            let entries = order.map(|at| {
                let (person_url, kind, id) = echoed[at];
                let messages = [serde_json::json!({"id": id, "text": "x", "time": "2026-01-01T00:00:00Z"})];
                serde_json::json!({"personUrl": person_url, "type": kind, "messages": messages})
            });
            let text = Value::from(entries.to_vec()).to_string();
            let pages = matched(&requests, serde_json::from_str(&text).unwrap()).unwrap();
            let ids: Vec<_> = pages.into_iter().map(|page| page.unwrap().messages[0].id.as_str().to_owned()).collect();
            assert_eq!(ids, ["1", "2", "3"]);
        }
    }
}
