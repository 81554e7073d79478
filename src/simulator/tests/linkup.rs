use serde_json::json;

use super::*;

pub(super) const T0: i64 = 1_760_000_000_000;

/// One of the two versions, spoken to as a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    V1,
    V2,
}

pub(super) use Spoken::{V1, V2};

impl Spoken {
    pub(super) fn dialect(self) -> Dialect {
        if self == V1 { Dialect::LinkupV1 } else { Dialect::LinkupV2 }
    }

    /// The contract's names for the number of messages and for the cursor of the inbox.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        if self == V1 { ("total_results", "next_cursor") } else { ("count", "cursor") }
    }
}

pub(super) fn linkup(bench: &Bench, version: Spoken, method: Method, path: &str, body: Value) -> RequestBuilder {
    let url = format!("{}{path}", bench.simulator.base_url(version.dialect()));
    let request = bench.request(method, url).header("x-api-key", Settings::default().linkup_api_key);
    if body.is_null() { request } else { request.body(body.to_string()) }
}

/// A v1 body with the session.
pub(super) fn with_session(mut fields: Value) -> Value {
    fields["login_token"] = json!(Settings::default().linkup_login_token);
    fields["country"] = json!("FR");
    fields
}

/// A v2 body with the account.
pub(super) fn action(name: &str, params: Value) -> Value {
    json!({ "account_id": Settings::default().linkup_account_id, "action": name, "params": params })
}

pub(super) async fn ask_messages(bench: &Bench, version: Spoken, fields: Value) -> Reply {
    let (path, body) = match version {
        V1 => ("/messages/conversation", with_session(fields)),
        V2 => ("/messages", action("get_conversation", fields)),
    };
    read(linkup(bench, version, Method::POST, path, body)).await.unwrap()
}

pub(super) async fn ask_inbox(bench: &Bench, version: Spoken, fields: Value) -> Reply {
    let (path, body) = match version {
        V1 => ("/messages/inbox", with_session(fields)),
        V2 => ("/messages", action("list_inbox", fields)),
    };
    read(linkup(bench, version, Method::POST, path, body)).await.unwrap()
}

/// A page of so many messages.
pub(super) async fn page(
    bench: &Bench,
    version: Spoken,
    conversation: ConversationRef,
    count: u64,
    cursor: Value,
) -> Value {
    let mut fields = json!({ "conversation_id": bench.world().address(conversation) });
    fields[version.names().0] = json!(count);
    fields["cursor"] = cursor;
    ask_messages(bench, version, fields).await.json()
}

/// A thread of messages `0`, `1`, … one second apart.
pub(super) fn thread(bench: &Bench, version: Spoken, length: i64) -> ConversationRef {
    let conversation = bench.add(version.dialect(), "Mara Lind");
    for n in 0..length {
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n * 1000));
    }
    conversation
}

pub(super) fn switch(bench: &Bench, change: impl FnOnce(&mut LinkupSwitches)) {
    bench.world().set_switches(|switches| change(&mut switches.linkup));
}

#[tokio::test]
async fn paging_walks_the_whole_thread_from_newest_to_oldest() {
    let bench = Bench::start().await;
    for version in [V1, V2] {
        let conversation = thread(&bench, version, 23);
        let (mut walked, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let data = page(&bench, version, conversation, 5, cursor).await["data"].clone();
            walked.extend(texts(&data["messages"]).iter().map(|text| text.parse::<i64>().unwrap()));
            cursor = data["next_cursor"].clone();
            assert_eq!(data.get("has_next_page"), (version == V1).then_some(&json!(!cursor.is_null())));
            if cursor.is_null() {
                break;
            }
            assert_eq!(cursor, json!((T0 + walked.last().unwrap() * 1000).to_string()));
        }
        assert_eq!(walked, (0..23).rev().collect::<Vec<_>>());
    }
    assert!(bench.world().ledger().iter().all(|entry| entry.first_served_at.is_some()));
}

