//! What an operator does with deliveries: makes dead ones pending again, sends again what was delivered, removes.
//!
//! Each step looks at a bounded number of events in one transaction, so that polls and attempts do not wait long.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::announce::{FollowedSink, Wants};
use super::{Error, LaneId, SinkId, SourceId, Store, follow};
use crate::model::kind;
use crate::time::UnixMillis;

/// Events looked at in one transaction.
const STEP: i64 = 1_000;

/// Which events a command means: those that fit all of what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Event ids; empty: any.
    pub events: Vec<String>,
    /// Of these conversations: their ids in events, their addresses or their persons' profiles; empty: any.
    pub conversations: Vec<String>,
    /// Recorded at this time or later.
    pub since: Option<UnixMillis>,
    /// Recorded before this time.
    pub until: Option<UnixMillis>,
}

/// What a replay found, and unless it only counted, did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Delivered before; sent again.
    pub delivered: u64,
    /// Dead; tried again.
    pub dead: u64,
    /// Never owed to the sink, such as those from before it was added; sent.
    pub new: u64,
    /// On their way already; left alone.
    pub pending: u64,
    /// Not let pass by the sink's filter; left alone.
    pub filtered: u64,
}

impl Replayed {
    /// Deliveries that are made.
    pub fn sent(self) -> u64 {
        self.delivered + self.dead + self.new
    }
}

/// What a purge removed, or would remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// Dead deliveries.
    pub dead: u64,
    /// Pending ones.
    pub pending: u64,
}

impl Store {
    /// Makes dead deliveries of these sinks pending again, with their whole schedule before them; returns how many. Unless single
    /// events are named, what waits for its next attempt is due at once too: of how many conversations is the other figure.
    pub async fn retry_dead(&self, sinks: Vec<String>, of: Selection) -> Result<(u64, usize), Error> {
        let (mut retried, mut hurried) = (0, 0);
        let mut from = Some(0);
        if of.events.is_empty() {
            let sinks = serde_json::json!(sinks).to_string();
            hurried = self.write(move |tx| hurry(tx, &sinks)).await?;
        }
        while let Some(begin) = from {
            let (sinks, of) = (serde_json::json!(sinks).to_string(), of.clone());
            let step = self.write(move |tx| retry_step(tx, &sinks, &of, begin)).await?;
            retried += step.0;
            from = step.1;
        }
        self.leave_dead().await?;
        self.deliveries().notify_waiters();
        Ok((retried, hurried))
    }

    /// Sends a sink again what it was sent, and what it wants but was never owed: same ids, same bytes. A dry run only counts.
    pub async fn replay(&self, sink: FollowedSink, of: Selection, dry_run: bool) -> Result<Replayed, Error> {
        let mut replayed = Replayed::default();
        let mut from = Some(0);
        while let Some(begin) = from {
            let (sink, of) = (sink.clone(), of.clone());
            (replayed, from) = self.write(move |tx| replay_step(tx, &sink, &of, dry_run, begin, replayed)).await?;
        }
        self.leave_dead().await?;
        self.deliveries().notify_waiters();
        Ok(replayed)
    }

    /// Removes dead deliveries for good, and pending ones too where that is said. Of a sink that is not among `configured`
    /// everything goes, pending or not, and the sink itself.
    pub async fn purge(&self, purge: Purge) -> Result<Purged, Error> {
        let mut purged = Purged::default();
        loop {
            let step = purge.clone();
            let found = match purge.dry_run {
                true => self.read(move |connection| step.count(connection)).await?,
                false => self.write(move |tx| step.step(tx)).await?,
            };
            purged.dead += found.dead;
            purged.pending += found.pending;
            if purge.dry_run {
                return Ok(purged);
            }
            if found == Purged::default() {
                self.leave_dead().await?;
                return Ok(purged);
            }
        }
    }

    /// Whether the store knows a sink of this name.
    pub async fn knows_sink(&self, name: String) -> Result<bool, Error> {
        self.read(move |connection| Ok(find_sink(connection, &name)?.is_some())).await
    }
}

