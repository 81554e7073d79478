//! A successful answer of either generation, read tolerantly: what stands under `data` in one edition of the
//! documentation stands at the top in another.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::providers::{Rest, json};
use crate::time::UnixMillis;

/// Below it, a time is in seconds: as milliseconds it would lie before 2001.
const SECONDS_BELOW: i64 = 1_000_000_000_000;

/// A page at least this long may have been cut by the service, however many messages were asked for.
const SMALLEST_CAP: u32 = 10;

/// An answer that its envelope calls a success.
#[derive(Debug)]
pub(super) struct Reply {
    body: Value,
    /// What it cost.
    pub(super) credits: u32,
}

impl Reply {
    pub(super) fn new(body: Value, credits: u32) -> Self {
        Self { body, credits }
    }

    /// A field, under `data` first; null is as absent.
    fn field(&self, name: &str) -> Option<&Value> {
        let inner = self.body.get("data").and_then(|data| data.get(name));
        [inner, self.body.get(name)].into_iter().flatten().find(|value| !value.is_null())
    }

    /// The messages, newest first.
    pub(super) fn messages(&self) -> Option<&Vec<Value>> {
        self.field("messages")?.as_array()
    }

    /// The messages as they were `received`, newest first.
    pub(super) fn raw_messages(&self, received: &[u8]) -> Vec<Box<RawValue>> {
        let is_within =
            self.body.get("data").and_then(|data| data.get("messages")).is_some_and(|inner| !inner.is_null());
        match self.messages() {
            Some(messages) if !messages.is_empty() => {
                json::elements(received, if is_within { &["data", "messages"] } else { &["messages"] })
            }
            _ => vec![],
        }
    }

    /// The rows of a list whose name is not documented: the first array of objects, and rather one whose objects have
    /// this field. An empty array is a list without rows.
    pub(super) fn rows(&self, with: &str) -> Option<&Vec<Value>> {
        fn fields(value: &Value) -> impl Iterator<Item = &Value> {
            value.as_object().into_iter().flat_map(|object| object.values())
        }
        let data = &self.body["data"];
        let within = std::iter::once(data).chain(fields(data)).chain(fields(&self.body));
        let arrays: Vec<_> = within.filter_map(Value::as_array).collect();
        let first = |wanted: &dyn Fn(&[Value]) -> bool| arrays.iter().copied().find(|rows| wanted(rows));
        first(&|rows| rows.iter().any(|row| row.get(with).is_some()))
            .or_else(|| first(&|rows| rows.first().is_some_and(Value::is_object)))
            .or_else(|| first(&|rows| rows.is_empty()))
    }

    /// The cursor of the page behind this one, unless the answer says that there is none.
    pub(super) fn next_cursor(&self) -> Option<String> {
        if self.field("has_next_page").and_then(Value::as_bool) == Some(false) {
            return None;
        }
        match self.field("next_cursor")? {
            Value::String(cursor) if !cursor.trim().is_empty() => Some(cursor.clone()),
            Value::Number(cursor) => Some(cursor.to_string()),
            _ => None,
        }
    }

    /// What lies beyond a page of messages that was asked for with the cursor `used`. A cursor that does not move
    /// towards older messages ends the walk: some services repeat it at the end. But a full page of messages behind
    /// such a cursor is no end; asking again then shows the walk that it does not advance.
    pub(super) fn rest(&self, used: Option<&str>, page_size: u32) -> Rest {
        let length = self.messages().map_or(0, Vec::len);
        let Some(next) = self.next_cursor().filter(|_| length > 0) else { return Rest::Nothing };
        match used {
            Some(used) if !is_older(&next, used) => {
                let full = u32::try_from(length).is_ok_and(|length| length >= page_size.min(SMALLEST_CAP));
                if full { Rest::More(used.to_owned()) } else { Rest::Nothing }
            }
            _ => Rest::More(next),
        }
    }
}

/// Cursors of messages are times; of any other kind only a repetition can be told.
fn is_older(next: &str, used: &str) -> bool {
    match (next.trim().parse::<i64>(), used.trim().parse::<i64>()) {
        (Ok(next), Ok(used)) => next < used,
        _ => next != used,
    }
}

/// A time as a number or text of digits, in milliseconds or seconds, or as RFC 3339.
pub(super) fn moment(value: &Value) -> Option<UnixMillis> {
    let number = match value {
        // Fractions of a second are beyond what this provider documents; its whole part is a time all the same.
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|float| float as i64))?,
        Value::String(text) => match text.trim().parse::<i64>() {
            Ok(number) => number,
            Err(_) => return UnixMillis::parse(text),
        },
        _ => return None,
    };
    let millis = if number < SECONDS_BELOW { number.checked_mul(1_000)? } else { number };
    // Nothing was written in 1970: zero stands for a time that is missing.
    UnixMillis::from_wire_millis(millis).filter(|_| millis > 0)
}

