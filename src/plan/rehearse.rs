//! The daemon's own timetable, within a budget, in virtual time over messages of the past.
//!
//! Everything that decides when to ask is the code that runs in the daemon; what is left out is what only a provider can tell:
//! how long an answer takes, and what fails. A look takes no time and finds every message since the one before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::simulate::Outcome;
use crate::backoff::mix;
use crate::providers::Call;
use crate::scheduler::{Budget, Cadence, Now, QuietHours, Rate, Slot, Spent, Timetable, sweep_pace};
use crate::time::UnixMillis;

/// A conversation of the past.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// When its messages were sent, in order.
    pub messages: Vec<UnixMillis>,
    /// The bounds of its interval.
    pub cadence: Cadence,
}

/// What is rehearsed.
pub struct Rehearsal<'a> {
    /// Who is followed; each is known from its first message on.
    pub conversations: &'a [Conversation],
    /// When it begins. What is older is known.
    pub from: UnixMillis,
    /// When it ends.
    pub until: UnixMillis,
    /// The requests of a minute.
    pub budget: Budget,
    /// What looks may take of it in the long run: less where answers cost credits.
    pub rate: Rate,
    /// Conversations that may share a request.
    pub batch_size: usize,
    /// When only `max_interval` counts.
    pub quiet_hours: Option<&'a QuietHours>,
    /// The sweeps of the inbox, which tell what moved; `None`: there are none.
    pub sweeps: Option<Sweeps>,
    /// Time between two solutions for the pace; the daemon's is a minute.
    pub solve_every: Duration,
}

/// How the inbox is swept.
#[derive(Clone, Copy, Debug)]
pub struct Sweeps {
    /// Time between two, at least.
    pub interval: Duration,
    /// What they cost, and what a day may cost, where it costs anything.
    pub credits: Option<Credits>,
}

/// What requests cost.
#[derive(Clone, Copy, Debug)]
pub struct Credits {
    /// A look.
    pub page: u32,
    /// A sweep.
    pub listing: u32,
    /// What a day may cost.
    pub daily: u32,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Looks, and how late they found messages.
    pub outcome: Outcome,
    /// Requests: those of looks, which may share one, and of sweeps.
    pub requests: u64,
    /// Those of looks.
    pub looks: u64,
    /// Times by which intervals had to be longer than configured.
    pub stretched: Option<f64>,
}

struct Run<'a> {
    rehearsal: &'a Rehearsal<'a>,
    begin: Instant,
    /// The longest `max_interval` of all.
    longest: Duration,
    timetable: Timetable,
    /// Messages of each conversation that were found.
    found: Vec<usize>,
    /// Conversations that are still to begin.
    coming: BinaryHeap<Reverse<(UnixMillis, usize)>>,
    /// The conversation at each place of the timetable.
    places: Vec<usize>,
    place_of: Vec<Option<usize>>,
    spent: Spent,
    polls: u64,
    delays: Vec<f32>,
    stretched: Option<f64>,
    /// When the day began, and the credits that it has spent.
    day: (Instant, u64),
}

const DAY: Duration = Duration::from_secs(86_400);

impl Rehearsal<'_> {
    /// Runs it. Each look is told to `seen`: the moment, and the conversation by its place in the list.
    pub fn run(&self, seen: impl FnMut(UnixMillis, usize)) -> Rehearsed {
        let mut run = Run::new(self);
        run.go(seen);
        run.find_the_rest();
        run.delays.sort_unstable_by(f32::total_cmp);
        Rehearsed {
            outcome: Outcome { polls: run.polls, delays: run.delays },
            requests: run.spent.requests,
            looks: run.spent.looks,
            stretched: run.stretched,
        }
    }
}