/// What is to be removed.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Of this sink; `None`: of all.
    pub sink: Option<String>,
    /// Of these events.
    pub of: Selection,
    /// Pending ones too.
    pub pending: bool,
    /// The sinks that the configuration names.
    pub configured: Vec<String>,
    /// Only count.
    pub dry_run: bool,
}

impl Purge {
    /// The deliveries that are meant: event, sink, state, lane. Its parameters are those of [`SELECTED`] and ?5 to ?7. Two halves,
    /// because each has an index of its own.
    fn meant() -> String {
        let half = |state: &str| {
            format!(
                "SELECT d.event, d.sink, d.state, d.lane FROM sinks s CROSS JOIN deliveries d JOIN events e ON e.id = d.event
                 WHERE d.sink = s.id AND {state} AND (?6 IS NULL OR s.name = ?6) AND {SELECTED}"
            )
        };
        let pending = "d.state = 0 AND (?5 OR s.name NOT IN (SELECT value FROM json_each(?7)))";
        format!("{} UNION ALL {}", half("d.state = 2"), half(pending))
    }

    fn count(&self, connection: &Connection) -> Result<Purged, Error> {
        let (events, conversations, since, until) = self.of.parameters();
        let configured = serde_json::json!(self.configured).to_string();
        let sql = format!(
            "SELECT count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 0) FROM ({})",
            Self::meant()
        );
        let counted = connection
            .prepare_cached(&sql)?
            .query_row(params![events, conversations, since, until, self.pending, self.sink, configured], |r| {
                Ok(Purged { dead: r.get(0)?, pending: r.get(1)? })
            })?;
        Ok(counted)
    }

    /// Removes some; nothing when all are gone.
    fn step(&self, tx: &Connection) -> Result<Purged, Error> {
        let (events, conversations, since, until) = self.of.parameters();
        let configured = serde_json::json!(self.configured).to_string();
        let mut meant = tx.prepare_cached(&format!("{} LIMIT {STEP}", Self::meant()))?;
        let rows = meant
            .query_map(params![events, conversations, since, until, self.pending, self.sink, configured], |r| {
                Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?, r.get::<_, i64>(3)?))
            })?;
        let rows = rows.collect::<Result<Vec<_>, _>>()?;
        let mut purged = Purged::default();
        for (event, sink, state, lane) in rows {
            *(if state == 2 { &mut purged.dead } else { &mut purged.pending }) += 1;
            tx.prepare_cached("DELETE FROM attempts WHERE event = ?1 AND sink = ?2")?.execute([event, sink])?;
            tx.prepare_cached("DELETE FROM deliveries WHERE event = ?1 AND sink = ?2")?.execute([event, sink])?;
            tx.prepare_cached(
                "DELETE FROM lanes WHERE sink = ?1 AND lane = ?2 AND NOT EXISTS
                    (SELECT 1 FROM deliveries d WHERE d.sink = ?1 AND d.lane = ?2 AND d.state = 0)",
            )?
            .execute([sink, lane])?;
        }
        if purged == Purged::default() && self.of == Selection::default() {
            forget_sinks(tx, self.sink.as_deref(), &configured)?;
        }
        Ok(purged)
    }
}

/// Restricts rows of `events e` to those whose bytes are still there: of others nothing can be sent again.
fn is_kept() -> String {
    format!("json_extract(e.body, '{}') IS NULL", super::text::NOT_KEPT)
}

/// Restricts rows of `events e` to a selection; its parameters are ?1 to ?4.
const SELECTED: &str = "(?1 IS NULL OR e.event_id IN (SELECT value FROM json_each(?1)))
    AND (?2 IS NULL OR e.conversation IN (SELECT c.id FROM conversations c JOIN json_each(?2) j
        ON j.value IN (c.conversation_id, c.address, c.person_url)))
    AND (?3 IS NULL OR e.created_at >= ?3) AND (?4 IS NULL OR e.created_at < ?4)";

