//! Reading answers as JSON, whatever a provider puts into them.
//!
//! An answer is taken apart level by level, and no level fails for what stands inside it: a field of
//! another type than expected is as good as absent, and an item that cannot be read is counted and
//! stops nothing. What is not asked for is never built.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Unreadable;
use super::half_characters::{whole, with_whole_characters};
use crate::model::{EVENT_LIMIT, Flag, fit_for_event};
use crate::time::UnixMillis;

/// Largest answer that is read as a whole: a refusal, or what is known of an account or a workflow. What is built of it may
/// take many times its size.
const WHOLE_LIMIT: usize = 64 << 10;

/// Parses an answer that is short by its nature; a longer one is not of the expected shape. Whatever may be long is read as
/// a [`Document`].
pub(super) fn parse_short<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    if body.len() <= WHOLE_LIMIT {
        return parse(body);
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(body)?;
    Err(serde::de::Error::custom("longer than any answer of this kind"))
}

/// Parses `body`; where that fails, once more with half characters replaced.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(body).or_else(|error| match with_whole_characters(body) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    })
}

/// An answer, and what of it could not be read.
pub(super) struct Document<'b> {
    text: Cow<'b, str>,
    met: Met,
}

/// What could not be read, noted wherever it is met.
#[derive(Default)]
struct Met(RefCell<Unreadable>);

impl Met {
    fn field(&self, name: &'static str) {
        let fields = &mut self.0.borrow_mut().fields;
        if !fields.contains(&name) {
            fields.push(name);
        }
    }

    fn item(&self, looks: &'static str) {
        let mut met = self.0.borrow_mut();
        met.items += 1;
        met.looks.get_or_insert(looks);
    }
}

impl<'b> Document<'b> {
    pub(super) fn of(body: &'b [u8]) -> Self {
        Self { text: String::from_utf8_lossy(body), met: Met::default() }
    }

    /// The answer as an object; an error where it is anything else.
    pub(super) fn object(&self) -> Result<Object<'_>, serde_json::Error> {
        Ok(Object { fields: serde_json::from_str::<Fields<'_>>(&self.text)?.0, met: &self.met })
    }

    /// What could not be read since this was asked last.
    pub(super) fn unreadable(&self) -> Unreadable {
        self.met.0.take()
    }
}

/// An object whose values are still as they were received. Of a key that comes twice the last counts.
pub(super) struct Object<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
    met: &'a Met,
}

