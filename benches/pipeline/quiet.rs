//! Polls that find nothing new, and the memory of conversations that wait for the next one.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use inboxd::simulator::Dialect;
use inboxd::time::UnixMillis;

use crate::bare::{self, Ask, BATCH, Load};
use crate::peers::{Daemon, Listed, Simulation, wait_for_polls};
use crate::table::{Pair, Table, median};
use crate::{ROUNDS, proc};

/// How long each round of each side is measured.
const WINDOW: Duration = Duration::from_secs(4);

/// The shortest interval that the configuration takes: each conversation wants ten polls a second.
const BUSY: &str = "first_poll = \"now\"\nmin_interval = \"100ms\"\nmax_interval = \"100ms\"\n";
const WANTED_PER_SECOND: usize = 10;

const IDLE: &str = "first_poll = \"now\"\nmin_interval = \"1h\"\nmax_interval = \"1h\"\n";

/// Conversations to follow.
pub(crate) struct Quiet {
    /// With ConnectSafely, one a request.
    pub(crate) singly: usize,
    /// With Linked API, many a request.
    pub(crate) batched: usize,
}

/// What one round measured of the daemon.
struct Observed {
    load: Load,
    /// Cores that the simulator kept busy meanwhile.
    simulator_cores: Option<f64>,
    complaints: Vec<String>,
}

/// Polls per second, one conversation a request and `BATCH` of them. Every conversation has one message, which every
/// answer repeats, because a poll asks again for what lies within the overlap.
pub(crate) async fn polls(table: &mut Table, folder: &Path, of: &Simulation, quiet: &Quiet) -> Result<()> {
    let since = UnixMillis::now() - Duration::from_secs(300);
    for (dialect, name, per_request, conversations) in [
        (Dialect::ConnectSafely, "one a request", 1, quiet.singly),
        (Dialect::LinkedApi, "100 a request", BATCH, quiet.batched),
    ] {
        let followed = of.conversations(dialect, conversations);
        let asks = match dialect {
            Dialect::ConnectSafely => Ask::pages(of, &followed, Some(since.as_millis()))?,
            Dialect::LinkedApi => Ask::batches(of, &followed, BATCH, Some(&since.to_string()))?,
            other => anyhow::bail!("{other:?} is not measured"),
        };
        let (mut rates, mut costs, mut cores): (Vec<Pair>, Vec<Pair>, Vec<_>) = Default::default();
        let mut too_few = false;
        for round in 0..ROUNDS {
            let (observed, load) = if round % 2 == 0 {
                let observed = watch(folder, of, dialect, &followed).await?;
                (observed, bare::for_a_while(&asks, WINDOW).await?)
            } else {
                let load = bare::for_a_while(&asks, WINDOW).await?;
                (watch(folder, of, dialect, &followed).await?, load)
            };
            let rate = |load: &Load| load.requests as f64 * per_request as f64 / load.seconds;
            let cost = |load: &Load| Some(load.requests as f64 * per_request as f64 / load.cpu_seconds?);
            // A daemon that keeps up sends smaller batches, and nobody has counted what is in them.
            let saturated = rate(&observed.load) < 0.9 * (conversations * WANTED_PER_SECOND) as f64;
            too_few |= !saturated;
            rates.push((Some(rate(&observed.load)).filter(|_| saturated), Some(rate(&load))));
            costs.push((cost(&observed.load).filter(|_| saturated), cost(&load)));
            cores
                .extend(observed.load.cpu_seconds.map(|cpu| cpu / observed.load.seconds).zip(observed.simulator_cores));
            crate::complain(table, name, observed.complaints);
        }
        table.row(format!("quiet polls, {name}"), "polls/s", rates);
        table.row(format!("quiet polls, {name}, for its CPU"), "polls per CPU-s", costs);
        if too_few {
            table
                .remark(format!("{name}: the daemon keeps up with {conversations} conversations; follow more of them"));
        }
        let (daemon, simulator): (Vec<_>, Vec<_>) = cores.into_iter().unzip();
        if let Some(((_, daemon, _), (_, simulator, _))) = median(daemon).zip(median(simulator)) {
            table.remark(format!("{name}: cores busy with inboxd {daemon:.2}, with its simulator {simulator:.2}"));
        }
    }
    Ok(())
}

/// Starts a daemon, lets it make the first polls, and counts the requests of a window.
async fn watch(folder: &Path, of: &Simulation, dialect: Dialect, followed: &[Listed]) -> Result<Observed> {
    let before = of.polls(dialect).await?;
    let mut daemon = Daemon::start(folder, of, followed, BUSY)?;
    // First polls are made singly; then everything twice over.
    let warm = followed.len() + 2 * followed.len().div_ceil(if dialect == Dialect::LinkedApi { BATCH } else { 1 });
    wait_for_polls(&mut daemon, of, dialect, before, warm as u64).await?;
    let busy = || (proc::cpu_seconds(daemon.pid()), proc::cpu_seconds(of.pid()));
    let (polls_before, cpu_before, began) = (of.polls(dialect).await?, busy(), Instant::now());
    tokio::time::sleep(WINDOW).await;
    let (polls_after, cpu_after, seconds) = (of.polls(dialect).await?, busy(), began.elapsed().as_secs_f64());
    let spent = |after: Option<f64>, before: Option<f64>| Some(after? - before?);
    let load = Load { requests: polls_after - polls_before, seconds, cpu_seconds: spent(cpu_after.0, cpu_before.0) };
    let simulator_cores = spent(cpu_after.1, cpu_before.1).map(|cpu| cpu / seconds);
    ensure!(fs::metadata(daemon.events())?.len() == 0, "quiet polls announced messages");
    daemon.check()?;
    Ok(Observed { load, simulator_cores, complaints: daemon.stop()? })
}

/// Resident memory once the first polls are done and nothing is due for an hour.
pub(crate) async fn memory(table: &mut Table, folder: &Path, of: &Simulation, sizes: &[usize]) -> Result<()> {
    let dialect = Dialect::ConnectSafely;
    for &size in sizes {
        let followed = of.conversations(dialect, size);
        let before = of.polls(dialect).await?;
        let mut daemon = Daemon::start(folder, of, &followed, IDLE)?;
        wait_for_polls(&mut daemon, of, dialect, before, size as u64).await?;
        // What the last polls hold is given back within moments.
        tokio::time::sleep(Duration::from_secs(2)).await;
        daemon.check()?;
        let resident = proc::resident_mib(daemon.pid());
        crate::complain(table, "memory", daemon.stop()?);
        let bare = bare_memory(folder, &Ask::pages(of, &followed, None)?)?;
        table.row(format!("memory, {size} idle conversations"), "MiB resident", vec![(resident, bare)]);
    }
    Ok(())
}

/// Resident memory of a process that has only the bare loop in it.
fn bare_memory(folder: &Path, asks: &[Ask]) -> Result<Option<f64>> {
    let urls: Vec<&str> = asks.iter().map(|ask| ask.url.as_str()).collect();
    let list = folder.join("urls.txt");
    fs::write(&list, urls.join("\n"))?;
    let output = Command::new(std::env::current_exe()?)
        .arg(crate::BARE_ONCE)
        .stdin(File::open(&list)?)
        .stderr(Stdio::inherit())
        .output()
        .context("the bare loop cannot be started")?;
    ensure!(output.status.success(), "the bare loop failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().parse().ok())
}
