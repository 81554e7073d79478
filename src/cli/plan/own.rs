//! The plan for one's own accounts: the daemon's own timetable over the messages on record, at the budget there is, at half and at
//! twice of it.

use std::collections::HashMap;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;

use super::{Arguments, Delay, delay, draw, grouped, shown, span};
use crate::cli::{FAILED, Failure, provider};
use crate::config::{self, Account, Shared};
use crate::mask::Mask;
use crate::model::json_line;
use crate::plan::plot::{Cost, CostPoint, Curve};
use crate::plan::{Bounds, Conversation, Credits, Outcome, Policy, Rehearsal, Sweeps, Trace, tuned};
use crate::providers::Call;
use crate::scheduler::{Budget, Rate, requests_per_second};
use crate::store::ReadOnlyStore;
use crate::time::UnixMillis;

/// What becomes of the budget.
const TIMES: [(f64, &str); 3] = [(0.5, "half the budget"), (1.0, "the budget"), (2.0, "twice the budget")];

/// The history that is gone through at most: older days were those of younger conversations.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// Looks that are gone through at most: beyond them a plan would take longer than anybody waits for it.
const LOOKS_LIMIT: f64 = 20e6;

/// Conversations that a sweep passes in the time of a look.
const SWEPT_PER_LOOK: f64 = 50.0;

/// Conversations whose pace can be solved for every minute without anybody waiting for it.
const SOLVED_EVERY_MINUTE: usize = 500;

#[derive(Serialize)]
struct Plan {
    account: String,
    conversations: usize,
    /// On record, and in the days that are gone through.
    messages: usize,
    days: f64,
    budgets: Vec<Row>,
    #[serde(skip)]
    outcomes: Vec<Outcome>,
    #[serde(skip)]
    fixed: Option<Outcome>,
}

#[derive(Serialize)]
struct Row {
    budget: &'static str,
    /// Requests that a minute may hold.
    requests_per_minute: u32,
    /// Requests that were made, for looks and for sweeps.
    requests_per_day: f64,
    looks_per_day: f64,
    /// What they cost; null where the provider does not bill.
    credits_per_day: Option<f64>,
    /// Times that max_interval has to be longer for the budget to hold; null where it holds.
    stretched: Option<f64>,
    delay_seconds: Delay,
    /// The same number of looks at a fixed interval.
    fixed_delay_seconds: Option<Delay>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.file.load()?;
    let store = ReadOnlyStore::open(&config.store.path)?;
    let shared = config::shared_budgets(&config.accounts);
    let plans = config.accounts.iter().map(|account| plan(account, shared[&account.settings.budget_key()], &store));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    let mut out = std::io::stdout().lock();
    for plan in &plans {
        if arguments.json {
            let text = json_line(plan).map_err(|error| Failure::new(FAILED, error.to_string()))?;
            writeln!(out, "{text}")?;
        } else {
            write!(out, "{}", table(plan))?;
        }
    }
    arguments.plot.as_ref().map_or(Ok(()), |path| {
        let plans: Vec<_> = plans.iter().filter(|plan| !plan.outcomes.is_empty()).collect();
        if plans.is_empty() {
            return Err(Failure::new(FAILED, "nothing is on record yet that could be drawn"));
        }
        let (title, curves, costs) = picture(&plans);
        draw(path, &title, &curves, &costs)
    })
}