#[tokio::test]
async fn a_v1_page_has_the_contracts_fields() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkupV1, "Mara Lind");
    bench.world().push_draft(conversation, Draft { outbound: true, ..dated("Monday or Tuesday?", T0) });
    let id = bench.world().push_draft(conversation, dated("Tuesday works for me.", T0 + 1));
    let address = bench.world().address(conversation);
    let answer = ask_messages(&bench, V1, json!({ "conversation_id": address })).await.json();
    assert_eq!(answer["status"], "success");
    let data = &answer["data"];
    assert_eq!(data["conversation_id"], address);
    assert!(address.starts_with("urn:li:msg_conversation:(urn:li:fsd_profile:ACoAA"), "{address}");
    assert!(address.ends_with(&format!(",{})", bench.world().conversation_id(conversation))));
    assert_eq!((&data["total_results"], &data["total_other_member_message_count"]), (&json!(2), &json!(2)));
    assert_eq!((&data["unread_count"], &data["last_seen_message"]), (&json!(1), &json!(true)));
    assert_eq!((&data["last_seen_at"], data.get("profile_url")), (&json!(T0 + 1), None));
    let message = &data["messages"][0];
    assert_eq!((&message["text"], &message["timestamp"]), (&json!("Tuesday works for me."), &json!(T0 + 1)));
    assert_eq!((&message["sender"], &message["message_type"]), (&json!("Mara Lind"), &json!("TEXT")));
    assert_eq!(message["sender_info"], json!({ "first_name": "Mara", "last_name": "Lind" }));
    let urn = message["entity_urn"].as_str().unwrap();
    assert!(urn.starts_with("urn:li:msg_message:(urn:li:fsd_profile:ACoAA"), "{urn}");
    assert!(id.starts_with("2-") && urn.ends_with(&format!(",{id})")), "{urn}");
    assert_eq!(data["messages"][1]["sender"], "Robin Keller");
}

#[tokio::test]
async fn a_v2_page_has_the_contracts_fields() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, V2, 2);
    let answer = page(&bench, V2, conversation, 10, Value::Null).await;
    assert_eq!(answer["success"], true);
    let metadata = &answer["metadata"];
    assert_eq!((&metadata["action"], &metadata["credits_consumed"]), (&json!("get_conversation"), &json!(1)));
    assert_eq!(metadata["account_id"], "sim-linkup-account");
    assert!(metadata["timestamp"].as_str().unwrap().ends_with('Z'));
    let data = &answer["data"];
    assert_eq!((&data["total_message_count"], &data["unread_count"]), (&json!(2), &json!(2)));
    let info = &data["messages"][0]["sender_info"];
    assert_eq!(info["profile_url"], bench.world().profile_url(conversation));
    assert!(["conversation_id", "has_next_page", "total_results"].iter().all(|field| data.get(field).is_none()));
}

#[tokio::test]
async fn conversations_are_named_by_urn_token_or_profile() {
    let bench = Bench::start().await;
    for (version, by_profile) in [(V1, "linkedin_url"), (V2, "profile_url")] {
        let conversation = thread(&bench, version, 1);
        let world = bench.world();
        let inbox = ask_inbox(&bench, version, json!({})).await.json();
        switch(&bench, |it| it.vanity_urls = false);
        let opaque = ask_inbox(&bench, version, json!({})).await.json();
        switch(&bench, |it| it.vanity_urls = true);
        let url = |answer: &Value| answer["data"]["conversations"][0]["participant"]["profile_url"].clone();
        assert_ne!(url(&inbox), url(&opaque));
        for asked in [
            json!({ "conversation_id": world.address(conversation) }),
            json!({ "conversation_id": world.conversation_id(conversation) }),
            json!({ by_profile: url(&inbox) }),
            json!({ by_profile: url(&opaque) }),
            json!({ by_profile: format!("{}/?utm=x", world.profile_url(conversation)) }),
        ] {
            let answer = ask_messages(&bench, version, asked.clone()).await.json();
            assert_eq!(texts(&answer["data"]["messages"]), ["0"], "{asked}");
            let named = version == V1 && asked.get(by_profile).is_some();
            assert_eq!(answer["data"].get("profile_url").is_some(), named, "{asked}");
        }
        switch(&bench, |it| it.whole_urn_required = true);
        let bare = json!({ "conversation_id": world.conversation_id(conversation) });
        assert_ne!(ask_messages(&bench, version, bare).await.json()["data"]["messages"][0]["text"], "0");
        switch(&bench, |it| it.whole_urn_required = false);
    }
}

