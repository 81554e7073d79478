//! Sweeps that are cut short, refused or too long for a day: what they noticed is read all the same, soon and once, and
//! what they have been through is not gone through again.

use std::collections::HashSet;
use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect, Draft, Endpoint, Fault, Kind, When};
use inboxd::time::UnixMillis;

use crate::support::{Daemon, Rig, inboxd_in, until};

/// Proofs that nobody waits for in a test, and sweeps so often.
fn rare_proofs(sweep_interval: &str) -> String {
    format!(
        "min_interval = \"100ms\"\nmax_interval = \"6h\"\nsweep_interval = \"{sweep_interval}\"\nfirst_poll = \"now\"\n"
    )
}

async fn discovering(dialect: Dialect, sweep_interval: &str) -> Rig {
    let mut rig = Rig::new().await;
    rig.polling = rare_proofs(sweep_interval);
    rig.discover(dialect, "");
    rig
}

/// A conversation with one message, as old as this.
fn conversation_of_age(rig: &Rig, dialect: Dialect, person: &str, seconds: u64) -> ConversationRef {
    let conversation = rig.world().add_conversation(dialect, Kind::Standard, person);
    let sent_at = Some(UnixMillis::now() - Duration::from_secs(seconds));
    rig.world().push_draft(conversation, Draft { text: "old".into(), sent_at, ..Draft::default() });
    conversation
}

fn read(rig: &Rig) -> usize {
    rig.known_conversations().iter().filter(|c| c.first_polled_at.is_some()).count()
}

/// When the last complete sweep began.
fn swept_at(rig: &Rig) -> Option<UnixMillis> {
    let accounts = rig.overview().map(|overview| overview.accounts).unwrap_or_default();
    accounts.iter().flat_map(|account| &account.inbox).map(|folder| folder.swept_at).min().flatten()
}

fn answers(code: u16) -> Fault {
    Fault::Status { code, body: "{}".into(), headers: vec![] }
}

