//! The outbox: deliveries not yet settled.
//!
//! A delivery leaves it as delivered or dead and in no other way. Claims are not written down: the lock on the
//! database makes this process the only one, so what it has in flight is known in memory, and after a crash
//! everything unsettled is simply due again.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::{Outlet, SinkState};
use super::dead;
use super::{Error, LaneId, SinkId, Store, millis};
use crate::model::{Change, kind};
use crate::time::UnixMillis;

/// No retry is planned further ahead: a `Retry-After` of a day and the tenth that may come on top.
const LONGEST_WAIT: Duration = Duration::from_secs(27 * 3600);

/// Attempts of a delivery that are kept on record: the first of them ...
const FIRST_ATTEMPTS: i64 = 20;
/// ... and the last.
const LAST_ATTEMPTS: i64 = 80;

/// The deliveries of one conversation that one sink is owed, oldest first. Only the first may be attempted.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its key.
    pub id: LaneId,
    /// What is owed, oldest first; not empty.
    pub owed: Vec<Owed>,
}

/// One delivery that is due.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Row of the event.
    pub event: i64,
    /// Attempts that failed, and counted, since it last became pending.
    pub retries: u32,
    /// The last attempt that failed, whether it counted or not; `None`: none has.
    pub last_attempt_at: Option<UnixMillis>,
    /// When the event was recorded.
    pub recorded_at: UnixMillis,
    /// Stable id of the event.
    pub event_id: String,
    /// The event's bytes.
    pub body: String,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has it.
    Delivered,
    /// To be tried again then.
    Retry {
        /// When.
        due_at: UnixMillis,
        /// It used up a wait of the schedule.
        counts: bool,
    },
    /// The sink is parked: to be tried again when the others of it have had their turn.
    Probed,
    /// Given up; kept until it is retried or purged.
    Dead,
}

/// One attempt and what it came to.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Row of the event.
    pub event: i64,
    /// When it was made.
    pub at: UnixMillis,
    /// What it came to.
    pub outcome: Outcome,
    /// What the sink said, made safe for logs; `None` for an ordinary success.
    pub detail: Option<String>,
}

/// Attempts in one lane, in the order they were made.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The lane.
    pub lane: LaneId,
    /// The attempts.
    pub attempts: Vec<Attempt>,
    /// Whoever holds the lane goes on with it: its next turn is written down when that ends.
    pub goes_on: bool,
}

/// Whether everything was still there to be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was.
    All,
    /// A command has removed deliveries that were under way.
    SomeGone,
}

/// What attempts have shown of a sink that was not known before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes events again.
    Works,
    /// It has begun to fail.
    Fails {
        /// At the first failure since its last success.
        since: UnixMillis,
        /// What it said.
        detail: String,
    },
}

/// How a sink stood when it was last seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkHealth {
    /// First failure since its last success; `None`: its last attempt succeeded.
    pub failing_since: Option<UnixMillis>,
    /// When it was parked; `None`: it is not.
    pub parked_at: Option<UnixMillis>,
}

/// How much is claimed at once.
#[derive(Clone, Copy, Debug)]
pub struct ClaimLimit {
    /// Lanes.
    pub lanes: usize,
    /// Deliveries of each.
    pub per_lane: usize,
    /// Bytes of events; the claim ends with the lane that passes it.
    pub bytes: usize,
    /// Lanes whose first event was never attempted go before those whose was, due or not.
    pub untried_first: bool,
}

impl Store {
    /// The lanes of a sink that are due, longest due first, without those in `in_flight`, up to the limit.
    pub async fn claim_due(
        &self,
        sink: SinkId,
        in_flight: Vec<LaneId>,
        limit: ClaimLimit,
        now: UnixMillis,
    ) -> Result<Vec<Lane>, Error> {
        self.read(move |connection| claim_due(connection, sink, &in_flight, limit, now)).await
    }

