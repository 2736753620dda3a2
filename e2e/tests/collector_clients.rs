//! Stock clients of tracing back ends against the collector: what they send must be complete.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and shows what it fetches"
)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::clients::{TracingClients, run_client};
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::wait;

const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Installs the clients once: the tests run in parallel.
fn clients() -> &'static TracingClients {
    static CLIENTS: OnceLock<TracingClients> = OnceLock::new();
    CLIENTS.get_or_init(|| TracingClients::install(&mut |step| eprintln!("{step}")).unwrap())
}

fn collector(args: &[&str]) -> CollectorInstance {
    let binary = &ProjectBinaries::build().unwrap().throughline;
    CollectorInstance::start_on(binary, CollectorPorts::default(), args).unwrap()
}

/// Waits until a trace has this number of spans.
fn trace(collector: &CollectorInstance, id: &str, spans: usize) -> Value {
    wait::until(ARRIVAL_TIMEOUT, || {
        let trace = collector.trace(id).unwrap()?;
        (trace["spans"].as_array().unwrap().len() == spans).then_some(trace)
    })
    .unwrap_or_else(|| panic!("trace {id} has not {spans} spans"))
}

fn span<'a>(trace: &'a Value, name: &str) -> &'a Value {
    let spans = trace["spans"].as_array().unwrap();
    let found = spans.iter().find(|span| span["operationName"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing in {trace:#}"))
}

fn tag<'a>(span: &'a Value, key: &str) -> &'a Value {
    let tags = span["tags"].as_array().unwrap();
    let found = tags.iter().find(|tag| tag["key"] == key);
    &found.unwrap_or_else(|| panic!("{key} is missing in {span:#}"))["value"]
}

fn service<'a>(trace: &'a Value, span: &Value) -> &'a Value {
    &trace["processes"][span["processID"].as_str().unwrap()]["serviceName"]
}

#[test]
fn opentelemetry_js_is_stored_in_both_encodings_and_with_gzip() {
    let (clients, collector) = (clients(), collector(&[]));
    let url = format!("http://{}/v1/traces", collector.addresses().otlp_http);
    for (encoding, compression) in [
        ("json", "none"),
        ("json", "gzip"),
        ("proto", "none"),
        ("proto", "gzip"),
    ] {
        let args = [encoding, &url, compression];
        let id = run_client(&mut clients.node("otlp.mjs", &args)).unwrap();
        let trace = trace(&collector, &id, 2);
        let (server, child) = (span(&trace, "GET /buy"), span(&trace, "send orders"));
        assert_eq!(
            service(&trace, server),
            &format!("js-{encoding}-{compression}")
        );
        // JSON has the half of the emoji that the SDK left over, protobuf what it was encoded to.
        assert_eq!(tag(server, "cut"), "cake\u{fffd}", "{encoding}");
        assert_eq!(tag(server, "count"), 7);
        assert_eq!(tag(server, "ratio"), 0.5);
        assert_eq!(tag(server, "cached"), true);
        assert_eq!(tag(child, "otel.status_description"), "away");
        assert_eq!(child["references"][0]["spanID"], server["spanID"]);
        assert_eq!(server["logs"][0]["fields"][0]["value"], "accepted");
    }
}

#[test]
fn zipkin_js_is_read_in_both_versions_on_both_paths() {
    let (clients, collector) = (clients(), collector(&[]));
    let zipkin = collector.addresses().zipkin;
    for (version, path) in [
        // The encoder that zipkin-js uses by default, also where its users point it at version 2.
        ("v1", "/api/v1/spans"),
        ("v1", "/api/v2/spans"),
        ("v2", "/api/v2/spans"),
    ] {
        let url = format!("http://{zipkin}{path}");
        let id = run_client(&mut clients.node("zipkin.mjs", &[version, &url])).unwrap();
        let trace = trace(&collector, &id, 1);
        let call = span(&trace, "get");
        assert_eq!(service(&trace, call), &format!("zipkin-js-{version}"));
        assert_eq!(tag(call, "span.kind"), "client", "{version} {path}");
        assert_eq!(tag(call, "http.path"), "/buy");
        assert_eq!(tag(call, "error"), true);
        assert_eq!(tag(call, "otel.status_description"), "refused");
        assert_eq!(call["logs"][0]["fields"][0]["value"], "retry");
    }
}

#[test]
fn py_zipkin_is_read_in_both_versions() {
    let (clients, collector) = (clients(), collector(&[]));
    let zipkin = collector.addresses().zipkin;
    let (host, port) = (zipkin.ip().to_string(), zipkin.port().to_string());
    for encoding in ["V1_JSON", "V2_JSON"] {
        let mut command = clients.python("zipkin.py", &[encoding, &host, &port]);
        let id = run_client(&mut command).unwrap();
        let trace = trace(&collector, &id, 2);
        let (server, call) = (span(&trace, "checkout"), span(&trace, "get"));
        assert_eq!(service(&trace, server), &format!("py-{encoding}"));
        assert_eq!(tag(server, "span.kind"), "server", "{encoding}");
        assert_eq!(tag(server, "http.path"), "/buy");
        assert_eq!(tag(call, "span.kind"), "client");
        assert_eq!(tag(call, "otel.status_description"), "refused");
        assert_eq!(call["references"][0]["spanID"], server["spanID"]);
    }
}

