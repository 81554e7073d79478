//! What a template may use: the filters, tests and functions whose work and output can be told from what they are given.
//!
//! The engine counts its own steps and not what a filter does within one. So the bytes that filters look at are counted
//! here, before each of them begins.

use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Escape, OUTPUT_LIMIT};

/// Bytes that the filters of one rendering may look at.
const WORK: u64 = 8 << 20;

/// What an item of a list counts for beside its own bytes.
const ITEM: u64 = 32;

/// Where the work so far is kept while a template is rendered.
const DONE: &str = "work";

/// Most items of `range`.
const RANGE_LIMIT: i64 = 1_000;

/// Furthest that `indent` moves a line.
const INDENT_LIMIT: usize = 64;

/// What a URL and a form leave as it is (RFC 3986, unreserved).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Gives an environment that has nothing what templates may use.
pub(super) fn allow(environment: &mut Environment<'static>, escape: Escape) {
    for (name, filter) in [
        ("lower", Value::from_function(filters::lower)),
        ("upper", Value::from_function(filters::upper)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("trim", Value::from_function(filters::trim)),
        ("length", Value::from_function(filters::length)),
        ("count", Value::from_function(filters::length)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sum", Value::from_function(filters::sum)),
        ("sort", Value::from_function(filters::sort)),
        ("unique", Value::from_function(filters::unique)),
        ("reverse", Value::from_function(filters::reverse)),
        ("list", Value::from_function(filters::list)),
        ("items", Value::from_function(filters::items)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("default", Value::from_function(filters::default)),
        ("d", Value::from_function(filters::default)),
        ("attr", Value::from_function(filters::attr)),
        ("string", Value::from_function(filters::string)),
        ("bool", Value::from_function(filters::bool)),
        ("int", Value::from_function(filters::int)),
        ("float", Value::from_function(filters::float)),
        ("abs", Value::from_function(filters::abs)),
        ("round", Value::from_function(filters::round)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("map", Value::from_function(filters::map)),
        ("groupby", Value::from_function(filters::groupby)),
        ("tojson", Value::from_function(filters::tojson)),
        ("safe", Value::from_function(filters::safe)),
        ("replace", Value::from_function(replace)),
        ("indent", Value::from_function(indent)),
        ("urlencode", Value::from_function(move |text: String| as_part_of(escape, url_encoded(&text)))),
        ("escape", Value::from_function(move |value: &Value| escaped(escape, value))),
        ("e", Value::from_function(move |value: &Value| escaped(escape, value))),
        ("cut", Value::from_function(super::cut)),
        ("cut_bytes", Value::from_function(super::cut_bytes)),
        ("markdown", Value::from_function(super::markdown::markdown)),
    ] {
        environment.add_filter(name, move |state: &mut State<'_, '_>, arguments: Rest<Value>| {
            charge(state, arguments.iter().map(cost).sum())?;
            filter.call(state, &arguments)
        });
    }
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("safe", tests::is_safe);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("even", tests::is_even);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("float", tests::is_float);
    environment.add_test("string", tests::is_string);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    environment.add_test("in", tests::is_in);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("eq", tests::is_eq);
    environment.add_test("equalto", tests::is_eq);
    environment.add_test("ne", tests::is_ne);
    environment.add_test("lt", tests::is_lt);
    environment.add_test("le", tests::is_le);
    environment.add_test("gt", tests::is_gt);
    environment.add_test("ge", tests::is_ge);
    environment.add_function("range", range);
}

/// How much work it is to look at a value: its bytes, and those of what is in it.
fn cost(value: &Value) -> u64 {
    match value.kind() {
        ValueKind::String => value.as_str().map_or(0, str::len) as u64,
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let (mut sum, is_map) = (0, value.kind() == ValueKind::Map);
            for item in value.try_iter().into_iter().flatten() {
                sum += ITEM + cost(&item);
                if is_map {
                    sum += value.get_item(&item).map_or(0, |inner| cost(&inner));
                }
                if sum > WORK {
                    break;
                }
            }
            sum
        }
        _ => 1,
    }
}

fn charge(state: &mut State<'_, '_>, work: u64) -> Result<(), Error> {
    let done = state.get_temp(DONE).and_then(|done| u64::try_from(done).ok()).unwrap_or(0).saturating_add(work);
    state.set_temp(DONE, done.into());
    if done > WORK { Err(Error::from(ErrorKind::OutOfFuel)) } else { Ok(()) }
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, "what it gives would be longer than any body")
}

fn replace(text: String, from: String, to: String) -> Result<String, Error> {
    if from.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "replace needs a text to look for"));
    }
    let found = text.matches(&from).count();
    if text.len() + found * to.len() > OUTPUT_LIMIT {
        return Err(too_long());
    }
    Ok(text.replace(&from, &to))
}

fn indent(text: String, width: usize, first: Option<bool>, blank: Option<bool>) -> Result<String, Error> {
    if width > INDENT_LIMIT {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("indent moves by {INDENT_LIMIT} at most")));
    }
    let (first, blank, space) = (first.unwrap_or(false), blank.unwrap_or(false), " ".repeat(width));
    let lines = text.lines().enumerate().map(|(number, line)| match (number, line) {
        (0, _) if !first => line.to_owned(),
        (_, "") if !blank => String::new(),
        _ => format!("{space}{line}"),
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn range(lower: i64, upper: Option<i64>, step: Option<i64>) -> Result<Value, Error> {
    let (from, to) = upper.map_or((0, lower), |upper| (lower, upper));
    let step = step.unwrap_or(1);
    let length = to.checked_sub(from).and_then(|length| length.checked_div(step)).unwrap_or(i64::MAX);
    if length > RANGE_LIMIT {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("range has {RANGE_LIMIT} items at most")));
    }
    let items = std::iter::successors(Some(from), |last| last.checked_add(step));
    Ok(items.take_while(|item| if step > 0 { *item < to } else { *item > to }).map(Value::from).collect())
}

/// A value of a URL or of a form.
pub(super) fn url_encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// A text of HTML or XML: no tag, no entity and no end of an attribute, and no character that XML refuses.
pub(super) fn entities(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\r' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// What has been escaped is not escaped again; in JSON it is a text like any other.
fn as_part_of(escape: Escape, text: String) -> Value {
    match escape {
        Escape::Json | Escape::Token => Value::from(text),
        Escape::Markup | Escape::Form | Escape::Plain => Value::from_safe_string(text),
    }
}

/// `text|escape`: for HTML, but in a form for the form.
fn escaped(escape: Escape, value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let text = value.to_string();
    as_part_of(escape, if escape == Escape::Form { url_encoded(&text) } else { entities(&text) })
}

#[cfg(test)]
mod tests_of_ranges {
    use super::*;

    #[test]
    fn a_range_has_its_items_and_an_end() {
        let items = |lower, upper, step| range(lower, upper, step).map(|items| items.to_string()).map_err(|_| ());
        assert_eq!(items(3, None, None).as_deref(), Ok("[0, 1, 2]"));
        assert_eq!(items(5, Some(1), Some(-2)).as_deref(), Ok("[5, 3]"));
        assert_eq!(items(-1, None, None).as_deref(), Ok("[]"));
        for endless in [(1_000_000, None, None), (0, Some(5), Some(0)), (i64::MIN, Some(i64::MAX), None)] {
            assert!(items(endless.0, endless.1, endless.2).is_err(), "{endless:?}");
        }
    }
}
