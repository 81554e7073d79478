//! Unipile's own limiter: so many requests per endpoint in a fixed window that the first of them begins.

use std::collections::HashMap;
use std::time::Duration;

use crate::simulator::Endpoint;
use crate::time::UnixMillis;

const WINDOW: Duration = Duration::from_secs(60);

/// What the headers say after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulator) struct Left {
    /// Whether this request was one too many.
    pub(in crate::simulator) spent: bool,
    pub(in crate::simulator) limit: u32,
    pub(in crate::simulator) remaining: u32,
    /// Seconds until the window ends.
    pub(in crate::simulator) reset: u64,
}

/// When each endpoint's window began, and how many requests it has had.
#[derive(Default)]
pub(in crate::simulator) struct Pace(HashMap<Endpoint, (UnixMillis, u32)>);

impl Pace {
    /// Counts a request.
    pub(in crate::simulator) fn take(&mut self, endpoint: Endpoint, limit: u32, now: UnixMillis) -> Left {
        let (began, taken) = self.0.entry(endpoint).or_insert((now, 0));
        if now.since(*began) >= WINDOW {
            (*began, *taken) = (now, 0);
        }
        let spent = *taken >= limit;
        if !spent {
            *taken += 1;
        }
        let millis = u64::try_from((*began + WINDOW).since(now).as_millis()).unwrap_or(u64::MAX);
        Left { spent, limit, remaining: limit - (*taken).min(limit), reset: millis.div_ceil(1000) }
    }
}
