use serde_json::json;

use super::*;

const T0: i64 = 1_760_000_000_000;
const ACCOUNT: &str = "simV1accountId0000001";

async fn get(bench: &Bench, path: &str) -> Reply {
    let url = format!("{}{path}", bench.simulator.base_url(Dialect::UnipileV1));
    read(bench.request(Method::GET, url)).await.unwrap()
}

fn add(bench: &Bench, kind: Kind, person: &str) -> ConversationRef {
    bench.world().add_conversation(Dialect::UnipileV1, kind, person)
}

/// A chat of messages `0`, `1`, … one second apart.
fn chat(bench: &Bench, length: i64) -> ConversationRef {
    let conversation = add(bench, Kind::Standard, "Mara Lind");
    for n in 0..length {
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n * 1000));
    }
    conversation
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn iso(millis: i64) -> String {
    encoded(&at(millis).to_string())
}

/// Every item from the first page on, and how many pages it took.
async fn walk(bench: &Bench, path: &str, first: &str, further: &str) -> (Vec<Value>, usize) {
    let (mut walked, mut query, mut pages) = (Vec::new(), first.to_owned(), 0);
    loop {
        let page = get(bench, &format!("{path}?{query}")).await.json();
        walked.extend(page["items"].as_array().unwrap().iter().cloned());
        pages += 1;
        let Some(cursor) = page["cursor"].as_str() else {
            assert_eq!(page["cursor"], Value::Null);
            return (walked, pages);
        };
        query = format!("cursor={}{further}", encoded(cursor));
    }
}

#[track_caller]
fn assert_refused(reply: &Reply, status: u16, reason: &str) {
    let body = reply.json();
    assert_eq!((reply.status, &body["status"]), (status, &json!(status)));
    assert_eq!(body["type"], format!("errors/{reason}"));
    assert!(body["title"].is_string());
}

#[tokio::test]
async fn a_message_has_flags_of_0_and_1_and_ids_of_both_sides() {
    let bench = Bench::start().await;
    let conversation = add(&bench, Kind::Standard, "Mara Lind");
    let drafts = [
        Draft { outbound: true, edited: true, ..dated("mine", T0) },
        Draft { event: true, hidden: true, ..dated("renamed", T0 + 1) },
        Draft { deleted: true, ..dated("gone", T0 + 2) },
    ];
    let ids = drafts.map(|draft| bench.world().push_draft(conversation, draft));
    let chat_id = bench.world().conversation_id(conversation);
    let list = get(&bench, &format!("/chats/{chat_id}/messages")).await.json();
    assert_eq!((&list["object"], &list["cursor"]), (&json!("MessageList"), &Value::Null));
    let [gone, renamed, mine] = [0, 1, 2].map(|n| &list["items"][n]);
    assert_eq!(
        (&mine["id"], &mine["chat_id"], &mine["account_id"]),
        (&json!(ids[0]), &json!(chat_id), &json!(ACCOUNT))
    );
    assert!(mine["provider_id"].as_str().unwrap().starts_with("2-"));
    assert!(mine["chat_provider_id"].as_str().unwrap().starts_with("2-"));
    assert!(mine["sender_id"].as_str().unwrap().starts_with("ACoAA"));
    assert_eq!((&mine["is_sender"], &mine["edited"], &mine["deleted"]), (&json!(1), &json!(1), &json!(0)));
    assert_eq!((&mine["timestamp"], &mine["text"]), (&json!("2025-10-09T08:53:20.000Z"), &json!("mine")));
    assert_eq!((&mine["delivered"], &mine["behavior"], &mine["seen_by"]), (&json!(1), &Value::Null, &json!({})));
    assert_eq!((&renamed["is_event"], &renamed["hidden"], &renamed["event_type"]), (&json!(1), &json!(1), &json!(4)));
    assert_eq!((&gone["deleted"], &gone["text"], &gone["is_sender"]), (&json!(1), &Value::Null, &json!(0)));
    assert!(serde_json::from_str::<Value>(mine["original"].as_str().unwrap()).unwrap().is_object());
    let one = get(&bench, &format!("/messages/{}", ids[0])).await.json();
    assert_eq!(&one, mine);
    assert_eq!(get(&bench, "/messages/other").await.status, 404);
}