#[tokio::test]
async fn v1_errors_come_inside_200_or_with_their_status() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, V1, 1);
    let known = json!({ "conversation_id": bench.world().address(conversation) });
    let mut elsewhere = with_session(known.clone());
    elsewhere["country"] = json!("GB");
    let mut stale = with_session(known.clone());
    stale["login_token"] = json!("yesterday's");
    let cases = [
        (known.clone(), 400, "login_token"),
        (with_session(json!({})), 400, "conversation_id or linkedin_url"),
        (with_session(json!({ "conversation_id": "2-bm9wZQ==" })), 404, "not found"),
        (with_session(json!({ "conversation_id": "x", "cursor": 5 })), 400, "cursor must be a string"),
        (elsewhere, 400, "country"),
        (stale, 403, "Cookie invalid or expired"),
    ];
    for (body, status, words) in &cases {
        let request = || linkup(&bench, V1, Method::POST, "/messages/conversation", body.clone());
        let reply = read(request()).await.unwrap();
        assert_eq!((reply.status, &reply.json()["status"]), (200, &json!("error")), "{body}");
        assert!(reply.json()["message"].as_str().unwrap().contains(words), "{}", reply.text);
        switch(&bench, |it| it.error_status = LinkupErrorStatus::Real);
        assert_eq!(read(request()).await.unwrap().status, *status, "{body}");
        switch(&bench, |it| it.error_status = LinkupErrorStatus::Ok);
    }
    let keyless = bench.client.post(format!("{}/messages/inbox", bench.simulator.base_url(Dialect::LinkupV1)));
    assert_eq!(read(keyless.body("{}")).await.unwrap().json()["message"], "Invalid API key");
    for (body, pointer) in [
        (LinkupErrorBody::Error, "/error"),
        (LinkupErrorBody::ErrorObject, "/error/message"),
        (LinkupErrorBody::Detail, "/detail"),
    ] {
        switch(&bench, |it| it.error_body = body);
        let answer = ask_messages(&bench, V1, json!({ "conversation_id": "x" })).await.json();
        assert_eq!(answer.pointer(pointer), Some(&json!("Conversation not found")), "{answer}");
    }
}

#[tokio::test]
async fn v2_errors_have_codes_and_cost_nothing() {
    let bench = Bench::start().await;
    let settings = Settings::default();
    let other = json!({ "account_id": "another", "action": "list_inbox", "params": {} });
    let cases = [
        (other, 404, "INVALID_ACCOUNT"),
        (action("dance", json!({})), 400, "INVALID_ACTION"),
        (action("get_conversation", json!({})), 400, "INVALID_PARAMS"),
        (action("get_conversation", json!({ "conversation_id": "2-bm9wZQ==" })), 400, "INVALID_PARAMS"),
        (action("list_inbox", json!({ "count": 0 })), 400, "INVALID_PARAMS"),
        (action("list_inbox", json!({ "category": "ATTIC" })), 400, "INVALID_PARAMS"),
        (json!({ "action": "list_inbox" }), 400, "INVALID_PARAMS"),
    ];
    for (body, status, code) in cases {
        let reply = read(linkup(&bench, V2, Method::POST, "/messages", body.clone())).await.unwrap();
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (status, &json!(code)), "{body}");
        assert_eq!(
            (&reply.json()["success"], &reply.json()["metadata"]["credits_consumed"]),
            (&json!(false), &json!(0))
        );
    }
    let keyless = bench.client.get(format!("{}/accounts", bench.simulator.base_url(Dialect::LinkupV2)));
    let keyless = read(keyless.header("x-api-key", &settings.api_key)).await.unwrap();
    assert_eq!((keyless.status, &keyless.json()["error"]["code"]), (403, &json!("INVALID_API_KEY")));
    let nowhere = read(linkup(&bench, V2, Method::GET, "/nowhere", Value::Null)).await.unwrap();
    assert_eq!((nowhere.status, &nowhere.json()["error"]["code"]), (404, &json!("INVALID_ACCOUNT")));
    assert_eq!(bench.world().linkup_credits(), 0);
}

