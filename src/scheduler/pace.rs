//! How often each conversation may be asked within a budget. Pure.
//!
//! The chance that a conversation moves falls with the time since its last message, roughly as 1/age, and the rate that
//! finds messages soonest under a given number of requests is proportional to the square root of that chance. So
//!
//! ```text
//! interval = clamp(k * sqrt(age), min_interval, max_interval)
//! ```
//!
//! with one `k` for all conversations of an account (half of it where `priority` is high, twice where it is low): the smallest that keeps the expected spend, the sum of 1/interval,
//! inside the budget. It is solved over a histogram of ages, so its cost does not grow with the number of conversations.

use std::time::Duration;

use super::Cadence;

/// The factor between the square root of an age and an interval, both in seconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Pace(f64);

impl Pace {
    /// As often as `min_interval` allows.
    pub const FASTEST: Self = Self(0.0);

    /// From a factor; negative and undefined ones count as zero.
    pub fn new(factor: f64) -> Self {
        Self(factor.max(0.0))
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        self.0
    }

    /// The interval in seconds after a look at a conversation whose last message is `age` seconds old.
    #[inline]
    pub fn seconds(self, age: f64, min: f64, max: f64) -> f64 {
        // Not `clamp`: an account whose budget does not hold has an infinite factor, and `0 * infinity` is not a number.
        (self.0 * age.max(1.0).sqrt()).min(max).max(min)
    }

    /// The same within the bounds of a conversation.
    pub fn interval(self, age: Duration, cadence: Cadence) -> Duration {
        let (min, max) = (cadence.min_interval.as_secs_f64(), cadence.max_interval.as_secs_f64());
        let seconds = Self(self.0 * cadence.priority.factor()).seconds(age.as_secs_f64(), min, max);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).clamp(cadence.min_interval, cadence.max_interval)
    }
}

/// Buckets for each doubling of the age: within one the interval changes by 4 %.
const PER_OCTAVE: f64 = 8.0;
/// Ages up to 2^32 seconds.
const BUCKETS: usize = 256;

/// How many conversations have which age, as far as their intervals depend on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Ages {
    /// Conversations with the same bounds.
    classes: Vec<(Cadence, Box<Histogram>)>,
}

#[derive(Clone, Debug)]
struct Histogram {
    counts: [u32; BUCKETS],
}

/// The pace that a budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Solution {
    /// The pace.
    pub pace: Pace,
    /// Requests a second that it is expected to make.
    pub spend: f64,
    /// Set where even `max_interval` for all is too often: every conversation would have to wait so many times longer.
    pub overdrawn: Option<f64>,
}

impl Ages {
    /// Adds a conversation.
    pub(super) fn add(&mut self, age: Duration, cadence: Cadence) {
        let index = self.classes.iter().position(|(of, _)| *of == cadence).unwrap_or_else(|| {
            self.classes.push((cadence, Box::new(Histogram { counts: [0; BUCKETS] })));
            self.classes.len() - 1
        });
        let bucket = (age.as_secs_f64().max(1.0).log2() * PER_OCTAVE) as usize;
        self.classes[index].1.counts[bucket.min(BUCKETS - 1)] += 1;
    }

    /// The smallest factor that keeps the expected spend within so many requests a second.
    pub(super) fn solve(&self, requests_per_second: f64) -> Solution {
        let terms = self.terms();
        let spend =
            |factor: f64| -> f64 { terms.iter().map(|term| term.count / Pace(factor).seconds_of_root(term)).sum() };
        let (fastest, slowest) = (spend(0.0), spend(f64::INFINITY));
        if fastest <= requests_per_second {
            return Solution { pace: Pace::FASTEST, spend: fastest, overdrawn: None };
        }
        if slowest > requests_per_second {
            let overdrawn = Some(slowest / requests_per_second);
            return Solution { pace: Pace(f64::INFINITY), spend: slowest, overdrawn };
        }
        // The spend falls with the factor: between "all at min_interval" and "all at max_interval" by bisection.
        let (mut low, mut high) = (0.0, largest_factor(&terms));
        for _ in 0..48 {
            let middle = (low + high) / 2.0;
            if spend(middle) > requests_per_second {
                low = middle;
            } else {
                high = middle;
            }
        }
        Solution { pace: Pace(high), spend: spend(high), overdrawn: None }
    }

