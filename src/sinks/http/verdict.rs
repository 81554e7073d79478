//! What a service says in the body of its answer, where the status says less: several answer 200
//! and a no.
//!
//! Sources: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks ("Handling errors")
//! and the errors of chat.postMessage; docs.discord.com/developers/topics/opcodes-and-status-codes
//! (JSON error codes); core.telegram.org/bots/api ("Making requests"); the errors of ntfy's server
//! (server/errors.go); and for Teams MicrosoftDocs/msteams-docs#400 and #1810: a connector wraps
//! every no into a 200.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::preset::Preset;

/// What an answer means for the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The service has it.
    Delivered,
    /// It will never take this body.
    Body,
    /// It asks for patience, or fails by itself, or somebody else has answered.
    Again {
        /// How long to wait, where it says.
        wait: Option<Duration>,
    },
    /// It takes nothing at this address, or with these credentials, until somebody changes
    /// something.
    Address,
}

/// A verdict, and by what it was reached: a status, a code of the service or a few words of ours,
/// never its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ruling {
    pub(super) verdict: Verdict,
    pub(super) because: Cow<'static, str>,
}

impl Ruling {
    fn new(verdict: Verdict, because: impl Into<Cow<'static, str>>) -> Self {
        Self { verdict, because: because.into() }
    }

    fn delivered() -> Self {
        Self::new(Verdict::Delivered, "")
    }

    fn of_status(status: u64, wait: Option<Duration>) -> Self {
        Self::new(Verdict::of_status(status, wait), format!("as status {status}"))
    }
}

impl Verdict {
    const LATER: Self = Self::Again { wait: None };

    /// What a status means that stands in a body, of 300 or more.
    fn of_status(status: u64, wait: Option<Duration>) -> Self {
        match status {
            400 | 413 | 415 | 422 => Self::Body,
            408 | 425 | 429 | 500.. => Self::Again { wait },
            _ => Self::Address,
        }
    }
}

/// What the body of an answer says beside its status; `None` where it adds nothing, so that the
/// status alone decides. An answer with a status of success is contradicted by its body or not; of
/// the others a body is only asked whether what is called a bad request is a bad address.
pub(super) fn of_body(preset: Preset, status: u16, body: &[u8]) -> Option<Ruling> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let said = Said { text, json: serde_json::from_str(text).unwrap_or_default() };
    if !(200..300).contains(&status) {
        return (preset == Preset::Telegram && status == 400 && said.names_no_chat())
            .then(|| Ruling::new(Verdict::Address, NO_CHAT));
    }
    let ruling = match preset {
        Preset::Slack => said.by_slack(),
        Preset::Discord => said.by_discord(),
        Preset::Telegram => said.by_telegram(),
        Preset::Teams => said.by_teams(),
        Preset::Ntfy => said.by_ntfy(),
    };
    Some(ruling)
}

/// The wait that a body asks for, in seconds: Discord's is on top, Telegram's below `parameters`.
pub(super) fn wait_in(json: &Value) -> Option<Duration> {
    let seconds = [&json["retry_after"], &json["parameters"]["retry_after"]].into_iter().find_map(Value::as_f64)?;
    Duration::try_from_secs_f64(seconds).ok().map(crate::backoff::held)
}

/// A proxy on the way, a login page, a page about maintenance.
const SOMEBODY_ELSE: &str = "this is not an answer of the service";
const NO_REASON: &str = "it gives no reason";
const NO_CHAT: &str = "the bot cannot write to this chat_id";

/// What was answered.
struct Said<'a> {
    text: &'a str,
    /// Null where it is no JSON.
    json: Value,
}

