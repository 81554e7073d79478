//! Linked API: synced conversations, polled by person, in an envelope of `success` and `result` or `error`.

mod inbox;
mod poll;
mod workflows;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;

use super::Endpoint;
use super::exchange::{Answer, Asked, Incoming, Twist, Voice};
use super::people::OWNER;
use super::switches::{RefusalStatus, Switches};
use super::world::{Kind, State, World};
use crate::time::UnixMillis;

pub(super) use inbox::{Inbox, inbox_message_id};
pub(super) use workflows::Workflows;

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/account", get(account))
        .route("/conversations/poll", post(poll::poll))
        .route("/inbox/poll", post(inbox::poll))
        .route("/workflows", post(workflows::start))
        .route("/workflows/{id}", get(workflows::status).delete(workflows::cancel))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// A refusal: error type and text for people.
#[derive(Clone)]
struct Refusal {
    error_type: String,
    message: String,
}

impl Refusal {
    fn new(error_type: &str, message: impl Into<String>) -> Self {
        Self { error_type: error_type.into(), message: message.into() }
    }

    fn payload(message: impl Into<String>) -> Self {
        Self::new("invalidRequestPayload", message)
    }
}

#[derive(Serialize)]
struct Success<T> {
    success: bool,
    result: T,
}

fn success(result: impl Serialize) -> Answer {
    Answer::ok(&Success { success: true, result })
}

/// How Linked API refuses.
struct Wording;

impl Voice for Wording {
    fn rate_limited(&self, hold_until: Option<UnixMillis>) -> Answer {
        let mut error = json!({ "type": "tooManyRequests", "message": "Too many requests, slow down." });
        if let Some(hold_until) = hold_until {
            error["holdUntil"] = json!(hold_until);
        }
        Answer::json(StatusCode::TOO_MANY_REQUESTS, &json!({ "success": false, "error": error }))
    }

    fn refusal(&self, switches: &Switches, error_type: &str, message: &str) -> Answer {
        let status = match switches.linked_api.refusal_status {
            RefusalStatus::Ok => StatusCode::OK,
            RefusalStatus::ClientError => client_error(error_type),
        };
        Answer::json(status, &json!({ "success": false, "error": { "type": error_type, "message": message } }))
    }

    fn success_false(&self) -> Answer {
        Answer::ok(&json!({ "success": false }))
    }

    fn payload_field(&self) -> &'static str {
        "result"
    }
}

fn client_error(error_type: &str) -> StatusCode {
    match error_type {
        "linkedApiTokenRequired"
        | "invalidLinkedApiToken"
        | "identificationTokenRequired"
        | "invalidIdentificationToken" => StatusCode::UNAUTHORIZED,
        "subscriptionRequired" | "plusPlanRequired" | "trialLimitReached" => StatusCode::FORBIDDEN,
        "personNotFound" | "threadNotFound" | "workflowNotFound" => StatusCode::NOT_FOUND,
        "tooManyRequests" => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Answers what the account's tokens open; all else is a refusal. `respond` gets the moment up to which workflows are
/// settled: under another clock it would see some that have ended and not taken effect.
async fn answer(
    incoming: Incoming,
    endpoint: Endpoint,
    concerns: impl FnOnce(&State) -> Vec<super::ConversationRef>,
    respond: impl FnOnce(&mut State, Twist, UnixMillis) -> Result<Answer, Refusal>,
) -> Response {
    let asked = Asked { endpoint, voice: &Wording, cursor: false };
    let respond = |state: &mut State, incoming: &Incoming, twist| {
        let authorised = authorise(state, incoming);
        let now = UnixMillis::now();
        state.settle_workflows(now);
        authorised
            .and_then(|()| respond(state, twist, now))
            .unwrap_or_else(|refusal| Wording.refusal(&state.switches, &refusal.error_type, &refusal.message))
    };
    incoming.answer(asked, concerns, respond).await
}

fn authorise(state: &State, incoming: &Incoming) -> Result<(), Refusal> {
    let header = |name| incoming.headers.get(name).map(|value| value.as_bytes()).filter(|value| !value.is_empty());
    match header("linked-api-token") {
        None => return Err(Refusal::new("linkedApiTokenRequired", "The linked-api-token header is missing.")),
        Some(token) if token != state.settings.linked_api_token.as_bytes() => {
            return Err(Refusal::new("invalidLinkedApiToken", "The linked-api-token is not valid."));
        }
        Some(_) => {}
    }
    match header("identification-token") {
        None => return Err(Refusal::new("identificationTokenRequired", "The identification-token header is missing.")),
        Some(token) if token != state.settings.identification_token.as_bytes() => {
            return Err(Refusal::new("invalidIdentificationToken", "The identification-token is not valid."));
        }
        Some(_) => {}
    }
    if state.switches.linked_api.require_client_header && header("client").is_none() {
        return Err(Refusal::payload("The client header is missing."));
    }
    Ok(())
}

async fn account(incoming: Incoming) -> Response {
    let respond = |_: &mut State, _, _| Ok(success(json!({ "name": OWNER.name(), "url": OWNER.url() })));
    answer(incoming, Endpoint::LinkedApiAccount, |_| Vec::new(), respond).await
}

async fn unknown(incoming: Incoming) -> Response {
    let answer = Answer::json(
        StatusCode::NOT_FOUND,
        &json!({ "success": false, "error": { "type": "notFound", "message": "No such endpoint." } }),
    );
    let asked = Asked { endpoint: Endpoint::Unknown, voice: &Wording, cursor: false };
    incoming.answer(asked, |_| Vec::new(), |_, _, _| answer).await
}

/// Reads `st` or `nv`.
fn kind_of(code: &str) -> Option<Kind> {
    [Kind::Standard, Kind::SalesNavigator].into_iter().find(|kind| kind.code() == code)
}
