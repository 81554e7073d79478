//! What comes of messages: each once, in order, whatever the pages look like.

use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect, Draft, Fault, When};
use inboxd::time::UnixMillis;

use super::Row;
use crate::support::{Rig, until};

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Numbered messages of the last days, a quarter of an hour apart.
fn write_history(rig: &Rig, conversation: ConversationRef, count: u32) {
    let begin = UnixMillis::now() - Duration::from_secs(400_000);
    for number in 0..count {
        let sent_at = Some(begin + Duration::from_secs(u64::from(number) * 900));
        rig.world().push_draft(conversation, Draft { text: number.to_string(), sent_at, ..Draft::default() });
    }
}

pub(super) async fn a_history_of_many_pages_comes_oldest_first_and_once(row: &Row) {
    let mut rig = row.rig().await;
    let conversation = row.conversation(&mut rig, "Ada Byron");
    write_history(&rig, conversation, 260);
    let daemon = rig.start();
    rig.until_taken(260).await;
    assert_eq!(rig.receiver.texts(), numbered(260));
    let events = rig.receiver.taken();
    assert!(events.iter().all(|event| event["data"]["seen"]["backfill"] == true), "a first poll of \"all\" is history");
    if row.has_pages {
        assert!(rig.world().request_count(row.polls) >= 3, "one page cannot hold it");
    }
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn a_cursor_that_repeats_once_loses_nothing(row: &Row) {
    // The simulator can have these two repeat a cursor.
    if !matches!(row.dialect, Dialect::ConnectSafely | Dialect::LinkupV1 | Dialect::LinkupV2) {
        return;
    }
    let mut rig = row.rig().await;
    let conversation = row.conversation(&mut rig, "Ada Byron");
    write_history(&rig, conversation, 260);
    let once = When { endpoint: Some(row.polls), needs_cursor: true, skip: 1, times: Some(1), ..When::default() };
    rig.world().inject(Fault::RepeatCursor, once);
    let daemon = rig.start();
    rig.until_taken(260).await;
    assert_eq!(rig.receiver.texts(), numbered(260));
    assert!(daemon.log().contains("paging does not advance"), "the fault was not met");
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn messages_of_one_millisecond_all_come(row: &Row) {
    let (rig, conversation, daemon) = row.followed().await;
    let moment = UnixMillis::now();
    for number in 0..6 {
        let draft = Draft { text: number.to_string(), sent_at: Some(moment), ..Draft::default() };
        rig.world().push_draft(conversation, draft);
        // One by one, so that each turns up when its time has been recorded already.
        rig.until_taken(number + 2).await;
    }
    let mut texts = rig.receiver.texts().split_off(1);
    texts.sort();
    assert_eq!(texts, numbered(6));
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn a_message_that_turns_up_late_comes_once_and_is_marked(row: &Row) {
    let (rig, conversation, daemon) = row.followed().await;
    let sent_at = UnixMillis::now() - Duration::from_secs(5);
    rig.world().push(conversation, "in time");
    rig.until_taken(2).await;
    rig.world().push_draft(conversation, Draft { text: "late".into(), sent_at: Some(sent_at), ..Draft::default() });
    if row.discovers {
        // What turns up behind the youngest message moves nothing in the inbox; the next message brings it along.
        rig.world().push(conversation, "another");
        until("both", || rig.receiver.taken_count() == 4).await;
    } else {
        rig.until_taken(3).await;
    }
    let late = rig.receiver.taken().into_iter().find(|e| e["data"]["message"]["text"] == "late").unwrap();
    assert_eq!(late["data"]["seen"]["late"], true);
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn what_is_written_while_pages_are_read_comes_after_them(row: &Row) {
    let mut rig = row.rig().await;
    rig.polling = rig.polling.replace("timeout = \"500ms\"", "timeout = \"5s\"\nmax_pages = 2");
    rig.world().set_switches(|s| s.latency_ms = 30);
    let conversation = row.conversation(&mut rig, "Ada Byron");
    write_history(&rig, conversation, 150);
    let daemon = rig.start();
    // Each of them shifts the pages by one while they are read.
    for number in 150..160 {
        let before = rig.world().request_count(row.polls);
        until("another request", || rig.world().request_count(row.polls) > before).await;
        rig.world().push(conversation, &number.to_string());
    }
    rig.until_taken(160).await;
    assert_eq!(rig.receiver.texts(), numbered(160));
    assert_eq!(daemon.stop(), 0);
}

pub(super) async fn a_message_of_the_owner_is_told_and_never_taken_for_one_of_the_other(row: &Row) {
    let (rig, conversation, daemon) = row.followed().await;
    rig.world().push_draft(conversation, Draft { text: "ours".into(), outbound: true, ..Draft::default() });
    rig.until_taken(2).await;
    let direction = rig.receiver.taken()[1]["data"]["message"]["direction"].as_str().unwrap().to_owned();
    // Some providers do not say, and then nobody guesses.
    assert!(matches!(direction.as_str(), "outbound" | "unknown"), "{direction}");
    assert_eq!(daemon.stop(), 0);
}
