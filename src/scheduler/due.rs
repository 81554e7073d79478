//! When the next poll of a conversation is due. Pure: age in, interval out.

use std::time::Duration;

use serde::Deserialize;

use super::pace::Pace;
use crate::backoff::mix;
use crate::time::UnixMillis;

/// How much sooner than others of its age a conversation is to be heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// At half the rate.
    Low,
    /// As its age says.
    #[default]
    Normal,
    /// At twice the rate.
    High,
}

impl Priority {
    /// By what an interval is multiplied. The best rate is proportional to the square root of what a message is worth, so twice the
    /// rate is right for messages worth four times as much.
    pub fn factor(self) -> f64 {
        match self {
            Self::Low => 2.0,
            Self::Normal => 1.0,
            Self::High => 0.5,
        }
    }
}

/// The bounds of a conversation's interval, and its place among others between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Never ask more often.
    pub min_interval: Duration,
    /// Never leave it unverified longer.
    pub max_interval: Duration,
    /// How much sooner than others.
    pub priority: Priority,
}

impl Cadence {
    /// The interval to the next poll of a conversation whose last message is `age` old. Up to a twentieth longer or shorter by
    /// the seed, inside the bounds, so that conversations that began together drift apart; with equal bounds it is exact.
    pub fn interval(&self, age: Duration, pace: Pace, seed: u64) -> Duration {
        let spread = 0.95 + (mix(seed, 0) % 1000) as f64 / 10_000.0;
        pace.interval(age, *self).mul_f64(spread).clamp(self.min_interval, self.max_interval)
    }
}

/// All that the interval of a conversation depends on beside its age.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// The bounds, as they are at present.
    pub cadence: Cadence,
    /// The pace of its account.
    pub pace: Pace,
    /// Of this conversation alone.
    pub seed: u64,
}

impl Rhythm {
    /// The interval that follows a look at this moment.
    pub fn interval(&self, last_message_at: Option<UnixMillis>, looked_at: UnixMillis) -> Duration {
        // A new draw each time, from numbers a restart knows too.
        let seed = mix(self.seed, looked_at.as_millis().unsigned_abs() / 1000);
        self.cadence.interval(age(last_message_at, looked_at), self.pace, seed)
    }
}

/// The age of the youngest message; a conversation without one is as young as can be only in its first moment, so it counts as
/// a day old.
pub(super) fn age(last_message_at: Option<UnixMillis>, now: UnixMillis) -> Duration {
    const EMPTY: Duration = Duration::from_secs(86_400);
    last_message_at.map_or(EMPTY, |at| now.since(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CADENCE: Cadence = Cadence {
        min_interval: Duration::from_secs(30),
        max_interval: Duration::from_secs(6 * 3600),
        priority: Priority::Normal,
    };

    proptest! {
        #[test]
        fn the_interval_stays_inside_its_bounds(age in 0u64..10_000_000_000, seed: u64, min in 100u64..100_000, more in 0u64..10_000_000) {
            let cadence = Cadence {
                min_interval: Duration::from_millis(min),
                max_interval: Duration::from_millis(min + more),
                priority: Priority::Normal,
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
    fn priority_halves_and_doubles_the_interval_between_the_bounds() {
        let interval = |priority| {
            let cadence = Cadence { priority, ..CADENCE };
            cadence.interval(Duration::from_secs(86_400), Pace::new(2.0), 0).as_secs_f64()
        };
        let normal = interval(Priority::Normal);
        assert!((interval(Priority::High) * 2.0 - normal).abs() < 1e-6, "{normal}");
        assert!((interval(Priority::Low) / 2.0 - normal).abs() < 1e-6, "{normal}");
        let high = Cadence { priority: Priority::High, ..CADENCE };
        assert!(high.interval(Duration::ZERO, Pace::new(2.0), 0) >= CADENCE.min_interval);
    }

    #[test]
    fn equal_bounds_give_an_exact_interval() {
        let second = Cadence { min_interval: Duration::from_secs(1), max_interval: Duration::from_secs(1), ..CADENCE };
        assert_eq!(second.interval(Duration::from_secs(1_000_000), Pace::new(2.0), 99), Duration::from_secs(1));
    }
}
