//! One request and its answer: what all dialects share, from the socket to the fault.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Endpoint;
use super::connection::Connection;
use super::faults::{Fault, RetryAfter};
use super::switches::Switches;
use super::world::{ConversationRef, State, World};
use crate::time::UnixMillis;

/// Longest request body; a longer one is refused with 413.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;

/// Longest body that a fault makes up, so that a slip of the finger does not take all memory.
const MADE_UP_LIMIT: usize = 256 * 1024 * 1024;

/// A request, read to its end.
pub(super) struct Incoming {
    pub(super) world: World,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    connection: Connection,
}

/// The URI as sent: below its base path a handler sees what is left of it.
#[derive(Clone)]
struct SentUri(Uri);

/// Keeps the URI before routing shortens it.
pub(super) async fn keep_uri(mut request: Request) -> Request {
    let uri = request.uri().clone();
    request.extensions_mut().insert(SentUri(uri));
    request
}

impl FromRequest<World> for Incoming {
    type Rejection = StatusCode;

    async fn from_request(request: Request, world: &World) -> Result<Self, StatusCode> {
        let (mut parts, body) = request.into_parts();
        let connection = parts.extensions.remove::<ConnectInfo<Connection>>().map(|info| info.0).unwrap_or_default();
        let uri = parts.extensions.remove::<SentUri>().map_or(parts.uri, |sent| sent.0);
        let body = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        Ok(Self { world: world.clone(), method: parts.method, uri, headers: parts.headers, body, connection })
    }
}

/// An answer before it meets a fault.
pub(super) struct Answer {
    status: StatusCode,
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Answer {
    /// JSON of any value that serialises.
    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // Only maps with keys that are no strings cannot be written, and no answer has one.
        let body = serde_json::to_vec(value).expect("answers have string keys");
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    /// 200 and JSON.
    pub(super) fn ok(value: &impl Serialize) -> Self {
        Self::json(StatusCode::OK, value)
    }

    /// 200 and JSON that was written before.
    pub(super) fn raw(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", headers: Vec::new(), body }
    }

    /// The same under another content type.
    pub(super) fn with_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// The body as it will be sent.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// An HTML page as proxies send it.
    fn html(status: StatusCode) -> Self {
        let text = status.canonical_reason().unwrap_or("Error");
        let code = status.as_u16();
        let page = format!(
            "<html>\r\n<head><title>{code} {text}</title></head>\r\n<body><h1>{text}</h1></body>\r\n</html>\r\n"
        );
        Self { status, content_type: "text/html", headers: Vec::new(), body: page.into_bytes() }
    }

    /// The same with one more header; one that HTTP does not allow is left out.
    pub(super) fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse(), value.parse()) {
            self.headers.push((name, value));
        }
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response.headers_mut().extend(self.headers);
        response
    }
}

/// How a dialect says what every provider says somehow.
pub(super) trait Voice: Sync {
    /// 429.
    fn rate_limited(&self, hold_until: Option<UnixMillis>) -> Answer;
    /// A refusal of this type.
    fn refusal(&self, switches: &Switches, error_type: &str, message: &str) -> Answer;
    /// `success: false` without a type.
    fn success_false(&self) -> Answer;
    /// The field of a success that carries the payload.
    fn payload_field(&self) -> &'static str;
}

/// What a handler knows about a request before it is answered.
pub(super) struct Asked {
    pub(super) endpoint: Endpoint,
    pub(super) voice: &'static dyn Voice,
    pub(super) cursor: bool,
}

/// What a fault asks of the handler itself.
#[derive(Clone, Copy)]
pub(super) struct Twist {
    /// Whether the answer will arrive, so that its messages count as served.
    pub(super) delivered: bool,
    /// Whether to give the cursor back that was asked for.
    pub(super) repeat_cursor: bool,
}

