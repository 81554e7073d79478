//! What this process has closed, and when by the steady clock: a wall clock that was wrong when a
//! file was written, or is wrong now, must not make it old. It belongs to the process and not to a
//! sink, which a reload builds anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::since_boot;

static CLOSED: Mutex<BTreeMap<PathBuf, Duration>> = Mutex::new(BTreeMap::new());

fn closed() -> MutexGuard<'static, BTreeMap<PathBuf, Duration>> {
    CLOSED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A file is about to get this name. Said before it has: between the two somebody may look for old
/// files.
pub(super) fn remember(path: &Path) {
    closed().insert(absolute(path), since_boot());
}

/// It did not get it.
pub(super) fn forget(path: &Path) {
    closed().remove(&absolute(path));
}

/// Whether this process has closed the file less than so long before `now`, which is a time since
/// boot. A file that it closed earlier is forgotten.
pub(super) fn is_within(retention: Duration, path: &Path, now: Duration) -> bool {
    let (mut closed, path) = (closed(), absolute(path));
    let within = closed.get(&path).is_some_and(|&at| now.saturating_sub(at) <= retention);
    if !within {
        closed.remove(&path);
    }
    within
}
