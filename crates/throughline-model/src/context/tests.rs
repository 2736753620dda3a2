//! The codec, format by format.

use super::*;
use crate::{SpanId, TraceId};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn headers(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::default();
    for (name, value) in pairs {
        list.push(name, value);
    }
    list
}

fn context(sampling: Sampling) -> SpanContext {
    SpanContext::new(
        TraceId::from_hex(TRACE).unwrap(),
        SpanId::from_hex(SPAN).unwrap(),
        sampling,
    )
}

fn read(format: Format, pairs: &[(&str, &str)]) -> PropagatedContext {
    extract(&[format], &headers(pairs))
}

#[track_caller]
fn written(format: Format, context: &SpanContext, name: &str) -> String {
    let mut list = HeaderList::default();
    inject(&[format], context, &Baggage::default(), &mut list);
    String::from_utf8(list.get(name).expect(name).to_vec()).unwrap()
}

// W3C

#[test]
fn traceparent_is_read_and_written() {
    let found = read(
        Format::W3c,
        &[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))],
    );
    assert_eq!(
        found,
        PropagatedContext {
            context: Some(context(Sampling::Sample)),
            ..PropagatedContext::default()
        }
    );
    assert_eq!(
        written(Format::W3c, &context(Sampling::Sample), "traceparent"),
        format!("00-{TRACE}-{SPAN}-01")
    );
    assert_eq!(
        written(Format::W3c, &context(Sampling::Drop), "traceparent"),
        format!("00-{TRACE}-{SPAN}-00")
    );
}

#[test]
fn random_flag_is_passed_on_unchanged() {
    for flags in ["00", "01", "02", "03"] {
        let found = read(
            Format::W3c,
            &[("traceparent", &format!("00-{TRACE}-{SPAN}-{flags}"))],
        )
        .context
        .unwrap();
        assert_eq!(
            written(Format::W3c, &found, "traceparent"),
            format!("00-{TRACE}-{SPAN}-{flags}")
        );
    }
}

#[test]
fn unknown_flags_are_cleared() {
    let found = read(
        Format::W3c,
        &[("traceparent", &format!("00-{TRACE}-{SPAN}-ff"))],
    )
    .context
    .unwrap();
    assert_eq!(
        written(Format::W3c, &found, "traceparent"),
        format!("00-{TRACE}-{SPAN}-03")
    );
}

#[test]
fn later_version_is_read_in_its_known_part() {
    for value in [
        format!("cc-{TRACE}-{SPAN}-01"),
        format!("cc-{TRACE}-{SPAN}-01-what-the-future-holds"),
    ] {
        assert_eq!(
            read(Format::W3c, &[("traceparent", &value)]).context,
            Some(context(Sampling::Sample)),
            "{value}"
        );
    }
}

