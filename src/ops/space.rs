//! Free disk space: below the reserve polling is held before SQLite meets a full disk; delivering goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;

use crate::status::{Hold, HoldReason};

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Free bytes for unprivileged users on the file system of `path`; `None` when the system does not say.
fn free(path: &Path) -> Option<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    available(&rustix::fs::statvfs(folder).ok()?)
}

/// Some network and FUSE file systems answer that none of no blocks are free: they do not know.
fn available(stat: &rustix::fs::StatVfs) -> Option<u64> {
    (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Holds polling when less than `min_free` bytes are free beside `database`, and releases it when there is room.
pub fn look(database: &Path, min_free: u64, hold: &Hold) {
    let Some(free) = free(database) else {
        // What is not known holds nobody.
        hold.set(HoldReason::Space, false);
        return;
    };
    let [shown_free, reserve] = [free, min_free].map(|bytes| ByteSize(bytes).display().iec());
    match (free < min_free, hold.set(HoldReason::Space, free < min_free)) {
        (true, true) => tracing::error!(class = "storage", path = %database.display(),
            "{shown_free} free, less than store.min_free ({reserve}): polling is paused until there is room; delivery goes on"),
        (false, true) => tracing::info!(path = %database.display(), "{shown_free} free: polling goes on"),
        _ => {}
    }
}

/// Looks every few seconds.
pub async fn keep_looking(database: PathBuf, min_free: u64, hold: Hold) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        look(&database, min_free, &hold);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_no_blocks_free_is_not_known_and_none_of_some_is_full() {
        let stat = rustix::fs::statvfs(".").unwrap();
        let told = |f_blocks, f_bavail| available(&rustix::fs::StatVfs { f_blocks, f_bavail, f_frsize: 512, ..stat });
        assert_eq!(told(0, 0), None);
        assert_eq!(told(100, 0), Some(0));
        assert_eq!(told(100, 4), Some(2048));
    }
}
