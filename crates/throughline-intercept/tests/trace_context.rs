//! The cases of the W3C trace-context test suite (github.com/w3c/trace-context, `test/test.py`, strict level 2, both levels of the
//! specification), without its sockets: a service that knows nothing of tracing is asked, and asks back; what its proxy lets
//! out is what the suite looks at.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::collections::BTreeSet;
use std::sync::Arc;

use throughline_intercept::correlate::{self, Correlator, Sole};
use throughline_intercept::http::{Direction, Exchange, Peer, Request, Settings};
use throughline_model::context::{Carrier, HeaderList};

const START: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;
const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";
const VALID: &str = "00-12345678901234567890123456789012-1234567890123456-00";

/// What came out.
struct Callback {
    trace_id: String,
    parent_id: String,
    flags: u8,
    /// All `tracestate` together.
    tracestate: String,
}

struct Harness {
    correlator: Correlator,
    settings: Arc<Settings>,
    now: u64,
    seed: u64,
}

// === impl Harness ===

impl Harness {
    fn new() -> Self {
        Self::with(Sole::default())
    }

    fn with(sole: Sole) -> Self {
        let correlator = Correlator::new(correlate::Settings { sole, ..correlate::Settings::default() }, START);
        Self { correlator, settings: Arc::default(), now: START + 1_000 * MS, seed: 0 }
    }

    fn exchange(&mut self, direction: Direction, target: &str, headers: &mut HeaderList) -> Exchange {
        self.seed += 1;
        let request =
            Request { method: "POST", scheme: "http", authority: "127.0.0.1:7777", target, version: "1.1", body: None };
        let mut exchange = Exchange::new(Arc::clone(&self.settings), direction, Peer::default(), self.seed);
        exchange.handle_request(self.now, &request, headers, &mut self.correlator);
        exchange
    }

    fn end(&mut self, mut exchange: Exchange) {
        self.now += MS;
        exchange.handle_response(self.now, 200, &HeaderList::default(), &mut self.correlator);
        exchange.handle_end(self.now, &mut self.correlator);
        assert!(exchange.poll_span().is_some() || exchange.is_over());
    }

    /// Asks the service, which calls back so many times.
    fn ask(&mut self, pairs: &[(&str, &str)], callbacks: usize) -> Vec<Callback> {
        let mut sent = list(pairs);
        let inbound = self.exchange(Direction::Inbound, "/test", &mut sent);
        let mut found = Vec::new();
        for nth in 0..callbacks {
            self.now += MS;
            let mut out = list(&[("content-type", "application/json")]);
            let target = format!("/{:032x}.{nth}", self.seed);
            let outbound = self.exchange(Direction::Outbound, &target, &mut out);
            found.push(Callback::of(&out));
            self.now += 2 * MS;
            self.end(outbound);
        }
        self.end(inbound);
        self.now += 5 * MS;
        found
    }

    /// Two hundred requests, each of a trace of its own. Gives how many callbacks were of the right trace, and how many there
    /// were; the others must be of none.
    fn run(&mut self) -> (usize, usize) {
        let (mut found, mut asked) = (0, 0);
        for nth in 0..200 {
            let value = format!("00-{}{nth:04x}-{PARENT}-01", "7".repeat(28));
            for out in self.ask(&[("traceparent", &value)], 1 + nth % 3) {
                asked += 1;
                found += usize::from(value.contains(&out.trace_id));
                assert!(value.contains(&out.trace_id) || !out.trace_id.starts_with("7777"), "of another's trace");
            }
        }
        (found, asked)
    }
}

// === impl Callback ===

impl Callback {
    fn of(headers: &HeaderList) -> Self {
        let parents = all(headers, "traceparent");
        let [parent] = parents.as_slice() else { panic!("there is to be one traceparent, not {parents:?}") };
        let fields: Vec<&str> = parent.split('-').collect();
        let &["00", trace_id, parent_id, flags] = fields.as_slice() else { panic!("{parent}") };
        assert!(parent.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{parent}");
        assert_eq!((trace_id.len(), parent_id.len(), flags.len()), (32, 16, 2), "{parent}");
        assert!(trace_id != "0".repeat(32) && parent_id != "0".repeat(16), "{parent}");
        Self {
            trace_id: trace_id.to_owned(),
            parent_id: parent_id.to_owned(),
            flags: u8::from_str_radix(flags, 16).unwrap(),
            tracestate: all(headers, "tracestate").join(","),
        }
    }

    fn members(&self) -> Vec<&str> {
        self.tracestate.split(',').map(str::trim).filter(|member| !member.is_empty()).collect()
    }
}

fn list(pairs: &[(&str, &str)]) -> HeaderList {
    let mut list = HeaderList::default();
    pairs.iter().for_each(|(name, value)| list.push(name, value));
    list
}

fn all(headers: &HeaderList, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    headers.each(&mut |key, value| {
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            found.push(String::from_utf8(value.unwrap().to_vec()).unwrap());
        }
    });
    found
}

