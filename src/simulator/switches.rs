//! A switch for every point that the contracts leave unverified, so that a client can be tried under each reading.

use serde::{Deserialize, Serialize};

use super::linkup::LinkupSwitches;
use super::unipile::UnipileSwitches;
use crate::time::UnixMillis;

/// How the simulator behaves where nobody has seen the real service. Every field has the likeliest reading as default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Milliseconds that every provider answer waits.
    pub latency_ms: u64,
    /// Whether requests are kept for `requests()`; counts are kept either way.
    pub log_requests: bool,
    /// Linked API.
    pub linked_api: LinkedApiSwitches,
    /// ConnectSafely.
    pub connect_safely: ConnectSafelySwitches,
    /// Unipile.
    pub unipile: UnipileSwitches,
    /// LinkupAPI, both versions.
    pub linkup: LinkupSwitches,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            log_requests: true,
            linked_api: Default::default(),
            connect_safely: Default::default(),
            unipile: Default::default(),
            linkup: Default::default(),
        }
    }
}

/// Order of the messages in one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
    /// Another order each time, from the seed.
    Shuffled,
}

/// How Linked API writes the time of a message. Coarse times are also what `since` is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeFormat {
    /// `2026-03-01T09:06:10.123Z`
    Millis,
    /// `2026-03-01T09:06:10Z`
    Seconds,
    /// `2026-03-01T09:06:00Z`: what LinkedIn's pages show; several messages share one time.
    Minutes,
    /// `2026-03-01T11:06:10.123+02:00`
    Offset,
}

/// How exact the times of a list are: those of last activity, beside the exact times of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListTimes {
    /// As the message has it.
    #[default]
    Exact,
    /// Cut to the second.
    Cut,
    /// To the nearest second.
    Nearest,
    /// Up to the second.
    Up,
}

impl ListTimes {
    /// The time of a message as a list has it.
    pub(super) fn of(self, at: UnixMillis) -> UnixMillis {
        let shift = match self {
            Self::Exact => return at,
            Self::Cut => 0,
            Self::Nearest => 500,
            Self::Up => 999,
        };
        UnixMillis::from_millis((at.as_millis() + shift).div_euclid(1000) * 1000)
    }
}

/// HTTP status of a Linked API refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalStatus {
    /// 200 with `success: false`.
    Ok,
    /// A 4xx that fits the error type.
    ClientError,
}

/// How Linked API writes a text that is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyText {
    /// `""`
    Empty,
    /// `null`
    Null,
    /// The field is left out.
    Absent,
}

/// How a workflow, or one action of it, ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It does its work; a wrong target still ends in the error that fits.
    Completed,
    /// The workflow completes and the action reports this error type.
    CompletedWithError(String),
    /// The workflow completes and the action has `success: false` and no error.
    CompletedWithoutSuccess,
    /// The workflow fails for this reason.
    Failed(String),
    /// The workflow is parked outside working hours for so many milliseconds (`None`: for ever), then does its work.
    Parked(Option<u64>),
    /// The workflow stays queued.
    Pending,
    /// The status answers show this unknown `workflowStatus`.
    UnknownStatus(String),
}

