//! What each type of error stands for, one table for each generation of the API.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::settings::Version;
use crate::providers::{Class, Fault, http};
use crate::time::UnixMillis;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long a trouble at the provider's own side, which ends by itself, keeps us away.
pub(super) const OUTAGE: Duration = Duration::from_secs(300);

/// What a type or a status stands for.
#[derive(Clone, Copy)]
pub(super) struct Meaning {
    pub(super) class: Class,
    pub(super) fault: Fault,
    /// Where the answer tells none.
    wait: Option<Duration>,
    pub(super) suspects_account: bool,
    pub(super) whole_product: bool,
    /// The limit is LinkedIn's, of which the provider's own rate headers know nothing.
    limit_of_linkedin: bool,
}

const fn of(class: Class) -> Meaning {
    Meaning {
        class,
        fault: Fault::Unsaid,
        wait: None,
        suspects_account: false,
        whole_product: false,
        limit_of_linkedin: false,
    }
}

/// The account waits for a person.
const fn person(fault: Fault) -> Meaning {
    of(Class::Auth).with_fault(fault)
}

/// The product is not there for this account; the others are.
const fn no_product(fault: Fault) -> Meaning {
    let mut meaning = of(Class::Gone).with_fault(fault);
    meaning.whole_product = true;
    meaning
}

/// The product will not do this: as good as never again.
const NOT_OFFERED: Meaning = no_product(Fault::Unsaid).after(DAY);
/// Refused for what it is: as good as never again.
const NEVER: Meaning = of(Class::Gone).after(DAY).suspecting();
const OUR_MISTAKE: Meaning = of(Class::Protocol);
const GONE: Meaning = of(Class::Gone).suspecting();
/// Passes by itself, but not at once.
const LATER: Meaning = of(Class::Transient).after(MINUTE);
const SERVER: Meaning = of(Class::Transient).suspecting();

impl Meaning {
    pub(super) const fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    const fn after(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    const fn suspecting(mut self) -> Self {
        self.suspects_account = true;
        self
    }

    pub(super) fn wait(self, headers: &HeaderMap) -> Option<Duration> {
        let told = http::retry_after(headers, UnixMillis::now());
        match self.class {
            Class::Throttled if self.limit_of_linkedin => told.or(self.wait),
            Class::Throttled => told.or_else(|| window_end(headers)).or(self.wait),
            Class::Transient | Class::Protocol => told.or(self.wait),
            // A person has to act, or a chat to come back: seconds make no difference.
            Class::Auth | Class::Gone | Class::NotReady => self.wait,
        }
    }
}

/// The end of the rate limit's window, as the header tells it.
fn window_end(headers: &HeaderMap) -> Option<Duration> {
    http::window_end(headers.get("x-ratelimit-reset")?.to_str().ok()?, UnixMillis::now())
}

pub(super) fn of_status(status: StatusCode) -> Meaning {
    match http::class_of_status(status) {
        Class::Gone => GONE,
        Class::Transient if status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED => SERVER,
        _ if matches!(status, StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED) => NOT_OFFERED,
        _ if status == StatusCode::PAYMENT_REQUIRED => person(Fault::Plan),
        _ if matches!(status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) => LATER,
        class => of(class),
    }
}

/// What a type stands for, and where it is not known, its status.
pub(super) fn of_type(version: Version, kind: &str, status: StatusCode) -> Meaning {
    let known = match version {
        Version::V1 => of_type_v1(kind.strip_prefix("errors/").unwrap_or(kind)),
        Version::V2 => of_type_v2(kind),
    };
    known.unwrap_or_else(|| match (version, status) {
        (Version::V1, StatusCode::UNPROCESSABLE_ENTITY) => NEVER,
        _ => of_status(status),
    })
}

/// The vendor's table of v2.
fn of_type_v2(kind: &str) -> Option<Meaning> {
    Some(match kind {
        "api/invalid_parameters" | "provider/invalid_parameters" => OUR_MISTAKE,
        "api/missing_authorization" | "api/expired_authorization" | "api/invalid_auth_format" => person(Fault::Key),
        // How a key of the other generation is answered.
        "errors/missing_credentials" | "missing_credentials" => person(Fault::Key),
        "provider/invalid_authorization" | "provider/invalid_credentials" => person(Fault::SignedOut),
        "api/proxy_auth_error" => SERVER.after(OUTAGE),
        "api/insufficient_permissions" => person(Fault::Key),
        "provider/insufficient_permissions" => no_product(Fault::Plan),
        "api/account_restricted" | "provider/account_mismatch" | "provider/unknown_authentication_context" => {
            person(Fault::SignedOut)
        }
        "api/inactive_subscription" => person(Fault::Plan),
        "api/resource_not_found" | "provider/resource_not_found" => GONE,
        "provider/method_not_allowed" | "api/not_implemented" => NOT_OFFERED,
        "api/conflict" | "provider/conflict" | "api/already_exists" => LATER,
        "provider/unprocessable_entity" | "provider/invalid_file" => LATER,
        // The wait always stands beside it, so this is for the day when it does not.
        "api/too_many_requests" => of(Class::Throttled).after(MINUTE),
        "provider/too_many_requests" => Meaning { limit_of_linkedin: true, ..of(Class::Throttled) },
        "api/internal_error"
        | "provider/server_error"
        | "api/proxy_error"
        | "api/proxy_timeout"
        | "provider/timeout" => SERVER,
        _ => return None,
    })
}

/// The vendor's table of v1, types without their common prefix.
fn of_type_v1(kind: &str) -> Option<Meaning> {
    Some(match kind {
        "invalid_parameters" | "malformed_request" => OUR_MISTAKE,
        "missing_credentials" | "insufficient_privileges" => person(Fault::Key),
        "disconnected_account"
        | "expired_credentials"
        | "invalid_credentials"
        | "checkpoint_error"
        | "wrong_account" => person(Fault::SignedOut),
        "disconnected_feature" => no_product(Fault::SignedOut),
        // Each attempt can log the person out of Recruiter.
        "multiple_sessions" => no_product(Fault::SignedOut).after(DAY),
        "account_restricted"
        | "account_mismatch"
        | "session_mismatch"
        | "unknown_authentication_context"
        | "action_required" => person(Fault::SignedOut),
        "insufficient_permissions"
        | "feature_not_subscribed"
        | "subscription_required"
        | "resource_access_restricted" => no_product(Fault::Plan),
        "resource_not_found" | "invalid_resource_identifier" => GONE,
        "provider_unreachable" | "realtime_client_not_initialized" => LATER,
        "invalid_account" | "unprocessable_entity" => NEVER,
        "too_many_requests" => Meaning { limit_of_linkedin: true, ..of(Class::Throttled) },
        "unexpected_error" | "provider_error" => SERVER,
        "feature_not_implemented" => NOT_OFFERED,
        "no_client_session"
        | "no_channel"
        | "no_handler"
        | "network_down"
        | "service_unavailable"
        | "request_timeout" => SERVER,
        _ => return None,
    })
}
