//! Days of generated conversations, in a second.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::scheduler::Priority;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn cadence(min: Duration, max: Duration) -> Cadence {
    Cadence { min_interval: min, max_interval: max, priority: Priority::Normal }
}

const USUAL: Cadence = Cadence {
    min_interval: Duration::from_secs(30),
    max_interval: Duration::from_secs(6 * 3_600),
    priority: Priority::Normal,
};

fn begin() -> UnixMillis {
    UnixMillis::parse("2026-11-02T00:00:00Z").unwrap()
}

/// Bursts with heavy-tailed pauses between them, as people write, in the month before the beginning and the days after it.
fn conversations(count: u64, cadence: Cadence) -> Vec<Conversation> {
    let uniform = |seed: u64, n: u64| (mix(seed, n) % 1_000_000) as f64 / 1e6;
    let first = begin() - 30 * DAY;
    (0..count)
        .map(|seed| {
            let mut at = uniform(seed, 0) * 33.0 * 86_400.0;
            let messages = (1..=30).map(|number| {
                at += 20.0 * (uniform(seed, number) + 1e-4).powf(-1.5);
                first + Duration::from_secs_f64(at)
            });
            Conversation { messages: messages.collect(), cadence }
        })
        .collect()
}

fn rehearsal(conversations: &[Conversation], requests_per_minute: u32) -> Rehearsal<'_> {
    let rate = NonZeroU32::new(requests_per_minute).unwrap();
    Rehearsal {
        conversations,
        from: begin(),
        until: begin() + 2 * DAY,
        budget: Budget::per_minute(rate, 1),
        rate: Rate { per_second: f64::from(requests_per_minute) / 60.0, is_enforced: true },
        batch_size: 1,
        quiet_hours: None,
        sweeps: None,
        solve_every: Duration::from_secs(600),
    }
}

/// Every look, in order.
fn looks(rehearsal: &Rehearsal<'_>) -> Vec<(UnixMillis, usize)> {
    let mut looks = vec![];
    rehearsal.run(|at, index| looks.push((at, index)));
    looks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_minute_is_over_budget_and_no_conversation_is_asked_too_often_or_forgotten(
        count in 1u64..60, per_minute in 1u32..12, min in 20u64..400, more in 0u64..20_000
    ) {
        let bounds = cadence(Duration::from_secs(min), Duration::from_secs(min + more));
        let conversations = conversations(count, bounds);
        let rehearsal = rehearsal(&conversations, per_minute);
        let mut looks = vec![];
        let rehearsed = rehearsal.run(|at, index| looks.push((at, index)));
        for (n, (at, _)) in looks.iter().enumerate().skip(per_minute as usize) {
            let since = at.since(looks[n - per_minute as usize].0);
            prop_assert!(since >= Duration::from_secs(60) - Duration::from_millis(1), "{since:?}");
        }
        // The queue may hold a look up for a while; where the budget does not hold, all of the others may be before it.
        let times = rehearsed.stretched.map_or(1.15, |times| times * 2.0);
        let longest = bounds.max_interval.mul_f64(times) + Duration::from_secs(120);
        for (index, conversation) in conversations.iter().enumerate() {
            let of_it: Vec<_> = looks.iter().filter(|look| look.1 == index).map(|look| look.0).collect();
            let gaps = of_it.windows(2).map(|pair| pair[1].since(pair[0]));
            for gap in gaps {
                prop_assert!(gap + Duration::from_millis(1) >= bounds.min_interval && gap <= longest, "{gap:?} {longest:?} {index}");
            }
            let since = conversation.messages[0].max(rehearsal.from);
            let last = of_it.last().copied().unwrap_or(since);
            prop_assert!(since > rehearsal.until || rehearsal.until.since(last) <= longest, "forgotten: {index}");
        }
    }

    #[test]
    fn the_same_messages_make_the_same_schedule(count in 1u64..40, per_minute in 1u32..12) {
        let conversations = conversations(count, USUAL);
        prop_assert_eq!(looks(&rehearsal(&conversations, per_minute)), looks(&rehearsal(&conversations, per_minute)));
    }
}

