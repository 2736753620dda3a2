//! Request smuggling: ambiguous requests are rejected, or normalized to one reading.
//!
//! Each case is followed by an honest request on the same connection. The service sees neither if
//! the case is rejected. Otherwise it sees the intended request, then the honest one, which a
//! wrongly measured body would swallow.

use std::fmt::Write as _;

use crate::fixture::SidecarFixture;
use crate::frames::{Http2Stream, StreamOutcome, get};
use crate::recorder::{RecordedInput, RequestRecorder, WholeRequest};

/// The request behind each case.
const HONEST: &str = "GET /honest HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// The smuggled request.
const POISON: &str = "GET /poison HTTP/1.1\r\nhost: a\r\n\r\n";

/// Invalid or ambiguous body lengths.
const BAD_LENGTHS: [&str; 22] = [
    "content-length: 0\r\ncontent-length: 35",
    "content-length: 35\r\ncontent-length: 0",
    "content-length: 0, 35",
    "content-length: 35, 35",
    "content-length: +35",
    "content-length: -35",
    "content-length: 0x23",
    "content-length: 3 5",
    "content-length: 35;",
    "content-length: 3_5",
    "content-length:",
    "content-length: 18446744073709551651",
    "content-length: 99999999999999999999999999999999",
    "content-length : 35",
    "content-length\t: 35",
    "content-length: 0\r\n content-length: 35",
    "content-length:\r\n 35",
    "content-length: 0\rcontent-length: 35",
    "content-length: 0\0",
    "content\0-length: 35",
    "content length: 35",
    " content-length: 35",
];

/// Invalid or ambiguous transfer codings.
const BAD_CODINGS: [&str; 17] = [
    "transfer-encoding: chunked, gzip",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: identity",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunkedx",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: chunked;q=0.5",
    "transfer-encoding: chunked\r\ntransfer-encoding: gzip",
    "transfer-encoding:",
    "transfer-encoding: \x0bchunked",
    "transfer-encoding : chunked",
    "transfer-encoding\t: chunked",
    "transfer-encoding:\r\n chunked",
    "transfer-encoding: x\r\n chunked",
    "x: y\rtransfer-encoding: chunked",
    " transfer-encoding: chunked",
    "transfer-encoding",
];

#[test]
fn ambiguous_heads_are_rejected() {
    let (service, side) = start(&[]);
    for lengths in BAD_LENGTHS {
        assert_rejected(&side, &service, lengths, &post(lengths, POISON), &["400"]);
    }
    for codings in BAD_CODINGS {
        assert_rejected(
            &side,
            &service,
            codings,
            &post(codings, "0\r\n\r\n"),
            &["400"],
        );
    }
    finish(&side, &service);
}

#[test]
fn invalid_heads_are_rejected() {
    let (service, side) = start(&[]);
    let line = |line: &str| format!("{line}\r\nhost: a\r\n\r\n");
    let post = |fields: &str| post(fields, "");
    for (name, text) in [
        (
            "an encoding in 1.0",
            "POST /case HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned(),
        ),
        ("two hosts", post("host: b\r\ncontent-length: 0")),
        (
            "two hosts that are one",
            post("host: a\r\ncontent-length: 0"),
        ),
        ("no host", "GET /case HTTP/1.1\r\n\r\n".to_owned()),
        (
            "a host with a path",
            "GET /case HTTP/1.1\r\nhost: a/b\r\n\r\n".to_owned(),
        ),
        (
            "a host with a fragment",
            "GET /case HTTP/1.1\r\nhost: a#@b\r\n\r\n".to_owned(),
        ),
        (
            "a host with credentials",
            "GET /case HTTP/1.1\r\nhost: b@a\r\n\r\n".to_owned(),
        ),
        (
            "two hosts in a line",
            "GET /case HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(),
        ),
        ("a name that is none", post("x@y: 1")),
        ("a name in brackets", post("[x]: 1")),
        ("no name", post(": 1")),
        ("a control byte", post("x: \x01")),
        ("a deleted byte", post("x: \x7f")),
        ("a version that is none", line("GET /case HTTP/1.9")),
        ("a version that is too long", line("GET /case HTTP/1.11")),
        ("a version in small letters", line("GET /case http/1.1")),
        ("HTTP/2 in HTTP/1", line("GET /case HTTP/2.0")),
        ("a space in the target", line("GET /case b HTTP/1.1")),
        ("a tab in the target", line("GET /case\tb HTTP/1.1")),
        ("a null in the target", line("GET /case\0 HTTP/1.1")),
        ("a return in the target", line("GET /case\rb HTTP/1.1")),
        ("a space before the method", line(" GET /case HTTP/1.1")),
        (
            "a method with a control byte",
            line("G\x01T /case HTTP/1.1"),
        ),
        ("a method with a colon", line("GE:T /case HTTP/1.1")),
    ] {
        assert_rejected(&side, &service, name, &text, &["400"]);
    }
    finish(&side, &service);
}

