//! Silence has to be proved: where a provider stops collecting, an account waits for a person, or part of a conversation
//! cannot be read, that is said once when it begins and once when it is over, and nothing is missing in the end.

use std::time::Duration;

use inboxd::simulator::{Dialect, Draft, Endpoint, Fault, When};
use inboxd::time::UnixMillis;

use crate::support::{Rig, account_name, until};

/// Further keys of the HTTP sink: everything this file is about.
const EVENTS: &str = "events = [\"message.new\", \"conversation.*\", \"account.*\"]\n";

const LAPSED: &str = "conversation.coverage_lapsed";

async fn noticing() -> Rig {
    let mut rig = Rig::new().await;
    rig.http = EVENTS.into();
    rig
}

fn ahead(seconds: u64) -> Option<UnixMillis> {
    Some(UnixMillis::now() + Duration::from_secs(seconds))
}

fn notice(kind: &str, state: &str) -> (String, String) {
    (kind.into(), state.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_in_time_is_worth_no_event() {
    let mut rig = noticing().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let end = ahead(2);
    rig.world().set_synced(conversation, end);
    let daemon = rig.start();
    rig.world().push(conversation, "in the old period");
    rig.until_told(1).await;
    until("the old period to be over", || Some(UnixMillis::now()) > end).await;
    rig.world().push(conversation, "in the new period");
    rig.until_told(2).await;
    until("coverage past the old end", || rig.conversation().is_some_and(|c| c.verified_until > end)).await;
    assert_eq!(rig.receiver.notices(), []);
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_is_told_once_stops_coverage_and_is_over_when_everything_has_been_read() {
    let mut rig = noticing().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let end = ahead(2).unwrap();
    rig.world().set_synced(conversation, Some(end));
    rig.world().set_switches(|s| s.linked_api.refuse_start = Some("linkedinAccountSignedOut".into()));
    let daemon = rig.start();
    rig.world().push(conversation, "in time");
    rig.until_told(1).await;
    rig.until_noticed(1).await;
    // Within one interval: the first poll after the end has noticed it, whatever the machine's speed.
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    let told: i64 = database
        .query_row("SELECT created_at FROM events WHERE body LIKE '%coverage_lapsed%'", [], |r| r.get(0))
        .unwrap();
    let after_the_end = |at: UnixMillis| at > end && at.as_millis() < told;
    let polls = rig.world().requests().iter().filter(|r| after_the_end(r.at)).count();
    assert!(polls <= 2, "{polls} polls between the lapse and its event");
    let entered = rig.receiver.of_type(LAPSED).remove(0);
    assert_eq!(entered["subject"], rig.world().conversation_id(conversation).as_str());
    assert_eq!(entered["data"]["conversation"]["id"], entered["subject"]);
    assert_eq!((&entered["data"]["state"], &entered["data"]["reason"]), (&"entered".into(), &"not_ready".into()));
    assert_eq!(entered["data"]["since"], end.to_string());

    for number in 0..5 {
        rig.world().push(conversation, &format!("into the void {number}"));
    }
    rig.settle().await;
    daemon.kill();
    let daemon = rig.start_again();
    rig.settle().await;
    rig.until_noticed(1).await;
    rig.until_told(1).await;
    let state = rig.conversation().unwrap();
    assert_eq!(state.lapsed_at, Some(end));
    assert!(state.verified_until <= Some(end), "coverage does not pass the lapse");
    let (code, shown) = rig.audit();
    assert_eq!(code, 3);
    assert!(shown.contains(&format!("STALE: the provider does not collect new messages since {end}")), "{shown}");

    rig.world().set_switches(|s| s.linked_api.refuse_start = None);
    rig.world().set_synced(conversation, ahead(86_400));
    rig.until_told(6).await;
    rig.until_noticed(2).await;
    rig.settle().await;
    assert_eq!(rig.receiver.notices(), [notice(LAPSED, "entered"), notice(LAPSED, "left")]);
    let ids: Vec<_> = rig.receiver.of_type(LAPSED).iter().map(|event| event["id"].clone()).collect();
    assert_ne!(ids[0], ids[1]);
    let expected = ["in time".to_owned()].into_iter().chain((0..5).map(|n| format!("into the void {n}")));
    assert_eq!(rig.receiver.texts(), expected.collect::<Vec<_>>());
    assert!(rig.conversation().unwrap().verified_until > Some(end));
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_while_nobody_looked_is_repaired_by_a_new_start_and_nothing_of_it_is_missing() {
    let mut rig = noticing().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before");
    rig.until_told(1).await;
    rig.settle().await;
    daemon.kill();
    rig.world().set_synced(conversation, Some(UnixMillis::now()));
    for number in 0..3 {
        rig.world().push(conversation, &format!("unattended {number}"));
    }
    let daemon = rig.start_again();
    rig.until_told(4).await;
    rig.until_noticed(2).await;
    assert_eq!(rig.receiver.notices(), [notice(LAPSED, "entered"), notice(LAPSED, "left")]);
    assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1);
    assert_eq!(rig.receiver.texts(), ["before", "unattended 0", "unattended 1", "unattended 2"]);
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

/// How an account comes to wait for a person, and how that person repairs it.
struct Refusal {
    dialect: Dialect,
    refuse: fn(&Rig),
    repair: fn(&Rig),
}

fn refused_by(code: u16, body: &str) -> Fault {
    Fault::Status { code, body: body.into(), headers: vec![] }
}

const REFUSALS: [Refusal; 4] = [
    Refusal {
        dialect: Dialect::LinkedApi,
        refuse: |rig| {
            let body = r#"{"success":false,"error":{"type":"invalidLinkedApiToken","message":"no"}}"#;
            rig.world().inject(refused_by(401, body), When::default());
        },
        repair: |rig| rig.world().clear_faults(),
    },
    Refusal {
        dialect: Dialect::ConnectSafely,
        refuse: |rig| rig.world().inject(refused_by(401, r#"{"error":"Unauthorized"}"#), When::default()),
        repair: |rig| rig.world().clear_faults(),
    },
    Refusal {
        dialect: Dialect::UnipileV1,
        refuse: |rig| rig.world().set_switches(|s| s.unipile.v1_source_status = "CREDENTIALS".into()),
        repair: |rig| rig.world().set_switches(|s| s.unipile.v1_source_status = "OK".into()),
    },
    Refusal {
        dialect: Dialect::UnipileV2,
        refuse: |rig| rig.world().set_switches(|s| s.unipile.account_status = "disconnected".into()),
        repair: |rig| rig.world().set_switches(|s| s.unipile.account_status = "running".into()),
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_waits_for_a_person_is_told_once_over_restarts_and_once_when_it_works_again() {
    for Refusal { dialect, refuse, repair } in REFUSALS {
        let mut rig = noticing().await;
        let conversation = rig.follow(dialect, "Ada Byron");
        let mut daemon = rig.start();
        rig.world().push(conversation, "before");
        rig.until_told(1).await;
        refuse(&rig);
        if dialect == Dialect::UnipileV1 {
            // Its account is asked for once a minute, and at the start.
            daemon.kill();
            daemon = rig.start_again();
        }
        rig.until_noticed(1).await;
        rig.world().push(conversation, "meanwhile");
        for _ in 0..2 {
            daemon.kill();
            daemon = rig.start_again();
            let probes = daemon.log().matches("still paused").count();
            until("a probe in vain", || daemon.log().matches("still paused").count() > probes).await;
        }
        rig.until_noticed(1).await;
        assert_eq!(rig.audit().0, 3, "{dialect:?}");
        daemon.kill();
        repair(&rig);
        let daemon = rig.start_again();
        rig.until_told(2).await;
        rig.until_noticed(2).await;
        rig.settle().await;
        let notices = [notice("account.action_required", "entered"), notice("account.recovered", "left")];
        assert_eq!(rig.receiver.notices(), notices, "{dialect:?}");
        let events: Vec<_> =
            rig.receiver.taken().into_iter().filter(|e| e["type"].as_str().unwrap().starts_with("account.")).collect();
        assert_ne!(events[0]["id"], events[1]["id"]);
        for event in &events {
            assert_eq!(event["subject"], account_name(dialect));
            assert_eq!((&event["data"]["reason"], &event["data"]["conversation"]), (&"auth".into(), &().into()));
        }
        assert_eq!(rig.receiver.texts(), ["before", "meanwhile"], "{dialect:?}");
        assert_eq!(rig.audit().0, 0, "{dialect:?}");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_serves_stale_answers_moves_no_coverage_over_restarts_and_loses_nothing() {
    let mut rig = noticing().await;
    let conversation = rig.follow(Dialect::UnipileV1, "Ada Byron");
    let mut daemon = rig.start();
    rig.world().push(conversation, "before");
    rig.until_told(1).await;
    rig.settle().await;
    daemon.kill();
    let verified = rig.conversation().unwrap().verified_until;
    assert!(verified.is_some());
    rig.world().set_switches(|s| s.unipile.v1_source_status = "ERROR".into());
    rig.world().push(conversation, "while it was ill");
    // Each start finds the account as ill as the one before.
    for _ in 0..3 {
        daemon = rig.start_again();
        rig.until_noticed(1).await;
        rig.settle().await;
        assert_eq!(rig.receiver.notices(), [notice(LAPSED, "entered")]);
        assert_eq!(rig.conversation().unwrap().verified_until, verified, "nothing later is known");
        assert_eq!(rig.audit().0, 3);
        daemon.kill();
    }
    rig.until_told(1).await;
    rig.world().set_switches(|s| s.unipile.v1_source_status = "OK".into());
    daemon = rig.start_again();
    rig.until_told(2).await;
    rig.until_noticed(2).await;
    rig.settle().await;
    assert_eq!(rig.receiver.notices(), [notice(LAPSED, "entered"), notice(LAPSED, "left")]);
    assert_eq!(rig.receiver.texts(), ["before", "while it was ill"]);
    assert!(rig.conversation().unwrap().verified_until > verified);
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

/// A conversation of 600 messages whose third page is refused until the faults are cleared.
async fn with_a_gap() -> Rig {
    with_a_gap_by(refused_by(400, r#"{"error":"cursor expired"}"#)).await
}

async fn with_a_gap_by(refused: Fault) -> Rig {
    let mut rig = noticing().await;
    rig.polling = "recheck_interval = \"1s\"\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(90 * 86_400);
    for number in 0..600 {
        let sent_at = Some(start + Duration::from_secs(number * 60));
        rig.world().push_draft(conversation, Draft { text: number.to_string(), sent_at, ..Draft::default() });
    }
    rig.world().inject(refused, When { needs_cursor: true, skip: 1, ..When::default() });
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_told_once_and_once_more_when_a_recheck_has_read_it_and_nothing_comes_twice() {
    let rig = with_a_gap().await;
    let daemon = rig.start();
    rig.until_noticed(1).await;
    until("what was read to be announced", || rig.receiver.texts().iter().any(|t| t == "599")).await;
    let read = rig.receiver.texts();
    assert!(read.len() < 600);
    let gap = rig.conversation().unwrap().gaps.remove(0);
    let (code, shown) = rig.audit();
    assert_eq!(code, 3);
    assert!(shown.contains(&format!("GAP: from the beginning to {}", gap.high.unwrap())), "{shown}");
    // A restart and a recheck that fails alike are no news.
    daemon.kill();
    let daemon = rig.start_again();
    until("a recheck in vain", || daemon.log().matches("it is on record as a gap").count() == 2).await;
    rig.until_noticed(1).await;
    assert_eq!(rig.audit().0, 3);

    rig.world().clear_faults();
    rig.until_told(600).await;
    rig.until_noticed(2).await;
    let kind = "conversation.gap";
    assert_eq!(rig.receiver.notices(), [notice(kind, "entered"), notice(kind, "left")]);
    let texts = rig.receiver.texts();
    assert_eq!(texts[..read.len()], read);
    let missing: Vec<_> = texts[read.len()..].iter().map(|t| t.parse::<u32>().unwrap()).collect();
    assert!(missing.is_sorted(), "what was missing comes oldest first");
    assert!(rig.conversation().unwrap().gaps.is_empty());
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_found_holds_up_nothing_and_does_not_pause_its_conversation() {
    let rig = with_a_gap_by(refused_by(404, r#"{"error":"not found"}"#)).await;
    let daemon = rig.start();
    rig.until_noticed(1).await;
    until("what was read to be announced", || rig.receiver.texts().iter().any(|t| t == "599")).await;
    assert_eq!(rig.conversation().unwrap().gaps.len(), 1);
    rig.world().clear_faults();
    rig.until_told(600).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_does_as_it_is_told_delays_nothing() {
    let mut rig = noticing().await;
    rig.world().set_switches(|s| s.unipile.cache = true);
    let conversation = rig.follow(Dialect::UnipileV2, "Ada Byron");
    let daemon = rig.start();
    for number in 1..=5 {
        rig.world().push(conversation, &number.to_string());
        let (asked, of) = (UnixMillis::now(), Endpoint::UnipileMessages);
        rig.until_told(number).await;
        let told = rig.receiver.of_type("message.new").remove(number - 1);
        let seen = UnixMillis::parse(told["data"]["seen"]["at"].as_str().unwrap()).unwrap();
        let polls = rig.world().requests().iter().filter(|r| r.endpoint == of && r.at > asked && r.at < seen).count();
        assert!(polls <= 2, "{polls} polls from a message to its event");
    }
    rig.settle().await;
    assert!(rig.conversation().unwrap().verified_until > rig.watermark());
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_a_cache_proves_nothing_and_what_it_hid_is_told_afterwards() {
    let mut rig = noticing().await;
    let conversation = rig.follow(Dialect::UnipileV2, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before");
    rig.until_told(1).await;
    rig.world().set_switches(|s| (s.unipile.cache, s.unipile.cache_ignores_no_cache) = (true, true));
    until("a stale answer", || daemon.log().contains("answered from a cache")).await;
    rig.settle().await;
    let verified = rig.conversation().unwrap().verified_until;
    rig.world().push(conversation, "hidden");
    rig.settle().await;
    daemon.kill();
    let daemon = rig.start_again();
    rig.settle().await;
    let state = rig.conversation().unwrap();
    assert_eq!((state.verified_until, state.lapsed_at), (verified, None), "polls that prove nothing move nothing");
    assert!(state.last_polled_at > verified);
    rig.until_told(1).await;
    assert_eq!(rig.audit().0, 0, "not stale before max_interval has passed");
    daemon.kill();
    // As if this had gone on for an hour.
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    database.execute("UPDATE conversations SET verified_until = verified_until - 3600000", []).unwrap();
    drop(database);
    let daemon = rig.start_again();
    rig.settle().await;
    let (code, shown) = rig.audit();
    assert_eq!(code, 3);
    assert!(shown.contains("STALE: not verified since") && shown.contains("proved nothing"), "{shown}");

    rig.world().set_switches(|s| (s.unipile.cache, s.unipile.cache_ignores_no_cache) = (false, false));
    rig.until_told(2).await;
    until("coverage to go on", || rig.conversation().is_some_and(|c| c.verified_until > verified)).await;
    assert_eq!(rig.receiver.texts(), ["before", "hidden"]);
    assert_eq!(rig.receiver.notices(), []);
    assert_eq!(rig.audit().0, 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_stays_open_when_the_daemon_is_killed_before_what_was_read_beside_it_is_announced() {
    let mut rig = with_a_gap().await;
    // No recheck may find it once more, and no later poll prove more than the walk.
    rig.polling = "recheck_interval = \"30d\"\nmin_interval = \"3s\"\nmax_interval = \"1h\"\n".into();
    let reads = Endpoint::ConnectSafelyMessages;
    rig.world().inject(Fault::Hang, When { endpoint: Some(reads), times: Some(1), ..When::default() });
    let daemon = rig.start();
    until("a first request", || rig.world().request_count(reads) == 1).await;
    daemon.kill();
    let on_database = |sql: &str| rusqlite::Connection::open(rig.database()).unwrap().execute_batch(sql).unwrap();
    // The walk can be read and closed, and not be announced.
    on_database(
        "CREATE TRIGGER no_message BEFORE INSERT ON events WHEN NEW.body LIKE '%message.new%'
         BEGIN SELECT raise(ABORT, 'not yet'); END",
    );
    let daemon = rig.start_again();
    until("the walk to be closed", || daemon.log().contains("it is on record as a gap")).await;
    rig.until_noticed(1).await;
    daemon.kill();
    assert_eq!(rig.receiver.texts().len(), 0);
    let gap = rig.conversation().unwrap().gaps.remove(0);
    on_database("DROP TRIGGER no_message");
    let daemon = rig.start_again();
    until("what was read to be announced", || rig.receiver.texts().iter().any(|t| t == "599")).await;
    let state = rig.conversation().unwrap();
    assert_eq!(state.gaps.iter().map(|gap| gap.high).collect::<Vec<_>>(), [gap.high]);
    assert_eq!(state.verified_until, None, "a walk that ended at a gap proves nothing");
    let (code, shown) = rig.audit();
    assert!(code == 3 && shown.contains("GAP: from the beginning"), "{code} {shown}");
    rig.until_noticed(1).await;
    assert_eq!(daemon.stop(), 0);
}
