//! What an account may ask and spend: marks that are told, days and months of a place, and what a provider teaches of its limit.

use inboxd::calendar::Calendar;
use inboxd::simulator::{Dialect, Endpoint, Fault, Kind, RetryAfter, When};
use inboxd::time::UnixMillis;
use serde_json::Value;

use crate::support::{Rig, inboxd_in, until};

/// An account that pays, with so many conversations, and everything as often as may be; keys of `[polling]` as given.
async fn paying(polling: &str, conversations: usize) -> Rig {
    let mut rig = Rig::new().await;
    rig.polling = format!("sweep_interval = \"100ms\"\n{polling}");
    rig.http = "events = [\"budget.*\"]\n".into();
    rig.discover(Dialect::LinkupV2, "");
    for number in 0..conversations {
        let conversation = rig.world().add_conversation(Dialect::LinkupV2, Kind::Standard, &format!("Person {number}"));
        rig.world().push(conversation, "old");
    }
    rig
}

/// The budget events that were recorded, in order: type, state, and what `data.budget` says.
fn told(rig: &Rig) -> Vec<(String, String, Value)> {
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    // Before the daemon has made it, there is nothing.
    let Ok(mut statement) = database.prepare("SELECT body FROM events ORDER BY id") else { return vec![] };
    let bodies = statement.query_map([], |r| r.get::<_, String>(0)).unwrap();
    let events = bodies.map(|body| serde_json::from_str::<Value>(&body.unwrap()).unwrap());
    let of_budgets = events.filter(|event| event["type"].as_str().unwrap().starts_with("budget."));
    of_budgets
        .map(|event| {
            let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
            (text("/type"), text("/data/state"), event["data"]["budget"].clone())
        })
        .collect()
}

fn of_period(told: &[(String, String, Value)], period: &str) -> Vec<(String, u64)> {
    let of_it = told.iter().filter(|(.., budget)| budget["period"] == period);
    of_it.map(|(kind, state, budget)| (format!("{kind} {state}"), budget["percent"].as_u64().unwrap())).collect()
}

fn marks() -> Vec<(String, u64)> {
    let entered = |kind: &str, percent| (format!("{kind} entered"), percent);
    vec![entered("budget.warning", 50), entered("budget.warning", 80), entered("budget.exhausted", 100)]
}

fn accounts(rig: &Rig) -> Vec<Value> {
    let status = inboxd_in(rig.path(), &["status", "--json"]);
    let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
    status["accounts"].as_array().cloned().unwrap_or_default()
}

fn account(rig: &Rig) -> Value {
    accounts(rig).into_iter().next().unwrap_or_default()
}

fn forget_the_pause(rig: &Rig) {
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    database.execute_batch("UPDATE accounts SET paused_until = NULL, learnt_per_minute = NULL").unwrap();
}

