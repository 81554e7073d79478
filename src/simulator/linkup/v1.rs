//! Edition 1: one path per operation, the LinkedIn session in every body, errors mostly inside HTTP 200 and paid for.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::credits::{self, CreditReason};
use super::fields::{Fields, asked_for};
use super::messages::{self, Named};
use super::switches::{LinkupErrorBody, LinkupErrorStatus};
use super::{Body, Endpoint, Trouble, Version, inbox};
use crate::simulator::exchange::{Answer, Asked, Incoming, Twist, Voice};
use crate::simulator::faults::Fault;
use crate::simulator::switches::Switches;
use crate::simulator::world::{ConversationRef, State};
use crate::time::UnixMillis;

const COUNTRIES: [&str; 11] = ["US", "UK", "FR", "DE", "NL", "IT", "IL", "CA", "BR", "ES", "IN"];

/// Name of the field that says how many messages or rows are asked for.
const COUNT: &str = "total_results";

/// How v1 refuses.
pub(super) struct Wording;

impl Wording {
    fn error(&self, switches: &Switches, status: StatusCode, message: &str) -> Answer {
        let status = match switches.linkup.error_status {
            LinkupErrorStatus::Ok => StatusCode::OK,
            LinkupErrorStatus::Real => status,
        };
        let body = match switches.linkup.error_body {
            LinkupErrorBody::Message => json!({ "status": "error", "message": message }),
            LinkupErrorBody::Error => json!({ "status": "error", "error": message }),
            LinkupErrorBody::ErrorObject => json!({ "status": "error", "error": { "message": message } }),
            LinkupErrorBody::Detail => json!({ "detail": message }),
        };
        Answer::json(status, &body)
    }

    fn trouble(&self, switches: &Switches, trouble: &Trouble) -> Answer {
        let no_credits =
            StatusCode::from_u16(switches.linkup.no_credits_status).unwrap_or(StatusCode::PAYMENT_REQUIRED);
        let (status, message) = match trouble {
            Trouble::Key => (StatusCode::UNAUTHORIZED, "Invalid API key"),
            Trouble::Params(message) | Trouble::Action(message) => (StatusCode::BAD_REQUEST, message.as_str()),
            Trouble::Conversation => (StatusCode::NOT_FOUND, "Conversation not found"),
            Trouble::Session(message) => (StatusCode::FORBIDDEN, message.as_str()),
            Trouble::Credits => (no_credits, "Not enough credits"),
            Trouble::Account | Trouble::Webhook => (StatusCode::NOT_FOUND, "Not found"),
        };
        self.error(switches, status, message)
    }
}

impl Voice for Wording {
    fn rate_limited(&self, _: Option<UnixMillis>) -> Answer {
        Answer::json(StatusCode::TOO_MANY_REQUESTS, &json!({ "status": "error", "message": "Rate limit exceeded" }))
    }

    /// `error_type` is an HTTP status, for the switch that shows it.
    fn refusal(&self, switches: &Switches, error_type: &str, message: &str) -> Answer {
        let status = error_type.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        self.error(switches, status.unwrap_or(StatusCode::BAD_REQUEST), message)
    }

    fn success_false(&self) -> Answer {
        Answer::ok(&json!({ "status": "error" }))
    }

    fn payload_field(&self) -> &'static str {
        "data"
    }

    fn success_flag(&self) -> &'static str {
        r#""status":"success""#
    }

    /// Errors cost what the answer would have cost, but for HTTP 500; so do answers that are lost on the way.
    fn struck(&self, state: &mut State, incoming: &Incoming, endpoint: Endpoint, fault: &Fault) {
        let (asked, now) = (asked_for(&incoming.body, COUNT), UnixMillis::now());
        match fault {
            Fault::Html5xx(500) | Fault::Status { code: 500, .. } => {}
            Fault::TypedError { error_type, .. } if error_type == "500" => {}
            Fault::Status { code, .. } if *code < 300 => {
                credits::charge(state, endpoint, credits::price(asked), CreditReason::Answered, now);
            }
            Fault::MissingPayload | Fault::Oversized { .. } | Fault::DeeplyNested { .. } | Fault::Hang => {
                credits::charge(state, endpoint, credits::price(asked), CreditReason::Answered, now);
            }
            _ => credits::charge_error(state, Version::V1, endpoint, asked, now),
        }
    }
}

