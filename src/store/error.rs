//! What can go wrong with the store, by the decision the caller has to make.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;

/// A failed read or write. A failed write has had no effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another process holds the database for longer than the busy wait; try again.
    #[error("the database is busy")]
    Busy(#[source] Arc<rusqlite::Error>),
    /// The disk is full; try again when there is room.
    #[error("no space left for the database")]
    Full(#[source] Arc<rusqlite::Error>),
    /// The disk failed or went read-only; nothing that follows can be trusted.
    #[error("the database cannot be written or read")]
    Io(#[source] Arc<rusqlite::Error>),
    /// The file is damaged.
    #[error("the database is corrupt")]
    Corrupt(#[source] Arc<rusqlite::Error>),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
    /// Anything else: a broken internal invariant.
    #[error("the database refused a statement")]
    Sql(#[source] Arc<rusqlite::Error>),
}

impl Error {
    /// Whether the same call may succeed later without anybody's help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Full(_))
    }

    /// Whether the connection that saw this error must not be used again: a sync that failed once may report success
    /// the second time although the pages are lost.
    pub(crate) fn spoils_connection(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Io(_) | Self::Corrupt(_))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error_code();
        let error = Arc::new(error);
        match code {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error),
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(
                ErrorCode::SystemIoFailure | ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied,
            ) => Self::Io(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error),
            _ => Self::Sql(error),
        }
    }
}

/// Why a store could not be opened. Nothing on disk has been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on it.
    #[error("{path} is in use by {holder}; stop that one first, or give this one a store.url of its own")]
    Locked {
        /// The database.
        path: String,
        /// `another inboxd (process 123)`.
        holder: String,
    },
    /// It has more names than one, and SQLite would keep a journal for each.
    #[error("{path} is one of {names} names (hard links) of one file; remove the others, or copy the file")]
    Linked {
        /// The database.
        path: String,
        /// How many it has.
        names: u64,
    },
    /// Other users of this machine may write where it lies.
    #[error("{message}")]
    Unsafe {
        /// What is unsafe, and the command that mends it.
        message: String,
    },
    /// Something else is there: a folder, a device, a pipe.
    #[error("{path} is no file but something else; name a file in store.url, such as \"sqlite:inboxd.db\"")]
    NoFile {
        /// What the path leads to.
        path: String,
    },
    /// A process was killed in the middle of a write, which only somebody who may write can undo.
    #[error("{path} was left in the middle of a write ({reason}); start the daemon once, which mends it")]
    Unrecovered {
        /// The database.
        path: String,
        /// SQLite's word.
        reason: String,
    },
    /// It is not ours, or damaged.
    #[error("{path} {problem}; {remedy}")]
    Corrupt {
        /// The database.
        path: String,
        /// What was found.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A later release has upgraded it.
    #[error(
        "{path} has schema {found}, this inboxd knows schemas up to {known}; run the release that upgraded it, or a newer one"
    )]
    Newer {
        /// The database.
        path: String,
        /// Schema number in the file.
        found: i64,
        /// Schema number of this program.
        known: i64,
    },
    /// An earlier release wrote it (only for commands that read: the daemon upgrades it).
    #[error("{path} has schema {found} of an earlier inboxd; start the daemon once, which upgrades it")]
    Older {
        /// The database.
        path: String,
        /// Schema number in the file.
        found: i64,
    },
    /// The folder or the file may not be used by this user.
    #[error(
        "{path} may not be {action} by this user: {source}; check store.url, and the owner and mode of the file and its folder"
    )]
    Permission {
        /// What was touched.
        path: String,
        /// `created`, `opened`.
        action: &'static str,
        /// The system's word.
        source: std::io::Error,
    },
    /// The disk refused.
    #[error("{path} cannot be opened: {reason}; check store.url")]
    Io {
        /// The database.
        path: String,
        /// The system's or SQLite's word.
        reason: String,
    },
    /// There is none yet (only for commands that read).
    #[error(
        "{path} does not exist; start the daemon once, or look at store.url: a relative path is taken from the working folder"
    )]
    Missing {
        /// The database.
        path: String,
    },
}

/// An error met while opening, by what a person can do about it.
pub(super) fn refused(path: &Path, error: Error) -> OpenError {
    let path = path.display().to_string();
    match error {
        Error::Io(source) if source.sqlite_error_code() == Some(ErrorCode::ReadOnly) => {
            OpenError::Unrecovered { path, reason: source.to_string() }
        }
        Error::Busy(_) => OpenError::Locked { path, holder: "another program that writes to it".into() },
        Error::Corrupt(source) => OpenError::Corrupt {
            path,
            problem: format!("is not a sound SQLite database ({source})"),
            remedy: "restore it from a backup, or move it away to start afresh",
        },
        Error::Full(source) | Error::Io(source) | Error::Sql(source) => {
            OpenError::Io { path, reason: source.to_string() }
        }
        Error::Closed => OpenError::Io { path, reason: "the store is closed".into() },
    }
}

/// The system's refusal to do something with a file of ours.
pub(super) fn failed(action: &'static str) -> impl Fn(&Path, std::io::Error) -> OpenError {
    move |path, source| match source.kind() {
        std::io::ErrorKind::PermissionDenied => {
            OpenError::Permission { path: path.display().to_string(), action, source }
        }
        _ => OpenError::Io { path: path.display().to_string(), reason: source.to_string() },
    }
}
