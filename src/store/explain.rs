//! What became of one message, and what waits or was given up: for the commands that look.

use rusqlite::{OptionalExtension, params};
use serde::Serialize;

use super::{Error, ReadOnlyStore, millis};
use crate::time::UnixMillis;

/// A delivery that waits, was made or was given up.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryRow {
    /// Stable id of the event.
    pub event_id: String,
    /// Type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sink.
    pub sink: String,
    /// pending, delivered, dead or filtered.
    pub state: &'static str,
    /// The event's subject: a conversation, an account or a sink.
    pub subject: String,
    /// What people call the conversation.
    pub title: Option<String>,
    /// When the event was recorded.
    pub recorded_at: UnixMillis,
    /// Attempts made.
    pub attempts: u32,
    /// When its conversation has its next turn; null unless it is pending at a sink that is configured and not parked.
    pub due_at: Option<UnixMillis>,
    /// What the last failed attempt came to.
    pub last_failure: Option<String>,
}

/// Which deliveries to list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Of this sink.
    pub sink: Option<String>,
    /// In this state; `None`: pending and dead.
    pub state: Option<&'static str>,
    /// So many at most, oldest first.
    pub limit: u32,
}

/// The states of a delivery, by their number in the table.
pub const STATES: [&str; 4] = ["pending", "delivered", "dead", "filtered"];

/// Everything that is known of a message or of an event that is about no message.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The account; null for an event about a sink.
    pub account: Option<String>,
    /// The conversation; null for an event about an account or a sink.
    pub conversation: Option<String>,
    /// What people call it.
    pub title: Option<String>,
    /// The message; null for an event that is about none.
    pub message: Option<ExplainedMessage>,
    /// The events that tell of it, oldest first.
    pub events: Vec<ExplainedEvent>,
}

/// How a message was recorded.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedMessage {
    /// Its id.
    pub id: String,
    /// The provider's time.
    pub sent_at: Option<UnixMillis>,
    /// When it was recorded; null while it waits, staged, for the end of its walk.
    pub seen_at: Option<UnixMillis>,
    /// new, silent, staged, or pruned.
    pub verdict: &'static str,
    /// The verdict in words.
    pub because: String,
}

/// An event and everybody it was for.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedEvent {
    /// Stable id.
    pub id: String,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was recorded.
    pub recorded_at: UnixMillis,
    /// By which road its message was found.
    pub route: Option<String>,
    /// Found after a younger message.
    pub late: Option<bool>,
    /// Part of the history.
    pub backfill: Option<bool>,
    /// Every sink there is.
    pub sinks: Vec<ExplainedDelivery>,
}

/// What became of an event at a sink.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedDelivery {
    /// The sink.
    pub sink: String,
    /// pending, delivered, dead, filtered, or not_owed.
    pub state: &'static str,
    /// Why, where the state does not say it all.
    pub because: Option<String>,
    /// When it was settled.
    pub settled_at: Option<UnixMillis>,
    /// When it is attempted next.
    pub due_at: Option<UnixMillis>,
    /// Every attempt, in order.
    pub attempts: Vec<ExplainedAttempt>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct ExplainedAttempt {
    /// When.
    pub at: UnixMillis,
    /// delivered, retry, rejected or probe.
    pub outcome: String,
    /// What the sink said.
    pub detail: Option<String>,
}

impl ReadOnlyStore {
    /// Deliveries, oldest first, and how many there are in all.
    pub fn deliveries(&self, listing: &Listing) -> Result<(Vec<DeliveryRow>, u64), Error> {
        let tx = self.connection.unchecked_transaction()?;
        let states: Vec<usize> = match listing.state {
            Some(state) => STATES.iter().position(|s| *s == state).into_iter().collect(),
            None => vec![0, 2],
        };
        let states = serde_json::json!(states).to_string();
        let meant = "(?1 IS NULL OR s.name = ?1) AND d.state IN (SELECT value FROM json_each(?2))";
        let total = tx
            .prepare_cached(&format!("SELECT count(*) FROM deliveries d JOIN sinks s ON s.id = d.sink WHERE {meant}"))?
            .query_row(params![listing.sink, states], |r| r.get(0))?;
        let mut statement = tx.prepare_cached(&format!(
            "SELECT e.event_id, e.body ->> '$.type', s.name, d.state, e.body ->> '$.subject', c.title, e.created_at,
                d.attempts, CASE WHEN d.state = 0 AND s.configured AND s.parked_at IS NULL THEN l.due_at END,
                (SELECT a.detail FROM attempts a WHERE a.event = d.event AND a.sink = d.sink ORDER BY a.number DESC LIMIT 1)
             FROM deliveries d JOIN sinks s ON s.id = d.sink JOIN events e ON e.id = d.event
             LEFT JOIN conversations c ON c.id = e.conversation
             LEFT JOIN lanes l ON l.sink = d.sink AND l.lane = d.lane
             WHERE {meant} ORDER BY d.event, d.sink LIMIT ?3"
        ))?;
        let rows = statement.query_map(params![listing.sink, states, listing.limit], |r| {
            Ok(DeliveryRow {
                event_id: r.get(0)?,
                kind: r.get(1)?,
                sink: r.get(2)?,
                state: STATES[r.get::<_, usize>(3)?],
                subject: r.get(4)?,
                title: r.get(5)?,
                recorded_at: UnixMillis::from_millis(r.get(6)?),
                attempts: r.get(7)?,
                due_at: millis(r.get(8)?),
                last_failure: r.get(9)?,
            })
        })?;
        Ok((rows.collect::<Result<_, _>>()?, total))
    }