/// A number or a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    /// As it is written, so that no digit is lost.
    Number(&'a str),
    Text(Cow<'a, str>),
}

impl<'a> Object<'a> {
    /// A field as it was received; null is as absent.
    pub(super) fn raw(&self, key: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.fields.iter().rev().find(|(name, _)| name == key)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// What could not be read since this was asked last.
    pub(super) fn take_unreadable(&self) -> Unreadable {
        self.met.0.take()
    }

    /// A field by how it is read; of another type it is noted and absent.
    fn read<T>(&self, key: &'static str, read: impl FnOnce(&'a RawValue) -> Option<T>) -> Option<T> {
        let read = read(self.raw(key)?);
        if read.is_none() {
            self.met.field(key);
        }
        read
    }

    /// A text, or a number as it is written.
    pub(super) fn text(&self, key: &'static str) -> Option<Cow<'a, str>> {
        self.scalar(key).map(Scalar::into_text)
    }

    /// The same where it says anything.
    pub(super) fn filled(&self, key: &'static str) -> Option<Cow<'a, str>> {
        self.text(key).filter(|text| !text.trim().is_empty())
    }

    /// Where a list goes on. A cursor of another type leads nowhere, and what lies behind it is as good as unread.
    pub(super) fn cursor(&self, key: &'static str) -> Option<String> {
        match scalar(self.raw(key)?) {
            Some(cursor) => Some(cursor.into_text().into_owned()).filter(|cursor| !cursor.trim().is_empty()),
            None => {
                self.met.item("a cursor that is neither a text nor a number");
                None
            }
        }
    }

    /// The text of a message; one that stands in an object with its formatting is read out of it.
    pub(super) fn words(&self, key: &'static str) -> Option<Cow<'a, str>> {
        self.read(key, |raw| match Object::of(raw, self.met) {
            Some(object) => object.raw("text").and_then(scalar),
            None => scalar(raw),
        })
        .map(Scalar::into_text)
    }

    pub(super) fn scalar(&self, key: &'static str) -> Option<Scalar<'a>> {
        self.read(key, scalar)
    }

    /// Whether something is so: true and false, 0 and other numbers, or either as text.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, |raw| match raw.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => match scalar(raw)? {
                Scalar::Number(number) => number.parse::<f64>().ok().map(|number| number != 0.0),
                Scalar::Text(text) => match text.trim() {
                    "1" => Some(true),
                    "0" => Some(false),
                    text => text.to_ascii_lowercase().parse().ok(),
                },
            },
        })
    }

    /// A whole number, however it is written.
    pub(super) fn whole_number(&self, key: &'static str) -> Option<i64> {
        self.read(key, |raw| scalar(raw)?.whole_number())
    }

    /// A time, by how the provider writes them.
    pub(super) fn time(
        &self,
        key: &'static str,
        read: impl FnOnce(&Scalar<'a>) -> Option<UnixMillis>,
    ) -> Option<UnixMillis> {
        self.read(key, |raw| read(&scalar(raw)?))
    }

    /// The object of a field that may as well be a text.
    pub(super) fn object_of(&self, key: &str) -> Option<Self> {
        Self::of(self.raw(key)?, self.met)
    }

    pub(super) fn object(&self, key: &'static str) -> Option<Self> {
        self.read(key, |raw| Self::of(raw, self.met))
    }

    pub(super) fn list(&self, key: &'static str) -> Option<List<'a>> {
        self.read(key, |raw| List::of(raw, self.met))
    }

    /// The objects of a list; everything else in it is as good as absent.
    pub(super) fn objects(&self, key: &'static str) -> Vec<Self> {
        let items = self.list(key).map(|list| list.items).unwrap_or_default();
        items.into_iter().filter_map(|raw| Self::of(raw, self.met)).collect()
    }

    /// The texts of a list.
    pub(super) fn texts(&self, key: &'static str) -> Vec<Cow<'a, str>> {
        let items = self.list(key).map(|list| list.items).unwrap_or_default();
        items.into_iter().filter_map(|raw| scalar(raw).map(Scalar::into_text)).collect()
    }

    /// Attachments, each as it was received. One that would spoil the event for its readers, because it is nested too
    /// deeply, is noted and absent. Where they are more than an event holds, none is kept and a flag says so.
    pub(super) fn attachments(&self, key: &'static str, flags: &mut Vec<Flag>) -> Vec<Box<RawValue>> {
        let (mut all, mut room) = (Vec::new(), EVENT_LIMIT);
        for raw in self.list(key).map(|list| list.items).unwrap_or_default() {
            match room.checked_sub(raw.get().len()) {
                Some(left) => room = left,
                None => {
                    flags.push(Flag::AttachmentsCut);
                    return vec![];
                }
            }
            match fit_for_event(&kept(raw)) {
                Some(attachment) => all.push(attachment),
                None => self.met.field(key),
            }
        }
        all
    }

    /// An object, which notes what it meets where others do.
    fn of(raw: &'a RawValue, met: &'a Met) -> Option<Self> {
        let fields = raw.get().starts_with('{').then(|| serde_json::from_str::<Fields<'a>>(raw.get()).ok())??;
        Some(Self { fields: fields.0, met })
    }

    /// The list of a field that may as well be something else.
    pub(super) fn list_of(&self, key: &str) -> Option<List<'a>> {
        List::of(self.raw(key)?, self.met)
    }

    /// The fields that are lists, in their order.
    pub(super) fn lists(&self) -> impl Iterator<Item = List<'a>> {
        self.fields.iter().filter_map(|(_, raw)| List::of(raw, self.met))
    }
}

/// A list whose items are still as they were received.
#[derive(Clone)]
pub(super) struct List<'a> {
    pub(super) items: Vec<&'a RawValue>,
    met: &'a Met,
}

impl<'a> List<'a> {
    fn of(raw: &'a RawValue, met: &'a Met) -> Option<Self> {
        let items: Vec<&RawValue> = raw.get().starts_with('[').then(|| serde_json::from_str(raw.get()).ok())??;
        Some(Self { items, met })
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items that are objects, without a word about the others.
    pub(super) fn objects(&self) -> impl Iterator<Item = Object<'a>> {
        self.items.iter().filter_map(|raw| Object::of(raw, self.met))
    }

    /// Reads the items one by one. What is no object, and what `read` makes nothing of, is counted; the
    /// latter is said to be `without` something.
    pub(super) fn each<T>(
        &self,
        without: &'static str,
        mut read: impl FnMut(&Object<'a>, &'a RawValue) -> Option<T>,
    ) -> Vec<T> {
        // Not as many as are announced: an item of two bytes would reserve the room of a message.
        let mut all = Vec::new();
        for raw in &self.items {
            let item = Object::of(raw, self.met).map(|object| read(&object, raw));
            match item {
                Some(Some(item)) => all.push(item),
                Some(None) => self.met.item(without),
                None => self.met.item(kind(raw)),
            }
        }
        all
    }
}

/// What an item is instead of an object.
fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'n') => "null",
        Some(b'"') => "a text",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "true or false",
        Some(b'{') => "an object that is not well formed",
        _ => "a number",
    }
}

