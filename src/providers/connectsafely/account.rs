//! The account behind a key: whether it is usable, and who its owner is.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{ConnectSafely, SEGMENT, errors};
use crate::providers::json::Document;
use crate::providers::{Class, Error, Fault, http};
use percent_encoding::utf8_percent_encode;

/// `/account/*` is limited to ten requests a minute, and a name seldom changes.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(900);
const ASK_AGAIN_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// How an account does, and whose it is.
struct Status {
    identity: Identity,
    status: Option<String>,
    enabled: Option<bool>,
    has_tokens: Option<bool>,
}

/// What tells the owner's own messages where sender ids do not.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) public_id: Option<String>,
    pub(super) name: Option<String>,
}

/// Who owns the mailbox, as far as it is known.
#[derive(Default)]
pub(super) struct Owner {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    asked: Option<Instant>,
    identity: Option<Identity>,
    /// A page could not be judged without it.
    is_wanted: bool,
}

impl Owner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it is; `None` where the service has not said. The account is looked at for it before the next page.
    pub(super) fn identity(&self) -> Option<Identity> {
        let mut known = self.known();
        known.is_wanted = true;
        known.identity.clone()
    }

    /// Whether a page has needed it, and the account may tell it now: it is looked at rarely.
    pub(super) fn is_wanted(&self) -> bool {
        let known = self.known();
        let again = if known.identity.is_some() { ASK_AGAIN_AFTER } else { ASK_AGAIN_AFTER_FAILURE };
        known.is_wanted && known.asked.is_none_or(|asked| asked.elapsed() >= again)
    }

    /// Whether a page that was just read may be judged better after a look at the account.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_wanted() && self.known().identity.is_none()
    }
}

impl ConnectSafely {
    /// Asks who owns the mailbox.
    pub(super) async fn look_at_owner(&self) -> Result<(), Error> {
        let status = self.account_status().await;
        let mut known = self.owner.known();
        known.asked = Some(Instant::now());
        // Who it was it still is, where the service does not answer.
        known.identity = status.as_ref().ok().map(|status| status.identity.clone()).or(known.identity.take());
        status.map(drop)
    }

    async fn account_status(&self) -> Result<Status, Error> {
        let account_id = utf8_percent_encode(&self.settings.account_id, SEGMENT);
        let answer = self.get(&format!("/account/{account_id}/status"), "").await?;
        if !answer.status.is_success() {
            return Err(errors::refusal(&answer));
        }
        let document = Document::of(&answer.body);
        let account = document.object().map_err(|e| http::malformed(&answer, &e))?;
        let name = account.filled("firstName").zip(account.filled("lastName"));
        Ok(Status {
            identity: Identity {
                public_id: account.filled("publicId").map(Into::into),
                name: name.map(|(first, last)| format!("{first} {last}")),
            },
            status: account.text("status").map(Into::into),
            enabled: account.flag("enabled"),
            has_tokens: account.flag("hasTokens"),
        })
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
