//! When the next attempt of a failed delivery is due. Pure.

use std::time::Duration;

use crate::backoff::stretched;
use crate::sinks::RetrySchedule;

/// The wait before the attempt after `attempts` failed ones, up to a tenth longer by the seed; `None`: give up. A wait
/// that the sink asked for replaces the schedule's.
pub(super) fn wait(schedule: &RetrySchedule, attempts: u32, told: Option<Duration>, seed: u64) -> Option<Duration> {
    let planned = match schedule {
        RetrySchedule::Then(waits) => *waits.get(attempts.saturating_sub(1) as usize)?,
        RetrySchedule::Forever(backoff) => backoff.delay(attempts, seed),
    };
    Some(stretched(told.unwrap_or(planned), seed.wrapping_add(u64::from(attempts))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_dead_after_the_last_wait_of_its_schedule() {
        let schedule = RetrySchedule::Then([5, 300].map(Duration::from_secs).to_vec());
        let waits: Vec<_> = (1..=3).map(|attempts| wait(&schedule, attempts, None, 1).map(|w| w.as_secs())).collect();
        assert!(matches!(waits[..], [Some(5), Some(300..=330), None]), "{waits:?}");
        let told = wait(&schedule, 1, Some(Duration::from_secs(60)), 1).unwrap();
        assert!((60..=66).contains(&told.as_secs()), "{told:?}");
        assert_eq!(
            wait(&schedule, 3, Some(Duration::from_secs(60)), 1),
            None,
            "a told wait does not prolong the schedule"
        );
    }
}