impl<'a> Scalar<'a> {
    fn into_text(self) -> Cow<'a, str> {
        match self {
            // A whole float is the whole number: 7.0 and 7 are one id.
            Self::Number(number) if !number.bytes().all(|b| b.is_ascii_digit()) => match self.whole_number() {
                Some(whole) => Cow::Owned(whole.to_string()),
                None => Cow::Borrowed(number),
            },
            Self::Number(number) => Cow::Borrowed(number),
            Self::Text(text) => text,
        }
    }

    /// What is written, as a number or as a text.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Number(number) => number,
            Self::Text(text) => text.trim(),
        }
    }

    /// The whole number that it is, if it is one: digits, or a float without a fraction.
    pub(super) fn whole_number(&self) -> Option<i64> {
        let text = self.as_str();
        let float = || text.parse::<f64>().ok().filter(|float| float.fract() == 0.0 && float.abs() < MOST_EXACT);
        text.parse().ok().or_else(|| float().map(|float| float as i64))
    }
}

/// Above it a float may stand for several whole numbers.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A number as it is written, or a text with half characters replaced.
fn scalar(raw: &RawValue) -> Option<Scalar<'_>> {
    match raw.get().as_bytes().first()? {
        b'"' => string(raw).map(Scalar::Text),
        b'-' | b'0'..=b'9' => Some(Scalar::Number(raw.get())),
        _ => None,
    }
}

fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let text = raw.get();
    if !text.contains('\\') {
        return Some(Cow::Borrowed(text.strip_prefix('"')?.strip_suffix('"')?));
    }
    parse(text.as_bytes()).ok().map(Cow::Owned)
}

