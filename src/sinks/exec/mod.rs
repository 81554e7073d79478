//! A program, started anew for every event: the event is one line of its standard input, its exit code is the answer.
//!
//! Each runs in a process group of its own, so that what it has started ends with it at the time limit, and when the daemon
//! leaves; what has left the group is looked for ([`family`]). Of the daemon's environment it sees a few harmless names and
//! no credentials. Where the daemon runs as root, it may run as another user.

mod family;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::{FusedFuture, join3};
use rustix::fs::Access;
use rustix::process::{Pid, geteuid};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Delivered, Error, Outgoing, Sink};
use crate::mask::Mask;
use crate::model::{SinkName, Untrusted, cut_at};
use crate::ownership::{Strangers, check_place};

/// First bytes of what a program says in which secrets are looked for before it is cut to what is kept.
const REPLY_LIMIT: usize = 4096;

/// First bytes of the name of a program that are shown.
const NAME_LIMIT: usize = 200;

/// The exit code that asks for another attempt: EX_TEMPFAIL of sysexits.h.
const TRY_AGAIN: i32 = 75;

/// The exit codes by which a shell or env(1) says that it could not start what it was to start.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;
const NO_PROGRAM: &str = "look at command: the program, or one that it starts, is not there or may not be executed";

/// After the program has ended, only what it has left running can hold its output open; nobody waits longer for that.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a program needs of the daemon's environment. The rest may hold credentials.
const INHERITED: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR"];

const EVENT_ID: &str = "INBOXD_EVENT_ID";
const EVENT_TYPE: &str = "INBOXD_EVENT_TYPE";
const SINK: &str = "INBOXD_SINK";

/// Where execvp(3) looks without a PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The keys of an exec sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments.
    #[serde(deserialize_with = "list")]
    command: Vec<String>,
    /// Further variables of its environment. Their values are secrets.
    #[serde(default)]
    env: BTreeMap<String, SecretString>,
    /// The user that it runs as, where the daemon runs as root.
    #[serde(default)]
    user: Option<String>,
    /// A whole attempt.
    #[serde(default = "default_timeout", with = "crate::settings::duration")]
    timeout: Duration,
    /// Conversations beside each other.
    #[serde(default = "default_concurrency", deserialize_with = "crate::settings::count")]
    pub(super) concurrency: usize,
    /// Waits between attempts; after the last one the delivery is dead.
    #[serde(default = "super::http::default_retry", with = "crate::settings::durations")]
    pub(super) retry: Vec<Duration>,
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    crate::settings::texts(deserializer).map_err(|_| {
        serde::de::Error::custom(
            "expected a list of texts, such as [\"/usr/local/bin/handler\", \"--flag\"]: there is no shell",
        )
    })
}

fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

fn default_concurrency() -> usize {
    4
}

impl Settings {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let command = self.command.first().is_none_or(String::is_empty).then_some(("command", "names no program"));
        let nul = || {
            let anywhere = self.command.iter().any(|part| part.contains('\0'));
            anywhere.then_some(("command", "contains a NUL character, which no program can be given"))
        };
        let path =
            || self.command.first().and_then(|program| path_problem(program)).map(|problem| ("command", problem));
        let env = || self.env.iter().find_map(|(name, value)| env_problem(name, value)).map(|problem| ("env", problem));
        let concurrency = || (!(1..=64).contains(&self.concurrency)).then_some(("concurrency", "must be 1 to 64"));
        let user = || self.user.as_ref().and_then(|name| Some(("user", user(name).err()?)));
        let program = || Some(("command", self.strangers_program()?));
        let timeout = || self.timeout.is_zero().then_some(("timeout", "must be longer than 0s"));
        let told = |(key, problem): (&'static str, &str)| (key, problem.to_owned());
        let rest = || env().or_else(concurrency).or_else(timeout).map(told);
        command.or_else(nul).map(told).or_else(path).or_else(rest).or_else(user).or_else(program)
    }

    /// What is wrong with a program that another user of the machine can write: it would do what that user wants.
    fn strangers_program(&self) -> Option<String> {
        let program = self.places().into_iter().find(|place| is_executable(place))?;
        let found = std::fs::metadata(&program).ok()?;
        // What root runs must be root's, or that of whom it is run as; a user may well run what another has installed.
        let run_as = self.user.as_ref().and_then(|name| user(name).ok()).map(|user| user.uid);
        let is_root = geteuid().is_root();
        let problem = match Strangers::of(&found) {
            Strangers::Own if !is_root || Some(found.uid()) == run_as => None,
            strangers => strangers.may_have_written(&program),
        };
        let replaceable = || {
            let refused = check_place(&program, run_as).err().filter(|refused| is_root || !refused.is_by_owner)?;
            Some(format!("could be another's: {refused}"))
        };
        problem.or_else(replaceable).map(|problem| format!("the program {} {problem}", self.program()))
    }

