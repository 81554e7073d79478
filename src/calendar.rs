//! Days and months by the clocks of one place, for budgets that begin anew with them. Pure.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::time::UnixMillis;

const EPOCH: Date = Date::constant(1970, 1, 1);

/// The days of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar(TimeZone);

/// A day and its month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970-01-01, by the date.
    pub number: i64,
    /// The number of the first day of its month.
    pub month_begins: i64,
    /// Days of the month from this one on, with it.
    pub days_left: u32,
    /// When the next day begins.
    pub ends_at: UnixMillis,
    /// When the next month begins.
    pub month_ends_at: UnixMillis,
}

impl Default for Calendar {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl Calendar {
    /// Reads an IANA time zone such as `Europe/Berlin`; `None` when it is not known.
    pub fn parse(zone: &str) -> Option<Self> {
        TimeZone::get(zone.trim()).ok().map(Self)
    }

    /// Its time zone.
    pub fn zone(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The day of a moment.
    pub fn day(&self, at: UnixMillis) -> Day {
        let moment = Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
        let today = moment.to_zoned(self.0.clone()).date();
        let last = today.last_of_month();
        Day {
            number: number(today),
            month_begins: number(today.first_of_month()),
            days_left: u32::try_from(number(last) - number(today) + 1).unwrap_or(1),
            ends_at: self.end_of(today),
            month_ends_at: self.end_of(last),
        }
    }

    fn end_of(&self, day: Date) -> UnixMillis {
        let next = day.tomorrow().and_then(|next| next.to_zoned(self.0.clone()));
        UnixMillis::from_millis(next.map_or(i64::MAX, |next| next.timestamp().as_millisecond()))
    }
}

fn number(date: Date) -> i64 {
    date.duration_since(EPOCH).as_hours() / 24
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::parse(text).unwrap()
    }

    #[test]
    fn a_day_is_that_of_the_place_and_not_that_of_greenwich() {
        let berlin = Calendar::parse("Europe/Berlin").unwrap();
        let (before, after) = (berlin.day(at("2026-11-30T22:59:59Z")), berlin.day(at("2026-11-30T23:00:00Z")));
        assert_eq!(after.number, before.number + 1);
        assert_eq!((before.ends_at, before.month_ends_at), (at("2026-11-30T23:00:00Z"), at("2026-11-30T23:00:00Z")));
        assert_eq!((before.days_left, after.days_left), (1, 31), "the last of November, the first of December");
        assert_eq!(after.month_begins, after.number);
        assert_eq!(Calendar::default().day(at("2026-11-30T23:00:00Z")).number, before.number);
        assert_eq!(Calendar::default().day(at("1970-01-02T00:00:00Z")).number, 1);
        assert_eq!(Calendar::default().day(at("1969-12-31T23:00:00Z")).number, -1);
    }

    #[test]
    fn a_day_on_which_the_clocks_change_has_the_hours_it_has() {
        let berlin = Calendar::parse("Europe/Berlin").unwrap();
        for (day, hours) in [("2026-03-29T12:00:00Z", 23), ("2026-10-25T12:00:00Z", 25), ("2026-11-21T12:00:00Z", 24)] {
            let today = berlin.day(at(day));
            let tomorrow = berlin.day(today.ends_at);
            assert_eq!(tomorrow.number, today.number + 1, "{day}");
            let yesterday = berlin.day(at(day) - std::time::Duration::from_secs(86_400));
            assert_eq!(today.ends_at.since(yesterday.ends_at).as_secs(), hours * 3_600, "{day}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_moment_lies_within_its_day(millis: i64, east: bool) {
            let zone = if east { "Pacific/Kiritimati" } else { "Pacific/Pago_Pago" };
            let (calendar, at) = (Calendar::parse(zone).unwrap(), UnixMillis::from_millis(millis));
            let day = calendar.day(at);
            proptest::prop_assert!(day.ends_at >= at && day.month_ends_at >= day.ends_at);
            proptest::prop_assert!((1..=31).contains(&day.days_left));
        }
    }

    #[test]
    fn no_moment_is_too_far_away() {
        for millis in [i64::MIN, i64::MAX] {
            Calendar::default().day(UnixMillis::from_millis(millis));
        }
        assert_eq!(Calendar::parse("Berlin"), None);
    }
}
