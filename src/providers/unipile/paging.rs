//! How a list goes on. v2 pages by offset or by cursor, depending on the LinkedIn product, so the first page decides;
//! v1 always pages by cursor. Pure.

use std::sync::atomic::{AtomicU64, Ordering};

use super::wire::Extent;
use super::{encoded, errors};
use crate::providers::{Class, Error, Rest};

/// No service caps its pages shorter than this.
const SMALLEST_CAP: u64 = 10;

/// Where a page of a list begins. Its text remembers the mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Position {
    Start,
    Offset(u64),
    Cursor(String),
}

impl Position {
    /// Reads what [`Position::text`] wrote; a text of another program version restarts the list.
    pub(super) fn read(cursor: Option<&str>) -> Result<Self, Error> {
        let Some(text) = cursor else { return Ok(Self::Start) };
        let read = match text.split_once(':') {
            Some(("offset", offset)) => offset.parse().ok().map(Self::Offset),
            Some(("cursor", cursor)) => Some(Self::Cursor(cursor.to_owned())),
            _ => None,
        };
        read.ok_or_else(|| refused(Error::new(Class::Protocol, "the stored cursor is not of this provider")))
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Start => None,
            Self::Offset(offset) => Some(format!("offset:{offset}")),
            Self::Cursor(cursor) => Some(format!("cursor:{cursor}")),
        }
    }

    /// The query of this page. A cursor carries the filters of the list it came from, so it goes alone.
    pub(super) fn query(&self, limit: u64, filters: &str) -> String {
        match self {
            Self::Start => format!("limit={limit}{filters}"),
            Self::Offset(offset) => format!("limit={limit}{filters}&offset={offset}"),
            Self::Cursor(cursor) => format!("cursor={}", encoded(cursor)),
        }
    }

    fn after(&self, page: &Extent, full: u64) -> Option<Self> {
        if let Some(cursor) = &page.next_cursor {
            return Some(Self::Cursor(cursor.clone()));
        }
        let begin = match self {
            Self::Cursor(_) => return None,
            Self::Start => 0,
            Self::Offset(offset) => *offset,
        };
        let length = page.length;
        // The one item shared with the page before shows nothing new.
        if length == 0 || (length == 1 && begin > 0) {
            return None;
        }
        let is_counted_out = page.total_count.is_none_or(|total| total <= begin + length);
        // Pages share an item: a deletion between two requests would hide one otherwise.
        (length >= full || !is_counted_out).then(|| Self::Offset(begin + (length - 1).max(1)))
    }

    /// Where the list goes on, as the text that comes back with the next request; `None` at its end. A page of `full`
    /// items may not be the last; a total is believed only where it says that there is more.
    pub(super) fn next(&self, page: &Extent, full: u64) -> Option<String> {
        self.after(page, full)?.text()
    }

    /// What a failure at this position means for the list: `Ok` that it has ended.
    pub(super) fn judge(&self, error: errors::Refusal) -> Result<(), Error> {
        match self {
            Self::Start => Err(error.error),
            // Only cursors go further, and the page before had none.
            Self::Offset(_) if error.is_bad_request && error.asks_for_cursor => Ok(()),
            _ if error.is_bad_request => Err(refused(error.error)),
            _ => Err(error.error),
        }
    }
}

/// From how many items on a page of one list counts as full, which a service may cap below the limit without a word.
#[derive(Default)]
pub(super) struct Full {
    longest: AtomicU64,
}

impl Full {
    /// A page is full at the limit, or as long as the longest seen, unless that is too short to be a cap.
    pub(super) fn at(&self, page: &Extent, limit: u64) -> u64 {
        let length = page.length;
        let longest = self.longest.fetch_max(length, Ordering::Relaxed).max(length);
        if longest >= SMALLEST_CAP { longest.min(limit) } else { limit }
    }
}

/// How a list goes on that is always paged by cursor: whatever its length, it ends where none is given.
pub(super) fn by_cursor(next_cursor: Option<String>) -> Option<String> {
    Position::Cursor(next_cursor?).text()
}

