//! The timetable, with the time passed in.

use super::*;
use crate::scheduler::Priority;

mod whatever_happens;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const BOUNDS: Cadence = Cadence {
    min_interval: Duration::from_secs(30),
    max_interval: Duration::from_secs(6 * 3_600),
    priority: Priority::Normal,
};

fn now() -> Now {
    Now { at: Instant::now() + 1_000 * HOUR, clock: UnixMillis::parse("2026-11-21T12:00:00Z").unwrap() }
}

fn later(now: Now, by: Duration) -> Now {
    Now { at: now.at + by, clock: now.clock + by }
}

fn per_second(per_second: f64) -> Rate {
    Rate { per_second, is_enforced: true }
}

/// Conversations of these ages, all looked at just now.
fn looked(ages: &[Duration], now: Now) -> Timetable {
    let slot =
        |(seed, age): (usize, &Duration)| Slot::new(BOUNDS, seed as u64, Some(now.clock - *age), now.at).looked(now.at);
    Timetable::new(1, ages.iter().enumerate().map(slot).collect())
}

fn due_in(timetable: &Timetable, index: usize, now: Now) -> Duration {
    timetable.slot(index).next().0.saturating_duration_since(now.at)
}

fn why(timetable: &Timetable, index: usize) -> Why {
    timetable.slot(index).next().1
}

/// A look, all of it in a moment.
fn look(timetable: &mut Timetable, index: usize, age: Duration, now: Now) {
    timetable.begin(index, now.at);
    timetable.end(index);
    timetable.looked(index, now.at, Some(now.clock - age), now);
    timetable.nudge_waiting(index, now.at);
}

#[test]
fn nudges_come_first_and_count_once_and_never_more_often_than_the_shortest_interval() {
    let now = now();
    let mut timetable = looked(&[HOUR; 4], now);
    timetable.solve(per_second(1e-3), Spent::default(), now);
    let now = later(now, 60 * SECOND);
    for _ in 0..5 {
        timetable.nudge(2, now.at);
    }
    assert_eq!(why(&timetable, 2), Why::Nudge);
    assert_eq!((timetable.take(now.at), timetable.take(now.at)), (Some(2), None));
    timetable.nudge(2, now.at);
    assert_eq!(timetable.take(now.at), None, "it is being looked at");
    look(&mut timetable, 2, HOUR, now);
    assert_eq!((timetable.take(now.at), due_in(&timetable, 2, now)), (None, 30 * SECOND), "once more, and not at once");
    assert_eq!(why(&timetable, 2), Why::Nudge);
    assert_eq!(timetable.take(now.at + 30 * SECOND), Some(2));
}

#[test]
fn a_nudge_outlives_a_rewind_that_comes_before_its_look() {
    let now = now();
    let mut timetable = looked(&[HOUR], now);
    let now = later(now, HOUR);
    timetable.nudge(0, now.at);
    timetable.occupy(0);
    assert_eq!(timetable.take(now.at), None);
    timetable.wait(0, now.at + HOUR, Why::Retry);
    timetable.end(0);
    timetable.nudge_waiting(0, now.at);
    assert_eq!(timetable.take(now.at), Some(0));
}

#[test]
fn a_nudge_puts_nothing_off() {
    let now = now();
    let mut timetable = looked(&[HOUR], now);
    timetable.begin(0, now.at);
    timetable.end(0);
    timetable.wait(0, now.at + SECOND, Why::Walk);
    timetable.nudge(0, now.at);
    assert_eq!((due_in(&timetable, 0, now), why(&timetable, 0)), (SECOND, Why::Walk));
}

