//! Deaths at any moment: nothing lost, nothing twice after dropping repeated ids, order kept.

use std::collections::HashMap;
use std::time::Duration;

use inboxd::backoff::mix;
use inboxd::simulator::{Dialect, Draft};
use inboxd::time::UnixMillis;

use crate::support::{Reply, Rig, until};

const CONVERSATIONS: usize = 50;
const MESSAGES: usize = 2_000;
const KILLS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_while_messages_flow_lose_nothing_and_keep_the_order() {
    let mut rig = Rig::new().await;
    rig.http =
        "retry = [\"100ms\", \"100ms\", \"100ms\", \"200ms\", \"200ms\", \"500ms\", \"1s\", \"1s\", \"1s\", \"1s\"]\n"
            .into();
    rig.receiver.reply(Reply::FailsSometimes(0.05));
    // A long overlap, and a second look at the newest page, would read again what a wrong commit has lost, and hide it.
    rig.connectsafely = "[accounts.work.polling]\noverlap = \"1ms\"\n".into();
    rig.world().set_switches(|s| s.connect_safely.has_more_counts_history = false);
    let conversations: Vec<_> = (0..CONVERSATIONS)
        .map(|n| rig.follow([Dialect::LinkedApi, Dialect::ConnectSafely][n % 2], &format!("Person {n}")))
        .collect();
    rig.write_config();
    let mut pushed = 0;
    for round in 0..KILLS {
        let daemon = rig.start_again();
        let mut push = |count: usize| {
            for _ in 0..count {
                // A few conversations are busy, most are quiet, and some messages come in bursts.
                let pick = mix(7, pushed as u64 / 3) as usize % CONVERSATIONS;
                rig.world().push(conversations[pick * pick / CONVERSATIONS], &format!("message {pushed}"));
                pushed += 1;
            }
        };
        let share = MESSAGES / KILLS as usize;
        push(share / 2);
        tokio::time::sleep(Duration::from_millis(mix(11, round) % 150)).await;
        push(share - share / 2);
        // The moment of death is the point of this test, not a wait for something.
        tokio::time::sleep(Duration::from_millis(mix(13, round) % 250)).await;
        daemon.kill();
    }
    assert_eq!(pushed, MESSAGES);
    let daemon = rig.start_again();
    until(&format!("{MESSAGES} messages at the receiver"), || rig.receiver.taken_count() >= MESSAGES).await;
    until("an empty outbox", || rig.overview().is_some_and(|o| o.sinks[0].pending == 0)).await;
    assert_eq!(daemon.stop(), 0);

    let ledger = rig.world().ledger();
    let taken = rig.receiver.taken();
    let key = |event: &serde_json::Value| {
        let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        (text("/subject"), text("/data/message/id"))
    };
    let mut arrivals: HashMap<_, usize> = HashMap::new();
    for event in &taken {
        *arrivals.entry(key(event)).or_default() += 1;
    }
    for entry in &ledger {
        let arrived = arrivals.remove(&(entry.conversation_id.clone(), entry.message_id.clone()));
        assert_eq!(arrived, Some(1), "{} of {}", entry.message_id, entry.conversation_id);
    }
    assert!(arrivals.is_empty(), "events of messages that nobody wrote: {arrivals:?}");

    let mut last: HashMap<String, UnixMillis> = HashMap::new();
    for event in &taken {
        let sent_at = UnixMillis::parse(event["data"]["message"]["sent_at"].as_str().unwrap()).unwrap();
        let before = last.insert(event["subject"].as_str().unwrap().to_owned(), sent_at);
        assert!(before.is_none_or(|before| before <= sent_at), "out of order in {}", event["subject"]);
    }

    let database = rusqlite::Connection::open(rig.database()).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(check, "ok");
    let dead: u64 = database.query_row("SELECT count(*) FROM deliveries WHERE state <> 1", [], |r| r.get(0)).unwrap();
    assert_eq!(dead, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_in_the_middle_of_a_long_history_resumes_the_walk() {
    let mut rig = Rig::new().await;
    rig.polling = "max_pages = 2\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(2_000 * 60);
    for number in 0..2_000u64 {
        let sent_at = Some(start + Duration::from_secs(number * 60));
        rig.world().push_draft(conversation, Draft { text: number.to_string(), sent_at, ..Draft::default() });
    }
    rig.world().set_switches(|s| s.latency_ms = 20);
    let pages = |rig: &Rig| rig.known_conversations().first().and_then(|c| c.walk_pages);
    let daemon = rig.start();
    until("some pages of the walk", || pages(&rig).is_some_and(|pages| pages >= 10)).await;
    daemon.kill();
    let before = pages(&rig).unwrap();
    assert_eq!(rig.receiver.taken_count(), 0, "nothing is announced before the walk is complete");
    let daemon = rig.start_again();
    rig.until_taken(2_000).await;
    assert_eq!(rig.receiver.texts(), (0..2_000).map(|n| n.to_string()).collect::<Vec<_>>());
    let pages = rig.world().requests().iter().filter(|r| r.query.contains("cursor=")).count();
    assert!(pages <= 40 + 2, "{pages} requests for 40 pages, killed after {before}: it started over");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn due_times_from_a_clock_that_was_ahead_do_not_stall_deliveries_after_a_restart() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.receiver.reply(Reply::Hang);
    rig.world().push(conversation, "owed");
    let daemon = rig.start();
    until("the delivery to be owed", || rig.receiver.arrived().len() == 1).await;
    daemon.kill();
    let year = 365 * 86_400_000i64;
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    database.execute("UPDATE lanes SET due_at = due_at + ?1", [year]).unwrap();
    database.execute("UPDATE conversations SET due_at = due_at + ?1", [year]).unwrap();
    drop(database);
    rig.receiver.reply(Reply::Status(204));
    let daemon = rig.start_again();
    until("the delivery", || rig.receiver.arrived().len() >= 2).await;
    rig.world().push(conversation, "and polls go on");
    rig.until_taken(2).await;
    assert_eq!(daemon.stop(), 0);
}
