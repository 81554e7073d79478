//! One conversation with a history of a hundred thousand messages, read whole at first contact.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use inboxd::simulator::Dialect;
use inboxd::time::UnixMillis;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::backlog::once_each;
use crate::bare::{self, Ask, SEGMENT};
use crate::peers::{Daemon, Listed, Simulation, Tail, account, listed, wait_for, wait_for_polls};
use crate::table::{Grid, Table, median, shown};
use crate::{ROUNDS, proc};

const MESSAGES: usize = 100_000;

/// About two hundred bytes.
const TEXT: &str = "Thanks for the offer, which I have read twice by now; shall we talk it over on Thursday, at nine or at half \
                    past two? I would bring Ada along, who knows the figures of last year much better than I.";

/// Everything else is as it is by default, the page limit of a poll included: the walk goes on in the next poll.
const POLLING: &str = "first_poll = \"all\"\n";

/// The most that reading it may add to the memory of an idle daemon.
const PROMISED_MIB: f64 = 32.0;

/// One walk to the end, with every message in the file.
struct Read {
    seconds: f64,
    peak_mib: Option<f64>,
    requests: u64,
}

pub(crate) async fn history(table: &mut Table, folder: &Path) -> Result<()> {
    let mut grid = Grid::new("one conversation of 100,000 messages");
    let simulation = Simulation::start(folder, 2).await?;
    for (dialect, name, per_page) in [
        (Dialect::ConnectSafely, "ConnectSafely", "50"),
        (Dialect::UnipileV1, "Unipile v1", "100"),
        (Dialect::UnipileV2, "Unipile v2", "25"),
    ] {
        crate::say(&format!("history, {name}"))?;
        let conversations = simulation.conversations(dialect, 2);
        let [empty, long] = conversations.as_slice() else { anyhow::bail!("the simulator has no two conversations") };
        let idle = idle(table, folder, &simulation, empty).await?;
        write(&simulation, long).await?;
        let (mut reads, mut bare, mut pages) = (vec![], vec![], 0);
        for _ in 0..ROUNDS {
            reads.push(read(table, folder, &simulation, long, None).await?);
            let (seconds, walked) = walk(&Ask::first_page(&simulation, long)?).await?;
            bare.push(seconds);
            pages = walked;
        }
        let killed = read(table, folder, &simulation, long, Some(pages / 2)).await?;
        let peak = reads.iter().filter_map(|read| read.peak_mib).reduce(f64::max);
        let added = idle.zip(peak).map(|(idle, peak)| peak - idle);
        let in_all = MESSAGES as f64;
        let rate = |seconds: Vec<f64>| middle(seconds.into_iter().map(|seconds| in_all / seconds).collect());
        let ratios = reads.iter().zip(&bare).map(|(read, bare)| bare / read.seconds).collect();
        grid.column(
            name,
            vec![
                ("messages on a page", per_page.to_owned()),
                ("idle, one empty conversation: MiB resident", shown(idle)),
                ("peak, from the first page to the last line: MiB", shown(peak)),
                ("difference, at most 32: MiB", shown(added)),
                ("messages/s, start to last line in the file", rate(reads.iter().map(|read| read.seconds).collect())),
                ("messages/s, bare loop, pages thrown away", rate(bare)),
                (
                    "ratio",
                    median(ratios).map_or("n/a".into(), |(low, it, high)| format!("{it:.2} ({low:.2}..{high:.2})")),
                ),
                ("pages of one walk", pages.to_string()),
                ("requests of it", reads.first().map_or(0, |read| read.requests).to_string()),
                ("requests with a SIGKILL half way", killed.requests.to_string()),
                ("peak after the kill: MiB", shown(killed.peak_mib)),
            ],
        );
        if let Some(added) = added.filter(|&added| added > PROMISED_MIB) {
            table.remark(format!("{name}: {added:.1} MiB are more than the promised {PROMISED_MIB}"));
        }
    }
    table.grid(grid);
    table.remark("history: every message stands in the file once, after the kill as well");
    Ok(())
}

fn middle(figures: Vec<f64>) -> String {
    shown(median(figures).map(|(_, middle, _)| middle))
}

