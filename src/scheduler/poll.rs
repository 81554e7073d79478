//! One poll: from the question to the commit.
//!
//! What is new is decided here and in [`super::walk`], whatever the provider. The watermark moves only after
//! everything between the lower bound and now has been read; a walk that needs more than one page is staged as it goes
//! ([`super::read_on`]), so an error or a kill in the middle loses nothing that was read and announces nothing out of order.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Polling;
use super::gate::{Closed, Gate, Heard, Purpose};
use super::job::{Bounds, Job};
use super::odd::OddFields;
use super::walk::{self, Step};
use crate::model::{AccountName, BudgetPeriod, Unreadable};
use crate::providers::{self, Call, Class, Page, PageRequest, Proof, Provider};
use crate::status::Hold;
use crate::store::{self, AccountId, Announce, PageRecord, PollRecord, Recorded, Store, Walk};
use crate::time::UnixMillis;

/// What a poll needs to know of its account; shared by all of them.
pub(super) struct Poller {
    pub(super) account: AccountName,
    pub(super) account_id: AccountId,
    pub(super) provider_name: &'static str,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Store,
    pub(super) gate: Gate,
    pub(super) hold: Hold,
    pub(super) polling: Polling,
    pub(super) bounds: Bounds,
    pub(super) keys: RandomState,
    /// Held by whoever looks at the account.
    pub(super) looking: tokio::sync::Mutex<()>,
    /// More is due than may be in flight: a long walk gives way.
    pub(super) others_wait: AtomicBool,
    pub(super) odd: OddFields,
}

/// How a poll ended well.
#[derive(Debug)]
pub(super) enum Found {
    /// The answer was the same as that of the poll before.
    Quiet(Coverage),
    /// Recorded; the fingerprint belongs to the page, zero where there were several.
    Recorded { recorded: Recorded, coverage: Coverage, fingerprint: u64 },
    /// The page limit came first; the walk goes on in the next poll.
    WalkGoesOn,
}

/// How far the answer proves that nothing is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Coverage {
    pub(super) verified_until: Option<UnixMillis>,
    /// The provider collects up to here.
    pub(super) collected_until: Option<UnixMillis>,
    /// It stopped collecting in the past, here.
    pub(super) lapsed_at: Option<UnixMillis>,
}

impl Coverage {
    pub(super) fn of(proof: Proof, job: &Job, asked_at: UnixMillis) -> Self {
        let proved = |until| Self { verified_until: Some(until), collected_until: None, lapsed_at: None };
        match proof {
            Proof::Now => proved(asked_at),
            Proof::SeenCollecting(at) => proved(asked_at.min(at)),
            Proof::CollectedUntil(until) => Self {
                verified_until: Some(asked_at.min(until)),
                collected_until: Some(until),
                lapsed_at: (until < asked_at).then_some(until),
            },
            // Not before everything was last known to be there.
            Proof::Stopped => {
                let lapsed_at = job.lapsed_at.or(job.verified_until).unwrap_or(asked_at);
                Self { verified_until: None, collected_until: None, lapsed_at: Some(lapsed_at) }
            }
            Proof::Cached => Self::standing(job),
        }
    }

    /// Nothing is proved and nothing has changed.
    pub(super) fn standing(job: &Job) -> Self {
        Self { verified_until: None, collected_until: None, lapsed_at: job.lapsed_at }
    }
}

/// How a poll ended badly. The watermark is where it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Provider(#[from] providers::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Not asked at all: the account was paused meanwhile.
    #[error("the account is paused")]
    Paused,
    /// Not asked at all: there are credits again then.
    #[error("the credits of the {} are spent", period.as_str())]
    OutOfCredits { period: BudgetPeriod, until: UnixMillis },
}

impl From<Closed> for Failure {
    fn from(closed: Closed) -> Self {
        match closed {
            Closed::Paused => Self::Paused,
            Closed::OutOfCredits { period, until } => Self::OutOfCredits { period, until },
            Closed::Store(error) => Self::Store(error),
        }
    }
}