/// Unverified points of Linked API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkedApiSwitches {
    /// Whether a message sent exactly at `since` is in the answer.
    pub since_inclusive: bool,
    /// Order of messages.
    pub order: Order,
    /// How times are written, and their precision.
    pub times: TimeFormat,
    /// How empty texts are written.
    pub empty_text: EmptyText,
    /// HTTP status of refusals.
    pub refusal_status: RefusalStatus,
    /// Whether poll answers carry `syncUntil`.
    pub sync_until: bool,
    /// Whether poll answers carry `personUrn`.
    pub person_urn: bool,
    /// Whether messages carry `threadId`.
    pub thread_id: bool,
    /// Whether the results of a batch come in another order than asked.
    pub reorder_batch: bool,
    /// Whether `personUrl` is repeated as asked; otherwise the answer has another address of the same person: for
    /// Sales Navigator one that ends in a slash, else the hashed one.
    pub echo_person_url: bool,
    /// Whether one unsynced conversation fails the whole batch; otherwise it is left out of the result.
    pub whole_batch_failure: bool,
    /// Whether a lapsed conversation is refused as unsynced instead of going silent.
    pub lapsed_refused: bool,
    /// Whether request fields that are not in the contract are refused.
    pub refuse_unknown_fields: bool,
    /// Whether the `client` header must be sent.
    pub require_client_header: bool,
    /// Whether the account has Sales Navigator.
    pub has_sales_navigator: bool,
    /// Milliseconds that a workflow is pending.
    pub pending_ms: u64,
    /// Milliseconds that a workflow runs.
    pub running_ms: u64,
    /// How actions end that `script` does not cover.
    pub outcome: Outcome,
    /// How the next actions end, first to last; used up as they start.
    pub script: Vec<Outcome>,
    /// Error type with which the start of any workflow is refused.
    pub refuse_start: Option<String>,
    /// Whether an account runs one workflow at a time; otherwise all run side by side.
    pub one_at_a_time: bool,
    /// Whether a start is answered with status, reason and message besides the id.
    pub start_has_status: bool,
    /// Whether status answers repeat `workflowId`.
    pub status_has_workflow_id: bool,
    /// Whether a finished sync carries `data.syncUntil`; otherwise it has no `data`, as in the older contract.
    pub completion_sync_until: bool,
    /// Whether a repeat within 24 h of the last sync starts a new period.
    pub quick_repeat_extends: bool,
    /// Whether a cancelled workflow answers with the status `cancelled`; otherwise it is unknown.
    pub cancelled_is_known: bool,
    /// Whether the inboxes have been monitored since ever; otherwise each is from the end of its `syncInbox` on, and
    /// what came before is not captured.
    pub inbox_monitoring: bool,
    /// Error type with which the poll of an inbox that is not monitored is refused; `null` answers an empty list.
    pub inbox_unsynced: Option<String>,
    /// Whether the inbox can be polled for one person; otherwise `personUrl` is refused.
    pub inbox_by_person: bool,
    /// Whether messages have the same ids there as in `/conversations/poll`; otherwise those of the whole inbox.
    pub inbox_shares_ids: bool,
    /// Whether inbox messages of standard conversations carry `personPublicUrl`; otherwise it is null.
    pub inbox_public_url: bool,
}

impl Default for LinkedApiSwitches {
    fn default() -> Self {
        Self {
            since_inclusive: true,
            order: Order::Ascending,
            times: TimeFormat::Millis,
            empty_text: EmptyText::Empty,
            refusal_status: RefusalStatus::ClientError,
            sync_until: true,
            person_urn: true,
            thread_id: true,
            reorder_batch: false,
            echo_person_url: true,
            whole_batch_failure: true,
            lapsed_refused: false,
            refuse_unknown_fields: false,
            require_client_header: false,
            has_sales_navigator: true,
            pending_ms: 50,
            running_ms: 150,
            outcome: Outcome::Completed,
            script: Vec::new(),
            refuse_start: None,
            one_at_a_time: true,
            start_has_status: true,
            status_has_workflow_id: false,
            completion_sync_until: true,
            quick_repeat_extends: true,
            cancelled_is_known: false,
            inbox_monitoring: true,
            inbox_unsynced: Some("inboxNotSynced".into()),
            inbox_by_person: true,
            inbox_shares_ids: true,
            inbox_public_url: true,
        }
    }
}

/// Which part of a `since` answer remains when it does not fit on one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// The newest messages.
    Newest,
    /// The messages next to `since`.
    Oldest,
}

/// How `senderProfileId` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderForm {
    /// The opaque profile id.
    ProfileId,
    /// The opaque profile id, in a field called `senderId`.
    SenderId,
    /// The slug of the public profile.
    Slug,
    /// The field is left out.
    Absent,
}

/// What `isSentByOwner` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnerFlag {
    /// The truth.
    True,
    /// The opposite.
    Inverted,
    /// Always `false`.
    AlwaysFalse,
    /// The field is left out.
    Absent,
}

/// Spelling of `messageUrn`; all three name the same message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UrnForm {
    /// `urn:li:msg_message:(urn:li:fsd_profile:<owner>,2-…)`
    Mailbox,
    /// The same under the mailbox of the counterpart.
    OtherMailbox,
    /// `urn:li:messagingMessage:2-…`
    Messaging,
}

/// How `lastActivityAt` is written in the conversation list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityForm {
    /// ISO 8601.
    Iso,
    /// Milliseconds since 1970, a number.
    Millis,
    /// Milliseconds since 1970, a string.
    NumericString,
    /// `null`
    Null,
}

