//! Messages, read tolerantly: nothing but an object is required of one.

use serde_json::Value;

use super::person::{Author, Sides, profile_url};
use super::reply::{Reply, moment, text};
use super::settings::{Settings, is_profile};
use crate::model::{Conversation, Direction, Flag, Message, MessageId, Sender, assign_missing_ids};
use crate::providers::{Class, Error, urn};

/// The messages of an answer, with those that it had as `received`; anything but an array of objects is an error.
pub(super) fn read(
    reply: &Reply,
    received: &[u8],
    conversation: &Conversation,
    settings: &Settings,
) -> Result<Vec<Message>, Error> {
    let wire = reply.messages().filter(|wire| wire.iter().all(Value::is_object));
    let wire = wire.ok_or_else(|| Error::new(Class::Protocol, "the answer has no array of messages"))?;
    let authors: Vec<_> = wire.iter().map(author).collect();
    let counterpart = conversation.person_url.as_deref();
    let sides = Sides {
        owner_id: urn::mailbox_owner(&conversation.address)
            .or_else(|| wire.iter().find_map(|message| urn::mailbox_owner(message["entity_urn"].as_str()?))),
        owner_name: settings.owner_name.as_deref(),
        counterpart,
        nobody_else: is_profile(&conversation.address)
            && authors.iter().any(|author| counterpart.is_some() && author.profile_url.as_deref() == counterpart),
    };
    let mut messages: Vec<_> = wire
        .iter()
        .zip(authors)
        .map(|(wire, author)| {
            let direction = sides.direction(&author);
            message(wire, author, direction, &settings.include)
        })
        .collect();
    assign_missing_ids(&mut messages);
    for (message, raw) in messages.iter_mut().zip(reply.raw_messages(received)) {
        message.raw = Some(raw);
    }
    Ok(messages)
}

/// `sender` is a display name in the documentation and an object in a public client.
fn author(wire: &Value) -> Author {
    let (sender, info) = (&wire["sender"], &wire["sender_info"]);
    let name = text(wire, "sender").or_else(|| text(sender, "name")).or_else(|| text(info, "name"));
    let full_name: Vec<_> = ["first_name", "last_name"].iter().filter_map(|part| text(info, part)).collect();
    let url = text(info, "profile_url").or_else(|| text(sender, "profile_url"));
    Author {
        name: name.map(str::to_owned),
        full_name: (!full_name.is_empty()).then(|| full_name.join(" ")),
        profile_url: url.and_then(profile_url),
    }
}

fn message(wire: &Value, author: Author, direction: Direction, include: &[String]) -> Message {
    let sent_at = moment(&wire["timestamp"]);
    let attachments = wire["attachments"].as_array().cloned().unwrap_or_default();
    let content = match &wire["text"] {
        Value::Null => String::new(),
        Value::String(content) => content.clone(),
        other => other.to_string(),
    };
    let kind = text(wire, "message_type").unwrap_or("TEXT").trim();
    let empty = content.is_empty() && attachments.is_empty();
    let included = include.iter().any(|included| included.eq_ignore_ascii_case(kind));
    Message {
        id: MessageId::new(id(wire)),
        direction,
        sent_at,
        sender: Sender { id: None, name: author.name.or(author.full_name), profile_url: author.profile_url },
        text: content,
        attachments,
        flags: if sent_at.is_none() { vec![Flag::TimeUnknown] } else { vec![] },
        unannounced: !included && !is_by_a_person(kind, empty),
        raw: None,
    }
}

/// Types other than these two exist without being documented: one that comes with content is taken for a person's.
fn is_by_a_person(kind: &str, empty: bool) -> bool {
    kind.eq_ignore_ascii_case("TEXT") || !(kind.eq_ignore_ascii_case("SYSTEM") || empty)
}

