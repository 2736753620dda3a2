//! The cases of the W3C trace-context test suite (github.com/w3c/trace-context, `test/test.py`, strict level 2, both levels of the
//! specification), in our words: a service that knows nothing of tracing is asked, and asks back; what its proxy lets
//! out is what is looked at.
//!
//! Run without sockets by `tests/trace_context.rs`, and by `e2e` on the real sidecar in front of a real service.

use std::collections::BTreeSet;

/// The service behind its proxy.
pub(crate) trait Service {
    /// Asks it, with these fields, to ask back so many times; gives the fields that it did so with.
    fn ask(&mut self, fields: &[(&str, &str)], callbacks: usize) -> Vec<Fields>;
}

/// Names and values.
pub(crate) type Fields = Vec<(String, String)>;

/// A context that came out.
pub(crate) struct Callback {
    pub(crate) trace_id: String,
    parent_id: String,
    flags: u8,
    /// All `tracestate` together.
    tracestate: String,
}

/// Each with what it says. Any of them holds on any service that has been asked a few times already.
pub(crate) const CASES: [(&str, fn(&mut dyn Service)); 11] = [
    (
        "without a context there is a new one",
        without_a_context_there_is_a_new_one,
    ),
    (
        "a valid traceparent is continued",
        a_valid_traceparent_is_continued,
    ),
    (
        "an invalid traceparent is none",
        an_invalid_traceparent_is_none,
    ),
    (
        "of two traceparents none is valid",
        of_two_traceparents_none_is_valid,
    ),
    (
        "tracestate goes with traceparent and not without",
        tracestate_goes_with_traceparent_and_not_without,
    ),
    (
        "lines of tracestate are one list in order",
        lines_of_tracestate_are_one_list_in_order,
    ),
    (
        "duplicate keys are kept as they are",
        duplicate_keys_are_kept_as_they_are,
    ),
    (
        "keys and values have the letters of the grammar",
        keys_and_values_have_the_letters_of_the_grammar,
    ),
    ("lists and keys have limits", lists_and_keys_have_limits),
    (
        "several callbacks are of one trace and each a span",
        several_callbacks_are_of_one_trace_and_each_a_span,
    ),
    (
        "flags are passed on as far as they are known",
        flags_are_passed_on_as_far_as_they_are_known,
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
            panic!("there is to be one traceparent, not {parents:?}")
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
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.clone())
        .collect()
}

fn callback(service: &mut dyn Service, pairs: &[(&str, &str)]) -> Callback {
    Callback::of(&service.ask(pairs, 1).remove(0))
}

#[track_caller]
fn continues(service: &mut dyn Service, traceparent: &str) {
    let out = callback(service, &[("traceparent", traceparent)]);
    assert_eq!(out.trace_id, TRACE, "{traceparent:?}");
    assert_ne!(out.parent_id, PARENT, "{traceparent:?}");
}

#[track_caller]
fn begins_anew(service: &mut dyn Service, traceparent: &str) {
    let out = callback(
        service,
        &[("traceparent", traceparent), ("tracestate", "foo=1")],
    );
    assert!(!traceparent.contains(&out.trace_id), "{traceparent:?}");
    assert_eq!(out.tracestate, "", "{traceparent:?}");
}

#[track_caller]
fn keeps(service: &mut dyn Service, lines: &[&str], members: &[&str]) {
    let mut pairs = vec![("traceparent", VALID)];
    pairs.extend(lines.iter().map(|line| ("tracestate", *line)));
    let out = callback(service, &pairs);
    assert_eq!(
        (out.trace_id.as_str(), out.members()),
        (TRACE, members.to_vec()),
        "{lines:?}"
    );
}

fn without_a_context_there_is_a_new_one(service: &mut dyn Service) {
    assert_eq!(callback(service, &[]).tracestate, "");
}

fn a_valid_traceparent_is_continued(service: &mut dyn Service) {
    continues(service, VALID);
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
        continues(service, &padded);
    }
    continues(service, &VALID.replacen("00", "cc", 1));
    continues(
        service,
        &format!(
            "{}-what-the-future-will-be-like",
            VALID.replacen("00", "cc", 1)
        ),
    );
}

