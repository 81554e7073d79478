//! The shared state that tests and the control API write and the dialects read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::conversation::{Conversation, Draft, Message, token};
use super::faults::{Fault, Faults, When};
use super::linkedapi::{Inbox, Workflows};
use super::linkup::Books;
use super::people;
use super::requests::{Endpoint, RequestEntry, Requests};
use super::switches::{Order, Switches};
use super::traffic::{self, Traffic, TrafficHandle};
use super::unipile::{Unipile, product};
use crate::time::UnixMillis;

/// A provider whose HTTP interface is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// Linked API, under `/linkedapi`.
    LinkedApi,
    /// ConnectSafely, under `/connectsafely/linkedin`.
    ConnectSafely,
    /// Unipile's second API, under `/unipile/v2`.
    UnipileV2,
    /// Unipile's first API, under `/unipile/v1/api/v1`.
    UnipileV1,
    /// LinkupAPI v1, under `/linkup/v1`.
    LinkupV1,
    /// LinkupAPI v2, under `/linkup/v2`.
    LinkupV2,
}

impl Dialect {
    /// Every dialect there is.
    pub const ALL: [Self; 6] =
        [Self::LinkedApi, Self::ConnectSafely, Self::LinkupV1, Self::LinkupV2, Self::UnipileV2, Self::UnipileV1];

    /// Whether it is one of Unipile's.
    pub(super) fn is_unipile(self) -> bool {
        matches!(self, Self::UnipileV2 | Self::UnipileV1)
    }

    /// Whether a conversation of it can be of this product.
    pub(super) fn has(self, kind: Kind) -> bool {
        kind != Kind::Recruiter || self.is_unipile()
    }
}

/// The LinkedIn product of a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Ordinary messaging.
    #[default]
    Standard,
    /// Sales Navigator.
    SalesNavigator,
    /// Recruiter; Unipile's alone.
    Recruiter,
}

impl Kind {
    /// The two letters Linked API has for it.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Standard | Self::Recruiter => "st",
            Self::SalesNavigator => "nv",
        }
    }
}

/// A conversation of a world: its number, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConversationRef(pub(super) usize);

impl ConversationRef {
    /// The number the control API knows it by.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A cheap handle on everything that the simulated providers know.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Traffic that was started over HTTP.
    traffic: Mutex<Option<TrafficHandle>>,
    stopping: CancellationToken,
}

