//! Sweeps over an account's inbox: one request or two tell which of its conversations moved, and only those are read.
//!
//! A sweep goes through the folders of the inbox page by page, youngest activity first, and may stop at the first page on
//! which nothing has moved and which reaches back to where the last complete sweep began. What it finds is made due in the store
//! as it is noticed, and its mark is stored by the poll that reads it: a kill at any point loses nothing. A first sweep, which
//! goes to the end of the inbox, goes on where it was, whatever interrupts it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::gate::{Heard, Purpose};
use super::monitoring::{MonitorStep, Monitored, Monitors};
use super::poll::{Failure, Poller};
use super::{Baseline, seldom};
use crate::model::{Conversation, ConversationId, Listed, Unreadable};
use crate::providers::{Call, Class, Error, Folders, ListRequest, Listing};
use crate::store::{Discovery, Finished, Line, Mark, Noted, Source, SourceId, SweptFolder, UnreadPage, UnreadRows};
use crate::time::UnixMillis;

/// Which folders an inbox has seldom changes.
const ASK_FOLDERS_AFTER: Duration = Duration::from_secs(3600);

/// Pages of one sweep: an inbox of a quarter of a million conversations, or a listing that has no end.
const MOST_PAGES: u32 = 10_000;

/// Pages without a row, one after the other: some lists have nothing before they ask LinkedIn.
const MOST_EMPTY_PAGES: u32 = 5;

/// Between the start of collecting and the moment it was written down, on two clocks.
const A_MOMENT: Duration = Duration::from_secs(30);

/// How an inbox is swept.
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    /// Time between sweeps.
    pub interval: Duration,
    /// Follow whatever the inbox lists.
    pub discover: bool,
    /// What the first poll of a conversation does that the first sweep finds.
    pub baseline: Baseline,
    /// The bounds of the interval of a conversation that the inbox lists.
    pub cadence: super::Cadence,
    /// So many conversations of the account are followed at most.
    pub max_conversations: u64,
}

/// Where the sweeps of an account stand.
pub(super) struct Sweeps {
    pub(super) settings: SweepSettings,
    /// When the inbox is to be listed next.
    pub(super) due: Instant,
    pub(super) in_flight: bool,
    /// Sweeps failed in a row.
    pub(super) failures: u32,
    /// Where the provider has to be told to fill the inbox.
    pub(super) monitors: Option<Monitors>,
    known: Vec<SweptFolder>,
    folders: Vec<String>,
    /// Of these, those that are listed once in many sweeps.
    seldom: Vec<String>,
    /// What the inbox has beside them, as it was last told to people.
    left_out: Vec<String>,
    folders_asked: Option<Instant>,
    current: Option<Sweep>,
}

/// A sweep over one folder.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    folder: SweptFolder,
    position: usize,
    began: UnixMillis,
    cursor: Option<String>,
    since: Option<UnixMillis>,
    seen: HashSet<ConversationId>,
    youngest: Option<UnixMillis>,
    /// The same by the provider's clock alone, for the line of what turns up later.
    first_activity: Option<UnixMillis>,
    pages: u32,
    empty_pages: u32,
    /// It began at the top, so that it has seen everything above where it is.
    from_the_top: bool,
    /// It goes on to where rows could not be read before.
    looks_down: bool,
    /// Rows that it could not read.
    unreadable: Unreadable,
}

/// One step of a sweep: one request.
pub(super) enum Step {
    Folders,
    Monitor(MonitorStep),
    List(Box<Sweep>),
}

/// What came of a step.
pub(super) enum Stepped {
    Folders(Result<Folders, Failure>),
    Monitored(String, Result<Monitored, Failure>),
    /// With what has moved, whatever came of the page.
    Listed(Box<Sweep>, Vec<Moved>, Result<(), Failure>),
}

/// A conversation whose messages are to be read.
pub(super) enum Moved {
    Known { source: SourceId, mark: Option<Mark>, person_url: Option<String> },
    Found(Box<(Conversation, Source)>, Option<Mark>),
}

impl Moved {
    fn of(noted: Noted) -> Option<Self> {
        match noted {
            Noted::Unmoved | Noted::NoRoom => None,
            Noted::Moved { source, mark, person_url } => Some(Self::Known { source, mark, person_url }),
            Noted::Found(found, mark) => Some(Self::Found(found, mark)),
        }
    }
}

