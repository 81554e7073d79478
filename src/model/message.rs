//! One message as a provider reported it; immutable to us.

use std::collections::HashMap;

use data_encoding::BASE32_NOPAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Cited, MessageId};
use crate::time::UnixMillis;

/// Who wrote a message, seen from the account's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Written to the owner.
    Inbound,
    /// Written by the owner, from any device.
    Outbound,
    /// The provider does not say, and guessing would report the owner's own words as new mail.
    Unknown,
}

/// What is unusual about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// The provider gave no readable time: `sent_at` is null, and the event's `time` is when the message was seen.
    TimeUnknown,
    /// The time lies more than five minutes ahead of the clock of inboxd.
    TimeFuture,
    /// The provider gave no id: the one shown is made of sender, time and text.
    IdSynthetic,
    /// The end of the text was cut off to keep the event inside its size limit.
    TextCut,
    /// The attachments were left out to keep the event inside its size limit.
    AttachmentsCut,
    /// The provider says that the text was changed after it was sent.
    Edited,
    /// The provider says that the message was taken back.
    Deleted,
}

/// The author of a message; what the provider does not give is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sender {
    /// The provider's id of the person.
    pub id: Option<String>,
    /// The name that LinkedIn displays.
    pub name: Option<String>,
    /// Address of the LinkedIn profile.
    pub profile_url: Option<String>,
}

/// One message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Normalised id.
    pub id: MessageId,
    /// Who wrote to whom.
    pub direction: Direction,
    /// The provider's time; `None` when it was missing or unreadable (flag `time_unknown`).
    pub sent_at: Option<UnixMillis>,
    /// The author.
    pub sender: Sender,
    /// The text, empty for attachments alone.
    pub text: String,
    /// The subject of an InMail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What a reply quotes. Boxed, because hardly any message has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Box<Cited>>,
    /// What is passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Box<Cited>>,
    /// Attachments, each as the provider sent it and [fit to stand in an event](super::fit_for_event).
    pub attachments: Vec<Box<RawValue>>,
    /// What is unusual about it.
    pub flags: Vec<Flag>,
    /// Not something that a person wrote, or wrote and took back, and not asked for in the configuration: its id is
    /// recorded and nobody is told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unannounced: bool,
    /// The provider's own object, as received; in no event unless it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Box<RawValue>>,
}

impl Message {
    /// A hash of what a person would call the content, to notice that a known message was edited. Its upper bits are of the
    /// words alone; without anything beside them it is that of releases which read nothing else.
    pub fn content_hash(&self) -> i64 {
        let places = (0..).map(|place| place * PART_BITS);
        self.hash_of_words() ^ self.parts().iter().zip(places).fold(0, |all, (part, place)| all | (part << place))
    }

    /// Whether it says something else than it did when its hash was this one. What was not there or is not there now makes no
    /// difference: older releases did not read it, and some answers leave it out.
    pub fn has_changed_since(&self, known: i64) -> bool {
        let before = self.hash_of_words() ^ known;
        let parts = self.parts();
        // Of other words, more than the parts differs.
        before as u64 >> (PART_BITS * parts.len()) != 0
            || parts.iter().enumerate().any(|(place, now)| {
                let before = (before >> (place * PART_BITS)) & PART_MASK;
                before != *now && before != 0 && *now != 0
            })
    }

    fn hash_of_words(&self) -> i64 {
        let mut hasher = Sha256::new();
        hasher.update(self.text.as_bytes());
        if self.flags.contains(&Flag::Deleted) {
            hasher.update([0xff]);
        }
        first_of(hasher)
    }

    /// Hashes of what stands beside the words, of [`PART_BITS`] each; 0 where it is not there. A quoted message is what its id
    /// says: when it is edited, no reply to it has changed.
    fn parts(&self) -> [i64; 3] {
        let quoted = self.quoted.as_ref().and_then(|quoted| quoted.id.as_deref());
        let forwarded =
            self.forwarded.as_ref().map(|forwarded| [forwarded.id.as_deref().unwrap_or_default(), &forwarded.text]);
        let hash = |texts: &[&str]| {
            let mut hasher = Sha256::new();
            for text in texts {
                hasher.update((text.len() as u64).to_be_bytes());
                hasher.update(text.as_bytes());
            }
            (first_of(hasher) & PART_MASK).max(1)
        };
        [
            self.subject.as_deref().map_or(0, |subject| hash(&[subject])),
            quoted.map_or(0, |id| hash(&[id])),
            forwarded.map_or(0, |texts| hash(&texts)),
        ]
    }

    /// Whether nothing can be told of it but that it is there.
    pub fn says_nothing(&self) -> bool {
        let Self { id, sent_at, sender, text, subject, quoted, forwarded, attachments, .. } = self;
        id.as_str().is_empty()
            && sent_at.is_none()
            && *sender == Sender::default()
            && text.is_empty()
            && (subject, quoted, forwarded) == (&None, &None, &None)
            && attachments.is_empty()
    }

    /// Says something unusual of it, once.
    pub fn flag(&mut self, flag: Flag) {
        if !self.flags.contains(&flag) {
            self.flags.push(flag);
        }
    }

    /// Position in the conversation: by time, then by id; messages without a time come last.
    pub fn order(&self) -> (i64, &str) {
        (self.sent_at.map_or(WITHOUT_TIME, UnixMillis::as_millis), self.id.as_str())
    }
}

