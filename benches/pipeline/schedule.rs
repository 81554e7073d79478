//! What deciding costs: the timetable and the solver with a hundred thousand conversations, and the simulation behind `plan`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use inboxd::backoff::mix;
use inboxd::plan::{Bounds, Conversation, Policy, Rehearsal, Trace, tuned};
use inboxd::scheduler::{Budget, Cadence, Now, Priority, Rate, Slot, Spent, Timetable};
use inboxd::time::UnixMillis;

use crate::proc;
use crate::table::{Grid, Table};

const CONVERSATIONS: u32 = 100_000;
/// They are looked at this often on average.
const EVERY: u32 = 60;
/// Virtual minutes that are gone through.
const MINUTES: u32 = 30;

const CADENCE: Cadence = Cadence {
    min_interval: Duration::from_secs(20),
    max_interval: Duration::from_secs(6 * 3_600),
    priority: Priority::Normal,
};

pub(crate) fn schedule(table: &mut Table) -> Result<()> {
    let (from, until) = (UnixMillis::now(), UnixMillis::now() + Duration::from_secs(u64::from(MINUTES) * 60));
    // From a minute to a month old, evenly by the logarithm, and a message each that comes now.
    let conversation = |seed: u32| {
        let old = 60.0 * 43_200f64.powf(uniform(seed, 1));
        let coming = Duration::from_secs_f64(uniform(seed, 2) * 60.0 * f64::from(MINUTES));
        Conversation { messages: vec![from - Duration::from_secs_f64(old), from + coming], cadence: CADENCE }
    };
    let conversations: Vec<_> = (0..CONVERSATIONS).map(conversation).collect();
    let per_minute = NonZeroU32::new(CONVERSATIONS * 60 / EVERY).context("a rate")?;
    let rate = Rate { per_second: f64::from(CONVERSATIONS) / f64::from(EVERY), is_enforced: true };

    let now = Now::read();
    let slots = conversations.iter().enumerate().map(|(seed, conversation)| {
        Slot::new(CADENCE, seed as u64, conversation.messages.first().copied(), now.at).looked(now.at)
    });
    let mut timetable = Timetable::new(1, slots.collect());
    timetable.solve(rate, Spent::default(), now);
    // The allocator gives back what other measurements have used, so that resident memory tells nothing here. A place, and an entry
    // each in the heap of what waits and in that of what is due: two moments and a number.
    let bytes = size_of::<Slot>() + size_of::<(Instant, u32)>() + size_of::<(Instant, Instant, u32)>();
    let began = Instant::now();
    for minute in 1..=20u32 {
        let by = Duration::from_secs(60) * minute;
        timetable.solve(rate, Spent::default(), Now { at: now.at + by, clock: now.clock + by });
    }
    let solving = began.elapsed() / 20;

    let before = cpu()?;
    let rehearsed = Rehearsal {
        conversations: &conversations,
        from,
        until,
        budget: Budget::per_minute(per_minute, 1),
        rate,
        batch_size: 1,
        quiet_hours: None,
        sweeps: None,
        solve_every: Duration::from_secs(60),
    }
    .run(|_, _| {});
    let spent = cpu()? - before;
    let looks = rehearsed.looks as f64;

    let before = cpu()?;
    bare(rehearsed.looks);
    let bare = cpu()? - before;

    let mut grid = Grid::new("timetable of 100,000 conversations, one look a minute each, without I/O");
    grid.column(
        "inboxd",
        vec![
            ("share of a core (aim: below 2 %)", format!("{:.2} %", spent / f64::from(MINUTES * 60) * 100.0)),
            ("a look, solving included", format!("{:.0} ns", spent / looks * 1e9)),
            ("solving and retiming all of them, each minute", format!("{:.1} ms", solving.as_secs_f64() * 1e3)),
            ("memory of one in the timetable (aim: at most 1 KiB)", format!("{bytes} B")),
        ],
    );
    grid.column(
        "a heap and an interval",
        vec![
            ("share of a core (aim: below 2 %)", format!("{:.2} %", bare / f64::from(MINUTES * 60) * 100.0)),
            ("a look, solving included", format!("{:.0} ns", bare / looks * 1e9)),
            ("solving and retiming all of them, each minute", "-".into()),
            ("memory of one in the timetable (aim: at most 1 KiB)", "-".into()),
        ],
    );
    table.grid(grid);
    simulate(table)
}

/// The least that decides anything: a heap of moments and a fixed interval, as often.
fn bare(looks: u64) {
    let mut queue: BinaryHeap<_> = (0..CONVERSATIONS).map(|n| Reverse((u64::from(n), n))).collect();
    for _ in 0..looks {
        if let Some(Reverse((at, n))) = queue.pop() {
            queue.push(Reverse((at + u64::from(CONVERSATIONS), n)));
        }
    }
    std::hint::black_box(queue);
}

/// As many messages, conversations and looks as the trace has that the schedule was measured on.
fn simulate(table: &mut Table) -> Result<()> {
    const LOOKS: u64 = 11_200_000;
    let conversation = |seed: u32| {
        let mut at = uniform(seed, 0) * 193.0 * 86_400.0;
        let messages = 1 + (3.3 * 0.5 * uniform(seed, 1).max(1e-3).powf(-0.5)) as u32;
        (0..messages.min(90))
            .map(|number| {
                at += 20.0 * (uniform(seed, 2 + u64::from(number)) + 1e-4).powf(-1.5);
                at
            })
            .collect::<Vec<_>>()
    };
    let trace = Trace::new((0..13_838).map(conversation)).until(200.0 * 86_400.0);
    let bounds = Bounds { min: 60.0, max: 86_400.0 };
    let began = Instant::now();
    let outcome = tuned(&trace, Policy::Sqrt, bounds, LOOKS).context("no rule takes so many looks")?;
    let took = began.elapsed().as_secs_f64();
    let mut grid = Grid::new("plan --trace, generated bursts");
    grid.column(
        "inboxd",
        vec![
            ("messages", trace.messages().to_string()),
            ("looks", outcome.polls.to_string()),
            ("tuned to them, all tries (aim: below 60 s)", format!("{took:.1} s")),
        ],
    );
    table.grid(grid);
    Ok(())
}

fn cpu() -> Result<f64> {
    proc::cpu_seconds(std::process::id()).context("no /proc")
}

fn uniform(seed: u32, number: u64) -> f64 {
    (mix(u64::from(seed), number) % 1_000_000) as f64 / 1e6
}
