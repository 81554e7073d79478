//! What a sink makes of an event by a template: minijinja over the event's fields, `headline` and `summary`.
//!
//! The text of a message is data here and never part of a template. A template comes from the configuration; its work and
//! its output are bounded all the same, so that a slip in it costs one event and not the daemon.

mod allowed;
mod markdown;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::value::merge_maps;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, escape_formatter};
use serde_json::Value;

use crate::model::{END_OF_ISOLATE, Readable, Untrusted, cut_at, open_isolates};

/// Steps that rendering one event may take. An event with a thousand attachments, each looked at, takes some 20,000.
const FUEL: u64 = 200_000;

/// Longest output.
pub(super) const OUTPUT_LIMIT: usize = 256 << 10;

/// Longest description of what went wrong.
const DETAIL_LIMIT: usize = 200;

const NAME: &str = "template";

/// What `{{ value }}` becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// JSON: text comes with its quotes. What is rendered has to be JSON.
    Json,
    /// The plain text; nothing for null.
    Plain,
    /// HTML and XML: text is text, and neither a tag nor an entity; nothing for null.
    Markup,
    /// A form: each value is one value, percent-encoded; nothing for null.
    Form,
    /// Part of one token of a NATS subject: what cannot stand there becomes `_`. The type of an event keeps its dots: it is
    /// ours, and its parts are tokens.
    Token,
}

/// A template that has been compiled.
pub(super) struct Template {
    environment: Environment<'static>,
    escape: Escape,
}

/// Why an event could not be rendered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{summary}")]
pub(super) struct RenderError {
    /// The kind of failure and its line; no word of the event.
    pub(super) summary: String,
    /// The engine's words, which may repeat the event.
    pub(super) detail: String,
}

