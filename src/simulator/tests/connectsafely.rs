use serde_json::json;

use super::*;

const T0: i64 = 1_760_000_000_000;

/// A thread of messages `0`, `1`, … one second apart.
fn thread(bench: &Bench, length: i64) -> ConversationRef {
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    for n in 0..length {
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n * 1000));
    }
    conversation
}

#[tokio::test]
async fn paging_walks_the_whole_thread_from_newest_to_oldest() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 23);
    let (mut walked, mut query) = (Vec::new(), "count=5".to_owned());
    loop {
        let page = bench.page(conversation, &query).await;
        walked.extend(texts(&page["messages"]).iter().map(|text| text.parse::<i64>().unwrap()));
        if page["hasMore"] == false {
            assert_eq!(page["cursor"], T0.to_string());
            break;
        }
        query = format!("count=5&cursor={}", page["cursor"].as_str().unwrap());
    }
    assert_eq!(walked, (0..23).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn page_has_the_contracts_fields() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    let id = bench.world().push_draft(conversation, dated("Tuesday works for me.", T0));
    let page = bench.page(conversation, "accountId=65f0c0ffee00c0ffee00c0de&sync=true").await;
    let message = &page["messages"][0];
    let urn = message["messageUrn"].as_str().unwrap();
    assert!(
        urn.starts_with("urn:li:msg_message:(urn:li:fsd_profile:ACoAA") && urn.ends_with(&format!(",{id})")),
        "{urn}"
    );
    assert!(id.starts_with("2-"));
    assert_eq!(message["sentAt"], T0);
    assert_eq!(message["senderName"], "Mara Lind");
    assert_eq!((&message["isSentByOwner"], &message["hasAttachment"]), (&json!(false), &json!(false)));
    assert_eq!((&message["attachments"], &message["senderPhoto"]), (&json!([]), &Value::Null));
    assert_eq!(page["participants"][0]["profileId"], message["senderProfileId"]);
    assert_eq!((&page["success"], &page["hasMore"], &page["note"]), (&json!(true), &json!(false), &Value::Null));
    let address = bench.world().address(conversation);
    assert!(address.ends_with(&format!(",{})", bench.world().conversation_id(conversation))));
}

#[tokio::test]
async fn owner_of_the_mailbox_in_the_urn_is_the_sender_of_outbound_messages() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    bench.world().push_draft(conversation, Draft { outbound: true, ..dated("mine", T0) });
    let page = bench.page(conversation, "").await;
    let sender = page["messages"][0]["senderProfileId"].as_str().unwrap();
    assert!(bench.world().address(conversation).contains(&format!("fsd_profile:{sender},")));
    assert_eq!(page["messages"][0]["isSentByOwner"], true);
}

#[tokio::test]
async fn since_is_exclusive_or_inclusive_by_switch_and_ignored_beside_a_cursor() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 5);
    let query = format!("since={}", T0 + 3000);
    let page = bench.page(conversation, &query).await;
    assert_eq!((texts(&page["messages"]), &page["hasMore"]), (vec!["4"], &json!(true)));
    bench.world().set_switches(|switches| {
        switches.connect_safely.since_inclusive = true;
        switches.connect_safely.has_more_counts_history = false;
    });
    let page = bench.page(conversation, &query).await;
    assert_eq!((texts(&page["messages"]), &page["hasMore"]), (vec!["4", "3"], &json!(false)));
    let page = bench.page(conversation, &format!("{query}&cursor={}", T0 + 2000)).await;
    assert_eq!(texts(&page["messages"]), ["1", "0"]);
}

#[tokio::test]
async fn overfull_since_answer_keeps_the_newest_or_the_oldest_part() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 9);
    let query = format!("since={T0}&count=3");
    assert_eq!(texts(&bench.page(conversation, &query).await["messages"]), ["8", "7", "6"]);
    bench.world().set_switches(|switches| switches.connect_safely.since_keeps = Truncation::Oldest);
    assert_eq!(texts(&bench.page(conversation, &query).await["messages"]), ["3", "2", "1"]);
}

#[tokio::test]
async fn since_before_the_first_message_is_truncated_like_any_other() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 9);
    bench.world().set_switches(|switches| switches.connect_safely.since_keeps = Truncation::Oldest);
    assert_eq!(texts(&bench.page(conversation, "since=0&count=3").await["messages"]), ["2", "1", "0"]);
    assert_eq!(texts(&bench.page(conversation, "count=3").await["messages"]), ["8", "7", "6"]);
}

