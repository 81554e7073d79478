//! The second generation: a path for each category, the operation as `action`, the LinkedIn session kept by the vendor.
//! Failures have codes and cost nothing; a success says what it cost.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::errors::{self, Asked, Refusal};
use super::settings::{Settings, is_profile};
use super::{Generation, Request};
use crate::model::Conversation;
use crate::providers::http::{self, Answer};
use crate::providers::json::{self, Document};
use crate::providers::{Class, Error, Fault};

/// An account without a LinkedIn session is looked at again after so long; looking is free.
const DEAD_SESSION: Duration = Duration::from_secs(15 * 60);

/// What every request of an account has in common.
pub(super) struct V2 {
    account_id: String,
    sales_nav: bool,
    page_size: u32,
}

impl V2 {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            account_id: settings.account_id.clone().unwrap_or_default(),
            sales_nav: settings.sales_nav(),
            page_size: settings.page_size(),
        }
    }

    fn request(&self, action: &str, mut params: Value, cursor: Option<&str>) -> Request {
        // No default of the service is known for certain.
        params["count"] = self.page_size.into();
        if let Some(cursor) = cursor {
            params["cursor"] = cursor.into();
        }
        if self.sales_nav {
            params["sales_nav"] = true.into();
        }
        let body = json!({ "account_id": self.account_id, "action": action, "params": params });
        Request::post("/messages", &body)
    }
}

impl Generation for V2 {
    fn messages(&self, conversation: &Conversation, cursor: Option<&str>) -> Request {
        let name = if is_profile(&conversation.address) { "profile_url" } else { "conversation_id" };
        // Reading must not clear what the owner has not read.
        let params = json!({ name: conversation.address, "mark_as_read": false });
        self.request("get_conversation", params, cursor)
    }

    fn inbox(&self, cursor: Option<&str>) -> Request {
        self.request("list_inbox", json!({ "category": "INBOX" }), cursor)
    }

    fn probe(&self) -> Request {
        Request::get(&format!("/accounts/{}", utf8_percent_encode(&self.account_id, NON_ALPHANUMERIC)))
    }

    fn credits(&self) -> Option<Request> {
        Some(Request::get("/credits"))
    }

    /// A number, or a text of one.
    fn credits_left(&self, answer: &Answer, asked: Asked<'_>) -> Result<u64, Error> {
        let body = read(answer, asked)?;
        let credits = if body["data"]["credits"].is_null() { &body["credits"] } else { &body["data"]["credits"] };
        let number = credits.as_f64().or_else(|| credits.as_str()?.trim().parse().ok());
        let left = number.filter(|left| left.is_finite());
        // `as` holds what is out of range at the nearest bound: who owes has none left.
        left.map(|left| left as u64).ok_or_else(|| free(Error::new(Class::Protocol, "the answer has no credits")))
    }

    fn charges_probes(&self) -> bool {
        false
    }

    fn reply(&self, answer: &Answer, asked: Asked<'_>) -> Result<u32, Error> {
        let document = Document::of(&answer.body);
        if let Ok(body) = document.object()
            && answer.status.is_success()
            && body.flag("success") == Some(true)
        {
            let metadata = body.object("metadata");
            let credits = metadata.as_ref().and_then(|metadata| metadata.scalar("credits_consumed"));
            return Ok(credits.and_then(|credits| rounded_up(credits.as_str().parse().ok()?)).unwrap_or(asked.price));
        }
        read(answer, asked)?;
        Err(Error::new(Class::Protocol, "the answer is neither a success nor an error"))
    }

    /// The documentation names no field for certain, so only what plainly says that the account is at rest counts.
    fn health(&self, answer: &Answer, asked: Asked<'_>) -> Result<(), Error> {
        let body = read(answer, asked).map_err(of_account)?;
        let account = if body["data"].is_object() { &body["data"] } else { &body };
        let inactive = ["active", "is_active"].iter().any(|name| account[*name] == false)
            || account["status"].as_str().is_some_and(|status| {
                ["inactive", "disconnected"].iter().any(|word| status.eq_ignore_ascii_case(word))
            });
        if !inactive {
            return Ok(());
        }
        let error = Error::new(Class::Auth, "the account is inactive; log it in again at the provider");
        Err(free(error.with_wait(Some(DEAD_SESSION)).at_fault(Fault::SignedOut)))
    }
}

/// A JSON object with a status of success that is not called a failure.
fn read(answer: &Answer, asked: Asked<'_>) -> Result<Value, Error> {
    let accepted = answer.status.is_success();
    match json::parse_short::<Value>(&answer.body) {
        Ok(body) if accepted && body.is_object() && body["success"] != false => Ok(body),
        Ok(body) if accepted && !body.is_object() => {
            Err(Error::new(Class::Protocol, "the answer does not have the expected shape"))
        }
        Err(error) if accepted => Err(http::malformed(answer, &error)),
        parsed => Err(refused(answer, parsed.ok().as_ref(), asked)),
    }
}

