//! The rules every provider's requests share: limits on what is read, waits as told, no secrets in errors.

use std::borrow::Cow;
use std::time::Duration;

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, StatusCode};
use tokio::time::Instant;

use super::encoding::{self, Encoded};
use super::settings::Road;
use super::{Class, Error, Fault, Quota, large};
use crate::backoff;
use crate::connect::{self, Resolver};
use crate::model::{Untrusted, chain, cut_at};
use crate::time::UnixMillis;

/// Largest answer read. A page of 100 long messages is far below; a whole history in one answer may come near.
const BODY_LIMIT: usize = 16 << 20;

/// Values in an answer. A page of 100 messages has some 3,000; a history of 10,000 messages has some 200,000.
const VALUE_LIMIT: usize = 400_000;

/// Connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest text from outside that is shown in a log line or in `status`.
const DETAIL_LIMIT: usize = 200;

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error(
    "TLS cannot be set up, perhaps for want of CA certificates in the system's store, or in SSL_CERT_FILE or SSL_CERT_DIR where they are set: {0}"
)]
pub struct TlsError(String);

/// Chooses the one TLS implementation of this process. To be called once, before any client is built.
pub fn install_tls() {
    // The only error is "already installed", which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A client for one account. Follows a redirect only inside the same origin, so credentials go nowhere else.
pub(super) fn client(timeout: Duration, road: &Road) -> Result<Client, TlsError> {
    let same_origin = reqwest::redirect::Policy::custom(|attempt| {
        let from = attempt.previous().last().map(reqwest::Url::origin);
        if from == Some(attempt.url().origin()) && attempt.previous().len() <= 3 {
            attempt.follow()
        } else {
            attempt.stop()
        }
    });
    let mut client = Client::builder()
        .user_agent(concat!("inboxd/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        // Credentials and events go where the configuration says, whatever the environment says.
        .no_proxy()
        .redirect(same_origin);
    if let Some(proxy) = &road.proxy {
        client = client.proxy(proxy.through().expect("the proxy is checked with the configuration"));
    }
    if let Some(network) = &road.network {
        client = client.dns_resolver(Resolver(network.clone()));
    }
    if !road.tls.is_of_the_system() {
        client = client.tls_backend_preconfigured(road.tls.config().map_err(|error| TlsError(error.to_string()))?);
    }
    client.build().map_err(|e| TlsError(without_url(e)))
}

/// A whole answer within the limits.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Sends a request and reads its answer whole.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, Error> {
    let transport = |e: reqwest::Error| {
        // What was never sent cannot have been charged; of all else the provider alone knows.
        let credits = e.is_connect().then_some(0);
        let fault = if connect::in_words(&e).is_some() { Fault::Trust } else { Fault::Network };
        let mut error = Error::new(Class::Transient, without_url(e)).at_fault(fault);
        error.credits = credits;
        error
    };
    #[cfg(any(test, fuzzing))]
    if let Some(answer) = super::fuzzing::next_answer() {
        return understood(answer?).await;
    }
    large::let_go();
    let mut response = request.send().await.map_err(transport)?;
    if let Some(words) = of_the_way(response.status()) {
        let error =
            Error::new(class_of_status(response.status()), format!("status {}: {words}", response.status().as_u16()));
        return Err(error.at_fault(Fault::Address));
    }
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > BODY_LIMIT {
        return Err(too_large());
    }
    let mut until = large::grows(0, announced).await;
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = in_time(until, response.chunk()).await?.map_err(transport)? {
        if body.len() + chunk.len() > BODY_LIMIT {
            return Err(too_large());
        }
        until = until.or(large::grows(body.len().max(announced), body.len() + chunk.len()).await);
        body.extend_from_slice(&chunk);
    }
    understood(Answer { status: response.status(), headers: response.headers().clone(), body }).await
}

fn too_large() -> Error {
    Error::new(Class::Protocol, format!("the answer is larger than {} MiB", BODY_LIMIT >> 20))
}

/// The answer as text that can be taken apart: what encodes it is undone, and what would grow beyond all bounds is refused.
async fn understood(Answer { status, headers, body }: Answer) -> Result<Answer, Error> {
    let decoded = match encoding::decoded(&body, &headers, BODY_LIMIT) {
        Ok(Cow::Owned(decoded)) => {
            large::grows(body.len(), decoded.len()).await;
            Some(decoded)
        }
        Ok(Cow::Borrowed(_)) => None,
        // The status of a refusal says enough, and what can be read of its body may say more.
        Err(_) if !status.is_success() => None,
        Err(Encoded::TooLarge) => return Err(too_large()),
        Err(encoded) => return Err(Error::new(Class::Protocol, encoded.to_string())),
    };
    let body = as_text(without_bom(decoded.unwrap_or(body))).ok_or_else(too_large)?;
    if has_more_values_than(&body, VALUE_LIMIT) {
        let detail = format!("status {}: the answer has more than {VALUE_LIMIT} values", status.as_u16());
        return Err(Error::new(Class::Protocol, detail));
    }
    Ok(Answer { status, headers, body })
}

/// What comes of `work`, where it comes in time.
async fn in_time<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Result<T, Error> {
    let Some(mut until) = until else { return Ok(work.await) };
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout_at(until, &mut work).await {
            Ok(done) => return Ok(done),
            Err(_) if large::others_wait() => {
                let seconds = large::LONGEST_READ.as_secs();
                let detail = format!("a large answer was not there within {seconds} s, and others wait to be read");
                return Err(Error::new(Class::Transient, detail).at_fault(Fault::Network));
            }
            // Its own time limit is the provider's.
            Err(_) => until = Instant::now() + Duration::from_secs(1),
        }
    }
}

/// The body as UTF-8: what is none becomes replacement characters, which may take more room; `None` beyond the limit.
fn as_text(body: Vec<u8>) -> Option<Vec<u8>> {
    match String::from_utf8_lossy(&body) {
        Cow::Borrowed(_) => Some(body),
        Cow::Owned(text) => (text.len() <= BODY_LIMIT).then(|| text.into_bytes()),
    }
}

/// Whether JSON has more values in it, names of fields among them, than anybody should build something of: an answer of two
/// bytes a value would become many times its size.
fn has_more_values_than(body: &[u8], limit: usize) -> bool {
    let (mut values, mut in_text, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b':' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    values > limit
}

/// JSON begins without a byte order mark, but some servers write one.
fn without_bom(mut body: Vec<u8>) -> Vec<u8> {
    if body.starts_with(b"\xef\xbb\xbf") {
        body.drain(..3);
    }
    body
}

/// What a status means that is not the API's own answer, but of what stands between.
fn of_the_way(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        304 => Some("\"not modified\", which nobody has asked; a cache or a proxy in between answers wrongly"),
        300..=399 => Some("redirects to another place are not followed; put the new address into base_url"),
        407 => Some("a proxy wants a user and a password; put them into proxy, as http://user:password@host:port"),
        _ => None,
    }
}

/// An error's chain without the URL, which may carry ids or keys; in words where there are any.
fn without_url(error: reqwest::Error) -> String {
    if let Some(words) = connect::in_words(&error) {
        return words;
    }
    chain(&error.without_url(), DETAIL_LIMIT)
}

/// Text from outside, on one line, without controls, bounded.
pub(super) fn safe(text: &str) -> String {
    let cut = cut_at(text, DETAIL_LIMIT);
    let shown = Untrusted(cut).to_string();
    if cut.len() < text.len() { format!("{shown}...") } else { shown }
}

/// The start of an answer that was not understood, for the log.
pub(super) fn excerpt(body: &[u8]) -> String {
    safe(&String::from_utf8_lossy(&body[..body.len().min(DETAIL_LIMIT)]))
}

/// An answer that is not JSON of the expected shape. The parser's own message may repeat content, so only its
/// position is kept.
pub(super) fn malformed(answer: &Answer, error: &serde_json::Error) -> Error {
    let kind = match error.classify() {
        serde_json::error::Category::Eof => "ends in the middle",
        serde_json::error::Category::Syntax => "is not JSON",
        _ => "does not have the expected shape",
    };
    Error::new(
        Class::Protocol,
        format!(
            "status {}: the answer {kind} (line {}, column {})",
            answer.status.as_u16(),
            error.line(),
            error.column()
        ),
    )
    .at_fault(if error.is_syntax() { Fault::Address } else { Fault::Unsaid })
}

/// The wait that `Retry-After` asks for; anything unreadable counts as absent.
pub(super) fn retry_after(headers: &HeaderMap, now: UnixMillis) -> Option<Duration> {
    backoff::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// When an answer was given, by the clock of whoever gave it: the header `Date`.
pub(super) fn answered_at(headers: &HeaderMap) -> Option<UnixMillis> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    UnixMillis::from_wire_millis(i64::try_from(since.as_millis()).ok()?)
}

/// What the headers `X-RateLimit-Remaining` and `X-RateLimit-Reset` tell, where both can be read. The end of the window is given in
/// seconds to go (Unipile), in Unix seconds or in ISO 8601 (ConnectSafely's pages differ).
pub(super) fn quota(headers: &HeaderMap, now: UnixMillis) -> Option<Quota> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let remaining = text("x-ratelimit-remaining")?.parse().ok()?;
    let resets_in = window_end(text("x-ratelimit-reset")?, now)?;
    Some(Quota { limit: text("x-ratelimit-limit").and_then(|limit| limit.parse().ok()), remaining, resets_in })
}

