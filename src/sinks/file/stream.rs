//! Writing to what cannot be synced. A line counts as delivered once it is written: nobody can tell
//! more of it, and a sync that such a place refuses must not bring the same line again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::open::folder_of;
use super::place::Target;
use super::writer::Written;
use crate::ownership::check_folder;

/// Writes lines to one stream.
pub(super) struct Stream {
    target: Target,
    /// What is at a path, opened with the first line.
    open: Option<File>,
}

impl Stream {
    pub(super) fn to(target: Target) -> Self {
        Self { target, open: None }
    }

    /// Opens what is at the path afresh with the next line.
    pub(super) fn let_go(&mut self) {
        self.open = None;
    }

    /// Writes one line after the other, so that what was taken before a failure is known.
    pub(super) fn write(&mut self, lines: &[String]) -> Written {
        for (count, line) in lines.iter().enumerate() {
            if let Err(error) = self.write_line(line.as_bytes()) {
                self.let_go();
                return Written { count, failure: Some(error), rotated: false };
            }
        }
        Written { count: lines.len(), failure: None, rotated: false }
    }

    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        match &self.target {
            Target::Output => {
                let mut output = io::stdout().lock();
                output.write_all(line)?;
                output.flush()
            }
            // Under the lock that the log takes, so that no line of either is torn.
            Target::Errors => io::stderr().lock().write_all(line),
            Target::Path(path) => {
                let open = match self.open.take() {
                    Some(open) => open,
                    None => open(path)?,
                };
                self.open.insert(open).write_all(line)
            }
        }
    }
}

/// Opens a pipe or a device. Of a pipe that nobody reads this is refused, or its lines would be
/// lost with our end of it.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().write(true).custom_flags(flags).open(path).map_err(|error| {
        match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::NXIO) => io::Error::other("nobody reads the pipe"),
            _ => error,
        }
    })?;
    let found = file.metadata()?;
    let kind = found.file_type();
    // There it may be another user's pipe, who would get what people wrote.
    if ![rustix::process::geteuid().as_raw(), 0].contains(&found.uid())
        && let Err(refused) = check_folder(folder_of(path))
    {
        return Err(io::Error::other(format!("it is another user's pipe, and {refused}")));
    }
    if !kind.is_fifo() && !kind.is_char_device() {
        return Err(io::Error::other("it was a pipe or a device at the start and is none now"));
    }
    // From here on a reader that is slow is waited for.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    fn pipe() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        (folder, path)
    }

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{number}\n")).collect()
    }

    #[test]
    fn a_pipe_gets_each_line_once_and_keeps_its_lines_until_somebody_reads_it() {
        let (_folder, path) = pipe();
        let mut stream = Stream::to(Target::Path(path.clone()));
        let written = stream.write(&lines(3));
        assert_eq!(written.count, 0);
        assert_eq!(written.failure.unwrap().to_string(), "nobody reads the pipe");
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let written = stream.write(&lines(3));
        assert!(written.count == 3 && written.failure.is_none(), "{written:?}");
        let read: Vec<_> = BufReader::new(reader).lines().take(3).map(Result::unwrap).collect();
        assert_eq!(read, ["0", "1", "2"]);
    }

    #[test]
    fn of_a_reader_that_leaves_nothing_is_counted_that_was_not_written() {
        let (_folder, path) = pipe();
        let mut stream = Stream::to(Target::Path(path.clone()));
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        assert_eq!(stream.write(&lines(2)).count, 2);
        drop(reader);
        let written = stream.write(&lines(2));
        assert!(written.count == 0 && written.failure.is_some(), "{written:?}");
    }

    #[test]
    fn a_device_takes_lines_without_syncing() {
        let written = Stream::to(Target::Path("/dev/null".into())).write(&lines(2));
        assert!(written.count == 2 && written.failure.is_none(), "{written:?}");
    }

    #[test]
    fn what_has_become_a_file_is_not_written_to_as_a_stream() {
        let (_folder, path) = pipe();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(Stream::to(Target::Path(path.clone())).write(&lines(1)).count, 0);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }
}