fn callback(pairs: &[(&str, &str)]) -> Callback {
    Harness::new().ask(pairs, 1).remove(0)
}

#[track_caller]
fn continues(traceparent: &str) {
    let out = callback(&[("traceparent", traceparent)]);
    assert_eq!(out.trace_id, TRACE, "{traceparent:?}");
    assert_ne!(out.parent_id, PARENT, "{traceparent:?}");
}

#[track_caller]
fn begins_anew(traceparent: &str) {
    let out = callback(&[("traceparent", traceparent), ("tracestate", "foo=1")]);
    assert!(!traceparent.contains(&out.trace_id), "{traceparent:?}");
    assert_eq!(out.tracestate, "", "{traceparent:?}");
}

#[track_caller]
fn keeps(lines: &[&str], members: &[&str]) {
    let mut pairs = vec![("traceparent", VALID)];
    pairs.extend(lines.iter().map(|line| ("tracestate", *line)));
    let out = callback(&pairs);
    assert_eq!((out.trace_id.as_str(), out.members()), (TRACE, members.to_vec()), "{lines:?}");
}

#[test]
fn without_a_context_there_is_a_new_one() {
    assert_eq!(callback(&[]).tracestate, "");
}

#[test]
fn a_valid_traceparent_is_continued() {
    continues(VALID);
    for name in ["TraceParent", "TrAcEpArEnT", "TRACEPARENT"] {
        assert_eq!(callback(&[(name, VALID)]).trace_id, TRACE);
    }
    for padded in
        [format!(" {VALID}"), format!("\t{VALID}"), format!("{VALID} "), format!("{VALID}\t"), format!("\t {VALID} \t")]
    {
        continues(&padded);
    }
    continues(&VALID.replacen("00", "cc", 1));
    continues(&format!("{}-what-the-future-will-be-like", VALID.replacen("00", "cc", 1)));
}

#[test]
fn an_invalid_traceparent_is_none() {
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
        begins_anew(&bad);
    }
    for name in ["trace-parent", "trace.parent"] {
        assert_ne!(callback(&[(name, VALID)]).trace_id, TRACE);
    }
}

#[test]
fn of_two_traceparents_none_is_valid() {
    let other = VALID.replace("9012-", "9011-");
    for pair in [[&other, VALID], [VALID, &other], [VALID, VALID]] {
        let out = callback(&[("traceparent", pair[0]), ("TraceParent", pair[1]), ("tracestate", "foo=1")]);
        assert!(!VALID.contains(&out.trace_id) && !other.contains(&out.trace_id) && out.tracestate.is_empty());
    }
}

#[test]
fn tracestate_goes_with_traceparent_and_not_without() {
    keeps(&["foo=1,bar=2"], &["foo=1", "bar=2"]);
    for name in ["TraceState", "TrAcEsTaTe", "TRACESTATE"] {
        assert_eq!(callback(&[("traceparent", VALID), (name, "foo=1")]).tracestate, "foo=1");
    }
    assert_eq!(callback(&[("tracestate", "foo=1")]).tracestate, "");
    for name in ["trace-state", "trace.state"] {
        assert_eq!(callback(&[("traceparent", VALID), (name, "foo=1")]).tracestate, "");
    }
}

#[test]
fn lines_of_tracestate_are_one_list_in_order() {
    keeps(&["foo=1,bar=2", "rojo=1,congo=2", "baz=3"], &["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"]);
    keeps(&["foo=1", ""], &["foo=1"]);
    keeps(&["", "foo=1"], &["foo=1"]);
    keeps(&[""], &[]);
    for line in ["foo=1 \t , \t bar=2, \t baz=3", "foo=1\t \t,\t \tbar=2,\t \tbaz=3"] {
        keeps(&[line], &["foo=1", "bar=2", "baz=3"]);
    }
    for line in [" foo=1", "\tfoo=1", "foo=1 ", "foo=1\t", "\t foo=1 \t"] {
        keeps(&[line], &["foo=1"]);
    }
}