#[tokio::test]
async fn cursors_walk_every_message_of_the_account_once_while_more_arrive() {
    let bench = Bench::start().await;
    let chats: Vec<_> = (0..7).map(|_| add(&bench, Kind::Standard, "Ada Byron")).collect();
    for n in 0..600 {
        // Three of a millisecond, in different chats.
        bench.world().push_draft(chats[n % 7], dated(&n.to_string(), T0 + n as i64 / 3));
    }
    let first = get(&bench, "/messages?limit=250").await.json();
    bench.world().push(chats[0], "new");
    let cursor = encoded(first["cursor"].as_str().unwrap());
    let (rest, pages) = walk(&bench, "/messages", &format!("cursor={cursor}&limit=100"), "").await;
    let items = first["items"].as_array().unwrap().iter().chain(&rest);
    let walked: Vec<usize> = items.map(|item| item["text"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!((walked, pages), ((0..600).rev().collect(), 4));
    assert_eq!(walk(&bench, "/messages", "", "").await.1, 7);
}

#[tokio::test]
async fn a_cursor_is_padded_base64_of_filters_limit_and_last_item_and_carries_them_on() {
    let bench = Bench::start().await;
    let chat_id = bench.world().conversation_id(chat(&bench, 9));
    let path = format!("/chats/{chat_id}/messages");
    let page = get(&bench, &format!("{path}?limit=2&after={}", iso(T0 + 3000))).await.json();
    let cursor = page["cursor"].as_str().unwrap();
    assert_eq!(cursor.len() % 4, 0);
    let decoded: Value = serde_json::from_slice(&data_encoding::BASE64.decode(cursor.as_bytes()).unwrap()).unwrap();
    assert_eq!((&decoded["limit"], &decoded["after"]), (&json!(2), &json!(at(T0 + 3000))));
    assert_eq!(decoded["cursor"]["last_id"], page["items"][1]["id"]);
    assert_eq!(decoded["cursor"]["last_date"], page["items"][1]["timestamp"]);
    // Another filter beside the cursor is ignored.
    let query = format!("limit=2&after={}", iso(T0 + 3000));
    let (walked, pages) = walk(&bench, &path, &query, &format!("&after={}", iso(T0))).await;
    assert_eq!((texts(&json!(walked)), pages), (vec!["8", "7", "6", "5", "4"], 3));
    for wrong in ["/messages", "/chats", "/accounts"] {
        let refused = get(&bench, &format!("{wrong}?cursor={}", encoded(cursor))).await;
        assert_refused(&refused, 400, "invalid_parameters");
    }
    let unpadded = encoded(cursor.trim_end_matches('=')).to_owned() + "x";
    assert_refused(&get(&bench, &format!("{path}?cursor={unpadded}")).await, 400, "invalid_parameters");
}

#[tokio::test]
async fn before_and_after_are_exclusive_and_must_match_the_pattern_exactly() {
    let bench = Bench::start().await;
    let chat_id = bench.world().conversation_id(chat(&bench, 6));
    for path in [format!("/chats/{chat_id}/messages"), "/messages".to_owned()] {
        let both = format!("{path}?after={}&before={}", iso(T0 + 1000), iso(T0 + 4000));
        assert_eq!(texts(&get(&bench, &both).await.json()["items"]), ["3", "2"]);
        for wrong in ["2025-10-09T08:53:20Z", "2025-10-09 08:53:20.000Z", "2025-10-09T10:53:20.000+02:00", "1760000000"]
        {
            let refused = get(&bench, &format!("{path}?after={}", encoded(wrong))).await;
            assert_refused(&refused, 400, "invalid_parameters");
        }
        for limit in ["0", "251", "ten"] {
            assert_refused(&get(&bench, &format!("{path}?limit={limit}")).await, 400, "invalid_parameters");
        }
    }
    let outbound = Draft { outbound: true, ..dated("mine", T0 + 9000) };
    bench.world().push_draft(ConversationRef(0), outbound);
    let newest = get(&bench, "/messages?limit=1").await.json()["items"][0].clone();
    let by = format!("/messages?sender_id={}", newest["sender_id"].as_str().unwrap());
    assert_eq!(texts(&get(&bench, &by).await.json()["items"]), ["mine"]);
}

#[tokio::test]
async fn chats_come_by_last_activity_and_tell_their_product() {
    let bench = Bench::start().await;
    let kinds = [Kind::Standard, Kind::SalesNavigator, Kind::Recruiter];
    let chats = kinds.map(|kind| add(&bench, kind, "Ada Byron"));
    let silent = add(&bench, Kind::Standard, "Mara Lind");
    for (n, chat) in chats.into_iter().enumerate() {
        bench.world().push_draft(chat, dated("x", T0 + n as i64));
    }
    bench.world().push_draft(chats[0], Draft { outbound: true, ..dated("up", T0 + 10) });
    let (walked, pages) = walk(&bench, "/chats", &format!("limit=1&account_id={ACCOUNT}"), "").await;
    let order: Vec<_> = walked.iter().map(|chat| chat["id"].as_str().unwrap().to_owned()).collect();
    let wanted = [chats[0], chats[2], chats[1], silent].map(|chat| bench.world().address(chat));
    assert_eq!((order, pages), (wanted.to_vec(), 4));
    let folders: Vec<_> = walked.iter().map(|chat| chat["folder"][1].as_str().unwrap()).collect();
    assert_eq!(folders[..3], ["INBOX_LINKEDIN_CLASSIC", "INBOX_LINKEDIN_RECRUITER", "INBOX_LINKEDIN_SALES_NAVIGATOR"]);
    assert_eq!((&walked[3]["timestamp"], &walked[0]["timestamp"]), (&Value::Null, &json!(at(T0 + 10))));
    let count =
        async |query: &str| get(&bench, &format!("/chats?{query}")).await.json()["items"].as_array().unwrap().len();
    assert_eq!((count("unread=true").await, count("unread=false").await), (2, 2));
    assert_eq!((count("account_type=LINKEDIN").await, count("account_type=WHATSAPP").await), (4, 0));
    assert_eq!(count(&format!("after={}", iso(T0 + 1))).await, 2);
    assert_refused(&get(&bench, "/chats?account_id=other").await, 404, "resource_not_found");
}

#[tokio::test]
async fn a_chat_is_found_by_both_ids_and_shows_its_last_message() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, 2);
    let id = bench.world().address(conversation);
    let found = get(&bench, &format!("/chats/{id}")).await.json();
    assert_eq!((&found["object"], &found["lastMessage"]["text"]), (&json!("Chat"), &json!("1")));
    let provider_id = found["provider_id"].as_str().unwrap();
    assert_ne!(provider_id, id);
    let by_provider = format!("/chats/{}", encoded(provider_id));
    assert_refused(&get(&bench, &by_provider).await, 400, "invalid_parameters");
    assert_eq!(get(&bench, &format!("{by_provider}?account_id={ACCOUNT}")).await.json(), found);
    assert_refused(&get(&bench, &format!("{by_provider}/messages")).await, 404, "resource_not_found");
    let empty = bench.world().address(add(&bench, Kind::Standard, "Ada Byron"));
    assert_eq!(get(&bench, &format!("/chats/{empty}")).await.json()["lastMessage"], Value::Null);
}

