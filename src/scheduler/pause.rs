//! Pauses of an account: nothing of it is asked until the provider's wait is over, or a person has repaired it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::LONGEST_WAIT;
use super::failure::{self, Next};
use super::poll::Poller;
use crate::providers::{self, Class, Profile};
use crate::store::{AccountId, Pause};
use crate::time::UnixMillis;

/// The pauses of one account, one after the other.
pub(super) struct Pauses {
    account: AccountId,
    profile: &'static Profile,
    poller: Arc<Poller>,
    current: Option<Current>,
    in_a_row: u32,
}

struct Current {
    until: Instant,
    stored: Pause,
    needs_probe: bool,
    probing: bool,
}

/// What is to be stored so that a restart knows it.
#[must_use]
pub(super) struct PauseChange {
    pub(super) account: AccountId,
    pub(super) pause: Option<Pause>,
}

/// Whether a poll may begin.
pub(super) enum Permission {
    Granted,
    Denied,
    /// A pause has just ended.
    PauseOver(PauseChange),
    /// The account waits for a person: probe it, and tell the outcome to [`Pauses::probed`].
    ProbeFirst,
}

impl Pauses {
    pub(super) fn new(
        account: AccountId,
        profile: &'static Profile,
        poller: Arc<Poller>,
        stored: Option<Pause>,
        now: UnixMillis,
    ) -> Self {
        let in_a_row = stored.as_ref().map_or(0, |pause| pause.failures);
        let current = stored.map(|stored| {
            let needs_probe = stored.class == Class::Auth.as_str();
            // After a restart an account that waited for a person is probed at once: the restart may be the repair.
            let wait = if needs_probe { Duration::ZERO } else { stored.until.since(now).min(LONGEST_WAIT) };
            Current { until: Instant::now() + wait, stored, needs_probe, probing: false }
        });
        let pauses = Self { account, profile, poller, current, in_a_row };
        pauses.close_gate();
        pauses
    }

    /// Pauses that began since a poll last succeeded.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// A poll has succeeded: the next pause is the first of its row.
    pub(super) fn forget_row(&mut self) {
        if self.in_a_row > 0 && self.current.is_none() {
            tracing::info!(account = %self.poller.account, "the account is polled again");
            self.in_a_row = 0;
        }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.probing)
    }

    /// `None` while the account is not paused; else when to look again, unless a probe will tell.
    pub(super) fn look_again(&self) -> Option<Option<Instant>> {
        self.current.as_ref().map(|current| (!current.probing).then_some(current.until))
    }

    pub(super) fn permission(&mut self, now: Instant) -> Permission {
        match &mut self.current {
            None => Permission::Granted,
            Some(current) if current.probing || now < current.until => Permission::Denied,
            Some(current) if current.needs_probe => {
                current.probing = true;
                Permission::ProbeFirst
            }
            Some(_) => Permission::PauseOver(self.leave()),
        }
    }

    /// Pauses the account. `None` when that changes nothing: polls in flight when the first was refused tell the same
    /// story again, and only a longer wait that the provider asks for is news.
    pub(super) fn enter(&mut self, error: &providers::Error, wait: Duration) -> Option<PauseChange> {
        let needs_probe = error.class == Class::Auth;
        let until = Instant::now() + wait;
        match &mut self.current {
            Some(current) if current.needs_probe => return None,
            Some(current) if !needs_probe => {
                if error.wait.is_none() || current.until >= until {
                    return None;
                }
                current.until = until;
                current.stored.until = UnixMillis::now() + wait;
                self.close_gate();
                return self.change();
            }
            _ => self.in_a_row += 1,
        }
        let shown_wait = humantime::format_duration(Duration::from_secs(wait.as_secs().max(1)));
        if needs_probe {
            tracing::error!(account = %self.poller.account, class = %error.class,
                "the account is paused and waits for a person ({error}); next probe in {shown_wait}");
        } else if self.in_a_row == 1 {
            tracing::warn!(account = %self.poller.account, class = %error.class,
                "the account is paused ({error}); next try in {shown_wait}");
        } else {
            tracing::debug!(account = %self.poller.account, class = %error.class, in_a_row = self.in_a_row,
                "the account is paused again ({error}); next try in {shown_wait}");
        }
        let stored = Pause {
            until: UnixMillis::now() + wait,
            since: self.current.as_ref().map_or_else(UnixMillis::now, |current| current.stored.since),
            class: error.class.as_str().into(),
            reason: error.detail.clone(),
            failures: self.in_a_row,
        };
        self.current = Some(Current { until, stored, needs_probe, probing: false });
        self.close_gate();
        self.change()
    }

    /// Takes the outcome of a probe: the pause ends, or goes on longer.
    pub(super) fn probed(&mut self, result: Result<(), providers::Error>) -> Option<PauseChange> {
        let Err(error) = result else {
            return self.current.is_some().then(|| self.leave());
        };
        self.in_a_row += 1;
        let current = self.current.as_mut()?;
        let next = failure::next(&error, self.in_a_row, self.in_a_row, self.profile, 0);
        let (Next::PauseAccount(wait) | Next::Retry(wait) | Next::Upkeep(wait)) = next;
        tracing::debug!(account = %self.poller.account, class = %error.class, "the account is still paused ({error}); next probe in {}",
            humantime::format_duration(Duration::from_secs(wait.as_secs())));
        current.probing = false;
        current.until = Instant::now() + wait;
        current.stored.until = UnixMillis::now() + wait;
        current.stored.failures = self.in_a_row;
        current.stored.reason.clone_from(&error.detail);
        self.close_gate();
        self.change()
    }

    /// Somebody may have repaired the account: the next probe is due now.
    pub(super) fn wake(&mut self) {
        if let Some(current) = self.current.as_mut().filter(|current| current.needs_probe && !current.probing) {
            current.until = Instant::now();
        }
    }

    fn leave(&mut self) -> PauseChange {
        self.current = None;
        self.poller.gate.open();
        PauseChange { account: self.account, pause: None }
    }

    fn change(&self) -> Option<PauseChange> {
        let pause = self.current.as_ref().map(|current| current.stored.clone());
        Some(PauseChange { account: self.account, pause })
    }

    /// Turns away what already waits for the budget. A pause that only a probe ends stays closed until that.
    fn close_gate(&self) {
        if let Some(current) = &self.current {
            let margin = if current.needs_probe { LONGEST_WAIT } else { Duration::ZERO };
            self.poller.gate.close_until(current.until + margin);
        }
    }
}
