//! Queries and cursors: a cursor holds the query of its list and the place of the last item, by time and id.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::simulator::exchange::Incoming;
use crate::simulator::unipile::{exact_time, query};
use crate::time::UnixMillis;

const DEFAULT_LIMIT: usize = 100;
const MOST: usize = 250;

/// The query of a list as sent.
#[derive(Deserialize)]
struct RawQuery {
    account_id: Option<String>,
    account_type: Option<String>,
    sender_id: Option<String>,
    unread: Option<String>,
    before: Option<String>,
    after: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// The envelope of every list; no cursor is the end of it.
#[derive(Serialize)]
pub(super) struct List<T> {
    pub(super) object: &'static str,
    pub(super) items: Vec<T>,
    pub(super) cursor: Option<String>,
}

/// What chooses among the items of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Filters {
    /// The chat whose messages they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chat_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) account_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unread: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<UnixMillis>,
}

/// The last item of the page before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Last {
    #[serde(rename = "last_id")]
    pub(super) id: String,
    #[serde(rename = "last_date")]
    pub(super) date: UnixMillis,
}

/// What a cursor holds, and what a first page's query amounts to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Page {
    #[serde(flatten)]
    pub(super) filters: Filters,
    pub(super) limit: usize,
    #[serde(rename = "cursor")]
    pub(super) last: Option<Last>,
    #[serde(skip)]
    sent_cursor: Option<String>,
}

impl Page {
    /// Reads the query; beside a cursor only `limit` counts. `chat_id` is that of the path.
    pub(super) fn read(incoming: &Incoming, chat_id: Option<&str>) -> Result<Self, Refusal> {
        let raw: RawQuery = query(incoming).ok_or_else(|| Refusal::invalid("query", "is malformed"))?;
        let limit = limit(raw.limit.as_deref())?;
        let Some(cursor) = raw.cursor else {
            let filters = Filters {
                chat_id: chat_id.map(str::to_owned),
                account_id: raw.account_id,
                account_type: raw.account_type,
                sender_id: raw.sender_id,
                unread: truth("unread", raw.unread.as_deref())?,
                before: moment("before", raw.before.as_deref())?,
                after: moment("after", raw.after.as_deref())?,
            };
            return Ok(Self { filters, limit: limit.unwrap_or(DEFAULT_LIMIT), last: None, sent_cursor: None });
        };
        let decoded = BASE64.decode(cursor.as_bytes()).ok();
        let page = decoded.and_then(|json| serde_json::from_slice::<Self>(&json).ok());
        let page = page.filter(|page| page.last.is_some() && page.filters.chat_id.as_deref() == chat_id);
        let page = page.ok_or_else(Self::bad_cursor)?;
        Ok(Self { limit: limit.unwrap_or(page.limit), sent_cursor: Some(cursor), ..page })
    }

    /// The refusal of a cursor that belongs elsewhere.
    pub(super) fn bad_cursor() -> Refusal {
        Refusal::invalid("cursor", "is not one of this list")
    }

    /// Whether the query has a cursor.
    pub(super) fn goes_on(&self) -> bool {
        self.sent_cursor.is_some()
    }

    /// The cursor for what comes after this item; `None` at the end of the list.
    pub(super) fn cursor(&self, last: Option<Last>, repeat: bool) -> Option<String> {
        if repeat && self.sent_cursor.is_some() {
            return self.sent_cursor.clone();
        }
        let next = Self { last: Some(last?), ..self.clone() };
        // All of it is numbers and strings.
        Some(BASE64.encode(&serde_json::to_vec(&next).expect("a cursor has string keys")))
    }
}

fn limit(text: Option<&str>) -> Result<Option<usize>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
    limit.map(Some).ok_or_else(|| Refusal::invalid("limit", "must be an integer from 1 to 250"))
}

fn moment(parameter: &str, text: Option<&str>) -> Result<Option<UnixMillis>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let rule = "must match YYYY-MM-DDTHH:MM:SS.sssZ";
    exact_time(text).map(Some).ok_or_else(|| Refusal::invalid(parameter, rule))
}

fn truth(parameter: &str, text: Option<&str>) -> Result<Option<bool>, Refusal> {
    match text {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Refusal::invalid(parameter, "must be true or false")),
    }
}