#[test]
fn telemetrygen_is_stored_over_grpc_and_http() {
    let (clients, collector) = (clients(), collector(&[]));
    let grpc = collector.addresses().otlp_grpc.to_string();
    let http = collector.addresses().otlp_http.to_string();
    for (service, endpoint, protocol) in [
        ("gen-grpc", &grpc, None),
        ("gen-http", &http, Some("--otlp-http")),
    ] {
        let mut args = vec!["traces", "--otlp-insecure", "--traces", "5", "--rate", "0"];
        args.extend(["--otlp-endpoint", endpoint, "--service", service]);
        args.extend(protocol);
        run_client(&mut clients.telemetrygen(&args)).unwrap();
        let traces = wait::until(ARRIVAL_TIMEOUT, || {
            let traces = collector.traces(service).unwrap();
            (traces.len() == 5).then_some(traces)
        })
        .unwrap();
        for trace in traces {
            let (client, server) = (span(&trace, "lets-go"), span(&trace, "okey-dokey-0"));
            assert_eq!(tag(client, "span.kind"), "client");
            assert_eq!(tag(server, "span.kind"), "server");
            assert_eq!(server["references"][0]["spanID"], client["spanID"]);
        }
    }
}

#[test]
fn jaeger_client_for_java_is_stored_over_udp_and_http() {
    let (clients, collector) = (
        clients(),
        collector(&[
            "--jaeger-http-port=0",
            "--jaeger-compact-port=0",
            "--jaeger-sampling-port=0",
        ]),
    );
    let addresses = collector.addresses();
    let (http, udp) = (
        addresses.jaeger_http.unwrap(),
        addresses.jaeger_compact.unwrap(),
    );
    let sampling = addresses.jaeger_sampling.unwrap().to_string();
    for transport in ["udp", "http"] {
        let mut command = clients.java("Jaeger").unwrap();
        command
            .env("JAEGER_SERVICE_NAME", format!("java-{transport}"))
            .env("JAEGER_TRACEID_128BIT", "true")
            .env("JAEGER_SAMPLER_MANAGER_HOST_PORT", &sampling);
        match transport {
            "udp" => command
                .env("JAEGER_AGENT_HOST", udp.ip().to_string())
                .env("JAEGER_AGENT_PORT", udp.port().to_string()),
            _ => command.env("JAEGER_ENDPOINT", format!("http://{http}/api/traces")),
        };
        let id = run_client(&mut command).unwrap();
        let trace = trace(&collector, &id, 3);
        let server = span(&trace, "GET /checkout");
        let (producer, consumer) = (
            span(&trace, "To_eshop-topic"),
            span(&trace, "From_eshop-topic"),
        );
        assert_eq!(service(&trace, server), &format!("java-{transport}"));
        assert_eq!(tag(server, "text"), "caf\u{e9}");
        assert_eq!(tag(server, "cached"), true);
        assert_eq!(producer["references"][0]["spanID"], server["spanID"]);
        assert_eq!(consumer["references"][0]["refType"], "FOLLOWS_FROM");
        assert_eq!(consumer["references"][0]["spanID"], producer["spanID"]);
        assert_eq!(tag(consumer, "error"), true);
    }
}

/// Runs the page of another origin, which needs the packages of the web UI.
fn run_page(clients: &TracingClients, port: u16, collector: &CollectorInstance) -> String {
    let url = format!("http://{}", collector.addresses().otlp_http);
    let args = [&port.to_string(), url.as_str()];
    let mut command = clients.node("browser.mjs", &args);
    let ui: PathBuf = repository_root().join("ui/node_modules");
    run_client(command.env("UI_MODULES", ui)).unwrap()
}

#[test]
fn a_web_page_of_a_permitted_origin_sends_its_trace_and_another_cannot() {
    let clients = clients();
    let free_port = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let port = free_port();
    let origin = format!("http://127.0.0.1:{port}");
    let permitting = collector(&["--cors-origin", &origin]);
    let id = run_page(clients, port, &permitting);
    let trace = trace(&permitting, &id, 1);
    let click = span(&trace, "click");
    assert_eq!(service(&trace, click), "web-page");
    assert_eq!(tag(click, "span.kind"), "client");

    assert_eq!(run_page(clients, free_port(), &permitting), "refused");
    assert_eq!(run_page(clients, port, &collector(&[])), "refused");
}
