//! Inboxes that lag, begin empty, tell no times or cannot be listed, and conversations in them that cannot be read.

use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect, Draft, Endpoint, Fault, Kind, When};
use inboxd::time::UnixMillis;

use crate::support::{Rig, inboxd_in, until};

/// Dialects whose inbox can be listed, with the endpoints that list it and that read one conversation.
struct Row {
    dialect: Dialect,
    lists: &'static [Endpoint],
    reads: Endpoint,
}

const INBOXES: [Row; 5] = [
    Row {
        dialect: Dialect::ConnectSafely,
        lists: &[Endpoint::ConnectSafelyConversations],
        reads: Endpoint::ConnectSafelyMessages,
    },
    Row { dialect: Dialect::LinkupV1, lists: &[Endpoint::LinkupV1Inbox], reads: Endpoint::LinkupV1Messages },
    Row { dialect: Dialect::LinkupV2, lists: &[Endpoint::LinkupV2Inbox], reads: Endpoint::LinkupV2Messages },
    Row {
        dialect: Dialect::UnipileV2,
        lists: &[Endpoint::UnipileInboxes, Endpoint::UnipileInboxChats],
        reads: Endpoint::UnipileMessages,
    },
    Row {
        dialect: Dialect::UnipileV1,
        lists: &[Endpoint::UnipileV1Chats, Endpoint::UnipileV1Messages],
        reads: Endpoint::UnipileV1ChatMessages,
    },
];

const RARE_PROOFS: &str =
    "min_interval = \"100ms\"\nmax_interval = \"6h\"\nsweep_interval = \"200ms\"\nfirst_poll = \"now\"\n";

impl Row {
    /// An account that discovers, swept often, with so many conversations that are otherwise polled once in six hours;
    /// each has a message of two hours ago.
    async fn inbox(&self, conversations: usize) -> (Rig, Vec<ConversationRef>) {
        self.inbox_of_age(conversations, Duration::from_secs(7_200)).await
    }

    /// The same with the message as old as this.
    async fn inbox_of_age(&self, conversations: usize, age: Duration) -> (Rig, Vec<ConversationRef>) {
        let mut rig = Rig::new().await;
        rig.polling = RARE_PROOFS.into();
        rig.discover(self.dialect, "");
        let sent_at = Some(UnixMillis::now() - age);
        let add = |number| {
            let person = format!("Person {number}");
            let conversation = rig.world().add_conversation(self.dialect, Kind::Standard, &person);
            rig.world().push_draft(conversation, Draft { text: "old".into(), sent_at, ..Draft::default() });
            conversation
        };
        let conversations = (0..conversations).map(add).collect();
        (rig, conversations)
    }

    /// Requests of any kind so far.
    fn requests(&self, rig: &Rig) -> u64 {
        let lists = self.lists.iter().map(|&endpoint| rig.world().request_count(endpoint));
        lists.sum::<u64>() + rig.world().request_count(self.reads)
    }
}

fn read(rig: &Rig) -> usize {
    rig.known_conversations().iter().filter(|c| c.first_polled_at.is_some()).count()
}

/// When the last complete sweep over every folder began, but for the one that is listed seldom; `None` before there was one.
fn swept_at(rig: &Rig) -> Option<UnixMillis> {
    let accounts = rig.overview().map(|overview| overview.accounts).unwrap_or_default();
    let folders = accounts.iter().flat_map(|account| &account.inbox);
    folders.filter(|folder| folder.folder != "CLASSIC_ARCHIVED").map(|folder| folder.swept_at).min().flatten()
}

async fn sweeps(rig: &Rig, count: usize) {
    for _ in 0..count {
        let before = swept_at(rig);
        until("another sweep", || swept_at(rig) > before).await;
    }
}

fn refused(code: u16) -> Fault {
    Fault::Status { code, body: "{}".into(), headers: vec![] }
}

