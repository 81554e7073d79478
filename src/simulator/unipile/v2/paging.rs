//! Pages: by offset with LinkedIn's Classic and Sales Navigator products, by cursor with Recruiter.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Refusal;
use crate::simulator::exchange::Incoming;
use crate::simulator::unipile::switches::UnipileSwitches;
use crate::simulator::unipile::{exact_time, query};
use crate::simulator::world::Kind;
use crate::time::UnixMillis;

const DEFAULT_LIMIT: usize = 20;

/// The query of a list as sent.
#[derive(Deserialize)]
pub(super) struct RawQuery {
    limit: Option<String>,
    offset: Option<String>,
    cursor: Option<String>,
    before: Option<String>,
    after: Option<String>,
    user_id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    is_archived: Option<String>,
    is_unread: Option<String>,
}

impl RawQuery {
    pub(super) fn of(incoming: &Incoming) -> Result<Self, Refusal> {
        query(incoming).ok_or_else(|| Refusal::malformed("query", "is malformed"))
    }

    /// Whether it asks for more than a first page.
    pub(super) fn goes_on(&self) -> bool {
        self.cursor.is_some() || self.offset.is_some()
    }

    /// Refuses what LinkedIn's chats cannot be chosen by.
    pub(super) fn refuse_filters(&self) -> Result<(), Refusal> {
        let sent = [("type", &self.kind), ("is_archived", &self.is_archived), ("is_unread", &self.is_unread)];
        match sent.into_iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(Refusal::unsuited(format!("{name} is not available on LinkedIn."))),
            None => Ok(()),
        }
    }
}

/// What chooses among the items of a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Filters {
    pub(super) before: Option<UnixMillis>,
    pub(super) after: Option<UnixMillis>,
    pub(super) user_id: Option<String>,
}

impl Filters {
    /// Both ends are left out.
    pub(super) fn takes(&self, at: UnixMillis) -> bool {
        self.before.is_none_or(|before| at < before) && self.after.is_none_or(|after| at > after)
    }
}

/// What a cursor carries: the list it belongs to, its query, and the key of the last item.
#[derive(Serialize, Deserialize)]
struct Cursor<K> {
    list: String,
    limit: usize,
    filters: Filters,
    last: K,
}

/// One page of a list.
pub(super) struct Wanted<K> {
    /// What names the list in cursors.
    list: String,
    by_cursor: bool,
    pub(super) limit: usize,
    pub(super) filters: Filters,
    pub(super) skip: usize,
    /// Only items behind this one.
    pub(super) behind: Option<K>,
    sent_cursor: Option<String>,
}

impl<K: Serialize + DeserializeOwned + Copy> Wanted<K> {
    /// Reads what is asked for of a list of this product; with the products mixed it is paged by offset.
    pub(super) fn read(
        raw: &RawQuery,
        list: &str,
        product: Option<Kind>,
        switches: &UnipileSwitches,
    ) -> Result<Self, Refusal> {
        let by_cursor = product == Some(Kind::Recruiter);
        if raw.cursor.is_some() && !by_cursor {
            return Err(Refusal::unsuited("Cursor pagination is not available here, use an offset."));
        }
        if raw.offset.is_some() && by_cursor && switches.offset_where_cursor_needed_is_400 {
            return Err(Refusal::unsuited("Offset pagination is not available here, use a cursor."));
        }
        let offset = number("offset", raw.offset.as_deref(), 0)?.unwrap_or(0);
        let limit = number("limit", raw.limit.as_deref(), 1)?;
        if limit.is_some_and(|limit| limit > switches.page_cap && switches.limit_over_cap_is_400) {
            return Err(Refusal::malformed("limit", &format!("must be at most {}", switches.page_cap)));
        }
        let wanted = match &raw.cursor {
            Some(text) => {
                let stale = || Refusal::unsuited("The cursor is invalid or expired.");
                let cursor: Cursor<K> = read_cursor(text).ok_or_else(stale)?;
                if cursor.list != list {
                    return Err(stale());
                }
                Self {
                    list: cursor.list,
                    by_cursor,
                    limit: limit.unwrap_or(cursor.limit),
                    filters: cursor.filters,
                    skip: 0,
                    behind: Some(cursor.last),
                    sent_cursor: Some(text.clone()),
                }
            }
            None => Self {
                list: list.to_owned(),
                by_cursor,
                limit: limit.unwrap_or(DEFAULT_LIMIT),
                filters: read_filters(raw, switches)?,
                skip: if by_cursor { 0 } else { offset },
                behind: None,
                sent_cursor: None,
            },
        };
        Ok(Self { limit: wanted.limit.min(switches.page_cap).max(1), ..wanted })
    }

