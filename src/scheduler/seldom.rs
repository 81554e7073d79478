//! Folders of an inbox in which hardly anything moves are listed seldom. Pure.

use std::time::Duration;

use crate::time::UnixMillis;

/// Sweeps over the other folders for one over such a folder.
const SWEEPS: u32 = 100;

/// Whether a folder that was last listed to its end then is to be listed again, where the others are listed once in
/// `interval`.
pub(super) fn is_due(listed_at: Option<UnixMillis>, interval: Duration, now: UnixMillis) -> bool {
    // A time ahead of the clock was written by a clock that has been set back since.
    listed_at.is_none_or(|at| at > now || now.since(at) >= interval.saturating_mul(SWEEPS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn such_a_folder_is_listed_at_once_and_then_once_in_a_hundred_sweeps() {
        let at = |seconds: i64| UnixMillis::from_millis(seconds * 1000);
        let minute = Duration::from_secs(60);
        assert!(is_due(None, minute, at(0)));
        let dues = [0, 60, 5_999, 6_000, 90_000].map(|now| is_due(Some(at(0)), minute, at(now)));
        assert_eq!(dues, [false, false, false, true, true]);
        assert!(is_due(Some(at(500)), minute, at(400)), "a clock that was set back holds nothing up");
        assert!(!is_due(Some(at(0)), Duration::MAX, at(90_000)));
    }
}
