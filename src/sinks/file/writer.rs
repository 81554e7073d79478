//! Writing to the file, and closing it when it is time for the next.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::names::packed;
use super::open::{Open, make_folder, moment, open};
use super::rotation::Rotate;
use super::turn::Turn;
use super::{Files, closings};
use crate::time::{UnixMillis, since_boot};

/// A rotation that fails is tried with every hand-over and warned of this often.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(600);

/// The clocks of file systems are coarse, and some are of another machine.
const CLOCK_JITTER: Duration = Duration::from_secs(60);

/// Writes to one file after the other.
pub(super) struct Writer {
    files: Files,
    rotate: Rotate,
    /// `None` after a failure: the next write opens and repairs the file anew.
    open: Option<Open>,
    warned_at: Option<Instant>,
}

/// What came of a hand-over.
#[derive(Debug)]
pub(super) struct Written {
    /// So many lines, from the first on, are on disk for good.
    pub(super) count: usize,
    /// Why the next one is not.
    pub(super) failure: Option<io::Error>,
    /// A file was closed.
    pub(super) rotated: bool,
}

impl Writer {
    /// Opens the file. Where that fails, the first write tries again, and so do those after it.
    pub(super) fn new(files: Files, rotate: Rotate) -> (Self, io::Result<()>) {
        let mut writer = Self { files, rotate, open: None, warned_at: None };
        let opened = writer.turn().and_then(|_turn| {
            writer.open = Some(writer.opened()?);
            Ok(())
        });
        (writer, opened)
    }

    fn turn(&self) -> io::Result<Turn> {
        make_folder(self.files.names.path())?;
        Turn::at(self.files.names.path(), &self.files.abilities)
    }

    fn opened(&self) -> io::Result<Open> {
        open(self.files.names.path(), &self.files.abilities)
    }

    /// Opens the file afresh with the next write.
    pub(super) fn let_go(&mut self) {
        self.open = None;
    }

    /// Writes and syncs `lines`, each with its line break, in order. They may be split over several files, a line never;
    /// of one that is not counted nothing stays.
    pub(super) fn write(&mut self, lines: &[String], now: UnixMillis) -> Written {
        let mut written = Written { count: 0, failure: None, rotated: false };
        let _turn = match self.turn() {
            Ok(turn) => turn,
            Err(error) => return Written { failure: Some(error), ..written },
        };
        while written.count < lines.len() && written.failure.is_none() {
            match self.write_into_one(&lines[written.count..], now, &mut written.rotated) {
                Ok(count) => written.count += count,
                Err(error) => written.failure = Some(error),
            }
        }
        written
    }

    /// Writes as many lines as belong into one file, after closing the last one where that is due.
    fn write_into_one(&mut self, lines: &[String], now: UnixMillis, rotated: &mut bool) -> io::Result<usize> {
        let mut open = self.taken()?;
        let written_at = open.written_at.unwrap_or(now);
        if self.rotate.is_due(open.length()?, written_at, lines[0].len(), now) {
            if let Err(error) = self.close(&open, &self.rotate.stamp(written_at, now), now) {
                self.warn(&error);
                return self.append(open, lines, now);
            }
            *rotated = true;
            self.warned_at = None;
            drop(open);
            open = self.taken()?;
        }
        let count = self.rotate.fitting(open.length()?, lines.iter().map(String::len));
        self.append(open, &lines[..count], now)
    }

    /// The open file; opened again where it was let go of, or removed by somebody.
    fn taken(&mut self) -> io::Result<Open> {
        let path = self.files.names.path();
        if let Some(open) = self.open.take() {
            // A closed file is locked while it is compressed, which would miss this write.
            let is_left_alone = self.files.abilities.try_lock(&open.file, path)? || open.is_at(path);
            if is_left_alone && open.file.metadata()?.nlink() > 0 {
                return Ok(open);
            }
        }
        let open = self.opened()?;
        self.files.abilities.try_lock(&open.file, path)?;
        Ok(open)
    }

