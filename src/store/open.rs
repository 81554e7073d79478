//! Opening the database file.
//!
//! # Locking
//!
//! One process per database. The lock is a `flock` on a separate file, taken before SQLite opens anything and held
//! for life. A separate file, because closing any descriptor of the database file itself would drop SQLite's own
//! POSIX locks on it.
//!
//! # Compatibility
//!
//! The header is read through a read-only connection first: a foreign, damaged or newer file is refused before a
//! single byte of it has changed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::{Error, OpenError, refused};
use super::schema;

/// How long a statement waits for another process (a backup, a read command) before `Busy`.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// The exclusive right to a database; given back when dropped, and by the system when the process dies.
pub(super) struct Lock {
    _file: File,
}

/// Takes the lock, checks that the file is ours and returns the one connection that writes.
pub(super) fn open_exclusive(path: &Path) -> Result<(Lock, Connection), OpenError> {
    let lock = lock(path)?;
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > 0 => {
            let reader = open_reader(path).map_err(|e| refused(path, e))?;
            schema::check(&reader, path)?;
        }
        _ => create(path)?,
    }
    let mut writer = open_writer(path).map_err(|e| refused(path, e))?;
    schema::upgrade(&mut writer).map_err(|e| refused(path, e))?;
    Ok((lock, writer))
}

/// Opens an existing database for reading, beside a running daemon or without one.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, OpenError> {
    // Opened and closed before SQLite has any lock on it: to tell missing from forbidden.
    match File::open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::Missing { path: path.display().to_string() });
        }
        Err(error) => return Err(failed("opened")(path, error)),
    }
    let reader = open_reader(path).map_err(|e| refused(path, e))?;
    schema::check(&reader, path)?;
    schema::check_current(&reader, path)?;
    Ok(reader)
}

pub(super) fn open_writer(path: &Path) -> Result<Connection, Error> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
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

fn lock(path: &Path) -> Result<Lock, OpenError> {
    let lock_path = PathBuf::from(format!("{}.lock", path.display()));
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| failed("created")(folder, e))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|e| failed("opened")(&lock_path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Best effort: the message is useful without the number too.
            if file.read_to_string(&mut holder).is_err() || holder.trim().parse::<u32>().is_err() {
                holder.clear();
            }
            let holder = if holder.is_empty() { holder } else { format!(" (process {})", holder.trim()) };
            return Err(OpenError::Locked { path: path.display().to_string(), holder });
        }
        Err(TryLockError::Error(e)) => return Err(failed("locked")(&lock_path, e)),
    }
    let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    note.map_err(|e| failed("written")(&lock_path, e))?;
    Ok(Lock { _file: file })
}

/// Makes the database under another name and moves it into place when it is complete: a kill at any instruction leaves
/// either none or a sound one.
fn create(path: &Path) -> Result<(), OpenError> {
    let draft = PathBuf::from(format!("{}.new", path.display()));
    let io = |source: io::Error| failed("created")(&draft, source);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    // SQLite would create it with the umask; message texts are nobody else's business.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
    let made = || -> Result<(), Error> {
        let mut connection = Connection::open_with_flags(&draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Nobody else knows this file, so it needs no journal, and none can be left behind.
        connection.pragma_update(None, "journal_mode", "MEMORY")?;
        schema::claim(&connection)?;
        schema::upgrade(&mut connection)?;
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

fn failed(action: &'static str) -> impl Fn(&Path, io::Error) -> OpenError {
    move |path, source| match source.kind() {
        io::ErrorKind::PermissionDenied => OpenError::Permission { path: path.display().to_string(), action, source },
        _ => OpenError::Io { path: path.display().to_string(), reason: source.to_string() },
    }
}