fn refused(answer: &Answer, body: Option<&Value>, asked: Asked<'_>) -> Error {
    let refusal = Refusal::read(answer, body, asked);
    let status = answer.status.as_u16();
    let mut error = errors::error(errors::of_v2(status, &refusal, asked), answer, &refusal, DEAD_SESSION);
    // What stands in front of the API does not know what the API did and charged.
    let is_api = refusal.is_json || !(502..=504).contains(&status);
    error.credits = is_api.then(|| body.and_then(charged).unwrap_or(0));
    // A probe is free, and a lost session may show as anything.
    if matches!(error.class, Class::Gone | Class::Transient) { error.suspecting_account() } else { error }
}

/// A probe names nothing but the account: what is not there, or not accepted, is the account.
fn of_account(mut error: Error) -> Error {
    if error.class == Class::Gone {
        error.class = Class::Auth;
        error.wait = None;
        error.fault = Fault::Address;
    }
    error
}

fn free(mut error: Error) -> Error {
    error.credits = Some(0);
    error
}

/// What the answer says it cost.
fn charged(body: &Value) -> Option<u32> {
    rounded_up(body["metadata"]["credits_consumed"].as_f64()?)
}

fn rounded_up(credits: f64) -> Option<u32> {
    // `as` holds what is out of range at the nearest bound.
    (credits >= 0.0).then_some(credits.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{answer, conversation, price_of};
    use super::*;

    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;

    fn v2(more: &str) -> V2 {
        V2::new(&serde_json::from_str(&format!(r#"{{"api_key":"k","account_id":"a/1"{more}}}"#)).unwrap())
    }

    const ASKED: Asked<'static> = Asked { price: 3, by_cursor: false, secrets: &[] };

    fn refused(status: u16, body: &str) -> Error {
        v2("").reply(&answer(status, body), ASKED).unwrap_err()
    }

    #[test]
    fn requests_are_as_documented() {
        let request = v2("").messages(&conversation("2-A"), Some("1760000000000"));
        let body = json!({"account_id": "a/1", "action": "get_conversation", "params": {
            "conversation_id": "2-A", "count": 10, "cursor": "1760000000000", "mark_as_read": false}});
        assert_eq!((request.path.as_str(), request.json()), ("/messages", body));
        let request = v2(r#","sales_nav":true,"count":20"#).messages(&conversation("https://x/in/a"), None);
        let params = json!({"profile_url": "https://x/in/a", "count": 20, "mark_as_read": false, "sales_nav": true});
        assert_eq!(request.json()["params"], params);
        let body = json!({"account_id": "a/1", "action": "list_inbox", "params": {
            "category": "INBOX", "count": 10, "cursor": "b64"}});
        assert_eq!(v2("").inbox(Some("b64")).json(), body);
        let probe = v2("").probe();
        assert_eq!((probe.path.as_str(), probe.body), ("/accounts/a%2F1", None));
    }

    #[test]
    fn each_code_has_its_class_wait_and_fault_and_costs_nothing() {
        use Class::{Auth, Gone, Throttled, Transient};
        use Fault::{Address, Key, Plan, SignedOut, Unsaid};
        let quarter = Some(900);
        let cases = [
            (400, "INVALID_PARAMS", "bad", Gone, Some(DAY), Unsaid),
            (400, "INVALID_PARAMS", "LinkedIn session expired", Auth, quarter, SignedOut),
            (400, "INVALID_ACTION", "bad", Auth, Some(DAY), Address),
            (402, "INSUFFICIENT_CREDITS", "credits expired", Throttled, Some(HOUR), Plan),
            (403, "INVALID_API_KEY", "key expired", Auth, Some(HOUR), Key),
            (403, "ACCOUNT_INACTIVE", "bad", Auth, quarter, SignedOut),
            (404, "INVALID_ACCOUNT", "bad", Auth, None, Address),
            (429, "RATE_LIMITED", "bad", Throttled, None, Unsaid),
            (500, "INTERNAL_ERROR", "bad", Transient, None, Unsaid),
            (500, "INTERNAL_ERROR", "cookie no longer valid", Auth, quarter, SignedOut),
            (403, "SOMETHING_NEW", "please login again", Auth, quarter, SignedOut),
            (403, "SOMETHING_NEW", "no", Auth, None, Key),
            (404, "SOMETHING_NEW", "no", Gone, Some(DAY), Unsaid),
            (200, "SOMETHING_NEW", "no", Transient, None, Unsaid),
            (200, "INSUFFICIENT_CREDITS", "no", Throttled, Some(HOUR), Plan),
        ];
        for (status, code, message, class, wait, fault) in cases {
            let body = json!({"success": false, "error": {"code": code, "message": message},
                "metadata": {"credits_consumed": 0}});
            let error = refused(status, &body.to_string());
            let seen = (error.class, error.wait.map(|wait| wait.as_secs()), error.fault, error.credits);
            assert_eq!(seen, (class, wait, fault, Some(0)), "{status} {body}");
            assert!(error.detail.contains(&format!("status {status}: {code}: {message}")), "{}", error.detail);
        }
    }

    #[test]
    fn an_answer_without_a_code_is_met_by_its_status() {
        let cases = [
            (401, r#"{"error":"refused"}"#, Class::Auth, Some(0)),
            (404, r#"{"error":"refused"}"#, Class::Gone, Some(0)),
            (429, "", Class::Throttled, Some(0)),
            (500, "<html>", Class::Transient, Some(0)),
            (502, "<html>log in, session, cookie</html>", Class::Transient, None),
        ];
        for (status, body, class, credits) in cases {
            let error = refused(status, body);
            assert_eq!((error.class, error.credits), (class, credits), "{status} {body}");
        }
        let mut told = answer(429, r#"{"success":false,"error":{"code":"RATE_LIMITED"}}"#);
        told.headers.insert("retry-after", "42".parse().unwrap());
        assert_eq!(v2("").reply(&told, ASKED).unwrap_err().wait, Some(Duration::from_secs(42)));
    }

    #[test]
    fn a_success_costs_what_it_says_or_the_price() {
        let body = |credits: &str| format!(r#"{{"success":true,"data":{{"messages":[]}},"metadata":{{{credits}}}}}"#);
        assert_eq!(price_of(&v2(""), 200, &body(r#""credits_consumed":1"#), 3), Ok(1));
        assert_eq!(price_of(&v2(""), 200, &body(r#""credits_consumed":0.5"#), 3), Ok(1));
        assert_eq!(price_of(&v2(""), 200, &body(""), 3), Ok(3));
        for broken in ["<html>", "", "[]", "{}", "null", r#"{"status":"success","data":{}}"#, r#"{"success":true"#] {
            let error = refused(200, broken);
            assert_eq!((error.class, error.credits), (Class::Protocol, None), "{broken}");
        }
    }

    #[test]
    fn what_is_left_is_read_as_a_number_in_any_form() {
        let left = |body: &str| v2("").credits_left(&answer(200, body), ASKED).map_err(|error| error.class);
        let body = r#"{"success":true,"data":{"credits":4825},"metadata":{"credits_consumed":0}}"#;
        assert_eq!(left(body), Ok(4825));
        assert_eq!(left(r#"{"success":true,"data":{"credits":"12"}}"#), Ok(12));
        assert_eq!(left(r#"{"success":true,"data":{"credits":12.9}}"#), Ok(12));
        assert_eq!(left(r#"{"success":true,"credits":3}"#), Ok(3));
        assert_eq!(left(r#"{"success":true,"data":{"credits":-3}}"#), Ok(0));
        for unreadable in ["null", "[]", "{}", "\"many\"", "true"] {
            assert_eq!(
                left(&format!(r#"{{"data":{{"credits":{unreadable}}}}}"#)),
                Err(Class::Protocol),
                "{unreadable}"
            );
        }
        assert_eq!(v2("").credits().unwrap().path, "/credits");
    }

    #[test]
    fn a_refused_cursor_ends_the_walk() {
        let body = r#"{"success":false,"error":{"code":"INVALID_PARAMS","message":"cursor expired"}}"#;
        let asked = Asked { by_cursor: true, ..ASKED };
        let error = v2("").reply(&answer(400, body), asked).unwrap_err();
        assert!(error.cursor_refused && error.class == Class::Protocol);
    }

    #[test]
    fn an_account_is_healthy_unless_it_plainly_says_otherwise() {
        let health = |status: u16, body: &str| v2("").health(&answer(status, body), ASKED);
        for body in [
            "{}",
            r#"{"success":true,"data":{"status":"something new"}}"#,
            r#"{"success":true,"data":{"status":"ACTIVE","active":true}}"#,
        ] {
            assert!(health(200, body).is_ok(), "{body}");
        }
        let cases = [
            (200, r#"{"success":true,"data":{"active":false}}"#, Class::Auth, Fault::SignedOut),
            (200, r#"{"success":true,"data":{"status":"INACTIVE"}}"#, Class::Auth, Fault::SignedOut),
            (404, r#"{"success":false,"error":{"code":"INVALID_ACCOUNT"}}"#, Class::Auth, Fault::Address),
            (404, "<html>", Class::Auth, Fault::Address),
            (403, r#"{"success":false,"error":{"code":"INVALID_API_KEY"}}"#, Class::Auth, Fault::Key),
            (200, "<html>", Class::Protocol, Fault::Address),
            (503, "<html>", Class::Transient, Fault::Unsaid),
        ];
        for (status, body, class, fault) in cases {
            let error = health(status, body).unwrap_err();
            assert_eq!((error.class, error.fault), (class, fault), "{status} {body}");
        }
    }
}
