//! One scripted conversation: who it is with, how dialects name it, and its messages in order of time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::people;
use super::unipile;
use super::world::{Dialect, Kind};
use crate::time::UnixMillis;

/// A message to be written into a conversation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// What it says.
    pub text: String,
    /// When it says it was sent; `None` is now, and later than the message before.
    pub sent_at: Option<UnixMillis>,
    /// From when answers show it; `None` is at once.
    pub visible_at: Option<UnixMillis>,
    /// Whether the account's owner wrote it.
    pub outbound: bool,
    /// Its id, even one that is taken; `None` makes a new one.
    pub id: Option<String>,
    /// Attachments as the provider would send them; `null` is none.
    pub attachments: Value,
    /// What answers show in place of the time.
    pub time_text: Option<String>,
    /// Whether answers leave out the id.
    pub omit_id: bool,
    /// Unipile: whether LinkedIn's own pages do not show it.
    pub hidden: bool,
    /// Unipile: whether it tells what happened to the chat and nobody wrote it.
    pub event: bool,
    /// Unipile: whether it was deleted, so that answers have it without its text.
    pub deleted: bool,
    /// Unipile: whether it was edited.
    pub edited: bool,
    /// `SYSTEM` and the like, where a dialect tells types apart; `None` is an ordinary text.
    pub message_type: Option<String>,
    /// Who else than the counterpart wrote it: a thread of several people.
    pub sender_name: Option<String>,
}

/// A message that exists.
pub(super) struct Message {
    pub(super) seq: u64,
    /// Normalised.
    pub(super) id: String,
    /// What answers show as id when it is not made from the normalised one.
    pub(super) verbatim_id: Option<String>,
    pub(super) text: String,
    pub(super) sent_at: UnixMillis,
    pub(super) created_at: UnixMillis,
    pub(super) visible_at: Option<UnixMillis>,
    pub(super) outbound: bool,
    pub(super) attachments: Value,
    pub(super) time_text: Option<String>,
    pub(super) omit_id: bool,
    pub(super) hidden: bool,
    pub(super) event: bool,
    pub(super) deleted: bool,
    pub(super) edited: bool,
    pub(super) message_type: Option<String>,
    pub(super) sender_name: Option<String>,
    pub(super) removed: bool,
    pub(super) first_served_at: Option<UnixMillis>,
}

impl Message {
    /// Whether an answer made at `now` may show it.
    pub(super) fn is_visible(&self, now: UnixMillis) -> bool {
        !self.removed && self.visible_at.is_none_or(|at| at <= now)
    }

    /// Whether a copy of the conversation that is behind by `lag` has it.
    pub(super) fn is_copied(&self, now: UnixMillis, lag: Duration) -> bool {
        lag.is_zero() || self.created_at.max(self.visible_at.unwrap_or(self.created_at)) <= now - lag
    }
}

/// The counterpart.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) slug: String,
    pub(super) profile_id: String,
    pub(super) member_number: u64,
}

/// A conversation and all of its messages.
pub(super) struct Conversation {
    pub(super) dialect: Dialect,
    pub(super) kind: Kind,
    pub(super) person: Person,
    /// The `2-…` token.
    pub(super) thread: String,
    /// What a user writes into the config.
    pub(super) address: String,
    /// The id in events.
    pub(super) id: String,
    /// Unipile v2: the inbox that lists it.
    pub(super) inbox: String,
    /// Until when Linked API keeps it up to date; `None` is never synced.
    pub(super) sync_until: Option<UnixMillis>,
    /// When a sync last ran.
    pub(super) synced_at: Option<UnixMillis>,
    /// By time, then by creation.
    pub(super) messages: Vec<Message>,
    last_stamp: UnixMillis,
    written: u64,
}