impl Said<'_> {
    /// `ok`, or a word that says why not. Workflows and the Web API say both in JSON; Rocket.Chat,
    /// which takes the same messages, says `success`.
    fn by_slack(&self) -> Ruling {
        let word = match &self.json {
            Value::Object(_) => {
                let taken = self.json["ok"].as_bool().or_else(|| self.json["success"].as_bool());
                let error = self.json["error"].as_str();
                match (taken, error) {
                    (Some(true), _) | (None, None) => return Ruling::delivered(),
                    (_, Some(error)) => error,
                    (Some(false), None) => return Ruling::new(Verdict::LATER, NO_REASON),
                }
            }
            _ => self.text,
        };
        if word.is_empty() || word.eq_ignore_ascii_case("ok") {
            return Ruling::delivered();
        }
        if let Some((known, verdict)) = SLACK.iter().find(|(known, _)| *known == word) {
            return Ruling::new(*verdict, *known);
        }
        let is_code = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        match word.contains('_') && word.len() <= 64 && word.chars().all(is_code) {
            true => Ruling::new(Verdict::Address, "with a code of Slack"),
            false => in_words(word).unwrap_or(Ruling::new(Verdict::LATER, SOMEBODY_ELSE)),
        }
    }

    /// Nothing, or the message; a no has a `code` and a `message`. With `/slack` behind the address
    /// it is `ok`.
    fn by_discord(&self) -> Ruling {
        let Value::Object(fields) = &self.json else { return self.plain(&["ok"]) };
        if fields.contains_key("retry_after") {
            return Ruling::of_status(429, wait_in(&self.json));
        }
        let Some(code) = self.json["code"].as_u64() else {
            return match fields.contains_key("errors") {
                true => Ruling::new(Verdict::Body, "it names errors in the fields"),
                false => Ruling::delivered(),
            };
        };
        let verdict = match code {
            // Too large, empty, a form that it does not know, no JSON.
            40_005 | 50_006 | 50_035 | 50_109 | 200_000..=200_001 => Verdict::Body,
            0 | 20_016..=20_029 | 30_046 | 40_062 | 130_000 | 131_000 => Verdict::LATER,
            _ => Verdict::Address,
        };
        Ruling::new(verdict, format!("with its code {code}"))
    }

    /// `ok`, and if not, `error_code` and mostly `parameters.retry_after`.
    fn by_telegram(&self) -> Ruling {
        let wait = wait_in(&self.json);
        match (self.json["ok"].as_bool(), self.json["error_code"].as_u64()) {
            (Some(true), _) => Ruling::delivered(),
            (Some(false), Some(400)) if self.names_no_chat() => Ruling::new(Verdict::Address, NO_CHAT),
            (Some(false), Some(status @ 300..=599)) => Ruling::of_status(status, wait),
            (Some(false), _) => Ruling::new(Verdict::Again { wait }, NO_REASON),
            (None, _) => Ruling::new(Verdict::LATER, SOMEBODY_ELSE),
        }
    }

    /// Telegram calls it a bad request when the chat is the wrong one; no other message would
    /// arrive there either.
    fn names_no_chat(&self) -> bool {
        let description = self.json["description"].as_str().unwrap_or_default().to_ascii_lowercase();
        let signs =
            ["chat not found", "chat_id", "peer_id_invalid", "upgraded to a supergroup", "chat was deactivated"];
        let signs = signs.into_iter().chain(["not enough rights", "have no rights", "chat_write_forbidden", "kicked"]);
        self.json["parameters"]["migrate_to_chat_id"].is_i64() || signs.into_iter().any(|s| description.contains(s))
    }

    /// A workflow says nothing, or what its maker has put there; a connector says `1`, or a
    /// sentence with a status in it.
    fn by_teams(&self) -> Ruling {
        if let Value::Object(fields) = &self.json {
            // A maker's own answer may have an empty error, or one in words.
            let code = fields.get("error").and_then(|error| error["code"].as_str()).filter(|code| !code.is_empty());
            let Some(code) = code else { return Ruling::delivered() };
            let is = |parts: &[&str]| parts.iter().any(|part| code.contains(part));
            let verdict = match code {
                _ if is(&["Throttl", "TooMany", "Limit", "Timeout", "ServerError", "ServiceUnavailable"]) => {
                    Verdict::LATER
                }
                _ if is(&["Schema", "RequestContent", "BodyToo", "ContentToo"]) => Verdict::Body,
                _ => Verdict::Address,
            };
            return Ruling::new(verdict, "with an error of the workflow");
        }
        if self.is_page() {
            return Ruling::new(Verdict::LATER, SOMEBODY_ELSE);
        }
        // Words of a maker may speak of errors and payloads without meaning a no.
        let begins = |start: &str| self.text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
        let is_no = status_in(self.text).is_some() || TEAMS.iter().any(|start| begins(start));
        if is_no { in_words(self.text).unwrap_or(Ruling::delivered()) } else { Ruling::delivered() }
    }

    /// The message; a no has `http`, the status, and a `code` that begins with it.
    fn by_ntfy(&self) -> Ruling {
        if !self.json.is_object() {
            return self.plain(&[]);
        }
        let of_code = || self.json["code"].as_u64().map(|code| code / 100);
        match self.json["http"].as_u64().or_else(of_code) {
            Some(status @ 300..=599) => Ruling::of_status(status, wait_in(&self.json)),
            _ if self.json["error"].is_string() => Ruling::new(Verdict::LATER, NO_REASON),
            _ => Ruling::delivered(),
        }
    }

    /// Of a service that answers nothing, JSON or one of these words.
    fn plain(&self, taken: &[&str]) -> Ruling {
        if self.text.is_empty() || taken.contains(&self.text) {
            return Ruling::delivered();
        }
        in_words(self.text).unwrap_or(Ruling::new(Verdict::LATER, SOMEBODY_ELSE))
    }

    fn is_page(&self) -> bool {
        self.text.starts_with('<')
    }
}

