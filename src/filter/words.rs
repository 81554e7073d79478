//! What is said of an expression that is wrong: names of fields and what is known, never a text of the expression.

use minijinja::machinery::ast::Expr;

use super::evaluate::Step;
use super::read::{FILTERS, TESTS, steps};
use super::shape::{self, Shape};
use crate::model::{Untrusted, cut_at};

pub(super) fn is_place(tree: &Expr<'_>) -> bool {
    matches!(tree, Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_))
}

pub(super) fn described((tree, shape): (&Expr<'_>, &Shape)) -> String {
    if is_place(tree) { format!("{} ({})", shown(tree), shape.words()) } else { shape.words() }
}

/// The name of a place; a text of the expression is not repeated, it may have been meant for elsewhere.
pub(super) fn shown(tree: &Expr<'_>) -> String {
    steps(tree).map_or_else(|_| "the value".into(), |steps| path(&steps))
}

fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Field(name) if path.is_empty() => path = safe(name),
            Step::Field(name) => path += &format!(".{}", safe(name)),
            Step::Item(position) => path += &format!("[{position}]"),
        }
    }
    path
}

fn safe(name: &str) -> String {
    Untrusted(cut_at(name, 64)).to_string()
}

pub(super) fn unknown(parent: &Shape, steps: &[Step]) -> String {
    let path = path(steps);
    let (with, _) = shape::kinds_with(steps);
    if !with.is_empty() {
        return format!("{path}: no event that `events` of the sink selects has it; {} have", with.join(", "));
    }
    match steps.last() {
        Some(Step::Field(_)) if parent.names().is_empty() => {
            format!("{path}: unknown field; above it is {} without fields", parent.words())
        }
        Some(Step::Field(name)) => match nearest(name, parent.names()) {
            Some(meant) => format!("{path}: unknown field; did you mean \"{meant}\"?"),
            None => format!("{path}: unknown field; known are {}", parent.names().join(", ")),
        },
        _ => format!("{path}: only a list has items, and this is {}", parent.words()),
    }
}

pub(super) fn not_known(what: &str, name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(meant) => format!("unknown {what} \"{}\"; did you mean \"{meant}\"?", safe(name)),
        None => format!("unknown {what} \"{}\"; there are {}", safe(name), offer()),
    }
}

pub(super) fn offer() -> String {
    let filters = FILTERS.map(|(name, _)| name);
    format!("the filters {} and the tests {}", filters.join(", "), TESTS.join(", "))
}

/// The known name that was most likely meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(cut_at(name, 64), known);
    let near = known.into_iter().filter(|known| distance(known) <= (known.len().max(name.len()) / 3).max(1));
    near.min_by_key(distance)
}
