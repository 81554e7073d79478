//! The exclusive right to a database.
//!
//! # Locking
//!
//! One process per database, by whatever name it is called. Two `flock`s are taken before SQLite
//! opens anything, and held for life:
//!
//! - on a lock file beside the file that the path leads to: it is there before the database is;
//! - on the database file itself: a bind mount shows one file in two folders, and then only the
//!   file knows.
//!
//! The second one is a descriptor of the database file, and closing any of those would drop
//! SQLite's own POSIX locks on it. So it is closed last, after SQLite's.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::{OpenError, failed};
use crate::ownership::{Strangers, check_folder, open_own};

/// As many links after each other as Linux follows.
const MOST_LINKS: usize = 40;

/// The file that a path leads to, through symbolic links; it need not exist yet, and neither need
/// the folders above it.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => {
                // What is no link, and what is not there, is where its folder is.
                let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
                let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
                return match fs::canonicalize(folder) {
                    Ok(folder) => Ok(folder.join(name)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(&path),
                    Err(error) => Err(error),
                };
            }
        }
    }
    Err(io::Error::other("more symbolic links after each other than the system follows"))
}

/// Whom we trust beside ourselves with what lies in the folder of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Nobody,
    /// Whoever may make files there.
    WhoeverWrites,
}

/// The exclusive right to a database; given back when dropped, and by the system when the process
/// dies.
pub(super) struct Lock {
    _beside: File,
    _database: Option<File>,
}

impl Lock {
    /// Takes the lock beside the database, whose folder is made where it is missing.
    pub(super) fn beside(database: &Path) -> Result<Self, OpenError> {
        let path = PathBuf::from(format!("{}.lock", database.display()));
        if let Some(folder) = database.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|e| failed("created")(folder, e))?;
        }
        // Another user could have put it there before: a link to a file that is to be emptied.
        let mut file = open_own(&path).map_err(|e| failed("opened")(&path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = format!("another inboxd{}", holder(&mut file));
                return Err(OpenError::Locked { path: database.display().to_string(), holder });
            }
            Err(TryLockError::Error(e)) => return Err(failed("locked")(&path, e)),
        }
        let note = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        note.map_err(|e| failed("written")(&path, e))?;
        Ok(Self { _beside: file, _database: None })
    }

    /// Takes the lock on the database itself. A file with a second name is refused: SQLite keeps
    /// its journals beside the name, and two names would have two.
    pub(super) fn hold(&mut self, database: &Path, trust: Trust) -> Result<(), OpenError> {
        let file = OpenOptions::new().read(true).write(true).open(database);
        let file = file.map_err(|e| failed("opened")(database, e))?;
        if !is_on_a_network(&file) {
            lock_itself(&file, database)?;
        }
        let metadata = file.metadata().map_err(|e| failed("opened")(database, e))?;
        if trust == Trust::Nobody {
            check_file(&metadata, database)?;
        }
        if metadata.nlink() > 1 {
            return Err(OpenError::Linked { path: database.display().to_string(), names: metadata.nlink() });
        }
        self._database = Some(file);
        Ok(())
    }
}

/// Refuses a state folder in which others may make files. What they make there would be taken for ours.
pub(super) fn check_folder_of(database: &Path) -> Result<(), OpenError> {
    let folder = database.parent().unwrap_or(Path::new(""));
    check_folder(folder).map_err(|refused| {
        let message = format!(
            "{refused}; where nobody else can reach it, as in a container with a volume of its own, store.trust_folder = true"
        );
        OpenError::Unsafe { message }
    })
}

/// What a start would refuse about the folder of a database.
pub fn folder_problem(database: &Path) -> Option<String> {
    let folder = database.parent().unwrap_or(Path::new(""));
    // Whoever checks as root for a service sees the folder of the service's user.
    let is_another = fs::metadata(folder).is_ok_and(|found| found.uid() != rustix::process::geteuid().as_raw());
    if is_another && rustix::process::geteuid().is_root() {
        return None;
    }
    check_folder_of(database).err().map(|refused| refused.to_string())
}

