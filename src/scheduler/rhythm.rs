//! The loop's side of pacing: it counts what is spent, solves when that is due and gives the conversations that wait their
//! new intervals.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant;

use super::account::AccountLoop;
use super::pace::Ages;
use super::pacing::Spent;
use super::poll::{self, Poller};
use crate::time::UnixMillis;

impl AccountLoop {
    /// Solves for the pace again where ages or conversations have moved.
    pub(super) fn keep_pace(&mut self, now: Instant) {
        if !self.pacing.is_stale(now, self.sources.len()) {
            return;
        }
        let clock = UnixMillis::now();
        let changed = self.look_at_the_hour(clock);
        let mut ages = Ages::default();
        for (index, source) in self.sources.iter().enumerate().filter(|(_, source)| !source.unfollowed) {
            // Not stretched: whether it has to be is what is solved for.
            let mut cadence = source.cadence;
            if self.is_quiet || self.is_only_proved(index) {
                cadence.min_interval = cadence.max_interval;
            }
            // As old as it was when its interval was set: that is the interval which is under way.
            let since = source.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
            ages.add(poll::age(source.job.last_message_at, clock - since), cadence);
        }
        let spent = Spent { requests: self.poller.gate.admitted(), looks: self.looks };
        let budget = self.poller.gate.requests_per_second();
        let before = self.pacing.pace();
        tell_if_stretched(&self.poller, self.pacing.solve((&ages, self.sources.len()), budget, spent, now));
        if changed || self.pacing.pace() != before {
            self.retime(now, clock);
        }
    }

    /// Whether quiet hours have begun or ended.
    fn look_at_the_hour(&mut self, clock: UnixMillis) -> bool {
        let is_quiet = self.quiet_hours.as_ref().is_some_and(|hours| hours.hold(clock));
        if is_quiet == self.is_quiet {
            return false;
        }
        self.is_quiet = is_quiet;
        let now = if is_quiet { "begin: only max_interval counts" } else { "are over" };
        tracing::info!(account = %self.poller.account, "quiet hours {now}");
        self.hour_changed();
        true
    }

    /// Gives every conversation that merely waits for its interval the one that it would be given now; else a change of
    /// the pace would reach those with long intervals only hours later.
    fn retime(&mut self, now: Instant, clock: UnixMillis) {
        for index in 0..self.sources.len() {
            let source = &self.sources[index];
            let Some(began) = source.began.filter(|_| source.paced == Some(source.due) && source.may_begin()) else {
                continue;
            };
            let polled_at = clock - now.saturating_duration_since(began);
            let rhythm = (self.cadence(index), self.pacing.pace());
            let due = began + poll::interval(rhythm, source.job.source, source.job.last_message_at, polled_at);
            self.sources[index].paced = Some(due);
            self.sources[index].due = due;
        }
        // All at once: an entry for every change would only have to be dropped again.
        let waiting = self.sources.iter().enumerate().filter(|(_, source)| source.may_begin());
        self.queue = waiting.map(|(index, source)| Reverse((source.due, index))).collect();
    }
}

/// Says so when intervals have to be longer than configured.
pub(super) fn tell_if_stretched(poller: &Poller, times: Option<f64>) {
    if let Some(times) = times {
        tracing::warn!(account = %poller.account, class = "config",
            "the budget does not hold every conversation at its max_interval: intervals are {times:.1} times as long; raise \
             max_interval or the budget by as much, or follow fewer conversations");
    }
}
