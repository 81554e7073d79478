//! Free disk space: below the reserve polling is held before SQLite meets a full disk; delivering goes on.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use crate::status::Hold;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Free bytes for unprivileged users on the file system of `path`; `None` when the system does not say.
pub fn free(path: &std::path::Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Holds polling while less than `min_free` bytes are free beside `database`.
pub async fn keep_reserve(database: PathBuf, min_free: u64, hold: Hold) {
    loop {
        if let Some(free) = free(&database) {
            let [shown_free, reserve] = [free, min_free].map(|bytes| ByteSize(bytes).display().iec());
            match (free < min_free, hold.set(free < min_free)) {
                (true, true) => tracing::error!(class = "storage", path = %database.display(),
                    "{shown_free} free, less than store.min_free ({reserve}): polling is paused until there is room; delivery goes on"),
                (false, true) => tracing::info!(path = %database.display(), "{shown_free} free: polling goes on"),
                _ => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
