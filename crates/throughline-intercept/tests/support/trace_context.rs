//! The cases of the W3C trace-context test suite (github.com/w3c/trace-context, `test/test.py`,
//! strict level 2, both levels of the specification), restated: a service without tracing
//! receives a request and makes calls, and the headers that its proxy forwards are checked.
//!
//! `tests/trace_context.rs` runs them without sockets, `e2e` with the real sidecar in front of a
//! real service.

use std::collections::BTreeSet;

/// A service behind its proxy.
pub(crate) trait TracedService {
    /// Sends a request with these headers, for which the service makes `callbacks` calls. Returns
    /// the headers of the calls.
    fn request_callbacks(&mut self, fields: &[(&str, &str)], callbacks: usize) -> Vec<Fields>;
}

/// Names and values of headers.
pub(crate) type Fields = Vec<(String, String)>;

/// Context in the headers of a call.
pub(crate) struct Callback {
    pub(crate) trace_id: String,
    parent_id: String,
    flags: u8,
    /// All `tracestate` headers, joined.
    tracestate: String,
}

/// The cases with their names. Each passes on a service that has handled a few requests before.
pub(crate) const CASES: [(&str, fn(&mut dyn TracedService)); 11] = [
    (
        "missing context starts a trace",
        missing_context_starts_a_trace,
    ),
    (
        "valid traceparent is continued",
        valid_traceparent_is_continued,
    ),
    (
        "invalid traceparent is ignored",
        invalid_traceparent_is_ignored,
    ),
    (
        "duplicate traceparent is ignored",
        duplicate_traceparent_is_ignored,
    ),
    (
        "tracestate is forwarded only with a traceparent",
        tracestate_is_forwarded_only_with_a_traceparent,
    ),
    (
        "multiple tracestate headers are one list",
        multiple_tracestate_headers_are_one_list,
    ),
    (
        "duplicate tracestate keys are kept",
        duplicate_tracestate_keys_are_kept,
    ),
    (
        "tracestate keys and values follow the grammar",
        tracestate_keys_and_values_follow_the_grammar,
    ),
    (
        "tracestate lists and keys are limited",
        tracestate_lists_and_keys_are_limited,
    ),
    (
        "callbacks share a trace and have distinct spans",
        callbacks_share_a_trace_and_have_distinct_spans,
    ),
    (
        "known trace flags are forwarded",
        known_trace_flags_are_forwarded,
    ),
];

const TRACE: &str = "12345678901234567890123456789012";
pub(crate) const PARENT: &str = "1234567890123456";
const VALID: &str = "00-12345678901234567890123456789012-1234567890123456-00";

// === impl Callback ===

impl Callback {
    pub(crate) fn of(fields: &Fields) -> Self {
        let parents = all(fields, "traceparent");
        let [parent] = parents.as_slice() else {
            panic!("expected one traceparent, found {parents:?}")
        };
        let parts: Vec<&str> = parent.split('-').collect();
        let &["00", trace_id, parent_id, flags] = parts.as_slice() else {
            panic!("{parent}")
        };
        assert!(
            parent
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')),
            "{parent}"
        );
        assert_eq!(
            (trace_id.len(), parent_id.len(), flags.len()),
            (32, 16, 2),
            "{parent}"
        );
        assert!(
            trace_id != "0".repeat(32) && parent_id != "0".repeat(16),
            "{parent}"
        );
        Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
            flags: u8::from_str_radix(flags, 16).unwrap(),
            tracestate: all(fields, "tracestate").join(","),
        }
    }

    fn members(&self) -> Vec<&str> {
        self.tracestate
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty())
            .collect()
    }
}

fn all(fields: &Fields, name: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.clone())
        .collect()
}

fn callback(service: &mut dyn TracedService, pairs: &[(&str, &str)]) -> Callback {
    Callback::of(&service.request_callbacks(pairs, 1).remove(0))
}

#[track_caller]
fn assert_continued(service: &mut dyn TracedService, traceparent: &str) {
    let out = callback(service, &[("traceparent", traceparent)]);
    assert_eq!(out.trace_id, TRACE, "{traceparent:?}");
    assert_ne!(out.parent_id, PARENT, "{traceparent:?}");
}

