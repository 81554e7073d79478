use serde_json::json;

use super::*;

const T0: i64 = 1_760_000_000_000;

pub(super) async fn get(bench: &Bench, path: &str) -> Reply {
    read(bench.unipile(path)).await.unwrap()
}

pub(super) fn add(bench: &Bench, kind: Kind, person: &str) -> ConversationRef {
    bench.world().add_conversation(Dialect::UnipileV2, kind, person)
}

/// A chat of messages `0`, `1`, … one second apart.
pub(super) fn chat(bench: &Bench, kind: Kind, length: i64) -> ConversationRef {
    let conversation = add(bench, kind, "Mara Lind");
    for n in 0..length {
        bench.world().push_draft(conversation, dated(&n.to_string(), T0 + n * 1000));
    }
    conversation
}

fn ids(items: &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// A value in a query.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub(super) fn iso(millis: i64) -> String {
    encoded(&at(millis).to_string())
}

#[track_caller]
pub(super) fn assert_problem(reply: &Reply, status: u16, error_type: &str) {
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    let body = reply.json();
    assert_eq!((reply.status, &body["type"], &body["status"]), (status, &json!(error_type), &json!(status)));
    assert_eq!(body["object"], "Error");
    assert!(body["title"].is_string() && body["detail"].is_string() && body["req_id"].is_string());
}

#[tokio::test]
async fn a_message_and_its_chat_have_every_field_that_the_contract_requires() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, Kind::Standard, 1);
    let list = get(&bench, &format!("{}/messages", bench.chat(conversation))).await.json();
    let message = &list["data"][0];
    assert_eq!(
        (&message["object"], &message["text"], &message["timestamp"]),
        (&json!("Message"), &json!("0"), &json!("2025-10-09T08:53:20.000Z"))
    );
    assert_eq!(message["chat_id"], bench.world().conversation_id(conversation));
    for flag in ["sender", "hidden", "seen", "pinned", "deleted", "edited", "event", "mentionned"] {
        assert_eq!(message[format!("is_{flag}")], false, "{flag}");
    }
    assert_eq!((&message["is_delivered"], &message["provider"]), (&json!(true), &json!("linkedin")));
    assert_eq!((&message["reactions_counter"], &message["attachments"]), (&json!([]), &json!([])));
    assert_eq!(message["sender"]["id"], message["sender_id"]);
    let chat = get(&bench, &bench.chat(conversation)).await.json();
    for (field, value) in [
        ("object", json!("Chat")),
        ("id", json!(bench.world().address(conversation))),
        ("name", json!("Mara Lind")),
        ("last_message_timestamp", json!("2025-10-09T08:53:20.000Z")),
        ("muted_until", json!(false)),
        ("is_group", json!(false)),
        ("is_1to1", json!(true)),
        ("is_channel", json!(false)),
        ("type", json!("1to1")),
        ("is_pinned", json!(false)),
        ("is_readonly", json!(false)),
        ("is_archived", json!(false)),
        ("folders", json!([])),
        ("unread_count", json!(1)),
        ("provider", json!("linkedin")),
        ("last_message", json!({ "text": "0", "sender_display_name": "Mara Lind", "is_sender": false })),
        ("user_id", message["sender_id"].clone()),
    ] {
        assert_eq!(chat[field], value, "{field}");
    }
}

#[tokio::test]
async fn chat_ids_need_encoding_and_message_ids_are_unique_in_their_chat_only() {
    let bench = Bench::start().await;
    let chats: Vec<_> = (0..20).map(|_| add(&bench, Kind::Standard, "Ada Byron")).collect();
    let addresses: Vec<_> = chats.iter().map(|chat| bench.world().address(*chat)).collect();
    assert!(addresses.iter().all(|id| id.starts_with("2-") && id.ends_with('=')));
    for awkward in ['+', '/'] {
        assert!(addresses.iter().any(|id| id.contains(awkward)), "{awkward}");
    }
    for chat in &chats {
        bench.world().push(*chat, "hello");
        assert_eq!(get(&bench, &bench.chat(*chat)).await.status, 200);
    }
    let ledger = bench.world().ledger();
    assert!(ledger.iter().all(|entry| entry.message_id == ledger[0].message_id));
    let second = bench.world().push(chats[0], "again");
    assert_ne!(second, ledger[0].message_id);
}

