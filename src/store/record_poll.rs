//! THE transaction: what a poll found, a delivery for every sink, and the watermark, or none of them.
//!
//! A message is recorded once by its key, whatever else happens. Its event is rendered here, in the same commit, so
//! that every attempt at every sink sends the same bytes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use super::announce::{Outlet, StateChange};
use super::list_times::reaches;
use super::quiet::{self, VERIFIED_NOW};
use super::{Error, OpenGaps, SourceId, Store, UnreadMessages, gaps, poison, unreadable, walks};
use crate::model::{
    AccountName, Change, Conversation, Event, EventContext, Flag, Message, Route, Seen, Unreadable, kind,
};
use crate::time::UnixMillis;

/// A message may be stamped this far ahead of our clock before its time is taken for an error.
pub(super) const FUTURE: Duration = Duration::from_secs(300);

/// What becomes of the unknown messages of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// First contact with `first_poll = "now"`: their ids are recorded, nobody is told. What is older than this much
    /// before the youngest of them is history from then on.
    Baseline {
        /// The overlap of the conversation.
        overlap: Duration,
    },
    /// Announced, but for history.
    New {
        /// By which road they were found.
        route: Route,
        /// Messages up to here stay silent.
        history_until: Option<UnixMillis>,
    },
    /// First contact with a conversation that the inbox lists: what is younger than the line is announced. The rest is
    /// recorded silently, and what is older than the line by this much is history from then on.
    After {
        /// By which road they were found.
        route: Route,
        /// Messages up to here stay silent.
        line: UnixMillis,
        /// The overlap of the conversation.
        overlap: Duration,
    },
}

impl Announce {
    /// By which road they were found.
    pub fn route(self) -> Route {
        match self {
            Self::Baseline { .. } => Route::Poll,
            Self::New { route, .. } | Self::After { route, .. } => route,
        }
    }
}

/// What the inbox said of a conversation when it moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Equal for as long as nothing moves.
    pub mark: String,
    /// Time of the last activity: the mark is kept only once a message as young as that has been read. `None` keeps it in
    /// any case.
    pub activity: Option<UnixMillis>,
}

/// A complete poll: everything between its lower bound and now has been read.
pub struct PollRecord {
    /// The conversation's row.
    pub source: SourceId,
    /// Provider, for event ids.
    pub provider: &'static str,
    /// Account, for event ids.
    pub account: AccountName,
    /// The conversation.
    pub conversation: Arc<Conversation>,
    /// What people call the conversation, where the provider said.
    pub title: Option<String>,
    /// Every message read.
    pub messages: Vec<Message>,
    /// What becomes of the unknown ones.
    pub announce: Announce,
    /// When the poll began.
    pub polled_at: UnixMillis,
    /// How far the answer proves that nothing is missing; `None` moves nothing.
    pub verified_until: Option<UnixMillis>,
    /// Whether this was the deeper look for late messages.
    pub recheck: bool,
    /// Where the provider does not collect any more; `None` when it does.
    pub lapsed_at: Option<UnixMillis>,
    /// Whether this ends a walk whose staged pages have all been announced.
    pub ends_walk: bool,
    /// What the inbox said when it moved, if that was the reason to look.
    pub mark: Option<Mark>,
    /// From where on it has read everything; `None`: from the beginning.
    pub read_from: Option<UnixMillis>,
    /// What of it could not be read.
    pub unreadable: Unreadable,
    /// Set where gaps are open: from where on this poll has read everything, `None` being the beginning.
    pub covers_gaps_from: Option<Option<UnixMillis>>,
    /// When the next poll is due, from the time of the youngest message.
    pub due: Box<dyn FnOnce(Option<UnixMillis>) -> UnixMillis + Send>,
}

