//! Walks of more than one page: read on until the recorded range is met, then announced from the oldest message on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::job::Job;
use super::poll::{Coverage, Failure, Found, Poller, Recording};
use super::walk::{self, Step};
use crate::model::Unreadable;
use crate::providers::{self, Class, Fault, Page};
use crate::store::{PageRecord, Walk};

/// A walk that was refused or did not advance so often, without a complete poll in between, ends, and the rest of it
/// is put on record as a gap: what has been read must not wait for ever for what cannot be.
const GAP_AFTER: u32 = 3;

/// Answers in a row that are not what the contract says, after which a page is taken for one that will not come.
const STUCK_AFTER: u32 = 4;

/// Failures in a row, some forty minutes of them, after which the provider's moment is over.
const MOMENT_OVER_AFTER: u32 = 12;

/// Between two looks whether polling is still held.
const HELD: Duration = Duration::from_millis(100);

/// What is known of a walk while it is read on, and not worth storing.
#[derive(Default)]
struct Progress {
    title: Option<String>,
    /// What the last page says of the provider's collecting.
    last: Option<Coverage>,
    /// How what could not be read looks.
    unreadable: Unreadable,
}

/// Whether a page behind a cursor will not be had by asking for it once more, after so many failures in a row: the cursor is
/// refused, or nothing is found there, or it has failed for so long that it is hardly the provider's moment.
fn is_dead_end(error: &providers::Error, failures: u32) -> bool {
    match error.class {
        _ if error.cursor_refused => true,
        Class::Gone => true,
        Class::Protocol => failures + 1 >= STUCK_AFTER,
        // Whoever cannot be reached at all says nothing of a page.
        Class::Transient => error.fault != Fault::Network && failures + 1 >= MOMENT_OVER_AFTER,
        Class::Throttled | Class::Auth | Class::NotReady => false,
    }
}

impl Poller {
    /// Reads the pages of a walk until it is complete or the page limit comes, or until others wait for their turn.
    pub(super) async fn read_on(&self, job: &mut Job, mut walk: Walk) -> Result<Found, Failure> {
        let mut progress = Progress::default();
        for page in 0..self.polling.max_pages {
            if page > 0 && self.others_wait.load(Ordering::Relaxed) {
                break;
            }
            let Some(cursor) = walk.cursor.clone() else { break };
            let page = match self.page(job, walk.low, Some(&cursor)).await {
                Err(Failure::Provider(error)) if is_dead_end(&error, job.failures) => {
                    self.begin_again(job, &mut walk, error).await?;
                    break;
                }
                page => page?,
            };
            self.take_page(job, &mut walk, page, &cursor, &mut progress).await?;
        }
        if walk.cursor.is_some() {
            return Ok(Found::WalkGoesOn);
        }
        let found = self.announce_walk(job, &walk, progress).await?;
        job.walk = None;
        job.dead_ends = 0;
        Ok(found)
    }

    /// Stages a page, and ends a walk that does not advance with a gap.
    async fn take_page(
        &self,
        job: &mut Job,
        walk: &mut Walk,
        page: Page,
        cursor: &str,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let next = match walk::step(&page, walk.low) {
            Step::Complete => None,
            Step::GoOn(next) | Step::StartOver(next) | Step::StartOverIfNew(next) => Some(next),
        };
        let coverage = Coverage::of(page.proof, job, walk.started_at);
        // One page that proves nothing leaves nothing proved.
        walk.proved_until = walk.proved_until.zip(coverage.verified_until).map(|(walk, page)| walk.min(page));
        progress.last = Some(coverage);
        progress.title = progress.title.take().or(page.title);
        progress.unreadable.looks = progress.unreadable.looks.or(page.unreadable.looks);
        let repeats = next.as_deref() == Some(cursor);
        walk.pages += 1;
        walk.messages += page.messages.len() as u64;
        walk.unreadable += page.unreadable.items;
        walk.cursor = next;
        // What cannot be read may be new as well.
        let unread = page.unreadable.items as usize;
        let record =
            PageRecord { source: job.source, walk: walk.clone(), messages: page.messages, unreadable: page.unreadable };
        let staged = self.store.stage_page(record).await?;
        let unseen = staged.unseen + unread;
        job.walk = Some(walk.clone());
        if staged.is_full && walk.cursor.is_some() {
            return self.close_with_gap(job, walk, "there is more of it than is kept until it is announced").await;
        }
        if !repeats && (unseen > 0 || walk.cursor.is_none()) {
            return Ok(());
        }
        let reason = "the provider's paging does not advance";
        job.dead_ends += 1;
        if job.dead_ends < GAP_AFTER {
            return Err(providers::Error::new(Class::Protocol, reason).into());
        }
        self.close_with_gap(job, walk, reason).await
    }

