//! What is left of the customer's credits, where the provider tells: other programs spend them too, and a person buys
//! more. Asked seldom, and warned of when it would not last a day.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::account::{AccountLoop, Done};
use super::gate::{Heard, Purpose};
use super::poll::Poller;
use super::reading::Reading;
use crate::providers::Call;
use crate::store::BalanceSeen;
use crate::time::UnixMillis;

/// Between two questions.
const SELDOM: Duration = Duration::from_secs(6 * 3600);
/// The same while little is left: whoever buys more wants to see it.
const WHILE_LOW: Duration = Duration::from_secs(3600);

/// When the balance of an account is asked for.
pub(super) struct BalanceWatch {
    /// Fewer are a reason to warn.
    mark: u32,
    due: Instant,
    in_flight: bool,
}

impl BalanceWatch {
    /// A restart is no reason to ask again.
    pub(super) fn new(mark: u32, seen: BalanceSeen, (clock, now): (UnixMillis, Instant)) -> Self {
        let wait = seen.at.filter(|at| *at <= clock).map(|at| interval(seen.is_low).saturating_sub(clock.since(at)));
        Self { mark, due: now + wait.unwrap_or_default(), in_flight: false }
    }

    /// When to ask next; `None` while that is under way.
    pub(super) fn next(&self) -> Option<Instant> {
        (!self.in_flight).then_some(self.due)
    }
}

fn interval(is_low: bool) -> Duration {
    if is_low { WHILE_LOW } else { SELDOM }
}

impl AccountLoop {
    pub(super) fn start_balance(&mut self, now: Instant) {
        let Some(watch) = self.balance.as_mut().filter(|watch| watch.next().is_some_and(|due| due <= now)) else {
            return;
        };
        watch.in_flight = true;
        let (poller, mark) = (Arc::clone(&self.poller), watch.mark);
        let watch = Reading::of_account(&self.poller.store);
        self.spawn(watch, async move { Done::Balance(poller.look_at_balance(mark).await) });
    }

    /// Takes in when to ask again.
    pub(super) fn balanced(&mut self, wait: Duration) {
        if let Some(watch) = &mut self.balance {
            (watch.due, watch.in_flight) = (Instant::now() + wait, false);
        }
    }
}

impl Poller {
    /// Asks, writes down what is left, and returns when to ask again.
    async fn look_at_balance(&self, mark: u32) -> Duration {
        let Some(balance) = self.provider.balance() else { return SELDOM };
        let Ok(permit) = self.gate.admit(Call::Account, Purpose::Background).await else { return WHILE_LOW };
        let left = balance.credits_left().await;
        self.gate.settle(permit, Heard::costing(0, &left)).await;
        let left = match left {
            Ok(left) => left,
            Err(error) => {
                // Polls will say what is wrong with the account.
                tracing::debug!(account = %self.account, class = %error.class, "how many credits are left is not known ({error})");
                return SELDOM;
            }
        };
        let is_low = left < u64::from(mark);
        match self.store.record_balance(self.account_id, left, mark).await {
            Ok(true) if is_low => tracing::warn!(account = %self.account, class = "budget", left,
                "fewer credits are left at the provider than the {mark} that a day may cost"),
            Ok(_) => {}
            Err(error) => tracing::warn!(class = "storage", %error, "what is left of the credits was not written down"),
        }
        interval(is_low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_balance_is_asked_for_at_first_and_then_seldom_whatever_restarts() {
        let (clock, now) = (UnixMillis::now(), Instant::now());
        let hour = Duration::from_secs(3600);
        let wait = |seen| BalanceWatch::new(300, seen, (clock, now)).next().unwrap() - now;
        assert_eq!(wait(BalanceSeen::default()), Duration::ZERO);
        let seen = |ago: Duration, is_low| BalanceSeen { at: Some(clock - ago), is_low };
        assert_eq!(wait(seen(hour, false)), hour * 5);
        assert_eq!(wait(seen(hour / 2, true)), hour / 2);
        assert_eq!(wait(seen(hour * 7, false)), Duration::ZERO);
        assert_eq!(wait(BalanceSeen { at: Some(clock + hour), is_low: false }), Duration::ZERO, "a clock was set back");
    }
}
