use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> String {
    match parse(text).unwrap() {
        Some(Asked::Trace(expression)) => format!("{expression:?}"),
        Some(Asked::Span(filter)) => format!("{filter:?}"),
        None => String::new(),
    }
}

fn mistake(text: &str) -> (usize, String) {
    let mistake = parse(text).unwrap_err();
    (mistake.position, mistake.message)
}

#[test]
fn traceql_is_read_in_all_its_phase_one_forms() {
    for text in [
        "{}",
        "{ true }",
        "{ span.http.response.status_code >= 500 }",
        "{ .http.route = \"/pay\" && (duration > 1.5s || status = error) }",
        "{ !(kind = consumer) }",
        "{ span.\"my key\" != nil }",
        "{ resource.service.name =~ `esh.*` } && { name !~ \"GET .*\" } || ({ topic = \"orders\" })",
        "{ lag > 5s } | count() > 2 | select(span.x, .y) with (most_recent=true)",
        "{ lag > 100 && queue_time < 1m && partition = 2 && group = \"g\" && offset >= 7 }",
        "{ trace:duration > 1s && trace:rootName = \"x\" && event:name = \"exception\" && link:traceID != nil }",
        "{ .flag }",
    ] {
        assert!(
            matches!(parse(text).unwrap(), Some(Asked::Trace(_))),
            "{text}"
        );
    }
    assert!(shown("{ lag > 5s }").contains("QueueTime"));
    assert!(shown("{ lag > 5 }").contains("Lag"));
}

#[test]
fn and_binds_tighter_than_or() {
    assert_eq!(
        shown("{ .a = 1 || .b = 2 && .c = 3 }"),
        shown("{ .a = 1 || (.b = 2 && .c = 3) }")
    );
    assert_eq!(
        shown("{ .a = 1 } || { .b = 2 } && { .c = 3 }"),
        shown("{ .a = 1 } || ({ .b = 2 } && { .c = 3 })")
    );
}

#[test]
fn logfmt_and_bare_ids_are_read() {
    assert!(
        matches!(parse("http.route=/pay error=true x=\"a b\"").unwrap(), Some(Asked::Span(Filter::All(parts))) if parts.len() == 3)
    );
    assert!(shown("0af7651916cd43dd8448eb211c80319c").contains("TraceId"));
    assert!(shown(" 00F067AA0BA902B7 ").contains("00f067aa0ba902b7"));
    assert_eq!(shown("  "), "");
}

#[test]
fn what_is_not_understood_is_told_with_its_place_and_its_mend() {
    for (text, position, message) in [
        ("{ foo = 1 }", 2, "write .foo"),
        ("{ .a = }", 7, "a value is expected"),
        ("{ .a = 1", 8, "closing `}`"),
        ("{ .a == 1 }", 6, "a value is expected"),
        ("{ .a = b }", 7, "put texts in quotes"),
        ("{ duration > 5 }", 13, "needs a unit"),
        ("{ status = bad }", 11, "ok, error or unset"),
        ("{ kind = Server }", 9, "a kind is server"),
        ("{ .a =~ \"(\" }", 8, "not a regular expression"),
        ("{ .a =~ x }", 8, "in quotes"),
        ("{ .a = \"x }", 7, "quote is not closed"),
        (
            "{ .a = 1 } >> { .b = 2 }",
            11,
            "structure between spans (`>>`)",
        ),
        (
            "{ .a = 1 } | avg(duration) > 1s",
            13,
            "`| avg` is not understood yet",
        ),
        ("{ .a = 1 } | rate()", 13, "`| rate`"),
        ("{ parent.a = 1 }", 2, "parent"),
        ("{ span:nam = 1 }", 2, "span:name"),
        ("checkout", 0, "write checkout=value"),
        ("a=1 b", 4, "write b=value"),
        ("a=", 1, "a value is missing"),
        ("{ .a = nil && .b > nil }", 19, "use = or !="),
        ("{} {}", 3, "the end"),
        ("\u{e9}=1 { .a }", 4, "a key"),
    ] {
        let (at, told) = mistake(text);
        assert!(
            at == position && told.contains(message),
            "{text}: {at}: {told}"
        );
    }
    assert!(
        mistake(
            &"!("
                .repeat(500)
                .replace("!(", "{ !(")
                .replacen("{ ", "", 499)
        )
        .1
        .len()
            < 200
    );
}

proptest! {
    #[test]
    fn nothing_that_is_typed_panics_and_every_mistake_lies_in_the_text(text in "[{}()a-c.:=!<>&|~\"` 0-9ms\\\\\u{e9}]{0,40}") {
        if let Err(mistake) = parse(&text) {
            prop_assert!(mistake.position <= text.chars().count());
            prop_assert!(!mistake.message.is_empty());
        }
    }
}