fn at(endpoint: Endpoint) -> When {
    When { endpoint: Some(endpoint), ..When::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sweep_noticed_and_a_kill_left_unread_is_read_after_the_restart_and_not_at_the_next_proof() {
    let rig = discovering(Dialect::ConnectSafely, "200ms").await;
    let conversations: Vec<_> =
        (0..150).map(|n| conversation_of_age(&rig, Dialect::ConnectSafely, &format!("Person {n}"), 7_200)).collect();
    let daemon = rig.start();
    until("everything to be read once", || read(&rig) == 150).await;
    assert_eq!(daemon.stop(), 0);
    for (number, conversation) in conversations.iter().enumerate() {
        rig.world().push(*conversation, &format!("{number:03}"));
    }
    // So many reads are answered, some of them perhaps of one conversation, and the rest is not.
    let answered = rig.world().request_count(Endpoint::ConnectSafelyMessages) + 100;
    rig.world().inject(Fault::Hang, When { skip: 100, ..at(Endpoint::ConnectSafelyMessages) });
    let before = swept_at(&rig);
    let daemon = rig.start_again();
    until("a sweep that has noticed everything", || swept_at(&rig) > before).await;
    until("a read that hangs", || rig.world().request_count(Endpoint::ConnectSafelyMessages) > answered).await;
    daemon.kill();
    rig.world().clear_faults();
    let daemon = rig.start_again();
    rig.until_taken(150).await;
    let mut texts = rig.receiver.texts();
    texts.sort_unstable();
    assert_eq!(texts, (0..150).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_failed_once_is_tried_again_in_seconds_and_not_at_the_next_proof_or_sweep() {
    let rig = discovering(Dialect::ConnectSafely, "1h").await;
    let conversation = conversation_of_age(&rig, Dialect::ConnectSafely, "Ada Byron", 7_200);
    let daemon = rig.start();
    until("the conversation to be read", || read(&rig) == 1).await;
    assert_eq!(daemon.stop(), 0);
    rig.world().push(conversation, "new");
    rig.world().inject(answers(500), at(Endpoint::ConnectSafelyMessages));
    let daemon = rig.start_again();
    until("a failure", || rig.conversation().is_some_and(|c| c.failures > 0)).await;
    let wait = rig.conversation().unwrap().due_at.since(UnixMillis::now());
    assert!(wait < Duration::from_secs(300), "stored as due in {wait:?}");
    rig.world().clear_faults();
    rig.until_taken(1).await;
    assert_eq!(rig.receiver.texts(), ["new"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_whose_start_was_cut_short_is_begun_after_the_restart_where_the_provider_says_nothing() {
    for orderly in [true, false] {
        let rig = discovering(Dialect::LinkedApi, "200ms").await;
        rig.world().set_switches(|s| {
            s.linked_api.inbox_monitoring = false;
            s.linked_api.inbox_unsynced = None;
        });
        let conversation = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Ada Byron");
        rig.world().inject(Fault::Hang, at(Endpoint::LinkedApiStart));
        let daemon = rig.start();
        until("a start", || rig.world().request_count(Endpoint::LinkedApiStart) == 1).await;
        if orderly {
            assert_eq!(daemon.stop(), 0);
        } else {
            daemon.kill();
        }
        rig.world().clear_faults();
        let daemon = rig.start_again();
        until("the provider to collect", || daemon.log().contains("the provider collects the inbox")).await;
        rig.world().push(conversation, "somebody listens");
        rig.until_taken(1).await;
        assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 2);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_that_was_under_way_at_a_kill_is_waited_for_and_not_begun_twice() {
    let rig = discovering(Dialect::LinkedApi, "200ms").await;
    rig.world().set_switches(|s| {
        s.linked_api.inbox_monitoring = false;
        s.linked_api.inbox_unsynced = None;
        s.linked_api.running_ms = 2_000;
    });
    let conversation = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Ada Byron");
    let daemon = rig.start();
    until("a workflow on record", || {
        let database = rusqlite::Connection::open(rig.database()).unwrap();
        let count = "SELECT count(*) FROM sweeps WHERE workflow_id IS NOT NULL";
        database.query_row(count, [], |row| row.get::<_, u32>(0)).is_ok_and(|count| count == 1)
    })
    .await;
    daemon.kill();
    let daemon = rig.start_again();
    until("the provider to collect", || daemon.log().contains("the provider collects the inbox")).await;
    rig.world().push(conversation, "somebody listens");
    rig.until_taken(1).await;
    assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_round_has_the_inbox_collected_and_a_later_one_finds_what_came() {
    for unsynced in [Some("inboxNotSynced"), Some("workflowNotFound"), None] {
        let rig = discovering(Dialect::LinkedApi, "200ms").await;
        rig.world().set_switches(|s| {
            s.linked_api.inbox_monitoring = false;
            s.linked_api.inbox_unsynced = unsynced.map(str::to_owned);
        });
        let conversation = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Ada Byron");
        rig.world().push(conversation, "before anybody listens");
        rig.write_config();
        let round = || inboxd_in(rig.path(), &["run", "--once"]);
        let first = round();
        assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1, "{unsynced:?}: {}", first.stderr);
        let collects = "the provider collects the inbox";
        let mut collected = first.stderr.contains(collects);
        until("the provider to collect", || {
            collected = collected || round().stderr.contains(collects);
            collected
        })
        .await;
        rig.world().push(conversation, "somebody listens");
        until("a round that finds it", || {
            round();
            rig.receiver.taken_count() > 0
        })
        .await;
        round();
        assert_eq!(rig.receiver.texts(), ["somebody listens"]);
        assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1, "started once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_sweep_longer_than_a_day_goes_on_at_its_page_and_what_moved_meanwhile_is_told_after_it() {
    let mut rig = discovering(Dialect::LinkupV2, "200ms").await;
    rig.polling += "daily_credits = 9\n";
    let conversations: Vec<_> =
        (0..300).map(|n| conversation_of_age(&rig, Dialect::LinkupV2, &format!("Person {n}"), 7_200 + n)).collect();
    let mut days = 0;
    let daemon = loop {
        let daemon = rig.start();
        days += 1;
        let spent = "the inbox is listed again from";
        until("the share of the day to be spent", || {
            daemon.log().matches(spent).count() == days || swept_at(&rig).is_some()
        })
        .await;
        if swept_at(&rig).is_some() {
            break daemon;
        }
        assert_eq!(daemon.stop(), 0);
        assert!(days < 10, "thirty pages at six a day take five days");
        // It has been listed, and now it is the first of the inbox again.
        rig.world().push(conversations[0], &format!("on day {days}"));
        new_day(&rig);
    };
    assert!(days > 2, "the inbox was not too long for a day");
    // The last page may have come while the daemon before it was told to stop.
    let hears_signals = |daemon: &Daemon, starts: usize| daemon.log().matches("delivering to").count() == starts;
    until("the daemon to be up", || hears_signals(&daemon, days)).await;
    assert_eq!(daemon.stop(), 0);
    let lists: Vec<_> = rig.world().requests().into_iter().filter(|r| r.endpoint == Endpoint::LinkupV2Inbox).collect();
    let different: HashSet<_> = lists.iter().map(|request| request.body.as_str()).collect();
    assert_eq!(different.len(), lists.len(), "no page was listed twice");
    new_day(&rig);
    let daemon = rig.start_again();
    // What was told may have been told before.
    until("the daemon to be up", || hears_signals(&daemon, days + 1)).await;
    rig.until_taken(days - 1).await;
    assert_eq!(rig.receiver.texts(), (1..days).map(|day| format!("on day {day}")).collect::<Vec<_>>());
    assert_eq!(daemon.stop(), 0);
}

/// As if midnight had passed while nothing ran.
fn new_day(rig: &Rig) {
    rusqlite::Connection::open(rig.database()).unwrap().execute("DELETE FROM spending", []).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_discovery_was_turned_on_is_history_also_where_the_inbox_was_swept_already() {
    for dialect in [Dialect::LinkupV1, Dialect::LinkupV2] {
        let mut rig = Rig::new().await;
        rig.polling = rare_proofs("200ms");
        let pinned = rig.follow(dialect, "Ada Byron");
        let other = conversation_of_age(&rig, dialect, "Grace Murray", 7_200);
        let daemon = rig.start();
        until("a sweep and a first look", || swept_at(&rig).is_some() && read(&rig) == 1).await;
        rig.world().push(pinned, "to the pinned one");
        rig.until_taken(1).await;
        assert_eq!(daemon.stop(), 0);
        rig.world().push(other, "before discovery");
        rig.discover(dialect, "");
        let daemon = rig.start();
        until("the other one to be read", || read(&rig) == 2).await;
        rig.world().push(other, "after it");
        rig.until_taken(2).await;
        assert_eq!(rig.receiver.texts(), ["to the pinned one", "after it"]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_without_any_folder_left_leaves_conversations_to_themselves_and_is_not_asked_all_the_time() {
    for (dialect, lists, code) in [(Dialect::UnipileV2, Endpoint::UnipileInboxChats, 404)] {
        let rig = discovering(dialect, "200ms").await;
        // Polled by their own schedule, such young conversations are polled every few seconds.
        let conversations: Vec<_> =
            (0..3).map(|n| conversation_of_age(&rig, dialect, &format!("Person {n}"), 1)).collect();
        let daemon = rig.start();
        until("everything to be read once", || read(&rig) == 3).await;
        rig.world().inject(answers(code), at(lists));
        until("the fall-back", || daemon.log().contains("conversations are polled one by one until it can")).await;
        let before = rig.world().request_count(lists);
        for round in 1..=2 {
            for conversation in &conversations {
                rig.world().push(*conversation, "without a list");
            }
            rig.until_taken(3 * round).await;
        }
        assert!(rig.receiver.taken().iter().all(|event| event["data"]["seen"]["route"] == "poll"));
        assert_eq!(rig.world().request_count(lists), before, "{dialect:?}: sweeps of nothing");
        assert_eq!(daemon.stop(), 0);
    }
}
