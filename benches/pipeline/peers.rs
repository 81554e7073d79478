//! The processes that are measured: the finished program as simulator and as daemon.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use inboxd::simulator::{Dialect, Kind, Settings};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use crate::bare::{self, Ask};

/// Longest wait for a peer to do what it is expected to do within seconds, or within half a minute on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running `inboxd`; killed when dropped.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the program without any setting of the surrounding environment.
    fn start(arguments: &[&str], log: PathBuf) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inboxd"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        for name in ["INBOXD_CONFIG", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        let child = command.spawn().context("inboxd cannot be started")?;
        Ok(Self { child, log })
    }

    /// An error with the end of its log when it no longer runs.
    fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(3).collect();
            bail!("inboxd has ended ({status}); its last lines, newest first: {last:?}");
        }
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
        self.check()?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "inboxd ended with {status} when it was told to stop");
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("inboxd did not end when it was told to");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A conversation as the simulator lists it.
#[derive(Clone, Deserialize)]
pub(crate) struct Listed {
    pub(crate) conversation: usize,
    pub(crate) dialect: Dialect,
    pub(crate) kind: Kind,
    pub(crate) address: String,
}

impl Listed {
    /// What Linked API calls its kind.
    pub(crate) fn wire_kind(&self) -> &'static str {
        if self.kind == Kind::SalesNavigator { "nv" } else { "st" }
    }
}

/// The providers whose conversations are filled at once.
const FILLED: [Dialect; 2] = [Dialect::LinkedApi, Dialect::ConnectSafely];

/// `inboxd simulate` in its own process, silent but for the messages put into it.
pub(crate) struct Simulation {
    process: Process,
    address: String,
    client: reqwest::Client,
    conversations: Vec<Listed>,
}

