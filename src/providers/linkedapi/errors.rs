//! Envelope and error types. A refusal is told by `error.type`, whatever the HTTP status: which status the service
//! sends with a refusal is not documented, and its own SDKs take either form.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::providers::http::{self, Answer};
use crate::providers::json::{self, Document, Object};
use crate::providers::{Class, Error, Fault};
use crate::time::UnixMillis;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Deserialize)]
struct Envelope<T> {
    success: Option<bool>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct Refusal {
    error: WireError,
}

/// An error object, as a refusal, a failed workflow or a failed action carries it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct WireError {
    #[serde(rename = "type", alias = "reason")]
    pub(super) kind: String,
    /// Any JSON, because only a text in it is shown.
    #[serde(default)]
    pub(super) message: serde_json::Value,
}

/// The envelope of an answer, once it has been seen to be a success with a `result`.
pub(super) fn success<'d>(document: &'d Document<'_>, answer: &Answer) -> Result<Object<'d>, Error> {
    let envelope = document.object();
    match envelope {
        Ok(envelope)
            if answer.status.is_success()
                && envelope.flag("success") == Some(true)
                && envelope.raw("result").is_some() =>
        {
            Ok(envelope)
        }
        envelope => Err(refusal(answer, envelope.err())),
    }
}

/// The `result` of an answer, which has to be exactly what it should be.
pub(super) fn result<T: DeserializeOwned>(answer: &Answer) -> Result<T, Error> {
    match json::parse_short::<Envelope<T>>(&answer.body) {
        Ok(Envelope { success: Some(true), result: Some(result) }) if answer.status.is_success() => Ok(result),
        envelope => Err(refusal(answer, envelope.err())),
    }
}

/// What an answer without a result stands for.
fn refusal(answer: &Answer, malformed: Option<serde_json::Error>) -> Error {
    if let Ok(Refusal { error }) = json::parse_short(&answer.body) {
        return classified(&error, answer);
    }
    if !answer.status.is_success() {
        let detail = format!("status {}: {}", answer.status.as_u16(), http::excerpt(&answer.body));
        let wait = http::retry_after(&answer.headers, UnixMillis::now());
        // The service itself says what it refuses.
        let fault =
            if http::class_of_status(answer.status) == Class::Transient { Fault::Unsaid } else { Fault::Address };
        return Error::new(http::class_of_status(answer.status), detail).with_wait(wait).at_fault(fault);
    }
    match malformed {
        Some(error) => http::malformed(answer, &error),
        None => Error::new(Class::Protocol, format!("status {} without a result", answer.status.as_u16())),
    }
}

fn classified(error: &WireError, answer: &Answer) -> Error {
    let told = http::retry_after(&answer.headers, UnixMillis::now());
    let mut classified = of_type(error);
    if classified.class == Class::Protocol && http::class_of_status(answer.status) == Class::Transient {
        classified.class = Class::Transient;
    }
    classified.wait = told.or(classified.wait);
    classified
}

/// One table for the three places an error type may stand in: a refusal, a workflow's failure, an action's error.
pub(super) fn of_type(error: &WireError) -> Error {
    let (class, wait) = match error.kind.as_str() {
        "linkedApiTokenRequired"
        | "invalidLinkedApiToken"
        | "identificationTokenRequired"
        | "invalidIdentificationToken"
        | "subscriptionRequired"
        | "trialLimitReached"
        | "plusPlanRequired" => (Class::Auth, None),
        "linkedinAccountSignedOut" | "languageNotSupported" => (Class::Auth, None),
        "conversationsNotSynced" | "inboxNotSynced" | "workflowNotFound" => (Class::NotReady, None),
        "invalidRequestPayload" | "invalidWorkflow" => (Class::Gone, Some(HOUR)),
        "personNotFound" | "selfProfileNotAllowed" | "noSalesNavigator" | "threadNotFound" => (Class::Gone, Some(DAY)),
        "tooManyRequests" => (Class::Throttled, None),
        "limitExceeded" => (Class::Throttled, Some(HOUR)),
        "outsideWorkingHours" => (Class::Transient, Some(HOUR / 2)),
        "workingHoursWaitExpired" => (Class::Transient, None),
        _ => (Class::Protocol, None),
    };
    let message = error.message.as_str().unwrap_or_default();
    let mut classified = Error::new(class, format!("{}: {message}", error.kind)).with_wait(wait);
    classified.whole_product = error.kind == "noSalesNavigator";
    classified.fault = match error.kind.as_str() {
        "linkedinAccountSignedOut" => Fault::SignedOut,
        "subscriptionRequired" | "trialLimitReached" | "plusPlanRequired" => Fault::Plan,
        _ if class == Class::Auth => Fault::Key,
        _ => Fault::Unsaid,
    };
    classified
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &str) -> Class {
        let answer = Answer {
            status: reqwest::StatusCode::from_u16(status).unwrap(),
            headers: reqwest::header::HeaderMap::new(),
            body: body.as_bytes().to_vec(),
        };
        result::<Vec<u32>>(&answer).unwrap_err().class
    }

    #[test]
    fn a_refusal_is_told_by_its_type_whatever_the_status() {
        for status in [200, 400, 403, 409, 422] {
            let refusal = |kind: &str| format!(r#"{{"success":false,"error":{{"type":"{kind}","message":"m"}}}}"#);
            assert_eq!(class(status, &refusal("conversationsNotSynced")), Class::NotReady);
            assert_eq!(class(status, &refusal("invalidLinkedApiToken")), Class::Auth);
            assert_eq!(class(status, &refusal("tooManyRequests")), Class::Throttled);
            assert_eq!(class(status, &refusal("personNotFound")), Class::Gone);
            assert_eq!(class(status, &refusal("somethingNew")), Class::Protocol);
        }
        assert_eq!(class(503, r#"{"success":false,"error":{"type":"somethingNew","message":"m"}}"#), Class::Transient);
    }

    #[test]
    fn success_without_a_result_is_never_an_empty_answer() {
        for body in [
            r#"{"success":true}"#,
            r#"{"success":true,"result":null}"#,
            "{}",
            "[]",
            "<html>",
            "",
            r#"{"success":true,"result":[1"#,
        ] {
            assert_eq!(class(200, body), Class::Protocol, "{body}");
        }
        assert_eq!(class(502, "<html>"), Class::Transient);
        assert_eq!(class(429, ""), Class::Throttled);
    }
}
