//! Items of answers of which nothing could be told. Each may be a message, or a conversation, so the place where they were
//! met stays on record until the same range has been read whole.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{AccountId, Error, SourceId, millis};
use crate::model::Unreadable;
use crate::time::UnixMillis;

/// So long each sweep goes down to rows that could not be read; later only the rare ones do.
const LOOK_DOWN_FOR: Duration = Duration::from_secs(3600);

/// A listing whose unreadable rows lie further down than this many pages is not read so far each time ...
const NEAR_PAGES: u32 = 2;

/// ... but once in so long.
const LOOK_FAR_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Messages of a conversation that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadMessages {
    /// A poll that reads everything from here on settles it; `None`: from the beginning.
    pub low: Option<UnixMillis>,
    /// When they were first met.
    pub first_seen_at: UnixMillis,
    /// When they were last met.
    pub last_seen_at: UnixMillis,
}

impl UnreadMessages {
    /// Whether the next poll should reach down to them. What they lie under may be a long history, so the looks come
    /// rarer the longer they stay: each after half of the time since the first.
    pub fn is_due(&self, now: UnixMillis) -> bool {
        now > self.last_seen_at && now.since(self.last_seen_at) >= now.since(self.first_seen_at) / 2
    }
}

/// Rows of a folder that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadRows {
    /// The folder was listed from here on; `None`: whole.
    pub low: Option<UnixMillis>,
    /// They lie above the row of this activity; `None`: anywhere.
    pub reach: Option<UnixMillis>,
    /// Pages listed until they were met.
    pub page: u32,
    /// When they were first met.
    pub first_seen_at: UnixMillis,
    /// When they were last met.
    pub last_seen_at: UnixMillis,
}

impl UnreadRows {
    /// Whether the next sweep should reach down to them.
    pub fn is_due(&self, now: UnixMillis) -> bool {
        let is_fresh = now.since(self.first_seen_at) < LOOK_DOWN_FOR;
        (is_fresh && self.page <= NEAR_PAGES) || now.since(self.last_seen_at) >= LOOK_FAR_EVERY
    }
}

/// Rows of one page of a folder, among which some could not be read.
#[derive(Clone, Debug)]
pub struct UnreadPage {
    /// Name of the folder.
    pub folder: String,
    /// Where they lie.
    pub rows: UnreadRows,
    /// All that this sweep has met so far.
    pub met: Unreadable,
    /// The sweep has come as far down as what is on record, so that what it has met is all there is.
    pub is_all: bool,
}

pub(super) fn open(tx: &Connection, source: SourceId) -> Result<Option<UnreadMessages>, Error> {
    let open = tx
        .prepare_cached("SELECT low, first_seen_at, last_seen_at FROM unreadable_messages WHERE conversation = ?1")?
        .query_row([source.0], |r| {
            Ok(UnreadMessages {
                low: millis(r.get(0)?),
                first_seen_at: UnixMillis::from_millis(r.get(1)?),
                last_seen_at: UnixMillis::from_millis(r.get(2)?),
            })
        })
        .optional()?;
    Ok(open)
}

/// Puts messages on record that could not be read by a poll from `low` on. A poll of a part of what is on record can only add
/// to it.
pub(super) fn note(
    tx: &Connection,
    source: SourceId,
    low: Option<UnixMillis>,
    met: &Unreadable,
    now: UnixMillis,
) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO unreadable_messages (conversation, items, looks, low, first_seen_at, last_seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5)
         ON CONFLICT (conversation) DO UPDATE SET
            items = CASE WHEN ?4 IS NULL OR low >= ?4 THEN ?2 ELSE max(items, ?2) END,
            looks = ?3, last_seen_at = ?5,
            low = CASE WHEN low IS NULL OR ?4 IS NULL THEN NULL ELSE min(low, ?4) END",
    )?
    .execute(params![
        source.0,
        met.items,
        met.looks.unwrap_or("unknown"),
        low.map(UnixMillis::as_millis),
        now.as_millis()
    ])?;
    Ok(())
}

/// After a complete poll from `low` on: what could not be read is put on record, and where everything was, what lies in that
/// range is settled. Returns what is still on record.
pub(super) fn settle(
    tx: &Connection,
    source: SourceId,
    low: Option<UnixMillis>,
    met: &Unreadable,
    proves: bool,
    now: UnixMillis,
) -> Result<Option<UnreadMessages>, Error> {
    let before = open(tx, source)?;
    if met.items > 0 {
        note(tx, source, low, met, now)?;
    } else if before.is_some() && proves {
        tx.prepare_cached("DELETE FROM unreadable_messages WHERE conversation = ?1 AND (?2 IS NULL OR low >= ?2)")?
            .execute(params![source.0, low.map(UnixMillis::as_millis)])?;
    } else {
        return Ok(before);
    }
    open(tx, source)
}

pub(super) fn open_rows(tx: &Connection, account: AccountId, folder: &str) -> Result<Option<UnreadRows>, Error> {
    let open = tx
        .prepare_cached(
            "SELECT low, reach, page, first_seen_at, last_seen_at FROM unreadable_rows WHERE account = ?1 AND folder = ?2",
        )?
        .query_row(params![account.0, folder], |r| {
            Ok(UnreadRows {
                low: millis(r.get(0)?),
                reach: millis(r.get(1)?),
                page: r.get(2)?,
                first_seen_at: UnixMillis::from_millis(r.get(3)?),
                last_seen_at: UnixMillis::from_millis(r.get(4)?),
            })
        })
        .optional()?;
    Ok(open)
}

