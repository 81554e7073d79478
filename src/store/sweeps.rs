//! Sweeps over an inbox: which conversations moved since their messages were last read.
//!
//! A mark says what the inbox showed when a conversation's messages had been read; it is stored by the poll that read
//! them, never by the sweep. What moved is made due in the same transaction that notices it, and where later sweeps may stop
//! is stored only once a sweep has come to its end: a kill between any two of these loses nothing.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::Outlet;
use super::crowd::Room;
use super::follow::{Follow, insert, load_source};
use super::list_times::{is_later, is_one_activity, line_of_history, line_of_newcomers};
use super::{AccountId, Error, Mark, Source, SourceId, Store, UnreadPage, UnreadRows, millis, unreadable};
use crate::model::{Conversation, Listed};
use crate::time::UnixMillis;

/// What is known of the sweeps over one folder of an inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweptFolder {
    /// Name at the provider.
    pub folder: String,
    /// When the first complete sweep began; `None`: there was none yet.
    pub first_swept_at: Option<UnixMillis>,
    /// Last complete sweep.
    pub swept_at: Option<UnixMillis>,
    /// By the provider's clock: whatever moved up to here has been noticed.
    pub activity: Option<UnixMillis>,
    /// The youngest activity of the first complete sweep, by the provider's clock; `None`: the inbox
    /// was empty.
    pub first_activity: Option<UnixMillis>,
    /// When the first sweep began, while it is under way.
    pub began_at: Option<UnixMillis>,
    /// Where the first sweep goes on.
    pub cursor: Option<String>,
    /// The youngest activity that the first sweep has seen so far.
    pub youngest: Option<UnixMillis>,
    /// First start of the provider's own collecting, by the provider's clock where it told; `None`: it is to be started.
    pub started_at: Option<UnixMillis>,
    /// While that start is under way.
    pub workflow_id: Option<String>,
    /// Rows that could not be read.
    pub unread: Option<UnreadRows>,
}

/// What becomes of conversations that a sweep finds.
#[derive(Clone, Copy, Debug)]
pub struct Discovery {
    /// Unknown conversations are followed.
    pub discover: bool,
    /// From where on their messages are announced.
    pub line: Line,
    /// Stale when unverified for longer.
    pub max_interval: Duration,
    /// So many conversations of the account are followed at most.
    pub max_conversations: u64,
}

/// A sweep over a folder that has come to its end.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Whose inbox.
    pub account: AccountId,
    /// The folder.
    pub folder: String,
    /// When it began.
    pub began: UnixMillis,
    /// The youngest activity that it has seen, not ahead of our clock: up to there later sweeps read.
    pub activity: Option<UnixMillis>,
    /// The same by the provider's clock alone; `None`: the folder is empty.
    pub first_activity: Option<UnixMillis>,
    /// It follows what it finds: the first of these draws the line behind which all later finds are news.
    pub discovers: bool,
    /// All rows that could not be read before have been read.
    pub settled: bool,
}

/// From where on the messages of a conversation that a sweep finds are announced.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    /// As the configuration says of first polls.
    AsConfigured,
    /// After what the inbox shows of it now.
    LastActivity {
        /// When the inbox was listed, by the provider's clock.
        listed_at: Option<UnixMillis>,
    },
    /// After this moment.
    After(UnixMillis),
    /// The first complete sweep did not list it: after the youngest activity of that sweep, all of
    /// it where there was none.
    Newcomer {
        /// The youngest activity of the first complete sweep.
        first_activity: Option<UnixMillis>,
    },
}

/// What a listed conversation is to us.
#[derive(Clone, Debug)]
pub enum Noted {
    /// Nothing to do: it has not moved, or nobody follows it.
    Unmoved,
    /// Its messages are to be read.
    Moved {
        /// Its row.
        source: SourceId,
        /// What the inbox shows.
        mark: Option<Mark>,
        /// Profile of the counterpart, where the inbox says.
        person_url: Option<String>,
    },
    /// It is new, and as many as may be are followed.
    NoRoom,
    /// It is followed from now on.
    Found(Box<(Conversation, Source)>, Option<Mark>),
}