impl Template {
    /// Compiles a template. `constants` are names that it may use besides those of the event. The error names the line.
    pub(super) fn compile(
        source: String,
        escape: Escape,
        constants: &[(&'static str, String)],
    ) -> Result<Self, String> {
        source::check(&source)?;
        let mut environment = Environment::empty();
        allowed::allow(&mut environment, escape);
        environment.set_fuel(Some(FUEL));
        // An event of another type has other fields: they are undefined, however deep. Names that no event has are found
        // by `check`.
        environment.set_undefined_behavior(UndefinedBehavior::Chainable);
        environment.set_auto_escape_callback(move |_| match escape {
            Escape::Json => AutoEscape::Json,
            _ => AutoEscape::None,
        });
        environment.set_formatter(move |out, state, value| match escape {
            Escape::Json => escape_formatter(out, state, value),
            _ if value.is_none() || value.is_undefined() => Ok(()),
            _ if value.is_safe() => Ok(write!(out, "{value}")?),
            Escape::Plain => Ok(write!(out, "{value}")?),
            Escape::Token => Ok(out.write_str(&token(&value.to_string()))?),
            Escape::Markup => Ok(out.write_str(&allowed::entities(&value.to_string()))?),
            Escape::Form => Ok(out.write_str(&allowed::url_encoded(&value.to_string()))?),
        });
        for (name, value) in constants {
            environment.add_global(*name, value.clone());
        }
        environment.add_template_owned(NAME, source).map_err(|error| described(&error))?;
        Ok(Self { environment, escape })
    }

    /// What can be told without waiting for events: names that none of these has, and whether each of them can be rendered.
    pub(super) fn check(&self, samples: &[Value]) -> Result<(), String> {
        self.check_names(samples)?;
        for sample in samples {
            let rendered = self.render(&sample.to_string());
            let kind = sample["type"].as_str().unwrap_or_default();
            rendered.map_err(|error| format!("cannot render an event of type {kind}: {}", error.detail))?;
        }
        Ok(())
    }

    /// Names that none of these events has.
    pub(super) fn check_names(&self, samples: &[Value]) -> Result<(), String> {
        if let Some(name) = self.unknown_name(samples) {
            let shown = Untrusted(cut_at(&name, DETAIL_LIMIT)).to_string();
            return Err(format!("uses {shown}, which no event of this sink has; docs/events.md shows what they have"));
        }
        Ok(())
    }

    /// Renders an event.
    pub(super) fn render(&self, event: &str) -> Result<String, RenderError> {
        let event: Value = serde_json::from_str(event).map_err(|_| RenderError::new("the event is not JSON"))?;
        let template = self.environment.get_template(NAME).map_err(|error| RenderError::of(&error))?;
        let mut output = Bounded(Vec::new());
        let rendered = template.render_captured_to(self.context(event), &mut output);
        if output.0.len() > OUTPUT_LIMIT {
            return Err(RenderError::new("the template's output is longer than 256 KiB"));
        }
        rendered.map_err(|error| RenderError::of(&error))?;
        let text = String::from_utf8(output.0).map_err(|_| RenderError::new("the template's output is not UTF-8"))?;
        match self.escape {
            Escape::Json => json(text),
            _ => Ok(text),
        }
    }

    fn context(&self, event: Value) -> minijinja::Value {
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        let fields = minijinja::Value::from(minijinja::value::Serde(fields(event)));
        match self.escape {
            Escape::Json | Escape::Plain | Escape::Markup | Escape::Form => fields,
            Escape::Token => {
                let kind = BTreeMap::from([("type", minijinja::Value::from_safe_string(kind))]);
                merge_maps([fields, kind.into()])
            }
        }
    }

    /// A name in the template that none of the events has, as far as that can be told: what is below text, a list or null
    /// cannot.
    fn unknown_name(&self, samples: &[Value]) -> Option<String> {
        let template = self.environment.get_template(NAME).ok()?;
        let constants: BTreeSet<_> = self.environment.globals().map(|(name, _)| name.to_owned()).collect();
        let contexts: Vec<Value> = samples.iter().cloned().map(fields).collect();
        let known = |path: &str| contexts.iter().any(|context| may_have(context, path));
        // In the order of the alphabet, so that the same template always gives the same error.
        let names: BTreeSet<_> = template.undeclared_variables(true).into_iter().collect();
        names.into_iter().find(|path| !constants.contains(path.split('.').next().unwrap_or_default()) && !known(path))
    }
}

fn may_have(context: &Value, path: &str) -> bool {
    let mut value = context;
    for part in path.split('.') {
        match value {
            Value::Object(entries) => match entries.get(part) {
                Some(inner) => value = inner,
                None => return false,
            },
            _ => return true,
        }
    }
    true
}

/// The names that a template may use: those of the event, and what it says to people.
fn fields(event: Value) -> Value {
    let Readable { headline, summary } = Readable::of(&event);
    let mut event = event;
    event["headline"] = headline.into();
    event["summary"] = summary.into();
    event
}

fn json(text: String) -> Result<String, RenderError> {
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(RenderError::new(&format!(
            "what it gives is not JSON, from its line {} on; values bring their own quotes, so write {{{{ headline }}}} and \
             not \"{{{{ headline }}}}\"",
            error.line()
        ))),
    }
}

/// Dots part the tokens of a subject, `*` and `>` are wildcards, `$` begins the subjects that a server keeps for itself.
fn token(text: &str) -> String {
    text.replace(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>' | '$'), "_")
}

impl RenderError {
    fn new(summary: &str) -> Self {
        Self { summary: summary.to_owned(), detail: summary.to_owned() }
    }

    fn of(error: &minijinja::Error) -> Self {
        let line = error.line().map_or_else(String::new, |line| format!(" in line {line}"));
        let kind = match error.kind() {
            ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
            kind => kind.to_string(),
        };
        Self { summary: format!("{kind}{line}"), detail: described(error) }
    }
}

/// An error of the engine with its line, on one bounded line.
fn described(error: &minijinja::Error) -> String {
    let line = error.line().map_or_else(String::new, |line| format!("line {line}: "));
    let detail = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    Untrusted(cut_at(&format!("{line}{detail}"), DETAIL_LIMIT)).to_string()
}

/// Keeps the beginning of what is written and refuses the rest: one byte more than the limit says that there was more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (OUTPUT_LIMIT + 1).saturating_sub(self.0.len());
        if room == 0 {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `text|cut(80)`: at most so many UTF-16 units, which is how chat services count; what was cut ends with "…".
fn cut(text: String, units: usize) -> String {
    shortened(text, units, char::len_utf16)
}

/// `text|cut_bytes(80)`: at most so many bytes of UTF-8; what was cut ends with "…".
fn cut_bytes(text: String, bytes: usize) -> String {
    shortened(text, bytes, char::len_utf8)
}

/// At most so many units of this measure. Isolates of direction that the cut leaves open are ended,
/// or the rest of the message, which is not part of the text, would turn with it.
fn shortened(text: String, limit: usize, size: impl Fn(char) -> usize) -> String {
    if text.chars().map(&size).sum::<usize>() <= limit {
        return text;
    }
    let room = limit.saturating_sub(size('…'));
    let mut for_text = room;
    loop {
        let mut used = 0;
        let fits = |c: &char| {
            let fits = used + size(*c) <= for_text;
            used += if fits { size(*c) } else { 0 };
            fits
        };
        let mut kept: String = text.chars().take_while(fits).collect();
        let open = open_isolates(&kept);
        let excess = (used + open * size(END_OF_ISOLATE)).saturating_sub(room);
        if excess == 0 {
            kept.extend(std::iter::repeat_n(END_OF_ISOLATE, open));
            return kept + "…";
        }
        // An isolate that goes takes its end with it.
        for_text = used.saturating_sub(excess.div_ceil(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{kind, sample_events};

    fn compiled(source: &str, escape: Escape) -> Template {
        Template::compile(source.to_owned(), escape, &[]).unwrap()
    }

    fn checked(source: &str, escape: Escape, kinds: &[&str]) -> Result<(), String> {
        Template::compile(source.to_owned(), escape, &[])?.check(&sample_events(kinds))
    }

    fn message() -> String {
        sample_events([&kind::MESSAGE_NEW])[0].to_string()
    }

    #[test]
    fn in_json_every_value_is_escaped_and_brings_its_quotes() {
        let template =
            compiled("{\"text\": {{ data.message.text }}, \"none\": {{ data.nothing.at.all }}}", Escape::Json);
        let rendered: Value = serde_json::from_str(&template.render(&message()).unwrap()).unwrap();
        assert_eq!(rendered, serde_json::json!({"text": "See you \"then\"\nand there", "none": null}));
    }

    #[test]
    fn in_plain_text_nothing_is_escaped_and_null_is_nothing() {
        let template =
            compiled("{{ headline }}|{{ summary }}|{{ data.message.raw }}|{{ data.nothing }}", Escape::Plain);
        assert_eq!(
            template.render(&message()).unwrap(),
            "Ada Byron · sales|Lunch\n> Ada Byron: Where?\n> And when?\nSee you \"then\"\nand there\n\
             Forwarded: Ada Byron: The \"old\" place [1 attached]||"
        );
    }

    #[test]
    fn in_a_subject_a_value_stays_inside_its_token_and_the_type_keeps_its_dots() {
        let render = |source: &str, text: &str| {
            let mut event = sample_events([&kind::MESSAGE_NEW])[0].clone();
            event["data"]["message"]["text"] = text.into();
            compiled(source, Escape::Token).render(&event.to_string()).unwrap()
        };
        assert_eq!(
            render("x.{{ type }}.{{ data.message.text }}", "a.b *>\r\n\u{85}\u{2003}ü"),
            "x.message.new.a_b_______ü"
        );
        assert_eq!(render("{{ data.message.text }}.x", "$JS.API"), "_JS_API.x");
        assert_eq!(render("a.{{ data.message.raw }}{{ data.nothing.at.all }}.b", ""), "a..b", "null is nothing");
    }

    #[test]
    fn syntax_errors_name_their_line() {
        let error = Template::compile("{\n\"a\": {{ headline }\n}".into(), Escape::Json, &[]).err().unwrap();
        assert!(error.starts_with("line 2: unexpected"), "{error}");
        let error = checked("\n\n{{ headline|shout }}", Escape::Plain, &[kind::MESSAGE_NEW]).unwrap_err();
        assert!(error.contains("line 3") && error.contains("shout"), "{error}");
    }

    #[test]
    fn names_that_no_wanted_event_has_are_told_and_those_of_another_type_are_null() {
        let unknown = |source: &str| checked(source, Escape::Json, &[kind::MESSAGE_NEW]).unwrap_err();
        assert!(unknown("{{ hedline }}").contains("uses hedline, which no event"));
        assert!(unknown("{{ data.message.txt }}").contains("uses data.message.txt,"));
        assert!(unknown("{{ data.state }}").contains("uses data.state,"));
        let both = [kind::MESSAGE_NEW, kind::ACCOUNT_RECOVERED];
        assert_eq!(checked("[{{ data.state }}, {{ data.message.text }}]", Escape::Json, &both), Ok(()));
        assert_eq!(checked("[{{ data.message.raw.x }}, {{ range(3)|length }}]", Escape::Json, &both), Ok(()));
        let loops = "[{% for a in data.message.attachments %}{{ a.name }}{{ ',' if not loop.last }}{% endfor %}]";
        assert!(checked(loops, Escape::Plain, &[kind::MESSAGE_NEW]).is_ok());
    }

    #[test]
    fn what_is_not_json_is_told_with_the_usual_reason() {
        let error = checked("{\"text\": \"{{ headline }}\"}", Escape::Json, &[kind::MESSAGE_NEW]).unwrap_err();
        assert!(error.contains("message.new") && error.contains("bring their own quotes"), "{error}");
    }

    #[test]
    fn in_forms_and_markup_a_value_stays_a_value() {
        let evil = "hi&to=x@evil.example<script>alert('1')</script>\u{b} \"q\"";
        let render = |source: &str, escape: Escape| {
            let mut event = sample_events([&kind::MESSAGE_NEW])[0].clone();
            event["data"]["message"]["text"] = evil.into();
            compiled(source, escape).render(&event.to_string()).unwrap()
        };
        let text = "{{ data.message.text }}";
        let form = render(&format!("to=me&text={text}&none={{{{ data.message.raw }}}}"), Escape::Form);
        let read = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
        let read: Vec<_> = read.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read, [pair("to", "me"), pair("text", evil), pair("none", "")]);
        let entities = "hi&amp;to=x@evil.example&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\u{fffd} &quot;q&quot;";
        assert_eq!(render(text, Escape::Markup), entities);
        assert_eq!(render("{{ data.message.text|e }}", Escape::Markup), entities, "once");
        assert_eq!(render("{{ data.message.text|safe }}", Escape::Markup), evil, "as asked for");
        for escape in [Escape::Form, Escape::Markup, Escape::Plain] {
            let encoded = render("{{ data.message.text|urlencode }}", escape);
            assert!(encoded.starts_with("hi%26to%3Dx%40evil.example%3Cscript%3E"), "{encoded}");
        }
        assert!(render("{{ data.message.text|urlencode }}", Escape::Json).starts_with("\"hi%26"));
    }

    #[test]
    fn filters_that_grow_a_text_are_bounded_or_not_there() {
        for (source, says) in [
            ("{{ id|indent(1000000000) }}", "64 at most"),
            ("{{ id|replace('', id) }}", "a text to look for"),
            (
                "{{ summary|replace('e', summary)|replace('e', summary)|replace('e', summary)|replace('e', summary) }}",
                "longer than any body",
            ),
            ("{{ range(1000000) }}", "1000 items at most"),
        ] {
            let error = compiled(source, Escape::Plain).render(&message()).unwrap_err();
            assert!(error.detail.contains(says), "{source}: {error:?}");
        }
        for gone in ["format", "pprint", "batch(3)", "slice(3)", "zip", "chain"] {
            let error = compiled(&format!("{{{{ id|{gone} }}}}"), Escape::Plain).render(&message()).unwrap_err();
            assert!(error.detail.contains("unknown"), "{gone}: {error:?}");
        }
    }

    #[test]
    fn work_and_output_are_bounded() {
        let loops = "{% for a in range(1000) %}{% for b in range(1000) %}{{ a * 2 + 1 }}{% endfor %}{% endfor %}";
        let error = compiled(loops, Escape::Plain);
        assert_eq!(error.render(&message()).unwrap_err().summary, "it takes too many steps in line 1");
        for filter in ["sort", "join('x')", "reverse", "unique", "map('upper')|list"] {
            let inside =
                format!("{{% for a in range(1000) %}}{{{{ (range(1000)|list|{filter})|length }}}}{{% endfor %}}");
            let error = compiled(&inside, Escape::Plain).render(&message()).unwrap_err();
            assert_eq!(error.summary, "it takes too many steps in line 1", "{filter}");
        }
        let long = compiled(
            "{% for a in range(1000) %}{{ id ~ id ~ id ~ id }}{{ id ~ id ~ id ~ id }}{{ id ~ id ~ id ~ id }}{% endfor %}",
            Escape::Plain,
        );
        assert!(long.render(&message()).unwrap_err().summary.contains("longer than 256 KiB"));
    }

    #[test]
    fn a_failure_says_its_kind_and_line_and_no_word_of_the_message() {
        let error = compiled("\n{{ data.message.text - 1 }}", Escape::Plain).render(&message()).unwrap_err();
        assert!(error.summary.contains("line 2") && !error.summary.contains("See you"), "{error:?}");
    }

    #[test]
    fn text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("abcd".into(), 3), "ab…");
        assert_eq!(cut("a😀😀".into(), 4), "a😀…", "a character is never split");
        assert_eq!(cut("a😀".into(), 3), "a😀");
        assert_eq!(cut_bytes("aüü".into(), 5), "aüü");
        assert_eq!(cut_bytes("aüü😀".into(), 7), "aü…");
        assert_eq!(cut("\u{2067}abcdef".into(), 6), "\u{2067}abc\u{2069}…", "what is cut in an isolate ends it");
        assert_eq!(cut("\u{2067}\u{2067}\u{2067}\u{2067}abc".into(), 6), "\u{2067}\u{2067}\u{2069}\u{2069}…");
        assert_eq!(cut_bytes("\u{2067}abcdefgh".into(), 10), "\u{2067}a\u{2069}…");
    }
}
