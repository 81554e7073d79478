use std::time::Instant;

use serde_json::json;

use super::*;

/// A ConnectSafely conversation with a message, and a fault that strikes the next page.
async fn struck(fault: Fault) -> (Bench, ConversationRef) {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    bench.world().push(conversation, "hello");
    bench.world().inject(fault, When { times: Some(1), ..When::default() });
    (bench, conversation)
}

/// The struck page, after which the next one must be sound.
async fn page_of(fault: Fault) -> Result<Reply, reqwest::Error> {
    let (bench, conversation) = struck(fault).await;
    let reply = bench.try_page(conversation, "").await;
    assert_eq!(texts(&bench.page(conversation, "").await["messages"]), ["hello"]);
    reply
}

fn never_served(bench: &Bench) -> bool {
    bench.world().ledger()[0].first_served_at.is_none()
}

#[tokio::test]
async fn made_up_answers_look_as_asked() {
    let status = page_of(Fault::Status { code: 418, body: "{}".into(), headers: vec![("x-a".into(), "b".into())] });
    let status = status.await.unwrap();
    assert_eq!((status.status, status.text.as_str(), &status.headers["x-a"]), (418, "{}", &"b".parse().unwrap()));
    let page = page_of(Fault::Html200).await.unwrap();
    assert_eq!((page.status, &page.headers["content-type"]), (200, &"text/html".parse().unwrap()));
    assert!(page.text.starts_with("<html>"));
    assert_eq!(page_of(Fault::Html5xx(502)).await.unwrap().status, 502);
    assert!(page_of(Fault::Oversized { bytes: 5_000_000 }).await.unwrap().text.len() > 5_000_000);
    let nested = page_of(Fault::DeeplyNested { depth: 100_000 }).await.unwrap();
    assert!(nested.text.starts_with(r#"{"success":true,"messages":[[[["#) && nested.text.ends_with("]]]]}"));
    assert_eq!(page_of(Fault::SuccessFalse).await.unwrap().json()["success"], false);
    assert_eq!(page_of(Fault::MissingPayload).await.unwrap().json(), json!({ "success": true }));
    let typed = Fault::TypedError { error_type: "forbidden".into(), message: "trial ended".into() };
    let typed = page_of(typed).await.unwrap();
    assert_eq!((typed.status, &typed.json()["code"]), (403, &json!("forbidden")));
}

#[tokio::test]
async fn rate_limits_say_when_to_come_back_in_every_way() {
    let limited = async |retry_after| page_of(Fault::RateLimited { retry_after }).await.unwrap();
    let soon = |text: &str| {
        let moment = UnixMillis::parse(text).unwrap();
        assert!((25..=30).contains(&moment.since(UnixMillis::now()).as_secs()), "{text}");
    };
    let reply = limited(RetryAfter::Seconds(7)).await;
    assert_eq!((reply.status, &reply.headers["retry-after"]), (429, &"7".parse().unwrap()));
    let date = limited(RetryAfter::HttpDate(30)).await.headers["retry-after"].to_str().unwrap().to_owned();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert_eq!(&limited(RetryAfter::Garbage("soon".into())).await.headers["retry-after"], "soon");
    assert!(limited(RetryAfter::Missing).await.headers.get("retry-after").is_none());
    soon(limited(RetryAfter::ResetHeaderIso(30)).await.headers["x-ratelimit-reset"].to_str().unwrap());
    let unix = limited(RetryAfter::ResetHeaderUnix(30)).await.headers["x-ratelimit-reset"].to_str().unwrap().to_owned();
    soon(&at(unix.parse::<i64>().unwrap() * 1000).to_string());
    soon(limited(RetryAfter::HoldUntil(30)).await.json()["holdUntil"].as_str().unwrap());
}

#[tokio::test]
async fn truncated_body_breaks_off_after_a_sound_head() {
    let (bench, conversation) = struck(Fault::TruncatedBody).await;
    let urn = bench.world().conversation_id(conversation);
    let mut response = bench.connect_safely(&format!("/conversations/{urn}/messages")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let promised = response.content_length().unwrap();
    let mut received = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => received += chunk.len() as u64,
            Ok(None) => panic!("the body is whole"),
            Err(error) => break error,
        }
    };
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(received, promised / 2);
    assert!(never_served(&bench));
}

#[tokio::test]
async fn slow_body_takes_its_time_and_is_whole() {
    let (bench, conversation) = struck(Fault::SlowBody { millis: 300 }).await;
    let begun = Instant::now();
    assert_eq!(texts(&bench.page(conversation, "").await["messages"]), ["hello"]);
    assert!(begun.elapsed() >= Duration::from_millis(250));
    let begun = Instant::now();
    bench.page(conversation, "").await;
    assert!(begun.elapsed() < Duration::from_millis(200));
}

#[tokio::test]
async fn reset_and_hang_give_no_answer_and_have_no_effect() {
    let (bench, conversation) = struck(Fault::Reset).await;
    // A POST, which the client does not repeat by itself.
    bench.world().clear_faults();
    let person = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().push(person, "hello");
    bench.world().inject(Fault::Reset, When { times: Some(1), ..When::default() });
    let asked = json!([bench.entry(person, None)]);
    assert!(bench.try_poll(asked.clone()).await.is_err());
    bench.world().inject(Fault::Hang, When { times: Some(1), ..When::default() });
    let hung = tokio::time::timeout(Duration::from_millis(200), bench.try_poll(asked)).await;
    assert!(hung.is_err());
    assert!(bench.world().ledger().iter().all(|entry| entry.first_served_at.is_none()));
    assert_eq!(texts(&bench.page(conversation, "").await["messages"]), ["hello"]);
}

#[tokio::test]
async fn lost_reply_leaves_the_workflow_started() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.world().push(conversation, "hello");
    bench.world().set_synced(conversation, None);
    bench.world().set_switches(|switches| (switches.linked_api.pending_ms, switches.linked_api.running_ms) = (0, 0));
    bench.world().inject(Fault::ReplyLost, When { endpoint: Some(Endpoint::LinkedApiStart), ..When::default() });
    let action = json!({ "actionType": "st.syncConversation", "personUrl": bench.world().address(conversation) });
    assert!(read(bench.linked_api(Method::POST, "/workflows", action)).await.is_err());
    assert!(never_served(&bench));
    assert_eq!(bench.poll(conversation, None).await["success"], true);
    assert!(!never_served(&bench));
}

