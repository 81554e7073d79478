//! Version 2: read live from LinkedIn, behind a cache and a limiter, with errors in the form of RFC 7807.

mod accounts;
mod cache;
mod chats;
mod inboxes;
mod messages;
mod pace;
mod paging;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{AGE, RETRY_AFTER};
use axum::response::Response;
use axum::routing::get;
use serde_json::json;

use crate::simulator::Endpoint;
use crate::simulator::exchange::{Answer, Asked, Incoming, Twist, Voice};
use crate::simulator::switches::Switches;
use crate::simulator::unipile::KeyOf;
use crate::simulator::world::{ConversationRef, State, World};
use crate::time::UnixMillis;

pub(in crate::simulator) use cache::{Cache, Control};
pub(in crate::simulator) use pace::{Left, Pace};

const PROBLEM: &str = "application/problem+json";
const X_CACHE: &str = "x-cache";

pub(super) fn routes() -> Router<World> {
    Router::new()
        .route("/accounts", get(accounts::list))
        .route("/accounts/", get(accounts::list))
        .route("/accounts/{account}", get(accounts::one))
        .route("/{account}/users/me", get(accounts::me))
        .route("/{account}/inboxes", get(inboxes::list))
        .route("/{account}/inboxes/{inbox}/chats", get(chats::of_inbox))
        .route("/{account}/chats", get(chats::of_account))
        .route("/{account}/chats/{chat}", get(chats::one))
        .route("/{account}/chats/{chat}/messages", get(messages::list))
        .route("/{account}/chats/{chat}/messages/{message}", get(messages::one))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
}

/// A refusal: status, type and text for people.
struct Refusal {
    status: StatusCode,
    error_type: &'static str,
    detail: String,
}

impl Refusal {
    fn new(status: StatusCode, error_type: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error_type, detail: detail.into() }
    }

    /// What Unipile itself finds wrong with a parameter.
    fn malformed(parameter: &str, rule: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "api/invalid_parameters", format!("{parameter} {rule}."))
    }

    /// What the product does not take.
    fn unsuited(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "provider/invalid_parameters", detail)
    }

    fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "provider/resource_not_found", format!("{what} not found."))
    }

    fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "provider/insufficient_permissions", detail)
    }
}

/// How version 2 refuses.
struct Wording;

impl Wording {
    fn error(&self, status: StatusCode, error_type: &str, detail: &str) -> Answer {
        let mut title = error_type.rsplit('/').next().unwrap_or_default().replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let body = json!({
            "object": "Error",
            "type": error_type,
            "status": status.as_u16(),
            "title": title,
            "detail": detail,
            "req_id": "req-sim",
        });
        Answer::json(status, &body).with_type(PROBLEM)
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        self.error(refusal.status, refusal.error_type, &refusal.detail)
    }
}

impl Voice for Wording {
    fn rate_limited(&self, _: Option<UnixMillis>) -> Answer {
        self.error(StatusCode::TOO_MANY_REQUESTS, "api/too_many_requests", "Slow down.")
    }

    fn refusal(&self, _: &Switches, error_type: &str, message: &str) -> Answer {
        self.error(status_of(error_type), error_type, message)
    }

    /// An error body under 200, as one client has learnt to look for.
    fn success_false(&self) -> Answer {
        let body = json!({
            "object": "Error",
            "type": "provider/server_error",
            "status": 503,
            "title": "Server error",
            "detail": "LinkedIn did not answer.",
            "req_id": "req-sim",
        });
        Answer::ok(&body)
    }

    fn payload_field(&self) -> &'static str {
        "data"
    }
}