    /// Takes the page out of all items that are behind, newest first. The last one's key makes the next cursor.
    pub(super) fn page<T>(&self, items: impl Iterator<Item = (K, T)>, repeat_cursor: bool) -> (Vec<T>, Option<String>) {
        let mut items = items.skip(self.skip);
        let mut last = None;
        let mut page = Vec::new();
        for (key, item) in items.by_ref().take(self.limit) {
            last = Some(key);
            page.push(item);
        }
        let more = self.by_cursor && items.next().is_some();
        let next = last.filter(|_| more).map(|last| self.cursor(last));
        (page, if repeat_cursor { self.sent_cursor.clone().or(next) } else { next })
    }

    fn cursor(&self, last: K) -> String {
        let cursor = Cursor { list: self.list.clone(), limit: self.limit, filters: self.filters.clone(), last };
        // All of it is numbers and strings.
        BASE64.encode(&serde_json::to_vec(&cursor).expect("a cursor has string keys"))
    }
}

fn read_cursor<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&BASE64.decode(text.as_bytes()).ok()?).ok()
}

fn read_filters(raw: &RawQuery, switches: &UnipileSwitches) -> Result<Filters, Refusal> {
    let moment = |parameter: &str, text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => exact_time(text)
            .map(Some)
            .ok_or_else(|| Refusal::malformed(parameter, "must match YYYY-MM-DDTHH:MM:SS.sssZ")),
    };
    let (before, after) = (moment("before", raw.before.as_deref())?, moment("after", raw.after.as_deref())?);
    let honoured = switches.after_honoured;
    Ok(Filters { before: before.filter(|_| honoured), after: after.filter(|_| honoured), user_id: raw.user_id.clone() })
}

/// Reads a parameter that must be a number of at least `least`.
pub(super) fn number(parameter: &str, text: Option<&str>, least: usize) -> Result<Option<usize>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse().ok().filter(|number| *number >= least);
    number.map(Some).ok_or_else(|| Refusal::malformed(parameter, &format!("must be a number from {least}")))
}

/// The envelope of every list of provider data. What a product does not offer is left out.
pub(super) fn envelope(
    data: impl Serialize,
    total_count: Option<usize>,
    next_cursor: Option<String>,
) -> impl Serialize {
    #[derive(Serialize)]
    struct Envelope<T> {
        data: T,
        #[serde(skip_serializing_if = "Option::is_none")]
        total_count: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        next_cursor: Option<String>,
    }
    Envelope { data, total_count, next_cursor }
}

/// A time at the precision of the answers.
pub(super) fn stamp(at: UnixMillis, switches: &UnipileSwitches) -> UnixMillis {
    if !switches.timestamps_in_seconds {
        return at;
    }
    UnixMillis::from_millis(at.as_millis() - at.as_millis().rem_euclid(1000))
}

/// A time as answers write it.
pub(super) fn written(at: UnixMillis, switches: &UnipileSwitches) -> Value {
    let text = stamp(at, switches).to_string();
    Value::String(if switches.timestamps_in_seconds { text.replace(".000Z", "Z") } else { text })
}
