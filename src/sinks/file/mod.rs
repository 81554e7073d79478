//! A file of JSON lines, appended to and synced before an event counts as delivered; closed and begun anew as the
//! configuration says, closed files gzipped and removed in the background.

mod closed;
mod names;
mod open;
mod rotation;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use super::{BuildError, Delivered, Error, Outgoing, Sink};
use crate::model::SinkName;
use crate::time::UnixMillis;
use closed::Closed;
use names::Names;
use rotation::Rotate;
use writer::Writer;

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
        if matches!(self.rotate, Rotate::Size(limit) if limit < SMALLEST) {
            return Some(("rotate", "must be at least 64KiB, so that every event has room".into()));
        }
        self.retention.is_some_and(|age| age < SHORTEST_RETENTION).then(|| ("retention", "must be at least 1h".into()))
    }

    pub(super) fn warning(&self) -> Option<String> {
        let in_vain = self.rotate == Rotate::Never && (self.compress || self.retention.is_some());
        in_vain.then(|| "compress and retention are for closed files, and rotate = \"never\" closes none".into())
    }
}

pub(super) struct File {
    writer: Arc<Mutex<Writer>>,
    path: PathBuf,
    name: SinkName,
    reopen: AtomicBool,
    closed: Option<Closed>,
}

impl File {
    /// Opens the file, and begins to look after closed ones where the settings ask for that.
    pub(super) fn open(name: &SinkName, settings: &Settings) -> Result<Self, BuildError> {
        let refused = |source| BuildError::File { path: settings.path.display().to_string(), source };
        let names = Names::of(&settings.path).ok_or_else(|| refused(std::io::ErrorKind::InvalidFilename.into()))?;
        let writer = Writer::open(name.clone(), names.clone(), settings.rotate).map_err(refused)?;
        Ok(Self {
            writer: Arc::new(Mutex::new(writer)),
            path: settings.path.clone(),
            name: name.clone(),
            reopen: AtomicBool::new(false),
            closed: Closed::look_after(name, names, settings.compress, settings.retention),
        })
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
            writer.write(&lines, UnixMillis::now())
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
