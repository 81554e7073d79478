//! Unipile v2: cache, limits, accounts, refusals, and messages that are not just new.

use serde_json::json;

use super::unipile_v2::{add, assert_problem, chat, get, iso};
use super::*;

const T0: i64 = 1_760_000_000_000;

#[tokio::test]
async fn a_cached_answer_is_served_again_unless_the_header_says_no_cache() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, Kind::Standard, 1);
    let messages = format!("{}/messages", bench.chat(conversation));
    let seen = async |control: Option<&str>| {
        let request = bench.unipile(&messages);
        let reply =
            read(control.into_iter().fold(request, |it, value| it.header("cache-control", value))).await.unwrap();
        assert_eq!(reply.headers["x-cache"] == "HIT", reply.headers.contains_key("age"));
        let state = reply.headers["x-cache"].to_str().unwrap().to_owned();
        (state, reply.json()["data"].as_array().unwrap().len())
    };
    let (hit, miss) = (|n| ("HIT".to_owned(), n), |n| ("MISS".to_owned(), n));
    assert_eq!((seen(None).await, seen(None).await), (miss(1), miss(1)));
    bench.world().set_switches(|switches| switches.unipile.cache = true);
    assert_eq!(seen(None).await, miss(1));
    bench.world().push(conversation, "new");
    assert_eq!(seen(None).await, hit(1));
    assert_eq!(seen(Some("no-store")).await, miss(2));
    assert_eq!(seen(Some("max-age=300")).await, hit(1));
    assert_eq!(seen(Some("no-cache")).await, miss(2));
    assert_eq!(seen(None).await, hit(2));
    bench.world().push(conversation, "newer");
    bench.world().set_switches(|switches| switches.unipile.cache_ignores_no_cache = true);
    assert_eq!(seen(Some("no-cache")).await, hit(2));
    assert!(bench.world().ledger()[2].first_served_at.is_none());
    // Another URL is another copy.
    assert_eq!(get(&bench, &format!("{messages}?limit=9")).await.headers["x-cache"], "MISS");
}

#[tokio::test]
async fn an_answer_that_never_arrived_is_not_cached() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, Kind::Standard, 1);
    let messages = format!("{}/messages", bench.chat(conversation));
    bench.world().set_switches(|switches| switches.unipile.cache = true);
    bench.world().inject(Fault::TruncatedBody, When { times: Some(1), ..When::default() });
    assert!(read(bench.unipile(&messages)).await.is_err());
    assert_eq!(get(&bench, &messages).await.headers["x-cache"], "MISS");
    assert!(bench.world().ledger()[0].first_served_at.is_some());
}