/// Refuses a database that others may write, and warns of one that they may read.
fn check_file(found: &fs::Metadata, database: &Path) -> Result<(), OpenError> {
    let strangers = Strangers::of(found);
    if let Some(problem) = strangers.may_have_written(database) {
        return Err(OpenError::Unsafe { message: format!("{} {problem}", database.display()) });
    }
    if strangers == Strangers::Read {
        let path = database.display();
        tracing::warn!(
            class = "config",
            "{path} is readable by every user of this machine, with all messages in it; run: chmod 600 {path}"
        );
    }
    Ok(())
}

fn lock_itself(file: &File, database: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked {
                path: database.display().to_string(),
                holder: "another inboxd by another name of the file".into(),
            });
        }
        // Some file systems know no locks; the one beside the database was there to be had.
        Err(TryLockError::Error(error)) => {
            tracing::warn!(%error, path = %database.display(),
                    "the database file itself cannot be locked; the lock beside it holds");
        }
    }
    Ok(())
}

/// Whether the file is on a file system that makes a `flock` a POSIX lock of the whole file, as NFS and SMB do: it would
/// stand in the way of SQLite's own.
fn is_on_a_network(file: &File) -> bool {
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0x517B;
    const CIFS: i64 = 0xFF53_4D42;
    const SMB2: i64 = 0xFE53_4D42;
    // How wide the number is differs from machine to machine.
    let is = |kind: i64, stat: &rustix::fs::StatFs| i128::from(stat.f_type) == i128::from(kind);
    rustix::fs::fstatfs(file).is_ok_and(|stat| [NFS, SMB, CIFS, SMB2].into_iter().any(|kind| is(kind, &stat)))
}

/// `" (process 123)"` where the lock file says so; the message is useful without it too.
fn holder(lock: &mut File) -> String {
    let mut holder = String::new();
    match lock.take(32).read_to_string(&mut holder).map(|_| holder.trim().parse::<u32>()) {
        Ok(Ok(process)) => format!(" (process {process})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_leads_to_one_file_through_links_whether_it_exists_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        fs::create_dir(folder.join("new")).unwrap();
        symlink("new", folder.join("old")).unwrap();
        symlink("old/inboxd.db", folder.join("link.db")).unwrap();
        let real = folder.join("new/inboxd.db");
        for _ in ["missing", "there"] {
            for name in ["new/inboxd.db", "old/inboxd.db", "link.db", "./new/../old/inboxd.db"] {
                assert_eq!(resolved(&folder.join(name)).unwrap(), real, "{name}");
            }
            fs::write(&real, "").unwrap();
        }
        symlink("loop.db", folder.join("loop.db")).unwrap();
        assert!(resolved(&folder.join("loop.db")).is_err());
        assert_eq!(resolved(&folder.join("no/such/folder.db")).unwrap(), folder.join("no/such/folder.db"));
    }

    #[test]
    fn the_lock_belongs_to_the_file_and_not_to_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one.db", "other.db"].map(|name| folder.path().join(name));
        fs::write(&one, "").unwrap();
        let mut first = Lock::beside(&one).unwrap();
        first.hold(&one, Trust::Nobody).unwrap();
        assert!(matches!(Lock::beside(&one), Err(OpenError::Locked { .. })));
        fs::hard_link(&one, &other).unwrap();
        let mut second = Lock::beside(&other).unwrap();
        assert!(matches!(second.hold(&other, Trust::Nobody), Err(OpenError::Locked { .. })));
        drop(first);
        assert!(matches!(second.hold(&other, Trust::Nobody), Err(OpenError::Linked { names: 2, .. })));
        fs::remove_file(&one).unwrap();
        second.hold(&other, Trust::Nobody).unwrap();
    }
}
