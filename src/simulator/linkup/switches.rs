//! A switch for every point that LinkupAPI's contract leaves unverified.

use serde::{Deserialize, Serialize};

use crate::simulator::switches::ListTimes;

/// HTTP status of a v1 refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkupErrorStatus {
    /// 200, and only the body tells.
    Ok,
    /// The status that fits the refusal.
    Real,
}

/// Shape of a v1 error body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkupErrorBody {
    /// `{"status": "error", "message": "text"}`
    Message,
    /// `{"status": "error", "error": "text"}`
    Error,
    /// `{"status": "error", "error": {"message": "text"}}`
    ErrorObject,
    /// `{"detail": "text"}`
    Detail,
}

/// Where the cursor and the flag of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PagingPlace {
    /// Inside `data`.
    Data,
    /// Beside `data`.
    TopLevel,
}

/// What `next_cursor` says on the last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LastCursor {
    /// `null`
    Null,
    /// `""`
    Empty,
    /// The field is left out.
    Absent,
    /// A cursor like any other; the page that it leads to is empty.
    Dangling,
}

/// Unverified points of LinkupAPI, both versions unless it says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkupSwitches {
    /// Credits that the customer had before the first request: what `GET /v2/credits` counts down from.
    pub balance: u64,
    /// Credits of a day, from midnight UTC; a request that would cost more than is left is refused and costs nothing.
    pub daily_credits: Option<u32>,
    /// Whether a page costs what it returns; otherwise what was asked for.
    pub billing_by_returned: bool,
    /// Whether a page without messages costs a credit when pages cost what they return.
    pub minimum_one_credit: bool,
    /// Whether v1 takes the price of the answer for an error too, but for HTTP 500.
    pub charge_v1_errors: bool,
    /// HTTP status of v1 refusals.
    pub error_status: LinkupErrorStatus,
    /// Shape of v1 refusals.
    pub error_body: LinkupErrorBody,
    /// HTTP status with which v1 says that there are no credits, where refusals have a status: 402, or 403 as for a
    /// dead session.
    pub no_credits_status: u16,
    /// Where cursor and flag of a page are.
    pub paging_place: PagingPlace,
    /// Whether v1 sends `has_next_page`.
    pub has_next_page: bool,
    /// What the last page has for a cursor.
    pub last_cursor: LastCursor,
    /// Whether the page at a cursor repeats the message at it.
    pub cursor_inclusive: bool,
    /// Most messages or rows on a page, whatever was asked for.
    pub page_cap: usize,
    /// Whether `messages` stands beside `data` instead of inside.
    pub messages_at_top_level: bool,
    /// Whether `sender` is an object with name and URL instead of the name.
    pub sender_as_object: bool,
    /// Whether messages carry `sender_info`.
    pub sender_info: bool,
    /// Whether times are in seconds; cursors stay in milliseconds.
    pub timestamp_in_seconds: bool,
    /// Whether times are strings of digits.
    pub timestamp_as_string: bool,
    /// How exact the time of an inbox row is.
    pub list_times: ListTimes,
    /// Whether messages carry `entity_urn`.
    pub entity_urn: bool,
    /// Whether messages carry the bare token as `id`.
    pub plain_id: bool,
    /// Whether a `conversation_id` must be the whole URN; otherwise the bare token will do.
    pub whole_urn_required: bool,
    /// Name of the array of inbox rows.
    pub inbox_array: String,
    /// Whether the last message of an inbox row names its sender.
    pub inbox_sender: bool,
    /// Whether messages say by `is_me` which are the owner's.
    pub messages_say_is_me: bool,
    /// Whether inbox rows write profiles as `/in/ada-byron`; otherwise with the opaque id.
    pub vanity_urls: bool,
    /// Whether messages write profiles in the other way than inbox rows do.
    pub mixed_urls: bool,
    /// What is said of a dead LinkedIn session. v1: this text. v2: 403 when it is `ACCOUNT_INACTIVE`, else
    /// `INTERNAL_ERROR` with this text.
    pub dead_session: Option<String>,
    /// Whether request fields that are not in the contract are refused.
    pub refuse_unknown_fields: bool,
    /// v2: whether events come in another order than they happened.
    pub shuffle_events: bool,
    /// v2: whether every event is listed twice.
    pub duplicate_events: bool,
}

impl Default for LinkupSwitches {
    fn default() -> Self {
        Self {
            // Plenty, so that nobody is warned who does not ask for it.
            balance: 1_000_000_000_000,
            daily_credits: None,
            billing_by_returned: false,
            minimum_one_credit: true,
            charge_v1_errors: true,
            error_status: LinkupErrorStatus::Ok,
            error_body: LinkupErrorBody::Message,
            no_credits_status: 402,
            paging_place: PagingPlace::Data,
            has_next_page: true,
            last_cursor: LastCursor::Null,
            cursor_inclusive: false,
            page_cap: 50,
            messages_at_top_level: false,
            sender_as_object: false,
            sender_info: true,
            timestamp_in_seconds: false,
            timestamp_as_string: false,
            list_times: ListTimes::Exact,
            entity_urn: true,
            plain_id: false,
            whole_urn_required: false,
            inbox_array: "conversations".into(),
            inbox_sender: true,
            messages_say_is_me: false,
            vanity_urls: true,
            mixed_urls: false,
            dead_session: None,
            refuse_unknown_fields: false,
            shuffle_events: false,
            duplicate_events: false,
        }
    }
}
