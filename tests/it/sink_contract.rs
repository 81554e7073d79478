//! What every sink keeps to, and what an HTTP receiver sees.

use std::time::Duration;

use inboxd::simulator::Dialect;

use crate::support::{Reply, Rig, until, valid_event};

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_lost_after_the_receiver_stored_it_brings_the_same_id_and_bytes_again() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.http = "retry = [\"100ms\"]\n".into();
    rig.receiver.script(vec![Reply::TakenButFailed]);
    rig.world().push(conversation, "twice on the wire, once in the world");
    let daemon = rig.start();
    until("two attempts", || rig.receiver.arrived().len() == 2).await;
    let arrived = rig.receiver.arrived();
    assert_eq!(arrived[0].id(), arrived[1].id());
    assert_eq!(arrived[0].body, arrived[1].body);
    assert_ne!(arrived[0].headers["webhook-signature"].len(), 0);
    rig.settle().await;
    assert_eq!(rig.receiver.arrived().len(), 2, "a third attempt would be one too many");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_event_holds_its_conversation_in_order_and_no_other() {
    let mut rig = Rig::new().await;
    rig.http = "retry = [\"1s\", \"1s\"]\nconcurrency = 2\n".into();
    let held = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let free = rig.follow(Dialect::LinkedApi, "Grace Murray");
    rig.receiver.script(vec![Reply::Status(503)]);
    for number in 0..3 {
        rig.world().push(held, &format!("held {number}"));
    }
    let daemon = rig.start();
    until("the first attempt", || !rig.receiver.arrived().is_empty()).await;
    for number in 0..20 {
        rig.world().push(free, &format!("free {number}"));
    }
    rig.until_taken(23).await;
    let texts = rig.receiver.texts();
    let position = |text: &str| texts.iter().position(|t| t == text).unwrap();
    assert!(position("free 0") < position("held 0"), "the other conversation did not wait: {texts:?}");
    assert!(position("held 0") < position("held 1") && position("held 1") < position("held 2"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_sink_holds_no_other_sink() {
    let mut rig = Rig::new().await;
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    rig.receiver.reply(Reply::Hang);
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    for number in 0..50 {
        rig.world().push(conversation, &number.to_string());
    }
    let lines = || std::fs::read_to_string(rig.path().join("events.jsonl")).unwrap_or_default();
    until("everything in the file", || lines().lines().count() == 50).await;
    until("the one that hangs", || rig.receiver.taken_count() == 1).await;
    daemon.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_is_kept_and_a_schedule_that_ends_makes_the_delivery_dead() {
    let mut rig = Rig::new().await;
    rig.http = "retry = [\"100ms\", \"100ms\"]\n".into();
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.receiver.script(vec![Reply::RetryAfter { status: 429, seconds: 1 }, Reply::Status(500), Reply::Status(500)]);
    rig.world().push(conversation, "unlucky");
    rig.world().push(conversation, "lucky");
    let began = std::time::Instant::now();
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "the told wait was not kept");
    assert_eq!(rig.receiver.texts(), ["lucky"], "what is dead no longer holds what comes after it");
    let sink = || rig.overview().unwrap().sinks.remove(0);
    until("both to be settled", || (sink().delivered, sink().pending, sink().dead) == (1, 0, 1)).await;
    assert!(sink().last_failure.unwrap().contains("status 500 (Internal Server Error): reply 500"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_body_is_final_and_a_redirect_is_not_followed() {
    let mut rig = Rig::new().await;
    let elsewhere = crate::support::Receiver::start().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.http = format!("retry = [{}]\n", ["\"100ms\""; 8].join(", "));
    let refused = [400, 413, 415, 422];
    let patient = [408, 425, 429, 500, 503].map(Reply::Status).into_iter().chain([Reply::Redirect(elsewhere.url())]);
    rig.receiver.script(refused.map(Reply::Status).into_iter().chain(patient).collect());
    for status in refused {
        rig.world().push(conversation, &format!("refused with {status}"));
    }
    rig.world().push(conversation, "taken in the end");
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(rig.receiver.texts(), ["taken in the end"]);
    assert_eq!(rig.receiver.arrived().len(), refused.len() + 7, "each refusal is final at the first attempt");
    assert_eq!(elsewhere.arrived().len(), 0);
    let sink = || rig.overview().unwrap().sinks.remove(0);
    until("all to be settled", || (sink().delivered, sink().dead) == (1, refused.len() as u64)).await;
    let redirected = "status 302 (Found); redirects are not followed; put the address it has moved to into url";
    assert!(daemon.log().contains(redirected), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_added_later_starts_from_now_and_a_removed_one_keeps_what_it_is_owed() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before");
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);

    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let daemon = rig.start();
    rig.world().push(conversation, "after");
    rig.until_taken(2).await;
    let lines = || std::fs::read_to_string(rig.path().join("events.jsonl")).unwrap_or_default();
    until("the file to have it too", || lines().lines().count() == 1).await;
    assert!(lines().contains("after"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_torn_by_a_crash_is_repaired_and_its_event_comes_again_whole() {
    let mut rig = Rig::new().await;
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.world().push(conversation, "whole");
    let daemon = rig.start();
    rig.until_taken(1).await;
    let path = rig.path().join("events.jsonl");
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    until("the line", || lines().ends_with('\n')).await;
    daemon.kill();
    std::fs::write(&path, lines() + "{\"specversion\":\"1.0\",\"id\":\"evt_torn").unwrap();
    rig.world().push(conversation, "next");
    let daemon = rig.start_again();
    rig.until_taken(2).await;
    until("the second line", || lines().lines().count() >= 2).await;
    for line in lines().lines() {
        valid_event(line);
    }
    assert!(!lines().contains("evt_torn"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_sees_neither_polls_nor_events() {
    let mut rig = Rig::new().await;
    let trap = crate::support::Receiver::start().await;
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let conversation = rig.follow(dialect, "Ada Byron");
        rig.world().push(conversation, "straight");
    }
    rig.write_config();
    let daemon = crate::support::Daemon::start_with(rig.path(), &[], |command| {
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"] {
            command.env(name, trap.url());
        }
    });
    until("both events, by either road", || rig.receiver.taken_count() + trap.arrived().len() >= 2).await;
    assert_eq!(trap.arrived().len(), 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_while_a_file_is_written_tear_nothing_out_of_it() {
    let mut rig = Rig::new().await;
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let conversations: Vec<_> = (0..20).map(|n| rig.follow(Dialect::LinkedApi, &format!("Person {n}"))).collect();
    let daemon = rig.start();
    until("the daemon to run", || daemon.log().contains("following 20")).await;
    for round in 0..10 {
        for &conversation in &conversations {
            for number in 0..3 {
                rig.world().push(conversation, &format!("{round} {number} {}", "x".repeat(2_000)));
            }
        }
        daemon.signal(rustix::process::Signal::HUP);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.until_taken(600).await;
    let delivered = || rig.overview().unwrap().sinks.iter().all(|s| s.delivered == 600);
    until("everything delivered", delivered).await;
    let file = std::fs::read_to_string(rig.path().join("events.jsonl")).unwrap();
    let ids: std::collections::HashSet<_> = file.lines().map(|line| valid_event(line)["id"].to_string()).collect();
    assert_eq!(ids.len(), 600);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_gets_the_providers_own_object_where_it_asks_for_it_and_no_other_sink_does() {
    for polling in ["", "max_pages = 2\n"] {
        let mut rig = Rig::new().await;
        rig.polling = polling.into();
        rig.http = "include_raw = true\n".into();
        rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
        let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
        // More than two pages: these are staged before they are announced.
        for number in 0..120 {
            rig.world().push(conversation, &number.to_string());
        }
        let daemon = rig.start();
        rig.until_taken(120).await;
        for event in rig.receiver.taken() {
            let message = &event["data"]["message"];
            let raw = message["raw"].as_object().expect("an object");
            assert!(raw.values().any(|value| *value == message["text"]), "{raw:?}");
        }
        let lines = || std::fs::read_to_string(rig.path().join("events.jsonl")).unwrap_or_default();
        until("the file", || lines().lines().count() == 120).await;
        for line in lines().lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(event["data"]["message"].get("raw").is_none());
        }
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_spaces_attempts_evenly_whatever_waits() {
    let mut rig = Rig::new().await;
    rig.http = "rate = \"10/s\"\n".into();
    for person in 0..4 {
        let conversation = rig.follow(Dialect::LinkedApi, &format!("Person {person}"));
        (0..4).for_each(|number| drop(rig.world().push(conversation, &number.to_string())));
    }
    let daemon = rig.start();
    until("the first event", || rig.receiver.taken_count() > 0).await;
    let began = std::time::Instant::now();
    rig.until_taken(16).await;
    assert!(began.elapsed() >= Duration::from_millis(1_300), "15 more in {:?}", began.elapsed());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn short_waits_that_a_receiver_asks_for_use_up_no_retry() {
    let mut rig = Rig::new().await;
    rig.http = "retry = [\"1h\"]\n".into();
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.receiver
        .script(vec![Reply::RetryAfter { status: 503, seconds: 1 }, Reply::RetryAfter { status: 429, seconds: 1 }]);
    rig.world().push(conversation, "patient");
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(rig.receiver.arrived().len(), 3);
    assert_eq!(daemon.stop(), 0);
}