/// Time to the end of a window, as one of the three ways of writing it down says, within what a wait may be.
pub(super) fn window_end(text: &str, now: UnixMillis) -> Option<Duration> {
    /// No window is that many seconds long, and no clock shows so few.
    const SECONDS_TO_GO: i64 = 100_000_000;
    let wait = match text.trim().parse::<i64>() {
        Ok(seconds) if seconds < SECONDS_TO_GO => Duration::from_secs(u64::try_from(seconds).ok()?),
        Ok(moment) => UnixMillis::from_wire_millis(moment.checked_mul(1000)?)?.since(now),
        Err(_) => UnixMillis::parse(text)?.since(now),
    };
    Some(backoff::held(wait))
}

/// The class of a status that carries no better information.
pub(super) fn class_of_status(status: StatusCode) -> Class {
    match status.as_u16() {
        429 => Class::Throttled,
        408 | 425 | 500..=599 => Class::Transient,
        401..=403 => Class::Auth,
        404 | 410 => Class::Gone,
        _ => Class::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_one_line_and_short() {
        let shown = safe(&format!("a\nb\u{1b}[31m{}", "x".repeat(1000)));
        assert!(shown.starts_with("a\\nb\\u{1b}[31m") && shown.ends_with("...") && shown.len() < 230, "{shown}");
    }

    #[test]
    fn what_is_left_of_a_limit_is_read_however_its_end_is_written() {
        let now = UnixMillis::parse("2026-11-21T12:00:00Z").unwrap();
        let read = |remaining: &str, reset: &str| {
            let headers =
                [("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", reset)];
            let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            quota(&HeaderMap::from_iter(headers), now)
        };
        let left = Some(Quota { limit: Some(50), remaining: 7, resets_in: Duration::from_secs(40) });
        let unix = (now.as_millis() / 1000 + 40).to_string();
        for reset in ["40", " 40 ", &unix, "2026-11-21T12:00:40Z"] {
            assert_eq!(read("7", reset), left, "{reset}");
        }
        for (remaining, reset) in
            [("-1", "40"), ("many", "40"), ("7", ""), ("7", "soon"), ("7", "-40"), ("7", "99999999999999999")]
        {
            assert_eq!(read(remaining, reset), None, "{remaining} {reset}");
        }
        assert_eq!(read("7", "2020-01-01T00:00:00Z").unwrap().resets_in, Duration::from_secs(1), "it has just ended");
        assert_eq!(read("7", "99999999").unwrap().resets_in, Duration::from_secs(86_400), "no wait is longer");
        assert_eq!(quota(&HeaderMap::new(), now), None);
    }

    #[test]
    fn values_are_counted_where_they_are_values() {
        let has_more = |text: &str, limit| has_more_values_than(text.as_bytes(), limit);
        assert!(has_more("[1,2,3]", 2) && !has_more("[1,2,3]", 3));
        assert!(has_more(r#"{"":0,"":0}"#, 3) && !has_more(r#"{"":0,"":0}"#, 4));
        assert!(!has_more(r#"["[[[,,,:::{{{", "\",,,"]"#, 2));
        assert!(has_more(&"[".repeat(100), 99));
    }

    #[test]
    fn what_is_no_utf8_takes_no_more_room_than_an_answer_may() {
        assert_eq!(as_text(b"{\"a\": \"\xff\"}".to_vec()).unwrap(), "{\"a\": \"\u{fffd}\"}".as_bytes());
        assert!(as_text(vec![0xff; BODY_LIMIT]).is_none());
        assert_eq!(as_text(vec![b'x'; BODY_LIMIT]).unwrap().len(), BODY_LIMIT);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_an_answer() {
        assert_eq!(without_bom(b"\xef\xbb\xbf{}".to_vec()), b"{}");
        assert_eq!(without_bom(b"{}".to_vec()), b"{}");
        assert_eq!(without_bom(b"\xef\xbb".to_vec()), b"\xef\xbb");
    }

    #[tokio::test]
    async fn a_status_of_what_stands_between_says_what_it_is() {
        install_tls();
        for (status, says) in [
            (301, "put the new address into base_url"),
            (304, "\"not modified\""),
            (307, "put the new address into base_url"),
            (407, "put them into proxy"),
        ] {
            let router = axum::Router::new().fallback(move || {
                let elsewhere = [("location", "https://elsewhere.invalid/")];
                std::future::ready((axum::http::StatusCode::from_u16(status).unwrap(), elsewhere, ""))
            });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, router).await });
            let error =
                send(client(Duration::from_secs(5), &crate::providers::settings::Road::default()).unwrap().get(&url))
                    .await
                    .err()
                    .unwrap();
            assert_eq!((error.class, error.fault), (Class::Protocol, Fault::Address));
            assert!(error.detail.starts_with(&format!("status {status}: ")), "{}", error.detail);
            assert!(error.detail.contains(says), "{}", error.detail);
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_body_where_its_encoding_cannot_be_undone() {
        install_tls();
        let router = axum::Router::new().fallback(|| {
            let status = axum::http::StatusCode::FORBIDDEN;
            std::future::ready((status, [("content-encoding", "utf-8")], "the account is gone"))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let answer =
            send(client(Duration::from_secs(5), &crate::providers::settings::Road::default()).unwrap().get(&url))
                .await
                .unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_slice()), (403, &b"the account is gone"[..]));
    }

    #[tokio::test]
    async fn only_a_request_that_was_never_sent_is_known_to_cost_nothing() {
        install_tls();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let client = client(Duration::from_millis(200), &crate::providers::settings::Road::default()).unwrap();
        let unanswered = send(client.get(&url)).await.err().unwrap();
        assert_eq!((unanswered.class, unanswered.fault, unanswered.credits), (Class::Transient, Fault::Network, None));
        drop(listener);
        let unsent = send(client.get(&url)).await.err().unwrap();
        assert_eq!((unsent.class, unsent.fault, unsent.credits), (Class::Transient, Fault::Network, Some(0)));
    }
}
