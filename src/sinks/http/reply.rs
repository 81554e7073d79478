//! What a reply means: delivered, to be tried again, or rejected.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::preset::Preset;
use crate::model::{Untrusted, cut_at};
use crate::sinks::Error;
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
    Err(Error {
        rejected: rejects(status),
        detail: described(answered, status),
        reply: Some(Untrusted(cut_at(&String::from_utf8_lossy(&reply), REPLY_LIMIT)).to_string()),
        wait: wait.max(wait_in(&value)),
    })
}

/// Whether another attempt would meet the same refusal. Those that ask for patience would not, and neither would what a
/// server says of itself or of another place.
fn rejects(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 425 | 429)
}

fn described(answered: u16, status: u16) -> String {
    match status {
        300..400 => {
            format!("status {status}: redirects to another place are not followed; put the new address into url")
        }
        _ if answered != status => format!("status {answered}, but the reply itself says no (as status {status})"),
        _ => format!("status {status}"),
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
    fn a_refusal_is_final_unless_it_asks_for_patience() {
        for status in [400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451, 499] {
            assert!(rejects(status), "{status}");
        }
        for status in [301, 302, 304, 307, 308, 408, 425, 429, 500, 502, 503, 504, 599, 600] {
            assert!(!rejects(status), "{status}");
        }
        assert!(described(307, 307).contains("not followed; put the new address into url"));
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
