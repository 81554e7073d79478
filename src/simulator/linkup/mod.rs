//! LinkupAPI: pages that go back from the newest message, paid per ten, in two editions that share the balance.
//!
//! v1 carries the LinkedIn session in every body and answers errors inside HTTP 200; v2 knows accounts, actions and
//! coded errors. What they serve is the same and stands in `messages` and `inbox`.

mod accounts;
mod credits;
mod fields;
mod inbox;
mod index;
mod messages;
mod switches;
mod v1;
mod v2;
mod webhooks;

use std::collections::HashMap;

use axum::Router;
use axum::routing::{get, post};
use serde_json::{Map, Value, json};

use super::Endpoint;
use super::conversation::Person;
use super::exchange::Incoming;
use super::switches::Switches;
use super::world::{ConversationRef, Dialect, State, World};
use crate::time::UnixMillis;
use credits::Credits;
use fields::Fields;
use index::Index;
use webhooks::Webhooks;

pub use credits::{CreditEntry, CreditReason};
pub use switches::{LastCursor, LinkupErrorBody, LinkupErrorStatus, LinkupSwitches, PagingPlace};

pub(super) fn routes() -> Router<World> {
    let v1 = Router::new()
        .route("/messages/conversation", post(v1::messages))
        .route("/messages/inbox", post(v1::inbox))
        .fallback(v1::unknown)
        .method_not_allowed_fallback(v1::unknown);
    let v2 = Router::new()
        .route("/messages", post(v2::messages))
        .route("/credits", get(credits::left))
        .route("/accounts", get(accounts::list))
        .route("/accounts/{id}", get(accounts::one))
        .route("/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/webhooks/{id}", axum::routing::put(webhooks::change).delete(webhooks::delete))
        .route("/webhooks/{id}/start", post(webhooks::start))
        .route("/webhooks/{id}/stop", post(webhooks::stop))
        .route("/webhooks/{id}/events", get(webhooks::events))
        .fallback(v2::unknown)
        .method_not_allowed_fallback(v2::unknown);
    Router::new().nest("/v1", v1).nest("/v2", v2).fallback(v2::unknown)
}

/// The two editions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn dialect(self) -> Dialect {
        match self {
            Self::V1 => Dialect::LinkupV1,
            Self::V2 => Dialect::LinkupV2,
        }
    }

    fn of(dialect: Dialect) -> Option<Self> {
        [Self::V1, Self::V2].into_iter().find(|version| version.dialect() == dialect)
    }
}

/// Why a request gets no answer; each version has its own words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The key is missing or wrong.
    Key,
    /// The body is not what the contract says; the text tells what.
    Params(String),
    /// No such conversation, or none with that person.
    Conversation,
    /// The LinkedIn session is gone; the text says so.
    Session(String),
    /// The balance is used up.
    Credits,
    /// v2: no such action.
    Action(String),
    /// v2: no such account, or no such path.
    Account,
    /// v2: no such webhook.
    Webhook,
}

/// Where a page ends.
struct Paging {
    cursor: Option<String>,
    has_more: bool,
    /// Whether the endpoint has `has_next_page` at all.
    flagged: bool,
}

/// A page in neither version's envelope.
struct Body {
    data: Map<String, Value>,
    /// Name of the array.
    array: String,
    rows: Vec<Value>,
    paging: Paging,
}

impl Body {
    /// `data`, with what the switches put beside it in `top`.
    fn place(self, version: Version, switches: &Switches, top: &mut Map<String, Value>) -> Map<String, Value> {
        let switches = &switches.linkup;
        let Self { mut data, array, rows, paging } = self;
        let beside = array == "messages" && switches.messages_at_top_level;
        (if beside { &mut *top } else { &mut data }).insert(array, Value::Array(rows));
        let place = match switches.paging_place {
            PagingPlace::Data => &mut data,
            PagingPlace::TopLevel => top,
        };
        let cursor = match switches.last_cursor {
            _ if paging.has_more => Some(json!(paging.cursor)),
            LastCursor::Null => Some(Value::Null),
            LastCursor::Empty => Some(json!("")),
            LastCursor::Absent => None,
            LastCursor::Dangling => Some(json!(paging.cursor)),
        };
        if let Some(cursor) = cursor {
            place.insert("next_cursor".into(), cursor);
        }
        if paging.flagged && version == Version::V1 && switches.has_next_page {
            place.insert("has_next_page".into(), json!(paging.has_more));
        }
        data
    }
}