impl Simulation {
    /// So many conversations of each provider. Requests are counted and not kept.
    pub(crate) async fn start(folder: &Path, conversations: usize) -> Result<Self> {
        let log = folder.join(format!("simulator-{conversations}.log"));
        let count = conversations.to_string();
        let arguments =
            ["simulate", "--listen", "127.0.0.1:0", "--messages-per-minute", "0", "--conversations", &count];
        let mut process = Process::start(&arguments, log.clone())?;
        let address = wait_for("the simulator to listen", || {
            process.check()?;
            let note = fs::read_to_string(&log)?;
            let address = note.split_once("http://").and_then(|(_, rest)| rest.split_once(';'));
            Ok(address.map(|(address, _)| address.to_owned()))
        })
        .await?;
        let mut simulation = Self { process, address, client: bare::client()?, conversations: vec![] };
        simulation.post("switches", r#"{"log_requests":false}"#.into()).await?;
        simulation.conversations = serde_json::from_str(&simulation.get("conversations").await?)?;
        Ok(simulation)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn base_url(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::LinkedApi => format!("http://{}/linkedapi", self.address),
            Dialect::ConnectSafely => format!("http://{}/connectsafely/linkedin", self.address),
            Dialect::UnipileV2 => format!("http://{}/unipile/v2", self.address),
            Dialect::UnipileV1 => format!("http://{}/unipile/v1/api/v1", self.address),
            _ => format!("http://{}/connectsafely/linkedin", self.address),
        }
    }

    /// The first so many conversations of a provider.
    pub(crate) fn conversations(&self, dialect: Dialect, count: usize) -> Vec<Listed> {
        self.conversations.iter().filter(|listed| listed.dialect == dialect).take(count).cloned().collect()
    }

    /// Puts so many messages into every conversation of the providers that are measured side by side.
    pub(crate) async fn fill(&self, messages: usize) -> Result<()> {
        let filled = self.conversations.iter().filter(|listed| FILLED.contains(&listed.dialect));
        let text = "Thanks for the offer; shall we talk it over on Thursday, at nine or at half past two?";
        let drafts = filled.map(|listed| serde_json::json!({ "conversation": listed.conversation, "text": text }));
        self.write(drafts, messages).await
    }

    /// Writes these messages, each so many times, nearly in order.
    pub(crate) async fn write(&self, drafts: impl Iterator<Item = Value>, times: usize) -> Result<()> {
        let url = format!("http://{}/control/messages", self.address);
        let pushes: Vec<Ask> = drafts.map(|draft| Ask::post(&url, draft.to_string())).collect();
        bare::each(&self.client, &pushes, times).await.context("the simulator does not take messages")
    }

    /// Polls the provider has been asked for: requests, whatever each of them covers.
    pub(crate) async fn polls(&self, dialect: Dialect) -> Result<u64> {
        let name = match dialect {
            Dialect::LinkedApi => "linked_api_poll",
            Dialect::UnipileV2 => "unipile_messages",
            Dialect::UnipileV1 => "unipile_v1_chat_messages",
            _ => "connect_safely_messages",
        };
        self.counts().await?.remove(name).with_context(|| format!("the simulator does not count {name}"))
    }

    /// Requests of every endpoint.
    pub(crate) async fn counts(&self) -> Result<BTreeMap<String, u64>> {
        #[derive(Deserialize)]
        struct Requests {
            counts: BTreeMap<String, u64>,
        }
        Ok(serde_json::from_str::<Requests>(&self.get("requests").await?)?.counts)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<String> {
        let url = format!("http://{}/control/{path}", self.address);
        Ok(self.client.get(url).send().await?.error_for_status()?.text().await?)
    }

    async fn post(&self, path: &str, body: String) -> Result<()> {
        let url = format!("http://{}/control/{path}", self.address);
        self.client.post(url).body(body).send().await?.error_for_status()?;
        Ok(())
    }
}

/// `inboxd run` in a folder of its own, which goes with it.
pub(crate) struct Daemon {
    process: Process,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Follows these conversations of one provider, into a file. `polling` are the keys below `[polling]` that are not
    /// the same in every measurement.
    pub(crate) fn start(folder: &Path, of: &Simulation, conversations: &[Listed], polling: &str) -> Result<Self> {
        let dialect = conversations.first().context("the simulator has no conversations")?.dialect;
        let polling = format!("concurrency = {}\n{polling}", bare::IN_FLIGHT);
        Self::configured(folder, &polling, &(account(of, dialect) + &listed(conversations)))
    }

    /// With these keys below `[polling]` and this account, into a file.
    pub(crate) fn configured(folder: &Path, polling: &str, account: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let path = |name: &str| serde_json::to_string(&folder.path().join(name));
        let store = serde_json::to_string(&format!("sqlite:{}", folder.path().join("inboxd.db").display()))?;
        let text = format!(
            "[store]\nurl = {store}\n[sinks.file]\ntype = \"file\"\npath = {}\n\n\
             [polling]\nrequests_per_minute = 60000000\n{polling}\n{account}",
            path("events.jsonl")?,
        );
        fs::write(folder.path().join("inboxd.toml"), text)?;
        Ok(Self { process: run(folder.path())?, folder })
    }

    /// On a copy of a database; `sink` is the beginning of its only sink, up to where the path of the file would stand.
    pub(crate) fn on(folder: &Path, database: &Path, sink: &str, account: &str) -> Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let path = |name: &str| serde_json::to_string(&folder.path().join(name));
        fs::copy(database, folder.path().join("inboxd.db"))?;
        let store = serde_json::to_string(&format!("sqlite:{}", folder.path().join("inboxd.db").display()))?;
        let text = format!("[store]\nurl = {store}\n{sink}{}\n{account}", path("events.jsonl")?);
        fs::write(folder.path().join("inboxd.toml"), text)?;
        Ok(Self { process: run(folder.path())?, folder })
    }

    /// Kills it, as a power cut would, and starts it again on what it left.
    pub(crate) fn kill_and_start_again(&mut self) -> Result<()> {
        self.process.check()?;
        self.process.child.kill()?;
        self.process.child.wait()?;
        self.process = run(self.folder.path())?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Where the sink writes.
    pub(crate) fn events(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }

    /// Ends it in order and returns what it had to complain about, but for its remarks on the configuration.
    pub(crate) fn stop(self) -> Result<Vec<String>> {
        let log = self.process.log.clone();
        self.process.stop()?;
        let log = fs::read_to_string(log)?;
        Ok(log.lines().filter(|line| !line.contains("class=\"config\"")).map(str::to_owned).collect())
    }
}

fn run(folder: &Path) -> Result<Process> {
    let config = folder.join("inboxd.toml");
    let arguments = ["run", "--log-level", "warn", "--config", config.to_str().context("the path is not UTF-8")?];
    Process::start(&arguments, folder.join("inboxd.log"))
}

/// The account of a provider, without its conversations.
pub(crate) fn account(of: &Simulation, dialect: Dialect) -> String {
    let it = Settings::default();
    let (provider, keys) = match dialect {
        Dialect::LinkedApi => {
            let tokens = [("linked_api_token", it.linked_api_token), ("identification_token", it.identification_token)];
            ("linkedapi", tokens.to_vec())
        }
        Dialect::UnipileV2 => {
            let keys = [("api_version", "v2".into()), ("api_key", it.unipile_api_key)];
            ("unipile", [keys.to_vec(), vec![("account_id", it.unipile_account_id)]].concat())
        }
        Dialect::UnipileV1 => {
            let keys = [("api_version", "v1".into()), ("api_key", it.unipile_api_key)];
            ("unipile", [keys.to_vec(), vec![("account_id", it.unipile_v1_account_id)]].concat())
        }
        _ => ("connectsafely", vec![("api_key", it.api_key), ("account_id", it.account_id)]),
    };
    let mut text = format!("[accounts.bench]\nprovider = \"{provider}\"\nbase_url = \"{}\"\n", of.base_url(dialect));
    if dialect == Dialect::LinkedApi {
        text += &format!("batch_size = {}\n", bare::BATCH);
    }
    for (key, value) in keys {
        text += &format!("{key} = \"{value}\"\n");
    }
    text
}

/// The conversations that the account follows by name.
pub(crate) fn listed(conversations: &[Listed]) -> String {
    let mut text = String::new();
    for listed in conversations {
        let address = &listed.address;
        text += "[[accounts.bench.conversations]]\n";
        text += &match listed.dialect {
            Dialect::LinkedApi => format!("person_url = \"{address}\"\ntype = \"{}\"\n", listed.wire_kind()),
            Dialect::UnipileV2 | Dialect::UnipileV1 => format!("chat_id = \"{address}\"\n"),
            _ => format!("conversation_urn = \"{address}\"\n"),
        };
    }
    text
}

/// What is appended to a file, as it comes.
pub(crate) struct Tail {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Tail {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, file: None, buffer: vec![0; 1 << 20] }
    }

    /// What has come since, or the first part of it; empty where nothing has.
    pub(crate) fn more(&mut self) -> Result<&[u8]> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let length = self.file.as_mut().map_or(Ok(0), |file| file.read(&mut self.buffer))?;
        Ok(&self.buffer[..length])
    }

    /// Lines that have come since.
    pub(crate) fn more_lines(&mut self) -> Result<usize> {
        let mut lines = 0;
        loop {
            let more = self.more()?;
            if more.is_empty() {
                return Ok(lines);
            }
            lines += more.iter().filter(|&&byte| byte == b'\n').count();
        }
    }
}

/// Looks every few milliseconds until there is something to see.
pub(crate) async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(seen) = look()? {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("waited {} s for {what}", PATIENCE.as_secs())
}

/// Waits until the provider has been asked for so many polls since `before`.
pub(crate) async fn wait_for_polls(
    daemon: &mut Daemon,
    of: &Simulation,
    dialect: Dialect,
    before: u64,
    polls: u64,
) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        daemon.check()?;
        if of.polls(dialect).await? >= before + polls {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("waited {} s for {polls} polls", PATIENCE.as_secs())
}