#[track_caller]
fn assert_new_trace(service: &mut dyn TracedService, traceparent: &str) {
    let out = callback(
        service,
        &[("traceparent", traceparent), ("tracestate", "foo=1")],
    );
    assert!(!traceparent.contains(&out.trace_id), "{traceparent:?}");
    assert_eq!(out.tracestate, "", "{traceparent:?}");
}

#[track_caller]
fn assert_members(service: &mut dyn TracedService, lines: &[&str], members: &[&str]) {
    let mut pairs = vec![("traceparent", VALID)];
    pairs.extend(lines.iter().map(|line| ("tracestate", *line)));
    let out = callback(service, &pairs);
    assert_eq!(
        (out.trace_id.as_str(), out.members()),
        (TRACE, members.to_vec()),
        "{lines:?}"
    );
}

fn missing_context_starts_a_trace(service: &mut dyn TracedService) {
    assert_eq!(callback(service, &[]).tracestate, "");
}

fn valid_traceparent_is_continued(service: &mut dyn TracedService) {
    assert_continued(service, VALID);
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        assert_eq!(callback(service, &[(name, VALID)]).trace_id, TRACE);
    }
    for padded in [
        format!(" {VALID}"),
        format!("\t{VALID}"),
        format!("{VALID} "),
        format!("{VALID}\t"),
        format!("\t {VALID} \t"),
    ] {
        assert_continued(service, &padded);
    }
    assert_continued(service, &VALID.replacen("00", "cc", 1));
    assert_continued(
        service,
        &format!(
            "{}-what-the-future-will-be-like",
            VALID.replacen("00", "cc", 1)
        ),
    );
}

fn invalid_traceparent_is_ignored(service: &mut dyn TracedService) {
    let field = |place: usize, value: &str| {
        let mut fields: Vec<&str> = VALID.split('-').collect();
        *fields.get_mut(place).unwrap() = value;
        fields.join("-")
    };
    for bad in [
        format!("{VALID}."),
        format!("{VALID}-what-the-future-will-be-like"),
        format!("{}.what-the-future-will-be-like", field(0, "cc")),
        field(0, "ff"),
        field(0, ".0"),
        field(0, "0."),
        field(0, "000"),
        field(0, "0000"),
        field(0, "0"),
        field(1, &"0".repeat(32)),
        field(1, ".2345678901234567890123456789012"),
        field(1, "1234567890123456789012345678901."),
        field(1, "123456789012345678901234567890123"),
        field(1, "1234567890123456789012345678901"),
        field(2, &"0".repeat(16)),
        field(2, ".234567890123456"),
        field(2, "123456789012345."),
        field(2, "12345678901234567"),
        field(2, "123456789012345"),
        field(3, ".0"),
        field(3, "0."),
        field(3, "001"),
        field(3, "1"),
    ] {
        assert_new_trace(service, &bad);
    }
    for name in ["trace-parent", "trace.parent"] {
        assert_ne!(callback(service, &[(name, VALID)]).trace_id, TRACE);
    }
}

fn duplicate_traceparent_is_ignored(service: &mut dyn TracedService) {
    let other = VALID.replace("9012-", "9011-");
    for pair in [[&other, VALID], [VALID, &other], [VALID, VALID]] {
        let out = callback(
            service,
            &[
                ("traceparent", pair[0]),
                ("TraceParent", pair[1]),
                ("tracestate", "foo=1"),
            ],
        );
        assert!(
            !VALID.contains(&out.trace_id)
                && !other.contains(&out.trace_id)
                && out.tracestate.is_empty()
        );
    }
}

fn tracestate_is_forwarded_only_with_a_traceparent(service: &mut dyn TracedService) {
    assert_members(service, &["foo=1,bar=2"], &["foo=1", "bar=2"]);
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        assert_eq!(
            callback(service, &[("traceparent", VALID), (name, "foo=1")]).tracestate,
            "foo=1"
        );
    }
    assert_eq!(callback(service, &[("tracestate", "foo=1")]).tracestate, "");
    for name in ["trace-state", "trace.state"] {
        assert_eq!(
            callback(service, &[("traceparent", VALID), (name, "foo=1")]).tracestate,
            ""
        );
    }
}