    /// What a program is given that nobody is to see again.
    pub(super) fn mask(&self) -> Mask {
        Mask::default().and_all(self.env.values())
    }

    /// Whether the program is there. It may be installed later, so that this is no problem.
    pub(super) fn warning(&self) -> Option<String> {
        let places = self.places();
        if places.iter().any(|place| is_executable(place)) {
            return None;
        }
        let what = if places.iter().any(|place| place.exists()) { "is not executable" } else { "is not found" };
        Some(format!("the program {} {what}; until it is, deliveries fail and are tried again", self.program()))
    }

    /// Where the program may lie: as given, or in each folder of PATH.
    fn places(&self) -> Vec<PathBuf> {
        let program = &self.command[0];
        if program.contains('/') {
            return vec![program.into()];
        }
        let own = self.env.get("PATH").map(|path| path.expose_secret().into());
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| DEFAULT_PATH.into());
        std::env::split_paths(&path).map(|folder| folder.join(program)).collect()
    }

    /// The program as it may be shown.
    fn program(&self) -> String {
        Untrusted(cut_at(&self.command[0], NAME_LIMIT)).to_string()
    }
}

/// What is wrong with a program that is named by where it lies; one without a slash is looked for in PATH.
fn path_problem(program: &str) -> Option<String> {
    let is_path = program.contains('/') || program.starts_with('~');
    is_path.then(|| crate::settings::file_problem(Path::new(program))).flatten()
}

fn env_problem(name: &str, value: &SecretString) -> Option<&'static str> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Some("has a name that no variable can have");
    }
    if [EVENT_ID, EVENT_TYPE, SINK, family::MARK].contains(&name) {
        return Some(
            "names a variable that inboxd sets itself: INBOXD_EVENT_ID, INBOXD_EVENT_TYPE, INBOXD_SINK or INBOXD_RUN",
        );
    }
    value.expose_secret().contains('\0').then_some("has a value with a NUL character, which no variable can have")
}

fn is_executable(place: &Path) -> bool {
    place.is_file() && rustix::fs::access(place, Access::EXEC_OK).is_ok()
}

pub(super) struct Exec {
    name: SinkName,
    settings: Settings,
}

impl Exec {
    pub(super) fn new(name: &SinkName, settings: &Settings) -> Self {
        Self { name: name.clone(), settings: settings.clone() }
    }

    async fn attempt(&self, event: &Outgoing) -> Result<(), Error> {
        let until = Instant::now() + self.settings.timeout;
        let mut running = match timeout_at(until, self.start(event)).await {
            Ok(Ok(running)) => running,
            Ok(Err(error)) => {
                return Err(not_started(&self.settings.program(), &error));
            }
            Err(_) => return Err(self.too_slow(String::new())),
        };
        let child = &mut running.child;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let ended = {
            let talk = join3(feed(input, &event.body), keep(output, &mut said), keep(errors, &mut complained));
            let mut talk = pin!(talk.fuse());
            let ended = {
                let mut end = pin!(timeout_at(until, child.wait()));
                loop {
                    tokio::select! {
                        ended = &mut end => break ended,
                        _ = &mut talk => {}
                    }
                }
            };
            if ended.is_err() {
                running.kill().await;
                // Reaped here, or by tokio if it hangs in the kernel.
                drop(timeout(LAST_WORDS, running.child.wait()).await);
            }
            let succeeded = matches!(&ended, Ok(Ok(status)) if status.success());
            if !succeeded && !talk.is_terminated() {
                drop(timeout(LAST_WORDS, talk).await);
            }
            ended
        };
        let reply = reply(&complained, &said);
        match ended {
            Ok(Ok(status)) => verdict(status, reply),
            Ok(Err(error)) => Err(Error::retry(format!("its end could not be waited for: {error}"))),
            Err(_) => Err(self.too_slow(reply)),
        }
    }

