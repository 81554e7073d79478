//! What can be written into a filter, for the fuzzer: an expression on the first lines, and behind a line with `%%` the
//! event that it judges.

use super::Filter;
use crate::model::{Patterns, kind, sample_events};

/// Reads an expression, and judges every sample and the input's own event by it.
pub fn filter(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (expression, event) = text.split_once("\n%%\n").unwrap_or((&text, "{}"));
    let every = Patterns::new(vec!["*".into()]).expect("is a pattern");
    match Filter::parse(expression, &every) {
        Ok((filter, warnings)) => {
            for sample in sample_events(kind::ALL) {
                let _ = filter.wants(&sample.to_string());
            }
            let _ = filter.wants(event);
            assert!(!warnings.iter().any(|warning| warning.contains(char::is_control)), "{warnings:?}");
        }
        Err(error) => assert!(!error.contains(char::is_control) && error.len() < 4_096, "{error:?}"),
    }
}