/// A look a second for so long at conversations of which some are walks that never end. Returns the longest time between two looks
/// at any of the others, and how often a walk had its turn.
fn beside_walks(live: usize, walks: usize, seconds: u32) -> (Duration, u32) {
    let start = now();
    let mut timetable = looked(&vec![HOUR; live + walks], start);
    (live..live + walks).for_each(|walk| timetable.wait(walk, start.at, Why::Walk));
    let (mut last, mut longest, mut turns) = (vec![start.at; live], Duration::ZERO, 0);
    let mut spent = Spent::default();
    for second in 1..=seconds {
        let now = later(start, second * SECOND);
        if second % 60 == 1 {
            timetable.solve(per_second(1.0), spent, now);
        }
        let Some(index) = timetable.take(now.at) else { continue };
        (spent.requests, spent.looks) = (spent.requests + 1, spent.looks + u64::from(index < live));
        if index < live {
            longest = longest.max(now.at.duration_since(last[index]));
            last[index] = now.at;
            look(&mut timetable, index, HOUR, now);
        } else {
            turns += 1;
            timetable.begin(index, now.at);
            timetable.end(index);
            timetable.wait(index, now.at, Why::Walk);
        }
    }
    (longest, turns)
}

#[test]
fn however_many_walks_there_are_they_take_a_quarter_of_what_is_asked_for_and_no_more() {
    let (alone, _) = beside_walks(20, 0, 3_600);
    assert!(alone <= 60 * SECOND, "{alone:?}");
    for walks in [1, 30, 200] {
        let (longest, turns) = beside_walks(20, walks, 3_600);
        assert!(longest <= 3 * alone, "{longest:?} beside {walks} walks");
        assert!(turns >= 900, "{turns} turns of {walks} walks");
    }
    let (longest, turns) = beside_walks(200, 200, 7_200);
    assert!(turns >= 1_700, "a quarter also where there is no room to spare: {turns}");
    assert!(longest <= 800 * SECOND, "{longest:?}");
}

#[test]
fn requests_that_are_shared_are_full_and_leave_first_polls_their_turns() {
    const LIVE: usize = 2_000;
    let start = now();
    let mut timetable = Timetable::new(
        20,
        (0..LIVE + 50)
            .map(|seed| {
                let slot = Slot::new(BOUNDS, seed as u64, Some(start.clock - HOUR), start.at);
                if seed < LIVE { slot.looked(start.at - 7 * HOUR) } else { slot }
            })
            .collect(),
    );
    let (mut requests, mut looks, mut first_polls) = (0u32, 0u32, 0u32);
    for second in 0..600u32 {
        let now = later(start, second * SECOND);
        if second % 60 == 0 {
            let spent = Spent { requests: u64::from(requests), looks: u64::from(requests) };
            timetable.solve(per_second(1.0), spent, now);
        }
        let Some(first) = timetable.take(now.at) else { continue };
        requests += 1;
        if first >= LIVE && why(&timetable, first) == Why::FirstPoll {
            first_polls += 1;
        }
        let mut batch = vec![first];
        while first < LIVE && batch.len() < 20 {
            let Some(next) = timetable.take_to_share(now.at) else { break };
            if why(&timetable, next) == Why::FirstPoll {
                // As the loop does with whatever cannot share.
                timetable.put_back(next);
                break;
            }
            batch.push(next);
        }
        looks += u32::try_from(batch.len()).unwrap();
        batch.into_iter().for_each(|index| look(&mut timetable, index, HOUR, now));
    }
    assert_eq!(first_polls, 50);
    assert!(looks > requests * 13, "{looks} in {requests}");
}

#[test]
fn a_walk_through_what_is_new_goes_on_before_histories() {
    let now = now();
    let mut timetable = looked(&[HOUR; 10], now);
    (0..9).for_each(|index| timetable.go_on(index, now.at, true));
    timetable.go_on(9, now.at, false);
    assert_eq!(timetable.take(now.at), Some(9));
}

#[test]
fn a_flood_of_nudges_leaves_every_fifth_turn_to_what_is_due() {
    let start = now();
    let mut timetable = looked(&[HOUR; 60], start);
    timetable.solve(per_second(1.0), Spent::default(), start);
    let mut turns = vec![];
    for second in 0..300u32 {
        let now = later(start, HOUR * 7 + second * SECOND);
        (0..50).for_each(|index| timetable.nudge(index, now.at));
        let taken = timetable.take(now.at).unwrap();
        look(&mut timetable, taken, HOUR, now);
        turns.push(taken);
    }
    let ordinary: std::collections::BTreeSet<_> = turns[..80].iter().filter(|index| **index >= 50).collect();
    assert_eq!(ordinary.len(), 10, "each of the ten that nobody nudges: {turns:?}");
}