impl Poller {
    /// Polls several conversations in one request where that works, else singly. Answers in the order of the jobs.
    pub(super) async fn poll_together(&self, jobs: &mut [Job]) -> Vec<Result<Found, Failure>> {
        if let [job] = jobs {
            return vec![self.poll(job).await];
        }
        let asked_at = UnixMillis::now();
        let requests: Vec<_> = jobs
            .iter()
            .map(|job| PageRequest {
                conversation: &job.conversation,
                since: job.lower_bound(self.bounds, asked_at),
                cursor: None,
            })
            .collect();
        let admitted = match self.look_at_account(Purpose::Live).await {
            Ok(()) => self.gate.admit(Call::Page, Purpose::Live).await,
            Err(closed) => Err(closed),
        };
        let permit = match admitted {
            Ok(permit) => permit,
            Err(closed) => return jobs.iter().map(|_| Err(closed.clone().into())).collect(),
        };
        let batch = self.provider.batch(&requests).await;
        self.gate.settle(permit, Heard::unpriced(&batch)).await;
        let pages = match batch {
            Ok(pages) => pages,
            // About the account or the way to it, not about any one of them.
            Err(error) if matches!(error.class, Class::Auth | Class::Throttled | Class::Transient) => {
                return jobs.iter().map(|_| Err(error.clone().into())).collect();
            }
            Err(error) => {
                tracing::debug!(account = %self.account, class = %error.class, conversation = %jobs[0].conversation.id,
                    count = jobs.len(), "a batch failed as a whole ({error}); asking singly");
                jobs.iter().map(|_| Err(error.clone())).collect()
            }
        };
        // Recorded beside each other, so that they share a commit.
        let taken = jobs.iter_mut().zip(pages).map(async |(job, page)| match page {
            Ok(page) => {
                self.tell_odd(&page.unreadable);
                Some(self.take_first_page(job, page, asked_at).await)
            }
            Err(_) => None,
        });
        let taken = futures_util::future::join_all(taken).await;
        let mut results = Vec::with_capacity(jobs.len());
        for (job, result) in jobs.iter_mut().zip(taken) {
            results.push(match result {
                Some(result) => result,
                None => self.poll(job).await,
            });
        }
        results
    }

    /// Polls one conversation. A walk that does not come to its end stays in the job, whatever ended it.
    pub(super) async fn poll(&self, job: &mut Job) -> Result<Found, Failure> {
        if let Some(walk) = job.walk.clone() {
            // Its newest page is older than what a sweep may have shown since: that is for the next poll.
            let mark = job.mark.take();
            let mut found = self.read_on(job, walk).await;
            if let Ok(Found::Recorded { recorded, .. }) = &mut found {
                recorded.mark_kept = mark.is_none();
            }
            job.mark = mark;
            return found;
        }
        let asked_at = UnixMillis::now();
        let page = self.page(job, job.lower_bound(self.bounds, asked_at), None).await?;
        self.take_first_page(job, page, asked_at).await
    }

    pub(super) async fn page(
        &self,
        job: &Job,
        since: Option<UnixMillis>,
        cursor: Option<&str>,
    ) -> Result<Page, Failure> {
        self.look_at_account(job.purpose()).await?;
        let mut page = self.ask(job, since, cursor).await?;
        if page.awaits_account {
            self.look_at_account(job.purpose()).await?;
            page = self.ask(job, since, cursor).await?;
        }
        if page.proof == Proof::Cached {
            tracing::debug!(account = %self.account, conversation = %job.conversation.id,
                "the provider answered from a cache although it was told not to; that proves nothing");
        }
        Ok(page)
    }

    async fn ask(&self, job: &Job, since: Option<UnixMillis>, cursor: Option<&str>) -> Result<Page, Failure> {
        providers::let_go();
        let permit = self.gate.admit(Call::Page, job.purpose()).await?;
        let page = self.provider.page(PageRequest { conversation: &job.conversation, since, cursor }).await;
        self.gate.settle(permit, Heard::page(&page)).await;
        let page = page?;
        self.tell_odd(&page.unreadable);
        Ok(page)
    }

    /// Looks at the account where the provider needs that to judge what comes next. One look serves
    /// all who wait for it.
    pub(super) async fn look_at_account(&self, purpose: Purpose) -> Result<(), Closed> {
        if !self.provider.wants_account() {
            return Ok(());
        }
        providers::let_go();
        let _one_at_a_time = self.looking.lock().await;
        if !self.provider.wants_account() {
            return Ok(());
        }
        let permit = self.gate.admit(Call::Account, purpose).await?;
        let looked = self.provider.look_at_account().await;
        self.gate.settle(permit, Heard::costing(0, &looked)).await;
        // What follows from a look that has failed the page says.
        Ok(())
    }

