//! Page walks that take more than one page.
//!
//! Pages arrive newest first, but a watermark may only move over a range that has been read whole, and nothing may
//! be announced out of order. So the pages of a walk are staged as they come, with the cursor of the next one, and
//! when the walk has met the recorded range they are announced oldest first. A kill at any point resumes the walk.
//! Memory holds one page, whatever the length of the conversation.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::Outlet;
use super::record_poll::Recording;
use super::{Announce, Error, Recorded, SourceId, Store, millis, unreadable};
use crate::model::{AccountName, Conversation, EventContext, Message, Route, Unreadable, WITHOUT_TIME};
use crate::time::UnixMillis;

/// Messages announced in one transaction: enough to make the commit cheap, few enough not to hold up other writes.
const CHUNK: u32 = 500;

/// A walk in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// The walk may stop below this; `None`: at the beginning of the conversation.
    pub low: Option<UnixMillis>,
    /// Where to go on; `None`: everything is read and waits to be announced.
    pub cursor: Option<String>,
    /// First contact that records silently.
    pub baseline: bool,
    /// By which road its messages are found.
    pub route: Route,
    /// When its first page was asked for: coverage reaches up to here.
    pub started_at: UnixMillis,
    /// Pages read.
    pub pages: u32,
    /// Messages read.
    pub messages: u64,
    /// What its pages prove, the weakest of them; `None`: nothing.
    pub proved_until: Option<UnixMillis>,
    /// It ended before its lower bound: the rest is on record as a gap.
    pub has_gap: bool,
    /// Messages on its pages that could not be read.
    pub unreadable: u32,
}

impl Walk {
    /// It goes through what is silent, or was asked for as history: nobody waits for it.
    pub fn is_history(&self) -> bool {
        self.baseline || self.route == Route::Backfill
    }
}

/// One page of a walk.
pub struct PageRecord {
    /// The conversation's row.
    pub source: SourceId,
    /// The walk as it stands after this page.
    pub walk: Walk,
    /// The page.
    pub messages: Vec<Message>,
    /// What of it could not be read.
    pub unreadable: Unreadable,
}

/// What a staged page has added, and whether there is room for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Staged {
    /// Messages that the walk had not yet seen.
    pub unseen: usize,
    /// The conversation, or all of its account together, has as much staged as may be.
    pub is_full: bool,
}

/// Most bytes that are staged of one conversation.
const STAGED_LIMIT: u64 = 256 << 20;

/// Most bytes that are staged of all conversations of an account.
const STAGED_OF_ACCOUNT_LIMIT: u64 = 1 << 30;

/// What is staged of a message that is recorded as it is: nothing of it will be told, so nothing of it is kept.
const KNOWN: &str = "";

const COLUMNS: &str = "conversation, low, cursor, baseline, route, started_at, pages, messages, proved_until, has_gap,
    unreadable";

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<(SourceId, Walk)> {
    let walk = Walk {
        low: millis(row.get(1)?),
        cursor: row.get(2)?,
        baseline: row.get(3)?,
        route: route(&row.get::<_, String>(4)?),
        started_at: UnixMillis::from_millis(row.get(5)?),
        pages: row.get(6)?,
        messages: row.get(7)?,
        proved_until: millis(row.get(8)?),
        has_gap: row.get(9)?,
        unreadable: row.get(10)?,
    };
    Ok((SourceId(row.get(0)?), walk))
}

pub(super) fn load_one(tx: &Connection, source: SourceId) -> Result<Option<Walk>, Error> {
    let walk = tx
        .prepare_cached(&format!("SELECT {COLUMNS} FROM walks WHERE conversation = ?1"))?
        .query_row([source.0], read)
        .optional()?;
    Ok(walk.map(|(_, walk)| walk))
}

const ROUTES: [(Route, &str); 3] = [(Route::Poll, "poll"), (Route::Sweep, "sweep"), (Route::Backfill, "backfill")];