/// What the vendor knows beyond the conversations.
#[derive(Default)]
pub(super) struct Books {
    v1: Index,
    v2: Index,
    credits: Credits,
    webhooks: Webhooks,
    /// Conversations that a read marked as read, and how many messages the world had then.
    read: HashMap<ConversationRef, u64>,
}

impl Books {
    fn index(&self, version: Version) -> &Index {
        match version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        }
    }

    fn index_mut(&mut self, version: Version) -> &mut Index {
        match version {
            Version::V1 => &mut self.v1,
            Version::V2 => &mut self.v2,
        }
    }

    /// Messages from this number on are unread.
    fn read_mark(&self, reference: ConversationRef) -> u64 {
        self.read.get(&reference).copied().unwrap_or_default()
    }
}

impl State {
    /// Takes a new conversation up, if it is one of LinkupAPI.
    pub(super) fn linkup_added(&mut self, reference: ConversationRef) {
        let conversation = &self.conversations[reference.0];
        if let Some(version) = Version::of(conversation.dialect) {
            self.linkup.index_mut(version).add(reference, conversation);
        }
    }

    /// Notes a new message, if its conversation is one of LinkupAPI.
    pub(super) fn linkup_written(&mut self, reference: ConversationRef, place: usize) {
        let conversation = &self.conversations[reference.0];
        let Some(version) = Version::of(conversation.dialect) else { return };
        let message = &conversation.messages[place];
        self.linkup.index_mut(version).written(reference, message.sent_at, message.visible_at);
        if version == Version::V2 {
            self.linkup.webhooks.happened(conversation, message);
        }
    }
}

/// What tests and people see of it.
impl World {
    /// All credits that LinkupAPI has taken so far.
    pub fn linkup_credits(&self) -> u64 {
        let mut state = self.state();
        webhooks::charge_monitoring(&mut state, UnixMillis::now());
        state.linkup.credits.total()
    }

    /// The credits that LinkupAPI took on the day of this moment, which begins at midnight UTC.
    pub fn linkup_credits_of_day(&self, moment: UnixMillis) -> u64 {
        let mut state = self.state();
        webhooks::charge_monitoring(&mut state, UnixMillis::now());
        state.linkup.credits.of_day(moment)
    }

    /// The last 10,000 takings of LinkupAPI, oldest first.
    pub fn credit_entries(&self) -> Vec<CreditEntry> {
        let mut state = self.state();
        webhooks::charge_monitoring(&mut state, UnixMillis::now());
        state.linkup.credits.entries()
    }

    /// Whether a read of LinkupAPI v2 marked the conversation as read, by asking for it or by not asking against it.
    pub fn was_marked_read(&self, conversation: ConversationRef) -> bool {
        self.state().linkup.read.contains_key(&conversation)
    }
}

/// Refuses whoever does not have the customer's key.
fn check_key(state: &State, incoming: &Incoming) -> Result<(), Trouble> {
    match incoming.headers.get("x-api-key") {
        Some(key) if key.as_bytes() == state.settings.linkup_api_key.as_bytes() => Ok(()),
        _ => Err(Trouble::Key),
    }
}

/// Refuses fields that the contract does not know, where the switch says so.
fn check_rest(state: &State, fields: &Fields) -> Result<(), Trouble> {
    match fields.unknown() {
        Some(name) if state.switches.linkup.refuse_unknown_fields => {
            Err(Trouble::Params(format!("Unknown parameter: {name}")))
        }
        _ => Ok(()),
    }
}

/// A profile as `/in/ada-byron`, or with the opaque id.
fn profile_url(person: &Person, vanity: bool) -> String {
    format!("https://www.linkedin.com/in/{}", if vanity { &person.slug } else { &person.profile_id })
}