#[test]
fn duplicate_keys_are_kept_as_they_are() {
    keeps(&["foo=1,foo=1"], &["foo=1", "foo=1"]);
    keeps(&["foo=1", "foo=2"], &["foo=1", "foo=2"]);
}

#[test]
fn keys_and_values_have_the_letters_of_the_grammar() {
    let value: String = (0x20..=0x7e).map(char::from).filter(|letter| !matches!(letter, ',' | '=')).collect();
    for key in ["abcdefghijklmnopqrstuvwxyz0123456789_-*/", "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/"] {
        let member = format!("{key}={value}");
        keeps(&[&member], &[&member]);
    }
    keeps(&["foo@=1,bar=2"], &["foo@=1", "bar=2"]);
    keeps(&["foo@@bar=1,bar=2"], &["foo@@bar=1", "bar=2"]);
    keeps(&["foo@bar@baz=1,bar=2"], &["foo@bar@baz=1", "bar=2"]);
    for bad in ["foo =1", "FOO=1", "foo.bar=1", "@foo=1,bar=2", "foo=bar=baz", "foo=,bar=3"] {
        keeps(&[bad], &[]);
    }
}

#[test]
fn lists_and_keys_have_limits() {
    let members: Vec<String> = (1..=33).map(|nth| format!("bar{nth:02}={nth:02}")).collect();
    let (tens, all) = (members.chunks(10).map(|ten| ten.join(",")), members.join(","));
    let lines: Vec<String> = tens.collect();
    let mut within: Vec<&str> = lines.iter().map(String::as_str).collect();
    keeps(&within, &[]);
    within.pop();
    within.push("bar31=31,bar32=32");
    let kept: Vec<&str> = members.iter().take(32).map(String::as_str).collect();
    keeps(&within, &kept);
    keeps(&[&all], &[]);
    for key in ["z".repeat(256), format!("{}@{}", "t".repeat(241), "v".repeat(14)), format!("{}@v", "t".repeat(242))] {
        let member = format!("{key}=1");
        keeps(&["foo=1", &member], &["foo=1", &member]);
    }
    keeps(&["foo=1", &format!("{}=1", "z".repeat(257))], &[]);
}

#[test]
fn several_callbacks_are_of_one_trace_and_each_a_span() {
    let bad = format!("00-{}-{PARENT}-01", "0".repeat(32));
    for (traceparent, is_continued) in [(Some(VALID), true), (None, false), (Some(bad.as_str()), false)] {
        let pairs: Vec<(&str, &str)> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
        let out = Harness::new().ask(&pairs, 3);
        let traces: BTreeSet<&str> = out.iter().map(|callback| callback.trace_id.as_str()).collect();
        let parents: BTreeSet<&str> = out.iter().map(|callback| callback.parent_id.as_str()).collect();
        assert_eq!((traces.len(), parents.len()), (1, 3));
        assert_eq!(traces.contains(TRACE), is_continued);
    }
}

#[test]
fn flags_are_passed_on_as_far_as_they_are_known() {
    for (sent, kept) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("ff", 3)] {
        let value = format!("00-{TRACE}-{PARENT}-{sent}");
        assert_eq!(callback(&[("traceparent", &value)]).flags, kept, "{sent}");
    }
}

/// The suite asks one after the other, at its own pace, and each of its cases must hold. Its service does nothing but answer,
/// and the user who says so has every callback in its trace from the first on.
#[test]
fn a_whole_run_of_the_suite_against_one_process_holds_together() {
    let mut harness = Harness::with(Sole::Assumed);
    let (found, asked) = harness.run();
    assert_eq!(found, asked);
}

/// Where nobody says so, requests that come as fast as this have to show for a while that the process does nothing of its own.
#[test]
fn without_being_told_it_takes_a_while_and_nothing_is_wrong_meanwhile() {
    let mut harness = Harness::new();
    let (found, asked) = harness.run();
    assert!(found > asked * 9 / 10, "{found} of {asked}");
}
