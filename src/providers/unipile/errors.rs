//! Refusals: problem documents, told by their `type` first and by the status only where the type is unknown, because
//! the statuses beside most types are not documented. `detail` can hold personal data and is never shown.

use reqwest::StatusCode;
use serde_json::Value;

use super::meaning::{Meaning, of_status, of_type};
use super::settings::Version;
use super::wire;
use crate::providers::http::{self, Answer};
use crate::providers::json::{self, Document, Object};
use crate::providers::{Class, Error, Fault};

/// A failed request, with what paging has to know of it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    /// The request itself was found wrong, so perhaps its cursor.
    pub(super) is_bad_request: bool,
    /// The text speaks of a cursor.
    pub(super) asks_for_cursor: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, is_bad_request: false, asks_for_cursor: false }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// Whether an answer is a success.
pub(super) fn check(version: Version, answer: &Answer) -> Result<(), Refusal> {
    let document = Document::of(&answer.body);
    let may_be_a_problem = |body: &Object<'_>| ["object", "type"].iter().any(|key| is_problem_word(body, key));
    match document.object() {
        Ok(body) if answer.status.is_success() && !may_be_a_problem(&body) => Ok(()),
        _ => self::body(version, answer).map(drop),
    }
}

fn is_problem_word(body: &Object<'_>, key: &'static str) -> bool {
    body.text(key).is_some_and(|word| word == "Error" || word.starts_with("errors/"))
}

/// The body of a success. An error document under 200 is an error all the same.
pub(super) fn body(version: Version, answer: &Answer) -> Result<Value, Refusal> {
    let body = json::parse_short::<Value>(&answer.body);
    match body {
        Ok(body) if answer.status.is_success() && !is_problem(&body) => Ok(body),
        Ok(body) => Err(refusal(version, answer, &body)),
        Err(error) if answer.status.is_success() => {
            Err(http::malformed(answer, &error).at_fault(Fault::Address).into())
        }
        Err(_) => Err(unreadable(answer)),
    }
}

fn is_problem(body: &Value) -> bool {
    wire::text(body, "object") == Some("Error")
        || (wire::text(body, "type").is_some_and(|kind| kind.starts_with("errors/")) && body.get("status").is_some())
}

/// A refusal that is not JSON, so by something in between or by something else altogether.
fn unreadable(answer: &Answer) -> Refusal {
    let detail = format!("status {} without a readable explanation", answer.status.as_u16());
    let meaning = of_status(answer.status);
    let fault = if answer.status == StatusCode::NOT_FOUND { Fault::Address } else { meaning.fault };
    Refusal::new(meaning.with_fault(fault), answer.status, detail, answer)
}

fn refusal(version: Version, answer: &Answer, body: &Value) -> Refusal {
    let said = body.get("status").and_then(Value::as_u64).and_then(|s| StatusCode::from_u16(s.try_into().ok()?).ok());
    let status = if answer.status.is_success() { said.unwrap_or(answer.status) } else { answer.status };
    let kind = wire::text(body, "type").unwrap_or_default();
    let meaning = of_type(version, kind, status);
    let mut detail = format!("status {}", status.as_u16());
    for part in [Some(kind), wire::text(body, "title")].into_iter().flatten().filter(|part| !part.is_empty()) {
        detail += &format!(", {part}");
    }
    if let Some(id) = wire::text(body, "req_id") {
        detail += &format!(" (req_id {id})");
    }
    if kind.ends_with("missing_credentials") {
        // A key goes with every request, so that it is not one that misses.
        let (own, other) = version.and_other();
        detail += &format!("; so is a key of API {other} answered by API {own}: see api_version");
    }
    let mut refusal = Refusal::new(meaning, status, detail, answer);
    if kind.is_empty() && status == StatusCode::NOT_FOUND {
        // The service itself always says the type.
        refusal.error.fault = Fault::Address;
    }
    let asks = |key| wire::text(body, key).is_some_and(|text| text.to_ascii_lowercase().contains("cursor"));
    refusal.asks_for_cursor = asks("detail") || asks("title");
    refusal
}

