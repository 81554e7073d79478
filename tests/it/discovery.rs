//! Following whatever the inbox lists: what is found, what is read, what is told, and what that costs.

use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect, Draft, Endpoint, Fault, Kind, When};
use inboxd::time::UnixMillis;

use crate::support::{Rig, account_name, inboxd_in, until};

/// Dialects whose inbox can be listed, with the endpoints that list it and that read one conversation.
struct Row {
    dialect: Dialect,
    lists: Endpoint,
    reads: Endpoint,
}

const INBOXES: [Row; 6] = [
    Row { dialect: Dialect::LinkedApi, lists: Endpoint::LinkedApiInboxPoll, reads: Endpoint::LinkedApiInboxPoll },
    Row {
        dialect: Dialect::ConnectSafely,
        lists: Endpoint::ConnectSafelyConversations,
        reads: Endpoint::ConnectSafelyMessages,
    },
    Row { dialect: Dialect::LinkupV1, lists: Endpoint::LinkupV1Inbox, reads: Endpoint::LinkupV1Messages },
    Row { dialect: Dialect::LinkupV2, lists: Endpoint::LinkupV2Inbox, reads: Endpoint::LinkupV2Messages },
    Row { dialect: Dialect::UnipileV2, lists: Endpoint::UnipileInboxChats, reads: Endpoint::UnipileMessages },
    Row { dialect: Dialect::UnipileV1, lists: Endpoint::UnipileV1Messages, reads: Endpoint::UnipileV1ChatMessages },
];

/// An account that discovers, swept often, whose conversations are otherwise polled once in six hours.
async fn discovering(row: &Row) -> Rig {
    let mut rig = Rig::new().await;
    rig.polling =
        "min_interval = \"100ms\"\nmax_interval = \"6h\"\nsweep_interval = \"200ms\"\nfirst_poll = \"now\"\n".into();
    rig.discover(row.dialect, "");
    rig
}

/// Its id in events.
fn id_of(rig: &Rig, row: &Row, conversation: ConversationRef) -> String {
    match row.dialect {
        // The inbox knows threads, not persons.
        Dialect::LinkedApi => format!("inbox:st:{}", rig.world().thread_id(conversation)),
        _ => rig.world().ledger().into_iter().find(|e| e.conversation == conversation).unwrap().conversation_id,
    }
}

/// What a person would follow it by.
fn address_of(rig: &Rig, row: &Row, conversation: ConversationRef) -> String {
    if row.dialect == Dialect::LinkedApi { id_of(rig, row, conversation) } else { rig.world().address(conversation) }
}

fn swept(rig: &Rig) -> bool {
    let accounts = rig.overview().map(|overview| overview.accounts).unwrap_or_default();
    accounts.iter().any(|a| !a.inbox.is_empty() && a.inbox.iter().all(|folder| folder.first_swept_at.is_some()))
}

fn read(rig: &Rig) -> usize {
    rig.known_conversations().iter().filter(|c| c.first_polled_at.is_some()).count()
}

