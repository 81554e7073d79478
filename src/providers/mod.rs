//! Providers: APIs that can list the messages of a conversation. Each turns (conversation, since, cursor) into a page
//! of messages in our model and its failures into one of our classes.
//!
//! A provider knows nothing of the store, of schedules or of how a watermark is kept. To add one: a file or folder
//! here, a variant of [`Settings`], a line in [`build`] and a row in the contract test.

mod connectsafely;
mod http;
mod json;
mod linkedapi;
mod redact;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use crate::backoff::Backoff;
use crate::model::{Conversation, Message};
use crate::settings::Read;
use crate::time::UnixMillis;

pub use http::{TlsError, install_tls};
use redact::Redacted;

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

    /// The upkeep that the provider wants, where it collects a conversation only after being told to.
    fn upkeep(&self) -> Option<&dyn Upkeep> {
        None
    }
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
    /// The provider collects new messages up to here and is silent about later ones; `None` where that cannot happen.
    pub collected_until: Option<UnixMillis>,
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
        }
    }

    fn with_wait(mut self, wait: Option<Duration>) -> Self {
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

/// The settings of one account, by its provider.
#[derive(Clone, Debug)]
pub enum Settings {
    /// linkedapi.io
    LinkedApi(linkedapi::Settings),
    /// connectsafely.ai
    ConnectSafely(connectsafely::Settings),
}

/// Names that `provider =` takes.
pub const NAMES: &[&str] = &[linkedapi::PROFILE.name, connectsafely::PROFILE.name];

impl Settings {
    /// Reads the provider's own keys of an account; `None` for an unknown provider.
    pub fn read<R: Read>(provider: &str, reader: &R, table: serde_json::Value) -> Option<Result<Self, R::Error>> {
        Some(match provider {
            "linkedapi" => reader.read(table).map(Self::LinkedApi),
            "connectsafely" => reader.read(table).map(Self::ConnectSafely),
            _ => return None,
        })
    }

    /// Reads the provider's own keys of one conversation. The inner error says what is wrong with a value.
    pub fn conversation<R: Read>(
        &self,
        reader: &R,
        table: serde_json::Value,
    ) -> Result<Result<Conversation, String>, R::Error> {
        Ok(match self {
            Self::LinkedApi(_) => reader.read::<linkedapi::ConversationSettings>(table)?.conversation(),
            Self::ConnectSafely(_) => reader.read::<connectsafely::ConversationSettings>(table)?.conversation(),
        })
    }

    /// What the contract recommends.
    pub fn profile(&self) -> &'static Profile {
        match self {
            Self::LinkedApi(_) => &linkedapi::PROFILE,
            Self::ConnectSafely(_) => &connectsafely::PROFILE,
        }
    }

    /// Conversations that may share one request.
    pub fn batch_size(&self) -> usize {
        match self {
            Self::LinkedApi(settings) => settings.batch_size.max(1),
            Self::ConnectSafely(_) => 1,
        }
    }

    /// What accounts with the same rate limit have in common: the provider limits by it, not by account.
    pub fn budget_key(&self) -> String {
        match self {
            Self::LinkedApi(s) => format!("linkedapi {}", s.identification_token.expose_secret()),
            Self::ConnectSafely(s) => format!("connectsafely {}", s.api_key.expose_secret()),
        }
    }

    /// What is wrong with the settings, where it can be told without asking: key and problem.
    pub fn problem(&self) -> Option<(&'static str, String)> {
        match self {
            Self::LinkedApi(s) => s.problem(),
            Self::ConnectSafely(s) => s.problem(),
        }
    }
}

/// Builds the provider of an account.
pub fn build(settings: &Settings, timeout: Duration) -> Result<Arc<dyn Provider>, TlsError> {
    Ok(match settings {
        Settings::LinkedApi(settings) => Arc::new(Redacted {
            secrets: settings.secrets(),
            inner: linkedapi::LinkedApi::new(settings.clone(), timeout)?,
        }),
        Settings::ConnectSafely(settings) => Arc::new(Redacted {
            secrets: settings.secrets(),
            inner: connectsafely::ConnectSafely::new(settings.clone(), timeout)?,
        }),
    })
}

/// What keeps a credential from being sent in a header.
fn header_problem(credential: &SecretString) -> Option<&'static str> {
    let credential = credential.expose_secret();
    if credential.is_empty() {
        return Some("is empty");
    }
    let sendable = reqwest::header::HeaderValue::from_str(credential).is_ok();
    (!sendable).then_some("has characters that no HTTP header can carry, such as a line break")
}

/// A base URL without its trailing slash; an error names what is wrong without repeating the value.
fn check_base_url(url: &str) -> Option<(&'static str, String)> {
    let problem = match reqwest::Url::parse(url) {
        Err(_) => "is not a URL",
        Ok(url) if !matches!(url.scheme(), "http" | "https") => "must begin with https:// or http://",
        Ok(url) if !url.username().is_empty() || url.password().is_some() => "must not contain a user name or password",
        Ok(_) => return None,
    };
    Some(("base_url", problem.into()))
}
