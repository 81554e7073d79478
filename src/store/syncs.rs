//! Upkeep in progress at a provider that must be told to collect a conversation before it can be polled.
//!
//! The id of a started workflow is stored before anything waits for it, so a restart resumes it instead of starting
//! a second one.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Error, SourceId, Store, millis};
use crate::time::UnixMillis;

/// Where the upkeep of a conversation stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Nothing to do until the row is due.
    Idle,
    /// To be started when the account has a free place.
    Queued,
    /// A start was sent and its answer never recorded: it may or may not have taken effect.
    Starting,
    /// Running at the provider under this id.
    Running {
        /// The provider's id of the workflow.
        workflow_id: String,
    },
}

/// The upkeep of one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRow {
    /// Where it stands.
    pub state: SyncState,
    /// Starts in a row without success.
    pub starts: u32,
    /// When to act next.
    pub due_at: UnixMillis,
    /// When the workflow now running, or the last one, was started.
    pub started_at: Option<UnixMillis>,
    /// When the last successful one was started: its period counts from here.
    pub period_started_at: Option<UnixMillis>,
    /// When the provider stops collecting, in its own words.
    pub sync_until: Option<UnixMillis>,
}

pub(super) fn load_one(tx: &Connection, source: SourceId) -> Result<Option<SyncRow>, Error> {
    let row = tx
        .prepare_cached(
            "SELECT state, workflow_id, starts, due_at, started_at, period_started_at, sync_until FROM syncs
             WHERE conversation = ?1",
        )?
        .query_row([source.0], |r| {
            let (state, workflow_id): (String, Option<String>) = (r.get(0)?, r.get(1)?);
            let state = match (state.as_str(), workflow_id) {
                ("running", Some(workflow_id)) => SyncState::Running { workflow_id },
                ("starting", _) => SyncState::Starting,
                ("queued", _) => SyncState::Queued,
                _ => SyncState::Idle,
            };
            Ok(SyncRow {
                state,
                starts: r.get(2)?,
                due_at: UnixMillis::from_millis(r.get(3)?),
                started_at: millis(r.get(4)?),
                period_started_at: millis(r.get(5)?),
                sync_until: millis(r.get(6)?),
            })
        })
        .optional()?;
    Ok(row)
}

impl Store {
    /// Records where the upkeep of a conversation stands.
    pub async fn record_sync(&self, source: SourceId, row: SyncRow) -> Result<(), Error> {
        self.write(move |tx| {
            let (state, workflow_id) = match &row.state {
                SyncState::Idle => ("idle", None),
                SyncState::Queued => ("queued", None),
                SyncState::Starting => ("starting", None),
                SyncState::Running { workflow_id } => ("running", Some(workflow_id)),
            };
            tx.prepare_cached(
                "INSERT INTO syncs
                    (conversation, state, workflow_id, starts, due_at, started_at, period_started_at, sync_until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (conversation) DO UPDATE SET state = ?2, workflow_id = ?3, starts = ?4, due_at = ?5,
                    started_at = ?6, period_started_at = ?7, sync_until = ?8",
            )?
            .execute(params![
                source.0,
                state,
                workflow_id,
                row.starts,
                row.due_at.as_millis(),
                row.started_at.map(UnixMillis::as_millis),
                row.period_started_at.map(UnixMillis::as_millis),
                row.sync_until.map(UnixMillis::as_millis),
            ])?;
            Ok(())
        })
        .await
    }
}