    /// The buckets that are not empty.
    fn terms(&self) -> Vec<Term> {
        let mut terms = Vec::new();
        for (cadence, histogram) in &self.classes {
            let (min, max) = (cadence.min_interval.as_secs_f64(), cadence.max_interval.as_secs_f64());
            for (bucket, &count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let age = ((bucket as f64 + 0.5) / PER_OCTAVE).exp2();
                let root = age.sqrt() * cadence.priority.factor();
                terms.push(Term { count: f64::from(count), root, min, max });
            }
        }
        terms
    }
}

/// Conversations of about one age, with the same bounds.
struct Term {
    count: f64,
    root: f64,
    min: f64,
    max: f64,
}

impl Pace {
    fn seconds_of_root(self, term: &Term) -> f64 {
        (self.0 * term.root).min(term.max).max(term.min)
    }
}

/// With it every conversation is at its `max_interval`.
fn largest_factor(terms: &[Term]) -> f64 {
    terms.iter().map(|term| term.max / term.root).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scheduler::Priority;

    fn cadence(min: u64, max: u64) -> Cadence {
        let (min_interval, max_interval) = (Duration::from_secs(min), Duration::from_secs(max));
        Cadence { min_interval, max_interval, priority: Priority::Normal }
    }

    fn ages(ages: &[u64], cadence: Cadence) -> Ages {
        let mut all = Ages::default();
        ages.iter().for_each(|&age| all.add(Duration::from_secs(age), cadence));
        all
    }

    proptest! {
        #[test]
        fn no_solution_spends_more_than_the_budget_unless_it_says_so(
            seconds in proptest::collection::vec(0u64..100_000_000, 1..200), rate in 0.001f64..100.0, min in 1u64..600, more in 0u64..100_000
        ) {
            let solution = ages(&seconds, cadence(min, min + more)).solve(rate);
            prop_assert!(solution.spend <= rate * 1.000_001 || solution.overdrawn.is_some());
            if let Some(times) = solution.overdrawn {
                prop_assert!(times > 1.0);
                let longer = Duration::from_secs_f64((min + more) as f64 * times * 1.000_1);
                let feasible = Cadence { max_interval: longer, ..cadence(min, min) };
                let mut all = Ages::default();
                seconds.iter().for_each(|&age| all.add(Duration::from_secs(age), feasible));
                prop_assert!(all.solve(rate).overdrawn.is_none(), "the pair it names is feasible");
            }
        }

        #[test]
        fn no_smaller_factor_would_do(seconds in proptest::collection::vec(1u64..100_000_000, 1..200), rate in 0.001f64..10.0) {
            let all = ages(&seconds, cadence(30, 86_400));
            let solution = all.solve(rate);
            if solution.pace > Pace::FASTEST && solution.overdrawn.is_none() {
                prop_assert!(solution.spend > rate * 0.999, "{solution:?} for {rate}");
            }
        }

        #[test]
        fn intervals_stay_in_their_bounds_and_grow_with_age(
            factor in 0.0f64..1e6, age in 0u64..10_000_000_000, more in 0u64..10_000_000, min in 1u64..100_000, longer in 0u64..10_000_000
        ) {
            let bounds = cadence(min, min + longer);
            let interval = |age| Pace::new(factor).interval(Duration::from_secs(age), bounds);
            prop_assert!(interval(age) >= bounds.min_interval && interval(age) <= bounds.max_interval);
            prop_assert!(interval(age + more) >= interval(age));
        }
    }

    #[test]
    fn a_budget_that_no_interval_in_the_bounds_can_keep_is_told_with_the_nearest_that_can() {
        let solution = ages(&[3_600; 1_000], cadence(30, 600)).solve(1.0);
        assert!((solution.overdrawn.unwrap() - 1_000.0 / 600.0).abs() < 1e-9, "{solution:?}");
        let every = solution.pace.interval(Duration::from_secs(5), cadence(30, 600));
        assert_eq!(every, Duration::from_secs(600), "as rarely as is allowed");
    }

    #[test]
    fn a_budget_that_holds_everything_at_the_shortest_interval_is_not_used_up() {
        let solution = ages(&[5, 50, 500_000], cadence(30, 600)).solve(10.0);
        assert_eq!((solution.pace, solution.overdrawn), (Pace::FASTEST, None));
        assert!((solution.spend - 0.1).abs() < 1e-9);
    }

    #[test]
    fn an_age_of_nothing_and_a_budget_of_nothing_are_no_trap() {
        let solution = ages(&[0], cadence(1, 10)).solve(0.0);
        assert!(solution.overdrawn.is_some_and(f64::is_infinite));
        assert_eq!(Pace(f64::INFINITY).interval(Duration::ZERO, cadence(1, 10)), Duration::from_secs(10));
        assert_eq!(Ages::default().solve(0.0).pace, Pace::FASTEST);
    }
}
