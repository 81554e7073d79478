//! What becomes of closed files: they are gzipped, and removed when they are old. All of it in the background, so that
//! no delivery waits for it.
//!
//! A file is gzipped into a temporary one, which is synced and renamed before the plain file is removed: a death at any
//! point leaves the plain file or the complete `.gz`. Whatever an earlier run has left half-done is done again. The
//! plain file stays locked meanwhile, so that no other handle of ours works at it too.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::abilities::is_no_sync;
use super::names::{ClosedName, Form, half_packed, packed};
use super::open::{BEGINS, folder_of, moment, sync_folder};
use super::{Files, closings};
use crate::time::{UnixMillis, since_boot};

/// Between two looks while no file is closed.
const BETWEEN_LOOKS: Duration = Duration::from_secs(3600);

/// Looks after the closed files of a sink until it is dropped.
pub(super) struct Closed {
    closed: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

struct Keeper {
    files: Files,
    compress: bool,
}

impl Closed {
    /// Looks at once, for what an earlier run has left, and from then on. `None` where nothing is to be done.
    pub(super) fn look_after(files: Files, compress: bool) -> Option<Self> {
        if !compress && files.retention.is_none() {
            return None;
        }
        let closed = Arc::new(Notify::new());
        let keeper = Arc::new(Keeper { files, compress });
        let task = tokio::spawn(keep_looking(keeper, Arc::clone(&closed)));
        Some(Self { closed, _task: AbortOnDropHandle::new(task) })
    }

    /// A file was closed.
    pub(super) fn look(&self) {
        self.closed.notify_one();
    }
}

async fn keep_looking(keeper: Arc<Keeper>, closed: Arc<Notify>) {
    loop {
        let looking = Arc::clone(&keeper);
        // One look after the other: no file is worked at twice.
        let looked = tokio::task::spawn_blocking(move || looking.look(UnixMillis::now(), since_boot())).await;
        if let Ok(Err(error)) = looked {
            tracing::warn!(sink = %keeper.files.sink, class = "storage", %error,
                "the folder of the closed files could not be read; looking again in an hour, or when a file is closed");
        }
        tokio::select! {
            () = closed.notified() => {}
            () = tokio::time::sleep(BETWEEN_LOOKS) => {}
        }
    }
}

impl Keeper {
    /// Removes and compresses what is to be removed and compressed `now`, which is so long after
    /// the boot; what fails is logged and left for the next look.
    fn look(&self, now: UnixMillis, up: Duration) -> io::Result<()> {
        for closed in self.closed_files()? {
            let path = closed.path();
            let done = if self.is_old(&closed, &path, now, up) && is_foreign(&path, closed.form) {
                tracing::warn!(sink = %self.files.sink, path = %path.display(),
                    "a file that is called like a closed one holds something else than events; it is left as it is, move it away");
                continue;
            } else if self.is_old(&closed, &path, now, up) {
                self.remove(&path, "a closed file was removed: it is older than the retention")
            } else {
                match closed.form {
                    Form::Plain if self.compress => self.compress(&closed.plain),
                    Form::HalfPacked if !self.compress || !closed.plain.exists() => {
                        self.remove(&path, "half a compression was removed; no file waits for it")
                    }
                    _ => Ok(()),
                }
            };
            if let Err(error) = done {
                tracing::warn!(sink = %self.files.sink, path = %path.display(), class = "storage", %error,
                    "a closed file could not be compressed or removed; it stays as it is and is tried again in an hour");
            }
        }
        Ok(())
    }

    /// Whether the retention is over, by the younger of what the name says and the last change, and
    /// by the steady clock for what this process has closed itself: a clock that was wrong for a
    /// while makes nothing old.
    fn is_old(&self, closed: &ClosedName, path: &Path, now: UnixMillis, up: Duration) -> bool {
        let Some(retention) = self.files.retention else { return false };
        // A file that cannot be looked at cannot be told to be old.
        let Ok(changed) = fs::symlink_metadata(path).and_then(|found| found.modified()) else { return false };
        now.since(closed.closed_at.max(moment(changed))) > retention
            && !closings::is_within(retention, &closed.plain, up)
    }

    /// The closed files of this sink, the oldest first.
    fn closed_files(&self) -> io::Result<Vec<ClosedName>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder_of(self.files.names.path()))? {
            let entry = entry?;
            files.extend(
                self.files.names.read(&entry.file_name()).filter(|_| entry.file_type().is_ok_and(|t| t.is_file())),
            );
        }
        files.sort_by_key(ClosedName::age);
        Ok(files)
    }

    fn remove(&self, path: &Path, why: &str) -> io::Result<()> {
        fs::remove_file(path)?;
        sync_folder(folder_of(path))?;
        tracing::info!(sink = %self.files.sink, path = %path.display(), "{why}");
        Ok(())
    }

    fn compress(&self, plain: &Path) -> io::Result<()> {
        // For writing too: some network file systems lock no other.
        let mut source = OpenOptions::new().read(true).write(true).open(plain)?;
        if !self.files.abilities.try_lock(&source, plain)? {
            // Another handle of ours is at work on it.
            return Ok(());
        }
        if source.metadata()?.nlink() == 0 {
            return Ok(());
        }
        if !packed(plain).try_exists()? {
            pack(&mut source, plain).inspect_err(|_| drop(fs::remove_file(half_packed(plain))))?;
        } else if !holds_the_same(&packed(plain), &source)? {
            // Not from a compression that a crash has ended just before the removal.
            return Err(io::Error::other("there is a .gz of that name with another content; move one of them away"));
        }
        fs::remove_file(plain)?;
        sync_folder(folder_of(plain))?;
        tracing::info!(sink = %self.files.sink, path = %packed(plain).display(), "a closed file was compressed");
        Ok(())
    }
}

