//! Dead deliveries as a state of their sink: told when there is a first one, and when there is none
//! any more. What is never told is never removed by itself.

use rusqlite::{OptionalExtension, params};

use super::announce::{Outlet, SinkState};
use super::{Attempt, Error, SinkId, Store};
use crate::model::{Change, kind};
use crate::time::UnixMillis;

/// Notes that a delivery was given up; tells the other sinks if it is the first. Returns whether it
/// was.
pub(super) fn enter(outlet: Outlet<'_>, sink: SinkId, attempt: &Attempt) -> Result<bool, Error> {
    // A command may have removed the delivery while it was under way.
    let entered = outlet
        .tx
        .prepare_cached(
            "UPDATE sinks SET dead_since = ?2 WHERE id = ?1 AND dead_since IS NULL
                AND EXISTS (SELECT 1 FROM deliveries d WHERE d.event = ?3 AND d.sink = ?1 AND d.state = 2)",
        )?
        .execute(params![sink.0, outlet.now.as_millis(), attempt.event])?;
    if entered == 0 {
        return Ok(false);
    }
    let event: String = outlet
        .tx
        .prepare_cached("SELECT event_id FROM events WHERE id = ?1")?
        .query_row([attempt.event], |r| r.get(0))
        .optional()?
        .unwrap_or_default();
    let detail = format!(
        "the event {event} was given up, and is kept as dead; inboxd deliveries list says why, inboxd deliveries retry tries \
         again"
    );
    let (kind, since) = (kind::DELIVERY_DEAD, outlet.now);
    let change = SinkState { kind, state: Change::Entered, reason: Some("gone"), since, detail: &detail };
    outlet.about_sink(sink, change)?;
    Ok(true)
}

impl Store {
    /// Tells of every sink that had dead deliveries and has none any more.
    pub(super) async fn leave_dead(&self) -> Result<(), Error> {
        let sinks = self.sinks();
        let told = self.write(move |tx| leave(Outlet { tx, sinks: &sinks, now: UnixMillis::now() })).await?;
        if told {
            self.deliveries().notify_waiters();
        }
        Ok(())
    }
}

fn leave(outlet: Outlet<'_>) -> Result<bool, Error> {
    let mut without = outlet.tx.prepare_cached(
        "SELECT s.id FROM sinks s WHERE s.dead_since IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.sink = s.id AND d.state = 2)",
    )?;
    let without = without.query_map([], |r| Ok(SinkId(r.get(0)?)))?.collect::<Result<Vec<_>, _>>()?;
    for &sink in &without {
        outlet.tx.prepare_cached("UPDATE sinks SET dead_since = NULL WHERE id = ?1")?.execute([sink.0])?;
        let detail = "no delivery is dead any more";
        let (kind, since) = (kind::DELIVERY_DEAD, outlet.now);
        outlet.about_sink(sink, SinkState { kind, state: Change::Left, reason: None, since, detail })?;
    }
    Ok(!without.is_empty())
}
