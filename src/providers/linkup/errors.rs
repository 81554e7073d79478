//! What a refusal means and how it is met. v2 has codes. v1 mostly has words, and often with status 200, so its words
//! are read before its status; but only those of a JSON answer, for a page of HTML that asks for cookies comes from
//! something in front of the API.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::providers::http::{self, Answer};
use crate::providers::{Class, Error, Fault};
use crate::time::UnixMillis;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How much of an answer that is not JSON is searched for credentials before the part that is shown is cut from it.
const SEARCHED: usize = 4096;

/// What was asked, as far as the meaning and the cost of its failure depend on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The most it may cost.
    pub(super) price: u32,
    /// It carried a cursor.
    pub(super) by_cursor: bool,
    /// What must not be repeated.
    pub(super) secrets: &'a [SecretString],
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Too many requests.
    Limit,
    /// The LinkedIn session is dead.
    Session,
    /// The credits are used up.
    Credits,
    /// The API key.
    Key,
    /// The conversation is not there.
    Missing,
    /// The request is not accepted, and never will be.
    Request,
    /// The cursor of the request.
    Cursor,
    /// The operation is not known.
    Action,
    /// The account is not known.
    Account,
    /// It may pass by itself.
    Passing,
    /// The status says what there is to say.
    Status,
}

/// A refusal as the answer words it.
pub(super) struct Refusal {
    /// `error.code` of v2.
    pub(super) code: Option<String>,
    /// What it says, without credentials.
    pub(super) text: String,
    /// It is JSON, so the text is the API's own.
    pub(super) is_json: bool,
}

impl Refusal {
    /// Reads any of the shapes that have been seen: `message`, `error` as text or object, FastAPI's `detail`.
    pub(super) fn read(answer: &Answer, body: Option<&Value>, asked: Asked<'_>) -> Self {
        let code = body.and_then(|b| b["error"]["code"].as_str()).map(str::to_owned);
        let said = match body {
            Some(body) => said(body).unwrap_or_else(|| body.to_string()),
            None => String::from_utf8_lossy(&answer.body[..answer.body.len().min(SEARCHED)]).into_owned(),
        };
        Self { code, text: masked(said, asked.secrets), is_json: body.is_some() }
    }

    /// The words that a meaning is looked for in.
    fn words(&self) -> Words {
        Words(if self.is_json { self.text.to_lowercase() } else { String::new() })
    }
}

fn said(body: &Value) -> Option<String> {
    let error = &body["error"];
    [&body["message"], &error["message"], error, &body["detail"]["message"], &body["detail"]].into_iter().find_map(
        |value| match value {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Array(entries) => Some(entries.iter().map(entry).collect::<Vec<_>>().join("; ")),
            _ => None,
        },
    )
}

/// An entry of FastAPI's `detail`: what is wrong, and with which field. Its `input` repeats the request.
fn entry(entry: &Value) -> String {
    let message = entry["msg"].as_str().or(entry.as_str()).unwrap_or_default();
    let field = entry["loc"].as_array().and_then(|path| path.last()?.as_str()).unwrap_or_default();
    format!("{field} {message}").trim().to_owned()
}

/// Before the text is cut to its length, because a cut credential is not found any more.
fn masked(text: String, secrets: &[SecretString]) -> String {
    let secrets = secrets.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
    secrets.fold(text, |text, secret| text.replace(secret, "***"))
}

struct Words(String);

impl Words {
    fn has(&self, any: &[&str]) -> bool {
        any.iter().any(|word| self.0.contains(word))
    }
}

const OF_LIMITS: &[&str] = &["rate limit", "too many requests"];
const OF_TOKENS: &[&str] = &["cookie", "login_token"];
const OF_CREDITS: &[&str] = &["credit"];
const OF_KEYS: &[&str] = &["api key", "api_key", "api-key"];
const OF_SESSIONS: &[&str] = &["session", "expired"];
const OF_LOGINS: &[&str] = &["session", "cookie", "login", "expir"];
const OF_ABSENCE: &[&str] = &["not found", "no conversation", "no thread", "does not exist"];
const OF_REQUESTS: &[&str] = &["missing", "required", "invalid param"];