impl<'a> Run<'a> {
    fn new(rehearsal: &'a Rehearsal<'a>) -> Self {
        // Far enough from the beginning of the steady clock for what was looked at before.
        let begin = Instant::now() + Duration::from_secs(400 * 86_400);
        let known = rehearsal.conversations.iter().map(|c| c.messages.partition_point(|at| *at <= rehearsal.from));
        let mut run = Self {
            begin,
            longest: rehearsal.conversations.iter().map(|c| c.cadence.max_interval).max().unwrap_or_default(),
            timetable: Timetable::new(rehearsal.batch_size, vec![]),
            found: known.collect(),
            coming: BinaryHeap::new(),
            places: vec![],
            place_of: vec![None; rehearsal.conversations.len()],
            spent: Spent::default(),
            polls: 0,
            delays: vec![],
            stretched: None,
            day: (begin, 0),
            rehearsal,
        };
        for (index, conversation) in rehearsal.conversations.iter().enumerate() {
            match conversation.messages.first() {
                Some(&first) if first > rehearsal.from => run.coming.push(Reverse((first, index))),
                Some(_) => run.take_up(index, begin),
                None => {}
            }
        }
        run.spread(run.now(begin));
        run
    }

    fn now(&self, at: Instant) -> Now {
        Now { at, clock: self.rehearsal.from + at.duration_since(self.begin) }
    }

    fn at(&self, clock: UnixMillis) -> Instant {
        self.begin + clock.since(self.rehearsal.from)
    }

    fn take_up(&mut self, index: usize, looked_at: Instant) {
        let conversation = &self.rehearsal.conversations[index];
        // What a conversation begins with is how it is known.
        self.found[index] = self.found[index].max(1);
        let last = conversation.messages[..self.found[index]].last().copied();
        let slot = Slot::new(conversation.cadence, mix(index as u64, 1), last, looked_at);
        let slot = slot.swept(self.rehearsal.sweeps.is_some()).looked(looked_at);
        let place = self.timetable.add(slot);
        self.places.push(index);
        self.place_of[index] = Some(place);
    }

    /// As they would lie after a while: each somewhere in its interval.
    fn spread(&mut self, now: Now) {
        self.look_at_the_hour(now);
        self.solve(now);
        for place in 0..self.places.len() {
            let slot = self.timetable.slot(place).clone();
            let interval = slot.next().0.saturating_duration_since(now.at);
            let gone = interval.mul_f64((mix(place as u64, 2) % 1_000) as f64 / 1_000.0);
            self.timetable.replace(place, slot.looked(now.at - gone));
        }
        self.solve(now);
    }

    fn solve(&mut self, now: Now) {
        let told = self.timetable.solve(self.rehearsal.rate, self.spent, now);
        if let Some(times) = told {
            self.stretched = Some(self.stretched.map_or(times, |before| before.max(times)));
        }
    }

    fn look_at_the_hour(&mut self, now: Now) -> bool {
        let is_quiet = self.rehearsal.quiet_hours.is_some_and(|hours| hours.hold(now.clock));
        self.timetable.set_quiet(is_quiet)
    }

    fn go(&mut self, mut seen: impl FnMut(UnixMillis, usize)) {
        let end = self.at(self.rehearsal.until);
        let mut solved_at = self.begin;
        let mut swept_at = self.begin;
        let mut not_before = self.begin;
        loop {
            let solve_at = solved_at + self.rehearsal.solve_every;
            let sweep_at = self.sweep_interval(swept_at).map(|interval| swept_at + interval);
            let begins_at = self.coming.peek().map(|Reverse((at, _))| self.at(*at));
            let looks_at = self.timetable.next(not_before).map(|due| due.max(not_before));
            let next = [sweep_at, begins_at, looks_at].into_iter().flatten().fold(solve_at, Instant::min);
            if next > end {
                return;
            }
            let now = self.now(next);
            if next == solve_at {
                let has_changed = self.look_at_the_hour(now);
                self.solve(now);
                if has_changed {
                    self.timetable.catch_up(now);
                }
                solved_at = next;
            } else if Some(next) == begins_at {
                let Some(Reverse((_, index))) = self.coming.pop() else { return };
                self.take_up(index, next);
            } else if Some(next) == sweep_at {
                swept_at = next;
                match self.rehearsal.budget.take(Call::Listing, next) {
                    Ok(()) => self.sweep(now),
                    Err(at) => swept_at = at - self.sweep_interval(at).unwrap_or_default(),
                }
            } else {
                match self.rehearsal.budget.take(Call::Page, next) {
                    Ok(()) => self.look(now, &mut seen),
                    Err(at) => not_before = at,
                }
            }
        }
    }