fn route(word: &str) -> Route {
    ROUTES.iter().find(|(_, known)| *known == word).map_or(Route::Poll, |(route, _)| *route)
}

fn word(route: Route) -> &'static str {
    ROUTES.iter().find(|(known, _)| *known == route).map_or("poll", |(_, word)| word)
}

impl Store {
    /// Stages a page and the walk as it stands after it. A page of which the walk has seen everything means that the
    /// provider's paging does not advance.
    pub async fn stage_page(&self, mut page: PageRecord) -> Result<Staged, Error> {
        // The provider's own objects may be many times the size of the rest.
        if !self.sinks().iter().any(|sink| sink.wants.raw) {
            page.messages.iter_mut().for_each(|message| message.raw = None);
        }
        self.write(move |tx| stage_page(tx, &page)).await
    }

    /// Announces the next part of a finished walk, oldest first. `None` when nothing is left.
    pub async fn announce_staged(
        &self,
        source: SourceId,
        provider: &'static str,
        account: AccountName,
        conversation: Arc<Conversation>,
        announce: Announce,
    ) -> Result<Option<Recorded>, Error> {
        let sinks = self.sinks();
        let recorded = self
            .write(move |tx| {
                let title: Option<String> = tx
                    .prepare_cached("SELECT title FROM conversations WHERE id = ?1")?
                    .query_row([source.0], |r| r.get(0))?;
                let context =
                    EventContext { provider, account: &account, conversation: &conversation, title: title.as_deref() };
                let outlet = Outlet { tx, sinks: &sinks, now: UnixMillis::now() };
                announce_staged(outlet, source, context, announce)
            })
            .await?;
        if recorded.is_some_and(|r| r.announced > 0) {
            self.deliveries().notify_waiters();
        }
        Ok(recorded)
    }

    /// Gives up a walk whose cursor the provider no longer takes: the next poll begins again from the newest message.
    pub async fn abandon_walk(&self, source: SourceId) -> Result<(), Error> {
        self.write(move |tx| forget(tx, source)).await
    }
}

fn stage_page(tx: &Connection, page: &PageRecord) -> Result<Staged, Error> {
    let walk = &page.walk;
    tx.prepare_cached(
        "INSERT INTO walks (conversation, low, cursor, baseline, route, started_at, pages, messages, proved_until,
            unreadable)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT (conversation) DO UPDATE SET low = ?2, cursor = ?3, pages = ?7, messages = ?8, proved_until = ?9,
            unreadable = ?10",
    )?
    .execute(params![
        page.source.0,
        walk.low.map(UnixMillis::as_millis),
        walk.cursor,
        walk.baseline,
        word(walk.route),
        walk.started_at.as_millis(),
        walk.pages,
        walk.messages,
        walk.proved_until.map(UnixMillis::as_millis),
        walk.unreadable,
    ])?;
    if page.unreadable.items > 0 {
        let met = Unreadable { items: walk.unreadable, ..page.unreadable.clone() };
        unreadable::note(tx, page.source, walk.low, &met, UnixMillis::now())?;
    }
    let mut statement = tx.prepare_cached(
        "INSERT INTO staged_messages (conversation, sent_at, message_id, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )?;
    let (mut unseen, mut bytes) = (0, 0);
    let mut known =
        tx.prepare_cached("SELECT 1 FROM messages WHERE conversation = ?1 AND message_id = ?2 AND content_hash = ?3")?;
    for message in &page.messages {
        let body = match known.exists(params![page.source.0, message.id.as_str(), message.content_hash()])? {
            true => KNOWN.to_owned(),
            false => {
                serde_json::to_string(message).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?
            }
        };
        let added = statement.execute(params![page.source.0, message.order().0, message.id.as_str(), body])?;
        unseen += added;
        bytes += if added > 0 { body.len() as u64 } else { 0 };
    }
    let bytes: u64 = tx
        .prepare_cached("UPDATE walks SET bytes = bytes + ?2 WHERE conversation = ?1 RETURNING bytes")?
        .query_row(params![page.source.0, bytes], |r| r.get(0))?;
    let of_account: u64 = tx
        .prepare_cached(
            "SELECT sum(w.bytes) FROM walks w JOIN conversations c ON c.id = w.conversation
             WHERE c.account = (SELECT account FROM conversations WHERE id = ?1)",
        )?
        .query_row([page.source.0], |r| r.get(0))?;
    Ok(Staged { unseen, is_full: bytes > STAGED_LIMIT || of_account > STAGED_OF_ACCOUNT_LIMIT })
}