#[test]
fn malformed_traceparent_is_rejected_and_counted() {
    let upper = TRACE.to_uppercase();
    for bad in [
        String::new(),
        "00".to_owned(),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{upper}-{SPAN}-01"),
        format!("0X-{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}-0"),
        format!("00-{TRACE}-{SPAN}-+1"),
        format!("00-{TRACE}-{SPAN}-01-"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("cc-{TRACE}-{SPAN}-01.more"),
        format!("00_{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!(" 00-{TRACE}-{SPAN}-01"),
        "00-1-2-01".to_owned(),
    ] {
        let found = read(Format::W3c, &[("traceparent", &bad)]);
        assert_eq!(
            found,
            PropagatedContext {
                rejected: 1,
                ..PropagatedContext::default()
            },
            "{bad:?}"
        );
    }
}

#[test]
fn tracestate_lines_are_joined_in_order_and_written_back() {
    let pairs = [
        ("tracestate", "rojo=00f067aa0ba902b7 ,, "),
        ("traceparent", &format!("00-{TRACE}-{SPAN}-01")),
        ("TraceState", "\tcongo=t61rcWkgMzE"),
    ];
    let found = read(Format::W3c, &pairs).context.unwrap();
    assert_eq!(
        found.trace_state.as_str(),
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    );
    assert_eq!(
        written(Format::W3c, &found, "tracestate"),
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    );
}

#[test]
fn malformed_tracestate_does_not_invalidate_traceparent() {
    let crowd = (0..33)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    for bad in [
        "no-equals",
        "UPPER=1",
        "k=",
        "k=a=b",
        "=v",
        "k=\u{e9}",
        &format!("{}=v", "k".repeat(257)),
        &crowd,
    ] {
        let pairs = [
            ("traceparent", &*format!("00-{TRACE}-{SPAN}-01")),
            ("tracestate", bad),
        ];
        let found = read(Format::W3c, &pairs);
        assert_eq!(found.context, Some(context(Sampling::Sample)), "{bad:?}");
        assert_eq!(found.rejected, 1, "{bad:?}");
    }
}

#[test]
fn tracestate_without_traceparent_is_ignored() {
    assert_eq!(
        read(Format::W3c, &[("tracestate", "a=b")]),
        PropagatedContext::default()
    );
}

// Peculiarities of Kafka and HTTP

#[test]
fn last_of_several_headers_wins() {
    let other = format!("00-{}-{SPAN}-01", "1".repeat(32));
    let mine = format!("00-{TRACE}-{SPAN}-01");
    let found = read(
        Format::W3c,
        &[("traceparent", &other), ("TraceParent", &mine)],
    );
    assert_eq!(found.context, Some(context(Sampling::Sample)));
}

#[test]
fn null_value_yields_no_context() {
    let mut list = headers(&[("traceparent", &format!("00-{TRACE}-{SPAN}-01"))]);
    list.push_null("traceparent");
    assert_eq!(extract(&[Format::W3c], &list), PropagatedContext::default());
}

#[test]
fn injection_replaces_every_copy_and_keeps_other_headers() {
    let mut list = headers(&[
        ("traceparent", "old"),
        ("x", "1"),
        ("TRACEPARENT", "older"),
        ("tracestate", "a=b"),
    ]);
    list.push([0xff, 0xfe], "not UTF-8");
    list.push_null("x");
    inject(
        &[Format::W3c],
        &context(Sampling::Sample),
        &Baggage::default(),
        &mut list,
    );

    let mut expected = headers(&[("x", "1")]);
    expected.push([0xff, 0xfe], "not UTF-8");
    expected.push_null("x");
    expected.push("traceparent", format!("00-{TRACE}-{SPAN}-01"));
    assert_eq!(list, expected);
}

#[test]
fn first_format_that_yields_a_context_wins() {
    let pairs = [
        ("b3", format!("{TRACE}-{SPAN}-1")),
        ("traceparent", format!("00-{}-{SPAN}-00", "2".repeat(32))),
    ];
    let list = headers(
        &pairs
            .each_ref()
            .map(|(name, value)| (*name, value.as_str())),
    );
    let b3_first = extract(&[Format::B3Single, Format::W3c], &list)
        .context
        .unwrap();
    assert_eq!(b3_first.trace_id.to_string(), TRACE);
    let w3c_first = extract(&[Format::W3c, Format::B3Single], &list)
        .context
        .unwrap();
    assert_eq!(w3c_first.trace_id.to_string(), "2".repeat(32));
}

#[test]
fn malformed_header_does_not_hide_another_format() {
    let list = headers(&[
        ("traceparent", "garbage"),
        ("b3", &format!("{TRACE}-{SPAN}-1")),
    ]);
    let found = extract(&[Format::W3c, Format::B3Single], &list);
    assert_eq!(
        (found.context, found.rejected),
        (Some(context(Sampling::Sample)), 1)
    );
}

// B3

#[test]
fn b3_single_is_read_with_every_decision() {
    for (tail, sampling) in [
        ("", Sampling::Deferred),
        ("-0", Sampling::Drop),
        ("-1", Sampling::Sample),
        ("-d", Sampling::Debug),
        ("-1-05e3ac9a4f6e3b90", Sampling::Sample),
    ] {
        let found = read(
            Format::B3Single,
            &[("b3", &format!("{TRACE}-{SPAN}{tail}"))],
        );
        assert_eq!(found.context, Some(context(sampling)), "{tail}");
    }
}

#[test]
fn b3_single_is_written_without_a_parent_and_keeps_the_decision() {
    for (sampling, tail) in [
        (Sampling::Deferred, ""),
        (Sampling::Drop, "-0"),
        (Sampling::Sample, "-1"),
        (Sampling::Debug, "-d"),
    ] {
        assert_eq!(
            written(Format::B3Single, &context(sampling), "b3"),
            format!("{TRACE}-{SPAN}{tail}")
        );
    }
}

#[test]
fn b3_decision_alone_yields_a_decision_without_context() {
    let found = read(Format::B3Single, &[("b3", "0")]);
    assert_eq!(
        found,
        PropagatedContext {
            sampling: Some(Sampling::Drop),
            ..PropagatedContext::default()
        }
    );
    let found = read(Format::B3Multi, &[("X-B3-Sampled", "0")]);
    assert_eq!(
        found,
        PropagatedContext {
            sampling: Some(Sampling::Drop),
            ..PropagatedContext::default()
        }
    );
}

#[test]
fn first_of_two_decisions_without_ids_wins() {
    let list = headers(&[("x-b3-sampled", "1"), ("b3", "0")]);
    for (formats, sampling) in [
        ([Format::B3Single, Format::B3Multi], Sampling::Drop),
        ([Format::B3Multi, Format::B3Single], Sampling::Sample),
    ] {
        assert_eq!(
            extract(&formats, &list).sampling,
            Some(sampling),
            "{formats:?}"
        );
    }
}

#[test]
fn b3_trace_ids_of_64_bits_are_padded() {
    let found = read(
        Format::B3Single,
        &[("b3", &format!("48485a3953bb6124-{SPAN}-1"))],
    )
    .context
    .unwrap();
    assert_eq!(
        found.trace_id.to_string(),
        "000000000000000048485a3953bb6124"
    );
}

#[test]
fn malformed_b3_is_rejected_and_counted() {
    let zeros = "0".repeat(16);
    for bad in [
        "",
        "2",
        "x",
        &format!("{TRACE}-{SPAN}-"),
        &format!("{TRACE}-{SPAN}-2"),
        &format!("{TRACE}-{SPAN}-1-xyz"),
        &format!("{TRACE}-{SPAN}-1-{SPAN}-"),
        &format!("{TRACE}-{zeros}-1"),
        &format!("{zeros}-{SPAN}-1"),
        &format!("{}-{SPAN}-1", TRACE.to_uppercase()),
        &format!("abc-{SPAN}-1"),
    ] {
        let found = read(Format::B3Single, &[("b3", bad)]);
        assert_eq!(
            found,
            PropagatedContext {
                rejected: 1,
                ..PropagatedContext::default()
            },
            "{bad:?}"
        );
    }
}

#[test]
fn b3_multi_is_read_in_any_case_and_with_old_booleans() {
    for (name, value, sampling) in [
        ("X-B3-Sampled", "1", Sampling::Sample),
        ("x-b3-sampled", "true", Sampling::Sample),
        ("X-B3-SAMPLED", "0", Sampling::Drop),
        ("x-b3-sampled", "False", Sampling::Drop),
        ("x-b3-flags", "1", Sampling::Debug),
        ("x-b3-flags", "0", Sampling::Deferred),
    ] {
        let found = read(
            Format::B3Multi,
            &[
                ("X-B3-TraceId", TRACE),
                ("x-b3-spanid", SPAN),
                (name, value),
            ],
        );
        assert_eq!(found.context, Some(context(sampling)), "{name}: {value}");
    }
}

#[test]
fn b3_multi_with_a_bad_decision_defers_and_counts() {
    let found = read(
        Format::B3Multi,
        &[
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", SPAN),
            ("x-b3-sampled", "maybe"),
        ],
    );
    assert_eq!(
        (found.context, found.rejected),
        (Some(context(Sampling::Deferred)), 1)
    );
}

#[test]
fn half_of_b3_multi_is_rejected() {
    let found = read(Format::B3Multi, &[("x-b3-traceid", TRACE)]);
    assert_eq!(
        found,
        PropagatedContext {
            rejected: 1,
            ..PropagatedContext::default()
        }
    );
}

#[test]
fn b3_multi_injection_removes_stale_headers() {
    let mut list = headers(&[
        ("X-B3-ParentSpanId", SPAN),
        ("X-B3-Sampled", "0"),
        ("X-B3-TraceId", "old"),
    ]);
    inject(
        &[Format::B3Multi],
        &context(Sampling::Debug),
        &Baggage::default(),
        &mut list,
    );
    assert_eq!(
        list,
        headers(&[
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", SPAN),
            ("x-b3-flags", "1")
        ])
    );
}

// Jaeger

#[test]
fn uber_trace_id_is_read_raw_and_percent_encoded_with_short_ids() {
    for (value, sampling) in [
        (format!("{TRACE}:{SPAN}:0:1"), Sampling::Sample),
        (format!("{TRACE}%3A{SPAN}%3a0%3A3"), Sampling::Debug),
        (
            format!("{}:{SPAN}:b7ad:0", TRACE.trim_start_matches('0')),
            Sampling::Drop,
        ),
        (format!("{TRACE}:{SPAN}:0:9"), Sampling::Sample),
    ] {
        let found = read(Format::Jaeger, &[("uber-trace-id", &value)]);
        assert_eq!(found.context, Some(context(sampling)), "{value}");
    }
}

#[test]
fn malformed_uber_trace_id_is_rejected_and_counted() {
    for bad in [
        "",
        "1:2:3",
        "1:2:3:4:5",
        "0:1:0:1",
        "1:0:0:1",
        "1:2:x:1",
        "1:2:0:100",
        "1:2:0:",
        "g:2:0:1",
    ] {
        let found = read(Format::Jaeger, &[("uber-trace-id", bad)]);
        assert_eq!(
            found,
            PropagatedContext {
                rejected: 1,
                ..PropagatedContext::default()
            },
            "{bad:?}"
        );
    }
}

#[test]
fn jaeger_baggage_is_read_and_written() {
    let found = read(
        Format::Jaeger,
        &[
            ("uberctx-user", "J%C3%BCrgen"),
            ("UberCtx-plan", "gold plan"),
        ],
    );
    assert_eq!(found.baggage.get("user"), Some("J\u{fc}rgen"));
    assert_eq!(found.baggage.get("plan"), Some("gold plan"));
    let mut list = HeaderList::default();
    inject(
        &[Format::Jaeger],
        &context(Sampling::Sample),
        &found.baggage,
        &mut list,
    );
    assert_eq!(list.get("uberctx-user"), Some(&b"J%C3%BCrgen"[..]));
    assert_eq!(list.get("uberctx-plan"), Some(&b"gold plan"[..]));
}

// Baggage

#[test]
fn baggage_is_decoded_and_encoded_with_its_properties() {
    let found = read(
        Format::Baggage,
        &[
            (
                "baggage",
                "user = J%C3%BCrgen%20A ;secret; ttl=5, plan=gold",
            ),
            ("baggage", "x=1"),
        ],
    );
    assert_eq!(found.rejected, 0);
    assert_eq!(found.baggage.get("user"), Some("J\u{fc}rgen A"));
    let mut list = HeaderList::default();
    inject(
        &[Format::Baggage],
        &context(Sampling::Sample),
        &found.baggage,
        &mut list,
    );
    assert_eq!(
        list.get("baggage"),
        Some(&b"user=J%C3%BCrgen%20A;secret; ttl=5,plan=gold,x=1"[..])
    );
}

#[test]
fn bad_baggage_member_is_left_out_alone() {
    let found = read(
        Format::Baggage,
        &[("baggage", "no-value,a b=1,=2,ok=3,q=\"x\"")],
    );
    assert_eq!(
        (
            found.baggage.get("ok"),
            found.baggage.iter().count(),
            found.rejected
        ),
        (Some("3"), 1, 4)
    );
}

#[test]
fn baggage_is_capped_in_entries_and_in_bytes() {
    let crowd = (0..65)
        .map(|n| format!("k{n}=v"))
        .collect::<Vec<_>>()
        .join(",");
    let found = read(Format::Baggage, &[("baggage", &crowd)]);
    assert_eq!((found.baggage.iter().count(), found.rejected), (64, 1));

    let found = read(
        Format::Baggage,
        &[("baggage", &format!("big={},small=1", "x".repeat(8192)))],
    );
    assert_eq!(
        (
            found.baggage.get("big"),
            found.baggage.get("small"),
            found.rejected
        ),
        (None, Some("1"), 1)
    );
}

#[test]
fn baggage_header_of_exactly_the_limit_is_kept() {
    for length in [8192, 8193] {
        let header = format!(
            "first=%C3%A9;p,second={}",
            "x".repeat(length - "first=%C3%A9;p,second=".len())
        );
        let found = read(Format::Baggage, &[("baggage", &header)]);
        let mut list = HeaderList::default();
        inject(
            &[Format::Baggage],
            &context(Sampling::Sample),
            &found.baggage,
            &mut list,
        );
        assert_eq!(
            list.get("baggage") == Some(header.as_bytes()),
            length == 8192,
            "{length}"
        );
    }
}

#[test]
fn baggage_is_read_in_linear_time() {
    let header = format!("big={},{}", "x".repeat(8180), "a=11,".repeat(100_000));
    let begin = std::time::Instant::now();
    let found = read(Format::Baggage, &[("baggage", &header)]);
    assert_eq!(found.baggage.iter().count(), 2);
    // A tenth of a second unoptimised; in quadratic time it would be far more than the limit.
    assert!(
        begin.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn full_baggage_accepts_a_new_value_for_an_existing_key() {
    let mut baggage = Baggage::default();
    assert!((0..64).all(|n| baggage.insert(&format!("k{n}"), "v", "")));
    assert!(baggage.insert("k7", "w", "") && !baggage.insert("k64", "v", ""));
    assert_eq!((baggage.get("k7"), baggage.iter().count()), (Some("w"), 64));
}

#[test]
fn empty_baggage_removes_a_stale_header() {
    let mut list = headers(&[("baggage", "a=b")]);
    inject(
        &[Format::Baggage],
        &context(Sampling::Sample),
        &Baggage::default(),
        &mut list,
    );
    assert!(list.is_empty());
}
