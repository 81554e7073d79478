//! What the times of an inbox tell, and what they do not.
//!
//! A list's times are exact to a second in both directions: one provider lists whole seconds, cut,
//! to the nearest or up, beside messages in milliseconds. So no list time is taken for the time of a
//! message. A list time that is not a whole second has not been rounded, and is exact.

use std::time::Duration;

use crate::time::UnixMillis;

/// How far the time of an activity may lie from the time that a list shows of it.
const RESOLUTION: Duration = Duration::from_secs(1);

fn is_whole_second(time: UnixMillis) -> bool {
    time.as_millis() % 1000 == 0
}

/// The line behind which messages are news, of a conversation whose last activity a list showed as
/// `shown`; `listed_at` is when it was listed, by the provider's clock.
///
/// A message within the resolution of `shown` is the one that the list showed, or was written beside
/// it: history. Only a list of that very moment may not have shown what was written next. There what
/// is in doubt is announced.
pub(super) fn line_of_history(shown: UnixMillis, listed_at: Option<UnixMillis>) -> UnixMillis {
    if !is_whole_second(shown) {
        return shown;
    }
    match listed_at.is_some_and(|at| shown + 2 * RESOLUTION <= at) {
        true => shown + RESOLUTION,
        false => shown - RESOLUTION,
    }
}

/// The line behind which messages are news, of a conversation that no list showed whose youngest
/// activity was `youngest`.
pub(super) fn line_of_newcomers(youngest: UnixMillis) -> UnixMillis {
    youngest - RESOLUTION
}

/// Whether what a list shows of a conversation can be told from what it showed when that was found,
/// and its line drawn.
pub(super) fn is_later(shown: UnixMillis, line: UnixMillis) -> bool {
    shown > line + 2 * RESOLUTION
}

/// Whether two marks are times of one activity, read off two lists of which one rounds: nothing has
/// moved where the conversation has been read up to there.
pub(super) fn is_one_activity(mark: &str, other: &str) -> bool {
    let times = UnixMillis::parse(mark).zip(UnixMillis::parse(other));
    times.is_some_and(|(one, other)| one.since(other).max(other.since(one)) <= RESOLUTION)
}

/// Whether the youngest message read is the activity that a list has shown, or younger. Where the
/// poll `found_some` that were not known, a time within the resolution is that activity. Where it
/// found none, a second message in the same second may be missing still.
pub(super) fn reaches(youngest: Option<UnixMillis>, shown: UnixMillis, found_some: bool) -> bool {
    let Some(youngest) = youngest else { return false };
    if youngest >= shown {
        return true;
    }
    let is_rounded = is_whole_second(shown) || is_whole_second(youngest);
    let second = |time: UnixMillis| time.as_millis().div_euclid(1000);
    is_rounded && (second(youngest) >= second(shown) || (found_some && youngest + RESOLUTION > shown))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> UnixMillis {
        UnixMillis::from_millis(millis)
    }

    /// A time as a list may show it.
    fn rounded(millis: i64, how: u8) -> i64 {
        match how {
            0 => millis,
            1 => millis.div_euclid(1000) * 1000,
            2 => (millis + 500).div_euclid(1000) * 1000,
            _ => (millis + 999).div_euclid(1000) * 1000,
        }
    }

    proptest! {
        #[test]
        fn nothing_old_is_news_and_nothing_new_is_history_however_a_list_rounds(
            written in 1_000_000i64..2_000_000, how in 0u8..4, listed_after in 0i64..10_000, next_after in 1i64..5_000,
        ) {
            let listed_at = written + listed_after;
            let line = line_of_history(at(rounded(written, how)), Some(at(listed_at)));
            // What was written two seconds before the list or earlier is history.
            if listed_after >= 3_000 {
                prop_assert!(at(written) <= line);
            }
            // What is written after the list is news.
            prop_assert!(at(listed_at + next_after) > line);
        }

        #[test]
        fn what_was_read_is_what_was_shown_however_a_list_rounds(written in 1_000_000i64..2_000_000, how in 0u8..4) {
            let shown = at(rounded(written, how));
            prop_assert!(reaches(Some(at(written)), shown, true));
            prop_assert!(!reaches(Some(at(written - 2_000)), shown, true));
        }
    }

    #[test]
    fn a_mark_is_reached_by_a_message_as_young_and_only_rounded_times_are_compared_in_seconds() {
        let reaches = |youngest: i64, shown: i64| reaches(Some(at(youngest)), at(shown), false);
        assert!(reaches(12_171, 12_171));
        assert!(!reaches(11_748, 12_171), "two messages in one second are two");
        assert!(!reaches(12_170, 12_171));
        assert!(reaches(12_000, 12_171) && reaches(12_171, 12_000));
        assert!(!reaches(11_000, 12_171));
        assert!(!reaches(11_700, 12_000), "nothing new was read: the one that the list shows may be missing");
        assert!(!super::reaches(None, at(0), true));
    }

    #[test]
    fn two_lists_may_show_one_activity_in_two_ways() {
        assert!(is_one_activity("2026-11-20T09:00:46.000Z", "2026-11-20T09:00:45.871Z"));
        assert!(!is_one_activity("2026-11-20T09:00:46.000Z", "2026-11-20T09:00:47.001Z"));
        assert!(!is_one_activity("1763629246000 0badcafe", "1763629246000 00000000"), "one text, then another");
    }

    #[test]
    fn an_exact_time_is_a_line_of_its_own() {
        assert_eq!(line_of_history(at(12_171), None), at(12_171));
        assert_eq!(line_of_history(at(12_000), Some(at(14_000))), at(13_000));
        assert_eq!(line_of_history(at(12_000), Some(at(13_999))), at(11_000), "what is in doubt is announced");
        assert_eq!(line_of_history(at(12_000), None), at(11_000));
    }
}
