//! Answers that a process has not survived: the conversation is left alone with growing pauses, so
//! that it takes no other with it at every start.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::announce::{Outlet, StateChange};
use super::{Error, SourceId, Store, millis};
use crate::model::{Change, counted, kind};
use crate::time::UnixMillis;

/// The error class.
const POISON: &str = "poison";

/// The first pause; each further death makes it four times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(15);

const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

fn pause(deaths: u32) -> Duration {
    let times = 4_u32.checked_pow(deaths.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(times).min(LONGEST_PAUSE)
}

impl Store {
    /// A large answer of these conversations is about to be read.
    pub async fn reading_begins(&self, sources: Vec<SourceId>) -> Result<(), Error> {
        self.shared.has_read_large.store(true, Ordering::Relaxed);
        self.write(move |tx| {
            for source in &sources {
                tx.prepare_cached("INSERT OR REPLACE INTO readings (conversation, began_at) VALUES (?1, ?2)")?
                    .execute(params![source.0, UnixMillis::now().as_millis()])?;
            }
            Ok(())
        })
        .await
    }

    /// Nothing is being read any more: whoever did has been told to end, which is no death.
    pub async fn reading_is_over(&self) -> Result<(), Error> {
        match self.shared.has_read_large.load(Ordering::Relaxed) {
            true => self.write(forget).await,
            false => Ok(()),
        }
    }

    /// What was made of it is done, whatever came of that.
    pub async fn reading_ends(&self, sources: Vec<SourceId>) -> Result<(), Error> {
        self.write(move |tx| {
            for source in &sources {
                tx.prepare_cached("DELETE FROM readings WHERE conversation = ?1")?.execute([source.0])?;
            }
            Ok(())
        })
        .await
    }
}

/// Nothing is being read.
fn forget(tx: &Connection) -> Result<(), Error> {
    tx.execute("DELETE FROM readings", [])?;
    Ok(())
}

/// Leaves alone what the last process has died of. To be called once, before anything is read.
pub(super) fn find(tx: &Connection, now: UnixMillis) -> Result<(), Error> {
    let mut dead =
        tx.prepare("SELECT r.conversation, c.deaths FROM readings r JOIN conversations c ON c.id = r.conversation")?;
    let dead: Vec<(i64, u32)> = dead.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    if dead.is_empty() {
        return Ok(());
    }
    for (source, deaths) in dead {
        let deaths = deaths.saturating_add(1);
        let until = now + pause(deaths);
        let detail = format!(
            "{} ended while an answer of this conversation was read; it is left alone until {until}",
            counted(deaths as usize, "process")
        );
        tracing::error!(class = POISON, conversation = source, "{detail}");
        tx.execute(
            "UPDATE conversations SET deaths = ?2, failures = failures + 1, failure_class = ?3, failure_detail = ?4,
                failing_since = coalesce(failing_since, ?5), due_at = ?6 WHERE id = ?1",
            params![source, deaths, POISON, detail, now.as_millis(), until.as_millis()],
        )?;
    }
    forget(tx)
}

/// Announces what is left alone and has not been announced.
pub(super) fn announce(outlet: Outlet<'_>) -> Result<(), Error> {
    let sql = "SELECT id, failure_detail FROM conversations
        WHERE failure_class = ?1 AND poisoned_since IS NULL AND follow <> 'none'";
    let mut untold = outlet.tx.prepare(sql)?;
    let untold: Vec<(i64, String)> =
        untold.query_map([POISON], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    for (source, detail) in untold {
        outlet.tx.execute(
            "UPDATE conversations SET poisoned_since = ?2 WHERE id = ?1",
            params![source, outlet.now.as_millis()],
        )?;
        let entered = StateChange {
            kind: kind::CONVERSATION_POISONED,
            state: Change::Entered,
            reason: Some(POISON),
            since: outlet.now,
            detail: &detail,
        };
        outlet.about_conversation(SourceId(source), entered)?;
    }
    Ok(())
}

/// A poll has been recorded: the process has survived it. Says whether that was announced.
pub(super) fn survived(outlet: Outlet<'_>, source: SourceId) -> Result<bool, Error> {
    let since: Option<Option<i64>> = outlet
        .tx
        .prepare_cached("SELECT poisoned_since FROM conversations WHERE id = ?1 AND deaths > 0")?
        .query_row([source.0], |r| r.get(0))
        .optional()?;
    let Some(since) = since else { return Ok(false) };
    outlet
        .tx
        .prepare_cached("UPDATE conversations SET deaths = 0, poisoned_since = NULL WHERE id = ?1")?
        .execute([source.0])?;
    if millis(since).is_some() {
        let left = StateChange {
            kind: kind::CONVERSATION_POISONED,
            state: Change::Left,
            reason: None,
            since: outlet.now,
            detail: "the conversation has been read",
        };
        outlet.about_conversation(source, left)?;
    }
    Ok(since.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_to_a_day() {
        let pauses: Vec<_> = (1..=8).map(|deaths| pause(deaths).as_secs()).collect();
        assert_eq!(pauses, [15, 60, 240, 960, 3_840, 15_360, 61_440, 86_400]);
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
