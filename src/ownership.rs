//! Who else on this machine may write or read what we use. The rules are those of ssh: what another
//! user could have written is not used, and what another user can read is warned of.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, StatVfsMountFlags, statvfs};
use rustix::process::{getegid, geteuid, getgroups};

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;
const STICKY: u32 = 0o1000;
const ROOT: u32 = 0;

/// What is wrong with a folder in which nobody else may write, and the command that mends it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {remedy}")]
pub struct Unsafe {
    problem: String,
    remedy: String,
    /// It is one other user, to whom a folder belongs, and not everybody.
    pub is_by_owner: bool,
}

/// Checks that only this user, and root, may make files in a folder.
pub fn check_folder(folder: &Path) -> Result<(), Unsafe> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(found) = fs::metadata(folder) else { return Ok(()) };
    // The working folder by its name, too.
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let (path, us) = (whole.display(), geteuid().as_raw());
    let refused = |problem: String, remedy: String| Err(Unsafe { problem, remedy, is_by_owner: false });
    if found.uid() != us && found.uid() != ROOT {
        let whose = format!("the folder {path} belongs to another user (uid {})", found.uid());
        let remedy = match us {
            ROOT => format!("run it as that user: sudo -u '#{}'", found.uid()),
            _ => format!("name a folder of your own, or as root: chown {us} {path}"),
        };
        return refused(whose, remedy);
    }
    if found.mode() & OTHERS_WRITE != 0 {
        let remedy = match found.mode() & STICKY {
            // It is everybody's on purpose, as /tmp is.
            STICKY => "keep the state in a folder of its own, by store.url or by starting in one".to_owned(),
            _ => format!("chmod go-w {path}"),
        };
        return refused(format!("every user of this machine can make files in {path}"), remedy);
    }
    // A volume of a container belongs to root and to a group that has nobody else in it.
    let is_our_group = found.uid() == ROOT && us != ROOT && has_group(found.gid());
    if group_writes(&found) && !is_our_group {
        let problem = format!("its group (gid {}) can make files in {path}", found.gid());
        return refused(problem, format!("chmod g-w {path}"));
    }
    // Whoever may rename a folder above may put another one in its place.
    let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    replaceable_in(real.ancestors().skip(1), &path.to_string(), us)
}

/// Refuses where another user can put another file, or another folder, in the place of a path. `trusted` is a user who may.
fn replaceable_in<'p>(folders: impl Iterator<Item = &'p Path>, path: &str, trusted: u32) -> Result<(), Unsafe> {
    for above in folders {
        let Ok(found) = fs::metadata(above) else { continue };
        // As a volume with a configuration is mounted in a container, whatever its mode.
        if statvfs(above).is_ok_and(|mounted| mounted.f_flag.contains(StatVfsMountFlags::RDONLY)) {
            continue;
        }
        let folder = above.display();
        let problem = |who: &str| format!("{who} can replace {path}, because they can write to {folder}");
        // In a sticky folder only the owner of a file renames it.
        if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
            let (problem, remedy) = (problem("every user of this machine"), format!("chmod o-w {folder}"));
            return Err(Unsafe { problem, remedy, is_by_owner: false });
        }
        if ![trusted, geteuid().as_raw(), ROOT].contains(&found.uid()) {
            let problem = problem(&format!("another user (uid {})", found.uid()));
            return Err(Unsafe { problem, remedy: "move it into a folder of your own".into(), is_by_owner: true });
        }
    }
    Ok(())
}

/// Checks that no other user can put another file in the place of this one; `trusted` is a user who may.
pub fn check_place(path: &Path, trusted: Option<u32>) -> Result<(), Unsafe> {
    let trusted = trusted.unwrap_or(ROOT);
    // Both where a link to it lies and where it lies itself.
    for place in [std::path::absolute(path).ok(), fs::canonicalize(path).ok()].into_iter().flatten() {
        replaceable_in(place.ancestors().skip(1), &path.display().to_string(), trusted)?;
    }
    Ok(())
}

/// Whether a group may write that has somebody in it beside the owner. Where every user has a group of its own, which has
/// the same number, group-writable is how files are made (umask 002).
fn group_writes(found: &Metadata) -> bool {
    found.mode() & GROUP_WRITES != 0 && found.gid() != found.uid()
}

fn has_group(gid: u32) -> bool {
    getegid().as_raw() == gid || getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// What another user may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strangers {
    /// Nothing.
    Nothing,
    /// Every user may read it.
    Read,
    /// Its owner, who is neither we nor root, may write it.
    Own,
    /// Every user, or its group, may write it.
    Write,
}

impl Strangers {
    /// By what the system says of a file.
    pub fn of(found: &Metadata) -> Self {
        let is_ours = [geteuid().as_raw(), ROOT].contains(&found.uid());
        match found.mode() {
            mode if mode & OTHERS_WRITE != 0 => Self::Write,
            _ if group_writes(found) => Self::Write,
            _ if !is_ours => Self::Own,
            mode if mode & OTHERS_READ != 0 => Self::Read,
            _ => Self::Nothing,
        }
    }

    /// What is wrong with a file that only we should have written, with the command that mends it; `None` where nothing is.
    pub fn may_have_written(self, path: &Path) -> Option<String> {
        let is_program = fs::metadata(path).is_ok_and(|found| found.is_file() && found.mode() & 0o100 != 0);
        let path = path.display();
        match self {
            Self::Nothing | Self::Read => None,
            Self::Own => Some("belongs to another user, who can write it; copy it into a file of your own".into()),
            Self::Write => {
                let mode = if is_program { "go-w" } else { "600" };
                Some(format!("is writable by other users of this machine; run: chmod {mode} {path}"))
            }
        }
    }
}

