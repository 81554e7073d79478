//! Copies of answers, held for an hour.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;

use crate::time::UnixMillis;

/// How long a copy may be served.
const HELD_FOR: Duration = Duration::from_secs(3600);

/// Most copies that are held, so that a client that never asks twice for the same does not take all memory.
const MOST: usize = 10_000;

/// What a request allows, as in HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::simulator) struct Control {
    /// `no-cache` or `no-store`: the answer must be fresh.
    pub(in crate::simulator) fresh: bool,
    /// `no-store`: no copy may be left of it.
    pub(in crate::simulator) no_store: bool,
    /// `max-age`: how old a copy may be.
    pub(in crate::simulator) max_age: Option<Duration>,
}

impl Control {
    /// Reads `Cache-Control`; what is not known is passed over.
    pub(in crate::simulator) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
        for directive in values.flat_map(|value| value.split(',')) {
            let directive = directive.trim().to_ascii_lowercase();
            match directive.as_str() {
                "no-cache" => control.fresh = true,
                "no-store" => (control.fresh, control.no_store) = (true, true),
                _ => {
                    if let Some(secs) = directive.strip_prefix("max-age=").and_then(|secs| secs.parse().ok()) {
                        control.max_age = Some(Duration::from_secs(secs));
                    }
                }
            }
        }
        control
    }
}

struct Copy {
    body: Vec<u8>,
    made_at: UnixMillis,
}

/// The copies, by path and query.
#[derive(Default)]
pub(in crate::simulator) struct Cache(HashMap<String, Copy>);

impl Cache {
    /// A copy that will do, and its age.
    pub(in crate::simulator) fn copy(
        &self,
        url: &str,
        control: Control,
        now: UnixMillis,
    ) -> Option<(Vec<u8>, Duration)> {
        let copy = self.0.get(url).filter(|_| !control.fresh)?;
        let age = now.since(copy.made_at);
        let will_do = age < HELD_FOR && control.max_age.is_none_or(|most| age <= most);
        will_do.then(|| (copy.body.clone(), age))
    }

    /// Holds a copy of a fresh answer, unless the request forbids it.
    pub(in crate::simulator) fn keep(&mut self, url: &str, body: &[u8], control: Control, now: UnixMillis) {
        if control.no_store {
            return;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, copy| now.since(copy.made_at) < HELD_FOR);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(url.to_owned(), Copy { body: body.to_vec(), made_at: now });
    }
}
