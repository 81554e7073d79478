//! Signals, commands and deliveries in every state of the daemon's life; and what only informs.

use std::process::{Command, Stdio};
use std::time::Duration;

use inboxd::simulator::Dialect;
use rusqlite::Connection;
use rustix::process::Signal;

use crate::support::{Daemon, Reply, Rig, inboxd, inboxd_in, until};

/// Holds a write transaction, as a backup or a person with an SQL shell may.
fn hold_the_store(rig: &Rig) -> Connection {
    let connection = Connection::open(rig.database()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection
}

/// A daemon that has begun to take over a configuration and waits for the store.
async fn reloading(rig: &Rig, daemon: &Daemon) -> Connection {
    let held = hold_the_store(rig);
    daemon.signal(Signal::HUP);
    until("the reload to wait for the store", || daemon.log().contains("cannot be taken over yet")).await;
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_a_reload_waits_for_the_store_the_daemon_stops_in_order() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "one");
    rig.until_taken(1).await;
    let held = reloading(&rig, &daemon).await;
    daemon.signal(Signal::TERM);
    until("the signal to be heard", || daemon.log().contains("stopping")).await;
    drop(held);
    let mut daemon = daemon;
    assert_eq!(daemon.wait().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once_while_a_reload_waits_for_the_store() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = "timeout = \"1h\"\n".into();
    rig.receiver.reply(Reply::Hang);
    rig.world().push(conversation, "held");
    let mut daemon = rig.start();
    until("an attempt that hangs", || rig.receiver.arrived().len() == 1).await;
    let _held = reloading(&rig, &daemon).await;
    daemon.signal(Signal::TERM);
    until("the first signal to be heard", || daemon.log().contains("stopping")).await;
    daemon.signal(Signal::TERM);
    daemon.wait();
    assert!(daemon.log().contains("told twice"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_attempting_deliveries_and_answers_commands_until_the_store_takes_it() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = format!("retry = [{}]\n", ["\"100ms\""; 600].join(", "));
    rig.receiver.reply(Reply::Status(503));
    rig.world().push(conversation, "owed");
    let daemon = rig.start();
    until("a first attempt", || !rig.receiver.arrived().is_empty()).await;
    let held = reloading(&rig, &daemon).await;
    // An outcome cannot be written down meanwhile; attempts that wait for their turn are made.
    let path = rig.path().to_owned();
    let asked = tokio::task::spawn_blocking(move || inboxd_in(&path, &["conversations", "unfollow", "work", "2-x"]));
    let answer = asked.await.unwrap();
    assert!(answer.stderr.contains("taking over a new configuration"), "{}", answer.stderr);
    drop(held);
    rig.receiver.reply(Reply::Status(204));
    rig.until_taken(1).await;
    until("the new configuration", || daemon.log().matches("delivering to").count() == 2).await;
    rig.world().push(conversation, "after it");
    rig.until_taken(2).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_while_the_first_start_waits_for_the_store_the_daemon_ends() {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.write_config();
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 0);
    let _held = hold_the_store(&rig);
    let mut daemon = rig.start_again();
    until("the start to wait", || daemon.log().contains("cannot be taken over yet")).await;
    daemon.signal(Signal::TERM);
    until("the end or a second try", || daemon.has_ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_round_that_is_told_to_stop_says_so_and_has_counted_what_it_asked() {
    use inboxd::simulator::{Endpoint, Fault, When};
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().inject(Fault::Hang, When::default());
    rig.write_config();
    let mut round = inboxd(&["run", "--once"]);
    let round = round.current_dir(rig.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut round = round.unwrap();
    until("a request that hangs", || rig.world().request_count(Endpoint::ConnectSafelyMessages) > 0).await;
    let pid = rustix::process::Pid::from_child(&round);
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let code = tokio::task::spawn_blocking(move || round.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(3));
    let database = Connection::open(rig.database()).unwrap();
    let counted: u64 = database.query_row("SELECT sum(requests) FROM spending", [], |r| r.get(0)).unwrap();
    assert!(counted >= 1, "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_ends_nothing() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let full = |command: &mut Command| {
        command.stderr(std::fs::File::options().write(true).open("/dev/full").unwrap());
    };
    rig.write_config();
    let mut daemon = Daemon::start_with(rig.path(), &["--log-level", "debug"], full);
    for number in 1..=3 {
        rig.world().push(conversation, "still there");
        rig.until_taken(number).await;
    }
    assert!(!daemon.has_ended());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_blocks_nothing() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.write_config();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut daemon = Daemon::start_with(rig.path(), &["--log-level", "trace"], |command| {
        command.stderr(writer);
    });
    // More than a pipe holds.
    for number in 1..=400 {
        rig.world().push(conversation, "still there");
        if number % 100 == 0 {
            rig.until_taken(number).await;
        }
    }
    drop(reader);
    rig.world().push(conversation, "and without a reader");
    rig.until_taken(401).await;
    assert!(!daemon.has_ended());
    assert_eq!(daemon.stop(), 0);
}

/// Resident memory of a process in KiB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_leave_nothing_behind_in_the_daemon() {
    use std::io::{BufRead, Write};
    use std::os::unix::net::UnixStream;
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    until("the daemon to run", || daemon.log().contains("delivering to")).await;
    let socket = rig.path().join("inboxd.db.sock");
    let ask = |times: usize| {
        for _ in 0..times {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            stream.write_all(b"{\"schedule\":{}}\n").unwrap();
            let mut answer = String::new();
            std::io::BufReader::new(stream).read_line(&mut answer).unwrap();
            assert!(answer.contains("Ok"), "{answer}");
        }
    };
    ask(500);
    let before = resident(daemon.pid());
    ask(3_600);
    let grown = resident(daemon.pid()).saturating_sub(before);
    // A task that nobody takes back is 2 KiB: 7 MiB.
    assert!(grown < 2_048, "{grown} KiB more");
    assert_eq!(daemon.stop(), 0);
}
