//! Where every answer costs credits: what is spent stays inside the day's limit, the count in `status` is never lower than
//! what the provider took, and whatever is known to fail is not paid for again.

use inboxd::simulator::{ConversationRef, Dialect, Endpoint, Fault, When};
use serde_json::Value;

use crate::support::{Daemon, Rig, inboxd_in, until};

const BOTH: [(Dialect, Endpoint, Endpoint); 2] = [
    (Dialect::LinkupV1, Endpoint::LinkupV1Messages, Endpoint::LinkupV1Inbox),
    (Dialect::LinkupV2, Endpoint::LinkupV2Messages, Endpoint::LinkupV2Inbox),
];

const DAILY: u64 = 300;

/// An account that discovers, with so many conversations, everything as often as may be, and 300 credits a day. The
/// simulator would give more: what keeps to the limit is the daemon alone.
async fn paying(dialect: Dialect, conversations: usize) -> (Rig, Vec<ConversationRef>) {
    let mut rig = Rig::new().await;
    rig.polling =
        format!("daily_credits = {DAILY}\nsweep_interval = \"100ms\"\ntimeout = \"500ms\"\nfirst_poll = \"now\"\n");
    rig.http = "events = [\"message.new\", \"account.*\"]\n".into();
    rig.discover(dialect, "");
    rig.follow(Dialect::ConnectSafely, "The clock");
    let add = |number| {
        let conversation =
            rig.world().add_conversation(dialect, inboxd::simulator::Kind::Standard, &format!("Person {number}"));
        rig.world().push(conversation, "old");
        conversation
    };
    let conversations = (0..conversations).map(add).collect();
    (rig, conversations)
}