impl Store {
    /// Compares a page of the inbox with what is known, and follows what is new. What of it could not be read is put on
    /// record. Answers in the order of the rows.
    pub async fn note_listed(
        &self,
        account: AccountId,
        rows: Vec<Listed>,
        unread: Option<UnreadPage>,
        discovery: Discovery,
    ) -> Result<Vec<Noted>, Error> {
        let sinks = self.sinks();
        let noted = self
            .write(move |tx| {
                if let Some(page) = &unread {
                    unreadable::note_rows(tx, account, page)?;
                }
                let mut room = Room::of(account, discovery.max_conversations);
                let noted = rows.into_iter().map(|row| note(tx, account, row, discovery, &mut room));
                let noted = noted.collect::<Result<_, _>>()?;
                room.tell(Outlet { tx, sinks: &sinks, now: UnixMillis::now() })?;
                Ok(noted)
            })
            .await?;
        self.deliveries().notify_waiters();
        Ok(noted)
    }

    /// Records where the first sweep over a folder goes on, and the youngest activity it has seen: an inbox may be longer
    /// than a day's credits.
    pub async fn keep_sweep(
        &self,
        account: AccountId,
        folder: String,
        began: UnixMillis,
        cursor: Option<String>,
        youngest: Option<UnixMillis>,
    ) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached(
                "INSERT INTO sweeps (account, folder, began_at, cursor, youngest) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (account, folder) DO UPDATE SET began_at = ?3, cursor = ?4, youngest = ?5",
            )?
            .execute(params![
                account.0,
                folder,
                began.as_millis(),
                cursor,
                youngest.map(UnixMillis::as_millis)
            ])?;
            Ok(())
        })
        .await
    }

    /// Records that a sweep over a folder has come to its end. Returns the youngest activity of the first one.
    pub async fn finish_sweep(&self, finished: Finished) -> Result<Option<UnixMillis>, Error> {
        self.write(move |tx| {
            let Finished { account, folder, began, activity, first_activity, discovers, settled } = finished;
            if settled {
                unreadable::settle_rows(tx, account, &folder)?;
            }
            // Of an empty folder the others that have been listed tell the provider's time.
            let first = "CASE WHEN ?5 THEN coalesce(?6, (SELECT max(o.activity) FROM sweeps o
                WHERE o.account = ?1 AND o.folder <> ?2)) END";
            let first = tx
                .prepare_cached(&format!(
                    "INSERT INTO sweeps (account, folder, first_swept_at, swept_at, activity, first_activity)
                     VALUES (?1, ?2, CASE WHEN ?5 THEN ?3 END, ?3, ?4, {first})
                     ON CONFLICT (account, folder) DO UPDATE SET swept_at = ?3, began_at = NULL, cursor = NULL, youngest = NULL,
                        first_swept_at = coalesce(first_swept_at, CASE WHEN ?5 THEN ?3 END),
                        first_activity = CASE WHEN first_swept_at IS NULL THEN {first} ELSE first_activity END,
                        activity = max(coalesce(activity, ?4), coalesce(?4, activity)),
                        failing_since = NULL, failure_class = NULL, failure_detail = NULL
                     RETURNING first_activity"
                ))?
                .query_row(
                    params![
                        account.0,
                        folder,
                        began.as_millis(),
                        activity.map(UnixMillis::as_millis),
                        discovers,
                        first_activity.map(UnixMillis::as_millis)
                    ],
                    |r| Ok(millis(r.get(0)?)),
                )?;
            Ok(first)
        })
        .await
    }

    /// Records that a sweep over a folder has failed.
    pub async fn record_sweep_failure(
        &self,
        account: AccountId,
        folder: String,
        class: &'static str,
        detail: String,
    ) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached(
                "INSERT INTO sweeps (account, folder, failing_since, failure_class, failure_detail) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (account, folder) DO UPDATE SET failing_since = coalesce(failing_since, ?3),
                    failure_class = ?4, failure_detail = ?5",
            )?
            .execute(params![account.0, folder, UnixMillis::now().as_millis(), class, detail])?;
            Ok(())
        })
        .await
    }

    /// Records that the provider was told to collect a folder, before and after it has answered, and `None` when that is
    /// over.
    pub async fn record_monitoring(
        &self,
        account: AccountId,
        folder: String,
        started_at: Option<UnixMillis>,
        workflow_id: Option<String>,
    ) -> Result<(), Error> {
        self.write(move |tx| {
            tx.prepare_cached(
                "INSERT INTO sweeps (account, folder, started_at, workflow_id) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (account, folder) DO UPDATE SET workflow_id = ?4,
                    started_at = CASE WHEN ?3 IS NULL THEN NULL ELSE coalesce(started_at, ?3) END",
            )?
            .execute(params![account.0, folder, started_at.map(UnixMillis::as_millis), workflow_id])?;
            Ok(())
        })
        .await
    }
}

