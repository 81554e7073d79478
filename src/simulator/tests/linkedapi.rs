use reqwest::Method;
use serde_json::json;

use super::*;

const T0: i64 = 1_760_000_000_123;

fn messages(body: &Value) -> &Value {
    &body["result"][0]["messages"]
}

/// Asks after a workflow until it is neither pending nor running.
pub(super) async fn ended(bench: &Bench, id: &str) -> Value {
    for _ in 0..200 {
        let body = status(bench, id).await;
        if !["pending", "running"].contains(&body["result"]["workflowStatus"].as_str().unwrap()) {
            return body["result"].clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("workflow does not end");
}

async fn status(bench: &Bench, id: &str) -> Value {
    read(bench.linked_api(Method::GET, &format!("/workflows/{id}"), Value::Null)).await.unwrap().json()
}

pub(super) async fn start(bench: &Bench, body: Value) -> Value {
    read(bench.linked_api(Method::POST, "/workflows", body)).await.unwrap().json()
}

pub(super) fn sync(bench: &Bench, conversation: ConversationRef) -> Value {
    json!({ "actionType": "st.syncConversation", "personUrl": bench.world().address(conversation) })
}

pub(super) fn id_of(body: &Value) -> String {
    body["result"]["workflowId"].as_str().unwrap().into()
}

#[tokio::test]
async fn poll_answers_the_history_in_the_contracts_words() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    let id = bench.world().push_draft(conversation, dated("Good morning", T0));
    bench.world().push_draft(conversation, Draft { outbound: true, ..dated("", T0 + 1) });
    let body = bench.poll(conversation, None).await;
    let result = &body["result"][0];
    assert_eq!(body["success"], true);
    assert_eq!(result["personUrl"], "https://www.linkedin.com/in/ada-byron");
    assert_eq!(result["type"], "st");
    assert!(result.get("since").is_none());
    assert!(result["personUrn"].as_str().unwrap().starts_with("urn:li:member:"));
    assert!(result["syncUntil"].as_str().unwrap().ends_with('Z'));
    let first = &messages(&body)[0];
    assert_eq!((first["id"].as_str().unwrap(), first["sender"].as_str().unwrap()), (id.as_str(), "them"));
    assert_eq!(first["time"], "2025-10-09T08:53:20.123Z");
    assert!(first["threadId"].as_str().unwrap().starts_with("2-"));
    assert_eq!(messages(&body)[1]["sender"], "us");
    assert_eq!(bench.world().conversation_id(conversation), "st:https://www.linkedin.com/in/ada-byron");
    assert!(bench.world().ledger().iter().all(|entry| entry.first_served_at.is_some()));
}

#[tokio::test]
async fn since_is_inclusive_or_exclusive_by_switch_and_echoed() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    for n in 0..3 {
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n));
    }
    let since = at(T0 + 1).to_string();
    let body = bench.poll(conversation, Some(&since)).await;
    assert_eq!(body["result"][0]["since"], since);
    assert_eq!(texts(messages(&body)), ["1", "2"]);
    bench.world().set_switches(|switches| switches.linked_api.since_inclusive = false);
    assert_eq!(texts(messages(&bench.poll(conversation, Some(&since)).await)), ["2"]);
}

#[tokio::test]
async fn missing_and_wrong_tokens_are_refused_at_either_status() {
    let bench = Bench::start().await;
    let url = format!("{}/account", bench.simulator.base_url(Dialect::LinkedApi));
    let cases = [
        (None, None, "linkedApiTokenRequired"),
        (Some("nonsense"), None, "invalidLinkedApiToken"),
        (Some("sim-linked-api-token"), None, "identificationTokenRequired"),
        (Some("sim-linked-api-token"), Some("nonsense"), "invalidIdentificationToken"),
    ];
    for (token, identification, expected) in cases {
        for (status, form) in [(401, RefusalStatus::ClientError), (200, RefusalStatus::Ok)] {
            bench.world().set_switches(|switches| switches.linked_api.refusal_status = form);
            let mut request = bench.client.get(&url);
            if let Some(token) = token {
                request = request.header("linked-api-token", token);
            }
            if let Some(token) = identification {
                request = request.header("identification-token", token);
            }
            let reply = read(request).await.unwrap();
            assert_eq!((reply.status, &reply.json()["error"]["type"]), (status, &json!(expected)));
            assert_eq!(reply.json()["success"], false);
        }
    }
    let account = read(bench.linked_api(Method::GET, "/account", Value::Null)).await.unwrap().json();
    assert_eq!(account["result"]["name"], "Robin Keller");
}

