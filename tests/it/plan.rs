//! What a schedule costs and how late it finds messages, as a user asks for it.

use std::fmt::Write as _;
use std::time::Duration;

use inboxd::backoff::mix;
use inboxd::simulator::{Dialect, Draft, Kind};
use inboxd::time::UnixMillis;
use serde_json::Value;

use crate::support::{Rig, inboxd_in, until};

/// Bursts with heavy-tailed pauses between them, as people write.
fn trace() -> String {
    let uniform = |seed: u64, n: u64| (mix(seed, n) % 1_000_000) as f64 / 1e6;
    let mut text = String::from("from,to,time\n");
    for pair in 0..200u64 {
        let mut now = 1_700_000_000.0 + uniform(pair, 0) * 30.0 * 86_400.0;
        for number in 1..=20 {
            now += 20.0 * (uniform(pair, number) + 1e-4).powf(-1.5);
            let (from, to) = if number % 2 == 0 { (pair, pair + 1_000) } else { (pair + 1_000, pair) };
            writeln!(text, "{from},{to},{now:.0}").unwrap();
        }
    }
    text
}

#[test]
fn every_policy_takes_the_looks_it_is_given_and_the_square_root_finds_messages_soonest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("trace.csv"), trace()).unwrap();
    let arguments = ["plan", "--trace", "trace.csv", "--polls", "100000"];
    let output = inboxd_in(folder.path(), &[&arguments[..], &["--json"]].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let of = |name: &str| report["policies"].as_array().unwrap().iter().find(|row| row["policy"] == name).unwrap();
    let mean = |name: &str| {
        let polls = of(name)["polls"].as_f64().unwrap();
        assert!((99_000.0..=101_000.0).contains(&polls), "{name}: {polls}");
        of(name)["delay_seconds"]["mean"].as_f64().unwrap()
    };
    assert!(mean("sqrt") * 1.5 < mean("backoff") && mean("backoff") < mean("fixed"), "{report}");
    let table = inboxd_in(folder.path(), &arguments).stdout;
    assert!(table.contains("4,000 messages in 200 conversations") && table.contains("median"), "{table}");
    let missing = inboxd_in(folder.path(), &["plan", "--trace", "nowhere.csv", "--polls", "9"]);
    assert!(missing.code == 1 && missing.stderr.contains("nowhere.csv"), "{}", missing.stderr);
}

#[test]
fn a_plot_is_put_in_place_as_a_whole_and_the_answer_is_printed_where_that_fails_too() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("trace.csv"), trace()).unwrap();
    std::fs::write(folder.path().join("plot.svg"), "an older one").unwrap();
    let plan = ["plan", "--trace", "trace.csv", "--polls", "20000", "--policy", "sqrt", "--policy", "fixed", "--plot"];
    let output = inboxd_in(folder.path(), &[&plan[..], &["plot.svg", "--json"]].concat());
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(serde_json::from_str::<Value>(&output.stdout).is_ok(), "{}", output.stdout);
    let picture = std::fs::read_to_string(folder.path().join("plot.svg")).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{picture}");
    for text in ["4,000 messages in 200 conversations over ", "\nsqrt\n", "\nfixed\n", "looks a day"] {
        assert!(picture.contains(text), "{text} in {picture}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the trace and the plot");
    let failed = inboxd_in(folder.path(), &[&plan[..], &["nowhere/plot.svg"]].concat());
    assert!(failed.code == 1 && failed.stderr.contains("nowhere/plot.svg: No such file"), "{}", failed.stderr);
    assert!(failed.stdout.contains("4,000 messages in 200 conversations"), "{}", failed.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_for_ones_own_accounts_says_what_half_the_budget_costs() {
    let mut rig = Rig::new().await;
    let begin = UnixMillis::now() - Duration::from_secs(20 * 86_400);
    for person in 0..30u64 {
        let conversation = rig.follow(Dialect::ConnectSafely, &format!("Person {person}"));
        for number in 0..40u64 {
            let sent_at = Some(begin + Duration::from_secs(person * 977 + number * number * 700));
            rig.world().push_draft(conversation, Draft { text: number.to_string(), sent_at, ..Draft::default() });
        }
    }
    let daemon = rig.start();
    until("the history", || rig.receiver.taken_count() == 1_200).await;
    assert_eq!(daemon.stop(), 0);
    rig.polling = "min_interval = \"10s\"\nmax_interval = \"6h\"\nrequests_per_minute = 2\n".into();
    rig.write_config();
    let output = inboxd_in(rig.path(), &["plan", "--json"]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let plan: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&plan["account"], &plan["messages"]), (&"work".into(), &1_200.into()));
    let budgets = plan["budgets"].as_array().unwrap();
    let figures = |key: &str| budgets.iter().map(|row| row[key].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(figures("requests_per_minute"), [1.0, 2.0, 4.0]);
    let delays: Vec<_> = budgets.iter().map(|row| row["delay_seconds"]["mean"].as_f64().unwrap()).collect();
    assert!(delays[0] > delays[1] && delays[1] > delays[2], "{delays:?}");
    for (row, looks) in budgets.iter().zip(figures("requests_per_day")) {
        assert!(looks <= row["requests_per_minute"].as_f64().unwrap() * 1440.0 + 1e-6, "{row}");
    }
    let drawn = inboxd_in(rig.path(), &["plan", "--plot", "plan.svg"]);
    let table = drawn.stdout;
    let says = [
        "account work: 1,200 messages in 30 conversations over 20 days",
        "half the budget",
        "halving the budget takes the mean from",
    ];
    assert!(says.iter().all(|says| table.contains(says)), "{table}");
    let svg = std::fs::read_to_string(rig.path().join("plan.svg")).unwrap();
    assert!(["twice the budget", "fixed interval", "work"].iter().all(|label| svg.contains(label)), "{}", drawn.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_answers_cost_credits_the_plan_stays_inside_the_day_and_sweeps_are_part_of_it() {
    let mut rig = Rig::new().await;
    rig.discover(Dialect::LinkupV2, "");
    let begin = UnixMillis::now() - Duration::from_secs(20 * 86_400);
    for person in 0..20u64 {
        let conversation = rig.world().add_conversation(Dialect::LinkupV2, Kind::Standard, &format!("Person {person}"));
        for number in 0..30u64 {
            let sent_at = Some(begin + Duration::from_secs(person * 977 + number * number * 1_500));
            rig.world().push_draft(conversation, Draft { text: number.to_string(), sent_at, ..Draft::default() });
        }
    }
    let daemon = rig.start();
    until("the history", || rig.receiver.taken_count() == 600).await;
    assert_eq!(daemon.stop(), 0);
    rig.polling = "daily_credits = 300\nmin_interval = \"1m\"\nmax_interval = \"6h\"\n".into();
    rig.write_config();
    let plan: Value = serde_json::from_str(&inboxd_in(rig.path(), &["plan", "--json"]).stdout).unwrap();
    let of = |times: usize, key: &str| plan["budgets"][times][key].as_f64().unwrap();
    for (times, limit) in [(0, 150.0), (1, 300.0), (2, 600.0)] {
        let credits = of(times, "credits_per_day");
        assert!(credits <= limit && credits >= limit * 0.7, "{plan}");
    }
    // A sweep every fourteen minutes tells what moved.
    assert!(plan["budgets"][1]["delay_seconds"]["p99"].as_f64().unwrap() < 900.0, "{plan}");
    assert!(of(1, "requests_per_day") > of(1, "looks_per_day") + 90.0, "{plan}");
}
