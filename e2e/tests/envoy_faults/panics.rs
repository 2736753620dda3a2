//! A panic in each hook: traffic passes, the counter rises, Envoy lives.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use serde_json::json;
use throughline_testkit::{http, wait};

use crate::fixture::{FaultFixture, PRODUCE, TIMEOUT, UNKNOWN_API, no_keys};

/// Hooks of connections and requests, which traffic enters.
const TRAFFIC_HOOKS: [&str; 12] = [
    "network_filter_new",
    "network_filter_read",
    "network_filter_write",
    "network_filter_event",
    "network_filter_destroy",
    "http_filter_new",
    "http_filter_request_headers",
    "http_filter_response_headers",
    "http_filter_response_body",
    "http_filter_stream_complete",
    "http_filter_destroy",
    "early_header_mutation_mutate",
];

/// Hooks of configurations, which an update of the listeners enters.
const CONFIG_HOOKS: [&str; 6] = [
    "network_filter_config_new",
    "http_filter_config_new",
    "early_header_mutation_config_new",
    "network_filter_config_destroy",
    "http_filter_config_destroy",
    "early_header_mutation_config_destroy",
];

/// An Envoy in whose module a hook panics when a file names it.
struct PanicFixture {
    fixture: FaultFixture,
    fault: tempfile::NamedTempFile,
    http: [SocketAddr; 2],
}

#[test]
fn panic_in_a_hook_costs_tracing_and_no_traffic() {
    let mut panics = PanicFixture::start();
    panics.assert_traffic("no hook");
    assert_eq!(panics.fixture.stat("panics"), 0);
    for hook in TRAFFIC_HOOKS {
        let before = panics.fixture.stat("panics");
        panics.panic_in(hook);
        panics.assert_traffic(hook);
        panics.assert_counted(hook, before);
    }
    for (number, hook) in CONFIG_HOOKS.into_iter().enumerate() {
        let before = panics.fixture.stat("panics");
        panics.panic_in(hook);
        let fixture = &mut panics.fixture;
        // Any change makes Envoy replace the listeners, and with them the configurations.
        fixture
            .bootstrap
            .set_key("message_key", &json!(number % 2 == 0));
        fixture.envoy.update(&fixture.bootstrap).unwrap();
        panics.assert_traffic(hook);
        // The old configuration ends when its listener has drained.
        let has_panicked = || {
            let log = panics.fixture.envoy.process().log();
            let line = format!("{hook}: on purpose");
            log.iter().any(|it| it.contains(&line)).then_some(())
        };
        wait::until(TIMEOUT, has_panicked).unwrap_or_else(|| panic!("{hook} was not entered"));
        panics.assert_counted(hook, before);
    }
    // Without panics, a new configuration traces again.
    let fixture = &mut panics.fixture;
    fixture.bootstrap.set_key("message_key", &json!(true));
    fixture.envoy.update(&fixture.bootstrap).unwrap();
    let before = fixture.stat("kafka_requests");
    panics.assert_traffic("no hook");
    assert!(panics.fixture.stat("kafka_requests") > before);
    panics.fixture.stop_after_panics();
}

// === impl PanicFixture ===

impl PanicFixture {
    fn start() -> Self {
        let fault = tempfile::NamedTempFile::new().unwrap();
        let service = start_service();
        let mut http = None;
        let wrap = |spec: throughline_testkit::process::ProcessSpec| {
            let spec = spec.env("THROUGHLINE_ENVOY_FAULT_FILE", fault.path());
            // Old listeners, and their configurations, end soon.
            spec.args(["--drain-time-s", "1"])
        };
        let fixture = FaultFixture::start_with(&wrap, &no_keys(), |bootstrap| {
            let inbound = bootstrap.inbound(0, service).unwrap();
            let outbound = bootstrap.outbound(&service.to_string()).unwrap();
            http = Some([inbound, outbound]);
        });
        Self {
            fixture,
            fault,
            http: http.unwrap(),
        }
    }

    fn panic_in(&self, hook: &str) {
        std::fs::write(self.fault.path(), hook).unwrap();
    }

    /// Asserts that frames and requests pass.
    fn assert_traffic(&self, hook: &str) {
        eprintln!("panic in {hook}");
        self.fixture.assert_passes(UNKNOWN_API, &[1; 100]);
        self.fixture.assert_passes(PRODUCE, &[2; 100]);
        for address in self.http {
            let reply = http::get(&format!("http://{address}/"), TIMEOUT).unwrap();
            assert_eq!((reply.status, &*reply.body), (200, "hello"), "{hook}");
        }
    }

    /// Waits until the panics are counted: by a later hook, where the hook itself cannot count.
    fn assert_counted(&self, hook: &str, before: u64) {
        self.panic_in("");
        let counted = || {
            self.fixture.assert_passes(UNKNOWN_API, b"");
            (self.fixture.stat("panics") > before).then_some(())
        };
        wait::until(TIMEOUT, counted).unwrap_or_else(|| panic!("{hook} was not counted"));
        let crash = self.fixture.envoy.process().crashed();
        assert!(crash.is_none(), "{hook}: {crash:?}");
    }
}

/// Starts an HTTP service that answers every request with `hello`.
fn start_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The threads end with the test program.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_requests(stream));
        }
    });
    address
}

fn answer_requests(mut stream: TcpStream) {
    let mut buffer = vec![0; 16 << 10];
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    // Requests of the test fit into one read.
    while matches!(stream.read(&mut buffer), Ok(1..)) && stream.write_all(answer).is_ok() {}
}