#[test]
fn an_own_reply_is_activity_like_any_message() {
    let now = now();
    let mut timetable = looked(&[24 * HOUR, 24 * HOUR], now);
    timetable.solve(per_second(1e-4), Spent::default(), now);
    let before = due_in(&timetable, 0, now);
    look(&mut timetable, 0, SECOND, now);
    assert!(due_in(&timetable, 0, now) * 20 < before, "{before:?}");
}

#[test]
fn of_what_is_due_the_one_goes_first_that_can_wait_least() {
    let now = now();
    let slot = |seed, age: Duration, ago: Duration| {
        Slot::new(BOUNDS, seed, Some(now.clock - ago - age), now.at).looked(now.at - ago)
    };
    // Intervals of about an hour, a minute and a half, and six hours, in the order in which they became due.
    let slots = vec![
        slot(0, 21 * HOUR, 4_000 * SECOND),
        slot(1, 60 * SECOND, 110 * SECOND),
        slot(2, 900 * HOUR, 6 * HOUR + SECOND),
    ];
    let mut timetable = Timetable::new(1, slots);
    timetable.solve(per_second(0.01), Spent::default(), now);
    assert!((0..3).all(|index| timetable.slot(index).next().0 <= now.at));
    let turns: Vec<_> = std::iter::from_fn(|| timetable.take(now.at)).collect();
    assert_eq!(turns, [2, 1, 0], "max_interval is a promise, and an hour can stretch by a minute");
}

#[test]
fn a_request_is_shared_with_what_will_soon_be_due_and_never_sooner_than_the_shortest_interval() {
    let now = now();
    let slot = |seed, age: Duration, ago: Duration| {
        Slot::new(BOUNDS, seed, Some(now.clock - ago - age), now.at).looked(now.at - ago)
    };
    let taken = |at: &dyn Fn(Instant, Duration) -> Instant, age, rate| {
        let mut timetable = Timetable::new(20, vec![slot(0, 900 * HOUR, 6 * HOUR), slot(1, age, Duration::ZERO)]);
        timetable.solve(per_second(rate), Spent::default(), now);
        let due = timetable.slot(1).next().0;
        let at = at(due, due - now.at);
        assert_eq!(timetable.take(at), Some(0));
        timetable.take_to_share(at)
    };
    assert_eq!(taken(&|due, interval| due - interval / 20, 24 * HOUR, 6e-4), Some(1));
    assert_eq!(taken(&|due, interval| due - interval / 5, 24 * HOUR, 6e-4), None, "not so soon");
    assert_eq!(taken(&|due, _| due - Duration::from_millis(1), 24 * HOUR, 6e-4), Some(1));
    assert_eq!(taken(&|_, _| now.at + 29 * SECOND, SECOND, 1.0), None, "at its shortest interval");
}

#[test]
fn what_was_missed_is_looked_at_once_what_is_young_first_beside_what_becomes_due() {
    let start = now();
    let ages: Vec<_> = (1..=1_000u32).rev().map(|hours| HOUR * hours).collect();
    let slots = ages.iter().enumerate().map(|(seed, age)| {
        let slot = Slot::new(BOUNDS, seed as u64, Some(start.clock - *age), start.at);
        slot.looked(start.at - 24 * HOUR)
    });
    let mut timetable = Timetable::new(1, slots.collect());
    timetable.solve(per_second(1.0), Spent::default(), start);
    timetable.catch_up(start);
    assert!((0..1_000).all(|index| why(&timetable, index) == Why::CatchUp));
    let (mut caught_up, mut turns) = (std::collections::BTreeSet::new(), vec![]);
    for second in 0..2_000u32 {
        let now = later(start, second * SECOND);
        let Some(index) = timetable.take(now.at) else { continue };
        if caught_up.insert(index) {
            turns.push(index);
        }
        look(&mut timetable, index, ages[index], now);
    }
    assert_eq!(turns.len(), 1_000, "all of them, in half an hour");
    let mean = |turns: &[usize]| turns.iter().sum::<usize>() / turns.len();
    assert!(mean(&turns[..100]) > 930 && mean(&turns[900..]) < 70, "young first: {turns:?}");
}