/// Opens a file that is ours alone, made where it is missing: no link is followed, and what is there has to be a file, with
/// one name, of this user. Nothing of it is changed.
pub fn open_own(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(flags);
    match options.clone().create_new(true).open(path) {
        // Ours, whatever owner a network file system gives it.
        Ok(file) => return Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let file = options.open(path).map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP) => {
            io::Error::other("it is a symbolic link, which somebody else may have made; remove it")
        }
        _ => error,
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    check_own(&file.metadata()?, &fs::metadata(folder)?)?;
    Ok(file)
}

/// Whether an open file is one of ours alone, which nobody else has put there. Where a network file system gives every file
/// the same owner, that is the owner of its folder.
pub fn check_own(found: &Metadata, folder: &Metadata) -> io::Result<()> {
    let problem = match found {
        _ if !found.is_file() => "it is no file; remove it",
        _ if ![geteuid().as_raw(), folder.uid()].contains(&found.uid()) => "it belongs to another user; remove it",
        _ if found.nlink() > 1 => {
            "it has another name as well (a hard link), which somebody else may have made; remove it"
        }
        _ => return Ok(()),
    };
    Err(io::Error::other(problem))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        for mode in [0o777, 0o702] {
            set_mode(&state, mode);
            let refused = check_folder(&state).unwrap_err().to_string();
            assert!(refused.contains(&format!("chmod go-w {}", state.display())), "{mode:o}: {refused}");
        }
        set_mode(&state, 0o1777);
        let refused = check_folder(&state).unwrap_err().to_string();
        assert!(refused.contains("a folder of its own") && !refused.contains("chmod"), "{refused}");
        // Another group than one's own only root can give a folder.
        if geteuid().is_root() {
            std::os::unix::fs::chown(&state, None, Some(65_534)).unwrap();
            set_mode(&state, 0o770);
            assert!(check_folder(&state).unwrap_err().to_string().contains("chmod g-w "));
            std::os::unix::fs::chown(&state, None, Some(0)).unwrap();
        }
        for mode in [0o700, 0o750, 0o755] {
            set_mode(&state, mode);
            assert_eq!(check_folder(&state), Ok(()), "{mode:o}");
        }
        set_mode(folder.path(), 0o777);
        assert!(check_folder(&state).unwrap_err().to_string().contains("can replace"));
        set_mode(folder.path(), 0o1777);
        assert_eq!(check_folder(&state), Ok(()), "in a sticky folder only the owner renames");
        assert_eq!(check_folder(&state.join("missing")), Ok(()), "it will be made");
    }

    #[test]
    fn a_file_that_another_user_can_replace_is_told_with_what_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, link) = (folder.path().join("inner"), folder.path().join("link"));
        fs::create_dir(&inner).unwrap();
        let file = inner.join("inboxd.toml");
        fs::write(&file, "").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(check_place(&file, None), Ok(()));
        set_mode(&inner, 0o1777);
        assert_eq!(check_place(&file, None), Ok(()), "in a sticky folder only the owner renames");
        set_mode(&inner, 0o777);
        for path in [&file, &link] {
            let refused = check_place(path, None).unwrap_err().to_string();
            assert!(refused.contains(&format!("chmod o-w {}", inner.display())), "{refused}");
        }
        set_mode(&inner, 0o755);
        if geteuid().is_root() {
            std::os::unix::fs::chown(&inner, Some(65_534), None).unwrap();
            let refused = check_place(&file, None).unwrap_err();
            assert!(refused.is_by_owner && refused.to_string().contains("another user (uid 65534)"), "{refused}");
            assert_eq!(check_place(&file, Some(65_534)), Ok(()), "who it is run as");
            let state = inner.join("state");
            fs::create_dir(&state).unwrap();
            assert!(check_folder(&state).unwrap_err().to_string().contains("another user (uid 65534)"));
        }
    }

    #[test]
    fn a_file_of_ours_is_opened_as_it_is_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let [own, victim, link, hard, pipe] =
            ["own", "victim", "link", "hard", "pipe"].map(|name| folder.path().join(name));
        open_own(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&own, "content").unwrap();
        open_own(&own).unwrap();
        assert_eq!(fs::read_to_string(&own).unwrap(), "content");
        fs::write(&victim, "important").unwrap();
        symlink(&victim, &link).unwrap();
        fs::hard_link(&victim, &hard).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        for foreign in [&link, &hard, &pipe, &folder.path().to_owned()] {
            assert!(open_own(foreign).is_err(), "{}", foreign.display());
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "important");
    }

    #[test]
    fn what_others_may_do_with_a_file_is_told_by_its_mode() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let may = |mode: u32| {
            set_mode(file.path(), mode);
            Strangers::of(&fs::metadata(file.path()).unwrap())
        };
        assert_eq!([0o600, 0o640, 0o400].map(may), [Strangers::Nothing; 3]);
        assert_eq!([0o644, 0o604].map(may), [Strangers::Read; 2]);
        assert_eq!([0o666, 0o602].map(may), [Strangers::Write; 2]);
        assert!(may(0o666).may_have_written(file.path()).unwrap().contains("chmod 600"));
    }
}