/// What is asked for, once key and balance allow it.
enum Ask {
    Messages(messages::Ask),
    Inbox(inbox::Ask),
}

pub(super) async fn messages(incoming: Incoming) -> Response {
    let read = |fields: &mut Fields| messages::Ask::read(fields, "linkedin_url", COUNT).map(Ask::Messages);
    answer(incoming, Endpoint::LinkupV1Messages, "cursor", read).await
}

pub(super) async fn inbox(incoming: Incoming) -> Response {
    let read = |fields: &mut Fields| inbox::Ask::read(fields, COUNT, "next_cursor").map(Ask::Inbox);
    answer(incoming, Endpoint::LinkupV1Inbox, "next_cursor", read).await
}

async fn answer(
    incoming: Incoming,
    endpoint: Endpoint,
    cursor: &str,
    read: impl FnOnce(&mut Fields) -> Result<Ask, Trouble>,
) -> Response {
    let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    let asked = Asked { endpoint, voice: &Wording, cursor: !body[cursor].is_null() };
    let concerns = |state: &State| named(state, &body).into_iter().collect();
    let respond = |state: &mut State, incoming: &Incoming, twist| {
        let now = UnixMillis::now();
        let made = respond(state, incoming, endpoint, read, twist, now);
        made.unwrap_or_else(|trouble| {
            // Where there are no credits, none can be taken.
            if trouble != Trouble::Credits {
                credits::charge_error(state, Version::V1, endpoint, asked_for(&incoming.body, COUNT), now);
            }
            Wording.trouble(&state.switches, &trouble)
        })
    };
    incoming.answer(asked, concerns, respond).await
}

/// The conversation that a body names, for faults that ask for one.
fn named(state: &State, body: &Value) -> Option<ConversationRef> {
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let named = text("conversation_id").map(Named::Thread).or_else(|| text("linkedin_url").map(Named::Profile))?;
    messages::find(state, Version::V1, &named)
}

fn respond(
    state: &mut State,
    incoming: &Incoming,
    endpoint: Endpoint,
    read: impl FnOnce(&mut Fields) -> Result<Ask, Trouble>,
    twist: Twist,
    now: UnixMillis,
) -> Result<Answer, Trouble> {
    super::check_key(state, incoming)?;
    credits::check_balance(state, asked_for(&incoming.body, COUNT), now)?;
    let mut fields = Fields::read(&incoming.body)?;
    let token = fields.required("login_token")?;
    let country = fields.text("country")?.unwrap_or_else(|| "FR".into());
    if !COUNTRIES.contains(&country.as_str()) {
        return Err(Trouble::Params(format!("country must be one of {}", COUNTRIES.join(", "))));
    }
    let ask = read(&mut fields)?;
    super::check_rest(state, &fields)?;
    if let Some(message) = &state.switches.linkup.dead_session {
        return Err(Trouble::Session(message.clone()));
    }
    if token != state.settings.linkup_login_token {
        return Err(Trouble::Session("Cookie invalid or expired".into()));
    }
    let (asked, body) = match &ask {
        Ask::Messages(ask) => {
            let page = messages::page(state, Version::V1, ask, twist, now)?;
            if twist.delivered {
                state.conversations[page.reference.0].mark_served(page.places, now);
            }
            (ask.count, page.body)
        }
        Ask::Inbox(ask) => (ask.count, inbox::page(state, Version::V1, ask, twist, now)?),
    };
    let cost = credits::cost(&state.switches, asked, body.rows.len());
    credits::charge(state, endpoint, cost, CreditReason::Answered, now);
    Ok(success(&state.switches, body))
}

fn success(switches: &Switches, body: Body) -> Answer {
    let mut top = Map::new();
    let data = body.place(Version::V1, switches, &mut top);
    top.insert("status".into(), json!("success"));
    top.insert("data".into(), Value::Object(data));
    Answer::ok(&top)
}

pub(super) async fn unknown(incoming: Incoming) -> Response {
    let asked = Asked { endpoint: Endpoint::Unknown, voice: &Wording, cursor: false };
    let answer = |state: &mut State, _: &Incoming, _| Wording.trouble(&state.switches, &Trouble::Account);
    incoming.answer(asked, |_| Vec::new(), answer).await
}
