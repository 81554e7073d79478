//! Events that are not about one message: a state of an account, a conversation or a sink, announced when it is entered
//! and when it is left.

use schemars::JsonSchema;
use serde::Serialize;

use super::envelope::{Envelope, stable_id};
use super::event::{Event, kind};
use super::{AccountName, ConversationType, SinkName};
use crate::time::UnixMillis;

/// Whether a state begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "State")]
pub enum Change {
    /// From now on it is so.
    Entered,
    /// It is over.
    Left,
}

/// A conversation as an event names it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
pub struct ConversationView<'a> {
    /// The id, normalised; unique within the account.
    pub id: &'a str,
    /// The LinkedIn product it belongs to.
    #[serde(rename = "type")]
    pub kind: ConversationType,
    /// LinkedIn profile of the counterpart; null where the conversation is not named by it.
    pub person_url: Option<&'a str>,
    /// What people call it; null where the provider does not say.
    pub title: Option<&'a str>,
}

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BudgetPeriod {
    /// A day of the account's time zone.
    Day,
    /// A month of it.
    Month,
}

impl BudgetPeriod {
    /// The word in events and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// How far a budget is spent, as an event shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Budget")]
pub struct BudgetView {
    /// What it is for.
    pub period: BudgetPeriod,
    /// The mark that was passed, in percent: 50, 80 or 100.
    pub percent: u32,
    /// Credits spent in the period, with those reserved for requests under way.
    pub spent: u64,
    /// Credits that may be spent in it.
    pub limit: u32,
    /// When the next period begins.
    pub resets_at: UnixMillis,
}

/// A change of state of an account, or of one of its conversations.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// Type of the event, one of [`kind`].
    pub kind: &'static str,
    /// Name of the provider.
    pub provider: &'a str,
    /// The account.
    pub account: &'a AccountName,
    /// The conversation, unless the account as a whole is meant.
    pub conversation: Option<ConversationView<'a>>,
    /// The budget, where it is about one.
    pub budget: Option<BudgetView>,
    /// Whether the state begins or ends.
    pub state: Change,
    /// The error class behind it.
    pub reason: Option<&'a str>,
    /// When it began, or for an end when that was.
    pub since: UnixMillis,
    /// What there is to say, for people.
    pub detail: &'a str,
}

/// A change of state of a sink.
#[derive(Clone, Debug)]
pub struct SinkNotice<'a> {
    /// Type of the event, one of [`kind`].
    pub kind: &'static str,
    /// The sink.
    pub sink: &'a SinkName,
    /// Whether the state begins or ends.
    pub state: Change,
    /// The error class behind it.
    pub reason: Option<&'a str>,
    /// When it began, or for an end when that was.
    pub since: UnixMillis,
    /// What there is to say, for people.
    pub detail: &'a str,
}

/// A state of an account or of one of its conversations that begins or ends.
#[derive(Serialize, JsonSchema)]
pub(super) struct NoticeData<'a> {
    /// The provider of the account.
    #[schemars(schema_with = "super::schema::provider")]
    provider: &'a str,
    /// The account, by its name in the configuration.
    account: &'a AccountName,
    /// The conversation; null where the account as a whole is meant.
    conversation: Option<&'a ConversationView<'a>>,
    /// How far a budget is spent; only in `budget.warning` and `budget.exhausted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetView>,
    /// Whether the state begins or ends.
    state: Change,
    /// The error class behind it, such as `auth`, `gone` or `not_ready`; null where no error is.
    reason: Option<&'a str>,
    /// When the state was entered, or left.
    since: UnixMillis,
    /// What there is to say, for people; programs should not depend on the words.
    detail: &'a str,
}

/// A state of a sink that begins or ends.
#[derive(Serialize, JsonSchema)]
pub(super) struct SinkNoticeData<'a> {
    /// The sink, by its name in the configuration.
    sink: &'a SinkName,
    /// Whether the state begins or ends.
    state: Change,
    /// The error class behind it; null where no error is.
    reason: Option<&'a str>,
    /// When the state was entered, or left.
    since: UnixMillis,
    /// What there is to say, for people; programs should not depend on the words.
    detail: &'a str,
}

