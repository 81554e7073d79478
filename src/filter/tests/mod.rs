mod arbitrary;

use serde_json::json;

use super::Verdict::{Unjudged, Unwanted, Wanted};
use super::*;
use crate::model::{
    AccountName, Change, Conversation, ConversationId, ConversationType, Direction, Event, EventContext, Flag, Message,
    MessageId, Notice, Route, Seen, Sender, kind,
};

fn patterns(patterns: &[&str]) -> Patterns {
    Patterns::new(patterns.iter().map(|p| (*p).to_owned()).collect()).unwrap()
}

fn filter(text: &str, events: &[&str]) -> Filter {
    Filter::parse(text, &patterns(events)).unwrap_or_else(|error| panic!("{text}: {error}")).0
}

fn refused(text: &str, events: &[&str]) -> String {
    Filter::parse(text, &patterns(events)).expect_err(text)
}

/// A moment, whatever its type is called.
fn at<T: serde::de::DeserializeOwned>(time: &str) -> T {
    serde_json::from_value(time.into()).unwrap()
}

fn message(change: impl FnOnce(&mut Message)) -> String {
    let mut message = Message {
        id: MessageId::new("2-TTE="),
        direction: Direction::Inbound,
        sent_at: Some(at("2026-11-20T09:14:03.512Z")),
        sender: Sender { id: Some("ACoAAb1".into()), name: Some("Ada Byron".into()), profile_url: None },
        text: "See You then".into(),
        subject: None,
        quoted: None,
        forwarded: None,
        attachments: vec![serde_json::value::to_raw_value(&json!({"type": "img", "size": 5})).unwrap()],
        flags: vec![Flag::Edited],
        unannounced: false,
        raw: None,
    };
    change(&mut message);
    let conversation = Conversation {
        id: ConversationId::new("2-QWxwaGE="),
        address: "2-QWxwaGE=".into(),
        kind: ConversationType::Standard,
        person_url: None,
    };
    let account = AccountName::new("main").unwrap();
    let context = EventContext { provider: "unipile", account: &account, conversation: &conversation, title: None };
    let at = at("2026-11-20T09:14:31.002Z");
    Event::message_new(&context, &message, Seen { at, route: Route::Poll, late: false, backfill: false }).body
}

fn inbound() -> String {
    message(|_| {})
}

fn outbound() -> String {
    message(|message| message.direction = Direction::Outbound)
}

fn signed_out() -> String {
    Event::notice(&Notice {
        budget: None,
        kind: kind::ACCOUNT_ACTION_REQUIRED,
        provider: "unipile",
        account: &AccountName::new("main").unwrap(),
        conversation: None,
        state: Change::Entered,
        reason: Some("auth"),
        since: at("1970-01-01T00:00:00Z"),
        detail: "signed out",
    })
    .body
}

#[test]
fn an_expression_chooses_among_messages() {
    for (text, of_inbound, of_outbound) in [
        ("data.message.direction == 'inbound'", Wanted, Unwanted),
        ("data['message'].direction != \"inbound\"", Unwanted, Wanted),
        ("not data.message.direction in ['inbound', 'unknown']", Unwanted, Wanted),
        ("data.message.direction not in ('outbound',)", Wanted, Unwanted),
        ("data.message.direction is in(['outbound'])", Unwanted, Wanted),
        ("data.message.direction == 'outbound' or data.account == 'main'", Wanted, Wanted),
        ("data.message.direction == 'outbound' and data.account == 'other'", Unwanted, Unwanted),
        ("(data.message.direction == 'outbound') == true", Unwanted, Wanted),
    ] {
        let filter = filter(text, &["message.new"]);
        assert_eq!((filter.wants(&inbound()), filter.wants(&outbound())), (of_inbound, of_outbound), "{text}");
    }
}

