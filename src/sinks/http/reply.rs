//! What a reply means: delivered, or what the receiver has against it.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::preset::Preset;
use crate::model::{Untrusted, cut_at};
use crate::sinks::{Blame, Error};
use crate::time::UnixMillis;

/// First bytes of a refusal that are kept.
pub(super) const REPLY_LIMIT: usize = 200;

/// A reply is read to its end up to here, so that the connection can be used again.
const READ_LIMIT: usize = 64 << 10;

/// Judges a reply.
pub(super) async fn judge(mut response: Response, preset: Option<Preset>) -> Result<(), Error> {
    let answered = response.status().as_u16();
    let wait = retry_after(response.headers());
    let reply = read(&mut response).await;
    let value: Value = serde_json::from_slice(&reply).unwrap_or_default();
    let status = preset.map_or(answered, |preset| preset.status(answered, &value));
    if (200..300).contains(&status) {
        return Ok(());
    }
    let (blame, remedy) = blame(status);
    Err(Error {
        blame,
        detail: described(answered, status),
        remedy,
        reply: Some(Untrusted(cut_at(&String::from_utf8_lossy(&reply), REPLY_LIMIT)).to_string()),
        wait: wait.max(wait_in(&value)),
    })
}

/// What a status speaks of, and what a person can do. Only the four that name the body are about the
/// event; what a gateway, a proxy or a receiver in the middle of a restart says is about the address.
fn blame(status: u16) -> (Blame, Option<&'static str>) {
    let (blame, remedy) = match status {
        400 | 413 | 415 | 422 => return (Blame::Body, None),
        408 | 425 | 429 | 500.. => return (Blame::Moment, None),
        300..400 => (Blame::Address, "redirects are not followed; put the address it has moved to into url"),
        401 | 403 => (Blame::Address, "look at headers, secret and url: the receiver does not let us in"),
        404 => (Blame::Address, "look at url; a receiver that is being started or edited comes back by itself"),
        405 => (Blame::Address, "look at url: what is there takes no POST"),
        407 => (Blame::Address, "look at proxy: it wants a login"),
        410 => (
            Blame::AddressGone,
            "the receiver says that it is gone for good; put its new address into url, or remove the sink",
        ),
        421 => (Blame::Address, "look at url: the server does not answer for this host"),
        451 => (Blame::Address, "the receiver may not take it for legal reasons; ask whoever runs it"),
        _ => (Blame::Address, "look at url, and ask whoever runs the receiver"),
    };
    (blame, Some(remedy))
}

/// A refusal in words: `status 404 (Not Found)`.
fn described(answered: u16, status: u16) -> String {
    let named = |code: u16| {
        let reason = StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason());
        reason.map_or_else(|| format!("status {code}"), |reason| format!("status {code} ({reason})"))
    };
    match answered == status {
        true => named(status),
        false => format!("status {answered}, but the reply itself says no (as {})", named(status)),
    }
}

async fn read(response: &mut Response) -> Vec<u8> {
    let mut reply = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = READ_LIMIT - reply.len();
        reply.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if reply.len() == READ_LIMIT {
            break;
        }
    }
    reply
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    crate::backoff::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, UnixMillis::now())
}

/// The wait in the body of a reply, in seconds: Discord's is on top, Telegram's below `parameters`.
fn wait_in(reply: &Value) -> Option<Duration> {
    let seconds = [&reply["retry_after"], &reply["parameters"]["retry_after"]].into_iter().find_map(Value::as_f64)?;
    Duration::try_from_secs_f64(seconds).ok().map(crate::backoff::held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn four_statuses_speak_of_the_body_some_of_the_moment_and_all_others_of_the_address() {
        for status in 100..=650 {
            let expected = match status {
                400 | 413 | 415 | 422 => Blame::Body,
                408 | 425 | 429 | 500.. => Blame::Moment,
                410 => Blame::AddressGone,
                _ => Blame::Address,
            };
            let (blame, remedy) = blame(status);
            assert_eq!(blame, expected, "{status}");
            assert_eq!(remedy.is_some(), matches!(blame, Blame::Address | Blame::AddressGone), "{status}");
        }
        assert_eq!(described(404, 404), "status 404 (Not Found)");
        assert_eq!(described(304, 304), "status 304 (Not Modified)");
        assert_eq!(described(599, 599), "status 599");
        assert_eq!(described(200, 429), "status 200, but the reply itself says no (as status 429 (Too Many Requests))");
    }

    #[test]
    fn waits_in_a_body_may_be_fractions_and_are_held_like_those_of_a_header() {
        assert_eq!(wait_in(&json!({"retry_after": 2.5})), Some(Duration::from_millis(2500)));
        assert_eq!(wait_in(&json!({"parameters": {"retry_after": 7}})), Some(Duration::from_secs(7)));
        assert_eq!(wait_in(&json!({"retry_after": 0.2})), Some(Duration::from_secs(1)));
        assert_eq!(wait_in(&json!({"retry_after": 1e9})), Some(Duration::from_secs(86_400)));
        for unreadable in [json!({"retry_after": -1}), json!({"retry_after": "5"}), json!([]), json!(null)] {
            assert_eq!(wait_in(&unreadable), None, "{unreadable}");
        }
    }

    #[test]
    fn telegram_says_in_its_body_whether_it_has_taken_a_message() {
        let status = |status, body| Preset::Telegram.status(status, &body);
        assert_eq!(status(200, json!({"ok": true})), 200);
        assert_eq!(status(200, json!({"ok": false, "error_code": 403})), 403);
        assert_eq!(status(200, json!({"ok": false})), 502);
        assert_eq!(status(200, json!("<html>")), 502);
        assert_eq!(status(429, json!({"ok": false, "error_code": 429})), 429);
        assert_eq!(Preset::Slack.status(200, &json!("ok")), 200);
    }
}
