//! The timetable, with the time passed in.

use super::*;
use crate::scheduler::Priority;

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
fn a_nudge_puts_nothing_off() {
    let now = now();
    let mut timetable = looked(&[HOUR], now);
    timetable.begin(0, now.at);
    timetable.end(0);
    timetable.wait(0, now.at + SECOND, Why::Walk);
    timetable.nudge(0, now.at);
    assert_eq!((due_in(&timetable, 0, now), why(&timetable, 0)), (SECOND, Why::Walk));
}

#[test]
fn a_walk_that_goes_on_lets_others_go_first_for_a_while_and_not_for_ever() {
    let start = now();
    let mut timetable = looked(&[HOUR; 50], start);
    timetable.wait(0, start.at, Why::Walk);
    for index in 1..50 {
        timetable.wait(index, start.at + SECOND, Why::Retry);
    }
    let turns: Vec<_> = std::iter::from_fn(|| timetable.take(start.at + SECOND)).collect();
    assert_eq!((turns.len(), turns[49]), (50, 0), "{turns:?}");
    let mut timetable = looked(&[HOUR; 2], start);
    timetable.wait(0, start.at, Why::Walk);
    timetable.wait(1, start.at + 11 * SECOND, Why::Retry);
    assert_eq!(timetable.take(start.at + 11 * SECOND), Some(0));
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
    let taken = |at: &dyn Fn(Instant, Duration) -> Instant, age| {
        let mut timetable = Timetable::new(20, vec![slot(0, 900 * HOUR, 6 * HOUR), slot(1, age, Duration::ZERO)]);
        timetable.solve(per_second(6e-4), Spent::default(), now);
        let due = timetable.slot(1).next().0;
        let at = at(due, due - now.at);
        assert_eq!(timetable.take(at), Some(0));
        timetable.take_to_share(at)
    };
    assert_eq!(taken(&|due, interval| due - interval / 20, 24 * HOUR), Some(1));
    assert_eq!(taken(&|due, interval| due - interval / 5, 24 * HOUR), None, "not so soon");
    assert_eq!(taken(&|due, _| due - Duration::from_millis(1), 24 * HOUR), Some(1));
    assert_eq!(taken(&|_, _| now.at + 29 * SECOND, SECOND), None, "at its shortest interval");
}

#[test]
fn what_was_missed_is_spread_over_time_what_is_young_first_and_nothing_twice() {
    let now = now();
    let ages: Vec<_> = (1..=1_000u32).rev().map(|hours| HOUR * hours).collect();
    let slots = ages.iter().enumerate().map(|(seed, age)| {
        Slot::new(BOUNDS, seed as u64, Some(now.clock - *age), now.at).waiting(now.at, Why::CatchUp)
    });
    let mut timetable = Timetable::new(1, slots.collect());
    timetable.solve(per_second(1.0), Spent::default(), now);
    timetable.catch_up(1.0, now);
    let at_once = (0..1_000).filter(|&index| due_in(&timetable, index, now) < 10 * SECOND).count();
    assert!(at_once <= 6, "{at_once} in ten seconds, which hold ten");
    assert!(due_in(&timetable, 999, now) < 120 * SECOND, "the youngest");
    assert!(due_in(&timetable, 0, now) > 1_000 * SECOND, "the oldest");
    assert!(
        (0..1_000)
            .all(|index| due_in(&timetable, index, now) <= 2_100 * SECOND && why(&timetable, index) == Why::CatchUp)
    );
}

#[test]
fn a_handful_that_is_overdue_is_looked_at_at_once() {
    let now = now();
    let slot = |seed| Slot::new(BOUNDS, seed, None, now.at);
    let mut timetable = Timetable::new(1, (0..20).map(slot).collect());
    timetable.catch_up(1.0, now);
    assert!((0..20).all(|index| due_in(&timetable, index, now) == Duration::ZERO));
}

#[test]
fn a_machine_that_slept_for_a_night_catches_up_and_a_clock_that_went_back_changes_nothing() {
    let start = now();
    let mut timetable = looked(&[100 * HOUR; 600], start);
    timetable.solve(per_second(0.1), Spent::default(), start);
    let waits: Vec<_> = (0..600).map(|index| due_in(&timetable, index, start)).collect();
    // The steady clock has stood still.
    let awake = Now { clock: start.clock + 8 * HOUR, ..start };
    timetable.jumped(8 * HOUR, 0.1, awake);
    let soon = (0..600).filter(|&index| due_in(&timetable, index, awake) <= HOUR).count();
    assert!((170..=190).contains(&soon), "half of the budget of an hour: {soon}");
    let mut waiting = looked(&[100 * HOUR], start);
    waiting.wait(0, start.at + HOUR, Why::ProviderWait);
    waiting.jumped(8 * HOUR, 0.1, awake);
    assert_eq!((due_in(&waiting, 0, awake), why(&waiting, 0)), (HOUR, Why::ProviderWait), "the provider has not slept");
    assert!(waits.iter().all(|wait| *wait > HOUR));
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
    timetable.set_sweeps_work(false, 1.0, now);
    assert_eq!((due_in(&timetable, 0, now), why(&timetable, 0)), (Duration::ZERO, Why::Age));
    timetable.set_sweeps_work(true, 1.0, now);
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
    timetable.set_quiet(true, 1.0, now);
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
