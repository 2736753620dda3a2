use super::*;

/// Returns a load of this many answered checkouts.
fn load(count: usize) -> LoadResult {
    let mut load = LoadResult {
        sent: count,
        answered: (1..=count)
            .map(|number| (number, Duration::from_millis(1)))
            .collect(),
        references: ReferenceTable::new(&"test"),
        ..LoadResult::default()
    };
    (1..=count).for_each(|number| load.references.add(number));
    load
}

/// Builds a span of a part of a checkout; spans of a checkout are children of its first part.
fn span(part: usize, number: usize, parent: Option<(&str, String)>) -> Value {
    let (service, name) = parts().nth(part).unwrap();
    let first = ReferenceTable::new(&"test").first(number);
    let (key, value) = if name.contains('_') {
        let key = super::super::reference::derive(&first, crate::eshop::TOPIC);
        ("messaging.kafka.message.key", key)
    } else {
        ("url.query", format!("reference={first}"))
    };
    let (evidence, reference) = match parent {
        Some((evidence, id)) => (
            evidence,
            json!([{"refType": "CHILD_OF", "traceID": "t", "spanID": id}]),
        ),
        None => (OPEN, json!([])),
    };
    json!({"traceID": "t", "spanID": id(part, number), "operationName": name,
           "processID": service, "references": reference,
           "tags": [{"key": key, "value": value},
                    {"key": "throughline.parent.evidence", "value": evidence}]})
}

fn id(part: usize, number: usize) -> String {
    format!("{number}-{part}")
}

/// Builds a trace of all parts of a checkout, below the first one.
fn whole(number: usize) -> Vec<Value> {
    let below = |part| span(part, number, Some(("sole", id(0, number))));
    let first = span(0, number, None);
    [first]
        .into_iter()
        .chain((1..parts().count()).map(below))
        .collect()
}

fn trace(spans: &[Value]) -> Value {
    let processes: serde_json::Map<String, Value> = parts()
        .map(|(service, _)| (service.to_owned(), json!({"serviceName": service})))
        .collect();
    json!({"traceID": "t", "spans": spans, "processes": processes})
}

/// Returns the numbers of whole, open, wrong and incomplete checkouts.
fn counts(count: usize, traces: &[Value]) -> (usize, usize, usize, usize) {
    let report = TraceReport::of(&load(count), traces);
    (report.whole, report.open, report.wrong, report.incomplete)
}

#[test]
fn whole_open_and_incomplete_checkouts_are_distinguished() {
    let (mut open, mut incomplete) = (whole(2), whole(3));
    open[4] = span(4, 2, None);
    incomplete.pop();
    let traces = [trace(&whole(1)), trace(&open), trace(&incomplete)];
    assert_eq!(counts(3, &traces), (1, 1, 0, 1));
    assert_eq!(counts(1, &[]), (0, 0, 0, 1));
}

#[test]
fn parent_of_another_checkout_makes_both_wrong() {
    let mut two = whole(2);
    two[5] = span(5, 2, Some(("timing", id(0, 1))));
    let traces = [trace(&whole(1)), trace(&two), trace(&whole(3))];
    assert_eq!(counts(3, &traces), (1, 0, 2, 0));
    let report = TraceReport::of(&load(3), &traces);
    let timing = EdgeCount { found: 1, wrong: 1 };
    assert_eq!(report.edges.get("timing"), Some(&timing));
    assert_eq!(report.inferred().wrong, 1);
}

#[test]
fn parent_that_has_not_arrived_makes_a_checkout_incomplete() {
    let mut one = whole(1);
    one[3] = span(3, 1, Some(("header", "absent".to_owned())));
    assert_eq!(counts(1, &[trace(&one)]), (0, 0, 0, 1));
}

#[test]
fn report_is_a_table_of_both_views() {
    let (load, traces) = (load(2), [trace(&whole(1)), trace(&whole(2))]);
    let report = LoadReport::of(&load, &traces[..1], &traces).to_string();
    let row = |name: &str| {
        let line = report
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let words = line.unwrap_or_default().split_whitespace().take(5);
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("whole"), "whole 1 50.0 % 2", "{report}");
    assert_eq!(row("sole"), "sole 6 0 12 0", "{report}");
}
