use proptest::prelude::*;

use super::*;

fn debug(text: &str) -> String {
    match parse(text).unwrap() {
        Some(ParsedQuery::Trace(expression)) => format!("{expression:?}"),
        Some(ParsedQuery::Spansets(expression)) => format!("{expression:?}"),
        Some(ParsedQuery::Metrics(expression)) => format!("{expression:?}"),
        Some(ParsedQuery::Span(filter)) => format!("{filter:?}"),
        None => String::new(),
    }
}

fn syntax_error(text: &str) -> (usize, String) {
    let error = parse(text).unwrap_err();
    (error.position, error.message)
}

#[test]
fn all_forms_of_traceql_are_parsed() {
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
        "{ !(.a || -3 < .b) && parent.a = 1 && parent.duration > 1s && parent = nil }",
        "{ (span.sent - span.received) * 2 ^ 3 % 7 >= 10 / 4 && \"x\" != .y }",
        "{ span:childCount = 0 && nestedSetParent < 0 && event.a = 1 && link.b = 2 }",
        "{ instrumentation:name = \"axum\" && instrumentation.k = true }",
        "{ .a } >> { .b } && { .c } !~ { .d } || ({ .e } &<< { .f })",
        "({ .a } | count() > 2 | { .b }) > ({ .c } | avg(duration) < 1.5s)",
        "{} | by(resource.service.name) | max(span.size + 1) = 3 | coalesce() | select(name)",
        "count() > 3 | { status = error }",
        "by(.a) | { true } | sum(duration) > 2 * 3s",
    ] {
        assert!(
            matches!(parse(text).unwrap(), Some(ParsedQuery::Spansets(_))),
            "{text}"
        );
    }
    for text in [
        "{} | rate()",
        "{ .a } >> { .b } | count_over_time() by (name, .a + 1) with (sample=0.5, exemplars=true)",
        "{} | quantile_over_time(duration, .5, 0.99) by (span.route) > 10ms | topk(3) != 0",
        "{} | histogram_over_time(span.size) | bottomk (2)",
        "{} | compare({ status = error }, 5, 100, 200)",
        "(60 * ({ .a } | rate())) / ({} | sum_over_time(.b)) - -2 > 1 / 3 | topk(1)",
        "100 - ({} | min_over_time(duration))",
    ] {
        assert!(
            matches!(parse(text).unwrap(), Some(ParsedQuery::Metrics(_))),
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
        ("{ duration }", 2, "is not a condition: compare it"),
        ("{ name + 1 > 2 }", 2, "a text is not a number"),
        (
            "{ 1 = \"x\" }",
            6,
            "a number cannot be compared with a text",
        ),
        ("{ name = 5 }", 9, "in quotes, as in \"5\""),
        ("{ -name = \"x\" }", 3, "a text is not a number"),
        ("{ 1 + (.a = 2) > 3 }", 7, "found a condition"),
        ("{ kind > server }", 9, "no order"),
        ("{ .route = /pay }", 11, "as in \"/pay\""),
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
            "write \"http://h/c?a=1&b=2\"",
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

#[test]
fn syntax_errors_of_pipelines_name_position_and_remedy() {
    for (text, position, message) in [
        ("{ .a = 1 } + { .b = 2 }", 11, "expected the end"),
        ("{ .a = 1 } >> 3", 14, "expected a spanset"),
        ("{} | avg(duration)", 18, "a comparison, as in count() > 2"),
        ("{} | avg(name) > 1", 9, "found a text"),
        ("{} | avg(3) > 1", 9, "a constant is the same"),
        (
            "{} | max(.a) > min(.b)",
            15,
            "comparing two aggregates is not",
        ),
        ("{} | mode(.a) > 1", 5, "a stage: one of count, avg"),
        ("{} | rate() + 5", 12, "expected the end"),
        ("({} | rate()) + {}", 16, "put each pipeline in parentheses"),
        ("({} | rate()) * 10s", 16, "without a unit"),
        ("{} | rate() | topk(0)", 19, "from 1 to 1000"),
        ("{} | topk(3)", 5, "put rate() or so before it"),
        ("{} | compare({}) > 1", 17, "the last stage"),
        ("{} | quantile_over_time(duration, 2)", 34, "from 0 to 1"),
    ] {
        let (at, actual) = syntax_error(text);
        assert!(
            at == position && actual.contains(message),
            "{text}: {at}: {actual}"
        );
    }
}

/// Counts the examples of another implementation that are understood. They are not part of this
/// repository: the variable names a file of them, Tempo's `pkg/traceql/test_examples.yaml`.
#[test]
fn most_public_examples_are_understood() {
    let Some(path) = std::env::var_os("THROUGHLINE_TRACEQL_EXAMPLES") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let mut section = String::new();
    let mut counts = std::collections::BTreeMap::<String, (usize, usize)>::new();
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|it| !it.starts_with(' ')) {
            name.clone_into(&mut section);
        }
        let Some(query) = example(line) else { continue };
        let counts = counts.entry(section.clone()).or_default();
        counts.1 += 1;
        match parse_traceql(&query) {
            Ok(_) => counts.0 += 1,
            Err(error) => eprintln!("{section}: {query}: {}: {}", error.position, error.message),
        }
        if section != "valid" && parse_traceql(&query).is_ok() {
            eprintln!("{section}, accepted: {query}");
        }
    }
    eprintln!("accepted of all: {counts:?}");
    let (valid, all) = counts["valid"];
    assert!(valid >= 270 && all >= valid, "{valid} of {all}");
}

/// Returns the query of a line `  - '..'` or `  - ".."`.
fn example(line: &str) -> Option<String> {
    let quoted = line.trim().strip_prefix("- ")?;
    if let Some(rest) = quoted.strip_prefix('\'') {
        return Some(rest.rsplit_once('\'')?.0.replace("''", "'"));
    }
    let (inner, _) = quoted.strip_prefix('"')?.rsplit_once('"')?;
    let inner = inner
        .replace("\\t", "\t")
        .replace("\\n", "\n")
        .replace("\\r", "\r");
    Some(inner.replace("\\\"", "\"").replace("\\\\", "\\"))
}

proptest! {
    #[test]
    fn no_input_panics_and_every_error_lies_within_it(
        text in "[{}()a-c.:=!<>&|~\"` 0-9ms+*/^\\-\\\\\u{e9}]{0,40}",
    ) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position <= text.chars().count());
            prop_assert!(!error.message.is_empty());
        }
    }
}