impl Sweeps {
    pub(super) fn new(
        settings: SweepSettings,
        known: Vec<SweptFolder>,
        monitors: Option<Monitors>,
        now: Instant,
    ) -> Self {
        Self {
            settings,
            due: now,
            in_flight: false,
            failures: 0,
            monitors,
            known,
            folders: vec![],
            seldom: vec![],
            left_out: vec![],
            folders_asked: None,
            current: None,
        }
    }

    /// When something is to be asked next: a page of the inbox, or how its collecting does.
    pub(super) fn next(&self) -> Instant {
        self.monitors.as_ref().and_then(Monitors::next).map_or(self.due, |next| next.min(self.due))
    }

    /// The next request of the sweep under way, or the first of a new one.
    pub(super) fn next_step(&mut self, now: Instant, overlap: Duration) -> Step {
        if let Some(step) = self.monitors.as_ref().and_then(|monitors| monitors.step(now)) {
            return Step::Monitor(step);
        }
        if let Some(mut sweep) = self.current.take() {
            sweep.folder.started_at = self.started_at(&sweep.folder);
            return Step::List(Box::new(sweep));
        }
        let asked_long_ago = self.folders_asked.is_none_or(|asked| now - asked > ASK_FOLDERS_AFTER);
        if asked_long_ago || self.folders.is_empty() {
            return Step::Folders;
        }
        Step::List(Box::new(self.begin(0, overlap)))
    }

    fn begin(&self, position: usize, overlap: Duration) -> Sweep {
        let name = &self.folders[position];
        let folder = self.known.iter().find(|known| known.folder == *name).cloned();
        let folder = folder.unwrap_or_else(|| SweptFolder { folder: name.clone(), ..SweptFolder::default() });
        let folder = SweptFolder { started_at: self.started_at(&folder), ..folder };
        let now = UnixMillis::now();
        let goes_to_the_end = self.settings.discover && folder.first_swept_at.is_none();
        let since = folder.activity.filter(|_| !goes_to_the_end).map(|at| at.min(now) - overlap);
        let (began, cursor, youngest) = match (folder.began_at, folder.cursor.clone()) {
            (Some(began), cursor @ Some(_)) if goes_to_the_end => (began, cursor, folder.youngest),
            _ => (now, None, None),
        };
        let unread = folder.unread.filter(|unread| unread.is_due(now));
        let since = since.and_then(|since| unread.map_or(Some(since), |unread| Some(since.min(unread.low?))));
        Sweep {
            since,
            position,
            began,
            from_the_top: cursor.is_none(),
            looks_down: unread.is_some(),
            cursor,
            folder,
            seen: HashSet::new(),
            youngest,
            first_activity: youngest,
            pages: 0,
            empty_pages: 0,
            unreadable: Unreadable::default(),
        }
    }

    fn started_at(&self, folder: &SweptFolder) -> Option<UnixMillis> {
        self.monitors.as_ref().and_then(|monitors| monitors.started_at(&folder.folder)).or(folder.started_at)
    }

    pub(super) fn take_folders(&mut self, folders: Folders) {
        (self.folders, self.seldom) = (folders.listed, folders.seldom);
        self.folders_asked = Some(Instant::now());
        if let Some(monitors) = &mut self.monitors {
            // Not later than now, whichever clock a single round goes by.
            monitors.watch(&self.folders, &self.known, self.due);
        }
    }

    /// What the inbox has beside the folders that are listed, where that is news.
    pub(super) fn news_of_left_out(&mut self, folders: &Folders) -> Option<String> {
        let is_news = self.left_out != folders.left_out;
        self.left_out.clone_from(&folders.left_out);
        (is_news && !self.left_out.is_empty()).then(|| self.left_out.join(", "))
    }

    /// Hardly anything moves in this folder: the others do not wait for it.
    pub(super) fn is_seldom(&self, folder: &str) -> bool {
        self.seldom.iter().any(|seldom| seldom == folder)
    }

    fn is_due(&self, folder: &str) -> bool {
        let known = self.known.iter().find(|known| known.folder == folder);
        let listed_at = known.and_then(|known| known.swept_at);
        !self.is_seldom(folder) || seldom::is_due(listed_at, self.settings.interval, UnixMillis::now())
    }

    /// Takes a sweep back whose page could not be read: it goes on there.
    pub(super) fn put_back(&mut self, sweep: Sweep) {
        self.current = Some(sweep);
    }

