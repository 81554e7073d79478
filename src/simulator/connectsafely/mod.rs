//! ConnectSafely: conversations by URN, pages from newest to oldest, answers with a `success` flag.

mod accounts;
mod conversations;
mod messages;

use axum::Router;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, LOCATION};
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use serde_json::{Value, json};

use super::Endpoint;
use super::exchange::{Answer, Asked, Incoming, Twist, Voice};
use super::switches::{ErrorBody, Switches};
use super::world::{ConversationRef, State, World};
use crate::time::UnixMillis;

pub(super) fn routes() -> Router<World> {
    let linkedin = Router::new()
        .route("/conversations", get(conversations::list))
        .route("/conversations/{urn}/messages", get(messages::page))
        .route("/conversations/exists/{slug}", get(conversations::exists))
        .route("/conversations/sync/status", get(conversations::sync_status))
        .route("/accounts", get(accounts::list))
        .route("/account/status", get(accounts::status))
        .route("/account/{id}/status", get(accounts::status_of))
        .route("/messaging/recent-messages", get(retired))
        .route("/messaging/conversation-details", get(retired));
    Router::new().nest("/linkedin", linkedin).route("/health", get(health)).fallback(unknown)
}

/// A refusal: status, code and text for people.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn invalid(parameter: &str, rule: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation_error", format!("{parameter} {rule}"))
    }

    fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("{what} not found"))
    }
}

/// How ConnectSafely refuses.
pub(super) struct Wording;

impl Wording {
    fn error(&self, switches: &Switches, status: StatusCode, code: &str, message: &str) -> Answer {
        let body = match switches.connect_safely.error_body {
            ErrorBody::Error => json!({ "error": message }),
            ErrorBody::SuccessError => json!({ "success": false, "error": message }),
            ErrorBody::Issues => {
                let path: Vec<&str> = message.split(' ').take(1).collect();
                let issues = json!([{ "code": code, "path": path, "message": message }]);
                json!({ "success": false, "error": { "name": "ZodError", "issues": issues } })
            }
            ErrorBody::CodeMessage => json!({ "success": false, "code": code, "message": message }),
            ErrorBody::ErrorDetails => json!({ "errorDetails": { "message": message } }),
        };
        Answer::json(status, &body)
    }
}

impl Voice for Wording {
    fn rate_limited(&self, hold_until: Option<UnixMillis>) -> Answer {
        let mut body = json!({ "success": false, "error": "Rate limit exceeded" });
        if let Some(hold_until) = hold_until {
            body["holdUntil"] = json!(hold_until);
        }
        Answer::json(StatusCode::TOO_MANY_REQUESTS, &body)
    }

    fn refusal(&self, _: &Switches, code: &str, message: &str) -> Answer {
        let status = match code {
            "unauthorized" => StatusCode::UNAUTHORIZED,
            "forbidden" => StatusCode::FORBIDDEN,
            "not_found" => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        };
        Answer::json(status, &json!({ "success": false, "code": code, "message": message }))
    }

    fn success_false(&self) -> Answer {
        Answer::ok(&json!({ "success": false, "error": "LinkedIn did not answer" }))
    }

    fn payload_field(&self) -> &'static str {
        "messages"
    }
}

/// Answers what the key opens; all else is a refusal.
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
            .unwrap_or_else(|refusal| Wording.error(&state.switches, refusal.status, refusal.code, &refusal.message))
    };
    incoming.answer(asked, concerns, respond).await
}

fn authorise(state: &State, incoming: &Incoming) -> Result<(), Refusal> {
    let refused = |message| Err(Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message));
    match incoming.headers.get(AUTHORIZATION).map(|value| value.as_bytes()) {
        None => refused("API key is missing"),
        Some(value) if value.strip_prefix(b"Bearer ") != Some(state.settings.api_key.as_bytes()) => {
            refused("API key is not valid")
        }
        Some(_) => Ok(()),
    }
}

/// Refuses an account that is not the workspace's; none is its default.
fn check_account(state: &State, account_id: Option<&str>) -> Result<(), Refusal> {
    match account_id {
        Some(id) if id != state.settings.account_id => Err(Refusal::not_found("Account")),
        _ => Ok(()),
    }
}

/// 200 with the body as it is, or nested under `data`.
fn success(switches: &Switches, body: &impl Serialize) -> Answer {
    #[derive(Serialize)]
    struct Nested<'a, T> {
        data: &'a T,
    }
    if switches.connect_safely.wrap_in_data { Answer::ok(&Nested { data: body }) } else { Answer::ok(body) }
}

/// Reads a parameter that must be a number of at least `least`.
fn number(parameter: &str, text: Option<&str>, least: i64) -> Result<Option<i64>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number >= least);
    number.map(Some).ok_or_else(|| Refusal::invalid(parameter, &format!("must be a number from {least}")))
}

/// Reads a parameter that must be `true` or `false`.
fn truth(parameter: &str, text: Option<&str>) -> Result<Option<bool>, Refusal> {
    match text {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Refusal::invalid(parameter, "must be true or false")),
    }
}

/// Reads the query into fields that are all optional text.
fn query<T: serde::de::DeserializeOwned>(incoming: &Incoming) -> Result<T, Refusal> {
    Query::try_from_uri(&incoming.uri).map(|Query(query)| query).map_err(|_| Refusal::invalid("query", "is malformed"))
}

async fn health(incoming: Incoming) -> Response {
    let respond = |_: &mut State, _| Ok(Answer::ok(&json!({ "status": "ok" })));
    answer(incoming, Endpoint::Health, false, |_| Vec::new(), respond).await
}

/// The replaced endpoints point to the list of conversations and to the messages of one.
async fn retired(incoming: Incoming) -> Response {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Old {
        conversation_urn: Option<String>,
    }
    let old = query::<Old>(&incoming);
    let respond = |_: &mut State, _| {
        let target = match old?.conversation_urn {
            Some(urn) => {
                let urn = percent_encoding::utf8_percent_encode(&urn, percent_encoding::NON_ALPHANUMERIC);
                format!("/connectsafely/linkedin/conversations/{urn}/messages")
            }
            None => "/connectsafely/linkedin/conversations".into(),
        };
        Ok(Answer::json(StatusCode::TEMPORARY_REDIRECT, &Value::Null).with_header(LOCATION.as_str(), &target))
    };
    answer(incoming, Endpoint::ConnectSafelyRetired, false, |_| Vec::new(), respond).await
}

async fn unknown(incoming: Incoming) -> Response {
    let respond = |_: &mut State, _| Err(Refusal::not_found("Route"));
    answer(incoming, Endpoint::Unknown, false, |_| Vec::new(), respond).await
}
