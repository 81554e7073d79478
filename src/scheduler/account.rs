//! The loop of one account: a timer queue of its conversations and a limit on polls in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Gate;
use super::failure::{self, Next};
use super::pause::{PauseChange, Pauses, Permission};
use super::poll::{self, Coverage, Failure, Found, Job, Poller};
use super::source::SourceState;
use super::upkeep::{Kept, Report, Request, UpkeepLoop};
use super::{Account, Polled, Shared};
use crate::backoff::stretched;
use crate::providers::{self, Class, Profile};
use crate::status::{Hold, LONGEST_SLEEP, Pulse};
use crate::store::{QuietPoll, Recorded, Walk};
use crate::time::UnixMillis;

/// Conversations of one account whose failure is logged one by one; an outage must not fill the log.
const FAILURES_LOGGED: usize = 10;

/// What a round of polls came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Polls that ended well.
    pub polled: u64,
    /// Polls that failed, and accounts that were paused.
    pub failed: u64,
    /// Messages announced.
    pub announced: u64,
}

impl Summary {
    pub(super) fn add(&mut self, other: Summary) {
        self.polled += other.polled;
        self.failed += other.failed;
        self.announced += other.announced;
    }
}

/// A poll that has ended, one way or the other.
struct Ended {
    index: usize,
    began: Instant,
    /// A walk to go on with.
    walk: Option<Walk>,
    dead_ends: u32,
    result: Result<Found, Failure>,
}

enum Done {
    Polls(Vec<Ended>),
    Probe(Result<(), providers::Error>),
    Upkeep,
}

pub(super) struct AccountLoop {
    profile: &'static Profile,
    poller: Arc<Poller>,
    pulse: Pulse,
    hold: Hold,
    sources: Vec<SourceState>,
    queue: BinaryHeap<Reverse<(Instant, usize)>>,
    tasks: JoinSet<Done>,
    /// Writes whose answer nobody waits for.
    writes: JoinSet<()>,
    polls_in_flight: usize,
    pauses: Pauses,
    failing: usize,
    upkeep: Option<UpkeepLoop>,
    requests: mpsc::UnboundedSender<Request>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Set for a single round: a walk goes on inside it.
    round_began: Option<Instant>,
    summary: Summary,
}