/// Shape of ConnectSafely's error bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// `{"error": "text"}`
    Error,
    /// `{"success": false, "error": "text"}`
    SuccessError,
    /// `{"success": false, "error": {"name": "ZodError", "issues": […]}}`
    Issues,
    /// `{"success": false, "code": "…", "message": "text"}`
    CodeMessage,
    /// `{"errorDetails": {"message": "text"}}`
    ErrorDetails,
}

/// Unverified points of ConnectSafely.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectSafelySwitches {
    /// Whether a message sent exactly at `since` is in the answer.
    pub since_inclusive: bool,
    /// Which part of an overfull `since` answer is kept.
    pub since_keeps: Truncation,
    /// Order of messages.
    pub order: Order,
    /// Whether a cursor page repeats the message at the cursor.
    pub cursor_inclusive: bool,
    /// Most messages on a page, whatever `count` says.
    pub page_cap: usize,
    /// Whether the last page carries a cursor too.
    pub cursor_on_last_page: bool,
    /// Whether `hasMore` of a `since` answer counts history before `since`.
    pub has_more_counts_history: bool,
    /// Text of `note`.
    pub note: Option<String>,
    /// Whether answers are nested under `data`.
    pub wrap_in_data: bool,
    /// Whether `sentAt` is a numeric string.
    pub sent_at_string: bool,
    /// How the sender is written.
    pub sender: SenderForm,
    /// What `isSentByOwner` says.
    pub owner_flag: OwnerFlag,
    /// The owner's name as messages show it: with a title or an emoji that the account's own record lacks.
    pub owner_name: Option<String>,
    /// Spelling of `messageUrn`.
    pub message_urn: UrnForm,
    /// Whether messages without attachments have `attachments: null`.
    pub null_attachments: bool,
    /// Whether Sales Navigator threads ignore `since`.
    pub sales_navigator_ignores_since: bool,
    /// With `sync=false`, milliseconds by which the vendor's database is behind.
    pub database_lag_ms: u64,
    /// Shape of error bodies.
    pub error_body: ErrorBody,
    /// How the conversation list writes `lastActivityAt`.
    pub last_activity: ActivityForm,
    /// `fromCache` of the conversation list.
    pub from_cache: bool,
    /// How exact `lastActivityAt` is.
    pub list_times: ListTimes,
    /// Milliseconds by which the conversation list is behind.
    pub list_lag_ms: u64,
    /// Whether the conversation list starts with an empty page and a `linkedin:` cursor.
    pub list_starts_empty: bool,
    /// `status` of the account.
    pub account_status: String,
    /// Whether the account is enabled.
    pub account_enabled: bool,
    /// Whether the vendor holds a LinkedIn session.
    pub account_has_tokens: bool,
    /// Whether the account has Sales Navigator.
    pub has_sales_navigator: bool,
}

impl Default for ConnectSafelySwitches {
    fn default() -> Self {
        Self {
            since_inclusive: false,
            since_keeps: Truncation::Newest,
            order: Order::Descending,
            cursor_inclusive: false,
            page_cap: 100,
            cursor_on_last_page: true,
            has_more_counts_history: true,
            note: None,
            wrap_in_data: false,
            sent_at_string: false,
            sender: SenderForm::ProfileId,
            owner_flag: OwnerFlag::True,
            owner_name: None,
            message_urn: UrnForm::Mailbox,
            null_attachments: false,
            sales_navigator_ignores_since: true,
            database_lag_ms: 0,
            error_body: ErrorBody::SuccessError,
            last_activity: ActivityForm::Iso,
            from_cache: true,
            list_times: ListTimes::Exact,
            list_lag_ms: 0,
            list_starts_empty: false,
            account_status: "AVAILABLE".into(),
            account_enabled: true,
            account_has_tokens: true,
            has_sales_navigator: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_list_are_exact_cut_or_rounded_to_the_second() {
        let of = |times: ListTimes, millis: i64| times.of(UnixMillis::from_millis(millis)).as_millis();
        for (millis, cut, nearest, up) in [
            (45_000, 45_000, 45_000, 45_000),
            (45_001, 45_000, 45_000, 46_000),
            (45_499, 45_000, 45_000, 46_000),
            (45_500, 45_000, 46_000, 46_000),
            (45_999, 45_000, 46_000, 46_000),
        ] {
            assert_eq!(of(ListTimes::Exact, millis), millis);
            let seen = [ListTimes::Cut, ListTimes::Nearest, ListTimes::Up].map(|times| of(times, millis));
            assert_eq!(seen, [cut, nearest, up], "{millis}");
        }
    }
}
