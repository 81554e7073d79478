//! When a file is closed and begun anew. Pure: time is passed in.

use serde::{Deserialize, Deserializer};

use crate::settings::parse_size;
use crate::time::UnixMillis;

const EXPECTED: &str =
    "expected \"never\", \"daily\" or a size with a unit, such as \"100MiB\" (a bare number is no size)";

/// When a file is closed and begun anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rotate {
    /// It grows for good.
    #[default]
    Never,
    /// With the first event of a UTC day.
    Daily,
    /// Before the event that would make it larger than so many bytes.
    Size(u64),
}

impl<'de> Deserialize<'de> for Rotate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = || serde::de::Error::custom(EXPECTED);
        let text = String::deserialize(deserializer).map_err(|_| expected())?;
        match text.trim() {
            "never" => Ok(Self::Never),
            "daily" => Ok(Self::Daily),
            size => parse_size(size).map(Self::Size).ok_or_else(expected),
        }
    }
}

impl Rotate {
    /// Whether a file of `length` bytes, written at `written_at`, is closed before a line of `next` bytes is written
    /// `now`. A clock that was set back closes nothing.
    pub(super) fn is_due(self, length: u64, written_at: UnixMillis, next: usize, now: UnixMillis) -> bool {
        let due = match self {
            Self::Never => false,
            Self::Daily => day(written_at) < day(now),
            Self::Size(limit) => length + next as u64 > limit,
        };
        due && length > 0
    }

    /// How many lines, of these lengths, go into a file that has `length` bytes: at least one.
    pub(super) fn fitting(self, length: u64, lines: impl Iterator<Item = usize>) -> usize {
        let Self::Size(limit) = self else { return lines.count() };
        let after = lines.scan(length, |length, line| {
            *length += line as u64;
            Some(*length)
        });
        after.take_while(|&length| length <= limit).count().max(1)
    }

    /// What tells the closed file from the others: the day it was written on, or the moment of closing.
    pub(super) fn stamp(self, written_at: UnixMillis, now: UnixMillis) -> String {
        match self {
            Self::Daily => day(written_at),
            Self::Size(_) | Self::Never => second(now),
        }
    }
}

/// `2026-11-20`, of UTC.
fn day(at: UnixMillis) -> String {
    at.to_string()[..10].to_owned()
}

/// `2026-11-20T091403Z`: without the colons, which some file systems refuse.
fn second(at: UnixMillis) -> String {
    at.to_string()[..19].replace(':', "") + "Z"
}

/// The moment that a stamp speaks of: the closing, or the end of the day. `None` where it is no stamp of ours.
pub(super) fn moment_of(stamp: &str) -> Option<UnixMillis> {
    let end_of_day = UnixMillis::parse(&format!("{stamp}T23:59:59Z")).filter(|&at| day(at) == stamp);
    end_of_day.or_else(|| UnixMillis::parse(stamp).filter(|&at| second(at) == stamp))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::parse(text).unwrap()
    }

    #[test]
    fn a_day_ends_at_midnight_of_utc_and_only_for_a_file_with_content() {
        let due = |written_at, now| Rotate::Daily.is_due(1, at(written_at), 100, at(now));
        assert!(due("2026-11-20T23:59:59.999Z", "2026-11-21T00:00:00Z"));
        assert!(due("2025-12-31T12:00:00Z", "2026-01-01T00:00:00Z"));
        assert!(!due("2026-11-20T00:00:00Z", "2026-11-20T23:59:59.999Z"));
        assert!(!due("2026-11-21T00:00:00Z", "2026-11-20T23:59:59Z"), "the clock was set back");
        let (yesterday, today) = (at("2026-11-20T12:00:00Z"), at("2026-11-21T12:00:00Z"));
        assert!(!Rotate::Daily.is_due(0, yesterday, 100, today));
        assert!(!Rotate::Never.is_due(u64::MAX / 2, yesterday, 100, today));
    }

    #[test]
    fn a_file_is_full_when_the_next_line_would_pass_the_limit_and_not_before() {
        let now = at("2026-11-20T12:00:00Z");
        let due = |length, next| Rotate::Size(1000).is_due(length, now, next, now);
        assert_eq!([due(900, 100), due(900, 101), due(0, 5000)], [false, true, false]);
    }

    #[test]
    fn stamps_are_the_day_written_on_or_the_second_of_closing() {
        let (written_at, now) = (at("2026-11-20T23:00:00Z"), at("2026-11-21T09:14:03.999Z"));
        assert_eq!(Rotate::Daily.stamp(written_at, now), "2026-11-20");
        assert_eq!(Rotate::Size(1).stamp(written_at, now), "2026-11-21T091403Z");
        assert_eq!(moment_of("2026-11-20"), Some(at("2026-11-20T23:59:59Z")));
        assert_eq!(moment_of("2026-11-21T091403Z"), Some(at("2026-11-21T09:14:03Z")));
    }

    #[test]
    fn what_is_only_like_a_stamp_is_none() {
        for other in ["", "2026-11-31", "2026-11-2", "20261120", " 2026-11-20", "2026-11-20T", "2026-11-20T0914Z"] {
            assert_eq!(moment_of(other), None, "{other}");
        }
        for other in ["2026-11-20T09:14:03Z", "2026-11-20T091403+01:00", "2026-11-20T246060Z", "2026-11-20t091403z"] {
            assert_eq!(moment_of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_has_a_stamp_that_speaks_of_it(millis in -62_135_510_400_000i64..=253_402_207_199_999) {
            let now = UnixMillis::from_millis(millis);
            let second = moment_of(&Rotate::Size(1).stamp(now, now)).unwrap();
            prop_assert!((0..1000).contains(&(now.as_millis() - second.as_millis())));
            let end_of_day = moment_of(&Rotate::Daily.stamp(now, now)).unwrap();
            prop_assert!((-1000..86_400_000).contains(&(end_of_day.as_millis() - now.as_millis())));
        }

        #[test]
        fn files_take_all_lines_in_order_and_pass_the_limit_only_for_one_that_is_longer(
            lines in prop::collection::vec(1usize..400, 1..60), found in 0u64..1200,
        ) {
            let (rotate, now) = (Rotate::Size(1000), UnixMillis::from_millis(0));
            let (mut length, mut rest) = (found, &lines[..]);
            while let Some(&next) = rest.first() {
                if rotate.is_due(length, now, next, now) {
                    length = 0;
                }
                let count = rotate.fitting(length, rest.iter().copied());
                length += rest[..count].iter().sum::<usize>() as u64;
                prop_assert!(length <= 1000 && count >= 1);
                rest = &rest[count..];
                prop_assert!(rest.first().is_none_or(|&next| length + next as u64 > 1000), "closed too early");
            }
        }
    }
}
