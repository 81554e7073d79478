//! An HTTP callback, signed as Standard Webhooks says: headers `webhook-id` (the event id, equal on every attempt),
//! `webhook-timestamp` (fresh on every attempt) and `webhook-signature` (one for each live secret). The body is the event,
//! or what a template or a preset makes of it; what is signed is what is sent.

mod address;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod headers;
mod preset;
mod reply;
mod settings;
mod signature;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Url};

use super::template::{RenderError, Template};
use super::{BuildError, Delivered, Error, Outgoing, Sink};
use crate::connect;
use crate::connect::{Refusal, Resolver};
use crate::model::chain;
use crate::time::UnixMillis;
use preset::Preset;
use reply::REPLY_LIMIT;

pub(super) use settings::{Settings, default_retry};
pub use signature::{NoRandomness, Secrets, SignatureError, new_key_pair, new_shared_secret};

/// Longest time that a template may take for one event. Its steps are counted, so it ends by itself; this is for what they
/// come to on a slow machine.
const RENDER_LIMIT: Duration = Duration::from_secs(5);

/// Longest wait for a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Http {
    client: Client,
    url: Url,
    secrets: Secrets,
    headers: HeaderMap,
    content_type: HeaderValue,
    template: Option<Arc<Template>>,
    preset: Option<Preset>,
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let wrong = |(key, message): (&str, String)| BuildError::Settings(format!("{key} {message}"));
        let target = settings.target().map_err(wrong)?;
        settings.network.check_host(&target.url).map_err(|refusal| wrong(("url", refusal.to_string())))?;
        let body = settings.body(&target).map_err(wrong)?;
        Ok(Self {
            client: client(settings)?,
            secrets: settings.secrets().map_err(|error| wrong(("secret", error.to_string())))?,
            headers: settings.headers().map_err(wrong)?,
            url: target.url,
            content_type: body.content_type,
            template: body.template.map(Arc::new),
            preset: settings.preset(),
        })
    }

    /// What is sent. Another's template is rendered where nobody waits for it, and for so long and no longer.
    async fn body(&self, event: &Outgoing) -> Result<String, Error> {
        let Some(template) = &self.template else { return Ok(event.body.clone()) };
        let failed = |error: RenderError| {
            Error::rejected(format!("the template fails: {}", error.summary)).with_reply(error.detail)
        };
        if self.preset.is_some() {
            return template.render(&event.body).map_err(failed);
        }
        let (template, body) = (Arc::clone(template), event.body.clone());
        let rendered = tokio::task::spawn_blocking(move || template.render(&body));
        match tokio::time::timeout(RENDER_LIMIT, rendered).await {
            Ok(Ok(rendered)) => rendered.map_err(failed),
            Ok(Err(_)) => Err(Error::retry("the template was cut off")),
            // Its steps are counted, so this says more of the machine than of the event.
            Err(_) => Err(Error::retry("the template was not rendered within 5 s")),
        }
    }

    async fn attempt(&self, event: &Outgoing) -> Result<(), Error> {
        let body = self.body(event).await?;
        let timestamp = UnixMillis::now().as_millis() / 1000;
        let mut request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, self.content_type.clone())
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", timestamp);
        let signature = self.secrets.sign(&event.id, timestamp, &body);
        if !signature.is_empty() {
            request = request.header("webhook-signature", signature);
        }
        let response = request.body(body).send().await.map_err(transport)?;
        reply::judge(response, self.preset).await
    }
}

fn client(settings: &Settings) -> Result<Client, BuildError> {
    let proxy = settings.proxy().map_err(|(key, message)| BuildError::Settings(format!("{key} {message}")))?;
    let mut client = Client::builder()
        .user_agent(concat!("inboxd/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(settings.timeout.min(CONNECT_LIMIT))
        .timeout(settings.timeout)
        // A receiver that has moved must be put into the configuration; a redirect would carry events elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        // Credentials and events go where the configuration says, whatever the environment says.
        .no_proxy()
        .dns_resolver(Resolver(settings.network.clone()));
    if let Some(proxy) = proxy {
        client = client.proxy(proxy);
    }
    if !settings.tls.is_of_the_system() {
        let tls = settings.tls.config().map_err(|error| BuildError::Settings(error.to_string()))?;
        client = client.tls_backend_preconfigured(tls);
    }
    client.build().map_err(|e| BuildError::Client(chain(&e.without_url(), REPLY_LIMIT)))
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

    /// Any answer will do: what a callback says to a question without an event tells nothing of what it says to one with.
    async fn probe(&self) -> Result<(), Error> {
        self.client.head(self.url.clone()).send().await.map(drop).map_err(transport)
    }
}

fn transport(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if let Some(refusal) = refusal(&error) {
        return Error::refused(refusal.to_string(), "look at url and network");
    }
    let detail = connect::in_words(&error).unwrap_or_else(|| chain(&error, REPLY_LIMIT));
    // On the way to an https receiver; a proxy of an http one answers with status 407.
    match detail.contains("proxy authorization required") {
        true => Error::refused(detail, "look at proxy: it wants a login"),
        false => Error::retry(detail),
    }
}

/// What the network rule has refused, if that is behind an error.
fn refusal(error: &reqwest::Error) -> Option<&Refusal> {
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref() {
            return Some(refusal);
        }
        cause = inner.source();
    }
    None
}
