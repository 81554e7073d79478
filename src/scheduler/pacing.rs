//! Keeps the pace of an account at what its budget allows, as ages, conversations and other spending move.
//!
//! What walks, rechecks, sweeps and retries take is measured and left to them; what they leave is spread over the
//! conversations. Where even `max_interval` for all is more than the budget holds, it is stretched for all alike.

use std::time::Duration;

use tokio::time::Instant;

use super::Cadence;
use super::pace::{Ages, Pace, Solution};

/// Ages move slowly: in a minute the pace of a thousand conversations changes by less than it is worth to solve for.
const SOLVE_EVERY: Duration = Duration::from_secs(60);
/// Kept for whatever is not a look at a conversation, before anything of that is measured ...
const LEAST_RESERVE: f64 = 0.01;
/// ... and at most, so that a long history never starves the looks.
const LARGEST_RESERVE: f64 = 0.5;
/// A pace that has to change by less than this share is approached slowly: a hundredth of an interval of hours is minutes, and
/// a pace that follows every breath would send the looks in bursts.
const JUMP: f64 = 0.2;
/// By this share of the way a minute.
const APPROACH: f64 = 0.1;
/// Weight of the last minute in what is measured.
const NEWEST: f64 = 0.3;

/// Of the conversations that may share a request so many do: those that come due while it waits for its turn.
const SHARING: f64 = 0.8;

/// Where more than the budget waits for its turn, so much more is planned than it holds: looks come in clumps, and what one
/// minute leaves unused the next could not make up for. Which of those that are due goes first is for the timetable.
const HEADROOM: f64 = 1.1;

/// The requests that an account may make in the long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second.
    pub per_second: f64,
    /// Whatever is asked beyond it waits for its turn; else it is spent, and missing at the end of the day.
    pub is_enforced: bool,
}

/// What an account has asked for since it was started, out of what its looks share with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Requests of every kind.
    pub requests: u64,
    /// Those that looked at conversations.
    pub looks: u64,
}

/// The pace of an account.
pub(super) struct Pacing {
    solution: Solution,
    solved_at: Option<Instant>,
    /// Conversations of the account then, followed or not.
    solved_for: usize,
    spent: Spent,
    /// Share of the requests that are not looks.
    reserve: f64,
    /// Conversations a look, where the provider takes many.
    fill: f64,
    told: bool,
}

impl Pacing {
    /// For an account of which so many conversations may share a request.
    pub(super) fn new(batch_size: usize) -> Self {
        let solution = Solution { pace: Pace::FASTEST, spend: 0.0, overdrawn: None };
        let spent = Spent::default();
        Self {
            solution,
            solved_at: None,
            solved_for: 0,
            spent,
            reserve: LEAST_RESERVE,
            fill: (batch_size as f64 * SHARING).max(1.0),
            told: false,
        }
    }

    pub(super) fn pace(&self) -> Pace {
        self.solution.pace
    }

    /// The bounds of an interval as the budget can keep them.
    pub(super) fn feasible(&self, cadence: Cadence) -> Cadence {
        let stretch = self.solution.overdrawn.filter(|times| times.is_finite()).unwrap_or(1.0);
        let max_interval = Duration::try_from_secs_f64(cadence.max_interval.as_secs_f64() * stretch);
        Cadence { max_interval: max_interval.unwrap_or(Duration::MAX).max(cadence.max_interval), ..cadence }
    }

    pub(super) fn is_stale(&self, now: Instant, conversations: usize) -> bool {
        let moved = conversations.abs_diff(self.solved_for) * 50 > self.solved_for;
        moved || self.solved_at.is_none_or(|at| now.duration_since(at) >= SOLVE_EVERY)
    }

    /// Solves for the pace that a rate allows. Returns the times by which intervals are stretched when that has
    /// just become necessary.
    pub(super) fn solve(
        &mut self,
        (ages, conversations): (&Ages, usize),
        rate: Rate,
        spent: Spent,
        now: Instant,
    ) -> Option<f64> {
        self.measure(rate.per_second, spent, now);
        let before = self.solution.pace;
        let minutes = self.solved_at.map_or(0.0, |at| now.duration_since(at).as_secs_f64() / 60.0);
        let looks_per_second = self.looks_per_second(rate.per_second) * self.fill;
        self.solution = ages.solve(looks_per_second);
        if rate.is_enforced && self.solution.overdrawn.is_none() {
            self.solution.pace = ages.solve(looks_per_second * HEADROOM).pace;
        }
        self.solution.pace = approached(before, self.solution.pace, minutes);
        (self.solved_at, self.solved_for) = (Some(now), conversations);
        let overdrawn = self.solution.overdrawn;
        let was_told = std::mem::replace(&mut self.told, overdrawn.is_some());
        overdrawn.filter(|_| !was_told)
    }