fn multiple_tracestate_headers_are_one_list(service: &mut dyn TracedService) {
    assert_members(
        service,
        &["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        &["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"],
    );
    assert_members(service, &["foo=1", ""], &["foo=1"]);
    assert_members(service, &["", "foo=1"], &["foo=1"]);
    assert_members(service, &[""], &[]);
    for line in [
        "foo=1 \t , \t bar=2, \t baz=3",
        "foo=1\t \t,\t \tbar=2,\t \tbaz=3",
    ] {
        assert_members(service, &[line], &["foo=1", "bar=2", "baz=3"]);
    }
    for line in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        assert_members(service, &[line], &["foo=1"]);
    }
}

fn duplicate_tracestate_keys_are_kept(service: &mut dyn TracedService) {
    assert_members(service, &["foo=1,foo=1"], &["foo=1", "foo=1"]);
    assert_members(service, &["foo=1", "foo=2"], &["foo=1", "foo=2"]);
}

fn tracestate_keys_and_values_follow_the_grammar(service: &mut dyn TracedService) {
    let value: String = (0x20..=0x7e)
        .map(char::from)
        .filter(|letter| !matches!(letter, ',' | '='))
        .collect();
    for key in [
        "abcdefghijklmnopqrstuvwxyz0123456789_-*/",
        "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/",
    ] {
        let member = format!("{key}={value}");
        assert_members(service, &[&member], &[&member]);
    }
    assert_members(service, &["foo@=1,bar=2"], &["foo@=1", "bar=2"]);
    assert_members(service, &["foo@@bar=1,bar=2"], &["foo@@bar=1", "bar=2"]);
    assert_members(
        service,
        &["foo@bar@baz=1,bar=2"],
        &["foo@bar@baz=1", "bar=2"],
    );
    for bad in [
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "@foo=1,bar=2",
        "foo=bar=baz",
        "foo=,bar=3",
    ] {
        assert_members(service, &[bad], &[]);
    }
}

fn tracestate_lists_and_keys_are_limited(service: &mut dyn TracedService) {
    let members: Vec<String> = (1..=33)
        .map(|nth| format!("bar{nth:02}={nth:02}"))
        .collect();
    let (tens, all) = (
        members.chunks(10).map(|ten| ten.join(",")),
        members.join(","),
    );
    let lines: Vec<String> = tens.collect();
    let mut within: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_members(service, &within, &[]);
    within.pop();
    within.push("bar31=31,bar32=32");
    let kept: Vec<&str> = members.iter().take(32).map(String::as_str).collect();
    assert_members(service, &within, &kept);
    assert_members(service, &[&all], &[]);
    for key in [
        "z".repeat(256),
        format!("{}@{}", "t".repeat(241), "v".repeat(14)),
        format!("{}@v", "t".repeat(242)),
    ] {
        let member = format!("{key}=1");
        assert_members(service, &["foo=1", &member], &["foo=1", &member]);
    }
    assert_members(service, &["foo=1", &format!("{}=1", "z".repeat(257))], &[]);
}

fn callbacks_share_a_trace_and_have_distinct_spans(service: &mut dyn TracedService) {
    let bad = format!("00-{}-{PARENT}-01", "0".repeat(32));
    for (traceparent, is_continued) in [
        (Some(VALID), true),
        (None, false),
        (Some(bad.as_str()), false),
    ] {
        let pairs: Vec<(&str, &str)> = traceparent
            .map(|value| ("traceparent", value))
            .into_iter()
            .collect();
        let out = service.request_callbacks(&pairs, 3);
        let out: Vec<Callback> = out.iter().map(Callback::of).collect();
        let traces: BTreeSet<&str> = out
            .iter()
            .map(|callback| callback.trace_id.as_str())
            .collect();
        let parents: BTreeSet<&str> = out
            .iter()
            .map(|callback| callback.parent_id.as_str())
            .collect();
        assert_eq!((traces.len(), parents.len()), (1, 3));
        assert_eq!(traces.contains(TRACE), is_continued);
    }
}

fn known_trace_flags_are_forwarded(service: &mut dyn TracedService) {
    for (sent, kept) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3)] {
        let value = format!("00-{TRACE}-{PARENT}-{sent}");
        assert_eq!(
            callback(service, &[("traceparent", &value)]).flags,
            kept,
            "{sent}"
        );
    }
}