fn announce_staged(
    outlet: Outlet<'_>,
    source: SourceId,
    context: EventContext<'_>,
    announce: Announce,
) -> Result<Option<Recorded>, Error> {
    let tx = outlet.tx;
    let mut statement = tx.prepare_cached(
        "SELECT sent_at, message_id, body FROM staged_messages WHERE conversation = ?1
         ORDER BY sent_at, message_id LIMIT ?2",
    )?;
    let staged: Vec<(i64, String, String)> = statement
        .query_map(params![source.0, CHUNK], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let Some((last_time, last_id, _)) = staged.last().cloned() else {
        return Ok(None);
    };
    let mut recording = Recording::begin(outlet, source, context, announce)?;
    for (sent_at, _, body) in staged {
        if body == KNOWN {
            recording.pass(Some(sent_at).filter(|sent_at| *sent_at != WITHOUT_TIME).map(UnixMillis::from_millis));
            continue;
        }
        let message = serde_json::from_str(&body)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(e)))?;
        recording.record(message)?;
    }
    let recorded = recording.finish()?;
    tx.prepare_cached("DELETE FROM staged_messages WHERE conversation = ?1 AND (sent_at, message_id) <= (?2, ?3)")?
        .execute(params![source.0, last_time, last_id])?;
    Ok(Some(recorded))
}