    async fn take_first_page(&self, job: &mut Job, mut page: Page, asked_at: UnixMillis) -> Result<Found, Failure> {
        let announce = job.announce(self.bounds, asked_at);
        let low = match announce {
            Announce::Baseline { overlap } => {
                let newest = page.messages.iter().filter_map(|m| m.sent_at).max();
                newest.map(|newest| newest.min(asked_at) - overlap)
            }
            Announce::New { .. } | Announce::After { .. } => job.lower_bound(self.bounds, asked_at),
        };
        let fingerprint = walk::fingerprint(&page, &self.keys);
        let coverage = Coverage::of(page.proof, job, asked_at);
        let mut step = walk::step(&page, low);
        if let Step::StartOverIfNew(cursor) = &step
            && job.watermark > page.messages.iter().filter_map(|m| m.sent_at).max()
        {
            // The youngest message known is not in it: it was cut at the young end, where new ones would be.
            step = Step::StartOver(cursor.clone());
        }
        if matches!(step, Step::Complete | Step::StartOverIfNew(_)) && is_quiet(job, coverage, fingerprint, asked_at) {
            return Ok(Found::Quiet(coverage));
        }
        let nothing = || (vec![], Unreadable::default());
        let (cursor, (staged, unreadable)) = match step {
            Step::StartOverIfNew(cursor) if !self.knows_all(job, &page).await? => (Some(cursor), nothing()),
            Step::Complete | Step::StartOverIfNew(_) => (None, nothing()),
            Step::StartOver(cursor) => (Some(cursor), nothing()),
            Step::GoOn(cursor) => {
                let page = std::mem::take(&mut page);
                (Some(cursor), (page.messages, page.unreadable))
            }
        };
        if cursor.is_none() {
            return self.record(job, page, Recording { announce, coverage, fingerprint, low, ends_walk: false }).await;
        }
        // The next one may be as large, and waits for room.
        drop(page);
        let walk = Walk {
            low,
            cursor,
            baseline: matches!(announce, Announce::Baseline { .. }),
            route: announce.route(),
            started_at: asked_at,
            pages: 1,
            messages: staged.len() as u64,
            proved_until: coverage.verified_until,
            has_gap: false,
            unreadable: unreadable.items,
        };
        let record = PageRecord { source: job.source, walk: walk.clone(), messages: staged, unreadable };
        self.store.stage_page(record).await?;
        job.walk = Some(walk.clone());
        self.read_on(job, walk).await
    }

    async fn knows_all(&self, job: &Job, page: &Page) -> Result<bool, Failure> {
        let ids = page.messages.iter().map(|m| m.id.as_str().to_owned()).collect();
        Ok(self.store.knows_all(job.source, ids).await?)
    }

    pub(super) async fn record(&self, job: &Job, page: Page, recording: Recording) -> Result<Found, Failure> {
        let Recording { announce, coverage, fingerprint, low, ends_walk } = recording;
        let (rhythm, source) = (job.rhythm, job.source);
        let polled_at = UnixMillis::now();
        let record = PollRecord {
            source,
            provider: self.provider_name,
            account: self.account.clone(),
            conversation: Arc::clone(&job.conversation),
            title: page.title,
            messages: page.messages,
            announce,
            polled_at,
            verified_until: coverage.verified_until,
            recheck: job.recheck,
            lapsed_at: coverage.lapsed_at,
            ends_walk,
            mark: job.mark.clone(),
            read_from: low,
            unreadable: page.unreadable,
            covers_gaps_from: (job.gaps.is_some() && coverage.verified_until.is_some()).then_some(low),
            due: Box::new(move |last_message_at| polled_at + rhythm.interval(last_message_at, polled_at)),
        };
        let recorded = self.store.record_poll(record).await?;
        Ok(Found::Recorded { recorded, coverage, fingerprint })
    }
}

/// What has been read, on its way into the store.
pub(super) struct Recording {
    pub(super) announce: Announce,
    pub(super) coverage: Coverage,
    pub(super) fingerprint: u64,
    /// Everything from here on has been read.
    pub(super) low: Option<UnixMillis>,
    pub(super) ends_walk: bool,
}

/// Whether a complete page has nothing to record but that it was read: the same as last time, and no other change to
/// write down.
fn is_quiet(job: &Job, coverage: Coverage, fingerprint: u64, asked_at: UnixMillis) -> bool {
    let lapse_stands = coverage.lapsed_at.is_some() == job.lapsed_at.is_some();
    // A look down to what could not be read says that it can be, or that it still cannot.
    let looks_down = job.unread.is_some_and(|unread| unread.is_due(asked_at));
    fingerprint == job.fingerprint
        && !looks_down
        && !job.recheck
        && !job.first_contact
        && job.mark.is_none()
        && lapse_stands
}
