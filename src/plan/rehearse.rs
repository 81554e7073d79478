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
        let mut last = self.begin;
        loop {
            let solve_at = solved_at + self.rehearsal.solve_every;
            let sweep_at = self.sweep_interval(swept_at).map(|interval| swept_at + interval);
            let begins_at = self.coming.peek().map(|Reverse((at, _))| self.at(*at));
            let looks_at = self.timetable.next(not_before).map(|due| due.max(not_before));
            let first = [sweep_at, begins_at, looks_at].into_iter().flatten().fold(solve_at, Instant::min);
            // What has become due by a change of the hour is late.
            let next = first.max(last);
            if next > end {
                return;
            }
            last = next;
            let now = self.now(next);
            if first == solve_at {
                let has_changed = self.look_at_the_hour(now);
                self.solve(now);
                if has_changed {
                    self.timetable.catch_up(now);
                }
                solved_at = next;
            } else if Some(first) == begins_at {
                let Some(Reverse((_, index))) = self.coming.pop() else { return };
                self.take_up(index, next);
            } else if Some(first) == sweep_at {
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
mod tests;