#[tokio::test]
async fn what_came_after_the_source_failed_shows_only_once_it_is_ok_again() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, 1);
    let id = bench.world().address(conversation);
    let status = |status: &str| bench.world().set_switches(|it| it.unipile.v1_source_status = status.into());
    let told = async || get(&bench, "/accounts").await.json()["items"][0]["sources"][0]["status"].clone();
    assert_eq!(told().await, "OK");
    status("CREDENTIALS");
    assert_eq!(told().await, "CREDENTIALS");
    bench.world().push(conversation, "missed");
    let missed = add(&bench, Kind::Standard, "Ada Byron");
    bench.world().push(missed, "hello");
    let seen = async |path: &str| {
        let reply = get(&bench, path).await;
        assert_eq!(reply.status, 200);
        reply.json()["items"].as_array().unwrap().len()
    };
    let messages = format!("/chats/{id}/messages");
    assert_eq!((seen(&messages).await, seen("/messages").await, seen("/chats").await), (1, 1, 1));
    let stale = get(&bench, &format!("/chats/{id}")).await.json();
    assert_eq!((&stale["timestamp"], &stale["lastMessage"]["text"]), (&json!(at(T0)), &json!("0")));
    // From one bad state to another it stays what it was.
    status("ERROR");
    assert_eq!(seen("/messages").await, 1);
    status("OK");
    assert_eq!((seen(&messages).await, seen("/messages").await, seen("/chats").await), (2, 3, 2));
    let chats = get(&bench, "/chats").await.json();
    assert_eq!(chats["items"][0]["id"], bench.world().address(missed));
}

