//! How an account is polled: the keys of `[polling]`, overridden by those of `[accounts.NAME.polling]`, with the
//! provider's recommendation where neither says.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::problem::Problem;
use crate::calendar::Calendar;
use crate::providers::Profile;
use crate::scheduler::{Baseline, Cadence, CreditBudget, Priority, QuietHours};
use crate::time::UnixMillis;

/// Shortest interval that is accepted: below it, a poll would begin before most providers have answered the one before.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(default, with = "crate::settings::optional_duration")]
    min_interval: Option<Duration>,
    #[serde(default, with = "crate::settings::optional_duration")]
    max_interval: Option<Duration>,
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    requests_per_minute: Option<u32>,
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    concurrency: Option<usize>,
    #[serde(default, with = "crate::settings::optional_duration")]
    timeout: Option<Duration>,
    #[serde(default, with = "crate::settings::optional_duration")]
    overlap: Option<Duration>,
    #[serde(default, with = "crate::settings::optional_duration")]
    recheck_interval: Option<Duration>,
    #[serde(default, with = "crate::settings::optional_duration")]
    recheck_depth: Option<Duration>,
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    max_pages: Option<u32>,
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    max_conversations: Option<u64>,
    #[serde(default, with = "crate::settings::optional_duration")]
    sweep_interval: Option<Duration>,
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    daily_credits: Option<u32>,
    #[serde(default, deserialize_with = "crate::settings::optional_count")]
    monthly_credits: Option<u32>,
    #[serde(default)]
    time_zone: Option<String>,
    #[serde(default)]
    first_poll: Option<String>,
    #[serde(default)]
    quiet_hours: Option<String>,
}

/// How an account is polled, with everything resolved.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// The bounds of an interval.
    pub cadence: Cadence,
    /// What a first poll does.
    pub baseline: Baseline,
    /// The account's budget.
    pub requests_per_minute: NonZeroU32,
    /// Polls in flight.
    pub concurrency: usize,
    /// A whole request.
    pub timeout: Duration,
    /// How far behind the watermark each poll asks again.
    pub overlap: Duration,
    /// A deeper look for late messages after so long.
    pub recheck_interval: Duration,
    /// That far back.
    pub recheck_depth: Duration,
    /// Pages read in one poll.
    pub max_pages: u32,
    /// So many conversations of the account are followed at most.
    pub max_conversations: u64,
    /// Time between sweeps of the inbox.
    pub sweep_interval: Duration,
    /// What it may cost in the provider's credits, where it bills.
    pub credits: CreditBudget,
}

/// Three credits: one for each third of the day's credits.
const FEWEST_CREDITS: u32 = 3;

/// Credits of a day where neither they nor those of a month are configured.
const DAILY_CREDITS: u32 = 300;

/// Where a month is limited and its days are not, one day may cost so much of it.
const BUSY_DAY: u32 = 10;

/// Days of the longest month.
const MONTH: u32 = 31;

impl Table {
    /// When only `max_interval` counts; `own` is as for [`Table::resolve`].
    pub(super) fn quiet_hours(
        &self,
        defaults: &Self,
        key: &str,
        own: &[String],
    ) -> Result<Option<QuietHours>, Problem> {
        let Some(text) = self.quiet_hours.as_ref().or(defaults.quiet_hours.as_ref()) else { return Ok(None) };
        let table =
            if own.iter().any(|own| own == "quiet_hours") { format!("{key}.polling") } else { "polling".into() };
        QuietHours::parse(text).map(Some).map_err(|message| Problem::new(format!("{table}.quiet_hours"), message))
    }

    /// By which days and months begin; `own` is as for [`Table::resolve`].
    pub(super) fn calendar(&self, defaults: &Self, key: &str, own: &[String]) -> Result<Calendar, Problem> {
        let Some(zone) = self.time_zone.as_ref().or(defaults.time_zone.as_ref()) else {
            return Ok(Calendar::default());
        };
        let table = if own.iter().any(|own| own == "time_zone") { format!("{key}.polling") } else { "polling".into() };
        Calendar::parse(zone).ok_or_else(|| {
            Problem::new(format!("{table}.time_zone"), "names a time zone that is not known, such as Europe/Berlin is")
        })
    }

