//! How long to wait after a failure: attempt number, seed and cap give a delay. Pure, so tests are exact.

use std::time::Duration;

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
    wait + fraction_of(wait / 10, mix(seed, 0))
}

/// A share of `duration` between nothing and all of it, picked by the hash.
fn fraction_of(duration: Duration, hash: u64) -> Duration {
    duration.mul_f64((hash >> 11) as f64 / (1u64 << 53) as f64)
}

/// SplitMix64 of two numbers: cheap, well spread and the same on every host.
pub fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_MINUTES: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) };

    #[test]
    fn delays_grow_to_the_cap_and_stay_within_half_of_it() {
        for failures in 1..100 {
            let delay = FIVE_MINUTES.delay(failures, 7);
            let full = Duration::from_secs(2u64.saturating_pow(failures - 1)).min(Duration::from_secs(300));
            assert!(delay >= full / 2 && delay <= full, "{failures}: {delay:?}");
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
}
