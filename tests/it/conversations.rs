//! `conversations` and `audit`, beside a running daemon and without one.

use std::os::unix::net::UnixStream;

use inboxd::simulator::{Dialect, Endpoint, Fault, Kind, When};
use inboxd::time::UnixMillis;
use serde_json::Value;

use crate::support::{Output, Rig, inboxd_in, until};

fn conversations(rig: &Rig, arguments: &[&str]) -> Output {
    inboxd_in(rig.path(), &[&["conversations"], arguments].concat())
}

/// What a refused command says; it prints nothing else.
fn refusal(rig: &Rig, arguments: &[&str]) -> (i32, String) {
    let refused = conversations(rig, arguments);
    assert_eq!(refused.stdout, "", "{arguments:?}");
    (refused.code, refused.stderr)
}

const LONG_AGO: &str = "2026-01-31T09:00:00Z";

/// Two conversations, of which the configuration lists one.
async fn listed() -> (Rig, String, String) {
    let mut rig = Rig::new().await;
    let pinned = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().push(pinned, "hello");
    let other = rig.world().add_conversation(Dialect::ConnectSafely, Kind::Standard, "Grace Murray");
    rig.world().push(other, "hello too");
    let ids = [pinned, other].map(|conversation| rig.world().conversation_id(conversation));
    rig.write_config();
    let [pinned, other] = ids;
    (rig, pinned, other)
}

