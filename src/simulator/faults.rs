//! Faults on demand: what goes wrong, and which requests it happens to.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{ConversationRef, Endpoint};

/// What goes wrong with one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This answer instead; JSON unless the headers say otherwise.
    Status {
        /// HTTP status.
        code: u16,
        /// Body as it is sent.
        #[serde(default)]
        body: String,
        /// Further headers.
        #[serde(default)]
        headers: Vec<(String, String)>,
    },
    /// 429 in the words of the provider.
    RateLimited {
        /// How it says when to come back.
        retry_after: RetryAfter,
    },
    /// A proxy's page with status 200.
    Html200,
    /// A proxy's page with this status.
    Html5xx(u16),
    /// The right answer, broken off in the middle of its body.
    TruncatedBody,
    /// The right answer, its body spread over this time.
    SlowBody {
        /// Milliseconds.
        millis: u64,
    },
    /// The request is taken and never answered.
    Hang,
    /// The connection is reset before the request has any effect.
    Reset,
    /// A sound envelope blown up with a useless field.
    Oversized {
        /// Length of that field.
        bytes: usize,
    },
    /// Arrays within arrays where the messages should be.
    DeeplyNested {
        /// How many.
        depth: usize,
    },
    /// The request has its effect, then the connection is reset.
    ReplyLost,
    /// The right page with the cursor that was asked for and a promise of more (ConnectSafely, LinkupAPI).
    RepeatCursor,
    /// A refusal with this error type (ConnectSafely, LinkupAPI v2: `code`; LinkupAPI v1: the HTTP status).
    TypedError {
        /// Error type.
        error_type: String,
        /// Text for people.
        message: String,
    },
    /// HTTP 200 with `success: false` and no error type.
    SuccessFalse,
    /// HTTP 200 with `success: true` and nothing else.
    MissingPayload,
}

impl Fault {
    /// Whether the request has no effect of its own: it gets something made up, or waits for ever.
    pub(super) fn replaces_the_answer(&self) -> bool {
        !matches!(
            self,
            Self::RepeatCursor | Self::SlowBody { .. } | Self::TruncatedBody | Self::ReplyLost | Self::Reset
        )
    }
}

/// How a 429 says when to come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// `Retry-After` in seconds.
    Seconds(u64),
    /// `Retry-After` as an HTTP date, so many seconds from now.
    HttpDate(i64),
    /// `Retry-After` with this text.
    Garbage(String),
    /// Not at all.
    Missing,
    /// `X-RateLimit-Reset` as ISO 8601, so many seconds from now.
    ResetHeaderIso(i64),
    /// `X-RateLimit-Reset` in Unix seconds, so many seconds from now.
    ResetHeaderUnix(i64),
    /// `holdUntil` in the body, so many seconds from now.
    HoldUntil(i64),
}

/// Which requests a fault happens to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// Only this endpoint; `None` is every provider endpoint.
    pub endpoint: Option<Endpoint>,
    /// How many matching requests pass first.
    pub skip: u32,
    /// How often it happens; `None` is until the faults are cleared.
    pub times: Option<u32>,
    /// Share of the matching requests it happens to, from 0.0 to 1.0.
    pub probability: f64,
    /// Only requests that ask for this conversation, alone or in a batch.
    pub conversation: Option<ConversationRef>,
    /// Only requests that carry a cursor.
    pub needs_cursor: bool,
}

impl Default for When {
    fn default() -> Self {
        Self { endpoint: None, skip: 0, times: None, probability: 1.0, conversation: None, needs_cursor: false }
    }
}

/// The faults that were asked for, in that order: the first that strikes is the one that happens.
pub(super) struct Faults {
    armed: Vec<(Fault, When)>,
    dice: StdRng,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { armed: Vec::new(), dice: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    pub(super) fn inject(&mut self, fault: Fault, when: When) {
        self.armed.push((fault, when));
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The fault for one request, if any strikes.
    pub(super) fn strike(&mut self, endpoint: Endpoint, asked: &[ConversationRef], cursor: bool) -> Option<Fault> {
        let dice = &mut self.dice;
        let at = self.armed.iter_mut().position(|(_, when)| {
            let matches = when.endpoint.is_none_or(|only| only == endpoint)
                && when.conversation.is_none_or(|only| asked.contains(&only))
                && (cursor || !when.needs_cursor)
                && when.times != Some(0);
            if matches && when.skip > 0 {
                when.skip -= 1;
                return false;
            }
            matches && (when.probability >= 1.0 || dice.random::<f64>() < when.probability)
        })?;
        let (fault, when) = &mut self.armed[at];
        let fault = fault.clone();
        if let Some(left) = &mut when.times {
            *left -= 1;
            if *left == 0 {
                self.armed.remove(at);
            }
        }
        Some(fault)
    }
}
