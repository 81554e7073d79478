//! A file of JSON lines, appended to and synced before an event counts as delivered.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Deserialize;

use super::{BuildError, Delivered, Error, Outgoing, Sink};
use crate::model::{EVENT_LIMIT, SinkName};

/// The keys of a file sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file; its folder is made where missing.
    pub(super) path: PathBuf,
}

impl Settings {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        self.path.as_os_str().is_empty().then(|| ("path", "is empty".into()))
    }
}

pub(super) struct File {
    open: Arc<Mutex<Option<fs::File>>>,
    path: PathBuf,
    name: SinkName,
    reopen: AtomicBool,
}

impl File {
    pub(super) fn open(name: &SinkName, settings: &Settings) -> Result<Self, BuildError> {
        let file = open(&settings.path)
            .map_err(|source| BuildError::File { path: settings.path.display().to_string(), source })?;
        Ok(Self {
            open: Arc::new(Mutex::new(Some(file))),
            path: settings.path.clone(),
            name: name.clone(),
            reopen: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Sink for File {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        let mut lines = Vec::with_capacity(events.iter().map(|e| e.body.len() + 1).sum());
        for event in events {
            lines.extend_from_slice(event.body.as_bytes());
            lines.push(b'\n');
        }
        let reopen = self.reopen.swap(false, Ordering::AcqRel);
        let (file, path) = (Arc::clone(&self.open), self.path.clone());
        let written = tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if reopen {
                *file = None;
            }
            append(&mut file, &path, &lines)
        });
        let failed = match written.await {
            Ok(Ok(())) => return Delivered::all(events),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the write was cancelled".into(),
        };
        Delivered::none(Error::retry(format!("{}: {failed}", self.path.display())))
    }

    fn reopen(&self) {
        self.reopen.store(true, Ordering::Release);
        tracing::info!(sink = %self.name, "the file is opened afresh with the next event");
    }
}

/// Writes and syncs; on an error nothing of `lines` stays in the file.
fn append(slot: &mut Option<fs::File>, path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = match slot.take() {
        Some(file) => file,
        None => open(path)?,
    };
    // Against a repair by another handle of ours: one that a reload opens while this write is still under way would
    // take its first half for a torn line.
    file.lock()?;
    let before = file.metadata()?.len();
    let written = file.write_all(lines).and_then(|()| file.sync_data());
    match written {
        Ok(()) => {
            file.unlock()?;
            *slot = Some(file);
            Ok(())
        }
        Err(error) => {
            // A sync that failed is never repeated on the same handle: the next write opens and repairs the file anew.
            if let Err(undo) = file.set_len(before) {
                tracing::warn!(path = %path.display(), error = %undo, "half a write could not be undone; the next open repairs it");
            }
            Err(error)
        }
    }
}

fn open(path: &Path) -> io::Result<fs::File> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        file.lock()?;
        let repaired = repair(&mut file);
        file.unlock()?;
        repaired?;
    }
    Ok(file)
}

/// Removes a last line that a crash left torn: its event was not recorded as delivered and comes again, whole. A tail
/// that is not the start of one of our events is somebody else's and is only closed with a line break.
fn repair(file: &mut fs::File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let window = length.min(EVENT_LIMIT as u64 + 1);
    file.seek(SeekFrom::Start(length - window))?;
    let mut tail = Vec::with_capacity(EVENT_LIMIT + 1);
    file.take(window).read_to_end(&mut tail)?;
    let line_start = tail.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let torn = &tail[line_start..];
    if torn.is_empty() {
        return Ok(());
    }
    let ours = b"{\"specversion\":\"1.0\",";
    let begins_like_ours = torn.starts_with(ours) || ours.starts_with(torn);
    if begins_like_ours && serde_json::from_slice::<serde::de::IgnoredAny>(torn).is_err() {
        file.set_len(length - torn.len() as u64)?;
    } else {
        file.write_all(b"\n")?;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repaired(before: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, before).unwrap();
        open(&path).unwrap();
        fs::read_to_string(&path).unwrap()
    }

    #[test]
    fn a_torn_last_line_of_ours_is_removed_and_any_other_tail_is_kept() {
        let whole = "{\"specversion\":\"1.0\",\"id\":\"a\"}\n";
        assert_eq!(repaired(whole), whole);
        assert_eq!(repaired(&format!("{whole}{{\"specversion\":\"1.0\",\"id\":\"b")), whole);
        assert_eq!(repaired(&format!("{whole}{{\"spec")), whole);
        assert_eq!(repaired(whole.trim_end()), whole, "a whole event only lacks its line break");
        assert_eq!(repaired("notes of mine"), "notes of mine\n");
        assert_eq!(repaired(""), "");
    }

    #[test]
    fn files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/events.jsonl");
        open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