pub(super) fn load(tx: &Connection, account: AccountId) -> Result<Vec<SweptFolder>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT folder, first_swept_at, swept_at, activity, started_at, workflow_id, began_at, cursor, youngest,
            first_activity
         FROM sweeps
         WHERE account = ?1",
    )?;
    let rows = statement.query_map([account.0], |r| {
        Ok(SweptFolder {
            folder: r.get(0)?,
            first_swept_at: millis(r.get(1)?),
            swept_at: millis(r.get(2)?),
            activity: millis(r.get(3)?),
            started_at: millis(r.get(4)?),
            workflow_id: r.get(5)?,
            began_at: millis(r.get(6)?),
            cursor: r.get(7)?,
            youngest: millis(r.get(8)?),
            unread: None,
            first_activity: millis(r.get(9)?),
        })
    })?;
    let mut folders = rows.collect::<Result<Vec<_>, _>>()?;
    for folder in &mut folders {
        folder.unread = unreadable::open_rows(tx, account, &folder.folder)?;
    }
    Ok(folders)
}

fn note(
    tx: &Connection,
    account: AccountId,
    row: Listed,
    discovery: Discovery,
    room: &mut Room,
) -> Result<Noted, Error> {
    let shown = row.mark.clone().map(|mark| Mark { mark, activity: row.last_activity_at });
    let Some(known) = known(tx, account, &row.conversation)? else {
        if !discovery.discover {
            return Ok(Noted::Unmoved);
        }
        if !room.take(tx)? {
            return Ok(Noted::NoRoom);
        }
        let source = insert(tx, account, &row.conversation, Follow::Discovered, UnixMillis::now())?;
        return found(tx, source, row, discovery, shown);
    };
    let source = known.source;
    match known.follow {
        Follow::Pinned | Follow::Stored | Follow::Discovered => {}
        Follow::None if discovery.discover => {
            if !room.take(tx)? {
                return Ok(Noted::NoRoom);
            }
            tx.prepare_cached(
                "UPDATE conversations SET follow = ?2, address = ?3, person_url = coalesce(?4, person_url) WHERE id = ?1",
            )?
            .execute(params![
                source.0,
                Follow::Discovered.word(),
                row.conversation.address,
                row.conversation.person_url,
            ])?;
            make_due(tx, source)?;
            return found(tx, source, row, discovery, shown);
        }
        Follow::None | Follow::Unfollowed => return Ok(Noted::Unmoved),
    }
    let person_url = row.conversation.person_url;
    if (person_url.is_some() && known.person_url.is_none()) || (row.title.is_some() && row.title != known.title) {
        tx.prepare_cached(
            "UPDATE conversations SET title = coalesce(?2, title), person_url = coalesce(person_url, ?3) WHERE id = ?1",
        )?
        .execute(params![source.0, row.title, person_url])?;
    }
    if row.mark.is_some() && row.mark == known.mark {
        return Ok(Noted::Unmoved);
    }
    let is_read = row.last_activity_at.is_some() && known.watermark >= row.last_activity_at;
    let is_known = match (known.mark.as_deref(), row.mark.as_deref()) {
        (None, _) => true,
        (Some(known), Some(mark)) => is_one_activity(known, mark),
        (Some(_), None) => false,
    };
    if is_read && is_known {
        // Read to that point before any sweep has seen it, or by a sweep over another list of it.
        tx.prepare_cached("UPDATE conversations SET mark = ?2 WHERE id = ?1")?.execute(params![source.0, row.mark])?;
        return Ok(Noted::Unmoved);
    }
    if let (Some(line), Some(shown)) = (known.waits_since, row.last_activity_at)
        && !is_later(shown, line)
    {
        // Due for its first look since it was found. Were it news at every sweep until then, sweeps over an inbox that
        // takes days to read would go to its end each time, and leave no credits for the looks.
        return Ok(Noted::Unmoved);
    }
    // What has no mark may have moved at any time; to make it due at every sweep would be to know that it has.
    if shown.is_some() {
        make_due(tx, source)?;
    }
    Ok(Noted::Moved { source, mark: shown, person_url })
}

