//! Edition 2: accounts, actions with `params`, coded errors that cost nothing.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::credits::{self, CreditReason};
use super::fields::{Fields, asked_for};
use super::messages::{self, Named};
use super::{Body, Endpoint, Trouble, Version, inbox};
use crate::simulator::exchange::{Answer, Asked, Incoming, Twist, Voice};
use crate::simulator::faults::Fault;
use crate::simulator::switches::Switches;
use crate::simulator::world::{ConversationRef, State};
use crate::time::UnixMillis;

/// Name of the field that says how many messages or rows are asked for.
const COUNT: &str = "count";

/// How v2 refuses.
pub(super) struct Wording;

/// The statuses of the codes that the contract lists.
fn status_of(code: &str) -> StatusCode {
    match code {
        "INSUFFICIENT_CREDITS" => StatusCode::PAYMENT_REQUIRED,
        "INVALID_API_KEY" | "ACCOUNT_INACTIVE" => StatusCode::FORBIDDEN,
        "INVALID_ACCOUNT" => StatusCode::NOT_FOUND,
        "RATE_LIMITED" => StatusCode::TOO_MANY_REQUESTS,
        "INTERNAL_ERROR" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn error(code: &str, message: &str, action: Option<&str>) -> Answer {
    let mut metadata = json!({ "credits_consumed": 0, "timestamp": UnixMillis::now() });
    if let Some(action) = action {
        metadata["action"] = json!(action);
    }
    let body = json!({ "success": false, "error": { "code": code, "message": message }, "metadata": metadata });
    Answer::json(status_of(code), &body)
}

/// The answer to what is wrong with a request.
pub(super) fn trouble(trouble: &Trouble, action: Option<&str>) -> Answer {
    const INACTIVE: &str = "ACCOUNT_INACTIVE";
    match trouble {
        Trouble::Key => error("INVALID_API_KEY", "The API key is missing or not valid", action),
        Trouble::Params(message) => error("INVALID_PARAMS", message, action),
        Trouble::Conversation => error("INVALID_PARAMS", "Conversation not found", action),
        Trouble::Session(code) if code == INACTIVE => error(INACTIVE, "The account is not active", action),
        Trouble::Session(message) => error("INTERNAL_ERROR", message, action),
        Trouble::Credits => error("INSUFFICIENT_CREDITS", "Not enough credits", action),
        Trouble::Action(message) => error("INVALID_ACTION", message, action),
        // Paths that do not exist answer with this code too.
        Trouble::Account => error("INVALID_ACCOUNT", "Account not found", action),
        Trouble::Webhook => error("INVALID_PARAMS", "Webhook not found", action),
    }
}

impl Voice for Wording {
    fn rate_limited(&self, _: Option<UnixMillis>) -> Answer {
        error("RATE_LIMITED", "Too many requests", None)
    }

    fn refusal(&self, _: &Switches, code: &str, message: &str) -> Answer {
        error(code, message, None)
    }

    fn success_false(&self) -> Answer {
        Answer::ok(&json!({ "success": false }))
    }

    fn payload_field(&self) -> &'static str {
        "data"
    }

    /// Errors cost nothing; answers that go wrong on the way are paid for.
    fn struck(&self, state: &mut State, incoming: &Incoming, endpoint: Endpoint, fault: &Fault) {
        let answered = match fault {
            Fault::Status { code, .. } => *code < 300,
            Fault::MissingPayload | Fault::Oversized { .. } | Fault::DeeplyNested { .. } | Fault::Hang => true,
            _ => false,
        };
        if answered && matches!(endpoint, Endpoint::LinkupV2Messages | Endpoint::LinkupV2Inbox) {
            let price = credits::price(asked_for(&incoming.body, COUNT));
            credits::charge(state, endpoint, price, CreditReason::Answered, UnixMillis::now());
        }
    }
}

/// `POST /messages`: the action decides.
pub(super) async fn messages(incoming: Incoming) -> Response {
    let body: Value = serde_json::from_slice(&incoming.body).unwrap_or_default();
    let action = body["action"].as_str();
    let endpoint = match action {
        Some("get_conversation") => Endpoint::LinkupV2Messages,
        Some("list_inbox") => Endpoint::LinkupV2Inbox,
        _ => Endpoint::Unknown,
    };
    let asked = Asked { endpoint, voice: &Wording, cursor: !body["params"]["cursor"].is_null() };
    let concerns = |state: &State| named(state, &body["params"]).into_iter().collect();
    let respond = |state: &mut State, incoming: &Incoming, twist| {
        let made = respond(state, incoming, endpoint, twist, UnixMillis::now());
        made.unwrap_or_else(|it| trouble(&it, action))
    };
    incoming.answer(asked, concerns, respond).await
}

/// The conversation that `params` name, for faults that ask for one.
fn named(state: &State, params: &Value) -> Option<ConversationRef> {
    let text = |name: &str| params[name].as_str().map(str::to_owned);
    let named = text("conversation_id").map(Named::Thread).or_else(|| text("profile_url").map(Named::Profile))?;
    messages::find(state, Version::V2, &named)
}

fn respond(
    state: &mut State,
    incoming: &Incoming,
    endpoint: Endpoint,
    twist: Twist,
    now: UnixMillis,
) -> Result<Answer, Trouble> {
    super::check_key(state, incoming)?;
    let mut fields = Fields::read(&incoming.body)?;
    let account_id = fields.required("account_id")?;
    if account_id != state.settings.linkup_account_id {
        return Err(Trouble::Account);
    }
    let action = fields.required("action")?;
    let mut params = fields.object("params")?;
    super::check_rest(state, &fields)?;
    // Other channels than LinkedIn's go by it.
    params.text("phone_number")?;
    let (asked, body) = match endpoint {
        Endpoint::LinkupV2Messages => {
            let mut ask = messages::Ask::read(&mut params, "profile_url", COUNT)?;
            ask.sales_navigator = Some(params.truth("sales_nav")?.unwrap_or(false));
            let mark_as_read = params.truth("mark_as_read")?.unwrap_or(true);
            before(state, &params, ask.count, now)?;
            let page = messages::page(state, Version::V2, &ask, twist, now)?;
            if mark_as_read {
                let written = state.written();
                state.linkup.read.insert(page.reference, written);
            }
            if twist.delivered {
                state.conversations[page.reference.0].mark_served(page.places, now);
            }
            (ask.count, page.body)
        }
        Endpoint::LinkupV2Inbox => {
            let mut ask = inbox::Ask::read(&mut params, COUNT, "cursor")?;
            ask.sales_navigator = Some(params.truth("sales_nav")?.unwrap_or(false));
            ask.unread_only = params.truth("unread_only")?.unwrap_or(false);
            before(state, &params, ask.count, now)?;
            (ask.count, inbox::page(state, Version::V2, &ask, twist, now)?)
        }
        _ => return Err(Trouble::Action(format!("Unknown action: {action}"))),
    };
    let cost = credits::cost(&state.switches, asked, body.rows.len());
    credits::charge(state, endpoint, cost, CreditReason::Answered, now);
    let metadata = json!({ "action": action, "account_id": account_id, "credits_consumed": cost, "timestamp": now });
    Ok(success(&state.switches, body, metadata))
}

/// What stands between a request that makes sense and its answer.
fn before(state: &State, params: &Fields, asked: u64, now: UnixMillis) -> Result<(), Trouble> {
    super::check_rest(state, params)?;
    credits::check_balance(state, asked, now)?;
    match &state.switches.linkup.dead_session {
        Some(message) => Err(Trouble::Session(message.clone())),
        None => Ok(()),
    }
}

fn success(switches: &Switches, body: Body, metadata: Value) -> Answer {
    let mut top = Map::new();
    let data = body.place(Version::V2, switches, &mut top);
    top.insert("success".into(), json!(true));
    top.insert("data".into(), Value::Object(data));
    top.insert("metadata".into(), metadata);
    Answer::ok(&top)
}

pub(super) async fn unknown(incoming: Incoming) -> Response {
    let asked = Asked { endpoint: Endpoint::Unknown, voice: &Wording, cursor: false };
    incoming.answer(asked, |_| Vec::new(), |_, _, _| trouble(&Trouble::Account, None)).await
}

/// A free answer for whoever has the key: what accounts and webhooks have in common.
pub(super) async fn free(
    incoming: Incoming,
    endpoint: Endpoint,
    respond: impl FnOnce(&mut State, &Incoming, UnixMillis) -> Result<Value, Trouble>,
) -> Response {
    let asked = Asked { endpoint, voice: &Wording, cursor: false };
    let respond = |state: &mut State, incoming: &Incoming, _: Twist| {
        let now = UnixMillis::now();
        let made = super::check_key(state, incoming).and_then(|()| respond(state, incoming, now));
        match made {
            Ok(data) => {
                let metadata = json!({ "credits_consumed": 0, "timestamp": now });
                Answer::ok(&json!({ "success": true, "data": data, "metadata": metadata }))
            }
            Err(it) => trouble(&it, None),
        }
    };
    incoming.answer(asked, |_| Vec::new(), respond).await
}
