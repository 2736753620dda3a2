//! Every case of h2spec (github.com/summerwind/h2spec) against the sidecar's port.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use throughline_testkit::clients;
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::wait;
use tokio::runtime::Runtime;

use crate::fixture::SidecarFixture;
use crate::service::{self, ServiceProtocol};

/// Summary of a run of h2spec.
#[derive(Debug, PartialEq, Eq)]
struct H2specSummary {
    cases: usize,
    failed: Vec<String>,
}

/// The one case that fails by design: the port also accepts HTTP/1, so an invalid preface gets an
/// HTTP/1 response with status 400 before the close. The case accepts only a close or a GOAWAY
/// frame.
const REJECTED_IN_HTTP1: &str = "2: Sends invalid connection preface";

const CASE_COUNT: usize = 146;

#[test]
fn h2c_conforms_to_h2spec_with_every_service_protocol() {
    for (spoken, protocol) in [
        (ServiceProtocol::Http1, "http1"),
        (ServiceProtocol::Http2, "same"),
    ] {
        let runtime = Runtime::new().unwrap();
        let side = SidecarFixture::start(
            runtime.block_on(service::start(spoken, answer)),
            &["--inbound-protocol", protocol],
        );
        let verdict = h2spec(side.inbound(), &[]);
        assert_eq!(
            verdict,
            H2specSummary {
                cases: CASE_COUNT,
                failed: vec![REJECTED_IN_HTTP1.to_owned()]
            },
            "{protocol}"
        );
        side.assert_no_panic();
    }
}

#[test]
fn http2_over_tls_conforms_to_h2spec() {
    let home = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let runtime = Runtime::new().unwrap();
    let service = runtime.block_on(service::start(ServiceProtocol::Http2, answer));
    let tls = [
        "--inbound-tls-cert",
        cert.to_str().unwrap(),
        "--inbound-tls-key",
        key.to_str().unwrap(),
    ];
    let side = SidecarFixture::start(
        service,
        &[&["--inbound-protocol", "http2"], &tls[..]].concat(),
    );
    let verdict = h2spec(side.inbound(), &["--tls", "--insecure"]);
    // ALPN selects the protocol, so the preface is not guessed.
    assert_eq!(
        verdict,
        H2specSummary {
            cases: CASE_COUNT,
            failed: Vec::new()
        }
    );
    side.assert_no_panic();
}

fn h2spec(to: SocketAddr, args: &[&str]) -> H2specSummary {
    let program = clients::h2spec(&mut |step| eprintln!("{step}")).unwrap();
    let port = to.port().to_string();
    let spec =
        ProcessSpec::new("h2spec", program).args(["--strict", "--timeout", "5", "--port", &port]);
    let run = spec.args(args.iter().copied()).spawn().unwrap();
    wait::until(Duration::from_secs(300), || run.status()).expect("h2spec ends");
    let log = run.log();
    let summary = log.iter().find_map(|line| line.split_once(" tests, "));
    let cases = summary
        .unwrap_or_else(|| panic!("no summary in:\n{}", log.join("\n")))
        .0
        .parse()
        .unwrap();
    let behind = log.iter().skip_while(|line| !line.starts_with("Failures:"));
    let failed = behind
        .filter_map(|line| line.trim_start().strip_prefix("× "))
        .map(str::to_owned)
        .collect();
    H2specSummary { cases, failed }
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    // In HTTP/2, hyper leaves it to the service to respond to HEAD without a body.
    let body = if request.method() == Method::HEAD {
        Bytes::new()
    } else {
        Bytes::from_static(b"hello")
    };
    drop(request.into_body().collect().await);
    Response::new(Full::new(body))
}