    /// Whether no folder of the inbox can be listed.
    pub(super) fn has_no_folder(&self) -> bool {
        self.folders.is_empty()
    }

    /// Takes a sweep after one of its pages. Returns whether all folders are done.
    pub(super) fn take(&mut self, mut sweep: Sweep, overlap: Duration) -> bool {
        let gives_way = sweep.goes_to_the_end(&self.settings) && self.is_seldom(sweep.folder());
        if sweep.cursor.is_some() && !gives_way {
            self.current = Some(sweep);
            return false;
        }
        match sweep.cursor.take() {
            // A page between two sweeps over the others, until it has come to its end.
            Some(cursor) => {
                (sweep.folder.began_at, sweep.folder.cursor, sweep.folder.youngest) =
                    (Some(sweep.began), Some(cursor), sweep.youngest);
            }
            None => sweep.folder.swept_at = Some(sweep.began),
        }
        self.known.retain(|known| known.folder != sweep.folder.folder);
        self.known.push(sweep.folder);
        self.go_to(sweep.position + 1, overlap)
    }

    /// Leaves out a folder that cannot be read, until the folders are asked for again.
    pub(super) fn leave_out(&mut self, sweep: &Sweep, overlap: Duration) -> bool {
        self.folders.retain(|folder| *folder != sweep.folder.folder);
        self.go_to(sweep.position, overlap)
    }

    fn go_to(&mut self, position: usize, overlap: Duration) -> bool {
        let next = (position..self.folders.len()).find(|position| self.is_due(&self.folders[*position]));
        let next = next.map(|position| self.begin(position, overlap));
        self.current = next;
        self.current.is_none()
    }

    /// Forgets the sweep: the next one begins at the youngest activity again.
    pub(super) fn abandon(&mut self, mut sweep: Sweep) {
        (sweep.folder.began_at, sweep.folder.cursor, sweep.folder.youngest) = (None, None, None);
        self.known.retain(|known| known.folder != sweep.folder.folder);
        self.known.push(sweep.folder);
    }
}

impl Sweep {
    /// Name of the folder at the provider.
    pub(super) fn folder(&self) -> &str {
        &self.folder.folder
    }

    fn discovery(&self, settings: &SweepSettings, listed_at: Option<UnixMillis>) -> Discovery {
        let baseline = settings.baseline.at(UnixMillis::now());
        let line = match (self.folder.first_swept_at, self.folder.started_at, baseline) {
            // What turns up later is new, but for the history it may bring along.
            (Some(_), ..) => Line::Newcomer { first_activity: self.folder.first_activity },
            // So is what the provider has collected since it was told to, however long its first answer took.
            (None, Some(started), Baseline::Now) => Line::After(started - A_MOMENT),
            (None, None, Baseline::Now) => Line::LastActivity { listed_at },
            (None, _, Baseline::All | Baseline::Since(_)) => Line::AsConfigured,
        };
        Discovery {
            discover: settings.discover,
            line,
            max_interval: settings.cadence.max_interval,
            max_conversations: settings.max_conversations,
        }
    }

    /// Rows that this sweep has not shown yet: a listing that is read while it moves shows some twice.
    fn unseen(&self, rows: Vec<Listed>) -> Vec<Listed> {
        let mut on_page = HashSet::new();
        let is_unseen =
            |row: &Listed| !self.seen.contains(&row.conversation.id) && on_page.insert(row.conversation.id.clone());
        rows.into_iter().filter(is_unseen).collect()
    }

    /// Where the sweep stands, but for the rows that it has shown, which may be many.
    fn without_seen(&mut self) -> Self {
        let seen = std::mem::take(&mut self.seen);
        let stands = self.clone();
        self.seen = seen;
        stands
    }

    /// The first sweep that discovers goes to the end.
    fn goes_to_the_end(&self, settings: &SweepSettings) -> bool {
        settings.discover && self.folder.first_swept_at.is_none()
    }

    /// Whether the folder need not be read further after a page.
    fn is_complete(&self, page: &PageSeen) -> bool {
        let reaches_back = match (page.oldest, self.folder.activity) {
            (Some(oldest), Some(noticed)) => oldest <= noticed,
            _ => true,
        };
        let looks_on = self.looks_down && !self.has_reached_unread(page.oldest);
        page.rows > 0 && !page.moved && reaches_back && !looks_on
    }

    fn has_reached_unread(&self, oldest: Option<UnixMillis>) -> bool {
        let reach = self.folder.unread.and_then(|unread| unread.reach);
        oldest.zip(reach).is_some_and(|(oldest, reach)| oldest <= reach)
    }

