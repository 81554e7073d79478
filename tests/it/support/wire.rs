//! A wire between the program and a simulator: it keeps what is sent over it, and changes it where a test says so.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use tokio::net::TcpListener;

/// An answer on its way.
pub(crate) struct Sent {
    /// Path and query of the request.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// `content-encoding`, where it is to be sent.
    pub(crate) encoding: Option<&'static str>,
}

type Change = Box<dyn FnMut(&mut Sent) + Send>;

/// Stands between provider and simulator.
pub(crate) struct Wire {
    simulator: String,
    client: reqwest::Client,
    sent: Mutex<String>,
    change: Mutex<Change>,
    pub(crate) address: String,
}

impl Wire {
    /// Takes the place of the simulator at this address of its.
    pub(crate) async fn start(simulator: &str) -> Arc<Self> {
        inboxd::providers::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Arc::new(Self {
            simulator: simulator.into(),
            client: reqwest::Client::new(),
            sent: Mutex::default(),
            change: Mutex::new(Box::new(|_| {})),
            address: listener.local_addr().unwrap().to_string(),
        });
        let app = Router::new().fallback(pass_on).with_state(Arc::clone(&wire));
        tokio::spawn(async move { axum::serve(listener, app).await });
        wire
    }

    /// What has been sent since this was asked last.
    pub(crate) fn take_sent(&self) -> String {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    /// Changes every answer from now on.
    pub(crate) fn change(&self, change: impl FnMut(&mut Sent) + Send + 'static) {
        *self.change.lock().unwrap() = Box::new(change);
    }
}

async fn pass_on(
    State(wire): State<Arc<Wire>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    headers.remove(header::HOST);
    let request = wire.client.request(method, format!("http://{}{uri}", wire.simulator)).headers(headers).body(body);
    let answer = request.send().await.unwrap();
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let body = answer.bytes().await.unwrap().to_vec();
    let mut sent = Sent { path: uri.to_string(), body, encoding: None };
    (wire.change.lock().unwrap())(&mut sent);
    wire.sent.lock().unwrap().push_str(&String::from_utf8_lossy(&sent.body));
    let mut response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    if let Some(encoding) = sent.encoding {
        response = response.header(header::CONTENT_ENCODING, encoding);
    }
    response.body(Body::from(sent.body)).unwrap()
}
