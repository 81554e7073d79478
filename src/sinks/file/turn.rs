//! Whose turn it is to write. Of the handles of one file, such as those before and after a reload, or of two daemons, one
//! writes at a time: repair would take half a write of another for a torn line.
//!
//! The lock is on a file of our own beside it. Whoever may read the file itself could hold a lock on that for ever.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::abilities::Abilities;
use super::open::folder_of;
use crate::ownership::open_own;

/// Longest wait for another handle of ours: more than a write takes, and less than a sink may be deaf.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Of the name of a file, in that of its lock.
const LONGEST_NAME: usize = 200;

const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// The turn to write; it ends when this is dropped.
pub(super) struct Turn(#[expect(dead_code, reason = "closing it gives the lock back")] Option<File>);

impl Turn {
    /// Waits for the turn to write a file, for a few seconds at most. Blocks the thread.
    pub(super) fn at(path: &Path, abilities: &Abilities) -> io::Result<Self> {
        let lock = lock_of(path);
        let file = match open_own(&lock) {
            Ok(file) => file,
            // The folder is not ours to make files in, and the file was given to us.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
            {
                abilities.without_locks(Err(rustix::io::Errno::NOLCK.into()), path)?;
                return Ok(Self(None));
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", lock.display()))),
        };
        let until = Instant::now() + LONGEST_WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(Some(file))),
                Err(TryLockError::Error(error)) => {
                    return abilities.without_locks(Err(error), path).map(|()| Self(None));
                }
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(io::Error::other(format!(
                        "another inboxd writes it, by the lock on {}",
                        lock.display()
                    )));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(BETWEEN_TRIES),
            }
        }
    }
}

fn lock_of(path: &Path) -> PathBuf {
    // No longer than a name may be; files that share a lock for that only wait for each other.
    let name = path.file_name().unwrap_or_default().as_bytes();
    let name = [b".", &name[..name.len().min(LONGEST_NAME)], b".lock"].concat();
    folder_of(path).join(OsStr::from_bytes(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SinkName;

    #[test]
    fn one_handle_writes_at_a_time_and_a_lock_on_the_file_itself_keeps_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, "").unwrap();
        let readers = File::open(&path).unwrap();
        readers.lock_shared().unwrap();
        let abilities = Abilities::of(SinkName::new("archive").unwrap());
        let first = Turn::at(&path, &abilities).unwrap();
        let waits = std::thread::spawn({
            let path = path.clone();
            move || Turn::at(&path, &Abilities::of(SinkName::new("archive").unwrap())).is_ok()
        });
        assert!(open_own(&lock_of(&path)).unwrap().try_lock().is_err());
        drop(first);
        assert!(waits.join().unwrap());
    }
}
