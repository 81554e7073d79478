//! The account at the provider: whether it is well, since when it was not, and who its owner is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::settings::Version;
use super::{Api, FRESH, encoded, meaning, wire};
use crate::providers::{Class, Error, Fault, Proof};
use crate::time::UnixMillis;

/// Reading the account is not rate limited; once a minute is as often as its state is worth.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// v1 imports what it missed after an account has come back, and stamps it with the old times.
const IMPORTS_FOR: Duration = Duration::from_secs(3600);
const IMPORTS_REACH: Duration = Duration::from_secs(24 * 3600);

/// How the account does.
#[derive(Clone, Debug)]
enum Standing {
    /// What is read is what there is.
    Well,
    /// It collects nothing for now and comes back by itself.
    Ill(String),
    /// It waits for a person.
    Waits(Error),
    /// It could not be read.
    Unknown(Error),
}

/// What is known of the account; shared by all polls.
#[derive(Default)]
pub(super) struct Watch {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    asked: Option<Instant>,
    user_id: Option<String>,
    /// A page could not be judged without it.
    owner_is_wanted: bool,
    standing: Option<Standing>,
    well_at: Option<UnixMillis>,
    illness: Option<Illness>,
}

/// A time in which the provider collected nothing.
#[derive(Clone, Copy)]
struct Illness {
    from: UnixMillis,
    over: Option<Instant>,
}

impl State {
    fn is_due(&self) -> bool {
        self.asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN_AFTER)
    }

    /// Takes what an answer says; `asked_at` is before the question, so nothing newer is claimed to be known.
    fn take(&mut self, standing: Standing, asked_at: UnixMillis, now: Instant) {
        if matches!(standing, Standing::Well) {
            self.well_at = Some(asked_at);
            if let Some(illness) = &mut self.illness {
                illness.over.get_or_insert(now);
            }
        } else {
            let from = self.well_at.unwrap_or(asked_at);
            self.illness.get_or_insert(Illness { from, over: None }).over = None;
        }
        if self.illness.and_then(|illness| illness.over).is_some_and(|over| now - over > IMPORTS_FOR) {
            self.illness = None;
        }
        self.standing = Some(standing);
    }

    fn proof(&self) -> Result<Proof, Error> {
        match &self.standing {
            None => Ok(Proof::Now),
            Some(Standing::Well) => Ok(self.well_at.map_or(Proof::Now, Proof::SeenCollecting)),
            Some(Standing::Waits(error)) => Err(error.clone()),
            // It may have been like this long before it was looked at first.
            Some(Standing::Ill(_)) => Ok(self.well_at.map_or(Proof::Stopped, Proof::CollectedUntil)),
            // One question that failed does not mean that anything has stopped.
            Some(Standing::Unknown(_)) => Ok(self.well_at.map_or(Proof::Cached, Proof::SeenCollecting)),
        }
    }
}

impl Api {
    /// What answers prove; an error while the account waits for a person.
    pub(super) fn proof(&self) -> Result<Proof, Error> {
        Ok(match (self.state().proof()?, self.version()) {
            (Proof::SeenCollecting(_), Version::V2) => Proof::Now,
            (proof, _) => proof,
        })
    }

    /// Whether the account is to be looked at now. v1 answers the same whatever the account's state, so what it was last
    /// seen to be is all that is known; v2 reads LinkedIn itself and is looked at only until a known trouble is over, and
    /// for the owner's id where a page has none.
    pub(super) fn wants_account(&self) -> bool {
        let state = self.state();
        let is_wanted = match self.version() {
            Version::V1 => true,
            Version::V2 => {
                let in_trouble = state.standing.as_ref().is_some_and(|standing| !matches!(standing, Standing::Well));
                in_trouble || (state.owner_is_wanted && state.user_id.is_none())
            }
        };
        is_wanted && state.is_due()
    }

    /// Whether a page has needed the owner's id, and a look at the account may tell it.
    pub(super) fn awaits_owner(&self) -> bool {
        let state = self.state();
        state.owner_is_wanted && state.user_id.is_none() && state.is_due()
    }

