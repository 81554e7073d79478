//! The outbox: deliveries not yet settled.
//!
//! A delivery leaves it as delivered or dead and in no other way. Claims are not written down: the lock on the
//! database makes this process the only one, so what it has in flight is known in memory, and after a crash
//! everything unsettled is simply due again.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, SinkId, SourceId, Store};
use crate::time::UnixMillis;

/// No retry is planned further ahead: a `Retry-After` of a day and the tenth that may come on top.
const LONGEST_WAIT: Duration = Duration::from_secs(27 * 3600);

/// The deliveries of one conversation that one sink is owed, oldest first. Only the first may be attempted.
#[derive(Clone, Debug)]
pub struct Lane {
    /// The conversation.
    pub conversation: SourceId,
    /// What is owed, oldest first; not empty.
    pub owed: Vec<Owed>,
}

/// One delivery that is due.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Its row.
    pub delivery: i64,
    /// Attempts made so far.
    pub attempts: u32,
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
    },
    /// Given up; kept for replay.
    Dead,
}

/// One attempt and what it came to.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The delivery's row.
    pub delivery: i64,
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
    /// The sink.
    pub sink: SinkId,
    /// The lane.
    pub conversation: SourceId,
    /// The attempts.
    pub attempts: Vec<Attempt>,
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
}

impl Store {
    /// The lanes of a sink that are due, longest due first, without those in `in_flight`, up to the limit.
    pub async fn claim_due(
        &self,
        sink: SinkId,
        in_flight: Vec<SourceId>,
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
    pub async fn next_due(&self, sink: SinkId, in_flight: Vec<SourceId>) -> Result<Option<UnixMillis>, Error> {
        self.read(move |connection| {
            let mut statement = connection
                .prepare_cached("SELECT conversation, due_at FROM lanes WHERE sink = ?1 ORDER BY due_at LIMIT ?2")?;
            let mut rows = statement.query(params![sink.0, in_flight.len() + 1])?;
            while let Some(row) = rows.next()? {
                if !in_flight.contains(&SourceId(row.get(0)?)) {
                    return Ok(Some(UnixMillis::from_millis(row.get(1)?)));
                }
            }
            Ok(None)
        })
        .await
    }

    /// Records attempts, all of them in one transaction.
    pub async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        self.write(move |tx| settlements.iter().try_for_each(|settlement| settle(tx, settlement))).await
    }

    /// Deliveries of a sink that wait, and deliveries of it that are dead.
    pub async fn count_owed(&self, sink: SinkId) -> Result<(u64, u64), Error> {
        self.read(move |connection| {
            let count = |state: i64| {
                connection
                    .prepare_cached("SELECT count(*) FROM deliveries WHERE sink = ?1 AND state = ?2")?
                    .query_row(params![sink.0, state], |r| r.get::<_, u64>(0))
            };
            Ok((count(0)?, count(2)?))
        })
        .await
    }
}

fn claim_due(
    connection: &Connection,
    sink: SinkId,
    in_flight: &[SourceId],
    limit: ClaimLimit,
    now: UnixMillis,
) -> Result<Vec<Lane>, Error> {
    let mut due = connection
        .prepare_cached("SELECT conversation FROM lanes WHERE sink = ?1 AND due_at <= ?2 ORDER BY due_at LIMIT ?3")?;
    let due =
        due.query_map(params![sink.0, now.as_millis(), limit.lanes + in_flight.len()], |r| Ok(SourceId(r.get(0)?)))?;
    let mut owed = connection.prepare_cached(
        "SELECT d.id, d.attempts, e.event_id, e.body FROM deliveries d JOIN events e ON e.id = d.event
         WHERE d.sink = ?1 AND d.conversation = ?2 AND d.state = 0 ORDER BY d.id LIMIT ?3",
    )?;
    let mut claimed = Vec::new();
    let mut bytes = 0;
    for conversation in due {
        let conversation = conversation?;
        if claimed.len() == limit.lanes || bytes >= limit.bytes {
            break;
        }
        if in_flight.contains(&conversation) {
            continue;
        }
        let rows = owed.query_map(params![sink.0, conversation.0, limit.per_lane], |r| {
            Ok(Owed { delivery: r.get(0)?, attempts: r.get(1)?, event_id: r.get(2)?, body: r.get(3)? })
        })?;
        let owed: Vec<_> = rows.collect::<Result<_, _>>()?;
        bytes += owed.iter().map(|owed| owed.body.len()).sum::<usize>();
        if !owed.is_empty() {
            claimed.push(Lane { conversation, owed });
        }
    }
    Ok(claimed)
}

/// Corrects due times that a clock step while we were away has put out of reach: nothing waits longer than the longest
/// wait there is, and what was never attempted does not wait at all.
pub(super) fn believe_due_times(tx: &Connection, now: UnixMillis) -> Result<(), Error> {
    tx.execute(
        "UPDATE lanes SET due_at = min(due_at, ?1 + ?2 * (SELECT d.attempts > 0 FROM deliveries d
            WHERE d.sink = lanes.sink AND d.conversation = lanes.conversation AND d.state = 0 ORDER BY d.id LIMIT 1))
         WHERE due_at > ?1",
        params![now.as_millis(), i64::try_from(LONGEST_WAIT.as_millis()).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}

fn settle(tx: &Connection, settlement: &Settlement) -> Result<(), Error> {
    let mut retry_at = None;
    for attempt in &settlement.attempts {
        let (state, outcome) = match attempt.outcome {
            Outcome::Delivered => (1, "delivered"),
            Outcome::Dead => (2, "rejected"),
            Outcome::Retry { due_at } => {
                retry_at = Some(due_at);
                (0, "retry")
            }
        };
        let at = attempt.at.as_millis();
        let number: i64 = tx
            .prepare_cached(
                "UPDATE deliveries SET state = ?2, attempts = attempts + 1, settled_at = iif(?2 = 0, NULL, ?3)
                 WHERE id = ?1 RETURNING attempts",
            )?
            .query_row(params![attempt.delivery, state, at], |r| r.get(0))?;
        tx.prepare_cached("INSERT INTO attempts (delivery, number, at, outcome, detail) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![attempt.delivery, number, at, outcome, attempt.detail])?;
    }
    let lane = params![settlement.sink.0, settlement.conversation.0];
    let pending: Option<i64> = tx
        .prepare_cached("SELECT id FROM deliveries WHERE sink = ?1 AND conversation = ?2 AND state = 0 LIMIT 1")?
        .query_row(lane, |r| r.get(0))
        .optional()?;
    if pending.is_none() {
        tx.prepare_cached("DELETE FROM lanes WHERE sink = ?1 AND conversation = ?2")?.execute(lane)?;
    } else if let Some(due_at) = retry_at {
        tx.prepare_cached("UPDATE lanes SET due_at = ?3 WHERE sink = ?1 AND conversation = ?2")?.execute(params![
            settlement.sink.0,
            settlement.conversation.0,
            due_at.as_millis()
        ])?;
    } else {
        // To the end of the line: a conversation with a long backlog must not keep the others waiting.
        tx.prepare_cached("UPDATE lanes SET due_at = ?3 WHERE sink = ?1 AND conversation = ?2")?.execute(params![
            settlement.sink.0,
            settlement.conversation.0,
            UnixMillis::now().as_millis()
        ])?;
    }
    Ok(())
}