/// Removes a walk and what it staged.
pub(super) fn forget(tx: &Connection, source: SourceId) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM walks WHERE conversation = ?1")?.execute([source.0])?;
    tx.prepare_cached("DELETE FROM staged_messages WHERE conversation = ?1")?.execute([source.0])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{ConversationId, ConversationType, Direction, MessageId, Sender, SinkName};
    use crate::store::{FollowedAccount, FollowedSink, Pinned, Wants};

    fn message(raw: &str) -> Message {
        Message {
            id: MessageId::new("1"),
            direction: Direction::Inbound,
            sent_at: None,
            sender: Sender::default(),
            text: "text".into(),
            subject: None,
            quoted: None,
            forwarded: None,
            attachments: vec![],
            flags: vec![],
            unannounced: false,
            raw: serde_json::from_str(raw).unwrap(),
        }
    }

    /// A store that follows one conversation, whose only sink wants the provider's own objects or not.
    async fn following(folder: &tempfile::TempDir, wants_raw: bool) -> (Store, SourceId) {
        let store = Store::open(&folder.path().join("inboxd.db")).unwrap();
        let conversation = Conversation {
            id: ConversationId::new("2-A"),
            address: "2-A".into(),
            kind: ConversationType::Standard,
            person_url: None,
        };
        let period = Duration::from_secs(60);
        let account = FollowedAccount {
            today: crate::calendar::Calendar::default().day(UnixMillis::now()),
            budget: crate::store::BudgetRow::default(),
            provider: "unipile",
            name: AccountName::new("main").unwrap(),
            conversations: vec![Pinned { conversation, formerly: None, max_interval: period }],
            discover: false,
            channel: "",
            max_interval: period,
        };
        let wants = Wants { raw: wants_raw, ..Wants::default() };
        let sink = FollowedSink { name: SinkName::new("crm").unwrap(), wants, max_pending: 1 };
        let followed = store.follow(vec![account], vec![sink], UnixMillis::now()).await.unwrap();
        (store, followed.accounts[0].pinned[0].id)
    }

    fn page(source: SourceId, message: Message) -> PageRecord {
        let walk = Walk {
            low: None,
            cursor: None,
            baseline: false,
            route: Route::Poll,
            started_at: UnixMillis::now(),
            pages: 1,
            messages: 1,
            proved_until: None,
            has_gap: false,
            unreadable: 0,
        };
        PageRecord { source, walk, messages: vec![message], unreadable: Unreadable::default() }
    }

    /// The message as it is staged.
    async fn staged(wants_raw: bool, message: Message) -> Message {
        let folder = tempfile::tempdir().unwrap();
        let (store, source) = following(&folder, wants_raw).await;
        let Staged { unseen, is_full } = store.stage_page(page(source, message)).await.unwrap();
        assert_eq!((unseen, is_full), (1, false));
        let body: String = Connection::open(store.path())
            .unwrap()
            .query_row("SELECT body FROM staged_messages", [], |row| row.get(0))
            .unwrap();
        store.close().await.unwrap();
        serde_json::from_str(&body).unwrap()
    }

    #[tokio::test]
    async fn of_a_message_that_is_recorded_as_it_is_nothing_is_staged_and_its_time_counts_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (store, source) = following(&folder, false).await;
        let at = |millis| Message { sent_at: Some(UnixMillis::from_millis(millis)), ..message("null") };
        let walk = async |message: Message| {
            store.stage_page(page(source, message)).await.unwrap();
            let body: String = Connection::open(store.path())
                .unwrap()
                .query_row("SELECT body FROM staged_messages", [], |row| row.get(0))
                .unwrap();
            let conversation = Arc::new(Conversation {
                id: ConversationId::new("2-A"),
                address: "2-A".into(),
                kind: ConversationType::Standard,
                person_url: None,
            });
            let announce = Announce::New { route: Route::Poll, history_until: None };
            let account = AccountName::new("main").unwrap();
            let recorded = store.announce_staged(source, "unipile", account, conversation, announce).await.unwrap();
            (body.is_empty(), recorded.unwrap())
        };
        let (is_empty, first) = walk(at(1_000)).await;
        assert_eq!((is_empty, first.announced, first.edited), (false, 1, 0));
        // Its time is none of its words: the same message with another is as known.
        let (is_empty, again) = walk(at(2_000)).await;
        assert_eq!((is_empty, again.announced, again.edited), (true, 0, 0));
        assert_eq!((again.watermark, again.last_message_at), (at(2_000).sent_at, at(2_000).sent_at));
        let (is_empty, timeless) = walk(message("null")).await;
        assert_eq!((is_empty, timeless.watermark), (true, at(2_000).sent_at));
        let (is_empty, changed) = walk(Message { text: "other".into(), ..at(1_000) }).await;
        assert_eq!((is_empty, changed.announced, changed.edited), (false, 0, 1));
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_is_staged_is_counted_and_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let (store, source) = following(&folder, false).await;
        for (already, is_full) in [(0, false), (STAGED_LIMIT, true)] {
            let database = Connection::open(store.path()).unwrap();
            database.execute("UPDATE walks SET bytes = ?1", [already]).unwrap();
            let next = Message { id: MessageId::new(already.to_string()), ..message("null") };
            assert_eq!(store.stage_page(page(source, next)).await.unwrap(), Staged { unseen: 1, is_full });
        }
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn the_providers_own_object_is_staged_letter_by_letter_where_a_sink_wants_it_and_nowhere_else() {
        let own = r#"{"z": 1.50,  "id": "1"}"#;
        assert_eq!(staged(true, message(own)).await.raw.as_deref().map(|raw| raw.get()), Some(own));
        assert!(staged(false, message(own)).await.raw.is_none());
        assert_eq!(staged(false, message(own)).await.content_hash(), message("null").content_hash());
    }
}