    pub(super) async fn look_at_account(&self) -> Result<(), Error> {
        match self.ask_for_account().await {
            Standing::Well | Standing::Ill(_) => Ok(()),
            Standing::Waits(error) | Standing::Unknown(error) => Err(error),
        }
    }

    /// Fails where the account is not well.
    pub(super) async fn check_account(&self) -> Result<(), Error> {
        match self.ask_for_account().await {
            Standing::Well => Ok(()),
            Standing::Waits(error) | Standing::Unknown(error) => Err(error),
            Standing::Ill(status) => {
                let detail = format!("the account is {status} at the provider and should come back by itself");
                Err(Error::new(Class::Transient, detail).with_wait(Some(meaning::OUTAGE)))
            }
        }
    }

    /// The owner's own id, where it is known.
    pub(super) fn owner_id(&self) -> Option<String> {
        self.state().user_id.clone()
    }

    /// A page cannot be judged without the owner's id: where it is not known, the account is looked at before the next one.
    pub(super) fn want_owner(&self) {
        self.state().owner_is_wanted = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.account.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time from which on a copy that was not kept for a while has to be read again, so that what was imported late is
    /// seen; `since` itself while nothing of the kind is expected.
    pub(super) fn before_imports(&self, since: UnixMillis) -> UnixMillis {
        match self.state().illness {
            Some(Illness { from, over: Some(_) }) => since.min(from) - IMPORTS_REACH,
            _ => since,
        }
    }

    async fn ask_for_account(&self) -> Standing {
        let asked_at = UnixMillis::now();
        let answer = self.get(&format!("/accounts/{}", encoded(self.settings.account_id())), "", FRESH).await;
        let now = Instant::now();
        let mut state = self.state();
        state.asked = Some(now);
        let standing = match answer.map(|(_, body)| body) {
            Ok(body) => {
                state.user_id = owner_id(self.version(), &body).or(state.user_id.take());
                standing(self.version(), &body)
            }
            Err(refusal) => unreadable(self.of_other_generation(refusal.into())),
        };
        // v2 refuses by itself what it cannot read, so there only what the account says counts.
        if self.version() == Version::V1 || !matches!(standing, Standing::Unknown(_)) {
            state.take(standing.clone(), asked_at, now);
        }
        standing
    }
}

impl Api {
    /// v1 knows no `acc_...` and says of it what it says of any id that it does not know.
    fn of_other_generation(&self, mut error: Error) -> Error {
        if self.version() == Version::V1 && error.class == Class::Gone && self.settings.account_id().starts_with("acc_")
        {
            error.detail += "; acc_... is an id of API v2: see api_version";
        }
        error
    }
}

fn unreadable(mut error: Error) -> Standing {
    if error.class == Class::Gone {
        // Not a conversation but the account is not there: removed, or never of this key.
        error.class = Class::Auth;
        error.wait = None;
        error.fault = if error.fault == Fault::Unsaid { Fault::Address } else { error.fault };
    }
    if error.class == Class::Auth { Standing::Waits(error) } else { Standing::Unknown(error) }
}

fn standing(version: Version, account: &Value) -> Standing {
    let statuses: Vec<&str> = match version {
        Version::V2 => wire::text(account, "status").into_iter().collect(),
        Version::V1 => {
            let sources = account.get("sources").and_then(Value::as_array);
            sources.into_iter().flatten().map(|source| wire::text(source, "status").unwrap_or("unknown")).collect()
        }
    };
    let is = |names: &[&str]| statuses.iter().any(|status| names.contains(status));
    if is(&["disconnected", "CREDENTIALS", "PERMISSIONS", "DELETED"]) {
        let detail = "LinkedIn is signed out at the provider; connect the account again there";
        return Standing::Waits(Error::new(Class::Auth, detail).at_fault(Fault::SignedOut));
    }
    if is(&["paused", "PAUSED"]) {
        let detail = "the account is paused at the provider for want of a subscription";
        return Standing::Waits(Error::new(Class::Auth, detail).at_fault(Fault::Plan));
    }
    match version {
        // More words are expected, and reads are live whatever they say.
        Version::V2 if is(&["errored"]) => Standing::Ill("errored".into()),
        Version::V2 => Standing::Well,
        Version::V1 => match statuses.iter().find(|&&status| status != "OK") {
            Some(status) => Standing::Ill(crate::providers::http::safe(status)),
            None if statuses.is_empty() => Standing::Ill("without a status".into()),
            None => Standing::Well,
        },
    }
}

fn owner_id(version: Version, account: &Value) -> Option<String> {
    match version {
        Version::V2 => wire::id(account, "user_id"),
        // Not documented where; what the vendor's SDK reads.
        Version::V1 => wire::id(account.get("connection_params")?.get("im")?, "id"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn word(standing: &Standing) -> &'static str {
        match standing {
            Standing::Well => "well",
            Standing::Ill(_) => "ill",
            Standing::Waits(error) if error.fault == Fault::Plan => "pays",
            Standing::Waits(_) => "waits",
            Standing::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn every_status_has_its_standing() {
        for (status, expected) in [
            ("running", "well"),
            ("degraded", "well"),
            ("partial", "well"),
            ("something_new", "well"),
            ("errored", "ill"),
            ("disconnected", "waits"),
            ("paused", "pays"),
        ] {
            assert_eq!(word(&standing(Version::V2, &json!({ "status": status }))), expected, "{status}");
        }
        for (statuses, expected) in [
            (vec!["OK"], "well"),
            (vec!["OK", "OK"], "well"),
            (vec!["OK", "ERROR"], "ill"),
            (vec!["STOPPED"], "ill"),
            (vec!["CONNECTING"], "ill"),
            (vec!["IDLE"], "ill"),
            (vec!["SOMETHING_NEW"], "ill"),
            (vec!["ERROR", "CREDENTIALS"], "waits"),
            (vec!["PERMISSIONS"], "waits"),
            (vec!["PAUSED"], "pays"),
            (vec![], "ill"),
        ] {
            let sources: Vec<_> = statuses.iter().map(|status| json!({ "id": "s", "status": status })).collect();
            assert_eq!(word(&standing(Version::V1, &json!({ "sources": sources }))), expected, "{statuses:?}");
        }
    }

    #[test]
    fn an_account_that_is_not_there_waits_for_a_person() {
        assert_eq!(word(&unreadable(Error::new(Class::Gone, "404"))), "waits");
        assert_eq!(word(&unreadable(Error::new(Class::Transient, "503"))), "unknown");
    }

    #[test]
    fn coverage_stands_where_the_account_was_last_known_to_be_well() {
        let at = UnixMillis::from_millis;
        let now = Instant::now();
        let ill = || Standing::Ill("ERROR".into());
        let mut state = State::default();
        assert_eq!(state.proof().unwrap(), Proof::Now);
        state.take(ill(), at(5), now);
        state.take(ill(), at(6), now);
        assert_eq!(state.proof().unwrap(), Proof::Stopped, "never well");
        state.take(Standing::Well, at(10), now);
        assert_eq!(state.proof().unwrap(), Proof::SeenCollecting(at(10)));
        state.take(Standing::Unknown(Error::new(Class::Transient, "503")), at(20), now);
        assert_eq!(state.proof().unwrap(), Proof::SeenCollecting(at(10)));
        state.take(ill(), at(25), now);
        assert_eq!(state.proof().unwrap(), Proof::CollectedUntil(at(10)));
        state.take(Standing::Waits(Error::new(Class::Auth, "signed out")), at(30), now);
        assert_eq!(state.proof().unwrap_err().class, Class::Auth);
        state.take(Standing::Well, at(40), now);
        assert!(state.illness.is_some(), "what was missed may still be imported");
        state.take(Standing::Well, at(50), now + IMPORTS_FOR * 2);
        assert!(state.illness.is_none());
    }
}