#[tokio::test]
async fn a_dead_session_is_told_in_the_words_of_the_switch() {
    let bench = Bench::start().await;
    let asked = [thread(&bench, V1, 1), thread(&bench, V2, 1)];
    for words in ["Cookie invalid or expired", "login_token is no longer valid", "LinkedIn session lost"] {
        switch(&bench, |it| it.dead_session = Some(words.into()));
        let v1 = page(&bench, V1, asked[0], 10, Value::Null).await;
        assert_eq!((&v1["status"], &v1["message"]), (&json!("error"), &json!(words)));
        let v2 = ask_inbox(&bench, V2, json!({})).await;
        assert_eq!((v2.status, &v2.json()["error"]["code"]), (500, &json!("INTERNAL_ERROR")));
        assert_eq!(v2.json()["error"]["message"], words);
    }
    switch(&bench, |it| it.dead_session = Some("ACCOUNT_INACTIVE".into()));
    let v2 = page(&bench, V2, asked[1], 10, Value::Null).await;
    assert_eq!(v2["error"]["code"], "ACCOUNT_INACTIVE");
    let account = read(linkup(&bench, V2, Method::GET, "/accounts/sim-linkup-account", Value::Null)).await.unwrap();
    assert_eq!(account.json()["data"]["is_active"], false);
}

#[tokio::test]
async fn switches_change_the_place_and_the_spelling_of_pages() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, V1, 3);
    switch(&bench, |it| {
        (it.paging_place, it.sender_as_object, it.timestamp_in_seconds) = (PagingPlace::TopLevel, true, true);
        (it.entity_urn, it.plain_id, it.page_cap, it.messages_at_top_level) = (false, true, 2, true);
    });
    let answer = page(&bench, V1, conversation, 40, Value::Null).await;
    assert_eq!((texts(&answer["messages"]), &answer["has_next_page"]), (vec!["2", "1"], &json!(true)));
    assert_eq!(answer["next_cursor"], (T0 + 1000).to_string());
    assert!(["messages", "next_cursor", "has_next_page"].iter().all(|field| answer["data"].get(field).is_none()));
    let message = &answer["messages"][0];
    assert_eq!((&message["timestamp"], message.get("entity_urn")), (&json!(T0 / 1000 + 2), None));
    assert_eq!(message["sender"]["name"], "Mara Lind");
    assert!(message["id"].as_str().unwrap().starts_with("2-"));
    switch(&bench, |it| {
        *it = LinkupSwitches {
            cursor_inclusive: true,
            has_next_page: false,
            last_cursor: LastCursor::Empty,
            ..LinkupSwitches::default()
        };
        (it.timestamp_as_string, it.sender_info) = (true, false);
    });
    let data = page(&bench, V1, conversation, 10, json!((T0 + 1000).to_string())).await["data"].clone();
    assert_eq!((texts(&data["messages"]), &data["next_cursor"]), (vec!["1", "0"], &json!("")));
    assert_eq!((data.get("has_next_page"), data["messages"][0].get("sender_info")), (None, None));
    assert_eq!(data["messages"][1]["timestamp"], T0.to_string());
    switch(&bench, |it| it.last_cursor = LastCursor::Absent);
    assert!(page(&bench, V1, conversation, 10, Value::Null).await["data"].get("next_cursor").is_none());
    switch(&bench, |it| *it = LinkupSwitches { last_cursor: LastCursor::Dangling, ..LinkupSwitches::default() });
    let last = page(&bench, V1, conversation, 10, Value::Null).await["data"]["next_cursor"].clone();
    let beyond = page(&bench, V1, conversation, 10, last).await["data"].clone();
    assert_eq!((&beyond["messages"], &beyond["next_cursor"]), (&json!([]), &Value::Null));
    switch(&bench, |it| it.refuse_unknown_fields = true);
    let odd = ask_messages(&bench, V1, json!({ "conversation_id": "x", "start_page": 1 })).await.json();
    assert_eq!(odd["message"], "Unknown parameter: start_page");
}

