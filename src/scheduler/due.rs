//! When the next poll of a conversation is due. Pure: age in, interval out.
//!
//! The chance that a conversation moves falls with the time since its last message, roughly as 1/age, and the rate
//! that finds messages soonest under a given number of requests is proportional to the square root of that chance.
//! So the interval grows with the square root of the age.

use std::time::Duration;

use crate::backoff::mix;

/// Intervals grow as this many times the square root of the age, both in seconds: a conversation that was quiet for a
/// day is asked every ten minutes, one that was quiet for a month every 54 minutes.
const SLOWNESS: f64 = 2.0;

/// The bounds of a conversation's interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Never ask more often.
    pub min_interval: Duration,
    /// Never leave it unverified longer.
    pub max_interval: Duration,
}

impl Cadence {
    /// The interval to the next poll of a conversation whose last message is `age` old. Up to a tenth longer by the
    /// seed, inside the bounds, so that conversations that began together drift apart; with equal bounds it is exact.
    pub fn interval(&self, age: Duration, seed: u64) -> Duration {
        let by_age = Duration::try_from_secs_f64(SLOWNESS * age.as_secs_f64().sqrt()).unwrap_or(Duration::MAX);
        let interval = by_age.clamp(self.min_interval, self.max_interval);
        let spread = (mix(seed, 0) % 1000) as f64 / 10_000.0;
        (interval + interval.mul_f64(spread)).min(self.max_interval)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CADENCE: Cadence =
        Cadence { min_interval: Duration::from_secs(30), max_interval: Duration::from_secs(6 * 3600) };

    proptest! {
        #[test]
        fn the_interval_stays_inside_its_bounds(age in 0u64..10_000_000_000, seed: u64, min in 100u64..100_000, more in 0u64..10_000_000) {
            let cadence = Cadence {
                min_interval: Duration::from_millis(min),
                max_interval: Duration::from_millis(min + more),
            };
            let interval = cadence.interval(Duration::from_millis(age), seed);
            prop_assert!(interval >= cadence.min_interval && interval <= cadence.max_interval);
        }

        #[test]
        fn a_quieter_conversation_is_never_asked_more_often(age in 0u64..10_000_000, more in 0u64..10_000_000, seed: u64) {
            let younger = CADENCE.interval(Duration::from_secs(age), seed);
            let older = CADENCE.interval(Duration::from_secs(age + more), seed);
            prop_assert!(older >= younger);
        }
    }

    #[test]
    fn the_interval_grows_with_the_square_root_of_the_age() {
        let day = CADENCE.interval(Duration::from_secs(86_400), 0).as_secs_f64();
        let four_days = CADENCE.interval(Duration::from_secs(4 * 86_400), 0).as_secs_f64();
        assert!((four_days / day - 2.0).abs() < 0.001, "{day} {four_days}");
        assert!((585.0..650.0).contains(&day), "{day}");
    }

    #[test]
    fn equal_bounds_give_an_exact_interval() {
        let second = Cadence { min_interval: Duration::from_secs(1), max_interval: Duration::from_secs(1) };
        assert_eq!(second.interval(Duration::from_secs(1_000_000), 99), Duration::from_secs(1));
    }
}
