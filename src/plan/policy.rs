//! Rules that say when to ask next.

use std::fmt;

use crate::scheduler::Pace;

/// Seconds between two looks, at least and at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// At least.
    pub min: f64,
    /// At most.
    pub max: f64,
}

/// A family of rules with one figure that makes them slower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Policy {
    /// What inboxd does: by the square root of the time since the last message.
    Sqrt,
    /// Always the same interval.
    Fixed,
    /// From the shortest interval, longer by a factor after every look that finds nothing.
    Backoff,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqrt => "sqrt",
            Self::Fixed => "fixed",
            Self::Backoff => "backoff",
        })
    }
}

/// By how much back-off waits longer after a look that found nothing: small enough to follow a conversation for a while.
const GROWTH: f64 = 1.2;

/// One rule of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Sqrt { pace: Pace, bounds: Bounds },
    Fixed { every: f64 },
    Backoff { from: f64, to: f64 },
}

impl Policy {
    /// The rule of the family that waits so long: the larger, the fewer looks.
    pub(super) fn rule(self, slowness: f64, bounds: Bounds) -> Rule {
        match self {
            Self::Sqrt => Rule::Sqrt { pace: Pace::new(slowness), bounds },
            Self::Fixed => Rule::Fixed { every: slowness },
            Self::Backoff => Rule::Backoff { from: bounds.min.min(slowness), to: slowness },
        }
    }

    /// The figures between which the right one is looked for.
    pub(super) fn range(self, bounds: Bounds) -> (f64, f64) {
        match self {
            Self::Sqrt => (1e-3, 1e6),
            Self::Fixed | Self::Backoff => (1.0, bounds.max.max(1e8)),
        }
    }
}

impl Rule {
    /// Seconds to the next look, `age` seconds after the last message and after so many looks that found nothing.
    #[inline]
    pub(super) fn wait(&self, age: f64, before: f64, found: bool) -> f64 {
        match *self {
            Self::Sqrt { pace, bounds } => pace.seconds(age, bounds.min, bounds.max),
            Self::Fixed { every } => every,
            Self::Backoff { from, to } => {
                if found {
                    from
                } else {
                    (before * GROWTH).min(to)
                }
            }
        }
    }
}
