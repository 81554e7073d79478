//! Receivers whose answers speak of the address: no event is lost for that, and the sink is parked.

use inboxd::simulator::{ConversationRef, Dialect};
use serde_json::Value;

use crate::support::{Receiver, Reply, Rig, inboxd_in, until};

/// One wait for each failure that counts: two of them are left after the first attempt.
const TWO_RETRIES: &str = "retry = [\"50ms\", \"50ms\"]\n";

async fn rig_with_ops() -> (Rig, Receiver) {
    let rig = Rig::new().await;
    let ops = Receiver::start().await;
    (rig, ops)
}

fn tell(rig: &mut Rig, ops: &Receiver) {
    rig.more =
        format!("\n[sinks.ops]\ntype = \"http\"\nurl = \"{}\"\nevents = [\"sink.*\", \"delivery.*\"]\n", ops.url());
}

fn dead(rig: &Rig) -> u64 {
    rig.overview().map_or(0, |overview| overview.sinks.iter().map(|sink| sink.dead).sum())
}

fn details(ops: &Receiver, kind: &str) -> Vec<String> {
    ops.of_type(kind).iter().map(|event| event["data"]["detail"].as_str().unwrap().to_owned()).collect()
}

fn push(rig: &Rig, conversation: ConversationRef, texts: &[&str]) {
    for text in texts {
        rig.world().push(conversation, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_the_address_uses_up_no_retry_and_everything_arrives_in_order_afterwards() {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.http = TWO_RETRIES.into();
    let statuses = [301, 304, 401, 402, 403, 404, 405, 406, 407, 409, 421, 423, 428, 431, 451, 499];
    rig.receiver.script(statuses.map(Reply::Status).to_vec());
    push(&rig, conversation, &["one", "two", "three"]);
    let daemon = rig.start();
    rig.until_taken(3).await;
    assert_eq!(rig.receiver.texts(), ["one", "two", "three"]);
    assert_eq!(rig.receiver.arrived().len(), statuses.len() + 3);
    assert_eq!(dead(&rig), 0);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_the_body_ends_that_delivery_alone_and_the_others_are_told_once() {
    let (mut rig, ops) = rig_with_ops().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    tell(&mut rig, &ops);
    rig.receiver.script([400, 413, 415, 422].map(Reply::Status).to_vec());
    push(&rig, conversation, &["one", "two", "three", "four", "five"]);
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(rig.receiver.texts(), ["five"]);
    until("the others to be told", || !ops.notices().is_empty()).await;
    let purged = inboxd_in(rig.path(), &["deliveries", "purge", "--sink", "crm"]);
    assert_eq!(purged.code, 0, "{}{}", purged.stdout, purged.stderr);
    until("the end of it to be told", || ops.notices().len() == 2).await;
    let told = |state: &str| ("delivery.dead".to_owned(), state.to_owned());
    assert_eq!(ops.notices(), [told("entered"), told("left")]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_only_speaks_of_the_address_is_parked_with_what_it_said_and_what_to_do() {
    let (mut rig, ops) = rig_with_ops().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    tell(&mut rig, &ops);
    // Nothing but that for as long as park_after, where that is shorter than a minute.
    rig.http = format!("park_after = \"1s\"\n{TWO_RETRIES}");
    rig.receiver.reply(Reply::Status(404));
    push(&rig, conversation, &["one", "two"]);
    let daemon = rig.start();
    until("the others to be told", || ops.notices().len() == 1).await;
    let detail = details(&ops, "sink.parked").remove(0);
    assert!(detail.contains("status 404 (Not Found)") && detail.contains("look at url"), "{detail}");
    rig.receiver.reply(Reply::Status(204));
    rig.until_taken(2).await;
    assert_eq!((rig.receiver.texts(), dead(&rig)), (vec!["one".into(), "two".into()], 0));
    until("its recovery to be told", || ops.notices().len() == 2).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_for_good_is_parked_at_once() {
    let (mut rig, ops) = rig_with_ops().await;
    let conversation = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    tell(&mut rig, &ops);
    rig.receiver.reply(Reply::Status(410));
    push(&rig, conversation, &["one"]);
    let daemon = rig.start();
    until("the others to be told", || ops.notices().len() == 1).await;
    assert_eq!((rig.receiver.arrived().len(), dead(&rig)), (1, 0));
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_other_events_get_through_a_refusal_is_about_the_event_and_ends_with_the_schedule() {
    let (mut rig, ops) = rig_with_ops().await;
    let disliked = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let other = rig.follow(Dialect::LinkedApi, "Grace Murray");
    tell(&mut rig, &ops);
    rig.http = TWO_RETRIES.into();
    rig.write_config();
    push(&rig, disliked, &["first"]);
    let daemon = rig.start();
    rig.until_taken(1).await;
    let subject = rig.receiver.arrived()[0].event()["subject"].as_str().unwrap().to_owned();
    rig.receiver.reply(Reply::Poison { subject: subject.clone(), status: 403 });
    push(&rig, disliked, &["a firewall dislikes this"]);
    let mut number = 0;
    until("the refused one to be given up", || {
        number += 1;
        if number % 10 == 0 {
            push(&rig, other, &[&format!("{number}")]);
        }
        dead(&rig) == 1
    })
    .await;
    until("the others to be told", || ops.of_type("delivery.dead").len() == 1).await;
    let of_subject = |event: &Value| event["subject"] == subject.as_str();
    let taken: Vec<_> = rig.receiver.of_type("message.new").into_iter().filter(of_subject).collect();
    assert_eq!(taken.len(), 1, "only what came before");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_restarted_again_and_again_costs_nothing_and_is_told_in_step() {
    let (mut rig, ops) = rig_with_ops().await;
    let people: Vec<_> = (0..3).map(|n| rig.follow(Dialect::LinkedApi, &format!("Person {n}"))).collect();
    tell(&mut rig, &ops);
    // A second stands for a minute.
    rig.http = "park_after = \"1s\"\nretry = [\"20ms\", \"100ms\", \"500ms\"]\n".into();
    let daemon = rig.start();
    let mut sent = 0;
    for parkings in 1..=4 {
        rig.receiver.reply(Reply::Status(404));
        until("the sink to be parked", || {
            if sent < 40 * parkings {
                for (n, &person) in people.iter().enumerate() {
                    push(&rig, person, &[&format!("{n} {sent:04}")]);
                }
                sent += 1;
            }
            ops.of_type("sink.parked").len() == parkings
        })
        .await;
        rig.receiver.reply(Reply::Status(204));
        let expected = sent * people.len();
        until("what was sent", || rig.receiver.taken_count() == expected).await;
    }
    assert_eq!(dead(&rig), 0);
    for n in 0..people.len() {
        let prefix = format!("{n} ");
        let texts: Vec<_> = rig.receiver.texts().into_iter().filter(|text| text.starts_with(&prefix)).collect();
        assert!(texts.is_sorted() && texts.len() == sent, "{texts:?}");
    }
    until("as many recoveries as parkings", || ops.notices().len() % 2 == 0).await;
    let told: Vec<_> = ops.notices().into_iter().map(|(kind, _)| kind).collect();
    assert!(!told.is_empty());
    for pair in told.chunks(2) {
        assert_eq!(pair, ["sink.parked", "sink.recovered"], "{told:?}");
    }
    assert_eq!(daemon.stop(), 0);
}
