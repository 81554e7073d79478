//! Opening the file: folder, permissions, and the repair of what a crash has left.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;

use super::abilities::{Abilities, is_no_sync};
use super::place::Place;
use crate::model::EVENT_LIMIT;
use crate::ownership::{check_folder, check_own};
use crate::time::UnixMillis;

/// What every event begins with.
pub(super) const BEGINS: &[u8] = b"{\"specversion\":\"1.0\",";

/// A file that is written to.
pub(super) struct Open {
    pub(super) file: fs::File,
    /// When what is in it was written: for a file found with content, when it was last written to before; for one that
    /// was empty, the first write since. `None` while it is empty.
    pub(super) written_at: Option<UnixMillis>,
    /// When we have written to it last, by the time since boot.
    pub(super) last_write: Option<Duration>,
}

impl Open {
    /// Whether it is the file at this path, or another one is there now.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let place = |found: fs::Metadata| (found.dev(), found.ino());
        let (ours, there) = (self.file.metadata().map(place), fs::metadata(path).map(place));
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// Opens the file, made where it is missing, and repairs its end. To be called when it is our turn.
pub(super) fn open(path: &Path, abilities: &Abilities) -> io::Result<Open> {
    let folder = folder_of(path);
    // Before the opening, which some devices take for an order.
    if Place::of(path) != Place::File {
        return Err(no_file());
    }
    let mut file = open_or_make(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(no_file());
    }
    let mut written_at = None;
    if found.len() == 0 {
        // It may be new, and events in a file that a power cut makes vanish are lost.
        sync_folder(folder)?;
    } else {
        // Looked at before the repair, which is a write too.
        written_at = Some(moment(found.modified()?));
    }
    let repaired = repair(&mut file).and_then(|changed| if changed { abilities.sync(&file, path) } else { Ok(()) });
    repaired?;
    Ok(Open { file, written_at, last_write: None })
}

/// Where others may make files, what is there may be theirs, to read what we write or to have another file written to: so
/// no link is followed there, and a file of another user is refused.
fn open_or_make(path: &Path) -> io::Result<fs::File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    if check_folder(folder_of(path)).is_ok() {
        return options.open(path);
    }
    let no_follow = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let file = options.custom_flags(no_follow).open(path)?;
    check_own(&file.metadata()?, &fs::metadata(folder_of(path))?)?;
    Ok(file)
}

/// Makes the folder of a path where it is missing.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder_of(path))
}

/// Somebody has put something else in its place since the start.
fn no_file() -> io::Error {
    io::Error::other("it is no file any more")
}

/// The folder that a path lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes creations, renames and removals in a folder last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match fs::File::open(folder)?.sync_all() {
        // Some network file systems cannot sync a folder and need not.
        Err(error) if is_no_sync(&error) => Ok(()),
        synced => synced,
    }
}

/// A time of the file system.
pub(super) fn moment(time: std::time::SystemTime) -> UnixMillis {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixMillis::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Removes a last line that a crash left torn: its event was not recorded as delivered and comes
/// again, whole. A tail that is not the start of one of our events is somebody else's and is only
/// closed with a line break. Says whether anything was to be done.
fn repair(file: &mut fs::File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let window = length.min(EVENT_LIMIT as u64 + 1);
    file.seek(SeekFrom::Start(length - window))?;
    let mut tail = Vec::with_capacity(EVENT_LIMIT + 1);
    file.take(window).read_to_end(&mut tail)?;
    let line_start = tail.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let torn = &tail[line_start..];
    if torn.is_empty() {
        return Ok(false);
    }
    let begins_like_ours = torn.starts_with(BEGINS) || BEGINS.starts_with(torn);
    if begins_like_ours && serde_json::from_slice::<serde::de::IgnoredAny>(torn).is_err() {
        file.set_len(length - torn.len() as u64)?;
    } else {
        file.write_all(b"\n")?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SinkName;

    fn abilities() -> Abilities {
        Abilities::of(SinkName::new("archive").unwrap())
    }

    fn repaired(before: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, before).unwrap();
        make_folder(&path).unwrap();
        open(&path, &abilities()).unwrap();
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_torn_last_line_of_ours_is_removed_and_any_other_tail_is_kept() {
        let whole = "{\"specversion\":\"1.0\",\"id\":\"a\"}\n";
        assert_eq!(repaired(whole), whole);
        assert_eq!(repaired(&format!("{whole}{{\"specversion\":\"1.0\",\"id\":\"b")), whole);
        assert_eq!(repaired(&format!("{whole}{{\"spec")), whole);
        assert_eq!(repaired(whole.trim_end()), whole, "a whole event only lacks its line break");
        assert_eq!(repaired("notes of mine"), "notes of mine\n");
        assert_eq!(repaired(""), "");
    }

    #[test]
    fn files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/events.jsonl");
        make_folder(&path).unwrap();
        open(&path, &abilities()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
