//! Filters: which events a sink wants, said in one expression.
//!
//! ```text
//! data.message.direction == 'inbound' and not data.seen.backfill
//! type != 'message.new' or 'invoice' in data.message.text | lower
//! ```
//!
//! The language is a part of Jinja's: fields, literals, lists, `and`, `or`, `not`, comparisons, `in`, a few filters and
//! tests. There is nothing in it that loops, grows a value, asks the outside or depends on more than the event.
//!
//! What can be wrong is found when the expression is read, by the JSON Schema of the events that the sink gets: names of
//! fields, types, values. What is left at run time is a field that this event does not have, and then the event is not
//! judged: in doubt it is delivered. `null` is a value as any other; only a field of it does not exist.

mod evaluate;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod read;
mod shape;
mod words;

use crate::model::Patterns;
use evaluate::Expression;

/// Longest expression in bytes.
const LENGTH_LIMIT: usize = 4 * 1024;

/// A filter.
#[derive(Clone, Debug)]
pub struct Filter {
    expression: Expression,
}

/// What a filter says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be delivered.
    Wanted,
    /// It is to be left out.
    Unwanted,
    /// The filter does not apply to it, or could not be evaluated: it is to be delivered.
    Unjudged,
}

impl Filter {
    /// Reads an expression over the events that these patterns select. Returns what a user should know although it is
    /// valid; the error says what is wrong and what to do, and never repeats a text of the expression.
    pub fn parse(text: &str, events: &Patterns) -> Result<(Self, Vec<String>), String> {
        if text.len() > LENGTH_LIMIT {
            return Err(format!("is longer than {} KiB", LENGTH_LIMIT >> 10));
        }
        let (expression, warnings) = read::read(text, events)?;
        Ok((Self { expression }, warnings))
    }

    /// The names that accounts are held against.
    pub fn accounts(&self) -> Vec<&str> {
        let place = ["data", "account"].map(|name| evaluate::Step::Field(name.to_owned()));
        let mut found = Vec::new();
        self.expression.texts_beside(&place, &mut found);
        found
    }

    /// Judges an event, as it is rendered.
    pub fn wants(&self, body: &str) -> Verdict {
        let Ok(event) = serde_json::from_str(body) else { return Verdict::Unjudged };
        match evaluate::holds(&self.expression, &event, body.len()) {
            Ok(true) => Verdict::Wanted,
            Ok(false) => Verdict::Unwanted,
            Err(evaluate::Doubt) => Verdict::Unjudged,
        }
    }
}

#[cfg(test)]
mod tests;
