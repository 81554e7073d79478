//! Sinks that are out: parked, probed, drained; and what that does to polling and to everybody else.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect};
use inboxd::store::SinkOverview;
use serde_json::Value;

use crate::support::{Daemon, Receiver, Reply, Rig, until};

/// Keys of the sink under test: parked after a second, with retries enough until then.
const PARKS: &str =
    "park_after = \"1s\"\nretry = [\"100ms\", \"200ms\", \"300ms\", \"400ms\", \"500ms\", \"600ms\", \"700ms\"]\n";

fn sink(rig: &Rig, name: &str) -> Option<SinkOverview> {
    rig.overview()?.sinks.into_iter().find(|sink| sink.name == name)
}

fn is_parked(rig: &Rig) -> bool {
    sink(rig, "crm").is_some_and(|crm| crm.parked_at.is_some())
}

fn people(rig: &mut Rig, count: usize) -> Vec<ConversationRef> {
    (0..count).map(|number| rig.follow(Dialect::LinkedApi, &format!("Person {number}"))).collect()
}

fn push(rig: &Rig, conversations: &[ConversationRef], numbers: std::ops::Range<u32>) {
    for number in numbers {
        for &conversation in conversations {
            rig.world().push(conversation, &format!("{number:03}"));
        }
    }
}

/// Texts of the messages that a receiver kept, by conversation, in the order they came.
fn by_conversation(receiver: &Receiver) -> HashMap<String, Vec<String>> {
    let mut texts: HashMap<String, Vec<String>> = HashMap::new();
    for event in receiver.of_type("message.new") {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        texts.entry(word(&event["subject"])).or_default().push(word(&event["data"]["message"]["text"]));
    }
    texts
}

fn assert_in_order(receiver: &Receiver, conversations: usize, each: usize) {
    let texts = by_conversation(receiver);
    assert_eq!(texts.len(), conversations);
    for (subject, texts) in texts {
        let expected: Vec<_> = (0..each).map(|number| format!("{number:03}")).collect();
        assert_eq!(texts, expected, "{subject}");
    }
}