/// Puts rows on record that could not be read.
pub(super) fn note_rows(tx: &Connection, account: AccountId, page: &UnreadPage) -> Result<(), Error> {
    let UnreadPage { folder, rows, met, is_all } = page;
    tx.prepare_cached(
        "INSERT INTO unreadable_rows (account, folder, items, looks, low, reach, page, first_seen_at, last_seen_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (account, folder) DO UPDATE SET
            items = CASE WHEN ?10 THEN ?3 ELSE max(items, ?3) END, looks = ?4, low = ?5, reach = ?6, page = ?7,
            last_seen_at = ?9",
    )?
    .execute(params![
        account.0,
        folder,
        met.items,
        met.looks.unwrap_or("unknown"),
        rows.low.map(UnixMillis::as_millis),
        rows.reach.map(UnixMillis::as_millis),
        rows.page,
        rows.first_seen_at.as_millis(),
        rows.last_seen_at.as_millis(),
        is_all,
    ])?;
    Ok(())
}

pub(super) fn settle_rows(tx: &Connection, account: AccountId, folder: &str) -> Result<(), Error> {
    tx.prepare_cached("DELETE FROM unreadable_rows WHERE account = ?1 AND folder = ?2")?
        .execute(params![account.0, folder])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::store::schema::upgrade(&mut connection).unwrap();
        let rows = "INSERT INTO accounts (id, provider, name) VALUES (1, 'unipile', 'main');
            INSERT INTO conversations (id, account, conversation_id, kind, due_at) VALUES (1, 1, 'c', 'standard', 0);";
        connection.execute_batch(rows).unwrap();
        connection
    }

    fn met(items: u32) -> Unreadable {
        Unreadable { items, looks: Some("null"), fields: vec![] }
    }

    #[test]
    fn what_could_not_be_read_is_on_record_until_its_range_has_been_read_whole() {
        let tx = database();
        let source = SourceId(1);
        let settle = |low: Option<i64>, items: u32, proves: bool, now: i64| {
            settle(&tx, source, low.map(at), &met(items), proves, at(now)).unwrap()
        };
        let items = || -> u32 { tx.query_row("SELECT items FROM unreadable_messages", [], |r| r.get(0)).unwrap() };
        assert_eq!(settle(Some(100), 0, true, 1), None);
        let open =
            |last: i64| Some(UnreadMessages { low: Some(at(100)), first_seen_at: at(2), last_seen_at: at(last) });
        assert_eq!(settle(Some(100), 2, true, 2), open(2));
        assert_eq!(settle(Some(101), 0, true, 3), open(2), "a part of the range proves nothing of it");
        assert_eq!(settle(Some(100), 0, false, 4), open(2), "an answer from a cache proves nothing");
        assert_eq!(settle(Some(101), 1, true, 5), open(5));
        assert_eq!(items(), 2, "in a part of the range there was one of the two");
        assert_eq!(settle(Some(100), 1, true, 6), open(6));
        assert_eq!(items(), 1, "in the whole range there is one");
        assert_eq!(settle(Some(50), 1, true, 7).unwrap().low, Some(at(50)));
        assert_eq!(settle(None, 3, true, 8).unwrap().low, None);
        assert!(settle(Some(0), 0, true, 9).is_some());
        assert_eq!(settle(None, 0, true, 10), None);
    }

    #[test]
    fn rows_are_looked_down_to_at_once_where_they_are_near_and_daily_where_not() {
        let hour = |hours: i64| at(hours * 3_600_000);
        let rows = |page| UnreadRows { low: None, reach: None, page, first_seen_at: at(0), last_seen_at: hour(1) };
        assert!(rows(1).is_due(at(1)) && !rows(1).is_due(hour(2)) && rows(1).is_due(hour(25)));
        assert!(!rows(9).is_due(at(1)) && rows(9).is_due(hour(25)));
    }

    #[test]
    fn rows_of_a_folder_are_on_record_since_they_were_first_met() {
        let tx = database();
        let account = AccountId(1);
        let page = |items: u32, seen: i64| UnreadPage {
            folder: "st".into(),
            rows: UnreadRows {
                low: Some(at(5)),
                reach: Some(at(9)),
                page: 1,
                first_seen_at: at(seen),
                last_seen_at: at(seen),
            },
            met: met(items),
            is_all: seen > 20,
        };
        let items = || -> u32 { tx.query_row("SELECT items FROM unreadable_rows", [], |r| r.get(0)).unwrap() };
        note_rows(&tx, account, &page(2, 10)).unwrap();
        note_rows(&tx, account, &page(1, 20)).unwrap();
        assert_eq!(items(), 2, "the sweep did not come as far down as the other one");
        let open = open_rows(&tx, account, "st").unwrap().unwrap();
        assert_eq!((open.first_seen_at, open.last_seen_at, open.reach), (at(10), at(20), Some(at(9))));
        note_rows(&tx, account, &page(1, 30)).unwrap();
        assert_eq!(items(), 1);
        assert_eq!(open_rows(&tx, account, "nv").unwrap(), None);
        settle_rows(&tx, account, "st").unwrap();
        assert_eq!(open_rows(&tx, account, "st").unwrap(), None);
    }
}
