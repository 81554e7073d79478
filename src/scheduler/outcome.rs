//! What the end of a poll changes: state in memory, what is stored, when the next one is due.

use std::time::Duration;

use tokio::time::Instant;

use super::account::AccountLoop;
use super::failure::{self, Next};
use super::gate::{Heard, Purpose};
use super::job::Job;
use super::poll::{Coverage, Failure, Found, Poller};
use super::slot::{Now, Why};
use super::upkeep::Request;
use crate::backoff::stretched;
use crate::providers::{self, Call, Class};
use crate::status::LONGEST_SLEEP;
use crate::store::{QuietPoll, Recorded, Walk};
use crate::time::UnixMillis;

/// Conversations of one account whose failure is logged one by one; an outage must not fill the log.
const FAILURES_LOGGED: usize = 10;

/// That the credits are spent is said again after so long.
const SAID_AGAIN: Duration = Duration::from_secs(12 * 3600);

impl AccountLoop {
    /// Takes in a poll that began with the job as `asked` has it.
    pub(super) fn succeeded(&mut self, index: usize, began: Instant, found: Found, asked: &Job) {
        self.summary.polled += 1;
        self.pauses.forget_row();
        self.recovered(index);
        self.sources[index].is_poisoned = false;
        let now = Now::read();
        match found {
            Found::Quiet(coverage) => {
                let job = &self.sources[index].job;
                let interval = self.timetable.looked(index, began, job.last_message_at, now);
                self.poller.store.record_quiet_poll(QuietPoll {
                    source: job.source,
                    polled_at: now.clock,
                    verified_until: coverage.verified_until,
                    lapsed_at: coverage.lapsed_at,
                    due_at: now.clock + interval,
                });
                self.cover(index, coverage);
            }
            Found::Recorded { recorded, coverage, fingerprint } => {
                self.recorded(index, &recorded, coverage, fingerprint);
                self.settle_mark(index, asked.mark.as_ref(), recorded.mark_kept);
                self.cover(index, coverage);
                self.timetable.looked(index, began, recorded.last_message_at, now);
            }
            Found::WalkGoesOn => {
                let job = &self.sources[index].job;
                let pages = job.walk.as_ref().map(|walk| walk.pages);
                tracing::debug!(account = %self.poller.account, conversation = %job.conversation.id, pages,
                    "a long walk goes on in the next poll");
                let is_history = job.recheck || job.walk.as_ref().is_some_and(Walk::is_history);
                self.timetable.go_on(index, self.round_began.unwrap_or(now.at), is_history);
            }
        }
    }

    fn recorded(&mut self, index: usize, recorded: &Recorded, coverage: Coverage, fingerprint: u64) {
        self.summary.announced += u64::from(recorded.announced);
        let first_contact = self.sources[index].job.first_contact;
        let source = &mut self.sources[index];
        if first_contact {
            tracing::info!(account = %self.poller.account, conversation = %source.job.conversation.id,
                announced = recorded.announced, silent = recorded.silent, "following the conversation");
        } else if recorded.announced + recorded.edited > 0 {
            tracing::debug!(account = %self.poller.account, conversation = %source.job.conversation.id,
                new = recorded.announced, edited = recorded.edited, "recorded");
        }
        if source.job.recheck || first_contact {
            let interval = self.poller.polling.recheck_interval;
            source.recheck_due = Instant::now() + stretched(interval, source.job.source.seed());
        }
        let job = &mut source.job;
        job.first_contact = false;
        job.dead_ends = 0;
        job.watermark = recorded.watermark;
        job.history_until = recorded.history_until;
        job.last_message_at = recorded.last_message_at;
        match (job.unread, recorded.unread) {
            (None, Some(_)) => tracing::warn!(account = %self.poller.account, conversation = %job.conversation.id,
                "the provider's answer has messages that cannot be read; the others are, and audit tells of these until they can be"),
            (Some(_), None) => tracing::info!(account = %self.poller.account, conversation = %job.conversation.id,
                "what could not be read of the conversation has been read"),
            _ => {}
        }
        job.unread = recorded.unread;
        if job.gaps.is_some() && coverage.verified_until.is_some() {
            job.gaps = recorded.gaps;
        }
        job.fingerprint = if job.recheck { 0 } else { fingerprint };
    }

    fn cover(&mut self, index: usize, coverage: Coverage) {
        let source = &mut self.sources[index];
        match (source.job.lapsed_at, coverage.lapsed_at) {
            (None, Some(lapsed_at)) => tracing::warn!(account = %self.poller.account,
                conversation = %source.job.conversation.id, %lapsed_at,
                "the provider has stopped collecting the conversation: messages after that time are not seen until it resumes"),
            (Some(_), None) => tracing::info!(account = %self.poller.account,
                conversation = %source.job.conversation.id, "the provider collects the conversation again"),
            _ => {}
        }
        if source.job.lapsed_at.is_some() && coverage.lapsed_at.is_none() {
            // What was written meanwhile may come in late and out of order.
            source.recheck_due = Instant::now();
        }
        source.job.lapsed_at = coverage.lapsed_at;
        // What lies ahead is from before the clock was set back.
        let before = source.job.verified_until.filter(|at| *at <= UnixMillis::now());
        source.job.verified_until = before.max(coverage.verified_until);
        if self.poller.provider.upkeep().is_some()
            && (!source.upkeep_knows
                || source.collected_until != coverage.collected_until
                || source.failing == Some(Class::NotReady))
        {
            source.upkeep_knows = true;
            source.collected_until = coverage.collected_until;
            drop(self.requests.send(Request::Collected(index, coverage.collected_until)));
        }
        self.sources[index].failing = None;
    }

