//! What a person sees: arguments in, text and exit code out. One file per command.

mod audit;
mod check;
mod config;
mod conversations;
mod deliveries;
mod demo;
mod explain;
mod init;
mod plan;
mod run;
mod secret;
mod simulate;
mod status;
mod tail;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Sources};
use crate::store::ReadOnlyStore;
use crate::time::UnixMillis;
use crate::{daemon, store};

/// Watches LinkedIn conversations through the messaging APIs you already pay for, and hands every new message, once,
/// to the places you choose.
#[derive(Debug, Parser)]
#[command(name = "inboxd", version, about, propagate_version = true, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 failure, 2 usage, 3 ran and found problems, 65 database corrupt or foreign, 74 storage I/O,
75 locked by another process, 76 database newer than this program, 77 permission or unreadable credential,
78 configuration.";

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// Configuration file (TOML; YAML or JSON by extension); else $INBOXD_CONFIG, ./inboxd.toml, /etc/inboxd/inboxd.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    fn sources(&self) -> Sources {
        Sources { file: self.config.clone(), overrides: vec![] }
    }

    fn load(&self) -> Result<Config, Failure> {
        Ok(crate::config::load(&self.sources())?)
    }

    /// Opens the store to look at it.
    fn open_store(&self) -> Result<ReadOnlyStore, Failure> {
        Ok(self.open_store_at()?.1)
    }

    /// The same, and where it lies.
    fn open_store_at(&self) -> Result<(PathBuf, ReadOnlyStore), Failure> {
        let store = crate::config::load_store(&self.sources())?;
        let opened = ReadOnlyStore::open(&store.path)?;
        Ok((store.path, opened))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon, or with --once a single round
    Run(run::Arguments),
    /// Show it at work: simulator, daemon and all providers on throw-away state; nothing to configure
    Demo(demo::Arguments),
    /// Print a commented configuration to start from
    Init(init::Arguments),
    /// Validate the configuration without starting anything; with --online ask every account's provider and every remote sink too
    Check(check::Arguments),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Show accounts, conversations and sinks, beside a running daemon or without one
    Status(status::Arguments),
    /// Show up to when every conversation is complete, and what may be missing; 3 if anything may be
    Audit(audit::Arguments),
    /// Look at conversations, follow more of them, go back over one
    #[command(subcommand)]
    Conversations(conversations::Command),
    /// Look at deliveries, try dead ones again, remove them
    #[command(subcommand)]
    Deliveries(deliveries::Command),
    /// Send a sink again what was recorded: same ids, same bytes
    Replay(deliveries::Replay),
    /// Erase what people wrote in a conversation, or in one message of it, from the store and from files of events; ids are kept, so
    /// that nothing is announced again
    Erase(conversations::Erase),
    /// Say what became of a message: which poll saw it, why it was announced or not, every attempt to deliver it
    Explain(explain::Arguments),
    /// Print events as they come
    Tail(tail::Arguments),
    /// Say what a schedule costs and how late it finds messages
    Plan(plan::Arguments),
    /// Make secrets to sign events with
    #[command(subcommand)]
    Secret(secret::Command),
    /// Run a provider made of scripted conversations, with faults on demand
    Simulate(simulate::Arguments),
}

/// A command that failed: what to say and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

const FAILED: u8 = 1;
/// Ran, and found problems.
const FOUND_PROBLEMS: u8 = 3;
// The rest are those of sysexits.h, as service managers know them.
const DATA: u8 = 65;
const IO: u8 = 74;
const LOCKED: u8 = 75;
const NEWER: u8 = 76;
const PERMISSION: u8 = 77;
const CONFIG: u8 = 78;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    crate::ops::hardening::harden();
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Config(command) => config::run(&command),
        Command::Status(arguments) => status::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Conversations(command) => conversations::run(command),
        Command::Deliveries(command) => deliveries::run(command),
        Command::Replay(arguments) => deliveries::replay(arguments),
        Command::Erase(arguments) => conversations::erase(arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Secret(command) => secret::run(&command),
        Command::Simulate(arguments) => simulate::run(&arguments),
    };
    crate::ops::logging::flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.message.lines().for_each(note);
            ExitCode::from(failure.code)
        }
    }
}

