//! What an operator does with deliveries: makes dead ones pending again, sends again what was delivered, removes.
//!
//! Each step looks at a bounded number of events in one transaction, so that polls and attempts do not wait long.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::announce::{FollowedSink, Wants};
use super::{Error, LaneId, SinkId, SourceId, Store, follow};
use crate::time::UnixMillis;

/// Events looked at in one transaction.
const STEP: i64 = 1_000;

/// Which events a command means: those that fit all of what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Event ids; empty: any.
    pub events: Vec<String>,
    /// Of this conversation: its id in events, its address or its person's profile.
    pub conversation: Option<String>,
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
    /// Makes dead deliveries of configured sinks pending again, with their whole schedule before them; returns how many.
    pub async fn retry_dead(&self, sink: Option<String>, of: Selection) -> Result<u64, Error> {
        let mut retried = 0;
        let mut from = Some(0);
        while let Some(begin) = from {
            let (sink, of) = (sink.clone(), of.clone());
            let step = self.write(move |tx| retry_step(tx, sink.as_deref(), &of, begin)).await?;
            retried += step.0;
            from = step.1;
        }
        self.deliveries().notify_waiters();
        Ok(retried)
    }

    /// Sends a sink again what it was sent, and what it wants but was never owed: same ids, same bytes. A dry run only counts.
    pub async fn replay(&self, sink: FollowedSink, of: Selection, dry_run: bool) -> Result<Replayed, Error> {
        let mut replayed = Replayed::default();
        let mut from = Some(0);
        while let Some(begin) = from {
            let (sink, of) = (sink.clone(), of.clone());
            (replayed, from) = self.write(move |tx| replay_step(tx, &sink, &of, dry_run, begin, replayed)).await?;
        }
        self.deliveries().notify_waiters();
        Ok(replayed)
    }

    /// Removes dead deliveries for good, and pending ones too where that is said. Of a sink that is no longer configured
    /// everything goes, pending or not, and the sink itself.
    pub async fn purge(
        &self,
        sink: Option<String>,
        of: Selection,
        pending: bool,
        dry_run: bool,
    ) -> Result<Purged, Error> {
        self.write(move |tx| purge(tx, sink.as_deref(), &of, pending, dry_run)).await
    }

    /// Whether the store knows a sink of this name, and whether it is configured.
    pub async fn sink_is_configured(&self, name: String) -> Result<Option<bool>, Error> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached("SELECT configured FROM sinks WHERE name = ?1")?
                .query_row([name], |r| r.get(0))
                .optional()?)
        })
        .await
    }
}

/// Restricts rows of `events e` to a selection; its parameters are ?1 to ?4.
const SELECTED: &str = "(?1 IS NULL OR e.event_id IN (SELECT value FROM json_each(?1)))
    AND (?2 IS NULL OR e.conversation IN
        (SELECT id FROM conversations WHERE ?2 IN (conversation_id, address, person_url)))
    AND (?3 IS NULL OR e.created_at >= ?3) AND (?4 IS NULL OR e.created_at < ?4)";

impl Selection {
    /// Parameters ?1 to ?4 of [`SELECTED`].
    fn parameters(&self) -> (Option<String>, Option<&str>, Option<i64>, Option<i64>) {
        let events = (!self.events.is_empty()).then(|| serde_json::json!(self.events).to_string());
        (
            events,
            self.conversation.as_deref(),
            self.since.map(UnixMillis::as_millis),
            self.until.map(UnixMillis::as_millis),
        )
    }
}

type Step<T> = Result<(T, Option<i64>), Error>;

