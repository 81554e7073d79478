use std::path::{Path, PathBuf};

use super::*;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenario.toml")
}

/// A scenario from a text, by way of a file.
fn loaded(text: &str) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("play.toml");
    std::fs::write(&path, text).unwrap();
    Scenario::load(&path).map_err(|error| error.to_string())
}

/// Waits until a message with this text exists.
async fn written(world: &World, text: &str) -> LedgerEntry {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::time::Instant::now() < deadline {
        if let Some(entry) = world.ledger().into_iter().find(|entry| entry.text == text) {
            return entry;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nobody writes {text:?}");
}

#[tokio::test]
async fn an_old_inbox_has_a_thousand_conversations_whose_fractions_of_a_second_differ() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenario_old_inbox.toml");
    let world = World::new(Settings::default());
    let start = UnixMillis::now();
    let _playing = Scenario::load(&file).unwrap().play(&world);
    let ledger = world.ledger();
    assert_eq!((world.conversation_count(), ledger.len()), (1_000, 3_000));
    assert!(ledger.iter().all(|entry| start.since(entry.sent_at) > Duration::from_secs(7 * 24 * 3600)));
    let rounded_up = ledger.iter().filter(|entry| entry.sent_at.as_millis().rem_euclid(1000) >= 500).count();
    assert!((1_000..2_000).contains(&rounded_up), "{rounded_up}");
}

#[tokio::test]
async fn the_example_loads_and_plays() {
    let scenario = Scenario::load(&example()).unwrap();
    assert_eq!(scenario.seed, Some(7));
    let world = World::new(Settings::default());
    let start = UnixMillis::now();
    let _playing = scenario.play(&world);
    let dialects: Vec<Dialect> = world.conversations().into_iter().map(|(_, dialect, _)| dialect).collect();
    assert_eq!(dialects, [Dialect::LinkedApi, Dialect::ConnectSafely, Dialect::LinkupV2]);
    assert_eq!((world.switches().latency_ms, world.switches().linkup.daily_credits), (20, Some(300)));
    let ledger = world.ledger();
    let (first, ..) = world.conversations()[0];
    let history: Vec<_> = ledger.iter().filter(|entry| entry.conversation == first).take(250).collect();
    assert!(history.windows(2).all(|pair| pair[0].sent_at < pair[1].sent_at));
    assert!(start.since(history[249].sent_at) > Duration::from_secs(24 * 3600));
    let find = |text: &str| ledger.iter().find(|entry| entry.text.starts_with(text));
    let ours = find("Shall we").unwrap();
    assert_eq!((ours.outbound, start.since(ours.sent_at).as_secs().abs_diff(7200) <= 1), (true, true));
    let late = find("This one is found late").unwrap();
    assert_eq!(late.visible_at.unwrap().since(late.sent_at).as_secs(), 3_630);
    assert_eq!(find("The deck").unwrap().sent_at.to_string(), "2026-01-31T09:00:00.000Z");
    assert!(find("Tuesday, then").is_none());
    let later = written(&world, "Tuesday, then. Is ten too early?").await;
    assert!(later.created_at >= later.sent_at && later.sent_at.since(start) >= Duration::from_secs(1));
}

#[tokio::test]
async fn the_same_seed_makes_the_same_history() {
    let texts = |seed| {
        let world = World::new(Settings { seed, ..Settings::default() });
        drop(loaded("[[conversations]]\nprovider = \"linkup-v1\"\nhistory = 50").unwrap().play(&world));
        world.ledger().into_iter().map(|entry| (entry.text, entry.outbound)).collect::<Vec<_>>()
    };
    assert_eq!(texts(1), texts(1));
    assert_ne!(texts(1), texts(2));
}

#[tokio::test]
async fn messages_and_faults_come_in_their_time_and_end_with_the_handle() {
    let bench = Bench::start().await;
    let scenario = loaded(
        "[[conversations]]\nprovider = \"connectsafely\"\nmessages = [{ text = \"c\", at = \"+150ms\" }, \
         { text = \"b\", at = \"+50ms\", from = \"us\" }, { text = \"a\" }, { text = \"never\", at = \"+300ms\" }]\n\
         [[faults]]\nfault = \"html200\"\nwhen = { conversation = 0 }\nat = \"+100ms\"",
    );
    let playing = scenario.unwrap().play(bench.world());
    written(bench.world(), "c").await;
    let ledger: Vec<_> = bench.world().ledger().into_iter().map(|entry| (entry.text, entry.outbound)).collect();
    assert_eq!(ledger, [("a".into(), false), ("b".into(), true), ("c".into(), false)]);
    let (conversation, ..) = bench.world().conversations()[0];
    assert!(bench.try_page(conversation, "").await.unwrap().text.starts_with("<html>"));
    drop(playing);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.world().ledger().len(), 3);
}

#[test]
fn errors_name_file_and_key() {
    let conversation = "[[conversations]]\nprovider = \"linkedapi\"\n";
    for (text, words) in [
        ("sede = 1", vec!["sede", "unknown field"]),
        ("[switches.linkup]\ndaily = 1", vec!["switches.linkup", "daily"]),
        ("[[conversations]]\nprovider = \"carrier-pigeon\"", vec!["conversations[0].provider", "linkup-v2"]),
        ("[[conversations]]\nkind = \"standard\"", vec!["conversations[0]", "provider"]),
        (&format!("{conversation}kind = \"secret\""), vec!["conversations[0].kind", "secret"]),
        (&format!("{conversation}messages = [{{ tekst = \"x\" }}]"), vec!["conversations[0].messages[0]", "tekst"]),
        (&format!("{conversation}messages = [{{ at = \"later\" }}]"), vec!["conversations[0].messages[0].at", "+30s"]),
        (&format!("{conversation}messages = [{{ at = 5 }}]"), vec!["conversations[0].messages[0].at", "+30s"]),
        ("[[faults]]\nfault = \"flood\"", vec!["faults[0].fault", "flood"]),
        ("[[faults]]\nfault = \"hang\"\nwhen = { conversation = 3 }", vec!["faults[0].when.conversation", "below 0"]),
        ("messages_per_minute = -1", vec!["messages_per_minute"]),
        ("seed = ", vec!["line 1"]),
    ] {
        let error = loaded(text).unwrap_err();
        assert!(error.contains("play.toml"), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
    assert!(Scenario::load(Path::new("/nowhere/play.toml")).unwrap_err().to_string().contains("/nowhere/play.toml"));
}
