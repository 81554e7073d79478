//! Moments as the wire and the store know them: milliseconds since 1970, UTC.
//!
//! Waiting never uses these; it uses the monotonic clock of tokio. A wall-clock step must not stall or storm.

use std::time::Duration;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(i64);

/// Year 1 to the end of 9999, less the day that offsets may need: what RFC 3339 can print in any zone. Anything
/// outside is not a time a person wrote a message at.
const PRINTABLE: std::ops::RangeInclusive<i64> = -62_135_510_400_000..=253_402_207_199_999;

impl UnixMillis {
    /// 1970: before anybody wrote a message.
    pub const EPOCH: Self = Self(0);

    /// The wall clock.
    pub fn now() -> Self {
        Self(Timestamp::now().as_millisecond())
    }

    /// A moment from a number of milliseconds; outside the years 1 to 9999 it is held at the nearest of them.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(*PRINTABLE.start(), *PRINTABLE.end()))
    }

    /// A moment from a number that a provider sent; `None` where no calendar has it.
    pub fn from_wire_millis(millis: i64) -> Option<Self> {
        PRINTABLE.contains(&millis).then_some(Self(millis))
    }

    /// Reads RFC 3339 with any offset and precision; digits past the millisecond are dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let timestamp: Timestamp = text.trim().parse().ok()?;
        Self::from_wire_millis(timestamp.as_millisecond())
    }

    /// Milliseconds since 1970.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for UnixMillis {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for UnixMillis {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let timestamp = Timestamp::from_millisecond(self.0).map_err(|_| std::fmt::Error)?;
        write!(f, "{timestamp:.3}")
    }
}

impl Serialize for UnixMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for UnixMillis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UnixMillis".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl<'de> Deserialize<'de> for UnixMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 time such as 2026-01-31T09:00:00Z"))
    }
}

/// How long the machine has slept since it was started: what one steady clock counts and the other, by which everything waits, does
/// not. Nothing where the system does not tell.
pub fn slept() -> Duration {
    #[cfg(target_os = "linux")]
    {
        use rustix::time::{ClockId, clock_gettime};
        let [awake, started] = [ClockId::Monotonic, ClockId::Boottime].map(|clock| {
            let time = clock_gettime(clock);
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
        });
        started.saturating_sub(awake)
    }
    #[cfg(not(target_os = "linux"))]
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_sum_is_a_moment_that_can_be_shown(millis: i64, seconds: u64, nanos in 0..1_000_000_000_u32, other: i64) {
            let (at, by) = (UnixMillis::from_millis(millis), Duration::new(seconds, nanos));
            for moment in [at + by, at - by] {
                prop_assert_eq!(UnixMillis::parse(&moment.to_string()), Some(moment));
            }
            prop_assert!(at - by <= at && at <= at + by);
            // Behind any steady clock of our time, and far from the end of it.
            let apart = at.since(UnixMillis::from_millis(other));
            prop_assert!(std::time::Instant::now().checked_add(apart).is_some());
        }
    }

    #[test]
    fn offsets_and_precisions_name_the_same_moment() {
        let utc = UnixMillis::parse("2026-11-20T09:14:03.512Z").unwrap();
        assert_eq!(UnixMillis::parse("2026-11-20T10:14:03.512999+01:00"), Some(utc));
        assert_eq!(utc.to_string(), "2026-11-20T09:14:03.512Z");
        assert_eq!(UnixMillis::parse("2026-11-20T09:14:03Z").unwrap().to_string(), "2026-11-20T09:14:03.000Z");
        assert_eq!(UnixMillis::parse("yesterday"), None);
    }

    #[test]
    fn moments_no_calendar_has_are_refused_from_the_wire_and_clamped_in_arithmetic() {
        assert_eq!(UnixMillis::from_wire_millis(i64::MAX), None);
        assert!((UnixMillis::from_millis(i64::MAX) + Duration::from_secs(1)).to_string().starts_with("9999-12-30T"));
        assert!(UnixMillis::from_millis(i64::MIN).to_string().starts_with("0001-01-02T"));
    }
}