    /// Appends and syncs; on an error nothing of `lines` stays in the file.
    fn append(&mut self, mut open: Open, lines: &[String], now: UnixMillis) -> io::Result<usize> {
        let before = open.length()?;
        let (path, abilities) = (self.files.names.path(), &self.files.abilities);
        let written = open.file.write_all(lines.concat().as_bytes()).and_then(|()| abilities.sync(&open.file, path));
        if let Err(error) = written {
            // A sync that failed is never repeated on the same handle: the next write opens and repairs the file anew.
            if let Err(undo) = open.file.set_len(before) {
                tracing::warn!(sink = %self.files.sink, path = %path.display(), error = %undo,
                    "half a write could not be undone; the next open repairs it");
            }
            return Err(error);
        }
        abilities.unlock(&open.file, path)?;
        open.written_at = open.written_at.or(Some(now));
        open.last_write = Some(since_boot());
        self.open = Some(open);
        Ok(lines.len())
    }

    /// Gives the file the name of a closed one. One that somebody has moved away meanwhile is closed as it is.
    fn close(&self, open: &Open, stamp: &str, now: UnixMillis) -> io::Result<()> {
        let path = self.files.names.path();
        let there = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            there => there?,
        };
        if there.is_symlink() {
            return Err(io::Error::other("it is a symbolic link; name the file itself"));
        }
        let ours = open.file.metadata()?;
        if !open.is_at(path) {
            return Ok(());
        }
        put_right(open, &ours, now);
        let closed = (0..).map(|number| self.files.names.closed(stamp, number));
        let is_free = |path: &Path| fs::symlink_metadata(path).is_err();
        // What this process has closed before under a taken name stays remembered.
        for closed in closed.filter(|closed| is_free(&packed(closed)) && is_free(closed)) {
            if self.files.retention.is_some() {
                closings::remember(&closed);
            }
            let renamed = rename_to_free(path, &closed).inspect_err(|_| closings::forget(&closed));
            match renamed {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    tracing::info!(sink = %self.files.sink, path = %closed.display(), "the file was closed; a new one is begun");
                    // The folder is synced when the new file is opened.
                    return Ok(());
                }
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn warn(&mut self, error: &io::Error) {
        if self.warned_at.is_none_or(|at| at.elapsed() >= BETWEEN_WARNINGS) {
            self.warned_at = Some(Instant::now());
            tracing::warn!(sink = %self.files.sink, path = %self.files.names.path().display(), class = "storage", %error,
                "the file could not be closed and is written on; closing it is tried again with the next events");
        }
    }
}

/// Where the wall clock was set since the last write, the file bears a time of the wrong clock, and
/// would be old at once by the right one. What cannot be put right is left to what this process
/// remembers.
fn put_right(open: &Open, found: &fs::Metadata, now: UnixMillis) {
    let Some(last_write) = open.last_write else { return };
    let written = now - since_boot().saturating_sub(last_write);
    let stamped = found.modified().map_or(written, moment);
    if written.since(stamped) > CLOCK_JITTER
        && let Ok(millis) = u64::try_from(written.as_millis())
    {
        drop(open.file.set_modified(UNIX_EPOCH + Duration::from_millis(millis)));
    }
}

/// Renames and never replaces: `AlreadyExists` where the name is taken.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not know this kind of rename. Nobody else makes such names.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => match fs::symlink_metadata(to) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        },
        renamed => renamed.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder with a writer to `events.jsonl` in it.
    struct Desk {
        folder: tempfile::TempDir,
        writer: Writer,
    }

    fn opened(files: Files, rotate: Rotate) -> Writer {
        let (writer, opened) = Writer::new(files, rotate);
        opened.unwrap();
        writer
    }

    impl Desk {
        fn with(name: &str, rotate: Rotate) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let writer = Self::writer(&folder.path().join(name), rotate);
            Self { folder, writer }
        }

        fn new(rotate: Rotate) -> Self {
            Self::with("events.jsonl", rotate)
        }

