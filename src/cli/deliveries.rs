//! `inboxd deliveries` and `inboxd replay`

use std::io::Write as _;

use clap::ValueEnum as _;

use super::conversations::operate;
use super::{ConfigFile, FAILED, Failure, past};
use crate::model::Untrusted;
use crate::ops::control::Request;
use crate::store::{DeliveryRow, Listing, Selection};
use crate::time::UnixMillis;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show deliveries that wait or were given up, oldest first, and why
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// Only this sink's
        #[arg(long, value_name = "SINK")]
        sink: Option<String>,
        /// Only those in this state; else pending and dead ones
        #[arg(long, value_name = "STATE")]
        state: Option<State>,
        /// So many at most
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50)]
        limit: u32,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Make dead deliveries pending again; with --sink or --all, what waits for its next attempt is due at once too
    Retry(Chosen),
    /// Remove dead deliveries for good; of a sink that is no longer configured, everything
    Purge {
        #[command(flatten)]
        chosen: Chosen,
        /// Pending ones too
        #[arg(long)]
        pending: bool,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum State {
    Pending,
    Delivered,
    Dead,
    Filtered,
}

#[derive(Debug, clap::Args)]
pub(super) struct Chosen {
    #[command(flatten)]
    file: ConfigFile,
    /// Event ids, as `deliveries list` shows them
    #[arg(value_name = "ID", required_unless_present_any = ["sink", "all"])]
    ids: Vec<String>,
    /// Only this sink's
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Of every sink
    #[arg(long, conflicts_with_all = ["ids", "sink"])]
    all: bool,
}

/// Ids in one request: a request has a limit in bytes.
const IDS_AT_ONCE: usize = 1_000;

impl Chosen {
    /// Asks for what was chosen, in as many requests as it takes.
    fn each(self, ask: impl Fn(&ConfigFile, Option<String>, Selection) -> Result<(), Failure>) -> Result<(), Failure> {
        let Self { file, ids, sink, all: _ } = self;
        if ids.is_empty() {
            return ask(&file, sink, Selection::default());
        }
        let mut parts = ids.chunks(IDS_AT_ONCE);
        parts.try_for_each(|ids| ask(&file, sink.clone(), Selection { events: ids.to_vec(), ..Selection::default() }))
    }
}

/// `inboxd replay`
#[derive(Debug, clap::Args)]
pub(super) struct Replay {
    #[command(flatten)]
    file: ConfigFile,
    /// The sink to send to
    #[arg(long, value_name = "SINK")]
    sink: String,
    /// Events recorded since then: RFC 3339, or how long ago, such as 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = past)]
    since: Option<UnixMillis>,
    /// Events recorded before then
    #[arg(long, value_name = "TIME", value_parser = past)]
    until: Option<UnixMillis>,
    /// Only of this conversation: its id in events, or as the configuration names it
    #[arg(long, value_name = "CONVERSATION")]
    conversation: Option<String>,
    /// Only this event; may be given several times
    #[arg(long = "event", value_name = "ID")]
    events: Vec<String>,
    /// Only say how many there are
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::List { file, sink, state, limit, json } => list(&file, sink, state, limit, json),
        Command::Retry(chosen) => chosen.each(|file, sink, of| operate(file, Request::RetryDead { sink, of })),
        Command::Purge { chosen, pending, dry_run } => {
            chosen.each(|file, sink, of| operate(file, Request::Purge { sink, of, pending, dry_run }))
        }
    }
}

pub(super) fn replay(arguments: Replay) -> Result<(), Failure> {
    let Replay { file, sink, since, until, conversation, events, dry_run } = arguments;
    operate(
        &file,
        Request::Replay {
            sink,
            of: Selection { events, conversations: conversation.into_iter().collect(), since, until },
            dry_run,
        },
    )
}

fn list(file: &ConfigFile, sink: Option<String>, state: Option<State>, limit: u32, json: bool) -> Result<(), Failure> {
    let store = file.open_store()?;
    if let Some(name) = &sink {
        let sinks = store.overview()?.sinks;
        if sinks.iter().all(|sink| sink.name != *name) {
            let known: Vec<_> = sinks.iter().map(|sink| sink.name.as_str()).collect();
            let message = format!("there is no sink \"{}\"; known are {}", Untrusted(name), known.join(", "));
            return Err(Failure::new(FAILED, message));
        }
    }
    let word = state.and_then(|state| state.to_possible_value()).map(|value| value.get_name().to_owned());
    let state = crate::store::STATES.into_iter().find(|known| Some(*known) == word.as_deref());
    let (rows, total) = store.deliveries(&Listing { sink, state, limit })?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for row in &rows {
        if json {
            writeln!(out, "{}", serde_json::to_string(row).map_err(|e| Failure::new(FAILED, e.to_string()))?)?;
        } else {
            writeln!(out, "{}", readable(row))?;
        }
    }
    out.flush()?;
    let left = total.saturating_sub(rows.len() as u64);
    if left > 0 {
        super::note(&format!("{left} more; --limit shows them"));
    }
    Ok(())
}

fn readable(row: &DeliveryRow) -> String {
    let DeliveryRow { event_id, kind, sink, state, subject, title, recorded_at, attempts, due_at, last_failure } = row;
    let whom = Untrusted(title.as_deref().unwrap_or(subject));
    let next = due_at.map_or_else(String::new, |at| format!(", next turn {at}"));
    let failure = last_failure.as_deref().map_or_else(String::new, |said| format!(": {}", Untrusted(said)));
    let attempts = crate::model::counted(*attempts as usize, "attempt");
    format!("{event_id}\t{sink}\t{state}\t{kind}\t{whom}\trecorded {recorded_at}\t{attempts}{next}{failure}")
}