/// Memory after the first poll of a conversation in which there is nothing.
async fn idle(table: &mut Table, folder: &Path, of: &Simulation, empty: &Listed) -> Result<Option<f64>> {
    let before = of.polls(empty.dialect).await?;
    let mut daemon = start(folder, of, empty)?;
    wait_for_polls(&mut daemon, of, empty.dialect, before, 1).await?;
    // What the poll holds is given back within moments.
    tokio::time::sleep(Duration::from_secs(2)).await;
    daemon.check()?;
    let resident = proc::resident_mib(daemon.pid());
    crate::complain(table, "history, idle", daemon.stop()?);
    Ok(resident)
}

fn start(folder: &Path, of: &Simulation, conversation: &Listed) -> Result<Daemon> {
    let account = account(of, conversation.dialect) + &listed(std::slice::from_ref(conversation));
    Daemon::configured(folder, POLLING, &account)
}

/// A message a minute, the last of them a minute ago.
async fn write(of: &Simulation, long: &Listed) -> Result<()> {
    let now = UnixMillis::now();
    let drafts = (0..MESSAGES).map(|number| {
        let age = Duration::from_secs(60) * u32::try_from(MESSAGES - number).unwrap_or(u32::MAX);
        serde_json::json!({ "conversation": long.conversation, "text": TEXT, "sent_at": now - age })
    });
    of.write(drafts, 1).await
}

/// Starts on an empty store and waits for the last line, after a kill once so many pages have been asked for.
async fn read(table: &mut Table, folder: &Path, of: &Simulation, long: &Listed, kill: Option<u64>) -> Result<Read> {
    let before = of.polls(long.dialect).await?;
    let began = Instant::now();
    let mut daemon = start(folder, of, long)?;
    let mut tail = Tail::new(daemon.events());
    let mut lines = 0;
    if let Some(pages) = kill {
        wait_for_polls(&mut daemon, of, long.dialect, before, pages).await?;
        daemon.kill_and_start_again()?;
    }
    wait_for(&format!("{MESSAGES} lines"), || {
        daemon.check()?;
        lines += tail.more_lines()?;
        Ok((lines >= MESSAGES).then_some(()))
    })
    .await
    .with_context(|| format!("{lines} of {MESSAGES} messages came"))?;
    let seconds = began.elapsed().as_secs_f64();
    let (peak_mib, requests) = (proc::peak_mib(daemon.pid()), of.polls(long.dialect).await? - before);
    let text = fs::read_to_string(daemon.events())?;
    crate::complain(table, "history", daemon.stop()?);
    once_each(&text, MESSAGES)?;
    Ok(Read { seconds, peak_mib, requests })
}

/// An answer of any of them, as far as it tells how to go on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(alias = "data", alias = "items")]
    messages: Vec<IgnoredAny>,
    cursor: Option<String>,
    #[serde(default = "yes")]
    has_more: bool,
}

fn yes() -> bool {
    true
}

/// Follows the pages to the end, as the daemon does, and keeps nothing: seconds and pages.
async fn walk(first: &Ask) -> Result<(f64, u64)> {
    let by_offset = first.url.ends_with("limit=25");
    let client = bare::client()?;
    let began = Instant::now();
    let (mut ask, mut pages, mut offset, mut messages) = (first.clone(), 0, 0, 0);
    loop {
        let answer: Answer = serde_json::from_slice(&ask.send(&client).await?)?;
        pages += 1;
        messages += answer.messages.len();
        let next = match answer.cursor.filter(|_| answer.has_more) {
            Some(cursor) => format!("cursor={}", utf8_percent_encode(&cursor, SEGMENT)),
            // Pages by offset share a message, so that a deletion hides none.
            None if by_offset && answer.messages.len() == 25 => {
                offset += 24;
                messages -= 1;
                format!("offset={offset}")
            }
            None => break,
        };
        ask = first.next_page(&next);
    }
    ensure!(messages == MESSAGES, "the bare loop got {messages} of {MESSAGES} messages");
    Ok((began.elapsed().as_secs_f64(), pages))
}
