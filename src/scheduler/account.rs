//! The loop of one account: a timer queue of its conversations and a limit on polls in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::RandomState;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::budget::Gate;
use super::outcome::log_unwritten;
use super::pause::{PauseChange, Pauses, Permission};
use super::poll::{Failure, Found, Poller};
use super::source::SourceState;
use super::upkeep::{Kept, Report, Request, UpkeepLoop};
use super::{Account, Polled, Shared};
use crate::providers::{self, Profile};
use crate::status::{Hold, LONGEST_SLEEP, Pulse};
use crate::store::Walk;
use crate::time::UnixMillis;

/// What a round of polls came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Polls that ended well.
    pub polled: u64,
    /// Polls that failed, and accounts that were paused.
    pub failed: u64,
    /// Messages announced.
    pub announced: u64,
    /// Conversations that failed before and were not due.
    pub still_failing: u64,
}

impl Summary {
    pub(super) fn add(&mut self, other: Summary) {
        self.polled += other.polled;
        self.failed += other.failed;
        self.announced += other.announced;
        self.still_failing += other.still_failing;
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
    pub(super) profile: &'static Profile,
    pub(super) poller: Arc<Poller>,
    pub(super) pulse: Pulse,
    pub(super) hold: Hold,
    pub(super) sources: Vec<SourceState>,
    pub(super) queue: BinaryHeap<Reverse<(Instant, usize)>>,
    tasks: JoinSet<Done>,
    /// Writes whose answer nobody waits for.
    pub(super) writes: JoinSet<()>,
    pub(super) polls_in_flight: usize,
    pub(super) pauses: Pauses,
    pub(super) failing: usize,
    pub(super) upkeep: Option<UpkeepLoop>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    /// Set for a single round: a walk goes on inside it.
    pub(super) round_began: Option<Instant>,
    pub(super) summary: Summary,
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
        self.summary.still_failing = self.sources.iter().filter(|s| s.job.failures > 0 && s.due > began).count() as u64;
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

    pub(super) fn store(&mut self, change: PauseChange) {
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

    pub(super) fn schedule(&mut self, index: usize, due: Instant) {
        self.sources[index].due = due;
        self.queue.push(Reverse((due, index)));
    }
}