#[tokio::test]
async fn one_unsynced_entry_fails_the_whole_batch_or_is_left_out() {
    let bench = Bench::start().await;
    let synced = bench.add(Dialect::LinkedApi, "Ada Byron");
    let unsynced = bench.add(Dialect::LinkedApi, "Mara Lind");
    bench.world().push(synced, "hello");
    bench.world().set_synced(unsynced, None);
    let batch = json!([bench.entry(synced, None), bench.entry(unsynced, None)]);
    let reply = bench.try_poll(batch.clone()).await.unwrap();
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (400, &json!("conversationsNotSynced")));
    assert!(reply.json().get("result").is_none());
    assert!(bench.world().ledger()[0].first_served_at.is_none());
    bench.world().set_switches(|switches| switches.linked_api.whole_batch_failure = false);
    let body = bench.try_poll(batch).await.unwrap().json();
    assert_eq!(body["result"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn malformed_polls_are_refused() {
    let bench = Bench::start().await;
    let url = "https://www.linkedin.com/in/ada-byron";
    for body in [
        json!({ "personUrl": url, "type": "st" }),
        json!([]),
        json!([{ "personUrl": url }]),
        json!([{ "personUrl": url, "type": "xx" }]),
        json!([{ "personUrl": url, "type": "st", "since": null }]),
        json!([{ "personUrl": url, "type": "st", "since": "yesterday" }]),
    ] {
        let reply = bench.try_poll(body.clone()).await.unwrap();
        assert_eq!(reply.json()["error"]["type"], "invalidRequestPayload", "{body}");
    }
    let extra = json!([{ "personUrl": url, "type": "st", "days": 3 }]);
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    assert_eq!(bench.world().address(conversation), url);
    assert_eq!(bench.try_poll(extra.clone()).await.unwrap().status, 200);
    bench.world().set_switches(|switches| switches.linked_api.refuse_unknown_fields = true);
    assert_eq!(bench.try_poll(extra).await.unwrap().status, 400);
}

#[tokio::test]
async fn switches_change_shape_order_and_echo() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    let other = bench.add(Dialect::LinkedApi, "Mara Lind");
    for n in 0..9 {
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n));
    }
    bench.world().push_draft(other, dated("", T0));
    bench.world().set_switches(|switches| {
        let it = &mut switches.linked_api;
        (it.sync_until, it.person_urn, it.thread_id, it.echo_person_url, it.reorder_batch) =
            (false, false, false, false, true);
        (it.order, it.times, it.empty_text) = (Order::Descending, TimeFormat::Offset, EmptyText::Null);
    });
    let body = bench.try_poll(json!([bench.entry(conversation, None), bench.entry(other, None)])).await.unwrap().json();
    let (first, second) = (&body["result"][0], &body["result"][1]);
    assert_eq!(
        first["messages"],
        json!([{ "id": "msg-000001", "sender": "them", "text": null, "time": "2025-10-09T10:53:20.123+02:00" }])
    );
    assert!(second["personUrl"].as_str().unwrap().contains("/in/ACoAA"));
    assert!(["personUrn", "syncUntil"].iter().all(|field| second.get(field).is_none()));
    assert_eq!(texts(&second["messages"])[0], "8");
    bench.world().set_switches(|switches| {
        switches.linked_api.order = Order::Shuffled;
        switches.linked_api.times = TimeFormat::Minutes;
    });
    let body = bench.poll(conversation, Some("2025-10-09T08:53:00Z")).await;
    let mut shuffled = texts(messages(&body));
    assert!(!shuffled.is_sorted());
    shuffled.sort_unstable();
    assert_eq!(shuffled.concat(), "012345678");
    assert_eq!(messages(&body)[0]["time"], "2025-10-09T08:53:00Z");
}

#[tokio::test]
async fn workflow_is_pending_then_running_then_completed_and_makes_the_conversation_pollable() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().push(conversation, "hello");
    bench.world().set_synced(conversation, None);
    assert_eq!(bench.poll(conversation, None).await["error"]["type"], "conversationsNotSynced");
    bench.world().set_switches(|switches| switches.linked_api.running_ms = 500);
    let started = start(&bench, sync(&bench, conversation)).await;
    assert_eq!(started["result"]["workflowStatus"], "pending");
    assert_eq!(started["result"]["pendingReason"], "queued");
    let id = id_of(&started);
    let mut seen = vec!["pending".to_owned()];
    let last = loop {
        let body = status(&bench, &id).await;
        assert!(body["result"].get("workflowId").is_none());
        let now = body["result"]["workflowStatus"].as_str().unwrap().to_owned();
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        if now == "completed" {
            break body["result"].clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(seen, ["pending", "running", "completed"]);
    assert_eq!(last["completion"]["actionType"], "st.syncConversation");
    assert_eq!(last["completion"]["success"], true);
    let body = bench.poll(conversation, None).await;
    assert_eq!(body["result"][0]["syncUntil"], last["completion"]["data"]["syncUntil"]);
    assert_eq!(texts(messages(&body)), ["hello"]);
}

#[tokio::test]
async fn sync_takes_effect_though_nobody_asks_after_the_workflow() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().set_synced(conversation, None);
    bench.world().set_switches(|switches| (switches.linked_api.pending_ms, switches.linked_api.running_ms) = (0, 0));
    start(&bench, sync(&bench, conversation)).await;
    assert_eq!(bench.poll(conversation, None).await["success"], true);
}

