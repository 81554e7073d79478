//! The loop's side of sweeps: conversations come and move.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Polled;
use super::account::{AccountLoop, Done};
use super::failure::{self, Next};
use super::monitoring::Monitored;
use super::outcome::log_unwritten;
use super::poll::Failure;
use super::reading::Reading;
use super::slot::{Now, Why};
use super::source;
use super::sweep::{self, Moved, Stepped, Sweep, Sweeps};
use super::upkeep::{Kept, Request};
use crate::backoff::{mix, stretched};
use crate::providers::{self, Class};
use crate::status::LONGEST_SLEEP;
use crate::store::Mark;
use crate::time::UnixMillis;

/// Sweeps failed in a row after which conversations are polled by their own schedule again.
const FALL_BACK_AFTER: u32 = 3;

/// Time between listings while the provider is on its way to collect the inbox.
const UNTIL_COLLECTED: Duration = Duration::from_secs(10);

/// An inbox without a folder that can be listed is looked at again after so long.
const FOLDERS_AGAIN: Duration = Duration::from_secs(3600);

/// Polls for one mark that may find nothing as young as it promises: some lists show what never becomes a message.
const MARK_TRIES: u32 = 3;

impl AccountLoop {
    /// When the next step of a sweep is due; `None` while one is under way, or where there are none.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        self.sweeps.as_ref().filter(|sweeps| !sweeps.in_flight).map(Sweeps::next)
    }

    /// Whether a single round has to wait for a sweep.
    pub(super) fn sweep_goes_on(&self, began: Instant) -> bool {
        self.pauses.look_again().is_none()
            && self.sweeps.as_ref().is_some_and(|sweeps| sweeps.in_flight || sweeps.next() <= began)
    }

    pub(super) fn start_sweep(&mut self, now: Instant) {
        let overlap = self.poller.bounds.overlap;
        let Some(sweeps) = self.sweeps.as_mut().filter(|sweeps| !sweeps.in_flight && sweeps.next() <= now) else {
            return;
        };
        if self.polls_in_flight >= self.poller.polling.concurrency {
            return;
        }
        sweeps.in_flight = true;
        let (step, settings, poller) = (sweeps.next_step(now, overlap), sweeps.settings, Arc::clone(&self.poller));
        self.polls_in_flight += 1;
        let watch = Reading::of_account(&self.poller.store);
        self.spawn(watch, async move { Done::Swept(sweep::step(poller, step, settings).await) });
    }

    pub(super) fn swept(&mut self, stepped: Stepped) {
        let Some(sweeps) = &mut self.sweeps else { return };
        sweeps.in_flight = false;
        match stepped {
            Stepped::Folders(Ok(folders)) if folders.listed.is_empty() => {
                tracing::warn!(account = %self.poller.account, "the inbox has no folder that could be listed; looking again in an hour");
                sweeps.due = Instant::now() + FOLDERS_AGAIN;
            }
            Stepped::Folders(Ok(folders)) => {
                if let Some(left_out) = sweeps.news_of_left_out(&folders) {
                    tracing::info!(account = %self.poller.account,
                        "parts of the inbox that are there and not listed: {left_out}");
                }
                sweeps.take_folders(folders);
            }
            Stepped::Folders(Err(failure)) => self.sweep_failed("", failure),
            Stepped::Monitored(folder, result) => self.monitored(&folder, result),
            Stepped::Listed(sweep, moved, listed) => {
                let found = moved.iter().filter(|moved| matches!(moved, Moved::Found(..))).count();
                if found > 0 {
                    tracing::info!(account = %self.poller.account, folder = sweep.folder(),
                        "the inbox lists {}", crate::model::counted(found, "new conversation"));
                }
                moved.into_iter().for_each(|moved| self.has_moved(moved));
                self.listed(sweep, listed);
            }
        }
    }

    /// Takes a sweep after one of its pages.
    fn listed(&mut self, sweep: Box<Sweep>, listed: Result<(), Failure>) {
        let overlap = self.poller.bounds.overlap;
        let Some(sweeps) = &mut self.sweeps else { return };
        match listed {
            Ok(()) => {
                if sweeps.take(*sweep, overlap) {
                    self.sweep_ended();
                }
            }
            Err(Failure::Provider(error))
                if error.class == Class::Gone || (sweeps.is_seldom(sweep.folder()) && is_about_the_folder(&error)) =>
            {
                self.folder_is_closed(&sweep, &error);
            }
            Err(failure) => {
                let folder = sweep.folder().to_owned();
                match &failure {
                    Failure::Provider(error) if error.cursor_refused || error.class == Class::Protocol => {
                        let (store, account) = (self.poller.store.clone(), self.poller.account_id);
                        let (folder, began) = (folder.clone(), UnixMillis::now());
                        self.writes.spawn(async move {
                            log_unwritten(store.keep_sweep(account, folder, began, None, None).await);
                        });
                        sweeps.abandon(*sweep);
                    }
                    _ => sweeps.put_back(*sweep),
                }
                self.sweep_failed(&folder, failure);
            }
        }
    }

    fn sweep_ended(&mut self) {
        self.pauses.forget_row();
        let interval = self.sweep_interval();
        if self.sweeps.as_ref().is_some_and(|sweeps| sweeps.failures >= FALL_BACK_AFTER) {
            tracing::info!(account = %self.poller.account, "the inbox can be listed again");
            self.sweeps_work(true);
        }
        let Some(sweeps) = &mut self.sweeps else { return };
        sweeps.failures = 0;
        sweeps.due = Instant::now() + stretched(interval, UnixMillis::now().as_millis().unsigned_abs());
    }

    fn monitored(&mut self, folder: &str, result: Result<Monitored, Failure>) {
        let now = Instant::now();
        let Some(sweeps) = &mut self.sweeps else { return };
        if let Some(monitors) = &mut sweeps.monitors {
            monitors.take(folder, &result, now);
        }
        match result {
            Ok(_) => {}
            Err(Failure::Provider(error)) if matches!(error.class, Class::Auth | Class::Throttled) => {
                self.sweep_failed(folder, Failure::Provider(error));
            }
            Err(error) => tracing::warn!(account = %self.poller.account, folder,
                "the provider does not collect the inbox yet ({error})"),
        }
    }

    /// Credits are spread over the day.
    fn sweep_interval(&self) -> Duration {
        let configured = self.sweeps.as_ref().map_or(Duration::MAX, |sweeps| match self.timetable.is_quiet() {
            true => sweeps.settings.interval.max(sweeps.settings.cadence.max_interval),
            false => sweeps.settings.interval,
        });
        self.poller.gate.sweep_pace().map_or(configured, |pace| configured.max(pace))
    }

    /// Quiet hours have begun or ended: the next sweep is due as they say.
    pub(super) fn hour_changed(&mut self) {
        let due = Instant::now() + if self.timetable.is_quiet() { self.sweep_interval() } else { Duration::ZERO };
        if let Some(sweeps) = &mut self.sweeps {
            sweeps.due = due;
        }
    }

    fn folder_is_closed(&mut self, sweep: &Sweep, error: &providers::Error) {
        let overlap = self.poller.bounds.overlap;
        tracing::warn!(account = %self.poller.account, folder = sweep.folder(), class = %error.class,
            "this part of the inbox cannot be listed ({error}); the others are, and it is tried again in an hour");
        self.store_sweep_failure(sweep.folder().to_owned(), error);
        let Some(sweeps) = &mut self.sweeps else { return };
        let all_done = sweeps.leave_out(sweep, overlap);
        if sweeps.has_no_folder() {
            sweeps.due = Instant::now() + FOLDERS_AGAIN;
            sweeps.failures = FALL_BACK_AFTER;
            self.fall_back();
        } else if all_done {
            self.sweep_ended();
        }
    }

    fn sweep_failed(&mut self, folder: &str, failure: Failure) {
        let Some(sweeps) = &mut self.sweeps else { return };
        let error = match failure {
            Failure::Provider(error) => error,
            Failure::OutOfCredits { period, until } => {
                sweeps.due = Instant::now() + until.since(UnixMillis::now()) + Duration::from_secs(1);
                tracing::warn!(account = %self.poller.account, "the credits of the {} are spent; the inbox is listed again from {until} on", period.as_str());
                return;
            }
            // The loop waits for the pause to end.
            Failure::Paused => return,
            Failure::Store(error) => {
                self.summary.failed += 1;
                tracing::warn!(account = %self.poller.account, class = "storage", %error, "the sweep was not recorded; next try in 5 s");
                sweeps.due = Instant::now() + LONGEST_SLEEP;
                return;
            }
        };
        if let Some(monitors) = sweeps.monitors.as_mut().filter(|_| error.class == Class::NotReady) {
            monitors.need(folder);
            if monitors.is_under_way(folder) {
                // It will be ready when that is done.
                sweeps.due = Instant::now() + UNTIL_COLLECTED;
                return;
            }
        }
        self.summary.failed += 1;
        sweeps.failures += 1;
        let (failures, seed) = (sweeps.failures, mix(u64::from(sweeps.failures), 7));
        let wait = match failure::next(&error, failures, self.pauses.in_a_row() + 1, self.profile, seed) {
            Next::PauseAccount(wait) => {
                if let Some(change) = self.pauses.enter(&error, wait) {
                    self.store(change);
                }
                return;
            }
            Next::Retry(wait) | Next::Upkeep(wait) => wait,
        };
        sweeps.due = self.round_began.map_or_else(Instant::now, |began| began + Duration::from_millis(1)) + wait;
        if failures == 1 {
            tracing::warn!(account = %self.poller.account, class = %error.class, "the inbox could not be listed ({error}); next try in {}",
                humantime::format_duration(Duration::from_secs(wait.as_secs().max(1))));
        }
        self.store_sweep_failure(folder.to_owned(), &error);
        if failures == FALL_BACK_AFTER {
            self.fall_back();
        }
    }

    fn store_sweep_failure(&mut self, folder: String, error: &providers::Error) {
        let (store, account) = (self.poller.store.clone(), self.poller.account_id);
        let (class, detail) = (error.class.as_str(), error.detail.clone());
        self.writes.spawn(async move {
            log_unwritten(store.record_sweep_failure(account, folder, class, detail).await);
        });
    }

    /// Nobody tells what moves any more: every conversation looks for itself.
    fn fall_back(&mut self) {
        tracing::warn!(account = %self.poller.account, "the inbox cannot be listed; conversations are polled one by one until it can");
        self.sweeps_work(false);
    }

    fn has_moved(&mut self, moved: Moved) {
        match moved {
            Moved::Known { source, mark, person_url } => {
                if let Some(&index) = self.by_row.get(&source) {
                    let conversation = &mut self.sources[index].job.conversation;
                    if conversation.person_url.is_none() && person_url.is_some() {
                        Arc::make_mut(conversation).person_url = person_url;
                    }
                    if mark.is_none() && !self.sources[index].job.first_contact {
                        // It is polled by its own schedule: to read it at every sweep would cost as much as having no sweep.
                        self.timetable.look_for_itself(index, Now::read());
                        return;
                    }
                    let is_news = self.mark(index, mark);
                    if self.sources[index].is_poisoned {
                        return;
                    }
                    // What cannot be read keeps its wait until it moves again.
                    if is_news || self.sources[index].job.failures == 0 {
                        self.nudge(index);
                    }
                }
            }
            Moved::Found(found, mark) => {
                let (conversation, source) = *found;
                let Some(settings) = self.sweeps.as_ref().map(|sweeps| sweeps.settings) else { return };
                // What turns up later has moved just now; what the first sweep finds can wait its turn.
                let is_new = source.line.is_some_and(|line| mark_is_after(mark.as_ref(), line));
                tracing::debug!(account = %self.poller.account, conversation = %conversation.id, "the inbox lists a new conversation");
                let polled = Polled {
                    conversation: Arc::new(conversation),
                    cadence: settings.cadence,
                    baseline: settings.baseline,
                    source,
                };
                let index = self.add(polled);
                self.mark(index, mark);
                self.sources[index].job.moved = is_new;
                if is_new {
                    self.nudge(index);
                }
            }
        }
    }

    /// Returns whether the inbox shows something new of it.
    fn mark(&mut self, index: usize, mark: Option<Mark>) -> bool {
        self.timetable.set_swept(index, mark.is_some());
        let source = &mut self.sources[index];
        source.job.moved = true;
        let is_the_same = source.job.mark.as_ref().map(|mark| &mark.mark) == mark.as_ref().map(|mark| &mark.mark);
        if !is_the_same {
            source.mark_tries = 0;
            source.job.mark = mark;
        }
        !is_the_same
    }

    /// After a poll that began with `asked`: whether it has found what the mark promised, or has looked often enough.
    pub(super) fn settle_mark(&mut self, index: usize, asked: Option<&Mark>, kept: bool) {
        let source = &mut self.sources[index];
        if source.job.mark.as_ref() != asked {
            // It has moved again meanwhile.
            return;
        }
        if kept || asked.is_none() {
            source.job.mark = None;
            source.job.moved = false;
            source.mark_tries = 0;
            return;
        }
        source.mark_tries += 1;
        if source.mark_tries >= MARK_TRIES
            && let Some(mark) = &mut source.job.mark
        {
            mark.activity = None;
        }
    }

    /// Takes up a conversation, and returns its place.
    pub(super) fn add(&mut self, polled: Polled) -> usize {
        let row = polled.source.id;
        let sync = polled.source.sync.clone();
        let (state, slot) = source::known(polled, &self.poller.polling, Now::read());
        // A single round looks at what was due when it began.
        let slot = match self.round_began {
            Some(began) if slot.next().0 <= Instant::now() => slot.waiting(began, Why::FirstPoll),
            _ => slot,
        };
        let conversation = Arc::clone(&state.job.conversation);
        let index = match self.by_row.get(&row) {
            // Unfollowed or out of the inbox before, and here again; a poll from before may still be under way.
            Some(&index) => {
                self.sources[index] = state;
                self.timetable.replace(index, slot);
                index
            }
            None => {
                self.sources.push(state);
                let index = self.timetable.add(slot);
                self.by_row.insert(row, index);
                index
            }
        };
        let kept = Kept { source: row, conversation, row: sync, has_left: false };
        // Nobody listens where the provider needs no upkeep.
        drop(self.requests.send(Request::Keep(index, kept)));
        index
    }
}

/// Whether a failure may be that of one folder, where the others have just been listed.
fn is_about_the_folder(error: &providers::Error) -> bool {
    matches!(error.class, Class::Protocol | Class::Transient) && !error.cursor_refused
}

fn mark_is_after(mark: Option<&Mark>, line: UnixMillis) -> bool {
    mark.and_then(|mark| mark.activity).is_none_or(|at| at > line)
}
