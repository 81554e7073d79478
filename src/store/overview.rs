//! What the commands that only look can see: state of accounts, conversations and sinks, and the latest events.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;

use super::{Error, ReadOnlyStore, left_out, millis, quiet};
use crate::calendar::{Calendar, Day};
use crate::time::UnixMillis;

/// Everything `status` shows.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Accounts with their conversations, by name.
    pub accounts: Vec<AccountOverview>,
    /// Sinks, by name.
    pub sinks: Vec<SinkOverview>,
}

/// One account.
#[derive(Clone, Debug, Serialize)]
pub struct AccountOverview {
    /// Provider name.
    pub provider: String,
    /// Name in the configuration.
    pub name: String,
    /// Whether the configuration still names it.
    pub configured: bool,
    /// Whether it follows whatever its inbox lists.
    pub discovers: bool,
    /// Since when its inbox lists more conversations than are followed at most; null: it does not.
    pub full_since: Option<UnixMillis>,
    /// When a paused account is tried again; null when it is not paused.
    pub paused_until: Option<UnixMillis>,
    /// When the pause began.
    pub paused_since: Option<UnixMillis>,
    /// Error class of the pause.
    pub pause_class: Option<String>,
    /// What the provider said.
    pub pause_reason: Option<String>,
    /// The time zone by which its days and months begin.
    pub time_zone: String,
    /// Requests that it may make in a minute.
    pub requests_per_minute: Option<u32>,
    /// Fewer, as the provider has taught; null: as many as are configured.
    pub learnt_requests_per_minute: Option<f64>,
    /// Requests made today; while no daemon runs, without those of the minute in which one was killed.
    pub requests_today: u64,
    /// Credits spent today, where the provider bills; requests under way are counted as they may cost.
    pub credits_today: Option<u64>,
    /// What today may cost.
    pub daily_credits: Option<u32>,
    /// Credits spent this month.
    pub credits_this_month: Option<u64>,
    /// What the month may cost; null: there is no limit but that of its days.
    pub monthly_credits: Option<u32>,
    /// Credits that are left at the provider, where it says: all of them, whatever a day may cost.
    pub credits_left: Option<u64>,
    /// When that was heard.
    pub credits_left_at: Option<UnixMillis>,
    /// Since when they are fewer than a day may cost; null: they are not.
    pub credits_low_since: Option<UnixMillis>,
    /// When the day ends, and with it its credits.
    pub day_ends_at: UnixMillis,
    /// The sweeps over its inbox.
    pub inbox: Vec<FolderOverview>,
    /// Parts of the inbox that are there and not listed.
    pub inbox_left_out: Vec<String>,
    /// Conversations, by id.
    pub conversations: Vec<ConversationOverview>,
}

/// One folder of an inbox that is swept.
#[derive(Clone, Debug, Serialize)]
pub struct FolderOverview {
    /// Name at the provider; empty where the inbox is one.
    pub folder: String,
    /// When its first complete sweep began; null: it has not come to its end yet.
    pub first_swept_at: Option<UnixMillis>,
    /// Last complete sweep.
    pub swept_at: Option<UnixMillis>,
    /// Since when sweeps fail.
    pub failing_since: Option<UnixMillis>,
    /// Error class of the last failure.
    pub failure_class: Option<String>,
    /// What went wrong.
    pub failure_detail: Option<String>,
    /// Rows that could not be read; null: there are none.
    pub unreadable: Option<UnreadOverview>,
}

/// A range that could not be read and is still missing.
#[derive(Clone, Debug, Serialize)]
pub struct GapOverview {
    /// From here; null: from the beginning.
    pub low: Option<UnixMillis>,
    /// To here; null: to the moment it was found.
    pub high: Option<UnixMillis>,
    /// Why.
    pub reason: String,
    /// When it was found.
    pub found_at: UnixMillis,
}

