//! Providers: APIs that can list the messages of a conversation. Each turns (conversation, since, cursor) into a page
//! of messages in our model and its failures into one of our classes.
//!
//! A provider knows nothing of the store, of schedules or of how a watermark is kept. To add one: a file or folder
//! here, a variant and its lines in [`settings`], and a row in the contract test.

mod address;
mod bounds;
mod connectsafely;
mod encoding;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod half_characters;
mod http;
mod json;
mod large;
mod linkedapi;
mod linkup;
mod moment;
mod names;
mod redact;
mod settings;
mod unipile;
mod urn;

use std::time::Duration;

use async_trait::async_trait;

use crate::backoff::Backoff;
use crate::model::{Conversation, Message};
use crate::time::UnixMillis;

pub use crate::model::{Listed, Unreadable};
pub use http::{TlsError, install_tls};
pub use large::{Asides, Watch as LargeAnswers, aside, let_go};
pub use settings::{COMMON_KEYS, NAMES, Settings, build};

/// An API that can list the messages of a conversation.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Asks for one page, in one request. Reading is idempotent: it may be repeated and cancelled at any point.
    async fn page(&self, request: PageRequest<'_>) -> Result<Page, Error>;

    /// Asks for the first page of several conversations in one request, answered in the order asked. An error of the
    /// whole says nothing about any one of them: ask singly.
    async fn batch(&self, requests: &[PageRequest<'_>]) -> Result<Vec<Result<Page, Error>>, Error> {
        let mut pages = Vec::with_capacity(requests.len());
        for request in requests {
            pages.push(self.page(*request).await);
        }
        Ok(pages)
    }

    /// Checks credentials and account, in one request that costs nothing and changes nothing.
    async fn probe(&self) -> Result<(), Error>;

    /// Whether the account has to be looked at before the next page or listing can be judged.
    fn wants_account(&self) -> bool {
        false
    }

    /// Looks at the account, in one request. What it finds is kept here, and is in what pages say
    /// from then on; a look that fails is wanted again after a while.
    async fn look_at_account(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Looks closer than a probe, for a person who waits: in as many requests as tell more of the account and cost
    /// nothing. Fails where a poll would; returns what is worth saying beside that.
    async fn examine(&self, _listed: &[&Conversation]) -> Result<Vec<String>, Error> {
        self.probe().await.map(|()| vec![])
    }

    /// The customer's credits, where the provider tells how many are left.
    fn balance(&self) -> Option<&dyn Balance> {
        None
    }

    /// The upkeep that the provider wants, where it collects a conversation only after being told to.
    fn upkeep(&self) -> Option<&dyn Upkeep> {
        None
    }

    /// The account's inbox, where it can be listed.
    fn inbox(&self) -> Option<&dyn Inbox> {
        None
    }

    /// The most that one request of a kind can cost, in the provider's credits; 0 where it is free.
    fn price(&self, _call: Call) -> u32 {
        0
    }
}

/// Kinds of requests, as far as prices and limits tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Messages of a conversation, or of several.
    Page,
    /// The inbox.
    Listing,
    /// The state of the account: probes, and which folders its inbox has.
    Account,
    /// The provider's own collecting: starting it, and asking how it does.
    Collecting,
}

impl Call {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Page, Self::Listing, Self::Account, Self::Collecting];
}

/// What the provider leaves of its own rate limit on requests of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests in a whole window, where it says.
    pub limit: Option<u32>,
    /// Requests that are left until its end.
    pub remaining: u32,
    /// Time to its end.
    pub resets_in: Duration,
}

/// What is left of the customer's credits.
#[async_trait]
pub trait Balance: Send + Sync {
    /// Asks for it, in one request that costs nothing.
    async fn credits_left(&self) -> Result<u64, Error>;
}

/// The parts of an inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Those that are listed one by one.
    pub listed: Vec<String>,
    /// Of these, the ones in which hardly anything moves: listed once in a hundred sweeps.
    pub seldom: Vec<String>,
    /// Those that are there as well and are not listed.
    pub left_out: Vec<String>,
}

impl Folders {
    /// All that there are, listed alike.
    pub fn all(listed: Vec<String>) -> Self {
        Self { listed, ..Self::default() }
    }
}

