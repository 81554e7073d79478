//! Fields of another type than expected, as the log tells of them: each once an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::poll::Poller;
use crate::model::Unreadable;

const SAID_AGAIN: Duration = Duration::from_secs(3600);

/// When each field was told of last; there are only as many as our own code has names for.
#[derive(Default)]
pub(super) struct OddFields {
    told: Mutex<HashMap<&'static str, Instant>>,
}

impl OddFields {
    /// Those of these fields that are to be told of now.
    fn due(&self, fields: &[&'static str], now: Instant) -> Vec<&'static str> {
        if fields.is_empty() {
            return vec![];
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = fields.to_vec();
        due.retain(|field| {
            let is_due = told.get(field).is_none_or(|at| now.duration_since(*at) >= SAID_AGAIN);
            if is_due {
                told.insert(field, now);
            }
            is_due
        });
        due
    }
}

impl Poller {
    /// Tells of fields that count as absent because of their type.
    pub(super) fn tell_odd(&self, unreadable: &Unreadable) {
        for field in self.odd.due(&unreadable.fields, Instant::now()) {
            tracing::warn!(account = %self.account, field,
                "the provider sends this field with a value of another type, which counts as absent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_told_of_once_an_hour() {
        let (odd, now) = (OddFields::default(), Instant::now());
        assert_eq!(odd.due(&["text", "id"], now), ["text", "id"]);
        assert_eq!(odd.due(&["text", "time"], now + SAID_AGAIN / 2), ["time"]);
        assert_eq!(odd.due(&["text", "time"], now + SAID_AGAIN), ["text"]);
        assert!(odd.due(&[], now + 9 * SAID_AGAIN).is_empty());
    }
}
