//! A file of JSON lines, appended to and synced before an event counts as delivered; closed and begun anew as the
//! configuration says, closed files gzipped and removed in the background.

mod abilities;
mod closed;
mod closings;
mod erase;
mod names;
mod open;
mod place;
mod rotation;
mod stream;
mod turn;
mod writer;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::{BuildError, Delivered, Error, Outgoing, Sink};
use crate::model::SinkName;
use crate::time::UnixMillis;
pub use erase::Erasure;

use abilities::Abilities;
use closed::Closed;
use names::Names;
use place::{Place, Target};
use rotation::Rotate;
use stream::Stream;
use writer::{Writer, Written};

/// A file must hold at least one event of any size.
const SMALLEST: u64 = 64 << 10;

/// Shorter would remove files before anybody has looked at them.
const SHORTEST_RETENTION: Duration = Duration::from_secs(3600);

/// The keys of a file sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file; its folder is made where missing.
    pub(super) path: PathBuf,
    /// When it is closed and begun anew.
    #[serde(default)]
    rotate: Rotate,
    /// Closed files are gzipped.
    #[serde(default)]
    compress: bool,
    /// Closed files are removed when they are older; without it they are kept for good.
    #[serde(default, with = "crate::settings::optional_duration")]
    retention: Option<Duration>,
}

impl Settings {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if let Some(problem) = crate::settings::file_problem(&self.path) {
            return Some(("path", problem));
        }
        if Names::of(&self.path).is_none() {
            return Some(("path", "names no file".into()));
        }
        match Place::of(&self.path) {
            Place::Unfit(problem) => return Some(("path", problem.into())),
            Place::Stream(_) if self.rotate != Rotate::Never || self.compress || self.retention.is_some() => {
                return Some((
                    "path",
                    "is no file, so rotate, compress and retention have nothing to do; remove them".into(),
                ));
            }
            Place::Stream(_) | Place::File => {}
        }
        if matches!(self.rotate, Rotate::Size(limit) if limit < SMALLEST) {
            return Some(("rotate", "must be at least 64KiB, so that every event has room".into()));
        }
        self.retention.is_some_and(|age| age < SHORTEST_RETENTION).then(|| ("retention", "must be at least 1h".into()))
    }

    /// The place itself, whichever of its names the path is.
    pub(super) fn place(&self) -> Option<PathBuf> {
        match Place::of(&self.path) {
            Place::Stream(Target::Output) => Some("/dev/stdout".into()),
            Place::Stream(Target::Errors) => Some("/dev/stderr".into()),
            _ => place::real(&self.path),
        }
    }

    /// Whether a closed file would be called so.
    pub(super) fn closes_as(&self, path: &std::path::Path) -> bool {
        let same_folder = || self.place().is_some_and(|own| own.parent() == path.parent());
        self.rotate != Rotate::Never
            && same_folder()
            && Names::of(&self.path)
                .is_some_and(|names| path.file_name().is_some_and(|name| names.read(name).is_some()))
    }

    /// Erases events from the files; returns how many lines are gone. Blocks the thread.
    pub(super) fn erase(&self, name: &SinkName, erasure: &Erasure) -> std::io::Result<u64> {
        let (Some(names), Place::File) = (Names::of(&self.path), Place::of(&self.path)) else { return Ok(0) };
        let abilities = Arc::new(Abilities::of(name.clone()));
        erase::erase(&Files { sink: name.clone(), names, abilities, retention: None }, erasure)
    }

    pub(super) fn warning(&self) -> Option<String> {
        if let Place::Stream(_) = Place::of(&self.path) {
            return Some(
                "path is no file and cannot be synced: an event is delivered once it is written, and what its reader \
                 loses is lost; for standard output use type = \"stdout\""
                    .into(),
            );
        }
        let in_vain = self.rotate == Rotate::Never && (self.compress || self.retention.is_some());
        let is_read = || {
            let found = std::fs::metadata(&self.path).ok()?;
            let others = found.mode() & 0o007;
            let path = self.path.display();
            (others != 0).then(|| format!("path is a file that every user of this machine may read or write, and gets what people write; run: chmod o= {path}"))
        };
        let in_vain = in_vain
            .then(|| "compress and retention are for closed files, and rotate = \"never\" closes none".to_owned());
        in_vain.or_else(is_read)
    }
}

/// The files of a sink, for those who write, close and keep them.
#[derive(Clone)]
struct Files {
    sink: SinkName,
    names: Names,
    abilities: Arc<Abilities>,
    /// How long closed ones are kept; `None`: for good.
    retention: Option<Duration>,
}

#[cfg(test)]
impl Files {
    fn new_for_test(path: &std::path::Path, retention: Option<Duration>) -> Self {
        let (sink, names) = (SinkName::new("archive").unwrap(), Names::of(path).unwrap());
        Self { abilities: Arc::new(Abilities::of(sink.clone())), sink, names, retention }
    }
}

pub(super) struct File {
    writer: Arc<Mutex<To>>,
    path: PathBuf,
    name: SinkName,
    reopen: AtomicBool,
    closed: Option<Closed>,
}

/// What is written to.
enum To {
    File(Writer),
    Stream(Stream),
}

impl To {
    fn let_go(&mut self) {
        match self {
            Self::File(writer) => writer.let_go(),
            Self::Stream(stream) => stream.let_go(),
        }
    }

    fn write(&mut self, lines: &[String]) -> Written {
        match self {
            Self::File(writer) => writer.write(lines, UnixMillis::now()),
            Self::Stream(stream) => stream.write(lines),
        }
    }
}

impl File {
    /// Opens the file where it can be opened, and begins to look after closed ones where the settings ask for that.
    pub(super) fn open(name: &SinkName, settings: &Settings) -> Result<Self, BuildError> {
        let names = Names::of(&settings.path).ok_or_else(|| BuildError::Settings("path names no file".into()))?;
        let abilities = Arc::new(Abilities::of(name.clone()));
        let files = Files { sink: name.clone(), names, abilities, retention: settings.retention };
        let (writer, closed) = match Place::of(&settings.path) {
            Place::Unfit(problem) => return Err(BuildError::Settings(format!("path {problem}"))),
            Place::Stream(target) => (To::Stream(Stream::to(target)), None),
            Place::File => {
                let (writer, opened) = Writer::new(files.clone(), settings.rotate);
                if let Err(error) = opened {
                    tracing::error!(sink = %name, path = %settings.path.display(), class = "storage", %error,
                        "the file cannot be opened; its events are kept, and it is tried again with each of them");
                }
                (To::File(writer), Closed::look_after(files, settings.compress))
            }
        };
        let (path, name) = (settings.path.clone(), name.clone());
        Ok(Self { writer: Arc::new(Mutex::new(writer)), path, name, reopen: AtomicBool::new(false), closed })
    }
}

#[async_trait]
impl Sink for File {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        let lines = events.iter().map(|event| event.body.clone() + "\n").collect::<Vec<_>>();
        let reopen = self.reopen.swap(false, Ordering::AcqRel);
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            if reopen {
                writer.let_go();
            }
            writer.write(&lines)
        });
        let Ok(written) = written.await else {
            return Delivered::none(Error::retry(format!("{}: the write was cancelled", self.path.display())));
        };
        if let Some(closed) = self.closed.as_ref().filter(|_| written.rotated) {
            closed.look();
        }
        let failure = written.failure.map(|error| Error::retry(format!("{}: {error}", self.path.display())));
        Delivered { count: written.count, failure }
    }

    fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        tracing::info!(sink = %self.name, "the file is opened afresh with the next event");
    }
}
