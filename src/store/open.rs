//! Opening the database file.
//!
//! # Compatibility
//!
//! The header is looked at before SQLite may write: a foreign, damaged or newer file is refused
//! before a single byte of it has changed.
//!
//! # Recovery
//!
//! A new database is made under another name, in the journal mode it is to have, and moved into
//! place whole. What a kill in the middle of a write leaves beside a database (a hot journal, a log)
//! belongs to it, and SQLite rolls it back or forward; only a connection that may write can do that.
//! What was left beside a file that was removed or replaced belongs to nobody, and is set aside:
//! SQLite would read it into the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Error, OpenError, failed, refused};
use super::lock::{Lock, Trust};
use super::{poison, schema};
use crate::time::UnixMillis;

/// How long a statement waits for another process (a backup, a read command) before `Busy`.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Takes the lock, checks that the file is ours and returns the one connection that writes. `path`
/// is the file itself, not a link to it.
pub(super) fn open_exclusive(path: &Path, trust: Trust) -> Result<(Lock, Connection), OpenError> {
    check_kind(path)?;
    let mut lock = Lock::beside(path)?;
    let header = header(path)?;
    if header.is_none() {
        set_aside(path, &["-wal", "-shm", "-journal"])?;
        create(path)?;
    }
    lock.hold(path, trust)?;
    if let Some(header) = header {
        if !header.expects_log() {
            // It was made by a backup, and the log beside it is of the file that was here before.
            set_aside(path, &["-wal", "-shm"])?;
        }
        check(path)?;
    }
    let mut writer = open_writer(path).map_err(|e| refused(path, e))?;
    wipe_free_pages(&writer, path).map_err(|e| refused(path, e))?;
    schema::upgrade(&mut writer).map_err(|e| refused(path, e))?;
    poison::find(&writer, UnixMillis::now()).map_err(|e| refused(path, e))?;
    Ok((lock, writer))
}

/// Wipes what earlier releases have removed and not overwritten; once, before the upgrade that says so.
fn wipe_free_pages(writer: &Connection, path: &Path) -> Result<(), Error> {
    if !schema::leaves_text_in_free_pages(writer)? {
        return Ok(());
    }
    tracing::info!(path = %path.display(), "what earlier releases have removed is wiped from the file; this is done once");
    if let Err(error) = writer.execute_batch("VACUUM") {
        // It needs as much room again; the daemon is worth more.
        tracing::warn!(path = %path.display(), class = "storage", %error,
            "the file could not be wiped: text of messages that were removed before may be left in it; stop the daemon, \
             make room and run: sqlite3 FILE VACUUM");
    }
    Ok(())
}

/// The first bytes of a database file.
struct Header([u8; 20]);

impl Header {
    /// Whether changes are kept in a log (`-wal`) beside the file; file format, section 1.3.3.
    fn expects_log(&self) -> bool {
        let is_sqlite = self.0.starts_with(b"SQLite format 3\0");
        !is_sqlite || self.0[18] == 2 || self.0[19] == 2
    }
}

/// Reads the header; `None` where there is no file, or an empty one. The descriptor is closed
/// before SQLite has any lock on the file.
fn header(path: &Path) -> Result<Option<Header>, OpenError> {
    check_kind(path)?;
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("opened")(path, error)),
    };
    let mut bytes = Vec::with_capacity(20);
    file.by_ref().take(20).read_to_end(&mut bytes).map_err(|e| failed("read")(path, e))?;
    bytes.resize(if bytes.is_empty() { 0 } else { 20 }, 0);
    Ok(<[u8; 20]>::try_from(bytes).ok().map(Header))
}

/// Refuses what is there and is no file: a device would be replaced, and a pipe would be waited for.
fn check_kind(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(OpenError::NoFile { path: path.display().to_string() }),
        _ => Ok(()),
    }
}

/// Moves what belongs to no database out of SQLite's way, and says so.
fn set_aside(path: &Path, suffixes: &[&str]) -> Result<(), OpenError> {
    for suffix in suffixes {
        let left = PathBuf::from(format!("{}{suffix}", path.display()));
        match fs::metadata(&left) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("opened")(&left, error)),
            Ok(metadata) if metadata.len() == 0 || *suffix == "-shm" => {
                fs::remove_file(&left).map_err(|e| failed("removed")(&left, e))?;
            }
            Ok(_) => {
                let free = (1..).map(|n| PathBuf::from(format!("{}.left-{n}", left.display())));
                let aside = free.into_iter().find(|aside| !aside.exists()).unwrap_or_default();
                fs::rename(&left, &aside).map_err(|e| failed("moved")(&left, e))?;
                tracing::warn!(from = %left.display(), to = %aside.display(),
                    "a journal of another database lay beside this one; it was moved out of the way");
            }
        }
    }
    Ok(())
}

/// Refuses what is not ours, damaged or newer. Nothing is written but what a kill has left undone.
fn check(path: &Path) -> Result<(), OpenError> {
    let reader = open_reader(path).map_err(|e| refused(path, e))?;
    match schema::check(&reader, path) {
        Err(OpenError::Unrecovered { .. }) => {
            drop(reader);
            recover(path)?;
            schema::check(&open_reader(path).map_err(|e| refused(path, e))?, path)
        }
        checked => checked,
    }
}

/// Has SQLite undo the write in whose middle a process was killed.
fn recover(path: &Path) -> Result<(), OpenError> {
    let recovered = || -> Result<(), Error> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.busy_timeout(BUSY_WAIT)?;
        connection.pragma_query_value(None, "user_version", |_| Ok(()))?;
        Ok(())
    };
    recovered().map_err(|e| refused(path, e))
}

/// Opens an existing database for reading, beside a running daemon or without one.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    check_kind(path)?;
    // Opened and closed before SQLite has any lock on it: to tell missing from forbidden.
    match File::open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            return Err(OpenError::Missing { path: whole.display().to_string() });
        }
        Err(error) => return Err(failed("opened")(path, error)),
    }
    check(path)?;
    let reader = open_reader(path).map_err(|e| refused(path, e))?;
    schema::check_current(&reader, path)?;
    Ok(reader)
}

pub(super) fn open_writer(path: &Path) -> Result<Connection, Error> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // What is removed is overwritten: text of people must not outlive its retention in free pages.
    connection.pragma_update(None, "secure_delete", true)?;
    // A long write burst must not leave a log of its size behind for good.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // Savepoints keep copies of touched pages; those need no file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Makes the database under another name and moves it into place when it is complete: a kill at any instruction leaves
/// either none or a sound one.
fn create(path: &Path) -> Result<(), OpenError> {
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let io = |source: io::Error| failed("created")(&draft, source);
    for suffix in ["", "-journal", "-wal", "-shm"] {
        match fs::remove_file(format!("{}{suffix}", draft.display())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    // SQLite would create it with the umask; message texts are nobody else's business.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
    let made = || -> Result<(), Error> {
        let mut connection = Connection::open_with_flags(&draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Nobody else knows this file, so it needs no journal, and none can be left behind.
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        schema::claim(&connection)?;
        schema::upgrade(&mut connection)?;
        // Later it would be a write like any other, with a journal that a kill leaves behind.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    made().map_err(|e| refused(&draft, e))?;
    File::open(&draft).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&draft, path).map_err(io)?;
    tracing::info!(path = %path.display(), "made a new database");
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}
