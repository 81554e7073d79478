//! The commands as a person runs them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use inboxd::simulator::{Dialect, Fault, When};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Reply, Rig, inboxd, inboxd_in, until, valid_event};

/// A process that ends with its test, however that ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn usage_errors_are_2_and_help_and_version_are_0() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(inboxd_in(folder.path(), &["polll"]).code, 2);
    assert_eq!(inboxd_in(folder.path(), &["run", "--twice"]).code, 2);
    let help = inboxd_in(folder.path(), &["--help"]);
    assert_eq!(help.code, 0);
    for command in ["run", "demo", "init", "check", "config", "status", "audit", "conversations", "tail", "simulate"] {
        assert!(help.stdout.contains(&format!("  {command} ")), "{command} is not in --help");
    }
    let version = inboxd_in(folder.path(), &["--version"]);
    assert_eq!(version.stdout, format!("inboxd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_a_configuration_the_error_says_where_it_was_looked_for_and_how_to_begin() {
    let folder = tempfile::tempdir().unwrap();
    let output = inboxd_in(folder.path(), &["run"]);
    assert_eq!(output.code, 78);
    assert!(output.stderr.contains("./inboxd.toml") && output.stderr.contains("inboxd init"), "{}", output.stderr);
    let output = inboxd_in(folder.path(), &["run", "--config", "missing.toml"]);
    assert_eq!((output.code, output.stderr.as_str()), (78, "inboxd: missing.toml: does not exist\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_polls_delivers_and_exits_with_0_or_with_3_after_a_failure() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.write_config();
    rig.world().push(conversation, "one");
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert_eq!(rig.receiver.texts(), ["one"]);

    let due = || rig.known_conversations()[0].due_at <= inboxd::time::UnixMillis::now();
    until("the next poll to be due", due).await;
    rig.world().push(conversation, "two");
    rig.receiver.reply(Reply::Status(500));
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(output.stderr.contains("1 polls or deliveries failed"), "{}", output.stderr);

    until("the next poll to be due", due).await;
    rig.receiver.reply(Reply::Status(200));
    rig.world().inject(Fault::Html5xx(503), When::default());
    let output = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(output.code, 3, "{}", output.stderr);
    assert!(output.stderr.contains("class=transient") && output.stderr.contains("next try in"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_reads_a_long_history_to_its_end() {
    let mut rig = Rig::new().await;
    rig.polling = "max_pages = 2\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    for number in 0..500 {
        rig.world().push(conversation, &number.to_string());
    }
    rig.write_config();
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    rig.until_taken(500).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_tail_work_beside_a_running_daemon_and_without_one() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    for number in 0..15 {
        rig.world().push(conversation, &format!("number {number}"));
    }
    rig.until_taken(15).await;
    until("the outbox to be settled", || rig.overview().unwrap().sinks[0].delivered == 15).await;
    let look = || {
        let status = inboxd_in(rig.path(), &["status"]);
        assert_eq!(status.code, 0, "{}", status.stderr);
        assert!(status.stdout.starts_with("account sales (linkedapi): 1 conversation\n"), "{}", status.stdout);
        assert!(status.stdout.contains("sink crm: 15 delivered, 0 pending, 0 dead"), "{}", status.stdout);
        let json: serde_json::Value =
            serde_json::from_str(&inboxd_in(rig.path(), &["status", "--json"]).stdout).expect("one JSON object");
        assert_eq!(json["accounts"][0]["conversations"][0]["failures"], 0);
        assert_eq!(json["sinks"][0]["delivered"], 15);
        let tail = inboxd_in(rig.path(), &["tail"]);
        assert_eq!(tail.stdout.lines().count(), 10);
        assert!(tail.stdout.lines().last().unwrap().contains("number 14"), "{}", tail.stdout);
        let json = inboxd_in(rig.path(), &["tail", "--json", "-n", "3"]);
        let bodies: Vec<_> = rig.receiver.arrived().into_iter().map(|a| a.body).collect();
        assert_eq!(json.stdout.lines().count(), 3);
        assert!(json.stdout.lines().all(|line| bodies.iter().any(|body| body == line)));
    };
    look();
    assert_eq!(daemon.stop(), 0);
    // Whoever looks need not have the credentials.
    let text = rig.config().replace("sim-linked-api-token", "${file:/nonexistent/token}");
    std::fs::write(rig.path().join("inboxd.toml"), text).unwrap();
    look();
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_follows_new_events() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before");
    rig.until_taken(1).await;
    let mut tail =
        Killed(inboxd(&["tail", "--follow"]).current_dir(rig.path()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("before"));
    rig.world().push(conversation, "after");
    assert!(lines.next().unwrap().unwrap().contains("after"));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn demo_prints_events_that_went_the_whole_road_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = inboxd(&["demo"])
        .current_dir(folder.path())
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let line = lines.next().expect("the demo goes on").unwrap();
        assert!(line.contains("  sim-"), "{line}");
        assert!(line.contains("<-") || line.contains("->"), "{line}");
    }
    kill_process(Pid::from_child(&demo), Signal::INT).unwrap();
    let rest = lines.count();
    let output = demo.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("{} were delivered", 3 + rest)), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the demo leaves nothing behind");
}

#[test]
fn simulate_prints_a_configuration_that_the_daemon_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulator = inboxd(&["simulate", "--listen", "127.0.0.1:0", "--messages-per-minute", "600"])
        .stdout(std::fs::File::create(folder.path().join("inboxd.toml")).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(simulator.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("simulating on http://127.0.0.1:"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let output = inboxd_in(folder.path(), &["run", "--once"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.lines().count() > 0);
    for line in output.stdout.lines() {
        assert_eq!(valid_event(line)["type"], "message.new");
    }
    kill_process(Pid::from_child(&simulator), Signal::TERM).unwrap();
    assert_eq!(simulator.wait().unwrap().code(), Some(0));
}

#[test]
fn simulate_plays_a_scenario_and_refuses_a_wrong_one_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenario.toml");
    let mut simulator = inboxd(&["simulate", "--listen", "127.0.0.1:0", "--scenario", example])
        .stdout(std::fs::File::create(folder.path().join("inboxd.toml")).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(simulator.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("simulating on http://127.0.0.1:"));
    let output = inboxd_in(folder.path(), &["run", "--once"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    // The history and what was scripted, and no random traffic.
    assert!((252..=254).contains(&output.stdout.lines().count()), "{}", output.stdout.lines().count());
    assert!(output.stdout.contains("Shall we talk on Tuesday?") && output.stdout.contains("The deck is attached."));
    kill_process(Pid::from_child(&simulator), Signal::TERM).unwrap();
    assert_eq!(simulator.wait().unwrap().code(), Some(0));

    std::fs::write(folder.path().join("wrong.toml"), "[[conversations]]\nprovider = \"linkedapi\"\ncolour = 1")
        .unwrap();
    let output = inboxd_in(folder.path(), &["simulate", "--scenario", "wrong.toml"]);
    assert_eq!(output.code, 78);
    assert!(output.stderr.contains("wrong.toml: conversations[0].colour: unknown field"), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_under_a_clock_that_was_years_ahead_keeps_no_later_round_from_reading() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().push(conversation, "before");
    rig.write_config();
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    let ahead = "UPDATE conversations SET last_polled_at = last_polled_at + ?1, due_at = due_at + ?1";
    rusqlite::Connection::open(rig.database()).unwrap().execute(ahead, [4 * 365 * 86_400_000_i64]).unwrap();
    rig.world().push(conversation, "after");
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    assert_eq!(rig.receiver.texts(), ["before", "after"]);
}
