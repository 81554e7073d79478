//! An HTTP callback, signed as Standard Webhooks says: headers `webhook-id` (the event id, equal on every attempt),
//! `webhook-timestamp` (fresh on every attempt) and `webhook-signature` (one for each live secret).

use std::time::Duration;

use async_trait::async_trait;
use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::{BuildError, Delivered, Error, Outgoing, Sink};
use crate::model::{Untrusted, chain, cut_at};
use crate::time::UnixMillis;

/// First bytes of a refusal that are kept.
const REPLY_LIMIT: usize = 200;

/// Refusals that another attempt would meet again. Every other one, such as 401, 403, 404 or a redirect, speaks of the
/// receiver, and a person may repair that while the schedule lasts.
const SPEAKS_OF_THE_EVENT: [u16; 5] = [400, 410, 413, 415, 422];

/// A reply is read to its end up to here, so that the connection can be used again.
const DRAIN_LIMIT: usize = 64 << 10;

/// Shortest key that Standard Webhooks allows.
const SHORTEST_KEY: usize = 24;

const DEFAULT_RETRY: [Duration; 7] = {
    const HOUR: u64 = 3600;
    [
        Duration::from_secs(5),
        Duration::from_secs(300),
        Duration::from_secs(1800),
        Duration::from_secs(2 * HOUR),
        Duration::from_secs(5 * HOUR),
        Duration::from_secs(10 * HOUR),
        Duration::from_secs(10 * HOUR),
    ]
};

/// The keys of an HTTP sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where events are sent. Kept as a secret: many services put a token into the path.
    url: SecretString,
    /// `whsec_...`, or several while rotating; without one, events are not signed.
    #[serde(default)]
    secret: Option<OneOrMany>,
    /// A whole attempt.
    #[serde(default = "default_timeout", with = "crate::settings::duration")]
    timeout: Duration,
    /// Conversations beside each other.
    #[serde(default = "default_concurrency", deserialize_with = "crate::settings::count")]
    pub(super) concurrency: usize,
    /// Waits between attempts; after the last one the delivery is dead.
    #[serde(default = "default_retry", with = "crate::settings::durations")]
    pub(super) retry: Vec<Duration>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(SecretString),
    Many(Vec<SecretString>),
}

fn default_timeout() -> Duration {
    Duration::from_secs(15)
}

fn default_concurrency() -> usize {
    8
}

fn default_retry() -> Vec<Duration> {
    DEFAULT_RETRY.to_vec()
}

impl Settings {
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let url = match Url::parse(self.url.expose_secret()) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => None,
            Ok(_) => Some(("url", "must begin with https:// or http://".into())),
            Err(_) => Some(("url", "is not a URL".into())),
        };
        let secret = || self.secrets().err().map(|e| ("secret", e.to_string()));
        let concurrency = || {
            let sane = (1..=256).contains(&self.concurrency);
            (!sane).then(|| ("concurrency", "must be 1 to 256".to_owned()))
        };
        let timeout = || self.timeout.is_zero().then(|| ("timeout", "must be longer than 0s".to_owned()));
        url.or_else(secret).or_else(concurrency).or_else(timeout)
    }

    pub(super) fn warning(&self) -> Option<String> {
        self.secret.is_none().then(|| "has no secret: the receiver cannot tell our events from anybody else's".into())
    }

    fn secrets(&self) -> Result<Secrets, SignatureError> {
        match &self.secret {
            None => Ok(Secrets(vec![])),
            Some(OneOrMany::One(secret)) => Secrets::parse(std::slice::from_ref(secret)),
            Some(OneOrMany::Many(secrets)) => Secrets::parse(secrets),
        }
    }
}

/// A signing secret that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// Not base64 behind `whsec_`.
    #[error("must be \"whsec_\" and base64, such as the output of: echo whsec_$(head -c 32 /dev/urandom | base64)")]
    NotBase64,
    /// Too short to be safe.
    #[error("is too short: Standard Webhooks asks for at least 24 bytes behind \"whsec_\"")]
    TooShort,
}

/// The live signing keys.
#[derive(Clone)]
pub struct Secrets(Vec<Hmac<Sha256>>);

