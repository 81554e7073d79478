//! One poll: from the question to the commit.
//!
//! What is new is decided here and in [`super::walk`], whatever the provider. The watermark moves only after
//! everything between the lower bound and now has been read; a walk that needs more than one page is staged as it goes,
//! so an error or a kill in the middle loses nothing that was read and announces nothing out of order.

use std::hash::RandomState;
use std::sync::Arc;
use std::time::Duration;

use super::budget::{Closed, Gate};
use super::due::Cadence;
use super::walk::{self, Step};
use super::{Baseline, Polling};
use crate::model::{AccountName, Conversation};
use crate::providers::{self, Class, Page, PageRequest, Provider};
use crate::store::{self, Announce, PageRecord, PollRecord, Recorded, SourceId, Store, Walk};
use crate::time::UnixMillis;

/// A walk that was refused or did not advance so often, without a complete poll in between, ends, and the rest of it
/// is put on record as a gap: what has been read must not wait for ever for what cannot be.
const GAP_AFTER: u32 = 3;

/// What a poll needs to know of its account; shared by all of them.
pub(super) struct Poller {
    pub(super) account: AccountName,
    pub(super) provider_name: &'static str,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) store: Store,
    pub(super) gate: Gate,
    pub(super) polling: Polling,
    pub(super) keys: RandomState,
}

/// What a poll needs to know of its conversation.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) source: SourceId,
    pub(super) conversation: Arc<Conversation>,
    pub(super) baseline: Baseline,
    pub(super) cadence: Cadence,
    pub(super) first_contact: bool,
    pub(super) watermark: Option<UnixMillis>,
    pub(super) history_until: Option<UnixMillis>,
    pub(super) last_message_at: Option<UnixMillis>,
    pub(super) lapsed_at: Option<UnixMillis>,
    pub(super) walk: Option<Walk>,
    /// Walks that were refused or did not advance since the last complete poll.
    pub(super) dead_ends: u32,
    pub(super) failures: u32,
    pub(super) fingerprint: u64,
    pub(super) recheck: bool,
}

