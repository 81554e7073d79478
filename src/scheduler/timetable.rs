//! When each conversation of an account is looked at next. Pure: what time it is, is passed in.
//!
//! A conversation waits for the interval that the pace of its account gives it, or for a moment that something else has set: a
//! failure, a walk that goes on, a nudge. The daemon asks by it, and `inboxd plan` runs it through messages of the past.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::due::{Cadence, Rhythm, age};
use super::pace::Ages;
use super::pacing::{Pacing, Rate, Spent};
use super::slot::{Now, Slot, Why};
use crate::time::UnixMillis;

/// Urgent looks in a row, after which whatever is merely due has a turn: no flood of nudges keeps the others from being
/// proved.
const URGENT_RUN: u32 = 4;

/// Looks in a row at what is due now, after which what is done beside it has a turn: first polls, long walks, and what was missed.
const LIVE_RUN: u32 = 3;

/// The conversations of an account, each by its place.
pub struct Timetable {
    slots: Vec<Slot>,
    /// What waits, by when it is due. Also holds what has been overtaken since; it is dropped when its turn comes.
    queue: BinaryHeap<Reverse<(Instant, u32)>>,
    /// What is due, by its deadline, with the moment it became due.
    ready: BinaryHeap<Reverse<(Instant, Instant, u32)>>,
    /// First polls, and what is read of histories: done beside that, each in the order in which it became due, and in turn.
    beside: [BinaryHeap<Reverse<(Instant, u32)>>; 2],
    beside_turn: usize,
    live_run: u32,
    urgent: VecDeque<u32>,
    urgent_run: u32,
    pacing: Pacing,
    is_quiet: bool,
    sweeps_work: bool,
    /// When it was last solved.
    seen: Option<Now>,
}

impl Timetable {
    /// For an account of which so many conversations may share a request.
    pub fn new(batch_size: usize, slots: Vec<Slot>) -> Self {
        let mut timetable = Self {
            slots,
            queue: BinaryHeap::new(),
            ready: BinaryHeap::new(),
            beside: Default::default(),
            beside_turn: 0,
            live_run: 0,
            urgent: VecDeque::new(),
            urgent_run: 0,
            pacing: Pacing::new(batch_size),
            is_quiet: false,
            sweeps_work: true,
            seen: None,
        };
        timetable.rebuild();
        timetable
    }

    /// The conversation at a place.
    pub fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// Adds a conversation and returns its place.
    pub fn add(&mut self, slot: Slot) -> usize {
        self.slots.push(slot);
        let index = self.slots.len() - 1;
        self.take_up(index);
        index
    }

    /// Takes up a conversation again that has left. What is under way for it goes on, and it is looked at once more after that.
    pub fn replace(&mut self, index: usize, slot: Slot) {
        let is_busy = self.slots[index].is_busy;
        self.slots[index] = Slot { is_busy, again: is_busy, ..slot };
        self.take_up(index);
    }

    fn take_up(&mut self, index: usize) {
        let slot = &self.slots[index];
        if let (true, Some(looked_at), Some(seen)) = (slot.paced, slot.looked_at, self.seen) {
            let (interval, why) = self.interval(index, seen.clock_at(looked_at));
            self.set(index, looked_at + interval, why);
        } else {
            self.enqueue(index);
        }
    }

    /// Nobody follows it any more.
    pub fn leave(&mut self, index: usize) {
        self.slots[index].has_left = true;
    }