/// Tells a person something on standard error. Where that is gone, nowhere is left to say so, and
/// the command goes on.
fn note(line: &str) {
    drop(writeln!(std::io::stderr(), "inboxd: {line}"));
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<crate::config::Error> for Failure {
    fn from(error: crate::config::Error) -> Self {
        let code = if error.0.iter().any(|problem| problem.unreadable) { PERMISSION } else { CONFIG };
        Self::new(code, error.to_string())
    }
}

impl From<store::OpenError> for Failure {
    fn from(error: store::OpenError) -> Self {
        let code = match error {
            store::OpenError::Locked { .. } => LOCKED,
            store::OpenError::Corrupt { .. } => DATA,
            store::OpenError::Newer { .. } => NEWER,
            store::OpenError::Permission { .. } | store::OpenError::Unsafe { .. } => PERMISSION,
            store::OpenError::Io { .. } | store::OpenError::Unrecovered { .. } => IO,
            store::OpenError::Linked { .. } | store::OpenError::NoFile { .. } => CONFIG,
            store::OpenError::Missing { .. } | store::OpenError::Older { .. } => FAILED,
        };
        Self::new(code, error.to_string())
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        let code = match error {
            store::Error::Corrupt(_) => DATA,
            store::Error::Io(_) | store::Error::Full(_) => IO,
            _ => FAILED,
        };
        Self::new(code, crate::model::chain(&error, 1000))
    }
}

impl From<daemon::Error> for Failure {
    fn from(error: daemon::Error) -> Self {
        match error {
            daemon::Error::Config(error) => error.into(),
            daemon::Error::Open(error) => error.into(),
            daemon::Error::Store(error) => error.into(),
            // No certificates, or none that can be read: starting again would end the same way.
            daemon::Error::Sink { .. } | daemon::Error::Tls(_) => Self::new(CONFIG, error.to_string()),
            daemon::Error::Signals(_) | daemon::Error::Control(_) => Self::new(FAILED, error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        // A reader that has seen enough, such as head(1), is no failure.
        let code = if error.kind() == std::io::ErrorKind::BrokenPipe { 0 } else { FAILED };
        Self::new(code, if code == 0 { String::new() } else { error.to_string() })
    }
}

/// The provider of an account, not yet asked for anything.
fn provider(
    account: &crate::config::Account,
    inserted: &crate::mask::Mask,
) -> Result<std::sync::Arc<dyn crate::providers::Provider>, Failure> {
    crate::providers::install_tls();
    crate::providers::build(&account.settings, account.polling.timeout, inserted)
        .map_err(|error| Failure::new(CONFIG, error.to_string()))
}

/// A time in the past: RFC 3339, or how long ago.
fn past(text: &str) -> Result<UnixMillis, String> {
    use crate::settings::{NoDuration, read_duration};
    let ago = match read_duration(text) {
        Ok(ago) => Some(UnixMillis::now() - ago),
        Err(NoDuration::Unreadable) => None,
        Err(why) => return Err(why.to_string()),
    };
    let time = ago.or_else(|| UnixMillis::parse(text)).ok_or_else(|| {
        "expected an RFC 3339 time such as 2026-01-31T09:00:00Z, or how long ago, such as 2h".to_owned()
    })?;
    if time > UnixMillis::now() { Err("lies in the future".into()) } else { Ok(time) }
}

/// Runs an asynchronous command to its end. What still blocks a thread then, such as a write to a pipe that nobody
/// reads, does not keep the process.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    crate::providers::install_tls();
    // One thread polls, decides and delivers; the store and files have threads of their own. More of them would mostly
    // wake each other: a quiet poll costs a third less without.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