/// How the sentences begin by which a connector says no.
const TEAMS: &[&str] = &[
    "Webhook message delivery failed",
    "Microsoft Teams endpoint",
    "Summary or Text is required",
    "Bad payload received",
    "Invalid webhook",
];

/// Words of Slack that do not speak of the address; every other does.
const SLACK: &[(&str, Verdict)] = &[
    ("invalid_payload", Verdict::Body),
    ("no_text", Verdict::Body),
    ("missing_text_or_fallback_or_attachments", Verdict::Body),
    ("msg_too_long", Verdict::Body),
    ("msg_blocks_too_long", Verdict::Body),
    ("too_many_attachments", Verdict::Body),
    ("invalid_attachments", Verdict::Body),
    ("invalid_blocks", Verdict::Body),
    ("invalid_blocks_format", Verdict::Body),
    ("invalid_json", Verdict::Body),
    ("json_not_object", Verdict::Body),
    ("invalid_form_data", Verdict::Body),
    ("invalid_post_type", Verdict::Body),
    ("rate_limited", Verdict::LATER),
    ("ratelimited", Verdict::LATER),
    ("message_limit_exceeded", Verdict::LATER),
    ("rollup_error", Verdict::LATER),
    ("internal_error", Verdict::LATER),
    ("fatal_error", Verdict::LATER),
    ("service_unavailable", Verdict::LATER),
    ("request_timeout", Verdict::LATER),
    ("server_error", Verdict::LATER),
    // Named, so that the log says which.
    ("channel_is_archived", Verdict::Address),
    ("is_archived", Verdict::Address),
    ("channel_not_found", Verdict::Address),
    ("not_in_channel", Verdict::Address),
    ("action_prohibited", Verdict::Address),
    ("posting_to_general_channel_denied", Verdict::Address),
    ("user_not_found", Verdict::Address),
    ("no_service", Verdict::Address),
    ("no_service_id", Verdict::Address),
    ("no_active_hooks", Verdict::Address),
    ("no_team", Verdict::Address),
    ("team_disabled", Verdict::Address),
    ("invalid_token", Verdict::Address),
    ("invalid_auth", Verdict::Address),
    ("not_authed", Verdict::Address),
    ("account_inactive", Verdict::Address),
    ("token_revoked", Verdict::Address),
    ("missing_scope", Verdict::Address),
];

/// What a sentence says: by the status in it, else by its words. `None` for one that says no no.
fn in_words(text: &str) -> Option<Ruling> {
    if text.starts_with('<') {
        return None;
    }
    if let Some(status) = status_in(text) {
        return Some(Ruling::of_status(status, None));
    }
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let verdict = if says(&["throttl", "too many", "rate limit", "try again", "timed out", "timeout", "unavailable"]) {
        Verdict::LATER
    } else if says(&["required", "payload", "bad request", "too large", "too long", "malformed"]) {
        Verdict::Body
    } else if says(&["disabled", "removed", "deleted", "expired", "not found", "denied", "unauthorized", "forbidden"]) {
        Verdict::Address
    } else if says(&["error", "fail", "invalid"]) {
        Verdict::LATER
    } else {
        return None;
    };
    Some(Ruling::new(verdict, "in a sentence"))
}

