//! Messages of either generation, as our model has them.

use serde_json::value::RawValue;

use super::settings::{Kind, Version};
use super::{Api, wire};
use crate::model::{Cited, Direction, Flag, Message, MessageId, Sender, assign_missing_ids, subject};
use crate::providers::json::{Object, kept};
use crate::providers::{Page, urn};

/// Names of the fields that the generations call differently.
struct Names {
    hidden: &'static str,
    deleted: &'static str,
    edited: &'static str,
}

const fn names(version: Version) -> Names {
    match version {
        Version::V1 => Names { hidden: "hidden", deleted: "deleted", edited: "edited" },
        Version::V2 => Names { hidden: "is_hidden", deleted: "is_deleted", edited: "is_edited" },
    }
}

/// What a message lacks that cannot be read.
pub(super) const SAYS_NOTHING: &str = "an object without id, time, sender, text and attachments";

/// A message whose direction is still to be found out.
pub(super) struct Told {
    message: Message,
    /// `is_sender` covers every device; without it the sender's id tells.
    is_own: Option<bool>,
}

impl Told {
    fn is_told_by_id(&self) -> bool {
        self.is_own.is_none() && self.message.sender.id.is_some()
    }

    /// A flag and ids that contradict each other tell nothing.
    fn direction(&self, owner: Option<&str>) -> Direction {
        let by_ids = owner.zip(self.message.sender.id.as_deref()).and_then(|(owner, id)| urn::is_own(owner, id));
        match (self.is_own, by_ids) {
            (Some(flag), Some(by_ids)) if flag != by_ids => Direction::Unknown,
            (Some(true), _) | (None, Some(true)) => Direction::Outbound,
            (Some(false), _) | (None, Some(false)) => Direction::Inbound,
            (None, None) => Direction::Unknown,
        }
    }
}

impl Api {
    /// Reads an item of a list of messages; `None` where nothing can be told of it.
    pub(super) fn told(&self, item: &Object<'_>, raw: &RawValue) -> Option<Told> {
        let message = message(self.version(), &self.settings.include, item);
        let told = |message| Told { message, is_own: item.flag("is_sender") };
        (!message.says_nothing()).then(|| told(Message { raw: Some(kept(raw)), ..message }))
    }

    /// Turns a list into messages and what else its answer tells.
    pub(super) fn page(&self, list: wire::List<Told>) -> Page {
        if list.items.iter().any(Told::is_told_by_id) {
            self.want_owner();
        }
        let owner = self.owner_id();
        let told = |told: Told| Message { direction: told.direction(owner.as_deref()), ..told.message };
        let mut messages: Vec<_> = list.items.into_iter().map(told).collect();
        assign_missing_ids(&mut messages);
        Page { messages, unreadable: list.unreadable, ..Page::default() }
    }
}

fn message(version: Version, include: &[Kind], item: &Object<'_>) -> Message {
    let names = names(version);
    let is = |key| item.flag(key) == Some(true);
    let kinds = [(Kind::Event, is("is_event")), (Kind::Hidden, is(names.hidden)), (Kind::Deleted, is(names.deleted))];
    let sent_at = item.time("timestamp", wire::moment);
    let flags =
        [(Flag::TimeUnknown, sent_at.is_none()), (Flag::Edited, is(names.edited)), (Flag::Deleted, is(names.deleted))];
    let mut flags: Vec<_> = flags.into_iter().filter_map(|(flag, applies)| applies.then_some(flag)).collect();
    let attachments = item.attachments("attachments", &mut flags);
    let in_specifics = item.object("specifics").and_then(|specifics| specifics.text("subject"));
    Message {
        id: MessageId::new(item.filled("id").unwrap_or_default()),
        direction: Direction::Unknown,
        sent_at,
        sender: sender(item),
        text: item.words("text").unwrap_or_default().into(),
        subject: in_specifics.or_else(|| item.text("subject")).as_deref().and_then(subject),
        quoted: item.object("quoted").map(|quoted| cited(&quoted)),
        forwarded: forwarded(item),
        flags,
        unannounced: kinds.iter().any(|(kind, applies)| *applies && !include.contains(kind)),
        attachments,
        raw: None,
    }
}