/// What the lock protects.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) switches: Switches,
    pub(super) faults: Faults,
    pub(super) requests: Requests,
    pub(super) conversations: Vec<Conversation>,
    pub(super) workflows: Workflows,
    pub(super) inbox: Inbox,
    pub(super) linkup: Books,
    /// Conversations of Linked API by address, public and hashed.
    people: HashMap<Kind, HashMap<String, ConversationRef>>,
    /// Conversations of ConnectSafely by id.
    threads: HashMap<String, ConversationRef>,
    /// ConnectSafely's conversations by the time of their last message; those without one come first.
    pub(super) activity: BTreeSet<(i64, ConversationRef)>,
    pub(super) unipile: Unipile,
    /// Whose slug it is, and how many people asked for it.
    slugs: HashMap<String, (ConversationRef, u32)>,
    pub(super) written: u64,
    shuffles: u64,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let state = State {
            switches: Switches::default(),
            faults: Faults::new(settings.seed),
            requests: Requests::default(),
            conversations: Vec::new(),
            workflows: Workflows::new(settings.seed),
            inbox: Inbox::default(),
            linkup: Books::default(),
            people: HashMap::new(),
            threads: HashMap::new(),
            activity: BTreeSet::new(),
            unipile: Unipile::default(),
            slugs: HashMap::new(),
            written: 0,
            shuffles: 0,
            settings,
        };
        let stopping = CancellationToken::new();
        Self(Arc::new(Shared { state: Mutex::new(state), traffic: Mutex::new(None), stopping }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cancelled when the simulator stops.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Replaces the traffic that was started this way before.
    pub(super) fn replace_traffic(&self, handle: Option<TrafficHandle>) {
        *self.0.traffic.lock().unwrap_or_else(PoisonError::into_inner) = handle;
    }

    /// A new conversation with a person such as `Ada Byron`, empty; with Linked API it is synced for 30 days. A product
    /// that the dialect does not have is taken for the standard one.
    pub fn add_conversation(&self, dialect: Dialect, kind: Kind, person: &str) -> ConversationRef {
        self.state().add(dialect, kind, None, person)
    }

    /// A conversation of Unipile v2 that this inbox alone lists, such as `CLASSIC_INMAIL`; empty.
    pub fn add_to_inbox(&self, inbox: &str, person: &str) -> ConversationRef {
        let kind = [Kind::SalesNavigator, Kind::Recruiter].into_iter().find(|kind| inbox.starts_with(product(*kind)));
        self.state().add(Dialect::UnipileV2, kind.unwrap_or_default(), Some(inbox), person)
    }

    /// What a user writes into the configuration to follow it.
    pub fn address(&self, conversation: ConversationRef) -> String {
        self.state().conversations[conversation.0].address.clone()
    }

    /// The public profile of its counterpart.
    pub fn profile_url(&self, conversation: ConversationRef) -> String {
        format!("https://www.linkedin.com/in/{}", self.state().conversations[conversation.0].person.slug)
    }

    /// Its normalised id, as in the events of inboxd.
    pub fn conversation_id(&self, conversation: ConversationRef) -> String {
        self.state().conversations[conversation.0].id.clone()
    }

    /// The `2-…` token of its thread.
    pub fn thread_id(&self, conversation: ConversationRef) -> String {
        self.state().conversations[conversation.0].thread.clone()
    }

    /// Every conversation, in the order they were added.
    pub fn conversations(&self) -> Vec<(ConversationRef, Dialect, Kind)> {
        let state = self.state();
        state.conversations.iter().enumerate().map(|(index, c)| (ConversationRef(index), c.dialect, c.kind)).collect()
    }

    /// How many conversations there are.
    pub fn conversation_count(&self) -> usize {
        self.state().conversations.len()
    }

    /// An inbound message, sent now and later than the one before; returns its normalised id.
    pub fn push(&self, conversation: ConversationRef, text: &str) -> String {
        self.push_draft(conversation, Draft { text: text.into(), ..Draft::default() })
    }

    /// A message as drafted; returns its normalised id.
    pub fn push_draft(&self, conversation: ConversationRef, draft: Draft) -> String {
        self.state().write(conversation, draft)
    }

    /// Gives a message another text under its old id.
    pub fn edit(&self, conversation: ConversationRef, message_id: &str, text: &str) {
        self.state().change(conversation, message_id, |message| {
            message.text = text.into();
            message.edited = true;
        });
    }

    /// Marks a message as deleted: Unipile goes on serving it, without its text.
    pub fn retract(&self, conversation: ConversationRef, message_id: &str) {
        self.state().change(conversation, message_id, |message| {
            message.text.clear();
            message.deleted = true;
        });
    }

    /// Takes a message back: later answers do not have it, the ledger does.
    pub fn remove(&self, conversation: ConversationRef, message_id: &str) {
        self.state().change(conversation, message_id, |message| message.removed = true);
    }

    /// Until when Linked API keeps a conversation up to date; a past time makes it lapsed, `None` never synced.
    pub fn set_synced(&self, conversation: ConversationRef, sync_until: Option<UnixMillis>) {
        let mut state = self.state();
        let conversation = &mut state.conversations[conversation.0];
        conversation.sync_until = sync_until;
        conversation.synced_at = None;
    }

    /// Until when Linked API keeps a conversation up to date, as it stands.
    pub fn sync_until(&self, conversation: ConversationRef) -> Option<UnixMillis> {
        let mut state = self.state();
        state.settle_workflows(UnixMillis::now());
        state.conversations[conversation.0].sync_until
    }

    /// The switches as they stand.
    pub fn switches(&self) -> Switches {
        self.state().switches.clone()
    }

    /// Changes switches; the next answer follows them. `change` must not call the world, which is locked meanwhile.
    pub fn set_switches(&self, change: impl FnOnce(&mut Switches)) {
        let mut state = self.state();
        change(&mut state.switches);
        state.follow_source_status();
    }

    /// Asks for a fault. Faults are tried in the order they were asked for; a request meets at most one.
    pub fn inject(&self, fault: Fault, when: When) {
        self.state().faults.inject(fault, when);
    }

    /// Forgets all faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// The last 10,000 requests, oldest first.
    pub fn requests(&self) -> Vec<RequestEntry> {
        self.state().requests.entries()
    }

    /// How many requests an endpoint has had.
    pub fn request_count(&self, endpoint: Endpoint) -> u64 {
        self.state().requests.counted(endpoint)
    }

    /// Keeps writing messages into the conversations there are, until the handle is dropped or the simulator stops.
    /// Must be called on a tokio runtime.
    pub fn start_traffic(&self, traffic: Traffic) -> TrafficHandle {
        let seed = self.state().settings.seed;
        traffic::start(self.clone(), traffic, seed)
    }
}

impl State {
    fn add(&mut self, dialect: Dialect, kind: Kind, inbox: Option<&str>, name: &str) -> ConversationRef {
        const SYNCED_FOR: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 3600);
        let kind = if dialect.has(kind) { kind } else { Kind::Standard };
        let reference = ConversationRef(self.conversations.len());
        let slug = self.free_slug(people::slug(name), reference);
        let (seed, number) = (self.settings.seed, reference.0 as u64);
        let mut conversation = Conversation::new(dialect, (kind, inbox), name, slug, seed, number);
        match dialect {
            Dialect::LinkedApi => {
                conversation.sync_until = Some(UnixMillis::now() + SYNCED_FOR);
                let people = self.people.entry(kind).or_default();
                people.insert(conversation.address.clone(), reference);
                people.insert(conversation.hashed_url(), reference);
            }
            Dialect::ConnectSafely => {
                self.threads.insert(conversation.id.clone(), reference);
                self.activity.insert((i64::MIN, reference));
            }
            Dialect::UnipileV2 | Dialect::UnipileV1 => self.unipile.add(reference, &conversation),
            Dialect::LinkupV1 | Dialect::LinkupV2 => {}
        }
        self.conversations.push(conversation);
        self.linked_api_added(reference);
        self.linkup_added(reference);
        reference
    }

    /// Namesakes are told apart by a number.
    fn free_slug(&mut self, wanted: String, reference: ConversationRef) -> String {
        let mut slug = wanted.clone();
        while slug == people::OWNER.slug || self.slugs.contains_key(&slug) {
            let (_, namesakes) = self.slugs.entry(wanted.clone()).or_insert((reference, 1));
            *namesakes += 1;
            slug = format!("{wanted}-{namesakes}");
        }
        self.slugs.insert(slug.clone(), (reference, 1));
        slug
    }

    fn write(&mut self, reference: ConversationRef, draft: Draft) -> String {
        let conversation = &mut self.conversations[reference.0];
        let last = conversation.messages.last().map_or(i64::MIN, |message| message.sent_at.as_millis());
        let at = conversation.write(draft, self.settings.seed, self.written);
        self.written += 1;
        if conversation.dialect.is_unipile() {
            self.unipile.wrote(reference, conversation, at);
        }
        let message = &conversation.messages[at];
        let sent_at = message.sent_at.as_millis();
        if conversation.dialect == Dialect::ConnectSafely && sent_at > last {
            self.activity.remove(&(last, reference));
            self.activity.insert((sent_at, reference));
        }
        let id = message.id.clone();
        self.linked_api_written(reference, at);
        self.linkup_written(reference, at);
        id
    }

    /// Changes every message of this id.
    fn change(&mut self, reference: ConversationRef, message_id: &str, change: impl Fn(&mut Message)) {
        let conversation = &mut self.conversations[reference.0];
        conversation.messages.iter_mut().filter(|message| message.id == message_id).for_each(change);
        if conversation.dialect.is_unipile() {
            self.unipile.refresh(reference, conversation, UnixMillis::now());
        }
    }

    /// The conversation that Linked API knows by a kind and an address.
    pub(super) fn find_person(&self, kind: Kind, url: &str) -> Option<ConversationRef> {
        self.people.get(&kind)?.get(url.trim_end_matches('/')).copied()
    }

    /// The conversation that ConnectSafely knows by any spelling of its URN.
    pub(super) fn find_thread(&self, urn: &str) -> Option<ConversationRef> {
        self.threads.get(urn).or_else(|| self.threads.get(token(urn))).copied()
    }

    /// The conversation of a dialect with the person of this slug.
    pub(super) fn find_slug(&self, dialect: Dialect, slug: &str) -> Option<ConversationRef> {
        let known = self.slugs.get(slug)?.0;
        (self.conversations.get(known.0)?.dialect == dialect).then_some(known)
    }

    /// How many messages were ever written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// A number for the next shuffle.
    pub(super) fn entropy(&mut self) -> u64 {
        self.shuffles += 1;
        crate::backoff::mix(self.settings.seed, self.shuffles)
    }
}

/// Puts what comes oldest first into the order of the answer.
pub(super) fn arrange<T>(oldest_first: &mut [T], order: Order, entropy: u64) {
    match order {
        Order::Ascending => {}
        Order::Descending => oldest_first.reverse(),
        Order::Shuffled => oldest_first.shuffle(&mut StdRng::seed_from_u64(entropy)),
    }
}