/// What lies beyond a page of messages.
pub(super) fn rest(next: Option<String>) -> Rest {
    next.map_or(Rest::Nothing, Rest::More)
}

fn refused(mut error: Error) -> Error {
    error.cursor_refused = true;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(length: u64, next_cursor: Option<&str>, total_count: Option<u64>) -> Extent {
        Extent { length, next_cursor: next_cursor.map(str::to_owned), total_count, answered_at: None }
    }

    #[test]
    fn the_page_decides_how_the_list_goes_on() {
        let rows: [(Option<&str>, Extent, Option<&str>); 15] = [
            // The first page: by cursor where it has one, else by offset while it is full.
            (None, page(25, Some("b3BhcXVl"), None), Some("cursor:b3BhcXVl")),
            (None, page(3, Some("b3BhcXVl"), None), Some("cursor:b3BhcXVl")),
            (None, page(25, None, None), Some("offset:24")),
            (None, page(24, None, None), None),
            (None, page(0, None, None), None),
            // By offset, sharing an item with the page before.
            (Some("offset:24"), page(25, None, None), Some("offset:48")),
            (Some("offset:48"), page(2, None, None), None),
            (Some("offset:24"), page(1, None, None), None),
            (Some("offset:24"), page(0, None, None), None),
            // A total that says more is believed, as long as there is something to see.
            (None, page(20, None, Some(137)), Some("offset:19")),
            (None, page(1, None, Some(2)), Some("offset:1")),
            (Some("offset:24"), page(1, None, Some(137)), None),
            (None, page(25, None, Some(25)), Some("offset:24")),
            // By cursor to its end.
            (Some("cursor:b3BhcXVl"), page(25, Some("a:b=="), None), Some("cursor:a:b==")),
            (Some("cursor:a:b=="), page(25, None, Some(137)), None),
        ];
        for (asked, page, expected) in rows {
            let position = Position::read(asked).unwrap();
            let shown = format!("{asked:?}, {} items", page.length);
            assert_eq!(position.next(&page, 25).as_deref(), expected, "{shown}");
        }
    }

    #[test]
    fn a_page_as_long_as_the_longest_may_have_been_cut() {
        let full = Full::default();
        let at = |length| full.at(&page(length, None, None), 25);
        assert_eq!(at(3), 25, "too short to be a cap");
        assert_eq!(at(20), 20);
        assert_eq!(at(12), 20);
        assert_eq!(at(25), 25);
        assert_eq!(at(20), 25, "longer pages have been seen");
    }

    #[test]
    fn a_cursor_goes_alone_and_an_offset_with_its_limit() {
        let query = |cursor: Option<&str>| Position::read(cursor).unwrap().query(25, "&after=x");
        assert_eq!(query(None), "limit=25&after=x");
        assert_eq!(query(Some("offset:24")), "limit=25&after=x&offset=24");
        assert_eq!(query(Some("cursor:a+b/c==")), "cursor=a%2Bb%2Fc%3D%3D");
    }

    #[test]
    fn a_refused_position_is_the_end_or_the_begin_of_the_list() {
        let judged = |cursor: Option<&str>, is_bad_request, asks_for_cursor| {
            let error = Error::new(Class::Protocol, "status 400");
            Position::read(cursor).unwrap().judge(errors::Refusal { error, is_bad_request, asks_for_cursor })
        };
        assert!(judged(Some("offset:24"), true, true).is_ok(), "only cursors go on, and there was none");
        assert!(judged(Some("offset:24"), true, false).unwrap_err().cursor_refused);
        assert!(judged(Some("cursor:x"), true, true).unwrap_err().cursor_refused);
        assert!(!judged(Some("cursor:x"), false, false).unwrap_err().cursor_refused);
        assert!(!judged(None, true, true).unwrap_err().cursor_refused);
        assert!(Position::read(Some("what another version wrote")).unwrap_err().cursor_refused);
    }
}
