//! Whatever is written into a filter or stands in an event, nothing panics.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[test]
fn the_deepest_expressions_are_refused_and_exhaust_no_stack() {
    for (begin, repeated, end) in [
        ("", "not ", "true"),
        ("", "-", "1"),
        ("", "(", ""),
        ("", "[", ""),
        ("", "a if b else ", "c"),
        ("id", ".a", ""),
        ("id", "|lower", ""),
        ("1", "+1", ""),
        ("id", " or id", ""),
        ("id", "[0]", ""),
        ("id", " is none", ""),
    ] {
        for count in [50, 74, 140, 290, 2_000] {
            let text = format!("{begin}{}{end}", repeated.repeat(count));
            drop(Filter::parse(&text, &patterns(&["*"])).map(|(filter, _)| filter.wants(&inbound())));
        }
    }
}

/// Pieces of expressions in any order: most are wrong in ways that a person would not think of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "data",
        ".",
        "message",
        "text",
        "direction",
        "seen",
        "late",
        "flags",
        "attachments",
        "conversation",
        "title",
        "type",
        "(",
        ")",
        "[",
        "]",
        "0",
        "-",
        "'inbound'",
        "'x'",
        "none",
        "true",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        " not ",
        " and ",
        " or ",
        " is ",
        "|",
        "lower",
        "length",
        ",",
        "startingwith",
        "{",
        "}",
        "~",
        "data.message.text",
        "data.seen.late",
        "1.5",
        ":",
        " if ",
        " else ",
        "\"",
        "'",
        "**",
        "é",
        "\u{0}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let names =
        prop::sample::select(vec!["data", "message", "text", "direction", "seen", "late", "flags", "title", "type"]);
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        drop(Filter::parse(&text, &patterns(&["*"])));
    }

    #[test]
    fn any_expression_judges_any_event(text in pieces(), event in any_json()) {
        if let Ok((filter, _)) = Filter::parse(&text, &patterns(&["*"])) {
            prop_assert_eq!(filter.wants(&event.to_string()), filter.wants(&event.to_string()));
        }
    }

    #[test]
    fn every_valid_filter_judges_whatever_stands_in_the_fields(event in any_json(), body in ".{0,40}") {
        for text in [
            "data.message.direction == 'inbound'", "'x' in data.message.text | lower", "data.message.flags[0] == 'edited'",
            "data.seen.late or data.message.text < 'x'", "data.message.text | length in [1, 2.5]",
            "data.conversation.title is startingwith 'A'", "data.message.text | trim | upper == data.account",
        ] {
            let filter = filter(text, &["*"]);
            filter.wants(&event.to_string());
            filter.wants(&body);
        }
    }
}