/// The status that goes with an error type.
fn status_of(error_type: &str) -> StatusCode {
    match error_type.rsplit('/').next().unwrap_or_default() {
        "missing_authorization"
        | "expired_authorization"
        | "invalid_authorization"
        | "invalid_credentials"
        | "proxy_auth_error" => StatusCode::UNAUTHORIZED,
        "insufficient_permissions"
        | "account_restricted"
        | "account_mismatch"
        | "unknown_authentication_context"
        | "inactive_subscription" => StatusCode::FORBIDDEN,
        "resource_not_found" => StatusCode::NOT_FOUND,
        "method_not_allowed" => StatusCode::METHOD_NOT_ALLOWED,
        "conflict" | "already_exists" => StatusCode::CONFLICT,
        "unprocessable_entity" | "invalid_file" => StatusCode::UNPROCESSABLE_ENTITY,
        "too_many_requests" => StatusCode::TOO_MANY_REQUESTS,
        "internal_error" => StatusCode::INTERNAL_SERVER_ERROR,
        "not_implemented" => StatusCode::NOT_IMPLEMENTED,
        "proxy_error" => StatusCode::BAD_GATEWAY,
        "server_error" => StatusCode::SERVICE_UNAVAILABLE,
        "proxy_timeout" | "timeout" => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Answers what is Unipile's own: neither cached nor limited.
async fn answer(
    incoming: Incoming,
    endpoint: Endpoint,
    respond: impl FnOnce(&mut State) -> Result<Answer, Refusal>,
) -> Response {
    let asked = Asked { endpoint, voice: &Wording, cursor: false };
    let respond = |state: &mut State, incoming: &Incoming, _| {
        authorise(state, incoming).and_then(|()| respond(state)).unwrap_or_else(|refusal| Wording.refused(&refusal))
    };
    incoming.answer(asked, |_| Vec::new(), respond).await
}

/// What a request on provider data asks for.
struct Ask {
    endpoint: Endpoint,
    account: String,
    /// Whether it goes on from an earlier page, by a cursor or by an offset.
    goes_on: bool,
}

/// Answers from the account's data at LinkedIn, or from the cache before it.
async fn answer_live(
    incoming: Incoming,
    ask: Ask,
    concerns: impl FnOnce(&State) -> Vec<ConversationRef>,
    respond: impl FnOnce(&mut State, Twist) -> Result<Answer, Refusal>,
) -> Response {
    let asked = Asked { endpoint: ask.endpoint, voice: &Wording, cursor: ask.goes_on };
    let respond = |state: &mut State, incoming: &Incoming, twist| {
        authorise(state, incoming)
            .and_then(|()| check_account(state, &ask.account))
            .and_then(|()| check_status(state))
            .map(|()| through_cache(state, incoming, ask.endpoint, twist, respond))
            .unwrap_or_else(|refusal| Wording.refused(&refusal))
    };
    incoming.answer(asked, concerns, respond).await
}

/// A copy where the cache has one that will do; else a fresh answer, which counts against the limit.
fn through_cache(
    state: &mut State,
    incoming: &Incoming,
    endpoint: Endpoint,
    twist: Twist,
    respond: impl FnOnce(&mut State, Twist) -> Result<Answer, Refusal>,
) -> Answer {
    let now = UnixMillis::now();
    let caches = state.switches.unipile.cache;
    let url = incoming.uri.path_and_query().map_or("", |url| url.as_str());
    let control = Control::of(&incoming.headers);
    let obeyed = if state.switches.unipile.cache_ignores_no_cache { Control::default() } else { control };
    if caches && let Some((body, age)) = state.unipile.cache.copy(url, obeyed, now) {
        return Answer::raw(body).with_header(X_CACHE, "HIT").with_header(AGE.as_str(), &age.as_secs().to_string());
    }
    let left = state.switches.unipile.rate_limit.map(|limit| state.unipile.pace.take(endpoint, limit, now));
    let answer = match left {
        Some(Left { spent: true, reset, .. }) => {
            Wording.rate_limited(None).with_header(RETRY_AFTER.as_str(), &reset.to_string())
        }
        _ => match respond(state, twist) {
            Ok(answer) => {
                // A body that does not arrive would be served later without counting as served.
                if caches && twist.delivered {
                    state.unipile.cache.keep(url, answer.body(), control, now);
                }
                answer.with_header(X_CACHE, "MISS")
            }
            Err(refusal) => Wording.refused(&refusal).with_header(X_CACHE, "MISS"),
        },
    };
    let Some(left) = left else { return answer };
    answer
        .with_header("x-ratelimit-limit", &left.limit.to_string())
        .with_header("x-ratelimit-remaining", &left.remaining.to_string())
        .with_header("x-ratelimit-reset", &left.reset.to_string())
}

fn authorise(state: &State, incoming: &Incoming) -> Result<(), Refusal> {
    let refused = |error_type, detail| Err(Refusal::new(StatusCode::UNAUTHORIZED, error_type, detail));
    match incoming.headers.get("x-api-key").map(|value| value.as_bytes()) {
        None | Some(b"") => refused("api/missing_authorization", "The X-API-KEY header is missing."),
        Some(key) if key != state.settings.unipile_api_key.as_bytes() => {
            refused("api/expired_authorization", "The API key is not valid.")
        }
        // What the other generation gave out is not taken for a key at all.
        Some(_) if state.switches.unipile.key_of == KeyOf::V1 => {
            refused("errors/missing_credentials", "Missing credentials.")
        }
        Some(_) => Ok(()),
    }
}

fn check_account(state: &State, account: &str) -> Result<(), Refusal> {
    if !account.starts_with("acc_") {
        Err(Refusal::malformed("account_id", "must match ^acc_(.*)$"))
    } else if account != state.settings.unipile_account_id {
        Err(Refusal::new(StatusCode::NOT_FOUND, "api/resource_not_found", "Account not found."))
    } else {
        Ok(())
    }
}

/// Refuses provider data while there is no way to it.
fn check_status(state: &State) -> Result<(), Refusal> {
    let (error_type, detail) = match state.switches.unipile.account_status.as_str() {
        "disconnected" => ("provider/invalid_authorization", "Account is disconnected."),
        "paused" => ("api/inactive_subscription", "Account is paused."),
        "errored" => ("provider/server_error", "Account is in error."),
        _ if !state.switches.unipile.is_connected => ("provider/invalid_authorization", "Account is disconnected."),
        _ => return Ok(()),
    };
    Err(Refusal::new(status_of(error_type), error_type, detail))
}

async fn unknown(incoming: Incoming) -> Response {
    let respond =
        |_: &mut State| Err(Refusal::new(StatusCode::NOT_FOUND, "api/resource_not_found", "No such endpoint."));
    answer(incoming, Endpoint::Unknown, respond).await
}

/// The segments of a path below an account.
type Below = Path<(String, String)>;
