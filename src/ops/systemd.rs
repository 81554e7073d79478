//! Talking to systemd: ready, reloading, stopping, and a watchdog that is fed by progress. Without systemd every call
//! does nothing.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::status::Progress;
use crate::store::Store;

/// The store is open and written to, and polling has begun.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// The daemon drains.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog for as long as every loop comes round and the store takes writes; a free-running timer would
/// only prove that timers work. Returns at once where systemd has set no watchdog.
pub async fn keep_watchdog_fed(progress: Progress, store: Store) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut reported = false;
    loop {
        let stuck = progress.stuck();
        let written = tokio::time::timeout(limit / 2, store.ping()).await;
        let writes = matches!(&written, Ok(Ok(()))) || matches!(&written, Ok(Err(error)) if error.is_retryable());
        if stuck.is_empty() && writes {
            notify(&[NotifyState::Watchdog]);
            reported = false;
        } else if !reported {
            tracing::error!(
                class = "bug",
                stuck = stuck.join(", "),
                store_writes = writes,
                "no progress: the watchdog is no longer fed, and systemd will restart the daemon"
            );
            reported = true;
        }
        tokio::time::sleep((limit / 4).max(Duration::from_millis(100))).await;
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd was not told about a change of state");
    }
}
