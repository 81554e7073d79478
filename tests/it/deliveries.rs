//! What an operator sees of deliveries, and can do with them.

use inboxd::simulator::{ConversationRef, Dialect, Draft, Fault, When};
use serde_json::Value;

use crate::support::{Output, Receiver, Reply, Rig, inboxd_in, until};

async fn rig_with(person: &str) -> (Rig, ConversationRef) {
    let mut rig = Rig::new().await;
    let conversation = rig.follow(Dialect::ConnectSafely, person);
    rig.http = "retry = [\"100ms\"]\n".into();
    (rig, conversation)
}

fn said(rig: &Rig, arguments: &[&str]) -> String {
    let Output { code, stdout, stderr } = inboxd_in(rig.path(), arguments);
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
    stdout
}

fn dead(rig: &Rig) -> u64 {
    rig.overview().and_then(|overview| Some(overview.sinks.first()?.dead)).unwrap_or(0)
}

fn listed(rig: &Rig, arguments: &[&str]) -> Vec<Value> {
    let listed = said(rig, &[&["deliveries", "list", "--json"], arguments].concat());
    listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_dead_is_listed_with_its_reason_and_retried_once_beside_the_daemon() {
    let (rig, conversation) = rig_with("Ada Byron").await;
    rig.receiver.script(vec![Reply::Status(422), Reply::Status(422)]);
    for text in ["one", "two", "three"] {
        rig.world().push(conversation, text);
    }
    let daemon = rig.start();
    rig.until_taken(1).await;
    until("two dead deliveries", || dead(&rig) == 2).await;
    let rows = listed(&rig, &[]);
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0]["state"].as_str(), rows[0]["sink"].as_str()), (Some("dead"), Some("crm")));
    assert_eq!(rows[0]["last_failure"], "status 422 (Unprocessable Entity): reply 422");
    let shown = said(&rig, &["deliveries", "list", "--state", "dead"]);
    assert!(shown.contains("Ada Byron") && shown.contains("status 422"), "{shown}");

    let id = rows[0]["event_id"].as_str().unwrap();
    assert_eq!(said(&rig, &["deliveries", "retry", id]), "1 delivery pending again\n");
    rig.until_taken(2).await;
    assert_eq!(said(&rig, &["deliveries", "retry", "--sink", "crm"]), "1 delivery pending again\n");
    rig.until_taken(3).await;
    assert_eq!(rig.receiver.texts(), ["three", "one", "two"]);
    assert_eq!(said(&rig, &["deliveries", "retry", "--all"]), "no dead delivery fits\n");
    until("nothing dead", || dead(&rig) == 0).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_delivery_has_its_whole_schedule_before_it() {
    let (rig, conversation) = rig_with("Ada Byron").await;
    rig.receiver.reply(Reply::Status(500));
    rig.world().push(conversation, "unlucky");
    let daemon = rig.start();
    until("a dead delivery", || dead(&rig) == 1).await;
    assert_eq!(daemon.stop(), 0);
    assert_eq!(rig.receiver.arrived().len(), 2, "the first attempt and the schedule's one");
    assert_eq!(said(&rig, &["deliveries", "retry", "--all"]), "1 delivery pending again\n", "without a daemon");
    rig.receiver.script(vec![Reply::Status(500)]);
    rig.receiver.reply(Reply::Status(200));
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    let id = rig.receiver.arrived()[0].id();
    until("it to be recorded", || listed(&rig, &[]).is_empty()).await;
    let explained: Value = serde_json::from_str(&said(&rig, &["explain", &id, "--json"])).unwrap();
    let attempts = explained["events"][0]["sinks"][0]["attempts"].as_array().unwrap().clone();
    let outcomes: Vec<_> = attempts.iter().map(|a| a["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["retry", "rejected", "retry", "delivered"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_the_same_bytes_as_often_as_it_is_asked_and_a_dry_run_only_counts() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    let other = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.world().push(conversation, "one");
    let daemon = rig.start();
    rig.until_taken(1).await;
    rig.world().push(other, "two");
    rig.until_taken(2).await;
    until("both to be settled", || rig.overview().unwrap().sinks[0].delivered == 2).await;
    let counted = said(&rig, &["replay", "--sink", "crm", "--since", "1h", "--dry-run"]);
    assert_eq!(counted, "2 deliveries would be made to crm: 2 delivered before\n");
    assert_eq!(rig.receiver.arrived().len(), 2);
    for round in 2..4 {
        let done = said(&rig, &["replay", "--sink", "crm", "--conversation", &rig.world().conversation_id(other)]);
        assert_eq!(done, "1 delivery to crm pending: 1 delivered before\n");
        until("it again", || rig.receiver.arrived().len() == round + 1).await;
        until("it to be settled", || rig.overview().unwrap().sinks[0].delivered == 2).await;
    }
    let arrived = rig.receiver.arrived();
    assert_eq!(arrived[1].id(), arrived[3].id());
    assert_eq!(arrived[1].body, arrived[3].body);
    assert_eq!(
        said(&rig, &["replay", "--sink", "crm", "--until", "1h"]),
        "0 deliveries to crm pending: nothing fits\n"
    );
    assert_eq!(daemon.stop(), 0);
    let explained = said(&rig, &["explain", &arrived[1].id()]);
    assert_eq!(explained.matches("Z delivered\n").count(), 3, "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_added_later_is_sent_what_came_before_it_by_a_replay() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.world().push(conversation, "before");
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
    let later = Receiver::start().await;
    rig.more = format!("\n[sinks.later]\ntype = \"http\"\nurl = \"{}\"\n", later.url());
    let daemon = rig.start();
    until("the new sink to be known", || rig.overview().unwrap().sinks.len() == 2).await;
    let id = rig.receiver.arrived()[0].id();
    let explained = said(&rig, &["explain", &id]);
    assert!(explained.contains("sink later: not owed: the sink was added later"), "{explained}");
    assert!(explained.contains(&format!("inboxd replay --sink later --event {id}")), "{explained}");
    let replayed = said(&rig, &["replay", "--sink", "later", "--event", &id]);
    assert_eq!(replayed, "1 delivery to later pending: 1 never owed to it\n");
    until("it", || later.texts() == ["before"]).await;
    assert_eq!(later.arrived()[0].body, rig.receiver.arrived()[0].body);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_no_longer_configured_keeps_what_it_is_owed_until_it_is_purged() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.more = "\n[sinks.old]\ntype = \"http\"\nurl = \"http://127.0.0.1:9/\"\nretry = [\"1h\"]\n".into();
    rig.world().push(conversation, "owed");
    let daemon = rig.start();
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
    rig.more.clear();
    let daemon = rig.start();
    until("the sink to be gone", || !rig.overview().unwrap().sinks[1].configured).await;
    let shown = said(&rig, &["status"]);
    assert!(shown.contains("kept until: inboxd deliveries purge --sink old"), "{shown}");
    let refused = inboxd_in(rig.path(), &["deliveries", "retry", "--sink", "old"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("there is no sink \"old\" in the configuration"), "{}", refused.stderr);
    let purge = ["deliveries", "purge", "--sink", "old"];
    assert_eq!(said(&rig, &[&purge[..], &["--dry-run"]].concat()), "would be removed: 0 dead, 1 pending\n");
    assert_eq!(said(&rig, &purge), "removed for good: 0 dead, 1 pending\n");
    assert_eq!(rig.overview().unwrap().sinks.len(), 1);
    let nobody = inboxd_in(rig.path(), &["deliveries", "purge", "--sink", "old"]);
    assert_eq!(nobody.code, 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_removes_dead_deliveries_and_leaves_pending_ones_unless_told() {
    let (rig, conversation) = rig_with("Ada Byron").await;
    rig.receiver.script(vec![Reply::Status(400)]);
    rig.receiver.reply(Reply::RetryAfter { status: 503, seconds: 3_600 });
    for text in ["refused", "waiting"] {
        rig.world().push(conversation, text);
    }
    let daemon = rig.start();
    until("one dead and one tried", || rig.receiver.arrived().len() == 2 && dead(&rig) == 1).await;
    assert_eq!(said(&rig, &["deliveries", "purge", "--all"]), "removed for good: 1 dead, 0 pending\n");
    assert_eq!(listed(&rig, &[]).len(), 1);
    assert_eq!(said(&rig, &["deliveries", "purge", "--all", "--pending"]), "removed for good: 0 dead, 1 pending\n");
    assert!(listed(&rig, &[]).is_empty());
    // The lane is free for what comes next.
    rig.receiver.reply(Reply::Status(200));
    rig.world().push(conversation, "next");
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_explained_from_the_poll_that_saw_it_to_every_attempt() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.polling = "first_poll = \"now\"\n".into();
    let silent = rig.world().push(conversation, "history");
    rig.more = "\n[sinks.ops]\ntype = \"file\"\npath = \"ops.jsonl\"\nevents = [\"account.*\"]\n".into();
    let daemon = rig.start();
    until("first contact", || rig.conversation().is_some_and(|c| c.first_polled_at.is_some())).await;
    rig.receiver.script(vec![Reply::Status(503)]);
    let id = rig.world().push(conversation, "news");
    rig.until_taken(1).await;
    until("it to be recorded", || listed(&rig, &[]).is_empty()).await;
    let explained = said(&rig, &["explain", &id]);
    for part in [
        "new: no message with this id was known",
        "account work, conversation ",
        "(Ada Byron)",
        "found by poll",
        "sink crm: delivered",
        " retry: status 503 (Service Unavailable): reply 503",
        " delivered\n",
        "sink ops: not owed: it was not among what the sink wanted (now: events = account.*)",
    ] {
        assert!(explained.contains(part), "{part} in\n{explained}");
    }
    let explained = said(&rig, &["explain", &silent]);
    assert!(explained.contains("silent: ") && explained.contains("recorded silently"), "{explained}");
    let unknown = inboxd_in(rig.path(), &["explain", "nobody\u{1b}[2J"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("\"nobody\\u{1b}[2J\" is on record"), "{}", unknown.stderr);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_keeps_messages_from_one_sink_and_explain_says_so_and_a_replay_follows_the_filter_of_now() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.http = "filter = \"data.message.direction == 'inbound'\"\nevents = [\"*\"]\n".into();
    rig.more = "\n[sinks.all]\ntype = \"file\"\npath = \"all.jsonl\"\n".into();
    let mut ids = vec![];
    for (text, outbound) in [("theirs", false), ("ours", true), ("theirs again", false)] {
        let draft = Draft { text: text.into(), outbound, ..Draft::default() };
        ids.push(rig.world().push_draft(conversation, draft));
    }
    let daemon = rig.start();
    rig.until_taken(2).await;
    let lines = || std::fs::read_to_string(rig.path().join("all.jsonl")).unwrap_or_default().lines().count();
    until("all of them at the other sink", || lines() == 3).await;
    assert_eq!(rig.receiver.texts(), ["theirs", "theirs again"]);
    assert_eq!(listed(&rig, &["--state", "filtered"]).len(), 1);
    assert!(said(&rig, &["status"]).contains("1 filtered out"));
    let explained = said(&rig, &["explain", &ids[1]]);
    let why =
        "sink crm: filtered: its filter did not let it pass; the filter is now: data.message.direction == 'inbound'";
    assert!(explained.contains(why), "{explained}");
    let counted = said(&rig, &["replay", "--sink", "crm", "--dry-run"]);
    assert!(counted.ends_with("2 delivered before, 1 filtered out and left alone\n"), "{counted}");
    assert_eq!(daemon.stop(), 0);

    rig.http.clear();
    let daemon = rig.start();
    until("the filter to be gone", || said(&rig, &["explain", &ids[1]]).contains("the filter that it had then")).await;
    said(&rig, &["replay", "--sink", "crm", "--conversation", &rig.world().conversation_id(conversation)]);
    rig.until_taken(3).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_event_passes_a_filter_that_speaks_of_messages_only() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.http = "filter = \"data.message.direction == 'outbound'\"\nevents = [\"*\"]\n".into();
    rig.world().push(conversation, "theirs");
    let daemon = rig.start();
    until("the message to be recorded", || rig.overview().is_some_and(|o| o.sinks.iter().any(|s| s.filtered == 1)))
        .await;
    let body = "{\"error\":\"Invalid API key\"}".to_owned();
    rig.world().inject(Fault::Status { code: 401, body, headers: vec![] }, When::default());
    rig.until_noticed(1).await;
    assert_eq!(rig.receiver.texts(), Vec::<String>::new());
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_of_a_sink_makes_what_waits_for_its_next_attempt_due_at_once() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.http = "retry = [\"1h\"]\n".into();
    rig.receiver.script(vec![Reply::Status(503)]);
    rig.world().push(conversation, "waiting");
    let daemon = rig.start();
    until("the failed attempt", || !rig.receiver.arrived().is_empty()).await;
    until("it to be on record", || listed(&rig, &[]).first().is_some_and(|row| row["attempts"] == 1)).await;
    let done = said(&rig, &["deliveries", "retry", "--sink", "crm"]);
    assert_eq!(done, "no dead delivery fits; 1 conversation that waited for a next attempt is due now\n");
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_goes_by_the_configuration_of_now_and_not_by_that_of_the_last_run() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    rig.http = "retry = [\"1h\"]\n".into();
    rig.receiver.reply(Reply::Status(503));
    rig.more = "\n[sinks.archive]\ntype = \"file\"\npath = \"events.jsonl\"\n".into();
    rig.world().push(conversation, "owed");
    let daemon = rig.start();
    until("the failed attempt", || !rig.receiver.arrived().is_empty()).await;
    until("it to be on record", || listed(&rig, &[]).first().is_some_and(|row| row["attempts"] == 1)).await;
    assert_eq!(daemon.stop(), 0);
    let with_crm = rig.config();
    std::fs::write(rig.path().join("inboxd.toml"), with_crm.replace("[sinks.crm]", "[sinks.other]")).unwrap();
    assert_eq!(
        said(&rig, &["deliveries", "purge", "--sink", "crm", "--dry-run"]),
        "would be removed: 0 dead, 1 pending\n"
    );
    // A round without the sink, and then it is back.
    inboxd_in(rig.path(), &["run", "--once"]);
    rig.write_config();
    let kept = "removed for good: 0 dead, 0 pending; pending ones stay: the sink is configured\n";
    assert_eq!(said(&rig, &["deliveries", "purge", "--sink", "crm"]), kept);
    assert_eq!(listed(&rig, &["--sink", "crm"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_of_cron_polls_nothing_while_a_sink_is_owed_too_much() {
    let (mut rig, conversation) = rig_with("Ada Byron").await;
    // This one would begin with a sweep.
    rig.discover(Dialect::UnipileV2, "");
    rig.http = "retry = [\"1h\"]\nmax_pending = 2\n".into();
    rig.receiver.reply(Reply::Status(503));
    (0..3).for_each(|number| drop(rig.world().push(conversation, &number.to_string())));
    rig.write_config();
    assert_eq!(inboxd_in(rig.path(), &["run", "--once"]).code, 3);
    rig.world().push(conversation, "later");
    let round = inboxd_in(rig.path(), &["run", "--once"]);
    assert_eq!(round.code, 3);
    assert!(round.stderr.contains("polling waits until they are 0 or fewer"), "{}", round.stderr);
    assert_eq!(listed(&rig, &[]).len(), 3, "the fourth is still to be polled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_with_too_many_dead_deliveries_loses_the_oldest_with_their_text() {
    let (rig, conversation) = rig_with("Ada Byron").await;
    rig.receiver.script(vec![Reply::Status(422); 3]);
    for text in ["one", "two", "three", "taken"] {
        rig.world().push(conversation, text);
    }
    let daemon = rig.start();
    rig.until_taken(1).await;
    until("three dead deliveries", || dead(&rig) == 3).await;
    assert_eq!(daemon.stop(), 0);
    let store = inboxd::store::Store::open(&rig.database()).unwrap();
    assert_eq!(store.bound_dead(3).await.unwrap(), []);
    assert_eq!(store.bound_dead(1).await.unwrap(), [("crm".to_owned(), 2)]);
    assert_eq!(store.bound_dead(1).await.unwrap(), []);
    store.close().await.unwrap();
    let left: Vec<_> = listed(&rig, &["--state", "dead"]).iter().map(|row| row["event_id"].clone()).collect();
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    let texts = |sql: &str| -> Vec<String> {
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let of_events = "SELECT json_extract(body, '$.data.message.text') FROM events WHERE json_extract(body, '$.type') = 'message.new' ORDER BY id";
    assert_eq!((left.len(), texts(of_events)), (1, vec!["three".into(), "taken".into()]));
}