#[tokio::test]
async fn classic_and_sales_navigator_page_by_offset_and_refuse_cursors() {
    let bench = Bench::start().await;
    for kind in [Kind::Standard, Kind::SalesNavigator] {
        let messages = format!("{}/messages", bench.chat(chat(&bench, kind, 7)));
        let first = get(&bench, &format!("{messages}?limit=3")).await.json();
        assert_eq!((texts(&first["data"]), first.get("next_cursor")), (vec!["6", "5", "4"], None));
        assert_eq!(first["total_count"], 7);
        let last = get(&bench, &format!("{messages}?limit=3&offset=6")).await.json();
        assert_eq!(texts(&last["data"]), ["0"]);
        assert_eq!(get(&bench, &format!("{messages}?offset=7")).await.json()["data"], json!([]));
        assert_problem(&get(&bench, &format!("{messages}?cursor=eA")).await, 400, "provider/invalid_parameters");
    }
}

#[tokio::test]
async fn recruiter_pages_by_cursor_and_refuses_or_ignores_offsets() {
    let bench = Bench::start().await;
    let conversation = chat(&bench, Kind::Recruiter, 7);
    let messages = format!("{}/messages", bench.chat(conversation));
    let (mut walked, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = get(&bench, &format!("{messages}?{query}")).await.json();
        walked.extend(texts(&page["data"]).iter().map(|text| text.parse::<i64>().unwrap()));
        // What arrives meanwhile does not move the position.
        bench.world().push(conversation, "99");
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("cursor={}", encoded(cursor));
    }
    assert_eq!(walked, (0..7).rev().collect::<Vec<_>>());
    let refused = get(&bench, &format!("{messages}?limit=3&offset=3")).await;
    assert_problem(&refused, 400, "provider/invalid_parameters");
    assert!(refused.json()["detail"].as_str().unwrap().contains("use a cursor"));
    bench.world().set_switches(|switches| switches.unipile.offset_where_cursor_needed_is_400 = false);
    let again = get(&bench, &format!("{messages}?limit=3&offset=3")).await.json();
    assert_eq!(texts(&again["data"]), ["99", "99", "99"]);
}

#[tokio::test]
async fn a_cursor_of_another_list_is_refused() {
    let bench = Bench::start().await;
    let (one, other) = (chat(&bench, Kind::Recruiter, 3), chat(&bench, Kind::Recruiter, 3));
    let page = get(&bench, &format!("{}/messages?limit=1", bench.chat(one))).await.json();
    let cursor = encoded(page["next_cursor"].as_str().unwrap());
    let refused = get(&bench, &format!("{}/messages?cursor={cursor}", bench.chat(other))).await;
    assert_problem(&refused, 400, "provider/invalid_parameters");
}

#[tokio::test]
async fn before_and_after_leave_out_their_own_instant_and_may_do_nothing() {
    let bench = Bench::start().await;
    let messages = format!("{}/messages", bench.chat(chat(&bench, Kind::Standard, 5)));
    let both = format!("{messages}?after={}&before={}", iso(T0 + 1000), iso(T0 + 4000));
    let page = get(&bench, &both).await.json();
    assert_eq!((texts(&page["data"]), &page["total_count"]), (vec!["3", "2"], &json!(2)));
    bench.world().set_switches(|switches| switches.unipile.after_honoured = false);
    assert_eq!(get(&bench, &both).await.json()["data"].as_array().unwrap().len(), 5);
    for inexact in ["2025-10-09T08:53:20Z", "2025-10-09T08:53:20.0Z", "2025-10-09T10:53:20.000+02:00", "1760000000000"]
    {
        let refused = get(&bench, &format!("{messages}?after={}", encoded(inexact))).await;
        assert_problem(&refused, 400, "api/invalid_parameters");
    }
}

