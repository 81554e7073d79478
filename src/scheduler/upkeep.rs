//! Keeping conversations collected, where the provider has to be told to collect them.
//!
//! A start is not idempotent and its answer may be lost, so it is written down before it is sent, and after a lost
//! answer the conversation is polled first: only if it is still not collected a while later is the start sent again.
//! One workflow at a time per account; the provider runs them in order anyway.

mod waits;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::waits::{pace, renewal, wait_before_start};
use super::gate::{Heard, Permit, Purpose};
use super::poll::Poller;
use crate::backoff::{mix, stretched};
use crate::model::{Conversation, ConversationType};
use crate::providers::{Call, Class, Error, Upkeep, Workflow};
use crate::store::{SourceId, SyncRow, SyncState};
use crate::time::UnixMillis;

/// Working hours begin at some point of the day; asking more often does not bring it nearer.
const PARKED_CHECK: Duration = Duration::from_secs(20 * 60);
/// Between a start whose answer was lost and the next one.
const AFTER_LOST_ANSWER: Duration = Duration::from_secs(5 * 60);
/// An account that is signed out, or at its limits, starts nothing for so long.
const SIGNED_OUT: Duration = Duration::from_secs(15 * 60);
/// A workflow that has not ended by then is given up.
const WORKFLOW_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Between two tries to store a state while the store is busy or its disk full.
const STORE_AGAIN: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the polls tell.
#[derive(Debug)]
pub(super) enum Request {
    /// A poll was refused: the conversation is not collected.
    Needed(usize),
    /// A poll succeeded; the provider collects up to here, where it says.
    Collected(usize, Option<UnixMillis>),
    /// A conversation is polled from now on: another one, which follows those there are, or one that had left.
    Keep(usize, Kept),
    /// Nobody follows it any more: nothing is started for it, and nothing asked.
    Leave(usize),
}

/// What the polls are told.
#[derive(Debug)]
pub(super) enum Report {
    /// Collected now, or perhaps: worth a poll.
    PollNow(usize),
    /// Cannot be collected.
    Failed(usize, Error),
}

/// A conversation and where its upkeep stands.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) source: SourceId,
    pub(super) conversation: Arc<Conversation>,
    pub(super) row: Option<SyncRow>,
    /// Nobody follows it any more.
    pub(super) has_left: bool,
}

pub(super) struct UpkeepLoop {
    poller: Arc<Poller>,
    kept: Vec<Kept>,
    waiting: BTreeSet<(Instant, usize)>,
    due: Vec<Option<Instant>>,
    current: Option<usize>,
    /// End of the period when the current workflow was started; `None` after a restart.
    until_before: Option<UnixMillis>,
    starts_paused_until: Option<Instant>,
    requests: mpsc::UnboundedReceiver<Request>,
    reports: mpsc::UnboundedSender<Report>,
}

impl UpkeepLoop {
    /// Both channels are unbounded because each side writes to the other; each holds at most one entry per poll.
    pub(super) fn new(
        poller: Arc<Poller>,
        kept: Vec<Kept>,
        requests: mpsc::UnboundedReceiver<Request>,
        reports: mpsc::UnboundedSender<Report>,
    ) -> Self {
        let (now, clock) = (UnixMillis::now(), Instant::now());
        let mut upkeep = Self {
            poller,
            due: vec![None; kept.len()],
            kept,
            waiting: BTreeSet::new(),
            current: None,
            until_before: None,
            starts_paused_until: None,
            requests,
            reports,
        };
        for index in 0..upkeep.kept.len() {
            upkeep.take_up(index, now, clock);
        }
        upkeep
    }