    fn recovered(&mut self, index: usize) {
        let source = &mut self.sources[index];
        if source.job.failures > 0 {
            self.failing = self.failing.saturating_sub(1);
            if self.failing < FAILURES_LOGGED {
                tracing::info!(account = %self.poller.account, conversation = %source.job.conversation.id,
                    after = source.job.failures, "polls succeed again");
            }
            source.job.failures = 0;
        }
    }

    pub(super) fn failed(&mut self, index: usize, failure: Failure) {
        match failure {
            Failure::Paused => {
                self.put_off(index);
            }
            Failure::OutOfCredits { period, until } => {
                let source = &self.sources[index].job;
                let wait = until.since(UnixMillis::now()).max(Duration::from_secs(60));
                let detail = format!("the credits of the {} are spent, or kept for what moves", period.as_str());
                if self.out_of_credits_until.is_none_or(|said| until.since(said) > SAID_AGAIN) {
                    self.out_of_credits_until = Some(until);
                    tracing::warn!(account = %self.poller.account, class = "budget", conversation = %source.conversation.id,
                        "{detail}; this conversation and others like it are read from {until} on");
                }
                let (store, row, failures) = (self.poller.store.clone(), source.source, source.failures);
                let due_at = UnixMillis::now() + wait;
                self.writes.spawn(async move {
                    log_unwritten(store.record_failure(row, "budget", detail, failures, due_at).await);
                });
                self.timetable.wait(index, Instant::now() + wait, Why::Budget);
            }
            Failure::Store(error) => {
                self.summary.failed += 1;
                // What cannot be retried ends the daemon, which listens to the store itself.
                tracing::warn!(account = %self.poller.account, conversation = %self.sources[index].job.conversation.id,
                    class = "storage", %error, "the poll was not recorded and counts as not made; next try in 5 s");
                self.timetable.wait(index, Instant::now() + LONGEST_SLEEP, Why::Retry);
            }
            Failure::Provider(error) => self.refused(index, &error),
        }
    }

    /// A poll that a pause of the account stands against is made when the pause is over: until then nothing is.
    fn put_off(&mut self, index: usize) {
        self.timetable.put_off(index, Instant::now());
    }

    fn refused(&mut self, index: usize, error: &providers::Error) {
        self.summary.failed += 1;
        let source = &mut self.sources[index];
        let failures = source.job.failures + 1;
        let seed = source.job.source.seed();
        let (wait, why) = match failure::next(error, failures, self.pauses.in_a_row() + 1, self.profile, seed) {
            Next::PauseAccount(wait) => {
                if let Some(change) = self.pauses.enter(error, wait) {
                    self.store(change);
                }
                self.put_off(index);
                return;
            }
            // The interval as configured: what it is stretched to is for proofs.
            Next::Retry(wait) => {
                let why = if error.wait.is_some() { Why::ProviderWait } else { Why::Retry };
                (wait.max(self.timetable.slot(index).cadence().min_interval), why)
            }
            Next::Upkeep(wait) => {
                drop(self.requests.send(Request::Needed(index)));
                (wait, Why::ProviderWait)
            }
        };
        let changed = source.failing != Some(error.class);
        if source.job.failures == 0 {
            self.failing += 1;
        }
        source.job.failures = failures;
        source.failing = Some(error.class);
        let shown_wait = humantime::format_duration(Duration::from_secs(wait.as_secs().max(1)));
        if changed && self.failing <= FAILURES_LOGGED {
            tracing::warn!(account = %self.poller.account, conversation = %source.job.conversation.id,
                class = %error.class, "the poll failed ({error}); next try in {shown_wait}");
        } else {
            tracing::debug!(account = %self.poller.account, conversation = %source.job.conversation.id,
                class = %error.class, failures, "the poll failed ({error}); next try in {shown_wait}");
        }
        let (store, source_id) = (self.poller.store.clone(), source.job.source);
        let (class, detail, due_at) = (error.class.as_str(), error.detail.clone(), UnixMillis::now() + wait);
        self.writes.spawn(async move {
            log_unwritten(store.record_failure(source_id, class, detail, failures, due_at).await);
        });
        self.timetable.wait(index, Instant::now() + wait, why);
    }
}

impl Poller {
    /// Looks at the account where a conversation's failure may be the account's: its error then counts instead.
    pub(super) async fn check_account_after(&self, result: &mut Result<Found, Failure>, job: &Job) {
        if let Err(Failure::Provider(error)) = result
            && failure::suspects_account(error, job.failures + 1)
            && self.provider.price(Call::Account) == 0
            && let Ok(permit) = self.gate.admit(Call::Account, Purpose::Live).await
            && let Err(of_account) = {
                let probed = self.provider.probe().await;
                self.gate.settle(permit, Heard::costing(0, &probed)).await;
                probed
            }
            && matches!(of_account.class, Class::Auth | Class::Throttled)
        {
            *error = of_account;
        }
    }
}

pub(super) fn log_unwritten(written: Result<(), crate::store::Error>) {
    if let Err(error) = written {
        tracing::warn!(class = "storage", %error, "a failure was not recorded; a restart will not remember it");
    }
}
