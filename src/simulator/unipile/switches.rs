//! The points of Unipile's contract that nobody has seen, and the states an account can be in.

use serde::{Deserialize, Serialize};

use crate::simulator::switches::ListTimes;

/// Which generation of the API the customer's key belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOf {
    /// It opens both, so that one world can be tried with either.
    #[default]
    Both,
    /// Version 1 alone.
    V1,
    /// Version 2 alone.
    V2,
}

/// Unverified points of Unipile, and what the account is like. Version 2 unless said otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnipileSwitches {
    /// Whether the first answer of each URL on provider data is served again for an hour, as `Cache-Control` allows.
    pub cache: bool,
    /// Whether the cache answers in spite of `no-cache`, `no-store` and `max-age`.
    pub cache_ignores_no_cache: bool,
    /// Whether `before` and `after` choose among messages and chats; otherwise they are taken and do nothing.
    pub after_honoured: bool,
    /// Most items on a page, whatever `limit` says.
    pub page_cap: usize,
    /// Whether a `limit` above the cap is refused; otherwise the page is shorter than asked for.
    pub limit_over_cap_is_400: bool,
    /// Whether lists carry `total_count`.
    pub total_count: bool,
    /// Whether an `offset` is refused where only cursors are taken; otherwise it is ignored: the first page again.
    pub offset_where_cursor_needed_is_400: bool,
    /// Which generation of the API the key belongs to; the other one answers 401 `missing_credentials`.
    pub key_of: KeyOf,
    /// Ids of the inboxes there are. Each lists the chats that are filed there, which are those of its product in
    /// `PRIMARY`; `UNREAD` chooses among these the ones with an unread message.
    pub inboxes: Vec<String>,
    /// Those of them with `disabled: true`, whose chats are refused.
    pub disabled_inboxes: Vec<String>,
    /// Those of them whose chats the account has no permission for; the list of inboxes does not tell.
    pub forbidden_inboxes: Vec<String>,
    /// Whether chats carry `last_message_timestamp`.
    pub last_message_timestamp: bool,
    /// How exact `last_message_timestamp` of a chat is.
    pub list_times: ListTimes,
    /// Whether messages have `id` and `timestamp` and nothing else.
    pub minimal_messages: bool,
    /// Whether times end at the second. What `before` and `after` are compared with does so too.
    pub timestamps_in_seconds: bool,
    /// `status` of the account. Calls on provider data are refused while it is `disconnected` (401), `paused` (403)
    /// or `errored` (503).
    pub account_status: String,
    /// Whether LinkedIn is really connected; otherwise calls on provider data are refused as if the account were
    /// `disconnected`, whatever its `status` says.
    pub is_connected: bool,
    /// Requests to each provider endpoint within 60 seconds from the first of them; `None` is no limit and no headers.
    pub rate_limit: Option<u32>,
    /// Version 1: `status` of the account's source. While it is not `OK`, the messages and chats that came later stay
    /// out of answers, which are 200 all the same. An edit of an older message shows at once.
    pub v1_source_status: String,
    /// Version 1: how exact `timestamp` of a chat is.
    pub v1_list_times: ListTimes,
}

impl Default for UnipileSwitches {
    fn default() -> Self {
        let inboxes = [
            "CLASSIC_PRIMARY",
            "CLASSIC_ARCHIVED",
            "CLASSIC_SPAM",
            "CLASSIC_JOBS",
            "CLASSIC_INMAIL",
            "CLASSIC_STARRED",
            "SALES_NAVIGATOR_PRIMARY",
            "RECRUITER_PRIMARY",
            "RECRUITER_UNREAD",
            "RECRUITER_ARCHIVED",
            "COMPANY_1001_PRIMARY",
        ];
        Self {
            cache: false,
            cache_ignores_no_cache: false,
            after_honoured: true,
            page_cap: 25,
            limit_over_cap_is_400: false,
            total_count: true,
            offset_where_cursor_needed_is_400: true,
            key_of: KeyOf::Both,
            inboxes: inboxes.map(str::to_owned).into(),
            disabled_inboxes: Vec::new(),
            forbidden_inboxes: Vec::new(),
            last_message_timestamp: true,
            list_times: ListTimes::Exact,
            minimal_messages: false,
            timestamps_in_seconds: false,
            account_status: "running".into(),
            is_connected: true,
            rate_limit: None,
            v1_source_status: "OK".into(),
            v1_list_times: ListTimes::Exact,
        }
    }
}
