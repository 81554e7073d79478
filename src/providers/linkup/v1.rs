//! The first generation: a path for each operation, the LinkedIn session in every request, and a price on every
//! answer but status 500, refusals included. So nothing is asked that need not be.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::errors::{self, Asked, Refusal};
use super::settings::{Settings, is_profile};
use super::{Generation, Request};
use crate::model::Conversation;
use crate::providers::http::{self, Answer};
use crate::providers::json::{self, Document};
use crate::providers::{Class, Error};

/// A dead session is asked about once a day: each try is charged, and only a new token revives it.
const DEAD_SESSION: Duration = Duration::from_secs(24 * 3600);

/// What every request of an account has in common.
pub(super) struct V1 {
    login_token: SecretString,
    country: String,
    page_size: u32,
}

impl V1 {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            login_token: settings.login_token.clone().unwrap_or_default(),
            country: settings.country().to_owned(),
            page_size: settings.page_size(),
        }
    }

    fn request(&self, path: &str, results: u32, fields: [(&str, Option<&str>); 2]) -> Request {
        let mut body = json!({
            "login_token": self.login_token.expose_secret(),
            "country": self.country,
            "total_results": results,
        });
        for (name, value) in fields {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        Request::post(path, &body)
    }

    fn inbox(&self, results: u32, cursor: Option<&str>) -> Request {
        self.request("/messages/inbox", results, [("category", Some("INBOX")), ("next_cursor", cursor)])
    }
}

impl Generation for V1 {
    fn messages(&self, conversation: &Conversation, cursor: Option<&str>) -> Request {
        let address = conversation.address.as_str();
        let name = if is_profile(address) { "linkedin_url" } else { "conversation_id" };
        self.request("/messages/conversation", self.page_size, [(name, Some(address)), ("cursor", cursor)])
    }

    fn inbox(&self, cursor: Option<&str>) -> Request {
        self.inbox(self.page_size, cursor)
    }

    /// Nothing tells about the account alone; the smallest listing is as cheap as anything.
    fn probe(&self) -> Request {
        self.inbox(1, None)
    }

    fn charges_probes(&self) -> bool {
        true
    }

    fn reply(&self, answer: &Answer, asked: Asked<'_>) -> Result<u32, Error> {
        let accepted = answer.status.is_success();
        let document = Document::of(&answer.body);
        if accepted && document.object().is_ok_and(|body| body.text("status").as_deref() == Some("success")) {
            return Ok(asked.price);
        }
        match json::parse_short::<Value>(&answer.body) {
            Ok(body) if accepted && !is_error(&body) => {
                Err(Error::new(Class::Protocol, "the answer is neither a success nor an error"))
            }
            Err(error) if accepted => Err(http::malformed(answer, &error)),
            parsed => Err(refused(answer, parsed.ok().as_ref(), asked)),
        }
    }

    fn health(&self, answer: &Answer, asked: Asked<'_>) -> Result<(), Error> {
        self.reply(answer, asked).map(drop)
    }
}

fn refused(answer: &Answer, body: Option<&Value>, asked: Asked<'_>) -> Error {
    let refusal = Refusal::read(answer, body, asked);
    let status = answer.status.as_u16();
    let mut error = errors::error(errors::of_v1(status, &refusal, asked), answer, &refusal, DEAD_SESSION);
    error.credits = Some(if status == 500 { 0 } else { asked.price });
    error
}

