//! Hours of the day in which nobody waits for an answer. Pure.

use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::time::UnixMillis;

/// A part of every day, by the clocks of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    to: Time,
    zone: TimeZone,
}

impl QuietHours {
    /// Reads `"22:00-07:00 Europe/Berlin"`: from and to in hours and minutes, and an IANA time zone. The error says what is
    /// wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "must be two times and a time zone, such as \"22:00-07:00 Europe/Berlin\"";
        let (times, zone) = text.trim().split_once(' ').ok_or(FORM)?;
        let (from, to) = times.split_once('-').ok_or(FORM)?;
        let time = |text: &str| Time::strptime("%H:%M", text).map_err(|_| FORM);
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err("begins and ends at the same time, so it would hold always or never");
        }
        let zone =
            TimeZone::get(zone.trim()).map_err(|_| "names a time zone that is not known, such as Europe/Berlin is")?;
        Ok(Self { from, to, zone })
    }

    /// Whether they hold at a moment. Days on which the clocks change have the hours that the clocks show.
    pub fn hold(&self, at: UnixMillis) -> bool {
        let Ok(moment) = Timestamp::from_millisecond(at.as_millis()) else { return false };
        let time = moment.to_zoned(self.zone.clone()).time();
        let (begun, over) = (time >= self.from, time >= self.to);
        if self.from < self.to { begun && !over } else { begun || !over }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(hours: &str, at: &str) -> bool {
        QuietHours::parse(hours).unwrap().hold(UnixMillis::parse(at).unwrap())
    }

    #[test]
    fn they_go_over_midnight_by_the_clocks_of_their_place() {
        let berlin = "22:00-07:00 Europe/Berlin";
        for (at, quiet) in [
            ("2026-01-15T20:59:00Z", false),
            ("2026-01-15T21:00:00Z", true),
            ("2026-01-16T05:59:00Z", true),
            ("2026-01-16T06:00:00Z", false),
            // Summer time: an hour earlier by UTC.
            ("2026-07-15T20:00:00Z", true),
            ("2026-07-16T05:00:00Z", false),
        ] {
            assert_eq!(hold(berlin, at), quiet, "{at}");
        }
        assert!(hold("12:00-13:30 America/New_York", "2026-01-15T17:15:00Z"));
        assert!(!hold("12:00-13:30 America/New_York", "2026-01-15T18:30:00Z"));
    }

    #[test]
    fn on_days_of_a_clock_change_the_clocks_decide() {
        // 2026-03-29: 02:00 becomes 03:00; 2026-10-25: 03:00 becomes 02:00 again.
        assert!(!hold("02:00-03:00 Europe/Berlin", "2026-03-29T00:59:59Z"));
        assert!(!hold("02:00-03:00 Europe/Berlin", "2026-03-29T01:00:00Z"), "there is no such hour");
        assert!(hold("02:00-03:00 Europe/Berlin", "2026-10-25T00:30:00Z"));
        assert!(hold("02:00-03:00 Europe/Berlin", "2026-10-25T01:30:00Z"), "there are two");
        assert!(!hold("02:00-03:00 Europe/Berlin", "2026-10-25T02:00:00Z"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("22:00-07:00", "two times and a time zone"),
            ("22-7 Europe/Berlin", "two times"),
            ("25:00-07:00 Europe/Berlin", "two times"),
            ("22:00-07:00 Berlin", "not known"),
            ("07:00-07:00 UTC", "always or never"),
        ] {
            let error = QuietHours::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