#[test]
fn oversized_heads_are_rejected() {
    let (service, side) = start(&[]);
    let long = "x".repeat(70_000);
    // The sidecar takes 512 fields.
    let many = (0..600).fold(String::new(), |mut many, nth| {
        write!(many, "x-{nth}: 1\r\n").unwrap();
        many
    });
    for (name, text) in [
        (
            "a long value",
            format!("GET /case HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
        ),
        (
            "a long name",
            format!("GET /case HTTP/1.1\r\nhost: a\r\n{long}: x\r\n\r\n"),
        ),
        (
            "a long target",
            format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
        ),
        (
            "a long method",
            format!("{long} /case HTTP/1.1\r\nhost: a\r\n\r\n"),
        ),
        (
            "many fields",
            format!("GET /case HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
        ),
        ("no end", "A".repeat(1 << 20)),
    ] {
        assert_rejected(&side, &service, name, &text, &["400", "414", "431"]);
    }
    finish(&side, &service);
}

#[test]
fn invalid_chunks_complete_no_request() {
    let (service, side) = start(&[]);
    let extension = "x".repeat(20_000);
    let endless = "1;x\r\na\r\n".repeat(40_000);
    for chunks in [
        "x\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "-1\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\nabc\n0\n\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\rabc\r0\r\r",
        "3;x\nabc\r\n0\r\n\r\n",
        "3;x\ry\r\nabc\r\n0\r\n\r\n",
        "3 \n\nabc",
        "3\r\nabc\r\n0\r\nx\r\n\r\n",
        "3\r\nabc\r\n0\r\nx : y\r\n\r\n",
        "3\r\nabc\r\n0\r\nx: y\r\n z\r\n\r\n",
        &format!("3;{extension}\r\nabc\r\n0\r\n\r\n"),
        &format!("{endless}0\r\n\r\n"),
    ] {
        let case = format!(
            "POST /case HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunks}{HONEST}"
        );
        let answer = side.raw(case.as_bytes());
        let name = chunks.get(..60).unwrap_or(chunks);
        assert!(
            statuses(&answer).iter().all(|status| *status == "400"),
            "{name:?}: {answer:?}"
        );
        assert!(statuses(&answer).len() <= 1, "{name:?}: {answer:?}");
        for seen in service.take() {
            assert!(
                matches!(&seen, RecordedInput::Cut(text) if text.starts_with("POST /case ")),
                "{name:?}: {seen:?}"
            );
        }
    }
    finish(&side, &service);
}

#[test]
fn accepted_requests_have_one_reading() {
    let (service, side) = start(&[]);
    for (name, text, body) in unusual_framing().into_iter().chain(unusual_heads()) {
        let answer = side.raw(format!("{text}{HONEST}").as_bytes());
        assert_eq!(statuses(&answer), ["200", "200"], "{name}: {answer:?}");
        let seen = complete_requests(&service, name);
        let targets: Vec<&str> = seen
            .iter()
            .map(|request| request.line.split_once(' ').unwrap().1)
            .collect();
        assert_eq!(targets, ["/case", "/honest"], "{name}");
        assert_eq!(seen[0].body, body, "{name}");
        let host = if text.contains("http://") { "b" } else { "a" };
        assert!(
            seen[0]
                .fields
                .contains(&("host".to_owned(), host.to_owned())),
            "{name}: {:?}",
            seen[0]
        );
    }
    finish(&side, &service);
}

/// The chunked coding wins, the length is removed, and the connection is closed (RFC 9112, section
/// 6.3).
#[test]
fn chunked_coding_overrides_the_length_and_closes() {
    let (service, side) = start(&[]);
    for fields in [
        "content-length: 6\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 6",
        "content-length: 40\r\ntransfer-encoding: chunked",
    ] {
        let answer = side.raw(format!("{}{POISON}{HONEST}", post(fields, "0\r\n\r\n")).as_bytes());
        assert_eq!(statuses(&answer), ["200"], "{fields}: {answer:?}");
        let seen = complete_requests(&service, fields);
        assert_eq!(seen.len(), 1, "{fields}: {seen:?}");
        assert!(
            !seen[0]
                .fields
                .iter()
                .any(|(name, _)| name == "content-length"),
            "{:?}",
            seen[0]
        );
    }
    finish(&side, &service);
}

/// HTTP/2 field values can contain line breaks; they must not become line ends in HTTP/1.
#[test]
fn http2_request_never_becomes_two_http1_requests() {
    let (service, side) = start(&["--inbound-protocol", "http1"]);
    for fields in invalid_http2_requests() {
        let outcome = Http2Stream::open(side.inbound()).exchange(&fields, None);
        assert!(outcome.is_refusal(), "{fields:?}: {outcome:?}");
        assert_eq!(service.take(), [], "{fields:?}");
    }
    for (length, data) in [
        ("3", "abcd"),
        ("5", "abc"),
        ("0", "GET /poison HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let outcome = Http2Stream::open(side.inbound())
            .exchange(&with("content-length", length), Some(data.as_bytes()));
        assert!(outcome.is_refusal(), "{length}: {outcome:?}");
        assert!(
            service
                .take()
                .iter()
                .all(|seen| matches!(seen, RecordedInput::Cut(_))),
            "{length}"
        );
    }
    // A valid request has one host, that of `:authority`, and one length.
    let mut other_host = with("host", "evil");
    other_host.push(("cookie".to_owned(), "a=1".to_owned()));
    other_host.push(("cookie".to_owned(), "b=2".to_owned()));
    assert_eq!(
        Http2Stream::open(side.inbound()).exchange(&other_host, Some(b"abc")),
        StreamOutcome::Passed
    );
    let seen = complete_requests(&service, "a host beside :authority");
    let has = |name: &str, value: &str| {
        seen[0]
            .fields
            .contains(&(name.to_owned(), value.to_owned()))
    };
    assert!(
        has("host", "a") && has("cookie", "a=1; b=2") && has("transfer-encoding", "chunked"),
        "{seen:?}"
    );
    assert_eq!((seen.len(), seen[0].body.as_str()), (1, "abc"));
    finish(&side, &service);
}

// --- fixtures ---

fn start(args: &[&str]) -> (RequestRecorder, SidecarFixture) {
    let service = RequestRecorder::start();
    let side = SidecarFixture::start(service.address(), args);
    (service, side)
}

/// An unusual but valid request: name, bytes, and the body that the service must see.
type AcceptedRequest = (&'static str, String, &'static str);

/// Returns requests with unusual spellings of length and coding.
fn unusual_framing() -> [AcceptedRequest; 8] {
    let chunked = "0\r\n\r\n";
    let both = "3;a=b;c=\"d\"\r\nabc\r\n000\r\n\r\n";
    [
        (
            "chunks with an extension",
            post("transfer-encoding: chunked", both),
            "abc",
        ),
        (
            "chunks in capitals",
            post("Transfer-Encoding: CHUNKED", chunked),
            "",
        ),
        (
            "white space around",
            post("transfer-encoding:\t chunked \t", chunked),
            "",
        ),
        (
            "an empty list",
            post("transfer-encoding: , chunked", chunked),
            "",
        ),
        (
            "a length with zeros",
            post("content-length: 0003", "abc"),
            "abc",
        ),
        (
            "two lengths that are one",
            post("content-length: 3\r\nContent-Length: 3", "abc"),
            "abc",
        ),
        (
            "white space around a length",
            post("content-length: \t3 ", "abc"),
            "abc",
        ),
        (
            "a name like one",
            post(
                "content_length: 35\r\ntransfer_encoding: chunked\r\ncontent-length: 3",
                "abc",
            ),
            "abc",
        ),
    ]
}

/// Returns requests with unusual lines, targets, connection fields and trailers.
fn unusual_heads() -> [AcceptedRequest; 7] {
    [
        (
            "a body where none is usual",
            "GET /case HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc".to_owned(),
            "abc",
        ),
        (
            "lines without returns",
            "POST /case HTTP/1.1\nhost: a\ncontent-length: 3\n\nabc".to_owned(),
            "abc",
        ),
        (
            "empty lines before it",
            format!("\r\n\r\n{}", post("content-length: 3", "abc")),
            "abc",
        ),
        (
            "a host in the target",
            "GET http://b/case HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            "",
        ),
        (
            "credentials in the target",
            "GET http://u:p@b/case HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            "",
        ),
        (
            "a connection field with all",
            post(
                "connection: host, content-length, x\r\nx: 1\r\ncontent-length: 3",
                "abc",
            ),
            "abc",
        ),
        (
            "trailers",
            post(
                "transfer-encoding: chunked\r\ntrailer: content-length, host",
                "0\r\ncontent-length: 9\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n",
            ),
            "",
        ),
    ]
}

/// Returns HTTP/2 requests whose fields would be ambiguous in HTTP/1.
fn invalid_http2_requests() -> Vec<Vec<(String, String)>> {
    let split = "b\r\n\r\nGET /poison HTTP/1.1\r\nhost: a\r\n\r\n";
    let without = |name: &str, value: &str| {
        let mut fields = get("/case");
        fields
            .iter_mut()
            .filter(|(own, _)| own == name)
            .for_each(|(_, own)| value.clone_into(own));
        fields
    };
    let mut cases = vec![
        with("x", split),
        with("x", "a\nb"),
        with("x", "a\rb"),
        with("x", "a\0b"),
        with("x\r\ny", "1"),
        with("x: y\r\nz", "1"),
        with("x y", "1"),
        with("x:", "1"),
        with("X", "1"),
        with("", "1"),
        with("connection", "close"),
        with("connection", "transfer-encoding"),
        with("transfer-encoding", "chunked"),
        with("transfer-encoding", "x"),
        with("upgrade", "websocket"),
        with("keep-alive", "timeout=5"),
        with("proxy-connection", "keep-alive"),
        with("te", "gzip"),
        with("content-length", "5"),
        with("content-length", "x"),
        with(":path", "/poison"),
        with(":method", "POST"),
        with(":x", "1"),
        without(":method", "GET /poison HTTP/1.1\r\nhost: a\r\n\r\nGET"),
        without(":method", "GET /poison"),
        without(":path", "/case HTTP/1.1\r\nhost: b\r\n\r\nGET /poison"),
        without(":path", "/case b"),
        without(":path", "/case\0"),
        without(":path", ""),
        without(":scheme", "http://a/poison?"),
        without(":authority", split),
        without(":authority", "a b"),
        without(":authority", "a/poison"),
    ];
    let mut twice = with("content-length", "0");
    twice.push(("content-length".to_owned(), "35".to_owned()));
    cases.push(twice);
    cases
}

/// Returns the fields of an ordinary request with one more.
fn with(name: &str, value: &str) -> Vec<(String, String)> {
    let mut fields = get("/case");
    fields.push((name.to_owned(), value.to_owned()));
    fields
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /case HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}")
}

/// Checks for one rejection, a closed connection, and nothing at the service.
#[track_caller]
fn assert_rejected(
    side: &SidecarFixture,
    service: &RequestRecorder,
    name: &str,
    text: &str,
    with: &[&str],
) {
    let answer = side.raw(format!("{text}{HONEST}").as_bytes());
    let statuses = statuses(&answer);
    // A client that still sends when the connection is closed may lose the response to RST.
    assert!(
        statuses.len() <= 1 && (statuses.len() == 1 || text.len() > 60_000),
        "{name:?}: {answer:?}"
    );
    assert!(
        statuses.iter().all(|status| with.contains(status)),
        "{name:?}: {answer:?}"
    );
    assert_eq!(service.take(), [], "{name:?}");
}

/// Returns the requests at the service, all of which must be complete.
#[track_caller]
fn complete_requests(service: &RequestRecorder, name: &str) -> Vec<WholeRequest> {
    let whole = service.take().into_iter().map(|seen| match seen {
        RecordedInput::Request(request) => request,
        RecordedInput::Cut(_) | RecordedInput::Odd(_) => panic!("{name}: {seen:?}"),
    });
    whole.collect()
}

fn statuses(answer: &str) -> Vec<&str> {
    let lines = answer.split("HTTP/1.").skip(1);
    lines
        .map(|line| line.split(' ').nth(1).unwrap_or_default())
        .collect()
}

/// Checks that no late request arrives and that the sidecar still works.
#[track_caller]
fn finish(side: &SidecarFixture, service: &RequestRecorder) {
    side.assert_works();
    let last = complete_requests(service, "the end");
    assert_eq!(
        last.iter()
            .map(|request| request.line.as_str())
            .collect::<Vec<_>>(),
        ["GET /works"]
    );
    side.assert_no_panic();
}
