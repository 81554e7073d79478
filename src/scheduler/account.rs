//! The loop of one account: a timer queue of its conversations and a limit on polls in flight.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::balance::BalanceWatch;
use super::command::{Command, Rewinding};
use super::credits::Credits;
use super::gate::{Books, Closed, Gate, Heard};
use super::job::{Bounds, Job};
use super::monitoring::Monitors;
use super::outcome::log_unwritten;
use super::pacing::Spent;
use super::pause::{PauseChange, Pauses, Permission};
use super::poll::{Failure, Found, Poller};
use super::reading::Reading;
use super::rhythm::tell_if_stretched;
use super::slot::Now;
use super::source::{self, SourceState};
use super::sweep::{Stepped, Sweeps};
use super::timetable::Timetable;
use super::upkeep::{Kept, Report, Request, UpkeepLoop};
use super::{Account, Polled, QuietHours, Shared};
use crate::providers::{self, Asides, Call, Class, Profile};
use crate::status::{Hold, LONGEST_SLEEP, Pulse};
use crate::store::SourceId;
use crate::time::{self, UnixMillis};

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
pub(super) struct Ended {
    index: usize,
    began: Instant,
    /// As the poll leaves it.
    job: Job,
    result: Result<Found, Failure>,
}

pub(super) enum Done {
    Polls(Vec<Ended>),
    Probe(Result<(), providers::Error>),
    Swept(Stepped),
    /// When to ask again.
    Balance(Duration),
    Rewound(Box<Rewinding>),
    Upkeep,
}

pub(super) struct AccountLoop {
    pub(super) profile: &'static Profile,
    pub(super) poller: Arc<Poller>,
    pub(super) pulse: Pulse,
    pub(super) hold: Hold,
    pub(super) sources: Vec<SourceState>,
    pub(super) by_row: HashMap<SourceId, usize>,
    /// When each of them is polled next, at the same index.
    pub(super) timetable: Timetable,
    pub(super) tasks: JoinSet<Done>,
    /// Those of them that go on aside.
    asides: Asides,
    /// Writes whose answer nobody waits for.
    pub(super) writes: JoinSet<()>,
    pub(super) polls_in_flight: usize,
    pub(super) quiet_hours: Option<QuietHours>,
    /// The learnt rate that has been written down.
    pub(super) learnt: Option<f64>,
    /// How long the machine had slept when the loop last came round.
    pub(super) slept: Duration,
    /// Requests that looked at conversations.
    pub(super) looks: u64,
    pub(super) pauses: Pauses,
    pub(super) failing: usize,
    /// Said once a day.
    pub(super) out_of_credits_until: Option<UnixMillis>,
    pub(super) upkeep: Option<UpkeepLoop>,
    pub(super) requests: mpsc::UnboundedSender<Request>,
    pub(super) reports: mpsc::UnboundedReceiver<Report>,
    pub(super) sweeps: Option<Sweeps>,
    pub(super) balance: Option<BalanceWatch>,
    commands: (mpsc::UnboundedSender<Command>, mpsc::UnboundedReceiver<Command>),
    /// Until no poll of it is in flight.
    pub(super) rewinds: Vec<Rewinding>,
    /// Set for a single round: a walk goes on inside it.
    pub(super) round_began: Option<Instant>,
    pub(super) summary: Summary,
}

