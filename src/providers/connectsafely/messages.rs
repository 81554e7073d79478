//! The answer of the messages endpoint, read tolerantly: only an array of messages is required. Field names drift
//! between the documentation and live replies, and the whole payload may stand under `data`.

use super::direction::{Sides, Signs};
use super::{ConnectSafely, nested};
use crate::model::{Conversation, Direction, Flag, Message, MessageId, Sender, assign_missing_ids, cut_at};
use crate::providers::http::{self, Answer};
use crate::providers::json::{Document, Object, kept};
use crate::providers::moment::moment;
use crate::providers::{Error, Page, Rest, Unreadable, urn};

/// What an answer says.
pub(super) struct Payload {
    messages: Vec<Told>,
    /// How many messages it has, those among them that cannot be read.
    length: usize,
    participants: Vec<Participant>,
    has_more: Option<bool>,
    cursor: Option<String>,
    /// The owner, as the URN of a message names them.
    owner: Option<String>,
    note: Option<String>,
    unreadable: Unreadable,
}

/// A message whose direction is still to be found out.
struct Told {
    message: Message,
    is_own: Option<bool>,
}

impl Told {
    fn signs(&self) -> Signs<'_> {
        let Sender { id, name, .. } = &self.message.sender;
        Signs { sender: id.as_deref(), name: name.as_deref(), is_own: self.is_own }
    }
}

/// One of the people in a conversation.
pub(super) struct Participant {
    profile_id: Option<String>,
    name: Option<String>,
}

impl Participant {
    pub(super) fn all(of: &Object<'_>) -> Vec<Self> {
        let participants = of.objects("participants").into_iter();
        participants
            .map(|object| Self {
                profile_id: object.filled("profileId").map(Into::into),
                name: object.filled("name").map(Into::into),
            })
            .collect()
    }
}

impl Payload {
    pub(super) fn read(answer: &Answer) -> Result<Self, Error> {
        let document = Document::of(&answer.body);
        let (payload, items) = nested::payload(&document, answer, "messages")?;
        let mut owner = None;
        let messages = items.each("an object without id, time, sender, text and attachments", |object, raw| {
            let urn = object.filled("messageUrn");
            if owner.is_none() {
                owner = urn.as_deref().and_then(urn::mailbox_owner).map(str::to_owned);
            }
            let message = message(object, urn.as_deref().unwrap_or_default());
            let told = |message| Told { message, is_own: object.flag("isSentByOwner") };
            (!message.says_nothing()).then(|| told(Message { raw: Some(kept(raw)), ..message }))
        });
        Ok(Self {
            messages,
            length: items.len(),
            participants: Participant::all(&payload),
            has_more: payload.flag("hasMore"),
            cursor: payload.cursor("cursor"),
            owner,
            note: payload.filled("note").map(Into::into),
            unreadable: document.unreadable(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The cursor towards older messages, if there are any. Without `hasMore`, a cursor alone says so.
    pub(super) fn older(&self) -> Option<String> {
        self.cursor.clone().filter(|_| self.has_more.unwrap_or(true))
    }
}

impl ConnectSafely {
    /// Turns a payload into a page of the model.
    pub(super) fn read(&self, conversation: &Conversation, payload: Payload, rest: Rest) -> Page {
        if let Some(note) = &payload.note {
            tracing::debug!(conversation = %conversation.id, note = http::safe(note), "the provider added a note");
        }
        let owner = urn::mailbox_owner(&conversation.address).or(payload.owner.as_deref());
        let participants = payload.participants.iter().map(|p| (p.profile_id.as_deref(), p.name.as_deref())).collect();
        let mut sides = Sides { owner: owner.into_iter().collect(), participants, ..Sides::default() };
        let is_told_by_id = |told: &Told| {
            let ids = owner.zip(told.message.sender.id.as_deref());
            ids.is_some_and(|(own, sender)| urn::is_own(own, sender).is_some())
        };
        let needs_identity = !payload.messages.iter().all(is_told_by_id);
        let identity = if needs_identity { self.owner.identity() } else { None };
        sides.identity = identity.as_ref();
        sides.learn(payload.messages.iter().map(Told::signs));
        let directions: Vec<_> = payload.messages.iter().map(|told| sides.direction(told.signs())).collect();
        let title = title(&payload.participants, &sides.owner);
        let told = payload.messages.into_iter().zip(directions);
        let mut messages: Vec<_> = told.map(|(told, direction)| Message { direction, ..told.message }).collect();
        assign_missing_ids(&mut messages);
        let awaits_account = needs_identity && self.owner.is_awaited();
        Page { messages, rest, title, unreadable: payload.unreadable, awaits_account, ..Page::default() }
    }
}

/// Longest title in bytes: a group of twenty has a readable one, a page of names has none.
const TITLE_LIMIT: usize = 200;

/// The names of the others; `owner` are the owner's ids in the products of LinkedIn.
pub(super) fn title(participants: &[Participant], owner: &[&str]) -> Option<String> {
    let is_owner = |p: &&Participant| {
        let id = p.profile_id.as_deref();
        id.is_some_and(|id| owner.iter().any(|own| urn::is_own(own, id) == Some(true)))
    };
    let others = participants.iter().filter(|p| !is_owner(p));
    let names: Vec<_> = others.filter_map(|p| p.name.as_deref()).collect();
    (!names.is_empty()).then(|| cut_at(&names.join(", "), TITLE_LIMIT).to_owned())
}

fn message(object: &Object<'_>, urn: &str) -> Message {
    let sent_at = object.time("sentAt", moment);
    let mut flags = if sent_at.is_none() { vec![Flag::TimeUnknown] } else { vec![] };
    // Live replies have the second name, or none at all.
    let sender = object.filled("senderProfileId").or_else(|| object.filled("senderId"));
    let name = full_name(object).or_else(|| object.filled("senderName").map(Into::into));
    Message {
        id: MessageId::new(urn::message_id(urn)),
        direction: Direction::Unknown,
        sent_at,
        sender: Sender { id: sender.map(Into::into), name, profile_url: None },
        text: object.words("text").unwrap_or_default().into(),
        subject: object.text("subject").as_deref().and_then(crate::model::subject),
        quoted: None,
        forwarded: None,
        attachments: object.attachments("attachments", &mut flags),
        flags,
        unannounced: false,
        raw: None,
    }
}

/// A name in its parts.
fn full_name(object: &Object<'_>) -> Option<String> {
    let name = object.object_of("senderName")?;
    let parts: Vec<_> = ["firstName", "lastName"].iter().filter_map(|part| name.filled(part)).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_names_everybody_but_the_owner_in_either_product() {
        let participant = |id: &str, name: &str| Participant { profile_id: Some(id.into()), name: Some(name.into()) };
        let people = [participant("ACwAAme", "Robin Keller"), participant("urn:li:fsd_profile:ACoAAada", "Ada Byron")];
        assert_eq!(title(&people, &["ACoAAme", "ACwAAme"]).as_deref(), Some("Ada Byron"));
        assert_eq!(title(&people, &["ACoAAme"]).as_deref(), Some("Robin Keller, Ada Byron"));
        assert_eq!(title(&people, &["ACoAAada"]).as_deref(), Some("Robin Keller"));
        assert_eq!(title(&people, &[]).as_deref(), Some("Robin Keller, Ada Byron"));
    }
}
