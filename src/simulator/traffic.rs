//! Traffic as inboxes have it: most conversations sleep, a few are hot, and messages come in bursts.
//!
//! A conversation is chosen by its place in the order of last activity, with a chance that falls as one over the
//! place. At a steady rate a place is as good as an age, so the chance to move falls as one over the age.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::conversation::Draft;
use super::people;
use super::world::{ConversationRef, World};

/// How much traffic there is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// Messages per minute over all conversations, on average.
    pub messages_per_minute: f64,
    /// Share of the messages that the account's owner writes, from 0.0 to 1.0.
    pub outbound_share: f64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { messages_per_minute: 30.0, outbound_share: 0.25 }
    }
}

/// Running traffic; it stops when this is dropped.
pub struct TrafficHandle {
    _stop: DropGuard,
}

impl TrafficHandle {
    /// Ends the traffic.
    pub fn stop(self) {}
}

/// One message of the traffic.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Wait before it.
    pub(super) pause: Duration,
    /// Number of the conversation.
    pub(super) conversation: usize,
    pub(super) outbound: bool,
    pub(super) text: &'static str,
}

/// The sequence of choices: a pure function of seed and number of conversations.
pub(super) struct Choices {
    traffic: Traffic,
    dice: StdRng,
    /// Conversations, the one that moved last at the end.
    by_activity: Vec<usize>,
    /// Messages still to come in the burst.
    burst: u32,
}

/// Mean length of a burst: what `burst_length` gives on average.
const MEAN_BURST: f64 = 2.17;

/// Share of the mean pause that a pause within a burst lasts.
const WITHIN_BURST: f64 = 0.1;

impl Choices {
    pub(super) fn new(seed: u64, traffic: Traffic) -> Self {
        Self { traffic, dice: StdRng::seed_from_u64(seed), by_activity: Vec::new(), burst: 0 }
    }

    /// The next message in a world of so many conversations; `None` when there are none.
    pub(super) fn next(&mut self, conversations: usize) -> Option<Step> {
        // New conversations count as the most recent ones.
        self.by_activity.extend(self.by_activity.len()..conversations);
        let last = self.by_activity.len().checked_sub(1)?;
        let goes_on = self.burst > 0;
        let place = if goes_on { 0 } else { self.place(last + 1) };
        self.burst = if goes_on { self.burst - 1 } else { self.burst_length() - 1 };
        let conversation = self.by_activity.remove(last - place);
        self.by_activity.push(conversation);
        let text = people::PHRASES[self.dice.random_range(0..people::PHRASES.len())];
        let outbound = self.dice.random::<f64>() < self.traffic.outbound_share;
        Some(Step { pause: self.pause(goes_on), conversation, outbound, text })
    }

    /// A place among `count`, from the most recent, with a chance of about 1 / (place + 1).
    fn place(&mut self, count: usize) -> usize {
        let place = ((count + 1) as f64).powf(self.dice.random::<f64>()) as usize;
        place.clamp(1, count) - 1
    }

    /// Pareto with a tail index of 1.5, cut at 20.
    fn burst_length(&mut self) -> u32 {
        let share = 1.0 - self.dice.random::<f64>();
        share.powf(-1.0 / 1.5).min(20.0) as u32
    }

    /// Exponential pauses: short within a burst, longer before one by what keeps the average.
    fn pause(&mut self, goes_on: bool) -> Duration {
        let mean = 60.0 / self.traffic.messages_per_minute;
        let share = if goes_on { WITHIN_BURST } else { MEAN_BURST - WITHIN_BURST * (MEAN_BURST - 1.0) };
        let spread = -(1.0 - self.dice.random::<f64>()).ln();
        Duration::try_from_secs_f64(mean * share * spread).unwrap_or(Duration::MAX)
    }
}

/// Writes messages until the handle is dropped; no rate above zero is no traffic.
pub(super) fn start(world: World, traffic: Traffic, seed: u64) -> TrafficHandle {
    let stop: CancellationToken = world.stopping().child_token();
    let handle = TrafficHandle { _stop: stop.clone().drop_guard() };
    if traffic.messages_per_minute > 0.0 {
        tokio::spawn(async move { stop.run_until_cancelled(write(world, Choices::new(seed, traffic))).await });
    }
    handle
}

async fn write(world: World, mut choices: Choices) {
    const LOOK_AGAIN: Duration = Duration::from_millis(200);
    // Times follow from one another, not from when a timer woke: the rate holds at any resolution.
    let mut due = Instant::now();
    loop {
        let Some(step) = choices.next(world.conversation_count()) else {
            tokio::time::sleep(LOOK_AGAIN).await;
            due = Instant::now();
            continue;
        };
        let Some(next) = due.checked_add(step.pause) else { return };
        due = next;
        tokio::time::sleep_until(due).await;
        let draft = Draft { text: step.text.into(), outbound: step.outbound, ..Draft::default() };
        world.push_draft(ConversationRef(step.conversation), draft);
    }
}
