//! Named steps at which the crash tests end the process.

/// In test builds, ends the process as a power cut would when `INBOXD_DIE_AT` names this step; `name:3` waits for the third
/// time. In release builds, nothing.
#[cfg(debug_assertions)]
pub(super) fn fault_point(name: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let wanted = std::env::var("INBOXD_DIE_AT").ok()?;
        let (name, times) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((wanted, left)) = &*WANTED
        && wanted == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        let signal = rustix::process::Signal::KILL;
        rustix::process::kill_process(rustix::process::getpid(), signal).expect("a process may end itself");
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn fault_point(_name: &str) {}