#[test]
fn texts_numbers_lists_and_times_are_compared_as_what_they_are() {
    for (text, verdict) in [
        ("'you' in data.message.text", Unwanted),
        ("'you' in data.message.text | lower", Wanted),
        ("data.message.text | upper == 'SEE YOU THEN'", Wanted),
        ("data.message.text | trim | length == 12", Wanted),
        ("12.0 == data.message.text | length", Wanted),
        ("0 < data.message.text | count < 12", Unwanted),
        ("-1 < data.message.text | length <= 12", Wanted),
        ("data.message.text is startingwith 'See'", Wanted),
        ("data.message.text is not endingwith('then')", Unwanted),
        ("'edited' in data.message.flags", Wanted),
        ("'deleted' in data.message.flags or 'edited' not in data.message.flags", Unwanted),
        ("data.message.attachments | length > 0 and data.message.attachments[0].type == 'img'", Wanted),
        ("data.message.attachments[-1]['size'] >= 5.5", Unwanted),
        ("data.message.attachments", Wanted),
        ("data.message.sent_at < '2027'", Wanted),
        ("time >= '2026-11-20T09:14:03.512Z'", Wanted),
        ("data.seen.late is false and not data.seen.backfill", Wanted),
        ("data.seen.late == true", Unwanted),
        ("id is startingwith 'evt_' and subject == '2-QWxwaGE=' and source == '/inboxd/accounts/main'", Wanted),
        ("data.message.sender.name == data.conversation.title", Unwanted),
    ] {
        assert_eq!(filter(text, &["message.new"]).wants(&inbound()), verdict, "{text}");
    }
}

#[test]
fn null_is_a_value() {
    for (text, verdict) in [
        ("data.conversation.title == none", Wanted),
        ("data.conversation.title is none", Wanted),
        ("data.conversation.title != none", Unwanted),
        ("data.conversation.title == 'Ada'", Unwanted),
        ("data.conversation.title in ['Ada', none]", Wanted),
        ("data.message.sender.id is none", Unwanted),
        ("not data.conversation.title", Wanted),
        // It has no order and no letters, though.
        ("data.conversation.title < 'B'", Unjudged),
        ("'Ada' in data.conversation.title", Unjudged),
        ("data.conversation.title | lower == 'ada'", Unjudged),
        ("data.conversation.title is not none and data.conversation.title | lower == 'ada'", Unwanted),
    ] {
        assert_eq!(filter(text, &["message.new"]).wants(&inbound()), verdict, "{text}");
    }
    let notice = filter("data.conversation == none", &["account.*"]);
    assert_eq!(notice.wants(&signed_out()), Wanted);
}

#[test]
fn what_lacks_a_field_that_is_looked_at_is_not_judged() {
    for (text, verdict) in [
        ("data.message.direction == 'inbound'", Unjudged),
        ("data.message.direction != 'inbound'", Unjudged),
        ("not data.message.direction == 'inbound'", Unjudged),
        ("data.message.direction is not in ['inbound']", Unjudged),
        ("data.message", Unjudged),
        ("data.message.direction == 'inbound' or type == 'account.recovered'", Unjudged),
        ("data.conversation.title == 'Ada'", Unjudged),
        ("data.conversation.title != 'Ada'", Unjudged),
        ("data.conversation.title is none", Unjudged),
        ("data.message.attachments[0].type == 'img'", Unjudged),
        // Fields behind an operand that decides are not looked at.
        ("type != 'message.new' or data.message.direction == 'inbound'", Wanted),
        ("type == 'message.new' and data.message.direction == 'inbound'", Unwanted),
        ("data.account == 'other' and data.message.direction == 'inbound'", Unwanted),
    ] {
        assert_eq!(filter(text, &["*"]).wants(&signed_out()), verdict, "{text}");
    }
    let filter = filter("data.message.attachments[1].type == 'img'", &["*"]);
    assert_eq!(filter.wants(&inbound()), Unjudged, "a list has no item beyond its end");
    for broken in ["", "{", "null", "[]", "{\"data\": 5}", &"[".repeat(100_000)] {
        assert_eq!(filter.wants(broken), Unjudged, "{}", cut(broken));
    }
}

