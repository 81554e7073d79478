//! The loop's side of pacing: it counts what is spent, watches the clocks and has the timetable solved anew when that is due.

use std::time::Duration;

use super::account::AccountLoop;
use super::pacing::Spent;
use super::poll::Poller;
use super::slot::Now;
use crate::time;

/// Less than this is not worth to be told.
const SLEEP: Duration = Duration::from_secs(10);

impl AccountLoop {
    /// Solves for the pace again where ages or conversations have moved.
    pub(super) fn keep_pace(&mut self, now: Now) {
        self.watch_for_sleep(now);
        if !self.timetable.is_stale(now.at) {
            return;
        }
        let has_changed = self.look_at_the_hour(now);
        self.solve(now);
        if has_changed {
            self.timetable.catch_up(now);
        }
        self.record_rate();
    }

    fn solve(&mut self, now: Now) {
        let spent = Spent { requests: self.poller.gate.beside_looks(), looks: self.looks };
        let told = self.timetable.solve(self.poller.gate.rate(), spent, now);
        tell_if_stretched(&self.poller, told);
    }

    /// Sweeps tell what moves from now on, or do not.
    pub(super) fn sweeps_work(&mut self, work: bool) {
        let now = Now::read();
        if self.timetable.set_sweeps_work(work) {
            self.solve(now);
            self.timetable.catch_up(now);
        }
    }

    /// Writes down what was learnt of the provider's limit.
    pub(super) fn record_rate(&mut self) {
        let learnt = self.poller.gate.learnt_per_minute();
        if std::mem::replace(&mut self.learnt, learnt) == learnt {
            return;
        }
        let (store, account) = (self.poller.store.clone(), self.poller.account_id);
        self.writes.spawn(async move {
            if let Err(error) = store.record_rate(account, learnt).await {
                tracing::warn!(class = "storage", %error, "the rate that the provider allows was not recorded");
            }
        });
    }

    /// The clock on the wall may be set at will: nobody waits by it.
    fn watch_for_sleep(&mut self, now: Now) {
        let slept = time::slept();
        let by = slept.saturating_sub(std::mem::replace(&mut self.slept, slept));
        if by > SLEEP {
            tracing::info!(account = %self.poller.account, "the machine has slept for {}; what was missed is caught up with",
                humantime::format_duration(Duration::from_secs(by.as_secs())));
            self.timetable.slept(by, now);
        }
    }

    /// Whether quiet hours have begun or ended.
    fn look_at_the_hour(&mut self, now: Now) -> bool {
        let is_quiet = self.quiet_hours.as_ref().is_some_and(|hours| hours.hold(now.clock));
        let has_changed = self.timetable.set_quiet(is_quiet);
        if has_changed {
            let now = if is_quiet { "begin: only max_interval counts" } else { "are over" };
            tracing::info!(account = %self.poller.account, "quiet hours {now}");
            self.hour_changed();
        }
        has_changed
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