#[test]
fn when_quiet_hours_end_what_is_young_goes_first_and_what_is_not_due_waits() {
    let start = now();
    let ages: Vec<_> = (0..2_000).map(|n| SECOND * 60 * (n + 1)).collect();
    let mut timetable = looked(&ages, start);
    timetable.set_quiet(true);
    timetable.solve(per_second(1.0), Spent::default(), start);
    let now = later(start, HOUR / 2);
    assert!(timetable.set_quiet(false) && !timetable.set_quiet(false));
    timetable.solve(per_second(1.0), Spent::default(), now);
    timetable.catch_up(now);
    let missed = (0..2_000).filter(|&index| why(&timetable, index) == Why::CatchUp).count();
    assert!((200..1_500).contains(&missed), "those whose interval has gone by: {missed}");
    let first: Vec<_> = std::iter::from_fn(|| timetable.take(now.at)).take(50).collect();
    assert!(first.iter().all(|index| *index < 60), "{first:?}");
}

#[test]
fn a_machine_that_slept_for_a_night_catches_up_and_a_clock_that_was_set_changes_nothing() {
    let start = now();
    let mut timetable = looked(&[100 * HOUR; 600], start);
    timetable.solve(per_second(0.1), Spent::default(), start);
    let waits: Vec<_> = (0..600).map(|index| due_in(&timetable, index, start)).collect();
    // The steady clock has stood still.
    let awake = Now { clock: start.clock + 8 * HOUR, ..start };
    assert!(waits.iter().all(|wait| *wait > HOUR));
    timetable.slept(8 * HOUR, awake);
    let turns: Vec<_> = std::iter::from_fn(|| timetable.take(awake.at)).collect();
    let missed = waits.iter().filter(|wait| **wait <= 8 * HOUR).count();
    assert_eq!((turns.len(), missed), (600, 600), "each once");
    let mut waiting = looked(&[100 * HOUR], start);
    waiting.wait(0, start.at + HOUR, Why::ProviderWait);
    waiting.slept(8 * HOUR, awake);
    assert_eq!((due_in(&waiting, 0, awake), why(&waiting, 0)), (HOUR, Why::ProviderWait), "the provider has not slept");
    let mut one = looked(&[HOUR], start);
    one.solve(per_second(1.0), Spent::default(), start);
    one.slept(SECOND, awake);
    assert_eq!(one.take(awake.at + 31 * SECOND), Some(0), "it is found although it became due sooner");
    // Set back by a year: ages are nothing, and nobody waits for a year.
    let mut timetable = looked(&[100 * HOUR; 600], start);
    let back = Now { clock: start.clock - 8_760 * HOUR, ..start };
    timetable.solve(per_second(0.1), Spent::default(), back);
    assert!((0..600).all(|index| due_in(&timetable, index, back) <= BOUNDS.max_interval * 2));
    let seconds: Vec<_> = (0..600).map(|index| due_in(&timetable, index, back)).collect();
    let in_an_hour = seconds.iter().filter(|wait| **wait <= HOUR).count();
    assert!(in_an_hour <= 400, "no storm: {in_an_hour}");
}

#[test]
fn what_sweeps_show_is_only_proved_and_looks_for_itself_when_they_fail() {
    let now = now();
    let mut timetable = looked(&[60 * SECOND; 3], now);
    timetable.set_swept(0, true);
    timetable.solve(per_second(1.0), Spent::default(), now);
    assert!(due_in(&timetable, 0, now) >= 5 * HOUR && why(&timetable, 0) == Why::Proof);
    assert!(due_in(&timetable, 1, now) <= 32 * SECOND && why(&timetable, 1) == Why::Age);
    let now = later(now, HOUR);
    assert!(timetable.set_sweeps_work(false));
    timetable.solve(per_second(1.0), Spent::default(), now);
    assert_eq!((due_in(&timetable, 0, now), why(&timetable, 0)), (Duration::ZERO, Why::Age));
    assert!(timetable.set_sweeps_work(true));
    timetable.solve(per_second(1.0), Spent::default(), now);
    assert_eq!(why(&timetable, 0), Why::Proof);
}

