//! The connection to a server: made when an event needs it, shared by all attempts, and made anew after it was lost.
//!
//! The client would also reconnect by itself, and send then what it has kept meanwhile. Here a connection that is lost is
//! lost: an attempt on it fails, and the schedule of retries says when the next one is made, on a new connection. So no
//! event waits in a buffer, and a server that is away is not knocked at while there is nothing to deliver.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, Event};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use rand::RngExt;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::DETAIL_LIMIT;
use super::gate::{self, Cut, Reached, Server, Way};
use crate::model::{Untrusted, cut_at};
use crate::sinks::{Blame, Error};

/// A connection that is there, or being made: whoever needs one waits for the same.
pub(super) type Pending = Shared<BoxFuture<'static, Result<Link, Error>>>;

/// Where to connect, and the connection.
pub(super) struct Links {
    target: Arc<Target>,
    current: Mutex<Option<Pending>>,
}

/// All that a connection is made of.
struct Target {
    servers: Vec<Server>,
    way: Way,
    options: ConnectOptions,
    /// Of an attempt.
    timeout: Duration,
    /// Of a connection to one server.
    share: Duration,
}

impl Links {
    /// An attempt takes at most `timeout`.
    pub(super) fn new(servers: Vec<Server>, way: Way, options: ConnectOptions, timeout: Duration) -> Self {
        // Each server has its share of the time of an attempt, and one is left for the event.
        let share = timeout / u32::try_from(servers.len() + 1).unwrap_or(u32::MAX);
        let options = options
            .connection_timeout(share)
            .max_reconnects(1)
            // A server may name others, to which our login would go then.
            .ignore_discovered_servers();
        Self { target: Arc::new(Target { servers, way, options, timeout, share }), current: Mutex::default() }
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
        let target = Arc::clone(&self.target);
        let made = async move { target.connect().await }.boxed().shared();
        current.insert(made).clone()
    }

    /// Gives a connection up that does not answer; the next attempt makes another. It ends when no attempt on it can be under way.
    pub(super) fn give_up(&self, silent: &Pending) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|pending| pending.ptr_eq(silent)) {
            *current = None;
        }
        // A server that takes nothing keeps the client from ending. Every other attempt on it is over by then.
        if let Some(Ok(link)) = silent.peek() {
            let (end, grace) = (link.news.end.clone(), self.target.timeout);
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                end.cancel();
            });
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
    cut: Cut,
    /// Cancelled when nothing more is to pass on it.
    end: CancellationToken,
}

impl News {
    /// What the server has complained about last. It does not say which event that was about.
    pub(super) fn complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why the connection was cut by us.
    pub(super) fn cut(&self) -> Option<String> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

impl Target {
    /// Tries one server after the other, beginning anywhere.
    async fn connect(&self) -> Result<Link, Error> {
        let first = rand::rng().random_range(0..self.servers.len().max(1));
        let (before, from_first) = self.servers.split_at(first);
        let mut failure = Error::retry("no connection: there is no server");
        for server in from_first.iter().chain(before) {
            let until = Instant::now() + self.share;
            let reached = timeout_at(until, self.way.to(server, until)).await.unwrap_or_else(late);
            let reached = match reached {
                Ok(reached) => reached,
                Err(error) => {
                    failure = error;
                    continue;
                }
            };
            match timeout_at(until, self.log_in(reached)).await.unwrap_or_else(late) {
                Ok(link) => return Ok(link),
                // Every server would refuse the login.
                Err(refused) if refused.blame == Blame::Address => return Err(refused),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn log_in(&self, reached: Reached) -> Result<Link, Error> {
        let news = Arc::new(News::default());
        let over = CancellationToken::new();
        let place = gate::open(reached, Arc::clone(&news.cut), news.end.clone(), over.clone()).await;
        let place = place.map_err(|error| Error::retry(format!("no connection: no room on loopback: {error}")))?;
        // The library drops what it calls when it has ended.
        let (listener, ends_with) = (Arc::clone(&news), over.drop_guard());
        let options = self.options.clone().local_address(place.from).event_callback(move |event| {
            let _ = &ends_with;
            listener.note(&event);
            std::future::ready(())
        });
        let client = options.connect(place.address).await;
        let client = client.map_err(|error| match news.cut() {
            Some(cut) => Error::retry(format!("no connection: {cut}")),
            None => refused(&error),
        })?;
        // Whoever waits for an acknowledgement has a limit of his own, and it is shorter.
        let jetstream = ContextBuilder::new().timeout(self.timeout.saturating_mul(2)).build(client);
        Ok(Link { jetstream, news })
    }
}

fn refused(error: &ConnectError) -> Error {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            Error::refused("the server refuses our login", "look at credentials, token, user and password")
        }
        _ => {
            let words = Untrusted(cut_at(&error.to_string(), DETAIL_LIMIT)).to_string();
            Error::retry(format!("no connection: {words}"))
        }
    }
}

fn late<T>(_: Elapsed) -> Result<T, Error> {
    Err(Error::retry("no connection: the server does not answer in time"))
}