    fn looks_per_second(&self, requests_per_second: f64) -> f64 {
        requests_per_second * (1.0 - self.reserve)
    }

    fn measure(&mut self, requests_per_second: f64, spent: Spent, now: Instant) {
        let Some(seconds) = self.solved_at.map(|at| now.duration_since(at).as_secs_f64()) else { return };
        // A few seconds tell nothing.
        if seconds < SOLVE_EVERY.as_secs_f64() / 2.0 {
            return;
        }
        let requests = (spent.requests - self.spent.requests) as f64;
        let looks = (spent.looks - self.spent.looks) as f64;
        let others = (requests - looks).max(0.0) / (requests_per_second * seconds).max(1e-9);
        self.reserve += NEWEST * (others - self.reserve);
        self.reserve = self.reserve.clamp(LEAST_RESERVE, LARGEST_RESERVE);
        self.spent = spent;
    }
}

/// On the way from one pace to another, after so many minutes: there at once where they are far apart.
fn approached(from: Pace, to: Pace, minutes: f64) -> Pace {
    let (from, to) = (from.factor(), to.factor());
    let near = (to - from).abs() <= from.min(to) * JUMP;
    let share = 1.0 - (1.0 - APPROACH).powf(minutes);
    Pace::new(if near { from + (to - from) * share } else { to })
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use super::*;
    use crate::backoff::mix;
    use crate::scheduler::Priority;

    const BOUNDS: Cadence = Cadence {
        min_interval: Duration::from_secs(30),
        max_interval: Duration::from_secs(6 * 3600),
        priority: Priority::Normal,
    };

    fn spends(per_second: f64) -> Rate {
        Rate { per_second, is_enforced: false }
    }

    fn ages(ages: impl IntoIterator<Item = f64>, bounds: Cadence) -> Ages {
        let mut all = Ages::default();
        ages.into_iter().for_each(|age| all.add(Duration::from_secs_f64(age), bounds));
        all
    }

    /// Ten thousand conversations for a day, of which some wake up and talk and others fall silent.
    #[test]
    fn a_day_of_ten_thousand_conversations_spends_the_budget_and_no_more() {
        const DAY: f64 = 86_400.0;
        // They all begin together; until their looks lie as they will, a day goes by.
        const BEGIN: u64 = 86_400_000;
        let (budget, start) = (2.0, Instant::now());
        let uniform = |seed: u64, n: u64| (mix(seed, n) % 1_000_000) as f64 / 1e6;
        // From a minute to a year old.
        let mut last: Vec<f64> = (0..10_000).map(|i| -60.0 * (uniform(i, 1) * 13.0).exp()).collect();
        let mut pacing = Pacing::new(1);
        let solve = |pacing: &mut Pacing, last: &[f64], polled: &[f64], now: f64, polls: u64| {
            let spent = Spent { requests: polls, looks: polls };
            let ages = ages(last.iter().zip(polled).map(|(at, polled)| (polled / 1000.0 - at).max(0.0)), BOUNDS);
            pacing.solve((&ages, 1_000), spends(budget), spent, start + Duration::from_secs_f64(now));
        };
        let mut polled: Vec<f64> = vec![0.0; last.len()];
        solve(&mut pacing, &last, &polled, 0.0, 0);
        let wait = |pacing: &Pacing, age: f64, seed: u64| {
            BOUNDS.interval(Duration::from_secs_f64(age), pacing.pace(), seed).as_millis() as u64
        };
        let mut queue: BinaryHeap<_> =
            (0..10_000u64).map(|i| Reverse((wait(&pacing, -last[i as usize], i), i))).collect();
        let (mut polls, mut next_solve, mut shortest, mut longest) = (0u64, 60_000, f64::MAX, 0.0f64);
        let mut hour = [0u64; 24];
        while let Some(Reverse((at, i))) = queue.pop().filter(|Reverse((at, _))| *at < BEGIN + 86_400_000) {
            let now = at as f64 / 1000.0;
            while at >= next_solve {
                solve(&mut pacing, &last, &polled, next_solve as f64 / 1000.0, polls);
                // As the loop does it: whoever waits for its interval is given the new one.
                let retimed = queue.drain().map(|Reverse((_, i))| {
                    let (polled, last) = (polled[i as usize], last[i as usize]);
                    let age = (polled / 1000.0 - last).max(0.0);
                    Reverse(((polled + wait(&pacing, age, i) as f64).max(next_solve as f64) as u64, i))
                });
                queue = retimed.collect();
                next_solve += 60_000;
            }
            polls += 1;
            polled[i as usize] = at as f64;
            if at >= BEGIN {
                hour[((at - BEGIN) / 3_600_000) as usize] += 1;
            }
            // In the middle of the day more of them talk.
            let busy = 1.0 + 3.0 * (now / DAY * std::f64::consts::PI).sin().abs();
            if uniform(i, 1_000 + polls) < busy * 0.002 {
                last[i as usize] = now - 5.0;
            }
            let interval = wait(&pacing, now - last[i as usize], i);
            (shortest, longest) = (shortest.min(interval as f64), longest.max(interval as f64));
            queue.push(Reverse((at + interval, i)));
        }
        let spent = hour.iter().sum::<u64>() as f64 / (budget * DAY);
        assert!((0.98..=1.0).contains(&spent), "{spent}");
        for (hour, polls) in hour.iter().enumerate() {
            let spent = *polls as f64 / (budget * 3600.0);
            assert!((0.9..=1.1).contains(&spent), "{spent} in hour {hour}");
        }
        assert!(shortest >= 30_000.0 && longest <= 6.0 * 3_600_000.0, "{shortest} {longest}");
    }

    #[test]
    fn what_other_requests_take_is_left_to_them_and_comes_back_when_they_end() {
        let (ages, start) = (ages((1..1_000).map(|n| f64::from(n) * 60.0), BOUNDS), Instant::now());
        let mut pacing = Pacing::new(1);
        let mut spent = Spent::default();
        let mut minute = 0;
        let mut pass = |pacing: &mut Pacing, others: u64, minutes: u32| {
            for _ in 0..minutes {
                minute += 1;
                (spent.requests, spent.looks) = (spent.requests + 60, spent.looks + 60 - others);
                pacing.solve((&ages, 1_000), spends(1.0), spent, start + minute * SOLVE_EVERY);
            }
            pacing.solution.spend
        };
        let alone = pass(&mut pacing, 0, 20);
        assert!((0.97..=0.99).contains(&alone), "{alone}");
        let beside = pass(&mut pacing, 20, 20);
        assert!((0.65..=0.68).contains(&beside), "a third is taken by walks: {beside}");
        let starved = pass(&mut pacing, 60, 40);
        assert!((0.49..=0.51).contains(&starved), "half is kept for looks: {starved}");
        let back = pass(&mut pacing, 0, 40);
        assert!((0.97..=0.99).contains(&back), "{back}");
    }

    #[test]
    fn conversations_that_share_a_request_are_looked_at_more_often_for_the_same_budget() {
        let ages = ages((1..1_000).map(|n| f64::from(n) * 60.0), BOUNDS);
        let mut pacing = Pacing::new(5);
        pacing.solve((&ages, 1_000), spends(1.0), Spent::default(), Instant::now());
        assert!((3.9..=4.0).contains(&pacing.solution.spend), "{}", pacing.solution.spend);
    }

    #[test]
    fn conversations_that_nobody_follows_any_more_are_no_reason_to_solve_again() {
        let (ages, start) = (ages((1..50).map(f64::from), BOUNDS), Instant::now());
        let mut pacing = Pacing::new(1);
        assert!(pacing.is_stale(start, 100));
        pacing.solve((&ages, 100), spends(1.0), Spent::default(), start);
        assert!(!pacing.is_stale(start, 100));
        assert!(pacing.is_stale(start, 103) && pacing.is_stale(start + SOLVE_EVERY, 100));
    }

    #[test]
    fn a_budget_that_does_not_hold_stretches_the_longest_interval_and_says_so_once() {
        let (ages, start) = (ages([1e6; 1_000], BOUNDS), Instant::now());
        let mut pacing = Pacing::new(1);
        let rate = 1_000.0 / (6.0 * 3600.0) / 2.0;
        let told = pacing.solve((&ages, 1_000), spends(rate), Spent::default(), start).unwrap();
        assert!((2.0..2.1).contains(&told), "{told}");
        assert_eq!(pacing.solve((&ages, 1_000), spends(rate), Spent::default(), start + SOLVE_EVERY), None);
        let hours = pacing.feasible(BOUNDS).max_interval.as_secs_f64() / 3600.0;
        assert!((12.0..12.3).contains(&hours), "{hours}");
    }
}