    /// Moves the due times of a sink back, after the wall clock was set back by so much.
    pub async fn shift_due(&self, sink: SinkId, set_back: Duration) -> Result<(), Error> {
        let millis = i64::try_from(set_back.as_millis()).unwrap_or(i64::MAX);
        self.write(move |tx| {
            tx.prepare_cached("UPDATE lanes SET due_at = due_at - ?2 WHERE sink = ?1")?
                .execute(params![sink.0, millis])?;
            Ok(())
        })
        .await
    }

    /// When the next lane of a sink that is not in flight becomes due.
    pub async fn next_due(&self, sink: SinkId, in_flight: Vec<LaneId>) -> Result<Option<UnixMillis>, Error> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT lane, due_at FROM lanes WHERE sink = ?1 ORDER BY due_at LIMIT ?2")?;
            let mut rows = statement.query(params![sink.0, in_flight.len() + 1])?;
            while let Some(row) = rows.next()? {
                if !in_flight.contains(&LaneId(row.get(0)?)) {
                    return Ok(Some(UnixMillis::from_millis(row.get(1)?)));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Records attempts at a sink, all of them in one transaction, and what they have shown of it. When a parked sink works
    /// again, everything it is owed is due, and the other sinks are told.
    pub async fn settle(
        &self,
        sink: SinkId,
        settlements: Vec<Settlement>,
        standing: Option<Standing>,
    ) -> Result<Settled, Error> {
        let sinks = self.sinks();
        let (settled, somebody_is_told) = self
            .write(move |tx| {
                let mut settled = Settled::All;
                for settlement in &settlements {
                    if settle(tx, sink, settlement)? == Settled::SomeGone {
                        settled = Settled::SomeGone;
                    }
                }
                let outlet = Outlet { tx, sinks: &sinks, now: UnixMillis::now() };
                let recovered = standing.map_or(Ok(false), |standing| note(outlet, sink, standing))?;
                let mut attempts = settlements.iter().flat_map(|settlement| &settlement.attempts);
                let told = match attempts.find(|attempt| attempt.outcome == Outcome::Dead) {
                    Some(attempt) => dead::enter(outlet, sink, attempt)?,
                    None => false,
                };
                Ok((settled, recovered || told))
            })
            .await?;
        if somebody_is_told {
            self.deliveries().notify_waiters();
        }
        Ok(settled)
    }

    /// Parks a sink that has only failed since then, and tells the other sinks.
    pub async fn park(
        &self,
        sink: SinkId,
        failing_since: UnixMillis,
        class: &'static str,
        last_failure: String,
    ) -> Result<(), Error> {
        let sinks = self.sinks();
        self.write(move |tx| {
            let now = UnixMillis::now();
            tx.prepare_cached("UPDATE sinks SET parked_at = ?2, failure_detail = ?3 WHERE id = ?1")?
                .execute(params![sink.0, now.as_millis(), last_failure])?;
            let detail =
                format!("nothing but failure since {failing_since}, last: {last_failure}; what it is owed is kept");
            let change = SinkState {
                kind: kind::SINK_PARKED,
                state: Change::Entered,
                reason: Some(class),
                since: now,
                detail: &detail,
            };
            Outlet { tx, sinks: &sinks, now }.about_sink(sink, change)
        })
        .await?;
        self.deliveries().notify_waiters();
        Ok(())
    }

    /// How a sink stands.
    pub async fn sink_health(&self, sink: SinkId) -> Result<SinkHealth, Error> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT failing_since, parked_at FROM sinks WHERE id = ?1")?;
            Ok(statement.query_row([sink.0], |r| {
                Ok(SinkHealth { failing_since: millis(r.get(0)?), parked_at: millis(r.get(1)?) })
            })?)
        })
        .await
    }

    /// How many deliveries of a sink are pending.
    pub async fn count_pending(&self, sink: SinkId) -> Result<u64, Error> {
        self.read(move |connection| {
            Ok(connection
                .prepare_cached("SELECT count(*) FROM deliveries WHERE sink = ?1 AND state = 0")?
                .query_row([sink.0], |r| r.get(0))?)
        })
        .await
    }
}