#[tokio::test]
async fn cursor_boundary_page_cap_and_cursor_on_the_last_page_follow_switches() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 6);
    bench.world().set_switches(|switches| {
        let it = &mut switches.connect_safely;
        (it.cursor_inclusive, it.page_cap, it.cursor_on_last_page) = (true, 3, false);
        it.order = Order::Ascending;
    });
    let first = bench.page(conversation, "count=50").await;
    assert_eq!(texts(&first["messages"]), ["3", "4", "5"]);
    let second = bench.page(conversation, &format!("cursor={}", first["cursor"].as_str().unwrap())).await;
    assert_eq!(texts(&second["messages"]), ["1", "2", "3"]);
    let last = bench.page(conversation, &format!("cursor={}", T0 + 1000)).await;
    assert_eq!((texts(&last["messages"]), last.get("cursor")), (vec!["0", "1"], None));
}

#[tokio::test]
async fn switches_change_the_spelling_of_pages() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 1);
    bench.world().set_switches(|switches| {
        let it = &mut switches.connect_safely;
        (it.wrap_in_data, it.sent_at_string, it.null_attachments) = (true, true, true);
        (it.sender, it.owner_flag, it.message_urn) = (SenderForm::Slug, OwnerFlag::Inverted, UrnForm::Messaging);
        it.note = Some("from cache".into());
    });
    let page = bench.page(conversation, "").await["data"].clone();
    let message = &page["messages"][0];
    assert_eq!(message["sentAt"], T0.to_string());
    assert_eq!((&message["senderProfileId"], &message["isSentByOwner"]), (&json!("mara-lind"), &json!(true)));
    assert_eq!((&message["attachments"], &page["note"]), (&Value::Null, &json!("from cache")));
    assert!(message["messageUrn"].as_str().unwrap().starts_with("urn:li:messagingMessage:2-"));
    bench.world().set_switches(|switches| {
        switches.connect_safely.sender = SenderForm::Absent;
        switches.connect_safely.owner_flag = OwnerFlag::Absent;
    });
    let page = bench.page(conversation, "").await["data"].clone();
    assert!(["senderProfileId", "isSentByOwner"].iter().all(|field| page["messages"][0].get(field).is_none()));
}

#[tokio::test]
async fn sales_navigator_threads_ignore_since_by_default() {
    let bench = Bench::start().await;
    let conversation = bench.world().add_conversation(Dialect::ConnectSafely, Kind::SalesNavigator, "Yuki Tanabe");
    assert!(bench.world().address(conversation).starts_with("urn:li:salesNav_thread:2-"));
    assert_eq!(bench.world().address(conversation), bench.world().conversation_id(conversation));
    bench.world().push_draft(conversation, dated("old", T0));
    let query = format!("since={}", T0 + 1);
    assert_eq!(texts(&bench.page(conversation, &query).await["messages"]), ["old"]);
    bench.world().set_switches(|switches| switches.connect_safely.sales_navigator_ignores_since = false);
    assert!(texts(&bench.page(conversation, &query).await["messages"]).is_empty());
}

#[tokio::test]
async fn without_sync_the_answer_may_be_behind() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    bench.world().push(conversation, "fresh");
    bench.world().set_switches(|switches| switches.connect_safely.database_lag_ms = 60_000);
    assert!(texts(&bench.page(conversation, "sync=false").await["messages"]).is_empty());
    assert_eq!(texts(&bench.page(conversation, "sync=true").await["messages"]), ["fresh"]);
}

#[tokio::test]
async fn wrong_key_account_thread_and_parameter_are_refused_in_every_shape() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 1);
    let url = format!("{}/accounts", bench.simulator.base_url(Dialect::ConnectSafely));
    assert_eq!(read(bench.client.get(&url)).await.unwrap().status, 401);
    assert_eq!(read(bench.client.get(&url).header("authorization", "Bearer nonsense")).await.unwrap().status, 401);
    assert_eq!(bench.try_page(conversation, "accountId=0").await.unwrap().status, 404);
    assert_eq!(read(bench.connect_safely("/conversations/2-nothing/messages")).await.unwrap().status, 404);
    for query in ["count=0", "count=many", "since=2026-01-01", "cursor=x", "sync=maybe"] {
        assert_eq!(bench.try_page(conversation, query).await.unwrap().status, 400, "{query}");
    }
    let shapes = [
        (ErrorBody::Error, "/error"),
        (ErrorBody::SuccessError, "/error"),
        (ErrorBody::Issues, "/error/issues/0/message"),
        (ErrorBody::CodeMessage, "/message"),
        (ErrorBody::ErrorDetails, "/errorDetails/message"),
    ];
    for (shape, text) in shapes {
        bench.world().set_switches(|switches| switches.connect_safely.error_body = shape);
        let body = bench.page(conversation, "count=0").await;
        assert_eq!(body.pointer(text).unwrap(), "count must be a number from 1");
    }
}

#[tokio::test]
async fn every_spelling_of_a_thread_finds_it() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, 1);
    let token = bench.world().conversation_id(conversation);
    for urn in [token.clone(), format!("urn:li:messagingThread:{token}"), bench.world().address(conversation)] {
        let reply = read(bench.connect_safely(&format!("/conversations/{urn}/messages"))).await.unwrap();
        assert_eq!(reply.status, 200, "{urn}");
    }
}