/// As if a day had passed while nothing ran.
fn next_day(rig: &Rig) {
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    database.execute_batch("UPDATE spending SET day = day - 1; UPDATE budget_marks SET begins = begins - 1;").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mark_of_a_day_is_told_once_whatever_kills_the_daemon_and_the_next_day_begins_anew() {
    let rig = paying("daily_credits = 30\ntime_zone = \"Pacific/Auckland\"\n", 60).await;
    let mut daemon = rig.start();
    // Sweeps and first polls are spread over the day; what makes it look again at once is a start.
    for _ in 0..60 {
        let before = rig.world().linkup_credits();
        if of_period(&told(&rig), "day").len() == 3 {
            break;
        }
        daemon.kill();
        for (conversation, ..) in rig.world().conversations() {
            rig.world().push(conversation, "hello");
        }
        daemon = rig.start_again();
        let refused = || daemon.log().contains("the credits of the day are spent");
        until("something to be spent, or nothing left", || rig.world().linkup_credits() > before || refused()).await;
    }
    until("the last mark", || of_period(&told(&rig), "day").len() == 3).await;
    assert_eq!(of_period(&told(&rig), "day"), marks());
    let (.., all) = told(&rig).pop().unwrap();
    let auckland = Calendar::parse("Pacific/Auckland").unwrap();
    let ends_at = UnixMillis::parse(all["resets_at"].as_str().unwrap()).unwrap();
    assert_eq!((ends_at, &all["limit"]), (auckland.day(UnixMillis::now()).ends_at, &30.into()));
    assert!(rig.world().linkup_credits() <= 30);
    let shown = account(&rig);
    assert_eq!((&shown["daily_credits"], &shown["time_zone"]), (&30.into(), &"Pacific/Auckland".into()));
    assert!(inboxd_in(rig.path(), &["status"]).stdout.contains("of 30 credits"), "{shown}");
    daemon.kill();
    next_day(&rig);
    let before = rig.world().linkup_credits();
    let daemon = rig.start_again();
    until("credits to be spent again", || rig.world().linkup_credits() > before).await;
    until("the end of it to be told", || {
        of_period(&told(&rig), "day").contains(&("budget.exhausted left".into(), 100))
    })
    .await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_spent_stops_its_days() {
    let today = Calendar::default().day(UnixMillis::now());
    if today.number == today.month_begins {
        // On the first nothing can have been spent before.
        return;
    }
    let rig = paying("monthly_credits = 93\ndaily_credits = 90\n", 20).await;
    let daemon = rig.start();
    until("a sweep", || rig.world().linkup_credits() > 0).await;
    assert_eq!(daemon.stop(), 0);
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    database
        .execute(
            "INSERT INTO spending (account, day, credits) SELECT account, ?1, 93 FROM spending",
            [today.number - 1],
        )
        .unwrap();
    for (conversation, ..) in rig.world().conversations() {
        rig.world().push(conversation, "hello");
    }
    let daemon = rig.start_again();
    until("the end of the month's credits", || {
        of_period(&told(&rig), "month").iter().any(|(_, percent)| *percent == 100)
    })
    .await;
    until("a refusal", || daemon.log().contains("the credits of the month are spent")).await;
    let spent = account(&rig)["credits_this_month"].as_u64().unwrap();
    // The stop may have cut off an answer.
    let cut_off = spent - 93 - rig.world().linkup_credits();
    assert!(cut_off <= 1, "nothing was asked any more: {spent}");
    assert_eq!(daemon.stop(), 0);
    let exhausted: Vec<_> = told(&rig).into_iter().filter(|(kind, ..)| kind == "budget.exhausted").collect();
    assert_eq!(exhausted.len(), 1, "{exhausted:?}");
    assert_eq!(exhausted[0].2["resets_at"], serde_json::json!(today.month_ends_at));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_leaves_of_its_window_is_spread_and_never_overdrawn() {
    let mut rig = Rig::new().await;
    rig.polling = "first_poll = \"now\"\n".into();
    rig.follow(Dialect::UnipileV2, "Ada Byron");
    rig.follow(Dialect::ConnectSafely, "The clock");
    // Ten in a minute, where the configuration would ask ten in a second.
    rig.world().set_switches(|s| s.unipile.rate_limit = Some(10));
    let daemon = rig.start();
    let asked = || rig.world().request_count(Endpoint::UnipileMessages);
    until("a few polls", || asked() >= 2).await;
    let clock = || rig.world().request_count(Endpoint::ConnectSafelyMessages);
    let before = clock();
    until("fifty polls of the other account", || clock() > before + 50).await;
    assert!(asked() <= 6, "{} of eight, in a small part of a minute", asked());
    assert!(!daemon.log().contains("throttled"), "{}", daemon.log());
    assert_eq!(daemon.stop(), 0);
    let learnt = accounts(&rig).into_iter().find(|account| account["provider"] == "unipile").unwrap();
    let learnt = learnt["learnt_requests_per_minute"].as_f64().unwrap();
    assert!((7.9..=8.1).contains(&learnt), "{learnt}");
    let shown = inboxd_in(rig.path(), &["status"]).stdout;
    assert!(shown.contains("at most 8 a minute, as the provider has taught"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_connectsafely_says_of_its_limit_is_heard_too() {
    let mut rig = Rig::new().await;
    rig.polling = "first_poll = \"now\"\n".into();
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let headers = [("x-ratelimit-limit", "10"), ("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "60")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let body = r#"{"success":true,"messages":[]}"#.to_owned();
    let answer = Fault::Status { code: 200, body, headers };
    rig.world().inject(answer, When { endpoint: Some(Endpoint::ConnectSafelyMessages), ..When::default() });
    let daemon = rig.start();
    until("a poll", || rig.world().request_count(Endpoint::ConnectSafelyMessages) >= 1).await;
    until("it to be recorded", || rig.conversation().is_some_and(|c| c.last_polled_at.is_some())).await;
    assert_eq!(daemon.stop(), 0);
    let learnt = account(&rig)["learnt_requests_per_minute"].as_f64().unwrap();
    assert!((7.9..=8.1).contains(&learnt), "{learnt}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_slows_the_account_down() {
    let mut rig = Rig::new().await;
    rig.polling = "requests_per_minute = 6000\n".into();
    rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let refused = Fault::RateLimited { retry_after: RetryAfter::Seconds(1) };
    rig.world()
        .inject(refused, When { endpoint: Some(Endpoint::ConnectSafelyMessages), times: Some(1), ..When::default() });
    let daemon = rig.start();
    until("the refusal", || daemon.log().contains("the provider refuses so many requests")).await;
    rig.settle().await;
    assert_eq!(daemon.stop(), 0);
    let account = account(&rig);
    let learnt = account["learnt_requests_per_minute"].as_f64().unwrap();
    assert!((4_200.0..4_300.0).contains(&learnt), "{learnt}");
    // Neither a reload nor a restart is a reason to forget it.
    let daemon = rig.start_again();
    rig.settle().await;
    assert_eq!(daemon.stop(), 0);
    let learnt = self::account(&rig)["learnt_requests_per_minute"].as_f64().unwrap();
    assert!((4_200.0..4_400.0).contains(&learnt), "{learnt}");
    assert!(account["requests_today"].as_u64().unwrap() >= 3, "{account}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_why_each_conversation_is_polled_when_it_is() {
    let mut rig = Rig::new().await;
    rig.polling = "min_interval = \"10s\"\nmax_interval = \"1h\"\n".into();
    let calm = rig.follow(Dialect::ConnectSafely, "Ada Byron");
    let failing = rig.follow(Dialect::ConnectSafely, "Grace Murray");
    rig.world().push(calm, "hello");
    let of_it = rig.world().address(failing);
    rig.world().inject(
        Fault::Status { code: 500, body: "{}".into(), headers: vec![] },
        When { conversation: Some(failing), ..When::default() },
    );
    let daemon = rig.start();
    let reasons = |rig: &Rig| {
        let conversations = account(rig)["conversations"].as_array().cloned().unwrap_or_default();
        let reason = |c: &Value| (c["address"].as_str().unwrap_or_default() == of_it, c["due_reason"].clone());
        let mut reasons: Vec<_> = conversations.iter().map(reason).collect();
        reasons.sort_by_key(|(is_failing, _)| *is_failing);
        reasons
    };
    let expected: Vec<(bool, Value)> = vec![(false, "age".into()), (true, "retry".into())];
    until("both reasons", || reasons(&rig) == expected).await;
    assert!(inboxd_in(rig.path(), &["status"]).stdout.contains("s (age)"));
    assert!(account(&rig)["requests_today"].as_u64().unwrap() >= 2, "also those of this minute");
    let paused = Fault::RateLimited { retry_after: RetryAfter::Seconds(100) };
    rig.world().inject(paused, When { endpoint: Some(Endpoint::ConnectSafelyMessages), ..When::default() });
    until("the pause", || reasons(&rig).iter().all(|(_, reason)| reason == "provider_wait")).await;
    assert_eq!(daemon.stop(), 0);
    rig.world().clear_faults();
    let stored = reasons(&rig);
    assert!(stored.iter().all(|(_, reason)| reason.is_null()), "nobody knows once the daemon is gone: {stored:?}");
    let hour = UnixMillis::now().as_millis() / 3_600_000 % 24;
    rig.polling += &format!("quiet_hours = \"{hour:02}:00-{:02}:00 UTC\"\n", (hour + 2) % 24);
    rig.write_config();
    forget_the_pause(&rig);
    let daemon = rig.start_again();
    until("the quiet hours", || reasons(&rig).contains(&(false, "quiet_hours".into()))).await;
    assert_eq!(daemon.stop(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_that_would_not_last_a_day_is_warned_of_once_until_there_is_more() {
    let mut rig = Rig::new().await;
    rig.polling = "daily_credits = 300\n".into();
    rig.http = "events = [\"budget.*\"]\n".into();
    rig.discover(Dialect::LinkupV2, "");
    rig.world().set_switches(|s| s.linkup.balance = 250);
    let daemon = rig.start();
    rig.until_taken(1).await;
    let warning = &rig.receiver.taken()[0];
    assert_eq!((&warning["type"], &warning["data"]["state"]), (&"budget.warning".into(), &"entered".into()));
    // The first listing may have cost one of the 250 by then.
    assert!(
        warning["data"]["detail"].as_str().unwrap().contains(" credits are left at the provider, fewer than the 300"),
        "{warning}"
    );
    assert_eq!(warning["data"].get("budget"), None);
    let status = inboxd_in(rig.path(), &["status"]).stdout;
    assert!(status.contains(" credits left at the provider, LOW"), "{status}");
    assert_eq!(daemon.stop(), 0);
    // A restart does not ask again at once; when it is time to, there is more.
    rig.world().set_switches(|s| s.linkup.balance = 5_000);
    let asked = || rig.world().request_count(Endpoint::LinkupV2Credits);
    assert_eq!(asked(), 1);
    let daemon = rig.start_again();
    let inbox = rig.world().request_count(Endpoint::LinkupV2Inbox);
    until("a sweep", || rig.world().request_count(Endpoint::LinkupV2Inbox) > inbox).await;
    assert_eq!((asked(), daemon.stop()), (1, 0));
    let database = rusqlite::Connection::open(rig.database()).unwrap();
    assert_eq!(database.execute("UPDATE accounts SET credits_left_at = credits_left_at - 3600000", []).unwrap(), 1);
    let daemon = rig.start_again();
    rig.until_taken(2).await;
    let over = &rig.receiver.taken()[1];
    assert_eq!((&over["type"], &over["data"]["state"]), (&"budget.warning".into(), &"left".into()));
    assert!(rig.overview().unwrap().accounts[0].credits_left.is_some_and(|left| (4_900..5_000).contains(&left)));
    assert_eq!((asked(), daemon.stop()), (2, 0));
}
