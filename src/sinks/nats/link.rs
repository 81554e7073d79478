//! The connection to a server: made when an event needs it, shared by all attempts, and made anew after it was lost.
//!
//! The client would also reconnect by itself, and send then what it has kept meanwhile. Here a connection that is lost is
//! lost: an attempt on it fails, and the schedule of retries says when the next one is made, on a new connection. So no
//! event waits in a buffer, and a server that is away is not knocked at while there is nothing to deliver.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio_util::sync::CancellationToken;

use super::DETAIL_LIMIT;
use crate::connect::in_words;
use crate::model::{Untrusted, cut_at};
use crate::sinks::Error;

/// A connection that is there, or being made: whoever needs one waits for the same.
pub(super) type Pending = Shared<BoxFuture<'static, Result<Link, Error>>>;

/// Where to connect, and the connection.
pub(super) struct Links {
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    timeout: Duration,
    current: Mutex<Option<Pending>>,
}

impl Links {
    /// An attempt takes at most `timeout`.
    pub(super) fn new(servers: Vec<ServerAddr>, options: ConnectOptions, timeout: Duration) -> Self {
        // Each server has its share of the time of an attempt, and one is left for the event.
        let share = timeout / u32::try_from(servers.len() + 1).unwrap_or(u32::MAX);
        let options = options
            .connection_timeout(share)
            .max_reconnects(servers.len())
            // A server may name others, to which our login would go then.
            .ignore_discovered_servers();
        Self { servers, options, timeout, current: Mutex::default() }
    }

    /// The connection, or a new one where there is none.
    pub(super) fn get(&self) -> Pending {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = |pending: &Pending| match pending.peek() {
            None => true,
            Some(made) => made.as_ref().is_ok_and(|link| !link.news.lost.is_cancelled()),
        };
        if let Some(pending) = current.as_ref().filter(|pending| usable(pending)) {
            return pending.clone();
        }
        let made = connect(self.servers.clone(), self.options.clone(), self.timeout).boxed().shared();
        current.insert(made).clone()
    }

    /// Gives a connection up that does not answer; the next attempt makes another.
    pub(super) fn give_up(&self, silent: &Pending) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|pending| pending.ptr_eq(silent)) {
            *current = None;
        }
    }
}

/// A connection.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) jetstream: Context,
    pub(super) news: Arc<News>,
}

/// What the client tells of a connection.
#[derive(Default)]
pub(super) struct News {
    /// Cancelled when it is lost.
    pub(super) lost: CancellationToken,
    complaint: Mutex<Option<String>>,
}

impl News {
    /// What the server has complained about last. It does not say which event that was about.
    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.lost.cancel(),
            Event::ServerError(error) => {
                let said = Untrusted(cut_at(&error.to_string(), DETAIL_LIMIT)).to_string();
                *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            }
            _ => {}
        }
    }
}

async fn connect(servers: Vec<ServerAddr>, options: ConnectOptions, timeout: Duration) -> Result<Link, Error> {
    let news = Arc::new(News::default());
    let listener = Arc::clone(&news);
    let options = options.event_callback(move |event| {
        listener.note(&event);
        std::future::ready(())
    });
    let client = options.connect(servers).await.map_err(|error| refused(&error))?;
    // Whoever waits for an acknowledgement has a limit of his own, and it is shorter.
    let jetstream = ContextBuilder::new().timeout(timeout.saturating_mul(2)).build(client);
    Ok(Link { jetstream, news })
}

fn refused(error: &ConnectError) -> Error {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Error::refused("the server refuses our login", "look at credentials, token, user and password")
        }
        _ => {
            let words = in_words(error);
            let words = words.unwrap_or_else(|| Untrusted(cut_at(&error.to_string(), DETAIL_LIMIT)).to_string());
            Error::retry(format!("no connection: {words}"))
        }
    }
}