fn retry_step(tx: &Connection, sink: Option<&str>, of: &Selection, from: i64) -> Step<u64> {
    let (events, conversation, since, until) = of.parameters();
    let mut dead = tx.prepare_cached(&format!(
        "SELECT d.event, d.sink, d.lane FROM deliveries d JOIN events e ON e.id = d.event JOIN sinks s ON s.id = d.sink
         WHERE d.state = 2 AND d.event > ?5 AND s.configured AND (?6 IS NULL OR s.name = ?6) AND {SELECTED}
         ORDER BY d.event LIMIT {STEP}"
    ))?;
    let rows = dead.query_map(params![events, conversation, since, until, from, sink], |r| {
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

/// What comes into a lane goes before what is in it already and is younger, and that waits as long as it waited.
fn open_lane(tx: &Connection, sink: SinkId, lane: LaneId) -> Result<(), Error> {
    tx.prepare_cached("INSERT INTO lanes (sink, lane, due_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?
        .execute(params![sink.0, lane.0, UnixMillis::now().as_millis()])?;
    Ok(())
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
    let (id, _) = follow::sink_row(tx, sink, UnixMillis::now())?;
    let (events, conversation, since, until) = of.parameters();
    let mut candidates = tx.prepare_cached(&format!(
        "SELECT e.id, e.conversation, e.body, e.body ->> '$.type', e.body ->> '$.subject', d.state,
            coalesce(d.lane, (SELECT o.lane FROM deliveries o WHERE o.event = e.id LIMIT 1))
         FROM events e LEFT JOIN deliveries d ON d.event = e.id AND d.sink = ?6
         WHERE e.id > ?5 AND {SELECTED} ORDER BY e.id LIMIT {STEP}"
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
    event.kind.starts_with("sink.") && event.subject == sink.name.as_str()
}

fn owe(tx: &Connection, sink: SinkId, wants: &Wants, event: i64, lane: LaneId) -> Result<(), Error> {
    tx.prepare_cached(
        "INSERT INTO deliveries (event, sink, lane, raw) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET state = 0, raw = ?4, settled_at = NULL",
    )?
    .execute(params![event, sink.0, lane.0, wants.raw])?;
    open_lane(tx, sink, lane)
}

fn purge(tx: &Connection, sink: Option<&str>, of: &Selection, pending: bool, dry_run: bool) -> Result<Purged, Error> {
    let (events, conversation, since, until) = of.parameters();
    let meant = format!(
        "SELECT d.event, d.sink FROM deliveries d JOIN events e ON e.id = d.event JOIN sinks s ON s.id = d.sink
         WHERE (?6 IS NULL OR s.name = ?6) AND (d.state = 2 OR (d.state = 0 AND (?5 OR NOT s.configured))) AND {SELECTED}"
    );
    let parameters = params![events, conversation, since, until, pending, sink];
    let purged = tx
        .prepare_cached(&format!(
            "SELECT count(*) FILTER (WHERE state = 2), count(*) FILTER (WHERE state = 0) FROM deliveries
             WHERE (event, sink) IN ({meant})"
        ))?
        .query_row(parameters, |r| Ok(Purged { dead: r.get(0)?, pending: r.get(1)? }))?;
    if dry_run {
        return Ok(purged);
    }
    tx.prepare_cached(&format!("DELETE FROM attempts WHERE (event, sink) IN ({meant})"))?.execute(parameters)?;
    tx.prepare_cached(&format!("DELETE FROM deliveries WHERE (event, sink) IN ({meant})"))?.execute(parameters)?;
    tx.execute(
        "DELETE FROM lanes WHERE NOT EXISTS
            (SELECT 1 FROM deliveries d WHERE d.sink = lanes.sink AND d.lane = lanes.lane AND d.state = 0)",
        [],
    )?;
    if of == &Selection::default() {
        forget_sinks(tx, sink)?;
    }
    Ok(purged)
}

/// What is left of sinks that are no longer configured: what was delivered to them.
fn forget_sinks(tx: &Connection, sink: Option<&str>) -> Result<(), Error> {
    let gone = "SELECT id FROM sinks WHERE NOT configured AND (?1 IS NULL OR name = ?1)";
    for table in ["attempts", "deliveries"] {
        tx.execute(&format!("DELETE FROM {table} WHERE sink IN ({gone})"), [sink])?;
    }
    tx.execute("DELETE FROM sinks WHERE NOT configured AND (?1 IS NULL OR name = ?1)", [sink])?;
    Ok(())
}
