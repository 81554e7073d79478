//! Fields read with patience: of a message only the id and the time are needed, so a field of a wrong type is as good as
//! absent and fails nothing.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::providers::http::{self, Answer};
use crate::providers::json::{Document, Object, Scalar};
use crate::providers::{Class, Error, Unreadable, moment};
use crate::time::UnixMillis;

/// A text that says something.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// An id as given; a number counts as its digits.
pub(super) fn id(object: &Value, key: &str) -> Option<String> {
    match object.get(key)? {
        Value::Number(number) => Some(number.to_string()),
        _ => text(object, key).map(str::to_owned),
    }
}

/// A time; one without a zone is UTC, as all of the API's are.
pub(super) fn moment(value: &Scalar<'_>) -> Option<UnixMillis> {
    moment::moment(value).or_else(|| UnixMillis::parse(&format!("{}Z", value.as_str())))
}

/// How far a page reaches: what tells whether the list goes on.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// Items on the page, those among them that cannot be read.
    pub(super) length: u64,
    pub(super) next_cursor: Option<String>,
    pub(super) total_count: Option<u64>,
    /// When it was answered, by the provider's clock.
    pub(super) answered_at: Option<UnixMillis>,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    pub(super) extent: Extent,
    pub(super) unreadable: Unreadable,
}

/// A page without items.
impl<T> Default for List<T> {
    fn default() -> Self {
        Self { items: vec![], extent: Extent::default(), unreadable: Unreadable::default() }
    }
}

/// The names of a list's parts in one generation of the API.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub(super) items: &'static str,
    pub(super) cursor: &'static str,
}

/// Reads a page: the items stand under one name, or it is not this API that answers. An item that `read` makes nothing of is
/// one `without` something.
pub(super) fn list<T>(
    answer: &Answer,
    names: Names,
    without: &'static str,
    read: impl FnMut(&Object<'_>, &RawValue) -> Option<T>,
) -> Result<List<T>, Error> {
    let document = Document::of(&answer.body);
    let body = document.object().map_err(|e| http::malformed(answer, &e))?;
    let list = body.list(names.items).ok_or_else(|| no_list(answer, names.items))?;
    let mut read = read;
    let items = list.each(without, |object, raw| read(object, raw));
    let extent = Extent {
        length: list.len() as u64,
        next_cursor: body.cursor(names.cursor),
        total_count: body.whole_number("total_count").and_then(|count| count.try_into().ok()),
        answered_at: http::answered_at(&answer.headers),
    };
    Ok(List { items, extent, unreadable: document.unreadable() })
}

fn no_list(answer: &Answer, name: &str) -> Error {
    let status = answer.status.as_u16();
    Error::new(Class::Protocol, format!("status {status}: the answer has no list under `{name}`"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::json::tests::object;

    #[test]
    fn a_field_of_a_wrong_type_is_as_good_as_absent() {
        let wrong = json!({ "text": 1, "id": [] });
        assert_eq!(text(&wrong, "text"), None);
        assert_eq!(id(&wrong, "id"), None);
        assert_eq!(id(&json!({ "id": 7 }), "id").as_deref(), Some("7"));
    }

    #[test]
    fn a_time_is_read_with_and_without_a_zone_and_as_a_number() {
        let at = |value: Value| object(&json!({ "at": value })).time("at", moment).map(UnixMillis::as_millis);
        let expected = Some(1_795_166_043_000);
        for value in
            [json!("2026-11-20T09:14:03"), json!("2026-11-20T09:14:03Z"), json!(1_795_166_043), json!("1795166043000")]
        {
            assert_eq!(at(value.clone()), expected, "{value}");
        }
        for odd in [json!(5), json!("yesterday"), json!([]), json!(""), json!(true)] {
            assert_eq!(at(odd.clone()), None, "{odd}");
        }
    }
}
