//! Spansets of traces.

use throughline_store::SortOrder;

use crate::shop::{matches, ordered_matches};

fn assert_spans(query: &str, expected: &[u8]) {
    let matched = matches(query);
    let first: Vec<u8> = matched
        .iter()
        .filter(|(trace, _)| *trace == 1)
        .flat_map(|(_, spans)| spans.clone())
        .collect();
    assert_eq!(first, expected, "{query}: {matched:?}");
}

#[test]
fn structural_operators_select_the_right_side_by_its_relation() {
    for (query, expected) in [
        ("{ name = `checkout` } > { true }", &[2, 5][..]),
        ("{ name = `checkout` } >> { true }", &[2, 3, 4, 5]),
        ("{ name = `transfer` } < { true }", &[2]),
        ("{ name = `transfer` } << { true }", &[1, 2]),
        ("{ name = `pay` } ~ { true }", &[5]),
        ("{ .bytes = 10 } ~ { name = `transfer` }", &[4]),
        ("{ name = `transfer` } ~ { name = `transfer` }", &[3, 4]),
        ("{ name = `pay` } !> { true }", &[1, 2, 5]),
        ("{ name = `pay` } !>> { true }", &[1, 2, 5]),
        ("{ name = `transfer` } !< { true }", &[1, 3, 4, 5]),
        ("{ name = `transfer` } !<< { true }", &[3, 4, 5]),
        ("{ name = `pay` } !~ { true }", &[1, 2, 3, 4]),
        ("{ name = `absent` } !>> { .bytes > 0 }", &[3, 4]),
        ("{ name = `checkout` } &>> { .bytes = 30 }", &[1, 4]),
        ("{ .bytes = 30 } &<< { name = `checkout` }", &[1, 4]),
        ("{ name = `pay` } &~ { name = `reserve` }", &[2, 5]),
        ("{ name = `reserve` } &> { true }", &[]),
        (
            "{ name = `checkout` } > { name = `pay` } > { status = error }",
            &[4],
        ),
        ("{ status = error } && { name = `absent` }", &[]),
        ("{ status = error } || { name = `absent` }", &[4]),
        (
            "({ .bytes = 10 } || { .bytes = 30 }) << { name = `checkout` }",
            &[1],
        ),
    ] {
        assert_spans(query, expected);
    }
}

#[test]
fn expressions_compute_compare_and_find_the_parent() {
    for (query, expected) in [
        ("{ .bytes * 2 + 1 = 21 }", &[3][..]),
        ("{ .bytes - 20 > 2 ^ 3 }", &[4]),
        ("{ -.bytes < -20 }", &[4]),
        ("{ duration * 2 > trace:duration / 2 }", &[1, 2, 5]),
        ("{ 300ms < duration }", &[1, 2]),
        ("{ parent.name = `pay` }", &[3, 4]),
        ("{ parent = nil }", &[1]),
        ("{ parent.duration = 1s && name = parent.name }", &[]),
        ("{ resource.service.name = trace:rootService }", &[1, 2]),
        ("{ span:childCount = 2 }", &[1, 2]),
        ("{ nestedSetParent < 0 }", &[1]),
        ("{ nestedSetLeft = 2 }", &[2]),
        ("{ .absent != 1 }", &[]),
        ("{ .absent + 1 = nil }", &[1, 2, 3, 4, 5]),
        ("{ .bytes != nil && nil = nil }", &[3, 4]),
        ("{ .tags = `b` }", &[5]),
        (
            "{ event:name =~ `cache.*` && event:timeSinceStart < 1ms }",
            &[5],
        ),
        (
            "{ 1 = 1 && \"ab\" =~ `a.` && !(2 > 3) && status = error }",
            &[4],
        ),
        ("{ statusMessage !~ `no m.*` }", &[]),
    ] {
        assert_spans(query, expected);
    }
}

#[test]
fn stages_filter_and_split_spansets() {
    for (query, expected) in [
        ("{ .bytes > 0 } | count() = 2", &[3, 4][..]),
        ("{ .bytes > 0 } | count() > 2", &[]),
        ("{ .bytes > 0 } | sum(.bytes) = 2 * 20", &[3, 4]),
        (
            "{ .bytes > 0 } | avg(duration) > 149ms | { status = error }",
            &[4],
        ),
        ("{ .bytes > 0 } | max(.bytes + 1) = 31", &[3, 4]),
        ("{ .bytes > 0 } | min(duration) < 100ms", &[]),
        ("min(span:childCount) < 1 / 2", &[1, 2, 3, 4, 5]),
        ("avg(.absent) < 1", &[]),
        ("{} | by(resource.service.name) | count() = 1", &[5]),
        ("{} | by(name) | avg(.bytes) = 20", &[3, 4]),
        ("{ status = error } | select(span.bytes, name)", &[4]),
        (
            "({ .bytes > 0 } | count() = 2 | { status = error }) < { name = `pay` }",
            &[2],
        ),
    ] {
        assert_spans(query, expected);
    }
    let groups = matches("{} | by(resource.service.name)");
    let all = [(1, vec![1, 2]), (1, vec![3, 4]), (1, vec![5])];
    assert_eq!(groups.get(1..), Some(&all[..]));
    let merged = matches("{} | by(name) | coalesce()");
    assert_eq!(merged, [(2, vec![1]), (1, vec![1, 2, 3, 4, 5])]);
}

#[test]
fn matches_come_in_the_requested_order() {
    let query = "{ name = `checkout` && duration * 1 > 0s }";
    assert_eq!(ordered_matches(query, SortOrder::Newest)[0].0, 2);
    assert_eq!(ordered_matches(query, SortOrder::Duration)[0].0, 1);
    assert_eq!(ordered_matches(query, SortOrder::Spans).len(), 2);
}