/// What `status --json` says was spent today.
fn counted(rig: &Rig) -> u64 {
    let status = inboxd_in(rig.path(), &["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    let accounts = status["accounts"].as_array().into_iter().flatten();
    accounts.filter_map(|account| account["credits_today"].as_u64()).sum()
}

/// What the provider took and what we say it took, in this order, so that a request in between cannot look like a mistake.
fn books(rig: &Rig) -> (u64, u64) {
    let taken = rig.world().linkup_credits();
    (taken, counted(rig))
}

/// How many conversations of the paying account have been read.
fn read(rig: &Rig) -> usize {
    let read = rig.known_conversations().into_iter().filter(|c| c.first_polled_at.is_some());
    read.filter(|c| c.follow == "discovered").count()
}

/// How often LinkupAPI was asked for anything.
fn asked(rig: &Rig) -> u64 {
    let of_linkup = BOTH.iter().flat_map(|&(_, messages, inbox)| [messages, inbox]);
    let others = [Endpoint::LinkupV2Account, Endpoint::LinkupV2Accounts];
    of_linkup.chain(others).map(|endpoint| rig.world().request_count(endpoint)).sum()
}

/// Waits until the daemon has had every opportunity to ask for more: an account beside it is polled all the time.
async fn opportunities(rig: &Rig) {
    let clock = || rig.world().request_count(Endpoint::ConnectSafelyMessages);
    let before = clock();
    until("polls of the other account", || clock() > before + 5).await;
}

fn was_marked_read(rig: &Rig, conversations: &[ConversationRef]) -> bool {
    let bodies = rig.world().requests();
    conversations.iter().any(|&conversation| rig.world().was_marked_read(conversation))
        || bodies.iter().any(|request| request.body.contains("\"mark_as_read\":true"))
}

/// Starts it and waits until it has seen the inbox and read so many conversations.
async fn started(rig: &Rig, conversations: usize) -> Daemon {
    let daemon = rig.start();
    until("every conversation to be read", || read(rig) == conversations).await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_is_what_the_provider_took_whether_or_not_requests_succeed() {
    for (dialect, messages, inbox) in BOTH {
        let (rig, conversations) = paying(dialect, 12).await;
        let mut daemon = started(&rig, 12).await;
        until("the books to agree", || counted(&rig) == rig.world().linkup_credits()).await;
        assert_eq!(counted(&rig), 12 + 2, "twelve conversations and two pages of the inbox");
        // Free, charged in v1, charged everywhere, and answers that are lost after they were charged.
        let refused = r#"{"status":"error","message":"Something went wrong"}"#;
        let faults = [
            Fault::Status { code: 500, body: refused.into(), headers: vec![] },
            Fault::Status { code: 503, body: refused.into(), headers: vec![] },
            Fault::Status { code: 200, body: r#"{"status":"success"}"#.into(), headers: vec![] },
            Fault::MissingPayload,
            Fault::ReplyLost,
            Fault::TruncatedBody,
            Fault::Hang,
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            let name = format!("{dialect:?} {fault:?}");
            assert_eq!(daemon.stop(), 0);
            rig.world().inject(fault, When { endpoint: Some(messages), times: Some(1), ..When::default() });
            rig.world().push(conversations[number], "hello");
            let before = (rig.world().request_count(messages), rig.world().request_count(inbox));
            daemon = rig.start_again();
            // The one that was refused before is asked for again, and one of the two is refused now.
            let polls = before.0 + 1 + u64::from(number > 0);
            until("a sweep and its polls", || {
                rig.world().request_count(messages) >= polls && rig.world().request_count(inbox) > before.1
            })
            .await;
            until(&format!("the books to agree after {name}"), || {
                let (taken, counted) = books(&rig);
                assert!(counted >= taken, "{name}: {counted} counted, {taken} taken");
                taken == counted
            })
            .await;
            assert_eq!(rig.world().request_count(messages), polls, "{name}");
        }
        assert!(!was_marked_read(&rig, &conversations));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_day_costs_more_than_its_credits_whatever_moves_and_however_often_it_is_killed() {
    for (dialect, messages, _) in BOTH {
        let (rig, conversations) = paying(dialect, 60).await;
        let mut daemon = started(&rig, 60).await;
        let lost = When { endpoint: Some(messages), probability: 0.2, ..When::default() };
        rig.world().inject(Fault::ReplyLost, lost);
        rig.world().set_switches(|s| s.latency_ms = 2);
        // Sweeps are spread over the day; what makes it look again at once is a start.
        let spent = |daemon: &Daemon| daemon.log().matches("the credits of the day are spent").count();
        let mut kills = 0;
        while spent(&daemon) == 0 {
            daemon.kill();
            kills += 1;
            let (taken, counted) = books(&rig);
            assert!(taken <= counted && counted <= DAILY, "{dialect:?}: {taken} {counted}");
            // One request in flight at each death may not have been charged.
            assert!(counted - taken <= kills, "{dialect:?}: {taken} {counted} after {kills}");
            for conversation in &conversations {
                rig.world().push(*conversation, &format!("round {kills}"));
            }
            daemon = rig.start_again();
            let credits = || rig.world().linkup_credits();
            until("something to be spent, or nothing left", || credits() > taken + 15 || spent(&daemon) > 0).await;
        }
        assert!(kills >= 5, "{kills}");
        // However often it starts, nothing more is asked today.
        let before = asked(&rig);
        for _ in 0..3 {
            daemon.kill();
            daemon = rig.start_again();
            let before = spent(&daemon);
            until("another refusal of the budget", || spent(&daemon) > before).await;
        }
        assert_eq!(asked(&rig), before);
        let (taken, counted) = books(&rig);
        assert!(taken <= counted && counted <= DAILY, "{dialect:?}: {taken} {counted}");
        assert!(!was_marked_read(&rig, &conversations));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_and_proofs_leave_a_third_of_the_day_for_what_moves() {
    for (dialect, ..) in BOTH {
        let mut rig = Rig::new().await;
        rig.polling = format!("daily_credits = {DAILY}\nsweep_interval = \"100ms\"\n");
        rig.discover(dialect, "");
        let conversation = rig.world().add_conversation(dialect, inboxd::simulator::Kind::Standard, "Ada Byron");
        for number in 0..4_000 {
            rig.world().push(conversation, &number.to_string());
        }
        let daemon = rig.start();
        until("the history to wait", || daemon.log().contains("or kept for what moves")).await;
        // Two thirds when the day begins, and all of it when it ends.
        let spent = rig.world().linkup_credits();
        assert!((2 * DAILY / 3..=DAILY).contains(&spent), "{spent}");
        until("the books to agree", || counted(&rig) == rig.world().linkup_credits()).await;
        let walk = rig.conversation().unwrap();
        assert!(walk.walk_pages >= Some(150) && walk.walk_messages >= Some(1_500), "{walk:?}");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_session_stops_the_account_at_once() {
    for (dialect, ..) in BOTH {
        let (rig, conversations) = paying(dialect, 30).await;
        let daemon = started(&rig, 30).await;
        daemon.kill();
        for conversation in &conversations {
            rig.world().push(*conversation, "hello");
        }
        rig.world().set_switches(|s| {
            s.linkup.dead_session =
                Some(if dialect == Dialect::LinkupV1 { "Cookie invalid" } else { "ACCOUNT_INACTIVE" }.into());
        });
        let (paid, before) = (rig.world().linkup_credits(), asked(&rig));
        let mut daemon = rig.start_again();
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.notices(), [("account.action_required".into(), "entered".into())]);
        opportunities(&rig).await;
        assert!(rig.world().linkup_credits() - paid <= 2, "{dialect:?}");
        assert!(asked(&rig) - before <= 2, "{dialect:?}");
        // A restart asks once, because it may be the repair.
        let before = asked(&rig);
        daemon.kill();
        daemon = rig.start_again();
        until("a probe in vain", || daemon.log().contains("still paused")).await;
        opportunities(&rig).await;
        assert_eq!(asked(&rig), before + 1);
        rig.until_taken(1).await;
        daemon.kill();
        rig.world().set_switches(|s| s.linkup.dead_session = None);
        let daemon = rig.start_again();
        rig.until_told(30).await;
        assert_eq!(rig.receiver.notices().len(), 2);
        let (taken, counted) = books(&rig);
        assert!(taken <= counted, "{dialect:?}: {taken} {counted}");
        assert!(!was_marked_read(&rig, &conversations));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_balance_at_the_provider_stops_the_account() {
    for (dialect, ..) in BOTH {
        let (rig, conversations) = paying(dialect, 30).await;
        rig.world().set_switches(|s| s.linkup.daily_credits = Some(20));
        let daemon = rig.start();
        until("the pause", || daemon.log().contains("out of credits")).await;
        // It is said before it is written down.
        let is_paused = || rig.overview().is_some_and(|o| o.accounts.iter().any(|a| a.paused_until.is_some()));
        until("the pause to be on record", is_paused).await;
        for conversation in &conversations {
            rig.world().push(*conversation, "hello");
        }
        daemon.kill();
        // Only now: what was under way when it said so is asked all the same.
        let before = asked(&rig);
        let daemon = rig.start_again();
        opportunities(&rig).await;
        assert_eq!(asked(&rig), before, "{dialect:?}: the wait of an hour outlives a restart");
        assert_eq!(rig.world().linkup_credits(), 20);
        assert_eq!(daemon.stop(), 0);
    }
}