    /// Notes what of a page could not be read, for the record.
    fn note_unread(&mut self, met: Unreadable, oldest: Option<UnixMillis>) -> Option<UnreadPage> {
        if met.items == 0 {
            return None;
        }
        self.unreadable.items += met.items;
        self.unreadable.looks = self.unreadable.looks.or(met.looks);
        let now = UnixMillis::now();
        let met = UnreadRows {
            low: self.since,
            reach: oldest,
            page: self.pages,
            first_seen_at: self.folder.unread.map_or(now, |unread| unread.first_seen_at),
            last_seen_at: now,
        };
        // What lies further down than this sweep has come stays where it is on record.
        let deeper = self.folder.unread.filter(|_| !self.has_reached_unread(oldest));
        let rows = deeper.map_or(met, |deeper| UnreadRows {
            low: deeper.low.zip(met.low).map(|(one, other)| one.min(other)),
            reach: deeper.reach.zip(met.reach).map(|(one, other)| one.min(other)),
            page: deeper.page.max(met.page),
            ..met
        });
        self.folder.unread = Some(rows);
        let (folder, met, is_all) = (self.folder.folder.clone(), self.unreadable.clone(), deeper.is_none());
        Some(UnreadPage { folder, rows, met, is_all })
    }

    /// Whether it has read everything where rows could not be read before, once it has come to its end.
    fn settles(&self, page: &PageSeen, at_the_end: bool) -> bool {
        let Some(unread) = self.folder.unread else { return false };
        let asked_as_far = match (self.since, unread.low) {
            (None, _) => true,
            (Some(since), Some(low)) => since <= low,
            (Some(_), None) => false,
        };
        let reached = (at_the_end && asked_as_far) || self.has_reached_unread(page.oldest);
        self.from_the_top && self.unreadable.items == 0 && reached
    }
}

/// What matters of a page for the question whether to read on.
struct PageSeen {
    rows: usize,
    /// Something with a mark has moved; what has none may have moved at any time and says nothing.
    moved: bool,
    oldest: Option<UnixMillis>,
}

impl Poller {
    pub(super) async fn list_folders(&self) -> Result<Folders, Failure> {
        let Some(inbox) = self.provider.inbox() else { return Ok(Folders::default()) };
        if let Some(known) = inbox.known_folders() {
            return Ok(known);
        }
        let permit = self.gate.admit(Call::Account, Purpose::Live).await?;
        let folders = inbox.folders().await;
        self.gate.settle(permit, Heard::costing(0, &folders)).await;
        let folders = folders?;
        self.store.record_left_out(self.account_id, folders.left_out.clone()).await?;
        Ok(folders)
    }

