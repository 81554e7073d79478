//! Killed at system calls from the first start to the first delivery: every later start succeeds by
//! itself, and nothing is lost.
//!
//! A sample by default; `INBOXD_KILLS=all` tries every call of every thread (tests/kill-at-every-call).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use inboxd::simulator::Dialect;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::support::{Rig, inboxd, inboxd_in};

/// Kills in a sample, beside those that have been seen to do harm.
const SAMPLE: usize = 24;

/// Each left a database that no later start opened, when a database was made with another journal
/// than it was to have.
const SEEN: [(&str, usize); 3] = [("pwrite64", 1), ("fsync", 4), ("unlink", 1)];

const MESSAGES: usize = 3;

/// The n-th call of a name, in whichever thread comes to it first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kill {
    call: String,
    number: usize,
}

fn has_strace() -> bool {
    let runs = |arguments: &[&str]| {
        let mut strace = Command::new("strace");
        strace.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    // It may be there, and not be allowed to trace.
    let works = runs(&["-qq", "-o", "/dev/null", "true"]);
    assert!(works || std::env::var_os("CI").is_none(), "strace(1) is missing, or may not trace");
    if !works {
        println!("skipped: there is no strace(1) that may trace");
    }
    works
}

/// A single round in `folder`, under strace with these arguments.
fn traced(folder: &Path, strace: &[&str]) -> Command {
    let round = inboxd(&["run", "--once"]);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(strace).arg(round.get_program()).args(round.get_args());
    for (name, value) in round.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn fresh(config: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("inboxd.toml"), config).unwrap();
    folder
}

/// Every call of a first start, by name and number: as many of a name as one thread makes.
fn calls(config: &str) -> Vec<Kill> {
    let folder = fresh(config);
    let trace = folder.path().join("trace");
    let status = traced(folder.path(), &["-o", trace.to_str().unwrap()]).status().unwrap();
    assert!(status.success(), "a round under strace ends well");
    let mut of_threads: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in std::fs::read_to_string(&trace).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if call.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
            *of_threads.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most: BTreeMap<String, usize> = BTreeMap::new();
    for ((call, _), count) in of_threads {
        let most = most.entry(call).or_default();
        *most = count.max(*most);
    }
    let each = |(call, count): (String, usize)| (1..=count).map(move |number| Kill { call: call.clone(), number });
    // The first one replaces the tracer's child by the program.
    most.into_iter().flat_map(each).filter(|kill| kill.call != "execve").collect()
}

/// Kills a first start there and goes on; an error says what was wrong then.
fn killed_at(kill: &Kill, config: &str) -> Result<(), String> {
    let folder = fresh(config);
    let inject = format!("inject={}:signal=SIGKILL:when={}", kill.call, kill.number);
    // Timing decides which thread comes to the call first, and whether any does.
    let _ = traced(folder.path(), &["-o", "/dev/null", "-e", &inject]).status().unwrap();
    for start in ["first", "second"] {
        let round = inboxd_in(folder.path(), &["run", "--once"]);
        if round.code != 0 {
            return Err(format!("the {start} start after it exits with {}: {}", round.code, round.stderr));
        }
    }
    let lines = std::fs::read_to_string(folder.path().join("events.jsonl")).unwrap_or_default();
    let mut found: Vec<_> =
        lines.lines().map(|line| line.rsplit_once("message-").map(|(_, rest)| rest[..1].to_owned())).collect();
    found.sort();
    found.dedup();
    if found.len() != MESSAGES || found.contains(&None) {
        return Err(format!("messages are missing: {lines}"));
    }
    let database = Connection::open(folder.path().join("inboxd.db")).unwrap();
    let sound: String = database.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap();
    (sound == "ok").then_some(()).ok_or(sound)
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_system_call_of_a_first_start_the_next_start_loses_nothing() {
    if !has_strace() {
        return;
    }
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    for number in 0..MESSAGES {
        rig.world().push(conversation, &format!("message-{number}"));
    }
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let config = rig.config();
    let (tried, failures) = tokio::task::spawn_blocking(move || {
        let every = calls(&config);
        let all = std::env::var("INBOXD_KILLS").is_ok_and(|kills| kills == "all");
        let step = if all { 1 } else { every.len().div_ceil(SAMPLE) };
        let seen = SEEN.map(|(call, number)| Kill { call: call.into(), number });
        let mut kills: Vec<_> = every.iter().step_by(step).cloned().chain(seen).collect();
        kills.sort();
        kills.dedup();
        let (next, failures) = (AtomicUsize::new(0), Mutex::new(vec![]));
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    while let Some(kill) = kills.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(problem) = killed_at(kill, &config) {
                            failures.lock().unwrap().push(format!("{kill:?}: {problem}"));
                        }
                    }
                });
            }
        });
        (kills.len(), failures.into_inner().unwrap())
    })
    .await
    .unwrap();
    println!("killed at {tried} calls: {} starts or messages lost", failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
