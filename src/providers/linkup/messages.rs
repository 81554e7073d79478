//! Messages, read tolerantly: nothing but an object is required of one.

use super::person::{Author, Me, Sides};
use super::reply::Reply;
use super::settings::{Settings, is_profile};
use crate::model::{Conversation, Direction, Flag, Message, MessageId, Sender, assign_missing_ids};
use crate::providers::json::{Object, kept};
use crate::providers::moment::moment;
use crate::providers::{Class, Error, urn};

/// The messages of an answer; an error where it has no array of them. `me` learns from them.
pub(super) fn read(
    reply: &Reply<'_>,
    conversation: &Conversation,
    settings: &Settings,
    me: &mut Me,
) -> Result<Vec<Message>, Error> {
    let list = reply.messages();
    let list = list.ok_or_else(|| Error::new(Class::Protocol, "the answer has no array of messages"))?;
    let mut owner_id = None;
    let read = list.each("an object without id, time, sender, text and attachments", |object, raw| {
        let author = Author::of(object);
        let message = message(object, &author, &settings.include);
        if owner_id.is_none() {
            let urn = object.filled("entity_urn");
            owner_id = urn.as_deref().and_then(urn::mailbox_owner).map(str::to_owned);
        }
        (!message.says_nothing()).then(|| (Message { raw: Some(kept(raw)), ..message }, author))
    });
    read.iter().for_each(|(_, author)| me.learn(author));
    let counterpart = conversation.person_url.as_deref();
    let is_counterpart = |author: &Author| counterpart.is_some() && author.profile_url.as_deref() == counterpart;
    let sides = Sides {
        owner_id: urn::mailbox_owner(&conversation.address).or(owner_id.as_deref()),
        owner_name: settings.owner_name.as_deref(),
        me: Some(me),
        counterpart,
        nobody_else: is_profile(&conversation.address) && read.iter().any(|(_, author)| is_counterpart(author)),
    };
    let told = |(message, author): (Message, Author)| Message { direction: sides.direction(&author), ..message };
    let mut messages: Vec<_> = read.into_iter().map(told).collect();
    assign_missing_ids(&mut messages);
    Ok(messages)
}

fn message(wire: &Object<'_>, author: &Author, include: &[String]) -> Message {
    let sent_at = wire.time("timestamp", moment);
    let mut flags = if sent_at.is_none() { vec![Flag::TimeUnknown] } else { vec![] };
    let attachments = wire.attachments("attachments", &mut flags);
    let content: String = wire.words("text").unwrap_or_default().into();
    let kind = wire.filled("message_type");
    let kind = kind.as_deref().unwrap_or("TEXT").trim();
    let empty = content.is_empty() && attachments.is_empty() && !flags.contains(&Flag::AttachmentsCut);
    let included = include.iter().any(|included| included.eq_ignore_ascii_case(kind));
    let Author { name, full_name, profile_url, .. } = author.clone();
    Message {
        id: MessageId::new(id(wire)),
        direction: Direction::Unknown,
        sent_at,
        sender: Sender { id: None, name: name.or(full_name), profile_url },
        text: content,
        subject: wire.text("subject").as_deref().and_then(crate::model::subject),
        quoted: None,
        forwarded: None,
        attachments,
        flags,
        unannounced: !included && !is_by_a_person(kind, empty),
        raw: None,
    }
}

/// Types other than these two exist without being documented: one that comes with content is taken for a person's.
fn is_by_a_person(kind: &str, empty: bool) -> bool {
    kind.eq_ignore_ascii_case("TEXT") || !(kind.eq_ignore_ascii_case("SYSTEM") || empty)
}

fn id(wire: &Object<'_>) -> String {
    let id = wire.filled("entity_urn").or_else(|| wire.filled("id")).unwrap_or_default();
    urn::message_id(&id).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::conversation;
    use super::*;
    use crate::providers::json::tests::object;

    fn read_with(settings: &str, conversation: &Conversation, messages: Value) -> Result<Vec<Message>, Error> {
        let body = json!({"data": {"messages": messages}});
        let settings = serde_json::from_str(&format!(r#"{{"api_key":"k"{settings}}}"#)).unwrap();
        read(&Reply::of(object(&body), 1), conversation, &settings, &mut Me::default())
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
    fn only_an_array_that_is_missing_is_refused_and_what_cannot_be_read_is_left_out() {
        for wire in [json!(null), json!({}), json!("none"), json!(5)] {
            let error = read_with("", &conversation("2-A"), wire.clone()).unwrap_err();
            assert_eq!(error.class, Class::Protocol, "{wire}");
        }
        let ids: Vec<_> = read_with("", &conversation("2-A"), json!([{"id": "1"}, null, 5, {}, {"id": "2"}]))
            .unwrap()
            .into_iter()
            .map(|message| message.id.as_str().to_owned())
            .collect();
        assert_eq!(ids, ["1", "2"]);
        assert!(read_with("", &conversation("2-A"), json!([])).unwrap().is_empty());
    }
}