/// What a sweep has noticed is due in the store too: a restart must not wait for the next proof.
fn make_due(tx: &Connection, source: SourceId) -> Result<(), Error> {
    tx.prepare_cached("UPDATE conversations SET due_at = ?2 WHERE id = ?1 AND due_at > ?2 AND failures = 0")?
        .execute(params![source.0, UnixMillis::now().as_millis()])?;
    Ok(())
}

/// What the store knows of a listed conversation.
struct Known {
    source: SourceId,
    follow: Follow,
    mark: Option<String>,
    watermark: Option<UnixMillis>,
    person_url: Option<String>,
    title: Option<String>,
    /// Where it has never been read: the activity that it was found with.
    waits_since: Option<UnixMillis>,
}

/// By its id, or where the configuration names it by the person alone, by that.
fn known(tx: &Connection, account: AccountId, conversation: &Conversation) -> Result<Option<Known>, Error> {
    let read = |r: &rusqlite::Row<'_>| {
        Ok(Known {
            source: SourceId(r.get(0)?),
            follow: Follow::from_word(&r.get::<_, String>(1)?),
            mark: r.get(2)?,
            watermark: millis(r.get(3)?),
            person_url: r.get(4)?,
            title: r.get(5)?,
            waits_since: millis(r.get(6)?),
        })
    };
    let by_id = tx
        .prepare_cached(
            "SELECT id, follow, mark, watermark, person_url, title, CASE WHEN first_polled_at IS NULL THEN line END
             FROM conversations
             WHERE account = ?1 AND conversation_id = ?2",
        )?
        .query_row(params![account.0, conversation.id.as_str()], read)
        .optional()?;
    if by_id.is_some() || conversation.person_url.is_none() {
        return Ok(by_id);
    }
    Ok(tx
        .prepare_cached(
            "SELECT id, follow, mark, watermark, person_url, title, CASE WHEN first_polled_at IS NULL THEN line END
             FROM conversations
             WHERE account = ?1 AND person_url = ?2 AND kind = ?3 AND follow = 'pinned'",
        )?
        .query_row(params![account.0, conversation.person_url, conversation.kind.as_str()], read)
        .optional()?)
}