fn plan(account: &Account, shared: Shared, store: &ReadOnlyStore) -> Result<Plan, Failure> {
    let now = UnixMillis::now();
    let times = store.message_times(account.settings.profile().name, account.name.as_str())?;
    let own: HashMap<_, _> = account.conversations.iter().map(|c| (c.conversation.id.as_str(), c.cadence)).collect();
    let conversations = times.into_iter().map(|(id, messages)| {
        let cadence = own.get(id.as_str()).copied().unwrap_or(account.polling.cadence);
        Conversation { messages, cadence }
    });
    let conversations: Vec<_> = conversations.collect();
    let mut plan = Plan {
        account: account.name.to_string(),
        conversations: conversations.len(),
        messages: 0,
        days: 0.0,
        budgets: vec![],
        outcomes: vec![],
        fixed: None,
    };
    let Some(first) = conversations.iter().filter_map(|c| c.messages.first()).min().copied() else { return Ok(plan) };
    let prices = Prices::of(account)?;
    let rate = shared.requests_per_minute_each();
    let from = first.max(now - LONGEST.min(affordable(account, rate, &conversations)));
    plan.days = now.since(from).as_secs_f64() / 86_400.0;
    let past = window(&conversations, from, now);
    plan.messages = conversations.iter().flat_map(|c| &c.messages).filter(|at| **at >= from).count();
    for (times, budget) in TIMES {
        let rehearsal = rehearsal(account, &prices, (rate, times), (&conversations, from, now));
        let rehearsed = rehearsal.run(|_, _| {});
        let (outcome, days) = (rehearsed.outcome, plan.days.max(1e-9));
        let bounds = Bounds { min: account.polling.cadence.min_interval.as_secs_f64(), max: 1e9 };
        let fixed = tuned(&past, Policy::Fixed, bounds, outcome.polls);
        let per_day = |count: u64| count as f64 / days;
        let credits = per_day(rehearsed.looks) * f64::from(prices.page)
            + per_day(rehearsed.requests - rehearsed.looks) * f64::from(prices.listing);
        plan.budgets.push(Row {
            budget,
            requests_per_minute: scaled(rate, times).get(),
            requests_per_day: per_day(rehearsed.requests),
            looks_per_day: per_day(outcome.polls),
            credits_per_day: (prices.page > 0).then_some(credits),
            stretched: rehearsed.stretched,
            delay_seconds: delay(&outcome),
            fixed_delay_seconds: fixed.as_ref().map(delay),
        });
        plan.outcomes.push(outcome);
        if times == 1.0 {
            plan.fixed = fixed;
        }
    }
    Ok(plan)
}

/// What the provider takes, and how the inbox is swept.
struct Prices {
    page: u32,
    listing: u32,
    sweeps: bool,
}

impl Prices {
    fn of(account: &Account) -> Result<Self, Failure> {
        // It is asked for nothing, and so has no error to tell.
        let provider = provider(account, &Mask::default())?;
        let [page, listing] = [Call::Page, Call::Listing].map(|call| provider.price(call));
        Ok(Self { page, listing, sweeps: provider.inbox().is_some() && (account.discover || page > 0) })
    }
}

fn rehearsal<'a>(
    account: &'a Account,
    prices: &Prices,
    (rate, times): (f64, f64),
    (conversations, from, until): (&'a [Conversation], UnixMillis, UnixMillis),
) -> Rehearsal<'a> {
    let rate = scaled(rate, times);
    let share = (f64::from(account.polling.credits.average_day()) * times) as u32;
    let per_second = requests_per_second(f64::from(rate.get()), (prices.page, share));
    let credits = Credits { page: prices.page, listing: prices.listing, daily: share };
    let sweeps = Sweeps { interval: account.polling.sweep_interval, credits: (prices.listing > 0).then_some(credits) };
    let minutes = (conversations.len() / SOLVED_EVERY_MINUTE).clamp(1, 60);
    Rehearsal {
        conversations,
        from,
        until,
        budget: Budget::per_minute(rate, 1),
        rate: Rate { per_second, is_enforced: prices.page == 0 },
        batch_size: if account.discover { 1 } else { account.settings.batch_size() },
        quiet_hours: account.quiet_hours.as_ref(),
        sweeps: prices.sweeps.then_some(sweeps),
        solve_every: Duration::from_secs(60) * u32::try_from(minutes).unwrap_or(60),
    }
}

fn scaled(requests_per_minute: f64, times: f64) -> NonZeroU32 {
    NonZeroU32::new((requests_per_minute * times).round() as u32).unwrap_or(NonZeroU32::MIN)
}

/// So much of the past can be gone through at twice the budget in the time that a person waits.
fn affordable(account: &Account, requests_per_minute: f64, conversations: &[Conversation]) -> Duration {
    let by_budget = requests_per_minute / 60.0 * 2.0 * account.settings.batch_size() as f64;
    let by_interval: f64 = conversations.iter().map(|c| 1.0 / c.cadence.min_interval.as_secs_f64()).sum();
    let by_sweeps = conversations.len() as f64 / SWEPT_PER_LOOK / account.polling.sweep_interval.as_secs_f64();
    let a_second = by_budget.min(by_interval).max(by_sweeps).max(1e-9);
    Duration::try_from_secs_f64(LOOKS_LIMIT / a_second).unwrap_or(LONGEST)
}