/// What a recorded poll changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Messages announced to the sinks.
    pub announced: u32,
    /// Messages recorded silently.
    pub silent: u32,
    /// Known messages whose content had changed.
    pub edited: u32,
    /// The watermark now.
    pub watermark: Option<UnixMillis>,
    /// The line below which messages are history.
    pub history_until: Option<UnixMillis>,
    /// Time of the youngest message.
    pub last_message_at: Option<UnixMillis>,
    /// When the next poll is due.
    pub due_at: UnixMillis,
    /// The inbox's mark was kept, or there was none.
    pub mark_kept: bool,
    /// What is still missing of the conversation.
    pub gaps: Option<OpenGaps>,
    /// What of the conversation could not be read and is still on record.
    pub unread: Option<UnreadMessages>,
    /// A change of state was announced.
    pub noticed: bool,
}

impl Store {
    /// Records a complete poll in one transaction and wakes the sinks.
    pub async fn record_poll(&self, poll: PollRecord) -> Result<Recorded, Error> {
        let before = self.take_quiet_poll(poll.source);
        let sinks = self.sinks();
        let recorded = self.write(move |tx| {
            let now = UnixMillis::now();
            quiet::write(tx, &before, now)?;
            record_poll(Outlet { tx, sinks: &sinks, now }, poll)
        });
        let recorded =
            recorded.await.inspect_err(|_| before.into_iter().for_each(|poll| self.put_back_quiet_poll(poll)))?;
        if recorded.announced + recorded.edited > 0 || recorded.noticed {
            self.deliveries().notify_waiters();
        }
        Ok(recorded)
    }
}

fn record_poll(outlet: Outlet<'_>, mut poll: PollRecord) -> Result<Recorded, Error> {
    poll.messages.sort_by(|a, b| a.order().cmp(&b.order()));
    // Few pages name their conversation; what the inbox has said of it holds until somebody says otherwise.
    poll.title = match poll.title {
        Some(title) => Some(title),
        None => stored_title(&outlet, poll.source)?,
    };
    let context = EventContext {
        provider: poll.provider,
        account: &poll.account,
        conversation: &poll.conversation,
        title: poll.title.as_deref(),
    };
    let mut recording = Recording::begin(outlet, poll.source, context, poll.announce)?;
    for message in poll.messages {
        recording.record(message)?;
    }
    let lapsed_before = recording.lapsed_before;
    let mut recorded = recording.finish()?;
    if poll.ends_walk {
        walks::forget(outlet.tx, poll.source)?;
    }
    if let Some(low) = poll.covers_gaps_from {
        (recorded.gaps, recorded.noticed) = gaps::close_covered(outlet, poll.source, low)?;
    }
    let proves = poll.verified_until.is_some();
    recorded.unread = unreadable::settle(outlet.tx, poll.source, poll.read_from, &poll.unreadable, proves, outlet.now)?;
    recorded.noticed |= poison::survived(outlet, poll.source)?;
    recorded.noticed |= announce_lapse(outlet, poll.source, lapsed_before, poll.lapsed_at)?;
    let found_some = recorded.announced + recorded.silent > 0;
    let mark = poll.mark.filter(|mark| {
        let reached = mark.activity.is_none_or(|shown| reaches(recorded.last_message_at, shown, found_some));
        recorded.mark_kept = reached;
        reached
    });
    recorded.due_at = (poll.due)(recorded.last_message_at);
    outlet
        .tx
        .prepare_cached(&format!(
            "UPDATE conversations SET
                first_polled_at = coalesce(first_polled_at, ?2), last_polled_at = ?2, verified_until = {VERIFIED_NOW},
                rechecked_at = CASE WHEN ?4 OR rechecked_at IS NULL THEN ?2 ELSE rechecked_at END,
                lapsed_at = ?5, due_at = ?7, title = coalesce(?8, title), mark = coalesce(?9, mark),
                failures = 0, failing_since = NULL, failure_class = NULL, failure_detail = NULL
             WHERE id = ?1"
        ))?
        .execute(params![
            poll.source.0,
            poll.polled_at.as_millis(),
            poll.verified_until.map(UnixMillis::as_millis),
            poll.recheck,
            poll.lapsed_at.map(UnixMillis::as_millis),
            outlet.now.as_millis(),
            recorded.due_at.as_millis(),
            poll.title,
            mark.map(|mark| mark.mark),
        ])?;
    Ok(recorded)
}

