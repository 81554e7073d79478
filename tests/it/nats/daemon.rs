//! The daemon and a server: what is in the stream after everything that can happen to either.

use std::collections::HashMap;

use inboxd::simulator::{ConversationRef, Dialect};
use inboxd::store::SinkOverview;
use rustix::process::Signal;

use crate::support::nats::{NatsServer, Stored};
use crate::support::{Daemon, Rig, until};

/// Quick retries, so many that no delivery dies in a test.
fn sink(server: &str, keys: &str) -> String {
    let retry = vec!["\"200ms\""; 500].join(", ");
    format!("\n[sinks.bus]\ntype = \"nats\"\nurl = \"{server}\"\nretry = [{retry}]\n{keys}\n")
}

fn bus(rig: &Rig) -> Option<SinkOverview> {
    rig.overview()?.sinks.into_iter().find(|sink| sink.name == "bus")
}

async fn until_failed(rig: &Rig, why: &str) {
    until(why, || bus(rig).and_then(|bus| bus.last_failure).is_some_and(|failure| failure.contains(why))).await;
}

/// Everything that the world has is in the stream once, under its id, and in order in each conversation.
fn assert_complete(rig: &Rig, stored: &[Stored]) {
    let mut expected: HashMap<String, Vec<String>> = HashMap::new();
    for entry in rig.world().ledger() {
        expected.entry(entry.conversation_id).or_default().push(entry.message_id);
    }
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for message in stored {
        let event = message.event();
        assert_eq!(message.header("Nats-Msg-Id"), event["id"]);
        assert_eq!(message.header("content-type"), "application/cloudevents+json");
        let id = event["data"]["message"]["id"].as_str().unwrap().to_owned();
        found.entry(event["subject"].as_str().unwrap().to_owned()).or_default().push(id);
    }
    assert_eq!(found, expected);
}

fn push(rig: &Rig, conversations: &[ConversationRef], rounds: std::ops::Range<usize>) {
    for number in rounds {
        for &conversation in conversations {
            rig.world().push(conversation, &format!("message {number}"));
        }
    }
}