/// Items of which nothing could be told, and which have not been read since.
#[derive(Clone, Debug, Serialize)]
pub struct UnreadOverview {
    /// How many; each may be a message, or in an inbox a conversation.
    pub items: u32,
    /// How the first of them looks.
    pub looks: String,
    /// When they were first met.
    pub first_seen_at: UnixMillis,
    /// When they were last met.
    pub last_seen_at: UnixMillis,
}

/// One conversation.
#[derive(Clone, Debug, Serialize)]
pub struct ConversationOverview {
    /// Normalised id.
    pub id: String,
    /// LinkedIn product.
    #[serde(rename = "type")]
    pub kind: String,
    /// What people call it.
    pub title: Option<String>,
    /// Whether it is polled.
    pub followed: bool,
    /// Who follows it: pinned (the configuration), stored (a command), discovered (the inbox); else none or unfollowed.
    pub follow: String,
    /// How the provider is asked for it.
    pub address: Option<String>,
    /// Unverified for longer is stale, in seconds.
    pub max_interval_seconds: Option<f64>,
    /// When it was first read.
    pub first_polled_at: Option<UnixMillis>,
    /// Largest provider time recorded.
    pub watermark: Option<UnixMillis>,
    /// Up to here we know we have everything.
    pub verified_until: Option<UnixMillis>,
    /// Time of the youngest message.
    pub last_message_at: Option<UnixMillis>,
    /// Last complete poll.
    pub last_polled_at: Option<UnixMillis>,
    /// Next poll; while no daemon runs, as the last one has stored it.
    pub due_at: UnixMillis,
    /// What has set that moment, as the running daemon says; null while none runs.
    pub due_reason: Option<String>,
    /// Where the provider stopped collecting; null while it collects.
    pub lapsed_at: Option<UnixMillis>,
    /// When the provider stops collecting.
    pub sync_until: Option<UnixMillis>,
    /// Where upkeep stands: idle, queued, starting, running; null where the provider needs none.
    pub sync_state: Option<String>,
    /// Pages read of a walk that goes on; null when there is none.
    pub walk_pages: Option<u32>,
    /// Messages read by that walk.
    pub walk_messages: Option<u64>,
    /// How far back that walk has come.
    pub walk_reached: Option<UnixMillis>,
    /// Known messages whose content changed later.
    pub edits: u64,
    /// Ranges that could not be read and are still missing.
    pub gaps: Vec<GapOverview>,
    /// Messages that could not be read; null: there are none.
    pub unreadable: Option<UnreadOverview>,
    /// Polls failed in a row.
    pub failures: u32,
    /// Since when.
    pub failing_since: Option<UnixMillis>,
    /// Error class of the last failure.
    pub failure_class: Option<String>,
    /// What went wrong.
    pub failure_detail: Option<String>,
}

/// One sink.
#[derive(Clone, Debug, Serialize)]
pub struct SinkOverview {
    /// Name in the configuration.
    pub name: String,
    /// Whether the configuration still names it.
    pub configured: bool,
    /// Deliveries not yet settled.
    pub pending: u64,
    /// Deliveries made.
    pub delivered: u64,
    /// Deliveries given up, kept until they are retried or purged.
    pub dead: u64,
    /// Events that its filter did not let pass.
    pub filtered: u64,
    /// First failure since its last success; null: its last attempt succeeded.
    pub failing_since: Option<UnixMillis>,
    /// Since when it is parked: it only failed, and is tried rarely; null: it is not.
    pub parked_at: Option<UnixMillis>,
    /// Polling waits while more than this are pending.
    pub max_pending: Option<u64>,
    /// When the oldest pending event was recorded.
    pub oldest_pending_at: Option<UnixMillis>,
    /// What the sink said at the last failed attempt of a pending or dead delivery.
    pub last_failure: Option<String>,
}

/// Which events to read.
#[derive(Clone, Copy, Debug)]
pub enum Tail {
    /// The latest so many.
    Last(u32),
    /// Those after a row.
    After(i64),
}