    /// Goes on where its row says.
    fn take_up(&mut self, index: usize, now: UnixMillis, clock: Instant) {
        let Some(row) = &self.kept[index].row else { return };
        if matches!(row.state, SyncState::Running { .. } | SyncState::Starting) {
            self.current = Some(index);
        }
        let wait = row.due_at.since(now).min(90 * DAY);
        self.schedule(index, clock + wait);
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let next = self.next();
            let wake = next.map_or_else(|| Instant::now() + DAY, |(at, _)| at);
            tokio::select! {
                // In this order: who was unfollowed is heard of before anything is started.
                biased;
                () = stop.cancelled() => return,
                request = self.requests.recv() => {
                    let Some(request) = request else { return };
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = self.take(request) => {}
                    }
                }
                () = tokio::time::sleep_until(wake), if next.is_some() => {
                    if let Some((_, index)) = next {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = self.act(index) => {}
                        }
                    }
                }
            }
        }
    }

    /// Does what is due now and returns: for a single round.
    pub(super) async fn run_once(mut self) {
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            self.take(request).await;
        }
        let now = Instant::now();
        while let Some((at, index)) = self.next()
            && at <= now
        {
            self.act(index).await;
        }
    }

    /// The workflow that runs comes before any start.
    fn next(&self) -> Option<(Instant, usize)> {
        match self.current {
            Some(index) => self.due[index].map(|at| (at, index)),
            None => self.waiting.first().copied(),
        }
    }

    fn schedule(&mut self, index: usize, at: Instant) {
        if self.kept[index].has_left {
            return;
        }
        if let Some(old) = self.due[index].replace(at) {
            self.waiting.remove(&(old, index));
        }
        self.waiting.insert((at, index));
    }

    async fn take(&mut self, request: Request) {
        let now = UnixMillis::now();
        match request {
            Request::Keep(index, kept) => self.keep(index, kept, now),
            Request::Leave(index) => self.leave(index),
            // From a poll that was under way.
            Request::Needed(index) | Request::Collected(index, _) if self.kept[index].has_left => {}
            Request::Needed(index) => {
                let row = self.kept[index].row.clone().unwrap_or_else(|| new_row(now));
                if row.state == SyncState::Idle {
                    let wait = wait_before_start(&row, now);
                    self.set(index, SyncRow { state: SyncState::Queued, ..row }, wait).await;
                }
            }
            Request::Collected(index, until) => {
                let (period, seed) = (self.period(), self.kept[index].source.seed());
                let mut row = self.kept[index].row.clone().unwrap_or_else(|| new_row(now));
                // Also when it is earlier: a period may be cut short, and whoever waits for its old end collects nothing.
                row.sync_until = until.or(row.sync_until);
                if row.period_started_at.is_none() && row.sync_until.is_none() {
                    row.period_started_at = Some(now);
                }
                match row.state {
                    SyncState::Running { .. } | SyncState::Starting => self.kept[index].row = Some(row),
                    SyncState::Idle | SyncState::Queued => {
                        let wait = renewal(&row, period, seed, now).max(wait_before_start(&row, now));
                        self.set(index, SyncRow { state: SyncState::Idle, ..row }, wait).await;
                    }
                }
            }
        }
    }

    fn keep(&mut self, index: usize, kept: Kept, now: UnixMillis) {
        match self.kept.get_mut(index) {
            // What is remembered here is at least as young as what was read from the store.
            Some(known) => *known = Kept { row: known.row.take().or(kept.row), ..kept },
            None => {
                debug_assert_eq!(index, self.kept.len(), "conversations are numbered as they come");
                self.kept.push(kept);
                self.due.push(None);
            }
        }
        self.take_up(index, now, Instant::now());
    }

    /// The row stays as it is: whoever follows the conversation again goes on from there.
    fn leave(&mut self, index: usize) {
        self.kept[index].has_left = true;
        if let Some(at) = self.due[index].take() {
            self.waiting.remove(&(at, index));
        }
        if self.current == Some(index) {
            self.current = None;
        }
    }

    /// Waits for the budget and goes on listening meanwhile. `None`: nothing is to be asked for the conversation now.
    async fn admitted(&mut self, index: usize) -> Option<Permit> {
        let poller = Arc::clone(&self.poller);
        let admitted = poller.gate.admit(Call::Collecting, Purpose::Live);
        tokio::pin!(admitted);
        let permit = loop {
            tokio::select! {
                biased;
                Some(request) = self.requests.recv() => self.take(request).await,
                permit = &mut admitted => break permit,
            }
            if self.kept[index].has_left {
                return None;
            }
        };
        if permit.is_err() {
            self.schedule(index, Instant::now() + Duration::from_secs(60));
        }
        permit.ok()
    }

    async fn act(&mut self, index: usize) {
        let now = UnixMillis::now();
        let Some(row) = self.kept[index].row.clone() else { return };
        match &row.state {
            SyncState::Idle | SyncState::Queued => self.start(index, row, now).await,
            SyncState::Starting => self.answer_lost(index, row).await,
            SyncState::Running { workflow_id } => {
                let workflow_id = workflow_id.clone();
                self.check(index, row, &workflow_id, now).await;
            }
        }
    }

    async fn start(&mut self, index: usize, row: SyncRow, now: UnixMillis) {
        if let Some(until) = self.starts_paused_until
            && Instant::now() < until
        {
            self.schedule(index, until);
            return;
        }
        let Some(permit) = self.admitted(index).await else { return };
        let started =
            SyncRow { state: SyncState::Starting, starts: row.starts + 1, started_at: Some(now), ..row.clone() };
        if !self.set(index, started.clone(), Duration::ZERO).await {
            return;
        }
        // The store may have taken its time: what was said meanwhile counts.
        while let Ok(request) = self.requests.try_recv() {
            self.take(request).await;
        }
        if self.kept[index].has_left {
            self.kept[index].row = Some(row);
            return;
        }
        self.until_before = row.sync_until;
        let Some(upkeep) = self.poller.provider.upkeep() else { return };
        let conversation = Arc::clone(&self.kept[index].conversation);
        let started_there = upkeep.start(&conversation).await;
        self.poller.gate.settle(permit, Heard::unpriced(&started_there)).await;
        match started_there {
            Ok(accepted) => {
                tracing::info!(account = %self.poller.account, conversation = %conversation.id,
                    "the provider was told to collect the conversation");
                let wait = if accepted.outside_working_hours { PARKED_CHECK } else { pace(Duration::ZERO) };
                let state = SyncState::Running { workflow_id: accepted.workflow_id };
                self.set(index, SyncRow { state, ..started }, wait).await;
            }
            Err(error) if error.class == Class::Transient && error.wait.is_none() => {
                self.answer_lost(index, started).await;
            }
            Err(error) => self.failed(index, started, error).await,
        }
    }

    async fn answer_lost(&mut self, index: usize, row: SyncRow) {
        self.report(Report::PollNow(index));
        self.set(index, SyncRow { state: SyncState::Queued, ..row }, AFTER_LOST_ANSWER).await;
    }

    async fn check(&mut self, index: usize, row: SyncRow, workflow_id: &str, now: UnixMillis) {
        let running_for = row.started_at.map_or(Duration::ZERO, |at| now.since(at));
        let Some(permit) = self.admitted(index).await else { return };
        let Some(upkeep) = self.poller.provider.upkeep() else { return };
        let status = upkeep.status(workflow_id).await;
        self.poller.gate.settle(permit, Heard::unpriced(&status)).await;
        match status {
            Ok(Workflow::Running { .. }) if running_for > WORKFLOW_LIMIT => {
                self.failed(index, row, Error::new(Class::Transient, "the workflow did not end within a day")).await;
            }
            Ok(Workflow::Running { outside_working_hours }) => {
                let wait = if outside_working_hours { PARKED_CHECK } else { pace(running_for) };
                self.schedule(index, Instant::now() + wait);
            }
            Ok(Workflow::Done { sync_until }) => self.done(index, row, sync_until, now).await,
            Ok(Workflow::Failed(error)) => self.failed(index, row, error).await,
            Err(error) if error.class == Class::NotReady => {
                self.report(Report::PollNow(index));
                self.failed(index, row, error).await;
            }
            Err(error) if matches!(error.class, Class::Transient | Class::Throttled | Class::Protocol) => {
                tracing::debug!(account = %self.poller.account, class = %error.class,
                    "the state of a workflow could not be read ({error}); asking again");
                let wait =
                    error.wait.unwrap_or(Duration::ZERO).max(pace(running_for)).max(pace(Duration::from_secs(61)));
                self.schedule(index, Instant::now() + wait);
            }
            Err(error) => self.failed(index, row, error).await,
        }
    }

    async fn done(&mut self, index: usize, row: SyncRow, sync_until: Option<UnixMillis>, now: UnixMillis) {
        // Polls may have told the new end already; what counts is whether this sync has moved it.
        let extended = sync_until.is_none() || sync_until > self.until_before.take();
        let row = SyncRow {
            state: SyncState::Idle,
            starts: 0,
            period_started_at: if extended { row.started_at } else { row.period_started_at },
            sync_until: row.sync_until.max(sync_until),
            ..row
        };
        // A sync repeated within a day may be answered without extending the period.
        let wait = if extended { renewal(&row, self.period(), self.kept[index].source.seed(), now) } else { DAY };
        tracing::info!(account = %self.poller.account, conversation = %self.kept[index].conversation.id,
            until = row.sync_until.map(tracing::field::display), "the provider collects the conversation");
        self.set(index, row, wait.max(Duration::from_secs(1))).await;
        self.report(Report::PollNow(index));
    }

    async fn failed(&mut self, index: usize, row: SyncRow, error: Error) {
        let now = UnixMillis::now();
        let conversation = Arc::clone(&self.kept[index].conversation);
        let seed = mix(self.kept[index].source.seed(), u64::from(row.starts));
        let wait = match error.class {
            Class::Auth => {
                self.starts_paused_until = Some(Instant::now() + SIGNED_OUT);
                SIGNED_OUT
            }
            Class::Gone => stretched(error.wait.unwrap_or(DAY), seed),
            _ => stretched(error.wait.unwrap_or(Duration::ZERO), seed).max(wait_before_start(&row, now)),
        };
        tracing::warn!(account = %self.poller.account, conversation = %conversation.id, class = %error.class,
            "the provider does not collect the conversation ({error}); next try in {}",
            humantime::format_duration(Duration::from_secs(wait.as_secs())));
        self.set(index, SyncRow { state: SyncState::Queued, ..row }, wait).await;
        if error.class == Class::Gone {
            self.report(Report::Failed(index, error.clone()));
            if error.whole_product {
                self.put_off(conversation.kind, &error, wait).await;
            }
        }
    }

    /// What one conversation has shown for all of its product.
    async fn put_off(&mut self, product: ConversationType, error: &Error, wait: Duration) {
        for index in (0..self.kept.len()).filter(|index| !self.kept[*index].has_left).collect::<Vec<_>>() {
            let waits = self.kept[index].row.as_ref().is_some_and(|row| row.state == SyncState::Queued);
            if self.kept[index].conversation.kind == product && waits && self.current != Some(index) {
                if let Some(row) = self.kept[index].row.clone() {
                    self.set(index, row, wait).await;
                }
                self.report(Report::Failed(index, error.clone()));
            }
        }
    }

    /// Stores a row and when to act on it, for as long as that takes: nothing may be started that a restart would not
    /// know of. False when the store is lost.
    async fn set(&mut self, index: usize, row: SyncRow, wait: Duration) -> bool {
        let in_progress = matches!(row.state, SyncState::Running { .. } | SyncState::Starting);
        let row = SyncRow { due_at: UnixMillis::now() + wait, ..row };
        while let Err(error) = self.poller.store.record_sync(self.kept[index].source, row.clone()).await {
            if !error.is_retryable() {
                // The daemon listens to the store itself and ends.
                self.schedule(index, Instant::now() + DAY);
                return false;
            }
            tracing::warn!(account = %self.poller.account, class = "storage", %error,
                "the state of a sync was not stored; trying again in {} s", STORE_AGAIN.as_secs());
            tokio::time::sleep(STORE_AGAIN).await;
        }
        self.kept[index].row = Some(row);
        self.schedule(index, Instant::now() + wait);
        if in_progress && !self.kept[index].has_left {
            self.current = Some(index);
        } else if self.current == Some(index) {
            self.current = None;
        }
        true
    }

    fn report(&self, report: Report) {
        // The account's loop has ended: nobody polls any more.
        drop(self.reports.send(report));
    }

    fn period(&self) -> Duration {
        self.poller.provider.upkeep().map_or(30 * DAY, Upkeep::period)
    }
}

fn new_row(now: UnixMillis) -> SyncRow {
    SyncRow {
        state: SyncState::Idle,
        starts: 0,
        due_at: now,
        started_at: None,
        period_started_at: None,
        sync_until: None,
    }
}
