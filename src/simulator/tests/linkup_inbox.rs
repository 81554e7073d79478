//! The inbox of LinkupAPI, its credits and its hosted webhooks.

use serde_json::json;

use super::linkup::*;
use super::*;

/// So many threads with a message each, `0` the oldest.
fn inbox(bench: &Bench, version: Spoken, length: i64) {
    for n in 0..length {
        let conversation = bench.add(version.dialect(), &format!("Person {n}"));
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n * 1000));
    }
}

/// The texts of the rows.
fn shown(answer: &Value) -> Vec<&str> {
    let rows = answer["data"]["conversations"].as_array().unwrap();
    rows.iter().map(|row| row["last_message"]["text"].as_str().unwrap()).collect()
}

fn struck_once(bench: &Bench, fault: Fault) {
    bench.world().inject(fault, When { times: Some(1), ..When::default() });
}

#[tokio::test]
async fn the_inbox_is_walked_from_the_newest_activity_by_an_opaque_cursor() {
    let bench = Bench::start().await;
    for version in [V1, V2] {
        inbox(&bench, version, 1_203);
        let (count, next) = version.names();
        let (mut walked, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let answer = ask_inbox(&bench, version, json!({ count: 50, next: cursor })).await.json();
            walked.extend(shown(&answer).iter().map(|text| text.parse::<i64>().unwrap()));
            cursor = answer["data"]["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
            let bytes = data_encoding::BASE64.decode(cursor.as_str().unwrap().as_bytes()).unwrap();
            assert!(String::from_utf8(bytes).unwrap().starts_with("DESCENDING&"));
        }
        assert_eq!(walked, (0..1_203).rev().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_row_has_the_contracts_fields_and_a_message_moves_it_up() {
    let bench = Bench::start().await;
    for version in [V1, V2] {
        inbox(&bench, version, 3);
        let answer = ask_inbox(&bench, version, json!({})).await.json();
        assert_eq!((shown(&answer), &answer["data"]["total_results"]), (vec!["2", "1", "0"], &json!(3)));
        let row = &answer["data"]["conversations"][0];
        let participant = json!({
            "name": "Person 2",
            "headline": "Operations lead",
            "profile_url": row["participant"]["profile_url"],
            "profile_picture": null,
        });
        assert_eq!((&row["participant"], &row["unread"], &row["type"]), (&participant, &json!(1), &json!("normal")));
        assert_eq!(row["last_message"]["time"], T0 + 2000);
        assert!(row["conversation_id"].as_str().unwrap().starts_with("urn:li:msg_conversation:(urn:li:fsd_profile:"));
        let sender = &row["last_message"]["sender"];
        assert_eq!(sender.get("is_me"), (version == V2).then_some(&json!(false)));
        let (moved, ..) = *bench.world().conversations().iter().find(|(_, of, _)| *of == version.dialect()).unwrap();
        let mine = Draft { text: "mine".into(), outbound: true, ..Draft::default() };
        bench.world().push_draft(moved, mine);
        let answer = ask_inbox(&bench, version, json!({})).await.json();
        assert_eq!(shown(&answer), ["mine", "2", "1"]);
        let row = &answer["data"]["conversations"][0];
        assert_eq!((&row["unread"], &row["participant"]["name"]), (&json!(0), &json!("Person 0")));
        assert_eq!(row["last_message"]["sender"]["name"], "Robin Keller");
    }
}

#[tokio::test]
async fn threads_without_a_visible_message_are_not_listed() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkupV2, "Mara Lind");
    assert_eq!(ask_inbox(&bench, V2, json!({})).await.json()["data"]["conversations"], json!([]));
    let soon = UnixMillis::now() + Duration::from_millis(150);
    bench.world().push_draft(conversation, Draft { visible_at: Some(soon), ..dated("late", T0) });
    assert_eq!(ask_inbox(&bench, V2, json!({})).await.json()["data"]["total_results"], 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(shown(&ask_inbox(&bench, V2, json!({})).await.json()), ["late"]);
}

#[tokio::test]
async fn inbox_switches_rename_the_array_and_leave_out_the_sender() {
    let bench = Bench::start().await;
    inbox(&bench, V1, 2);
    bench.world().set_switches(|switches| {
        (switches.linkup.inbox_array, switches.linkup.inbox_sender) = ("threads".into(), false);
        switches.linkup.paging_place = PagingPlace::TopLevel;
    });
    let answer = ask_inbox(&bench, V1, json!({ "total_results": 1 })).await.json();
    assert!(answer["data"]["threads"][0]["last_message"].get("sender").is_none());
    assert!(answer["next_cursor"].is_string() && answer["data"].get("next_cursor").is_none());
    assert!(answer.get("has_next_page").is_none());
    let bad = ask_inbox(&bench, V1, json!({ "next_cursor": "xyz" })).await.json();
    assert_eq!(bad["message"], "cursor is not valid");
    struck_once(&bench, Fault::RepeatCursor);
    let repeated = ask_inbox(&bench, V1, json!({ "next_cursor": answer["next_cursor"] })).await.json();
    assert_eq!(repeated["next_cursor"], answer["next_cursor"]);
}

#[tokio::test]
async fn categories_narrow_the_inbox() {
    let bench = Bench::start().await;
    inbox(&bench, V1, 2);
    let (first, ..) = bench.world().conversations()[0];
    bench.world().push_draft(first, Draft { text: "mine".into(), outbound: true, ..Draft::default() });
    for (category, expected) in [("INBOX", 2), ("UNREAD", 1), ("MY_CONNECTIONS", 2), ("STARRED", 0)] {
        let answer = ask_inbox(&bench, V1, json!({ "category": category })).await.json();
        assert_eq!(answer["data"]["total_results"], expected, "{category}");
    }
}

#[tokio::test]
async fn a_page_costs_a_credit_for_ten_asked_for_or_returned() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, V2, 12);
    let empty = bench.add(Dialect::LinkupV2, "Nobody");
    let cost = async |conversation, count| {
        let before = bench.world().linkup_credits();
        let answer = page(&bench, V2, conversation, count, Value::Null).await;
        let taken = bench.world().linkup_credits() - before;
        assert_eq!(answer["metadata"]["credits_consumed"], taken);
        taken
    };
    assert_eq!((cost(conversation, 1).await, cost(conversation, 10).await, cost(conversation, 11).await), (1, 1, 2));
    assert_eq!((cost(conversation, 50).await, cost(empty, 50).await), (5, 5));
    bench.world().set_switches(|switches| switches.linkup.billing_by_returned = true);
    assert_eq!((cost(conversation, 50).await, cost(conversation, 5).await, cost(empty, 50).await), (2, 1, 1));
    bench.world().set_switches(|switches| switches.linkup.minimum_one_credit = false);
    assert_eq!(cost(empty, 50).await, 0);
    let entries = bench.world().credit_entries();
    assert_eq!(entries.iter().map(|entry| entry.credits).sum::<u64>(), bench.world().linkup_credits());
    assert!(entries.iter().all(|entry| entry.endpoint == Endpoint::LinkupV2Messages));
    let shown = bench.control(Method::GET, "/credits", Value::Null).await.json();
    assert_eq!(
        (&shown["total"], &shown["last"][0]["reason"]),
        (&json!(bench.world().linkup_credits()), &json!("answered"))
    );
    let sum = bench.world().linkup_credits_of_day(UnixMillis::now());
    let yesterday = bench.world().linkup_credits_of_day(UnixMillis::now() - Duration::from_secs(24 * 3600));
    assert_eq!(sum + yesterday, bench.world().linkup_credits());
}

#[tokio::test]
async fn a_used_up_balance_refuses_without_taking_anything() {
    let bench = Bench::start().await;
    let asked = [(V1, thread(&bench, V1, 1)), (V2, thread(&bench, V2, 1))];
    bench.world().set_switches(|switches| switches.linkup.daily_credits = Some(3));
    page(&bench, V2, asked[1].1, 20, Value::Null).await;
    for (version, conversation) in asked {
        let refused = page(&bench, version, conversation, 20, Value::Null).await;
        match version {
            V1 => assert_eq!(refused["message"], "Not enough credits"),
            V2 => assert_eq!(refused["error"]["code"], "INSUFFICIENT_CREDITS"),
        }
    }
    assert_eq!(bench.world().linkup_credits(), 2);
    page(&bench, V2, asked[1].1, 10, Value::Null).await;
    assert_eq!(bench.world().linkup_credits(), 3);
    bench.world().set_switches(|switches| switches.linkup.error_status = LinkupErrorStatus::Real);
    for status in [402, 403] {
        bench.world().set_switches(|switches| switches.linkup.no_credits_status = status);
        assert_eq!(ask_inbox(&bench, V1, json!({})).await.status, status);
    }
}

#[tokio::test]
async fn errors_of_v1_are_paid_for_unless_the_switch_says_no() {
    let bench = Bench::start().await;
    let wrong = json!({ "conversation_id": "2-bm9wZQ==", "total_results": 20 });
    ask_messages(&bench, V1, wrong.clone()).await;
    assert_eq!(bench.world().linkup_credits(), 2);
    assert_eq!(bench.world().credit_entries()[0].reason, CreditReason::Failed);
    bench.world().set_switches(|switches| switches.linkup.dead_session = Some("Cookie invalid or expired".into()));
    ask_inbox(&bench, V1, json!({})).await;
    assert_eq!(bench.world().linkup_credits(), 3);
    bench.world().set_switches(|switches| switches.linkup.charge_v1_errors = false);
    ask_messages(&bench, V1, wrong).await;
    assert_eq!(bench.world().linkup_credits(), 3);
}

#[tokio::test]
async fn faults_are_charged_as_the_contract_says() {
    let bench = Bench::start().await;
    let asked = [(V1, thread(&bench, V1, 1)), (V2, thread(&bench, V2, 1))];
    let status = |code| Fault::Status { code, body: "{}".into(), headers: vec![] };
    let limited = Fault::RateLimited { retry_after: RetryAfter::Seconds(1) };
    let typed = |error_type: &str| Fault::TypedError { error_type: error_type.into(), message: "no".into() };
    let cases = [
        (status(500), [0, 0]),
        (Fault::Html5xx(500), [0, 0]),
        (Fault::Html5xx(502), [1, 0]),
        (status(404), [1, 0]),
        (limited, [1, 0]),
        (typed("403"), [1, 0]),
        (Fault::SuccessFalse, [1, 0]),
        (Fault::Html200, [1, 0]),
        (status(200), [1, 1]),
        (Fault::MissingPayload, [1, 1]),
        (Fault::TruncatedBody, [1, 1]),
        (Fault::ReplyLost, [1, 1]),
        (Fault::Reset, [0, 0]),
    ];
    for (fault, expected) in cases {
        for ((version, conversation), expected) in asked.into_iter().zip(expected) {
            let before = bench.world().linkup_credits();
            struck_once(&bench, fault.clone());
            let (path, id) = (["/messages/conversation", "/messages"], bench.world().address(conversation));
            let request = match version {
                V1 => linkup(&bench, V1, Method::POST, path[0], with_session(json!({ "conversation_id": id }))),
                V2 => linkup(
                    &bench,
                    V2,
                    Method::POST,
                    path[1],
                    action("get_conversation", json!({ "conversation_id": id })),
                ),
            };
            drop(read(request).await);
            assert_eq!(bench.world().linkup_credits() - before, expected, "{fault:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn faults_speak_the_words_of_the_version() {
    let bench = Bench::start().await;
    let conversations = [thread(&bench, V1, 1), thread(&bench, V2, 1)];
    let when = |endpoint, conversation| When {
        endpoint: Some(endpoint),
        conversation: Some(conversation),
        times: Some(1),
        ..When::default()
    };
    let limited = || Fault::RateLimited { retry_after: RetryAfter::Seconds(7) };
    bench.world().inject(limited(), when(Endpoint::LinkupV1Messages, conversations[0]));
    bench.world().inject(limited(), when(Endpoint::LinkupV2Messages, conversations[1]));
    let v1 = ask_messages(&bench, V1, json!({ "conversation_id": bench.world().address(conversations[0]) })).await;
    assert_eq!((v1.status, &v1.headers["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(v1.json()["status"], "error");
    let v2 = ask_messages(&bench, V2, json!({ "profile_url": bench.world().profile_url(conversations[1]) })).await;
    assert_eq!((v2.status, &v2.json()["error"]["code"]), (429, &json!("RATE_LIMITED")));
    let typed = |error_type: &str| Fault::TypedError { error_type: error_type.into(), message: "said so".into() };
    struck_once(&bench, typed("403"));
    let v1 = ask_inbox(&bench, V1, json!({})).await;
    assert_eq!((v1.status, v1.json()), (200, json!({ "status": "error", "message": "said so" })));
    struck_once(&bench, typed("ACCOUNT_INACTIVE"));
    assert_eq!(ask_inbox(&bench, V2, json!({})).await.status, 403);
    struck_once(&bench, Fault::MissingPayload);
    assert_eq!(ask_inbox(&bench, V1, json!({})).await.json(), json!({ "status": "success" }));
    struck_once(&bench, Fault::DeeplyNested { depth: 3 });
    assert_eq!(ask_inbox(&bench, V1, json!({})).await.json(), json!({ "status": "success", "data": [[[]]] }));
}

#[tokio::test]
async fn accounts_are_listed_and_looked_up_free_of_charge() {
    let bench = Bench::start().await;
    let get = async |path| read(linkup(&bench, V2, Method::GET, path, Value::Null)).await.unwrap();
    let listed = get("/accounts?limit=500&offset=0").await.json();
    assert_eq!((&listed["data"]["total"], &listed["metadata"]["credits_consumed"]), (&json!(1), &json!(0)));
    assert_eq!(listed["data"]["items"][0]["account_id"], "sim-linkup-account");
    assert_eq!(get("/accounts/sim-linkup-account").await.json()["data"]["status"], "active");
    assert_eq!(get("/accounts/another").await.json()["error"]["code"], "INVALID_ACCOUNT");
    assert_eq!(get("/accounts?limit=501").await.json()["error"]["code"], "INVALID_PARAMS");
    assert_eq!((bench.world().request_count(Endpoint::LinkupV2Accounts), bench.world().linkup_credits()), (2, 0));
}

#[tokio::test]
async fn hosted_webhooks_tell_of_inbound_messages_and_cost_by_time() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkupV2, "Mara Lind");
    bench.world().push(conversation, "before");
    let call = async |method, path: String, body| read(linkup(&bench, V2, method, &path, body)).await.unwrap().json();
    let made = call(Method::POST, "/webhooks".into(), json!({ "account_id": "sim-linkup-account" })).await;
    let id = made["data"]["webhook_id"].as_str().unwrap().to_owned();
    assert_eq!((bench.world().linkup_credits(), &made["data"]["is_active"]), (1, &json!(true)));
    bench.world().push(conversation, "first");
    bench.world().push_draft(conversation, Draft { text: "mine".into(), outbound: true, ..Draft::default() });
    bench.world().push(conversation, "second");
    let events = async || {
        call(Method::GET, format!("/webhooks/{id}/events?since=2026-01-01T00:00:00Z"), Value::Null).await["data"]["items"].clone()
    };
    let listed = events().await;
    let said = |listed: &Value| -> Vec<String> {
        let texts = listed.as_array().unwrap().iter().map(|item| item["event"]["event"]["message_text"].to_string());
        texts.collect()
    };
    assert_eq!(said(&listed), ["\"first\"", "\"second\""]);
    assert_eq!(listed[0]["event"]["event"]["sender"]["profile_url"], bench.world().profile_url(conversation));
    assert_ne!(listed[0]["event_id"], listed[1]["event_id"]);
    bench
        .world()
        .set_switches(|switches| (switches.linkup.duplicate_events, switches.linkup.shuffle_events) = (true, true));
    assert_eq!(events().await.as_array().unwrap().len(), 4);
    call(Method::POST, format!("/webhooks/{id}/stop"), Value::Null).await;
    bench.world().push(conversation, "third");
    assert_eq!(events().await.as_array().unwrap().len(), 4);
    assert_eq!(
        bench.world().credit_entries().iter().map(|entry| entry.reason).collect::<Vec<_>>(),
        [CreditReason::Monitored]
    );
    call(Method::DELETE, format!("/webhooks/{id}"), Value::Null).await;
    assert_eq!(call(Method::GET, "/webhooks".into(), Value::Null).await["data"]["items"], json!([]));
}