/// An event as `tail` shows it.
#[derive(Clone, Debug)]
pub struct TailedEvent {
    /// Its row, for [`Tail::After`].
    pub row: i64,
    /// The event's bytes.
    pub body: String,
}

impl ReadOnlyStore {
    /// The state of everything, read in one transaction.
    pub fn overview(&self) -> Result<Overview, Error> {
        let tx = self.connection.unchecked_transaction()?;
        let mut statement = tx.prepare(
            "SELECT id, provider, name, paused_until, paused_since, pause_class, pause_reason, configured, discovers,
                time_zone, requests_per_minute, learnt_per_minute, daily_credits, monthly_credits,
                credits_left, credits_left_at, credits_low_since, full_since
             FROM accounts
             ORDER BY name",
        )?;
        let accounts = statement.query_map([], |r| {
            let time_zone: String = r.get(9)?;
            let day = Calendar::parse(&time_zone).unwrap_or_default().day(UnixMillis::now());
            let spent = spent(&tx, r.get(0)?, day)?;
            let daily_credits: Option<u32> = r.get(12)?;
            let account = AccountOverview {
                time_zone,
                requests_per_minute: r.get(10)?,
                learnt_requests_per_minute: r.get(11)?,
                requests_today: spent.requests_today,
                credits_today: daily_credits.map(|_| spent.today),
                daily_credits,
                credits_this_month: daily_credits.map(|_| spent.month),
                monthly_credits: r.get(13)?,
                credits_left: r.get(14)?,
                credits_left_at: millis(r.get(15)?),
                credits_low_since: millis(r.get(16)?),
                full_since: millis(r.get(17)?),
                day_ends_at: day.ends_at,
                provider: r.get(1)?,
                name: r.get(2)?,
                configured: r.get(7)?,
                discovers: r.get(8)?,
                paused_until: millis(r.get(3)?),
                paused_since: millis(r.get(4)?),
                pause_class: r.get(5)?,
                pause_reason: r.get(6)?,
                inbox: folders(&tx, r.get(0)?)?,
                inbox_left_out: left_out::load(&tx, r.get(0)?)?,
                conversations: conversations(&tx, r.get(0)?)?,
            };
            Ok(account)
        })?;
        let accounts = accounts.collect::<Result<_, _>>()?;
        let mut statement = tx.prepare("SELECT id FROM sinks ORDER BY name")?;
        let sinks = statement.query_map([], |r| sink(&tx, r.get(0)?))?.collect::<Result<_, _>>()?;
        Ok(Overview { accounts, sinks })
    }

    /// When the messages on record were sent, in order, of every conversation of an account that is followed, by its id.
    pub fn message_times(&self, provider: &str, account: &str) -> Result<Vec<(String, Vec<UnixMillis>)>, Error> {
        let mut statement = self.connection.prepare_cached(
            "SELECT c.conversation_id, m.sent_at FROM messages m
             JOIN conversations c ON c.id = m.conversation JOIN accounts a ON a.id = c.account
             WHERE a.provider = ?1 AND a.name = ?2 AND c.follow NOT IN ('none', 'unfollowed') AND m.sent_at IS NOT NULL
             ORDER BY m.conversation, m.sent_at",
        )?;
        let mut times: Vec<(String, Vec<UnixMillis>)> = vec![];
        let mut rows = statement.query([provider, account])?;
        while let Some(row) = rows.next()? {
            let (id, sent_at) =
                (row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?, UnixMillis::from_millis(row.get(1)?));
            match times.last_mut().filter(|(last, _)| last == id) {
                Some((_, messages)) => messages.push(sent_at),
                None => times.push((id.to_owned(), vec![sent_at])),
            }
        }
        Ok(times)
    }