impl Event {
    /// Renders a change of state. Its id is a pure function of type, subject and the moment of the change.
    pub fn notice(notice: &Notice<'_>) -> Self {
        let subject = notice.conversation.as_ref().map_or(notice.account.as_str(), |conversation| conversation.id);
        let moment = notice.since.as_millis().to_string();
        let mut parts = vec![notice.kind, notice.provider, notice.account.as_str(), subject, &moment];
        // A day and a month may pass a mark at one moment.
        let percent = notice.budget.map(|budget| budget.percent.to_string());
        let left = notice.budget.filter(|_| notice.state == Change::Left).map(|_| "left");
        parts.extend(notice.budget.map(|budget| budget.period.as_str()));
        parts.extend(percent.as_deref().into_iter().chain(left));
        let id = stable_id(&parts);
        let data = NoticeData {
            provider: notice.provider,
            account: notice.account,
            conversation: notice.conversation.as_ref(),
            budget: notice.budget,
            state: notice.state,
            reason: notice.reason,
            since: notice.since,
            detail: notice.detail,
        };
        let body = Envelope::render(notice.kind, &id, notice.account.source(), subject, notice.since, data);
        Self { id, kind: notice.kind, body, body_with_raw: None }
    }

    /// Renders a change of state of a sink. Its id is a pure function of type, sink and the moment of the change.
    pub fn sink_notice(notice: &SinkNotice<'_>) -> Self {
        let SinkNotice { kind, sink, state, reason, since, detail } = *notice;
        let id = stable_id(&[kind, sink.as_str(), &since.as_millis().to_string()]);
        let data = SinkNoticeData { sink, state, reason, since, detail };
        let body = Envelope::render(kind, &id, sink.source(), sink.as_str(), since, data);
        Self { id, kind, body, body_with_raw: None }
    }
}

/// Which types of events somebody wants: names, or patterns such as `message.*` and `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patterns(Vec<String>);

impl Default for Patterns {
    fn default() -> Self {
        Self(vec![kind::MESSAGE_NEW.into()])
    }
}

impl Patterns {
    /// Takes patterns; the error is the first one that no event matches.
    pub fn new(patterns: Vec<String>) -> Result<Self, String> {
        match patterns.iter().find(|pattern| !kind::ALL.iter().any(|kind| matches(pattern, kind))) {
            Some(unknown) => Err(unknown.clone()),
            None => Ok(Self(patterns)),
        }
    }

    /// Whether events about single messages are wanted.
    pub fn want_messages(&self) -> bool {
        self.want(kind::MESSAGE_NEW) || self.want(kind::MESSAGE_CHANGED)
    }

    /// Whether an event of this type is wanted.
    pub fn want(&self, kind: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, kind))
    }
}