/// The inbox of an account: a sweep over it tells which conversations moved, at the price of a request or two.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// The parts that are listed one by one, where they are known without asking; an inbox that is
    /// one whole has one part without a name.
    fn known_folders(&self) -> Option<Folders> {
        Some(Folders::all(vec![String::new()]))
    }

    /// Asks for the parts, in one request. It is asked rarely, and only where they are not known.
    async fn folders(&self) -> Result<Folders, Error> {
        Ok(self.known_folders().unwrap_or_default())
    }

    /// One page of a folder, youngest activity first, in one request. A failure of class `gone` means that the folder
    /// cannot be read, whatever becomes of the others.
    async fn list(&self, request: ListRequest<'_>) -> Result<Listing, Error>;

    /// How collecting is started, where the provider fills the inbox only after being told to.
    fn monitoring(&self) -> Option<&dyn Monitoring> {
        None
    }
}

/// Starting the provider's own collecting of an inbox.
#[async_trait]
pub trait Monitoring: Send + Sync {
    /// Starts collecting a folder. Not idempotent: after a lost answer, whether it took effect is unknown.
    async fn start(&self, folder: &str) -> Result<Started, Error>;

    /// Asks how a started workflow does.
    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error>;
}

/// Which page of the inbox to list.
#[derive(Clone, Copy, Debug)]
pub struct ListRequest<'a> {
    /// One of [`Folders::listed`].
    pub folder: &'a str,
    /// Only what moved after it is wanted; a provider that cannot be asked so lists everything. `None` wants everything.
    pub since: Option<UnixMillis>,
    /// Where the listing goes on, from the page before; `None` for the first page.
    pub cursor: Option<&'a str>,
}

/// One page of the inbox.
#[derive(Debug, Default)]
pub struct Listing {
    /// Conversations, youngest activity first; one may come again on a later page.
    pub rows: Vec<Listed>,
    /// Where the listing goes on; `None` at its end.
    pub next: Option<String>,
    /// What the request cost, in the provider's credits.
    pub credits: u32,
    /// What is left of the provider's rate limit, where the answer says.
    pub quota: Option<Quota>,
    /// What of the answer could not be read.
    pub unreadable: Unreadable,
    /// When it was answered, by the provider's clock; `None` where the answer does not say.
    pub answered_at: Option<UnixMillis>,
}

/// Starting and watching the provider's own collecting of a conversation.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// Starts collecting. Not idempotent: after a lost answer, whether it took effect is unknown.
    async fn start(&self, conversation: &Conversation) -> Result<Started, Error>;

    /// Asks how a started workflow does.
    async fn status(&self, workflow_id: &str) -> Result<Workflow, Error>;

    /// How long one start keeps the conversation collected, where the provider does not say otherwise.
    fn period(&self) -> Duration;
}

/// A workflow was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The provider's id of it.
    pub workflow_id: String,
    /// It waits for the account's working hours.
    pub outside_working_hours: bool,
    /// When it was accepted, by the provider's clock; `None` where the answer does not say.
    pub answered_at: Option<UnixMillis>,
}

/// How a workflow does.
#[derive(Clone, Debug)]
pub enum Workflow {
    /// Queued or at work.
    Running {
        /// It waits for the account's working hours.
        outside_working_hours: bool,
    },
    /// Done: the conversation is collected until then, where the provider says.
    Done {
        /// End of the period.
        sync_until: Option<UnixMillis>,
    },
    /// It ended without success.
    Failed(Error),
}

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    /// The conversation.
    pub conversation: &'a Conversation,
    /// Lower bound: at least every message after it is wanted; `None` asks for everything.
    pub since: Option<UnixMillis>,
    /// Where a walk goes on, from the page before; `None` for the first page.
    pub cursor: Option<&'a str>,
}

/// One answer: messages in any order.
#[derive(Debug, Default)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Message>,
    /// What lies beyond them.
    pub rest: Rest,
    /// What people call the conversation.
    pub title: Option<String>,
    /// Up to when it holds everything there is.
    pub proof: Proof,
    /// It cannot be judged before the account is known: look at that, and ask again.
    pub awaits_account: bool,
    /// What the request cost, in the provider's credits.
    pub credits: u32,
    /// What is left of the provider's rate limit, where the answer says.
    pub quota: Option<Quota>,
    /// What of the answer could not be read.
    pub unreadable: Unreadable,
}

