//! Version 1: read from Unipile's own copy, always by cursor, with flags that are 0 or 1.

mod accounts;
mod chats;
mod messages;
mod paging;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::simulator::Endpoint;
use crate::simulator::exchange::{Answer, Asked, Incoming, Twist, Voice};
use crate::simulator::switches::Switches;
use crate::simulator::unipile::KeyOf;
use crate::simulator::world::{ConversationRef, Dialect, State, World};
use crate::time::UnixMillis;

const DIALECT: Dialect = Dialect::UnipileV1;

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/accounts", get(accounts::list))
        .route("/accounts/{account}", get(accounts::one))
        .route("/chats", get(chats::list))
        .route("/chats/{chat}", get(chats::one))
        .route("/chats/{chat}/messages", get(messages::of_chat))
        .route("/messages", get(messages::of_account))
        .route("/messages/{message}", get(messages::one))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// A refusal: type, without what all types begin with, and text for people.
struct Refusal {
    error_type: &'static str,
    detail: String,
}

impl Refusal {
    fn new(error_type: &'static str, detail: impl Into<String>) -> Self {
        Self { error_type, detail: detail.into() }
    }

    fn invalid(parameter: &str, rule: &str) -> Self {
        Self::new("invalid_parameters", format!("{parameter} {rule}."))
    }

    fn not_found(what: &str) -> Self {
        Self::new("resource_not_found", format!("{what} not found."))
    }
}

/// How version 1 refuses.
struct Wording;

impl Wording {
    /// `error_type` may have its beginning or not.
    fn error(&self, error_type: &str, detail: &str) -> Answer {
        let reason = error_type.strip_prefix("errors/").unwrap_or(error_type);
        let status = status_of(reason);
        let mut title = reason.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let error_type = format!("errors/{reason}");
        let body = json!({ "title": title, "type": error_type, "status": status.as_u16(), "detail": detail });
        Answer::json(status, &body)
    }
}

impl Voice for Wording {
    fn rate_limited(&self, _: Option<UnixMillis>) -> Answer {
        self.error("too_many_requests", "Slow down.")
    }

    fn refusal(&self, _: &Switches, error_type: &str, message: &str) -> Answer {
        self.error(error_type, message)
    }

    /// An error body under 200.
    fn success_false(&self) -> Answer {
        Answer::ok(&json!({ "title": "Provider error", "type": "errors/provider_error", "status": 500 }))
    }

    fn payload_field(&self) -> &'static str {
        "items"
    }
}

/// The status that goes with an error type.
fn status_of(reason: &str) -> StatusCode {
    match reason {
        "missing_credentials"
        | "insufficient_privileges"
        | "disconnected_account"
        | "expired_credentials"
        | "invalid_credentials"
        | "checkpoint_error"
        | "wrong_account"
        | "disconnected_feature"
        | "multiple_sessions" => StatusCode::UNAUTHORIZED,
        "account_restricted"
        | "account_mismatch"
        | "session_mismatch"
        | "unknown_authentication_context"
        | "action_required"
        | "insufficient_permissions"
        | "feature_not_subscribed"
        | "subscription_required"
        | "resource_access_restricted" => StatusCode::FORBIDDEN,
        "resource_not_found" | "invalid_resource_identifier" => StatusCode::NOT_FOUND,
        "invalid_account" | "unprocessable_entity" | "provider_unreachable" | "realtime_client_not_initialized" => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        "too_many_requests" => StatusCode::TOO_MANY_REQUESTS,
        "unexpected_error" | "provider_error" => StatusCode::INTERNAL_SERVER_ERROR,
        "feature_not_implemented" => StatusCode::NOT_IMPLEMENTED,
        "no_client_session" | "no_channel" | "no_handler" | "network_down" | "service_unavailable" => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        "request_timeout" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Answers what the workspace's token opens; all else is a refusal.
async fn answer(
    incoming: Incoming,
    endpoint: Endpoint,
    cursor: bool,
    concerns: impl FnOnce(&State) -> Vec<ConversationRef>,
    respond: impl FnOnce(&mut State, Twist) -> Result<Answer, Refusal>,
) -> Response {
    let asked = Asked { endpoint, voice: &Wording, cursor };
    let respond = |state: &mut State, incoming: &Incoming, twist| {
        authorise(state, incoming)
            .and_then(|()| respond(state, twist))
            .unwrap_or_else(|refusal| Wording.error(refusal.error_type, &refusal.detail))
    };
    incoming.answer(asked, concerns, respond).await
}

fn authorise(state: &State, incoming: &Incoming) -> Result<(), Refusal> {
    match incoming.headers.get("x-api-key").map(|value| value.as_bytes()) {
        None | Some(b"") => Err(Refusal::new("missing_credentials", "The X-API-KEY header is missing.")),
        Some(key) if key != state.settings.unipile_api_key.as_bytes() => {
            Err(Refusal::new("insufficient_privileges", "The access token is not valid."))
        }
        Some(_) if state.switches.unipile.key_of == KeyOf::V2 => {
            Err(Refusal::new("missing_credentials", "Missing credentials."))
        }
        Some(_) => Ok(()),
    }
}

/// Refuses an account that is not the workspace's; none is all of them.
fn check_account(state: &State, account: Option<&str>) -> Result<(), Refusal> {
    match account {
        Some(id) if id != state.settings.unipile_v1_account_id => Err(Refusal::not_found("Account")),
        _ => Ok(()),
    }
}

async fn unknown(incoming: Incoming) -> Response {
    let respond = |_: &mut State, _| Err(Refusal::not_found("Route"));
    answer(incoming, Endpoint::Unknown, false, |_| Vec::new(), respond).await
}
