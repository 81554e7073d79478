//! What can be written into a sink, for the fuzzer.

use secrecy::SecretString;

use super::http::Secrets;
use super::template::{Escape, OUTPUT_LIMIT, Template};
use crate::model::{kind, sample_events};

pub use super::http::fuzzing::replies;

/// Compiles a template, and renders every sample with it. The first line says for what: `json`, `plain`, `token`, `markup`
/// or `form`; behind a line with `%%` stands what the messages say.
pub fn template(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (escape, rest) = input.split_once('\n').unwrap_or(("", &input));
    let (source, said) = rest.split_once("\n%%\n").unwrap_or((rest, "<b>\"'&*_`\u{202e}\n"));
    let escape = match escape {
        "plain" => Escape::Plain,
        "token" => Escape::Token,
        "markup" => Escape::Markup,
        "form" => Escape::Form,
        _ => Escape::Json,
    };
    let template = match Template::compile(source.to_owned(), escape, &[("chat_id", "1".to_owned())]) {
        Ok(template) => template,
        Err(error) => return assert!(!error.contains(char::is_control), "{error:?}"),
    };
    let mut samples = sample_events(kind::ALL);
    for sample in &mut samples {
        if let Some(text) = sample.pointer_mut("/data/message/text") {
            *text = said.into();
        }
    }
    let checked = template.check(&samples);
    for sample in &samples {
        match template.render(&sample.to_string()) {
            Ok(text) => {
                assert!(text.len() <= OUTPUT_LIMIT, "{} bytes", text.len());
                if escape == Escape::Json {
                    serde_json::from_str::<serde::de::IgnoredAny>(&text).expect("what a JSON template gives is JSON");
                }
            }
            Err(error) => {
                assert!(checked.is_err(), "what check takes can be rendered: {}", error.summary);
                assert!(!error.summary.contains(char::is_control), "{:?}", error.summary);
            }
        }
    }
}

/// Reads a signing secret from the first line, and signs the rest with it: twice the same, and as a header may be.
pub fn signatures(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let (secrets, body) = input.split_once('\n').unwrap_or((&input, ""));
    let secrets: Vec<SecretString> = secrets.split(' ').map(|secret| secret.to_owned().into()).collect();
    match Secrets::parse(&secrets) {
        Ok(signing) => {
            let signed = signing.sign("evt", 1_795_166_043, body);
            assert_eq!(signed, signing.sign("evt", 1_795_166_043, body));
            assert_eq!(signed.split(' ').count(), secrets.len());
            reqwest::header::HeaderValue::from_str(&signed).expect("a signature fits into a header");
        }
        Err(error) => {
            let words = error.to_string();
            let repeats = |secret: &SecretString| {
                let secret = secrecy::ExposeSecret::expose_secret(secret);
                secret.len() > 40 && words.contains(secret)
            };
            assert!(!secrets.iter().any(repeats), "{words}");
        }
    }
}
