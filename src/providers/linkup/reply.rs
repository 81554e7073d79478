//! A successful answer of either generation, read tolerantly: what stands under `data` in one edition of the
//! documentation stands at the top in another.

use crate::providers::Rest;
use crate::providers::json::{List, Object};

/// A page at least this long may have been cut by the service, however many messages were asked for.
const SMALLEST_CAP: u32 = 10;

/// An answer that its envelope calls a success.
pub(super) struct Reply<'a> {
    outer: Object<'a>,
    /// What stands under `data`, where that is an object ...
    data: Option<Object<'a>>,
    /// ... or a list.
    data_list: Option<List<'a>>,
    /// What it cost.
    pub(super) credits: u32,
}

impl<'a> Reply<'a> {
    pub(super) fn of(outer: Object<'a>, credits: u32) -> Self {
        let (data, data_list) = (outer.object_of("data"), outer.list_of("data"));
        Self { outer, data, data_list, credits }
    }

    /// Where a field stands: under `data` first.
    fn holder(&self, name: &str) -> &Object<'a> {
        self.data.as_ref().filter(|data| data.raw(name).is_some()).unwrap_or(&self.outer)
    }

    /// The messages, newest first.
    pub(super) fn messages(&self) -> Option<List<'a>> {
        self.holder("messages").list("messages")
    }

    /// The rows of a list whose name is not documented: the first array of objects, and rather one whose objects have
    /// this field, or the one that has the name of its rows. An array of nothing but nulls is a list without rows.
    pub(super) fn rows(&self, with: &str) -> Option<List<'a>> {
        let within = self.data.iter().flat_map(Object::lists);
        let lists: Vec<_> = self.data_list.clone().into_iter().chain(within).chain(self.outer.lists()).collect();
        let first = |wanted: &dyn Fn(&List<'a>) -> bool| lists.iter().find(|list| wanted(list)).cloned();
        first(&|list| list.objects().any(|row| row.raw(with).is_some()))
            .or_else(|| first(&|list| list.objects().next().is_some()))
            .or_else(|| first(&|list| list.items.iter().all(|item| item.get() == "null")))
            .or_else(|| self.holder("conversations").list_of("conversations"))
    }

    /// The cursor of the page behind this one, unless the answer says that there is none.
    pub(super) fn next_cursor(&self) -> Option<String> {
        if self.holder("has_next_page").flag("has_next_page") == Some(false) {
            return None;
        }
        self.holder("next_cursor").cursor("next_cursor")
    }

    /// What lies beyond a page of messages that was asked for with the cursor `used`. A cursor that does not move
    /// towards older messages ends the walk: some services repeat it at the end. But a full page of messages behind
    /// such a cursor is no end; asking again then shows the walk that it does not advance.
    pub(super) fn rest(&self, used: Option<&str>, page_size: u32) -> Rest {
        let length = self.messages().map_or(0, |messages| messages.len());
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::providers::json::tests::object;

    fn reply(body: Value) -> Reply<'static> {
        Reply::of(object(&body), 1)
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
            let rows = reply(body.clone()).rows("conversation_id").unwrap();
            assert_eq!(rows.items.iter().map(|row| row.get()).collect::<Vec<_>>(), [row.to_string()], "{body}");
        }
        let count = |body: Value| reply(body).rows("x").map(|rows| rows.len());
        assert_eq!(count(json!({"data": {"conversations": [], "total_results": 0}})), Some(0));
        assert_eq!(count(json!({"data": {"threads": [null]}})), Some(1));
        assert_eq!(count(json!({"data": {"conversations": ["odd"]}})), Some(1));
        assert_eq!(count(json!({"data": {"total_results": 0, "names": ["x"]}})), None);
    }
}
