//! A backlog on its way from the provider to a file.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use inboxd::simulator::Dialect;
use reqwest::Client;
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::bare::{self, Ask, IN_FLIGHT};
use crate::peers::{Daemon, Listed, Simulation, Tail, wait_for};
use crate::table::{Pair, Table};
use crate::{ROUNDS, proc};

const ALL: &str = "first_poll = \"all\"\nmin_interval = \"1h\"\nmax_interval = \"1h\"\n";

/// Seconds until the last line stood in the file, and processor seconds until then.
struct Took {
    seconds: f64,
    cpu_seconds: Option<f64>,
}

/// From the start of the daemon to the last line in the file; the bare loop from its first request to its last line.
pub(crate) async fn drain(table: &mut Table, folder: &Path, of: &Simulation, per_conversation: usize) -> Result<()> {
    for (dialect, name) in [(Dialect::ConnectSafely, "two pages each"), (Dialect::LinkedApi, "one answer each")] {
        let followed = of.conversations(dialect, usize::MAX);
        let messages = followed.len() * per_conversation;
        let asks: Arc<[Ask]> = match dialect {
            Dialect::LinkedApi => Ask::batches(of, &followed, 1, None)?,
            _ => Ask::pages(of, &followed, None)?,
        }
        .into();
        let (mut rates, mut costs): (Vec<Pair>, Vec<Pair>) = Default::default();
        for _ in 0..ROUNDS {
            let (daemon, complaints) = watch(folder, of, &followed, messages).await?;
            let bare = fetch_all(folder, Arc::clone(&asks), messages).await?;
            rates.push((Some(messages as f64 / daemon.seconds), Some(messages as f64 / bare.seconds)));
            let cost = |took: &Took| took.cpu_seconds.map(|cpu| messages as f64 / cpu);
            costs.push((cost(&daemon), cost(&bare)));
            crate::complain(table, name, complaints);
        }
        table.row(format!("backlog to a file, {name}"), "messages/s", rates);
        table.row(format!("backlog to a file, {name}, for its CPU"), "messages per CPU-s", costs);
    }
    Ok(())
}

async fn watch(folder: &Path, of: &Simulation, followed: &[Listed], messages: usize) -> Result<(Took, Vec<String>)> {
    let began = Instant::now();
    let mut daemon = Daemon::start(folder, of, followed, ALL)?;
    let mut lines = 0;
    let mut tail = Tail::new(daemon.events());
    wait_for(&format!("{messages} lines"), || {
        daemon.check()?;
        lines += tail.more_lines()?;
        Ok((lines >= messages).then_some(()))
    })
    .await
    .with_context(|| format!("{lines} of {messages} messages came"))?;
    let took = Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: proc::cpu_seconds(daemon.pid()) };
    let path = daemon.events();
    let text = fs::read_to_string(&path)?;
    let complaints = daemon.stop()?;
    once_each(&text, messages)?;
    Ok((took, complaints))
}

/// Every message once, none else.
pub(crate) fn once_each(text: &str, messages: usize) -> Result<()> {
    #[derive(Deserialize)]
    struct Event<'a> {
        id: &'a str,
    }
    let ids = text.lines().map(|line| Ok(serde_json::from_str::<Event<'_>>(line)?.id)).collect::<Result<Vec<_>>>()?;
    let distinct: HashSet<&str> = ids.iter().copied().collect();
    let (lines, distinct) = (ids.len(), distinct.len());
    ensure!(lines == messages && distinct == messages, "{lines} lines with {distinct} ids for {messages} messages");
    Ok(())
}

/// An answer of either provider, as far as the bare loop looks at it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    messages: Option<Vec<Value>>,
    result: Option<Vec<Answer>>,
    #[serde(default)]
    has_more: bool,
    cursor: Option<String>,
}

/// Fetches the same pages, follows the same cursors and writes every message as a line; one sync at the end.
async fn fetch_all(folder: &Path, asks: Arc<[Ask]>, messages: usize) -> Result<Took> {
    let cpu_before = proc::cpu_seconds(std::process::id());
    let began = Instant::now();
    let client = bare::client()?;
    let path = folder.join("bare.jsonl");
    let file = Arc::new(File::create(&path)?);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (client, asks, next, file) = (client.clone(), Arc::clone(&asks), Arc::clone(&next), Arc::clone(&file));
        tasks.spawn(async move {
            let mut lines = 0;
            while let Some(ask) = asks.get(next.fetch_add(1, Ordering::Relaxed)) {
                lines += fetch(&client, ask.clone(), &file).await?;
            }
            anyhow::Ok(lines)
        });
    }
    let mut lines = 0;
    while let Some(ended) = tasks.join_next().await {
        lines += ended??;
    }
    file.sync_data()?;
    ensure!(lines == messages, "the bare loop got {lines} of {messages} messages");
    let cpu_seconds = proc::cpu_seconds(std::process::id()).zip(cpu_before).map(|(after, before)| after - before);
    let took = Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds };
    fs::remove_file(path)?;
    Ok(took)
}

/// All pages of one conversation.
async fn fetch(client: &Client, mut ask: Ask, mut file: &File) -> Result<usize> {
    let first = ask.url.clone();
    let mut lines = 0;
    loop {
        let answer: Answer = serde_json::from_slice(&ask.send(client).await?)?;
        let cursor = answer.cursor.filter(|_| answer.has_more);
        let of_batch = answer.result.into_iter().flatten().filter_map(|entry| entry.messages).flatten();
        let mut text = Vec::new();
        for message in answer.messages.into_iter().flatten().chain(of_batch) {
            serde_json::to_writer(&mut text, &message)?;
            text.push(b'\n');
            lines += 1;
        }
        file.write_all(&text)?;
        let Some(cursor) = cursor else { return Ok(lines) };
        ask.url = format!("{first}&cursor={cursor}");
    }
}
