//! What cannot be read is on record until it can be, and stops nothing.

use std::sync::Arc;

use inboxd::simulator::Dialect;
use serde_json::{Value, json};

use crate::support::{Daemon, Rig, Sent, Wire, inboxd_in, until};

/// The simulator behind a wire, in a configuration that follows what a provider's inbox lists.
async fn wired(rig: &Rig, dialect: Dialect) -> Arc<Wire> {
    let simulator = rig.simulator.base_url(dialect).split('/').nth(2).unwrap().to_owned();
    let wire = Wire::start(&simulator).await;
    let config = rig.config().replace(&simulator, &wire.address);
    std::fs::write(rig.path().join("inboxd.toml"), config).unwrap();
    wire
}

/// Changes the object of an answer whose path ends so.
fn object(sent: &mut Sent, path: &str, change: impl FnOnce(&mut Value)) {
    if sent.path.split('?').next().unwrap().ends_with(path) {
        let mut body: Value = serde_json::from_slice(&sent.body).unwrap();
        change(&mut body);
        sent.body = body.to_string().into_bytes();
    }
}

fn prepend(list: &mut Value, item: Value) {
    list.as_array_mut().unwrap().insert(0, item);
}

/// Stops the daemon and starts it again.
fn restart(rig: &Rig, daemon: Daemon) -> Daemon {
    assert_eq!(daemon.stop(), 0);
    rig.start_again()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_on_record_until_it_can_be_and_its_neighbours_arrive() {
    let mut rig = Rig::new().await;
    rig.polling = "sweep_interval = \"100ms\"\n".into();
    rig.discover(Dialect::ConnectSafely, "");
    let ada = rig.world().add_conversation(Dialect::ConnectSafely, inboxd::simulator::Kind::Standard, "Ada Byron");
    rig.world().push(ada, "hello");
    let wire = wired(&rig, Dialect::ConnectSafely).await;
    wire.change(|sent| {
        object(sent, "/conversations", |body| prepend(&mut body["conversations"], json!(null)));
        object(sent, "/messages", |body| {
            prepend(&mut body["messages"], json!({"unknown": 1}));
            body["messages"][1]["attachments"] = json!({"0": {}});
        });
    });
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    let audited = || rig.audit();
    until("both to be on record", || audited().1.matches("UNREADABLE: 1").count() == 2).await;
    let (code, text) = audited();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("UNREADABLE: 1 row, the first of them null"), "{text}");
    assert!(text.contains("UNREADABLE: 1 message, the first of them an object without id"), "{text}");

    // Neither more polls with the same answer nor a restart change that; the others still arrive.
    rig.settle().await;
    let daemon = restart(&rig, daemon);
    rig.world().push(ada, "and again");
    rig.until_taken(2).await;
    rig.settle().await;
    assert_eq!(audited().0, 3);
    let status: Value = serde_json::from_str(&inboxd_in(rig.path(), &["status", "--json"]).stdout).unwrap();
    let account = &status["accounts"][0];
    assert_eq!(account["inbox"][0]["unreadable"]["items"], 1);
    assert_eq!(account["conversations"][0]["unreadable"]["items"], 1);
    let status = inboxd_in(rig.path(), &["status"]).stdout;
    assert!(status.contains("1 row UNREADABLE (null)") && status.contains("1 message UNREADABLE"), "{status}");
    let audit: Value = serde_json::from_str(&inboxd_in(rig.path(), &["audit", "--json"]).stdout).unwrap();
    assert_eq!(audit["complete"], false);
    assert_eq!(audit["conversations"][0]["unreadable"]["items"], 1);
    assert_eq!(audit["inboxes"][0]["unreadable"]["looks"], "null");
    // Once for each start.
    let warnings = daemon.log().lines().filter(|line| line.contains("WARN") && line.contains("attachments")).count();
    assert_eq!(warnings, 2, "{}", daemon.log());

    wire.change(|_| {});
    until("everything to have been read", || audited().0 == 0).await;
    assert!(!audited().1.contains("UNREADABLE"));
    assert_eq!(rig.receiver.texts(), ["hello", "and again"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_can_be_read_at_last_is_announced() {
    let mut rig = Rig::new().await;
    let ada = rig.follow(Dialect::LinkupV2, "Ada Byron");
    rig.world().push(ada, "before");
    let wire = wired(&rig, Dialect::LinkupV2).await;
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    wire.change(|sent| {
        object(sent, "/messages", |body| {
            for message in body["data"]["messages"].as_array_mut().into_iter().flatten() {
                if message["text"] == "odd" {
                    *message = json!(["odd"]);
                }
            }
        });
    });
    rig.world().push(ada, "odd");
    rig.world().push(ada, "behind it");
    rig.until_taken(2).await;
    assert_eq!(rig.receiver.texts(), ["before", "behind it"]);
    until("the record", || rig.audit().1.contains("UNREADABLE: 1 message, the first of them a list")).await;
    wire.change(|_| {});
    rig.until_taken(3).await;
    assert_eq!(rig.receiver.texts()[2], "odd");
    until("everything to have been read", || rig.audit().0 == 0).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_of_a_known_message_for_the_first_time_is_no_change_of_it() {
    let mut rig = Rig::new().await;
    rig.http = "events = [\"message.*\"]\n".into();
    let ada = rig.follow(Dialect::UnipileV2, "Ada Byron");
    rig.world().push(ada, "recorded by an older release");
    let wire = wired(&rig, Dialect::UnipileV2).await;
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    let with_subject = |text: &'static str| {
        move |sent: &mut Sent| {
            object(sent, "/messages", |body| {
                for message in body["data"].as_array_mut().into_iter().flatten() {
                    message["specifics"] = json!({"subject": text});
                    message["quoted"] = json!({"id": "q", "text": "When?", "sender": {"display_name": "Robin"}});
                }
            });
        }
    };
    wire.change(with_subject("Our offer"));
    rig.settle().await;
    rig.world().push(ada, "new");
    rig.until_taken(2).await;
    let message = rig.receiver.taken()[1]["data"]["message"].clone();
    assert_eq!((&message["subject"], &message["quoted"]["text"]), (&json!("Our offer"), &json!("When?")));
    assert_eq!(message["quoted"]["sender"]["name"], "Robin");
    assert_eq!(message["forwarded"], Value::Null);
    wire.change(with_subject("Our better offer"));
    rig.until_taken(4).await;
    let changed = rig.receiver.of_type("message.changed");
    assert_eq!(changed.len(), 2);
    assert!(changed.iter().all(|event| event["data"]["message"]["subject"] == "Our better offer"));
    assert_eq!(daemon.stop(), 0);
}