impl Conversation {
    /// An empty one; `number` tells it from every other in this world.
    pub(super) fn new(
        dialect: Dialect,
        (kind, inbox): (Kind, Option<&str>),
        name: &str,
        slug: String,
        seed: u64,
        number: u64,
    ) -> Self {
        let inbox = inbox.map_or_else(|| format!("{}_PRIMARY", unipile::product(kind)), str::to_owned);
        let thread = people::thread_token(seed, number);
        let lead = kind == Kind::SalesNavigator && !dialect.is_unipile();
        let profile_id = people::profile_id(if lead { "ACwAA" } else { "ACoAA" }, seed, number);
        let owner = people::profile_id("ACoAA", seed, u64::MAX);
        let address = match (dialect, kind) {
            (Dialect::LinkedApi, Kind::Standard | Kind::Recruiter) => format!("https://www.linkedin.com/in/{slug}"),
            (Dialect::LinkedApi, Kind::SalesNavigator) => format!("https://www.linkedin.com/sales/people/{profile_id}"),
            (Dialect::ConnectSafely, Kind::Standard | Kind::Recruiter) | (Dialect::LinkupV1 | Dialect::LinkupV2, _) => {
                format!("urn:li:msg_conversation:(urn:li:fsd_profile:{owner},{thread})")
            }
            (Dialect::ConnectSafely, Kind::SalesNavigator) => format!("urn:li:salesNav_thread:{thread}"),
            (Dialect::UnipileV2, _) => unipile::chat(seed, number, &inbox),
            (Dialect::UnipileV1, _) => unipile::chat_v1(seed, number),
        };
        let id = match (dialect, kind) {
            (Dialect::LinkedApi, kind) => format!("{}:{address}", kind.code()),
            (Dialect::ConnectSafely, Kind::Standard | Kind::Recruiter) | (Dialect::LinkupV1 | Dialect::LinkupV2, _) => {
                thread.clone()
            }
            (Dialect::ConnectSafely, Kind::SalesNavigator) => address.clone(),
            (Dialect::UnipileV2 | Dialect::UnipileV1, _) => address.clone(),
        };
        let person = Person { name: name.into(), slug, profile_id, member_number: 100_000_000 + number };
        Self {
            dialect,
            kind,
            person,
            thread,
            address,
            id,
            inbox,
            sync_until: None,
            synced_at: None,
            messages: Vec::new(),
            last_stamp: UnixMillis::from_millis(0),
            written: 0,
        }
    }

    /// The hashed address of the same person, which Linked API takes as well as the public one.
    pub(super) fn hashed_url(&self) -> String {
        match self.kind {
            Kind::Standard | Kind::Recruiter => format!("https://www.linkedin.com/in/{}", self.person.profile_id),
            Kind::SalesNavigator => self.address.clone(),
        }
    }

    /// Writes a message and returns its place.
    pub(super) fn write(&mut self, draft: Draft, seed: u64, seq: u64) -> usize {
        let now = UnixMillis::now();
        let sent_at = draft.sent_at.unwrap_or_else(|| now.max(self.last_stamp + Duration::from_millis(1)));
        if draft.sent_at.is_none() || sent_at <= now {
            self.last_stamp = self.last_stamp.max(sent_at);
        }
        self.written += 1;
        let id = match (&draft.id, self.dialect) {
            (Some(id), Dialect::ConnectSafely | Dialect::LinkupV1 | Dialect::LinkupV2) => token(id).to_owned(),
            (Some(id), Dialect::LinkedApi | Dialect::UnipileV2 | Dialect::UnipileV1) => id.clone(),
            (None, Dialect::ConnectSafely | Dialect::LinkupV1 | Dialect::LinkupV2) => {
                people::message_token(sent_at.as_millis(), seed, seq)
            }
            (None, Dialect::LinkedApi) => format!("msg-{:06}", self.written),
            (None, Dialect::UnipileV2) => unipile::message(seed, self.written),
            (None, Dialect::UnipileV1) => unipile::message_v1(seed, seq),
        };
        let at = self.messages.partition_point(|message| message.sent_at <= sent_at);
        let message = Message {
            seq,
            verbatim_id: draft.id.filter(|given| *given != id || !given.starts_with("2-")),
            id,
            text: draft.text,
            sent_at,
            created_at: now,
            visible_at: draft.visible_at,
            outbound: draft.outbound,
            attachments: draft.attachments,
            time_text: draft.time_text,
            omit_id: draft.omit_id,
            hidden: draft.hidden,
            event: draft.event,
            deleted: draft.deleted,
            edited: draft.edited,
            message_type: draft.message_type,
            sender_name: draft.sender_name,
            removed: false,
            first_served_at: None,
        };
        self.messages.insert(at, message);
        at
    }

    /// Notes that an answer with these messages goes out.
    pub(super) fn mark_served(&mut self, places: impl IntoIterator<Item = usize>, now: UnixMillis) {
        for place in places {
            self.messages[place].first_served_at.get_or_insert(now);
        }
    }
}

/// The part of a LinkedIn URN that names the thing without the mailbox it was seen in: what follows the last comma
/// inside the closing parenthesis, or the last colon.
pub(super) fn token(urn: &str) -> &str {
    if let Some(inner) = urn.strip_suffix(')')
        && let Some((_, token)) = inner.rsplit_once(',')
    {
        return token;
    }
    urn.rsplit_once(':').map_or(urn, |(_, token)| token)
}