impl Secrets {
    /// Reads secrets of the form `whsec_<base64>`.
    pub fn parse(secrets: &[SecretString]) -> Result<Self, SignatureError> {
        let key = |secret: &SecretString| {
            let encoded = secret.expose_secret().trim().strip_prefix("whsec_").ok_or(SignatureError::NotBase64)?;
            let key = BASE64.decode(encoded.as_bytes()).map_err(|_| SignatureError::NotBase64)?;
            if key.len() < SHORTEST_KEY {
                return Err(SignatureError::TooShort);
            }
            Hmac::new_from_slice(&key).map_err(|_| SignatureError::TooShort)
        };
        secrets.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The value of `webhook-signature`: over id, timestamp in seconds and the exact body.
    pub fn sign(&self, id: &str, timestamp: i64, body: &str) -> String {
        let sign = |key: &Hmac<Sha256>| {
            let mut mac = key.clone();
            mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
            format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

pub(super) struct Http {
    client: Client,
    url: Url,
    secrets: Secrets,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let client = Client::builder()
            .user_agent(concat!("inboxd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.timeout.min(Duration::from_secs(10)))
            .timeout(settings.timeout)
            // A receiver that has moved must be put into the configuration; a redirect would carry events elsewhere.
            // Credentials and events go where the configuration says, whatever the environment says.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| BuildError::Client(chain(&e.without_url(), REPLY_LIMIT)))?;
        let url = Url::parse(settings.url.expose_secret()).map_err(|e| BuildError::Client(e.to_string()))?;
        let secrets = settings.secrets().map_err(|e| BuildError::Client(e.to_string()))?;
        Ok(Self { client, url, secrets })
    }

    async fn attempt(&self, event: &Outgoing) -> Result<(), Error> {
        let timestamp = UnixMillis::now().as_millis() / 1000;
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", timestamp);
        let signature = self.secrets.sign(&event.id, timestamp, &event.body);
        if !signature.is_empty() {
            request = request.header("webhook-signature", signature);
        }
        let mut response = request.body(event.body.clone()).send().await.map_err(transport)?;
        let status = response.status();
        if status.is_success() {
            drain(&mut response).await;
            return Ok(());
        }
        let wait = retry_after(response.headers());
        Err(Error {
            rejected: SPEAKS_OF_THE_EVENT.contains(&status.as_u16()),
            detail: format!("status {}", status.as_u16()),
            reply: Some(first_bytes(&mut response).await),
            wait,
        })
    }
}

#[async_trait]
impl Sink for Http {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        for (count, event) in events.iter().enumerate() {
            if let Err(failure) = self.attempt(event).await {
                return Delivered { count, failure: Some(failure) };
            }
        }
        Delivered::all(events)
    }
}

fn transport(error: reqwest::Error) -> Error {
    Error::retry(chain(&error.without_url(), REPLY_LIMIT))
}

/// Reads a reply that nobody needs, so that its connection can be used again; a long one is cut off instead.
async fn drain(response: &mut Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > DRAIN_LIMIT {
            return;
        }
    }
}

async fn first_bytes(response: &mut Response) -> String {
    let mut reply = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        reply.extend_from_slice(&chunk);
        if reply.len() >= REPLY_LIMIT {
            break;
        }
    }
    Untrusted(cut_at(&String::from_utf8_lossy(&reply), REPLY_LIMIT)).to_string()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    crate::backoff::retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, UnixMillis::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_official_implementation_verifies_our_signature_and_each_of_two_while_rotating() {
        let (old, new) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX");
        let secrets = Secrets::parse(&[old.to_owned().into(), new.to_owned().into()]).unwrap();
        let (id, body) = ("evt_1", "{\"text\":\"grüße\"}");
        let now = UnixMillis::now().as_millis() / 1000;
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", now.to_string().parse().unwrap());
        headers.insert("webhook-signature", secrets.sign(id, now, body).parse().unwrap());
        for secret in [old, new] {
            let receiver = standardwebhooks::Webhook::new(secret).unwrap();
            receiver.verify(body.as_bytes(), &headers).unwrap();
            assert!(receiver.verify(b"{}", &headers).is_err(), "a changed body must not verify");
        }
    }

    #[test]
    fn secrets_that_cannot_be_used_are_told_apart() {
        let parse = |s: &str| Secrets::parse(&[s.to_owned().into()]);
        assert!(matches!(parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Err(SignatureError::NotBase64)));
        assert!(matches!(parse("whsec_not base64"), Err(SignatureError::NotBase64)));
        assert!(matches!(parse("whsec_c2hvcnQ="), Err(SignatureError::TooShort)));
    }
}
