//! The file sink of a running daemon: closing, compressing and removing files while events flow and the daemon dies.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use inboxd::backoff::mix;
use inboxd::simulator::Dialect;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{PATIENCE, Rig, inboxd_in, until};

const SMALL: &str =
    "\n[sinks.archive]\ntype = \"file\"\npath = \"out/events.jsonl\"\nrotate = \"64KiB\"\ncompress = true\n";

/// Files that the sink has closed, in the order it closed them, and the open one.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("out")).into_iter().flatten();
    let entries = entries.map(|entry| entry.unwrap().path()).filter(|path| !is_lock(path));
    let mut files: Vec<_> = entries.filter(|path| !is_half(path)).collect();
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let middle = name.strip_prefix("events-").map(|rest| rest.split_once(".jsonl").unwrap().0);
        let (stamp, number) = middle.map_or(("open", "0"), |middle| middle.split_once('.').unwrap_or((middle, "0")));
        (stamp.to_owned(), number.parse::<u32>().unwrap())
    });
    files
}

/// Compressions that have not ended.
fn halves(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("out")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| is_half(path)).collect()
}

fn is_half(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "tmp")
}

/// The lock of the sink, which is no file of events.
fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "lock")
}

fn is_packed(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gz")
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    if is_packed(path) {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        (&file).read_to_string(&mut text).unwrap();
    }
    text
}

/// Every event in every file, in order. No line is torn.
fn events(folder: &Path) -> Vec<Value> {
    let texts: Vec<_> = files(folder).iter().map(|path| text(path)).collect();
    assert!(texts.iter().all(|text| text.is_empty() || text.ends_with('\n')), "a torn line");
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

fn word<'v>(event: &'v Value, pointer: &str) -> &'v str {
    event.pointer(pointer).unwrap().as_str().unwrap()
}

fn delivered(rig: &Rig, sink: &str) -> u64 {
    let sinks = rig.overview().map(|overview| overview.sinks).unwrap_or_default();
    sinks.iter().find(|s| s.name.as_str() == sink).map_or(0, |s| s.delivered)
}