    /// Reads one page of a sweep and compares it with what is known. What has `moved` is told also where a later write
    /// fails: the store knows of it then, and no later page would tell it again.
    async fn sweep_page(
        &self,
        sweep: &mut Sweep,
        settings: SweepSettings,
        moved: &mut Vec<Moved>,
    ) -> Result<(), Failure> {
        // A long inbox must not keep what moves from being read: its first sweep can wait, later ones are what tells.
        let purpose = if sweep.goes_to_the_end(&settings) { Purpose::Background } else { Purpose::Live };
        let listing = self.list(sweep, purpose).await?;
        sweep.pages += 1;
        let oldest = listing.rows.iter().filter_map(|row| row.last_activity_at).min();
        self.tell_odd(&listing.unreadable);
        let knew_of_unread = sweep.folder.unread.is_some();
        let unread = sweep.note_unread(listing.unreadable, oldest);
        if unread.is_some() && !knew_of_unread {
            tracing::warn!(account = %self.account, folder = sweep.folder(),
                "the inbox lists what cannot be read; the rest is, and audit tells of it until it can be");
        }
        sweep.empty_pages = if listing.rows.is_empty() && unread.is_none() { sweep.empty_pages + 1 } else { 0 };
        let repeats = listing.next.is_some() && listing.next == sweep.cursor;
        if repeats || sweep.empty_pages > MOST_EMPTY_PAGES || sweep.pages >= MOST_PAGES {
            return Err(Error::new(Class::Protocol, "the listing of the inbox does not come to an end").into());
        }
        let rows = sweep.unseen(listing.rows);
        let shown: Vec<_> = rows.iter().map(|row| row.conversation.id.clone()).collect();
        let youngest = rows.iter().filter_map(|row| row.last_activity_at).max();
        // By the provider's clock: it answers no sooner than the youngest activity that it lists.
        let listed_at = listing.answered_at.max(sweep.youngest).max(youngest);
        // A time ahead of our clock must not make later sweeps stop too early.
        sweep.youngest = sweep.youngest.max(youngest.map(|at| at.min(UnixMillis::now())));
        // By the provider's clock alone. Where no row has a time, the moment of the answer is as good.
        let told = youngest.or(listing.answered_at.filter(|_| !rows.is_empty()));
        sweep.first_activity = sweep.first_activity.max(told);
        let (count, marked): (usize, Vec<bool>) = (rows.len(), rows.iter().map(|row| row.mark.is_some()).collect());
        let discovery = sweep.discovery(&settings, listed_at);
        let noted = self.store.note_listed(self.account_id, rows, unread, discovery).await?;
        // What is new behind it is older, and would find no place either.
        let is_full = noted.iter().any(|noted| matches!(noted, Noted::NoRoom));
        let is_news = |(noted, marked): (&Noted, bool)| marked && !matches!(noted, Noted::Unmoved);
        let page = PageSeen { rows: count, moved: noted.iter().zip(marked).any(is_news), oldest };
        moved.extend(noted.into_iter().filter_map(Moved::of));
        let (goes_to_the_end, at_the_end) = (sweep.goes_to_the_end(&settings), listing.next.is_none());
        sweep.cursor = listing.next.filter(|_| !is_full && (goes_to_the_end || !sweep.is_complete(&page)));
        let (folder, began) = (sweep.folder.folder.clone(), sweep.began);
        if is_full {
            // It has not been read to where it would have ended: the next one begins where this one has begun.
            (sweep.folder.began_at, sweep.folder.cursor, sweep.folder.youngest) = (None, None, None);
        } else if sweep.cursor.is_none() {
            let settles = sweep.settles(&page, at_the_end);
            let (account, youngest) = (self.account_id, sweep.youngest);
            let finished = self.store.finish_sweep(Finished {
                account,
                folder,
                began,
                activity: youngest,
                first_activity: sweep.first_activity,
                discovers: settings.discover,
                settled: settles,
            });
            let first_activity = finished.await?;
            if settles {
                sweep.folder.unread = None;
            }
            if settings.discover {
                sweep.folder.first_activity = first_activity;
                sweep.folder.first_swept_at.get_or_insert(began);
            }
            (sweep.folder.began_at, sweep.folder.cursor, sweep.folder.youngest) = (None, None, None);
            sweep.folder.activity = sweep.folder.activity.max(sweep.youngest);
        } else if goes_to_the_end {
            self.store.keep_sweep(self.account_id, folder, began, sweep.cursor.clone(), sweep.youngest).await?;
        }
        sweep.seen.extend(shown);
        Ok(())
    }

    async fn list(&self, sweep: &Sweep, purpose: Purpose) -> Result<Listing, Failure> {
        let inbox = self.provider.inbox().expect("only an inbox that can be listed is swept");
        self.look_at_account(purpose).await?;
        let permit = self.gate.admit(Call::Listing, purpose).await?;
        let request = ListRequest { folder: &sweep.folder.folder, since: sweep.since, cursor: sweep.cursor.as_deref() };
        let listing = inbox.list(request).await;
        self.gate.settle(permit, Heard::listing(&listing)).await;
        Ok(listing?)
    }
}

/// One step, on its own.
pub(super) async fn step(poller: Arc<Poller>, step: Step, settings: SweepSettings) -> Stepped {
    match step {
        Step::Folders => Stepped::Folders(poller.list_folders().await),
        Step::Monitor(step) => {
            let monitored = poller.monitor(&step).await;
            let (MonitorStep::Start { folder } | MonitorStep::Status { folder, .. }) = step;
            Stepped::Monitored(folder, monitored)
        }
        Step::List(mut sweep) => {
            let (before, mut moved) = (sweep.without_seen(), vec![]);
            let listed = poller.sweep_page(&mut sweep, settings, &mut moved).await;
            if matches!(listed, Err(Failure::Store(_))) {
                // The page is read again, as if for the first time.
                *sweep = Sweep { seen: std::mem::take(&mut sweep.seen), ..before };
            }
            Stepped::Listed(sweep, moved, listed)
        }
    }
}