fn stored_title(outlet: &Outlet<'_>, source: SourceId) -> Result<Option<String>, Error> {
    let mut statement = outlet.tx.prepare_cached("SELECT title FROM conversations WHERE id = ?1")?;
    Ok(statement.query_row([source.0], |r| r.get(0))?)
}

/// A lapse is announced when it begins and when it is over, whatever its reason.
fn announce_lapse(
    outlet: Outlet<'_>,
    source: SourceId,
    before: Option<UnixMillis>,
    after: Option<UnixMillis>,
) -> Result<bool, Error> {
    let (state, since, detail) = match (before, after) {
        (None, Some(since)) => {
            let detail = "the provider does not collect new messages; later ones are read once it does again";
            (Change::Entered, since, detail)
        }
        (Some(_), None) => {
            (Change::Left, outlet.now, "the provider collects new messages again; what it lacked is read")
        }
        _ => return Ok(false),
    };
    let kind = kind::CONVERSATION_COVERAGE_LAPSED;
    outlet.about_conversation(source, StateChange { kind, state, reason: Some("not_ready"), since, detail })?;
    Ok(true)
}

/// The messages of one conversation on their way into the store, oldest first.
pub(super) struct Recording<'a> {
    outlet: Outlet<'a>,
    source: SourceId,
    context: EventContext<'a>,
    announce: Announce,
    watermark_before: Option<UnixMillis>,
    lapsed_before: Option<UnixMillis>,
    recorded: Recorded,
}