async fn rig_with(conversations: usize) -> (Rig, Vec<ConversationRef>) {
    let mut rig = Rig::new().await;
    let dialects = [Dialect::LinkedApi, Dialect::ConnectSafely];
    let followed = (0..conversations).map(|n| rig.follow(dialects[n % 2], &format!("Person {n}"))).collect();
    (rig, followed)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_in_the_stream_once_and_in_the_order_of_its_conversation() {
    let Some(server) = NatsServer::start().await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let (mut rig, conversations) = rig_with(4).await;
    rig.more = sink(&server.url(), "");
    let daemon = rig.start();
    push(&rig, &conversations, 0..30);
    rig.until_taken(120).await;
    server.until_stored(120).await;
    let stored = server.stored().await;
    assert_complete(&rig, &stored);
    for message in &stored {
        let account = message.event()["data"]["account"].as_str().unwrap().to_owned();
        assert_eq!(message.subject, format!("inboxd.{account}.message.new"));
    }
    let bytes: HashMap<_, _> = rig.receiver.arrived().into_iter().map(|arrived| (arrived.id(), arrived.body)).collect();
    assert!(stored.iter().all(|message| bytes[message.header("Nats-Msg-Id")] == message.body), "the same bytes");
    until("all to be settled", || bus(&rig).is_some_and(|bus| (bus.delivered, bus.pending) == (120, 0))).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_while_events_flow_has_each_of_them_once_when_it_is_back() {
    let Some(mut server) = NatsServer::start().await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let (mut rig, conversations) = rig_with(20).await;
    rig.more = sink(&server.url(), "");
    let daemon = rig.start();
    for round in 0..3 {
        push(&rig, &conversations, round * 10..round * 10 + 10);
        let some = 200 * round as u64 + 20;
        until("some events to be delivered", || bus(&rig).is_some_and(|bus| bus.delivered >= some)).await;
        server.kill();
        until_failed(&rig, "no connection: ").await;
        server.start_again().await;
    }
    until("all to be settled", || bus(&rig).is_some_and(|bus| (bus.delivered, bus.pending) == (600, 0))).await;
    assert_complete(&rig, &server.stored().await);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_before_it_noted_the_acknowledgement_repeats_nothing_in_the_stream() {
    let Some(server) = NatsServer::start().await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let (mut rig, conversations) = rig_with(10).await;
    // The other sink would reach the step at which the daemon dies.
    rig.http = "events = [\"sink.*\"]\n".into();
    rig.more = sink(&server.url(), "");
    rig.write_config();
    for round in 0..5 {
        push(&rig, &conversations, round * 10..round * 10 + 10);
        let mut daemon = Daemon::start_with(rig.path(), &["--log-level", "debug"], |command| {
            command.env("INBOXD_DIE_AT", format!("answered:{}", 1 + 17 * round));
        });
        assert!(!daemon.wait().success(), "it ends by the kill");
    }
    let delivered = bus(&rig).unwrap().delivered;
    assert!(server.count().await > delivered, "the stream has events whose acknowledgement died with the daemon");
    let daemon = rig.start_again();
    until("all to be settled", || bus(&rig).is_some_and(|bus| (bus.delivered, bus.pending) == (500, 0))).await;
    assert_complete(&rig, &server.stored().await);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_server_or_stream_events_stay_pending_and_other_sinks_get_theirs() {
    let Some(mut server) = NatsServer::start().await else { return };
    server.kill();
    let (mut rig, conversations) = rig_with(2).await;
    rig.more = sink(&server.url(), "");
    let daemon = rig.start();
    push(&rig, &conversations, 0..10);
    rig.until_taken(20).await;
    until_failed(&rig, "no connection: ").await;
    server.start_again().await;
    let no_stream = "no JetStream stream takes the subject; create a stream, e.g. with nats stream add, or look at subject: inboxd.";
    until_failed(&rig, no_stream).await;
    let waiting = bus(&rig).unwrap();
    assert_eq!((waiting.delivered, waiting.pending, waiting.dead), (0, 20, 0));
    server.create_stream(&["inboxd.>"]).await;
    server.until_stored(20).await;
    assert_complete(&rig, &server.stored().await);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_without_any_secret_and_a_reload_with_the_right_one_delivers() {
    let user = async_nats::ConnectOptions::new().user_and_password("inbox".into(), "right-s3cr3t".into());
    let config = "authorization { user: inbox, password: \"right-s3cr3t\" }";
    let Some(server) = NatsServer::start_with(config, user).await else { return };
    server.create_stream(&["inboxd.>"]).await;
    let (mut rig, conversations) = rig_with(1).await;
    let keys = |password: &str| format!("user = \"inbox\"\npassword = \"{password}\"");
    rig.more = sink(&server.url(), &keys("wrong-s3cr3t"));
    rig.write_config();
    let daemon = Daemon::start(rig.path(), &["--log-level", "trace"]);
    push(&rig, &conversations, 0..5);
    until_failed(&rig, "the server refuses our login").await;
    server.until_logged("authentication error").await;
    let in_url = server.url().replace("nats://", "nats://inbox:wrong-s3cr3t@");
    rig.more = sink(&in_url, "events = [\"message.new\"]");
    rig.write_config();
    daemon.signal(Signal::HUP);
    until("a second refusal", || daemon.log().matches("the server refuses our login").count() >= 2).await;
    let outputs = [["status", "--json"], ["config", "show"], ["deliveries", "list"]];
    let shown: Vec<_> = outputs.map(|arguments| crate::support::inboxd_in(rig.path(), &arguments)).into();
    assert!(
        shown[0].stdout.contains("refuses our login") && shown[2].stdout.contains("refuses our login"),
        "{shown:?}"
    );
    assert!(shown[1].stdout.contains(&format!("nats://127.0.0.1:{}/***", server.port())), "{}", shown[1].stdout);
    let texts = shown.iter().flat_map(|output| [output.stdout.clone(), output.stderr.clone()]);
    for text in texts.chain([daemon.log()]) {
        assert!(!text.contains("s3cr3t"), "{text}");
    }
    rig.more = sink(&server.url(), &keys("right-s3cr3t"));
    rig.write_config();
    daemon.signal(Signal::HUP);
    server.until_stored(5).await;
    assert_complete(&rig, &server.stored().await);
    assert_eq!(daemon.stop(), 0);
}