fn sorted(rig: &Rig) -> Vec<String> {
    let mut texts = rig.receiver.texts();
    texts.sort_unstable();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn what_moved_on_many_pages_while_nobody_looked_is_found_also_where_one_cannot_be_read_at_first() {
    for row in &INBOXES {
        let (rig, conversations) = row.inbox(60).await;
        let daemon = rig.start();
        until("everything to be read once", || read(&rig) == 60).await;
        daemon.kill();
        let broken = conversations[31];
        rig.world()
            .inject(refused(502), When { endpoint: Some(row.reads), conversation: Some(broken), ..When::default() });
        for (number, conversation) in conversations.iter().enumerate() {
            rig.world().push(*conversation, &format!("{number:02} first"));
            rig.world().push(*conversation, &format!("{number:02} second"));
        }
        let daemon = rig.start_again();
        rig.until_taken(118).await;
        assert!(rig.receiver.texts().iter().all(|text| !text.starts_with("31")));
        daemon.kill();
        let daemon = rig.start_again();
        sweeps(&rig, 2).await;
        rig.world().clear_faults();
        rig.world().push(broken, "31 third");
        rig.until_taken(121).await;
        let mut expected: Vec<_> = (0..60).flat_map(|n| [format!("{n:02} first"), format!("{n:02} second")]).collect();
        expected.push("31 third".into());
        expected.sort_unstable();
        assert_eq!(sorted(&rig), expected);
        let of_broken: Vec<_> = rig.receiver.texts().into_iter().filter(|text| text.starts_with("31")).collect();
        assert_eq!(of_broken, ["31 first", "31 second", "31 third"]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_listed_and_cannot_be_read_is_not_asked_for_at_every_sweep() {
    for row in &INBOXES {
        let (rig, conversations) = row.inbox(3).await;
        let daemon = rig.start();
        until("everything to be read once", || read(&rig) == 3).await;
        let broken = When { endpoint: Some(row.reads), conversation: Some(conversations[1]), ..When::default() };
        rig.world().inject(refused(404), broken);
        let before = rig.world().request_count(row.reads);
        rig.world().push(conversations[1], "not to be read");
        until("a poll in vain", || rig.world().request_count(row.reads) > before).await;
        sweeps(&rig, 12).await;
        let polls = rig.world().request_count(row.reads) - before;
        assert!(polls <= 3, "{:?}: {polls} polls in 12 sweeps", row.dialect);
        // When it moves again it is looked at again.
        rig.world().clear_faults();
        rig.world().push(conversations[1], "to be read");
        rig.until_taken(2).await;
        assert_eq!(rig.receiver.texts(), ["not to be read", "to be read"]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_delays_messages_and_loses_and_repeats_none() {
    let row = &INBOXES[0];
    let (rig, conversations) = row.inbox(5).await;
    rig.world().set_switches(|s| s.connect_safely.list_lag_ms = 700);
    let daemon = rig.start();
    until("everything to be read once", || read(&rig) == 5).await;
    for round in 0..4 {
        for (number, conversation) in conversations.iter().enumerate() {
            rig.world().push(*conversation, &format!("{number} {round}"));
        }
        sweeps(&rig, 1).await;
    }
    rig.until_taken(20).await;
    sweeps(&rig, 3).await;
    rig.until_taken(20).await;
    for number in 0..5 {
        let of_one: Vec<_> =
            rig.receiver.texts().into_iter().filter(|text| text.starts_with(&number.to_string())).collect();
        assert_eq!(of_one, (0..4).map(|round| format!("{number} {round}")).collect::<Vec<_>>());
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_begins_with_an_empty_page_is_read_to_its_end() {
    let row = &INBOXES[0];
    let (rig, conversations) = row.inbox(120).await;
    rig.world().set_switches(|s| s.connect_safely.list_starts_empty = true);
    let daemon = rig.start();
    until("everything to be read once", || read(&rig) == 120).await;
    for conversation in &conversations {
        rig.world().push(*conversation, "moved");
    }
    rig.until_taken(120).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_without_a_time_are_polled_by_their_own_schedule() {
    let row = &INBOXES[3];
    let (mut rig, conversations) = row.inbox(60).await;
    rig.polling = RARE_PROOFS.replace("6h", "2s");
    rig.world().set_switches(|s| s.unipile.last_message_timestamp = false);
    let daemon = rig.start();
    until("everything to be read once", || read(&rig) == 60).await;
    for (number, conversation) in conversations.iter().enumerate() {
        rig.world().push(*conversation, &format!("{number:02}"));
    }
    rig.until_taken(60).await;
    assert_eq!(sorted(&rig), (0..60).map(|number| format!("{number:02}")).collect::<Vec<_>>());
    // One that appears later is new.
    let new = rig.world().add_conversation(row.dialect, Kind::Standard, "Somebody New");
    rig.world().push(new, "hello");
    rig.until_taken(61).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_inbox_cannot_be_listed_any_more_conversations_look_for_themselves() {
    let row = &INBOXES[4];
    let (rig, conversations) = row.inbox_of_age(10, Duration::from_secs(30)).await;
    let daemon = rig.start();
    until("everything to be read once", || read(&rig) == 10).await;
    for &endpoint in row.lists {
        rig.world().inject(refused(500), When { endpoint: Some(endpoint), ..When::default() });
    }
    until("the fall-back", || daemon.log().contains("conversations are polled one by one until it can")).await;
    for conversation in &conversations {
        rig.world().push(*conversation, "without a list");
    }
    rig.until_taken(10).await;
    assert!(rig.receiver.taken().iter().all(|event| event["data"]["seen"]["route"] == "poll"));
    rig.world().clear_faults();
    until("a list again", || daemon.log().contains("the inbox can be listed again")).await;
    rig.world().push(conversations[3], "with a list");
    rig.until_taken(11).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_conversations_of_which_twenty_move_cost_a_twentieth_of_polling_them() {
    for row in [&INBOXES[0], &INBOXES[3], &INBOXES[4]] {
        const SWEEPS: u64 = 10;
        let (rig, conversations) = row.inbox(1_000).await;
        rig.world().set_switches(|s| s.log_requests = false);
        let daemon = rig.start();
        until("everything to be read once", || read(&rig) == 1_000).await;
        sweeps(&rig, 1).await;
        let before = row.requests(&rig);
        for round in 1..=SWEEPS {
            for conversation in conversations.iter().step_by(50) {
                rig.world().push(*conversation, "moved");
            }
            sweeps(&rig, 1).await;
            rig.until_taken(usize::try_from(20 * round).unwrap()).await;
        }
        let requests = row.requests(&rig) - before;
        assert!(requests * 20 <= SWEEPS * 1_000, "{:?}: {requests} requests in {SWEEPS} sweeps", row.dialect);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_of_more_conversations_than_may_be_followed_is_told_and_those_that_are_followed_go_on() {
    let mut rig = Rig::new().await;
    rig.polling = "min_interval = \"100ms\"\nmax_interval = \"6h\"\nsweep_interval = \"200ms\"\n".into();
    rig.polling += "max_conversations = 3\n";
    rig.discover(Dialect::ConnectSafely, "");
    rig.http = "events = [\"*\"]\n".into();
    let people: Vec<_> = (0..5)
        .map(|number| {
            let name = format!("Person {number}");
            let person = rig.world().add_conversation(Dialect::ConnectSafely, Kind::Standard, &name);
            rig.world().push(person, "hello");
            person
        })
        .collect();
    let daemon = rig.start();
    let told = |state: &str| rig.receiver.notices().contains(&("account.full".into(), state.into()));
    until("the notice", || told("entered")).await;
    until("three of them", || rig.known_conversations().len() == 3).await;
    assert!(inboxd_in(rig.path(), &["status"]).stdout.contains("3 conversations, FULL since"));
    let (code, audited) = rig.audit();
    assert!(code == 3 && audited.contains("more conversations than max_conversations"), "{audited}");

    rig.polling = rig.polling.replace("max_conversations = 3", "max_conversations = 5");
    rig.write_config();
    daemon.signal(rustix::process::Signal::HUP);
    until("all of them", || rig.known_conversations().len() == 5).await;
    until("the end of it", || told("left")).await;
    for person in people {
        rig.world().push(person, "news");
    }
    let news = || rig.receiver.of_type("message.new").iter().filter(|e| e["data"]["message"]["text"] == "news").count();
    until("news of all", || news() == 5).await;
    assert_eq!(daemon.stop(), 0);
}