/// Where in the order of a conversation messages stand that have no time.
pub const WITHOUT_TIME: i64 = i64::MAX;

/// The part of a content hash that each part of a message beside its words has.
const PART_BITS: usize = 12;
const PART_MASK: i64 = (1 << PART_BITS) - 1;

fn first_of(hasher: Sha256) -> i64 {
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first)
}

/// Gives every message with an empty id one made of its sender, time, text and its ordinal among equals, so that
/// the same message gets the same id in every poll.
pub fn assign_missing_ids(messages: &mut [Message]) {
    let mut ordinals: HashMap<[u8; 32], u32> = HashMap::new();
    for message in messages.iter_mut().filter(|m| m.id.as_str().is_empty()) {
        let mut hasher = Sha256::new();
        let sender = message.sender.id.as_deref().or(message.sender.name.as_deref()).unwrap_or_default();
        let time = message.sent_at.map_or_else(String::new, |t| t.to_string());
        for part in [sender, &time, &message.text] {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let triple: [u8; 32] = hasher.finalize().into();
        let ordinal = ordinals.entry(triple).or_default();
        let digest = Sha256::new().chain_update(triple).chain_update(ordinal.to_be_bytes()).finalize();
        *ordinal += 1;
        message.id = MessageId::new(format!("syn_{}", BASE32_NOPAD.encode(&digest[..20]).to_ascii_lowercase()));
        message.flags.push(Flag::IdSynthetic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nameless(text: &str) -> Message {
        Message {
            id: MessageId::new(""),
            direction: Direction::Unknown,
            sent_at: Some(UnixMillis::from_millis(1_000)),
            sender: Sender::default(),
            text: text.into(),
            subject: None,
            quoted: None,
            forwarded: None,
            attachments: vec![],
            flags: vec![],
            unannounced: false,
            raw: None,
        }
    }

    #[test]
    fn the_content_is_what_was_written_with_its_subject_and_what_it_repeats() {
        let plain = nameless("a");
        assert_eq!(plain.content_hash(), -3_848_465_438_864_589_366, "as the first release had it");
        let cited = |id: &str| Some(Box::new(Cited { id: Some(id.into()), ..Cited::default() }));
        let all = [
            plain.clone(),
            Message { subject: Some("a".into()), ..plain.clone() },
            Message { quoted: cited("a"), ..plain.clone() },
            Message { quoted: cited("b"), ..plain.clone() },
            Message { forwarded: cited("a"), ..plain.clone() },
        ];
        let hashes: std::collections::HashSet<_> = all.iter().map(Message::content_hash).collect();
        assert_eq!(hashes.len(), all.len());
        for message in &all {
            assert!(!message.has_changed_since(plain.content_hash()), "read anew: {message:?}");
            assert!(!plain.has_changed_since(message.content_hash()), "left out: {message:?}");
            assert!(!message.has_changed_since(message.content_hash()));
            assert!(message.has_changed_since(nameless("b").content_hash()));
        }
        let subject = |subject: &str| Message { subject: Some(subject.into()), ..all[2].clone() };
        assert!(subject("a").has_changed_since(subject("b").content_hash()));
        assert!(!all[2].has_changed_since(subject("a").content_hash()), "only the subject is left out");
        assert!(
            all[3].has_changed_since(subject("a").content_hash()),
            "the subject is left out, and it quotes another"
        );
    }

    #[test]
    fn a_reply_has_not_changed_when_what_it_quotes_is_edited_and_a_forward_has() {
        let cited = |id: Option<&str>, text: &str| {
            Some(Box::new(Cited { id: id.map(Into::into), text: text.into(), ..Cited::default() }))
        };
        let reply = |id, text| Message { quoted: cited(id, text), ..nameless("a") };
        assert_eq!(reply(Some("q"), "old").content_hash(), reply(Some("q"), "new").content_hash());
        assert_eq!(reply(None, "old").content_hash(), nameless("a").content_hash());
        let forward = |text| Message { forwarded: cited(None, text), ..nameless("a") };
        assert!(forward("new").has_changed_since(forward("old").content_hash()));
    }

    #[test]
    fn a_message_says_nothing_only_where_nothing_of_it_is_known() {
        let empty = Message { sent_at: None, ..nameless("") };
        assert!(empty.says_nothing());
        assert!(!nameless("").says_nothing());
        assert!(!Message { id: MessageId::new("1"), ..empty.clone() }.says_nothing());
        assert!(!Message { subject: Some("Hi".into()), ..empty }.says_nothing());
    }

    #[test]
    fn missing_ids_are_stable_and_tell_equal_messages_apart() {
        let mut first = vec![nameless("a"), nameless("a"), nameless("b")];
        assign_missing_ids(&mut first);
        let mut second = vec![nameless("b"), nameless("a"), nameless("a")];
        assign_missing_ids(&mut second);
        let ids = |messages: &[Message]| {
            let mut ids: Vec<_> = messages.iter().map(|m| m.id.as_str().to_owned()).collect();
            ids.sort();
            ids
        };
        assert_eq!(ids(&first), ids(&second));
        assert_ne!(first[0].id, first[1].id);
        assert_eq!(first[0].flags, [Flag::IdSynthetic]);
    }
}
