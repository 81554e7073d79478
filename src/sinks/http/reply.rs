//! What a reply means: delivered, to be tried again, or rejected.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::preset::Preset;
use super::verdict::{Ruling, Verdict, of_body, wait_in};
use crate::model::{Untrusted, cut_at};
use crate::sinks::Error;
use crate::time::UnixMillis;

/// First bytes of a refusal that are kept.
pub(super) const REPLY_LIMIT: usize = 200;

/// A reply is read to its end up to here, so that the connection can be used again.
const READ_LIMIT: usize = 64 << 10;

/// Judges a reply.
pub(super) async fn judge(mut response: Response, preset: Option<Preset>) -> Result<(), Error> {
    let status = response.status().as_u16();
    let wait = retry_after(response.headers());
    let Reply { body, whole } = read(&mut response).await;
    let ruling = preset.and_then(|preset| if whole { of_body(preset, status, &body) } else { of_cut(status) });
    let (rejected, detail, asked) = match ruling {
        Some(Ruling { verdict: Verdict::Delivered, .. }) => return Ok(()),
        Some(Ruling { verdict, because }) => {
            let detail = match status {
                200..300 => format!("status {status}, but the reply itself says no ({because})"),
                _ => format!("status {status}: {because}"),
            };
            match verdict {
                Verdict::Again { wait } => (false, detail, wait),
                Verdict::Delivered | Verdict::Body | Verdict::Address => (true, detail, None),
            }
        }
        None if (200..300).contains(&status) => return Ok(()),
        None => (rejects(status), described(status), wait_in(&serde_json::from_slice(&body).unwrap_or_default())),
    };
    let reply = Some(Untrusted(cut_at(&String::from_utf8_lossy(&body), REPLY_LIMIT)).to_string());
    Err(Error { rejected, detail, reply, wait: wait.max(asked) })
}

/// Of an answer that ended in the middle nobody knows what it says.
fn of_cut(status: u16) -> Option<Ruling> {
    let success = (200..300).contains(&status);
    success.then(|| Ruling { verdict: Verdict::Again { wait: None }, because: "it ended in the middle".into() })
}

/// Whether another attempt would meet the same refusal. Those that ask for patience would not, and neither would what a
/// server says of itself or of another place.
fn rejects(status: u16) -> bool {
    (400..500).contains(&status) && !matches!(status, 408 | 425 | 429)
}

fn described(status: u16) -> String {
    match status {
        300..400 => {
            format!("status {status}: redirects to another place are not followed; put the new address into url")
        }
        _ => format!("status {status}"),
    }
}

struct Reply {
    body: Vec<u8>,
    /// It has not been cut off before its end or the limit.
    whole: bool,
}

async fn read(response: &mut Response) -> Reply {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = READ_LIMIT - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if body.len() == READ_LIMIT {
                    return Reply { body, whole: true };
                }
            }
            Ok(None) => return Reply { body, whole: true },
            Err(_) => return Reply { body, whole: false },
        }
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    crate::backoff::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, UnixMillis::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_final_unless_it_asks_for_patience() {
        for status in [400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451, 499] {
            assert!(rejects(status), "{status}");
        }
        for status in [301, 302, 304, 307, 308, 408, 425, 429, 500, 502, 503, 504, 599, 600] {
            assert!(!rejects(status), "{status}");
        }
        assert!(described(307).contains("not followed; put the new address into url"));
    }
}