fn is_error(body: &Value) -> bool {
    body["status"] == "error" || ["message", "error", "detail"].iter().any(|name| !body[*name].is_null())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, conversation, price_of};
    use super::*;
    use crate::providers::Fault;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;

    fn v1() -> V1 {
        let settings = r#"{"api_version":"v1","api_key":"k","login_token":"AQEDtoken","country":"DE"}"#;
        V1::new(&serde_json::from_str(settings).unwrap())
    }

    fn secrets() -> [SecretString; 1] {
        ["AQEDtoken".to_owned().into()]
    }

    fn refused(status: u16, body: &str, by_cursor: bool) -> Error {
        let asked = Asked { price: 3, by_cursor, secrets: &secrets() };
        v1().reply(&answer(status, body), asked).unwrap_err()
    }

    #[test]
    fn requests_are_as_documented() {
        let request = v1().messages(&conversation("2-A"), Some("1760000000000"));
        assert_eq!(request.path, "/messages/conversation");
        let body = json!({"conversation_id": "2-A", "total_results": 10, "cursor": "1760000000000", "country": "DE",
            "login_token": "AQEDtoken"});
        assert_eq!(request.json(), body);
        let request = v1().messages(&conversation("https://www.linkedin.com/in/a"), None);
        let body = json!({"linkedin_url": "https://www.linkedin.com/in/a", "total_results": 10, "country": "DE",
            "login_token": "AQEDtoken"});
        assert_eq!(request.json(), body);
        let request = Generation::inbox(&v1(), Some("b64"));
        let body = json!({"total_results": 10, "category": "INBOX", "next_cursor": "b64", "country": "DE",
            "login_token": "AQEDtoken"});
        assert_eq!((request.path.as_str(), request.json()), ("/messages/inbox", body));
        assert_eq!(v1().probe().json()["total_results"], 1);
    }

    #[test]
    fn each_refusal_has_its_class_wait_fault_and_price_whatever_the_status() {
        use Class::{Auth, Gone, Protocol, Throttled, Transient};
        use Fault::{Address, Key, Plan, SignedOut, Unsaid};
        let cases = [
            (403, "Cookie invalid", Auth, Some(DAY), SignedOut, Some(3)),
            (200, "Your LinkedIn cookie is invalid", Auth, Some(DAY), SignedOut, Some(3)),
            (200, "Session EXPIRED, please log in again", Auth, Some(DAY), SignedOut, Some(3)),
            (401, "login_token no longer valid", Auth, Some(DAY), SignedOut, Some(3)),
            (400, "Cookie invalid. One credit was charged", Auth, Some(DAY), SignedOut, Some(3)),
            (200, "Not enough credits", Throttled, Some(HOUR), Plan, Some(3)),
            (403, "Your credits have expired", Throttled, Some(HOUR), Plan, Some(3)),
            (402, "Payment required", Throttled, Some(HOUR), Plan, Some(3)),
            (401, "Unauthorized", Auth, Some(DAY), Key, Some(3)),
            (403, "Forbidden", Auth, Some(DAY), Key, Some(3)),
            (200, "API key expired", Auth, Some(DAY), Key, Some(3)),
            (404, "Nothing here", Gone, Some(DAY), Unsaid, Some(3)),
            (200, "Conversation not found", Gone, Some(DAY), Unsaid, Some(3)),
            (400, "Bad request", Gone, Some(DAY), Unsaid, Some(3)),
            (200, "Missing parameter: conversation_id", Gone, Some(DAY), Unsaid, Some(3)),
            (429, "Too many requests for this session", Throttled, None, Unsaid, Some(3)),
            (200, "Rate limit exceeded", Throttled, None, Unsaid, Some(3)),
            (500, "Internal error", Transient, None, Unsaid, Some(0)),
            (503, "Unavailable", Transient, None, Unsaid, Some(3)),
            (200, "Something new", Transient, None, Unsaid, Some(3)),
            (418, "Something new", Protocol, None, Unsaid, Some(3)),
        ];
        for (status, message, class, wait, fault, credits) in cases {
            for body in [
                json!({"status": "error", "message": message}),
                json!({"status": "error", "error": message}),
                json!({"error": {"message": message}}),
                json!({"detail": message}),
                json!({"detail": [{"loc": ["body"], "msg": message, "input": {"login_token": "AQEDtoken"}}]}),
            ] {
                let error = refused(status, &body.to_string(), false);
                let seen = (error.class, error.wait.map(|wait| wait.as_secs()), error.fault, error.credits);
                assert_eq!(seen, (class, wait, fault, credits), "{status} {body}");
            }
        }
        let wall = refused(403, "<html>Please enable cookies</html>", false);
        assert_eq!((wall.class, wall.wait.map(|w| w.as_secs()), wall.fault), (Auth, Some(DAY), Key));
        assert_eq!(refused(404, "<html>Not Found</html>", false).fault, Address);
    }

    #[test]
    fn a_refused_cursor_ends_the_walk_and_not_the_session() {
        for (status, body) in [(400, "Bad request"), (200, "The cursor has expired"), (200, "Missing parameter")] {
            let error = refused(status, &json!({"status": "error", "message": body}).to_string(), true);
            assert!(error.cursor_refused && error.class == Class::Protocol, "{body}");
        }
        assert!(!refused(200, r#"{"status":"error","message":"The cursor has expired"}"#, false).cursor_refused);
        assert!(!refused(429, r#"{"status":"error","message":"cursor"}"#, true).cursor_refused);
    }

    #[test]
    fn only_the_documented_shape_is_a_success_and_anything_else_may_have_been_charged() {
        assert_eq!(price_of(&v1(), 200, r#"{"status":"success","data":{"messages":[]}}"#, 3), Ok(3));
        for body in ["<html>", "", "[]", "{}", "null", r#"{"data":{"messages":[]}}"#, r#"{"status":"success""#] {
            let error = refused(200, body, false);
            assert_eq!((error.class, error.credits), (Class::Protocol, None), "{body}");
        }
        assert_eq!(price_of(&v1(), 500, r#"{"status":"success","data":{"messages":[]}}"#, 3), Err(Some(0)));
    }

    #[test]
    fn the_token_is_in_no_error_however_the_answer_repeats_it() {
        for padding in [0, 150, 185, 195] {
            let echoed = format!("{}AQEDtoken", "x".repeat(padding));
            for body in [echoed.clone(), json!({"message": echoed}).to_string(), json!({"odd": echoed}).to_string()] {
                let error = refused(400, &body, false);
                assert!(!error.detail.contains("AQED"), "{}", error.detail);
            }
        }
    }
}
