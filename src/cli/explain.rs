//! `inboxd explain`

use std::fmt::Write as _;
use std::io::Write as _;

use super::{ConfigFile, FAILED, Failure};
use crate::model::{Untrusted, json_line};
use crate::store::{ExplainedDelivery, ExplainedEvent, Explanation};
use crate::time::UnixMillis;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// Id of the message, or of its event
    #[arg(value_name = "MESSAGE")]
    id: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let explanations = arguments.file.open_store()?.explain(&arguments.id)?;
    if explanations.is_empty() {
        let message = format!(
            "no message and no event \"{}\" is on record: no poll has shown it, or its event is older than store.retention; \
             inboxd audit says what may be missing",
            Untrusted(&arguments.id)
        );
        return Err(Failure::new(FAILED, message));
    }
    let mut text = String::new();
    for explanation in &explanations {
        if arguments.json {
            text += &json_line(explanation).map_err(|e| Failure::new(FAILED, e.to_string()))?;
            text.push('\n');
        } else {
            render(&mut text, explanation).expect("writing to a string cannot fail");
        }
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn render(text: &mut String, explanation: &Explanation) -> std::fmt::Result {
    let Explanation { account, conversation, title, message, events } = explanation;
    if let Some(message) = message {
        writeln!(text, "message {}", Untrusted(&message.id))?;
    }
    if let Some(account) = account {
        let conversation = conversation.as_deref().unwrap_or("-");
        let title = title.as_deref().map_or_else(String::new, |title| format!(" ({})", Untrusted(title)));
        writeln!(text, "  account {account}, conversation {}{title}", Untrusted(conversation))?;
    }
    if let Some(message) = message {
        writeln!(text, "  sent {}, recorded {}", shown(message.sent_at), shown(message.seen_at))?;
        writeln!(text, "  {}: {}", message.verdict, message.because)?;
    }
    events.iter().try_for_each(|event| render_event(text, event))
}

fn render_event(text: &mut String, event: &ExplainedEvent) -> std::fmt::Result {
    let route = event.route.as_deref().map_or_else(String::new, |route| format!(", found by {route}"));
    let marks = [(event.late, ", late"), (event.backfill, ", backfill")];
    let marks: String = marks.iter().filter(|(is, _)| *is == Some(true)).map(|(_, mark)| *mark).collect();
    writeln!(text, "  event {} {} recorded {}{route}{marks}", event.id, event.kind, event.recorded_at)?;
    event.sinks.iter().try_for_each(|delivery| render_delivery(text, delivery))
}

fn render_delivery(text: &mut String, delivery: &ExplainedDelivery) -> std::fmt::Result {
    let because = delivery.because.as_deref().map_or_else(String::new, |why| format!(": {}", Untrusted(why)));
    let due = delivery.due_at.map_or_else(String::new, |at| format!(", next turn {at}"));
    let state = if delivery.state == "not_owed" { "not owed" } else { delivery.state };
    writeln!(text, "    sink {}: {state}{due}{because}", delivery.sink)?;
    for attempt in &delivery.attempts {
        let detail = attempt.detail.as_deref().map_or_else(String::new, |said| format!(": {}", Untrusted(said)));
        writeln!(text, "      {} {}{detail}", attempt.at, attempt.outcome)?;
    }
    Ok(())
}

fn shown(moment: Option<UnixMillis>) -> String {
    moment.map_or_else(|| "-".to_owned(), |at| at.to_string())
}
