//! One event of each type, so that what people write about events can be tried when the configuration is read.

use serde_json::Value;

use super::notice::ConversationView;
use super::{
    AccountName, BudgetPeriod, BudgetView, Change, Cited, Conversation, ConversationId, ConversationType, Direction,
    Event, EventContext, Flag, Message, MessageId, Notice, Route, Seen, Sender, SinkName, SinkNotice, kind,
};
use crate::time::UnixMillis;

/// Events of these types, as sinks get them. A new message comes twice: with everything that a provider may give, and with
/// as little as one may give.
pub fn sample_events<'k>(kinds: impl IntoIterator<Item = &'k &'k str>) -> Vec<Value> {
    kinds.into_iter().flat_map(|kind| of_kind(kind)).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    match kind {
        kind::MESSAGE_NEW => vec![message_event(kind, &full(), Some("Ada Byron")), message_event(kind, &bare(), None)],
        kind::MESSAGE_CHANGED => vec![message_event(kind, &full(), Some("Ada Byron"))],
        kind::SINK_PARKED | kind::SINK_RECOVERED | kind::DELIVERY_DEAD => vec![sink_event(kind)],
        kind::ACCOUNT_ACTION_REQUIRED | kind::ACCOUNT_RECOVERED => vec![notice(kind, None)],
        kind::BUDGET_WARNING | kind::BUDGET_EXHAUSTED => vec![notice(kind, None)],
        other => vec![notice(other, Some(view()))],
    }
}

const PERSON_URL: &str = "https://www.linkedin.com/in/ada-byron";

fn account() -> AccountName {
    AccountName::new("sales").expect("is a name")
}

fn moment() -> UnixMillis {
    UnixMillis::from_millis(1_795_166_043_512)
}

fn view() -> ConversationView<'static> {
    ConversationView {
        id: "2-QWxwaGE=",
        kind: ConversationType::Standard,
        person_url: Some(PERSON_URL),
        title: Some("Ada Byron"),
    }
}

fn sender() -> Sender {
    Sender { id: Some("ACoAAb1".into()), name: Some("Ada Byron".into()), profile_url: Some(PERSON_URL.into()) }
}

fn full() -> Message {
    Message {
        id: MessageId::new("2-TTE="),
        direction: Direction::Inbound,
        sent_at: Some(moment()),
        sender: sender(),
        // Whoever forgets to escape meets it here, and not in the first message that has a quote in it.
        text: "See you \"then\"\nand there".into(),
        subject: Some("Lunch".into()),
        quoted: Some(Box::new(Cited::new(Some("2-QUE=".into()), sender(), "Where?\nAnd when?", 0))),
        forwarded: Some(Box::new(Cited::new(None, sender(), "The \"old\" place", 1))),
        attachments: vec![
            serde_json::value::to_raw_value(&serde_json::json!({"type": "file", "name": "deck.pdf"}))
                .expect("an object can be written"),
        ],
        flags: vec![Flag::Edited],
        unannounced: false,
        raw: None,
    }
}

fn bare() -> Message {
    Message {
        direction: Direction::Unknown,
        sent_at: None,
        sender: Sender::default(),
        text: String::new(),
        subject: None,
        quoted: None,
        forwarded: None,
        attachments: vec![],
        flags: vec![],
        ..full()
    }
}

fn message_event(kind: &str, message: &Message, title: Option<&str>) -> Value {
    let conversation = Conversation {
        id: ConversationId::new("2-QWxwaGE="),
        address: String::new(),
        kind: ConversationType::Standard,
        person_url: title.map(|_| PERSON_URL.into()),
    };
    let account = account();
    let context = EventContext { provider: "unipile", account: &account, conversation: &conversation, title };
    let seen = Seen { at: moment(), route: Route::Poll, late: false, backfill: false };
    let event = match kind {
        kind::MESSAGE_CHANGED => Event::message_changed(&context, message, seen),
        _ => Event::message_new(&context, message, seen),
    };
    // What is in it only the provider knows: here, as so often, nothing.
    let event = event.with_raw(&context, message, seen);
    parsed(event.body_with_raw.as_deref().unwrap_or(&event.body))
}

fn notice(kind: &str, conversation: Option<ConversationView<'_>>) -> Value {
    let event = Event::notice(&Notice {
        kind: known(kind),
        provider: "unipile",
        account: &account(),
        conversation,
        budget: kind.starts_with("budget.").then_some(BudgetView {
            period: BudgetPeriod::Day,
            percent: 100,
            spent: 300,
            limit: 300,
            resets_at: moment(),
        }),
        state: Change::Entered,
        reason: Some("auth"),
        since: moment(),
        detail: "the provider refuses the credentials",
    });
    parsed(&event.body)
}

fn sink_event(kind: &str) -> Value {
    let event = Event::sink_notice(&SinkNotice {
        kind: known(kind),
        sink: &SinkName::new("crm").expect("is a name"),
        state: Change::Entered,
        reason: Some("transient"),
        since: moment(),
        detail: "status 503",
    });
    parsed(&event.body)
}

/// The name of a type, as the list of all has it.
fn known(kind: &str) -> &'static str {
    kind::ALL.iter().find(|known| **known == kind).copied().unwrap_or_default()
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).expect("an event is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{event_schema, strict};

    #[test]
    fn there_is_a_sample_of_every_type_and_it_is_as_its_schema_says() {
        let schema = strict::Strict::new(event_schema());
        for kind in kind::ALL {
            let samples = sample_events([kind]);
            assert!(!samples.is_empty(), "{kind}");
            for sample in samples {
                assert_eq!(sample["type"], *kind);
                schema.check(&sample).unwrap();
            }
        }
    }
}