/// Everything that is refused alike with a daemon and without one.
fn refuses_what_makes_no_sense(rig: &Rig, pinned: &str, other: &str) {
    let (code, said) = refusal(rig, &["follow", "nobody", other]);
    assert!(code == 1 && said.contains("no account \"nobody\"") && said.contains("work"), "{code} {said}");
    let (code, said) = refusal(rig, &["unfollow", "work", pinned]);
    assert!(code == 1 && said.contains("is listed in the configuration; remove it there"), "{code} {said}");
    let (code, said) = refusal(rig, &["follow", "work", pinned]);
    assert!(code == 1 && said.contains("is followed already"), "{code} {said}");
    let (code, said) = refusal(rig, &["unfollow", "work", "2-bm9ib2R5"]);
    assert!(code == 1 && said.contains("is not followed"), "{code} {said}");
    let (code, said) = refusal(rig, &["rewind", "work", "2-bm9ib2R5", "--to", LONG_AGO]);
    assert!(code == 1 && said.contains("is not followed"), "{code} {said}");
    for time in ["yesterday", "2026-01-31", ""] {
        let (code, said) = refusal(rig, &["rewind", "work", pinned, "--to", time]);
        assert!(code == 2 && said.contains("RFC 3339"), "{code} {said}");
    }
    let (code, said) = refusal(rig, &["rewind", "work", pinned, "--to", "2999-01-01T00:00:00Z"]);
    assert!(code == 1 && said.contains("lies in the future"), "{code} {said}");
    let (code, said) = refusal(rig, &["follow", "work", "https://www.linkedin.com/company/acme/"]);
    assert!(code == 1 && said.contains("is the page of a company"), "{code} {said}");
    let (code, _) = refusal(rig, &["rewind", "work", pinned]);
    assert_eq!(code, 2);
    let (code, said) = refusal(rig, &["follow", "work", ""]);
    assert!(code == 1 && said.contains("is empty"), "{code} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_the_same_beside_a_daemon_and_without_one() {
    let (rig, pinned, other) = listed().await;
    // Nothing has run yet.
    let (code, said) = refusal(&rig, &["list"]);
    assert!(code == 1 && said.contains("inboxd.db"), "{code} {said}");
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    refuses_what_makes_no_sense(&rig, &pinned, &other);
    assert_eq!(daemon.stop(), 0);
    refuses_what_makes_no_sense(&rig, &pinned, &other);

    // Followed while nothing runs, it is unread, so there is nothing to go back over; then it is read.
    let followed = conversations(&rig, &["follow", "work", &other]);
    assert_eq!((followed.code, followed.stdout), (0, format!("following {other} of work\n")));
    let (code, said) = refusal(&rig, &["rewind", "work", &other, "--to", LONG_AGO]);
    assert!(code == 1 && said.contains("has not been read yet"), "{code} {said}");
    let daemon = rig.start_again();
    rig.until_taken(2).await;
    let unfollowed = conversations(&rig, &["unfollow", "work", &other]);
    assert_eq!(unfollowed.code, 0, "{}", unfollowed.stderr);
    let (code, said) = refusal(&rig, &["rewind", "work", &other, "--to", LONG_AGO]);
    assert!(code == 1 && said.contains("is not followed"), "{code} {said}");
    let rewound = conversations(&rig, &["rewind", "work", &pinned, "--to", LONG_AGO]);
    assert_eq!(rewound.code, 0, "{}", rewound.stderr);
    until("the conversation to be read again", || {
        rig.known_conversations().iter().any(|c| c.id == pinned && c.verified_until > c.watermark)
    })
    .await;
    rig.until_taken(2).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_one_json_object_a_line_whatever_people_are_called() {
    let mut rig = Rig::new().await;
    for person in ["Ada Byron", "Grace \"Murray\"\nHopper", "\u{202e}reversed \u{1b}[31m"] {
        let conversation = rig.follow(Dialect::ConnectSafely, person);
        rig.world().push(conversation, "hello");
    }
    let main = rig.follow(Dialect::UnipileV2, "Joan Clarke");
    rig.world().push(main, "hello");
    let daemon = rig.start();
    rig.until_taken(4).await;
    let listed = conversations(&rig, &["list", "--json"]);
    assert_eq!((listed.code, listed.stderr.as_str()), (0, ""));
    let rows: Vec<Value> = listed.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert!(row["account"].is_string() && row["id"].is_string() && row["type"].is_string(), "{row}");
        assert_eq!((&row["follow"], &row["followed"]), (&"pinned".into(), &true.into()));
        for time in ["first_polled_at", "last_polled_at", "watermark", "due_at"] {
            assert!(row[time].as_str().and_then(UnixMillis::parse).is_some(), "{time}: {row}");
        }
    }
    let of_one = conversations(&rig, &["list", "--json", "--account", "main"]);
    assert_eq!(of_one.stdout.lines().count(), 1);
    let shown = conversations(&rig, &["list"]);
    assert_eq!(shown.stdout.lines().count(), 4, "a line each: {}", shown.stdout);
    assert!(!shown.stdout.contains(['\u{1b}', '\u{202e}']));
    let of_nobody = conversations(&rig, &["list", "--account", "nobody"]);
    assert_eq!((of_nobody.code, of_nobody.stdout.as_str()), (1, ""), "a wrong name is no empty account");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_is_one_json_object_that_names_every_followed_conversation() {
    let (mut rig, pinned, _) = listed().await;
    let other = rig.follow(Dialect::LinkedApi, "Joan Clarke");
    let end = UnixMillis::now();
    rig.world().set_synced(other, Some(end));
    rig.world().set_switches(|s| s.linked_api.refuse_start = Some("linkedinAccountSignedOut".into()));
    let daemon = rig.start();
    until("the lapse to be noticed", || rig.known_conversations().iter().any(|c| c.lapsed_at.is_some())).await;
    rig.until_taken(1).await;
    rig.settle().await;
    for runs in [true, false] {
        let audited = inboxd_in(rig.path(), &["audit", "--json"]);
        assert_eq!((audited.code, audited.stdout.lines().count()), (3, 1));
        assert!(audited.stderr.contains("1 of 2 conversations may lack messages"), "{}", audited.stderr);
        let audit: Value = serde_json::from_str(&audited.stdout).unwrap();
        assert_eq!(audit["complete"], false);
        assert!(audit["at"].as_str().and_then(UnixMillis::parse).is_some());
        let rows = audit["conversations"].as_array().unwrap();
        assert_eq!(rows.len(), 2);
        for row in rows {
            let mut keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
            keys.sort_unstable();
            let expected =
                ["account", "conversation", "gaps", "stale", "title", "unreadable", "verified_until", "walk_pages"];
            assert_eq!(keys, expected);
            assert_eq!(row["gaps"], Value::Array(vec![]));
        }
        let row = |account: &str| rows.iter().find(|row| row["account"] == account).unwrap();
        assert_eq!((&row("work")["stale"], &row("work")["conversation"]), (&Value::Null, &pinned.clone().into()));
        assert!(row("sales")["stale"].as_str().unwrap().contains(&end.to_string()), "{}", row("sales"));
        if runs {
            rig.settle().await;
        }
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_followed_beside_a_daemon_is_collected_by_the_provider_too() {
    let mut rig = Rig::new().await;
    rig.follow(Dialect::LinkedApi, "Ada Byron");
    let other = rig.world().add_conversation(Dialect::LinkedApi, Kind::Standard, "Grace Murray");
    let daemon = rig.start();
    until("the listed one to be read", || rig.conversation().is_some_and(|c| c.first_polled_at.is_some())).await;
    let followed = conversations(&rig, &["follow", "sales", &rig.world().address(other)]);
    assert_eq!(followed.code, 0, "{}", followed.stderr);
    until("its collecting to begin", || rig.world().sync_until(other).is_some()).await;
    rig.world().push(other, "hello");
    rig.until_taken(1).await;
    assert_eq!(rig.receiver.texts(), ["hello"]);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_other_channel_of_an_account_is_refused_with_the_reason() {
    let mut pinning = Rig::new().await;
    let known = pinning.follow(Dialect::LinkedApi, "Ada Byron");
    let mut discovering = Rig::new().await;
    discovering.discover(Dialect::LinkedApi, "");
    let thread = format!("inbox:st:{}", pinning.world().thread_id(known));
    for (rig, conversation, reason) in [
        (&pinning, thread.as_str(), "threads of the inbox belong to an account with discover = true"),
        (&discovering, "https://www.linkedin.com/in/ada-byron", "so that messages would be announced twice"),
    ] {
        let mut daemon = rig.start();
        until("the daemon to obey", || rig.path().join("inboxd.db.sock").exists()).await;
        let refused = || {
            let (code, said) = refusal(rig, &["follow", "sales", conversation]);
            assert!(code == 1 && said.contains(conversation) && said.contains(reason), "{code} {said}");
        };
        refused();
        assert!(!daemon.has_ended());
        assert_eq!(daemon.stop(), 0);
        refused();
        assert!(rig.known_conversations().iter().all(|c| c.id != conversation));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_hold_up_no_command() {
    let (rig, _, other) = listed().await;
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    let followed = conversations(&rig, &["follow", "work", &other]);
    assert_eq!(followed.code, 0, "{}", followed.stderr);
    // One after the other they would be waited for longer than anything is waited for here.
    let socket = rig.path().join("inboxd.db.sock");
    let silent: Vec<_> = (0..60).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let folder = rig.path().to_owned();
    let unfollow = std::thread::spawn(move || inboxd_in(&folder, &["conversations", "unfollow", "work", &other]));
    until("the command to be obeyed", || unfollow.is_finished()).await;
    let unfollowed = unfollow.join().unwrap();
    assert_eq!(unfollowed.code, 0, "{}", unfollowed.stderr);
    drop(silent);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_followed_again_while_it_is_read_is_not_read_twice_at_once() {
    let mut rig = Rig::new().await;
    rig.polling = "timeout = \"1h\"\n".into();
    rig.follow(Dialect::ConnectSafely, "The clock");
    let other = rig.world().add_conversation(Dialect::ConnectSafely, Kind::Standard, "Grace Murray");
    rig.world().push(other, "hello");
    let (reads, id) = (Endpoint::ConnectSafelyMessages, rig.world().conversation_id(other));
    let of_other = || {
        rig.world()
            .requests()
            .iter()
            .filter(|r| r.endpoint == reads && r.path.contains(id.trim_end_matches('=')))
            .count()
    };
    rig.world().inject(Fault::Hang, When { endpoint: Some(reads), conversation: Some(other), ..When::default() });
    let daemon = rig.start();
    until("the daemon to obey", || rig.path().join("inboxd.db.sock").exists()).await;
    assert_eq!(conversations(&rig, &["follow", "work", &id]).code, 0);
    until("a read", || of_other() > 0).await;
    assert_eq!(conversations(&rig, &["unfollow", "work", &id]).code, 0);
    assert_eq!(conversations(&rig, &["follow", "work", &id]).code, 0);
    // The other conversation of the account tells that there was every opportunity.
    let polls = || rig.world().request_count(reads);
    let before = polls();
    until("polls of the other one", || polls() > before + 5).await;
    assert_eq!(of_other(), 1, "a second read beside the first");
    daemon.kill();
    rig.world().clear_faults();
    let daemon = rig.start_again();
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_no_longer_follows_is_not_audited_and_status_says_so() {
    let mut rig = Rig::new().await;
    rig.polling = "max_interval = \"1s\"\nsweep_interval = \"200ms\"\n".into();
    let pinned = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    rig.world().push(pinned, "hello");
    let main = rig.follow(Dialect::UnipileV2, "Joan Clarke");
    rig.world().push(main, "hello too");
    let found = rig.world().add_conversation(Dialect::ConnectSafely, Kind::Standard, "Grace Murray");
    rig.world().push(found, "hello three");
    rig.discover(Dialect::ConnectSafely, "");
    let daemon = rig.start();
    rig.until_taken(3).await;
    assert_eq!(daemon.stop(), 0);
    // As if nothing had been verified for long.
    let long_ago = || {
        let database = rusqlite::Connection::open(rig.database()).unwrap();
        database.execute("UPDATE conversations SET verified_until = 1000", []).unwrap();
    };
    long_ago();
    assert_eq!(rig.audit().0, 3);
    let text = rig.config().replace("discover = true\n", "");
    let (before, rest) = text.split_once("\n[accounts.main]").unwrap();
    let text = format!("{before}\n{}", &rest[rest.find("[sinks").unwrap()..]);
    std::fs::write(rig.path().join("inboxd.toml"), text).unwrap();
    let daemon = rig.start_again();
    until("the rest to be verified", || rig.audit().0 == 0).await;
    assert_eq!(daemon.stop(), 0);
    let status = inboxd_in(rig.path(), &["status"]).stdout;
    assert!(status.contains("no longer in the configuration; what is known of it is kept"), "{status}");
    assert!(status.contains("1 no longer followed; what is known of them is kept"), "{status}");
}
