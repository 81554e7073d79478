//! From a provider's answer to a sink: every message, once, in order.

use std::time::Duration;

use inboxd::simulator::{Dialect, Draft, Endpoint, Fault, Order, When};
use inboxd::time::UnixMillis;

use crate::support::{Reply, Rig, inboxd_in, until};

fn at(sent_at: UnixMillis, text: &str) -> Draft {
    Draft { text: text.into(), sent_at: Some(sent_at), ..Draft::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_both_providers_reach_all_three_sinks_at_once() {
    let mut rig = Rig::new().await;
    let sales = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let work = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.more =
        "\n[sinks.console]\ntype = \"stdout\"\n\n[sinks.archive]\ntype = \"file\"\npath = \"archive/events.jsonl\"\n"
            .into();
    let daemon = rig.start();
    for number in 0..20 {
        rig.world().push(sales, &format!("sales {number}"));
        rig.world().push(work, &format!("work {number}"));
    }
    rig.until_taken(40).await;
    let lines = |name: &str| std::fs::read_to_string(rig.path().join(name)).unwrap_or_default();
    until("40 lines on stdout and in the file", || {
        lines("stdout.log").lines().count() >= 40 && lines("archive/events.jsonl").lines().count() >= 40
    })
    .await;
    assert_eq!(daemon.stop(), 0);
    let receiver = standardwebhooks::Webhook::new(crate::support::Rig::secret()).unwrap();
    for arrived in rig.receiver.arrived() {
        receiver.verify(arrived.body.as_bytes(), &arrived.headers).expect("signed as Standard Webhooks says");
        assert_eq!(arrived.headers["content-type"], "application/json");
        assert_eq!(arrived.event()["id"], arrived.id());
        for file in ["stdout.log", "archive/events.jsonl"] {
            assert!(lines(file).lines().any(|line| line == arrived.body), "the same bytes in {file}");
        }
    }
    for file in ["stdout.log", "archive/events.jsonl"] {
        assert_eq!(lines(file).lines().count(), 40);
    }
    for of in ["sales", "work"] {
        let texts: Vec<_> = rig.receiver.texts().into_iter().filter(|t| t.starts_with(of)).collect();
        assert_eq!(texts, (0..20).map(|n| format!("{of} {n}")).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_one_line_for_readers_that_end_lines_at_separators_of_unicode() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada\u{2028}Byron");
    rig.more =
        "\n[sinks.console]\ntype = \"stdout\"\n\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    let text = "first\u{2028}second\u{2029}third\u{85}fourth\u{b}fifth";
    rig.world().push(conversation, text);
    let daemon = rig.start();
    rig.until_taken(1).await;
    let lines = |name: &str| std::fs::read_to_string(rig.path().join(name)).unwrap_or_default();
    until("both files", || !lines("stdout.log").is_empty() && !lines("events.jsonl").is_empty()).await;
    assert_eq!(daemon.stop(), 0);
    assert_eq!(rig.receiver.texts(), [text]);
    let tail = inboxd_in(rig.path(), &["tail", "--json"]).stdout;
    for printed in [lines("stdout.log"), lines("events.jsonl"), tail, rig.receiver.arrived()[0].body.clone() + "\n"] {
        let ends_a_line = ['\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'];
        assert_eq!(printed.matches(ends_a_line).count(), 1, "{printed:?}");
    }
    for command in ["status", "audit"] {
        let printed = inboxd_in(rig.path(), &[command, "--json"]).stdout;
        assert!(!printed.contains(['\u{85}', '\u{2028}', '\u{2029}']), "{printed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_millisecond_are_all_delivered_whether_since_is_inclusive_or_exclusive() {
    for inclusive in [true, false] {
        for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
            let mut rig = Rig::new().await;
            rig.world().set_switches(|s| {
                s.linked_api.since_inclusive = inclusive;
                s.connect_safely.since_inclusive = inclusive;
            });
            let conversation = rig.follow(dialect, "Ada Byron");
            let moment = UnixMillis::now();
            rig.world().push_draft(conversation, at(moment, "first"));
            let daemon = rig.start();
            rig.until_taken(1).await;
            // The watermark now is this very millisecond.
            for number in 0..3 {
                rig.world().push_draft(conversation, at(moment, &format!("same moment {number}")));
            }
            rig.until_taken(4).await;
            rig.settle().await;
            rig.until_taken(4).await;
            assert_eq!(daemon.stop(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_broken_at_page_three_keeps_the_watermark_and_loses_nothing() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(7200);
    rig.world().push_draft(conversation, at(start, "old"));
    let daemon = rig.start();
    rig.until_taken(1).await;
    let before = rig.watermark();
    assert_eq!(before, Some(start));
    let broken = When {
        endpoint: Some(Endpoint::ConnectSafelyMessages),
        needs_cursor: true,
        skip: 1,
        times: Some(3),
        ..When::default()
    };
    rig.world().inject(Fault::Html5xx(502), broken);
    // A backlog of five pages, all at once; the second cursor page, which is the third of the walk, breaks.
    rig.world().set_switches(|s| s.latency_ms = 20);
    for number in 0..240 {
        let sent_at = start + Duration::from_secs(60 + number);
        rig.world().push_draft(conversation, at(sent_at, &format!("{number}")));
    }
    until("the walk to break", || daemon.log().contains("status 502")).await;
    assert_eq!(rig.watermark(), before, "a broken walk moves nothing");
    assert_eq!(rig.receiver.taken_count(), 1, "and announces nothing");
    rig.world().clear_faults();
    rig.until_taken(241).await;
    assert_eq!(rig.receiver.texts()[1..], (0..240).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_far_future_time_is_delivered_and_does_not_lift_the_watermark() {
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let mut rig = Rig::new().await;
        // A second look at the newest page would hide an overlap that the future time has eaten.
        rig.world().set_switches(|s| s.connect_safely.has_more_counts_history = false);
        rig.connectsafely = "[accounts.work.polling]\noverlap = \"10s\"\n".into();
        let conversation = rig.follow(dialect, "Ada Byron");
        let daemon = rig.start();
        rig.world().push(conversation, "now");
        rig.until_taken(1).await;
        let future = UnixMillis::now() + Duration::from_secs(10 * 365 * 86_400);
        rig.world().push_draft(conversation, at(future, "from the future"));
        rig.until_taken(2).await;
        let ceiling = UnixMillis::now() + Duration::from_secs(300);
        assert!(rig.watermark().unwrap() <= ceiling, "{:?}", rig.watermark());
        let flags = &rig.receiver.taken()[1]["data"]["message"]["flags"];
        assert_eq!(*flags, serde_json::json!(["time_future"]));
        rig.world().push(conversation, "after it");
        rig.until_taken(3).await;
        let late = UnixMillis::now() - Duration::from_secs(5);
        rig.world().push_draft(conversation, at(late, "late, inside the overlap"));
        rig.until_taken(4).await;
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_message_inside_the_overlap_is_delivered_once_and_marked() {
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(dialect, "Ada Byron");
        let daemon = rig.start();
        rig.world().push(conversation, "on time");
        rig.until_taken(1).await;
        let earlier = UnixMillis::now() - Duration::from_secs(120);
        rig.world().push_draft(conversation, at(earlier, "late"));
        rig.until_taken(2).await;
        rig.settle().await;
        rig.until_taken(2).await;
        let late: Vec<_> = rig.receiver.taken().iter().map(|e| e["data"]["seen"]["late"].clone()).collect();
        assert_eq!(late, [false, true]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_later_than_the_overlap_is_found_by_the_recheck() {
    let mut rig = Rig::new().await;
    rig.polling = "recheck_interval = \"1s\"\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "on time");
    rig.until_taken(1).await;
    let earlier = UnixMillis::now() - Duration::from_secs(86_400);
    rig.world().push_draft(conversation, at(earlier, "a day late"));
    rig.until_taken(2).await;
    assert_eq!(rig.receiver.texts(), ["on time", "a day late"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_cursor_ends_the_walk_and_loses_nothing() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(7200);
    let messages = |from: u64, to: u64| {
        for number in from..to {
            rig.world().push_draft(conversation, at(start + Duration::from_secs(number), &number.to_string()));
        }
    };
    let repeated = When { needs_cursor: true, skip: 1, times: Some(1), ..When::default() };
    rig.world().inject(Fault::RepeatCursor, repeated);
    messages(0, 300);
    let daemon = rig.start();
    rig.until_taken(300).await;
    assert!(daemon.log().contains("paging does not advance"));
    assert_eq!(rig.receiver.texts(), (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_repeats_for_good_costs_a_recorded_gap_and_no_endless_requests() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(7200);
    for number in 0..300 {
        rig.world().push_draft(conversation, at(start + Duration::from_secs(number), &number.to_string()));
    }
    rig.world().inject(Fault::RepeatCursor, When { needs_cursor: true, skip: 1, ..When::default() });
    let daemon = rig.start();
    until("a gap on record", || rig.known_conversations().iter().any(|c| c.gaps.len() == 1)).await;
    until("what was read to be announced", || rig.receiver.texts().iter().any(|t| t == "299")).await;
    assert!(rig.world().request_count(Endpoint::ConnectSafelyMessages) < 100);
    assert!(rig.receiver.texts().is_sorted_by_key(|t| t.parse::<u32>().unwrap()));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_id_with_other_text_is_one_message_and_counted_as_an_edit() {
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(dialect, "Ada Byron");
        let daemon = rig.start();
        let id = rig.world().push(conversation, "first words");
        rig.until_taken(1).await;
        rig.world().edit(conversation, &id, "other words");
        until("the edit to be counted", || rig.known_conversations().iter().any(|c| c.edits == 1)).await;
        rig.settle().await;
        rig.until_taken(1).await;
        assert_eq!(rig.receiver.texts(), ["first words"]);
        assert_eq!(rig.known_conversations()[0].edits, 1);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_twice_in_one_page_is_one_message() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let now = UnixMillis::now();
    for text in ["first", "second"] {
        rig.world().push_draft(conversation, Draft { id: Some("msg-twice".into()), ..at(now, text) });
    }
    let daemon = rig.start();
    rig.until_taken(1).await;
    rig.settle().await;
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_id_or_time_are_delivered_once_and_flagged() {
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(dialect, "Ada Byron");
        rig.world().push_draft(conversation, Draft { text: "no id".into(), omit_id: true, ..Draft::default() });
        let timeless = Draft { text: "no time".into(), time_text: Some("yesterday".into()), ..Draft::default() };
        rig.world().push_draft(conversation, timeless);
        let daemon = rig.start();
        rig.until_taken(2).await;
        rig.settle().await;
        rig.until_taken(2).await;
        let flags = |text: &str| {
            let events = rig.receiver.taken();
            let event = events.iter().find(|e| e["data"]["message"]["text"] == text).unwrap();
            event["data"]["message"]["flags"].clone()
        };
        assert_eq!(flags("no id"), serde_json::json!(["id_synthetic"]));
        assert_eq!(flags("no time"), serde_json::json!(["time_unknown"]));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_durations_of_all_are_kept_to_and_end_nothing() {
    let mut rig = Rig::new().await;
    let intervals = ["overlap", "sweep_interval", "timeout"].map(|key| format!("{key} = \"90y\"\n"));
    let longest = ["max_interval", "recheck_interval", "recheck_depth"].map(|key| format!("{key} = \"100y\"\n"));
    rig.polling = intervals.concat() + &longest.concat();
    rig.http = "timeout = \"100y\"\nretry = [\"100y\", \"100y\"]\npark_after = \"100y\"\n".into();
    rig.more =
        "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\nrotate = \"daily\"\nretention = \"100y\"\n\
        [sinks.run]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\ntimeout = \"100y\"\n"
            .into();
    let refused = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.receiver.script(vec![Reply::Status(503)]);
    rig.world().push(refused, "tried again in a century");
    let daemon = rig.start();
    until("the refusal", || daemon.log().contains("503")).await;
    let file = || std::fs::read_to_string(rig.path().join("events.jsonl")).unwrap_or_default();
    until("the other sink", || file().contains("a century")).await;
    assert_eq!(daemon.stop(), 0);
}

/// Follows a conversation with `history` messages of yesterday, then pushes one: it alone is announced.
async fn only_what_comes_later_is_announced(first_poll: &str, history: u64) {
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let mut rig = Rig::new().await;
        rig.polling = format!("first_poll = \"{first_poll}\"\n");
        let conversation = rig.follow(dialect, "Ada Byron");
        let old = UnixMillis::now() - Duration::from_secs(86_400);
        for number in 0..history {
            rig.world().push_draft(conversation, at(old + Duration::from_secs(number), "history"));
        }
        let daemon = rig.start();
        until("first contact", || rig.watermark().is_some()).await;
        rig.world().push(conversation, "new");
        rig.until_taken(1).await;
        rig.settle().await;
        assert_eq!(rig.receiver.texts(), ["new"]);
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_poll_records_silently_by_default_and_announces_what_comes_later() {
    only_what_comes_later_is_announced("now", 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_poll_since_a_time_to_come_does_not_silence_what_is_written_before_it() {
    only_what_comes_later_is_announced("2999-01-01T00:00:00Z", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_poll_since_a_time_announces_from_that_moment_on_oldest_first() {
    for dialect in [Dialect::LinkedApi, Dialect::ConnectSafely] {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(dialect, "Ada Byron");
        let old = UnixMillis::now() - Duration::from_secs(86_400);
        for number in 0..200 {
            rig.world().push_draft(conversation, at(old + Duration::from_secs(number), &number.to_string()));
        }
        rig.polling = format!("first_poll = \"{}\"\n", old + Duration::from_secs(50));
        let daemon = rig.start();
        rig.until_taken(150).await;
        rig.settle().await;
        rig.until_taken(150).await;
        assert_eq!(rig.receiver.texts(), (50..200).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(rig.receiver.taken().iter().all(|e| e["data"]["seen"]["backfill"] == true));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_past_the_page_limit_goes_on_in_the_next_polls_and_announces_in_order() {
    let mut rig = Rig::new().await;
    rig.polling = "max_pages = 3\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(86_400);
    for number in 0..1_300 {
        rig.world().push_draft(conversation, at(start + Duration::from_secs(number), &number.to_string()));
    }
    let daemon = rig.start();
    rig.until_taken(1_300).await;
    assert_eq!(rig.receiver.texts(), (0..1_300).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reading_of_the_unverified_points_delivers_each_message_once_in_order() {
    use inboxd::simulator::{OwnerFlag, SenderForm, TimeFormat, Truncation, UrnForm};
    for variant in 0..4u32 {
        let mut rig = Rig::new().await;
        rig.world().set_switches(|s| {
            s.connect_safely.since_keeps = if variant % 2 == 0 { Truncation::Oldest } else { Truncation::Newest };
            s.connect_safely.cursor_inclusive = variant % 2 == 0;
            s.connect_safely.order = [Order::Ascending, Order::Shuffled][variant as usize % 2];
            s.connect_safely.page_cap = [100, 12, 20, 50][variant as usize];
            s.connect_safely.wrap_in_data = variant == 1;
            s.connect_safely.sent_at_string = variant == 2;
            s.connect_safely.sender = [SenderForm::Slug, SenderForm::Absent][variant as usize % 2];
            s.connect_safely.owner_flag = OwnerFlag::Inverted;
            s.connect_safely.message_urn = [UrnForm::Messaging, UrnForm::OtherMailbox][variant as usize % 2];
            s.linked_api.order = [Order::Descending, Order::Shuffled][variant as usize % 2];
            s.linked_api.times = [TimeFormat::Offset, TimeFormat::Millis][variant as usize % 2];
            s.linked_api.echo_person_url = variant % 2 == 0;
            s.linked_api.reorder_batch = true;
            s.linked_api.sync_until = variant % 2 == 0;
        });
        let conversations =
            [rig.follow(Dialect::LinkedApi, "Ada Byron"), rig.follow(Dialect::ConnectSafely, "Grace Murray")];
        let start = UnixMillis::now() - Duration::from_secs(3600);
        let fill = |from: u64, to: u64| {
            for number in from..to {
                for conversation in conversations {
                    rig.world().push_draft(conversation, at(start + Duration::from_secs(number), &number.to_string()));
                }
            }
        };
        fill(0, 90);
        let daemon = rig.start();
        rig.until_taken(180).await;
        // A backlog far longer than a page, while the overlap holds messages already known.
        fill(90, 400);
        rig.until_taken(800).await;
        for id in conversations.map(|c| rig.world().conversation_id(c)) {
            let events = rig.receiver.taken();
            let of_conversation = events.iter().filter(|e| e["subject"] == id.as_str());
            let texts: Vec<_> = of_conversation.map(|e| e["data"]["message"]["text"].as_str().unwrap()).collect();
            // Backfilled after the fact, parts of the second fill may be found by different polls, each in order.
            assert_eq!(texts.len(), 400, "variant {variant}, {id}");
            assert!(texts[..90].is_sorted_by_key(|t| t.parse::<u32>().unwrap()), "variant {variant}, {id}");
        }
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_on_the_way_do_not_turn_one_refused_cursor_into_a_gap() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(86_400);
    for number in 0..300 {
        rig.world().push_draft(conversation, at(start + Duration::from_secs(number), &number.to_string()));
    }
    let pages = |skip| When { needs_cursor: true, skip, times: Some(1), ..When::default() };
    for _ in 0..3 {
        rig.world().inject(Fault::Html5xx(503), pages(1));
    }
    let refused = Fault::Status { code: 400, body: "{\"error\":\"cursor expired\"}".into(), headers: vec![] };
    rig.world().inject(refused, pages(2));
    let daemon = rig.start();
    rig.until_taken(300).await;
    assert!(rig.known_conversations()[0].gaps.is_empty());
    assert!(daemon.log().contains("the cursor was refused"));
    assert_eq!(rig.receiver.texts(), (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_that_is_refused_again_and_again_between_its_parts_ends_in_a_gap() {
    let mut rig = Rig::new().await;
    rig.polling = "max_pages = 2\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let start = UnixMillis::now() - Duration::from_secs(86_400);
    for number in 0..600 {
        rig.world().push_draft(conversation, at(start + Duration::from_secs(number), &number.to_string()));
    }
    // Two pages of each walk are answered, the third cursor is always refused.
    for walk in 0..3 {
        let refused = Fault::Status { code: 400, body: "{\"error\":\"cursor expired\"}".into(), headers: vec![] };
        rig.world().inject(refused, When { needs_cursor: true, skip: 2 + walk, times: Some(1), ..When::default() });
    }
    let daemon = rig.start();
    until("a gap on record", || rig.known_conversations().iter().any(|c| c.gaps.len() == 1)).await;
    until("what was read to be announced", || rig.receiver.texts().iter().any(|t| t == "599")).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_character_in_an_answer_blocks_no_conversation() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let sent_at = UnixMillis::now().as_millis();
    let body = format!(
        r#"{{"success":true,"messages":[{{"messageUrn":"urn:li:messagingMessage:2-X","text":"cut \ud83d","sentAt":{sent_at}}}],"hasMore":false}}"#
    );
    // Twice: the page is asked for again once the owner is known.
    let when = When { times: Some(2), endpoint: Some(Endpoint::ConnectSafelyMessages), ..When::default() };
    rig.world().inject(Fault::Status { code: 200, body, headers: vec![] }, when);
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(rig.receiver.texts(), ["cut \u{fffd}"]);
    rig.world().push(conversation, "next");
    rig.until_taken(2).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_quiet_hours_nothing_is_polled_before_its_max_interval() {
    let mut rig = Rig::new().await;
    let asleep = rig.follow(Dialect::LinkedApi, "Ada Byron");
    rig.follow(Dialect::ConnectSafely, "Grace Murray");
    let hour = UnixMillis::now().as_millis() / 3_600_000 % 24;
    let (from, to) = ((hour + 23) % 24, (hour + 2) % 24);
    rig.linkedapi =
        format!("[accounts.sales.polling]\nquiet_hours = \"{from:02}:00-{to:02}:00 UTC\"\nmax_interval = \"1h\"\n");
    let daemon = rig.start();
    let polls = |endpoint| rig.world().request_count(endpoint);
    until("first contact", || polls(Endpoint::LinkedApiPoll) > 0).await;
    rig.world().push(asleep, "not before the morning");
    let awake = polls(Endpoint::ConnectSafelyMessages);
    until("ten polls of who is awake", || polls(Endpoint::ConnectSafelyMessages) >= awake + 10).await;
    assert_eq!(polls(Endpoint::LinkedApiPoll), 1);
    assert_eq!(rig.receiver.taken_count(), 0);
    assert_eq!(daemon.stop(), 0);
}
