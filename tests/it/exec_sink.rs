//! The exec sink of a running daemon, with small scripts as programs.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use inboxd::simulator::{ConversationRef, Dialect};
use inboxd::store::SinkOverview;
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;

use crate::support::{Daemon, Rig, finished, inboxd, inboxd_in, until};

/// A daemon whose exec sink runs a script of the test.
struct Run {
    rig: Rig,
    conversation: ConversationRef,
}

impl Run {
    /// `script` is what sh runs, in the folder of the rig; `keys` are further keys of the sink.
    async fn with(script: &str, keys: &str) -> Self {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
        let program = rig.path().join("handler");
        write_program(&program, script);
        rig.more =
            format!("\n[sinks.run]\ntype = \"exec\"\ncommand = [\"{}\", \"an argument\"]\n{keys}\n", program.display());
        Self { rig, conversation }
    }

    fn push(&self, text: &str) {
        self.rig.world().push(self.conversation, text);
    }

    fn sink(&self) -> Option<SinkOverview> {
        self.rig.overview()?.sinks.into_iter().find(|sink| sink.name.as_str() == "run")
    }

    async fn until_settled(&self, delivered: u64, dead: u64) {
        let settled =
            || self.sink().is_some_and(|sink| (sink.delivered, sink.dead, sink.pending) == (delivered, dead, 0));
        until(&format!("{delivered} delivered and {dead} dead"), settled).await;
    }

