//! Unipile v2: which of an account's inboxes are listed, how often, and what is said of the others.

use std::time::Duration;

use inboxd::simulator::{ConversationRef, Dialect, Draft, Endpoint, Kind};
use inboxd::time::UnixMillis;

use crate::support::{Rig, inboxd_in, until};

/// An account that discovers, swept often; further keys of the account as given.
async fn discovering(keys: &str) -> Rig {
    let mut rig = Rig::new().await;
    rig.polling =
        "min_interval = \"100ms\"\nmax_interval = \"6h\"\nsweep_interval = \"200ms\"\nfirst_poll = \"now\"\n".into();
    rig.discover(Dialect::UnipileV2, keys);
    rig
}

fn write_old(rig: &Rig, conversation: ConversationRef) {
    let sent_at = Some(UnixMillis::now() - Duration::from_secs(7_200));
    rig.world().push_draft(conversation, Draft { text: "old".into(), sent_at, ..Draft::default() });
}

fn filed(rig: &Rig, inbox: &str, person: &str) -> ConversationRef {
    let conversation = rig.world().add_to_inbox(inbox, person);
    write_old(rig, conversation);
    conversation
}

fn read(rig: &Rig) -> usize {
    rig.known_conversations().iter().filter(|c| c.first_polled_at.is_some()).count()
}

/// The inboxes that were listed, in order.
fn listed(rig: &Rig) -> Vec<String> {
    let requests = rig.world().requests().into_iter().filter(|r| r.endpoint == Endpoint::UnipileInboxChats);
    requests.map(|request| request.path.split('/').rev().nth(1).unwrap().to_owned()).collect()
}

fn times(listed: &[String], inbox: &str) -> usize {
    listed.iter().filter(|one| *one == inbox).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn inmail_is_listed_like_any_other_and_what_was_archived_seldom_and_the_rest_is_named() {
    let rig = discovering("").await;
    let inmail = filed(&rig, "CLASSIC_INMAIL", "Ada Byron");
    filed(&rig, "CLASSIC_ARCHIVED", "Grace Murray");
    filed(&rig, "CLASSIC_SPAM", "Alan Mathison");
    let page = filed(&rig, "COMPANY_1001_PRIMARY", "Edsger Wybe");
    let navigator = rig.world().add_conversation(Dialect::UnipileV2, Kind::SalesNavigator, "Barbara Jane");
    write_old(&rig, navigator);
    let daemon = rig.start();
    until("all but spam to be read", || read(&rig) == 4).await;
    for conversation in [inmail, page, navigator] {
        rig.world().push(conversation, "hello");
    }
    rig.until_taken(3).await;
    let mut told: Vec<_> = rig.receiver.taken().iter().map(|e| e["data"]["conversation"]["type"].to_string()).collect();
    told.sort();
    assert_eq!(told, ["\"company_page\"", "\"sales_navigator\"", "\"standard\""]);
    until("more sweeps", || times(&listed(&rig), "CLASSIC_INMAIL") >= 8).await;
    assert_eq!(times(&listed(&rig), "CLASSIC_ARCHIVED"), 1, "once in a hundred sweeps");
    assert_eq!(times(&listed(&rig), "CLASSIC_SPAM"), 0);
    // What is not listed is told in every place where a person looks.
    let left_out = ["CLASSIC_JOBS", "CLASSIC_SPAM", "CLASSIC_STARRED", "RECRUITER_ARCHIVED", "RECRUITER_UNREAD"];
    assert_eq!(rig.overview().unwrap().accounts[0].inbox_left_out, left_out);
    let status = inboxd_in(rig.path(), &["status"]).stdout;
    assert!(status.contains(&format!("inbox: there and not listed: {}", left_out.join(", "))), "{status}");
    let said = daemon.log().lines().filter(|line| line.contains("there and not listed")).count();
    assert_eq!(said, 1, "{}", daemon.log());
    let checked = inboxd_in(rig.path(), &["check", "--online"]).stdout;
    assert!(left_out.iter().all(|inbox| checked.contains(inbox)), "{checked}");
    assert_eq!(daemon.stop(), 0);
    // A restart is no reason to list again what was listed a moment ago.
    let before = times(&listed(&rig), "CLASSIC_INMAIL");
    let daemon = rig.start_again();
    until("sweeps again", || times(&listed(&rig), "CLASSIC_INMAIL") > before + 1).await;
    assert_eq!(times(&listed(&rig), "CLASSIC_ARCHIVED"), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_archive_is_read_to_its_end_a_page_between_two_sweeps_over_the_others() {
    let rig = discovering("").await;
    let primary = rig.world().add_conversation(Dialect::UnipileV2, Kind::Standard, "Ada Byron");
    write_old(&rig, primary);
    for number in 0..80 {
        filed(&rig, "CLASSIC_ARCHIVED", &format!("Person {number}"));
    }
    let daemon = rig.start();
    until("everything to be read", || read(&rig) == 81).await;
    let listed = listed(&rig);
    let pages: Vec<_> =
        listed.iter().enumerate().filter(|(_, one)| *one == "CLASSIC_ARCHIVED").map(|(n, _)| n).collect();
    assert!(pages.len() >= 4, "{listed:?}");
    let between = |pair: &[usize]| listed[pair[0]..pair[1]].iter().any(|one| one == "CLASSIC_PRIMARY");
    assert!(pages.windows(2).all(between), "{listed:?}");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(rig.receiver.taken_count(), 0, "all of it is history");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_cannot_be_listed_holds_up_nothing() {
    let rig = discovering("").await;
    rig.world().set_switches(|s| s.unipile.forbidden_inboxes = vec!["CLASSIC_ARCHIVED".into()]);
    let primary = rig.world().add_conversation(Dialect::UnipileV2, Kind::Standard, "Ada Byron");
    write_old(&rig, primary);
    let daemon = rig.start();
    until("it to be read", || read(&rig) == 1).await;
    for number in 0..3 {
        rig.world().push(primary, &format!("message {number}"));
        rig.until_taken(number + 1).await;
    }
    assert_eq!(times(&listed(&rig), "CLASSIC_ARCHIVED"), 1);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn inboxes_of_the_configuration_are_listed_and_no_other() {
    let rig = discovering("inboxes = [\"CLASSIC_JOBS\"]\n").await;
    let jobs = filed(&rig, "CLASSIC_JOBS", "Ada Byron");
    let primary = rig.world().add_conversation(Dialect::UnipileV2, Kind::Standard, "Grace Murray");
    write_old(&rig, primary);
    let daemon = rig.start();
    until("it to be read", || read(&rig) == 1).await;
    rig.world().push(primary, "nobody listens");
    rig.world().push(jobs, "hello");
    rig.until_taken(1).await;
    assert!(listed(&rig).iter().all(|inbox| inbox == "CLASSIC_JOBS"));
    assert!(rig.overview().unwrap().accounts[0].inbox_left_out.contains(&"CLASSIC_PRIMARY".to_owned()));
    assert_eq!(daemon.stop(), 0);
}
