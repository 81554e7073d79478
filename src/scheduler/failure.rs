//! What to do after a failed request: one behaviour for each class. Pure.

use std::time::Duration;

use crate::backoff::stretched;
use crate::providers::{Class, Error, Profile};

/// Probes of an account that waits for a person, then hourly.
const AUTH_PROBES: [Duration; 4] =
    [Duration::from_secs(60), Duration::from_secs(300), Duration::from_secs(900), Duration::from_secs(3600)];

/// A conversation that is gone is looked at again after so long, where the provider's contract says nothing.
const GONE_RECHECK: Duration = Duration::from_secs(6 * 3600);

/// A conversation that waits for its upkeep is tried again by itself after so long.
const NOT_READY_RECHECK: Duration = Duration::from_secs(600);

/// Failures in a row after which a source asks whether its account is at fault.
const SUSPICIOUS: u32 = 3;

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The conversation is polled again after so long.
    Retry(Duration),
    /// Nothing of the account is asked for so long.
    PauseAccount(Duration),
    /// The conversation waits for upkeep, and is polled again after so long in any case.
    Upkeep(Duration),
}

/// Decides by class. `failures` counts this one: of the conversation, or for a pause of the account.
pub(super) fn next(error: &Error, failures: u32, account_failures: u32, profile: &Profile, seed: u64) -> Next {
    let told = error.wait.map(|wait| stretched(wait, seed.wrapping_add(u64::from(failures))));
    match error.class {
        Class::Transient | Class::Protocol => {
            Next::Retry(told.unwrap_or_else(|| profile.transient.delay(failures, seed)))
        }
        Class::Gone => Next::Retry(told.unwrap_or_else(|| stretched(GONE_RECHECK, seed))),
        Class::NotReady => Next::Upkeep(stretched(NOT_READY_RECHECK, seed)),
        Class::Throttled => Next::PauseAccount(told.unwrap_or_else(|| profile.throttled.delay(account_failures, seed))),
        Class::Auth => {
            let step = (account_failures.max(1) as usize - 1).min(AUTH_PROBES.len() - 1);
            Next::PauseAccount(told.unwrap_or(AUTH_PROBES[step]))
        }
    }
}

/// Whether this failure of a conversation is a reason to look at its account first.
pub(super) fn suspects_account(error: &Error, failures: u32) -> bool {
    error.suspect_account && (error.class == Class::Gone || failures.is_multiple_of(SUSPICIOUS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backoff::Backoff;

    const PROFILE: Profile = Profile {
        name: "test",
        requests_per_minute: 60,
        concurrency: 1,
        timeout: Duration::from_secs(1),
        overlap: Duration::from_secs(1),
        resolution: Duration::from_millis(1),
        advised_min_interval: Duration::from_secs(1),
        transient: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(300) },
        throttled: Backoff { base: Duration::from_secs(60), cap: Duration::from_secs(900) },
    };

    fn after(class: Class, wait: Option<u64>, failures: u32) -> Next {
        let mut error = Error::new(class, "x");
        error.wait = wait.map(Duration::from_secs);
        next(&error, failures, failures, &PROFILE, 3)
    }

    #[test]
    fn a_told_wait_is_kept_and_stretched_by_a_tenth_at_most_whatever_the_back_off() {
        for failures in 1..50 {
            let Next::PauseAccount(pause) = after(Class::Throttled, Some(30), failures) else { panic!() };
            assert!(pause >= Duration::from_secs(30) && pause <= Duration::from_secs(33));
        }
    }

    #[test]
    fn an_account_that_waits_for_a_person_is_probed_after_1_5_15_60_minutes_then_hourly() {
        let minutes = [1, 5, 15, 60, 60, 60];
        for (failures, minutes) in (1..).zip(minutes) {
            assert_eq!(after(Class::Auth, None, failures), Next::PauseAccount(Duration::from_secs(minutes * 60)));
        }
    }

    #[test]
    fn one_conversation_that_fails_does_not_pause_its_account() {
        for class in [Class::Transient, Class::Protocol, Class::Gone] {
            assert!(matches!(after(class, None, 1), Next::Retry(_)));
        }
        assert!(matches!(after(Class::NotReady, None, 1), Next::Upkeep(_)));
    }
}