/// Who wrote a message, or one that is repeated in it.
fn sender(item: &Object<'_>) -> Sender {
    let person = item.object("sender");
    let of_person = |key| person.as_ref().and_then(|person| person.filled(key)).map(Into::into);
    Sender {
        id: item.filled("sender_id").map(Into::into).or_else(|| of_person("id")),
        name: of_person("display_name"),
        profile_url: of_person("profile_url"),
    }
}

fn cited(item: &Object<'_>) -> Box<Cited> {
    let id = item.filled("id").or_else(|| item.filled("provider_id")).map(Into::into);
    let attachments = item.list("attachments").map_or(0, |list| list.len());
    Box::new(Cited::new(id, sender(item), &item.words("text").unwrap_or_default(), attachments))
}

/// Some versions of the API only say that a message was passed on.
fn forwarded(item: &Object<'_>) -> Option<Box<Cited>> {
    match item.object_of("forwarded") {
        Some(object) => Some(cited(&object)),
        None => item.flag("forwarded")?.then(Box::default),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::json::tests::object;

    fn read(version: Version, item: Value) -> Message {
        let item = object(&item);
        let told = Told { message: message(version, &[], &item), is_own: item.flag("is_sender") };
        Message { direction: told.direction(Some("ACoAAme")), ..told.message }
    }

    #[test]
    fn a_message_of_v2_is_read_whole() {
        let read = read(
            Version::V2,
            json!({ "object": "Message", "id": "2-TTE=", "chat_id": "2-QWxwaGE=", "sender_id": "ACoAAb1",
                "text": "See you then", "timestamp": "2026-11-20T09:14:03.512Z", "is_sender": false, "is_edited": true,
                "attachments": [{ "object": "Attachment", "id": "a1", "type": "img" }],
                "sender": { "object": "User", "id": "ACoAAb1", "display_name": "Ada Byron",
                    "profile_url": "https://www.linkedin.com/in/ada" } }),
        );
        assert_eq!(read.id.as_str(), "2-TTE=");
        assert_eq!(read.direction, Direction::Inbound);
        assert_eq!(read.sent_at.unwrap().to_string(), "2026-11-20T09:14:03.512Z");
        assert_eq!(read.sender.name.as_deref(), Some("Ada Byron"));
        assert_eq!(read.sender.profile_url.as_deref(), Some("https://www.linkedin.com/in/ada"));
        assert_eq!((read.text.as_str(), read.attachments.len()), ("See you then", 1));
        assert_eq!(read.flags, [Flag::Edited]);
        assert!(!read.unannounced);
    }

    #[test]
    fn a_message_of_v1_has_its_flags_as_numbers() {
        let read = read(
            Version::V1,
            json!({ "id": "ykm", "text": null, "timestamp": "2026-11-20T09:14:03Z", "is_sender": 1, "edited": 1,
                "deleted": 0, "hidden": 0, "is_event": 0, "sender_id": "ACoAAme" }),
        );
        assert_eq!((read.direction, read.text.as_str()), (Direction::Outbound, ""));
        assert_eq!(read.flags, [Flag::Edited]);
        assert!(!read.unannounced);
    }

    #[test]
    fn id_and_time_are_enough_and_wrong_types_fail_nothing() {
        let bare = read(Version::V2, json!({ "id": "m", "timestamp": "2026-11-20T09:14:03.512Z" }));
        assert_eq!((bare.direction, bare.sender), (Direction::Unknown, Sender::default()));
        let odd = read(
            Version::V2,
            json!({ "id": "m", "timestamp": "yesterday", "text": [5], "sender": "x", "attachments": {}, "is_sender": [],
                "is_event": "yes", "sender_id": {} }),
        );
        assert_eq!((odd.sent_at, odd.flags), (None, vec![Flag::TimeUnknown]));
        assert!(odd.text.is_empty() && odd.attachments.is_empty() && !odd.unannounced);
    }

    #[test]
    fn the_owner_is_known_by_id_where_the_flag_is_missing() {
        let item = object(&json!({ "sender_id": "ACoAAme" }));
        let direction = |owner, is_own| Told { message: message(Version::V2, &[], &item), is_own }.direction(owner);
        assert_eq!(direction(Some("ACoAAme"), None), Direction::Outbound);
        assert_eq!(direction(Some("ACoAAb1"), None), Direction::Inbound);
        for incomparable in [Some("ACwAAme"), Some("robin-keller"), Some("8412"), None] {
            assert_eq!(direction(incomparable, None), Direction::Unknown, "{incomparable:?}");
            assert_eq!(direction(incomparable, Some(true)), Direction::Outbound);
            assert_eq!(direction(incomparable, Some(false)), Direction::Inbound);
        }
        assert_eq!(direction(Some("ACoAAme"), Some(false)), Direction::Unknown, "a contradiction");
        assert_eq!(direction(Some("ACoAAb1"), Some(true)), Direction::Unknown, "a contradiction");
    }

    #[test]
    fn what_is_no_persons_words_is_announced_only_where_every_kind_it_is_of_is_asked_for() {
        let unannounced =
            |version, include: &[Kind], item: Value| message(version, include, &object(&item)).unannounced;
        let both = json!({ "is_event": true, "is_hidden": true });
        assert!(unannounced(Version::V2, &[], both.clone()));
        assert!(unannounced(Version::V2, &[Kind::Event], both.clone()));
        assert!(!unannounced(Version::V2, &[Kind::Event, Kind::Hidden], both));
        assert!(unannounced(Version::V1, &[], json!({ "deleted": 1 })));
        assert!(!unannounced(Version::V1, &[Kind::Deleted], json!({ "deleted": 1 })));
        assert!(!unannounced(Version::V1, &[], json!({ "is_hidden": true })), "a name of the other generation");
    }

    #[test]
    fn what_an_inmail_a_reply_and_a_forward_say_is_read_in_either_generation() {
        let of_v2 = read(
            Version::V2,
            json!({ "id": "m", "specifics": { "subject": " Our offer " },
                "quoted": { "object": "QuotedMessage", "id": "q", "text": "When?", "attachments": [{}],
                    "sender": { "id": "ACoAAb1", "display_name": "Ada Byron" } },
                "forwarded": { "object": "ForwardedMessage", "text": "The deck", "attachments": [] } }),
        );
        assert_eq!(of_v2.subject.as_deref(), Some("Our offer"));
        let quoted = of_v2.quoted.unwrap();
        assert_eq!((quoted.id.as_deref(), quoted.text.as_str(), quoted.attachments), (Some("q"), "When?", 1));
        assert_eq!(quoted.sender.name.as_deref(), Some("Ada Byron"));
        assert_eq!(of_v2.forwarded.unwrap().text, "The deck");

        let of_v1 = read(
            Version::V1,
            json!({ "id": "m", "subject": "Our offer", "quoted": { "provider_id": "q", "sender_id": "ACoAAb1",
                "text": null, "attachments": null } }),
        );
        assert_eq!(of_v1.subject.as_deref(), Some("Our offer"));
        let quoted = of_v1.quoted.unwrap();
        assert_eq!((quoted.id.as_deref(), quoted.sender.id.as_deref()), (Some("q"), Some("ACoAAb1")));

        assert_eq!(read(Version::V2, json!({ "id": "m", "forwarded": true })).forwarded, Some(Box::default()));
        for none in [json!(false), json!(null), json!([]), json!("x")] {
            let read = read(Version::V2, json!({ "id": "m", "forwarded": none, "quoted": none, "specifics": none }));
            assert_eq!((read.subject, read.quoted, read.forwarded), (None, None, None), "{none}");
        }
    }
}
