//! The one connection that writes.
//!
//! Whatever waits is grouped into one transaction, so that `synchronous=FULL` costs one sync per group and not per
//! write. A write is answered only after its group is committed. A write that fails by itself is undone alone; when
//! the commit fails, every write of the group is answered with the error, none has had an effect, and the
//! connection is thrown away where it can no longer be trusted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::Error;
use super::lock::Lock;
use super::open::open_writer;
use super::text;

/// Writes in one transaction. Larger groups gain nothing measurable and make the first of them wait.
const GROUP: usize = 256;

/// Writes that may wait; a caller beyond it waits for room.
const QUEUE: usize = 1024;

trait Write: Send {
    fn run(&mut self, connection: &Connection) -> Result<(), Error>;
    fn answer(self: Box<Self>, commit: Result<(), Error>);
}

struct Pending<T, F> {
    work: Option<F>,
    result: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Write for Pending<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Error> + Send,
{
    fn run(&mut self, connection: &Connection) -> Result<(), Error> {
        let work = self.work.take().expect("a write runs once");
        let result = self.result.insert(work(connection));
        result.as_ref().map(|_| ()).map_err(Error::clone)
    }

    fn answer(self: Box<Self>, commit: Result<(), Error>) {
        let result = match commit {
            Ok(()) => self.result.unwrap_or(Err(Error::Closed)),
            Err(error) => Err(error),
        };
        // A caller that was cancelled no longer listens; the commit stands all the same.
        drop(self.answer.send(result));
    }
}

/// Handle to the writer thread; the thread ends when the last clone is gone.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Write>>,
    commits: Arc<AtomicU64>,
    broken: Broken,
}

/// Set once an error has shown that nothing written can be trusted any more.
pub(super) type Broken = Arc<watch::Sender<Option<Error>>>;

impl Writer {
    /// Starts the thread, which owns connection and lock until it ends.
    pub(super) fn start(
        path: PathBuf,
        connection: Connection,
        lock: Lock,
        keeps_no_text: Arc<AtomicBool>,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let broken: Broken = Arc::new(watch::Sender::new(None));
        let breaks = Arc::clone(&broken);
        let writer = Self { queue, commits: Arc::clone(&commits), broken };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                let reopen = || {
                    let connection = open_writer(&path)?;
                    if keeps_no_text.load(Ordering::Relaxed) {
                        text::keep_none(&connection)?;
                    }
                    Ok(connection)
                };
                write_groups(reopen, connection, waiting, &commits, &breaks);
                drop(lock);
            })
            .expect("the system can start one thread");
        (writer, thread)
    }

    /// Runs `work` inside the next transaction and returns its result once that is on disk.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let pending = Pending { work: Some(work), result: None, answer };
        self.queue.send(Box::new(pending)).await.map_err(|_| Error::Closed)?;
        result.await.map_err(|_| Error::Closed)?
    }

    /// Where such an error is told and waited for.
    pub(super) fn broken(&self) -> &Broken {
        &self.broken
    }

    /// Groups committed so far: the proof of progress for the watchdog.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

fn write_groups(
    reopen: impl Fn() -> Result<Connection, Error>,
    connection: Connection,
    mut waiting: mpsc::Receiver<Box<dyn Write>>,
    commits: &AtomicU64,
    breaks: &watch::Sender<Option<Error>>,
) {
    let mut connection = Some(connection);
    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = waiting.blocking_recv() {
        group.push(first);
        while group.len() < GROUP {
            let Ok(next) = waiting.try_recv() else { break };
            group.push(next);
        }
        let committed = match connection.take().map_or_else(&reopen, Ok) {
            Ok(open) => {
                let committed = commit(&open, &mut group);
                if !committed.as_ref().is_err_and(Error::spoils_connection) {
                    connection = Some(open);
                }
                committed
            }
            Err(error) => Err(error),
        };
        match &committed {
            Ok(()) => drop(commits.fetch_add(1, Ordering::Relaxed)),
            Err(error) if !error.is_retryable() => drop(breaks.send_replace(Some(error.clone()))),
            Err(_) => {}
        }
        for write in group.drain(..) {
            write.answer(committed.clone());
        }
    }
    // A reader that is still open would keep the log beside the database; whoever copies that file now has everything.
    if let Some(connection) = &connection
        && let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    {
        tracing::debug!(%error, "the log was not written back; the next start does it");
    }
    if let Some(connection) = connection
        && let Err((_, error)) = connection.close()
    {
        tracing::warn!(%error, "the database did not close cleanly; the next start recovers it");
    }
}

fn commit(connection: &Connection, group: &mut [Box<dyn Write>]) -> Result<(), Error> {
    let execute = |sql: &str| -> Result<(), Error> {
        connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    };
    execute("BEGIN IMMEDIATE")?;
    let result = (|| {
        for write in group.iter_mut() {
            execute("SAVEPOINT write")?;
            match write.run(connection) {
                Ok(()) => execute("RELEASE write")?,
                // The disk has spoken about all of them, and SQLite may have rolled everything back by itself.
                Err(error) if error.spoils_connection() || connection.is_autocommit() => return Err(error),
                Err(_) => {
                    execute("ROLLBACK TO write")?;
                    execute("RELEASE write")?;
                }
            }
        }
        execute("COMMIT")
    })();
    if result.is_err() && !connection.is_autocommit() {
        // The connection may be beyond even this; then it is thrown away and the next open recovers.
        drop(execute("ROLLBACK"));
    }
    result
}
