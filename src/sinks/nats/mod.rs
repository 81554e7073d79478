//! NATS JetStream: every event is published with its id as `Nats-Msg-Id`, by which a stream drops what it already has. It
//! is delivered when the stream has acknowledged that it stored it, or that it has it already.

mod frames;
mod gate;
mod link;
mod settings;
mod subject;

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use tokio::time::timeout;

use super::{BuildError, Delivered, Error, Outgoing, Sink};
use crate::model::{Untrusted, cut_at};
use link::{Link, Links, Pending};
use subject::Subject;

pub(super) use settings::Settings;

/// What the CloudEvents binding for NATS calls it.
const CONTENT_TYPE: &str = "content-type";

const CLOUD_EVENT: &str = "application/cloudevents+json";

/// Longest text of a server that is shown.
const DETAIL_LIMIT: usize = 200;

pub(super) struct Nats {
    links: Links,
    subject: Subject,
    timeout: Duration,
}

impl Nats {
    pub(super) fn new(settings: &Settings) -> Result<Self, BuildError> {
        let wrong = |(key, message): (&str, String)| BuildError::Settings(format!("{key} {message}"));
        let (servers, options) = (settings.servers().map_err(wrong)?, settings.options().map_err(wrong)?);
        let way = settings.way().map_err(wrong)?;
        Ok(Self {
            links: Links::new(servers, way, options, settings.timeout),
            subject: settings.subject().map_err(wrong)?,
            timeout: settings.timeout,
        })
    }

    async fn attempt(&self, event: &Outgoing) -> Result<(), Error> {
        let subject = self.subject.of(&event.body)?;
        let link = self.links.get();
        let published = async { publish(&link.clone().await?, subject, event).await };
        timeout(self.timeout, published).await.unwrap_or_else(|_| {
            self.links.give_up(&link);
            Err(self.silence(&link))
        })
    }

    /// Why nothing has come of an attempt in its time.
    fn silence(&self, link: &Pending) -> Error {
        let waited = humantime::format_duration(self.timeout);
        match link.peek() {
            Some(Ok(link)) => {
                let detail = format!("no acknowledgement within {waited}");
                let complaint = link.news.complaint();
                // The server drops what may not be published, and says so beside.
                let is_forbidden =
                    complaint.as_ref().is_some_and(|said| said.to_ascii_lowercase().contains("permissions violation"));
                let error = match is_forbidden {
                    true => Error::refused(
                        detail,
                        "the server does not let this login publish on the subject; look at its permissions",
                    ),
                    false => Error::retry(detail),
                };
                Error { reply: complaint, ..error }
            }
            _ => Error::retry(format!("no connection within {waited}")),
        }
    }
}

#[async_trait]
impl Sink for Nats {
    async fn deliver(&self, events: &[Outgoing]) -> Delivered {
        for (count, event) in events.iter().enumerate() {
            if let Err(failure) = self.attempt(event).await {
                return Delivered { count, failure: Some(failure) };
            }
        }
        Delivered::all(events)
    }

    /// A connection and a login are all that can be asked for without publishing.
    async fn probe(&self) -> Result<(), Error> {
        let link = self.links.get();
        let connected = timeout(self.timeout, link.clone()).await;
        connected.unwrap_or_else(|_| Err(self.silence(&link))).map(drop)
    }
}

/// Publishes an event and waits until it is stored.
async fn publish(link: &Link, subject: String, event: &Outgoing) -> Result<(), Error> {
    let message = PublishMessage::build()
        .message_id(&event.id)
        .header(CONTENT_TYPE, CLOUD_EVENT)
        .payload(event.body.clone().into());
    let acknowledged = async { link.jetstream.send_publish(subject.clone(), message).await?.await };
    tokio::select! {
        biased;
        acknowledged = acknowledged => match acknowledged {
            Ok(_) => Ok(()),
            Err(error) => Err(failure(&error, &subject)),
        },
        () = link.news.lost.cancelled() => Err(match link.news.cut() {
            Some(cut) => Error::retry(format!("the connection was cut before the acknowledgement: {cut}")),
            None => Error::retry("the connection was lost before the acknowledgement"),
        }),
    }
}

/// What became of an event that is not acknowledged.
fn failure(error: &PublishError, subject: &str) -> Error {
    let said = || Untrusted(cut_at(&error.to_string(), DETAIL_LIMIT)).to_string();
    match error.kind() {
        PublishErrorKind::StreamNotFound => {
            let remedy = "create a stream, e.g. with nats stream add, or look at subject";
            Error::refused("no JetStream stream takes the subject", remedy).with_reply(subject::shown(subject))
        }
        PublishErrorKind::MaxPayloadExceeded => {
            let detail = format!("the event is too long; raise max_payload of the server: {}", said());
            Error::rejected(detail)
        }
        PublishErrorKind::BrokenPipe => Error::retry("the connection was lost before the acknowledgement"),
        _ => match refusal(error) {
            Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => {
                let detail = "the event is too long; raise the maximum message size of the stream";
                Error::rejected(detail)
            }
            Some(_) => Error::retry(said()),
            None => Error::retry(format!("no acknowledgement: {}", said())),
        },
    }
}

/// The code of an error that JetStream has answered with.
fn refusal(error: &PublishError) -> Option<ErrorCode> {
    error.source()?.downcast_ref::<async_nats::jetstream::Error>().map(async_nats::jetstream::Error::error_code)
}