    /// Resolves every key and refuses contradictions. `key` is the path of the account; `own` are the keys that it sets
    /// itself, so that an error names the table that the user wrote.
    pub(super) fn resolve(
        &self,
        defaults: &Self,
        profile: &Profile,
        key: &str,
        own: &[String],
    ) -> Result<Polling, Problem> {
        let problem = |name: &str, message: String| {
            let table = if own.iter().any(|own| own == name) { format!("{key}.polling") } else { "polling".into() };
            Problem::new(format!("{table}.{name}"), message)
        };
        let wrong = |name: &str, message: String| Err(problem(name, message));
        let both =
            |own: Option<Duration>, default: Option<Duration>, builtin: Duration| own.or(default).unwrap_or(builtin);
        // What the provider advises, where that is more.
        let default = Duration::from_secs(30).max(profile.advised_min_interval);
        let min_interval = both(self.min_interval, defaults.min_interval, default);
        let max_interval = both(self.max_interval, defaults.max_interval, Duration::from_secs(6 * 3600));
        let cadence =
            cadence(min_interval, max_interval, Priority::Normal).map_err(|(name, message)| problem(name, message))?;
        let first_poll = self.first_poll.as_deref().or(defaults.first_poll.as_deref()).unwrap_or("now");
        let Some(baseline) = baseline(first_poll) else {
            return wrong("first_poll", "must be \"now\", \"all\" or a time such as \"2026-01-31T00:00:00Z\"".into());
        };
        let budget = self.requests_per_minute.or(defaults.requests_per_minute).unwrap_or(profile.requests_per_minute);
        let Some(requests_per_minute) = NonZeroU32::new(budget) else {
            return wrong("requests_per_minute", "must be at least 1, or nothing would ever be polled".into());
        };
        let concurrency = self.concurrency.or(defaults.concurrency).unwrap_or(profile.concurrency);
        if !(1..=256).contains(&concurrency) {
            return wrong("concurrency", "must be 1 to 256".into());
        }
        let timeout = both(self.timeout, defaults.timeout, profile.timeout);
        if timeout < Duration::from_millis(100) {
            return wrong("timeout", "must be at least 100ms, or every request would fail".into());
        }
        let overlap = both(self.overlap, defaults.overlap, profile.overlap);
        if overlap < profile.resolution {
            let shown = humantime::format_duration(profile.resolution);
            return wrong(
                "overlap",
                format!(
                    "must be at least {shown}: times of {} are that coarse, and a message with the same time as the last one would be lost",
                    profile.name
                ),
            );
        }
        let recheck_depth = both(self.recheck_depth, defaults.recheck_depth, Duration::from_secs(7 * 86_400));
        if recheck_depth <= overlap {
            return wrong(
                "recheck_depth",
                "must be longer than overlap, or the recheck would find nothing that polls do not".into(),
            );
        }
        let recheck_interval = both(self.recheck_interval, defaults.recheck_interval, Duration::from_secs(86_400));
        if recheck_interval < min_interval {
            return wrong("recheck_interval", "must not be shorter than min_interval: rechecks are polls too".into());
        }
        let max_pages = self.max_pages.or(defaults.max_pages).unwrap_or(200);
        if max_pages == 0 {
            return wrong("max_pages", "must be at least 1, or no long conversation would ever be read".into());
        }
        let max_conversations = self.max_conversations.or(defaults.max_conversations).unwrap_or(100_000);
        if max_conversations == 0 {
            return wrong("max_conversations", "must be at least 1".into());
        }
        let sweep_interval = both(self.sweep_interval, defaults.sweep_interval, Duration::from_secs(60));
        if sweep_interval < SHORTEST_INTERVAL {
            return wrong("sweep_interval", "must be at least 100ms".into());
        }
        let monthly_credits = self.monthly_credits.or(defaults.monthly_credits);
        let busy_day = monthly_credits.map_or(DAILY_CREDITS, |monthly| monthly / BUSY_DAY);
        let daily_credits = self.daily_credits.or(defaults.daily_credits).unwrap_or(busy_day);
        if monthly_credits.is_some_and(|monthly| monthly < FEWEST_CREDITS * MONTH) {
            return wrong("monthly_credits", "must be at least 93: three for each day of the longest month".into());
        }
        if daily_credits < FEWEST_CREDITS {
            return wrong(
                "daily_credits",
                "must be at least 3: one for listing, one for what moved, one for proofs".into(),
            );
        }
        Ok(Polling {
            cadence,
            baseline,
            requests_per_minute,
            concurrency,
            timeout,
            overlap,
            recheck_interval,
            recheck_depth,
            max_pages,
            max_conversations,
            sweep_interval,
            credits: CreditBudget { daily: daily_credits, monthly: monthly_credits },
        })
    }
}

/// Checks the bounds of an interval; the error names the key.
pub(super) fn cadence(
    min_interval: Duration,
    max_interval: Duration,
    priority: Priority,
) -> Result<Cadence, (&'static str, String)> {
    if min_interval < SHORTEST_INTERVAL {
        return Err(("min_interval", "must be at least 100ms".into()));
    }
    if max_interval < min_interval {
        let [min, max] = [min_interval, max_interval].map(humantime::format_duration);
        return Err((
            "max_interval",
            format!("is {max}, shorter than min_interval ({min}): no interval would satisfy both"),
        ));
    }
    Ok(Cadence { min_interval, max_interval, priority })
}

fn baseline(text: &str) -> Option<Baseline> {
    match text {
        "now" => Some(Baseline::Now),
        "all" => Some(Baseline::All),
        time => UnixMillis::parse(time).map(Baseline::Since),
    }
}