impl Incoming {
    /// Logs the request, waits the latency, lets a fault strike and answers. `concerns` names the conversations asked
    /// for and is called only when a fault may need them.
    pub(super) async fn answer(
        self,
        asked: Asked,
        concerns: impl FnOnce(&State) -> Vec<ConversationRef>,
        respond: impl FnOnce(&mut State, &Self, Twist) -> Answer,
    ) -> Response {
        let (latency, fault) = {
            let mut state = self.world.state();
            let state = &mut *state;
            state.requests.count(asked.endpoint);
            if state.switches.log_requests {
                state.requests.keep(&self.method, &self.uri, asked.endpoint, &self.body);
            }
            let fault = if state.faults.is_empty() {
                None
            } else {
                let conversations = concerns(state);
                state.faults.strike(asked.endpoint, &conversations, asked.cursor)
            };
            (state.switches.latency_ms, fault)
        };
        if latency > 0 {
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
        let respond = |twist| respond(&mut self.world.state(), &self, twist);
        let arrives = Twist { delivered: true, repeat_cursor: false };
        let Some(fault) = fault else { return respond(arrives).into_response() };
        tracing::trace!(?fault, endpoint = ?asked.endpoint, "fault strikes");
        match fault {
            Fault::RepeatCursor => respond(Twist { repeat_cursor: true, ..arrives }),
            Fault::SlowBody { millis } => {
                let answer = respond(arrives);
                self.connection.trickle(answer.body.len(), Duration::from_millis(millis));
                answer
            }
            Fault::TruncatedBody => {
                let answer = respond(Twist { delivered: false, ..arrives });
                self.connection.cut_after(answer.body.len() / 2);
                answer
            }
            Fault::ReplyLost => {
                let answer = respond(Twist { delivered: false, ..arrives });
                self.connection.reset();
                answer
            }
            Fault::Reset => {
                self.connection.reset();
                Answer::html(StatusCode::BAD_GATEWAY)
            }
            Fault::Hang => {
                self.world.stopping().cancelled().await;
                Answer::html(StatusCode::SERVICE_UNAVAILABLE)
            }
            Fault::TypedError { error_type, message } => {
                asked.voice.refusal(&self.world.state().switches, &error_type, &message)
            }
            made_up => make_up(made_up, asked.voice),
        }
        .into_response()
    }
}

/// The answer of a fault that needs nothing of the right one.
fn make_up(fault: Fault, voice: &dyn Voice) -> Answer {
    let status = |code| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match fault {
        Fault::Status { code, body, headers } => {
            let content_type = "application/json";
            let plain = Answer { status: status(code), content_type, headers: Vec::new(), body: body.into_bytes() };
            headers.iter().fold(plain, |answer, (name, value)| answer.with_header(name, value))
        }
        Fault::RateLimited { retry_after } => rate_limited(&retry_after, voice),
        Fault::Html5xx(code) => Answer::html(status(code)),
        Fault::SuccessFalse => voice.success_false(),
        Fault::MissingPayload => Answer::ok(&serde_json::json!({ "success": true })),
        Fault::Oversized { bytes } => Answer::raw(
            format!(r#"{{"success":true,"padding":"{}"}}"#, "x".repeat(bytes.min(MADE_UP_LIMIT))).into_bytes(),
        ),
        Fault::DeeplyNested { depth } => {
            let depth = depth.min(MADE_UP_LIMIT / 2);
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            Answer::raw(format!(r#"{{"success":true,"{}":{open}{close}}}"#, voice.payload_field()).into_bytes())
        }
        // The rest were answered where the right answer is at hand.
        _ => Answer::html(StatusCode::OK),
    }
}

fn rate_limited(retry_after: &RetryAfter, voice: &dyn Voice) -> Answer {
    const RESET: &str = "x-ratelimit-reset";
    let from_now =
        |secs: i64| UnixMillis::from_millis(UnixMillis::now().as_millis().saturating_add(secs.saturating_mul(1000)));
    let plain = || voice.rate_limited(None);
    match retry_after {
        RetryAfter::Seconds(secs) => plain().with_header(RETRY_AFTER.as_str(), &secs.to_string()),
        RetryAfter::HttpDate(secs) => plain().with_header(RETRY_AFTER.as_str(), &http_date(from_now(*secs))),
        RetryAfter::Garbage(text) => plain().with_header(RETRY_AFTER.as_str(), text),
        RetryAfter::Missing => plain(),
        RetryAfter::ResetHeaderIso(secs) => plain().with_header(RESET, &from_now(*secs).to_string()),
        RetryAfter::ResetHeaderUnix(secs) => {
            plain().with_header(RESET, &(from_now(*secs).as_millis() / 1000).to_string())
        }
        RetryAfter::HoldUntil(secs) => voice.rate_limited(Some(from_now(*secs))),
    }
}

fn http_date(at: UnixMillis) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .unwrap_or_default()
}