/// Up to when an answer holds everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// Up to the moment it was asked for.
    #[default]
    Now,
    /// The provider collects up to here, which may lie ahead, and is silent about what comes later.
    CollectedUntil(UnixMillis),
    /// The provider was last seen to collect then; nothing says that it has stopped, and nothing later is proved.
    SeenCollecting(UnixMillis),
    /// The provider collects nothing for now, and since when is not known.
    Stopped,
    /// From a cache although a fresh answer was asked for: nothing is proved.
    Cached,
}

/// What lies beyond a page, between its oldest message and the lower bound asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: the range is complete.
    #[default]
    Nothing,
    /// More, at this cursor.
    More(String),
    /// The page may lack messages anywhere: read the range again from this cursor on.
    Unsure(String),
    /// The same, but needless when the page holds no unknown message.
    UnsureIfNew(String),
}

/// How a failure is to be met; the same for every provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Try again with back-off.
    Transient,
    /// Wait as told.
    Throttled,
    /// The account waits for a person: pause it, probe slowly.
    Auth,
    /// The conversation is not there, or may not be read: pause it.
    Gone,
    /// The provider has to be told to collect the conversation first.
    NotReady,
    /// An answer that is not what the contract says: back off, change nothing.
    Protocol,
}

impl Class {
    /// The word in logs, metrics and status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Auth => "auth",
            Self::Gone => "gone",
            Self::NotReady => "not_ready",
            Self::Protocol => "protocol",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed request. `detail` is safe to show: no secret, one line, bounded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    /// How to meet it.
    pub class: Class,
    /// What happened, for people.
    pub detail: String,
    /// How long to wait, where the provider or its contract says.
    pub wait: Option<Duration>,
    /// The whole account may be at fault although a conversation failed: worth a probe.
    pub suspect_account: bool,
    /// The cursor is no longer taken: the walk has to begin again.
    pub cursor_refused: bool,
    /// Every conversation of the same LinkedIn product in this account would fail alike.
    pub whole_product: bool,
    /// What the request cost all the same, in the provider's credits; `None` where that is not known, so that it has to be
    /// taken for charged.
    pub credits: Option<u32>,
    /// What a person would have to look at, where the failure tells.
    pub fault: Fault,
}

/// What is at fault, for the person who has to repair it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// The failure does not tell.
    #[default]
    Unsaid,
    /// The provider could not be reached.
    Network,
    /// What answers cannot prove that it is the provider.
    Trust,
    /// Something answers, but not this API.
    Address,
    /// The credentials are refused.
    Key,
    /// The LinkedIn account is signed out at the provider, or in need of a person there.
    SignedOut,
    /// The subscription or the credits do not allow it.
    Plan,
}

impl Error {
    /// An error of this class; text from outside is made safe here, once.
    pub fn new(class: Class, detail: impl AsRef<str>) -> Self {
        Self {
            class,
            detail: http::safe(detail.as_ref()),
            wait: None,
            suspect_account: false,
            cursor_refused: false,
            whole_product: false,
            credits: None,
            fault: Fault::Unsaid,
        }
    }

    /// The same with what a person would have to look at.
    fn at_fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// The same with how long to wait.
    pub fn with_wait(mut self, wait: Option<Duration>) -> Self {
        self.wait = wait;
        self
    }

    fn suspecting_account(mut self) -> Self {
        self.suspect_account = true;
        self
    }
}

/// What a provider's contract recommends; each may be overridden in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Name in the configuration and in events.
    pub name: &'static str,
    /// The account's budget.
    pub requests_per_minute: u32,
    /// Polls in flight.
    pub concurrency: usize,
    /// A whole request.
    pub timeout: Duration,
    /// How far behind the watermark each poll asks again.
    pub overlap: Duration,
    /// How coarse the provider's times may be: a shorter overlap could lose messages with equal times.
    pub resolution: Duration,
    /// More frequent polls of one conversation are against the provider's advice.
    pub advised_min_interval: Duration,
    /// After failures that may pass by themselves.
    pub transient: Backoff,
    /// When throttled without being told how long.
    pub throttled: Backoff,
}