    /// Events in the order they were recorded.
    pub fn tail(&self, tail: Tail) -> Result<Vec<TailedEvent>, Error> {
        let (sql, parameter) = match tail {
            Tail::Last(count) => (
                "SELECT id, body FROM (SELECT id, body FROM events ORDER BY id DESC LIMIT ?1) ORDER BY id",
                i64::from(count),
            ),
            Tail::After(row) => ("SELECT id, body FROM events WHERE id > ?1 ORDER BY id LIMIT 1000", row),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let events = statement.query_map([parameter], |r| Ok(TailedEvent { row: r.get(0)?, body: r.get(1)? }))?;
        Ok(events.collect::<Result<_, _>>()?)
    }
}

struct Spent {
    requests_today: u64,
    today: u64,
    month: u64,
}

fn spent(tx: &Connection, account: i64, day: Day) -> rusqlite::Result<Spent> {
    tx.prepare_cached(
        "SELECT coalesce(sum(requests) FILTER (WHERE day = ?2), 0), coalesce(sum(credits) FILTER (WHERE day = ?2), 0),
            coalesce(sum(credits), 0)
         FROM spending WHERE account = ?1 AND day BETWEEN ?3 AND ?2",
    )?
    .query_row([account, day.number, day.month_begins], |r| {
        Ok(Spent { requests_today: r.get(0)?, today: r.get(1)?, month: r.get(2)? })
    })
}

fn folders(tx: &Connection, account: i64) -> rusqlite::Result<Vec<FolderOverview>> {
    let mut statement = tx.prepare_cached(
        "SELECT s.folder, s.first_swept_at, s.swept_at, s.failing_since, s.failure_class, s.failure_detail,
                u.items, u.looks, u.first_seen_at, u.last_seen_at
         FROM sweeps s LEFT JOIN unreadable_rows u ON u.account = s.account AND u.folder = s.folder
         WHERE s.account = ?1 ORDER BY s.folder",
    )?;
    let rows = statement.query_map([account], |r| {
        Ok(FolderOverview {
            folder: r.get(0)?,
            first_swept_at: millis(r.get(1)?),
            swept_at: millis(r.get(2)?),
            failing_since: millis(r.get(3)?),
            failure_class: r.get(4)?,
            failure_detail: r.get(5)?,
            unreadable: unread(r, 6)?,
        })
    })?;
    rows.collect()
}

/// Four columns, all null where nothing is on record.
fn unread(r: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Option<UnreadOverview>> {
    let Some(items) = r.get(first)? else { return Ok(None) };
    Ok(Some(UnreadOverview {
        items,
        looks: r.get(first + 1)?,
        first_seen_at: UnixMillis::from_millis(r.get(first + 2)?),
        last_seen_at: UnixMillis::from_millis(r.get(first + 3)?),
    }))
}

fn conversations(tx: &Connection, account: i64) -> rusqlite::Result<Vec<ConversationOverview>> {
    let mut statement = tx.prepare_cached(
        "SELECT c.conversation_id, c.kind, c.title, c.follow, c.watermark, c.verified_until, c.last_message_at,
                c.last_polled_at, c.due_at, c.lapsed_at, s.sync_until, s.state, w.pages, c.edits,
                EXISTS (SELECT 1 FROM gaps g WHERE g.conversation = c.id AND g.closed_at IS NULL),
                c.failures, c.failing_since, c.failure_class, c.failure_detail, c.id, c.address, c.max_interval,
                c.first_polled_at, w.messages,
                CASE WHEN w.pages IS NULL THEN NULL
                     ELSE (SELECT min(sent_at) FROM staged_messages m WHERE m.conversation = c.id) END,
                a.configured AND (c.follow IN ('pinned', 'stored') OR (c.follow = 'discovered' AND a.discovers)),
                u.items, u.looks, u.first_seen_at, u.last_seen_at
         FROM conversations c JOIN accounts a ON a.id = c.account LEFT JOIN syncs s ON s.conversation = c.id
            LEFT JOIN walks w ON w.conversation = c.id LEFT JOIN unreadable_messages u ON u.conversation = c.id
         WHERE c.account = ?1 ORDER BY c.conversation_id",
    )?;
    let now = UnixMillis::now();
    let rows = statement.query_map([account], |r| {
        let has_gaps: bool = r.get(14)?;
        Ok(ConversationOverview {
            id: r.get(0)?,
            kind: r.get(1)?,
            title: r.get(2)?,
            followed: r.get(25)?,
            follow: r.get(3)?,
            address: r.get(20)?,
            max_interval_seconds: r.get::<_, Option<i64>>(21)?.map(|millis| millis as f64 / 1000.0),
            first_polled_at: millis(r.get(22)?),
            watermark: millis(r.get(4)?),
            verified_until: quiet::verified(millis(r.get(5)?), millis(r.get(4)?), now),
            last_message_at: millis(r.get(6)?),
            last_polled_at: millis(r.get(7)?),
            due_at: UnixMillis::from_millis(r.get(8)?),
            due_reason: None,
            lapsed_at: millis(r.get(9)?),
            sync_until: millis(r.get(10)?),
            sync_state: r.get(11)?,
            walk_pages: r.get(12)?,
            walk_messages: r.get(23)?,
            walk_reached: millis(r.get(24)?),
            edits: r.get(13)?,
            gaps: if has_gaps { gaps(tx, r.get(19)?)? } else { vec![] },
            unreadable: unread(r, 26)?,
            failures: r.get(15)?,
            failing_since: millis(r.get(16)?),
            failure_class: r.get(17)?,
            failure_detail: r.get(18)?,
        })
    })?;
    rows.collect()
}

fn gaps(tx: &Connection, conversation: i64) -> rusqlite::Result<Vec<GapOverview>> {
    let mut statement = tx.prepare_cached(
        "SELECT low, high, reason, found_at FROM gaps WHERE conversation = ?1 AND closed_at IS NULL ORDER BY id",
    )?;
    let rows = statement.query_map([conversation], |r| {
        Ok(GapOverview {
            low: millis(r.get(0)?),
            high: millis(r.get(1)?),
            reason: r.get(2)?,
            found_at: UnixMillis::from_millis(r.get(3)?),
        })
    })?;
    rows.collect()
}

fn sink(tx: &Connection, id: i64) -> rusqlite::Result<SinkOverview> {
    let (delivered, filtered) = tx
        .prepare_cached(
            "SELECT count(*) FILTER (WHERE state = 1), count(*) FILTER (WHERE state = 3) FROM deliveries WHERE sink = ?1",
        )?
        .query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let (pending, oldest) = tx
        .prepare_cached("SELECT count(*), min(event) FROM deliveries WHERE sink = ?1 AND state = 0")?
        .query_row([id], |r| Ok((r.get(0)?, r.get::<_, Option<i64>>(1)?)))?;
    let dead = tx
        .prepare_cached("SELECT count(*) FROM deliveries WHERE sink = ?1 AND state = 2")?
        .query_row([id], |r| r.get(0))?;
    let oldest_pending_at: Option<i64> =
        tx.prepare_cached("SELECT max(created_at) FROM events WHERE id = ?1")?.query_row([oldest], |r| r.get(0))?;
    let last_failure = tx
        .prepare_cached(
            "SELECT a.detail FROM deliveries d JOIN attempts a ON a.event = d.event AND a.sink = d.sink
             WHERE d.sink = ?1 AND d.state IN (0, 2) AND a.detail IS NOT NULL ORDER BY a.at DESC LIMIT 1",
        )?
        .query_row([id], |r| r.get(0))
        .optional()?;
    tx.prepare_cached(
        "SELECT name, configured, failing_since, parked_at, max_pending, failure_detail FROM sinks WHERE id = ?1",
    )?
    .query_row([id], |r| {
        Ok(SinkOverview {
            name: r.get(0)?,
            configured: r.get(1)?,
            pending,
            delivered,
            dead,
            filtered,
            failing_since: millis(r.get(2)?),
            parked_at: millis(r.get(3)?),
            max_pending: r.get(4)?,
            oldest_pending_at: millis(oldest_pending_at),
            last_failure: last_failure.or(r.get(5)?),
        })
    })
}
