//! `inboxd plan`

mod own;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{ConfigFile, FAILED, Failure};
use crate::model::json_line;
use crate::plan::plot::{self, Cost, CostPoint, Curve};
use crate::plan::{Bounds, Outcome, Policy, Trace, tuned};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Messages of the past, in place of those on record: lines "from to unix-seconds", or CSV with these columns; gzipped too
    #[arg(long, value_name = "FILE", requires = "polls")]
    trace: Option<PathBuf>,
    /// With --trace: looks that each policy may take over the whole of it
    #[arg(long, value_name = "COUNT", requires = "trace")]
    polls: Option<u64>,
    /// With --trace: what to compare; may be given several times
    #[arg(long = "policy", value_name = "POLICY", default_values_t = [Policy::Sqrt, Policy::Backoff, Policy::Fixed])]
    policies: Vec<Policy>,
    /// With --trace: shortest interval between two looks at a conversation
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    min_interval: Duration,
    /// With --trace: longest interval
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = duration)]
    max_interval: Duration,
    /// Draw delays and costs as SVG too; with --trace, costs from a quarter to twice of --polls, which takes longer
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::settings::parse_duration(text).ok_or_else(|| "expected a duration with a unit, such as 60s or 1d".into())
}

#[derive(Serialize)]
struct Report {
    policies: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    policy: String,
    polls: u64,
    polls_per_day: f64,
    delay_seconds: Delay,
}

#[derive(Serialize)]
struct Delay {
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match (&arguments.trace, arguments.polls) {
        (Some(trace), Some(polls)) => compare(arguments, trace, polls),
        _ => own::run(arguments),
    }
}

fn compare(arguments: &Arguments, trace: &Path, polls: u64) -> Result<(), Failure> {
    let bounds = Bounds { min: arguments.min_interval.as_secs_f64(), max: arguments.max_interval.as_secs_f64() };
    if bounds.min > bounds.max || bounds.min <= 0.0 {
        return Err(Failure::new(FAILED, "--min-interval must be longer than 0s and at most --max-interval"));
    }
    let trace = Trace::read(trace).map_err(|error| Failure::new(FAILED, error.to_string()))?;
    let outcomes = arguments.policies.iter().map(|&policy| Ok((policy, outcome(&trace, policy, bounds, polls)?)));
    let outcomes: Vec<_> = outcomes.collect::<Result<_, Failure>>()?;
    let report = Report { policies: outcomes.iter().map(|(policy, outcome)| row(&trace, *policy, outcome)).collect() };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let text = json_line(&report).map_err(|error| Failure::new(FAILED, error.to_string()))?;
        writeln!(out, "{text}")?;
    } else {
        write!(out, "{}", table(&trace, &report))?;
    }
    match &arguments.plot {
        Some(path) => draw_policies(path, &trace, bounds, polls, &outcomes),
        None => Ok(()),
    }
}

fn outcome(trace: &Trace, policy: Policy, bounds: Bounds, polls: u64) -> Result<Outcome, Failure> {
    tuned(trace, policy, bounds, polls).ok_or_else(|| {
        let message = format!(
            "policy {policy} cannot take {polls} looks at this trace with intervals from --min-interval to --max-interval"
        );
        Failure::new(FAILED, message)
    })
}

fn row(trace: &Trace, policy: Policy, outcome: &Outcome) -> Row {
    Row {
        policy: policy.to_string(),
        polls: outcome.polls,
        polls_per_day: outcome.polls as f64 / trace.days(),
        delay_seconds: delay(outcome),
    }
}

/// Draws the policies, each also tuned to a quarter, half and twice of the looks where it can take so many.
fn draw_policies(
    path: &Path,
    trace: &Trace,
    bounds: Bounds,
    polls: u64,
    outcomes: &[(Policy, Outcome)],
) -> Result<(), Failure> {
    let days = trace.days();
    let title = format!(
        "{} in {} over {}; on the left at {}",
        grouped(trace.messages() as u64, "message"),
        grouped(trace.conversations.len() as u64, "conversation"),
        span(days),
        grouped(polls, "look")
    );
    let curves: Vec<_> =
        outcomes.iter().map(|(policy, outcome)| Curve { label: policy.to_string(), outcome }).collect();
    let costs: Vec<_> = outcomes
        .iter()
        .map(|(policy, outcome)| {
            let others = [polls / 4, polls / 2, polls.saturating_mul(2)].into_iter().filter(|&polls| polls > 0);
            let others = others.filter_map(|polls| tuned(trace, *policy, bounds, polls));
            let points = others.map(|other| CostPoint::new(&other, days)).chain([CostPoint::new(outcome, days)]);
            Cost { label: policy.to_string(), points: points.collect() }
        })
        .collect();
    draw(path, &title, &curves, &costs)
}

fn draw(path: &Path, title: &str, curves: &[Curve<'_>], costs: &[Cost]) -> Result<(), Failure> {
    let svg = plot::svg(title, curves, costs).map_err(|error| Failure::new(FAILED, error.to_string()))?;
    write_whole(path, &svg).map_err(|error| Failure::new(FAILED, format!("{}: {error}", path.display())))
}

/// So many days, or what is less in what people say for it.
fn span(days: f64) -> String {
    if days < 2.0 { shown(days * 86_400.0) } else { grouped(days.round() as u64, "day") }
}

/// So many of them, with commas between thousands.
fn grouped(number: u64, noun: &str) -> String {
    let digits = number.to_string();
    let comma = |place: usize| if place > 0 && (digits.len() - place).is_multiple_of(3) { "," } else { "" };
    let grouped: String = digits.char_indices().map(|(place, digit)| format!("{}{digit}", comma(place))).collect();
    format!("{grouped} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Puts a file in place when it is complete.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable for whom the umask lets read, as any other picture.
    let open = std::fs::Permissions::from_mode(0o666);
    let mut draft = tempfile::Builder::new().permissions(open).tempfile_in(folder)?;
    draft.write_all(text.as_bytes())?;
    draft.persist(path)?;
    Ok(())
}

fn delay(outcome: &Outcome) -> Delay {
    let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|share| outcome.quantile(share));
    Delay { mean: outcome.mean(), p50, p90, p99 }
}

fn table(trace: &Trace, report: &Report) -> String {
    let mut text = format!(
        "{} in {} over {}\n\n{:<10}{:>14}{:>14}{:>12}{:>12}{:>12}{:>12}\n",
        grouped(trace.messages() as u64, "message"),
        grouped(trace.conversations.len() as u64, "conversation"),
        span(trace.days()),
        "policy",
        "looks",
        "a day",
        "mean",
        "median",
        "p90",
        "p99"
    );
    for Row { policy, polls, polls_per_day, delay_seconds: Delay { mean, p50, p90, p99 } } in &report.policies {
        let [mean, p50, p90, p99] = [mean, p50, p90, p99].map(|seconds| shown(*seconds));
        text += &format!("{policy:<10}{polls:>14}{polls_per_day:>14.0}{mean:>12}{p50:>12}{p90:>12}{p99:>12}\n");
    }
    text
}

/// Seconds as people say them.
fn shown(seconds: f64) -> String {
    match seconds {
        instant if instant < 10.0 => format!("{instant:.1} s"),
        short if short < 120.0 => format!("{short:.0} s"),
        medium if medium < 7_200.0 => format!("{:.1} min", medium / 60.0),
        long => format!("{:.1} h", long / 3_600.0),
    }
}
