//! What the JSON Schema of events says of a place in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::evaluate::Step;
use crate::model::{Patterns, event_schema};

/// Every type of event and its shape.
static EVENTS: LazyLock<Vec<(String, Shape)>> = LazyLock::new(|| {
    let document = event_schema();
    let kind = |entry: &Value| Some(entry["$ref"].as_str()?.rsplit('/').next()?.to_owned());
    let entries = document["oneOf"].as_array().into_iter().flatten();
    entries.filter_map(|entry| Some((kind(entry)?, Shape::read(&document, entry)))).collect()
});

/// A JSON type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Type {
    Text,
    Number,
    Boolean,
    List,
    Object,
    Null,
}

impl Type {
    const ALL: [Self; 6] = [Self::Text, Self::Number, Self::Boolean, Self::List, Self::Object, Self::Null];

    fn named(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::Text,
            "number" | "integer" => Self::Number,
            "boolean" => Self::Boolean,
            "array" => Self::List,
            "object" => Self::Object,
            "null" => Self::Null,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => "a list",
            Self::Object => "an object",
            Self::Null => "null",
        }
    }
}

/// What may stand at a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    pub(super) types: BTreeSet<Type>,
    /// The texts it may be, where they are listed.
    pub(super) values: Option<BTreeSet<String>>,
    fields: BTreeMap<String, Shape>,
    items: Option<Box<Shape>>,
    /// Anything may stand below it.
    open: bool,
}

impl Shape {
    /// A place of these types.
    pub(super) fn of(types: impl IntoIterator<Item = Type>) -> Self {
        Self { types: types.into_iter().collect(), ..Self::default() }
    }

    fn anything() -> Self {
        Self { open: true, ..Self::of(Type::ALL) }
    }

    /// The shape of a literal.
    pub(super) fn of_literal(value: &Value) -> Self {
        match value {
            Value::String(text) => Self { values: Some([text.clone()].into()), ..Self::of([Type::Text]) },
            Value::Number(_) => Self::of([Type::Number]),
            Value::Bool(_) => Self::of([Type::Boolean]),
            Value::Null => Self::of([Type::Null]),
            Value::Array(_) => Self { items: Some(Self::anything().into()), ..Self::of([Type::List]) },
            Value::Object(_) => Self { open: true, ..Self::of([Type::Object]) },
        }
    }

    /// Fields that may be absent are left out: a filter over them would judge by chance.
    fn read(document: &Value, schema: &Value) -> Self {
        if let Some(target) = schema["$ref"].as_str().and_then(|r| document.pointer(r.trim_start_matches('#'))) {
            return Self::read(document, target);
        }
        if let Some(branches) = ["oneOf", "anyOf"].iter().find_map(|word| schema[*word].as_array()) {
            let branches = branches.iter().map(|branch| Self::read(document, branch));
            return branches.reduce(Self::or).unwrap_or_default();
        }
        let types: BTreeSet<_> = match &schema["type"] {
            Value::String(word) => Type::named(word).into_iter().collect(),
            Value::Array(words) => words.iter().filter_map(|word| Type::named(word.as_str()?)).collect(),
            _ => return Self::anything(),
        };
        let listed = schema["enum"].as_array().map(Vec::as_slice).or(schema.get("const").map(std::slice::from_ref));
        let required = schema["required"].as_array();
        let fields = schema["properties"].as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| required.is_some_and(|names| names.iter().any(|n| n == *name)));
        Self {
            types,
            values: listed.map(|values| values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()),
            fields: fields.map(|(name, field)| (name.clone(), Self::read(document, field))).collect(),
            items: schema.get("items").map(|items| Box::new(Self::read(document, items))),
            open: schema.get("properties").is_none() && schema["type"] == "object",
        }
    }

    /// What may be this or that.
    pub(super) fn or(mut self, other: Self) -> Self {
        let is_text = |shape: &Self| shape.types.contains(&Type::Text);
        self.values = match (is_text(&self), is_text(&other)) {
            (true, true) => self.values.zip(other.values).map(|(one, two)| &one | &two),
            (true, false) => self.values,
            _ => other.values,
        };
        self.types.extend(other.types);
        for (name, field) in other.fields {
            let known = self.fields.remove(&name);
            self.fields.insert(name, known.map_or_else(|| field.clone(), |known| known.or(field.clone())));
        }
        self.items = match (self.items, other.items) {
            (Some(one), Some(two)) => Some(Box::new(one.or(*two))),
            (one, two) => one.or(two),
        };
        self.open |= other.open;
        self
    }

    /// What may stand one step below it; `None` where nothing does.
    pub(super) fn at(&self, step: &Step) -> Option<Self> {
        let known = match step {
            Step::Field(name) => self.fields.get(name).cloned(),
            Step::Item(_) => self.item(),
        };
        known.or_else(|| self.open.then(Self::anything))
    }

    /// What may stand in it, where it is a list.
    pub(super) fn item(&self) -> Option<Self> {
        self.items.as_deref().cloned().or_else(|| self.open.then(Self::anything))
    }

    /// Names of its fields.
    pub(super) fn names(&self) -> Vec<&str> {
        self.fields.keys().map(String::as_str).collect()
    }

    /// Its types in words: "a text or null".
    pub(super) fn words(&self) -> String {
        if self.types.is_empty() {
            return "nothing".into();
        }
        self.types.iter().map(|kind| kind.word()).collect::<Vec<_>>().join(" or ")
    }
}

/// The shape of all events that these patterns select, in one.
pub(super) fn selected(events: &Patterns) -> Shape {
    let shapes = EVENTS.iter().filter(|(kind, _)| events.want(kind)).map(|(_, shape)| shape.clone());
    shapes.reduce(Shape::or).unwrap_or_default()
}

/// Types of events that have a field, and those that have it not.
pub(super) fn kinds_with(path: &[Step]) -> (Vec<&'static str>, Vec<&'static str>) {
    let has = |shape: &Shape| path.iter().try_fold(shape.clone(), |shape, step| shape.at(step)).is_some();
    let (with, without): (Vec<_>, Vec<_>) = EVENTS.iter().partition(|(_, shape)| has(shape));
    let names = |events: Vec<&'static (String, Shape)>| events.into_iter().map(|(kind, _)| kind.as_str()).collect();
    (names(with), names(without))
}
