//! The processes that are measured: the finished program as simulator and as daemon.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use inboxd::simulator::{Dialect, Kind, Settings};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;

use crate::bare::{self, Ask};

/// Longest wait for a peer to do what it is expected to do within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// The providers that are measured.
const MEASURED: [Dialect; 2] = [Dialect::LinkedApi, Dialect::ConnectSafely];

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
        let mut conversations: Vec<Listed> = serde_json::from_str(&simulation.get("conversations").await?)?;
        conversations.retain(|listed| MEASURED.contains(&listed.dialect));
        simulation.conversations = conversations;
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

    /// Puts so many messages into every conversation.
    pub(crate) async fn fill(&self, messages: usize) -> Result<()> {
        let url = format!("http://{}/control/messages", self.address);
        let push = |listed: &Listed| {
            let text = "Thanks for the offer; shall we talk it over on Thursday, at nine or at half past two?";
            let body = serde_json::json!({ "conversation": listed.conversation, "text": text });
            Ask::post(&url, body.to_string())
        };
        let pushes: Vec<Ask> = self.conversations.iter().map(push).collect();
        bare::each(&self.client, &pushes, messages).await.context("the simulator does not take messages")
    }

    /// Polls the provider has been asked for: requests, whatever each of them covers.
    pub(crate) async fn polls(&self, dialect: Dialect) -> Result<u64> {
        let name = match dialect {
            Dialect::LinkedApi => "linked_api_poll",
            _ => "connect_safely_messages",
        };
        let answer: Value = serde_json::from_str(&self.get("requests").await?)?;
        answer["counts"][name].as_u64().with_context(|| format!("the simulator does not count {name}"))
    }

    async fn get(&self, path: &str) -> Result<String> {
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
        let folder = tempfile::tempdir_in(folder)?;
        let config = folder.path().join("inboxd.toml");
        fs::write(&config, configuration(folder.path(), of, conversations, polling)?)?;
        let arguments = ["run", "--log-level", "warn", "--config", config.to_str().context("the path is not UTF-8")?];
        let process = Process::start(&arguments, folder.path().join("inboxd.log"))?;
        Ok(Self { process, folder })
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

fn configuration(folder: &Path, of: &Simulation, conversations: &[Listed], polling: &str) -> Result<String> {
    use std::fmt::Write;
    let path = |name: &str| serde_json::to_string(&folder.join(name));
    let store = serde_json::to_string(&format!("sqlite:{}", folder.join("inboxd.db").display()))?;
    let mut text = format!(
        "[store]\nurl = {store}\n[sinks.file]\ntype = \"file\"\npath = {}\n\n\
         [polling]\nrequests_per_minute = 60000000\nconcurrency = {}\n{polling}\n",
        path("events.jsonl")?,
        bare::IN_FLIGHT,
    );
    let credentials = Settings::default();
    let dialect = conversations.first().context("the simulator has no conversations")?.dialect;
    let base_url = of.base_url(dialect);
    match dialect {
        Dialect::LinkedApi => write!(
            text,
            "[accounts.bench]\nprovider = \"linkedapi\"\nbase_url = \"{base_url}\"\nbatch_size = {}\n\
             linked_api_token = \"{}\"\nidentification_token = \"{}\"\n",
            bare::BATCH,
            credentials.linked_api_token,
            credentials.identification_token,
        )?,
        _ => write!(
            text,
            "[accounts.bench]\nprovider = \"connectsafely\"\nbase_url = \"{base_url}\"\n\
             api_key = \"{}\"\naccount_id = \"{}\"\n",
            credentials.api_key, credentials.account_id,
        )?,
    }
    for listed in conversations {
        text += "[[accounts.bench.conversations]]\n";
        match dialect {
            Dialect::LinkedApi => {
                writeln!(text, "person_url = \"{}\"\ntype = \"{}\"", listed.address, listed.wire_kind())?;
            }
            _ => writeln!(text, "conversation_urn = \"{}\"", listed.address)?,
        }
    }
    Ok(text)
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
