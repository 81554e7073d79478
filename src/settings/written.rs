//! Values as people write them where there is nothing but text: in the environment, and in what `${...}` inserts. Where
//! true or false is wanted, `"true"` is that; where a list is wanted, a JSON or TOML array is, and so are words with
//! commas between them. Only what is wanted decides: a key or a password that looks like a list stays what it is.

use std::marker::PhantomData;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::Value;

/// A value of the configuration, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a>(pub &'a Value);

/// What a text means where a list is wanted: an array in the way of JSON or TOML, or words between commas.
pub fn list(text: &str) -> Option<Vec<Value>> {
    if text.trim_start().starts_with('[') {
        return array(text);
    }
    let words = text.split(',').map(str::trim);
    let words: Vec<_> = words.map(|word| Value::from(word.to_owned())).collect();
    // Nothing is an empty list, and not one with an empty word in it.
    Some(if text.trim().is_empty() { vec![] } else { words })
}

/// What a text means where only an array in the way of JSON or TOML will do, because a comma may be part of a word.
pub fn array(text: &str) -> Option<Vec<Value>> {
    let text = text.trim();
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok().or_else(|| {
        let mut table: toml::Table = toml::from_str(&format!("array = {text}")).ok()?;
        // A text that closes the array and goes on with keys of its own means something else.
        let only = table.len() == 1;
        match json(table.remove("array").filter(|_| only)?) {
            Value::Array(items) => Some(items),
            _ => None,
        }
    })
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(entries) => entries.into_iter().map(|(name, value)| (name, json(value))).collect(),
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
    }
}

/// True or false, also as text.
pub fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Written<'de> {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Written<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Object(entries) => {
                let entries = entries.iter().map(|(name, value)| (name.as_str(), Written(value)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Written))),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match flag(self.0) {
            Some(flag) => visitor.visit_bool(flag),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::String(text) => match list(text) {
                Some(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter())),
                None => self.deserialize_any(visitor),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// One text, or several of them. From where there is nothing but text, several are an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<'de, T: From<String>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts<T>(PhantomData<T>);
        impl<'de, T: From<String>> Visitor<'de> for Texts<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                let Some(items) = array(text) else { return Ok(OneOrMany::One(text.to_owned().into())) };
                let texts: Option<Vec<_>> = items.iter().map(|item| Some(item.as_str()?.to_owned().into())).collect();
                texts.map(OneOrMany::Many).ok_or_else(|| E::custom("expected a list of texts"))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut texts = vec![];
                // The parser's own words may repeat the value.
                let refused = |_| A::Error::custom("expected a list of texts");
                while let Some(text) = items.next_element::<String>().map_err(refused)? {
                    texts.push(text.into());
                }
                Ok(OneOrMany::Many(texts))
            }
        }
        deserializer.deserialize_any(Texts(PhantomData))
    }
}

/// For `#[serde(deserialize_with = ...)]`: several texts, in each of which a comma or a blank may be part of it.
pub fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(texts) => Ok(texts),
        OneOrMany::One(_) => Err(D::Error::custom("expected a list of texts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Keys {
        flag: bool,
        #[serde(default)]
        list: Option<Vec<String>>,
        #[serde(default)]
        text: Option<String>,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Inner {
        flag: bool,
    }

    fn keys(value: &Value) -> Result<Keys, String> {
        Keys::deserialize(Written(value)).map_err(|e| e.to_string())
    }

    #[test]
    fn text_is_true_or_false_where_that_is_wanted_and_text_elsewhere() {
        for (text, flag) in [("true", true), ("False", false), (" TRUE ", true)] {
            let read = keys(&json!({"flag": text, "text": "true", "inner": [{"flag": text}]})).unwrap();
            assert_eq!((read.flag, read.text.as_deref(), read.inner[0].flag), (flag, Some("true"), flag));
        }
        for neither in [json!("yes"), json!(1), json!(""), json!([])] {
            assert!(keys(&json!({ "flag": neither })).is_err(), "{neither}");
        }
    }

    #[test]
    fn a_list_is_an_array_in_either_notation_or_words_between_commas() {
        let read = |list: Value| keys(&json!({"flag": true, "list": list, "text": "[\"a\"]"})).unwrap().list.unwrap();
        for written in [json!(["a", "b.*"]), json!("[\"a\", \"b.*\"]"), json!("['a', 'b.*',]"), json!(" a , b.* ")] {
            assert_eq!(read(written.clone()), ["a", "b.*"], "{written}");
        }
        assert_eq!(read(json!("")), Vec::<String>::new());
        assert_eq!(read(json!("[]")), Vec::<String>::new());
        for wrong in ["[\"a\"", "[a]", "[1]", "['a']\nflag = false"] {
            assert!(keys(&json!({"flag": true, "list": wrong})).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_text_or_several_is_told_by_the_brackets() {
        let read = |value: Value| OneOrMany::<String>::deserialize(Written(&value)).map_err(|e| e.to_string());
        assert_eq!(read(json!("a,b")), Ok(OneOrMany::One("a,b".into())));
        for several in [json!(["a", "b"]), json!("[\"a\", \"b\"]"), json!("['a', 'b']")] {
            assert_eq!(read(several), Ok(OneOrMany::Many(vec!["a".into(), "b".into()])));
        }
        assert_eq!(read(json!("[a")), Ok(OneOrMany::One("[a".into())), "a secret may begin so");
        for wrong in [json!(5), json!(["s3cr3t", 5]), json!("[\"s3cr3t\", 5]"), json!({"s3cr3t": 5})] {
            let message = read(wrong).unwrap_err();
            assert!(message.contains("list") && !message.contains("s3cr3t"), "{message}");
        }
    }

    #[test]
    fn tables_in_an_array_keep_their_times() {
        let items = array("[{ since = 2024-01-01T00:00:00Z, n = 1 }]").unwrap();
        assert_eq!(items, [json!({"since": "2024-01-01T00:00:00Z", "n": 1})]);
    }
}