async fn with_ops(rig: &mut Rig) -> Receiver {
    let ops = Receiver::start().await;
    rig.more = format!("\n[sinks.ops]\ntype = \"http\"\nurl = \"{}\"\nevents = [\"*\"]\n", ops.url());
    ops
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_only_fails_is_parked_the_others_are_told_and_it_drains_in_order_when_it_answers() {
    let mut rig = Rig::new().await;
    let conversations = people(&mut rig, 3);
    let ops = with_ops(&mut rig).await;
    rig.http = format!("{PARKS}events = [\"*\"]\n");
    rig.receiver.reply(Reply::Status(503));
    push(&rig, &conversations, 0..10);
    let daemon = rig.start();
    until("the sink to be parked", || is_parked(&rig)).await;
    until("everything at the other sink", || ops.of_type("message.new").len() == 30).await;
    push(&rig, &conversations, 10..15);
    until("what comes later at the other sink too", || ops.of_type("message.new").len() == 45).await;
    let tried = rig.receiver.arrived().len();
    until("a few probes", || rig.receiver.arrived().len() >= tried + 3).await;
    let crm = sink(&rig, "crm").unwrap();
    assert_eq!((crm.delivered, crm.dead), (0, 0), "nothing is dropped");
    let shown = crate::support::inboxd_in(rig.path(), &["status"]).stdout;
    assert!(shown.contains("sink crm: PARKED") && shown.contains("status 503"), "{shown}");

    rig.receiver.reply(Reply::Status(200));
    until("everything at the sink", || rig.receiver.of_type("message.new").len() == 45).await;
    assert_in_order(&rig.receiver, 3, 15);
    let told = |word: &str| (format!("sink.{word}"), if word == "parked" { "entered" } else { "left" }.to_owned());
    until("both notices", || ops.notices().len() == 2).await;
    assert_eq!(ops.notices(), [told("parked"), told("recovered")]);
    assert_eq!(rig.receiver.notices(), [], "a sink is not told about itself");
    assert!(!is_parked(&rig));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_goes_to_another_conversation_each_time_so_that_one_bad_event_keeps_no_sink_parked() {
    let mut rig = Rig::new().await;
    let conversations = people(&mut rig, 3);
    // What is owed waits for an hour, so that only the turns of probes bring it forward.
    rig.http = "park_after = \"1s\"\nretry = [\"100ms\", \"1h\"]\n".into();
    rig.receiver.reply(Reply::Status(503));
    push(&rig, &conversations, 0..2);
    let daemon = rig.start();
    until("the sink to be parked", || is_parked(&rig)).await;
    let before = rig.receiver.arrived().len();
    until("two probes", || rig.receiver.arrived().len() >= before + 2).await;
    let last = rig.receiver.arrived().pop().unwrap().event();
    rig.receiver.reply(Reply::Poison { subject: last["subject"].as_str().unwrap().to_owned(), status: 503 });
    until("the other conversations", || rig.receiver.taken_count() == 4).await;
    assert!(!is_parked(&rig));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_sink_is_still_parked_after_a_kill_and_probed_with_one_event() {
    let mut rig = Rig::new().await;
    let conversations = people(&mut rig, 3);
    rig.http = PARKS.into();
    rig.receiver.reply(Reply::Status(503));
    push(&rig, &conversations, 0..2);
    let daemon = rig.start();
    until("the sink to be parked", || is_parked(&rig)).await;
    daemon.kill();
    let before = rig.receiver.arrived().len();
    // From now on an hour, so that there is one probe and no other.
    rig.http = rig.http.replace("\"1s\"", "\"1h\"");
    let daemon = rig.start();
    until("the probe", || rig.receiver.arrived().len() > before).await;
    rig.settle().await;
    assert_eq!(rig.receiver.arrived().len(), before + 1);
    assert!(is_parked(&rig));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn above_the_mark_polling_waits_and_below_it_it_goes_on_and_nothing_is_lost() {
    let mut rig = Rig::new().await;
    let conversations = people(&mut rig, 4);
    rig.http = "max_pending = 20\nretry = [\"100ms\", \"1h\"]\npark_after = \"1s\"\n".into();
    rig.receiver.reply(Reply::Status(503));
    push(&rig, &conversations, 0..8);
    let daemon = rig.start();
    until("polling to wait", || daemon.log().contains("polling waits until they are 15 or fewer")).await;
    let pending = || sink(&rig, "crm").unwrap().pending;
    let held_at = pending();
    push(&rig, &conversations, 8..40);
    // Several intervals in which a daemon that does not wait would poll.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let shown = crate::support::inboxd_in(rig.path(), &["status"]).stdout;
    assert!(shown.contains("MORE THAN max_pending: polling waits"), "{shown}");
    assert!(pending() <= held_at + 8, "a poll in flight may end, and no other begins: {} after {held_at}", pending());
    rig.receiver.reply(Reply::Status(200));
    rig.until_taken(160).await;
    assert_in_order(&rig.receiver, 4, 40);
    assert!(daemon.log().contains("the backlog is worked off: polling goes on"));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_conversations_are_not_delayed_by_one_that_the_receiver_refuses() {
    let mut rig = Rig::new().await;
    rig.polling = "min_interval = \"1s\"\nmax_interval = \"2s\"\n".into();
    rig.linkedapi = "batch_size = 100\n".into();
    rig.http = "retry = [\"1h\"]\nconcurrency = 4\n".into();
    let conversations = people(&mut rig, 1_000);
    let poisoned = rig.world().conversation_id(conversations[0]);
    rig.receiver.reply(Reply::Poison { subject: poisoned.clone(), status: 500 });
    push(&rig, &conversations[..1], 0..5);
    push(&rig, &conversations[1..], 0..2);
    let daemon = rig.start();
    rig.until_taken(2 * 999).await;
    let refused = rig.receiver.arrived().into_iter().filter(|a| !a.taken).map(|a| a.id()).collect::<HashSet<_>>();
    assert_eq!(refused.len(), 1, "what comes after the refused event of its conversation waits for it");
    let crm = sink(&rig, "crm").unwrap();
    assert_eq!((crm.pending, crm.dead, crm.parked_at), (5, 0, None));
    assert_eq!(daemon.stop(), 0);
}

/// Starts a daemon that ends itself at a step, and waits for that.
async fn dies_at(rig: &Rig, step: &str) {
    rig.write_config();
    let mut daemon = Daemon::start_with(rig.path(), &["--log-level", "debug"], |command| {
        command.env("INBOXD_DIE_AT", step);
    });
    until(&format!("the end at {step}"), || daemon.has_ended()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_delivery_repeats_at_most_what_was_in_flight() {
    for step in ["claimed", "answered", "recorded"] {
        let mut rig = Rig::new().await;
        rig.http = "concurrency = 2\nretry = [\"100ms\"]\n".into();
        let conversations = people(&mut rig, 3);
        push(&rig, &conversations, 0..10);
        dies_at(&rig, &format!("{step}:3")).await;
        let daemon = rig.start_again();
        rig.until_taken(30).await;
        assert_in_order(&rig.receiver, 3, 10);
        let repeats = rig.receiver.arrived().len() - 30;
        assert!(repeats <= 2, "{step}: {repeats} repeated, 2 were in flight at most");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_after_the_event_was_sent_and_before_its_answer_repeats_what_was_in_flight_and_no_more() {
    let mut rig = Rig::new().await;
    rig.http = "concurrency = 2\n".into();
    let conversations = people(&mut rig, 3);
    push(&rig, &conversations, 0..10);
    rig.receiver.script(vec![Reply::Status(200), Reply::Status(200), Reply::Hang, Reply::Hang]);
    let daemon = rig.start();
    until("two attempts that wait for their answer", || rig.receiver.arrived().len() == 4).await;
    daemon.kill();
    let daemon = rig.start_again();
    rig.until_taken(30).await;
    assert_in_order(&rig.receiver, 3, 10);
    assert_eq!(rig.receiver.arrived().len(), 32, "each of the two came again, once");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_of_a_write_to_a_file_loses_no_line_and_tears_none() {
    for step in ["claimed", "answered", "recorded"] {
        let mut rig = Rig::new().await;
        rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
        rig.http = "events = [\"sink.*\"]\n".into();
        let conversations = people(&mut rig, 3);
        push(&rig, &conversations, 0..10);
        dies_at(&rig, step).await;
        let daemon = rig.start_again();
        push(&rig, &conversations, 10..12);
        let ids = || {
            let lines = std::fs::read_to_string(rig.path().join("events.jsonl")).unwrap_or_default();
            // What stands behind the last line break is being written.
            let whole = lines.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].to_string();
            whole.lines().map(id).collect::<HashSet<_>>().len()
        };
        until("every event in the file", || ids() == 36).await;
        assert_eq!(daemon.stop(), 0);
    }
}