/// Whether a file begins with something else than an event: somebody has called a file of theirs so.
fn is_foreign(path: &Path, form: Form) -> bool {
    let Ok(file) = fs::File::open(path) else { return true };
    let mut begins = Vec::new();
    let length = BEGINS.len() as u64;
    let read = match form {
        Form::Plain => file.take(length).read_to_end(&mut begins),
        Form::Packed => MultiGzDecoder::new(file).take(length).read_to_end(&mut begins),
        // Half of what inboxd itself has made.
        Form::HalfPacked => return false,
    };
    // Damaged, nothing can be told of it.
    read.is_ok() && !begins.is_empty() && begins != BEGINS
}

/// Writes the `.gz` of a file beside it.
fn pack(source: &mut fs::File, plain: &Path) -> io::Result<()> {
    let half = half_packed(plain);
    if let Err(error) = fs::remove_file(&half)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&half)?;
    let mut encoder = GzEncoder::new(target, Compression::default());
    io::copy(source, &mut encoder)?;
    let target = encoder.finish()?;
    target.set_modified(source.metadata()?.modified()?)?;
    match target.sync_all() {
        Err(error) if !is_no_sync(&error) => return Err(error),
        _ => {}
    }
    fs::rename(&half, packed(plain))?;
    sync_folder(folder_of(plain))
}

