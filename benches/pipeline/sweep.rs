//! An inbox of a thousand conversations, few of them active, watched by sweeps and beside that by polling each of them.
//!
//! Time is compressed sixty times: a second stands for a minute, in every setting that is a duration.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use inboxd::simulator::Dialect;
use inboxd::time::UnixMillis;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::peers::{Daemon, Simulation, Tail, account, listed, wait_for_polls};
use crate::table::{Grid, Table, median, shown};

const CONVERSATIONS: usize = 1_000;
const ACTIVE: usize = 20;

/// Messages that each of them had before anybody looked.
const HISTORY: u32 = 30;

/// What `sweep_interval` is by default, a minute, in compressed time.
const SWEEP: Duration = Duration::from_secs(1);

/// Sweep intervals in an hour.
const HOUR: f64 = 60.0;

/// An hour of messages, in compressed time.
const WATCHED: Duration = Duration::from_secs(60);

/// Between two messages, over all active conversations: on average each has one every ten sweep intervals. What follows
/// goes round this many milliseconds in steps that do not fall in with the sweeps.
const PAUSE_ROUND: u64 = 1_000;
const PAUSE_STEP: u64 = 619;

/// The default bounds in compressed time. `max_interval`, six hours, lies beyond what is watched.
const BOUNDS: &str = "min_interval = \"500ms\"\nmax_interval = \"6m\"\n";
const MAX_INTERVAL_HOURS: f64 = 6.0;

/// Proofs come up to a tenth earlier than `max_interval` asks for.
const EARLIEST_PROOF: f64 = 0.9;

/// With this `max_interval` proofs are counted, for as long as two rounds of them take.
const PROOFS: &str = "min_interval = \"500ms\"\nmax_interval = \"10s\"\n";
const PROOF_ROUNDS: u32 = 2;
const PROOF_ROUND: Duration = Duration::from_secs(10);

/// As often as the inbox is swept.
const SINGLY: &str = "min_interval = \"1s\"\nmax_interval = \"1s\"\n";
const SINGLY_WATCHED: Duration = Duration::from_secs(10);

/// Looks, two sweeps apart, until none finds that anything more was read.
const PATIENCE: usize = 30;

/// How many times fewer requests are promised.
const PROMISED: f64 = 20.0;

pub(crate) async fn sweep(table: &mut Table, folder: &Path) -> Result<()> {
    let mut grid = Grid::new("1,000 conversations in the inbox, 20 of them active");
    for (dialect, name, overlap) in
        [(Dialect::ConnectSafely, "ConnectSafely", "5s"), (Dialect::UnipileV2, "Unipile v2, 3 inboxes", "1s")]
    {
        crate::say(&format!("sweep, {name}"))?;
        let simulation = Simulation::start(folder, CONVERSATIONS).await?;
        write_history(&simulation, dialect).await?;
        let bench = Bench { folder, of: &simulation, dialect, overlap };
        let singly = bench.singly(table).await?;
        let proof = bench.proof(table).await?;
        let observed = bench.watch(table).await?;
        let proofs = CONVERSATIONS as f64 * proof / (EARLIEST_PROOF * MAX_INTERVAL_HOURS);
        let swept = observed.lists + observed.reads + observed.others + proofs;
        let each = CONVERSATIONS as f64 * HOUR;
        let delay = median(observed.delays.clone());
        grid.column(
            name,
            vec![
                ("requests an hour: sweeps", shown(Some(observed.lists))),
                ("  reads of what moved", shown(Some(observed.reads))),
                ("  proofs at max_interval, 6 h", shown(Some(proofs))),
                ("  others", shown(Some(observed.others))),
                ("  all of them", shown(Some(swept))),
                ("polling each once a minute, computed", shown(Some(each))),
                ("  measured", shown(Some(singly))),
                ("times fewer, at least 20", shown(Some(each / swept))),
                ("message to file, median, sweep intervals", delay.map_or("n/a".into(), |it| format!("{:.2}", it.1))),
                ("message to file, longest, sweep intervals", delay.map_or("n/a".into(), |it| format!("{:.2}", it.2))),
                ("messages written", observed.written.to_string()),
                ("  of them lost", (observed.written - observed.delays.len()).to_string()),
                ("requests of one proof", format!("{proof:.2}")),
            ],
        );
        if each / swept < PROMISED {
            table.remark(format!("{name}: sweeps save less than the promised {PROMISED} times"));
        }
    }
    table.grid(grid);
    table.remark(
        "sweep: time is compressed, a second stands for a minute in every setting: sweep_interval 1 s, min_interval \
         500 ms, max_interval 6 min; an hour is 60 s; an active conversation has a message every ten sweep intervals",
    );
    table.remark(
        "sweep: first contact with all conversations is over before anything is counted; proofs are not due in the hour \
         that is watched, so their cost is measured apart and added in proportion, at the earliest they may come; the daily \
         recheck is one of them",
    );
    table.remark(
        "sweep: no request is held back and the simulator answers at once; by default an account has 60 requests a minute, \
         in which polling each of 1,000 takes 17 minutes a round",
    );
    Ok(())
}

