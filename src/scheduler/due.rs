//! When the next poll of a conversation is due. Pure: age in, interval out.

use std::time::Duration;

use super::pace::Pace;
use crate::backoff::mix;

/// The bounds of a conversation's interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Never ask more often.
    pub min_interval: Duration,
    /// Never leave it unverified longer.
    pub max_interval: Duration,
}

impl Cadence {
    /// The interval to the next poll of a conversation whose last message is `age` old. Up to a twentieth longer or shorter by
    /// the seed, inside the bounds, so that conversations that began together drift apart; with equal bounds it is exact.
    pub fn interval(&self, age: Duration, pace: Pace, seed: u64) -> Duration {
        let spread = 0.95 + (mix(seed, 0) % 1000) as f64 / 10_000.0;
        pace.interval(age, *self).mul_f64(spread).clamp(self.min_interval, self.max_interval)
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
            let interval = cadence.interval(Duration::from_millis(age), Pace::new(2.0), seed);
            prop_assert!(interval >= cadence.min_interval && interval <= cadence.max_interval);
        }

        #[test]
        fn a_quieter_conversation_is_never_asked_more_often(age in 0u64..10_000_000, more in 0u64..10_000_000, seed: u64) {
            let younger = CADENCE.interval(Duration::from_secs(age), Pace::new(2.0), seed);
            let older = CADENCE.interval(Duration::from_secs(age + more), Pace::new(2.0), seed);
            prop_assert!(older >= younger);
        }
    }

    #[test]
    fn the_interval_grows_with_the_square_root_of_the_age() {
        let day = CADENCE.interval(Duration::from_secs(86_400), Pace::new(2.0), 0).as_secs_f64();
        let four_days = CADENCE.interval(Duration::from_secs(4 * 86_400), Pace::new(2.0), 0).as_secs_f64();
        assert!((four_days / day - 2.0).abs() < 0.001, "{day} {four_days}");
        assert!((555.0..620.0).contains(&day), "{day}");
    }

    #[test]
    fn equal_bounds_give_an_exact_interval() {
        let second = Cadence { min_interval: Duration::from_secs(1), max_interval: Duration::from_secs(1) };
        assert_eq!(second.interval(Duration::from_secs(1_000_000), Pace::new(2.0), 99), Duration::from_secs(1));
    }
}
