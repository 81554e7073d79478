//! Linked API: a conversation is collected only after being told to, and a sync lapses in silence.

use std::time::Duration;

use inboxd::simulator::{Dialect, Endpoint, Fault, Kind, Outcome, When};
use inboxd::time::UnixMillis;

use crate::support::{Rig, inboxd_in, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_unsynced_conversation_is_synced_once_and_then_polled() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.world().set_synced(conversation, None);
    rig.world().push(conversation, "waiting to be collected");
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_sync_is_resumed_after_a_kill_and_not_started_again() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.world().set_synced(conversation, None);
    rig.world().set_switches(|s| s.linked_api.running_ms = 4_000);
    rig.world().push(conversation, "waiting to be collected");
    let daemon = rig.start();
    let state = |rig: &Rig| rig.known_conversations().first().and_then(|c| c.sync_state.clone()).unwrap_or_default();
    until("the workflow to be on record", || state(&rig) == "running").await;
    daemon.kill();
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_is_noticed_renewed_and_nothing_from_it_is_missing() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    // The period ends in three seconds and renewals are refused: answers stay 200 and bring nothing new.
    rig.world().set_synced(conversation, Some(UnixMillis::now() + Duration::from_secs(3)));
    rig.world().set_switches(|s| s.linked_api.refuse_start = Some("linkedinAccountSignedOut".into()));
    let daemon = rig.start();
    rig.world().push(conversation, "in time");
    rig.until_taken(1).await;
    let lapsed = || rig.known_conversations().remove(0);
    until("the lapse to be noticed", || lapsed().lapsed_at.is_some()).await;
    until("it to be said", || daemon.log().contains("has stopped collecting")).await;
    rig.world().push(conversation, "into the void");
    rig.settle().await;
    assert_eq!(rig.receiver.taken_count(), 1);
    let verified = lapsed().verified_until.unwrap();
    assert!(verified <= lapsed().lapsed_at.unwrap(), "coverage does not pass the lapse");

    // A person logs in again; the provider is told afresh at the next start of the daemon.
    rig.world().set_switches(|s| s.linked_api.refuse_start = None);
    rig.world().set_synced(conversation, Some(UnixMillis::now() + Duration::from_secs(86_400)));
    rig.until_taken(2).await;
    until("coverage to go on", || lapsed().lapsed_at.is_none()).await;
    assert_eq!(rig.receiver.texts(), ["in time", "into the void"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_period_is_renewed_before_it_ends() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    // A fifth of the default period is left: due for renewal.
    rig.world().set_synced(conversation, Some(UnixMillis::now() + Duration::from_secs(5 * 86_400)));
    let daemon = rig.start();
    let far = UnixMillis::now() + Duration::from_secs(20 * 86_400);
    until("a renewed period", || rig.world().sync_until(conversation).is_some_and(|until| until > far)).await;
    rig.world().push(conversation, "still collected");
    rig.until_taken(1).await;
    assert_eq!(rig.world().request_count(Endpoint::LinkedApiStart), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_unsynced_conversation_does_not_hold_up_the_others_of_its_batch() {
    let mut rig = Rig::new().await;
    let conversations: Vec<_> = (0..10).map(|n| rig.follow(Dialect::LinkedApi, &format!("Person {n}"))).collect();
    rig.world().set_switches(|s| s.linked_api.outcome = Outcome::CompletedWithError("personNotFound".into()));
    let daemon = rig.start();
    for &conversation in &conversations {
        rig.world().push(conversation, "first");
    }
    rig.until_taken(10).await;
    rig.world().set_synced(conversations[3], None);
    for (number, &conversation) in conversations.iter().enumerate() {
        if number != 3 {
            rig.world().push(conversation, "second");
        }
    }
    rig.until_taken(19).await;
    until("the one to be reported", || rig.known_conversations().iter().filter(|c| c.failures > 0).count() == 1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn known_conversations_share_requests() {
    let mut rig = Rig::new().await;
    for number in 0..40 {
        rig.follow(Dialect::LinkedApi, &format!("Person {number}"));
    }
    rig.follow_kind(Dialect::LinkedApi, Kind::SalesNavigator, "Navigator");
    let daemon = rig.start();
    until("every conversation to be known", || {
        let known = rig.known_conversations();
        known.len() == 41 && known.iter().all(|c| c.last_polled_at.is_some())
    })
    .await;
    let largest = || {
        let requests = rig.world().requests();
        requests.iter().map(|r| r.body.matches("personUrl").count()).max().unwrap_or(0)
    };
    until("a request for many", || largest() >= 10).await;
    assert!(largest() <= 20, "no request asks for more than batch_size");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_whose_service_never_says_when_a_sync_ends_is_renewed_all_the_same() {
    let mut rig = Rig::new().await;
    rig.world().set_switches(|s| s.linked_api.sync_until = false);
    rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    until("a renewal to be planned", || {
        rig.known_conversations().iter().any(|c| c.sync_state.as_deref() == Some("idle"))
    })
    .await;
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    let due: i64 = database.query_row("SELECT due_at FROM syncs", [], |r| r.get(0)).unwrap();
    let days = UnixMillis::from_millis(due).since(UnixMillis::now()).as_secs() / 86_400;
    assert!((22..=24).contains(&days), "renewal in {days} days of the assumed 30");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unfollowed_is_collected_no_more_until_it_is_followed_again() {
    let mut rig = Rig::new().await;
    let busy = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let leaves = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Alan Mathison");
    let waits = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Grace Murray");
    let ids = [busy, leaves, waits].map(|conversation| rig.world().conversation_id(conversation));
    let address = |conversation| rig.world().address(conversation);
    let command = |verb: &str, id: &str| inboxd_in(rig.path(), &["conversations", verb, "sales", id]).code;
    rig.write_config();
    // A command makes no database.
    assert_eq!(command("follow", &ids[1]), 1);
    let daemon = rig.start_again();
    until("the daemon", || daemon.log().contains("following 1 conversation")).await;
    assert_eq!((command("follow", &ids[1]), command("follow", &ids[2])), (0, 0));
    until("upkeep to know all of them", || {
        rig.known_conversations().iter().filter(|c| c.sync_state.as_deref() == Some("idle")).count() == 3
    })
    .await;
    assert_eq!(daemon.stop(), 0);

    // A workflow runs, and two starts wait behind it: first that of the conversation which is to leave.
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    let queue = |id: &str, state: &str, workflow: Option<&str>, due: i64| {
        let sql = "UPDATE syncs SET state = ?2, workflow_id = ?3, due_at = ?4
                   WHERE conversation = (SELECT id FROM conversations WHERE conversation_id = ?1)";
        assert_eq!(database.execute(sql, rusqlite::params![id, state, workflow, due]).unwrap(), 1);
    };
    queue(&ids[0], "running", Some("wf-gone"), 0);
    // Its own next start is minutes away.
    database
        .execute("UPDATE syncs SET started_at = ?1 WHERE workflow_id = 'wf-gone'", [UnixMillis::now().as_millis()])
        .unwrap();
    queue(&ids[1], "queued", None, 1);
    queue(&ids[2], "queued", None, 2);
    let status = When { endpoint: Some(Endpoint::LinkedApiStatus), times: Some(1), ..When::default() };
    rig.world().inject(Fault::SlowBody { millis: 2_000 }, status);
    let daemon = rig.start_again();
    until("the workflow to be asked about", || rig.world().request_count(Endpoint::LinkedApiStatus) == 1).await;
    assert_eq!(command("unfollow", &ids[1]), 0);
    let starts = || {
        let requests = rig.world().requests().into_iter();
        requests.filter(|r| r.endpoint == Endpoint::LinkedApiStart).map(|r| r.body).collect::<Vec<_>>()
    };
    until("a start", || !starts().is_empty()).await;
    assert!(starts()[0].contains(&address(waits)), "the next in the queue: {:?}", starts());
    assert_eq!(command("follow", &ids[1]), 0);
    until("another start", || starts().len() == 2).await;
    assert!(starts()[1].contains(&address(leaves)), "it goes on where it was: {:?}", starts());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_people_are_read_through_the_inbox_where_the_configuration_says_so() {
    let mut rig = Rig::new().await;
    rig.linkedapi = "channel = \"inbox\"\n".into();
    rig.polling = "sweep_interval = \"200ms\"\n".into();
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.world().set_synced(conversation, None);
    rig.world().set_switches(|s| s.linked_api.inbox_monitoring = false);
    let daemon = rig.start();
    until("the provider to collect the inbox", || daemon.log().contains("the provider collects the inbox")).await;
    rig.world().push(conversation, "by the inbox");
    rig.until_taken(1).await;
    let event = &rig.receiver.taken()[0];
    assert_eq!(event["subject"].as_str(), Some(rig.world().conversation_id(conversation).as_str()));
    until("silence to be proved", || rig.conversation().is_some_and(|c| c.verified_until.is_some())).await;
    let requests = rig.world().requests();
    let starts: Vec<_> = requests.iter().filter(|r| r.endpoint == Endpoint::LinkedApiStart).collect();
    assert!(starts.len() == 1 && starts[0].body.contains("st.syncInbox"), "{starts:?}");
    let of_person = format!("\"personUrl\":\"{}\"", rig.world().address(conversation));
    assert!(requests.iter().any(|r| r.endpoint == Endpoint::LinkedApiInboxPoll && r.body.contains(&of_person)));
    assert_eq!(rig.world().request_count(Endpoint::LinkedApiPoll), 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_channel_repeats_nothing_although_the_ids_are_others() {
    let mut rig = Rig::new().await;
    rig.world().set_switches(|s| s.linked_api.inbox_shares_ids = false);
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    for number in 0..3 {
        rig.world().push(conversation, &format!("by its own poll {number}"));
    }
    rig.until_taken(3).await;
    assert_eq!(daemon.stop(), 0);
    rig.linkedapi = "channel = \"inbox\"\n".into();
    rig.world().push(conversation, "while nobody listens");
    let daemon = rig.start();
    rig.until_taken(4).await;
    rig.settle().await;
    assert_eq!(rig.receiver.texts()[3], "while nobody listens");
    assert_eq!((rig.receiver.taken_count(), daemon.stop()), (4, 0));
}
