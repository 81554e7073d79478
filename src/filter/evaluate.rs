//! An expression and what it comes to for an event.
//!
//! Bounded by its making: an expression has no loop, and no operation yields more than it was given. So the fuel only
//! bounds how often it may look over a large event.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::model::EVENT_LIMIT;

/// Bytes of an event that one judgement may look at: a few milliseconds of work.
const FUEL: usize = 64 * EVENT_LIMIT;

/// An expression that has been found valid.
#[derive(Clone, Debug)]
pub(super) enum Expression {
    Literal(Value),
    /// A place in the event.
    Place(Vec<Step>),
    List(Vec<Expression>),
    Not(Box<Expression>),
    /// The second where the first holds, else the first.
    And(Box<Expression>, Box<Expression>),
    /// The first where it holds, else the second.
    Or(Box<Expression>, Box<Expression>),
    /// A chain: each comparison has to hold.
    Compare(Box<Expression>, Vec<(Comparison, Expression)>),
    Apply(Function, Box<Expression>),
    /// Whether a text begins or ends with another.
    Edge(Edge, Box<Expression>, Box<Expression>),
}

/// One step into an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Field(String),
    /// By position; negative from the end.
    Item(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Lower,
    Upper,
    Trim,
    Length,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edge {
    Start,
    End,
}

/// The event cannot be judged.
#[derive(Debug)]
pub(super) struct Doubt;

impl Expression {
    /// The texts that this place is held against for being equal or in a list.
    pub(super) fn texts_beside<'e>(&'e self, place: &[Step], found: &mut Vec<&'e str>) {
        match self {
            Self::Literal(_) | Self::Place(_) => {}
            Self::List(items) => items.iter().for_each(|item| item.texts_beside(place, found)),
            Self::Not(inner) | Self::Apply(_, inner) => inner.texts_beside(place, found),
            Self::And(one, two) | Self::Or(one, two) | Self::Edge(_, one, two) => {
                [one, two].into_iter().for_each(|part| part.texts_beside(place, found));
            }
            Self::Compare(first, rest) => {
                let mut one = &**first;
                for (comparison, other) in rest {
                    let is_same = |part: &Self| matches!(part, Self::Place(steps) if steps == place);
                    let by_value = matches!(
                        comparison,
                        Comparison::Equal | Comparison::Unequal | Comparison::In | Comparison::NotIn
                    );
                    match (by_value, is_same(one), is_same(other)) {
                        (true, true, false) => found.extend(other.texts()),
                        (true, false, true) => found.extend(one.texts()),
                        _ => {}
                    }
                    one = other;
                }
            }
        }
    }

    /// The texts that are written out: itself, or the items of a list.
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Literal(Value::String(text)) => vec![text],
            Self::Literal(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            Self::List(items) => items.iter().flat_map(Self::texts).collect(),
            _ => vec![],
        }
    }
}

/// Whether the expression holds for the event, which is `size` bytes long.
pub(super) fn holds(expression: &Expression, event: &Value, size: usize) -> Result<bool, Doubt> {
    Judgement { event, size, fuel: FUEL }.value(expression).map(|value| is_true(&value))
}

struct Judgement<'e> {
    event: &'e Value,
    size: usize,
    fuel: usize,
}

impl<'e> Judgement<'e> {
    fn value(&mut self, expression: &'e Expression) -> Result<Cow<'e, Value>, Doubt> {
        Ok(match expression {
            Expression::Literal(value) => Cow::Borrowed(value),
            Expression::Place(steps) => Cow::Borrowed(self.place(steps)?),
            Expression::List(items) => {
                let items = items.iter().map(|item| Ok(self.value(item)?.into_owned()));
                Cow::Owned(Value::Array(items.collect::<Result<_, _>>()?))
            }
            Expression::Not(inner) => Cow::Owned((!self.truth(inner)?).into()),
            Expression::And(one, two) => {
                let value = self.value(one)?;
                if is_true(&value) { self.value(two)? } else { value }
            }
            Expression::Or(one, two) => {
                let value = self.value(one)?;
                if is_true(&value) { value } else { self.value(two)? }
            }
            Expression::Compare(first, rest) => Cow::Owned(self.chain(first, rest)?.into()),
            Expression::Apply(function, inner) => Cow::Owned(apply(*function, self.value(inner)?.as_ref())?),
            Expression::Edge(edge, text, part) => {
                let (text, part) = (self.value(text)?, self.value(part)?);
                let (text, part) = (text.as_str().ok_or(Doubt)?, part.as_str().ok_or(Doubt)?);
                let is_there = if *edge == Edge::Start { text.starts_with(part) } else { text.ends_with(part) };
                Cow::Owned(is_there.into())
            }
        })
    }

    fn truth(&mut self, expression: &'e Expression) -> Result<bool, Doubt> {
        self.value(expression).map(|value| is_true(&value))
    }

    fn place(&mut self, steps: &[Step]) -> Result<&'e Value, Doubt> {
        let value = steps.iter().try_fold(self.event, |value, step| match (step, value) {
            (Step::Field(name), Value::Object(fields)) => fields.get(name),
            (Step::Item(position), Value::Array(items)) => {
                let from_end = usize::try_from(position.unsigned_abs()).ok()?;
                items.get(if *position < 0 { items.len().checked_sub(from_end)? } else { from_end })
            }
            _ => None,
        });
        let value = value.ok_or(Doubt)?;
        let cost = match value {
            Value::String(text) => text.len(),
            Value::Array(_) | Value::Object(_) => self.size,
            _ => 0,
        };
        self.fuel = self.fuel.checked_sub(cost + 1).ok_or(Doubt)?;
        Ok(value)
    }

    fn chain(&mut self, first: &'e Expression, rest: &'e [(Comparison, Expression)]) -> Result<bool, Doubt> {
        let mut left = self.value(first)?;
        for (comparison, right) in rest {
            let right = self.value(right)?;
            if !compare(*comparison, &left, &right)? {
                return Ok(false);
            }
            left = right;
        }
        Ok(true)
    }
}

/// Jinja's truth: null, false, zero and what is empty are not.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<bool, Doubt> {
    Ok(match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::Unequal => !equal(left, right),
        Comparison::Less => order(left, right)?.is_lt(),
        Comparison::LessOrEqual => order(left, right)?.is_le(),
        Comparison::Greater => order(left, right)?.is_gt(),
        Comparison::GreaterOrEqual => order(left, right)?.is_ge(),
        Comparison::In => contains(right, left)?,
        Comparison::NotIn => !contains(right, left)?,
    })
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => order_of_numbers(left, right) == Some(Ordering::Equal),
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Result<Ordering, Doubt> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => order_of_numbers(left, right).ok_or(Doubt),
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        _ => Err(Doubt),
    }
}

fn order_of_numbers(left: &Number, right: &Number) -> Option<Ordering> {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

fn contains(container: &Value, part: &Value) -> Result<bool, Doubt> {
    match (container, part) {
        (Value::Array(items), _) => Ok(items.iter().any(|item| equal(item, part))),
        (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
        _ => Err(Doubt),
    }
}

fn apply(function: Function, value: &Value) -> Result<Value, Doubt> {
    Ok(match (function, value) {
        (Function::Length, Value::Array(items)) => items.len().into(),
        (Function::Length, Value::String(text)) => text.chars().count().into(),
        (Function::Lower, Value::String(text)) => text.to_lowercase().into(),
        (Function::Upper, Value::String(text)) => text.to_uppercase().into(),
        (Function::Trim, Value::String(text)) => text.trim().into(),
        _ => return Err(Doubt),
    })
}
