//! Sinks: places that events go to. A sink takes events and says of each that it has it,
//! or what it has against it: the moment, the address or the body ([`Blame`]).
//!
//! A sink knows nothing of the store, of retries or of other sinks. To add one: a file here, a variant of
//! [`Settings`], a line in [`build`] and a row in the contract test.

mod exec;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod masked;
mod nats;
mod stdout;
mod template;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backoff::Backoff;
use crate::mask::Mask;
use crate::model::{Patterns, SinkName};
use crate::settings::Read;

use masked::Masked;

pub use crate::settings::Rate;
pub use file::Erasure;
pub use http::{NoRandomness, Secrets, SignatureError, new_key_pair, new_shared_secret};

/// A place that events go to.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Hands over events in order. Returns how many of them, from the first on, the sink has for good, and why it has
    /// not the next one. May be given the same event again, with the same bytes.
    async fn deliver(&self, events: &[Outgoing]) -> Delivered;

    /// Asks the place whether it is there, without giving it an event.
    async fn probe(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Opens its files afresh, after somebody moved them away.
    fn reopen(&self) {}
}

/// An event on its way out.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Stable id.
    pub id: String,
    /// The bytes, one JSON object on one line.
    pub body: String,
}

/// What a sink made of the events it was given.
#[derive(Debug)]
pub struct Delivered {
    /// So many of them, from the first on, are delivered.
    pub count: usize,
    /// Why the next one is not; `None` when all are.
    pub failure: Option<Error>,
}

impl Delivered {
    fn all(events: &[Outgoing]) -> Self {
        Self { count: events.len(), failure: None }
    }

    fn none(failure: Error) -> Self {
        Self { count: 0, failure: Some(failure) }
    }
}

/// What a failed attempt speaks of, which decides what becomes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This moment: the place is busy, in trouble or out of reach. Tried again by the schedule.
    Moment,
    /// The address, the credentials or the rights: no event gets through until that is mended, and
    /// none is lost for it.
    Address,
    /// The same, and for good: nobody expects it back.
    AddressGone,
    /// This body: the place will never take the event.
    Body,
}

/// Why a sink has not taken an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}{}{}", if remedy.is_some() { "; " } else { "" }, remedy.unwrap_or_default())]
pub struct Error {
    /// What it speaks of.
    pub blame: Blame,
    /// What happened, for the log: no secret, no word of the message, one line, bounded.
    pub detail: String,
    /// What a person can do about it, where that can be told.
    pub remedy: Option<&'static str>,
    /// The beginning of what the sink replied, for the record of the attempt. It may repeat the message, so it is not
    /// for the log.
    pub reply: Option<String>,
    /// How long to wait, where the sink says.
    pub wait: Option<Duration>,
}

impl Error {
    fn of(blame: Blame, detail: impl Into<String>) -> Self {
        Self { blame, detail: detail.into(), remedy: None, reply: None, wait: None }
    }

    fn retry(detail: impl Into<String>) -> Self {
        Self::of(Blame::Moment, detail)
    }

    fn rejected(detail: impl Into<String>) -> Self {
        Self::of(Blame::Body, detail)
    }

    fn refused(detail: impl Into<String>, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..Self::of(Blame::Address, detail) }
    }

    fn with_reply(self, reply: String) -> Self {
        Self { reply: Some(reply), ..self }
    }

    /// Everything that is known, for the record of the attempt.
    pub fn recorded(&self) -> String {
        match self.reply.as_deref().filter(|reply| !reply.is_empty()) {
            Some(reply) => format!("{self}: {reply}"),
            None => self.to_string(),
        }
    }
}

/// How much a sink takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// One event per hand-over, so many conversations beside each other.
    Single {
        /// Conversations beside each other.
        concurrency: usize,
    },
    /// Many events in one hand-over, one hand-over at a time.
    Together,
}

/// When a failed delivery is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetrySchedule {
    /// After each of these waits, then given up.
    Then(Vec<Duration>),
    /// For as long as it takes.
    Forever(Backoff),
}

/// The settings of one sink, by its type.
#[derive(Clone, Debug)]
pub enum Settings {
    /// Standard output.
    Stdout(stdout::Settings),
    /// A file of JSON lines.
    File(file::Settings),
    /// An HTTP callback.
    Http(Box<http::Settings>),
    /// A program.
    Exec(exec::Settings),
    /// A stream of NATS JetStream.
    Nats(Box<nats::Settings>),
}

/// Names that `type =` takes.
pub const TYPES: &[&str] = &["stdout", "file", "http", "exec", "nats"];

/// A local place is expected back soon, and giving up on it would only make work for a person.
const LOCAL: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };

/// A sink that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A value that `check` refuses.
    #[error("{0}")]
    Settings(String),
    /// Its HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up, perhaps for want of CA certificates: {0}")]
    Client(String),
}

