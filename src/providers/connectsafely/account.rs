//! The account behind a key: whether it is usable, and who its owner is.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{ConnectSafely, SEGMENT, errors};
use crate::model::Direction;
use crate::providers::{Class, Error, Fault, http, urn};
use percent_encoding::utf8_percent_encode;

/// `/account/*` is limited to ten requests a minute, and a name seldom changes.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(900);
const ASK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    public_id: Option<String>,
    #[serde(default)]
    first_name: Option<String>,
    #[serde(default)]
    last_name: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    has_tokens: Option<bool>,
}

/// What tells the owner's own messages where sender ids do not.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    public_id: Option<String>,
    name: Option<String>,
}

impl Identity {
    /// Compares with the owner's public id, then with the name. Equal is the owner; a different public id is not.
    pub(super) fn direction(&self, sender: Option<&str>, name: Option<&str>) -> Option<Direction> {
        let direction = |same: bool| if same { Direction::Outbound } else { Direction::Inbound };
        // An internal id says nothing beside a public one.
        let public = sender.filter(|sender| !urn::is_opaque(sender));
        if let (Some(sender), Some(own)) = (public, self.public_id.as_deref()) {
            return Some(direction(sender.eq_ignore_ascii_case(own)));
        }
        let (name, own) = name.zip(self.name.as_deref())?;
        Some(direction(name.trim().eq_ignore_ascii_case(own.trim())))
    }
}

#[derive(Default)]
pub(super) struct Owner {
    asked: Mutex<Option<(Instant, Option<Identity>)>>,
}

impl Owner {
    /// Who owns the mailbox; asked rarely, and `None` where the service does not say.
    pub(super) async fn identity(&self, api: &ConnectSafely) -> Option<Identity> {
        let mut asked = self.asked.lock().await;
        if let Some((at, identity)) = &*asked
            && at.elapsed() < if identity.is_some() { ASK_AGAIN_AFTER } else { ASK_AGAIN_AFTER_FAILURE }
        {
            return identity.clone();
        }
        let identity = api.account_status().await.ok().map(|status| Identity {
            public_id: status.public_id.filter(|id| !id.is_empty()),
            name: match (status.first_name, status.last_name) {
                (Some(first), Some(last)) => Some(format!("{first} {last}")),
                _ => None,
            },
        });
        *asked = Some((Instant::now(), identity.clone()));
        identity
    }
}

impl ConnectSafely {
    async fn account_status(&self) -> Result<Status, Error> {
        let account_id = utf8_percent_encode(&self.settings.account_id, SEGMENT);
        let answer = self.get(&format!("/account/{account_id}/status"), "").await?;
        if !answer.status.is_success() {
            return Err(errors::refusal(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|e| http::malformed(&answer, &e))
    }

    /// Fails with `auth` where the account waits for a person.
    pub(super) async fn check_account(&self) -> Result<(), Error> {
        let status = self.account_status().await.map_err(|mut error| {
            // The account itself is not there: no conversation of it can be.
            if error.class == Class::Gone {
                error.class = Class::Auth;
                error.wait = None;
                error.fault = Fault::Address;
            }
            error
        })?;
        let problem = if status.has_tokens == Some(false) {
            "the LinkedIn session is gone; log the account in again at the provider"
        } else if status.enabled == Some(false) {
            "the account is disabled at the provider"
        } else if status.status.as_deref() == Some("ERROR") {
            "the account is in error at the provider and waits for a person"
        } else {
            return Ok(());
        };
        Err(Error::new(Class::Auth, problem).at_fault(Fault::SignedOut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_known_by_public_id_or_name_and_an_internal_id_decides_nothing() {
        let owner = Identity { public_id: Some("robin-keller".into()), name: Some("Robin Keller".into()) };
        assert_eq!(owner.direction(Some("robin-keller"), None), Some(Direction::Outbound));
        assert_eq!(owner.direction(Some("ada-byron"), Some("Robin Keller")), Some(Direction::Inbound));
        assert_eq!(owner.direction(Some("ACoAAB1o"), Some("Robin Keller")), Some(Direction::Outbound));
        assert_eq!(owner.direction(Some("ACoAAB1o"), None), None);
        assert_eq!(owner.direction(None, None), None);
    }
}