#[tokio::test]
async fn a_limit_is_told_in_headers_and_cached_answers_and_unipiles_own_are_free() {
    let bench = Bench::start().await;
    let messages = format!("{}/messages", bench.chat(chat(&bench, Kind::Standard, 1)));
    assert!(get(&bench, &messages).await.headers.get("x-ratelimit-limit").is_none());
    bench.world().set_switches(|switches| {
        switches.unipile.rate_limit = Some(2);
        switches.unipile.cache = true;
    });
    let header = |reply: &Reply, name: &str| reply.headers[name].to_str().unwrap().parse::<u64>().unwrap();
    let told = |reply: &Reply| (header(reply, "x-ratelimit-limit"), header(reply, "x-ratelimit-remaining"));
    let fresh = async || read(bench.unipile(&messages).header("cache-control", "no-cache")).await.unwrap();
    let first = fresh().await;
    assert_eq!((told(&first), header(&first, "x-ratelimit-reset")), ((2, 1), 60));
    for _ in 0..5 {
        assert_eq!(get(&bench, &messages).await.headers["x-cache"], "HIT");
    }
    assert_eq!(told(&fresh().await), (2, 0));
    let refused = fresh().await;
    assert_problem(&refused, 429, "api/too_many_requests");
    assert_eq!((told(&refused), header(&refused, "retry-after")), ((2, 0), header(&refused, "x-ratelimit-reset")));
    let account = format!("{}/accounts/acc_sim0000001", bench.simulator.base_url(Dialect::UnipileV2));
    for _ in 0..5 {
        assert_eq!(read(bench.request(Method::GET, account.clone())).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn the_account_has_its_status_and_shuts_its_data_when_that_is_bad() {
    let bench = Bench::start().await;
    let base = bench.simulator.base_url(Dialect::UnipileV2);
    let account = async || read(bench.request(Method::GET, format!("{base}/accounts/acc_sim0000001"))).await.unwrap();
    let list = read(bench.request(Method::GET, format!("{base}/accounts/?offset=0&limit=20"))).await.unwrap().json();
    assert_eq!((&list["has_more"], &list["data"][0]), (&json!(false), &account().await.json()));
    let body = account().await.json();
    for field in ["id", "application_id", "user_id", "created_at", "provider", "status"] {
        assert!(body[field].is_string(), "{field}");
    }
    assert_eq!(body["metadata"]["v1_account_id"], "simV1accountId0000001");
    for (status, code, error_type) in [
        ("disconnected", 401, "provider/invalid_authorization"),
        ("paused", 403, "api/inactive_subscription"),
        ("errored", 503, "provider/server_error"),
    ] {
        bench.world().set_switches(|switches| switches.unipile.account_status = status.into());
        assert_problem(&get(&bench, "/chats").await, code, error_type);
        assert_eq!(account().await.json()["status"], status);
    }
    bench.world().set_switches(|switches| switches.unipile.account_status = "degraded".into());
    assert_eq!(get(&bench, "/inboxes").await.status, 200);
}

#[tokio::test]
async fn the_owner_is_told_only_while_linkedin_is_really_connected_whatever_the_status() {
    let bench = Bench::start().await;
    let me = get(&bench, "/users/me").await;
    assert_eq!((me.status, &me.json()["display_name"]), (200, &json!("Robin Keller")));
    bench.world().set_switches(|switches| switches.unipile.is_connected = false);
    assert_problem(&get(&bench, "/users/me").await, 401, "provider/invalid_authorization");
    assert_problem(&get(&bench, "/chats").await, 401, "provider/invalid_authorization");
    let account = format!("{}/accounts/acc_sim0000001", bench.simulator.base_url(Dialect::UnipileV2));
    assert_eq!(read(bench.request(Method::GET, account)).await.unwrap().json()["status"], "running");
}

#[tokio::test]
async fn a_key_of_the_other_generation_is_no_key() {
    let bench = Bench::start().await;
    let v1 = format!("{}/chats", bench.simulator.base_url(Dialect::UnipileV1));
    for (key_of, of_v1, of_v2) in [(KeyOf::Both, 200, 200), (KeyOf::V1, 200, 401), (KeyOf::V2, 401, 200)] {
        bench.world().set_switches(|switches| switches.unipile.key_of = key_of);
        let answers = [read(bench.request(Method::GET, v1.clone())).await.unwrap(), get(&bench, "/chats").await];
        for (answer, status) in answers.into_iter().zip([of_v1, of_v2]) {
            assert_eq!(answer.status, status, "{key_of:?}");
            let is_foreign = answer.json()["type"] == "errors/missing_credentials";
            assert_eq!(is_foreign, status == 401, "{key_of:?}");
        }
    }
}

#[tokio::test]
async fn wrong_keys_accounts_and_chats_are_refused_in_unipiles_words() {
    let bench = Bench::start().await;
    let base = bench.simulator.base_url(Dialect::UnipileV2);
    let bare = |path: &str| bench.client.get(format!("{base}{path}"));
    let keyless = read(bare("/acc_sim0000001/chats")).await.unwrap();
    assert_problem(&keyless, 401, "api/missing_authorization");
    let wrong = read(bare("/acc_sim0000001/chats").header("x-api-key", "other")).await.unwrap();
    assert_problem(&wrong, 401, "api/expired_authorization");
    let of = async |path: &str| read(bench.request(Method::GET, format!("{base}{path}"))).await.unwrap();
    assert_problem(&of("/sim0000001/chats").await, 400, "api/invalid_parameters");
    assert_problem(&of("/acc_other/chats").await, 404, "api/resource_not_found");
    assert_problem(&of("/accounts/acc_other").await, 404, "api/resource_not_found");
    assert_problem(&get(&bench, "/chats/2-nobody%3D/messages").await, 404, "provider/resource_not_found");
    assert_problem(&of("/acc_sim0000001/nowhere").await, 404, "api/resource_not_found");
}

#[tokio::test]
async fn a_single_message_is_read_in_classic_and_nowhere_else() {
    let bench = Bench::start().await;
    let one = async |kind| {
        let conversation = add(&bench, kind, "Ada Byron");
        let id = bench.world().push(conversation, "hello");
        let id = percent_encoding::utf8_percent_encode(&id, percent_encoding::NON_ALPHANUMERIC);
        get(&bench, &format!("{}/messages/{id}", bench.chat(conversation))).await
    };
    assert_eq!(one(Kind::Standard).await.json()["text"], "hello");
    for kind in [Kind::SalesNavigator, Kind::Recruiter] {
        assert_problem(&one(kind).await, 405, "provider/method_not_allowed");
    }
}

#[tokio::test]
async fn hidden_and_event_messages_have_their_flags_and_move_the_chat() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, Kind::Standard, 1);
    bench.world().push_draft(conversation, Draft { event: true, ..dated("renamed", T0 + 1000) });
    bench.world().push_draft(conversation, Draft { hidden: true, ..dated("unseen", T0 + 2000) });
    let page = get(&bench, &format!("{}/messages", bench.chat(conversation))).await.json();
    let flags = |field: &str| [0, 1, 2].map(|n| page["data"][n][field].as_bool().unwrap());
    assert_eq!((flags("is_hidden"), flags("is_event")), ([true, false, false], [false, true, false]));
    assert_eq!((&page["data"][1]["event_type"], page["data"][0].get("event_type")), (&json!(1), None));
    let moved = get(&bench, &bench.chat(conversation)).await.json();
    assert_eq!(moved["last_message_timestamp"], json!(at(T0 + 2000)));
}

#[tokio::test]
async fn edits_and_deletions_keep_the_id_and_removals_move_the_chat_back() {
    let bench = Bench::start().await;
    let conversation = add(&bench, Kind::Standard, "Ada Byron");
    let ids = [0, 1, 2].map(|n| bench.world().push_draft(conversation, dated("first", T0 + n * 1000)));
    bench.world().edit(conversation, &ids[0], "second");
    bench.world().retract(conversation, &ids[1]);
    bench.world().remove(conversation, &ids[2]);
    let page = get(&bench, &format!("{}/messages", bench.chat(conversation))).await.json();
    let (deleted, edited) = (&page["data"][0], &page["data"][1]);
    assert_eq!(
        (&deleted["is_deleted"], &deleted["text"], &deleted["id"]),
        (&json!(true), &Value::Null, &json!(ids[1]))
    );
    assert_eq!(
        (&edited["is_edited"], &edited["text"], &edited["id"]),
        (&json!(true), &json!("second"), &json!(ids[0]))
    );
    assert_eq!(page["total_count"], 2);
    let back = get(&bench, &bench.chat(conversation)).await.json();
    assert_eq!(back["last_message_timestamp"], json!(at(T0 + 1000)));
    assert_eq!(back["last_message"]["text"], "");
}

#[tokio::test]
async fn a_late_message_moves_its_chat_when_it_comes_to_be_seen() {
    let bench = Bench::start().await;
    let (early, late) = (chat(&bench, Kind::Standard, 1), add(&bench, Kind::Standard, "Ada Byron"));
    let soon = UnixMillis::now() + Duration::from_millis(300);
    bench.world().push_draft(late, Draft { visible_at: Some(soon), ..dated("late", T0 + 5000) });
    let first = async || get(&bench, "/chats").await.json()["data"][0].clone();
    assert_eq!(first().await["id"], bench.world().address(early));
    while UnixMillis::now() < soon {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let moved = first().await;
    assert_eq!((&moved["id"], &moved["unread_count"]), (&json!(bench.world().address(late)), &json!(1)));
}

#[tokio::test]
async fn lean_forms_leave_out_what_no_client_may_need() {
    let bench = Bench::start().await;
    let conversation = add(&bench, Kind::Standard, "Ada Byron");
    bench.world().push_draft(conversation, dated("x", T0 + 512));
    bench.world().set_switches(|switches| {
        let it = &mut switches.unipile;
        (it.minimal_messages, it.timestamps_in_seconds) = (true, true);
        (it.total_count, it.last_message_timestamp) = (false, false);
    });
    let messages = format!("{}/messages", bench.chat(conversation));
    let page = get(&bench, &messages).await.json();
    let id = &bench.world().ledger()[0].message_id;
    assert_eq!(page, json!({ "data": [{ "id": id, "timestamp": "2025-10-09T08:53:20Z" }] }));
    // The time as shown is what `after` is compared with.
    assert_eq!(get(&bench, &format!("{messages}?after={}", iso(T0))).await.json()["data"], json!([]));
    assert!(get(&bench, &bench.chat(conversation)).await.json().get("last_message_timestamp").is_none());
}

#[tokio::test]
async fn faults_strike_chats_and_further_pages_and_speak_as_unipile() {
    let bench = Bench::start().await;
    let (one, other) = (chat(&bench, Kind::Standard, 3), chat(&bench, Kind::Standard, 3));
    let messages = |chat| format!("{}/messages?limit=1", bench.chat(chat));
    let only = When {
        endpoint: Some(Endpoint::UnipileMessages),
        conversation: Some(one),
        needs_cursor: true,
        ..When::default()
    };
    let fault = |error_type: &str| Fault::TypedError { error_type: error_type.into(), message: "as asked".into() };
    bench.world().inject(fault("provider/too_many_requests"), only);
    assert_eq!(get(&bench, &messages(one)).await.status, 200);
    assert_eq!(get(&bench, &format!("{}&offset=1", messages(other))).await.status, 200);
    let struck = get(&bench, &format!("{}&offset=1", messages(one))).await;
    assert_problem(&struck, 429, "provider/too_many_requests");
    assert!(struck.headers.get("retry-after").is_none());
    bench.world().clear_faults();
    for (error_type, status) in
        [("provider/unprocessable_entity", 422), ("api/proxy_timeout", 504), ("api/account_restricted", 403)]
    {
        bench.world().clear_faults();
        bench.world().inject(fault(error_type), When::default());
        assert_problem(&get(&bench, "/chats").await, status, error_type);
    }
    bench.world().clear_faults();
    bench.world().inject(Fault::SuccessFalse, When::default());
    let hidden = get(&bench, "/chats").await;
    assert_eq!((hidden.status, &hidden.json()["object"]), (200, &json!("Error")));
}

#[tokio::test]
async fn control_makes_recruiter_chats_for_unipile_alone() {
    let bench = Bench::start().await;
    let make = async |dialect: &str| {
        bench.control(Method::POST, "/conversations", json!({ "dialect": dialect, "kind": "recruiter" })).await
    };
    assert_eq!(make("unipile_v2").await.status, 200);
    let refused = make("linked_api").await;
    assert_eq!((refused.status, refused.json()["error"].as_str().unwrap().contains("recruiter")), (400, true));
    let taken = bench.world().add_conversation(Dialect::ConnectSafely, Kind::Recruiter, "Ada Byron");
    assert_eq!(bench.world().conversations()[taken.index()].2, Kind::Standard);
    let message = json!({ "conversation": 0, "text": "x", "hidden": true, "event": true, "edited": true });
    let id = bench.control(Method::POST, "/messages", message).await.json()["message_id"].clone();
    let retracted = json!({ "conversation": 0, "message_id": id });
    assert_eq!(bench.control(Method::POST, "/messages/retract", retracted).await.status, 200);
    bench.control(Method::POST, "/switches", json!({ "unipile": { "page_cap": 3 } })).await;
    let switches = bench.world().switches().unipile;
    assert_eq!((switches.page_cap, switches.after_honoured), (3, true));
}