impl Refusal {
    fn new(meaning: Meaning, status: StatusCode, detail: String, answer: &Answer) -> Self {
        let mut error =
            Error::new(meaning.class, detail).at_fault(meaning.fault).with_wait(meaning.wait(&answer.headers));
        error.suspect_account = meaning.suspects_account;
        error.whole_product = meaning.whole_product;
        let is_bad_request = status == StatusCode::BAD_REQUEST && meaning.class == Class::Protocol;
        Self { error, is_bad_request, asks_for_cursor: false }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Answer {
        let mut map = reqwest::header::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: map, body: body.as_bytes().to_vec() }
    }

    fn problem(kind: &str, status: u16) -> String {
        json!({ "object": "Error", "type": kind, "status": status, "title": "A title", "req_id": "req-8gb",
            "detail": "Ada Byron" })
        .to_string()
    }

    fn refused(version: Version, status: u16, headers: &[(&'static str, &str)], text: &str) -> Refusal {
        body(version, &answer(status, headers, text)).unwrap_err()
    }

    #[test]
    fn every_type_has_its_class_its_wait_and_its_fault_whatever_the_status() {
        use Class::{Auth, Gone, Protocol, Throttled, Transient};
        use Fault::{Key, Plan, SignedOut, Unsaid};
        let (v1, v2) = (Version::V1, Version::V2);
        let rows = [
            (v2, 400, "api/invalid_parameters", Protocol, Unsaid, None),
            (v2, 400, "provider/invalid_parameters", Protocol, Unsaid, None),
            (v2, 400, "api/invalid_auth_format", Auth, Key, None),
            (v2, 401, "api/missing_authorization", Auth, Key, None),
            (v2, 401, "api/expired_authorization", Auth, Key, None),
            (v2, 401, "provider/invalid_authorization", Auth, SignedOut, None),
            (v2, 401, "provider/invalid_credentials", Auth, SignedOut, None),
            (v2, 401, "api/proxy_auth_error", Transient, Unsaid, Some(300)),
            (v2, 403, "api/insufficient_permissions", Auth, Key, None),
            (v2, 403, "provider/insufficient_permissions", Gone, Plan, None),
            (v2, 403, "api/account_restricted", Auth, SignedOut, None),
            (v2, 401, "provider/account_mismatch", Auth, SignedOut, None),
            (v2, 403, "provider/unknown_authentication_context", Auth, SignedOut, None),
            (v2, 402, "api/inactive_subscription", Auth, Plan, None),
            (v2, 404, "api/resource_not_found", Gone, Unsaid, None),
            (v2, 404, "provider/resource_not_found", Gone, Unsaid, None),
            (v2, 405, "provider/method_not_allowed", Gone, Unsaid, Some(86_400)),
            (v2, 501, "api/not_implemented", Gone, Unsaid, Some(86_400)),
            (v2, 409, "provider/conflict", Transient, Unsaid, Some(60)),
            (v2, 422, "provider/unprocessable_entity", Transient, Unsaid, Some(60)),
            (v2, 429, "api/too_many_requests", Throttled, Unsaid, Some(60)),
            (v2, 429, "provider/too_many_requests", Throttled, Unsaid, None),
            (v2, 500, "api/internal_error", Transient, Unsaid, None),
            (v2, 502, "provider/server_error", Transient, Unsaid, None),
            (v2, 504, "provider/timeout", Transient, Unsaid, None),
            (v2, 403, "provider/something_new", Auth, Unsaid, None),
            (v2, 418, "provider/something_new", Protocol, Unsaid, None),
            (v2, 503, "provider/something_new", Transient, Unsaid, None),
            (v1, 400, "errors/malformed_request", Protocol, Unsaid, None),
            (v1, 401, "errors/missing_credentials", Auth, Key, None),
            (v1, 401, "errors/disconnected_account", Auth, SignedOut, None),
            (v1, 401, "errors/checkpoint_error", Auth, SignedOut, None),
            (v1, 401, "errors/disconnected_feature", Gone, SignedOut, None),
            (v1, 401, "errors/multiple_sessions", Gone, SignedOut, Some(86_400)),
            (v1, 403, "errors/action_required", Auth, SignedOut, None),
            (v1, 403, "errors/feature_not_subscribed", Gone, Plan, None),
            (v1, 404, "errors/invalid_resource_identifier", Gone, Unsaid, None),
            (v1, 422, "errors/invalid_account", Gone, Unsaid, Some(86_400)),
            (v1, 422, "errors/provider_unreachable", Transient, Unsaid, Some(60)),
            (v1, 422, "errors/something_new", Gone, Unsaid, Some(86_400)),
            (v1, 429, "errors/too_many_requests", Throttled, Unsaid, None),
            (v1, 500, "errors/unexpected_error", Transient, Unsaid, None),
            (v1, 501, "errors/feature_not_implemented", Gone, Unsaid, Some(86_400)),
            (v1, 503, "errors/no_client_session", Transient, Unsaid, None),
            (v1, 504, "errors/request_timeout", Transient, Unsaid, None),
        ];
        for (version, status, kind, class, fault, wait) in rows {
            // As a refusal, and as an error document under 200.
            for sent in [status, 200] {
                let error = refused(version, sent, &[], &problem(kind, status)).error;
                let wait = wait.map(Duration::from_secs);
                assert_eq!((error.class, error.fault, error.wait), (class, fault, wait), "{kind} under {sent}");
            }
        }
    }

    #[test]
    fn the_text_of_an_error_names_the_request_and_nothing_personal() {
        let error = refused(Version::V2, 404, &[], &problem("api/resource_not_found", 404)).error;
        assert_eq!(error.detail, "status 404, api/resource_not_found, A title (req_id req-8gb)");
        let html = refused(Version::V2, 502, &[], "<html>Ada Byron").error;
        assert_eq!((html.class, html.detail.as_str()), (Class::Transient, "status 502 without a readable explanation"));
        assert_eq!(refused(Version::V2, 404, &[], "<html>").error.fault, Fault::Address);
        assert_eq!(refused(Version::V1, 200, &[], "<html>").error.fault, Fault::Address);
    }

    #[test]
    fn a_key_of_the_other_generation_is_named_as_that() {
        for (version, said) in [(Version::V2, "a key of API v1"), (Version::V1, "a key of API v2")] {
            for kind in ["errors/missing_credentials", "missing_credentials"] {
                let error = refused(version, 401, &[], &problem(kind, 401)).error;
                assert_eq!((error.class, error.fault), (Class::Auth, Fault::Key), "{kind}");
                assert!(error.detail.contains(said), "{}", error.detail);
            }
        }
    }

    #[test]
    fn waits_are_taken_as_told_and_the_window_of_the_service_is_not_that_of_linkedin() {
        let wait = |kind: &str, headers: &[(&'static str, &str)]| {
            refused(Version::V2, 429, headers, &problem(kind, 429)).error.wait.map(|wait| wait.as_secs())
        };
        let (retry, reset) = (("retry-after", "7"), ("x-ratelimit-reset", "42"));
        assert_eq!(wait("api/too_many_requests", &[retry, reset]), Some(7));
        assert_eq!(wait("api/too_many_requests", &[reset]), Some(42));
        assert_eq!(wait("api/too_many_requests", &[("retry-after", "soon")]), Some(60));
        assert_eq!(wait("provider/too_many_requests", &[retry, reset]), Some(7));
        assert_eq!(wait("provider/too_many_requests", &[reset]), None);
        assert_eq!(refused(Version::V2, 429, &[reset], "").error.wait, Some(Duration::from_secs(42)));
    }

    #[test]
    fn only_a_bad_request_can_be_about_a_cursor() {
        let asking = json!({ "object": "Error", "type": "provider/invalid_parameters", "status": 400,
            "title": "Invalid parameters", "detail": "Use the Cursor instead of an offset" });
        let refusal = refused(Version::V2, 400, &[], &asking.to_string());
        assert!(refusal.is_bad_request && refusal.asks_for_cursor);
        let refusal = refused(Version::V2, 400, &[], &problem("provider/invalid_parameters", 400));
        assert!(refusal.is_bad_request && !refusal.asks_for_cursor);
        assert!(!refused(Version::V2, 404, &[], &problem("api/resource_not_found", 404)).is_bad_request);
    }
}