impl Selection {
    /// Parameters ?1 to ?4 of [`SELECTED`].
    fn parameters(&self) -> (Option<String>, Option<String>, Option<i64>, Option<i64>) {
        let list = |items: &[String]| (!items.is_empty()).then(|| serde_json::json!(items).to_string());
        (
            list(&self.events),
            list(&self.conversations),
            self.since.map(UnixMillis::as_millis),
            self.until.map(UnixMillis::as_millis),
        )
    }
}

type Step<T> = Result<(T, Option<i64>), Error>;

fn hurry(tx: &Connection, sinks: &str) -> Result<usize, Error> {
    let hurried = tx
        .prepare_cached(
            "UPDATE lanes SET due_at = ?2
         WHERE due_at > ?2 AND sink IN (SELECT id FROM sinks WHERE name IN (SELECT value FROM json_each(?1)))",
        )?
        .execute(params![sinks, UnixMillis::now().as_millis()])?;
    Ok(hurried)
}

fn retry_step(tx: &Connection, sinks: &str, of: &Selection, from: i64) -> Step<u64> {
    let (events, conversation, since, until) = of.parameters();
    let mut dead = tx.prepare_cached(&format!(
        "SELECT d.event, d.sink, d.lane FROM deliveries d JOIN events e ON e.id = d.event JOIN sinks s ON s.id = d.sink
         WHERE d.state = 2 AND d.event > ?5 AND s.name IN (SELECT value FROM json_each(?6)) AND {SELECTED}
         ORDER BY d.event LIMIT {STEP}"
    ))?;
    let rows = dead.query_map(params![events, conversation, since, until, from, sinks], |r| {
        Ok((r.get::<_, i64>(0)?, SinkId(r.get(1)?), LaneId(r.get(2)?)))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    for &(event, sink, lane) in &rows {
        make_pending(tx, event, sink, lane)?;
    }
    // A step may end between two sinks of one event: the next begins with that event again.
    let next = rows.last().filter(|_| rows.len() as i64 == STEP).map(|(event, ..)| event - 1);
    Ok((rows.len() as u64, next))
}

fn make_pending(tx: &Connection, event: i64, sink: SinkId, lane: LaneId) -> Result<(), Error> {
    tx.prepare_cached(
        "UPDATE deliveries SET state = 0, retries = 0, settled_at = NULL WHERE event = ?1 AND sink = ?2",
    )?
    .execute(params![event, sink.0])?;
    open_lane(tx, sink, lane)
}

/// What a person asks for is due at once, and takes what waits in its lane with it.
fn open_lane(tx: &Connection, sink: SinkId, lane: LaneId) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO lanes (sink, lane, due_at) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET due_at = min(due_at, excluded.due_at)",
    )?
    .execute(params![sink.0, lane.0, UnixMillis::now().as_millis()])?;
    Ok(())
}

fn find_sink(tx: &Connection, name: &str) -> Result<Option<SinkId>, Error> {
    Ok(tx
        .prepare_cached("SELECT id FROM sinks WHERE name = ?1")?
        .query_row([name], |r| Ok(SinkId(r.get(0)?)))
        .optional()?)
}

/// An event in a replay, with what the sink was owed of it so far.
struct Candidate {
    row: i64,
    conversation: Option<i64>,
    body: String,
    kind: String,
    subject: String,
    state: Option<i64>,
    lane: Option<i64>,
}