/// The text of a field; empty is as absent.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str().filter(|text| !text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(body: Value) -> Reply {
        Reply::new(body, 1)
    }

    fn more(cursor: &str) -> Rest {
        Rest::More(cursor.into())
    }

    #[test]
    fn paging_stops_where_the_provider_says_so_or_brings_nothing_older() {
        let one = || json!([{}]);
        let cases = [
            (json!({"data": {"messages": one(), "next_cursor": "50"}}), None, more("50")),
            (json!({"data": {"messages": one(), "next_cursor": 50, "has_next_page": true}}), Some("60"), more("50")),
            (json!({"data": {"messages": one()}, "next_cursor": "50"}), Some("60"), more("50")),
            (json!({"messages": one(), "next_cursor": "50", "has_next_page": true}), Some("60"), more("50")),
            (json!({"data": {"messages": one(), "next_cursor": "x"}}), Some("y"), more("x")),
            (json!({"data": {"messages": one(), "next_cursor": "50", "has_next_page": false}}), None, Rest::Nothing),
            (json!({"data": {"messages": one(), "next_cursor": "50"}, "has_next_page": false}), None, Rest::Nothing),
            (json!({"data": {"messages": one(), "next_cursor": null, "has_next_page": true}}), None, Rest::Nothing),
            (json!({"data": {"messages": one(), "next_cursor": ""}}), None, Rest::Nothing),
            (json!({"data": {"messages": one()}}), None, Rest::Nothing),
            (json!({"data": {"messages": [], "next_cursor": "50"}}), None, Rest::Nothing),
            (json!({"data": {"messages": one(), "next_cursor": "60"}}), Some("60"), Rest::Nothing),
            (json!({"data": {"messages": one(), "next_cursor": "70"}}), Some("60"), Rest::Nothing),
            (json!({"data": {"messages": one(), "next_cursor": "x"}}), Some("x"), Rest::Nothing),
        ];
        for (body, used, rest) in cases {
            assert_eq!(reply(body.clone()).rest(used, 10), rest, "{body}");
        }
    }

    #[test]
    fn a_full_page_behind_a_cursor_that_stays_is_no_end() {
        let stuck = reply(json!({"data": {"messages": [{}, {}], "next_cursor": "60"}}));
        assert_eq!(stuck.rest(Some("60"), 2), more("60"));
        assert_eq!(stuck.rest(Some("50"), 2), more("50"), "the walk sees a repetition");
        let ended = reply(json!({"data": {"messages": [{}, {}], "next_cursor": "60", "has_next_page": false}}));
        assert_eq!(ended.rest(Some("60"), 2), Rest::Nothing);
    }

    #[test]
    fn the_rows_of_a_list_are_found_under_any_name() {
        let row = json!({"conversation_id": "2-A"});
        for body in [
            json!({"data": {"conversations": [row.clone()], "a": [1, 2], "b": [{"x": 1}], "total_results": 1}}),
            json!({"data": [row.clone()]}),
            json!({"inbox": [row.clone()], "data": {"total_results": 1}}),
        ] {
            assert_eq!(reply(body.clone()).rows("conversation_id"), Some(&vec![row.clone()]), "{body}");
        }
        assert_eq!(reply(json!({"data": {"conversations": [], "total_results": 0}})).rows("x"), Some(&vec![]));
        assert_eq!(reply(json!({"data": {"total_results": 0, "names": ["x"]}})).rows("x"), None);
    }

    #[test]
    fn messages_are_kept_as_they_were_received_wherever_they_stand() {
        for received in [
            r#"{"data": {"messages": [{"b": 1.0,  "a": 2}]}, "messages": [{}]}"#,
            r#"{"data": {"messages": null}, "messages": [{"b": 1.0,  "a": 2}]}"#,
            r#"{"messages": [{"b": 1.0,  "a": 2}]}"#,
        ] {
            let raw = reply(serde_json::from_str(received).unwrap()).raw_messages(received.as_bytes());
            let raw: Vec<_> = raw.iter().map(|raw| raw.get()).collect();
            assert_eq!(raw, [r#"{"b": 1.0,  "a": 2}"#], "{received}");
        }
        assert!(reply(json!({"data": {"messages": []}})).raw_messages(b"{}").is_empty());
    }

    #[test]
    fn a_time_is_read_in_every_form_it_has_been_seen_in() {
        let at = |value: Value| moment(&value).map(UnixMillis::as_millis);
        assert_eq!(at(json!(1_760_000_123_456_i64)), Some(1_760_000_123_456));
        assert_eq!(at(json!("1760000123456")), Some(1_760_000_123_456));
        assert_eq!(at(json!(1_760_000_123)), Some(1_760_000_123_000));
        assert_eq!(at(json!("1760000123")), Some(1_760_000_123_000));
        assert_eq!(at(json!(1_760_000_123_456.0)), Some(1_760_000_123_456));
        assert_eq!(at(json!("2026-01-02T03:04:05Z")), Some(1_767_323_045_000));
        for unreadable in [json!(0), json!(-5), json!("soon"), json!(null), json!({}), json!(i64::MAX), json!(1e300)] {
            assert_eq!(at(unreadable.clone()), None, "{unreadable}");
        }
    }
}