#[test]
fn every_wait_has_its_reason() {
    let now = now();
    let mut timetable = looked(&[HOUR; 10], now);
    timetable.solve(per_second(1e-9), Spent::default(), now);
    assert_eq!(why(&timetable, 0), Why::Budget, "its interval had to be longer than configured");
    timetable.solve(per_second(1.0), Spent::default(), later(now, 61 * SECOND));
    timetable.solve(per_second(1.0), Spent::default(), later(now, 122 * SECOND));
    assert_eq!(why(&timetable, 0), Why::Age);
    timetable.set_quiet(true);
    timetable.solve(per_second(1.0), Spent::default(), later(now, 130 * SECOND));
    assert_eq!(why(&timetable, 0), Why::QuietHours);
    timetable.wait(0, now.at + HOUR, Why::ProviderWait);
    timetable.solve(per_second(1.0), Spent::default(), later(now, 183 * SECOND));
    assert_eq!((why(&timetable, 0), due_in(&timetable, 0, now)), (Why::ProviderWait, HOUR), "no pace moves it");
    assert_eq!(why(&Timetable::new(1, vec![Slot::new(BOUNDS, 1, None, now.at)]), 0), Why::FirstPoll);
}

#[test]
fn who_has_left_is_not_looked_at_and_whoever_comes_back_is_once() {
    let now = now();
    let mut timetable = looked(&[HOUR; 2], now);
    timetable.leave(0);
    timetable.nudge(0, later(now, HOUR).at);
    let taken =
        |timetable: &mut Timetable| std::iter::from_fn(|| timetable.take(now.at + 24 * HOUR)).collect::<Vec<_>>();
    assert_eq!(taken(&mut timetable), [1]);
    timetable.replace(0, Slot::new(BOUNDS, 0, None, now.at));
    assert_eq!(taken(&mut timetable), [0]);
    // What is under way for it was begun before it left.
    timetable.replace(0, Slot::new(BOUNDS, 0, None, now.at));
    assert!(taken(&mut timetable).is_empty());
    timetable.end(0);
    timetable.nudge_waiting(0, now.at);
    assert_eq!(taken(&mut timetable), [0]);
}

#[test]
fn a_look_that_was_not_to_be_made_is_made_when_the_pause_is_over() {
    let start = now();
    for nudged in [false, true] {
        let mut timetable = looked(&[HOUR; 2], start);
        timetable.solve(per_second(1e-3), Spent::default(), start);
        let now = later(start, 10 * HOUR);
        if nudged {
            timetable.nudge(0, now.at);
        }
        assert_eq!(timetable.take(now.at), Some(0), "the first of two equals");
        timetable.begin(0, now.at);
        timetable.end(0);
        timetable.put_off(0, now.at + 60 * SECOND);
        timetable.solve(per_second(1e-3), Spent::default(), later(now, 30 * SECOND));
        let waits_for = if nudged { Why::Nudge } else { Why::ProviderWait };
        assert_eq!((due_in(&timetable, 0, now), why(&timetable, 0)), (60 * SECOND, waits_for));
    }
}

#[test]
fn whoever_is_taken_up_again_waits_for_the_end_of_its_interval() {
    let now = now();
    let mut timetable = looked(&[HOUR; 2], now);
    timetable.solve(per_second(1.0), Spent::default(), now);
    timetable.leave(0);
    timetable.replace(0, Slot::new(BOUNDS, 0, Some(now.clock), now.at).looked(now.at));
    assert!(due_in(&timetable, 0, now) >= 30 * SECOND);
    let added = timetable.add(Slot::new(BOUNDS, 7, Some(now.clock), now.at).looked(now.at));
    assert!(due_in(&timetable, added, now) >= 30 * SECOND);
}
