//! The plan for one's own accounts: over the messages on record, at the budget there is, at half and at twice of it.

use std::io::Write as _;

use serde::Serialize;

use super::{Delay, delay, shown};
use crate::cli::{ConfigFile, FAILED, Failure, provider};
use crate::config::Account;
use crate::model::counted;
use crate::plan::{Bounds, Policy, Trace, at_pace, tuned};
use crate::providers::Call;
use crate::scheduler::{Ages, Cadence, Pace, requests_per_second};
use crate::store::ReadOnlyStore;
use crate::time::UnixMillis;

/// What becomes of the budget.
const TIMES: [(f64, &str); 3] = [(0.5, "half of it"), (1.0, "the budget"), (2.0, "twice of it")];

/// Looks that are simulated at most: beyond them a plan would take longer than anybody waits for it.
const LOOKS_LIMIT: f64 = 300e6;

#[derive(Serialize)]
struct Plan {
    account: String,
    conversations: usize,
    messages: usize,
    days: f64,
    budgets: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    budget: &'static str,
    /// Requests a minute that looks may take.
    requests_per_minute: f64,
    requests_per_day: f64,
    /// Null where the provider does not bill.
    credits_per_day: Option<f64>,
    /// Times that max_interval has to be longer for the budget to hold; null where it holds.
    stretched: Option<f64>,
    delay_seconds: Delay,
    /// The same number of looks at a fixed interval.
    fixed_delay_seconds: Option<Delay>,
}

pub(super) fn run(file: &ConfigFile, json: bool) -> Result<(), Failure> {
    let config = file.load()?;
    let store = ReadOnlyStore::open(&config.store.path)?;
    let plans = config.accounts.iter().map(|account| plan(account, &store)).collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout().lock();
    for plan in plans {
        if json {
            let text = serde_json::to_string(&plan).map_err(|error| Failure::new(FAILED, error.to_string()))?;
            writeln!(out, "{text}")?;
        } else {
            write!(out, "{}", table(&plan))?;
        }
    }
    Ok(())
}

fn plan(account: &Account, store: &ReadOnlyStore) -> Result<Plan, Failure> {
    let now = UnixMillis::now().as_millis() as f64 / 1000.0;
    let times = store.message_times(account.settings.profile().name, account.name.as_str())?;
    let trace = Trace::new(times).until(now);
    let price = provider(account)?.price(Call::Page);
    let mut plan = Plan {
        account: account.name.to_string(),
        conversations: trace.conversations.len(),
        messages: trace.messages(),
        days: trace.days(),
        budgets: vec![],
    };
    if trace.conversations.is_empty() {
        return Ok(plan);
    }
    let cadence = account.polling.cadence;
    let mut ages = Ages::default();
    for last in trace.conversations.iter().filter_map(|times| times.last()) {
        ages.add(std::time::Duration::from_secs_f64((now - last).max(0.0)), cadence);
    }
    let requests = requests_per_second(
        f64::from(account.polling.requests_per_minute.get()),
        (price, account.polling.credits.average_day()),
    );
    for (times, budget) in TIMES {
        let solution = ages.solve(requests * times);
        let stretched = solution.overdrawn;
        let longest = cadence.max_interval.as_secs_f64() * stretched.unwrap_or(1.0);
        let bounds = Bounds { min: cadence.min_interval.as_secs_f64(), max: longest };
        let pace = capped(solution.pace, &trace, cadence);
        let outcome = at_pace(&trace, pace, bounds);
        let fixed = tuned(&trace, Policy::Fixed, bounds, outcome.polls);
        plan.budgets.push(Row {
            budget,
            requests_per_minute: requests * times * 60.0,
            requests_per_day: solution.spend * 86_400.0,
            credits_per_day: (price > 0).then(|| solution.spend * 86_400.0 * f64::from(price)),
            stretched,
            delay_seconds: delay(&outcome),
            fixed_delay_seconds: fixed.as_ref().map(delay),
        });
    }
    Ok(plan)
}

/// A pace at which the simulation ends in time: years of history at half a minute are more looks than anybody needs to see.
fn capped(pace: Pace, trace: &Trace, cadence: Cadence) -> Pace {
    let seconds = trace.days() * 86_400.0 * trace.conversations.len() as f64;
    let at_most = seconds / cadence.min_interval.as_secs_f64();
    if at_most <= LOOKS_LIMIT { pace } else { Pace::new(pace.factor().max(1.0)) }
}

fn table(plan: &Plan) -> String {
    let Plan { account, conversations, messages, days, budgets } = plan;
    let mut text = format!(
        "account {account}: {} in {} over {days:.0} days\n",
        counted(*messages, "message"),
        counted(*conversations, "conversation")
    );
    if budgets.is_empty() {
        return text + "  nothing is on record yet; run it for a while, or plan with --trace\n";
    }
    text += &format!(
        "  {:<14}{:>14}{:>12}{:>11}{:>11}{:>11}   {}\n",
        "budget", "requests/min", "looks/day", "mean", "median", "p90", "fixed interval: mean"
    );
    for row in budgets {
        let Delay { mean, p50, p90, .. } = &row.delay_seconds;
        let [mean, p50, p90] = [mean, p50, p90].map(|seconds| shown(*seconds));
        let fixed = row.fixed_delay_seconds.as_ref().map_or_else(|| "-".to_owned(), |fixed| shown(fixed.mean));
        let credits = row.credits_per_day.map_or_else(String::new, |credits| format!(", {credits:.0} credits a day"));
        let stretched = row.stretched.map_or_else(String::new, |times| format!(", max_interval times {times:.1}"));
        text += &format!(
            "  {:<14}{:>14.1}{:>12.0}{mean:>11}{p50:>11}{p90:>11}   {fixed}{credits}{stretched}\n",
            row.budget, row.requests_per_minute, row.requests_per_day
        );
    }
    text
}