#[tokio::test]
async fn typed_error_follows_the_refusal_status_of_linked_api() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::LinkedApi, "Ada Byron");
    let fault = Fault::TypedError { error_type: "subscriptionRequired".into(), message: "pay".into() };
    bench.world().inject(fault, When::default());
    let asked = json!([bench.entry(conversation, None)]);
    for (status, form) in [(403, RefusalStatus::ClientError), (200, RefusalStatus::Ok)] {
        bench.world().set_switches(|switches| switches.linked_api.refusal_status = form);
        let reply = bench.try_poll(asked.clone()).await.unwrap();
        assert_eq!((reply.status, &reply.json()["error"]["type"]), (status, &json!("subscriptionRequired")));
    }
}

#[tokio::test]
async fn repeated_cursor_is_the_one_that_was_asked_for() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    for n in 0..3 {
        bench.world().push_draft(conversation, dated("x", 1000 + n));
    }
    bench.world().inject(Fault::RepeatCursor, When { needs_cursor: true, ..When::default() });
    assert_eq!(bench.page(conversation, "count=1").await["cursor"], "1002");
    let stuck = bench.page(conversation, "count=1&cursor=1002").await;
    assert_eq!((&stuck["cursor"], &stuck["hasMore"]), (&json!("1002"), &json!(true)));
}

#[tokio::test]
async fn when_picks_endpoint_conversation_skip_and_times() {
    let bench = Bench::start().await;
    let (one, other) = (bench.add(Dialect::LinkedApi, "Ada Byron"), bench.add(Dialect::LinkedApi, "Mara Lind"));
    let when = When {
        endpoint: Some(Endpoint::LinkedApiPoll),
        conversation: Some(one),
        skip: 1,
        times: Some(2),
        ..When::default()
    };
    bench.world().inject(Fault::Html5xx(503), when);
    let status = async |entries: Value| bench.try_poll(entries).await.unwrap().status;
    assert_eq!(status(json!([bench.entry(other, None)])).await, 200);
    assert_eq!(read(bench.linked_api(Method::GET, "/account", Value::Null)).await.unwrap().status, 200);
    assert_eq!(status(json!([bench.entry(one, None)])).await, 200);
    assert_eq!(status(json!([bench.entry(other, None), bench.entry(one, None)])).await, 503);
    assert_eq!(status(json!([bench.entry(one, None)])).await, 503);
    assert_eq!(status(json!([bench.entry(one, None)])).await, 200);
}

#[tokio::test]
async fn probability_strikes_its_share_and_clearing_ends_it() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    bench.world().inject(Fault::Html5xx(500), When { probability: 0.5, ..When::default() });
    let mut struck = 0;
    for _ in 0..100 {
        struck += u32::from(bench.try_page(conversation, "").await.unwrap().status == 500);
    }
    assert!((25..=75).contains(&struck), "{struck}");
    bench.world().clear_faults();
    for _ in 0..10 {
        assert_eq!(bench.try_page(conversation, "").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn latency_delays_every_answer() {
    let bench = Bench::start().await;
    let conversation = bench.add(Dialect::ConnectSafely, "Mara Lind");
    bench.world().set_switches(|switches| switches.latency_ms = 80);
    let begun = Instant::now();
    bench.page(conversation, "").await;
    assert!(begun.elapsed() >= Duration::from_millis(80));
}