#[tokio::test]
async fn pages_end_at_the_cap_in_silence_or_with_a_refusal() {
    let bench = Bench::start().await;
    let messages = format!("{}/messages", bench.chat(chat(&bench, Kind::Standard, 40)));
    let length =
        async |query: &str| get(&bench, &format!("{messages}?{query}")).await.json()["data"].as_array().unwrap().len();
    assert_eq!((length("").await, length("limit=25").await, length("limit=100").await), (20, 25, 25));
    for nonsense in ["0", "-1", "many"] {
        let refused = get(&bench, &format!("{messages}?limit={nonsense}")).await;
        assert_problem(&refused, 400, "api/invalid_parameters");
    }
    bench.world().set_switches(|switches| switches.unipile.limit_over_cap_is_400 = true);
    assert_problem(&get(&bench, &format!("{messages}?limit=26")).await, 400, "api/invalid_parameters");
}

#[tokio::test]
async fn an_inbox_has_the_chats_of_its_product_and_the_last_one_to_move_comes_first() {
    let bench = Bench::start().await;
    let classic: Vec<_> = (0..3).map(|_| add(&bench, Kind::Standard, "Ada Byron")).collect();
    let navigator = add(&bench, Kind::SalesNavigator, "Mara Lind");
    let recruiter = add(&bench, Kind::Recruiter, "Tomas Ekberg");
    for (n, conversation) in [classic[1], navigator, classic[0], recruiter].into_iter().enumerate() {
        bench.world().push_draft(conversation, dated("x", T0 + n as i64));
    }
    let listed = async |path: &str| ids(&get(&bench, path).await.json()["data"]);
    let of = |chats: &[ConversationRef]| chats.iter().map(|chat| bench.world().address(*chat)).collect::<Vec<_>>();
    assert_eq!(listed("/inboxes/CLASSIC_PRIMARY/chats").await, of(&[classic[0], classic[1], classic[2]]));
    assert_eq!(listed("/inboxes/SALES_NAVIGATOR_PRIMARY/chats").await, of(&[navigator]));
    assert_eq!(listed("/inboxes/RECRUITER_PRIMARY/chats").await, of(&[recruiter]));
    let all = [recruiter, classic[0], navigator, classic[1], classic[2]];
    assert_eq!(listed("/chats").await, of(&all));
    assert_eq!(listed("/chats?limit=2&offset=3").await, of(&all[3..]));
    bench.world().push(classic[1], "up");
    assert_eq!(listed("/inboxes/CLASSIC_PRIMARY/chats?limit=1").await, of(&[classic[1]]));
    let page = get(&bench, "/inboxes/CLASSIC_PRIMARY/chats?limit=1").await.json();
    assert_eq!((&page["total_count"], page.get("next_cursor")), (&json!(3), None));
}

#[tokio::test]
async fn a_chat_that_is_filed_elsewhere_is_in_that_inbox_alone_and_its_id_tells_whose_it_is() {
    let bench = Bench::start().await;
    let primary = add(&bench, Kind::Standard, "Ada Byron");
    let filed = [("CLASSIC_INMAIL", "2-"), ("CLASSIC_ARCHIVED", "2-"), ("COMPANY_1001_PRIMARY", "COMPANY_1001_2-")];
    let listed = async |inbox: &str| ids(&get(&bench, &format!("/inboxes/{inbox}/chats")).await.json()["data"]);
    for (inbox, prefix) in filed {
        let chat = bench.world().address(bench.world().add_to_inbox(inbox, "Mara Lind"));
        assert!(chat.starts_with(prefix), "{chat}");
        assert_eq!(listed(inbox).await, [chat]);
    }
    assert_eq!(listed("CLASSIC_PRIMARY").await, [bench.world().address(primary)]);
    for (kind, prefix) in [(Kind::SalesNavigator, "SALES_NAVIGATOR_2-"), (Kind::Recruiter, "RECRUITER_2-")] {
        let chat = bench.world().address(add(&bench, kind, "Mara Lind"));
        assert!(chat.starts_with(prefix), "{chat}");
    }
    let inboxes = ids(&get(&bench, "/inboxes").await.json()["data"]);
    assert!(filed.iter().all(|(inbox, _)| inboxes.iter().any(|there| there == inbox)), "{inboxes:?}");
}