/// The fields of an object in their order.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(12));
                // A key is read like any other text, half characters and all.
                while let Some((key, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
                    fields.extend(string(key).map(|key| (key, value)));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// An item as it was received, but for half characters: they would spoil the event for receivers.
pub(super) fn kept(raw: &RawValue) -> Box<RawValue> {
    match whole(raw.get().as_bytes()) {
        Cow::Borrowed(_) => raw.to_owned(),
        Cow::Owned(repaired) => RawValue::from_string(repaired).unwrap_or_else(|_| raw.to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An object that outlives the test, to read fields of.
    pub(in crate::providers) fn object(value: &serde_json::Value) -> Object<'static> {
        let body: &'static [u8] = value.to_string().into_bytes().leak();
        Box::leak(Box::new(Document::of(body))).object().unwrap()
    }

    fn document(body: &str) -> &'static Document<'static> {
        Box::leak(Box::new(Document::of(body.to_owned().into_bytes().leak())))
    }

    #[test]
    fn a_cursor_of_another_type_is_on_record_and_a_whole_float_is_the_number() {
        let cursor = |value: &str| {
            let body = format!("{{\"cursor\": {value}}}");
            let document = Document::of(body.as_bytes());
            let cursor = document.object().unwrap().cursor("cursor");
            (cursor, document.unreadable().items)
        };
        for (value, read) in [("\"x\"", "x"), ("7", "7"), ("1795825767143.0", "1795825767143"), ("7.5", "7.5")] {
            assert_eq!(cursor(value), (Some(read.to_owned()), 0), "{value}");
        }
        for nothing in ["null", "\"\"", "\" \""] {
            assert_eq!(cursor(nothing), (None, 0), "{nothing}");
        }
        for odd in ["true", "[\"x\"]", "{\"x\": 1}"] {
            assert_eq!(cursor(odd), (None, 1), "{odd}");
        }
    }

    #[test]
    fn half_characters_are_replaced_and_whole_ones_stay() {
        let parsed = |body: &[u8]| parse::<String>(body).unwrap();
        assert_eq!(parsed(br#""cut \ud83d""#), "cut \u{fffd}");
        assert_eq!(parsed(br#""\udc4d turned \ud83d\u0041""#), "\u{fffd} turned \u{fffd}A");
        assert_eq!(parsed(br#""whole \ud83d\udc4d, cut \ud83d""#), "whole \u{1f44d}, cut \u{fffd}");
        assert_eq!(parsed(b"\"cut \xf0\x9f\""), "cut \u{fffd}");
        assert_eq!(parsed(br#""no escape: \\ud83d, cut \ud83d""#), "no escape: \\ud83d, cut \u{fffd}");
        assert!(parse::<String>(b"<html>").is_err());
        assert!(parse::<String>(br#""\"#).is_err());
    }

    #[test]
    fn an_item_is_kept_as_it_was_received_but_for_half_characters() {
        let kept = |body: &[u8]| -> Vec<String> {
            let document = Document::of(body);
            let list = document.object().unwrap().list("items").unwrap();
            list.each("", |object, raw| Some((object.whole_number("id")?, kept(raw).get().to_owned())))
                .into_iter()
                .map(|(id, raw)| format!("{id} {raw}"))
                .collect()
        };
        let body = br#"{"items":[{"z": 1.50, "id": 7,  "z": "\ud83d\udc4d"}]}"#;
        assert_eq!(kept(body), [r#"7 {"z": 1.50, "id": 7,  "z": "\ud83d\udc4d"}"#]);
        for half in [
            br#"{"items":[{"id": 7, "unread": "\ud83d"}]}"#.as_slice(),
            b"{\"items\":[{\"id\": 7, \"unread\": \"\xf0\x9f\"}]}",
        ] {
            assert_eq!(kept(half), ["7 {\"id\": 7, \"unread\": \"\u{fffd}\"}"]);
        }
        assert_eq!(kept(br#"{"items":[{"id": 7, "\ud83d": 1}]}"#), ["7 {\"id\": 7, \"\u{fffd}\": 1}"]);
    }

    #[test]
    fn fields_are_read_by_what_they_say_and_of_another_type_they_are_absent_and_noted() {
        let document = document(
            r#"{"n": 7212345678901234567, "big": 72123456789012345678901, "float": 5.0, "half": 5.5, "text": " 12 ",
                "yes": true, "one": 1, "zero": 0, "no": "False", "list": [1], "null": null, "object": {"text": "hi"},
                "esc": "a\"\u00fc", "twice": {}, "twice": "last"}"#,
        );
        let object = document.object().unwrap();
        assert_eq!(object.text("n").as_deref(), Some("7212345678901234567"));
        assert_eq!(object.text("big").as_deref(), Some("72123456789012345678901"), "no digit is lost");
        assert_eq!(object.text("esc").as_deref(), Some("a\"ü"));
        assert_eq!(object.text("twice").as_deref(), Some("last"));
        assert_eq!(object.words("object").as_deref(), Some("hi"));
        let numbers = ["n", "float", "text"].map(|key| object.whole_number(key));
        assert_eq!(numbers, [Some(7_212_345_678_901_234_567), Some(5), Some(12)]);
        let flags = ["yes", "one", "zero", "no"].map(|key| object.flag(key));
        assert_eq!(flags, [Some(true), Some(true), Some(false), Some(false)]);
        assert!(object.text("null").is_none() && object.text("absent").is_none());
        assert_eq!(document.unreadable(), Unreadable::default(), "nothing odd so far");

        assert!(object.text("list").is_none() && object.text("list").is_none() && object.object("n").is_none());
        assert_eq!(document.unreadable().fields, ["list", "n"], "each once");
        assert!(object.list("object").is_none() && object.flag("list").is_none() && object.words("list").is_none());
        assert!(object.whole_number("half").is_none());
        assert_eq!(document.unreadable().fields, ["object", "list", "half"]);
    }

    #[test]
    fn an_item_that_cannot_be_read_is_counted_and_its_neighbours_are_read() {
        let document =
            document(r#"{"items": [null, {"id": 1}, 5, "x", [], true, {"name": "no id"}, {"id": 2}], "object": {}}"#);
        let object = document.object().unwrap();
        let ids = object.list("items").unwrap().each("an object without id", |item, _| item.whole_number("id"));
        assert_eq!(ids, [1, 2]);
        let unreadable = document.unreadable();
        assert_eq!((unreadable.items, unreadable.looks, unreadable.fields.len()), (6, Some("null"), 0));
        assert_eq!(object.objects("items").len(), 3);
        assert!(object.objects("object").is_empty());
        assert!(Document::of(b"[1]").object().is_err() && Document::of(b"{\"a\": [}").object().is_err());
        assert!(Document::of(b"<html>").object().is_err() && Document::of(b"{} x").object().is_err());
    }

    #[test]
    fn what_is_nested_without_end_is_one_odd_item_and_one_odd_attachment() {
        for depth in [101, 10_000] {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            let body = format!("{{\"items\": [{{\"id\": 1}}, {open}{close}, {{\"id\": 2, \"a\": {open}{close}}}]}}");
            let document = Document::of(body.as_bytes());
            let object = document.object().unwrap();
            let ids = object.list("items").unwrap().each("an object without id", |item, _| item.whole_number("id"));
            assert_eq!(ids, [1, 2]);
            assert_eq!(document.unreadable().items, 1);
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let body = format!("{{\"attachments\": [{{\"id\": 1}}, {deep}, {{\"id\": 2}}]}}");
        let document = Document::of(body.as_bytes());
        assert_eq!(document.object().unwrap().attachments("attachments", &mut vec![]).len(), 2);
        assert_eq!(document.unreadable().fields, ["attachments"]);
    }
}
