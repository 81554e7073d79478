//! Messages of either generation, as our model has them.

use serde_json::Value;

use super::settings::{Kind, Version};
use super::{Api, wire};
use crate::model::{Direction, Flag, Message, MessageId, Sender, assign_missing_ids};

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

impl Api {
    /// Turns the items of a list into messages.
    pub(super) fn messages(&self, list: &wire::List) -> Vec<Message> {
        let items = &list.items;
        let needs_owner = items.iter().any(|item| wire::flag(item, "is_sender").is_none() && sender_id(item).is_some());
        let owner = if needs_owner { self.owner_id() } else { None };
        let (version, include) = (self.version(), self.settings.include.as_slice());
        let mut messages: Vec<_> = items.iter().map(|item| message(version, include, owner.as_deref(), item)).collect();
        assign_missing_ids(&mut messages);
        for (message, raw) in messages.iter_mut().zip(list.raw_items()) {
            message.raw = Some(raw);
        }
        messages
    }
}

fn message(version: Version, include: &[Kind], owner: Option<&str>, item: &Value) -> Message {
    let names = names(version);
    let is = |key| wire::flag(item, key) == Some(true);
    let kinds = [(Kind::Event, is("is_event")), (Kind::Hidden, is(names.hidden)), (Kind::Deleted, is(names.deleted))];
    let sent_at = wire::time(item, "timestamp");
    let flags =
        [(Flag::TimeUnknown, sent_at.is_none()), (Flag::Edited, is(names.edited)), (Flag::Deleted, is(names.deleted))];
    let person = item.get("sender");
    Message {
        id: MessageId::new(wire::id(item, "id").unwrap_or_default()),
        direction: direction(item, owner),
        sent_at,
        sender: Sender {
            id: sender_id(item),
            name: person.and_then(|person| wire::text(person, "display_name")).map(str::to_owned),
            profile_url: person.and_then(|person| wire::text(person, "profile_url")).map(str::to_owned),
        },
        text: wire::text(item, "text").unwrap_or_default().to_owned(),
        flags: flags.into_iter().filter_map(|(flag, applies)| applies.then_some(flag)).collect(),
        unannounced: kinds.iter().any(|(kind, applies)| *applies && !include.contains(kind)),
        attachments: item.get("attachments").and_then(Value::as_array).cloned().unwrap_or_default(),
        raw: None,
    }
}

fn sender_id(item: &Value) -> Option<String> {
    wire::id(item, "sender_id").or_else(|| wire::id(item.get("sender")?, "id"))
}

/// `is_sender` covers every device; without it the sender's id tells.
fn direction(item: &Value, owner: Option<&str>) -> Direction {
    let is_own = wire::flag(item, "is_sender").or_else(|| Some(sender_id(item)? == owner?));
    match is_own {
        Some(true) => Direction::Outbound,
        Some(false) => Direction::Inbound,
        None => Direction::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(version: Version, item: Value) -> Message {
        message(version, &[], Some("ACoAAme"), &item)
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
            json!({ "id": "m", "timestamp": "yesterday", "text": 5, "sender": "x", "attachments": {}, "is_sender": [],
                "is_event": "yes", "sender_id": {} }),
        );
        assert_eq!((odd.sent_at, odd.flags), (None, vec![Flag::TimeUnknown]));
        assert!(odd.text.is_empty() && odd.attachments.is_empty() && !odd.unannounced);
    }

    #[test]
    fn the_owner_is_known_by_id_where_the_flag_is_missing() {
        let direction = |owner| direction(&json!({ "sender_id": "ACoAAme" }), owner);
        assert_eq!(direction(Some("ACoAAme")), Direction::Outbound);
        assert_eq!(direction(Some("ACoAAb1")), Direction::Inbound);
        assert_eq!(direction(None), Direction::Unknown);
    }

    #[test]
    fn what_is_no_persons_words_is_announced_only_where_every_kind_it_is_of_is_asked_for() {
        let unannounced = |version, include: &[Kind], item: Value| message(version, include, None, &item).unannounced;
        let both = json!({ "is_event": true, "is_hidden": true });
        assert!(unannounced(Version::V2, &[], both.clone()));
        assert!(unannounced(Version::V2, &[Kind::Event], both.clone()));
        assert!(!unannounced(Version::V2, &[Kind::Event, Kind::Hidden], both));
        assert!(unannounced(Version::V1, &[], json!({ "deleted": 1 })));
        assert!(!unannounced(Version::V1, &[Kind::Deleted], json!({ "deleted": 1 })));
        assert!(!unannounced(Version::V1, &[], json!({ "is_hidden": true })), "a name of the other generation");
    }
}