    /// What became of a message, named by its id or that of an event; more than one where conversations share the id.
    pub fn explain(&self, id: &str) -> Result<Vec<Explanation>, Error> {
        let tx = self.connection.unchecked_transaction()?;
        let about: Option<(Option<i64>, Option<String>, i64)> = tx
            .prepare_cached("SELECT conversation, body ->> '$.data.message.id', id FROM events WHERE event_id = ?1")?
            .query_row([id], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        let reading = Reading { tx: &tx };
        match about {
            Some((Some(conversation), Some(message), _)) => Ok(vec![reading.message(conversation, &message)?]),
            Some((conversation, _, row)) => Ok(vec![reading.notice(conversation, row)?]),
            None => {
                let mut statement = tx.prepare_cached(
                    "SELECT conversation FROM messages WHERE message_id = ?1
                     UNION SELECT conversation FROM staged_messages WHERE message_id = ?1",
                )?;
                let rows = statement.query_map([id], |r| r.get(0))?.collect::<Result<Vec<i64>, _>>()?;
                rows.into_iter().map(|conversation| reading.message(conversation, id)).collect()
            }
        }
    }
}

struct Reading<'a> {
    tx: &'a rusqlite::Connection,
}

impl Reading<'_> {
    fn message(&self, conversation: i64, id: &str) -> Result<Explanation, Error> {
        type Row = (Option<i64>, i64, Option<i64>, bool);
        let known: Option<Row> = self
            .tx
            .prepare_cached(
                "SELECT m.sent_at, m.seen_at, m.event, m.event IN (SELECT id FROM events) FROM messages m
                 WHERE m.conversation = ?1 AND m.message_id = ?2",
            )?
            .query_row(params![conversation, id], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get::<_, Option<bool>>(3)?.unwrap_or(false)))
            })
            .optional()?;
        let message = match known {
            Some((sent_at, seen_at, event, event_kept)) => {
                let (verdict, because) = match event {
                    None => ("silent", self.why_silent(conversation, sent_at)?),
                    Some(_) if event_kept => ("new", "no message with this id was known: it was announced".to_owned()),
                    Some(_) => {
                        ("pruned", "it was announced; its event was delivered and removed after store.retention".into())
                    }
                };
                let (sent_at, seen_at) = (millis(sent_at), Some(UnixMillis::from_millis(seen_at)));
                ExplainedMessage { id: id.to_owned(), sent_at, seen_at, verdict, because }
            }
            None => ExplainedMessage {
                id: id.to_owned(),
                sent_at: None,
                seen_at: None,
                verdict: "staged",
                because: "it is part of a long walk and is announced when that has met what is recorded".into(),
            },
        };
        let mut events = self.tx.prepare_cached(
            "SELECT id FROM events WHERE conversation = ?1 AND body ->> '$.data.message.id' = ?2 ORDER BY id",
        )?;
        let rows = events.query_map(params![conversation, id], |r| r.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        let events = rows.into_iter().map(|row| self.event(row)).collect::<Result<_, _>>()?;
        self.explanation(Some(conversation), Some(message), events)
    }

    fn notice(&self, conversation: Option<i64>, row: i64) -> Result<Explanation, Error> {
        let events = vec![self.event(row)?];
        let mut explanation = self.explanation(conversation, None, events)?;
        if explanation.account.is_none() {
            explanation.account = self
                .tx
                .prepare_cached("SELECT body ->> '$.data.account' FROM events WHERE id = ?1")?
                .query_row([row], |r| r.get(0))?;
        }
        Ok(explanation)
    }

    fn explanation(
        &self,
        conversation: Option<i64>,
        message: Option<ExplainedMessage>,
        events: Vec<ExplainedEvent>,
    ) -> Result<Explanation, Error> {
        type Row = (String, String, Option<String>);
        let of: Option<Row> = self
            .tx
            .prepare_cached(
                "SELECT a.name, c.conversation_id, c.title FROM conversations c JOIN accounts a ON a.id = c.account
                 WHERE c.id = ?1",
            )?
            .query_row([conversation], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        let (account, conversation, title) = of.map_or((None, None, None), |(a, c, title)| (Some(a), Some(c), title));
        Ok(Explanation { account, conversation, title, message, events })
    }

    fn why_silent(&self, conversation: i64, sent_at: Option<i64>) -> Result<String, Error> {
        let history_until: Option<i64> = self
            .tx
            .prepare_cached("SELECT history_until FROM conversations WHERE id = ?1")?
            .query_row([conversation], |r| r.get(0))?;
        Ok(match (sent_at, history_until) {
            (Some(sent_at), Some(line)) if sent_at <= line => format!(
                "it is history: first_poll or since draws the line at {}, and what is older is recorded silently",
                UnixMillis::from_millis(line)
            ),
            _ => {
                "it was there at the first poll (first_poll = \"now\"), or no person wrote it: recorded silently".into()
            }
        })
    }

    fn event(&self, row: i64) -> Result<ExplainedEvent, Error> {
        let mut event = self
            .tx
            .prepare_cached(
                "SELECT event_id, body ->> '$.type', created_at, body ->> '$.data.seen.route',
                    body ->> '$.data.seen.late', body ->> '$.data.seen.backfill' FROM events WHERE id = ?1",
            )?
            .query_row([row], |r| {
                Ok(ExplainedEvent {
                    id: r.get(0)?,
                    kind: r.get(1)?,
                    recorded_at: UnixMillis::from_millis(r.get(2)?),
                    route: r.get(3)?,
                    late: r.get(4)?,
                    backfill: r.get(5)?,
                    sinks: vec![],
                })
            })?;
        let mut sinks = self.tx.prepare_cached("SELECT id FROM sinks ORDER BY name")?;
        let sinks = sinks.query_map([], |r| r.get(0))?.collect::<Result<Vec<i64>, _>>()?;
        event.sinks = sinks.into_iter().map(|sink| self.delivery(row, &event, sink)).collect::<Result<_, _>>()?;
        Ok(event)
    }

    fn delivery(&self, row: i64, event: &ExplainedEvent, sink: i64) -> Result<ExplainedDelivery, Error> {
        type Row = (usize, Option<i64>, u32, Option<i64>);
        let owed: Option<Row> = self
            .tx
            .prepare_cached(
                "SELECT d.state, d.settled_at, d.attempts, l.due_at FROM deliveries d
                 LEFT JOIN lanes l ON l.sink = d.sink AND l.lane = d.lane WHERE d.event = ?1 AND d.sink = ?2",
            )?
            .query_row([row, sink], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .optional()?;
        let sink_row = self.sink(sink)?;
        let Some((state, settled_at, _, due_at)) = owed else {
            let because = Some(sink_row.why_not_owed(event));
            let (sink, state) = (sink_row.name, "not_owed");
            return Ok(ExplainedDelivery { sink, state, because, settled_at: None, due_at: None, attempts: vec![] });
        };
        let mut attempts = self.attempts(row, sink)?;
        if let (1, Some(at)) = (state, millis(settled_at)) {
            attempts.push(ExplainedAttempt { at, outcome: "delivered".into(), detail: None });
        }
        Ok(ExplainedDelivery {
            because: sink_row.why(state),
            sink: sink_row.name,
            state: STATES[state],
            settled_at: millis(settled_at),
            due_at: millis(due_at).filter(|_| state == 0),
            attempts,
        })
    }

    fn attempts(&self, event: i64, sink: i64) -> Result<Vec<ExplainedAttempt>, Error> {
        let mut statement = self.tx.prepare_cached(
            "SELECT at, outcome, detail FROM attempts WHERE event = ?1 AND sink = ?2 ORDER BY number",
        )?;
        let rows = statement.query_map([event, sink], |r| {
            Ok(ExplainedAttempt { at: UnixMillis::from_millis(r.get(0)?), outcome: r.get(1)?, detail: r.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn sink(&self, sink: i64) -> Result<SinkRow, Error> {
        let row = self
            .tx
            .prepare_cached("SELECT name, added_at, events, filter, parked_at, configured FROM sinks WHERE id = ?1")?
            .query_row([sink], |r| {
                Ok(SinkRow {
                    name: r.get(0)?,
                    added_at: UnixMillis::from_millis(r.get(1)?),
                    events: r.get(2)?,
                    filter: r.get(3)?,
                    parked_at: millis(r.get(4)?),
                    configured: r.get(5)?,
                })
            })?;
        Ok(row)
    }
}

/// A sink as it was last configured.
struct SinkRow {
    name: String,
    added_at: UnixMillis,
    events: String,
    filter: Option<String>,
    parked_at: Option<UnixMillis>,
    configured: bool,
}

impl SinkRow {
    fn why(&self, state: usize) -> Option<String> {
        match state {
            0 if !self.configured => Some("the sink is no longer in the configuration".into()),
            0 => self.parked_at.map(|at| format!("the sink is parked since {at}")),
            3 => Some(match &self.filter {
                Some(filter) => format!("its filter did not let it pass; the filter is now: {filter}"),
                None => "the filter that it had then did not let it pass".into(),
            }),
            _ => None,
        }
    }

    fn why_not_owed(&self, event: &ExplainedEvent) -> String {
        if self.added_at > event.recorded_at {
            let Self { name, added_at, .. } = self;
            return format!(
                "the sink was added later, at {added_at}; inboxd replay --sink {name} --event {} sends it",
                event.id
            );
        }
        format!("it was not among what the sink wanted (now: events = {}), or has been removed since", self.events)
    }
}