#[tokio::test]
async fn scripted_outcomes_come_one_per_action() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().set_synced(conversation, None);
    bench.world().set_switches(|switches| {
        let it = &mut switches.linked_api;
        (it.pending_ms, it.running_ms) = (0, 0);
        it.script = vec![
            Outcome::CompletedWithError("limitExceeded".into()),
            Outcome::CompletedWithoutSuccess,
            Outcome::Failed("linkedinAccountSignedOut".into()),
            Outcome::UnknownStatus("dreaming".into()),
            Outcome::Parked(None),
            Outcome::Pending,
        ];
    });
    let action = sync(&bench, conversation);
    let both = id_of(&start(&bench, json!([action, action])).await);
    let completion = ended(&bench, &both).await["completion"].clone();
    assert_eq!(completion[0]["error"]["type"], "limitExceeded");
    assert_eq!(completion[1], json!({ "actionType": "st.syncConversation", "success": false }));
    let failed = id_of(&start(&bench, action.clone()).await);
    assert_eq!(ended(&bench, &failed).await["failure"]["reason"], "linkedinAccountSignedOut");
    let unknown = id_of(&start(&bench, action.clone()).await);
    assert_eq!(ended(&bench, &unknown).await["workflowStatus"], "dreaming");
    let parked = start(&bench, action.clone()).await;
    assert_eq!(parked["result"]["pendingReason"], "outsideWorkingHours");
    let pending = id_of(&start(&bench, action.clone()).await);
    assert_eq!(status(&bench, &pending).await["result"]["pendingReason"], "queued");
    assert_eq!(bench.world().sync_until(conversation), None);
    let works = id_of(&start(&bench, action).await);
    assert_eq!(ended(&bench, &works).await["completion"]["success"], true);
}

#[tokio::test]
async fn wrong_targets_and_malformed_actions_are_told_apart() {
    let bench = Bench::start().await;
    bench.world().set_switches(|switches| {
        let it = &mut switches.linked_api;
        (it.pending_ms, it.running_ms, it.has_sales_navigator) = (0, 0, false);
    });
    let cases = [
        ("st.syncConversation", "https://www.linkedin.com/in/nobody", "personNotFound"),
        ("st.syncConversation", "https://www.linkedin.com/in/robin-keller", "selfProfileNotAllowed"),
        ("nv.syncConversation", "https://www.linkedin.com/sales/people/ACwX", "noSalesNavigator"),
    ];
    for (action, url, expected) in cases {
        let id = id_of(&start(&bench, json!({ "actionType": action, "personUrl": url, "label": "l" })).await);
        let completion = ended(&bench, &id).await["completion"].clone();
        assert_eq!((&completion["error"]["type"], &completion["label"]), (&json!(expected), &json!("l")));
    }
    let url = cases[0].1;
    let unknown = start(&bench, json!({ "actionType": "st.dance", "personUrl": url })).await;
    assert_eq!(unknown["error"]["type"], "invalidWorkflow");
    for days in [json!(0), json!(91), json!("30")] {
        let body = json!({ "actionType": "st.syncConversation", "personUrl": url, "days": days });
        assert_eq!(start(&bench, body).await["error"]["type"], "invalidRequestPayload");
    }
    bench.world().set_switches(|switches| switches.linked_api.refuse_start = Some("plusPlanRequired".into()));
    let refused = start(&bench, json!({ "actionType": "st.syncConversation", "personUrl": url })).await;
    assert_eq!(refused["error"]["type"], "plusPlanRequired");
}

#[tokio::test]
async fn workflows_run_one_after_the_other() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().set_switches(|switches| {
        (switches.linked_api.pending_ms, switches.linked_api.running_ms) = (0, 60_000);
    });
    let first = id_of(&start(&bench, sync(&bench, conversation)).await);
    let second = id_of(&start(&bench, sync(&bench, conversation)).await);
    assert_eq!(status(&bench, &first).await["result"]["workflowStatus"], "running");
    assert_eq!(status(&bench, &second).await["result"]["workflowStatus"], "pending");
    bench.world().set_switches(|switches| switches.linked_api.one_at_a_time = false);
    let third = id_of(&start(&bench, sync(&bench, conversation)).await);
    assert_eq!(status(&bench, &third).await["result"]["workflowStatus"], "running");
}