impl std::fmt::Display for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(family) => (family.is_empty() || family.ends_with('.')) && kind.starts_with(family),
        None => pattern == kind,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::{event_schema, strict};

    fn valid(event: &Event) -> Value {
        strict::Strict::new(event_schema()).valid(&event.body)
    }

    #[test]
    fn a_pattern_names_a_type_a_family_or_everything() {
        let want = |patterns: &[&str], kind: &str| {
            Patterns::new(patterns.iter().map(|p| (*p).to_owned()).collect()).unwrap().want(kind)
        };
        assert!(want(&["message.*"], kind::MESSAGE_NEW) && want(&["*"], kind::CONVERSATION_GAP));
        assert!(!want(&["message.new"], kind::MESSAGE_CHANGED) && !want(&["account.*"], kind::MESSAGE_NEW));
        for unknown in ["message.old", "mess*", "", "message"] {
            assert_eq!(Patterns::new(vec![unknown.into()]), Err(unknown.into()));
        }
        assert!(Patterns::default().want(kind::MESSAGE_NEW) && !Patterns::default().want(kind::MESSAGE_CHANGED));
    }

    #[test]
    fn entering_and_leaving_a_state_are_two_events_and_telling_one_twice_is_one() {
        let account = AccountName::new("main").unwrap();
        let notice = |state, since| {
            Event::notice(&Notice {
                kind: kind::CONVERSATION_COVERAGE_LAPSED,
                provider: "linkedapi",
                account: &account,
                conversation: Some(ConversationView {
                    id: "st:x",
                    kind: ConversationType::Standard,
                    person_url: None,
                    title: None,
                }),
                budget: None,
                state,
                reason: Some("not_ready"),
                since: UnixMillis::from_millis(since),
                detail: "d",
            })
        };
        assert_eq!(notice(Change::Entered, 1), notice(Change::Entered, 1));
        assert_ne!(notice(Change::Entered, 1).id, notice(Change::Left, 2).id);
        let value = valid(&notice(Change::Left, 2_000));
        assert_eq!(value["subject"], "st:x");
        assert_eq!(value["data"]["state"], "left");
        assert_eq!(value["data"]["since"], "1970-01-01T00:00:02.000Z");
    }

    #[test]
    fn an_account_as_a_whole_has_no_conversation_and_is_the_subject_itself() {
        let account = AccountName::new("main").unwrap();
        for kind in [kind::ACCOUNT_ACTION_REQUIRED, kind::ACCOUNT_RECOVERED, kind::BUDGET_EXHAUSTED] {
            let value = valid(&Event::notice(&Notice {
                kind,
                provider: "unipile",
                account: &account,
                conversation: None,
                budget: None,
                state: Change::Entered,
                reason: None,
                since: UnixMillis::from_millis(0),
                detail: "d",
            }));
            assert_eq!((&value["subject"], &value["data"]["conversation"]), (&"main".into(), &Value::Null));
        }
    }

    #[test]
    fn a_day_and_a_month_that_pass_a_mark_at_one_moment_are_two_events() {
        let account = AccountName::new("main").unwrap();
        let notice = |period, percent| {
            let resets_at = UnixMillis::from_millis(86_400_000);
            Event::notice(&Notice {
                kind: kind::BUDGET_WARNING,
                provider: "linkup",
                account: &account,
                conversation: None,
                budget: Some(BudgetView { period, percent, spent: 150, limit: 300, resets_at }),
                state: Change::Entered,
                reason: None,
                since: UnixMillis::from_millis(0),
                detail: "150 of 300 credits are spent",
            })
        };
        let (day, month) = (notice(BudgetPeriod::Day, 50), notice(BudgetPeriod::Month, 50));
        assert!(day.id != month.id && day.id != notice(BudgetPeriod::Day, 80).id);
        let budget = serde_json::json!({"period": "day", "percent": 50, "spent": 150, "limit": 300,
            "resets_at": "1970-01-02T00:00:00.000Z"});
        assert_eq!(valid(&day)["data"]["budget"], budget);
    }

    #[test]
    fn a_sink_is_source_and_subject_of_its_own_events() {
        let notice = |sink: &str, kind, since| {
            Event::sink_notice(&SinkNotice {
                kind,
                sink: &SinkName::new(sink).unwrap(),
                state: Change::Entered,
                reason: Some("transient"),
                since: UnixMillis::from_millis(since),
                detail: "nothing but failure for 1h",
            })
        };
        let value = valid(&notice("crm", kind::SINK_PARKED, 2_000));
        assert_eq!((&value["source"], &value["subject"]), (&"/inboxd/sinks/crm".into(), &"crm".into()));
        let data = serde_json::json!({"sink": "crm", "state": "entered", "reason": "transient",
            "since": "1970-01-01T00:00:02.000Z", "detail": "nothing but failure for 1h"});
        assert_eq!(value["data"], data);
        let parked = notice("crm", kind::SINK_PARKED, 2_000);
        assert_eq!(parked, notice("crm", kind::SINK_PARKED, 2_000));
        for other in [
            notice("log", kind::SINK_PARKED, 2_000),
            notice("crm", kind::SINK_RECOVERED, 2_000),
            notice("crm", kind::SINK_PARKED, 2_001),
        ] {
            assert_ne!(parked.id, other.id);
        }
    }
}
