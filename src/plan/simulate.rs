//! A rule in virtual time over the messages of the past.
//!
//! A conversation is known from its first message on, and a look finds every message since the one before. Conversations
//! do not touch each other under a rule that has no budget, so each is walked through alone: eleven million looks take well
//! under a second.

use super::policy::{Bounds, Policy, Rule};
use super::trace::Trace;

/// What a rule came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Looks.
    pub polls: u64,
    /// Seconds from each message to the look that found it, in order of length.
    pub delays: Vec<f32>,
}

impl Outcome {
    /// Mean delay in seconds.
    pub fn mean(&self) -> f64 {
        self.delays.iter().map(|&delay| f64::from(delay)).sum::<f64>() / self.delays.len().max(1) as f64
    }

    /// The delay that this share of messages does not pass.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.delays.len().saturating_sub(1);
        self.delays.get((last as f64 * share).round() as usize).map_or(0.0, |&delay| f64::from(delay))
    }
}

/// Runs a rule over a trace.
pub(super) fn run(trace: &Trace, rule: &Rule) -> Outcome {
    let mut delays = Vec::with_capacity(trace.messages());
    let mut polls = 0;
    for times in &trace.conversations {
        polls += walk(times, trace.end, rule, &mut delays);
    }
    delays.sort_unstable_by(f32::total_cmp);
    Outcome { polls, delays }
}

/// Walks through one conversation and returns how many looks that took.
fn walk(times: &[f64], end: f64, rule: &Rule, delays: &mut Vec<f32>) -> u64 {
    let Some((&first, mut coming)) = times.split_first() else { return 0 };
    let (mut now, mut last, mut polls) = (first, first, 0);
    let mut wait = rule.wait(0.0, 0.0, true);
    // Whatever was sent is found, if need be by a look after the end.
    while !coming.is_empty() || now + wait <= end {
        now += wait;
        polls += 1;
        let mut found = false;
        while let Some((&sent, rest)) = coming.split_first().filter(|(sent, _)| **sent <= now) {
            delays.push((now - sent) as f32);
            (last, coming, found) = (sent, rest, true);
        }
        wait = rule.wait(now - last, wait, found);
    }
    polls
}

/// Tunes a policy until it takes so many looks, within half a percent; `None` where no rule of it does.
pub fn tuned(trace: &Trace, policy: Policy, bounds: Bounds, polls: u64) -> Option<Outcome> {
    let (mut low, mut high) = policy.range(bounds);
    for _ in 0..64 {
        let middle = (low * high).sqrt();
        let outcome = run(trace, &policy.rule(middle, bounds));
        if outcome.polls.abs_diff(polls) as f64 <= polls as f64 * 0.005 {
            return Some(outcome);
        }
        if outcome.polls > polls { low = middle } else { high = middle }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: 60.0, max: 86_400.0 };

    /// Bursts with heavy-tailed pauses between them, as people write.
    fn heavy_tailed(conversations: u64) -> Trace {
        let uniform = |seed: u64, n: u64| (crate::backoff::mix(seed, n) % 1_000_000) as f64 / 1e6;
        Trace::new((0..conversations).map(|seed| {
            let mut now = uniform(seed, 0) * 30.0 * 86_400.0;
            (1..=20)
                .map(|number| {
                    now += 20.0 * (uniform(seed, number) + 1e-4).powf(-1.5);
                    now
                })
                .collect()
        }))
    }

    #[test]
    fn a_fixed_interval_finds_each_message_at_the_next_look() {
        let trace = Trace::new([vec![0.0, 30.0, 130.0]]);
        let outcome = run(&trace, &Policy::Fixed.rule(100.0, BOUNDS));
        assert_eq!((outcome.polls, outcome.delays), (2, vec![70.0, 70.0]), "30 at 100, 130 at 200");
    }

    #[test]
    fn the_square_root_follows_the_age_of_the_last_message_that_it_knows() {
        let trace = Trace::new([vec![0.0, 1_000.0]]);
        let outcome = run(&trace, &Policy::Sqrt.rule(10.0, Bounds { min: 50.0, max: 1_000.0 }));
        // Looks at 50, then every 10 * sqrt(age): 120.7, 230.6, 382.4, 577.9, 818.3, 1104.4.
        assert_eq!(outcome.polls, 7);
        assert!((outcome.delays[0] - 104.4).abs() < 0.1, "{:?}", outcome.delays);
    }

    #[test]
    fn at_equal_cost_the_square_root_beats_back_off_and_that_a_fixed_interval_where_traffic_comes_in_bursts() {
        let trace = heavy_tailed(300);
        let polls = run(&trace, &Policy::Fixed.rule(7_200.0, BOUNDS)).polls;
        let mean = |policy| {
            let outcome = tuned(&trace, policy, BOUNDS, polls).unwrap();
            assert!(outcome.polls.abs_diff(polls) as f64 <= polls as f64 * 0.01, "{policy}: {}", outcome.polls);
            outcome.mean()
        };
        let (sqrt, backoff, fixed) = (mean(Policy::Sqrt), mean(Policy::Backoff), mean(Policy::Fixed));
        assert!(sqrt * 2.0 < backoff && backoff < fixed, "{sqrt} {backoff} {fixed}");
    }

    #[test]
    fn a_cost_that_no_rule_of_a_policy_has_is_said() {
        assert!(tuned(&heavy_tailed(10), Policy::Sqrt, BOUNDS, 1_000_000_000).is_none());
    }
}
