use reqwest::Method;
use serde_json::json;

use super::linkedapi::{ended, id_of, start, sync};
use super::*;

const T0: i64 = 1_760_000_000_123;

async fn poll_inbox(bench: &Bench, body: Value) -> Value {
    read(bench.linked_api(Method::POST, "/inbox/poll", body)).await.unwrap().json()
}

/// A standard conversation and one of Sales Navigator, with two messages each that alternate.
fn two_inboxes(bench: &Bench) -> [ConversationRef; 2] {
    let conversations = [Kind::Standard, Kind::SalesNavigator]
        .map(|kind| bench.world().add_conversation(Dialect::LinkedApi, kind, "Ada Byron"));
    for (n, conversation) in [0, 1, 0, 1].into_iter().enumerate() {
        bench.world().push_draft(conversations[conversation], dated(&n.to_string(), T0 + n as i64 * 1000));
    }
    conversations
}

#[tokio::test]
async fn the_whole_account_is_answered_newest_first() {
    let bench = Bench::start().await;
    let [standard, navigator] = two_inboxes(&bench);
    let answer = poll_inbox(&bench, json!({})).await;
    let messages = &answer["result"]["messages"];
    assert_eq!((&answer["success"], texts(messages)), (&json!(true), vec!["3", "2", "1", "0"]));
    let message = &messages[1];
    assert_eq!((&message["type"], &message["sender"]), (&json!("st"), &json!("them")));
    assert_eq!(message["threadId"], bench.world().thread_id(standard));
    assert_eq!(message["personPublicUrl"], bench.world().address(standard));
    assert_eq!(message["personUrl"], message["personHashedUrl"]);
    assert!(message["personUrn"].as_str().unwrap().starts_with("urn:li:member:"));
    assert_eq!(message["time"], "2025-10-09T08:53:22.123Z");
    assert_eq!((&messages[0]["personPublicUrl"], &messages[0]["type"]), (&Value::Null, &json!("nv")));
    assert_eq!(messages[0]["personHashedUrl"], bench.world().address(navigator));
    for entry in bench.world().ledger() {
        let id = entry.inbox_message_id.unwrap();
        assert_ne!(id, entry.message_id);
        assert!(messages.as_array().unwrap().iter().any(|message| message["id"] == id));
        assert!(entry.first_served_at.is_some());
    }
}

#[tokio::test]
async fn type_thread_and_since_narrow_the_answer() {
    let bench = Bench::start().await;
    let [standard, _] = two_inboxes(&bench);
    let third = at(T0 + 2000).to_string();
    let thread = bench.world().thread_id(standard);
    for (body, expected) in [
        (json!({ "type": "nv" }), vec!["3", "1"]),
        (json!({ "threadId": thread }), vec!["2", "0"]),
        (json!({ "since": third }), vec!["3", "2"]),
        (json!({ "since": third, "type": "st", "threadId": thread }), vec!["2"]),
    ] {
        assert_eq!(texts(&poll_inbox(&bench, body.clone()).await["result"]["messages"]), expected, "{body}");
    }
    bench.world().set_switches(|switches| switches.linked_api.since_inclusive = false);
    assert_eq!(texts(&poll_inbox(&bench, json!({ "since": third })).await["result"]["messages"]), ["3"]);
    for (body, error_type) in [
        (json!({ "threadId": "2-bm9wZQ==" }), "threadNotFound"),
        (json!({ "type": "xy" }), "invalidRequestPayload"),
        (json!({ "since": null }), "invalidRequestPayload"),
        (json!([]), "invalidRequestPayload"),
    ] {
        assert_eq!(poll_inbox(&bench, body.clone()).await["error"]["type"], error_type, "{body}");
    }
}

#[tokio::test]
async fn one_person_is_answered_with_both_ids_and_threads() {
    let bench = Bench::start().await;
    let [standard, _] = two_inboxes(&bench);
    let result = poll_inbox(&bench, json!({ "personUrl": bench.world().address(standard) })).await["result"].clone();
    assert_eq!(texts(&result["messages"]), ["2", "0"]);
    let ledger = bench.world().ledger();
    let last = ledger.iter().rev().find(|entry| entry.conversation == standard).unwrap();
    let message = &result["messages"][0];
    assert_eq!((&message["id"], &message["inboxMessageId"]), (&json!(last.message_id), &json!(last.inbox_message_id)));
    let thread = &result["threads"][0];
    assert_eq!((&thread["threadId"], &thread["type"]), (&json!(bench.world().thread_id(standard)), &json!("st")));
    assert_eq!((&thread["historyComplete"], &thread["historyFrom"]), (&json!(true), &json!(at(T0))));
    bench.world().set_synced(standard, None);
    let result = poll_inbox(&bench, json!({ "personUrl": bench.world().address(standard) })).await["result"].clone();
    assert_eq!((texts(&result["messages"]).len(), &result["threads"][0]["historyComplete"]), (2, &json!(false)));
    let stranger = poll_inbox(&bench, json!({ "personUrl": "https://www.linkedin.com/in/nobody" })).await;
    assert_eq!(stranger["result"], json!({ "messages": [], "threads": [] }));
}