#[tokio::test]
async fn cancelled_workflow_has_no_effect_and_is_unknown_afterwards() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().set_synced(conversation, None);
    bench.world().set_switches(|switches| switches.linked_api.running_ms = 60_000);
    let id = id_of(&start(&bench, sync(&bench, conversation)).await);
    let path = format!("/workflows/{id}");
    let cancelled = read(bench.linked_api(Method::DELETE, &path, Value::Null)).await.unwrap().json();
    assert_eq!(cancelled, json!({ "success": true, "result": { "cancelled": true } }));
    assert_eq!(status(&bench, &id).await["error"]["type"], "workflowNotFound");
    bench.world().set_switches(|switches| {
        (switches.linked_api.cancelled_is_known, switches.linked_api.running_ms) = (true, 0);
    });
    assert_eq!(status(&bench, &id).await["result"]["workflowStatus"], "cancelled");
    assert_eq!(bench.world().sync_until(conversation), None);
    // The next one does not wait for the minute that the cancelled one would have taken.
    ended(&bench, &id_of(&start(&bench, sync(&bench, conversation)).await)).await;
}

#[tokio::test]
async fn lapsed_conversation_is_silent_until_it_is_synced_again() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    let now = UnixMillis::now().as_millis();
    bench.world().push_draft(conversation, dated("before", now - 20_000));
    bench.world().set_synced(conversation, Some(at(now - 10_000)));
    bench.world().push(conversation, "after");
    let body = bench.poll(conversation, None).await;
    assert_eq!((body["success"].as_bool(), texts(messages(&body))), (Some(true), vec!["before"]));
    bench.world().set_switches(|switches| switches.linked_api.lapsed_refused = true);
    assert_eq!(bench.poll(conversation, None).await["error"]["type"], "conversationsNotSynced");
    let id = id_of(&start(&bench, sync(&bench, conversation)).await);
    ended(&bench, &id).await;
    assert_eq!(texts(messages(&bench.poll(conversation, None).await)), ["before", "after"]);
}

#[tokio::test]
async fn quick_repeat_of_a_sync_extends_the_period_or_not() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().set_switches(|switches| {
        let it = &mut switches.linked_api;
        (it.pending_ms, it.running_ms, it.quick_repeat_extends) = (0, 0, false);
    });
    let mut action = sync(&bench, conversation);
    let mut until = Vec::new();
    for days in [3, 9] {
        action["days"] = days.into();
        ended(&bench, &id_of(&start(&bench, action.clone()).await)).await;
        until.push(bench.world().sync_until(conversation).unwrap());
    }
    assert_eq!(until[0], until[1]);
    bench.world().set_switches(|switches| {
        switches.linked_api.quick_repeat_extends = true;
        switches.linked_api.completion_sync_until = false;
    });
    let completion = ended(&bench, &id_of(&start(&bench, action).await)).await["completion"].clone();
    assert!(completion.get("data").is_none());
    assert_eq!(bench.world().sync_until(conversation).unwrap().since(until[0]).as_secs() / 86_400, 6);
}

#[tokio::test]
async fn late_removed_edited_and_odd_messages_are_served_as_drafted() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    let world = bench.world();
    let edited = world.push_draft(conversation, dated("old words", T0));
    let removed = world.push_draft(conversation, dated("gone", T0 + 1));
    world.push_draft(conversation, Draft { id: Some(edited.clone()), ..dated("same id", T0 + 2) });
    world.push_draft(conversation, Draft { time_text: Some("yesterday".into()), ..dated("odd time", T0 + 3) });
    world.push_draft(conversation, Draft { omit_id: true, ..dated("no id", T0 + 4) });
    let soon = UnixMillis::now() + Duration::from_millis(400);
    world.push_draft(conversation, Draft { visible_at: Some(soon), ..dated("late", T0 - 1) });
    world.edit(conversation, &edited, "new words");
    world.remove(conversation, &removed);
    let body = bench.poll(conversation, None).await;
    assert_eq!(texts(messages(&body)), ["new words", "new words", "odd time", "no id"]);
    assert_eq!(messages(&body)[0]["id"], messages(&body)[1]["id"]);
    assert_eq!(messages(&body)[2]["time"], "yesterday");
    assert!(messages(&body)[3].get("id").is_none());
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(texts(messages(&bench.poll(conversation, None).await))[0], "late");
    assert_eq!(bench.world().ledger().iter().filter(|entry| entry.removed).count(), 1);
}
