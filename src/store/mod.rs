//! State that outlives the process: every SQL statement and every transaction of the program.
//!
//! One writer groups whatever waits into one transaction ([`writer`]); readers run beside it. The one transaction
//! that matters is [`record_poll`]: new messages, a delivery for every sink and the watermark, or none of them.
//! Nothing outside this module may assume SQLite.

mod accounts;
mod announce;
mod balance;
mod crowd;
mod dead;
mod erase;
mod error;
mod explain;
mod follow;
mod gaps;
mod left_out;
mod list_times;
mod lock;
mod open;
mod operator;
mod outbox;
mod overview;
mod poison;
mod quiet;
mod record_poll;
mod redeliver;
mod retention;
mod schema;
mod seen;
mod spending;
mod sweeps;
mod syncs;
mod text;
mod unreadable;
mod walks;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::Notify;

pub use accounts::Pause;
pub use announce::{EventFilter, FollowedSink, Wants};
pub use balance::BalanceSeen;
pub use erase::{Erased, NotErased};
pub use error::{Error, OpenError};
pub use explain::{
    DeliveryRow, ExplainedAttempt, ExplainedDelivery, ExplainedEvent, ExplainedMessage, Explanation, Listing, STATES,
};
pub use follow::{BudgetRow, Follow, Followed, FollowedAccount, FollowedRows, Pinned, Source};
pub use gaps::OpenGaps;
use lock::Trust;
pub use lock::{folder_problem, resolved};
pub use operator::Refused;
pub use outbox::{Attempt, ClaimLimit, Lane, Outcome, Owed, Settled, Settlement, SinkHealth, Standing};
pub use overview::{
    AccountOverview, ConversationOverview, FolderOverview, GapOverview, Overview, SinkOverview, Tail, TailedEvent,
    UnreadOverview,
};
pub use quiet::QuietPoll;
pub use record_poll::{Announce, Mark, PollRecord, Recorded};
pub use redeliver::{Purge, Purged, Replayed, Selection};
pub use retention::Pruned;
pub use spending::{Limits, Reservation, Reserved};
pub use sweeps::{Discovery, Finished, Line, Noted, SweptFolder};
pub use syncs::{SyncRow, SyncState};
pub use unreadable::{UnreadMessages, UnreadPage, UnreadRows};
pub use walks::{PageRecord, Staged, Walk};
use writer::Writer;

/// Row of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(i64);

/// Row of a conversation of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(i64);

impl SourceId {
    /// A number that is the same for this conversation after every restart; seeds its jitter.
    pub fn seed(self) -> u64 {
        self.0.unsigned_abs()
    }
}

/// Row of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(i64);

/// What one sink is owed of one conversation, of one account as a whole or about one sink, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(i64);

/// Below this lie the lanes of events about sinks; between it and zero those about accounts.
const SINK_LANES: i64 = -(1 << 40);

impl LaneId {
    /// A number that is the same for this lane after every restart; seeds its jitter.
    pub fn seed(self) -> u64 {
        self.0.unsigned_abs()
    }
}

impl From<SourceId> for LaneId {
    fn from(source: SourceId) -> Self {
        Self(source.0)
    }
}

impl From<AccountId> for LaneId {
    fn from(account: AccountId) -> Self {
        Self(-account.0)
    }
}

impl From<SinkId> for LaneId {
    fn from(sink: SinkId) -> Self {
        Self(SINK_LANES - sink.0)
    }
}

/// Handle to the open store; clones share it.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    writer: RwLock<Option<Writer>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    sinks: RwLock<Arc<[announce::Subscriber]>>,
    quiet: quiet::QuietPolls,
    has_read_large: AtomicBool,
    keeps_no_text: Arc<AtomicBool>,
    deliveries: Notify,
}

impl Store {
    /// Opens the database at `path`, creating it and its folder where missing, and holds it for this process alone.
    /// Must be called on a tokio runtime: quiet polls are written from a task.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        // Also where the way to it begins: who can write there leads us elsewhere.
        lock::check_folder_of(path)?;
        let path = resolved(path).map_err(|e| error::failed("opened")(path, e))?;
        lock::check_folder_of(&path)?;
        Self::open_trusting(&path, Trust::Nobody)
    }

    /// The same where whoever else may make files in its folder is trusted, as in a container with a volume of its own.
    pub fn open_in_any_folder(path: &Path) -> Result<Self, OpenError> {
        Self::open_trusting(path, Trust::WhoeverWrites)
    }

    fn open_trusting(path: &Path, trust: Trust) -> Result<Self, OpenError> {
        let path = resolved(path).map_err(|e| error::failed("opened")(path, e))?;
        let (lock, connection) = open::open_exclusive(&path, trust)?;
        let keeps_no_text = Arc::new(AtomicBool::new(false));
        let (writer, thread) = Writer::start(path.clone(), connection, lock, Arc::clone(&keeps_no_text));
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                writer: RwLock::new(Some(writer)),
                thread: Mutex::new(Some(thread)),
                readers: Mutex::default(),
                sinks: RwLock::new(Arc::from([])),
                quiet: quiet::QuietPolls::default(),
                has_read_large: AtomicBool::new(false),
                keeps_no_text,
                deliveries: Notify::new(),
            }),
        })
    }

    /// Writes what is still buffered, ends the writer and gives the lock back. Calls after it fail with `Closed`.
    pub async fn close(&self) -> Result<(), Error> {
        let flushed = self.flush().await;
        drop(self.reading_is_over().await);
        self.shared.writer.write().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.readers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Joining only waits for writes that are already queued.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
        flushed
    }

    /// The database file itself, whatever links lead to it.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Groups committed so far: the watchdog's proof that the writer makes progress.
    pub fn commits(&self) -> u64 {
        self.shared.writer.read().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(0, Writer::commits)
    }

    /// Waits until the store is lost: the disk failed or the file is corrupt, and the process should end.
    pub async fn broken(&self) -> Error {
        let writer = self.shared.writer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(writer) = writer else { return Error::Closed };
        let mut broken = writer.broken().subscribe();
        // The writer must be able to end while somebody waits here.
        drop(writer);
        match broken.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or(Error::Closed),
            Err(_) => Error::Closed,
        }
    }

    /// A write that changes nothing, answered once it is on disk.
    pub async fn ping(&self) -> Result<(), Error> {
        self.write(|_| Ok(())).await
    }

    /// Wakes whoever waits for new deliveries.
    pub fn deliveries(&self) -> &Notify {
        &self.shared.deliveries
    }

    async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let writer = self.shared.writer.read().unwrap_or_else(PoisonError::into_inner).clone();
        writer.ok_or(Error::Closed)?.write(work).await
    }

    async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            let idle = shared.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| open::open_reader(&shared.path), Ok)?;
            let result = work(&connection)?;
            shared.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(result)
        });
        let result = task.await.map_err(|_| Error::Closed)?;
        if let Err(error @ (Error::Io(_) | Error::Corrupt(_))) = &result
            && let Some(writer) = &*self.shared.writer.read().unwrap_or_else(PoisonError::into_inner)
        {
            writer.broken().send_replace(Some(error.clone()));
        }
        result
    }

    fn sinks(&self) -> Arc<[announce::Subscriber]> {
        Arc::clone(&self.shared.sinks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An existing database, opened by a command that only looks.
pub struct ReadOnlyStore {
    connection: Connection,
}

impl ReadOnlyStore {
    /// Opens the database at `path` beside a running daemon or without one.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: open::open_read_only(path)? })
    }
}

fn millis(value: Option<i64>) -> Option<crate::time::UnixMillis> {
    value.map(crate::time::UnixMillis::from_millis)
}