async fn until_all_is_packed(rig: &Rig) {
    until("every closed file to be gzipped", || {
        let closed = || files(rig.path()).into_iter().filter(|path| !path.ends_with("events.jsonl"));
        closed().count() > 0 && closed().all(|path| is_packed(&path)) && halves(rig.path()).is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_closed_under_traffic_hold_every_event_exactly_once_and_in_order() {
    let mut rig = Rig::new().await;
    rig.more = SMALL.into();
    let conversations: Vec<_> = (0..4).map(|n| rig.follow(Dialect::LinkedApi, &format!("Person {n}"))).collect();
    let daemon = rig.start();
    for number in 0..400usize {
        rig.world().push(conversations[number % 4], &format!("{number} {}", "x".repeat(2_000)));
        if number % 20 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    until("everything delivered", || delivered(&rig, "archive") == 400).await;
    until_all_is_packed(&rig).await;

    let all = events(rig.path());
    assert_eq!(all.len(), 400, "each event once");
    let mut last: HashMap<&str, usize> = HashMap::new();
    for event in &all {
        let number = word(event, "/data/message/text").split_once(' ').unwrap().0.parse::<usize>().unwrap();
        let before = last.insert(word(event, "/subject"), number);
        assert!(before.is_none_or(|before| before + 4 == number), "{number} after {before:?}");
    }
    assert!(last.values().all(|&last| last >= 396));
    let files = files(rig.path());
    assert!(files.len() > 10, "{files:?}");
    for path in &files {
        assert!(text(path).len() <= 64 << 10, "{} is larger than a file may be", path.display());
    }
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_the_middle_of_closing_and_compressing_lose_nothing_and_tear_nothing() {
    let mut rig = Rig::new().await;
    rig.more = SMALL.replace("64KiB", "256KiB");
    let conversations: Vec<_> = (0..8).map(|n| rig.follow(Dialect::LinkedApi, &format!("Person {n}"))).collect();
    rig.write_config();
    let (mut pushed, mut hit) = (0, 0);
    for round in 0..8u64 {
        let daemon = rig.start_again();
        for _ in 0..120 {
            // Nothing that compresses in no time.
            let digits: String = (0..190).map(|n| format!("{:016x}", mix(pushed as u64, n))).collect();
            rig.world().push(conversations[pushed % 8], &format!("{pushed} {digits}"));
            pushed += 1;
        }
        let before = delivered(&rig, "archive");
        until("some of it in the files", || delivered(&rig, "archive") > before).await;
        // The moment of death is the point of this test, not a wait for something: anywhere, or while a file is compressed.
        if round % 4 == 0 {
            tokio::time::sleep(Duration::from_millis(mix(17, round) % 60)).await;
        } else {
            let half_or_all = async {
                while halves(rig.path()).is_empty() && delivered(&rig, "archive") < pushed as u64 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(PATIENCE, half_or_all).await.expect("a compression, or everything delivered");
        }
        daemon.kill();
        // What is there at this moment is whole, but for the end of the open file.
        for closed in files(rig.path()).iter().filter(|path| !path.ends_with("events.jsonl")) {
            assert!(text(closed).lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
        for half in halves(rig.path()) {
            let plain = half.with_extension("").with_extension("");
            assert!(plain.exists() && !is_packed(&plain), "{} is all that is left", half.display());
            hit += 1;
        }
    }
    assert!(hit > 0, "no death has met a compression");
    let daemon = rig.start_again();
    until("the last start", || daemon.log().matches("following 8").count() == 9).await;
    until("everything delivered", || delivered(&rig, "archive") == pushed as u64).await;
    until_all_is_packed(&rig).await;
    assert_eq!(daemon.stop(), 0);

    let mut seen = HashMap::new();
    for event in events(rig.path()) {
        let id = word(&event, "/id").to_owned();
        let first = seen.entry(id).or_insert_with(|| event.clone());
        assert_eq!(*first, event, "a repeated id brings the same event");
    }
    assert_eq!(seen.len(), pushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_closes_the_file_of_an_earlier_day_packs_what_was_left_and_removes_what_is_too_old() {
    let mut rig = Rig::new().await;
    rig.more = SMALL.replace("64KiB", "daily") + "retention = \"90d\"\n";
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let out = rig.path().join("out");
    let write = |name: &str, content: &str| std::fs::write(out.join(name), content).unwrap();
    std::fs::create_dir(&out).unwrap();
    write("events.jsonl", "{\"day\":1}\n");
    let open = std::fs::File::options().write(true).open(out.join("events.jsonl")).unwrap();
    open.set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400)).unwrap();
    let day = |days_ago: u64| {
        let at = inboxd::time::UnixMillis::now() - Duration::from_secs(days_ago * 86_400);
        at.to_string()[..10].to_owned()
    };
    let (left, old, theirs) = (day(5), day(100), format!("events-{}.jsonl.bak", day(100)));
    write(&format!("events-{left}.jsonl"), "{\"day\":0}\n");
    write(&format!("events-{left}.jsonl.gz.tmp"), "half");
    write(&format!("events-{old}.jsonl.gz"), "old");
    write(&theirs, "theirs");
    let long_ago = SystemTime::now() - Duration::from_secs(99 * 86_400);
    let packed = std::fs::File::options().write(true).open(out.join(format!("events-{old}.jsonl.gz"))).unwrap();
    packed.set_modified(long_ago).unwrap();

    let daemon = rig.start();
    rig.world().push(conversation, "today");
    rig.until_taken(1).await;
    let names = || {
        let entries = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| !is_lock(path));
        let entries = entries.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    let mut expected = vec![
        format!("events-{}.jsonl.gz", day(3)),
        format!("events-{left}.jsonl.gz"),
        theirs.clone(),
        "events.jsonl".to_owned(),
    ];
    expected.sort();
    until("the files as they should be", || names() == expected).await;
    assert_eq!(text(&out.join(format!("events-{left}.jsonl.gz"))), "{\"day\":0}\n");
    assert_eq!(text(&out.join(format!("events-{}.jsonl.gz", day(3)))), "{\"day\":1}\n");
    assert!(text(&out.join("events.jsonl")).contains("today"));
    let log = daemon.log();
    let removal = format!("events-{old}.jsonl.gz");
    assert!(log.lines().any(|line| line.contains("older than the retention") && line.contains(&removal)), "{log}");
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_moved_away_by_somebody_is_left_alone_and_usr1_begins_a_new_one() {
    let mut rig = Rig::new().await;
    rig.more = SMALL.into();
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before");
    until("the first event", || delivered(&rig, "archive") == 1).await;
    let out = rig.path().join("out");
    std::fs::rename(out.join("events.jsonl"), out.join("moved.jsonl")).unwrap();
    daemon.signal(Signal::USR1);
    until("the signal to be taken", || daemon.log().contains("opened afresh")).await;
    for number in 0..40 {
        rig.world().push(conversation, &format!("{number} {}", "x".repeat(3_000)));
    }
    until("the others", || delivered(&rig, "archive") == 41).await;
    // Nothing is compressed any more while it is read.
    assert_eq!(daemon.stop(), 0);
    let moved = text(&out.join("moved.jsonl"));
    assert!(moved.lines().count() == 1 && moved.contains("before"), "{moved}");
    std::fs::remove_file(out.join("moved.jsonl")).unwrap();
    assert_eq!(events(rig.path()).len(), 40);
    assert!(files(rig.path()).len() > 1, "the new file is closed as any other");
}

#[test]
fn what_is_wrong_with_the_keys_is_said() {
    let checked = |keys: &str| {
        let folder = tempfile::tempdir().unwrap();
        let account = "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\n\
                       account_id = \"65f0c0ffee00c0ffee00c0de\"\n";
        let path = if keys.starts_with("path") { "" } else { "path = \"events.jsonl\"\n" };
        let sink = format!("[sinks.archive]\ntype = \"file\"\n{path}{keys}\n");
        crate::support::write_private(&folder.path().join("inboxd.toml"), &(account.to_owned() + &sink));
        let output = inboxd_in(folder.path(), &["check"]);
        (output.code, output.stderr)
    };
    let expected = "sinks.archive.rotate: expected \"never\", \"daily\" or a size with a unit";
    for (keys, says) in [
        ("rotate = 100", expected),
        ("rotate = \"100\"", "(a bare number is no size)"),
        ("rotate = \"hourly\"", expected),
        ("rotate = \"63KiB\"", "sinks.archive.rotate: must be at least 64KiB"),
        ("rotate = \"daily\"\nretention = 90", "sinks.archive.retention: expected a duration with a unit"),
        ("rotate = \"daily\"\nretention = \"59m\"", "sinks.archive.retention: must be at least 1h"),
        ("compress = \"gzip\"", "sinks.archive.compress: expected true or false"),
        ("path = \"..\"", "sinks.archive.path: names no file"),
        ("path = \"/dev/stdin\"", "sinks.archive.path: is a descriptor that inboxd does not write to; use type"),
        ("path = \"/dev/stdout\"\nrotate = \"daily\"", "sinks.archive.path: is no file, so rotate, compress and"),
        ("path = \".\"", "sinks.archive.path: names no file"),
        ("path = \"/tmp\"", "sinks.archive.path: is a folder; name a file in it"),
    ] {
        let (code, stderr) = checked(keys);
        assert!(code == 78 && stderr.contains(says), "{keys}: {stderr}");
    }
    let (code, stderr) = checked("compress = true");
    assert!(code == 0 && stderr.contains("warning: inboxd.toml: sinks.archive: compress and retention"), "{stderr}");
    for good in ["rotate = \"never\"", "rotate = \"daily\"\nretention = \"90d\"\ncompress = true", "rotate = \"1GiB\""]
    {
        assert_eq!(checked(good), (0, String::new()), "{good}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_synced_gets_each_event_once() {
    let mut rig = Rig::new().await;
    let pipe = rig.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    std::os::unix::fs::symlink("/proc/self/fd/1", rig.path().join("link")).unwrap();
    for (name, path) in [("output", "link"), ("pipe", "pipe"), ("errors", "/dev/stderr"), ("null", "/dev/null")] {
        rig.more += &format!("\n[sinks.{name}]\ntype = \"file\"\npath = \"{path}\"\n");
    }
    let conversation = rig.follow(Dialect::LinkedApi, "Ada Byron");
    let daemon = rig.start();
    rig.world().push(conversation, "before anybody reads");
    let names = ["output", "errors", "null"];
    until("the first event", || names.iter().all(|name| delivered(&rig, name) == 1)).await;
    assert_eq!(delivered(&rig, "pipe"), 0, "nobody reads the pipe");
    assert!(daemon.log().contains("nobody reads the pipe"), "{}", daemon.log());
    // For writing too, so that this does not wait for the other end.
    let reader = std::fs::File::options().read(true).write(true).open(&pipe).unwrap();
    rig.world().push(conversation, "then");
    until("both events", || names.iter().chain(&["pipe"]).all(|name| delivered(&rig, name) == 2)).await;
    assert_eq!(daemon.stop(), 0);
    let read = |text: &str| -> Vec<String> {
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.map(|event| word(&event, "/data/message/text").to_owned()).collect()
    };
    let piped: String = std::io::BufReader::new(reader).lines().take(2).map(|line| line.unwrap() + "\n").collect();
    let written = |name: &str| std::fs::read_to_string(rig.path().join(name)).unwrap();
    for text in [piped, written("stdout.log"), written("stderr.log")] {
        assert_eq!(read(&text), ["before anybody reads", "then"]);
    }
}

#[test]
fn two_names_of_one_place_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(".", folder.path().join("link")).unwrap();
    for (one, other) in [
        ("type = \"stdout\"", "type = \"file\"\npath = \"/dev/fd/1\""),
        ("type = \"file\"\npath = \"events.jsonl\"", "type = \"file\"\npath = \"link/link/events.jsonl\""),
    ] {
        let config = format!(
            "[accounts.work]\nprovider = \"connectsafely\"\napi_key = \"k\"\naccount_id = \"65f0c0ffee00c0ffee00c0de\"\n\
             [sinks.one]\n{one}\n[sinks.other]\n{other}\n"
        );
        std::fs::write(folder.path().join("inboxd.toml"), config).unwrap();
        let output = inboxd_in(folder.path(), &["check"]);
        assert!(output.code == 78 && output.stderr.contains("writes to the same place as"), "{}", output.stderr);
    }
}