/// The status in "... returned HTTP error 429 with ContextId ...".
fn status_in(text: &str) -> Option<u64> {
    let words: Vec<_> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.windows(2).find_map(|pair| {
        let speaks_of_it = ["error", "status", "code", "http"].iter().any(|word| pair[0].eq_ignore_ascii_case(word));
        pair[1].parse().ok().filter(|status| speaks_of_it && (300..600).contains(status))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Verdict = Verdict::LATER;

    fn after(seconds: u64) -> Verdict {
        Verdict::Again { wait: Some(Duration::from_secs(seconds)) }
    }

    fn judged(preset: Preset, cases: &[(&str, Verdict)]) {
        for (body, verdict) in cases {
            let ruling = of_body(preset, 200, body.as_bytes()).unwrap();
            assert_eq!(ruling.verdict, *verdict, "{preset:?} says {body:?}: {ruling:?}");
            assert_eq!(ruling.because.is_empty(), *verdict == Verdict::Delivered, "{ruling:?}");
            // An answer may begin with a mark and end with a line break.
            let dressed = format!("\u{feff}{body}\r\n");
            assert_eq!(of_body(preset, 202, dressed.as_bytes()).unwrap(), ruling);
        }
    }

    const PAGE: &str = "<!DOCTYPE html><html><body>Please sign in. Error 404</body></html>";

    #[test]
    fn slack_says_ok_or_a_word_as_text_or_in_json() {
        judged(
            Preset::Slack,
            &[
                ("ok", Verdict::Delivered),
                ("", Verdict::Delivered),
                ("{\"ok\":true}", Verdict::Delivered),
                ("{\"success\":true}", Verdict::Delivered),
                ("invalid_payload", Verdict::Body),
                ("no_text", Verdict::Body),
                ("{\"ok\":false,\"error\":\"invalid_blocks\"}", Verdict::Body),
                ("channel_is_archived", Verdict::Address),
                ("no_service", Verdict::Address),
                ("{\"ok\":false,\"error\":\"invalid_auth\"}", Verdict::Address),
                ("{\"ok\":false,\"error\":\"a_code_of_tomorrow\"}", Verdict::Address),
                ("rate_limited", LATER),
                ("{\"ok\":false,\"error\":\"ratelimited\"}", LATER),
                ("{\"ok\":false}", LATER),
                ("{\"success\":false,\"error\":\"message-not-sent\"}", LATER),
                (PAGE, LATER),
                ("hello", LATER),
                ("o", LATER),
            ],
        );
    }

    #[test]
    fn teams_wraps_a_status_into_a_sentence_and_a_workflow_says_what_its_maker_likes() {
        let sentence = |status: u16| {
            format!(
                "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with \
                 ContextId tcid=622824298674363899,server=DB5PEPF00003FC8,cv=AszFFaeXdEGdFrJhai0eUw.1.0.."
            )
        };
        for (status, verdict) in [
            (429, LATER),
            (413, Verdict::Body),
            (400, Verdict::Body),
            (403, Verdict::Address),
            (404, Verdict::Address),
            (410, Verdict::Address),
            (500, LATER),
            (503, LATER),
        ] {
            judged(Preset::Teams, &[(&sentence(status), verdict)]);
        }
        judged(
            Preset::Teams,
            &[
                ("1", Verdict::Delivered),
                ("", Verdict::Delivered),
                ("{\"ok\":true}", Verdict::Delivered),
                ("Thank you!", Verdict::Delivered),
                ("Payload received", Verdict::Delivered),
                ("done, no errors", Verdict::Delivered),
                ("Nothing failed, timeout 30", Verdict::Delivered),
                ("{\"error\":null}", Verdict::Delivered),
                ("{\"error\":\"\"}", Verdict::Delivered),
                ("{\"error\":false}", Verdict::Delivered),
                ("{\"error\":{}}", Verdict::Delivered),
                ("{\"error\":{\"code\":\"\"}}", Verdict::Delivered),
                ("Posting failed with status 429", LATER),
                ("webhook message delivery failed with error: Invalid webhook URL", LATER),
                ("Summary or Text is required.", Verdict::Body),
                ("Bad payload received by generic incoming webhook.", Verdict::Body),
                ("{\"error\":{\"code\":\"TriggerInputSchemaMismatch\",\"message\":\"...\"}}", Verdict::Body),
                ("{\"error\":{\"code\":\"WorkflowTriggerIsNotEnabled\",\"message\":\"...\"}}", Verdict::Address),
                ("{\"error\":{\"code\":\"DirectApiAuthorizationRequired\"}}", Verdict::Address),
                ("{\"error\":{\"code\":\"WorkflowRunActionTooManyRequests\"}}", LATER),
                ("Webhook message delivery failed with error: Microsoft Teams endpoint is throttled", LATER),
                (PAGE, LATER),
            ],
        );
    }

    #[test]
    fn telegram_says_in_its_body_whether_it_has_taken_a_message() {
        judged(
            Preset::Telegram,
            &[
                ("{\"ok\":true,\"result\":{}}", Verdict::Delivered),
                ("{\"ok\":false,\"error_code\":429,\"parameters\":{\"retry_after\":5}}", after(5)),
                (
                    "{\"ok\":false,\"error_code\":400,\"description\":\"Bad Request: message is too long\"}",
                    Verdict::Body,
                ),
                ("{\"ok\":false,\"error_code\":400,\"description\":\"Bad Request: chat not found\"}", Verdict::Address),
                ("{\"ok\":false,\"error_code\":401,\"description\":\"Unauthorized\"}", Verdict::Address),
                ("{\"ok\":false,\"error_code\":403}", Verdict::Address),
                ("{\"ok\":false,\"error_code\":500}", LATER),
                ("{\"ok\":false}", LATER),
                ("\"<html>\"", LATER),
                ("", LATER),
                (PAGE, LATER),
            ],
        );
    }

    #[test]
    fn a_bad_request_of_telegram_that_names_the_chat_speaks_of_the_address() {
        let of = |status, body: &str| of_body(Preset::Telegram, status, body.as_bytes()).map(|ruling| ruling.verdict);
        let moved = "{\"ok\":false,\"error_code\":400,\"parameters\":{\"migrate_to_chat_id\":-1001}}";
        assert_eq!(of(400, moved), Some(Verdict::Address));
        assert_eq!(of(400, "{\"description\":\"Bad Request: chat not found\"}"), Some(Verdict::Address));
        assert_eq!(of(400, "{\"description\":\"Bad Request: message text is empty\"}"), None, "the status says it");
        assert_eq!(of(404, "{\"description\":\"Not Found\"}"), None);
        assert_eq!(of_body(Preset::Slack, 400, b"invalid_payload"), None);
    }

    #[test]
    fn discord_says_nothing_or_the_message_or_a_code() {
        judged(
            Preset::Discord,
            &[
                ("", Verdict::Delivered),
                ("ok", Verdict::Delivered),
                ("{\"ok\":true}", Verdict::Delivered),
                ("{\"id\":\"1\",\"type\":0,\"content\":\"\",\"embeds\":[{}]}", Verdict::Delivered),
                ("{\"message\":\"Unknown Webhook\",\"code\":10015}", Verdict::Address),
                ("{\"message\":\"Invalid Webhook Token\",\"code\":50027}", Verdict::Address),
                ("{\"message\":\"Invalid Form Body\",\"code\":50035,\"errors\":{}}", Verdict::Body),
                ("{\"message\":\"Cannot send an empty message\",\"code\":50006}", Verdict::Body),
                ("{\"message\":\"You are being rate limited.\",\"retry_after\":2,\"global\":false}", after(2)),
                ("{\"message\":\"401: Unauthorized\",\"code\":0}", LATER),
                (PAGE, LATER),
            ],
        );
    }

    #[test]
    fn ntfy_answers_with_the_message_or_with_a_status() {
        judged(
            Preset::Ntfy,
            &[
                (
                    "{\"id\":\"x\",\"time\":1,\"event\":\"message\",\"topic\":\"t\",\"message\":\"m\"}",
                    Verdict::Delivered,
                ),
                ("{\"ok\":true}", Verdict::Delivered),
                ("", Verdict::Delivered),
                ("{\"code\":42901,\"http\":429,\"error\":\"limit reached: too many requests\"}", LATER),
                ("{\"code\":40017,\"http\":400,\"error\":\"invalid request\"}", Verdict::Body),
                ("{\"code\":41301,\"error\":\"too large\"}", Verdict::Body),
                ("{\"code\":40301,\"http\":403,\"error\":\"forbidden\"}", Verdict::Address),
                ("{\"code\":50701,\"http\":507,\"error\":\"insufficient storage\"}", LATER),
                ("{\"error\":\"?\"}", LATER),
                (PAGE, LATER),
                ("welcome", LATER),
            ],
        );
    }

    #[test]
    fn no_word_of_an_answer_is_in_what_is_logged() {
        for preset in [Preset::Slack, Preset::Discord, Preset::Telegram, Preset::Teams, Preset::Ntfy] {
            for body in ["s3cr3t", "s3cr3t_code", "error: s3cr3t", "{\"ok\":false,\"error\":\"s3cr3t\"}"] {
                let ruling = of_body(preset, 200, body.as_bytes()).unwrap();
                assert!(!ruling.because.contains("s3cr3t"), "{ruling:?}");
            }
        }
    }

    #[test]
    fn waits_in_a_body_may_be_fractions_and_are_held_like_those_of_a_header() {
        use serde_json::json;
        assert_eq!(wait_in(&json!({"retry_after": 2.5})), Some(Duration::from_millis(2500)));
        assert_eq!(wait_in(&json!({"parameters": {"retry_after": 7}})), Some(Duration::from_secs(7)));
        assert_eq!(wait_in(&json!({"retry_after": 0.2})), Some(Duration::from_secs(1)));
        assert_eq!(wait_in(&json!({"retry_after": 1e9})), Some(Duration::from_secs(86_400)));
        for unreadable in [json!({"retry_after": -1}), json!({"retry_after": "5"}), json!([]), json!(null)] {
            assert_eq!(wait_in(&unreadable), None, "{unreadable}");
        }
    }
}
