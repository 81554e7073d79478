//! Names of the file's closed parts: `events.jsonl` becomes `events-2026-11-20.jsonl`, or
//! `events-2026-11-20.1.jsonl` where that exists, and behind it `.gz` once it is gzipped. Only names of exactly this
//! form are ever compressed or removed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::rotation::moment_of;
use crate::time::UnixMillis;

const PACKED: &str = ".gz";
const HALF_PACKED: &str = ".gz.tmp";

/// The name of a file and those of its closed parts.
#[derive(Clone, Debug)]
pub(super) struct Names {
    path: PathBuf,
    stem: OsString,
    /// With its dot; empty where there is none.
    extension: OsString,
}

/// What the name of a closed file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClosedName {
    /// The file with all its lines, whether it still exists or has been gzipped.
    pub(super) plain: PathBuf,
    pub(super) form: Form,
    /// When it was closed, or the day it was written on ended.
    pub(super) closed_at: UnixMillis,
    /// Tells files with the same stamp from each other, in the order they were closed.
    number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Packed,
    /// A compression that has not ended.
    HalfPacked,
}

impl Names {
    /// `None` for a path that ends in no name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let stem = path.file_stem()?.to_owned();
        let extension = path.extension().map(|extension| [".".as_ref(), extension].into_iter().collect());
        Some(Self { path: path.to_owned(), stem, extension: extension.unwrap_or_default() })
    }

    /// The file that is written to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The closed file with this stamp; where that name is taken, the one with number 1, 2, ...
    pub(super) fn closed(&self, stamp: &str, number: u32) -> PathBuf {
        let mut name = self.stem.clone();
        name.push(format!("-{stamp}"));
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name.push(&self.extension);
        self.path.with_file_name(name)
    }

    /// Reads the name of a file in the same folder; `None` where it is none of ours.
    pub(super) fn read(&self, name: &OsStr) -> Option<ClosedName> {
        [(Form::Plain, ""), (Form::Packed, PACKED), (Form::HalfPacked, HALF_PACKED)].into_iter().find_map(
            |(form, ending)| {
                let middle = name.as_bytes().strip_suffix(ending.as_bytes())?;
                let middle = middle.strip_suffix(self.extension.as_bytes())?;
                let middle = middle.strip_prefix(self.stem.as_bytes())?.strip_prefix(b"-")?;
                let middle = str::from_utf8(middle).ok()?;
                let (stamp, number) = match middle.split_once('.') {
                    Some((stamp, number)) => (stamp, number.parse().ok()?),
                    None => (middle, 0),
                };
                let plain = self.closed(stamp, number);
                let closed = ClosedName { form, closed_at: moment_of(stamp)?, number, plain };
                // Also against what `parse` takes for a number beside the one way in which we write it.
                (closed.path().file_name() == Some(name)).then_some(closed)
            },
        )
    }
}

impl ClosedName {
    /// The file itself.
    pub(super) fn path(&self) -> PathBuf {
        match self.form {
            Form::Plain => self.plain.clone(),
            Form::Packed => packed(&self.plain),
            Form::HalfPacked => half_packed(&self.plain),
        }
    }

    /// Sorts by the time of closing.
    pub(super) fn age(&self) -> (UnixMillis, u32) {
        (self.closed_at, self.number)
    }
}

/// A closed file when it is gzipped.
pub(super) fn packed(plain: &Path) -> PathBuf {
    followed_by(plain, PACKED)
}

/// A closed file while it is being gzipped.
pub(super) fn half_packed(plain: &Path) -> PathBuf {
    followed_by(plain, HALF_PACKED)
}

fn followed_by(path: &Path, ending: &str) -> PathBuf {
    OsString::from_vec([path.as_os_str().as_bytes(), ending.as_bytes()].concat()).into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(path: &str) -> Names {
        Names::of(Path::new(path)).unwrap()
    }

    fn read(path: &str, name: &str) -> Option<(Form, u32)> {
        names(path).read(name.as_ref()).map(|closed| (closed.form, closed.number))
    }

    #[test]
    fn a_closed_file_has_its_stamp_and_number_before_the_extension() {
        let closed = |path, number| names(path).closed("2026-11-20", number).into_os_string().into_string().unwrap();
        assert_eq!(closed("/var/lib/events.jsonl", 0), "/var/lib/events-2026-11-20.jsonl");
        assert_eq!(closed("events.jsonl", 2), "events-2026-11-20.2.jsonl");
        assert_eq!(closed("events", 0), "events-2026-11-20");
        assert_eq!(closed("events", 1), "events-2026-11-20.1");
        assert_eq!(closed(".events", 1), ".events-2026-11-20.1");
        assert_eq!(closed("a.b.jsonl", 0), "a.b-2026-11-20.jsonl");
        assert!(Names::of(Path::new("/")).is_none() && Names::of(Path::new("a/..")).is_none());
    }

    #[test]
    fn only_names_of_exactly_our_form_are_ours() {
        let ours = "events.jsonl";
        assert_eq!(read(ours, "events-2026-11-20.jsonl"), Some((Form::Plain, 0)));
        assert_eq!(read(ours, "events-2026-11-20T091403Z.10.jsonl.gz"), Some((Form::Packed, 10)));
        assert_eq!(read(ours, "events-2026-11-20.jsonl.gz.tmp"), Some((Form::HalfPacked, 0)));
        assert_eq!(read("events.gz", "events-2026-11-20.gz"), Some((Form::Plain, 0)));
        assert_eq!(read("events", "events-2026-11-20.gz"), Some((Form::Packed, 0)));
        for theirs in [
            "events.jsonl",
            "events.jsonl.gz",
            "events-2026-11-20",
            "events-2026-11-20.json",
            "events-2026-11-20.jsonl.bak",
            "events-2026-11-20.jsonl.gz.gz",
            "events-2026-11-31.jsonl",
            "events-2026-11-20.0.jsonl",
            "events-2026-11-20.01.jsonl",
            "events-2026-11-20.+1.jsonl",
            "events-2026-11-20.jsonl.jsonl",
            "events-eu-2026-11-20.jsonl",
            "my-events-2026-11-20.jsonl",
            "events2026-11-20.jsonl",
            "events-.jsonl",
        ] {
            assert_eq!(read(ours, theirs), None, "{theirs}");
        }
    }

    proptest! {
        #[test]
        fn a_closed_name_reads_back_as_what_it_was_made_of(
            path in "[a-z.]{0,6}[a-z](\\.[a-z0-9]{1,3})?", day in 0i64..100_000, number in 0u32.., form in 0usize..3,
        ) {
            let names = names(&path);
            let stamp = UnixMillis::from_millis(day * 86_400_000).to_string()[..10].to_owned();
            let plain = names.closed(&stamp, number);
            let form = [Form::Plain, Form::Packed, Form::HalfPacked][form];
            let closed = ClosedName { plain, form, closed_at: moment_of(&stamp).unwrap(), number };
            prop_assert_eq!(names.read(closed.path().file_name().unwrap()), Some(closed));
        }
    }
}
