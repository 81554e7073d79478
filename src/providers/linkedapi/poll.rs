//! `POST /conversations/poll`: the body is an array of conversations, the answer has an entry for each.

use std::collections::HashMap;

use reqwest::Method;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{LinkedApi, errors, one_spelling, wire_type};
use crate::model::{Conversation, Direction, Flag, Message, MessageId, Sender, assign_missing_ids};
use crate::providers::http::Answer;
use crate::providers::json::{Document, Object, kept};
use crate::providers::moment::moment;
use crate::providers::{Class, Error, Page, PageRequest, Proof, Unreadable};
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

/// What the answer has for one conversation.
struct Entry {
    person_url: Option<String>,
    kind: Option<String>,
    /// `None`: the entry has no list of messages.
    messages: Option<Vec<Message>>,
    sync_until: Option<UnixMillis>,
    unreadable: Unreadable,
}

impl Entry {
    fn read(object: &Object<'_>) -> Self {
        let messages = object.list("messages").map(|list| list.each(SAYS_NOTHING, |message, raw| told(message, raw)));
        Self {
            person_url: object.text("personUrl").map(Into::into),
            kind: object.text("type").map(Into::into),
            messages,
            sync_until: object.time("syncUntil", moment),
            unreadable: object.take_unreadable(),
        }
    }

    fn answers(&self, conversation: &Conversation) -> bool {
        self.kind.as_deref() == Some(wire_type(conversation))
            && self.person_url.as_deref().is_some_and(|url| one_spelling(url) == one_spelling(&conversation.address))
    }
}

/// What an item lacks that cannot be read.
pub(super) const SAYS_NOTHING: &str = "an object without id, time, sender and text";

impl LinkedApi {
    /// Polls one or more conversations, answered in the order asked.
    pub(super) async fn poll(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let asked: Vec<_> = requests
            .iter()
            .map(|r| Asked { person_url: &r.conversation.address, kind: wire_type(r.conversation), since: r.since })
            .collect();
        let body = serde_json::to_vec(&asked).expect("strings and times always serialise");
        let answer = self.call(Method::POST, "/conversations/poll", Some(body)).await?;
        matched(requests, entries(&answer)?)
    }
}

/// The entries of an answer. One that is no object answers nothing, and whoever waits for it asks alone.
fn entries(answer: &Answer) -> Result<Vec<Entry>, Error> {
    let document = Document::of(&answer.body);
    let result = errors::success(&document, answer)?.list("result");
    let list = result.ok_or_else(|| Error::new(Class::Protocol, "the result of the answer is no array"))?;
    Ok(list.objects().map(|entry| Entry::read(&entry)).collect())
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
        let (Some(kind), Some(url)) = (&entry.kind, &entry.person_url) else { continue };
        let key = (kind.clone(), one_spelling(url));
        if by_person.insert(key, entry).is_some() {
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
    let Some(mut messages) = entry.messages else {
        return Err(Error::new(Class::Protocol, "the entry of the conversation has no messages array"));
    };
    messages.iter_mut().for_each(|message| of(request.conversation, message));
    assign_missing_ids(&mut messages);
    let proof = entry.sync_until.map_or(Proof::Now, Proof::CollectedUntil);
    Ok(Page { messages, proof, unreadable: entry.unreadable, ..Page::default() })
}

/// A message, as both channels have it; `None` where it says nothing.
pub(super) fn told(object: &Object<'_>, raw: &RawValue) -> Option<Message> {
    let sent_at = object.time("time", moment);
    let direction = match object.text("sender").as_deref() {
        Some("us") => Direction::Outbound,
        Some("them") => Direction::Inbound,
        _ => Direction::Unknown,
    };
    let message = Message {
        id: MessageId::new(object.filled("id").unwrap_or_default()),
        direction,
        sent_at,
        sender: Sender::default(),
        text: object.words("text").unwrap_or_default().into(),
        subject: None,
        quoted: None,
        forwarded: None,
        attachments: vec![],
        flags: if sent_at.is_none() { vec![Flag::TimeUnknown] } else { vec![] },
        unannounced: false,
        raw: None,
    };
    let says_nothing = message.says_nothing() && direction == Direction::Unknown;
    (!says_nothing).then(|| Message { raw: Some(kept(raw)), ..message })
}

/// What the conversation knows of the author of one of its messages.
pub(super) fn of(conversation: &Conversation, message: &mut Message) {
    if message.direction == Direction::Inbound {
        message.sender.profile_url.clone_from(&conversation.person_url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::linkedapi::ConversationSettings;

    fn conversation(person: &str) -> Conversation {
        let person_url = format!("https://www.linkedin.com/in/{person}");
        ConversationSettings { person_url, kind: "st".into() }.conversation().unwrap()
    }

    #[test]
    fn an_entry_that_cannot_be_read_takes_no_other_with_it() {
        let people = ["ada", "grace", "mara"].map(conversation);
        let requests = people.each_ref().map(|conversation| PageRequest { conversation, since: None, cursor: None });
        let entry = |person: &str, messages: &str| {
            format!(r#"{{"personUrl":"https://www.linkedin.com/in/{person}","type":"st","messages":{messages}}}"#)
        };
        let good = r#"[{"id":7,"sender":"them","text":"hi","time":1764278128381}]"#;
        let odd = r#"[null, {"text":{"text":"hello"},"sender":[]}, 5]"#;
        let body = format!(
            r#"{{"success":true,"result":[{},null,{},{}]}}"#,
            entry("ada", good),
            entry("mara", odd),
            entry("grace", "{}")
        );
        let answer = Answer { status: Default::default(), headers: Default::default(), body: body.into_bytes() };
        let pages = matched(&requests, entries(&answer).unwrap()).unwrap();
        let [ada, grace, mara] = pages.try_into().unwrap();
        let ada = ada.unwrap();
        assert_eq!((ada.messages[0].id.as_str(), ada.messages[0].direction), ("7", Direction::Inbound));
        assert_eq!(ada.unreadable, Unreadable::default());
        assert_eq!(grace.unwrap_err().class, Class::Protocol);
        let mara = mara.unwrap();
        assert_eq!((mara.messages.len(), mara.messages[0].text.as_str()), (1, "hello"));
        assert_eq!((mara.unreadable.items, mara.unreadable.fields), (2, vec!["sender"]));
    }

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
            let text = serde_json::Value::from(entries.to_vec()).to_string();
            let body = format!(r#"{{"success":true,"result":{text}}}"#).into_bytes();
            let answer = Answer { status: Default::default(), headers: Default::default(), body };
            let pages = matched(&requests, self::entries(&answer).unwrap()).unwrap();
            let ids: Vec<_> = pages.into_iter().map(|page| page.unwrap().messages[0].id.as_str().to_owned()).collect();
            assert_eq!(ids, ["1", "2", "3"]);
        }
    }
}