impl Settings {
    /// Reads the keys of a sink; `None` for an unknown type.
    pub fn read<R: Read>(kind: &str, reader: &R, table: serde_json::Value) -> Option<Result<Self, R::Error>> {
        Some(match kind {
            "stdout" => reader.read(table).map(Self::Stdout),
            "file" => reader.read(table).map(Self::File),
            "http" => reader.read(table).map(|settings| Self::Http(Box::new(settings))),
            "exec" => reader.read(table).map(Self::Exec),
            "nats" => reader.read(table).map(|settings| Self::Nats(Box::new(settings))),
            _ => return None,
        })
    }

    /// What is wrong with the settings of a sink that is sent `events`, where it can be told without trying: key and
    /// problem.
    pub fn problem(&self, events: &Patterns) -> Option<(&'static str, String)> {
        match self {
            Self::Stdout(_) => None,
            Self::File(settings) => settings.problem(),
            Self::Http(settings) => settings.problem(events),
            Self::Exec(settings) => settings.problem(),
            Self::Nats(settings) => settings.problem(events),
        }
    }

    /// What a user should know about the settings although they are valid.
    pub fn warning(&self) -> Option<String> {
        match self {
            Self::Stdout(_) => None,
            Self::Nats(settings) => settings.warning(),
            Self::File(settings) => settings.warning(),
            Self::Http(settings) => settings.warning(),
            Self::Exec(settings) => settings.warning(),
        }
    }

    /// The local place it writes to; two sinks must not share one.
    pub fn place(&self) -> Option<std::path::PathBuf> {
        match self {
            Self::Stdout(_) => Some("/dev/stdout".into()),
            Self::File(settings) => settings.place(),
            Self::Http(_) | Self::Exec(_) | Self::Nats(_) => None,
        }
    }

    /// What it is sent that nobody is to see again.
    pub fn mask(&self) -> Mask {
        match self {
            Self::Stdout(_) | Self::File(_) => Mask::default(),
            Self::Http(settings) => settings.mask(),
            Self::Exec(settings) => settings.mask(),
            Self::Nats(settings) => settings.mask(),
        }
    }

    /// Whether a closed file of it would be called so.
    pub fn closes_as(&self, path: &std::path::Path) -> bool {
        matches!(self, Self::File(settings) if settings.closes_as(path))
    }

    /// Erases events from what the sink keeps on this machine; returns how many are gone. Blocks the thread.
    pub fn erase(&self, name: &SinkName, erasure: &Erasure) -> std::io::Result<u64> {
        match self {
            Self::File(settings) => settings.erase(name, erasure),
            Self::Stdout(_) | Self::Http(_) | Self::Exec(_) | Self::Nats(_) => Ok(0),
        }
    }

    /// How much the sink takes at once.
    pub fn intake(&self) -> Intake {
        match self {
            Self::Stdout(_) | Self::File(_) => Intake::Together,
            Self::Http(settings) => Intake::Single { concurrency: settings.concurrency },
            Self::Exec(settings) => Intake::Single { concurrency: settings.concurrency },
            Self::Nats(settings) => Intake::Single { concurrency: settings.concurrency },
        }
    }

    /// Whether it is elsewhere and can be asked for.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Nats(_))
    }

    /// How many attempts it is given in a time; `None`: as many as it takes.
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::Http(settings) => settings.rate(),
            Self::Nats(settings) => settings.rate,
            Self::Stdout(_) | Self::File(_) | Self::Exec(_) => None,
        }
    }

    /// When a failed delivery is tried again.
    pub fn retry(&self) -> RetrySchedule {
        match self {
            Self::Stdout(_) | Self::File(_) => RetrySchedule::Forever(LOCAL),
            Self::Http(settings) => RetrySchedule::Then(settings.retry.clone()),
            Self::Exec(settings) => RetrySchedule::Then(settings.retry.clone()),
            Self::Nats(settings) => RetrySchedule::Then(settings.retry.clone()),
        }
    }
}

/// Builds a sink, opening what it needs. Its errors have no word of its own secrets in them, nor of those in `inserted`.
pub fn build(name: &SinkName, settings: &Settings, inserted: &Mask) -> Result<Arc<dyn Sink>, BuildError> {
    let inner: Box<dyn Sink> = match settings {
        Settings::Stdout(settings) => Box::new(stdout::Stdout::new(settings)),
        Settings::File(settings) => Box::new(file::File::open(name, settings)?),
        Settings::Http(settings) => Box::new(http::Http::new(settings)?),
        Settings::Exec(settings) => Box::new(exec::Exec::new(name, settings)),
        Settings::Nats(settings) => Box::new(nats::Nats::new(settings)?),
    };
    Ok(Arc::new(Masked { inner, mask: settings.mask().and_of(inserted) }))
}