#[test]
fn half_the_budget_costs_minutes_and_every_message_is_found() {
    let conversations = conversations(400, USUAL);
    let means = [1u32, 2, 4].map(|per_minute| {
        let rehearsed = rehearsal(&conversations, per_minute).run(|_, _| {});
        let sent = |c: &Conversation| {
            let known = begin().max(c.messages[0]);
            c.messages.iter().filter(|at| **at > known && **at <= begin() + 2 * DAY).count()
        };
        assert_eq!(rehearsed.outcome.delays.len(), conversations.iter().map(sent).sum::<usize>());
        assert!(rehearsed.requests <= u64::from(per_minute) * (2 * 1_440 + 1));
        assert!(rehearsed.requests >= u64::from(per_minute) * 2 * 1_440 * 95 / 100, "{}", rehearsed.requests);
        rehearsed.outcome.mean()
    });
    assert!(means[0] > means[1] * 1.2 && means[1] > means[2] * 1.2, "{means:?}");
}

#[test]
fn a_day_of_ten_thousand_conversations_spends_the_budget_within_two_in_a_hundred() {
    let conversations = conversations(10_000, USUAL);
    let begin = begin() - 5 * DAY;
    let rehearsal = Rehearsal { from: begin, until: begin + DAY, ..rehearsal(&conversations, 120) };
    let requests = rehearsal.run(|_, _| {}).requests;
    assert!((120 * 1_440 * 98 / 100..=120 * 1_440 + 1).contains(&requests), "{requests}");
}

#[test]
fn what_has_priority_is_heard_sooner_at_the_same_budget() {
    let mut conversations = conversations(300, cadence(USUAL.min_interval, 3 * DAY));
    for (index, conversation) in conversations.iter_mut().enumerate() {
        conversation.cadence.priority = if index % 2 == 0 { Priority::High } else { Priority::Low };
    }
    let mut looks = [0u32; 2];
    rehearsal(&conversations, 2).run(|_, index| looks[index % 2] += 1);
    // Four times the rate, but for what waits at one of its bounds.
    assert!(looks[0] > 2 * looks[1], "{looks:?}");
}

#[test]
fn in_quiet_hours_nothing_is_asked_more_often_than_its_longest_interval_and_the_morning_is_no_rush() {
    let conversations = conversations(200, USUAL);
    let quiet = QuietHours::parse("20:00-08:00 UTC").unwrap();
    let rehearsal = Rehearsal { quiet_hours: Some(&quiet), ..rehearsal(&conversations, 4) };
    let looks = looks(&rehearsal);
    let (evening, morning) = (begin() + 20 * HOUR, begin() + 32 * HOUR);
    for index in 0..conversations.len() {
        let at_night = looks.iter().filter(|(at, of)| *of == index && *at > evening && *at < morning);
        let at_night: Vec<_> = at_night.map(|(at, _)| *at).collect();
        assert!(at_night.windows(2).all(|pair| pair[1].since(pair[0]) >= HOUR * 5), "{index}: {at_night:?}");
    }
    let in_hour = |from: UnixMillis| looks.iter().filter(|(at, _)| *at >= from && *at < from + HOUR).count();
    let (first, later) = (in_hour(morning), in_hour(morning + 4 * HOUR));
    assert!((150..=240).contains(&later), "{later}");
    assert!((100..=240).contains(&first), "{first}");
}

#[test]
fn where_sweeps_tell_what_moved_messages_are_found_at_the_next_one() {
    let conversations = conversations(300, USUAL);
    let sweeps = Sweeps { interval: Duration::from_secs(60), credits: None };
    let swept = Rehearsal { sweeps: Some(sweeps), ..rehearsal(&conversations, 20) };
    let rehearsed = swept.run(|_, _| {});
    // As soon as its shortest interval allows where it was read a moment before.
    assert!(rehearsed.outcome.quantile(0.99) <= 95.0, "{}", rehearsed.outcome.quantile(0.99));
    assert!(rehearsed.requests < 2 * 1_440 + 300 * 10 + rehearsed.outcome.delays.len() as u64);
}

#[test]
fn conversations_that_share_a_request_are_looked_at_for_fewer() {
    let conversations = conversations(300, USUAL);
    let alone = rehearsal(&conversations, 2).run(|_, _| {});
    let together = Rehearsal { batch_size: 20, ..rehearsal(&conversations, 2) }.run(|_, _| {});
    assert!(together.requests <= 2 * 2 * 1_440);
    assert!(together.outcome.polls > 3 * alone.outcome.polls, "{} {}", together.outcome.polls, alone.outcome.polls);
    assert!(together.outcome.mean() < alone.outcome.mean());
}