fn cut(text: &str) -> &str {
    &text[..text.len().min(20)]
}

#[test]
fn an_event_that_would_take_too_long_to_judge_is_not_judged() {
    let long = message(|message| message.text = "x".repeat(60_000));
    let looks = |count: usize| vec!["'y' in data.message.text"; count].join(" or ");
    assert_eq!(filter(&looks(40), &["message.new"]).wants(&long), Unwanted);
    let lower = ["'y' in data.message.text"; 45].join(" or ");
    let twice = format!("{lower} or data == data or {lower}");
    assert!(Filter::parse(&twice, &patterns(&["*"])).unwrap_err().contains("more than"), "an expression is bounded");
    let deep = format!("data {}", " == data".repeat(140));
    assert_eq!(filter(&deep, &["message.new"]).wants(&long), Unjudged);
    assert_eq!(filter(&deep, &["message.new"]).wants(&inbound()), Wanted);
}

#[test]
fn an_unknown_field_is_refused_with_the_nearest_known_name() {
    for (text, error) in [
        ("data.message.directon == 'inbound'", "data.message.directon: unknown field; did you mean \"direction\"?"),
        ("data.mesage.direction == 'inbound'", "data.mesage: unknown field; did you mean \"message\"?"),
        ("typ == 'message.new'", "typ: unknown field; did you mean \"type\"?"),
        ("message.direction == 'inbound'", "message: unknown field; known are data, datacontenttype, id"),
        ("data.seen.zzzz", "data.seen.zzzz: unknown field; known are at, backfill, late, route"),
        ("data.message.text.length > 3", "data.message.text.length: unknown field; above it is a text"),
        ("data.message.text[0] == 'x'", "data.message.text[0]: only a list has items, and this is a text"),
        ("data.message['raw'].x == 1", "data.message.raw: unknown field"),
        ("data.state == 'left'", "data.state: no event that `events` of the sink selects has it; account.action_req"),
        ("data.\u{202e}x", "is not an expression"),
    ] {
        let refused = refused(text, &["message.*"]);
        assert!(refused.starts_with(error), "{text}: {refused}");
    }
    filter("data.state == 'left'", &["message.*", "account.*"]);
}

#[test]
fn a_comparison_that_never_comes_out_one_way_is_refused() {
    for (text, error) in [
        (
            "data.message.direction == 'inbond'",
            "data.message.direction: never has that value; did you mean \"inbound\"? it has \"inbound\", \"outbound\", \"unknown\"",
        ),
        (
            "'zzzzzz' != data.seen.route",
            "data.seen.route: never has that value; it has \"backfill\", \"poll\", \"sweep\"",
        ),
        ("data.message.direction in ['inbound', 'outbond']", "data.message.direction: never has that value; did you"),
        ("data.message.direction not in ('inbond',)", "data.message.direction: never has that value; did you mean"),
        ("'deletd' in data.message.flags", "data.message.flags: never has that value; did you mean \"deleted\"?"),
        ("type == 'account.recovered'", "type: never has that value; it has \"message.changed\", \"message.new\""),
        ("data.provider == 'unipil'", "data.provider: never has that value; did you mean \"unipile\"?"),
        ("data.message.text == 5", "data.message.text (a text) is never a number"),
        ("data.message.text == none", "data.message.text (a text) is never null"),
        ("data.message.text is none", "data.message.text (a text) is never null"),
        ("data.conversation.title == true", "data.conversation.title (a text or null) is never true or false"),
        ("data.seen.late == 'true'", "data.seen.late (true or false) is never a text"),
        ("data.seen.late in ['a', true]", "data.seen.late (true or false) is never a text"),
        ("data.seen.late > false", "data.seen.late (true or false) has no order with true or false"),
        ("data.message.text > 5", "data.message.text (a text) has no order with a number"),
        ("5 in data.message.text", "data.message.text (a text) cannot contain a number"),
        ("'a' in data.message", "data.message (an object) cannot contain a text"),
        ("data.message.flags == 'edited'", "data.message.flags (a list) is never a text"),
        ("data.seen.late | lower == 'x'", "data.seen.late (true or false) has no \"lower\""),
        (
            "data.seen.late is startingwith 'x'",
            "data.seen.late (true or false): the test \"startingwith\" is for texts",
        ),
    ] {
        let refused = refused(text, &["message.*"]);
        assert!(refused.starts_with(error), "{text}: {refused}");
    }
}

