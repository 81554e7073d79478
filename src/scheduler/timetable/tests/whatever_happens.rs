//! Anything in any order: nobody is lost, and nobody asked too often.

use proptest::prelude::*;

use super::*;

/// What may happen to a conversation, or to all of them.
#[derive(Clone, Copy, Debug)]
enum Event {
    Pass(u32),
    Look(u64),
    Nudge(usize),
    Fail(usize, u32),
    Pause(u32),
    Walk(usize),
    Sleep(u32),
    Quiet(bool),
    SweepsWork(bool),
    Swept(usize),
    Leave(usize),
    Return(usize),
    Clock(i32),
}

const COUNT: usize = 12;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0u32..4_000).prop_map(Event::Pass),
        8 => (0u64..1_000_000).prop_map(Event::Look),
        2 => (0..COUNT).prop_map(Event::Nudge),
        1 => (0..COUNT, 0u32..10_000).prop_map(|(index, wait)| Event::Fail(index, wait)),
        1 => (1u32..4_000).prop_map(Event::Pause),
        1 => (0..COUNT).prop_map(Event::Walk),
        1 => (10u32..100_000).prop_map(Event::Sleep),
        1 => any::<bool>().prop_map(Event::Quiet),
        1 => any::<bool>().prop_map(Event::SweepsWork),
        1 => (0..COUNT).prop_map(Event::Swept),
        1 => (0..COUNT).prop_map(Event::Leave),
        1 => (0..COUNT).prop_map(Event::Return),
        1 => any::<i32>().prop_map(Event::Clock),
    ]
}

proptest! {
    #[test]
    fn nobody_is_lost_or_asked_too_often(events in proptest::collection::vec(event(), 1..120)) {
        let mut now = now();
        let mut timetable = looked(&[HOUR; COUNT], now);
        timetable.solve(per_second(0.01), Spent::default(), now);
        // Looks that ended well; a sleep has lasted too.
        let mut last = [None::<Instant>; COUNT];
        for event in events {
            match event {
                Event::Pass(seconds) => {
                    now = later(now, seconds * SECOND);
                    if timetable.is_stale(now.at) {
                        timetable.solve(per_second(0.01), Spent::default(), now);
                    }
                }
                Event::Look(age) => {
                    if let Some(index) = timetable.take(now.at) {
                        let is_free = timetable.slot(index).next().1 != Why::Walk;
                        if let Some(last) = last[index].replace(now.at).filter(|_| is_free) {
                            let since = now.at.duration_since(last);
                            prop_assert!(since >= BOUNDS.min_interval, "{since:?} {:?}", timetable.slot(index));
                        }
                        look(&mut timetable, index, SECOND * u32::try_from(age).unwrap(), now);
                    }
                }
                Event::Nudge(index) => timetable.nudge(index, now.at),
                Event::Fail(index, wait) => {
                    // Never sooner than the shortest interval, as the loop has it.
                    let wait = wait.max(30);
                    timetable.wait(index, now.at + wait * SECOND, Why::Retry);
                }
                Event::Pause(wait) => {
                    if let Some(index) = timetable.take(now.at) {
                        last[index] = None;
                        timetable.begin(index, now.at);
                        timetable.end(index);
                        timetable.put_off(index, now.at + wait * SECOND);
                        timetable.nudge_waiting(index, now.at);
                    }
                }
                Event::Walk(index) => {
                    last[index] = None;
                    timetable.wait(index, now.at, Why::Walk);
                }
                Event::Sleep(seconds) => {
                    last = [None; COUNT];
                    now.clock = now.clock + seconds * SECOND;
                    timetable.slept(seconds * SECOND, now);
                }
                Event::Quiet(is_quiet) => {
                    if timetable.set_quiet(is_quiet) {
                        timetable.solve(per_second(0.01), Spent::default(), now);
                        timetable.catch_up(now);
                    }
                }
                Event::SweepsWork(work) => {
                    if timetable.set_sweeps_work(work) {
                        timetable.solve(per_second(0.01), Spent::default(), now);
                        timetable.catch_up(now);
                    }
                }
                Event::Swept(index) => timetable.set_swept(index, true),
                Event::Leave(index) => timetable.leave(index),
                Event::Return(index) => {
                    if timetable.slot(index).has_left() {
                        last[index] = None;
                        timetable.replace(index, Slot::new(BOUNDS, index as u64, None, now.at));
                    }
                }
                Event::Clock(seconds) => {
                    let by = SECOND * seconds.unsigned_abs();
                    now.clock = if seconds < 0 { now.clock - by } else { now.clock + by };
                }
            }
        }
        let expected: Vec<_> = (0..COUNT).filter(|&index| timetable.slot(index).waits()).collect();
        let mut found: Vec<_> = std::iter::from_fn(|| timetable.take(now.at + 100_000 * HOUR)).collect();
        found.sort_unstable();
        prop_assert_eq!(found, expected, "everybody who waits has a turn, once");
    }
}