impl AccountLoop {
    pub(super) fn new(account: Account, shared: &Shared<'_>) -> Self {
        let pulse = shared.progress.register(format!("scheduler of {}", account.name));
        let now = Now::read();
        let (requests, upkeep_requests) = mpsc::unbounded_channel();
        let (upkeep_reports, reports) = mpsc::unbounded_channel();
        let polling = account.polling;
        let prices = Call::ALL.map(|call| account.provider.price(call));
        let credits = prices.iter().any(|price| *price > 0).then(|| {
            Credits::new(shared.store.clone(), account.id, account.credits, account.calendar.clone(), account.spent)
        });
        let books = Books { store: shared.store.clone(), account: account.id, calendar: account.calendar };
        let gate = Gate::new(account.name.clone(), account.budget, prices, credits, books);
        let poller = Arc::new(Poller {
            account: account.name,
            account_id: account.id,
            provider_name: account.profile.name,
            provider: account.provider,
            store: shared.store.clone(),
            gate,
            hold: shared.hold.clone(),
            polling,
            bounds: Bounds::of(&polling),
            keys: RandomState::new(),
            looking: tokio::sync::Mutex::default(),
            others_wait: AtomicBool::new(false),
            odd: super::odd::OddFields::default(),
        });
        let kept = || {
            let kept = |p: &Polled| Kept {
                source: p.source.id,
                conversation: Arc::clone(&p.conversation),
                row: p.source.sync.clone(),
                has_left: false,
            };
            account.conversations.iter().map(kept).collect()
        };
        // What the inbox lists is collected as an inbox, not one by one.
        let upkeep = poller
            .provider
            .upkeep()
            .filter(|_| account.sweep.is_none_or(|sweep| !sweep.discover))
            .map(|_| UpkeepLoop::new(Arc::clone(&poller), kept(), upkeep_requests, upkeep_reports));
        let mark = account.credits.average_day();
        let balance = poller.provider.balance().map(|_| BalanceWatch::new(mark, account.balance, (now.clock, now.at)));
        let known = account.conversations.into_iter().map(|polled| source::known(polled, &polling, now));
        let (sources, slots): (Vec<_>, Vec<_>) = known.unzip();
        let mut timetable = Timetable::new(polling.batch_size, slots);
        let is_quiet = account.quiet_hours.as_ref().is_some_and(|hours| hours.hold(now.clock));
        timetable.set_quiet(is_quiet);
        tell_if_stretched(&poller, timetable.solve(poller.gate.rate(), Spent::default(), now));
        let pauses = Pauses::new(account.id, account.profile, Arc::clone(&poller), account.pause, now.clock);
        let monitors = poller.provider.inbox().and_then(|inbox| inbox.monitoring()).map(|_| Monitors::default());
        let sweeps = account.sweep.map(|settings| Sweeps::new(settings, account.folders, monitors, now.at));
        Self {
            profile: account.profile,
            poller,
            pulse,
            hold: shared.hold.clone(),
            by_row: sources.iter().enumerate().map(|(index, s)| (s.job.source, index)).collect(),
            timetable,
            failing: sources.iter().filter(|s| s.job.failures > 0).count(),
            out_of_credits_until: None,
            sources,
            tasks: JoinSet::new(),
            asides: Asides::default(),
            writes: JoinSet::new(),
            polls_in_flight: 0,
            quiet_hours: account.quiet_hours,
            learnt: None,
            slept: time::slept(),
            looks: 0,
            pauses,
            upkeep,
            requests,
            reports,
            sweeps,
            balance,
            commands: mpsc::unbounded_channel(),
            rewinds: vec![],
            round_began: None,
            summary: Summary::default(),
        }
    }