fn an_invalid_traceparent_is_none(service: &mut dyn Service) {
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
        begins_anew(service, &bad);
    }
    for name in ["trace-parent", "trace.parent"] {
        assert_ne!(callback(service, &[(name, VALID)]).trace_id, TRACE);
    }
}

fn of_two_traceparents_none_is_valid(service: &mut dyn Service) {
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

fn tracestate_goes_with_traceparent_and_not_without(service: &mut dyn Service) {
    keeps(service, &["foo=1,bar=2"], &["foo=1", "bar=2"]);
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

fn lines_of_tracestate_are_one_list_in_order(service: &mut dyn Service) {
    keeps(
        service,
        &["foo=1,bar=2", "rojo=1,congo=2", "baz=3"],
        &["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"],
    );
    keeps(service, &["foo=1", ""], &["foo=1"]);
    keeps(service, &["", "foo=1"], &["foo=1"]);
    keeps(service, &[""], &[]);
    for line in [
        "foo=1 \t , \t bar=2, \t baz=3",
        "foo=1\t \t,\t \tbar=2,\t \tbaz=3",
    ] {
        keeps(service, &[line], &["foo=1", "bar=2", "baz=3"]);
    }
    for line in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        keeps(service, &[line], &["foo=1"]);
    }
}

fn duplicate_keys_are_kept_as_they_are(service: &mut dyn Service) {
    keeps(service, &["foo=1,foo=1"], &["foo=1", "foo=1"]);
    keeps(service, &["foo=1", "foo=2"], &["foo=1", "foo=2"]);
}

fn keys_and_values_have_the_letters_of_the_grammar(service: &mut dyn Service) {
    let value: String = (0x20..=0x7e)
        .map(char::from)
        .filter(|letter| !matches!(letter, ',' | '='))
        .collect();
    for key in [
        "abcdefghijklmnopqrstuvwxyz0123456789_-*/",
        "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/",
    ] {
        let member = format!("{key}={value}");
        keeps(service, &[&member], &[&member]);
    }
    keeps(service, &["foo@=1,bar=2"], &["foo@=1", "bar=2"]);
    keeps(service, &["foo@@bar=1,bar=2"], &["foo@@bar=1", "bar=2"]);
    keeps(
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
        keeps(service, &[bad], &[]);
    }
}

fn lists_and_keys_have_limits(service: &mut dyn Service) {
    let members: Vec<String> = (1..=33)
        .map(|nth| format!("bar{nth:02}={nth:02}"))
        .collect();
    let (tens, all) = (
        members.chunks(10).map(|ten| ten.join(",")),
        members.join(","),
    );
    let lines: Vec<String> = tens.collect();
    let mut within: Vec<&str> = lines.iter().map(String::as_str).collect();
    keeps(service, &within, &[]);
    within.pop();
    within.push("bar31=31,bar32=32");
    let kept: Vec<&str> = members.iter().take(32).map(String::as_str).collect();
    keeps(service, &within, &kept);
    keeps(service, &[&all], &[]);
    for key in [
        "z".repeat(256),
        format!("{}@{}", "t".repeat(241), "v".repeat(14)),
        format!("{}@v", "t".repeat(242)),
    ] {
        let member = format!("{key}=1");
        keeps(service, &["foo=1", &member], &["foo=1", &member]);
    }
    keeps(service, &["foo=1", &format!("{}=1", "z".repeat(257))], &[]);
}

fn several_callbacks_are_of_one_trace_and_each_a_span(service: &mut dyn Service) {
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
        let out = service.ask(&pairs, 3);
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

fn flags_are_passed_on_as_far_as_they_are_known(service: &mut dyn Service) {
    for (sent, kept) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3)] {
        let value = format!("00-{TRACE}-{PARENT}-{sent}");
        assert_eq!(
            callback(service, &[("traceparent", &value)]).flags,
            kept,
            "{sent}"
        );
    }
}