#[test]
fn what_the_language_does_not_have_is_refused_with_what_it_has() {
    for (text, error) in [
        ("data.message.text | lowr == 'x'", "unknown filter \"lowr\"; did you mean \"lower\"?"),
        ("data.message.text | map == 'x'", "unknown filter \"map\"; "),
        ("data.message.text | tojson", "unknown filter \"tojson\"; there are the filters length, count"),
        ("data.message.text | lower('x')", "the filter \"lower\" takes no arguments"),
        ("data.message.text is startngwith 'x'", "unknown test \"startngwith\"; did you mean \"startingwith\"?"),
        ("data.message is defined", "the test \"defined\" is not needed"),
        ("data.message.text is startingwith", "the test \"startingwith\" needs an argument"),
        ("data.message.text is none('x')", "the test \"none\" takes no argument"),
        ("data.message.text is startingwith('x', 'y')", "the test \"startingwith\" takes one argument"),
        ("range(10)", "calls no functions; there are the filters"),
        ("data.message.text.startswith('x')", "calls no functions"),
        ("data.message.text + 'x' == 'y'", "cannot calculate"),
        ("-data.message.text", "cannot calculate"),
        ("-'x' == 'y'", "cannot calculate"),
        ("data.message.text[1:2] == 'x'", "knows no slices"),
        ("{'a': 1} == data.message", "knows no slices, maps"),
        ("'a' if data.seen.late else 'b'", "knows no slices, maps, conditions"),
        ("data.message[data.account] == 'x'", "a subscript is a text or a whole number"),
        ("(data.message.text | lower).x == 'x'", "only a field of the event can have fields"),
        ("1e999 == data.message.text | length", "has a number that JSON does not know"),
        ("data.message.direction = 'inbound'", "is not an expression such as"),
        ("", "is not an expression such as data.message.direction == 'inbound': unexpected end of input"),
        ("{{ data.seen.late }}", "is not an expression"),
        ("data.message.text == 'x' 'y", "is not an expression"),
    ] {
        let refused = refused(text, &["message.*"]);
        assert!(refused.starts_with(error), "{text}: {refused}");
    }
    assert_eq!(refused(&format!("data.account == '{}'", "x".repeat(4096)), &["*"]), "is longer than 4 KiB");
}

#[test]
fn what_is_valid_and_perhaps_not_meant_is_warned_of() {
    let warnings = |text: &str, events: &[&str]| Filter::parse(text, &patterns(events)).unwrap().1;
    let inbound = "data.message.direction == 'inbound'";
    assert!(warnings(inbound, &["message.*"]).is_empty());
    assert_eq!(
        warnings(inbound, &["message.new", "account.*"]),
        [
            "does not apply to account.action_required, account.full, account.recovered, which lack what it looks at: they are delivered"
        ]
    );
    assert!(warnings(&format!("type != 'message.new' or {inbound}"), &["*"]).is_empty());
    assert_eq!(warnings("1 < 2", &["*"]), ["looks at no field of the event, so it says the same of all"]);
}

#[test]
fn no_text_of_an_expression_is_repeated() {
    for text in [
        "data.message.direction == 's3cr3t'",
        "data.seen.late == 's3cr3t'",
        "'s3cr3t' == 5",
        "'s3cr3t' 's3cr3t",
        "'a' in ['s3cr3t']",
        "'s3cr3t' == 'a'",
    ] {
        assert!(!refused(text, &["*"]).contains("s3cr3t"), "{text}");
    }
}