/// The same messages for a rule that needs no budget: what was known when the window begins is known from then on.
fn window(conversations: &[Conversation], from: UnixMillis, until: UnixMillis) -> Trace {
    let seconds = |at: UnixMillis| at.as_millis() as f64 / 1_000.0;
    let times = conversations.iter().map(|conversation| {
        let known = conversation.messages.first().is_some_and(|first| *first <= from).then_some(from);
        let within = conversation.messages.iter().copied().filter(|at| *at > from && *at <= until);
        known.into_iter().chain(within).map(seconds).collect()
    });
    Trace::new(times).until(seconds(until))
}

fn picture<'a>(plans: &[&'a Plan]) -> (String, Vec<Curve<'a>>, Vec<Cost>) {
    let (messages, conversations) =
        plans.iter().fold((0, 0), |(m, c), plan| (m + plan.messages, c + plan.conversations));
    let days = plans.iter().map(|plan| plan.days).fold(0.0, f64::max);
    let (messages, conversations) =
        (grouped(messages as u64, "message"), grouped(conversations as u64, "conversation"));
    let title = format!("{messages} in {conversations} over {}", span(days));
    let mut curves = vec![];
    for plan in plans {
        for (row, outcome) in plan.budgets.iter().zip(&plan.outcomes) {
            match plans {
                [_] => curves.push(Curve { label: row.budget.into(), outcome }),
                _ if row.budget == TIMES[1].1 => curves.push(Curve { label: plan.account.clone(), outcome }),
                _ => {}
            }
        }
        if let ([_], Some(outcome)) = (plans, &plan.fixed) {
            curves.push(Curve { label: "fixed interval".into(), outcome });
        }
    }
    let cost = |plan: &&Plan| {
        let points = plan.outcomes.iter().map(|outcome| CostPoint::new(outcome, plan.days.max(1e-9)));
        Cost { label: plan.account.clone(), points: points.collect() }
    };
    (title, curves, plans.iter().map(cost).collect())
}

fn table(plan: &Plan) -> String {
    let Plan { account, conversations, messages, days, budgets, .. } = plan;
    let mut text = format!(
        "account {account}: {} in {} over {}\n",
        grouped(*messages as u64, "message"),
        grouped(*conversations as u64, "conversation"),
        span(*days)
    );
    if budgets.is_empty() {
        return text + "  nothing is on record yet; run it for a while, or plan with --trace\n";
    }
    text += &format!(
        "  {:<18}{:>12}{:>14}{:>11}{:>11}{:>11}{:>11}   {}\n",
        "budget", "requests/min", "requests/day", "mean", "median", "p90", "p99", "fixed interval: mean"
    );
    for row in budgets {
        let Delay { mean, p50, p90, p99 } = &row.delay_seconds;
        let [mean, p50, p90, p99] = [mean, p50, p90, p99].map(|seconds| shown(*seconds));
        let fixed = row.fixed_delay_seconds.as_ref().map_or_else(|| "-".to_owned(), |fixed| shown(fixed.mean));
        let credits = row.credits_per_day.map_or_else(String::new, |credits| format!(", {credits:.0} credits a day"));
        let stretched = row.stretched.map_or_else(String::new, |times| format!(", max_interval times {times:.1}"));
        text += &format!(
            "  {:<18}{:>12}{:>14.0}{mean:>11}{p50:>11}{p90:>11}{p99:>11}   {fixed}{credits}{stretched}\n",
            row.budget, row.requests_per_minute, row.requests_per_day
        );
    }
    if let [half, now, _] = budgets.as_slice() {
        let (half, now) = (half.delay_seconds.mean, now.delay_seconds.mean);
        let (half, now) = (shown(half), shown(now));
        text += &match now == half {
            true => "  halving the budget changes nothing here\n".to_owned(),
            false => format!("  halving the budget takes the mean from {now} to {half}\n"),
        };
    }
    text
}