fn claim_due(
    connection: &Connection,
    sink: SinkId,
    in_flight: &[LaneId],
    limit: ClaimLimit,
    now: UnixMillis,
) -> Result<Vec<Lane>, Error> {
    let untried_first = "(SELECT d.attempts > 0 FROM deliveries d WHERE d.sink = lanes.sink AND d.lane = lanes.lane
        AND d.state = 0 ORDER BY d.event LIMIT 1),";
    let order = if limit.untried_first { untried_first } else { "" };
    let mut due = connection.prepare_cached(&format!(
        "SELECT lane FROM lanes WHERE sink = ?1 AND due_at <= ?2 ORDER BY {order} due_at LIMIT ?3"
    ))?;
    let due =
        due.query_map(params![sink.0, now.as_millis(), limit.lanes + in_flight.len()], |r| Ok(LaneId(r.get(0)?)))?;
    let mut owed = connection.prepare_cached(
        "SELECT d.event, d.retries, e.created_at, e.event_id, CASE d.raw WHEN 1 THEN coalesce(e.raw_body, e.body) ELSE e.body END,
            CASE WHEN d.attempts > 0 THEN (SELECT max(a.at) FROM attempts a
                WHERE a.event = d.event AND a.sink = d.sink AND a.outcome <> 'delivered') END
         FROM deliveries d JOIN events e ON e.id = d.event
         WHERE d.sink = ?1 AND d.lane = ?2 AND d.state = 0 ORDER BY d.event LIMIT ?3",
    )?;
    let mut claimed = Vec::new();
    let mut bytes = 0;
    for lane in due {
        let lane = lane?;
        if claimed.len() == limit.lanes || bytes >= limit.bytes {
            break;
        }
        if in_flight.contains(&lane) {
            continue;
        }
        let rows = owed.query_map(params![sink.0, lane.0, limit.per_lane], |r| {
            Ok(Owed {
                event: r.get(0)?,
                retries: r.get(1)?,
                recorded_at: UnixMillis::from_millis(r.get(2)?),
                event_id: r.get(3)?,
                body: r.get(4)?,
                last_attempt_at: millis(r.get(5)?),
            })
        })?;
        let owed: Vec<_> = rows.collect::<Result<_, _>>()?;
        bytes += owed.iter().map(|owed| owed.body.len()).sum::<usize>();
        if !owed.is_empty() {
            claimed.push(Lane { id: lane, owed });
        }
    }
    Ok(claimed)
}

/// Corrects due times that a clock step while we were away has put out of reach: nothing waits longer than the longest
/// wait there is, and what was never attempted does not wait at all.
pub(super) fn believe_due_times(tx: &Connection, now: UnixMillis) -> Result<(), Error> {
    tx.execute(
        "UPDATE lanes SET due_at = min(due_at, ?1 + ?2 * (SELECT d.attempts > 0 FROM deliveries d
            WHERE d.sink = lanes.sink AND d.lane = lanes.lane AND d.state = 0 ORDER BY d.event LIMIT 1))
         WHERE due_at > ?1",
        params![now.as_millis(), i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}

/// Notes how a sink stands; true when somebody may be owed something by it.
fn note(outlet: Outlet<'_>, sink: SinkId, standing: Standing) -> Result<bool, Error> {
    let tx = outlet.tx;
    match standing {
        Standing::Fails { since, detail } => {
            tx.prepare_cached("UPDATE sinks SET failing_since = ?2, failure_detail = ?3 WHERE id = ?1")?
                .execute(params![sink.0, since.as_millis(), detail])?;
            Ok(false)
        }
        Standing::Works => {
            let parked: bool = tx
                .prepare_cached("SELECT parked_at IS NOT NULL FROM sinks WHERE id = ?1")?
                .query_row([sink.0], |r| r.get(0))?;
            tx.prepare_cached(
                "UPDATE sinks SET failing_since = NULL, parked_at = NULL, failure_detail = NULL WHERE id = ?1",
            )?
            .execute([sink.0])?;
            if parked {
                // In the order in which they were recorded, as far as several lanes can be.
                tx.prepare_cached("UPDATE lanes SET due_at = ?2 WHERE sink = ?1")?
                    .execute(params![sink.0, outlet.now.as_millis()])?;
                let detail = "it takes events again; what it was owed is delivered in order";
                let (kind, since) = (kind::SINK_RECOVERED, outlet.now);
                let change = SinkState { kind, state: Change::Left, reason: None, since, detail };
                outlet.about_sink(sink, change)?;
            }
            Ok(parked)
        }
    }
}

