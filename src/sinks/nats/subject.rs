//! The subject that an event is published to: a template over the event, whose values cannot leave their token.

use crate::model::{Patterns, Untrusted, cut_at, kind, sample_events};
use crate::sinks::Error;
use crate::sinks::template::{Escape, Template};

/// The account, or the sink where the event is about one.
const DEFAULT: &str = "inboxd.{{ data.account or data.sink }}.{{ type }}";

/// Longest subject in bytes. A server reads lines of 4 KiB, which hold the subject of the reply and sizes too.
const LIMIT: usize = 1024;

/// Longest piece of a subject that is shown.
const SHOWN: usize = 200;

/// Makes the subject of an event.
pub(super) struct Subject(Template);

impl Subject {
    /// Compiles a template, or the default.
    pub(super) fn compile(source: Option<&str>) -> Result<Self, String> {
        Template::compile(source.unwrap_or(DEFAULT).to_owned(), Escape::Token, &[]).map(Self)
    }

    /// Whether every type of event that the sink is sent gets a subject.
    pub(super) fn check(&self, events: &Patterns) -> Result<(), String> {
        // `data.account or data.sink` serves every type, also where a sink asks for those alone that have one of the two.
        self.0.check_names(&sample_events(kind::ALL))?;
        for kind in kind::ALL.iter().filter(|kind| events.want(kind)) {
            for event in sample_events([kind]) {
                self.of(&event.to_string()).map_err(|error| {
                    let hint =
                        "where an event may lack a value, give another: {{ data.message.sender.name or \"nobody\" }}";
                    format!("does not serve every event of type {kind}: {}; {hint}", error.recorded())
                })?;
            }
        }
        Ok(())
    }

    /// The subject of an event, or why it has none.
    pub(super) fn of(&self, event: &str) -> Result<String, Error> {
        let subject = self
            .0
            .render(event)
            .map_err(|error| rejected(format!("the template of the subject fails: {}", error.summary), error.detail))?;
        match flaw(&subject) {
            None => Ok(subject),
            Some(flaw) => Err(rejected(format!("the subject that its template makes {flaw}"), shown(&subject))),
        }
    }
}

/// A subject as a person may see it. It may have words of the message in it, so it is not for the log.
pub(super) fn shown(subject: &str) -> String {
    Untrusted(cut_at(subject, SHOWN)).to_string()
}

fn rejected(detail: String, reply: String) -> Error {
    Error::rejected(detail).with_reply(reply)
}

fn flaw(subject: &str) -> Option<&'static str> {
    if subject.len() > LIMIT {
        return Some("is longer than 1024 bytes");
    }
    if subject.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("has a blank or a control character in it");
    }
    if subject.split('.').any(str::is_empty) {
        return Some("has an empty token");
    }
    subject.split('.').any(|token| matches!(token, "*" | ">")).then_some("has a wildcard in it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::Blame;

    fn checked(source: &str, events: &[&str]) -> Result<(), String> {
        let events = Patterns::new(events.iter().map(|&pattern| pattern.to_owned()).collect()).unwrap();
        Subject::compile(Some(source))?.check(&events)
    }

    #[test]
    fn the_default_names_account_or_sink_and_type_of_every_event() {
        let subject = Subject::compile(None).unwrap();
        let subjects: Vec<_> =
            sample_events(kind::ALL).iter().map(|event| subject.of(&event.to_string()).unwrap()).collect();
        assert!(subjects.contains(&"inboxd.sales.message.new".to_owned()), "{subjects:?}");
        assert!(subjects.contains(&"inboxd.crm.sink.parked".to_owned()), "{subjects:?}");
        for kind in kind::ALL {
            assert!(subjects.iter().any(|subject| subject.ends_with(&format!(".{kind}"))), "{kind}");
            assert_eq!(checked(DEFAULT, &[kind]), Ok(()));
        }
    }

    #[test]
    fn a_template_that_leaves_an_event_without_a_subject_is_told_when_it_is_read() {
        let told = |source: &str, events: &[&str]| checked(source, events).unwrap_err();
        assert!(told("a.{{ data.message.sender.name }}", &["message.new"]).contains("has an empty token: a."));
        assert!(told("a.{{ data.conversation.id }}", &["*"]).contains("of type account."));
        assert!(told("", &["message.new"]).contains("has an empty token"));
        assert!(told("a b", &["message.new"]).contains("has a blank"));
        assert!(told("a.>", &["message.new"]).contains("has a wildcard"));
        assert!(told("a.{{ data.messag.id }}", &["message.new"]).contains("uses data.messag"));
        assert!(told("a.{{ id", &["message.new"]).contains("line 1"));
        assert_eq!(checked("a.{{ data.message.sender.name or 'nobody' }}", &["message.new"]), Ok(()));
    }

    #[test]
    fn an_event_without_a_valid_subject_is_rejected_with_a_reason_that_repeats_no_word_of_it() {
        let subject = Subject::compile(Some("a.{{ data.message.text }}")).unwrap();
        let of = |text: &str| subject.of(&serde_json::json!({"data": {"message": {"text": text}}}).to_string());
        assert_eq!(of("see you").unwrap(), "a.see_you");
        assert_eq!(of(&"x".repeat(LIMIT - 2)).unwrap().len(), LIMIT);
        for (text, reason) in [("", "has an empty token"), (&*"word".repeat(300), "is longer than 1024 bytes")] {
            let error = of(text).unwrap_err();
            assert!(
                error.blame == Blame::Body && error.detail.ends_with(reason) && !error.detail.contains("word"),
                "{error:?}"
            );
            assert!(error.recorded().len() < 300, "{error:?}");
        }
    }
}
