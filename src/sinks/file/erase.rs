//! Erasing events from the files of a sink: the open one and the closed ones, gzipped or not.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::Files;
use super::names::Form;
use super::open::{folder_of, sync_folder};
use super::turn::Turn;

/// A file that is compressed is let go of then.
const LONGEST_COMPRESSION: Duration = Duration::from_secs(30);

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
    let mut gone = 0;
    // What is being compressed changes its name meanwhile, and no file is closed while it is our turn.
    while !erase_once(files, erasure, &mut gone)? {}
    Ok(gone)
}

/// Looks at every file once; false where one had another name when it could be looked at.
fn erase_once(files: &Files, erasure: &Erasure, gone: &mut u64) -> io::Result<bool> {
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
        match rewrite(&entry.path(), packed, erasure)? {
            Some(lines) => *gone += lines,
            None => is_complete = false,
        }
    }
    Ok(is_complete)
}

/// Puts a file without these events in the place of one that has some of them; `None` where it is not there any more.
fn rewrite(path: &Path, packed: bool, erasure: &Erasure) -> io::Result<Option<u64>> {
    let Some(_held) = held(path)? else { return Ok(None) };
    let read = || -> io::Result<Box<dyn BufRead>> {
        let file = fs::File::open(path)?;
        Ok(if packed { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(BufReader::new(file)) })
    };
    let mut gone = 0;
    for line in read()?.lines() {
        gone += u64::from(erasure.means(&line?));
    }
    if gone == 0 {
        return Ok(Some(0));
    }
    let found = fs::metadata(path)?;
    let draft = PathBuf::from(format!("{}.erasing", path.display()));
    drop(fs::remove_file(&draft));
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    to.set_permissions(found.permissions())?;
    let kept = read()?.lines().filter(|line| !line.as_ref().is_ok_and(|line| erasure.means(line)));
    let to = if packed {
        let mut encoder = GzEncoder::new(to, Compression::default());
        write_lines(&mut encoder, kept)?;
        encoder.finish()?
    } else {
        let mut to = io::BufWriter::new(to);
        write_lines(&mut to, kept)?;
        to.into_inner().map_err(io::IntoInnerError::into_error)?
    };
    // Its time tells its age.
    to.set_modified(found.modified()?)?;
    to.sync_all()?;
    fs::rename(&draft, path)?;
    sync_folder(folder_of(path))?;
    Ok(Some(gone))
}

/// The file, held against compression, which would write what it has read before into another file. `None` where it is gone
/// by then. Whoever merely reads it may hold it too, and is not waited for.
fn held(path: &Path) -> io::Result<Option<fs::File>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let until = Instant::now() + LONGEST_COMPRESSION;
    while matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((file.metadata()?.nlink() > 0).then_some(file))
}

fn write_lines(to: &mut impl Write, lines: impl Iterator<Item = io::Result<String>>) -> io::Result<()> {
    for line in lines {
        to.write_all(line?.as_bytes())?;
        to.write_all(b"\n")?;
    }
    to.flush()
}