    /// Starts the program, on a thread where a slow disk holds nobody else up.
    async fn start(&self, event: &Outgoing) -> io::Result<Running> {
        let Settings { command: words, env, .. } = &self.settings;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_clear();
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env(EVENT_ID, &event.id).env(EVENT_TYPE, &*type_of(event)).env(SINK, self.name.as_str());
        let mark = format!("{:016x}", rand::random::<u64>());
        command.env(family::MARK, &mark);
        command.envs(env.iter().map(|(name, value)| (name, value.expose_secret())));
        if let Some(name) = &self.settings.user {
            // Never as the daemon's own user because nobody of that name is found.
            let User { uid, gid } = user(name).map_err(|problem| io::Error::other(format!("user {problem}")))?;
            // With another user go the groups of this one: only root can do either.
            command.uid(uid).gid(gid);
        }
        let started = tokio::task::spawn_blocking(move || command.spawn().map(|child| Running { child, mark }));
        started.await.map_err(io::Error::other)?
    }

    fn too_slow(&self, reply: String) -> Error {
        let limit = humantime::format_duration(self.settings.timeout);
        let detail = format!("did not end within {limit} and was killed with what it had started");
        Error { reply: Some(reply), ..Error::retry(detail) }
    }
}

#[async_trait]
impl Sink for Exec {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        for (count, event) in events.iter().enumerate() {
            if let Err(failure) = self.attempt(event).await {
                return Delivered { count, failure: Some(failure) };
            }
        }
        Delivered::all(events)
    }
}

/// A program at work. When it is dropped before its end, for instance because the daemon leaves, it is killed with what it
/// has started; what it leaves running behind its end is its own affair.
struct Running {
    child: Child,
    mark: String,
}

impl Running {
    /// There is an id until the program is reaped, and until then it names nobody else.
    fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    async fn kill(&self) {
        if let Some(pid) = self.pid() {
            let mark = self.mark.clone();
            // It reads of every process of the machine.
            drop(tokio::task::spawn_blocking(move || family::kill(pid, &mark)).await);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            family::kill(pid, &self.mark);
        }
    }
}

/// A user of this machine.
struct User {
    uid: u32,
    gid: u32,
}

/// The user of this name or number, by /etc/passwd; an error says why it cannot be that.
fn user(name: &str) -> Result<User, String> {
    if !geteuid().is_root() {
        return Err(
            "needs the daemon to run as root, for only root can run a program as somebody else; remove it".into()
        );
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [own, _, uid, gid, ..] = fields[..] else { return None };
        (own == name || uid == name).then(|| Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? }))?
    });
    found.ok_or_else(|| format!("names nobody in /etc/passwd: {}", Untrusted(cut_at(name, NAME_LIMIT))))
}

/// Writes the event and closes the pipe. A program need not read it: what it does with the event is told by its exit code.
async fn feed(input: Option<ChildStdin>, event: &str) {
    if let Some(mut input) = input {
        let line = [event.as_bytes(), b"\n"].concat();
        drop(input.write_all(&line).await);
    }
}

/// Reads to the end, so that the program never waits for a reader, and keeps the first bytes.
async fn keep(output: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut output) = output else { return };
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = output.read(&mut chunk).await {
        let room = REPLY_LIMIT - kept.len();
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
}

/// What the program has complained of, or else what it has said.
fn reply(complained: &[u8], said: &[u8]) -> String {
    let bytes = if complained.trim_ascii().is_empty() { said } else { complained };
    let text = String::from_utf8_lossy(bytes.trim_ascii());
    Untrusted(cut_at(&text, REPLY_LIMIT)).to_string()
}

fn not_started(program: &str, error: &io::Error) -> Error {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    let detail = format!("{program} cannot be started: {error}");
    let is_no_program = error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error());
    match error.kind() {
        _ if is_no_program => Error::refused(detail, NO_PROGRAM),
        NotFound | PermissionDenied | NotADirectory | IsADirectory => Error::refused(detail, NO_PROGRAM),
        // No memory, no free process: that passes.
        _ => Error::retry(detail),
    }
}

fn verdict(status: ExitStatus, reply: String) -> Result<(), Error> {
    let error = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(TRY_AGAIN), _) => Error::retry(format!("exit code {TRY_AGAIN}")),
        (Some(code @ (NOT_EXECUTABLE | NOT_FOUND)), _) => Error::refused(format!("exit code {code}"), NO_PROGRAM),
        (Some(code), _) => Error::rejected(format!("exit code {code}")),
        (None, signal) => Error::retry(format!("ended by signal {}", signal.unwrap_or_default())),
    };
    Err(error.with_reply(reply))
}

fn type_of(event: &Outgoing) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    serde_json::from_str::<Typed<'_>>(&event.body).map(|typed| typed.kind).unwrap_or_default()
}