impl<'a> Recording<'a> {
    pub(super) fn begin(
        outlet: Outlet<'a>,
        source: SourceId,
        context: EventContext<'a>,
        announce: Announce,
    ) -> Result<Self, Error> {
        type Row = (Option<i64>, Option<i64>, i64, Option<i64>);
        let (watermark, last_message_at, due_at, lapsed_at): Row = outlet
            .tx
            .prepare_cached("SELECT watermark, last_message_at, due_at, lapsed_at FROM conversations WHERE id = ?1")?
            .query_row([source.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?;
        let watermark = super::millis(watermark);
        let recorded = Recorded {
            announced: 0,
            silent: 0,
            edited: 0,
            watermark,
            history_until: None,
            last_message_at: super::millis(last_message_at),
            due_at: UnixMillis::from_millis(due_at),
            mark_kept: true,
            gaps: None,
            unread: None,
            noticed: false,
        };
        let lapsed_before = super::millis(lapsed_at);
        Ok(Self { outlet, source, context, announce, watermark_before: watermark, lapsed_before, recorded })
    }

    pub(super) fn record(&mut self, mut message: Message) -> Result<(), Error> {
        let ceiling = self.outlet.now + FUTURE;
        if message.sent_at.is_some_and(|sent_at| sent_at > ceiling) && !message.flags.contains(&Flag::TimeFuture) {
            message.flags.push(Flag::TimeFuture);
        }
        self.pass(message.sent_at);
        let content_hash = message.content_hash();
        if self.is_known(&message, content_hash)? {
            return Ok(());
        }
        let event = if self.stays_silent(&message) {
            self.recorded.silent += 1;
            None
        } else {
            self.recorded.announced += 1;
            let event = Event::message_new(&self.context, &message, self.seen(&message));
            Some(self.announce(event, &message)?)
        };
        self.outlet
            .tx
            .prepare_cached(
                "INSERT INTO messages (conversation, message_id, sent_at, seen_at, content_hash, event)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.source.0,
                message.id.as_str(),
                message.sent_at.map(UnixMillis::as_millis),
                self.outlet.now.as_millis(),
                content_hash,
                event
            ])?;
        Ok(())
    }

    /// Notes the time of a message that is there, whatever else is to be said of it.
    pub(super) fn pass(&mut self, sent_at: Option<UnixMillis>) {
        let held = sent_at.map(|sent_at| sent_at.min(self.outlet.now + FUTURE));
        self.recorded.watermark = self.recorded.watermark.max(held);
        self.recorded.last_message_at = self.recorded.last_message_at.max(held);
    }

    /// Writes the watermark and the line of history.
    pub(super) fn finish(mut self) -> Result<Recorded, Error> {
        self.recorded.history_until = match self.announce {
            Announce::Baseline { overlap } => self.recorded.watermark.map(|w| w.min(self.outlet.now) - overlap),
            Announce::New { history_until, .. } => history_until,
            Announce::After { line, overlap, .. } => Some(line - overlap),
        };
        self.outlet
            .tx
            .prepare_cached(
                "UPDATE conversations SET watermark = ?2, history_until = ?3, last_message_at = ?4, edits = edits + ?5
                 WHERE id = ?1",
            )?
            .execute(params![
                self.source.0,
                self.recorded.watermark.map(UnixMillis::as_millis),
                self.recorded.history_until.map(UnixMillis::as_millis),
                self.recorded.last_message_at.map(UnixMillis::as_millis),
                self.recorded.edited,
            ])?;
        Ok(self.recorded)
    }

    fn is_known(&mut self, message: &Message, content_hash: i64) -> Result<bool, Error> {
        let key = params![self.source.0, message.id.as_str()];
        let tx = self.outlet.tx;
        let known: Option<(i64, bool)> = tx
            .prepare_cached(
                "SELECT content_hash, event IS NOT NULL FROM messages WHERE conversation = ?1 AND message_id = ?2",
            )?
            .query_row(key, |r| Ok((r.get(0)?, r.get(1)?)))
            .optional()?;
        if let Some((hash, was_told)) = known.filter(|(hash, _)| *hash != content_hash) {
            // Only more or less of it was read than before: it says what it said.
            let is_read_anew = !message.has_changed_since(hash);
            self.recorded.edited += u32::from(!is_read_anew);
            tx.prepare_cached("UPDATE messages SET content_hash = ?3 WHERE conversation = ?1 AND message_id = ?2")?
                .execute(params![self.source.0, message.id.as_str(), content_hash])?;
            // History, and what no person wrote, stays silent whatever becomes of it.
            if was_told && !is_read_anew {
                self.announce_change(message, content_hash)?;
            }
        }
        Ok(known.is_some())
    }

    /// Tells what a known message says now, each content once: a provider may show old and new text in turn.
    fn announce_change(&self, message: &Message, content_hash: i64) -> Result<(), Error> {
        if !self.outlet.wanted(kind::MESSAGE_CHANGED) {
            return Ok(());
        }
        let told_first = self
            .outlet
            .tx
            .prepare_cached(
                "INSERT INTO changes (conversation, message_id, content_hash) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )?
            .execute(params![self.source.0, message.id.as_str(), content_hash])?;
        if told_first > 0 {
            let event = Event::message_changed(&self.context, message, self.seen(message));
            self.announce(event, message)?;
        }
        Ok(())
    }

    /// Owes an event to the sinks that want it, with the provider's own object to those that want that.
    fn announce(&self, event: Event, message: &Message) -> Result<i64, Error> {
        let event = match self.outlet.wants_raw(event.kind) {
            true => event.with_raw(&self.context, message, self.seen(message)),
            false => event,
        };
        self.outlet.of_conversation(self.source, &event)
    }

    fn stays_silent(&self, message: &Message) -> bool {
        let line = match self.announce {
            Announce::Baseline { .. } => return true,
            Announce::New { history_until, .. } => history_until,
            Announce::After { line, .. } => Some(line),
        };
        message.unannounced || line.is_some_and(|line| message.sent_at.is_some_and(|sent_at| sent_at <= line))
    }

    fn seen(&self, message: &Message) -> Seen {
        let route = self.announce.route();
        let backfill = route == Route::Backfill;
        let late = !backfill && message.sent_at.zip(self.watermark_before).is_some_and(|(sent_at, w)| sent_at < w);
        Seen { at: self.outlet.now, route, late, backfill }
    }
}