fn ago(seconds: u64) -> Option<UnixMillis> {
    Some(UnixMillis::now() - Duration::from_secs(seconds))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_sweep_finds_is_history_and_what_comes_later_is_told() {
    for row in &INBOXES {
        let rig = discovering(row).await;
        let old = rig.world().add_conversation(row.dialect, Kind::Standard, "Ada Byron");
        rig.world().push_draft(old, Draft { text: "long ago".into(), sent_at: ago(90_000), ..Draft::default() });
        rig.world().push_draft(old, Draft { text: "an hour ago".into(), sent_at: ago(3_600), ..Draft::default() });
        let daemon = rig.start();
        until("the first sweep", || swept(&rig)).await;
        until("the conversation to be read", || read(&rig) == 1).await;
        rig.world().push(old, "to be told");
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.texts(), ["to be told"]);
        assert_eq!(rig.receiver.taken()[0]["data"]["seen"]["route"], "sweep");
        // A conversation that appears later is new, without a restart, but for the history it brings along.
        let new = rig.world().add_conversation(row.dialect, Kind::Standard, "Grace Murray");
        rig.world().push_draft(new, Draft { text: "imported".into(), sent_at: ago(90_000), ..Draft::default() });
        rig.world().push(new, "hello");
        rig.until_taken(2).await;
        assert_eq!(rig.receiver.texts()[1], "hello");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_the_title_that_the_inbox_gave_its_conversation() {
    for row in INBOXES.iter().filter(|row| matches!(row.dialect, Dialect::UnipileV2 | Dialect::UnipileV1)) {
        let rig = discovering(row).await;
        let conversation = rig.world().add_conversation(row.dialect, Kind::Standard, "Ada Byron");
        rig.world().push_draft(conversation, Draft { text: "old".into(), sent_at: ago(7_200), ..Draft::default() });
        let daemon = rig.start();
        until("the conversation to be read", || read(&rig) == 1).await;
        rig.world().push(conversation, "hello");
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.taken()[0]["data"]["conversation"]["title"], "Ada Byron", "{:?}", row.dialect);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moves_between_the_first_sweep_and_the_first_look_is_told() {
    // Where listing and reading are one endpoint, one cannot be broken without the other.
    for row in INBOXES.iter().filter(|row| row.lists != row.reads) {
        let rig = discovering(row).await;
        let conversation = rig.world().add_conversation(row.dialect, Kind::Standard, "Ada Byron");
        rig.world().push_draft(conversation, Draft { text: "before".into(), sent_at: ago(60), ..Draft::default() });
        // The conversation cannot be read for a while after the inbox has shown it.
        let refused = Fault::Status { code: 500, body: "{}".into(), headers: vec![] };
        rig.world().inject(refused, When { endpoint: Some(row.reads), ..When::default() });
        let daemon = rig.start();
        until("the first sweep", || swept(&rig)).await;
        until("a first look in vain", || rig.world().request_count(row.reads) > 0).await;
        rig.world().push(conversation, "in between");
        daemon.kill();
        rig.world().clear_faults();
        let daemon = rig.start_again();
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.texts(), ["in between"]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_sweep_and_the_read_loses_nothing() {
    for row in &INBOXES {
        let rig = discovering(row).await;
        let conversations: Vec<_> = (0..60)
            .map(|number| {
                let person = format!("Person {number}");
                let conversation = rig.world().add_conversation(row.dialect, Kind::Standard, &person);
                rig.world()
                    .push_draft(conversation, Draft { text: "old".into(), sent_at: ago(7_200), ..Draft::default() });
                conversation
            })
            .collect();
        let mut daemon = rig.start();
        until("everything to be read once", || read(&rig) == 60).await;
        for round in 0..5 {
            // More than a page of the inbox has moved; the sweep sees all of it, and the reads are cut short.
            rig.world().set_switches(|s| s.latency_ms = 40);
            for conversation in &conversations {
                rig.world().push(*conversation, &format!("round {round}"));
            }
            let before = rig.world().request_count(row.lists);
            until("a sweep", || rig.world().request_count(row.lists) > before).await;
            daemon.kill();
            rig.world().set_switches(|s| s.latency_ms = 0);
            daemon = rig.start_again();
            rig.until_taken(60 * (round + 1)).await;
        }
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_moved_is_read() {
    // Where listing and reading are one endpoint, its requests cannot be told apart.
    for row in INBOXES.iter().filter(|row| row.lists != row.reads) {
        let rig = discovering(row).await;
        let quiet: Vec<_> = (0..30)
            .map(|n| rig.world().add_conversation(row.dialect, Kind::Standard, &format!("Person {n}")))
            .collect();
        for conversation in &quiet {
            rig.world()
                .push_draft(*conversation, Draft { text: "old".into(), sent_at: ago(7_200), ..Draft::default() });
        }
        let daemon = rig.start();
        until("everything to be read once", || read(&rig) == 30).await;
        let before = rig.world().request_count(row.reads);
        for number in 0..5 {
            rig.world().push(quiet[7], &format!("message {number}"));
            rig.until_taken(number + 1).await;
        }
        let reads = rig.world().request_count(row.reads) - before;
        assert!((5..=10).contains(&reads), "{reads} reads for five messages in one conversation");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_unfollowed_and_followed_by_command_while_the_daemon_runs() {
    for row in &INBOXES {
        let rig = discovering(row).await;
        let conversation = rig.world().add_conversation(row.dialect, Kind::Standard, "Ada Byron");
        rig.world().push_draft(conversation, Draft { text: "old".into(), sent_at: ago(7_200), ..Draft::default() });
        let other = rig.world().add_conversation(row.dialect, Kind::Standard, "Grace Murray");
        rig.world().push_draft(other, Draft { text: "old".into(), sent_at: ago(7_200), ..Draft::default() });
        let daemon = rig.start();
        until("both to be read", || read(&rig) == 2).await;
        let id = id_of(&rig, row, conversation);
        let account = account_name(row.dialect);
        let unfollowed = inboxd_in(rig.path(), &["conversations", "unfollow", account, &id]);
        assert_eq!(unfollowed.code, 0, "{}", unfollowed.stderr);
        rig.world().push(conversation, "nobody listens");
        rig.world().push(other, "somebody does");
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.texts(), ["somebody does"]);
        let again = inboxd_in(rig.path(), &["conversations", "unfollow", account, &id]);
        assert_eq!((again.code, again.stderr.contains("is not followed")), (1, true), "{}", again.stderr);
        // What was written meanwhile is read from where it was left.
        let address = address_of(&rig, row, conversation);
        let followed = inboxd_in(rig.path(), &["conversations", "follow", account, &address]);
        assert_eq!(followed.code, 0, "{}", followed.stderr);
        rig.until_taken(2).await;
        let listed = inboxd_in(rig.path(), &["conversations", "list"]);
        assert!(listed.stdout.contains("stored") && listed.stdout.contains("discovered"), "{}", listed.stdout);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_tells_what_nobody_was_told_and_repeats_nothing() {
    for row in &INBOXES {
        let rig = discovering(row).await;
        let conversation = rig.world().add_conversation(row.dialect, Kind::Standard, "Ada Byron");
        for (text, seconds) in [("three days ago", 260_000), ("yesterday", 90_000), ("an hour ago", 3_600)] {
            rig.world()
                .push_draft(conversation, Draft { text: text.into(), sent_at: ago(seconds), ..Draft::default() });
        }
        let daemon = rig.start();
        until("the conversation to be read", || read(&rig) == 1).await;
        rig.world().push(conversation, "new");
        rig.until_taken(1).await;
        let id = id_of(&rig, row, conversation);
        let to = (UnixMillis::now() - Duration::from_secs(100_000)).to_string();
        let arguments = ["conversations", "rewind", account_name(row.dialect), &id, "--to", &to];
        let rewound = inboxd_in(rig.path(), &arguments);
        assert_eq!(rewound.code, 0, "{}", rewound.stderr);
        rig.until_taken(3).await;
        assert_eq!(rig.receiver.texts(), ["new", "yesterday", "an hour ago"]);
        assert!(daemon.log().contains("set back by command"));
        // And without a daemon.
        assert_eq!(daemon.stop(), 0);
        let to = (UnixMillis::now() - Duration::from_secs(300_000)).to_string();
        let rewound = inboxd_in(rig.path(), &["conversations", "rewind", account_name(row.dialect), &id, "--to", &to]);
        assert_eq!(rewound.code, 0, "{}", rewound.stderr);
        let daemon = rig.start_again();
        rig.until_taken(4).await;
        assert_eq!(rig.receiver.texts()[3], "three days ago");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_that_nobody_fills_is_started_once_whether_it_is_refused_or_empty() {
    for unsynced in [Some("inboxNotSynced"), Some("workflowNotFound"), None] {
        let rig = discovering(&INBOXES[0]).await;
        rig.world().set_switches(|s| {
            s.linked_api.inbox_monitoring = false;
            s.linked_api.inbox_unsynced = unsynced.map(str::to_owned);
        });
        let conversation = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Ada Byron");
        rig.world().push(conversation, "before anybody listens");
        let daemon = rig.start();
        until("the provider to collect", || daemon.log().contains("the provider collects the inbox")).await;
        rig.world().push(conversation, "somebody listens");
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.texts(), ["somebody listens"]);
        daemon.kill();
        let daemon = rig.start_again();
        rig.world().push(conversation, "after a restart");
        rig.until_taken(2).await;
        assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1, "started once");
        assert_eq!(daemon.stop(), 0);
    }
}
