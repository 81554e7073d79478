//! Signs of life: the loops write, operations read.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A loop that waits longer than this between two beats is taken for stuck. Loops beat at least every
/// [`LONGEST_SLEEP`], whatever they wait for.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Longest time a loop sleeps before it looks up.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// The loops of the daemon and when each last came round.
#[derive(Clone)]
pub struct Progress {
    started: Instant,
    /// A loop that has ended has dropped its own.
    pulses: Arc<Mutex<Vec<Registered>>>,
}

/// The name of a loop, and its sign of life.
type Registered = (String, Weak<AtomicU64>);

/// One loop's sign of life.
#[derive(Clone)]
pub struct Pulse {
    started: Instant,
    last_beat: Arc<AtomicU64>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { started: Instant::now(), pulses: Arc::default() }
    }
}

impl Progress {
    /// A new loop under this name. It is watched for as long as the pulse lives.
    pub fn register(&self, name: impl Into<String>) -> Pulse {
        let pulse = Pulse { started: self.started, last_beat: Arc::default() };
        pulse.beat();
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|(_, last_beat)| last_beat.strong_count() > 0);
        pulses.push((name.into(), Arc::downgrade(&pulse.last_beat)));
        pulse
    }

    /// The loops that have not come round for longer than [`STUCK_AFTER`].
    pub fn stuck(&self) -> Vec<String> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = pulses.iter().filter_map(|(name, last_beat)| Some((name, last_beat.upgrade()?)));
        let pulse = |last_beat| Pulse { started: self.started, last_beat };
        let stuck = alive.filter(|(_, last_beat)| pulse(Arc::clone(last_beat)).silence() > STUCK_AFTER);
        stuck.map(|(name, _)| name.clone()).collect()
    }
}

impl Pulse {
    /// The loop has come round.
    pub fn beat(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_beat.store(millis, Ordering::Relaxed);
    }

    fn silence(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_beat.load(Ordering::Relaxed)))
    }
}

/// Whether polling is held for a reason that no account is to blame for. Loops look at it before they start a poll.
#[derive(Clone, Default)]
pub struct Hold(Arc<AtomicU8>);

/// Why polling is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldReason {
    /// The disk is nearly full.
    Space = 1,
    /// A sink is owed too much.
    Backlog = 2,
}

impl Hold {
    /// Holds or releases polling for one reason; true when that changed something.
    pub fn set(&self, reason: HoldReason, held: bool) -> bool {
        let bit = reason as u8;
        let before =
            if held { self.0.fetch_or(bit, Ordering::Relaxed) } else { self.0.fetch_and(!bit, Ordering::Relaxed) };
        (before & bit != 0) != held
    }

    /// Whether polling is held.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}