    fn sweep_interval(&self, at: Instant) -> Option<Duration> {
        let sweeps = self.rehearsal.sweeps?;
        let (began, spent) = self.day;
        let left = DAY.saturating_sub(at.saturating_duration_since(began));
        let pace = sweeps.credits.map(|credits| sweep_pace(credits.listing, credits.daily, spent, left));
        let interval = sweeps.interval.max(pace.unwrap_or_default());
        Some(if self.timetable.is_quiet() { interval.max(self.longest) } else { interval })
    }

    /// Writes down what a request costs; false when the day has no credits for it.
    fn pay(&mut self, now: Instant, price: impl Fn(&Credits) -> u32) -> bool {
        let Some(credits) = self.rehearsal.sweeps.and_then(|sweeps| sweeps.credits) else { return true };
        while now.duration_since(self.day.0) >= DAY {
            self.day = (self.day.0 + DAY, 0);
        }
        let spent = self.day.1 + u64::from(price(&credits));
        if spent > u64::from(credits.daily) {
            return false;
        }
        self.day.1 = spent;
        true
    }

    fn sweep(&mut self, now: Now) {
        if !self.pay(now.at, |credits| credits.listing) {
            return;
        }
        self.spent.requests += 1;
        for (place, &index) in self.places.iter().enumerate() {
            let next = self.rehearsal.conversations[index].messages.get(self.found[index]);
            if next.is_some_and(|sent| *sent <= now.clock) {
                self.timetable.nudge(place, now.at);
            }
        }
    }

    /// One request: a conversation, and those that share it.
    fn look(&mut self, now: Now, seen: &mut impl FnMut(UnixMillis, usize)) {
        let mut next = self.timetable.take(now.at);
        if let Some(place) = next.filter(|_| !self.pay(now.at, |credits| credits.page)) {
            self.timetable.put_off(place, self.day.0 + DAY);
            self.timetable.end(place);
            next = None;
        }
        if next.is_some() {
            self.spent.requests += 1;
            self.spent.looks += 1;
        }
        let mut shared = 0;
        while let Some(place) = next {
            let index = self.places[place];
            self.timetable.begin(place, now.at);
            self.timetable.end(place);
            self.find(index, now.clock);
            let last = self.rehearsal.conversations[index].messages[..self.found[index]].last().copied();
            self.timetable.looked(place, now.at, last, now);
            self.polls += 1;
            seen(now.clock, index);
            shared += 1;
            next = if shared < self.rehearsal.batch_size { self.timetable.take_to_share(now.at) } else { None };
        }
    }

    fn find(&mut self, index: usize, now: UnixMillis) {
        let messages = &self.rehearsal.conversations[index].messages;
        while let Some(sent) = messages.get(self.found[index]).filter(|sent| **sent <= now) {
            self.delays.push(now.since(*sent).as_secs_f32());
            self.found[index] += 1;
        }
    }

    /// What was sent before the end is found by the look that follows it.
    fn find_the_rest(&mut self) {
        for index in 0..self.found.len() {
            let Some(place) = self.place_of[index] else { continue };
            let due = self.timetable.slot(place).next().0;
            let messages = self.rehearsal.conversations[index].messages[self.found[index]..].iter();
            for sent in messages.filter(|sent| **sent <= self.rehearsal.until) {
                let delay = due.saturating_duration_since(self.begin + sent.since(self.rehearsal.from));
                self.delays.push(delay.as_secs_f32());
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
}