fn id(wire: &Value) -> String {
    match text(wire, "entity_urn").or_else(|| text(wire, "id")) {
        Some(urn) => urn::message_id(urn).to_owned(),
        None => wire["id"].as_number().map(ToString::to_string).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::conversation;
    use super::*;

    fn read_with(settings: &str, conversation: &Conversation, messages: Value) -> Result<Vec<Message>, Error> {
        let body = json!({"data": {"messages": messages}});
        let settings = serde_json::from_str(&format!(r#"{{"api_key":"k"{settings}}}"#)).unwrap();
        let received = body.to_string().into_bytes();
        read(&Reply::new(body, 1), &received, conversation, &settings)
    }

    fn one(settings: &str, message: Value) -> Message {
        read_with(settings, &conversation("2-A"), json!([message])).unwrap().remove(0)
    }

    #[test]
    fn a_documented_message_is_read_whole() {
        let message = one(
            "",
            json!({"text": "Tuesday works for me.", "timestamp": 1_760_000_123_456_i64, "sender": "Mara Lind",
                "sender_info": {"first_name": "Mara", "last_name": "Lind",
                    "profile_url": "https://www.linkedin.com/in/Mara-Lind/"},
                "message_type": "TEXT",
                "entity_urn": "urn:li:msg_message:(urn:li:fsd_profile:ACoAAB1o9xkB,2-MTc2MDAw=)"}),
        );
        assert_eq!(message.id.as_str(), "2-MTc2MDAw=");
        assert_eq!(message.sent_at.map(|at| at.as_millis()), Some(1_760_000_123_456));
        assert_eq!((message.text.as_str(), message.direction), ("Tuesday works for me.", Direction::Unknown));
        assert_eq!(message.sender.name.as_deref(), Some("Mara Lind"));
        assert_eq!(message.sender.profile_url.as_deref(), Some("https://www.linkedin.com/in/mara-lind"));
        assert!(message.flags.is_empty() && !message.unannounced);
    }

    #[test]
    fn other_spellings_of_sender_and_id_are_read_too() {
        let message = one("", json!({"id": 7, "sender": {"name": "Mara", "profile_url": "https://x.y/in/m"}}));
        assert_eq!((message.id.as_str(), message.sender.name.as_deref()), ("7", Some("Mara")));
        assert_eq!(message.sender.profile_url.as_deref(), Some("https://x.y/in/m"));
        assert_eq!(message.flags, [Flag::TimeUnknown]);
        assert_eq!(one("", json!({"id": "urn:li:messagingMessage:2-X"})).id.as_str(), "2-X");
        let named = one("", json!({"sender_info": {"first_name": "Mara", "last_name": "Lind"}}));
        assert_eq!(named.sender.name.as_deref(), Some("Mara Lind"));
        assert_eq!((named.id.as_str().starts_with("syn_"), named.flags.len()), (true, 2));
    }

    #[test]
    fn what_no_person_wrote_is_announced_only_when_asked_for() {
        let silent = |settings: &str, message: Value| one(settings, message).unannounced;
        assert!(silent("", json!({"id": "1", "message_type": "SYSTEM", "text": "left the conversation"})));
        assert!(silent("", json!({"id": "1", "message_type": "SOMETHING_NEW", "text": ""})));
        assert!(!silent("", json!({"id": "1", "message_type": "SOMETHING_NEW", "text": "hello"})));
        assert!(!silent("", json!({"id": "1", "message_type": "VOICE", "attachments": [{}]})));
        assert!(!silent("", json!({"id": "1", "message_type": "TEXT", "text": ""})));
        assert!(!silent("", json!({"id": "1", "text": ""})));
        assert!(!silent(r#","include":["system"]"#, json!({"id": "1", "message_type": "SYSTEM"})));
    }

    #[test]
    fn the_owner_is_told_by_urn_and_by_the_only_other_profile_of_a_pair() {
        let by = |slug: &str| {
            json!({"id": slug, "entity_urn": format!("urn:li:msg_message:(urn:li:fsd_profile:ACoAAme,2-{slug})"),
                "sender_info": {"profile_url": format!("https://www.linkedin.com/in/{slug}")}})
        };
        let directions = |conversation: &Conversation, wire: Value| -> Vec<_> {
            read_with("", conversation, wire).unwrap().into_iter().map(|message| message.direction).collect()
        };
        use Direction::{Inbound, Outbound, Unknown};
        let mut thread = conversation("2-A");
        let internal = json!([by("ACoAAme"), by("ACoAAmara")]);
        assert_eq!(directions(&thread, internal), [Outbound, Inbound]);
        let vanity = json!([by("mara"), by("robin")]);
        assert_eq!(directions(&thread, vanity.clone()), [Unknown, Unknown]);
        thread.person_url = Some("https://www.linkedin.com/in/mara".into());
        assert_eq!(directions(&thread, vanity.clone()), [Inbound, Unknown], "it may be a group");
        thread.address = "https://www.linkedin.com/in/mara".into();
        assert_eq!(directions(&thread, vanity), [Inbound, Outbound]);
        assert_eq!(directions(&thread, json!([by("robin")])), [Unknown], "the address may have changed");
    }

    #[test]
    fn anything_but_an_array_of_objects_is_refused() {
        for wire in [json!(null), json!({}), json!([1]), json!([{}, null]), json!("none")] {
            let error = read_with("", &conversation("2-A"), wire.clone()).unwrap_err();
            assert_eq!(error.class, Class::Protocol, "{wire}");
        }
        assert!(read_with("", &conversation("2-A"), json!([])).unwrap().is_empty());
    }
}
