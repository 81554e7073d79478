//! From the outbox to a sink: everything is recorded before the daemon starts, and nothing is polled.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::task::JoinSet;

use crate::bare::{self, IN_FLIGHT};
use crate::commits;
use crate::peers::{Daemon, Tail, wait_for};
use crate::table::{Pair, Table};
use crate::{ROUNDS, proc};

/// Conversations, and the events that wait in each.
const CONVERSATIONS: usize = 1_000;
const EACH: usize = 100;
const EVENTS: usize = CONVERSATIONS * EACH;

/// Lines that the bare loop appends in one write.
const WRITE: usize = 1_000;

/// Nothing listens there: the daemon of this measurement has nothing to poll.
const ACCOUNT: &str = "[accounts.idle]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n\
    base_url = \"http://127.0.0.1:9/linkedin\"\n[[accounts.idle.conversations]]\nconversation_urn = \"urn:li:messagingThread:2-MGE1\"\n";

/// What a round on one side came to.
struct Took {
    seconds: f64,
    cpu_seconds: Option<f64>,
}

/// Events that wait, until the last of them stands in the file or has been answered by the receiver.
pub(crate) async fn delivery(table: &mut Table, folder: &Path) -> Result<()> {
    let bodies: Arc<[String]> = commits::outbox(&folder.join("full.db"), CONVERSATIONS, EACH).await?.into();
    let (mut files, mut posts): ([Vec<Pair>; 2], [Vec<Pair>; 2]) = Default::default();
    for _ in 0..ROUNDS {
        push(&mut files, &to_file(folder).await?, &append(folder, &bodies)?);
        push(&mut posts, &to_http(folder).await?, &post(&bodies).await?);
    }
    for (name, [rates, costs]) in [("file", files), ("HTTP", posts)] {
        table.row(format!("outbox to {name}"), "events/s", rates);
        table.row(format!("outbox to {name}, for its CPU"), "events per CPU-s", costs);
    }
    Ok(())
}

fn push([rates, costs]: &mut [Vec<Pair>; 2], daemon: &Took, bare: &Took) {
    let events = EVENTS as f64;
    rates.push((Some(events / daemon.seconds), Some(events / bare.seconds)));
    let cost = |took: &Took| took.cpu_seconds.map(|cpu| events / cpu);
    costs.push((cost(daemon), cost(bare)));
}

async fn to_file(folder: &Path) -> Result<Took> {
    let began = Instant::now();
    let mut daemon = Daemon::on(folder, &folder.join("full.db"), "[sinks.sink]\ntype = \"file\"\npath = ", ACCOUNT)?;
    let (mut lines, mut tail) = (0, Tail::new(daemon.events()));
    wait_for("every line", || {
        daemon.check()?;
        lines += tail.more_lines()?;
        Ok((lines >= EVENTS).then_some(()))
    })
    .await?;
    let took = Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: proc::cpu_seconds(daemon.pid()) };
    let events = daemon.events();
    let text = fs::read_to_string(events)?;
    daemon.stop()?;
    crate::backlog::once_each(&text, EVENTS)?;
    Ok(took)
}

async fn to_http(folder: &Path) -> Result<Took> {
    let receiver = Receiver::start().await?;
    let sink = format!("[sinks.sink]\ntype = \"http\"\nconcurrency = {IN_FLIGHT}\nurl = \"{}\"\n#", receiver.url);
    let began = Instant::now();
    let mut daemon = Daemon::on(folder, &folder.join("full.db"), &sink, ACCOUNT)?;
    wait_for("every event", || {
        daemon.check()?;
        Ok((receiver.count() >= EVENTS).then_some(()))
    })
    .await?;
    let took = Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: proc::cpu_seconds(daemon.pid()) };
    daemon.stop()?;
    ensure!(receiver.count() == EVENTS, "{} of {EVENTS} arrived", receiver.count());
    Ok(took)
}

/// The same bytes, appended and synced once.
fn append(folder: &Path, bodies: &[String]) -> Result<Took> {
    let cpu = proc::cpu_seconds(std::process::id());
    let began = Instant::now();
    let mut file = File::create(folder.join("bare.jsonl"))?;
    for bodies in bodies.chunks(WRITE) {
        let lines: String = bodies.iter().flat_map(|body| [body.as_str(), "\n"]).collect();
        file.write_all(lines.as_bytes())?;
    }
    file.sync_data()?;
    Ok(Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: since(cpu) })
}

/// The same bytes, as many posts beside each other as the sink has.
async fn post(bodies: &Arc<[String]>) -> Result<Took> {
    let receiver = Receiver::start().await?;
    let client = bare::client()?;
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (client, bodies, next, url) = (client.clone(), Arc::clone(bodies), Arc::clone(&next), receiver.url.clone());
        tasks.spawn(async move {
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                let id = body.split('"').nth(7).unwrap_or_default();
                let request = client.post(&url).header("content-type", "application/json");
                request.header("webhook-id", id).body(body.clone()).send().await?.error_for_status()?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    ensure!(receiver.count() == EVENTS, "{} of {EVENTS} arrived", receiver.count());
    // The receiver's work is in this process too, so what the loop alone costs is not known.
    Ok(Took { seconds: began.elapsed().as_secs_f64(), cpu_seconds: None })
}

fn since(before: Option<f64>) -> Option<f64> {
    Some(proc::cpu_seconds(std::process::id())? - before?).filter(|cpu| *cpu > 0.0)
}

/// Counts what it is sent, by ids that are not the one before.
struct Receiver {
    url: String,
    shared: Arc<AtomicU64>,
}

impl Receiver {
    async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let shared = Arc::new(AtomicU64::new(0));
        let app = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, shared })
    }

    fn count(&self) -> usize {
        usize::try_from(self.shared.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }
}

async fn receive(State(count): State<Arc<AtomicU64>>, headers: HeaderMap, body: axum::body::Bytes) -> StatusCode {
    if headers.contains_key("webhook-id") && !body.is_empty() {
        count.fetch_add(1, Ordering::Relaxed);
    }
    StatusCode::NO_CONTENT
}