    async fn until_failed(&self, with: &str) -> String {
        let failure = || self.sink().and_then(|sink| sink.last_failure).unwrap_or_default();
        until(&format!("a failure with {with:?}"), || failure().contains(with)).await;
        failure()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.rig.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn pid(&self, name: &str) -> Option<Pid> {
        Pid::from_raw(self.read(name).trim().parse().ok()?)
    }
}

/// Written under another name: a file that is open for writing cannot be executed.
fn write_program(path: &Path, script: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Not running any more; one that its parent has not looked at yet does not count.
fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(pid).is_err() || stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_each_event_as_one_line_and_0_is_delivered() {
    let run = Run::with("cat >> events; echo \"$1\" >> arguments", "").await;
    let daemon = run.rig.start();
    for text in ["one", "two\nlines"] {
        run.push(text);
    }
    run.until_settled(2, 0).await;
    let events: Vec<Value> = run.read("events").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let texts: Vec<_> = events.iter().map(|event| event["data"]["message"]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two\nlines"]);
    assert_eq!(run.read("arguments"), "an argument\nan argument\n");
    run.rig.until_taken(2).await;
    assert_eq!(run.rig.receiver.taken(), events, "what every sink gets");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_code_75_is_tried_again_with_the_same_event() {
    let script = "cat >> events; [ -e once ] && exit 0; touch once; echo 'come again' >&2; exit 75";
    let run = Run::with(script, "retry = [\"100ms\"]").await;
    run.push("hello");
    let daemon = run.rig.start();
    run.until_settled(1, 0).await;
    let (events, log) = (run.read("events"), daemon.log());
    let lines: Vec<_> = events.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{events}");
    assert!(log.contains("not delivered (exit code 75)") && !log.contains("come again"), "{log}");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_exit_code_is_dead_at_once_and_what_the_program_said_is_kept_harmless_and_short() {
    let script = "cat > event; echo output; printf 'no such \\033[2J customer \\202' >&2; \
                  head -c 1000 /dev/zero | tr '\\0' x >&2; exit 3";
    let run = Run::with(script, "").await;
    run.push("refused");
    let daemon = run.rig.start();
    run.until_settled(0, 1).await;
    let failure = run.until_failed("exit code 3").await;
    assert!(failure.contains("exit code 3: no such \\u{1b}[2J customer \u{fffd}xxx"), "{failure}");
    assert!(failure.len() < 250 && !failure.contains("output"), "{failure}");
    assert!(!daemon.log().contains("customer"));
    write_program(&run.path("handler"), "cat >> event; echo 'said, not complained'; exit 1");
    run.push("refused too");
    run.until_settled(0, 2).await;
    run.until_failed("exit code 1: said, not complained").await;
    assert_eq!(run.read("event").lines().count(), 2);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_by_a_signal_is_tried_again() {
    let run = Run::with("cat >> events; [ -e once ] && exit 0; touch once; kill -9 $$", "retry = [\"100ms\"]").await;
    run.push("hello");
    let daemon = run.rig.start();
    run.until_settled(1, 0).await;
    assert_eq!(run.read("events").lines().count(), 2);
    assert!(daemon.log().contains("ended by signal 9"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_a_program_is_killed_with_all_it_has_started_and_tried_again() {
    let script = "cat > event; [ -e child ] && exit 0; echo busy; sleep 3600 & echo $! > child; echo $$ > self; wait";
    let run = Run::with(script, "timeout = \"1s\"\nretry = [\"100ms\"]").await;
    run.push("slow");
    let daemon = run.rig.start();
    run.until_failed("did not end within 1s and was killed with what it had started: busy").await;
    run.until_settled(1, 0).await;
    for name in ["self", "child"] {
        let pid = run.pid(name).unwrap();
        until(&format!("the end of {name}"), || has_ended(pid)).await;
    }
    let own = run.pid("self").unwrap();
    until("the program to be reaped", || test_kill_process(own).is_err()).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_leaves_running_holds_no_delivery_although_it_keeps_the_pipes_open() {
    let script = "cat > event; sleep 3600 & echo $! > child$([ -e once ] && echo 2); \
                  [ -e once ] && exit 0; touch once; echo again >&2; exit 75";
    let run = Run::with(script, "timeout = \"1h\"\nretry = [\"100ms\"]").await;
    run.push("hello");
    let daemon = run.rig.start();
    run.until_settled(1, 0).await;
    assert!(daemon.log().contains("exit code 75"));
    for name in ["child", "child2"] {
        let child = run.pid(name).unwrap();
        assert!(!has_ended(child), "it is its own affair");
        rustix::process::kill_process(child, Signal::KILL).unwrap();
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_output_is_read_to_its_end_and_an_unread_event_is_no_failure() {
    // 64 MiB to each of both, and not a byte of the event is read. A pipe that is closed early would end head.
    let output = |to: &str| format!("{{ head -c 67108864 /dev/zero && echo whole >> done; }} {to}");
    let run = Run::with(&format!("exec <&-; {} & {}; wait", output(">&2"), output("")), "").await;
    run.push(&"ü".repeat(30_000));
    let daemon = run.rig.start();
    run.until_settled(1, 0).await;
    assert_eq!(run.read("done"), "whole\nwhole\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < 100 << 10, "{peak} kB: the output was kept");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_sees_its_event_and_what_is_meant_for_it_and_no_credential_of_the_daemon() {
    let run = Run::with("cat > event; env | sort > env; pwd > folder", "env = { CRM_Key = \"s3cr3t-${TOKEN}\" }").await;
    run.push("hello");
    run.rig.write_config();
    let daemon = Daemon::start_with(run.rig.path(), &["--log-level", "trace"], |command| {
        command.env("TOKEN", "value").env("LINKED_API_TOKEN", "s3cr3t").env("NOTIFY_SOCKET", "/nonexistent");
        command.env("TZ", "Europe/Berlin").env("HOME", "/home/ada").env_remove("LC_ALL");
    });
    run.until_settled(1, 0).await;
    let env = run.read("env");
    let id = run.rig.receiver.taken()[0]["id"].as_str().unwrap().to_owned();
    for expected in [
        "CRM_Key=s3cr3t-value".to_owned(),
        "TZ=Europe/Berlin".into(),
        "HOME=/home/ada".into(),
        format!("INBOXD_EVENT_ID={id}"),
        "INBOXD_EVENT_TYPE=message.new".into(),
        "INBOXD_SINK=run".into(),
    ] {
        assert!(env.lines().any(|line| line == expected), "{expected} is not in:\n{env}");
    }
    // PWD, OLDPWD, SHLVL and _ are the shell's own.
    let known = ["PATH", "HOME", "LANG", "TZ", "USER", "TMPDIR", "CRM_Key", "PWD", "OLDPWD", "SHLVL", "_"];
    for line in env.lines() {
        let (name, _) = line.split_once('=').unwrap();
        assert!(known.contains(&name) || name.starts_with("INBOXD_"), "{name} reached the program");
    }
    assert_eq!(Path::new(run.read("folder").trim()), run.rig.path().canonicalize().unwrap());
    let shown = inboxd_in(run.rig.path(), &["config", "show"]);
    assert!(!daemon.log().contains("s3cr3t"));
    assert_eq!(shown.code, 78, "TOKEN is not set here: {}", shown.stderr);
    assert_eq!(daemon.stop(), 0);
    let shown = finished(inboxd(&["config", "show"]).current_dir(run.rig.path()).env("TOKEN", "value"));
    assert!(shown.code == 0 && shown.stdout.contains("CRM_Key = \"***\"") && !shown.stdout.contains("s3cr3t"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_conversation_stay_in_order_and_as_many_conversations_run_beside_each_other_as_may() {
    // A program of the first round ends when three run beside each other; more than three never do.
    let script = r#"
        touch running.$$; ls running.* | wc -l >> beside
        cat >> "events.$(printf %s "$INBOXD_EVENT_ID" | tr -dc a-z0-9)"
        [ -e all ] || { while [ "$(ls running.* | wc -l)" -lt 3 ] && [ ! -e all ]; do sleep 0.02; done; touch all; }
        echo "$INBOXD_EVENT_ID" >> order
        rm running.$$
    "#;
    let mut run = Run::with(script, "concurrency = 3\ntimeout = \"1h\"").await;
    let others: Vec<_> = (0..4).map(|n| run.rig.follow(Dialect::LinkedApi, &format!("Person {n}"))).collect();
    for number in 0..8 {
        run.push(&number.to_string());
        for &other in &others {
            run.rig.world().push(other, "beside");
        }
    }
    let daemon = run.rig.start();
    run.until_settled(40, 0).await;
    run.rig.until_taken(40).await;
    let order = run.read("order");
    let position = |event: &Value| order.lines().position(|id| id == event["id"].as_str().unwrap()).unwrap();
    let taken = run.rig.receiver.taken();
    let of_one = taken.iter().filter(|event| event["data"]["message"]["text"] != "beside");
    let mut of_one: Vec<_> = of_one.map(|e| (position(e), e["data"]["message"]["text"].as_str().unwrap())).collect();
    of_one.sort_unstable();
    let texts: Vec<_> = of_one.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    let beside = run.read("beside").lines().map(|line| line.trim().parse::<u32>().unwrap()).max();
    assert_eq!(beside, Some(3));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_is_tried_again_until_it_can() {
    let often = vec!["\"100ms\""; 1_000].join(", ");
    let run = Run::with("cat > event", &format!("retry = [{often}]")).await;
    let mode =
        |name: &str, mode| std::fs::set_permissions(run.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::rename(run.path("handler"), run.path("later")).unwrap();
    mode("later", 0o644);
    run.push("hello");
    let daemon = run.rig.start();
    let failure = run.until_failed("handler cannot be started: No such file or directory").await;
    assert!(failure.starts_with(run.rig.path().to_str().unwrap()), "{failure}");
    std::fs::rename(run.path("later"), run.path("handler")).unwrap();
    run.until_failed("handler cannot be started: Permission denied").await;
    mode("handler", 0o755);
    run.until_settled(1, 0).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_inside_the_grace_is_recorded() {
    let run = Run::with("cat > event; touch started; while [ ! -e finish ]; do sleep 0.02; done", "").await;
    run.push("slow");
    let mut daemon = run.rig.start();
    until("the program to run", || run.path("started").exists()).await;
    daemon.signal(Signal::TERM);
    until("the signal to be taken", || daemon.log().contains("stopping")).await;
    std::fs::write(run.path("finish"), "").unwrap();
    assert_eq!(daemon.wait().code(), Some(0));
    run.until_settled(1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_when_the_daemon_leaves_is_killed_with_its_group() {
    let script = "cat > event; sleep 3600 & echo $! > child; trap '' TERM; echo $$ > self; wait";
    let run = Run::with(script, "timeout = \"1h\"").await;
    run.push("slow");
    let mut daemon = run.rig.start();
    until("the program to run", || run.pid("self").is_some()).await;
    daemon.signal(Signal::TERM);
    until("the first signal to be taken", || daemon.log().contains("stopping")).await;
    for name in ["self", "child"] {
        assert!(!has_ended(run.pid(name).unwrap()), "{name} has the grace time");
    }
    daemon.signal(Signal::TERM);
    daemon.wait();
    for name in ["self", "child"] {
        let pid = run.pid(name).unwrap();
        until(&format!("the end of {name}"), || has_ended(pid)).await;
    }
    assert_eq!(
        run.sink().map(|sink| (sink.pending, sink.dead)),
        Some((1, 0)),
        "it is attempted again at the next start"
    );
}

#[test]
fn what_is_wrong_with_the_keys_is_said_and_a_missing_program_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let checked = |keys: &str| {
        let account = "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\n\
                       account_id = \"65f0c0ffee00c0ffee00c0de\"\n";
        let text = format!("{account}[sinks.run]\ntype = \"exec\"\n{keys}\n");
        crate::support::write_private(&folder.path().join("inboxd.toml"), &text);
        let output = inboxd_in(folder.path(), &["check"]);
        assert!(!output.stderr.contains("s3cr3t"), "{}", output.stderr);
        (output.code, output.stderr)
    };
    for (keys, says) in [
        ("command = \"handler --flag s3cr3t\"", "sinks.run.command: expected a list of texts"),
        ("command = \"handler\"", "there is no shell, found other text"),
        ("command = []", "sinks.run.command: names no program"),
        ("command = [\"\", \"x\"]", "sinks.run.command: names no program"),
        ("command = [\"x\", \"s3cr3t\\u0000\"]", "sinks.run.command: contains a NUL character"),
        ("", "sinks.run.command: is missing"),
        ("command = [\"true\"]\nconcurrency = 0", "sinks.run.concurrency: must be 1 to 64"),
        ("command = [\"true\"]\nconcurrency = 65", "sinks.run.concurrency: must be 1 to 64"),
        ("command = [\"true\"]\ntimeout = \"0s\"", "sinks.run.timeout: must be longer than 0s"),
        ("command = [\"true\"]\nenv = { \"A=s3cr3t\" = \"b\" }", "sinks.run.env: has a name that no variable can have"),
        (
            "command = [\"true\"]\nenv = { INBOXD_SINK = \"b\" }",
            "sinks.run.env: names a variable that inboxd sets itself",
        ),
        ("command = [\"true\"]\nenv = { A = [\"s3cr3t\"] }", "sinks.run.env.A: expected text, found a list"),
    ] {
        let (code, stderr) = checked(keys);
        assert!(code == 78 && stderr.contains(says), "{keys}: {stderr}");
    }
    std::fs::write(folder.path().join("plain"), "").unwrap();
    write_program(&folder.path().join("handler"), "");
    let own = folder.path().display();
    for (command, says) in [
        ("no-such-program".to_owned(), "sinks.run: the program no-such-program is not found; until it is"),
        ("./no-such-program".to_owned(), "sinks.run: the program ./no-such-program is not found"),
        (format!("{own}/plain"), "plain is not executable; until it is"),
        ("handler".to_owned(), "the program handler is not found"),
    ] {
        let (code, stderr) = checked(&format!("command = [\"{command}\"]"));
        assert!(code == 0 && stderr.contains("warning: ") && stderr.contains(says), "{command}: {stderr}");
    }
    for good in
        ["command = [\"sh\"]".to_owned(), "command = [\"./handler\"]".into(), format!("command = [\"{own}/handler\"]")]
    {
        assert_eq!(checked(&good), (0, String::new()), "{good}");
    }
    assert_eq!(
        checked(&format!("command = [\"handler\"]\nenv = {{ PATH = \"/nonexistent:{own}\" }}")),
        (0, String::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_starts_in_a_session_of_its_own_ends_with_it_and_it_cannot_read_the_daemon() {
    let script = "
        (tr '\\0' '\\n' < /proc/$PPID/environ || true) > environment 2> refused
        setsid sh -c 'echo $$ > session; exec sleep 1000' &
        (setsid sh -c 'echo $$ > orphan; exec sleep 1000' &)
        sleep 1000";
    let run = Run::with(script, "timeout = \"1s\"\nretry = [\"1h\"]").await;
    run.rig.write_config();
    let key = run.rig.config().replace("sim-identification-token", "${PLANTED_IN_ENVIRONMENT}");
    std::fs::write(run.rig.path().join("inboxd.toml"), key).unwrap();
    run.push("hello");
    let daemon = Daemon::start_with(run.rig.path(), &[], |command| {
        command.env("PLANTED_IN_ENVIRONMENT", "sim-identification-token");
    });
    run.until_failed("was killed with what it had started").await;
    let has_ended = |name: &str| run.pid(name).is_some_and(|pid| test_kill_process(pid).is_err());
    until("both sessions to end", || has_ended("session") && has_ended("orphan")).await;
    assert!(!run.read("environment").contains("PLANTED"), "{}", run.read("environment"));
    assert!(run.read("refused").contains("ermission denied"), "{}", run.read("refused"));
    assert_eq!(daemon.stop(), 0);
}
