//! How long to wait after a failure: attempt number, seed and cap give a delay. Pure, so tests are exact.

use std::time::Duration;

use crate::time::UnixMillis;

/// Waits that the other side asks for are held inside these.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Exponential growth from `base`, doubling with each failure, held at `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub base: Duration,
    /// Longest delay.
    pub cap: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row. Between half and all of the exponential value, by a hash of seed
    /// and count: sources that failed together do not come back together.
    pub fn delay(&self, failures: u32, seed: u64) -> Duration {
        let doublings = failures.saturating_sub(1).min(32);
        let full = self.base.saturating_mul(2u32.saturating_pow(doublings)).min(self.cap);
        full / 2 + fraction_of(full / 2, mix(seed, u64::from(failures)))
    }
}

/// `wait` and up to a tenth more, by a hash of the seed.
pub fn stretched(wait: Duration, seed: u64) -> Duration {
    wait.saturating_add(fraction_of(wait / 10, mix(seed, 0)))
}

/// A share of `duration` between nothing and all of it, picked by the hash.
fn fraction_of(duration: Duration, hash: u64) -> Duration {
    let share = (hash >> 11) as f64 / (1u64 << 53) as f64;
    // Longer than there is only where it was rounded up.
    Duration::try_from_secs_f64(duration.as_secs_f64() * share).unwrap_or(duration).min(duration)
}

/// SplitMix64 of two numbers: cheap, well spread and the same on every host.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The wait that a `Retry-After` asks for, as seconds or a date, held between a second and a day; anything unreadable
/// counts as absent.
pub fn retry_after(text: &str, now: UnixMillis) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let since = httpdate::parse_http_date(text.trim()).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
            UnixMillis::from_wire_millis(i64::try_from(since.as_millis()).ok()?)?.since(now)
        }
    };
    Some(held(wait))
}

/// A wait held between a second and a day, whatever the other side asks for.
pub fn held(wait: Duration) -> Duration {
    wait.clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIVE_MINUTES: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) };

    #[test]
    fn delays_grow_to_the_cap_and_stay_within_half_of_it() {
        for failures in 1..100 {
            let delay = FIVE_MINUTES.delay(failures, 7);
            let full = Duration::from_secs(2u64.saturating_pow(failures - 1)).min(Duration::from_secs(300));
            assert!(delay >= full / 2 && delay <= full, "{failures}: {delay:?}");
        }
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        let seconds = prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), 0..u64::from(u32::MAX)];
        (seconds, 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
    }

    proptest! {
        #[test]
        fn no_wait_is_too_long_to_be_reckoned_with(
            base in any_duration(),
            cap in any_duration(),
            failures: u32,
            seed: u64,
        ) {
            let delay = Backoff { base, cap }.delay(failures, seed);
            prop_assert!(delay <= cap);
            let longer = stretched(base, seed);
            prop_assert!(longer >= base && longer <= base.saturating_add(base / 10));
            prop_assert!((SHORTEST_WAIT..=LONGEST_WAIT).contains(&held(base)));
        }

        #[test]
        fn no_text_of_a_wait_panics(text in "[0-9]{1,25}|\\PC{0,40}|[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT") {
            let wait = retry_after(&text, UnixMillis::from_millis(0));
            prop_assert!(wait.is_none_or(|wait| (SHORTEST_WAIT..=LONGEST_WAIT).contains(&wait)));
        }
    }

    #[test]
    fn sources_that_fail_together_come_back_apart() {
        let mut delays: Vec<_> = (0..100).map(|seed| FIVE_MINUTES.delay(9, seed)).collect();
        delays.sort();
        delays.dedup();
        assert!(delays.len() > 90);
        assert!(delays[delays.len() - 1] - delays[0] > Duration::from_secs(60));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_held_between_a_second_and_a_day() {
        let wait_for = |text: &str| retry_after(text, UnixMillis::parse("2026-11-20T09:00:00Z").unwrap());
        assert_eq!(wait_for("90"), Some(Duration::from_secs(90)));
        assert_eq!(wait_for("Fri, 20 Nov 2026 09:02:00 GMT"), Some(Duration::from_secs(120)));
        assert_eq!(wait_for("0"), Some(Duration::from_secs(1)));
        assert_eq!(wait_for("Thu, 19 Nov 2026 09:02:00 GMT"), Some(Duration::from_secs(1)));
        assert_eq!(wait_for("99999999"), Some(Duration::from_secs(86_400)));
        for unreadable in ["soon", "-5", "1e9", "", "99999999999999999999999"] {
            assert_eq!(wait_for(unreadable), None, "{unreadable}");
        }
    }
}