    /// The cursor is taken no more: the next poll begins at the newest message again, or, when that has happened too
    /// often, the walk ends here.
    async fn begin_again(&self, job: &mut Job, walk: &mut Walk, error: providers::Error) -> Result<(), Failure> {
        job.dead_ends += 1;
        if job.dead_ends < GAP_AFTER {
            self.store.abandon_walk(job.source).await?;
            job.walk = None;
            // Whether the conversation itself is gone the newest page tells, and soon.
            return Err(match error.class {
                Class::Gone => providers::Error { class: Class::Protocol, wait: None, ..error }.into(),
                _ => error.into(),
            });
        }
        self.close_with_gap(job, walk, &error.detail).await
    }

    async fn close_with_gap(&self, job: &mut Job, walk: &mut Walk, reason: &str) -> Result<(), Failure> {
        tracing::error!(account = %self.account, conversation = %job.conversation.id, class = %Class::Protocol,
            "part of the conversation cannot be read ({reason}); it is on record as a gap, and what was read is announced");
        let gaps = self.store.close_walk_with_gap(job.source, walk.low, reason.to_owned()).await?;
        job.gaps = Some(gaps);
        (walk.cursor, walk.has_gap) = (None, true);
        job.walk = Some(walk.clone());
        Ok(())
    }

    /// Announces what a finished walk has staged, oldest first and in parts, then moves coverage.
    async fn announce_walk(&self, job: &Job, walk: &Walk, progress: Progress) -> Result<Found, Failure> {
        providers::let_go();
        let announce = job.announce_walk(walk, self.bounds);
        let (mut announced, mut silent, mut edited) = (0, 0, 0);
        loop {
            // A long history alone could owe the sinks more than they may be owed.
            while self.hold.is_set() {
                tokio::time::sleep(HELD).await;
            }
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
        let verified_until = walk.proved_until.filter(|_| !walk.has_gap);
        let recording = Recording {
            announce,
            coverage: Coverage { verified_until, ..progress.last.unwrap_or_else(|| Coverage::standing(job)) },
            fingerprint: 0,
            low: walk.low,
            ends_walk: true,
        };
        let unreadable = Unreadable { items: walk.unreadable, ..progress.unreadable };
        let page = Page { title: progress.title, unreadable, ..Page::default() };
        let mut found = self.record(job, page, recording).await?;
        if let Found::Recorded { recorded, .. } = &mut found {
            recorded.announced += announced;
            recorded.silent += silent;
            recorded.edited += edited;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_fails_is_asked_for_again_until_it_is_clear_that_it_will_not_come() {
        let error = |class| providers::Error::new(class, "x");
        let after = |error: &providers::Error| (0..100).find(|failures| is_dead_end(error, *failures));
        assert_eq!(after(&error(Class::Gone)), Some(0));
        assert_eq!(after(&error(Class::Protocol)), Some(STUCK_AFTER - 1));
        assert_eq!(after(&error(Class::Transient)), Some(MOMENT_OVER_AFTER - 1));
        let unreachable = providers::Error { fault: Fault::Network, ..error(Class::Transient) };
        for waits in [unreachable, error(Class::Throttled), error(Class::Auth), error(Class::NotReady)] {
            assert_eq!(after(&waits), None, "{:?}", waits.class);
        }
        assert_eq!(after(&providers::Error { cursor_refused: true, ..error(Class::Transient) }), Some(0));
    }
}
