//! Durations as people write them: `"30s"`, `"6h"`, `"1d 12h"`.

use std::time::Duration;

/// No wait, no retention and no look-back is longer: what is added to a clock stays far inside of what clocks can hold.
pub const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

/// Why a text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDuration {
    /// No number with a unit.
    #[error("expected a duration with a unit, such as \"30s\", \"10m\" or \"6h\"")]
    Unreadable,
    /// `1M` is a month to some and a minute to others.
    #[error("must say what it means: \"1M\" is a month, or `1m` for a minute? Write \"30d\" or \"1m\"")]
    MonthOrMinute,
    /// `5MS`, `2H`, `1Day`.
    #[error("must have its unit in small letters, such as \"30s\", \"10m\" or \"6h\"")]
    Capitals,
    /// Longer than [`LONGEST`].
    #[error("must be at most 100 years, \"100y\"")]
    TooLong,
}

/// Reads `"30s"`, `"6h"`, `"1d 12h"`.
pub fn read_duration(text: &str) -> Result<Duration, NoDuration> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoDuration::Unreadable);
    }
    // Part by part, because the sum of several may be more than there is.
    parts(text).try_fold(Duration::ZERO, |sum, part| {
        let duration = read_part(part)?;
        sum.checked_add(duration).filter(|sum| *sum <= LONGEST).ok_or(NoDuration::TooLong)
    })
}

/// The same, where nobody asks why not.
pub fn parse_duration(text: &str) -> Option<Duration> {
    read_duration(text).ok()
}

/// Each number with its unit.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut after_unit = false;
    let mut begins = vec![0];
    for (at, c) in text.char_indices().filter(|(_, c)| !c.is_whitespace()) {
        if after_unit && c.is_ascii_digit() {
            begins.push(at);
        }
        after_unit = c.is_alphabetic();
    }
    let ends: Vec<_> = begins.iter().skip(1).copied().chain([text.len()]).collect();
    begins.into_iter().zip(ends).map(|(begin, end)| &text[begin..end])
}

fn read_part(part: &str) -> Result<Duration, NoDuration> {
    let unit = part.trim().trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
    if unit == "M" {
        return Err(NoDuration::MonthOrMinute);
    }
    humantime::parse_duration(part).map_err(|error| match error {
        humantime::DurationError::NumberOverflow => NoDuration::TooLong,
        _ if humantime::parse_duration(&part.to_lowercase()).is_ok() => NoDuration::Capitals,
        _ => NoDuration::Unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_number_is_not_a_duration() {
        assert_eq!(parse_duration("90"), None);
        assert_eq!(parse_duration("1d 12h"), Some(Duration::from_secs(36 * 3600)));
        assert_eq!(parse_duration("1d12h"), Some(Duration::from_secs(36 * 3600)));
        assert_eq!(parse_duration("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(parse_duration("1.5h"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration(" 2 min "), Some(Duration::from_secs(120)));
        for no_duration in ["soon", "", " ", "-1s", "1h30", "1s2", "s", "1 s s", "PT1H", "1e3s", "1.s", "∞", "1٣s"] {
            assert_eq!(read_duration(no_duration), Err(NoDuration::Unreadable), "{no_duration}");
        }
    }

    #[test]
    fn a_unit_that_may_be_misread_is_refused_with_what_to_write() {
        for ambiguous in ["1M", "90M", "1d 5M", "5M 1d", "1.5M"] {
            assert_eq!(read_duration(ambiguous), Err(NoDuration::MonthOrMinute), "{ambiguous}");
        }
        for capitals in ["5MS", "1 Month", "2H", "1D", "30S", "1h 30Min", "3Weeks"] {
            assert_eq!(read_duration(capitals), Err(NoDuration::Capitals), "{capitals}");
        }
        assert!(NoDuration::MonthOrMinute.to_string().contains("a month, or `1m` for a minute?"));
    }

    #[test]
    fn nothing_is_longer_than_a_century() {
        assert_eq!(parse_duration("100y"), Some(LONGEST));
        for too_long in [
            "100y 1ns",
            "101y",
            "500000000000years",
            "18446744073709551615s",
            "18446744073709551616s",
            "18446744073709551615s 1000000000ns",
            "9999999999999999999999999y",
        ] {
            assert_eq!(read_duration(too_long), Err(NoDuration::TooLong), "{too_long}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9]{0,22}[.]?[0-9]{0,3} ?(ns|us|ms|s|m|M|h|d|w|y|Y|µs|ß|)[0-9]{0,22}(y|ns|s)?") {
            if let Ok(duration) = read_duration(&text) {
                prop_assert!(duration <= LONGEST);
            }
        }

        #[test]
        fn what_is_shown_is_read_back(seconds in 0..=LONGEST.as_secs(), nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos).min(LONGEST);
            let shown = humantime::format_duration(duration).to_string();
            prop_assert_eq!(read_duration(&shown), Ok(duration));
        }
    }
}
