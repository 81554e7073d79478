//! How fast inboxd is, beside the least that could do the same work on the same machine in the same minutes.
//!
//! ```text
//! cargo bench --bench pipeline
//! cargo bench --bench pipeline -- sweep history
//! ```
//!
//! The second line chooses among quiet, memory, schedule, backlog, delivery, store, sweep and history.
//!
//! Absolute figures say more about the machine than about the program, and on a shared machine not even that: read the
//! ratios. Each is the median over rounds in which both sides ran one after the other; beside it stand the lowest and
//! the highest, whose distance is the noise. More is better, but for memory. The simulator shares the processors with
//! whatever it serves, so rates are those of the pair; what one side alone costs stands in the rows "for its CPU".
//!
//! - Quiet polls: `inboxd run` with 64 polls in flight follows more conversations than the machine can poll at the
//!   shortest interval. Bare is a `reqwest` loop in this process: 64 in flight, the same requests, answers read and not
//!   decoded. One conversation a request is ConnectSafely, 100 a request is Linked API; both count conversations.
//! - Backlog: `inboxd run` on an empty store until the last message stands in the file of a file sink, start of the
//!   process included; every message is on disk before it counts, in the store (synchronous=FULL) and in the file. Bare
//!   is a `reqwest` loop that decodes the same pages and appends every message to a file, synced once at the end. That
//!   each message arrives once is checked, outside the measured time.
//! - Delivery: `inboxd run` on a store in which 1,000 conversations have 100 events each waiting, until the last of them is in
//!   the file or answered by the receiver, start of the process included; each is recorded durably as delivered. Bare is an
//!   append of the same bytes, synced once, and a `reqwest` loop with 64 posts of the same bytes in flight.
//! - Store: `Store::record_poll` with one new message, alone and from 64 tasks. Bare is one INSERT a transaction.
//! - Memory: `inboxd run` after the first polls. Bare is a process that has asked for the same pages once.
//! - Schedule: the timetable in virtual time, without I/O, beside a heap of moments with a fixed interval; and the simulation
//!   behind `inboxd plan --trace`.
//! - Sweep: `inboxd run` with `discover = true` on an inbox of 1,000, with time compressed: a second stands for a minute.
//!   Beside it stands what polling each of them that often costs.
//! - History: `inboxd run` with `first_poll = "all"` on one conversation of 100,000 messages, until the last of them stands
//!   in the file. Bare is a `reqwest` loop that follows the same pages and throws them away.
//!
//! The simulator is `inboxd simulate` in its own process. Everything is on the loopback interface; files lie in the
//! target folder. A figure that this system does not provide is printed as n/a.

mod backlog;
mod bare;
mod commits;
mod delivery;
mod history;
mod peers;
mod proc;
mod quiet;
mod schedule;
mod sweep;
mod table;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use peers::Simulation;
use quiet::Quiet;
use table::Table;

/// How often everything is measured.
const ROUNDS: usize = 3;

/// Conversations of each provider whose polls are counted. What they want, ten polls a second each, must be more than
/// the machine can do.
const QUIET: Quiet = Quiet { singly: 10_000, batched: 50_000 };

/// Conversations of the largest daemon whose memory is measured.
const MOST: usize = 100_000;

/// Conversations of each provider with a backlog, and the messages of each.
const BACKLOG: usize = 1_000;
const BACKLOG_EACH: usize = 100;

/// Makes this program the bare loop whose memory is measured.
const BARE_ONCE: &str = "--bare-once";

fn main() -> ExitCode {
    let is = |wanted: &str| std::env::args().skip(1).any(|argument| argument == wanted);
    let outcome = if is(BARE_ONCE) {
        block_on(bare::once_and_tell())
    } else if is("--bench") {
        block_on(measure())
    } else {
        // Not a benchmark run: `cargo test --all-targets` starts this too.
        Ok(())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere is left to report that standard error is gone.
            drop(writeln!(std::io::stderr(), "pipeline: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// What can be chosen by its name.
const MEASUREMENTS: [&str; 8] = ["quiet", "memory", "schedule", "backlog", "delivery", "store", "sweep", "history"];

async fn measure() -> Result<()> {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let unknown = chosen.iter().find(|name| !MEASUREMENTS.contains(&name.as_str()));
    ensure!(unknown.is_none(), "{} is not one of {}", unknown.map_or("", String::as_str), MEASUREMENTS.join(", "));
    let wants = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| chosen == name);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let folder = folder.path();
    let mut table = Table::default();
    if wants("quiet") || wants("memory") {
        let simulation = Simulation::start(folder, QUIET.batched.max(MOST)).await?;
        simulation.fill(1).await?;
        if wants("quiet") {
            say("quiet polls")?;
            quiet::polls(&mut table, folder, &simulation, &QUIET).await?;
        }
        if wants("memory") {
            say("memory")?;
            quiet::memory(&mut table, folder, &simulation, &[1_000, 10_000, MOST]).await?;
        }
    }
    if wants("schedule") {
        say("schedule")?;
        schedule::schedule(&mut table)?;
    }
    if wants("backlog") {
        let simulation = Simulation::start(folder, BACKLOG).await?;
        simulation.fill(BACKLOG_EACH).await?;
        say("backlog")?;
        backlog::drain(&mut table, folder, &simulation, BACKLOG_EACH).await?;
    }
    if wants("delivery") {
        say("delivery")?;
        delivery::delivery(&mut table, folder).await?;
    }
    if wants("store") {
        say("store")?;
        commits::commits(&mut table, folder).await?;
    }
    if wants("sweep") {
        sweep::sweep(&mut table, folder).await?;
    }
    if wants("history") {
        history::history(&mut table, folder).await?;
    }
    table.print(std::io::stdout().lock())?;
    Ok(())
}

/// Progress, for whoever waits.
fn say(what: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "measuring: {what}")?)
}

/// Puts what a daemon logged at `warn` or above below the table: figures of a daemon in trouble mean something else.
fn complain(table: &mut Table, name: &str, complaints: Vec<String>) {
    if let Some(first) = complaints.first() {
        table.remark(format!("{name}: inboxd logged {} warnings, the first: {first}", complaints.len()));
    }
}