fn replay_step(
    tx: &Connection,
    sink: &FollowedSink,
    of: &Selection,
    dry_run: bool,
    from: i64,
    mut replayed: Replayed,
) -> Step<Replayed> {
    let id = match find_sink(tx, sink.name.as_str())? {
        Some(id) => id,
        // No row has this one: nothing was ever owed to it.
        None if dry_run => SinkId(0),
        None => follow::sink_row(tx, sink, UnixMillis::now())?.0,
    };
    let (events, conversation, since, until) = of.parameters();
    let mut candidates = tx.prepare_cached(&format!(
        "SELECT e.id, e.conversation, e.body, e.body ->> '$.type', e.body ->> '$.subject', d.state,
            coalesce(d.lane, (SELECT o.lane FROM deliveries o WHERE o.event = e.id LIMIT 1))
         FROM events e LEFT JOIN deliveries d ON d.event = e.id AND d.sink = ?6
         WHERE e.id > ?5 AND {SELECTED} AND {} ORDER BY e.id LIMIT {STEP}",
        is_kept()
    ))?;
    let rows = candidates.query_map(params![events, conversation, since, until, from, id.0], |r| {
        Ok(Candidate {
            row: r.get(0)?,
            conversation: r.get(1)?,
            body: r.get(2)?,
            kind: r.get(3)?,
            subject: r.get(4)?,
            state: r.get(5)?,
            lane: r.get(6)?,
        })
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    for candidate in &rows {
        replay(tx, (id, sink), candidate, dry_run, &mut replayed)?;
    }
    let next = rows.last().filter(|_| rows.len() as i64 == STEP).map(|candidate| candidate.row);
    Ok((replayed, next))
}

fn replay(
    tx: &Connection,
    (id, sink): (SinkId, &FollowedSink),
    event: &Candidate,
    dry_run: bool,
    replayed: &mut Replayed,
) -> Result<(), Error> {
    let count = match event.state {
        Some(0) => &mut replayed.pending,
        Some(1) => &mut replayed.delivered,
        Some(2) => &mut replayed.dead,
        _ if !sink.wants.events.want(&event.kind) || is_about(sink, event) => return Ok(()),
        _ if !sink.wants.passes(&event.body) => &mut replayed.filtered,
        _ => &mut replayed.new,
    };
    *count += 1;
    if dry_run {
        return Ok(());
    }
    let of_conversation = event.conversation.map(|row| LaneId::from(SourceId(row)));
    let lane = of_conversation.or(event.lane.map(LaneId)).unwrap_or_else(|| LaneId::from(id));
    match event.state {
        Some(0) => Ok(()),
        Some(1) => {
            tx.prepare_cached(
                "INSERT INTO attempts (event, sink, number, at, outcome)
                 SELECT event, sink, attempts, settled_at, 'delivered' FROM deliveries WHERE event = ?1 AND sink = ?2",
            )?
            .execute(params![event.row, id.0])?;
            make_pending(tx, event.row, id, lane)
        }
        Some(2) => make_pending(tx, event.row, id, lane),
        _ if !sink.wants.passes(&event.body) => Ok(()),
        _ => owe(tx, id, &sink.wants, event.row, lane),
    }
}

/// A sink is not told about itself.
fn is_about(sink: &FollowedSink, event: &Candidate) -> bool {
    (event.kind.starts_with("sink.") || event.kind == kind::DELIVERY_DEAD) && event.subject == sink.name.as_str()
}

fn owe(tx: &Connection, sink: SinkId, wants: &Wants, event: i64, lane: LaneId) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO deliveries (event, sink, lane, raw) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET state = 0, raw = ?4, settled_at = NULL",
    )?
    .execute(params![event, sink.0, lane.0, wants.raw])?;
    open_lane(tx, sink, lane)
}

/// What is left of sinks that are no longer configured: what was delivered to them.
fn forget_sinks(tx: &Connection, sink: Option<&str>, configured: &str) -> Result<(), Error> {
    let gone = "name NOT IN (SELECT value FROM json_each(?2)) AND (?1 IS NULL OR name = ?1)";
    for table in ["attempts", "deliveries"] {
        let of = format!("DELETE FROM {table} WHERE sink IN (SELECT id FROM sinks WHERE {gone})");
        tx.execute(&of, params![sink, configured])?;
    }
    tx.execute(&format!("DELETE FROM sinks WHERE {gone}"), params![sink, configured])?;
    Ok(())
}
