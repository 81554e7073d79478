//! Signals: in order, in time, and with something hanging.

use std::process::Command;
use std::time::{Duration, Instant};

use inboxd::simulator::{Dialect, Endpoint, Fault, When};
use rustix::process::Signal;

use crate::support::{Daemon, Reply, Rig, inboxd_in, until};

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_a_request_hangs_ends_in_order_at_once() {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().inject(Fault::Hang, When::default());
    let daemon = rig.start();
    until("a request that hangs", || rig.world().request_count(Endpoint::ConnectSafelyMessages) > 0).await;
    let began = Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(began.elapsed() < Duration::from_secs(10), "a poll has no claim on the grace time");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_a_receiver_hangs_leaves_after_the_grace_and_sends_again_after_the_next_start() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = "timeout = \"1h\"\n".into();
    rig.receiver.script(vec![Reply::Hang]);
    rig.world().push(conversation, "held");
    let daemon = rig.start();
    until("an attempt that hangs", || rig.receiver.arrived().len() == 1).await;
    assert_eq!(daemon.stop(), 0);
    let daemon = rig.start_again();
    until("the second attempt", || rig.receiver.arrived().len() == 2).await;
    let arrived = rig.receiver.arrived();
    assert_eq!(arrived[0].body, arrived[1].body, "the same bytes");
    assert_eq!(arrived[0].id(), arrived[1].id());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_ends_inside_the_grace_is_recorded() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = "timeout = \"2s\"\n".into();
    rig.receiver.script(vec![Reply::Hang]);
    rig.world().push(conversation, "slow");
    let daemon = rig.start();
    until("an attempt that hangs", || rig.receiver.arrived().len() == 1).await;
    assert_eq!(daemon.stop(), 0);
    let failure = rig.overview().unwrap().sinks[0].last_failure.clone();
    assert!(failure.is_some_and(|f| f.contains("timed out")), "the outcome of the attempt is on record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_leaves_at_once() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = "timeout = \"1h\"\n".into();
    rig.receiver.reply(Reply::Hang);
    rig.world().push(conversation, "held");
    let mut daemon = rig.start();
    until("an attempt that hangs", || rig.receiver.arrived().len() == 1).await;
    daemon.signal(Signal::TERM);
    until("the first signal to be taken", || daemon.log().contains("stopping")).await;
    assert!(!daemon.has_ended());
    daemon.signal(Signal::INT);
    daemon.wait();
    assert!(daemon.log().contains("told twice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_on_one_store_is_refused_with_75_and_the_first_goes_on() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    until("the first to run", || rig.watermark().is_some() || daemon.log().contains("following")).await;
    let second = inboxd_in(rig.path(), &["run"]);
    assert_eq!(second.code, 75, "{}", second.stderr);
    assert!(
        second.stderr.contains(&format!("in use by another inboxd (process {})", daemon.pid())),
        "{}",
        second.stderr
    );
    rig.world().push(conversation, "still here");
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hup_takes_a_good_configuration_and_keeps_the_old_one_over_a_bad_one() {
    let mut rig = Rig::new().await;
    let first = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(first, "before");
    rig.until_taken(1).await;

    std::fs::write(rig.path().join("inboxd.toml"), "[polling]\nmin_intervall = \"1s\"\n").unwrap();
    daemon.signal(Signal::HUP);
    until("the bad configuration to be refused", || daemon.log().contains("the old one stays in force")).await;
    assert!(daemon.log().contains("polling.min_intervall: unknown key; did you mean \"min_interval\"?"));
    rig.world().push(first, "with the old one");
    rig.until_taken(2).await;

    let second = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.write_config();
    daemon.signal(Signal::HUP);
    rig.world().push(second, "with the new one");
    rig.until_taken(3).await;
    assert_eq!(rig.receiver.texts(), ["before", "with the old one", "with the new one"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn usr1_opens_a_file_that_was_moved_away_afresh() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let daemon = rig.start();
    let lines = |name: &str| std::fs::read_to_string(rig.path().join(name)).unwrap_or_default().lines().count();
    rig.world().push(conversation, "one");
    until("the first line", || lines("events.jsonl") == 1).await;
    std::fs::rename(rig.path().join("events.jsonl"), rig.path().join("events.1")).unwrap();
    daemon.signal(Signal::USR1);
    until("the signal to be taken", || daemon.log().contains("opened afresh")).await;
    rig.world().push(conversation, "two");
    until("the second line in a new file", || lines("events.jsonl") == 1).await;
    assert_eq!(lines("events.1"), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_ready_reloading_stopping_and_fed_while_there_is_progress() {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.write_config();
    let socket_path = rig.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&socket_path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut told = String::new();
    let mut hear = || {
        let mut datagram = [0; 1024];
        while let Ok(length) = socket.recv(&mut datagram) {
            told += std::str::from_utf8(&datagram[..length]).unwrap();
            told.push('\n');
        }
        told.clone()
    };
    let set = |command: &mut Command| {
        command.env("NOTIFY_SOCKET", &socket_path).env("WATCHDOG_USEC", "1000000");
    };
    let daemon = Daemon::start_with(rig.path(), &[], set);
    until("READY", || hear().contains("READY=1")).await;
    until("the watchdog to be fed", || hear().matches("WATCHDOG=1").count() >= 3).await;
    daemon.signal(Signal::HUP);
    until("READY again", || hear().matches("READY=1").count() == 2).await;
    assert!(hear().contains("RELOADING=1\nMONOTONIC_USEC="), "{}", hear());
    assert_eq!(daemon.stop(), 0);
    assert!(hear().contains("STOPPING=1"));
}