fn settle(tx: &Connection, sink: SinkId, settlement: &Settlement) -> Result<Settled, Error> {
    let lane = params![sink.0, settlement.lane.0];
    let (mut next, mut settled) = (Next::EndOfLine, Settled::All);
    for attempt in &settlement.attempts {
        let at = attempt.at.as_millis();
        let (state, failed) = match attempt.outcome {
            Outcome::Delivered => (1, None),
            Outcome::Dead => (2, Some("rejected")),
            Outcome::Retry { due_at, .. } => {
                next = Next::At(due_at);
                (0, Some("retry"))
            }
            Outcome::Probed => {
                next = Next::BehindAll;
                (0, Some("probe"))
            }
        };
        let counts = matches!(attempt.outcome, Outcome::Retry { counts: true, .. });
        let number: Option<i64> = tx
            .prepare_cached(
                "UPDATE deliveries SET state = ?3, attempts = attempts + 1, retries = retries + ?4,
                    settled_at = iif(?3 = 0, NULL, ?5)
                 WHERE event = ?1 AND sink = ?2 RETURNING attempts",
            )?
            .query_row(params![attempt.event, sink.0, state, counts, at], |r| r.get(0))
            .optional()?;
        let Some(number) = number else {
            settled = Settled::SomeGone;
            continue;
        };
        if let Some(outcome) = failed {
            tx.prepare_cached(
                "INSERT INTO attempts (event, sink, number, at, outcome, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![attempt.event, sink.0, number, at, outcome, attempt.detail])?;
            // Probes of a sink that is out for months: how it began and how it goes now is kept.
            tx.prepare_cached("DELETE FROM attempts WHERE event = ?1 AND sink = ?2 AND number = ?3")?.execute(
                params![
                    attempt.event,
                    sink.0,
                    (number > FIRST_ATTEMPTS + LAST_ATTEMPTS).then_some(number - LAST_ATTEMPTS)
                ],
            )?;
        }
    }
    if settlement.goes_on && settled == Settled::All {
        // It lies in the past until then, so that after a crash the lane is due at once.
        return Ok(settled);
    }
    let pending: Option<i64> = tx
        .prepare_cached("SELECT event FROM deliveries WHERE sink = ?1 AND lane = ?2 AND state = 0 LIMIT 1")?
        .query_row(lane, |r| r.get(0))
        .optional()?;
    if pending.is_none() {
        tx.prepare_cached("DELETE FROM lanes WHERE sink = ?1 AND lane = ?2")?.execute(lane)?;
        return Ok(settled);
    }
    let due_at = match next {
        Next::At(due_at) => due_at.as_millis(),
        Next::EndOfLine => UnixMillis::now().as_millis(),
        Next::BehindAll => {
            tx.prepare_cached("SELECT max(due_at) + 1 FROM lanes WHERE sink = ?1")?.query_row([sink.0], |r| r.get(0))?
        }
    };
    tx.prepare_cached("UPDATE lanes SET due_at = ?3 WHERE sink = ?1 AND lane = ?2")?.execute(params![
        sink.0,
        settlement.lane.0,
        due_at
    ])?;
    Ok(settled)
}

/// When a lane with something left in it has its next turn.
enum Next {
    /// When the schedule says.
    At(UnixMillis),
    /// Due, behind those that are: a conversation with a long backlog must not keep the others waiting.
    EndOfLine,
    /// Behind every other lane of the sink, due or not.
    BehindAll,
}
