//! How long the upkeep waits: between two starts, between two status checks, before a renewal.

use std::time::Duration;

use crate::backoff::mix;
use crate::store::SyncRow;
use crate::time::UnixMillis;

/// Shortest time between two starts for one conversation, doubling with each start that did not help.
const BETWEEN_STARTS: Duration = Duration::from_secs(10 * 60);
const LONGEST_BETWEEN_STARTS: Duration = Duration::from_secs(6 * 3600);

/// Time to the next status check of a workflow that has run for so long.
pub(super) fn pace(running_for: Duration) -> Duration {
    Duration::from_secs(match running_for.as_secs() {
        0..=60 => 5,
        61..=600 => 15,
        _ => 60,
    })
}

/// Time before another start may be sent for the conversation.
pub(super) fn wait_before_start(row: &SyncRow, now: UnixMillis) -> Duration {
    let Some(started_at) = row.started_at else { return Duration::ZERO };
    let gap = BETWEEN_STARTS.saturating_mul(2u32.saturating_pow(row.starts.saturating_sub(1).min(16)));
    let since = now.since(started_at);
    gap.min(LONGEST_BETWEEN_STARTS).saturating_sub(since)
}

/// Time to the renewal: when 80 % of the period has passed, up to 5 % of it earlier by the seed.
pub(super) fn renewal(row: &SyncRow, default_period: Duration, seed: u64, now: UnixMillis) -> Duration {
    let (ends, period) = match (row.sync_until, row.period_started_at) {
        (Some(until), Some(started)) if until > started => (until, until.since(started)),
        (Some(until), _) => (until, default_period),
        (None, started) => (started.unwrap_or(now) + default_period, default_period),
    };
    let early = period.mul_f64(0.2 + 0.05 * ((mix(seed, 1) % 1000) as f64 / 1000.0));
    (ends - early).since(now)
}

#[cfg(test)]
mod tests {
    use super::super::{DAY, new_row};
    use super::*;

    fn row(starts: u32, started: i64, period_started: Option<i64>, until: Option<i64>) -> SyncRow {
        let at = UnixMillis::from_millis;
        SyncRow {
            starts,
            started_at: Some(at(started)),
            period_started_at: period_started.map(at),
            sync_until: until.map(at),
            ..new_row(at(0))
        }
    }

    #[test]
    fn starts_for_one_conversation_are_ten_minutes_apart_growing_to_six_hours() {
        let now = UnixMillis::from_millis(0);
        let gaps: Vec<_> =
            (1..8).map(|starts| wait_before_start(&row(starts, 0, None, None), now).as_secs() / 60).collect();
        assert_eq!(gaps, [10, 20, 40, 80, 160, 320, 360]);
        assert_eq!(wait_before_start(&new_row(now), now), Duration::ZERO);
    }

    #[test]
    fn a_period_is_renewed_after_75_to_80_percent_of_it() {
        let day = 86_400_000;
        for seed in 0..100 {
            let wait = renewal(&row(0, 0, Some(0), Some(30 * day)), DAY, seed, UnixMillis::from_millis(0));
            assert!(wait >= DAY.mul_f64(22.5) && wait <= DAY * 24, "{wait:?}");
        }
        let lapsed = renewal(&row(0, 0, Some(0), Some(30 * day)), DAY, 1, UnixMillis::from_millis(31 * day));
        assert_eq!(lapsed, Duration::ZERO);
        let unsaid = renewal(&row(0, 0, Some(0), None), 30 * DAY, 1, UnixMillis::from_millis(0));
        assert!(unsaid >= DAY.mul_f64(22.5) && unsaid <= DAY * 24, "{unsaid:?}");
    }

    #[test]
    fn a_running_workflow_is_asked_about_less_and_less_often() {
        let paces = [0, 59, 61, 599, 601, 80_000].map(|s| pace(Duration::from_secs(s)).as_secs());
        assert_eq!(paces, [5, 5, 15, 15, 60, 60]);
    }
}
