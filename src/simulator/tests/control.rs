use serde_json::json;

use super::*;

#[tokio::test]
async fn a_world_can_be_made_and_read_over_http() {
    let bench = Bench::start().await;
    let made =
        bench.control(Method::POST, "/conversations", json!({ "dialect": "linked_api", "person": "Ada Byron" })).await;
    assert_eq!(made.json()["conversation"], 0);
    assert_eq!(made.json()["address"], "https://www.linkedin.com/in/ada-byron");
    let nameless = json!({ "dialect": "connect_safely", "kind": "sales_navigator" });
    assert_eq!(bench.control(Method::POST, "/conversations", nameless).await.json()["conversation"], 1);
    let message = json!({ "conversation": 0, "text": "hello", "outbound": true, "sent_at": "2026-01-31T09:00:00Z" });
    let id = bench.control(Method::POST, "/messages", message).await.json()["message_id"].clone();
    assert_eq!(id, "msg-000001");
    let edited = json!({ "conversation": 0, "message_id": id, "text": "hello again" });
    bench.control(Method::PATCH, "/messages", edited).await;
    let ledger = bench.control(Method::GET, "/ledger", Value::Null).await.json();
    assert_eq!((&ledger[0]["text"], &ledger[0]["first_served_at"]), (&json!("hello again"), &Value::Null));
    assert_eq!(ledger[0]["sent_at"], "2026-01-31T09:00:00.000Z");
    bench.control(Method::DELETE, "/messages", json!({ "conversation": 0, "message_id": id })).await;
    bench.control(Method::POST, "/conversations/sync", json!({ "conversation": 0, "sync_until": null })).await;
    let listed = bench.control(Method::GET, "/conversations", Value::Null).await.json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["sync_until"]), (2, &Value::Null));
    assert_eq!(bench.control(Method::GET, "/ledger", Value::Null).await.json()[0]["removed"], true);
}

#[tokio::test]
async fn faults_and_requests_are_reached_over_http() {
    let bench = Bench::start().await;
    for fault in [
        json!({ "rate_limited": { "retry_after": { "seconds": 5 } } }),
        json!({ "html5xx": 502 }),
        json!("html200"),
        json!({ "status": { "code": 500 } }),
    ] {
        let body = json!({ "fault": fault, "when": { "endpoint": "connect_safely_accounts", "times": 1 } });
        assert_eq!(bench.control(Method::POST, "/faults", body).await.status, 200);
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(read(bench.connect_safely("/accounts")).await.unwrap().status);
    }
    assert_eq!(seen, [429, 502, 200, 500, 200]);
    bench.control(Method::POST, "/faults", json!({ "fault": "hang" })).await;
    bench.control(Method::DELETE, "/faults", Value::Null).await;
    assert_eq!(read(bench.connect_safely("/accounts")).await.unwrap().status, 200);
    let requests = bench.control(Method::GET, "/requests", Value::Null).await.json();
    assert_eq!(requests["counts"]["connect_safely_accounts"], 6);
    assert_eq!(requests["last"][0]["path"], "/connectsafely/linkedin/accounts");
}

#[tokio::test]
async fn switches_are_merged_field_by_field() {
    let bench = Bench::start().await;
    let change = json!({ "latency_ms": 1, "linked_api": { "order": "shuffled", "outcome": { "failed": "x" } } });
    assert_eq!(bench.control(Method::POST, "/switches", change).await.status, 200);
    let outcome = json!({ "linked_api": { "outcome": { "parked": 5 } }, "connect_safely": { "page_cap": 7 } });
    bench.control(Method::POST, "/switches", outcome).await;
    let switches = bench.control(Method::GET, "/switches", Value::Null).await.json();
    assert_eq!((&switches["latency_ms"], &switches["log_requests"]), (&json!(1), &json!(true)));
    assert_eq!(
        (&switches["linked_api"]["order"], &switches["connect_safely"]["page_cap"]),
        (&json!("shuffled"), &json!(7))
    );
    assert_eq!(bench.world().switches().linked_api.outcome, Outcome::Parked(Some(5)));
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_reason() {
    let bench = Bench::start().await;
    let cases = [
        ("/conversations", json!({ "dialect": "carrier_pigeon" }), "carrier_pigeon"),
        ("/messages", json!({ "conversation": 7, "text": "x" }), "conversation must be below 0"),
        ("/messages", json!({ "conversation": 0, "tekst": "x" }), "tekst"),
        ("/faults", json!({ "fault": "flood" }), "flood"),
        ("/switches", json!({ "linked_api": { "oder": "ascending" } }), "oder"),
        ("/switches", json!([1]), "must be an object"),
        ("/traffic", json!({ "messages_per_minute": "many" }), "many"),
        ("/traffic", json!({ "messages_per_minute": -1.0 }), "messages_per_minute"),
    ];
    for (path, body, reason) in cases {
        let reply = bench.control(Method::POST, path, body).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.json()["error"].as_str().unwrap().contains(reason), "{}", reply.text);
    }
    let huge = bench.control(Method::POST, "/messages", json!({ "text": "x".repeat(2 << 20) })).await;
    assert_eq!(huge.status, 413);
}

#[tokio::test]
async fn traffic_starts_and_stops_over_http() {
    let bench = Bench::start().await;
    bench.add(Dialect::LinkedApi, "Ada Byron");
    bench.control(Method::POST, "/traffic", json!({ "messages_per_minute": 60_000.0, "outbound_share": 0.0 })).await;
    while bench.world().ledger().len() < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bench.control(Method::DELETE, "/traffic", Value::Null).await;
    let stopped_at = bench.world().ledger().len();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(bench.world().ledger().len() <= stopped_at + 1);
    assert!(bench.world().ledger().iter().all(|entry| !entry.outbound));
}