#[tokio::test]
async fn an_inbox_that_is_not_monitored_captures_from_its_sync_on() {
    let bench = Bench::start().await;
    bench.world().set_switches(|switches| {
        let it = &mut switches.linked_api;
        (it.inbox_monitoring, it.pending_ms, it.running_ms) = (false, 0, 0);
    });
    let [standard, navigator] = two_inboxes(&bench);
    assert_eq!(poll_inbox(&bench, json!({})).await["error"]["type"], "inboxNotSynced");
    bench.world().set_switches(|switches| switches.linked_api.inbox_unsynced = None);
    assert_eq!(poll_inbox(&bench, json!({})).await["result"], json!({ "messages": [] }));
    let result = poll_inbox(&bench, json!({ "personUrl": bench.world().address(standard) })).await["result"].clone();
    assert_eq!(
        (&result["messages"][0]["inboxMessageId"], &result["messages"][0]["threadId"]),
        (&Value::Null, &Value::Null)
    );
    // The clock ticks in milliseconds: what came before the sync must not share one with it.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let completed = ended(&bench, &id_of(&start(&bench, json!({ "actionType": "st.syncInbox" })).await)).await;
    assert_eq!(completed["completion"], json!({ "actionType": "st.syncInbox", "success": true }));
    bench.world().push(standard, "captured");
    bench.world().push(navigator, "not captured");
    assert_eq!(texts(&poll_inbox(&bench, json!({})).await["result"]["messages"]), ["captured"]);
    bench.world().set_switches(|switches| switches.linked_api.inbox_unsynced = Some("conversationsNotSynced".into()));
    assert_eq!(poll_inbox(&bench, json!({ "type": "nv" })).await["error"]["type"], "conversationsNotSynced");
    ended(&bench, &id_of(&start(&bench, json!({ "actionType": "nv.syncInbox" })).await)).await;
    bench.world().push(navigator, "captured too");
    assert_eq!(texts(&poll_inbox(&bench, json!({ "type": "nv" })).await["result"]["messages"]), ["captured too"]);
}

#[tokio::test]
async fn sync_of_an_inbox_fails_as_scripted_and_without_sales_navigator() {
    let bench = Bench::start().await;
    bench.world().set_switches(|switches| {
        let it = &mut switches.linked_api;
        (it.inbox_monitoring, it.has_sales_navigator) = (false, false);
        it.script = vec![Outcome::Failed("linkedinAccountSignedOut".into())];
    });
    let failed = ended(&bench, &id_of(&start(&bench, json!({ "actionType": "st.syncInbox" })).await)).await;
    assert_eq!(failed["failure"]["reason"], "linkedinAccountSignedOut");
    let refused = ended(&bench, &id_of(&start(&bench, json!({ "actionType": "nv.syncInbox" })).await)).await;
    assert_eq!(refused["completion"]["error"]["type"], "noSalesNavigator");
    assert_eq!(poll_inbox(&bench, json!({})).await["error"]["type"], "inboxNotSynced");
}

#[tokio::test]
async fn a_lapsed_conversation_is_still_captured_by_the_inbox() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().set_synced(conversation, Some(UnixMillis::now() - Duration::from_secs(10)));
    bench.world().push(conversation, "after");
    assert_eq!(bench.poll(conversation, None).await["result"][0]["messages"], json!([]));
    assert_eq!(texts(&poll_inbox(&bench, json!({})).await["result"]["messages"]), ["after"]);
    // Syncing it again changes nothing for the inbox.
    ended(&bench, &id_of(&start(&bench, sync(&bench, conversation)).await)).await;
    assert_eq!(texts(&poll_inbox(&bench, json!({})).await["result"]["messages"]), ["after"]);
}

#[tokio::test]
async fn inbox_faults_strike_by_endpoint_and_conversation() {
    let bench = Bench::start().await;
    let [standard, navigator] = two_inboxes(&bench);
    let when = When { endpoint: Some(Endpoint::LinkedApiInboxPoll), conversation: Some(navigator), ..When::default() };
    bench.world().inject(Fault::Html5xx(502), when);
    let status = async |body| read(bench.linked_api(Method::POST, "/inbox/poll", body)).await.unwrap().status;
    assert_eq!(status(json!({ "threadId": bench.world().thread_id(standard) })).await, 200);
    assert_eq!(status(json!({ "personUrl": bench.world().address(navigator) })).await, 502);
    assert_eq!(status(json!({})).await, 502);
}
