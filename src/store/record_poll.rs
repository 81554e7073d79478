//! THE transaction: what a poll found, a delivery for every sink, and the watermark, or none of them.
//!
//! A message is recorded once by its key, whatever else happens. Its event is rendered here, in the same commit, so
//! that every attempt at every sink sends the same bytes.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, SinkId, SourceId, Store, walks};
use crate::model::{AccountName, Conversation, Event, EventContext, Flag, Message, Route, Seen};
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
        /// Whether this is the history that the configuration asked for.
        backfill: bool,
        /// Messages up to here stay silent.
        history_until: Option<UnixMillis>,
    },
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
}

impl Store {
    /// Records a complete poll in one transaction and wakes the sinks.
    pub async fn record_poll(&self, poll: PollRecord) -> Result<Recorded, Error> {
        self.forget_quiet_poll(poll.source);
        let sinks = self.sinks();
        let recorded = self.write(move |tx| record_poll(tx, poll, &sinks)).await?;
        if recorded.announced > 0 {
            self.deliveries().notify_waiters();
        }
        Ok(recorded)
    }
}

fn record_poll(tx: &Connection, mut poll: PollRecord, sinks: &[SinkId]) -> Result<Recorded, Error> {
    poll.messages.sort_by(|a, b| a.order().cmp(&b.order()));
    let context = EventContext {
        provider: poll.provider,
        account: &poll.account,
        conversation: &poll.conversation,
        title: poll.title.as_deref(),
    };
    let now = UnixMillis::now();
    let mut recording = Recording::begin(tx, poll.source, context, poll.announce, sinks, now)?;
    for message in poll.messages {
        recording.record(message)?;
    }
    let mut recorded = recording.finish()?;
    if poll.ends_walk {
        walks::forget(tx, poll.source)?;
    }
    recorded.due_at = (poll.due)(recorded.last_message_at);
    tx.prepare_cached(
        "UPDATE conversations SET
            first_polled_at = coalesce(first_polled_at, ?2), last_polled_at = ?2,
            verified_until = max(coalesce(verified_until, ?3), coalesce(?3, verified_until)),
            rechecked_at = CASE WHEN ?4 OR rechecked_at IS NULL THEN ?2 ELSE rechecked_at END,
            lapsed_at = ?5, due_at = ?6, title = coalesce(?7, title),
            failures = 0, failing_since = NULL, failure_class = NULL, failure_detail = NULL
         WHERE id = ?1",
    )?
    .execute(params![
        poll.source.0,
        poll.polled_at.as_millis(),
        poll.verified_until.map(UnixMillis::as_millis),
        poll.recheck,
        poll.lapsed_at.map(UnixMillis::as_millis),
        recorded.due_at.as_millis(),
        poll.title,
    ])?;
    Ok(recorded)
}

/// The messages of one conversation on their way into the store, oldest first.
pub(super) struct Recording<'a> {
    tx: &'a Connection,
    source: SourceId,
    context: EventContext<'a>,
    announce: Announce,
    sinks: &'a [SinkId],
    now: UnixMillis,
    watermark_before: Option<UnixMillis>,
    recorded: Recorded,
}

impl<'a> Recording<'a> {
    pub(super) fn begin(
        tx: &'a Connection,
        source: SourceId,
        context: EventContext<'a>,
        announce: Announce,
        sinks: &'a [SinkId],
        now: UnixMillis,
    ) -> Result<Self, Error> {
        let (watermark, last_message_at, due_at): (Option<i64>, Option<i64>, i64) = tx
            .prepare_cached("SELECT watermark, last_message_at, due_at FROM conversations WHERE id = ?1")?
            .query_row([source.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
        let watermark = super::millis(watermark);
        let recorded = Recorded {
            announced: 0,
            silent: 0,
            edited: 0,
            watermark,
            history_until: None,
            last_message_at: super::millis(last_message_at),
            due_at: UnixMillis::from_millis(due_at),
        };
        Ok(Self { tx, source, context, announce, sinks, now, watermark_before: watermark, recorded })
    }

    pub(super) fn record(&mut self, mut message: Message) -> Result<(), Error> {
        let ceiling = self.now + FUTURE;
        if message.sent_at.is_some_and(|sent_at| sent_at > ceiling) && !message.flags.contains(&Flag::TimeFuture) {
            message.flags.push(Flag::TimeFuture);
        }
        if let Some(sent_at) = message.sent_at {
            let held = Some(sent_at.min(ceiling));
            self.recorded.watermark = self.recorded.watermark.max(held);
            self.recorded.last_message_at = self.recorded.last_message_at.max(held);
        }
        let content_hash = message.content_hash();
        if self.is_known(&message, content_hash)? {
            return Ok(());
        }
        let event = if self.stays_silent(&message) {
            self.recorded.silent += 1;
            None
        } else {
            self.recorded.announced += 1;
            Some(self.announce(&message)?)
        };
        self.tx
            .prepare_cached(
                "INSERT INTO messages (conversation, message_id, sent_at, seen_at, content_hash, event)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                self.source.0,
                message.id.as_str(),
                message.sent_at.map(UnixMillis::as_millis),
                self.now.as_millis(),
                content_hash,
                event
            ])?;
        Ok(())
    }

    /// Writes the watermark and the line of history.
    pub(super) fn finish(mut self) -> Result<Recorded, Error> {
        self.recorded.history_until = match self.announce {
            Announce::Baseline { overlap } => self.recorded.watermark.map(|w| w.min(self.now) - overlap),
            Announce::New { history_until, .. } => history_until,
        };
        self.tx
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
        let known: Option<i64> = self
            .tx
            .prepare_cached("SELECT content_hash FROM messages WHERE conversation = ?1 AND message_id = ?2")?
            .query_row(key, |r| r.get(0))
            .optional()?;
        if known.is_some_and(|hash| hash != content_hash) {
            self.recorded.edited += 1;
            self.tx
                .prepare_cached("UPDATE messages SET content_hash = ?3 WHERE conversation = ?1 AND message_id = ?2")?
                .execute(params![self.source.0, message.id.as_str(), content_hash])?;
        }
        Ok(known.is_some())
    }

    fn stays_silent(&self, message: &Message) -> bool {
        match self.announce {
            Announce::Baseline { .. } => true,
            Announce::New { history_until: Some(line), .. } => message.sent_at.is_some_and(|sent_at| sent_at <= line),
            Announce::New { history_until: None, .. } => false,
        }
    }

    /// Stores the event and owes it to every sink.
    fn announce(&self, message: &Message) -> Result<i64, Error> {
        let backfill = matches!(self.announce, Announce::New { backfill: true, .. });
        let seen = Seen {
            at: self.now,
            route: if backfill { Route::Backfill } else { Route::Poll },
            late: !backfill && message.sent_at.zip(self.watermark_before).is_some_and(|(sent_at, w)| sent_at < w),
            backfill,
        };
        let event = Event::message_new(&self.context, message, seen);
        self.tx
            .prepare_cached("INSERT INTO events (event_id, conversation, created_at, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![event.id, self.source.0, self.now.as_millis(), event.body])?;
        let row = self.tx.last_insert_rowid();
        for sink in self.sinks {
            self.tx
                .prepare_cached("INSERT INTO deliveries (sink, conversation, event) VALUES (?1, ?2, ?3)")?
                .execute(params![sink.0, self.source.0, row])?;
            self.tx
                .prepare_cached(
                    "INSERT INTO lanes (sink, conversation, due_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )?
                .execute(params![sink.0, self.source.0, self.now.as_millis()])?;
        }
        Ok(row)
    }
}
