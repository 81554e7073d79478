//! Answers that may stand under `data`, and say in two places whether they are a success.

use serde::de::DeserializeOwned;

use super::errors;
use crate::providers::http::{self, Answer};
use crate::providers::{Class, Error, json};

/// A payload that may hold itself.
pub(super) trait Nested: DeserializeOwned {
    /// The array that makes it one.
    const ARRAY: &str;

    fn success(&self) -> Option<bool>;

    fn has_array(&self) -> bool;

    fn take_nested(&mut self) -> Option<Box<Self>>;
}

/// Reads an answer; anything but a success with its array is an error.
pub(super) fn payload<T: Nested>(answer: &Answer) -> Result<T, Error> {
    if !answer.status.is_success() {
        return Err(errors::refusal(answer));
    }
    let mut outer: T = json::parse(&answer.body).map_err(|e| http::malformed(answer, &e))?;
    if outer.success() == Some(false) {
        return Err(errors::refusal(answer));
    }
    let inner = match outer.take_nested() {
        Some(inner) if !outer.has_array() => *inner,
        _ => outer,
    };
    if inner.success() == Some(false) {
        return Err(errors::refusal(answer));
    }
    if !inner.has_array() {
        return Err(Error::new(Class::Protocol, format!("the answer has no {} array", T::ARRAY)));
    }
    Ok(inner)
}
