//! A known message that says something else: counted always, told only to whom asks for it, and each content once.

use std::path::Path;

use inboxd::simulator::{ConversationRef, Dialect, Draft, Kind};
use serde_json::{Value, json};

use crate::support::{Rig, until, valid_event};

const ALL: [Dialect; 6] = [
    Dialect::LinkedApi,
    Dialect::ConnectSafely,
    Dialect::LinkupV1,
    Dialect::LinkupV2,
    Dialect::UnipileV2,
    Dialect::UnipileV1,
];

const UNIPILE: [Dialect; 2] = [Dialect::UnipileV2, Dialect::UnipileV1];

const CHANGED: &str = "message.changed";

/// Further keys of the HTTP sink: it wants changes too.
const WANTS_CHANGES: &str = "events = [\"message.new\", \"message.changed\"]\n";

async fn until_edits(rig: &Rig, edits: u64) {
    until(&format!("{edits} edits to be counted"), || rig.conversation().is_some_and(|c| c.edits >= edits)).await;
    assert_eq!(rig.conversation().unwrap().edits, edits);
}

fn changes(rig: &Rig) -> Vec<String> {
    let text = |event: &Value| event["data"]["message"]["text"].as_str().unwrap().to_owned();
    rig.receiver.of_type(CHANGED).iter().map(text).collect()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(valid_event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_content_is_told_once_over_restarts_to_the_sink_that_asks_and_to_no_other() {
    for dialect in ALL {
        let mut rig = Rig::new().await;
        rig.http = WANTS_CHANGES.into();
        rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
        let conversation = rig.follow(dialect, "Ada Byron");
        let mut daemon = rig.start();
        let id = rig.world().push(conversation, "A");
        rig.until_told(1).await;
        for (edits, text) in [(1, "B"), (2, "A"), (3, "B"), (4, "A"), (5, "C")] {
            rig.world().edit(conversation, &id, text);
            until_edits(&rig, edits).await;
            daemon.kill();
            daemon = rig.start_again();
        }
        rig.world().push(conversation, "next");
        rig.until_told(2).await;
        until("the change to C", || changes(&rig).len() >= 3).await;
        rig.settle().await;
        assert_eq!(changes(&rig), ["B", "A", "C"], "{dialect:?}");
        assert_eq!(rig.recorded(CHANGED), 3, "{dialect:?}");
        assert_eq!(rig.receiver.texts(), ["A", "next"], "{dialect:?}");
        let events = rig.receiver.taken();
        let ids: std::collections::HashSet<_> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 5);
        for event in rig.receiver.of_type(CHANGED) {
            assert_eq!(event["data"]["message"]["id"], rig.receiver.of_type("message.new")[0]["data"]["message"]["id"]);
            assert_eq!(event["subject"], rig.world().conversation_id(conversation).as_str());
        }
        let archived = || lines(&rig.path().join("events.jsonl"));
        until("both messages in the archive", || archived().len() >= 2).await;
        assert!(archived().iter().all(|event| event["type"] == "message.new"), "{dialect:?}");
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_asks_for_is_counted_and_not_told_later_either() {
    for dialect in ALL {
        let mut rig = Rig::new().await;
        let conversation = rig.follow(dialect, "Ada Byron");
        let daemon = rig.start();
        let id = rig.world().push(conversation, "A");
        rig.until_told(1).await;
        rig.world().edit(conversation, &id, "B");
        until_edits(&rig, 1).await;
        assert_eq!(daemon.stop(), 0);
        rig.http = WANTS_CHANGES.into();
        let daemon = rig.start();
        rig.settle().await;
        assert_eq!(rig.receiver.taken_count(), 1);
        rig.world().edit(conversation, &id, "C");
        until("the change that is asked for", || changes(&rig).len() == 1).await;
        assert_eq!((changes(&rig), rig.conversation().unwrap().edits), (vec!["C".into()], 2));
        assert_eq!(daemon.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_taken_back_is_a_change_that_says_so() {
    for dialect in UNIPILE {
        let mut rig = Rig::new().await;
        rig.http = WANTS_CHANGES.into();
        let conversation = rig.follow(dialect, "Ada Byron");
        let daemon = rig.start();
        let id = rig.world().push(conversation, "said too much");
        rig.until_told(1).await;
        rig.world().edit(conversation, &id, "said less");
        until("the edit", || rig.receiver.of_type(CHANGED).len() == 1).await;
        rig.world().retract(conversation, &id);
        until("the retraction", || rig.receiver.of_type(CHANGED).len() == 2).await;
        let flags = |number: usize| rig.receiver.of_type(CHANGED)[number]["data"]["message"]["flags"].clone();
        assert_eq!(flags(0), json!(["edited"]), "{dialect:?}");
        assert!(flags(1).as_array().unwrap().contains(&"deleted".into()), "{dialect:?}: {}", flags(1));
        assert_eq!(changes(&rig), ["said less", ""]);
        rig.settle().await;
        assert_eq!(rig.receiver.taken_count(), 3);
        assert_eq!(daemon.stop(), 0);
    }
}

/// An account that discovers with these further keys, and a conversation of it with a word of a person in it.
async fn discovering(dialect: Dialect, keys: &str) -> (Rig, ConversationRef) {
    let mut rig = Rig::new().await;
    rig.http = WANTS_CHANGES.into();
    rig.polling = "sweep_interval = \"200ms\"\n".into();
    rig.discover(dialect, keys);
    let conversation = rig.world().add_conversation(dialect, Kind::Standard, "Ada Byron");
    rig.world().push(conversation, "a word");
    (rig, conversation)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_person_wrote_is_silent_unless_asked_for_and_so_are_its_changes() {
    for dialect in UNIPILE {
        for (include, expected) in
            [("", vec!["a word"]), ("include = [\"is_event\"]\n", vec!["a word", "has joined", "has joined again"])]
        {
            let (rig, conversation) = discovering(dialect, include).await;
            let hidden = Draft { text: "hidden".into(), hidden: true, ..Draft::default() };
            let hidden = rig.world().push_draft(conversation, hidden);
            let event = Draft { text: "has joined".into(), event: true, ..Draft::default() };
            let event = rig.world().push_draft(conversation, event);
            let daemon = rig.start();
            rig.until_told(if include.is_empty() { 1 } else { 2 }).await;
            rig.world().edit(conversation, &hidden, "hidden still");
            rig.world().edit(conversation, &event, "has joined again");
            until_edits(&rig, 2).await;
            rig.settle().await;
            let text = |event: &Value| event["data"]["message"]["text"].as_str().unwrap().to_owned();
            let texts: Vec<_> = rig.receiver.taken().iter().map(text).collect();
            assert_eq!(texts, expected, "{dialect:?}");
            assert_eq!(daemon.stop(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_history_that_nobody_was_told_of_is_silent() {
    let mut rig = Rig::new().await;
    rig.http = WANTS_CHANGES.into();
    rig.polling = "first_poll = \"now\"\n".into();
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let old = rig.world().push(conversation, "before inboxd came");
    let daemon = rig.start();
    until("first contact", || rig.watermark().is_some()).await;
    rig.world().edit(conversation, &old, "before inboxd came, edited");
    until_edits(&rig, 1).await;
    rig.world().push(conversation, "new");
    rig.until_told(1).await;
    assert_eq!(rig.receiver.taken_count(), 1);
    assert_eq!(daemon.stop(), 0);
}