#[tokio::test]
async fn the_times_of_chats_are_rounded_as_the_switch_says_and_those_of_messages_are_not() {
    let bench = Bench::start().await;
    let conversation = add(&bench, Kind::Standard, "Mara Lind");
    bench.world().push_draft(conversation, dated("x", T0 + 625));
    for (times, expected) in [(ListTimes::Exact, 625), (ListTimes::Cut, 0), (ListTimes::Nearest, 1000)] {
        bench.world().set_switches(|switches| switches.unipile.list_times = times);
        let page = get(&bench, "/inboxes/CLASSIC_PRIMARY/chats").await.json();
        assert_eq!(page["data"][0]["last_message_timestamp"], at(T0 + expected).to_string(), "{times:?}");
    }
    let page = get(&bench, &format!("/chats/{}/messages", encoded(&bench.world().address(conversation)))).await.json();
    assert_eq!(page["data"][0]["timestamp"], at(T0 + 625).to_string());
}

#[tokio::test]
async fn inboxes_come_from_switches_and_may_be_disabled_forbidden_or_unread_only() {
    let bench = Bench::start().await;
    let unread = chat(&bench, Kind::Standard, 1);
    let answered = add(&bench, Kind::Standard, "Ada Byron");
    bench.world().push_draft(answered, Draft { outbound: true, ..dated("mine", T0) });
    bench.world().set_switches(|switches| {
        let it = &mut switches.unipile;
        it.inboxes =
            ["CLASSIC_PRIMARY", "CLASSIC_UNREAD", "CLASSIC_ARCHIVED", "RECRUITER_PRIMARY"].map(str::to_owned).into();
        it.disabled_inboxes = vec!["CLASSIC_ARCHIVED".into()];
        it.forbidden_inboxes = vec!["RECRUITER_PRIMARY".into()];
    });
    let inboxes = get(&bench, "/inboxes").await.json();
    assert_eq!(ids(&inboxes["data"]), ["CLASSIC_PRIMARY", "CLASSIC_UNREAD", "CLASSIC_ARCHIVED", "RECRUITER_PRIMARY"]);
    let disabled: Vec<_> = (0..4).map(|n| inboxes["data"][n]["disabled"].as_bool().unwrap()).collect();
    assert_eq!((disabled, &inboxes["data"][0]["object"]), (vec![false, false, true, false], &json!("Inbox")));
    let listed = get(&bench, "/inboxes/CLASSIC_UNREAD/chats").await.json();
    assert_eq!((ids(&listed["data"]), &listed["total_count"]), (vec![bench.world().address(unread)], &json!(1)));
    for forbidden in ["CLASSIC_ARCHIVED", "RECRUITER_PRIMARY"] {
        let refused = get(&bench, &format!("/inboxes/{forbidden}/chats")).await;
        assert_problem(&refused, 403, "provider/insufficient_permissions");
    }
    assert_problem(&get(&bench, "/inboxes/NOWHERE/chats").await, 404, "provider/resource_not_found");
    for filter in ["type=1to1", "is_unread=true", "is_archived=false"] {
        let refused = get(&bench, &format!("/chats?{filter}")).await;
        assert_problem(&refused, 400, "provider/invalid_parameters");
    }
}

#[tokio::test]
async fn a_thousand_chats_are_walked_without_gap_or_repeat() {
    let bench = Bench::start().await;
    let chats: Vec<_> = (0..1000).map(|n| add(&bench, Kind::Recruiter, &format!("Person {n}"))).collect();
    for chat in &chats {
        bench.world().push(*chat, "x");
    }
    let (mut walked, mut query) = (Vec::new(), "limit=25".to_owned());
    loop {
        let page = get(&bench, &format!("/inboxes/RECRUITER_PRIMARY/chats?{query}")).await.json();
        walked.extend(ids(&page["data"]));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=25&cursor={}", encoded(cursor));
    }
    let wanted: Vec<_> = chats.iter().rev().map(|chat| bench.world().address(*chat)).collect();
    assert_eq!(walked, wanted);
}
