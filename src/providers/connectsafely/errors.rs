//! Refusals. Five body shapes have been seen; all are read, none is required, and a body that is not JSON is no
//! reason to fail differently.

use std::time::Duration;

use serde_json::Value;

use crate::backoff;
use crate::providers::http::{self, Answer};
use crate::providers::{Class, Error, Fault, json};
use crate::time::UnixMillis;

const HOUR: Duration = Duration::from_secs(3600);

/// The error that a non-2xx answer, or one with `success: false`, stands for.
pub(super) fn refusal(answer: &Answer) -> Error {
    let body: Option<Value> = json::parse_short(&answer.body).ok();
    let text = body.as_ref().and_then(message).unwrap_or_else(|| http::excerpt(&answer.body));
    let detail = format!("status {}: {text}", answer.status.as_u16());
    let wait = told_wait(answer, body.as_ref(), UnixMillis::now());
    match answer.status.as_u16() {
        200..=299 => Error::new(Class::Transient, detail).with_wait(wait),
        400 | 422 => Error::new(Class::Gone, detail).with_wait(Some(HOUR)),
        401 => Error::new(Class::Auth, detail).with_wait(wait).at_fault(Fault::Key),
        402 | 403 => Error::new(Class::Auth, detail).with_wait(wait).at_fault(Fault::Plan),
        404 | 410 => {
            let fault = if body.is_none() { Fault::Address } else { Fault::Unsaid };
            Error::new(Class::Gone, detail).with_wait(Some(6 * HOUR)).suspecting_account().at_fault(fault)
        }
        500..=599 => Error::new(Class::Transient, detail).with_wait(wait).suspecting_account(),
        _ => Error::new(http::class_of_status(answer.status), detail).with_wait(wait),
    }
}

fn message(body: &Value) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    text(&body["message"])
        .or_else(|| text(&body["errorDetails"]["message"]))
        .or_else(|| text(&body["error"]))
        .or_else(|| body.get("error").map(Value::to_string))
}

/// The latest of everything the service may say about when to come back.
fn told_wait(answer: &Answer, body: Option<&Value>, now: UnixMillis) -> Option<Duration> {
    let header = http::retry_after(&answer.headers, now);
    let reset = answer.headers.get("x-ratelimit-reset").and_then(|v| v.to_str().ok());
    let reset = reset.and_then(|reset| http::window_end(reset, now));
    let hold = body.and_then(|b| b["holdUntil"].as_str()).and_then(UnixMillis::parse);
    let hold = hold.map(|moment| backoff::held(moment.since(now)));
    if answer.status.as_u16() == 429 { header.max(reset).max(hold) } else { header }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, String)], body: &str) -> Answer {
        let mut map = reqwest::header::HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        Answer { status: reqwest::StatusCode::from_u16(status).unwrap(), headers: map, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn every_body_shape_gives_its_message() {
        for body in [
            r#"{"error":"no such thing"}"#,
            r#"{"success":false,"error":"no such thing"}"#,
            r#"{"success":false,"code":"validation_error","message":"no such thing"}"#,
            r#"{"errorDetails":{"message":"no such thing"}}"#,
        ] {
            assert_eq!(refusal(&answer(404, &[], body)).detail, "status 404: no such thing");
        }
        let zod = refusal(&answer(400, &[], r#"{"success":false,"error":{"name":"ZodError"}}"#));
        assert_eq!((zod.class, zod.detail.as_str()), (Class::Gone, r#"status 400: {"name":"ZodError"}"#));
        assert_eq!(refusal(&answer(502, &[], "<html>")).detail, "status 502: <html>");
    }

    #[test]
    fn the_latest_of_all_told_waits_counts() {
        let now = UnixMillis::now();
        let iso = (now + Duration::from_secs(120)).to_string();
        let unix = (now + Duration::from_secs(240)).as_millis() / 1000;
        let hold = (now + Duration::from_secs(360)).to_string();
        let wait = |headers: &[(&'static str, String)], body: &str| {
            refusal(&answer(429, headers, body)).wait.map(|w| w.as_secs().div_ceil(10) * 10)
        };
        assert_eq!(wait(&[("retry-after", "60".into())], ""), Some(60));
        assert_eq!(wait(&[("retry-after", "60".into()), ("x-ratelimit-reset", iso)], ""), Some(120));
        assert_eq!(wait(&[("x-ratelimit-reset", unix.to_string())], ""), Some(240));
        assert_eq!(wait(&[], &format!(r#"{{"holdUntil":"{hold}"}}"#)), Some(360));
        assert_eq!(wait(&[], ""), None);
    }
}