/// Thirty messages in each conversation, hours apart: more than a page of either.
async fn write_history(of: &Simulation, dialect: Dialect) -> Result<()> {
    let (now, conversations) = (UnixMillis::now(), of.conversations(dialect, CONVERSATIONS));
    for hours in (1..=HISTORY).rev() {
        let drafts = conversations.iter().zip(1..).map(|(listed, minutes)| {
            let age = Duration::from_secs(3600) * hours * 10 + Duration::from_secs(60) * minutes;
            serde_json::json!({ "conversation": listed.conversation, "text": "Until then.", "sent_at": now - age })
        });
        of.write(drafts, 1).await?;
    }
    Ok(())
}

struct Bench<'a> {
    folder: &'a Path,
    of: &'a Simulation,
    dialect: Dialect,
    overlap: &'a str,
}

/// Requests an hour, and how long messages took in sweep intervals.
struct Observed {
    lists: f64,
    reads: f64,
    others: f64,
    written: usize,
    delays: Vec<f64>,
}

impl Bench<'_> {
    /// A daemon that discovers the inbox, once first contact with everything in it is over.
    async fn discover(&self, bounds: &str) -> Result<Daemon> {
        let account = account(self.of, self.dialect) + "discover = true\n";
        let daemon = self.start(bounds, &account).await?;
        let mut polls = 0;
        for _ in 0..PATIENCE {
            let before = std::mem::replace(&mut polls, self.of.polls(self.dialect).await?);
            if polls == before {
                return Ok(daemon);
            }
            tokio::time::sleep(2 * SWEEP).await;
        }
        bail!("first contact does not come to an end");
    }

    async fn start(&self, bounds: &str, account: &str) -> Result<Daemon> {
        let before = self.of.polls(self.dialect).await?;
        // The rest of the defaults in compressed time; the requests are counted and not limited.
        let polling = format!(
            "sweep_interval = \"{}s\"\noverlap = \"{}\"\nrecheck_interval = \"24m\"\nrecheck_depth = \"168m\"\n{bounds}",
            SWEEP.as_secs(),
            self.overlap,
        );
        let mut daemon = Daemon::configured(self.folder, &polling, account)?;
        wait_for_polls(&mut daemon, self.of, self.dialect, before, CONVERSATIONS as u64).await?;
        Ok(daemon)
    }

    /// Requests an hour of polling each, measured.
    async fn singly(&self, table: &mut Table) -> Result<f64> {
        let conversations = self.of.conversations(self.dialect, CONVERSATIONS);
        let account = account(self.of, self.dialect) + "discover = false\n" + &listed(&conversations);
        let daemon = self.start(SINGLY, &account).await?;
        // Past the first polls, which may take two requests.
        tokio::time::sleep(3 * SWEEP).await;
        let (requests, seconds) = self.count(SINGLY_WATCHED).await?;
        crate::complain(table, "polling each", daemon.stop()?);
        Ok(requests.values().sum::<u64>() as f64 / seconds / SWEEP.as_secs_f64() * HOUR)
    }

    /// Requests that one proof takes that nothing has moved.
    async fn proof(&self, table: &mut Table) -> Result<f64> {
        let daemon = self.discover(PROOFS).await?;
        let before = self.of.polls(self.dialect).await?;
        tokio::time::sleep(PROOF_ROUND * PROOF_ROUNDS).await;
        let requests = self.of.polls(self.dialect).await? - before;
        crate::complain(table, "proofs", daemon.stop()?);
        Ok(requests as f64 / (CONVERSATIONS as f64 * f64::from(PROOF_ROUNDS)))
    }

    /// An hour of traffic in the active conversations, and what it takes to bring it to the file.
    async fn watch(&self, table: &mut Table) -> Result<Observed> {
        let daemon = self.discover(BOUNDS).await?;
        let written_before = self.ledger().await?.len();
        let over = CancellationToken::new();
        let arrivals = tokio::spawn(arrivals(Tail::new(daemon.events()), over.clone()));
        let (counted, written) = tokio::join!(self.count(WATCHED), self.write());
        let ((requests, seconds), count) = (counted?, written?);
        // The last ones are due within a sweep or two.
        tokio::time::sleep(10 * SWEEP).await;
        over.cancel();
        let arrived = arrivals.await??;
        crate::complain(table, "sweep", daemon.stop()?);
        let ledger = self.ledger().await?;
        let written = &ledger[written_before..];
        ensure!(written.len() == count, "the simulator has {} messages of {count}", written.len());
        let key = |entry: &Entry| (entry.conversation_id.clone(), entry.message_id.clone());
        let delays: Vec<f64> = written
            .iter()
            .filter_map(|entry| Some(arrived.get(&key(entry))?.since(entry.created_at).as_secs_f64()))
            .map(|seconds| seconds / SWEEP.as_secs_f64())
            .collect();
        ensure!(
            arrived.len() == delays.len(),
            "{} lines are of no message that was written",
            arrived.len() - delays.len()
        );
        let per_hour = |is: &dyn Fn(&str) -> bool| {
            let requests: u64 = requests.iter().filter(|(name, _)| is(name)).map(|(_, count)| count).sum();
            requests as f64 / seconds / SWEEP.as_secs_f64() * HOUR
        };
        let (is_list, is_read) = (
            |name: &str| name == "connect_safely_conversations" || name == "unipile_inbox_chats",
            |name: &str| name == "connect_safely_messages" || name == "unipile_messages",
        );
        Ok(Observed {
            lists: per_hour(&is_list),
            reads: per_hour(&is_read),
            others: per_hour(&|name| !is_list(name) && !is_read(name)),
            written: count,
            delays,
        })
    }

    /// Requests of every endpoint within a while, and its seconds.
    async fn count(&self, window: Duration) -> Result<(BTreeMap<String, u64>, f64)> {
        let (before, began) = (self.of.counts().await?, Instant::now());
        tokio::time::sleep(window).await;
        let (after, seconds) = (self.of.counts().await?, began.elapsed().as_secs_f64());
        let grown = |(name, count): (String, u64)| {
            let before = before.get(&name).copied().unwrap_or_default();
            (name, count - before)
        };
        Ok((after.into_iter().map(grown).collect(), seconds))
    }

    /// Writes messages for as long as requests are counted; returns how many.
    async fn write(&self) -> Result<usize> {
        let conversations = self.of.conversations(self.dialect, CONVERSATIONS);
        // A step that is no multiple of five brings in every product: the simulator deals them out by fives.
        let active: Vec<_> = conversations.iter().step_by(CONVERSATIONS / ACTIVE + 1).collect();
        ensure!(active.len() == ACTIVE, "{} conversations are active", active.len());
        let began = Instant::now();
        let (mut count, mut due) = (0, Duration::ZERO);
        for (listed, number) in active.iter().cycle().zip(1..) {
            due += Duration::from_millis(number * PAUSE_STEP % PAUSE_ROUND);
            if due >= WATCHED {
                break;
            }
            tokio::time::sleep_until((began + due).into()).await;
            let draft = serde_json::json!({ "conversation": listed.conversation, "text": format!("Number {number}.") });
            self.of.write([draft].into_iter(), 1).await?;
            count += 1;
        }
        Ok(count)
    }

    async fn ledger(&self) -> Result<Vec<Entry>> {
        Ok(serde_json::from_str(&self.of.get("ledger").await?)?)
    }
}

/// A message of the simulator.
#[derive(Deserialize)]
struct Entry {
    conversation_id: String,
    message_id: String,
    created_at: UnixMillis,
}

/// When each message, by conversation and id, came to stand in the file; one that comes twice is an error.
async fn arrivals(mut tail: Tail, over: CancellationToken) -> Result<HashMap<(String, String), UnixMillis>> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    #[derive(Deserialize)]
    struct Data {
        conversation: Named,
        message: Named,
    }
    #[derive(Deserialize)]
    struct Event {
        data: Data,
    }
    let (mut arrived, mut begun) = (HashMap::new(), Vec::new());
    while !over.is_cancelled() {
        let at = UnixMillis::now();
        begun.extend_from_slice(tail.more()?);
        while let Some(end) = begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = begun.drain(..=end).collect();
            let Event { data } = serde_json::from_slice(&line).context("a line that is no event")?;
            let twice = arrived.insert((data.conversation.id, data.message.id), at);
            ensure!(twice.is_none(), "a message stands in the file twice");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(arrived)
}
