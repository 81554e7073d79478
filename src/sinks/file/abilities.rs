//! What a file system may be unable to do. Network file systems and those of virtual machines lack
//! locks, and some lack syncing: that is said once and gone on without, for the events are worth
//! more than either.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use crate::model::SinkName;

/// Locks and syncs the files of a sink, as far as their file system can.
#[derive(Debug)]
pub(super) struct Abilities {
    sink: SinkName,
    told_of_locks: AtomicBool,
    told_of_syncs: AtomicBool,
}

impl Abilities {
    pub(super) fn of(sink: SinkName) -> Self {
        Self { sink, told_of_locks: AtomicBool::new(false), told_of_syncs: AtomicBool::new(false) }
    }

    /// Keeps other handles of ours from the file until it is unlocked or closed, where none of them holds it; says whether
    /// that is so. Nobody waits for it: whoever may read the file may hold it too.
    pub(super) fn try_lock(&self, file: &File, path: &Path) -> io::Result<bool> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => self.without_locks(Err(error), path).map(|()| true),
        }
    }

    pub(super) fn unlock(&self, file: &File, path: &Path) -> io::Result<()> {
        self.without_locks(file.unlock(), path)
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        match file.sync_data() {
            Err(error) if is_no_sync(&error) => {
                if !self.told_of_syncs.swap(true, Ordering::Relaxed) {
                    tracing::warn!(sink = %self.sink, path = %path.display(), class = "storage", %error,
                        "the file system cannot sync files: events count as delivered once they are written, and a power \
                         cut may lose the last of them");
                }
                Ok(())
            }
            synced => synced,
        }
    }

    pub(super) fn without_locks(&self, locked: io::Result<()>, path: &Path) -> io::Result<()> {
        match locked {
            Err(error) if is_no_lock(&error) => {
                if !self.told_of_locks.swap(true, Ordering::Relaxed) {
                    tracing::warn!(sink = %self.sink, path = %path.display(), class = "storage", %error,
                        "the file system does not lock files; going on without: let no second inboxd write this file");
                }
                Ok(())
            }
            locked => locked,
        }
    }
}

/// The file system has no locks: NFS without its lock daemon (ENOLCK), FUSE, 9p, Lustre and others
/// (the rest).
fn is_no_lock(error: &io::Error) -> bool {
    let lacks = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

/// The file system has no syncing.
pub(super) fn is_no_sync(error: &io::Error) -> bool {
    let lacks = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|errno| lacks.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abilities() -> Abilities {
        Abilities::of(SinkName::new("archive").unwrap())
    }

    fn refusal(errno: Errno) -> io::Result<()> {
        Err(errno.into())
    }

    #[test]
    fn a_lock_that_is_not_supported_is_gone_on_without_and_any_other_refusal_is_told() {
        for errno in [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTTY] {
            let abilities = abilities();
            assert!(abilities.without_locks(refusal(errno), "x".as_ref()).is_ok(), "{errno}");
            assert!(abilities.told_of_locks.load(Ordering::Relaxed));
        }
        for errno in [Errno::BADF, Errno::IO, Errno::ACCESS, Errno::STALE, Errno::INTR] {
            assert!(abilities().without_locks(refusal(errno), "x".as_ref()).is_err(), "{errno}");
        }
    }

    #[test]
    fn a_sync_that_is_not_supported_is_told_from_one_that_has_failed() {
        assert!([Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP].iter().all(|errno| is_no_sync(&(*errno).into())));
        assert!([Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS].iter().all(|errno| !is_no_sync(&(*errno).into())));
    }

    #[test]
    fn what_cannot_be_synced_at_all_counts_as_written_once_said() {
        let (reader, writer) = io::pipe().unwrap();
        let abilities = abilities();
        abilities.sync(&File::from(std::os::fd::OwnedFd::from(writer)), "pipe".as_ref()).unwrap();
        assert!(abilities.told_of_syncs.load(Ordering::Relaxed));
        drop(reader);
    }

    #[test]
    fn one_handle_holds_a_lock_at_a_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (abilities, other) = (abilities(), File::open(file.path()).unwrap());
        assert!(abilities.try_lock(file.as_file(), file.path()).unwrap());
        assert!(!abilities.try_lock(&other, file.path()).unwrap());
        abilities.unlock(file.as_file(), file.path()).unwrap();
        assert!(abilities.try_lock(&other, file.path()).unwrap());
        assert!(!abilities.told_of_locks.load(Ordering::Relaxed));
    }
}
