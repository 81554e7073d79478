//! A long history is read once, page by page, whatever kills the daemon on the way, and told from its oldest message on.

use std::time::Duration;

use inboxd::simulator::{Dialect, Draft, Endpoint};
use inboxd::time::UnixMillis;
use serde_json::Value;

use crate::support::{Daemon, Rig, inboxd_in, until};

/// A dialect that pages, with the endpoint that does and the most that it gives at once.
struct Row {
    dialect: Dialect,
    reads: Endpoint,
    page: u64,
}

const PAGING: [Row; 5] = [
    Row { dialect: Dialect::ConnectSafely, reads: Endpoint::ConnectSafelyMessages, page: 50 },
    Row { dialect: Dialect::LinkupV1, reads: Endpoint::LinkupV1Messages, page: 10 },
    Row { dialect: Dialect::LinkupV2, reads: Endpoint::LinkupV2Messages, page: 10 },
    Row { dialect: Dialect::UnipileV2, reads: Endpoint::UnipileMessages, page: 24 },
    Row { dialect: Dialect::UnipileV1, reads: Endpoint::UnipileV1ChatMessages, page: 100 },
];

const MESSAGES: u64 = 3_000;
const KILLS: u64 = 4;

/// One message an hour, the last of them an hour ago.
fn sent_at(number: u64) -> UnixMillis {
    UnixMillis::now() - Duration::from_secs((MESSAGES - number) * 3_600)
}

/// A conversation with all of that, at a provider slow enough to be interrupted.
async fn with_history(row: &Row) -> (Rig, inboxd::simulator::ConversationRef) {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(row.dialect, "Ada Byron");
    for number in 0..MESSAGES {
        let draft = Draft { text: number.to_string(), sent_at: Some(sent_at(number)), ..Draft::default() };
        rig.world().push_draft(conversation, draft);
    }
    rig.world().set_switches(|s| s.latency_ms = row.page / 4);
    (rig, conversation)
}

/// How many messages the walk under way has read.
fn walked(rig: &Rig) -> u64 {
    rig.conversation().and_then(|c| c.walk_messages).unwrap_or(0)
}

/// Kills the daemon so often that every part of the walk is another one's, and looks on at the progress.
async fn interrupted(rig: &Rig, mut daemon: Daemon, length: u64) -> Daemon {
    let mut reached = None;
    for kill in 1..=KILLS {
        let part = length * kill / (KILLS + 2);
        until(&format!("{part} messages of {length} to be read"), || walked(rig) >= part).await;
        let status = inboxd_in(rig.path(), &["status", "--json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap();
        let seen = &status["accounts"][0]["conversations"][0];
        assert!(seen["walk_messages"].as_u64() >= Some(part) && seen["walk_pages"].as_u64() > Some(0), "{seen}");
        let reaches = seen["walk_reached"].as_str().and_then(UnixMillis::parse);
        assert!(reaches.is_some() && (reached.is_none() || reaches < reached), "{reaches:?} {reached:?}");
        reached = reaches;
        let shown = inboxd_in(rig.path(), &["status"]).stdout;
        assert!(shown.contains("reading a long history"), "{shown}");
        daemon.kill();
        daemon = rig.start_again();
    }
    assert_eq!(rig.receiver.taken_count(), 0, "nothing is told before everything is read");
    daemon
}

/// Requests before the first message was told, and how many events there are.
fn requests_of_the_walk(rig: &Rig, row: &Row) -> u64 {
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    let told: i64 = database.query_row("SELECT min(created_at) FROM events", [], |r| r.get(0)).unwrap();
    let of_walk = |r: &&inboxd::simulator::RequestEntry| r.endpoint == row.reads && r.at.as_millis() < told;
    rig.world().requests().iter().filter(of_walk).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_history_is_read_once_over_kills_and_told_oldest_first_before_what_came_meanwhile() {
    for row in &PAGING {
        let (rig, conversation) = with_history(row).await;
        let daemon = rig.start();
        until("the walk to begin", || walked(&rig) > 0).await;
        for number in 0..5 {
            rig.world().push(conversation, &format!("meanwhile {number}"));
        }
        let daemon = interrupted(&rig, daemon, MESSAGES).await;
        let total = MESSAGES as usize + 5;
        rig.until_taken(total).await;
        let meanwhile = (0..5).map(|number| format!("meanwhile {number}"));
        let expected: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).chain(meanwhile).collect();
        assert!(rig.receiver.texts() == expected, "{:?}: another order", row.dialect);
        for (number, event) in rig.receiver.taken().iter().enumerate() {
            let (seen, is_history) = (&event["data"]["seen"], number < MESSAGES as usize);
            assert_eq!((&seen["backfill"], &seen["late"]), (&is_history.into(), &false.into()), "{number}: {seen}");
            assert_eq!(seen["route"] == "backfill", is_history, "{number}: {seen}");
        }
        let (pages, requests) = (MESSAGES.div_ceil(row.page), requests_of_the_walk(&rig, row));
        assert!(requests >= pages && requests * 10 <= pages * 12, "{:?}: {requests} for {pages}", row.dialect);
        rig.settle().await;
        rig.until_taken(total).await;
        let known = rig.conversation().unwrap();
        assert_eq!((known.walk_pages, known.walk_messages, known.walk_reached), (None, None, None));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_since_a_time_is_read_to_there_and_no_further() {
    for row in &PAGING {
        let (rig, _) = with_history(row).await;
        let from = MESSAGES / 2;
        let since = sent_at(from) - Duration::from_secs(60);
        let entry = ".conversations]]\n";
        let config = rig.config().replace(entry, &format!("{entry}since = \"{since}\"\n"));
        std::fs::write(rig.path().join("inboxd.toml"), config).unwrap();
        let daemon = interrupted(&rig, rig.start_again(), MESSAGES - from).await;
        rig.until_taken((MESSAGES - from) as usize).await;
        assert!(rig.receiver.texts().into_iter().eq((from..MESSAGES).map(|number| number.to_string())));
        assert!(rig.receiver.taken().iter().all(|event| event["data"]["seen"]["backfill"] == true));
        let (pages, requests) = ((MESSAGES - from).div_ceil(row.page), requests_of_the_walk(&rig, row));
        assert!(requests * 10 <= pages * 12 + KILLS * 10, "{:?}: {requests} for {pages}", row.dialect);
        rig.settle().await;
        rig.until_taken((MESSAGES - from) as usize).await;
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_gives_way_to_conversations_that_are_due() {
    let mut rig = Rig::new().await;
    rig.connectsafely = "[accounts.work.polling]\nconcurrency = 1\n".into();
    let long = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let live = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    for number in 0..3_000 {
        rig.world().push(long, &number.to_string());
    }
    rig.world().set_switches(|s| {
        s.latency_ms = 50;
        s.connect_safely.page_cap = 20;
    });
    let daemon = rig.start();
    let walked = || rig.known_conversations().iter().filter_map(|c| c.walk_pages).max().unwrap_or(0);
    until("the walk to be under way", || walked() > 5).await;
    for number in 0..3 {
        rig.world().push(live, &format!("live {number}"));
        until("a live message", || rig.receiver.texts().contains(&format!("live {number}"))).await;
        assert!(
            rig.receiver.taken_count() < 100,
            "the history, which is told when it has been read, took its pages before"
        );
    }
    rig.until_taken(3_003).await;
    assert_eq!(daemon.stop(), 0);
}