/// Whether a `.gz` is complete and holds what a file holds.
fn holds_the_same(packed: &Path, plain: &fs::File) -> io::Result<bool> {
    let mut unpacked = BufReader::new(MultiGzDecoder::new(fs::File::open(packed)?));
    let mut plain = BufReader::new(plain);
    loop {
        let expected = plain.fill_buf()?;
        let Ok(found) = unpacked.fill_buf() else { return Ok(false) };
        let length = expected.len().min(found.len());
        if expected[..length] != found[..length] {
            return Ok(false);
        }
        if length == 0 {
            return Ok(expected.len() == found.len());
        }
        plain.consume(length);
        unpacked.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::*;

    const NAME: &str = "events-2026-11-20.jsonl";
    const LONG_AGO: std::time::SystemTime = std::time::UNIX_EPOCH;

    struct Desk {
        folder: tempfile::TempDir,
        keeper: Keeper,
    }

    impl Desk {
        fn new(compress: bool, retention: Option<Duration>) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = Files::new_for_test(&folder.path().join("events.jsonl"), retention);
            Self { folder, keeper: Keeper { files, compress } }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, content: &[u8]) -> fs::File {
            fs::write(self.path(name), content).unwrap();
            fs::File::options().write(true).open(self.path(name)).unwrap()
        }

        fn look(&self, now: &str) -> Vec<String> {
            self.look_at(now, since_boot())
        }

        fn look_at(&self, now: &str, up: Duration) -> Vec<String> {
            self.keeper.look(UnixMillis::parse(now).unwrap(), up).unwrap();
            let entries = fs::read_dir(self.folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn unpacked(&self, name: &str) -> String {
            let mut text = String::new();
            MultiGzDecoder::new(fs::File::open(self.path(name)).unwrap()).read_to_string(&mut text).unwrap();
            text
        }
    }

    fn gz(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_closed_file_becomes_a_gz_with_its_time_and_for_its_owner_alone() {
        let desk = Desk::new(true, None);
        let written = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000);
        desk.write(NAME, &b"{\"a\":1}\n".repeat(10_000)).set_modified(written).unwrap();
        desk.write("events.jsonl", b"open\n");
        desk.write("events-mine.jsonl", b"mine\n");
        let names = desk.look("2026-11-21T00:00:00Z");
        assert_eq!(names, ["events-2026-11-20.jsonl.gz", "events-mine.jsonl", "events.jsonl"]);
        assert_eq!(desk.unpacked("events-2026-11-20.jsonl.gz"), "{\"a\":1}\n".repeat(10_000));
        let metadata = fs::metadata(desk.path("events-2026-11-20.jsonl.gz")).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o777, metadata.modified().unwrap()), (0o600, written));
    }

    #[test]
    fn whatever_a_crash_has_left_is_finished() {
        let desk = Desk::new(true, None);
        // Before the rename; between the rename and the removal; half a file that belongs to nothing.
        desk.write(NAME, b"one\n");
        desk.write("events-2026-11-20.jsonl.gz.tmp", &gz(b"one\n")[..7]);
        desk.write("events-2026-11-19.jsonl", b"two\n");
        desk.write("events-2026-11-19.jsonl.gz", &gz(b"two\n"));
        desk.write("events-2026-11-18.jsonl.gz.tmp", b"");
        let names = desk.look("2026-11-21T00:00:00Z");
        assert_eq!(names, ["events-2026-11-19.jsonl.gz", "events-2026-11-20.jsonl.gz"]);
        assert_eq!(desk.unpacked("events-2026-11-20.jsonl.gz"), "one\n");
    }

    #[test]
    fn a_gz_that_holds_something_else_is_not_replaced_and_the_plain_file_is_kept() {
        for other in [gz(b"other\n"), gz(b"one\nand more\n"), gz(b"on"), gz(b"one\n")[..20].to_vec(), b"no gz".to_vec()]
        {
            let desk = Desk::new(true, None);
            desk.write(NAME, b"one\n");
            desk.write("events-2026-11-20.jsonl.gz", &other);
            assert_eq!(desk.look("2026-11-21T00:00:00Z"), [NAME, "events-2026-11-20.jsonl.gz"]);
            assert_eq!(fs::read(desk.path("events-2026-11-20.jsonl.gz")).unwrap(), other);
        }
    }

    #[test]
    fn a_file_that_another_handle_works_at_is_left_to_it() {
        let desk = Desk::new(true, None);
        let other = desk.write(NAME, b"one\n");
        other.lock().unwrap();
        assert_eq!(desk.look("2026-11-21T00:00:00Z"), [NAME]);
        other.unlock().unwrap();
        assert_eq!(desk.look("2026-11-21T00:00:00Z"), ["events-2026-11-20.jsonl.gz"]);
    }

    #[test]
    fn closed_files_older_than_the_retention_are_removed_and_nothing_else() {
        let desk = Desk::new(false, Some(Duration::from_secs(2 * 86_400)));
        for name in [
            "events-2026-11-18.jsonl",
            "events-2026-11-18.1.jsonl.gz",
            "events-2026-11-18T235959Z.jsonl",
            "events-2026-11-19.jsonl",
            "events-2026-11-18.jsonl.bak",
            "events-2026-11-18.txt",
            "events.jsonl",
        ] {
            desk.write(name, b"{\"specversion\":\"1.0\",\"id\":\"1\"}\n").set_modified(LONG_AGO).unwrap();
        }
        fs::create_dir(desk.path("events-2026-11-17.jsonl")).unwrap();
        // Somebody has called a file of theirs so.
        desk.write("events-2026-11-16.jsonl", b"My notes\n").set_modified(LONG_AGO).unwrap();
        let rest = [
            "events-2026-11-16.jsonl",
            "events-2026-11-17.jsonl",
            "events-2026-11-18.jsonl.bak",
            "events-2026-11-18.txt",
            "events-2026-11-19.jsonl",
            "events.jsonl",
        ];
        assert_eq!(desk.look("2026-11-21T00:00:00Z"), rest);
    }

    #[test]
    fn the_younger_of_name_and_last_change_is_the_age() {
        let at = |text: &str| {
            let millis = UnixMillis::parse(text).unwrap().as_millis().unsigned_abs();
            std::time::UNIX_EPOCH + Duration::from_millis(millis)
        };
        let desk = Desk::new(false, Some(Duration::from_secs(2 * 86_400)));
        // Written while the clock stood in 2020; closed under a day to come; old by both.
        desk.write("events-2020-01-01.jsonl", b"").set_modified(at("2026-11-20T12:00:00Z")).unwrap();
        desk.write("events-2026-11-25.jsonl", b"").set_modified(LONG_AGO).unwrap();
        desk.write("events-2026-11-17.jsonl", b"").set_modified(at("2026-11-17T12:00:00Z")).unwrap();
        let young = ["events-2020-01-01.jsonl", "events-2026-11-25.jsonl"];
        assert_eq!(desk.look("2026-11-21T00:00:00Z"), young);
        assert_eq!(desk.look("2026-11-23T00:00:00Z"), young[1..]);
    }

    #[test]
    fn what_this_process_has_closed_is_kept_for_the_retention_by_the_steady_clock() {
        let retention = Duration::from_secs(2 * 86_400);
        let desk = Desk::new(true, Some(retention));
        let name = "events-2020-01-01.jsonl";
        closings::remember(&desk.path(name));
        desk.write(name, b"").set_modified(LONG_AGO).unwrap();
        let up = since_boot();
        // Whatever the wall clock says, also once it is gzipped, and for another sink after a
        // reload.
        assert_eq!(desk.look_at("2026-11-21T00:00:00Z", up), ["events-2020-01-01.jsonl.gz"]);
        assert_eq!(
            desk.look_at("2099-11-21T00:00:00Z", up + retention - Duration::from_secs(9)),
            ["events-2020-01-01.jsonl.gz"]
        );
        assert_eq!(desk.look_at("2026-11-23T00:00:00Z", up + retention + Duration::from_secs(9)), [""; 0]);
    }
}
