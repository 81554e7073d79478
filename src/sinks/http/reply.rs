//! What a reply means: delivered, or what the receiver has against it.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};

use super::preset::Preset;
use super::verdict::{Ruling, Verdict, of_body, wait_in};
use crate::model::{Untrusted, cut_at};
use crate::sinks::{Blame, Error};
use crate::time::UnixMillis;

/// First bytes of a refusal in which secrets are looked for before it is cut to what is kept.
pub(super) const REPLY_LIMIT: usize = 4096;

/// A reply is read to its end up to here, so that the connection can be used again.
const READ_LIMIT: usize = 64 << 10;

/// Judges a reply.
pub(super) async fn judge(mut response: Response, preset: Option<Preset>) -> Result<(), Error> {
    let status = response.status().as_u16();
    let wait = retry_after(response.headers());
    let Reply { body, whole } = read(&mut response).await;
    let ruling = preset.and_then(|preset| if whole { of_body(preset, status, &body) } else { of_cut(status) });
    let error = match ruling {
        Some(Ruling { verdict: Verdict::Delivered, .. }) => return Ok(()),
        Some(Ruling { verdict, because }) => {
            let detail = match status {
                200..300 => format!("status {status}, but the reply itself says no ({because})"),
                _ => format!("{}: {because}", described(status)),
            };
            match verdict {
                Verdict::Again { wait: asked } => Error { wait: asked, ..Error::retry(detail) },
                Verdict::Address => Error::refused(detail, "look at url and the settings of the receiving service"),
                Verdict::Delivered | Verdict::Body => Error::rejected(detail),
            }
        }
        None if (200..300).contains(&status) => return Ok(()),
        None => {
            let (blame, remedy) = blame(status);
            let wait = wait_in(&serde_json::from_slice(&body).unwrap_or_default());
            Error { remedy, wait, ..Error::of(blame, described(status)) }
        }
    };
    let reply = Untrusted(cut_at(&String::from_utf8_lossy(&body), REPLY_LIMIT)).to_string();
    Err(Error { wait: wait.max(error.wait), ..error }.with_reply(reply))
}

/// Of an answer that ended in the middle nobody knows what it says.
fn of_cut(status: u16) -> Option<Ruling> {
    let success = (200..300).contains(&status);
    success.then(|| Ruling { verdict: Verdict::Again { wait: None }, because: "it ended in the middle".into() })
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
fn described(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    match reason {
        Some(reason) => format!("status {status} ({reason})"),
        None => format!("status {status}"),
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
        assert_eq!(described(404), "status 404 (Not Found)");
        assert_eq!(described(304), "status 304 (Not Modified)");
        assert_eq!(described(599), "status 599");
    }
}