        fn writer(path: &Path, rotate: Rotate) -> Writer {
            opened(Files::new_for_test(path, None), rotate)
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&mut self, lines: &[&str], now: &str) -> Written {
            let lines: Vec<_> = lines.iter().map(|line| format!("{line}\n")).collect();
            let written = self.writer.write(&lines, UnixMillis::parse(now).unwrap());
            assert!(written.failure.is_none() && written.count == lines.len(), "{written:?}");
            written
        }

        /// Every file and its lines, by name.
        fn files(&self) -> Vec<(String, String)> {
            let read = |entry: io::Result<fs::DirEntry>| {
                let entry = entry.unwrap();
                let lines = fs::read_to_string(entry.path()).unwrap().lines().collect::<Vec<_>>().join(" ");
                (entry.file_name().into_string().unwrap(), lines)
            };
            let files = fs::read_dir(self.folder.path()).unwrap().map(read);
            let mut files: Vec<_> = files.filter(|(name, _)| !name.starts_with('.')).collect();
            files.sort();
            files
        }

        fn assert_files(&self, expected: &[(&str, &str)]) {
            let files = self.files();
            let files: Vec<_> = files.iter().map(|(name, lines)| (name.as_str(), lines.as_str())).collect();
            assert_eq!(files, expected);
        }
    }

    #[test]
    fn a_file_of_yesterday_is_closed_under_its_day_before_the_first_write_of_today() {
        let mut desk = Desk::new(Rotate::Daily);
        desk.write(&["a"], "2026-11-20T23:59:59.999Z");
        desk.write(&["b"], "2026-11-20T23:59:59.999Z");
        assert!(desk.write(&["c", "d"], "2026-11-21T00:00:00Z").rotated);
        desk.write(&["e"], "2026-11-23T12:00:00Z");
        desk.assert_files(&[
            ("events-2026-11-20.jsonl", "a b"),
            ("events-2026-11-21.jsonl", "c d"),
            ("events.jsonl", "e"),
        ]);
    }

    #[test]
    fn after_a_restart_the_last_write_tells_the_day_even_when_a_torn_line_is_repaired() {
        let desk = Desk::new(Rotate::Daily);
        fs::write(desk.path("events.jsonl"), "{}\n{\"specversion\":\"1.0\",\"id\":\"ev").unwrap();
        let file = fs::File::options().write(true).open(desk.path("events.jsonl")).unwrap();
        let last_write = UnixMillis::parse("2026-11-18T10:00:00Z").unwrap();
        let since = Duration::from_millis(last_write.as_millis().unsigned_abs());
        file.set_modified(std::time::UNIX_EPOCH + since).unwrap();
        let writer = Desk::writer(&desk.path("events.jsonl"), Rotate::Daily);
        let mut desk = Desk { writer, ..desk };
        desk.write(&["a"], "2026-11-21T00:00:00Z");
        desk.assert_files(&[("events-2026-11-18.jsonl", "{}"), ("events.jsonl", "a")]);
    }

    #[test]
    fn a_batch_is_split_at_the_limit_between_two_lines_and_nothing_is_overwritten() {
        let mut desk = Desk::new(Rotate::Size(6));
        fs::write(desk.path("events-2026-11-20T091403Z.jsonl.gz"), "theirs").unwrap();
        fs::write(desk.path("events-2026-11-20T091403Z.2.jsonl"), "theirs").unwrap();
        desk.write(&["a", "b", "c", "d", "longer than a file", "e", "f"], "2026-11-20T09:14:03.512Z");
        desk.assert_files(&[
            ("events-2026-11-20T091403Z.1.jsonl", "a b c"),
            ("events-2026-11-20T091403Z.2.jsonl", "theirs"),
            ("events-2026-11-20T091403Z.3.jsonl", "d"),
            ("events-2026-11-20T091403Z.4.jsonl", "longer than a file"),
            ("events-2026-11-20T091403Z.jsonl.gz", "theirs"),
            ("events.jsonl", "e f"),
        ]);
    }

    #[test]
    fn a_rotation_that_is_refused_loses_and_holds_nothing() {
        // So long that the name of a closed file is longer than any file system takes.
        let name = "n".repeat(250);
        let mut desk = Desk::with(&name, Rotate::Size(6));
        for line in ["a", "b", "c", "d", "e"] {
            assert!(!desk.write(&[line], "2026-11-20T09:14:03Z").rotated);
        }
        desk.write(&["f", "g"], "2026-11-20T09:14:03Z");
        desk.assert_files(&[(&name, "a b c d e f g")]);
        assert!(desk.writer.warned_at.is_some());
    }

    #[test]
    fn a_link_is_written_to_and_never_renamed() {
        let desk = Desk::new(Rotate::Never);
        std::os::unix::fs::symlink("events.jsonl", desk.path("link.jsonl")).unwrap();
        let mut desk = Desk { writer: Desk::writer(&desk.path("link.jsonl"), Rotate::Size(2)), ..desk };
        desk.write(&["a"], "2026-11-20T09:14:03Z");
        desk.write(&["b"], "2026-11-20T09:14:03Z");
        desk.assert_files(&[("events.jsonl", "a b"), ("link.jsonl", "a b")]);
    }

    #[test]
    fn a_file_that_was_moved_away_is_written_on_until_it_is_let_go_of_or_due() {
        let mut desk = Desk::new(Rotate::Size(6));
        desk.write(&["a"], "2026-11-20T09:14:03Z");
        fs::rename(desk.path("events.jsonl"), desk.path("moved.jsonl")).unwrap();
        desk.write(&["b"], "2026-11-20T09:14:03Z");
        desk.writer.let_go();
        desk.write(&["c", "d", "e"], "2026-11-20T09:14:03Z");
        fs::rename(desk.path("events.jsonl"), desk.path("moved too.jsonl")).unwrap();
        fs::write(desk.path("events.jsonl"), "theirs\n").unwrap();
        desk.write(&["f"], "2026-11-20T09:14:03Z");
        desk.assert_files(&[("events.jsonl", "theirs f"), ("moved too.jsonl", "c d e"), ("moved.jsonl", "a b")]);
    }

    #[test]
    fn a_file_that_was_removed_is_begun_anew() {
        let mut desk = Desk::new(Rotate::Never);
        desk.write(&["a"], "2026-11-20T09:14:03Z");
        fs::remove_file(desk.path("events.jsonl")).unwrap();
        desk.write(&["b"], "2026-11-20T09:14:03Z");
        desk.assert_files(&[("events.jsonl", "b")]);
    }

    #[test]
    fn a_file_written_by_a_wrong_clock_is_closed_with_the_time_of_the_right_one() {
        let mut desk = Desk::new(Rotate::Daily);
        desk.write(&["a"], "2020-01-01T00:00:10Z");
        let file = fs::File::options().write(true).open(desk.path("events.jsonl")).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_577_836_810)).unwrap();
        let closed =
            |desk: &Desk| fs::metadata(desk.path("events-2020-01-01.jsonl")).map(|m| moment(m.modified().unwrap()));
        desk.write(&["b"], "2026-11-21T00:00:00Z");
        let (at, right) = (closed(&desk).unwrap(), UnixMillis::parse("2026-11-21T00:00:00Z").unwrap());
        assert!(right.since(at) < Duration::from_secs(60), "{at}");
        assert!(at.since(right) < Duration::from_secs(60), "{at}");
    }

    #[test]
    fn what_is_closed_is_remembered_where_old_files_are_removed() {
        for retention in [None, Some(Duration::from_secs(7200))] {
            let mut desk = Desk::new(Rotate::Daily);
            let files = Files::new_for_test(&desk.path("events.jsonl"), retention);
            desk.writer = opened(files, Rotate::Daily);
            desk.write(&["a"], "2020-01-01T00:00:10Z");
            desk.write(&["b"], "2026-11-21T00:00:00Z");
            let closed = fs::read_dir(desk.folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let is_closed = |path: &PathBuf| path.to_string_lossy().contains("events-");
            let closed = closed.into_iter().find(is_closed).unwrap();
            let kept = closings::is_within(Duration::from_secs(7200), &closed, since_boot());
            assert_eq!(kept, retention.is_some(), "{}", closed.display());
        }
    }
}
