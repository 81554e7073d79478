//! What the vendor takes: a price per request, a balance per day, and a book of every credit.

use std::collections::{BTreeMap, VecDeque};

use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::{Trouble, Version, v2};
use crate::simulator::Endpoint;
use crate::simulator::exchange::Incoming;
use crate::simulator::switches::Switches;
use crate::simulator::world::State;
use crate::time::UnixMillis;

/// Most entries that are kept; the sums go on.
const KEPT: usize = 10_000;

/// Messages or rows that one credit buys.
const PER_CREDIT: u64 = 10;

/// Why credits were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CreditReason {
    /// A sound answer was made.
    Answered,
    /// An error of v1 was answered.
    Failed,
    /// An account is monitored for a hosted webhook.
    Monitored,
}

/// Credits that LinkupAPI took at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CreditEntry {
    /// When.
    pub at: UnixMillis,
    /// What was asked for.
    pub endpoint: Endpoint,
    /// How many.
    pub credits: u64,
    /// Why.
    pub reason: CreditReason,
}

/// All credits of the customer: both versions share the balance.
#[derive(Default)]
pub(super) struct Credits {
    total: u64,
    by_day: BTreeMap<i64, u64>,
    last: VecDeque<CreditEntry>,
}

fn day(at: UnixMillis) -> i64 {
    at.as_millis().div_euclid(24 * 3_600_000)
}

impl Credits {
    pub(super) fn take(&mut self, entry: CreditEntry) {
        if entry.credits == 0 {
            return;
        }
        self.total += entry.credits;
        *self.by_day.entry(day(entry.at)).or_default() += entry.credits;
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(entry);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn of_day(&self, at: UnixMillis) -> u64 {
        self.by_day.get(&day(at)).copied().unwrap_or_default()
    }

    pub(super) fn entries(&self) -> Vec<CreditEntry> {
        self.last.iter().cloned().collect()
    }
}

/// What asking for so many costs.
pub(super) fn price(count: u64) -> u64 {
    count.div_ceil(PER_CREDIT).max(1)
}

/// What a page costs that was asked for and came.
pub(super) fn cost(switches: &Switches, asked: u64, returned: usize) -> u64 {
    let linkup = &switches.linkup;
    if !linkup.billing_by_returned {
        return price(asked);
    }
    (returned as u64).div_ceil(PER_CREDIT).max(linkup.minimum_one_credit.into())
}

/// `GET /v2/credits`: free, and without an account.
pub(super) async fn left(incoming: Incoming) -> Response {
    let respond = |state: &mut State, _: &Incoming, _| {
        let left = state.switches.linkup.balance.saturating_sub(state.linkup.credits.total());
        Ok(json!({ "credits": left }))
    };
    v2::free(incoming, Endpoint::LinkupV2Credits, respond).await
}

/// Refuses what the balance of the day may not cover.
pub(super) fn check_balance(state: &State, asked: u64, now: UnixMillis) -> Result<(), Trouble> {
    let spent = state.linkup.credits.of_day(now);
    match state.switches.linkup.daily_credits {
        Some(daily) if spent + price(asked) > daily.into() => Err(Trouble::Credits),
        _ => Ok(()),
    }
}

/// Takes what an answer costs.
pub(super) fn charge(state: &mut State, endpoint: Endpoint, credits: u64, reason: CreditReason, at: UnixMillis) {
    state.linkup.credits.take(CreditEntry { at, endpoint, credits, reason });
}

/// Takes what an error costs that has this HTTP status or is one of the body alone; v2 gives errors away. No credits
/// can be taken where there are none.
pub(super) fn charge_error(state: &mut State, version: Version, endpoint: Endpoint, asked: u64, at: UnixMillis) {
    if version == Version::V1 && state.switches.linkup.charge_v1_errors {
        charge(state, endpoint, price(asked), CreditReason::Failed, at);
    }
}
