//! What lies at the path of a file sink: a file, or something that takes lines and cannot be
//! synced.

use std::fs::{self, FileType};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// What lies at a path, links followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A file, or nothing yet.
    File,
    /// Something that takes lines.
    Stream(Target),
    /// Neither, and what to do about it.
    Unfit(&'static str),
}

/// Where a stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Our own standard output, whatever that is: a pipe, a terminal, a file.
    Output,
    /// Our own standard error.
    Errors,
    /// A named pipe or a device.
    Path(PathBuf),
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        match descriptor(path) {
            Some(Some(1)) => return Self::Stream(Target::Output),
            Some(Some(2)) => return Self::Stream(Target::Errors),
            Some(_) => return Self::Unfit("is a descriptor that inboxd does not write to; use type = \"stdout\""),
            None => {}
        }
        fs::metadata(path).map_or(Self::File, |found| Self::of_type(found.file_type(), path))
    }

    fn of_type(kind: FileType, path: &Path) -> Self {
        if kind.is_file() {
            Self::File
        } else if kind.is_fifo() || kind.is_char_device() {
            Self::Stream(Target::Path(path.to_owned()))
        } else if kind.is_dir() {
            Self::Unfit("is a folder; write the name of a file in it")
        } else if kind.is_socket() {
            Self::Unfit("is a socket, which takes no lines; use type = \"exec\" with a program that speaks to it")
        } else {
            Self::Unfit("is a disk; write the name of a file on it")
        }
    }
}

/// A path with its links followed, as far as it exists.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let (folder, name) = (path.parent()?, path.file_name()?);
    fs::canonicalize(&path).or_else(|_| fs::canonicalize(folder).map(|folder| folder.join(name))).ok().or(Some(path))
}

/// Links that lead to each other are followed so far.
const LINKS: usize = 40;

/// Whether the path names a descriptor of a process (`/dev/stdout`, `/dev/fd/3`, `/proc/self/fd/1`,
/// or a link to one), and which of ours. That what it leads to is a file today says nothing: it is
/// another one, or a pipe, at the next start; and opened by such a name it would be another handle
/// than the one that others write to.
fn descriptor(path: &Path) -> Option<Option<u32>> {
    let mut path = std::path::absolute(path).ok()?;
    let own = format!("/proc/{}/", std::process::id());
    for _ in 0..LINKS {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
        let standard = ["stdin", "stdout", "stderr"].iter().position(|stream| *stream == name);
        let (devices, is_proc) = (folder == Path::new("/dev"), folder.starts_with("/proc") && folder.ends_with("fd"));
        if let Some(number) = standard.filter(|_| devices) {
            return Some(u32::try_from(number).ok());
        }
        if name.bytes().all(|b| b.is_ascii_digit()) && (is_proc || folder == Path::new("/dev/fd")) {
            let ours = !is_proc || folder.starts_with(&own);
            return Some(name.parse().ok().filter(|_| ours));
        }
        path = folder.join(fs::read_link(folder.join(name)).ok()?);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn a_file_or_nothing_yet_is_a_file_also_behind_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        symlink("round", at("round")).unwrap();
        for name in ["file", "link", "dangling", "nothing", "round", "new/nothing", "stdout", "1"] {
            assert_eq!(Place::of(&at(name)), Place::File, "{name}");
        }
    }

    #[test]
    fn pipes_and_devices_take_lines_and_what_takes_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        symlink("pipe", at("to-pipe")).unwrap();
        let _listener = UnixListener::bind(at("socket")).unwrap();
        for path in [at("pipe"), at("to-pipe"), "/dev/null".into()] {
            assert_eq!(Place::of(&path), Place::Stream(Target::Path(path.clone())));
        }
        for (path, says) in [(at("socket"), "is a socket"), (folder.path().to_owned(), "is a folder")] {
            assert!(matches!(Place::of(&path), Place::Unfit(why) if why.starts_with(says)), "{says}");
        }
    }

    #[test]
    fn the_streams_of_the_process_are_known_by_all_their_names_whatever_they_lead_to() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("/dev/stdout", at("to-output")).unwrap();
        symlink("to-output", at("to-link")).unwrap();
        symlink("/dev", at("devices")).unwrap();
        let outputs = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev/stdout"].map(Into::into);
        for path in outputs.into_iter().chain(["to-output", "to-link", "devices/stdout", "devices/fd/1"].map(at)) {
            assert_eq!(Place::of(&path), Place::Stream(Target::Output), "{}", path.display());
        }
        for path in ["/dev/stderr", "/proc/self/fd/2"] {
            assert_eq!(Place::of(path.as_ref()), Place::Stream(Target::Errors), "{path}");
        }
        let other = format!("/proc/{}/fd/1", std::os::unix::process::parent_id());
        for path in ["/dev/stdin", "/dev/fd/0", "/dev/fd/77", &other] {
            assert!(
                matches!(Place::of(path.as_ref()), Place::Unfit(why) if why.contains("type = \"stdout\"")),
                "{path}"
            );
        }
    }
}