/// How a poll ended well.
#[derive(Debug)]
pub(super) enum Found {
    /// The answer was the same as that of the poll before.
    Quiet(Coverage),
    /// Recorded; the fingerprint belongs to the page, zero where there were several.
    Recorded { recorded: Recorded, coverage: Coverage, fingerprint: u64, backfill: bool },
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
    fn of(collected_until: Option<UnixMillis>, asked_at: UnixMillis) -> Self {
        let lapsed_at = collected_until.filter(|&until| until < asked_at);
        Self { verified_until: Some(lapsed_at.unwrap_or(asked_at)), collected_until, lapsed_at }
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
}

impl From<Closed> for Failure {
    fn from(_: Closed) -> Self {
        Self::Paused
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
                since: self.lower_bound(job, asked_at),
                cursor: None,
            })
            .collect();
        if self.gate.admit().await.is_err() {
            return jobs.iter().map(|_| Err(Failure::Paused)).collect();
        }
        let pages = match self.provider.batch(&requests).await {
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
            Ok(page) => Some(self.take_first_page(job, page, asked_at).await),
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
            return self.go_on(job, walk).await;
        }
        let asked_at = UnixMillis::now();
        let page = self.page(job, self.lower_bound(job, asked_at), None).await?;
        self.take_first_page(job, page, asked_at).await
    }

    async fn page(&self, job: &Job, since: Option<UnixMillis>, cursor: Option<&str>) -> Result<Page, Failure> {
        self.gate.admit().await?;
        Ok(self.provider.page(PageRequest { conversation: &job.conversation, since, cursor }).await?)
    }

    /// From where on the provider is asked. Never later than now, whatever times it has stamped.
    fn lower_bound(&self, job: &Job, now: UnixMillis) -> Option<UnixMillis> {
        let bound = if job.first_contact {
            match job.baseline {
                Baseline::Now | Baseline::All => None,
                // One resolution earlier, because the bound may be exclusive; what is older stays silent anyway.
                Baseline::Since(since) => Some(since - self.polling.resolution),
            }
        } else {
            let reach = if job.recheck { self.polling.recheck_depth.max(self.overlap()) } else { self.overlap() };
            // A time ahead of our clock must not eat the overlap.
            let bound = job.watermark.or(job.history_until).map(|w| w.min(now) - reach);
            bound.map(|bound| job.lapsed_at.map_or(bound, |lapsed| bound.min(lapsed - self.overlap())))
        };
        bound.map(|bound| bound.min(now))
    }

    fn overlap(&self) -> Duration {
        self.polling.overlap.max(self.polling.resolution)
    }

    fn announce(&self, job: &Job) -> Announce {
        match (job.first_contact, job.baseline) {
            (true, Baseline::Now) => Announce::Baseline { overlap: self.overlap() },
            (true, Baseline::All) => Announce::New { backfill: true, history_until: None },
            (true, Baseline::Since(since)) => {
                Announce::New { backfill: true, history_until: Some(since - Duration::from_millis(1)) }
            }
            (false, _) => Announce::New { backfill: false, history_until: job.history_until },
        }
    }

    async fn take_first_page(&self, job: &mut Job, mut page: Page, asked_at: UnixMillis) -> Result<Found, Failure> {
        let announce = self.announce(job);
        let low = match announce {
            Announce::Baseline { overlap } => {
                let newest = page.messages.iter().filter_map(|m| m.sent_at).max();
                newest.map(|newest| newest.min(asked_at) - overlap)
            }
            Announce::New { .. } => self.lower_bound(job, asked_at),
        };
        let fingerprint = walk::fingerprint(&page, &self.keys);
        let coverage = Coverage::of(page.collected_until, asked_at);
        let mut step = walk::step(&page, low);
        if let Step::StartOverIfNew(cursor) = &step
            && job.watermark > page.messages.iter().filter_map(|m| m.sent_at).max()
        {
            // The youngest message known is not in it: it was cut at the young end, where new ones would be.
            step = Step::StartOver(cursor.clone());
        }
        let may_be_known = matches!(step, Step::Complete | Step::StartOverIfNew(_));
        if may_be_known && fingerprint == job.fingerprint && !job.recheck && !job.first_contact {
            return Ok(Found::Quiet(coverage));
        }
        let (cursor, staged) = match step {
            Step::StartOverIfNew(cursor) if !self.knows_all(job, &page).await? => (Some(cursor), vec![]),
            Step::Complete | Step::StartOverIfNew(_) => (None, vec![]),
            Step::StartOver(cursor) => (Some(cursor), vec![]),
            Step::GoOn(cursor) => (Some(cursor), std::mem::take(&mut page.messages)),
        };
        if cursor.is_none() {
            return self.record(job, page, announce, coverage, fingerprint, false).await;
        }
        let walk = Walk {
            low,
            cursor,
            baseline: matches!(announce, Announce::Baseline { .. }),
            backfill: matches!(announce, Announce::New { backfill: true, .. }),
            started_at: asked_at,
            pages: 1,
        };
        self.store.stage_page(PageRecord { source: job.source, walk: walk.clone(), messages: staged }).await?;
        job.walk = Some(walk.clone());
        self.go_on(job, walk).await
    }

    async fn knows_all(&self, job: &Job, page: &Page) -> Result<bool, Failure> {
        let ids = page.messages.iter().map(|m| m.id.as_str().to_owned()).collect();
        Ok(self.store.knows_all(job.source, ids).await?)
    }

    /// Reads the pages of a walk until it is complete or the page limit comes.
    async fn go_on(&self, job: &mut Job, mut walk: Walk) -> Result<Found, Failure> {
        let mut title = None;
        let mut has_gap = false;
        for _ in 0..self.polling.max_pages {
            let Some(cursor) = walk.cursor.clone() else { break };
            let page = match self.page(job, walk.low, Some(&cursor)).await {
                Err(Failure::Provider(error)) if error.cursor_refused => {
                    job.dead_ends += 1;
                    if job.dead_ends < GAP_AFTER {
                        self.store.abandon_walk(job.source).await?;
                        job.walk = None;
                        return Err(error.into());
                    }
                    self.close_with_gap(job, &mut walk, &error.detail).await?;
                    has_gap = true;
                    break;
                }
                page => page?,
            };
            let next = match walk::step(&page, walk.low) {
                Step::Complete => None,
                Step::GoOn(next) | Step::StartOver(next) | Step::StartOverIfNew(next) => Some(next),
            };
            walk.pages += 1;
            title = title.or(page.title);
            let repeats = next.as_deref() == Some(cursor.as_str());
            walk.cursor = next;
            let record = PageRecord { source: job.source, walk: walk.clone(), messages: page.messages };
            let unseen = self.store.stage_page(record).await?;
            job.walk = Some(walk.clone());
            if repeats || (unseen == 0 && walk.cursor.is_some()) {
                let reason = "the provider's paging does not advance";
                job.dead_ends += 1;
                if job.dead_ends < GAP_AFTER {
                    return Err(providers::Error::new(Class::Protocol, reason).into());
                }
                self.close_with_gap(job, &mut walk, reason).await?;
                has_gap = true;
            }
        }
        if walk.cursor.is_some() {
            return Ok(Found::WalkGoesOn);
        }
        let found = self.announce_walk(job, &walk, title, has_gap).await?;
        job.walk = None;
        job.dead_ends = 0;
        Ok(found)
    }

    async fn close_with_gap(&self, job: &mut Job, walk: &mut Walk, reason: &str) -> Result<(), Failure> {
        tracing::error!(account = %self.account, conversation = %job.conversation.id, class = %Class::Protocol,
            "part of the conversation cannot be read ({reason}); it is on record as a gap, and what was read is announced");
        self.store.close_walk_with_gap(job.source, walk.low, reason.to_owned()).await?;
        walk.cursor = None;
        job.walk = Some(walk.clone());
        Ok(())
    }

    /// Announces what a finished walk has staged, oldest first and in parts, then moves coverage.
    async fn announce_walk(
        &self,
        job: &Job,
        walk: &Walk,
        title: Option<String>,
        has_gap: bool,
    ) -> Result<Found, Failure> {
        let announce = match (walk.baseline, walk.backfill) {
            (true, _) => Announce::Baseline { overlap: self.overlap() },
            (false, backfill) => Announce::New {
                backfill,
                history_until: match (job.first_contact, job.baseline) {
                    (true, Baseline::Since(since)) => Some(since - Duration::from_millis(1)),
                    _ => job.history_until,
                },
            },
        };
        let (mut announced, mut silent, mut edited) = (0, 0, 0);
        loop {
            let conversation = Arc::clone(&job.conversation);
            let part = self
                .store
                .announce_staged(job.source, self.provider_name, self.account.clone(), conversation, announce)
                .await?;
            let Some(part) = part else { break };
            announced += part.announced;
            silent += part.silent;
            edited += part.edited;
        }
        let page = Page { title, ..Page::default() };
        let coverage = Coverage::of(None, walk.started_at);
        let coverage = Coverage { verified_until: coverage.verified_until.filter(|_| !has_gap), ..coverage };
        let mut found = self.record(job, page, announce, coverage, 0, true).await?;
        if let Found::Recorded { recorded, .. } = &mut found {
            recorded.announced += announced;
            recorded.silent += silent;
            recorded.edited += edited;
        }
        Ok(found)
    }

    async fn record(
        &self,
        job: &Job,
        page: Page,
        announce: Announce,
        coverage: Coverage,
        fingerprint: u64,
        ends_walk: bool,
    ) -> Result<Found, Failure> {
        let (cadence, source) = (job.cadence, job.source);
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
            due: Box::new(move |last_message_at| polled_at + interval(cadence, source, last_message_at, polled_at)),
        };
        let recorded = self.store.record_poll(record).await?;
        let backfill = matches!(announce, Announce::New { backfill: true, .. });
        Ok(Found::Recorded { recorded, coverage, fingerprint, backfill })
    }
}

/// The interval to the next poll, by the age of the youngest message; a conversation without one is as young as can be
/// only in its first moment, so it counts as a day old.
pub(super) fn interval(
    cadence: Cadence,
    source: SourceId,
    last_message_at: Option<UnixMillis>,
    now: UnixMillis,
) -> Duration {
    const EMPTY: Duration = Duration::from_secs(86_400);
    let age = last_message_at.map_or(EMPTY, |at| now.since(at));
    // A new draw each time, from numbers a restart knows too.
    cadence.interval(age, crate::backoff::mix(source.seed(), now.as_millis().unsigned_abs() / 1000))
}
