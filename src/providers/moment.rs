//! Times as providers write them.

use super::json::Scalar;
use crate::time::UnixMillis;

/// A number that is less was not meant as seconds: LinkedIn is younger.
const SECONDS: i64 = 1_000_000_000;

/// The same as milliseconds; as seconds it would lie 30,000 years ahead.
const MILLIS: i64 = SECONDS * 1_000;

/// A time as a number of milliseconds or seconds, as a text of its digits, or as RFC 3339. Of anything else the time is
/// unknown: a time that was guessed wrong would file a new message under the past.
pub(super) fn moment(value: &Scalar<'_>) -> Option<UnixMillis> {
    of_text(value.as_str())
}

/// The same of what is written.
pub(super) fn of_text(text: &str) -> Option<UnixMillis> {
    // Fractions are documented nowhere; the whole part is a time all the same.
    let whole_part = || text.parse::<f64>().ok().map(|float| float as i64);
    match text.parse().ok().or_else(whole_part) {
        Some(number) if number >= MILLIS => UnixMillis::from_wire_millis(number),
        Some(number) if number >= SECONDS => UnixMillis::from_wire_millis(number * 1_000),
        Some(_) => None,
        None => UnixMillis::parse(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_every_form_and_what_cannot_be_one_is_unknown() {
        for (text, millis) in [
            ("1760000123456", Some(1_760_000_123_456)),
            ("1760000123456.0", Some(1_760_000_123_456)),
            ("1.760000123456e12", Some(1_760_000_123_456)),
            ("1760000123", Some(1_760_000_123_000)),
            ("1760000123.9", Some(1_760_000_123_000)),
            ("2025-10-09T08:55:23.456Z", Some(1_760_000_123_456)),
            ("2025-10-09T10:55:23.456+02:00", Some(1_760_000_123_456)),
            ("1000000000", Some(1_000_000_000_000)),
            ("999999999", None),
            ("20251009", None),
            ("29333335", None),
            ("0", None),
            ("-5", None),
            ("1760000123456789", None),
            ("9223372036854775807", None),
            ("1e300", None),
            ("nan", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(of_text(text).map(UnixMillis::as_millis), millis, "{text}");
        }
    }
}