#[tokio::test]
async fn system_messages_and_third_senders_are_served_as_drafted() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkupV2, "Mara Lind");
    let system = Draft { message_type: Some("SYSTEM".into()), ..dated("", T0) };
    bench.world().push_draft(conversation, system);
    let third = Draft { sender_name: Some("Tomas Ekberg".into()), ..dated("Hello both", T0 + 1) };
    bench.world().push_draft(conversation, third);
    let messages = page(&bench, V2, conversation, 10, Value::Null).await["data"]["messages"].clone();
    assert_eq!((&messages[1]["message_type"], &messages[1]["text"]), (&json!("SYSTEM"), &json!("")));
    assert_eq!(messages[0]["sender"], "Tomas Ekberg");
    assert_eq!(messages[0]["sender_info"]["profile_url"], "https://www.linkedin.com/in/tomas-ekberg");
    let row = ask_inbox(&bench, V2, json!({})).await.json()["data"]["conversations"][0].clone();
    assert_eq!(
        (&row["participant"]["name"], &row["last_message"]["sender"]["name"]),
        (&json!("Mara Lind"), &messages[0]["sender"])
    );
}

#[tokio::test]
async fn a_v2_read_marks_as_read_unless_told_not_to() {
    let bench = Bench::start().await;
    let conversation = thread(&bench, V2, 2);
    let unread = async || ask_inbox(&bench, V2, json!({})).await.json()["data"]["conversations"][0]["unread"].clone();
    let id = bench.world().address(conversation);
    ask_messages(&bench, V2, json!({ "conversation_id": id, "mark_as_read": false })).await;
    assert_eq!((bench.world().was_marked_read(conversation), unread().await), (false, json!(2)));
    ask_messages(&bench, V2, json!({ "conversation_id": id })).await;
    assert_eq!((bench.world().was_marked_read(conversation), unread().await), (true, json!(0)));
    bench.world().push(conversation, "new");
    assert_eq!(unread().await, 1);
    let only_unread = ask_inbox(&bench, V2, json!({ "unread_only": true })).await.json();
    assert_eq!(only_unread["data"]["total_results"], 1);
}

#[tokio::test]
async fn sales_navigator_is_a_store_of_its_own_in_v2() {
    let bench = Bench::start().await;
    let conversation = bench.world().add_conversation(Dialect::LinkupV2, Kind::SalesNavigator, "Mara Lind");
    bench.world().push(conversation, "hello");
    let id = bench.world().address(conversation);
    let other = ask_messages(&bench, V2, json!({ "conversation_id": id })).await.json();
    assert_eq!(other["error"]["code"], "INVALID_PARAMS");
    let right = ask_messages(&bench, V2, json!({ "conversation_id": id, "sales_nav": true })).await.json();
    assert_eq!(texts(&right["data"]["messages"]), ["hello"]);
    assert_eq!(ask_inbox(&bench, V2, json!({})).await.json()["data"]["total_results"], 0);
    assert_eq!(ask_inbox(&bench, V2, json!({ "sales_nav": true })).await.json()["data"]["total_results"], 1);
}

#[tokio::test]
async fn the_credits_that_are_left_count_down_and_asking_for_them_is_free() {
    let bench = Bench::start().await;
    switch(&bench, |it| it.balance = 100);
    let left = async || read(linkup(&bench, V2, Method::GET, "/credits", Value::Null)).await.unwrap().json();
    let answer = left().await;
    assert_eq!((&answer["success"], &answer["data"]), (&json!(true), &json!({ "credits": 100 })));
    assert_eq!(answer["metadata"]["credits_consumed"], 0);
    let conversation = thread(&bench, V2, 2);
    page(&bench, V2, conversation, 25, Value::Null).await;
    assert_eq!(left().await["data"]["credits"], 97);
    assert_eq!(bench.world().request_count(Endpoint::LinkupV2Credits), 2);
}
