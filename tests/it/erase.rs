//! Erasing what people wrote, seen in the bytes of every file.

use std::path::Path;

use inboxd::simulator::Dialect;

use crate::support::{Rig, inboxd_in, until};

/// How often these bytes are in the files below a folder, gzipped ones read.
fn copies(folder: &Path, text: &str) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found += copies(&entry, text);
        } else if entry.extension().is_some_and(|e| e == "gz") {
            let mut plain = String::new();
            let packed = std::fs::File::open(&entry).unwrap();
            std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(packed), &mut plain).unwrap();
            found += plain.matches(text).count();
        } else if entry.extension().is_none_or(|e| e != "sock") {
            let bytes = std::fs::read(&entry).unwrap();
            found += bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count();
        }
    }
    found
}

/// The files that these bytes are in.
fn places(folder: &Path, text: &str) -> String {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.flat_map(|path| match path.is_dir() {
        true => std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect(),
        false => vec![path],
    });
    let has_it = |path: &std::path::PathBuf| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    format!("{:?}", files.filter(has_it).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_in_no_file_of_ours_and_is_not_announced_again() {
    let mut rig = Rig::new().await;
    // As long as a conversation is polled, its text passes through the log of the database again.
    rig.polling = "min_interval = \"1h\"\nmax_interval = \"1h\"\n".into();
    let ada = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let grace = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.more =
        "\n[sinks.archive]\ntype = \"file\"\npath = \"out/events.jsonl\"\nrotate = \"64KiB\"\ncompress = true\n".into();
    for number in 0..40 {
        rig.world().push(ada, &format!("ERASE-{number:03} {}", "z".repeat(4_000)));
    }
    rig.world().push(grace, "KEEP-ME");
    let daemon = rig.start();
    rig.until_taken(41).await;
    let archived = || rig.overview().is_some_and(|seen| seen.sinks.iter().all(|sink| sink.pending == 0));
    until("everything in the files", archived).await;
    let out = rig.path().join("out");
    let packed = || {
        std::fs::read_dir(&out)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "gz"))
            .count()
    };
    until("a closed file", || packed() > 0).await;
    assert!(copies(rig.path(), "ERASE-") >= 80);

    let conversation = rig.world().address(ada);
    let event = rig
        .receiver
        .of_type("message.new")
        .into_iter()
        .find(|e| e["data"]["message"]["text"].as_str().unwrap().starts_with("ERASE-007"));
    let message = event.unwrap()["data"]["message"]["id"].as_str().unwrap().to_owned();
    let one = inboxd_in(rig.path(), &["erase", "work", &conversation, "--message", &message]);
    assert_eq!(one.code, 0, "{}", one.stderr);
    assert!(one.stdout.contains("1 event, 1 line of the files of archive"), "{}", one.stdout);
    assert_eq!(copies(rig.path(), "ERASE-007"), 0, "{}", places(rig.path(), "ERASE-007"));
    assert!(copies(rig.path(), "ERASE-008") >= 2, "the others are kept");

    let all = inboxd_in(rig.path(), &["erase", "work", &conversation]);
    assert_eq!(all.code, 0, "{}", all.stderr);
    assert!(
        all.stdout.contains("39 events") && all.stdout.contains("to be erased there: 39 to archive, 39 to crm"),
        "{}",
        all.stdout
    );
    assert_eq!(copies(rig.path(), "ERASE-"), 0, "{}", places(rig.path(), "ERASE-"));
    assert!(copies(rig.path(), "KEEP-ME") >= 2);
    // Read again, and not told again.
    let before = rig.conversation().unwrap().last_polled_at;
    let rewound =
        inboxd_in(rig.path(), &["conversations", "rewind", "work", &conversation, "--to", "2020-01-01T00:00:00Z"]);
    assert_eq!(rewound.code, 0, "{}", rewound.stderr);
    until("another poll", || rig.known_conversations().iter().any(|c| c.last_polled_at > before)).await;
    rig.world().push(ada, "news");
    let again =
        inboxd_in(rig.path(), &["conversations", "rewind", "work", &conversation, "--to", "2020-01-01T00:00:00Z"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    rig.until_taken(42).await;
    until("the next one in the file", || copies(&out, "\"news\"") == 1).await;
    let wrong = inboxd_in(rig.path(), &["erase", "work", &conversation, "--message", "nosuch"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("nothing was erased: no message of"), "{wrong:?}");
    let event = rig.receiver.arrived().last().unwrap().id();
    let by_event = inboxd_in(rig.path(), &["erase", "work", &conversation, "--message", &event]);
    assert!(by_event.stdout.contains("1 event, 1 line of the files"), "{by_event:?}");
    assert_eq!(copies(rig.path(), "\"news\""), 0, "{}", places(rig.path(), "\"news\""));
    let unknown = inboxd_in(rig.path(), &["erase", "work", "2-nobody"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("nothing is known of 2-nobody"), "{}", unknown.stderr);
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_text_is_kept_an_event_has_it_until_it_is_settled_everywhere_and_then_ids_only() {
    let mut rig = Rig::new().await;
    let ada = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let other = crate::support::Receiver::start().await;
    rig.more = format!("\n[sinks.other]\ntype = \"http\"\nurl = \"{}\"\nretry = [\"100ms\", \"1h\"]\n", other.url());
    rig.more +=
        "\n[sinks.none]\ntype = \"file\"\npath = \"none.jsonl\"\nfilter = \"data.message.direction == 'outbound'\"\n";
    std::fs::write(rig.path().join("inboxd.toml"), rig.config().replace("[store]\n", "[store]\nkeep_text = false\n"))
        .unwrap();
    let daemon = rig.start_again();
    other.reply(crate::support::Reply::Status(503));
    rig.world().push(ada, "KEPT-UNTIL-SENT");
    rig.until_taken(1).await;
    let in_store = || {
        let database = rusqlite::Connection::open(rig.database()).unwrap();
        let text =
            "SELECT count(*) FROM events WHERE body LIKE '%KEPT-UNTIL-SENT%' OR raw_body LIKE '%KEPT-UNTIL-SENT%'";
        database.query_row(text, [], |r| r.get::<_, u64>(0)).unwrap()
    };
    assert_eq!(in_store(), 1, "one sink is still owed it");
    other.reply(crate::support::Reply::Status(200));
    assert_eq!(inboxd_in(rig.path(), &["deliveries", "retry", "--sink", "other"]).code, 0);
    until("the event at the other sink", || other.of_type("message.new").len() == 1).await;
    until("no text in the store", || in_store() == 0).await;
    let replayed = inboxd_in(rig.path(), &["replay", "--sink", "crm", "--since", "1h"]);
    assert!(replayed.stdout.contains("nothing fits"), "{}{}", replayed.stdout, replayed.stderr);
    rig.settle().await;
    rig.until_taken(1).await;
    assert_eq!(daemon.stop(), 0);
    assert_eq!(copies(rig.path(), "KEPT-UNTIL-SENT"), 0);
}