impl AccountLoop {
    pub(super) fn new(account: Account, shared: &Shared<'_>) -> Self {
        let pulse = shared.progress.register(format!("scheduler of {}", account.name));
        let (now, clock) = (UnixMillis::now(), Instant::now());
        let (requests, upkeep_requests) = mpsc::unbounded_channel();
        let (upkeep_reports, reports) = mpsc::unbounded_channel();
        let polling = account.polling;
        let poller = Arc::new(Poller {
            account: account.name,
            provider_name: account.profile.name,
            provider: account.provider,
            store: shared.store.clone(),
            gate: Gate::new(account.budget),
            polling,
            keys: RandomState::new(),
        });
        let kept = || {
            let kept = |p: &Polled| Kept {
                source: p.source.id,
                conversation: Arc::clone(&p.conversation),
                row: p.source.sync.clone(),
            };
            account.conversations.iter().map(kept).collect()
        };
        let upkeep = poller
            .provider
            .upkeep()
            .map(|_| UpkeepLoop::new(Arc::clone(&poller), kept(), upkeep_requests, upkeep_reports));
        let sources: Vec<_> =
            account.conversations.into_iter().map(|p| SourceState::new(p, &polling, now, clock)).collect();
        let pauses = Pauses::new(account.id, account.profile, Arc::clone(&poller), account.pause, now);
        Self {
            profile: account.profile,
            poller,
            pulse,
            hold: shared.hold.clone(),
            queue: sources.iter().enumerate().map(|(index, s)| Reverse((s.due, index))).collect(),
            failing: sources.iter().filter(|s| s.job.failures > 0).count(),
            sources,
            tasks: JoinSet::new(),
            writes: JoinSet::new(),
            polls_in_flight: 0,
            pauses,
            upkeep,
            requests,
            reports,
            round_began: None,
            summary: Summary::default(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        if let Some(upkeep) = self.upkeep.take() {
            let stop = stop.clone();
            self.tasks.spawn(async move {
                upkeep.run(stop).await;
                Done::Upkeep
            });
        }
        loop {
            self.pulse.beat();
            self.start_due(Instant::now());
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.tasks.join_next() => self.take(done),
                Some(()) = async { self.writes.join_next().await.map(drop) } => {}
                Some(report) = self.reports.recv() => self.hear(report),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        // Whoever reads the store next must not meet a poll that commits behind its back.
        self.tasks.shutdown().await;
        while self.writes.join_next().await.is_some() {}
    }

    pub(super) async fn run_once(mut self, stop: CancellationToken) -> Summary {
        let began = Instant::now();
        self.round_began = Some(began);
        loop {
            self.start_due(began);
            if self.polls_in_flight == 0 && !self.pauses.is_probing() {
                break;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.summary,
                Some(done) = self.tasks.join_next() => self.take(done),
            }
        }
        if self.pauses.look_again().is_some() {
            self.summary.failed += 1;
        } else if let Some(upkeep) = self.upkeep.take() {
            upkeep.run_once().await;
        }
        while self.tasks.join_next().await.is_some() {}
        while self.writes.join_next().await.is_some() {}
        self.summary
    }

    fn next_wake(&self) -> Instant {
        let latest = Instant::now() + LONGEST_SLEEP;
        let next = match self.pauses.look_again() {
            _ if self.hold.is_set() => latest,
            Some(at) => at.unwrap_or(latest),
            None if self.polls_in_flight >= self.poller.polling.concurrency => latest,
            None => self.queue.peek().map_or(latest, |Reverse((at, _))| *at),
        };
        next.min(latest)
    }

    /// Starts the polls that are due and may run.
    fn start_due(&mut self, now: Instant) {
        if self.hold.is_set() || !self.may_ask(now) {
            return;
        }
        while self.polls_in_flight < self.poller.polling.concurrency {
            let Some(first) = self.pop_due(now) else { return };
            let mut batch = vec![first];
            while batch.len() < self.poller.polling.batch_size && self.sources[first].can_share() {
                let Some(next) = self.pop_due(now) else { break };
                if self.sources[next].can_share() {
                    batch.push(next);
                } else {
                    self.sources[next].in_flight = false;
                    self.schedule(next, self.sources[next].due);
                    break;
                }
            }
            self.spawn_polls(batch);
        }
    }

    fn may_ask(&mut self, now: Instant) -> bool {
        match self.pauses.permission(now) {
            Permission::Granted => true,
            Permission::Denied => false,
            Permission::PauseOver(change) => {
                self.store(change);
                true
            }
            Permission::ProbeFirst => {
                let poller = Arc::clone(&self.poller);
                self.tasks.spawn(async move {
                    poller.gate.admit_probe().await;
                    Done::Probe(poller.provider.probe().await)
                });
                false
            }
        }
    }

    fn store(&mut self, change: PauseChange) {
        let store = self.poller.store.clone();
        self.writes.spawn(async move { log_unwritten(store.record_pause(change.account, change.pause).await) });
    }

    /// Takes the conversation at the head of the queue if it is due; it counts as in flight from now on. Entries that
    /// have been overtaken are dropped.
    fn pop_due(&mut self, now: Instant) -> Option<usize> {
        while let Some(&Reverse((at, index))) = self.queue.peek() {
            if at > now {
                return None;
            }
            self.queue.pop();
            let source = &mut self.sources[index];
            if source.due == at && !source.in_flight {
                source.in_flight = true;
                return Some(index);
            }
        }
        None
    }

    fn spawn_polls(&mut self, batch: Vec<usize>) {
        let began = Instant::now();
        let mut jobs: Vec<_> = batch
            .iter()
            .map(|&index| {
                let source = &mut self.sources[index];
                // A walk that goes on is as deep as it began.
                if source.job.walk.is_none() {
                    source.job.recheck = began >= source.recheck_due && !source.job.first_contact;
                }
                source.job.clone()
            })
            .collect();
        self.polls_in_flight += 1;
        let poller = Arc::clone(&self.poller);
        self.tasks.spawn(async move {
            let mut results = poller.poll_together(&mut jobs).await;
            for (result, job) in results.iter_mut().zip(&jobs) {
                poller.check_account_after(result, job).await;
            }
            let ended = batch.into_iter().zip(jobs).zip(results);
            Done::Polls(
                ended
                    .map(|((index, job), result)| Ended {
                        index,
                        began,
                        walk: job.walk,
                        dead_ends: job.dead_ends,
                        result,
                    })
                    .collect(),
            )
        });
    }

    fn take(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Polls(results)) => {
                self.polls_in_flight -= 1;
                for Ended { index, began, walk, dead_ends, result } in results {
                    self.sources[index].in_flight = false;
                    self.sources[index].job.walk = walk;
                    self.sources[index].job.dead_ends = dead_ends;
                    match result {
                        Ok(found) => self.succeeded(index, began, found),
                        Err(failure) => self.failed(index, failure),
                    }
                    if std::mem::take(&mut self.sources[index].nudged) {
                        self.schedule(index, Instant::now());
                    }
                }
            }
            Ok(Done::Probe(result)) => {
                if let Some(change) = self.pauses.probed(result) {
                    self.store(change);
                }
            }
            Ok(Done::Upkeep) => {}
            Err(error) => debug_assert!(error.is_cancelled(), "a panic ends the process in the panic hook"),
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::PollNow(index) if self.sources[index].in_flight => self.sources[index].nudged = true,
            Report::PollNow(index) => self.schedule(index, Instant::now()),
            Report::Failed(index, error) => self.failed(index, Failure::Provider(error)),
        }
    }

    fn schedule(&mut self, index: usize, due: Instant) {
        self.sources[index].due = due;
        self.queue.push(Reverse((due, index)));
    }

    fn succeeded(&mut self, index: usize, began: Instant, found: Found) {
        self.summary.polled += 1;
        self.pauses.forget_row();
        self.recovered(index);
        let now = UnixMillis::now();
        let (cadence, id) = (self.sources[index].job.cadence, self.sources[index].job.source);
        let due = match found {
            Found::Quiet(coverage) => {
                let interval = poll::interval(cadence, id, self.sources[index].job.last_message_at, now);
                self.poller.store.record_quiet_poll(QuietPoll {
                    source: id,
                    polled_at: now,
                    verified_until: coverage.verified_until,
                    lapsed_at: coverage.lapsed_at,
                    due_at: now + interval,
                });
                self.cover(index, coverage);
                began + interval
            }
            Found::Recorded { recorded, coverage, fingerprint, backfill } => {
                self.recorded(index, &recorded, fingerprint, backfill);
                self.cover(index, coverage);
                began + poll::interval(cadence, id, recorded.last_message_at, now)
            }
            Found::WalkGoesOn => {
                let job = &self.sources[index].job;
                let pages = job.walk.as_ref().map(|walk| walk.pages);
                tracing::info!(account = %self.poller.account, conversation = %job.conversation.id, pages,
                    "a long walk goes on in the next poll");
                self.round_began.unwrap_or_else(Instant::now)
            }
        };
        self.schedule(index, due);
    }

    fn recorded(&mut self, index: usize, recorded: &Recorded, fingerprint: u64, backfill: bool) {
        self.summary.announced += u64::from(recorded.announced);
        let first_contact = self.sources[index].job.first_contact;
        let source = &mut self.sources[index];
        if first_contact {
            tracing::info!(account = %self.poller.account, conversation = %source.job.conversation.id,
                announced = recorded.announced, silent = recorded.silent, "following the conversation");
        } else if recorded.announced + recorded.edited > 0 {
            tracing::debug!(account = %self.poller.account, conversation = %source.job.conversation.id,
                new = recorded.announced, edited = recorded.edited, backfill, "recorded");
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
        source.job.lapsed_at = coverage.lapsed_at;
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

    fn failed(&mut self, index: usize, failure: Failure) {
        match failure {
            Failure::Paused => {
                let at = self.pauses.look_again().flatten();
                self.schedule(index, at.unwrap_or_else(Instant::now));
            }
            Failure::Store(error) => {
                self.summary.failed += 1;
                // What cannot be retried ends the daemon, which listens to the store itself.
                tracing::warn!(account = %self.poller.account, conversation = %self.sources[index].job.conversation.id,
                    class = "storage", %error, "the poll was not recorded and counts as not made; next try in 5 s");
                self.schedule(index, Instant::now() + LONGEST_SLEEP);
            }
            Failure::Provider(error) => self.refused(index, &error),
        }
    }

    fn refused(&mut self, index: usize, error: &providers::Error) {
        self.summary.failed += 1;
        let source = &mut self.sources[index];
        let failures = source.job.failures + 1;
        let seed = source.job.source.seed();
        let wait = match failure::next(error, failures, self.pauses.in_a_row() + 1, self.profile, seed) {
            Next::PauseAccount(wait) => {
                let due = source.due;
                if let Some(change) = self.pauses.enter(error, wait) {
                    self.store(change);
                }
                self.schedule(index, due);
                return;
            }
            Next::Retry(wait) => wait.max(source.job.cadence.min_interval),
            Next::Upkeep(wait) => {
                drop(self.requests.send(Request::Needed(index)));
                wait
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
        self.schedule(index, Instant::now() + wait);
    }
}

impl Poller {
    /// Looks at the account where a conversation's failure may be the account's: its error then counts instead.
    async fn check_account_after(&self, result: &mut Result<Found, Failure>, job: &Job) {
        if let Err(Failure::Provider(error)) = result
            && failure::suspects_account(error, job.failures + 1)
            && self.gate.admit().await.is_ok()
            && let Err(of_account) = self.provider.probe().await
            && matches!(of_account.class, Class::Auth | Class::Throttled)
        {
            *error = of_account;
        }
    }
}

fn log_unwritten(written: Result<(), crate::store::Error>) {
    if let Err(error) = written {
        tracing::warn!(class = "storage", %error, "a failure was not recorded; a restart will not remember it");
    }
}