#[tokio::test]
async fn conversation_list_is_paged_by_last_activity() {
    let bench = Bench::start().await;
    let threads: Vec<_> =
        ["Ada Byron", "Mara Lind", "Yuki Tanabe"].map(|name| bench.add(Dialect::ConnectSafely, name)).into();
    for (n, conversation) in threads.iter().enumerate() {
        bench.world().push_draft(*conversation, dated("hello", T0 + n as i64));
    }
    bench.world().push_draft(threads[0], Draft { outbound: true, ..dated("newest", T0 + 9) });
    let first = read(bench.connect_safely("/conversations?count=2")).await.unwrap().json();
    let names = |body: &Value| -> Vec<String> {
        let rows = body["conversations"].as_array().unwrap();
        rows.iter().map(|row| row["participants"][0]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((names(&first).join(","), &first["hasMore"]), ("Ada Byron,Yuki Tanabe".into(), &json!(true)));
    let row = &first["conversations"][0];
    assert_eq!(row["conversationUrn"], bench.world().address(threads[0]));
    assert_eq!((&row["latestMessage"]["text"], &row["unreadCount"]), (&json!("newest"), &json!(0)));
    assert_eq!(row["lastActivityAt"], at(T0 + 9).to_string());
    let cursor = first["nextCursor"].as_str().unwrap();
    let second =
        read(bench.connect_safely(&format!("/conversations?count=2&nextCursor={cursor}"))).await.unwrap().json();
    assert_eq!((names(&second).join(","), &second["hasMore"]), ("Mara Lind".into(), &json!(false)));
    assert_eq!(second["nextCursor"], Value::Null);
}

#[tokio::test]
async fn conversation_list_may_start_empty_and_go_on_at_linkedin() {
    let bench = Bench::start().await;
    thread(&bench, 1);
    bench.world().set_switches(|switches| switches.connect_safely.list_starts_empty = true);
    let first = read(bench.connect_safely("/conversations")).await.unwrap().json();
    assert_eq!((&first["conversations"], &first["hasMore"]), (&json!([]), &json!(true)));
    let cursor = first["nextCursor"].as_str().unwrap();
    assert!(cursor.starts_with("linkedin:"));
    let second = read(bench.connect_safely(&format!("/conversations?nextCursor={cursor}"))).await.unwrap().json();
    assert_eq!((second["conversations"].as_array().unwrap().len(), &second["fromCache"]), (1, &json!(false)));
}

#[tokio::test]
async fn accounts_health_and_retired_paths_answer_as_documented() {
    let bench = Bench::start().await;
    thread(&bench, 1);
    let list = read(bench.connect_safely("/accounts")).await.unwrap().json();
    assert_eq!((&list[0]["id"], &list[0]["status"]), (&json!("65f0c0ffee00c0ffee00c0de"), &json!("AVAILABLE")));
    bench.world().set_switches(|switches| switches.connect_safely.account_has_tokens = false);
    for path in ["/account/status", "/account/65f0c0ffee00c0ffee00c0de/status"] {
        let status = read(bench.connect_safely(path)).await.unwrap().json();
        assert_eq!((&status["hasTokens"], &status["linkedinPlan"]["hasSalesNavigator"]), (&json!(false), &json!(true)));
    }
    assert_eq!(read(bench.connect_safely("/account/0/status")).await.unwrap().status, 404);
    let health = format!("http://{}/connectsafely/health", bench.simulator.addr());
    assert_eq!(read(bench.request(Method::GET, health)).await.unwrap().status, 200);
    let exists = read(bench.connect_safely("/conversations/exists/mara-lind")).await.unwrap().json();
    assert_eq!(exists["hasConversation"], true);
    let sync = read(bench.connect_safely("/conversations/sync/status")).await.unwrap().json();
    assert_eq!(sync["accounts"][0]["syncState"]["totalMessages"], 1);
    let moved = read(bench.connect_safely("/messaging/recent-messages")).await.unwrap();
    assert_eq!(
        (moved.status, moved.headers["location"].to_str().unwrap()),
        (307, "/connectsafely/linkedin/conversations")
    );
}

#[tokio::test]
async fn forced_ids_are_served_verbatim_and_normalised_for_the_ledger() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    let force = |id: &str| bench.world().push_draft(conversation, Draft { id: Some(id.into()), ..Draft::default() });
    assert_eq!(force("urn:li:messagingMessage:2-QQ=="), "2-QQ==");
    assert_eq!(force("2-QQ=="), "2-QQ==");
    assert_eq!(force("nonsense"), "nonsense");
    let page = bench.page(conversation, "").await;
    assert_eq!(page["messages"][0]["messageUrn"], "nonsense");
    assert!(page["messages"][1]["messageUrn"].as_str().unwrap().ends_with(",2-QQ==)"));
    assert_eq!(page["messages"][2]["messageUrn"], "urn:li:messagingMessage:2-QQ==");
}
