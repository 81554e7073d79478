//! Answers that may stand under `data`, and say in two places whether they are a success.

use super::errors;
use crate::providers::http::{self, Answer};
use crate::providers::json::{Document, List, Object};
use crate::providers::{Class, Error};

/// The object of an answer that has its list, and the list; anything but a success with one is an error.
pub(super) fn payload<'d>(
    document: &'d Document<'_>,
    answer: &Answer,
    list: &'static str,
) -> Result<(Object<'d>, List<'d>), Error> {
    if !answer.status.is_success() {
        return Err(errors::refusal(answer));
    }
    let outer = document.object().map_err(|e| http::malformed(answer, &e))?;
    let is_refused = |object: &Object<'_>| object.flag("success") == Some(false);
    if is_refused(&outer) {
        return Err(errors::refusal(answer));
    }
    let inner = match outer.object("data") {
        Some(inner) if outer.raw(list).is_none() => inner,
        _ => outer,
    };
    if is_refused(&inner) {
        return Err(errors::refusal(answer));
    }
    let items = inner.list(list);
    let items = items.ok_or_else(|| Error::new(Class::Protocol, format!("the answer has no {list} array")))?;
    Ok((inner, items))
}