    /// When something is due next; `None` when nothing waits.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let beside = self.beside.iter().any(|kind| !kind.is_empty());
        let is_now = !self.urgent.is_empty() || !self.ready.is_empty() || beside;
        if is_now { Some(now) } else { self.queue.peek().map(|Reverse((at, _))| *at) }
    }

    /// When something becomes due that is not due yet.
    pub fn next_to_become_due(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes whatever is to be looked at first, what was nudged before what is merely due; it is busy from now on.
    pub fn take(&mut self, now: Instant) -> Option<usize> {
        if self.urgent_run >= URGENT_RUN
            && let Some(due) = self.take_due(now)
        {
            self.urgent_run = 0;
            return Some(due);
        }
        match self.take_urgent() {
            Some(urgent) => {
                self.urgent_run = self.urgent_run.saturating_add(1);
                Some(urgent)
            }
            None => {
                self.urgent_run = 0;
                self.take_due(now)
            }
        }
    }

    /// Takes what may share a request that is made now: whatever is due, or will be within a tenth of its interval.
    pub fn take_to_share(&mut self, now: Instant) -> Option<usize> {
        self.sort_due(now);
        self.take_live().or_else(|| {
            while let Some(&Reverse((due, place))) = self.queue.peek() {
                let slot = &mut self.slots[place as usize];
                let is_stale = slot.due != due || !slot.waits();
                if !is_stale && slot.earliest() > now {
                    return None;
                }
                self.queue.pop();
                if slot.is_taken(due) {
                    return Some(place as usize);
                }
            }
            None
        })
    }

    /// Whether anything waits for its turn.
    pub fn has_due(&mut self, now: Instant) -> bool {
        self.sort_due(now);
        !self.urgent.is_empty() || !self.ready.is_empty() || self.beside.iter().any(|kind| !kind.is_empty())
    }

    /// Takes what is due.
    fn take_due(&mut self, now: Instant) -> Option<usize> {
        self.sort_due(now);
        if self.live_run < LIVE_RUN
            && let Some(live) = self.take_live()
        {
            self.live_run += 1;
            return Some(live);
        }
        self.live_run = 0;
        self.take_beside().or_else(|| self.take_live())
    }

    fn sort_due(&mut self, now: Instant) {
        while let Some(&Reverse((due, place))) = self.queue.peek().filter(|Reverse((due, _))| *due <= now) {
            self.queue.pop();
            let index = place as usize;
            let slot = &self.slots[index];
            if slot.due != due || !slot.waits() {
                continue;
            }
            match slot.beside() {
                Some(kind) => self.beside[kind].push(Reverse((due, place))),
                None => self.ready.push(Reverse((self.deadline(index), due, place))),
            }
        }
    }

    /// What was missed is as good as due now: what is young can wait least.
    fn deadline(&self, index: usize) -> Instant {
        let slot = &self.slots[index];
        match self.seen {
            Some(seen) if matches!(slot.why, Why::CatchUp | Why::Budget) && !slot.paced => {
                slot.due + self.interval(index, seen.clock).0
            }
            _ => slot.deadline(self.pacing.feasible(slot.cadence).max_interval),
        }
    }

    fn take_live(&mut self) -> Option<usize> {
        while let Some(Reverse((_, due, place))) = self.ready.pop() {
            if self.slots[place as usize].is_taken(due) {
                return Some(place as usize);
            }
        }
        None
    }

    fn take_beside(&mut self) -> Option<usize> {
        for _ in 0..self.beside.len() {
            self.beside_turn = (self.beside_turn + 1) % self.beside.len();
            while let Some(Reverse((due, place))) = self.beside[self.beside_turn].pop() {
                if self.slots[place as usize].is_taken(due) {
                    return Some(place as usize);
                }
            }
        }
        None
    }

    fn take_urgent(&mut self) -> Option<usize> {
        while let Some(place) = self.urgent.pop_front() {
            let slot = &mut self.slots[place as usize];
            if std::mem::take(&mut slot.is_urgent) {
                if slot.waits() {
                    (slot.is_busy, slot.was_nudged) = (true, true);
                    return Some(place as usize);
                }
                slot.again = slot.is_busy;
            }
        }
        None
    }

    /// Gives back what was taken and not looked at.
    pub fn put_back(&mut self, index: usize) {
        self.slots[index].is_busy = false;
        self.enqueue(index);
    }

    /// Keeps a conversation from being looked at.
    pub fn occupy(&mut self, index: usize) {
        self.slots[index].is_busy = true;
    }

    /// A look at it begins.
    pub fn begin(&mut self, index: usize, at: Instant) {
        let slot = &mut self.slots[index];
        (slot.is_busy, slot.is_urgent, slot.looked_at) = (true, false, Some(at));
    }

    /// Whatever kept it busy has ended. A nudge that came meanwhile counts from [`Timetable::nudge_waiting`] on.
    pub fn end(&mut self, index: usize) {
        self.slots[index].is_busy = false;
    }

    /// Follows up a nudge that came while it was busy.
    pub fn nudge_waiting(&mut self, index: usize, now: Instant) {
        if std::mem::take(&mut self.slots[index].again) {
            self.nudge(index, now);
        }
    }

    /// A look that began then has told when its last message was sent: the next comes after the interval of that age, which
    /// is returned.
    pub fn looked(&mut self, index: usize, began: Instant, last_message_at: Option<UnixMillis>, now: Now) -> Duration {
        let slot = &mut self.slots[index];
        (slot.last_message_at, slot.looked_at, slot.paced) = (last_message_at, Some(began), true);
        let (interval, why) = self.interval(index, now.clock_at(began));
        self.set(index, began + interval, why);
        interval
    }

    /// Something else than its interval says when it is looked at next.
    pub fn wait(&mut self, index: usize, due: Instant, why: Why) {
        self.slots[index].paced = false;
        self.set(index, due, why);
    }

    /// A walk goes on from this moment; one through a history is read beside what is due.
    pub fn go_on(&mut self, index: usize, at: Instant, is_history: bool) {
        self.slots[index].is_history = is_history;
        self.wait(index, at, Why::Walk);
    }

    /// A look that was not to be made after all is made when what stands against it is over.
    pub fn put_off(&mut self, index: usize, until: Instant) {
        let why = if self.slots[index].was_nudged { Why::Nudge } else { Why::ProviderWait };
        self.wait(index, until, why);
    }

    /// Leaves the moment of its next look as it is.
    pub fn wait_as_before(&mut self, index: usize) {
        self.enqueue(index);
    }

    /// Has a conversation looked at before whatever is merely due, once more if it is busy, and never more often than its shortest
    /// interval allows.
    pub fn nudge(&mut self, index: usize, now: Instant) {
        let slot = &mut self.slots[index];
        let not_before = slot.looked_at.map(|at| at + slot.cadence.min_interval);
        if slot.is_busy {
            slot.again = true;
        } else if let Some(at) = not_before.filter(|at| *at > now) {
            if at < slot.due {
                self.wait(index, at, Why::Nudge);
            }
        } else if !std::mem::replace(&mut slot.is_urgent, true) {
            self.urgent.push_back(place(index));
        }
    }

    /// Sweeps show it from now on, or do not.
    pub fn set_swept(&mut self, index: usize, is_swept: bool) {
        self.slots[index].is_swept = is_swept;
    }

    /// Sweeps no longer tell what moves, so that conversations look for themselves, or tell it again; true when that has changed.
    /// It is to be solved anew then, and what that makes due caught up with.
    pub fn set_sweeps_work(&mut self, work: bool) -> bool {
        std::mem::replace(&mut self.sweeps_work, work) != work
    }

    /// Nothing but its own looks tells when it moves: the next comes after its interval from now on, unless it is due before.
    pub fn look_for_itself(&mut self, index: usize, now: Now) {
        if !std::mem::take(&mut self.slots[index].is_swept) {
            return;
        }
        let (interval, why) = self.interval(index, now.clock);
        let slot = &self.slots[index];
        if slot.waits() && now.at + interval < slot.due {
            self.wait(index, now.at + interval, why);
        }
    }

    /// Whether only `max_interval` counts at this hour; true when that has changed. It is to be solved anew then, and what that
    /// makes due caught up with.
    pub fn set_quiet(&mut self, is_quiet: bool) -> bool {
        std::mem::replace(&mut self.is_quiet, is_quiet) != is_quiet
    }

    /// Only `max_interval` counts at this hour.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// The bounds of an interval as they are at present: what the budget can keep, and where a sweep tells what moved, or at quiet
    /// hours, looks are rare proofs.
    fn cadence(&self, index: usize) -> Cadence {
        let slot = &self.slots[index];
        let mut cadence = self.pacing.feasible(slot.cadence);
        if self.is_quiet || self.is_only_proved(slot) {
            cadence.min_interval = cadence.min_interval.max(cadence.max_interval.mul_f64(0.9));
        }
        cadence
    }

    /// What its interval depends on at present.
    pub fn rhythm(&self, index: usize) -> Rhythm {
        Rhythm { cadence: self.cadence(index), pace: self.pacing.pace(), seed: self.slots[index].seed }
    }

    fn is_only_proved(&self, slot: &Slot) -> bool {
        slot.is_swept && self.sweeps_work
    }

    /// The interval after a look at this moment, and what has set it.
    fn interval(&self, index: usize, looked_at: UnixMillis) -> (Duration, Why) {
        let slot = &self.slots[index];
        let interval = self.rhythm(index).interval(slot.last_message_at, looked_at);
        let why = match () {
            () if interval > slot.cadence.max_interval => Why::Budget,
            () if self.is_quiet => Why::QuietHours,
            () if self.is_only_proved(slot) => Why::Proof,
            () => Why::Age,
        };
        (interval, why)
    }

    fn set(&mut self, index: usize, due: Instant, why: Why) {
        let slot = &mut self.slots[index];
        (slot.due, slot.why) = (due, why);
        self.enqueue(index);
    }

    fn enqueue(&mut self, index: usize) {
        self.queue.push(Reverse((self.slots[index].due, place(index))));
    }

    /// Whether ages, conversations or the budget may have moved enough for the pace to be another.
    pub fn is_stale(&self, now: Instant) -> bool {
        self.pacing.is_stale(now, self.slots.len())
    }

    /// Solves for the pace that a rate allows, and gives whatever waits for its interval the new one. Returns
    /// by how much intervals have to be longer than configured, when that is news.
    pub fn solve(&mut self, rate: Rate, spent: Spent, now: Now) -> Option<f64> {
        let mut ages = Ages::default();
        // What a walk takes is measured, and left to it.
        for slot in self.slots.iter().filter(|slot| !slot.has_left && (slot.paced || slot.why != Why::Walk)) {
            // Not stretched: whether it has to be is what is solved for.
            let mut cadence = slot.cadence;
            if self.is_quiet || self.is_only_proved(slot) {
                cadence.min_interval = cadence.max_interval;
            }
            // As old as it was when its interval was set: that is the interval which is under way.
            let looked_at = slot.looked_at.map_or(now.clock, |at| now.clock_at(at));
            ages.add(age(slot.last_message_at, looked_at), cadence);
        }
        let told = self.pacing.solve((&ages, self.slots.len()), rate, spent, now.at);
        self.seen = Some(now);
        self.retime(now);
        told
    }

    /// Gives every conversation that merely waits for its interval the one that it would be given now; else a change of
    /// the pace would reach those with long intervals only hours later.
    fn retime(&mut self, now: Now) {
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let Some(looked_at) = slot.looked_at.filter(|_| slot.paced && slot.waits()) else { continue };
            let (interval, why) = self.interval(index, now.clock_at(looked_at));
            let slot = &mut self.slots[index];
            (slot.due, slot.why) = (looked_at + interval, why);
        }
        self.rebuild();
    }

    /// All at once: an entry for every change would only have to be dropped again.
    fn rebuild(&mut self) {
        let waiting = self.slots.iter().enumerate().filter(|(_, slot)| slot.waits());
        self.queue = waiting.map(|(index, slot)| Reverse((slot.due, place(index)))).collect();
        self.ready.clear();
        self.beside.iter_mut().for_each(BinaryHeap::clear);
    }

    /// After a time in which nobody could ask, what became due meanwhile is looked at once, beside what becomes due now.
    pub fn catch_up(&mut self, now: Now) {
        for slot in
            self.slots.iter_mut().filter(|slot| slot.waits() && slot.due <= now.at && slot.why != Why::FirstPoll)
        {
            (slot.due, slot.why, slot.paced) = (now.at, Why::CatchUp, false);
        }
        self.rebuild();
    }

    /// The machine has slept for so long, and the steady clock has not counted it: whatever waits for its interval has waited so
    /// much longer.
    pub fn slept(&mut self, by: Duration, now: Now) {
        for slot in self.slots.iter_mut().filter(|slot| slot.paced && slot.waits()) {
            let earlier = |at: Instant| at.checked_sub(by).unwrap_or(now.at).min(at);
            (slot.due, slot.looked_at) = (earlier(slot.due), slot.looked_at.map(earlier));
        }
        self.catch_up(now);
    }
}

fn place(index: usize) -> u32 {
    u32::try_from(index).expect("an account has fewer than four billion conversations")
}

#[cfg(test)]
mod tests;
