//! The headers that a user adds: to prove who asks, mostly, so every value is a secret.

use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::model::{Untrusted, cut_at};

/// What HTTP itself, or this sink, has to say in these.
const RESERVED: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads names and values. An error names the header and never its value.
pub(super) fn parse(headers: &BTreeMap<String, SecretString>) -> Result<HeaderMap, String> {
    let mut parsed = HeaderMap::with_capacity(headers.len());
    for (written, value) in headers {
        let shown = Untrusted(cut_at(written, 100)).to_string();
        let name = HeaderName::from_bytes(written.as_bytes())
            .map_err(|_| format!("\"{shown}\" is not the name of a header: letters, digits and - make one"))?;
        if let Some(problem) = reserved(name.as_str()) {
            return Err(format!("{shown} {problem}"));
        }
        let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| {
            format!("the value of {shown} has a line break or another control character in it, which no header may")
        })?;
        value.set_sensitive(true);
        if parsed.insert(name, value).is_some() {
            return Err(format!("{shown} is there twice; upper and lower case are the same"));
        }
    }
    Ok(parsed)
}

fn reserved(name: &str) -> Option<&'static str> {
    if name == "content-type" {
        return Some(
            "is set by the sink: application/json, or what the key content_type of the sink says; remove it here and \
             write content_type = \"...\" beside url",
        );
    }
    if name.starts_with("webhook-") {
        return Some("is set by the sink; every header that begins with webhook- belongs to the signature");
    }
    RESERVED.contains(&name).then_some("is set by the HTTP client and cannot be given here; remove it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(headers: &[(&str, &str)]) -> Result<HeaderMap, String> {
        parse(&headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into())).collect())
    }

    #[test]
    fn values_are_sensitive() {
        let headers = parsed(&[("Authorization", "Bearer s3cr3t"), ("X-Api-Key", "")]).unwrap();
        assert_eq!(headers["authorization"], "Bearer s3cr3t");
        assert!(headers.values().all(HeaderValue::is_sensitive));
        assert!(!format!("{headers:?}").contains("s3cr3t"));
    }

    #[test]
    fn what_would_break_out_of_a_header_is_refused_without_its_value() {
        for value in ["s3cr3t\r\nX-Evil: 1", "s3cr3t\n", "s3cr3t\u{0}", "s3cr3t\u{1b}[2J", "s3cr3t\u{7f}"] {
            let error = parsed(&[("X-Key", value)]).unwrap_err();
            assert!(error.contains("the value of X-Key has a line break") && !error.contains("s3cr3t"), "{error}");
        }
        for name in ["X Key", "X-Key:", "", "X\r\nKey", "Ключ", "X\u{1b}"] {
            let error = parsed(&[(name, "s3cr3t")]).unwrap_err();
            assert!(error.contains("is not the name of a header") && !error.contains("s3cr3t"), "{error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
    }

    #[test]
    fn reserved_names_are_refused_in_any_case_and_a_name_comes_once() {
        let reserved = ["Host", "Content-Length", "transfer-encoding", "Connection", "TE", "Upgrade"];
        for name in reserved.into_iter().chain(["webhook-id", "Webhook-Signature", "webhook-x", "Content-Type"]) {
            let error = parsed(&[(name, "x")]).unwrap_err();
            assert!(error.starts_with(name) && error.contains("is set by"), "{error}");
        }
        assert!(parsed(&[("Content-Type", "x")]).unwrap_err().contains("write content_type = "));
        assert!(parsed(&[("X-Key", "a"), ("x-key", "b")]).unwrap_err().contains("twice"));
    }
}
