//! An HTTP receiver that records what it is sent and answers as told.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use super::STRICT;

/// How the receiver answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    RetryAfter {
        status: u16,
        seconds: u64,
    },
    Redirect(String),
    /// Answers with this JSON; takes the event when the status says so.
    Json(u16, Value),
    /// Answers with this text; takes the event when the status says so.
    Text(u16, String),
    /// Refuses, and repeats the event in its reply.
    Echo(u16),
    /// Takes the event and never answers.
    Hang,
    /// Takes the event and answers with an error all the same: the answer that was lost.
    TakenButFailed,
    /// Refuses with this status what is about this subject, and takes everything else.
    Poison {
        subject: String,
        status: u16,
    },
    /// Answers 500 to this share of attempts, by a hash of event id and attempt, without taking the event.
    FailsSometimes(f64),
}

/// One attempt as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// The receiver kept it.
    pub(crate) taken: bool,
    /// What is wrong with it by the schema of events.
    violation: Option<String>,
}

impl Arrived {
    /// A body that calls itself JSON has to be JSON, and one that calls itself a CloudEvent an event of ours.
    fn new(path: String, headers: HeaderMap, body: String, taken: bool) -> Self {
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let violation = match serde_json::from_str::<Value>(&body) {
            Ok(event) if kind.contains("cloudevents") || event.get("specversion").is_some() => {
                STRICT.check(&event).err()
            }
            Err(error) if kind.contains("json") => Some(format!("not JSON: {error}")),
            _ => None,
        };
        Self { path, headers, body, taken, violation }
    }

    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("an event is JSON")
    }

    pub(crate) fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }
}

#[derive(Default)]
struct Shared {
    arrived: Mutex<Vec<Arrived>>,
    script: Mutex<Vec<Reply>>,
    reply: Mutex<Option<Reply>>,
}

/// A running receiver.
#[derive(Clone)]
pub(crate) struct Receiver {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(axum::routing::post(receive)).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { addr, shared }
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("/hooks")
    }

    pub(crate) fn url_of(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How it answers from now on.
    pub(crate) fn reply(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap() = Some(reply);
    }

    /// Answers to the next attempts, before the standing reply.
    pub(crate) fn script(&self, replies: Vec<Reply>) {
        *self.shared.script.lock().unwrap() = replies;
    }

    /// What arrived at this path.
    pub(crate) fn arrived_at(&self, path: &str) -> Vec<Arrived> {
        self.arrived().into_iter().filter(|arrived| arrived.path == path).collect()
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.all().clone()
    }

    /// Everything that arrived; panics where an event is not as the schema says.
    fn all(&self) -> MutexGuard<'_, Vec<Arrived>> {
        let arrived = self.shared.arrived.lock().unwrap();
        let violation = arrived.iter().find_map(|arrived| arrived.violation.clone());
        if let Some(violation) = violation {
            drop(arrived);
            panic!("{violation}");
        }
        arrived
    }

    /// Events it kept, in the order they came, each id once.
    pub(crate) fn taken(&self) -> Vec<Value> {
        let mut seen = HashSet::new();
        let arrived = self.all();
        arrived.iter().filter(|a| a.taken && seen.insert(a.id())).map(Arrived::event).collect()
    }

    pub(crate) fn taken_count(&self) -> usize {
        let arrived = self.all();
        arrived.iter().filter(|a| a.taken).map(Arrived::id).collect::<HashSet<_>>().len()
    }

    /// Events of this type that it kept, in the order they came, each id once.
    pub(crate) fn of_type(&self, kind: &str) -> Vec<Value> {
        self.taken().into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// Events that are about no message, in the order they came: type and whether the state was entered or left.
    pub(crate) fn notices(&self) -> Vec<(String, String)> {
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let notices = self.taken().into_iter().filter(|event| !word(&event["type"]).starts_with("message."));
        notices.map(|event| (word(&event["type"]), word(&event["data"]["state"]))).collect()
    }

    /// Texts of the messages it kept, in the order they came; changes and what is about no message are left out.
    pub(crate) fn texts(&self) -> Vec<String> {
        let text = |event: &Value| event["data"]["message"]["text"].as_str().unwrap().to_owned();
        self.of_type("message.new").iter().map(text).collect()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let reply = {
        let mut script = shared.script.lock().unwrap();
        if script.is_empty() { shared.reply.lock().unwrap().clone() } else { Some(script.remove(0)) }
    };
    let body = String::from_utf8(body.to_vec()).unwrap();
    let (taken, response) = match reply {
        None => (true, StatusCode::NO_CONTENT.into_response()),
        Some(Reply::Status(code)) => {
            (code < 300, (StatusCode::from_u16(code).unwrap(), format!("reply {code}")).into_response())
        }
        Some(Reply::Echo(code)) => (false, (StatusCode::from_u16(code).unwrap(), body.clone()).into_response()),
        Some(Reply::RetryAfter { status, seconds }) => {
            let headers = [("retry-after", seconds.to_string())];
            (false, (StatusCode::from_u16(status).unwrap(), headers, "later").into_response())
        }
        Some(Reply::Redirect(to)) => (false, (StatusCode::FOUND, [("location", to)], "").into_response()),
        Some(Reply::Json(code, value)) => {
            (code < 300, (StatusCode::from_u16(code).unwrap(), axum::Json(value)).into_response())
        }
        Some(Reply::Text(code, text)) => (code < 300, (StatusCode::from_u16(code).unwrap(), text).into_response()),
        Some(Reply::TakenButFailed) => (true, StatusCode::BAD_GATEWAY.into_response()),
        Some(Reply::Hang) => {
            shared.arrived.lock().unwrap().push(Arrived::new(path, headers, body, true));
            tokio::time::sleep(Duration::from_secs(3600)).await;
            return StatusCode::NO_CONTENT.into_response();
        }
        Some(Reply::Poison { subject, status }) => {
            let event: Value = serde_json::from_str(&body).unwrap();
            let refused = event["subject"] == subject.as_str();
            let status = if refused { StatusCode::from_u16(status).unwrap() } else { StatusCode::OK };
            (!refused, status.into_response())
        }
        Some(Reply::FailsSometimes(share)) => {
            let id = headers["webhook-id"].to_str().unwrap();
            let attempt = shared.arrived.lock().unwrap().iter().filter(|a| a.id() == id).count();
            let hash = id.bytes().fold(attempt as u64, |h, b| inboxd::backoff::mix(h, u64::from(b)));
            let fails = (hash % 1000) as f64 / 1000.0 < share;
            (!fails, if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }.into_response())
        }
    };
    shared.arrived.lock().unwrap().push(Arrived::new(path, headers, body, taken));
    response
}