#[tokio::test]
async fn wrong_tokens_and_faults_speak_as_version_1() {
    let bench = Bench::start().await;
    let url = format!("{}/messages", bench.simulator.base_url(Dialect::UnipileV1));
    assert_refused(&read(bench.client.get(&url)).await.unwrap(), 401, "missing_credentials");
    let wrong = read(bench.client.get(&url).header("x-api-key", "other")).await.unwrap();
    assert_refused(&wrong, 401, "insufficient_privileges");
    assert_refused(&get(&bench, "/nowhere").await, 404, "resource_not_found");
    let conversation = chat(&bench, 1);
    let messages = format!("/chats/{}/messages", bench.world().address(conversation));
    let other = format!("/chats/{}/messages", bench.world().address(add(&bench, Kind::Standard, "Ada Byron")));
    for (error_type, status) in
        [("disconnected_account", 401), ("errors/account_restricted", 403), ("no_client_session", 503)]
    {
        let fault = Fault::TypedError { error_type: error_type.into(), message: "as asked".into() };
        let only = When {
            endpoint: Some(Endpoint::UnipileV1ChatMessages),
            conversation: Some(conversation),
            times: Some(1),
            ..When::default()
        };
        bench.world().inject(fault, only);
        assert_eq!(get(&bench, &other).await.status, 200);
        assert_refused(&get(&bench, &messages).await, status, error_type.trim_start_matches("errors/"));
    }
    bench.world().inject(Fault::RateLimited { retry_after: RetryAfter::Missing }, When::default());
    let limited = get(&bench, &messages).await;
    assert_refused(&limited, 429, "too_many_requests");
    assert!(limited.headers.get("retry-after").is_none());
}

#[tokio::test]
async fn ids_differ_from_version_2_and_messages_are_noted_as_served() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, 1);
    let twin = bench.world().add_conversation(Dialect::UnipileV2, Kind::Standard, "Mara Lind");
    bench.world().push(twin, "0");
    assert!(bench.world().address(conversation).len() == 22 && bench.world().address(twin).starts_with("2-"));
    let ledger = bench.world().ledger();
    assert_ne!(ledger[0].message_id, ledger[1].message_id);
    assert_eq!(get(&bench, "/messages").await.json()["items"].as_array().unwrap().len(), 1);
    let served: Vec<_> = bench.world().ledger().iter().map(|entry| entry.first_served_at.is_some()).collect();
    assert_eq!(served, [true, false]);
    let account = get(&bench, &format!("/accounts/{ACCOUNT}")).await.json();
    assert_eq!((&account["object"], &account["type"]), (&json!("Account"), &json!("LINKEDIN")));
}

#[tokio::test]
async fn the_times_of_chats_are_rounded_as_the_switch_says_and_those_of_messages_are_not() {
    let bench = Bench::start().await;
    let conversation = add(&bench, Kind::Standard, "Mara Lind");
    bench.world().push_draft(conversation, dated("x", T0 + 125));
    for (times, expected) in [(ListTimes::Cut, 0), (ListTimes::Nearest, 0), (ListTimes::Up, 1000)] {
        bench.world().set_switches(|switches| switches.unipile.v1_list_times = times);
        let chats = get(&bench, "/chats").await.json();
        assert_eq!(chats["items"][0]["timestamp"], at(T0 + expected).to_string(), "{times:?}");
    }
    assert_eq!(get(&bench, "/messages").await.json()["items"][0]["timestamp"], at(T0 + 125).to_string());
}
