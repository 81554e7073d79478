//! Erasing events from the files of a sink: the open one and the closed ones, gzipped or not.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use serde::Deserialize;

use super::Files;
use super::names::Form;
use super::open::{folder_of, sync_folder};
use super::turn::Turn;
use crate::model::EVENT_LIMIT;
use crate::ownership::{check_folder, check_own};

/// A file that is compressed is let go of then; all of them together.
const LONGEST_COMPRESSION: Duration = Duration::from_secs(5);

/// Which events: those of a conversation, or of one of its messages.
#[derive(Clone, Debug)]
pub struct Erasure {
    /// Name of the account.
    pub account: String,
    /// The conversation's id in events.
    pub conversation: String,
    /// The message's id; `None`: all of them.
    pub message: Option<String>,
}

/// As much of an event as tells whose it is.
#[derive(Deserialize)]
struct Event {
    subject: Option<String>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    account: Option<String>,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
}

impl Erasure {
    fn means(&self, line: &str) -> bool {
        let Ok(event) = serde_json::from_str::<Event>(line) else { return false };
        event.data.account.as_deref() == Some(&self.account)
            && event.subject.as_deref() == Some(&self.conversation)
            && match (&self.message, &event.data.message) {
                (None, _) => true,
                (Some(wanted), Some(message)) => message.id == *wanted,
                (Some(_), None) => false,
            }
    }
}

/// Erases from all files of a sink; returns how many lines are gone. Blocks the thread.
pub(super) fn erase(files: &Files, erasure: &Erasure) -> io::Result<u64> {
    let path = files.names.path();
    if !folder_of(path).exists() {
        return Ok(0);
    }
    let _turn = Turn::at(path, &files.abilities)?;
    let until = Instant::now() + LONGEST_COMPRESSION;
    let mut gone = 0;
    // What is being compressed changes its name meanwhile, and no file is closed while it is our turn.
    while !erase_once(files, erasure, until, &mut gone)? {}
    Ok(gone)
}

/// Looks at every file once; false where one had another name when it could be looked at.
fn erase_once(files: &Files, erasure: &Erasure, until: Instant, gone: &mut u64) -> io::Result<bool> {
    let (path, mut is_complete) = (files.names.path(), true);
    for entry in fs::read_dir(folder_of(path))? {
        let entry = entry?;
        let closed = files.names.read(&entry.file_name());
        let packed = match &closed {
            _ if entry.path().file_name() == path.file_name() => false,
            Some(closed) => closed.form != Form::Plain,
            None => continue,
        };
        // Half a compression is done again from the plain file.
        if closed.is_some_and(|closed| closed.form == Form::HalfPacked) || !entry.file_type()?.is_file() {
            continue;
        }
        match held(&entry.path(), until) {
            Ok(Some(file)) => *gone += rewrite(&entry.path(), &file, packed, erasure)?,
            Ok(None) => is_complete = false,
            Err(error) if error.kind() == io::ErrorKind::Other => {
                tracing::warn!(sink = %files.sink, path = %entry.path().display(), %error,
                    "a file that is called like one of the sink's is not ours, and nothing was erased from it");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(is_complete)
}

/// Puts a file without these events in the place of one that has some of them. Everything is read of the file that is held:
/// what is at the path may be another one by then.
fn rewrite(path: &Path, file: &fs::File, packed: bool, erasure: &Erasure) -> io::Result<u64> {
    let read = || -> io::Result<Box<dyn BufRead>> {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(if packed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(BufReader::new(file)) })
    };
    let gone = sift(read()?, &mut io::sink(), erasure)?;
    if gone == 0 {
        return Ok(0);
    }
    let found = file.metadata()?;
    let draft = PathBuf::from(format!("{}.erasing", path.display()));
    drop(fs::remove_file(&draft));
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    if found.uid() == rustix::process::geteuid().as_raw() {
        to.set_permissions(found.permissions())?;
    }
    let to = if packed {
        let mut encoder = GzEncoder::new(to, Compression::default());
        sift(read()?, &mut encoder, erasure)?;
        encoder.finish()?
    } else {
        let mut to = io::BufWriter::new(to);
        sift(read()?, &mut to, erasure)?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?
    };
    // Its time tells its age.
    to.set_modified(found.modified()?)?;
    to.sync_all()?;
    fs::rename(&draft, path)?;
    sync_folder(folder_of(path))?;
    Ok(gone)
}

/// The file, held against compression, which would write what it has read before into another file. `None` where it is gone
/// by then. Whoever merely reads it may hold it too, and is not waited for longer than `until`. No link is followed; where
/// others may make files, one that is not ours is an error of kind `Other`.
fn held(path: &Path, until: Instant) -> io::Result<Option<fs::File>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP) => {
            return Err(io::Error::other("it is a link"));
        }
        Err(error) => return Err(error),
    };
    if check_folder(folder_of(path)).is_err() {
        check_own(&file.metadata()?, &fs::metadata(folder_of(path))?)?;
    }
    while matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

/// Copies lines, without the events that are meant; returns how many there were. What is longer than any event is none, and
/// is never held whole.
fn sift(mut from: impl BufRead, to: &mut impl Write, erasure: &Erasure) -> io::Result<u64> {
    let (mut gone, mut line) = (0, Vec::new());
    loop {
        line.clear();
        let read = (&mut from).take(EVENT_LIMIT as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            to.flush()?;
            return Ok(gone);
        }
        let is_whole = line.ends_with(b"\n") || read <= EVENT_LIMIT;
        let text = std::str::from_utf8(&line).unwrap_or_default();
        if is_whole && erasure.means(text.trim_end_matches('\n')) {
            gone += 1;
            continue;
        }
        to.write_all(&line)?;
        while !is_whole && !line.ends_with(b"\n") {
            line.clear();
            if (&mut from).take(EVENT_LIMIT as u64).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            to.write_all(&line)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erasure() -> Erasure {
        Erasure { account: "sales".into(), conversation: "2-A".into(), message: None }
    }

    #[test]
    fn events_are_taken_out_and_everything_else_stays_byte_by_byte() {
        let event =
            |subject: &str| format!("{{\"subject\":\"{subject}\",\"data\":{{\"account\":\"sales\"}}}}\n").into_bytes();
        let long = [vec![b'x'; 3 * EVENT_LIMIT], b"\n\xff\xfe\n\n".to_vec()].concat();
        let file = [event("2-B"), event("2-A"), long.clone(), event("2-A"), event("2-C"), b"torn".to_vec()];
        let mut kept = Vec::new();
        assert_eq!(sift(file.concat().as_slice(), &mut kept, &erasure()).unwrap(), 2);
        assert!(kept == [event("2-B"), long, event("2-C"), b"torn".to_vec()].concat());
    }

    #[test]
    fn no_link_is_followed_and_a_lock_of_a_reader_is_not_waited_for_longer_than_once() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link] = ["events.jsonl", "events-2026-01-01.jsonl"].map(|name| folder.path().join(name));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let long_ago = Instant::now();
        assert_eq!(held(&link, long_ago).unwrap_err().kind(), io::ErrorKind::Other);
        let reader = fs::File::open(&file).unwrap();
        reader.lock_shared().unwrap();
        assert!(held(&file, long_ago).unwrap().is_some());
        assert!(held(&folder.path().join("missing"), long_ago).unwrap().is_none());
    }
}
