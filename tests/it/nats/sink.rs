//! One sink and one server, without a daemon: what it says of an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream;
use inboxd::model::{SinkName, kind, sample_events};
use inboxd::settings::Read;
use inboxd::sinks::{self, Blame, Delivered, Outgoing, Settings, Sink};
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::nats::NatsServer;
use crate::support::until_async;

/// Takes keys as they are.
struct Plain;

impl Read for Plain {
    type Error = serde_json::Error;

    fn read<T: DeserializeOwned>(&self, table: Value) -> Result<T, Self::Error> {
        serde_json::from_value(table)
    }
}

/// A sink with these keys and those of the test.
pub(super) fn built(url: &str, keys: Value) -> Arc<dyn Sink> {
    let mut table = json!({"url": url});
    table.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let settings = Settings::read("nats", &Plain, table).unwrap().unwrap();
    sinks::build(&SinkName::new("bus").unwrap(), &settings, &Default::default()).unwrap()
}

/// An event of a message with this id and text.
pub(super) fn event(id: &str, text: &str) -> Outgoing {
    let mut event = sample_events([&kind::MESSAGE_NEW])[0].clone();
    event["id"] = id.into();
    event["data"]["message"]["text"] = text.into();
    Outgoing { id: id.into(), body: event.to_string() }
}

fn failure(delivered: &Delivered) -> &sinks::Error {
    assert_eq!(delivered.count, 0);
    delivered.failure.as_ref().expect("it is not delivered")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_the_stream_has_already_is_delivered_and_not_stored_again() {
    let Some(server) = NatsServer::start().await else { return };
    server.create_stream(&["inboxd.>"]).await;
    for _ in 0..2 {
        let delivered = built(&server.url(), json!({})).deliver(&[event("evt_1", "once")]).await;
        assert!((delivered.count, &delivered.failure) == (1, &None), "{delivered:?}");
    }
    assert_eq!(server.count().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_an_event_cannot_leave_their_token_of_the_subject() {
    let Some(server) = NatsServer::start().await else { return };
    server.create_stream(&["chat.>"]).await;
    let sink = built(&server.url(), json!({"subject": "chat.{{ data.message.text }}.{{ type }}"}));
    for (number, text) in ["plain", "a.b", "> * \r\nPUB x 1\r\n", "ü\u{2003}x"].into_iter().enumerate() {
        let delivered = sink.deliver(&[event(&format!("evt_{number}"), text)]).await;
        assert_eq!(delivered.count, 1, "{delivered:?}");
    }
    let subjects: Vec<_> = server.stored().await.into_iter().map(|stored| stored.subject).collect();
    let texts = ["plain", "a_b", "______PUB_x_1__", "ü_x"];
    assert_eq!(subjects, texts.map(|text| format!("chat.{text}.message.new")));
    for (text, why) in [("", "has an empty token"), ("x".repeat(1100).as_str(), "is longer than 1024 bytes")] {
        let delivered = sink.deliver(&[event("evt_x", text)]).await;
        let failure = failure(&delivered);
        assert!(failure.blame == Blame::Body && failure.detail.ends_with(why), "{failure:?}");
    }
    assert_eq!(server.count().await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_too_long_for_the_server_or_the_stream_is_rejected() {
    let Some(server) = NatsServer::start_with("max_payload: 20000", async_nats::ConnectOptions::new()).await else {
        return;
    };
    let config =
        stream::Config { subjects: vec!["inboxd.>".into()], max_message_size: 5_000, ..stream::Config::default() };
    server.create_stream_with(config).await;
    let sink = built(&server.url(), json!({}));
    for (length, of) in [(30_000, "max_payload of the server"), (10_000, "maximum message size of the stream")] {
        let delivered = sink.deliver(&[event("evt_long", &"x".repeat(length))]).await;
        let failure = failure(&delivered);
        assert!(failure.blame == Blame::Body && failure.detail.contains(of), "{failure:?}");
    }
    assert_eq!(sink.deliver(&[event("evt_short", "x")]).await.count, 1, "the connection has survived it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_is_tried_again() {
    let Some(server) = NatsServer::start().await else { return };
    let config = stream::Config {
        subjects: vec!["inboxd.>".into()],
        max_messages: 1,
        discard: stream::DiscardPolicy::New,
        ..stream::Config::default()
    };
    server.create_stream_with(config).await;
    let sink = built(&server.url(), json!({}));
    assert_eq!(sink.deliver(&[event("evt_1", "x")]).await.count, 1);
    let delivered = sink.deliver(&[event("evt_2", "x")]).await;
    let failure = failure(&delivered);
    assert!(failure.blame == Blame::Moment && failure.detail.contains("maximum messages exceeded"), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answering_costs_a_timeout_and_nothing_twice() {
    let Some(server) = NatsServer::start().await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let sink = built(&server.url(), json!({"timeout": "1s"}));
    assert_eq!(sink.deliver(&[event("evt_0", "x")]).await.count, 1);
    server.signal(Signal::STOP);
    // It takes a moment until the last thread of the server has stopped.
    let mut stored = 1;
    let silence = loop {
        let delivered = sink.deliver(&[event(&format!("evt_{stored}"), "x")]).await;
        match delivered.failure {
            Some(failure) => break failure,
            None => stored += 1,
        }
    };
    assert!(silence.blame == Blame::Moment && silence.detail == "no acknowledgement within 1s", "{silence:?}");
    let delivered = sink.deliver(&[event(&format!("evt_{stored}"), "x")]).await;
    assert!(failure(&delivered).detail.starts_with("no connection"), "{delivered:?}");
    server.signal(Signal::CONT);
    for number in stored..stored + 2 {
        let id = format!("evt_{number}");
        until_async(&id, || async { sink.deliver(&[event(&id, "x")]).await.count == 1 }).await;
    }
    let ids: Vec<_> = server.stored().await.iter().map(|stored| stored.header("Nats-Msg-Id").to_owned()).collect();
    assert_eq!(ids, (0..stored + 2).map(|number| format!("evt_{number}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_beside_each_other_wait_for_one_connection_and_learn_together_that_there_is_none() {
    // Takes connections and never says a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let mut held = vec![];
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
            if held.len() > 1 {
                return;
            }
        }
    });
    let sink = built(&url, json!({"timeout": "2s"}));
    let began = Instant::now();
    let attempts = (0..16).map(|number| {
        let sink = Arc::clone(&sink);
        tokio::spawn(async move { sink.deliver(&[event(&format!("evt_{number}"), "x")]).await })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        let delivered = attempt.await.unwrap();
        assert!(failure(&delivered).detail.starts_with("no connection"), "{delivered:?}");
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "a server is given its time");
    assert!(!silent.is_finished(), "one connection for all of them");
    silent.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_list_that_is_away_is_passed_over() {
    let Some(mut away) = NatsServer::start().await else { return };
    let Some(there) = NatsServer::start().await else { return };
    away.kill();
    there.create_stream(&["inboxd.>"]).await;
    for number in 0..5 {
        let sink = built("", json!({"url": [away.url(), there.url()]}));
        let delivered = sink.deliver(&[event(&format!("evt_{number}"), "x")]).await;
        assert_eq!(delivered.count, 1, "{delivered:?}");
    }
}
