//! How the parts read their settings: each owns its settings type, the configuration hands it a table. Durations and
//! sizes are written with units; a bare number where a unit is needed is an error.

mod path;
mod span;
mod written;

use std::num::NonZeroU32;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

pub use path::file_problem;
pub use span::{LONGEST, NoDuration, parse_duration, read_duration};
pub use written::{OneOrMany, Written, array, flag, list, texts};

/// Reads a table of the configuration into the settings of a part: JSON values in, an error with its key path out.
pub trait Read {
    /// What goes wrong when reading.
    type Error;
    /// Reads one table into its type.
    fn read<T: DeserializeOwned>(&self, table: serde_json::Value) -> Result<T, Self::Error>;
}

/// Reads `"256MiB"`, `"1 GB"`: bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let bare_number = text.trim().bytes().all(|b| b.is_ascii_digit());
    if bare_number { None } else { text.trim().parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64()) }
}

const RATE: &str = "expected a rate of at least 1, such as \"10/s\", \"30/m\" or \"500/h\"";
const SIZE: &str = "expected a size with a unit, such as \"256MiB\"";

/// For `#[serde(with = ...)]`: one duration.
pub mod duration {
    use super::*;

    /// Reads text with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| refused(NoDuration::Unreadable))?;
        read_duration(&text).map_err(refused)
    }

    pub(super) fn refused<E: serde::de::Error>(why: NoDuration) -> E {
        E::custom(why)
    }
}

/// For `#[serde(with = ...)]`: one duration that may be missing.
pub mod optional_duration {
    use super::*;

    /// Reads text with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        duration::deserialize(deserializer).map(Some)
    }
}

/// For `#[serde(with = ...)]`: a list of durations.
pub mod durations {
    use super::*;

    /// Reads a list of texts with units.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let unreadable = |_| duration::refused(NoDuration::Unreadable);
        let texts = Vec::<String>::deserialize(deserializer).map_err(unreadable)?;
        texts.iter().map(|text| read_duration(text)).collect::<Result<_, _>>().map_err(duration::refused)
    }
}

/// For `#[serde(with = ...)]`: a size in bytes.
pub mod size {
    use super::*;

    /// Reads text with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(SIZE))?;
        parse_size(&text).ok_or_else(|| serde::de::Error::custom(SIZE))
    }
}

/// How many attempts a sink is given in a time, evenly spaced: `"10/s"`, `"30/m"` or `"500/h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many ...
    pub events: NonZeroU32,
    /// ... in so long: a second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    /// Reads a number and a unit with a slash between them.
    pub fn parse(text: &str) -> Option<Self> {
        let (events, unit) = text.split_once('/')?;
        let per = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        Some(Self { events: events.trim().parse().ok()?, per: Duration::from_secs(per) })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(RATE))?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(RATE))
    }
}

/// A count that may also be written as text, as environment variables are.
pub fn count<'de, D: Deserializer<'de>, T: std::str::FromStr + TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(u64),
        Text(String),
    }
    let count = match Count::deserialize(deserializer) {
        Ok(Count::Number(number)) => T::try_from(number).ok(),
        Ok(Count::Text(text)) => text.trim().parse().ok(),
        Err(_) => None,
    };
    count.ok_or_else(|| serde::de::Error::custom("expected a whole number"))
}

/// A count that may be missing.
pub fn optional_count<'de, D: Deserializer<'de>, T: std::str::FromStr + TryFrom<u64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    count(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit_of_time() {
        let rate = |events, seconds| {
            Some(Rate { events: NonZeroU32::new(events).unwrap(), per: Duration::from_secs(seconds) })
        };
        assert_eq!(Rate::parse("10/s"), rate(10, 1));
        assert_eq!(Rate::parse("30/m"), rate(30, 60));
        assert_eq!(Rate::parse(" 500 / h "), rate(500, 3600));
        for wrong in ["0/s", "10", "10/", "/s", "10/d", "-1/s", "1.5/s", "10/2s", "10 s", "99999999999/s"] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }
}