    /// The way to tell this loop something.
    pub(super) fn commands(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.0.clone()
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        if let Some(upkeep) = self.upkeep.take() {
            let stop = stop.clone();
            self.tasks.spawn(async move {
                upkeep.run(stop).await;
                Done::Upkeep
            });
        }
        self.timetable.catch_up(Now::read());
        loop {
            self.pulse.beat();
            self.keep_pace(Now::read());
            self.start_due(Instant::now());
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.tasks.join_next() => self.take(done),
                Some(()) = async { self.writes.join_next().await.map(drop) } => {}
                Some(report) = self.reports.recv() => self.hear(report),
                Some(command) = self.commands.1.recv() => self.obey(command),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
        self.cut_off().await;
        self.ended().await;
    }

    pub(super) async fn run_once(mut self, stop: CancellationToken) -> Summary {
        let began = Instant::now();
        let waits = |index: usize| self.timetable.slot(index).next().0 > began;
        let failing = self.sources.iter().enumerate().filter(|(index, s)| s.job.failures > 0 && waits(*index));
        self.summary.still_failing = failing.count() as u64;
        self.round_began = Some(began);
        loop {
            self.start_due(began);
            let may_go_on = !self.hold.is_set() && self.sweep_goes_on(began);
            if self.polls_in_flight == 0 && !self.pauses.is_probing() && !may_go_on {
                break;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    // What has been asked is counted, whatever becomes of the answers.
                    self.cut_off().await;
                    return self.ended().await;
                }
                Some(done) = self.tasks.join_next() => self.take(done),
            }
        }
        if self.pauses.look_again().is_some() {
            self.summary.failed += 1;
        } else if let Some(upkeep) = self.upkeep.take() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = upkeep.run_once() => {}
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = async { while self.tasks.join_next().await.is_some() {} } => {}
        }
        self.cut_off().await;
        self.ended().await
    }

    /// Ends what is under way. Whoever reads the store next must not meet a poll that commits behind its back.
    async fn cut_off(&mut self) {
        self.tasks.shutdown().await;
        self.asides.tracker.close();
        self.asides.tracker.wait().await;
        log_unwritten(self.poller.store.reading_is_over().await);
    }

    /// Writes down what is left to be written.
    async fn ended(&mut self) -> Summary {
        self.record_rate();
        while self.writes.join_next().await.is_some() {}
        self.summary
    }

    fn next_wake(&self) -> Instant {
        let now = Instant::now();
        let latest = now + LONGEST_SLEEP;
        let next = match self.pauses.look_again() {
            _ if self.hold.is_set() => latest,
            Some(at) => at.unwrap_or(latest),
            None if self.polls_in_flight >= self.poller.polling.concurrency => {
                self.next_to_give_way(now).unwrap_or(latest)
            }
            None => {
                let balance = self.balance.as_ref().and_then(BalanceWatch::next);
                let next = [self.timetable.next(now), self.next_sweep(), balance].into_iter().flatten().min();
                next.unwrap_or(latest)
            }
        };
        next.min(latest)
    }

    /// When a long walk in flight is next to be told that others wait.
    fn next_to_give_way(&self, now: Instant) -> Option<Instant> {
        let is_told = self.poller.others_wait.load(Ordering::Relaxed);
        let next = [self.timetable.next_to_become_due(), self.next_sweep()].into_iter().flatten().min();
        next.filter(|at| !is_told && *at > now)
    }

    /// Starts the polls that are due and may run.
    fn start_due(&mut self, now: Instant) {
        if self.hold.is_set() || !self.may_ask(now) {
            return;
        }
        self.start_balance(now);
        self.start_sweep(now);
        while self.polls_in_flight < self.poller.polling.concurrency {
            let Some(first) = self.timetable.take(now) else { break };
            let mut batch = vec![first];
            while batch.len() < self.poller.polling.batch_size && self.sources[first].can_share() {
                let Some(next) = self.timetable.take_to_share(now) else { break };
                if self.sources[next].can_share() {
                    batch.push(next);
                } else {
                    self.timetable.put_back(next);
                    break;
                }
            }
            self.spawn_polls(batch);
        }
        let is_full = self.polls_in_flight >= self.poller.polling.concurrency;
        let a_sweep_waits = self.next_sweep().is_some_and(|due| due <= now);
        let others_wait = is_full && (a_sweep_waits || self.timetable.has_due(now));
        self.poller.others_wait.store(others_wait, Ordering::Relaxed);
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
                let watch = Reading::of_account(&self.poller.store);
                self.spawn(watch, async move { Done::Probe(poller.probe().await) });
                false
            }
        }
    }

    pub(super) fn store(&mut self, change: PauseChange) {
        let store = self.poller.store.clone();
        self.writes.spawn(async move { log_unwritten(store.record_pause(change.account, change.pause).await) });
    }

    fn spawn_polls(&mut self, batch: Vec<usize>) {
        let began = Instant::now();
        let mut jobs: Vec<_> = batch
            .iter()
            .map(|&index| {
                self.timetable.begin(index, began);
                let source = &mut self.sources[index];
                source.job.rhythm = self.timetable.rhythm(index);
                // A walk that goes on is as deep as it began.
                if source.job.walk.is_none() {
                    source.job.recheck = began >= source.recheck_due && !source.job.first_contact;
                }
                source.job.clone()
            })
            .collect();
        self.polls_in_flight += 1;
        // What a walk takes is measured as what looks leave.
        self.looks += u64::from(jobs.iter().all(|job| job.walk.is_none()));
        let poller = Arc::clone(&self.poller);
        let sources = jobs.iter().map(|job| job.source).collect();
        let watch = Arc::new(Reading { store: self.poller.store.clone(), sources });
        self.spawn(watch, async move {
            let mut results = poller.poll_together(&mut jobs).await;
            for (result, job) in results.iter_mut().zip(&jobs) {
                poller.check_account_after(result, job).await;
            }
            let ended = batch.into_iter().zip(jobs).zip(results);
            Done::Polls(ended.map(|((index, job), result)| Ended { index, began, job, result }).collect())
        });
    }

    /// Does what may meet a large answer; from then on away from this thread.
    pub(super) fn spawn(&mut self, watch: Arc<Reading>, work: impl Future<Output = Done> + Send + 'static) {
        let asides = self.asides.clone();
        self.tasks.spawn(async move { providers::aside(work, watch, &asides).await });
    }

    fn take(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Polls(results)) => {
                self.polls_in_flight -= 1;
                for Ended { index, began, job, result } in results {
                    self.timetable.end(index);
                    let source = &mut self.sources[index];
                    (source.job.walk, source.job.dead_ends, source.job.gaps) =
                        (job.walk.clone(), job.dead_ends, job.gaps);
                    match result {
                        Ok(found) => self.succeeded(index, began, found, &job),
                        Err(failure) => self.failed(index, failure),
                    }
                    self.timetable.nudge_waiting(index, Instant::now());
                }
                self.start_rewinds();
            }
            Ok(Done::Swept(stepped)) => {
                self.polls_in_flight -= 1;
                self.swept(stepped);
            }
            Ok(Done::Rewound(rewinding)) => {
                self.rewound(*rewinding);
                self.start_rewinds();
            }
            Ok(Done::Probe(result)) => {
                if let Some(change) = self.pauses.probed(result) {
                    self.store(change);
                }
            }
            Ok(Done::Balance(wait)) => self.balanced(wait),
            Ok(Done::Upkeep) => {}
            Err(error) => debug_assert!(error.is_cancelled(), "a panic ends the process in the panic hook"),
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::PollNow(index) => self.nudge(index),
            Report::Failed(index, error) => self.failed(index, Failure::Provider(error)),
        }
    }

    /// Has a conversation polled before whatever is merely due.
    pub(super) fn nudge(&mut self, index: usize) {
        self.timetable.nudge(index, Instant::now());
    }
}

impl Poller {
    async fn probe(&self) -> Result<(), providers::Error> {
        let permit = self.gate.admit_probe().await.map_err(|closed| match closed {
            Closed::OutOfCredits { period, until } => {
                let spent = format!("the credits of the {} are spent, and a probe costs one", period.as_str());
                providers::Error::new(Class::Auth, spent).with_wait(Some(until.since(UnixMillis::now())))
            }
            Closed::Store(error) => providers::Error::new(Class::Auth, format!("the probe could not be made: {error}")),
            Closed::Paused => providers::Error::new(Class::Auth, "the probe could not be made: the account is paused"),
        })?;
        let probed = self.provider.probe().await;
        let heard = if self.provider.price(Call::Account) > 0 { Heard::unpriced } else { |p: &_| Heard::costing(0, p) };
        self.gate.settle(permit, heard(&probed)).await;
        probed
    }
}
