//! Time series over spans.

use crate::shop::series;

/// Asserts labels and samples; the first sample is the step in which the first trace started.
fn assert_series(query: &str, expected: &[(&str, &[(u64, f64)])]) {
    let expected: Vec<(String, Vec<(u64, f64)>)> = expected
        .iter()
        .map(|(labels, samples)| ((*labels).to_owned(), samples.to_vec()))
        .collect();
    let actual = series(query);
    let is_close = |a: &(u64, f64), b: &(u64, f64)| {
        a.0 == b.0 && (a.1 - b.1).abs() <= 0.04 * b.1.abs().max(0.001)
    };
    let is_equal = actual.len() == expected.len()
        && actual.iter().zip(&expected).all(|(actual, expected)| {
            actual.0 == expected.0
                && actual.1.len() == expected.1.len()
                && actual
                    .1
                    .iter()
                    .zip(&expected.1)
                    .all(|(a, b)| is_close(a, b))
        });
    assert!(is_equal, "{query}: {actual:?} instead of {expected:?}");
}

#[test]
fn spans_are_counted_by_step_and_label() {
    // The start of the trace is the end of a step, which belongs to it.
    assert_series(
        "{} | count_over_time()",
        &[("", &[(0, 1.0), (10, 5.0), (20, 0.0)])],
    );
    assert_series(
        "{ .bytes > 0 } | rate() by (name, status)",
        &[
            (
                "name=transfer,status=error",
                &[(0, 0.0), (10, 0.1), (20, 0.0)],
            ),
            (
                "name=transfer,status=unset",
                &[(0, 0.0), (10, 0.1), (20, 0.0)],
            ),
        ],
    );
}

#[test]
fn values_are_aggregated_by_step_and_durations_are_seconds() {
    for (query, value) in [
        ("{ .bytes > 0 } | min_over_time(duration)", 0.1),
        ("{ .bytes > 0 } | max_over_time(duration)", 0.2),
        ("{ .bytes > 0 } | avg_over_time(.bytes)", 20.0),
        ("{ .bytes > 0 } | sum_over_time(.bytes * 2)", 80.0),
    ] {
        assert_series(query, &[("", &[(10, value)])]);
    }
    assert_series(
        "{ name != `checkout` } | quantile_over_time(duration, 0.5, 1)",
        &[("p=0.5", &[(10, 0.2)]), ("p=1", &[(10, 0.4)])],
    );
    assert_series(
        "{ .bytes > 0 } | histogram_over_time(duration)",
        &[
            ("__bucket=0.125", &[(0, 0.0), (10, 1.0), (20, 0.0)]),
            ("__bucket=0.25", &[(0, 0.0), (10, 1.0), (20, 0.0)]),
        ],
    );
}

#[test]
fn series_are_combined_filtered_and_selected() {
    assert_series(
        "100 * ({ status = error } | count_over_time()) / ({} | count_over_time()) > 0",
        &[("", &[(10, 20.0)])],
    );
    assert_series(
        "{} | count_over_time() by (name) > 0 | topk(1)",
        &[
            ("name=checkout", &[(0, 1.0)]),
            ("name=transfer", &[(10, 2.0)]),
        ],
    );
    assert_series(
        "{ .bytes > 0 } | sum_over_time(.bytes) by (.bytes) | bottomk(1)",
        &[(".bytes=10", &[(10, 10.0)])],
    );
    assert_series(
        "({ .bytes > 0 } | sum_over_time(.bytes)) - ({ .bytes = 10 } | sum_over_time(.bytes))",
        &[("", &[(10, 30.0)])],
    );
}

#[test]
fn a_selection_is_compared_with_the_other_spans() {
    let compared = series("{ .bytes > 0 } | compare({ status = error }, 1)");
    let has = |labels: &str| compared.iter().any(|(own, _)| own == labels);
    assert!(has("__meta_type=selection,span.bytes=30"), "{compared:?}");
    assert!(has("__meta_type=baseline,span.bytes=10"), "{compared:?}");
    assert!(has("__meta_type=selection_total,name=nil"), "{compared:?}");
    assert!(!has("__meta_type=selection,span.bytes=10"), "{compared:?}");
}