fn found(
    tx: &Connection,
    source: SourceId,
    row: Listed,
    discovery: Discovery,
    shown: Option<Mark>,
) -> Result<Noted, Error> {
    let line = match discovery.line {
        Line::AsConfigured => None,
        Line::LastActivity { listed_at } => row.last_activity_at.map(|shown| line_of_history(shown, listed_at)),
        Line::After(line) => Some(line),
        Line::Newcomer { first_activity } => Some(first_activity.map_or(UnixMillis::EPOCH, line_of_newcomers)),
    };
    tx.prepare_cached(
        "UPDATE conversations SET title = coalesce(?2, title), max_interval = ?4,
            line = CASE WHEN first_polled_at IS NULL THEN ?3 ELSE line END WHERE id = ?1",
    )?
    .execute(params![
        source.0,
        row.title,
        line.map(UnixMillis::as_millis),
        i64::try_from(discovery.max_interval.as_millis()).unwrap_or(i64::MAX),
    ])?;
    Ok(Noted::Found(Box::new((row.conversation, load_source(tx, source)?)), shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AccountName, ConversationId, ConversationType};

    const SECOND: Duration = Duration::from_secs(1);

    fn row(id: &str, last_activity_at: UnixMillis) -> Listed {
        Listed {
            conversation: Conversation {
                id: ConversationId::new(id),
                address: id.into(),
                kind: ConversationType::Standard,
                person_url: None,
            },
            title: None,
            last_activity_at: Some(last_activity_at),
            mark: Some(last_activity_at.to_string()),
        }
    }

    fn finished(account: AccountId, folder: &str, began: UnixMillis, youngest: Option<UnixMillis>) -> Finished {
        Finished {
            account,
            folder: folder.to_owned(),
            began,
            activity: youngest,
            first_activity: youngest,
            discovers: true,
            settled: false,
        }
    }

    /// The line of a conversation that a sweep finds.
    async fn line_of(store: &Store, account: AccountId, id: &str, at: UnixMillis, line: Line) -> Option<UnixMillis> {
        let discovery = Discovery { discover: true, line, max_interval: SECOND, max_conversations: 100_000 };
        let noted = store.note_listed(account, vec![row(id, at)], None, discovery).await.unwrap().remove(0);
        let Noted::Found(found, _) = noted else { panic!("{noted:?}") };
        found.1.line
    }

    #[tokio::test]
    async fn our_clock_takes_no_part_in_what_is_new_to_an_account() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("inboxd.db")).unwrap();
        let account = store.account("connectsafely", AccountName::new("work").unwrap()).await.unwrap();
        let at = |seconds: u32| UnixMillis::from_millis(1_700_000_000_500) + seconds * SECOND;
        let (ours, folders) = (at(8 * 3600), ["main", "empty", "other"].map(str::to_owned));
        let sweep = async |folder: &String, youngest: Option<UnixMillis>| {
            store.finish_sweep(finished(account, folder, ours, youngest)).await.unwrap()
        };
        let first_activity = sweep(&folders[0], Some(at(60))).await;
        assert_eq!(first_activity, Some(at(60)));
        assert_eq!(sweep(&folders[1], None).await, Some(at(60)), "an empty folder beside one that is not");
        assert_eq!(sweep(&folders[0], Some(at(90))).await, Some(at(60)), "of the first sweep");
        let newcomer = Line::Newcomer { first_activity };
        assert_eq!(line_of(&store, account, "2-NEW", at(61), newcomer).await, Some(at(59)));
        let empty = Line::Newcomer { first_activity: None };
        assert_eq!(line_of(&store, account, "2-FIRST", at(61), empty).await, Some(UnixMillis::EPOCH));
    }

    #[tokio::test]
    async fn an_inbox_that_was_empty_at_its_first_sweep_has_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("inboxd.db")).unwrap();
        let account = store.account("connectsafely", AccountName::new("work").unwrap()).await.unwrap();
        let swept = store.finish_sweep(finished(account, "", UnixMillis::now(), None)).await.unwrap();
        assert_eq!(swept, None);
        let later = store.finish_sweep(finished(account, "", UnixMillis::now(), Some(UnixMillis::now()))).await;
        assert_eq!(later.unwrap(), None, "what comes later is no part of the first sweep");
    }
}
