use proptest::prelude::*;

use super::*;

fn debug(text: &str) -> String {
    match parse(text).unwrap() {
        Some(ParsedQuery::Trace(expression)) => format!("{expression:?}"),
        Some(ParsedQuery::Span(filter)) => format!("{filter:?}"),
        None => String::new(),
    }
}

fn syntax_error(text: &str) -> (usize, String) {
    let error = parse(text).unwrap_err();
    (error.position, error.message)
}

#[test]
fn all_forms_of_the_traceql_subset_are_parsed() {
    for text in [
        "{}",
        "{ true }",
        "{ span.http.response.status_code >= 500 }",
        "{ .http.route = \"/pay\" && (duration > 1.5s || status = error) }",
        "{ !(kind = consumer) }",
        "{ span.\"my key\" != nil }",
        "{ resource.service.name =~ `esh.*` } && { name !~ \"GET .*\" } \
         || ({ topic = \"orders\" })",
        "{ lag > 5s } | count() > 2 | select(span.x, .y) with (most_recent=true)",
        "{ lag > 100 && queue_time < 1m && partition = 2 && group = \"g\" && offset >= 7 }",
        "{ trace:duration > 1s && trace:rootName = \"x\" && event:name = \"exception\" \
         && link:traceID != nil }",
        "{ .flag }",
    ] {
        assert!(
            matches!(parse(text).unwrap(), Some(ParsedQuery::Trace(_))),
            "{text}"
        );
    }
    assert!(debug("{ lag > 5s }").contains("QueueTime"));
    assert!(debug("{ lag > 5 }").contains("Lag"));
}

#[test]
fn and_binds_tighter_than_or() {
    assert_eq!(
        debug("{ .a = 1 || .b = 2 && .c = 3 }"),
        debug("{ .a = 1 || (.b = 2 && .c = 3) }")
    );
    assert_eq!(
        debug("{ .a = 1 } || { .b = 2 } && { .c = 3 }"),
        debug("{ .a = 1 } || ({ .b = 2 } && { .c = 3 })")
    );
}

#[test]
fn logfmt_and_bare_ids_are_parsed() {
    let Some(ParsedQuery::Span(SpanFilter::All(parts))) =
        parse("http.route=/pay error=true x=\"a b\"").unwrap()
    else {
        panic!("not a filter on a span");
    };
    assert_eq!(parts.len(), 3);
    assert!(debug("0af7651916cd43dd8448eb211c80319c").contains("TraceId"));
    assert!(debug(" 00F067AA0BA902B7 ").contains("00f067aa0ba902b7"));
    assert_eq!(debug("  "), "");
}

#[test]
fn a_pasted_value_needs_no_quotes() {
    let value_of = |text: &str| {
        let Some(ParsedQuery::Span(SpanFilter::All(parts))) = parse(text).unwrap() else {
            panic!("not a filter on a span");
        };
        format!("{:?}", parts.last().unwrap())
    };
    for value in [
        "http://h/c?a=1&b=2",
        "https://user@h:8080/{id}/(x)?q=a|b#f,g",
        "SELECT(1)",
        "a!b",
        "x~y>z<w",
        "{\"a\":1}",
    ] {
        let found = value_of(&format!("error=true http.url={value}"));
        assert!(found.contains(&format!("{value:?}")), "{value}: {found}");
    }
    assert_eq!(
        value_of("http.url=http://h/c?a=1&b=2"),
        value_of("http.url=\"http://h/c?a=1&b=2\"")
    );
}

#[test]
fn syntax_errors_name_position_and_remedy() {
    for (text, position, message) in [
        ("{ foo = 1 }", 2, "write .foo"),
        ("{ .a = }", 7, "expected a value"),
        ("{ .a = 1", 8, "closing `}`"),
        ("{ .a == 1 }", 6, "expected a value"),
        ("{ .a = b }", 7, "put texts in quotes"),
        ("{ duration > 5 }", 13, "needs a unit"),
        ("{ status = bad }", 11, "ok, error or unset"),
        ("{ kind = Server }", 9, "a kind must be server"),
        ("{ .a =~ \"(\" }", 8, "not a regular expression"),
        ("{ .a =~ x }", 8, "must be quoted"),
        ("{ .a = \"x }", 7, "quote is not closed"),
        ("{ .a = 1 } >> { .b = 2 }", 11, "structural operator `>>`"),
        (
            "{ .a = 1 } | avg(duration) > 1s",
            13,
            "`| avg` is not supported yet",
        ),
        ("{ .a = 1 } | rate()", 13, "`| rate`"),
        ("{ parent.a = 1 }", 2, "parent"),
        ("{ span:nam = 1 }", 2, "span:name"),
        ("checkout", 0, "write checkout=value"),
        ("a=1 b", 4, "write b=value"),
        ("a=", 1, "a value is missing"),
        ("a==1", 2, "write a=\"=1\""),
        ("a=1, b=2", 3, "separated by spaces"),
        ("a=1&&b=2", 3, "write a=\"1&&b=2\""),
        ("a=1 && b=2", 4, "leave out `&&`"),
        ("a='x y'", 2, "write a=\"x y\""),
        ("a=\"x\"y", 5, "a space is missing"),
        ("m=connection refused", 13, "m=\"connection refused\""),
        ("a>5", 0, "write a=value"),
        (
            "http://h/c?a=1&b=2",
            0,
            "write url.full=\"http://h/c?a=1&b=2\"",
        ),
        (
            "{ .http.url = http://h/c?a=1&b=2 }",
            14,
            "as in \"http://h/c?a=1&b=2\"",
        ),
        ("{ .a = 1&b=2 }", 8, "as in \"1&b=2\""),
        ("{ .a = 1 b }", 9, "found `b`"),
        ("{ .a = nil && .b > nil }", 19, "use = or !="),
        ("{} {}", 3, "expected the end"),
        ("\u{e9}=1 { .a }", 4, "expected a key"),
    ] {
        let (at, actual) = syntax_error(text);
        assert!(
            at == position && actual.contains(message),
            "{text}: {at}: {actual}"
        );
    }
    assert!(
        syntax_error(
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
    fn no_input_panics_and_every_error_lies_within_it(
        text in "[{}()a-c.:=!<>&|~\"` 0-9ms\\\\\u{e9}]{0,40}",
    ) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position <= text.chars().count());
            prop_assert!(!error.message.is_empty());
        }
    }
}