/// v1, in the order in which the words are safe to trust: credits and keys expire too, and a request that is refused
/// for its cursor may call it expired.
pub(super) fn of_v1(status: u16, refusal: &Refusal, asked: Asked<'_>) -> Meaning {
    let words = refusal.words();
    let of_request = status < 500 && !matches!(status, 402 | 429);
    match status {
        429 => Meaning::Limit,
        _ if words.has(OF_LIMITS) => Meaning::Limit,
        _ if of_request && asked.by_cursor && words.has(&["cursor"]) => Meaning::Cursor,
        _ if words.has(OF_TOKENS) => Meaning::Session,
        402 => Meaning::Credits,
        _ if words.has(OF_CREDITS) => Meaning::Credits,
        _ if words.has(OF_KEYS) => Meaning::Key,
        _ if words.has(OF_SESSIONS) => Meaning::Session,
        401 | 403 => Meaning::Key,
        404 | 410 => Meaning::Missing,
        400 | 422 => of_bad_request(asked),
        500..=599 => Meaning::Passing,
        _ if words.has(OF_ABSENCE) => Meaning::Missing,
        _ if words.has(OF_REQUESTS) => of_bad_request(asked),
        200..=299 => Meaning::Passing,
        _ => Meaning::Status,
    }
}

/// v2, by the code; how it reports a dead session on a read is not documented, so there the words count too.
pub(super) fn of_v2(status: u16, refusal: &Refusal, asked: Asked<'_>) -> Meaning {
    let words = refusal.words();
    let of_cursor = asked.by_cursor && words.has(&["cursor"]);
    match refusal.code.as_deref() {
        Some("INSUFFICIENT_CREDITS") => Meaning::Credits,
        Some("INVALID_API_KEY") => Meaning::Key,
        Some("RATE_LIMITED") => Meaning::Limit,
        Some("INVALID_ACTION") => Meaning::Action,
        Some("INVALID_ACCOUNT") => Meaning::Account,
        Some("ACCOUNT_INACTIVE") => Meaning::Session,
        Some("INVALID_PARAMS") if of_cursor => Meaning::Cursor,
        Some("INVALID_PARAMS") if !words.has(OF_LOGINS) => of_bad_request(asked),
        _ => match status {
            429 => Meaning::Limit,
            402 => Meaning::Credits,
            _ if words.has(OF_LOGINS) => Meaning::Session,
            400 | 422 => of_bad_request(asked),
            404 | 410 => Meaning::Missing,
            200..=299 | 500..=599 => Meaning::Passing,
            _ => Meaning::Status,
        },
    }
}

/// A request that differs from an accepted one by its cursor alone is refused for it.
fn of_bad_request(asked: Asked<'_>) -> Meaning {
    if asked.by_cursor { Meaning::Cursor } else { Meaning::Request }
}

/// The error of a refusal. `dead_session` is the wait for a new LinkedIn session, which only a person can end.
pub(super) fn error(meaning: Meaning, answer: &Answer, refusal: &Refusal, dead_session: Duration) -> Error {
    let status = answer.status;
    let told = http::retry_after(&answer.headers, UnixMillis::now());
    let (class, wait, fault, advice) = match meaning {
        Meaning::Limit => (Class::Throttled, told, Fault::Unsaid, ""),
        Meaning::Session => (Class::Auth, Some(dead_session), Fault::SignedOut, "the LinkedIn session is gone: "),
        Meaning::Credits => (Class::Throttled, Some(HOUR), Fault::Plan, "out of credits: "),
        // Where a dead session is tried once a day because every try is billed, so is a refused key.
        Meaning::Key => (Class::Auth, Some(dead_session.max(HOUR)), Fault::Key, "the API key is refused: "),
        Meaning::Missing | Meaning::Request => (Class::Gone, Some(DAY), Fault::Unsaid, ""),
        Meaning::Cursor => (Class::Protocol, None, Fault::Unsaid, "the cursor was refused: "),
        Meaning::Action => (Class::Auth, Some(DAY), Fault::Address, "the API has another shape, see base_url: "),
        Meaning::Account => (Class::Auth, None, Fault::Address, "wrong base_url or account_id: "),
        Meaning::Passing => (Class::Transient, told, Fault::Unsaid, ""),
        Meaning::Status => (http::class_of_status(status), told, Fault::Unsaid, ""),
    };
    let fault = match (fault, status.as_u16()) {
        (Fault::Unsaid, 401 | 403) => Fault::Key,
        // The API itself answers in JSON.
        (Fault::Unsaid, 404) if !refusal.is_json => Fault::Address,
        (fault, _) => fault,
    };
    let code = refusal.code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default();
    let detail = format!("{advice}status {}: {code}{}", status.as_u16(), refusal.text);
    let mut error = Error::new(class, detail).with_wait(wait).at_fault(fault);
    error.cursor_refused = meaning == Meaning::Cursor;
    error
}
