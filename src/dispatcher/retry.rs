//! When the next attempt of a failed delivery is due. Pure.

use std::time::Duration;

use crate::backoff::stretched;
use crate::sinks::RetrySchedule;

/// When a failed delivery has its next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    /// After so long.
    pub(super) wait: Duration,
    /// The failed attempt used up a wait of the schedule.
    pub(super) counts: bool,
}

/// What follows on `failed` attempts that counted, up to a tenth later by the seed; `None`: give up. A wait that the sink asked
/// for replaces the schedule's. Where it is shorter, the attempt does not count until the event is as `old` as the schedule is
/// long: seven times "in five seconds" are no reason to give up what was to be tried for a day.
pub(super) fn again(
    schedule: &RetrySchedule,
    failed: u32,
    told: Option<Duration>,
    old: Duration,
    seed: u64,
) -> Option<Again> {
    let (planned, whole) = match schedule {
        RetrySchedule::Then(waits) => (*waits.get(failed as usize)?, waits.iter().sum()),
        RetrySchedule::Forever(backoff) => (backoff.delay(failed + 1, seed), Duration::MAX),
    };
    let counts = told.is_none_or(|told| told >= planned) || old > whole;
    let wait = stretched(told.unwrap_or(planned), seed.wrapping_add(u64::from(failed + 1)));
    Some(Again { wait, counts })
}

/// The wait after an answer that speaks of the address, when the sink has given no other for so
/// long: the schedule is gone through by time, and nothing of it is used up.
pub(super) fn again_at_address(
    schedule: &RetrySchedule,
    refuses_for: Duration,
    told: Option<Duration>,
    seed: u64,
) -> Again {
    let planned = match schedule {
        RetrySchedule::Then(waits) => {
            let mut over = Duration::ZERO;
            let next = waits.iter().find(|wait| {
                over = over.saturating_add(**wait);
                over > refuses_for
            });
            next.or(waits.last()).copied().unwrap_or(ADDRESS_AGAIN)
        }
        RetrySchedule::Forever(backoff) => backoff.base,
    };
    Again { wait: stretched(told.unwrap_or(planned), seed), counts: false }
}

/// Where the schedule has no wait.
const ADDRESS_AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Duration = Duration::ZERO;

    fn schedule() -> RetrySchedule {
        RetrySchedule::Then([5, 300].map(Duration::from_secs).to_vec())
    }

    #[test]
    fn a_delivery_is_dead_after_the_last_wait_of_its_schedule() {
        let waits: Vec<_> = (0..3)
            .map(|failed| again(&schedule(), failed, None, NEW, 1).map(|a| (a.wait.as_secs(), a.counts)))
            .collect();
        assert!(matches!(waits[..], [Some((5, true)), Some((300..=330, true)), None]), "{waits:?}");
    }

    #[test]
    fn a_told_wait_replaces_the_planned_one_and_a_shorter_one_uses_up_nothing() {
        let told = |seconds, failed, old| again(&schedule(), failed, Some(Duration::from_secs(seconds)), old, 1);
        let longer = told(60, 0, NEW).unwrap();
        assert!((60..=66).contains(&longer.wait.as_secs()) && longer.counts, "{longer:?}");
        let shorter = told(1, 1, NEW).unwrap();
        assert!(shorter.wait.as_secs() <= 2 && !shorter.counts, "{shorter:?}");
        assert!(told(1, 1, Duration::from_secs(306)).unwrap().counts, "the schedule's whole time is over");
        assert_eq!(told(60, 2, NEW), None, "and it does not prolong the schedule");
    }

    #[test]
    fn at_an_address_that_refuses_the_waits_are_gone_through_by_time_and_none_is_used_up() {
        let schedule = RetrySchedule::Then([1, 5, 30, 120].map(Duration::from_secs).to_vec());
        let waits: Vec<_> = [0, 1, 6, 36, 1_000]
            .map(|seconds| again_at_address(&schedule, Duration::from_secs(seconds), None, 0))
            .iter()
            .map(|again| (again.wait.as_secs(), again.counts))
            .collect();
        for ((wait, counts), planned) in waits.iter().zip([1, 5, 30, 120, 120]) {
            assert!((planned..=planned + planned / 10).contains(wait) && !counts, "{waits:?}");
        }
        let told = again_at_address(&schedule, Duration::ZERO, Some(Duration::from_secs(600)), 0);
        assert!(told.wait >= Duration::from_secs(600));
        assert_eq!(again_at_address(&RetrySchedule::Then(vec![]), Duration::ZERO, None, 0).wait.as_secs() / 10, 3);
    }
}
