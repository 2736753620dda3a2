//! HTTP clients of several languages, directly and through the outbound proxy: their answers are
//! the same, and their requests are traced whether they use CONNECT or not. The service's own
//! exports of telemetry pass untraced.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients::HttpPrograms;
use throughline_testkit::collector::CollectorInstance;
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

const LIMIT: Duration = Duration::from_secs(60);

pub(crate) static PROGRAMS: LazyLock<HttpPrograms> =
    LazyLock::new(|| HttpPrograms::install(&mut |text| eprintln!("{text}")).unwrap());

/// `server.py`, with the ports of its servers by name.
pub(crate) struct TestServers {
    process: ChildProcess,
    ports: BTreeMap<String, u16>,
}

// === impl TestServers ===

impl TestServers {
    pub(crate) fn start(place: impl Fn(ProcessSpec) -> ProcessSpec, host: &str) -> Self {
        let process = place(PROGRAMS.python("server.py").arg(host))
            .spawn()
            .unwrap();
        let ports = process
            .wait_for_line("its ports", LIMIT, |line| serde_json::from_str(line).ok())
            .unwrap();
        Self { process, ports }
    }

    pub(crate) fn port(&self, server: &str) -> u16 {
        self.ports[server]
    }

    /// Returns the requests that had this path: whether each had a context.
    pub(crate) fn requests(&self, path: &str) -> Vec<bool> {
        let lines = self.process.log();
        let requests = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|request| {
                request["path"]
                    .as_str()
                    .is_some_and(|it| it.starts_with(path))
            });
        requests
            .map(|request| request["headers"].get("traceparent").is_some())
            .collect()
    }
}

/// Runs a client to its end and returns the last line of its output.
pub(crate) fn run(spec: ProcessSpec) -> String {
    let process = spec.spawn().unwrap();
    let status = process.wait(LIMIT).unwrap();
    let log = process.log();
    assert!(status.success(), "{} failed: {log:#?}", process.name());
    log.last().cloned().unwrap_or_default()
}

/// Returns the specs of the clients with this name, in the language that has it.
pub(crate) fn client(name: &str, address: &str) -> ProcessSpec {
    let program = match name {
        "fetch" | "http" | "undici" | "ws" => PROGRAMS.node("client.js"),
        _ => PROGRAMS.python("client.py"),
    };
    program.arg(name).arg(address)
}

/// Waits for the spans of a service and returns their names and URLs, sorted.
pub(crate) fn spans(collector: &CollectorInstance, service: &str, count: usize) -> Vec<String> {
    let read = || {
        let traces = collector.traces(service).unwrap();
        let spans = traces
            .iter()
            .flat_map(|trace| trace["spans"].as_array().unwrap());
        let mut shown: Vec<String> = spans
            .map(|span| {
                let tags = span["tags"].as_array().unwrap();
                let url = tags.iter().find(|tag| tag["key"] == "url.full");
                let url = url.map_or("", |tag| tag["value"].as_str().unwrap());
                format!("{} {url}", span["operationName"].as_str().unwrap())
            })
            .collect();
        shown.sort();
        shown
    };
    wait::until(LIMIT, || Some(read()).filter(|spans| spans.len() >= count))
        .unwrap_or_else(|| panic!("{count} spans are expected: {:#?}", read()))
}

struct ProxiedClients {
    collector: CollectorInstance,
    sidecar: SidecarInstance,
    servers: TestServers,
}

impl ProxiedClients {
    fn start() -> Self {
        let throughline = &ProjectBinaries::build().unwrap().throughline;
        let collector = CollectorInstance::start(throughline).unwrap();
        let otlp = collector.addresses().otlp_http;
        let behind = "127.0.0.1:9".parse().unwrap();
        let sidecar =
            SidecarInstance::start_http(throughline, behind, otlp, "client", &[]).unwrap();
        Self {
            collector,
            sidecar,
            servers: TestServers::start(|spec| spec, "127.0.0.1"),
        }
    }

    fn proxy(&self) -> SocketAddr {
        self.sidecar.http()[1]
    }

    /// Runs a client directly and through the proxy, and returns its answer, which is the same.
    #[track_caller]
    fn run_both(&self, name: &str, address: &str) -> String {
        let direct = run(without_proxy(client(name, address)));
        let through = run(self.with_proxy(client(name, address)));
        assert_eq!(direct, through, "{name}");
        direct
    }

    fn with_proxy(&self, spec: ProcessSpec) -> ProcessSpec {
        without_proxy(spec).env("http_proxy", format!("http://{}", self.proxy()))
    }

    fn metric(&self, name: &str) -> f64 {
        self.sidecar.metric(name).unwrap()
    }
}

fn without_proxy(spec: ProcessSpec) -> ProcessSpec {
    [
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ]
    .into_iter()
    .fold(spec, ProcessSpec::clear_env)
}

#[test]
fn requests_are_traced_whether_or_not_a_client_uses_connect() {
    let fixture = ProxiedClients::start();
    let address = |server| format!("127.0.0.1:{}", fixture.servers.port(server));
    let (http, grpc, websocket) = (address("http"), address("grpc"), address("websocket"));
    for (name, to, answer) in [
        ("urllib", &http, "GET /urllib?a=1 0"),
        ("requests", &http, "POST /requests 5"),
        ("grpc", &grpc, "echo 1 echo 2"),
        ("websockets", &websocket, "echo hello"),
        ("undici", &http, "GET /undici/1 0; GET /undici/2 0"),
        // These ignore http_proxy.
        ("aiohttp", &http, "GET /aiohttp 0"),
        ("fetch", &http, "GET /fetch 0"),
        ("http", &http, "GET /http 0"),
        ("ws", &websocket, "echo hello"),
    ] {
        assert_eq!(fixture.run_both(name, to), answer, "{name}");
    }
    let curl = |url: String| {
        let proxy = fixture.proxy().to_string();
        let args = ["--silent", "--proxytunnel", "--proxy", &proxy, &url];
        run(without_proxy(ProcessSpec::new("curl", "curl").args(args)))
    };
    assert_eq!(curl(format!("http://{http}/curl")), "GET /curl 0");
    let mut expected = vec![
        format!("GET http://{http}/urllib?a=1"),
        format!("POST http://{http}/requests"),
        format!("shop.Orders/Place http://{grpc}/shop.Orders/Place"),
        format!("shop.Orders/Place http://{grpc}/shop.Orders/Place"),
        format!("GET http://{websocket}/chat"),
        format!("GET http://{http}/undici/1"),
        format!("GET http://{http}/undici/2"),
        format!("GET http://{http}/curl"),
    ];
    expected.sort();
    assert_eq!(
        spans(&fixture.collector, "client", expected.len()),
        expected
    );
    for path in ["/urllib", "/requests", "/undici/1", "/shop.Orders/Place"] {
        let requests = fixture.servers.requests(path);
        let half = requests.len() / 2;
        let (direct, through) = requests.split_at(half);
        assert!(
            !direct.contains(&true) && !through.contains(&false) && half > 0,
            "{path}: {requests:?}"
        );
    }
    let tunnels = |protocol| {
        let name = format!("throughline_http_tunnels_total{{protocol=\"{protocol}\"}}");
        fixture.sidecar.metric(&name).unwrap_or(0.0)
    };
    // undici may open a connection for each of its requests.
    assert!(tunnels("http1") >= 3.0, "{}", tunnels("http1"));
    assert_eq!((tunnels("http2"), tunnels("other")), (1.0, 0.0));
}

#[test]
fn server_that_speaks_first_is_heard_through_a_tunnel() {
    let fixture = ProxiedClients::start();
    let port = fixture.servers.port("greeting");
    let direct = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut through = TcpStream::connect(fixture.proxy()).unwrap();
    let connect = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n");
    through.write_all(connect.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        through.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    let answers = [direct, through].map(|mut stream| {
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).unwrap();
        stream.write_all(b"hello\n").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        (greeting, rest)
    });
    assert_eq!(answers[0], (*b"220 ready\r\n", "250 hello\n".to_owned()));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(
        spans(&fixture.collector, "client", 1),
        [format!("CONNECT http://127.0.0.1:{port}127.0.0.1:{port}")]
    );
}

#[test]
fn exports_of_telemetry_pass_untraced() {
    let fixture = ProxiedClients::start();
    let collector = fixture.collector.addresses();
    let (http, grpc) = (fixture.servers.port("http"), fixture.servers.port("grpc"));
    for (name, to) in [
        ("otlp-http", format!("127.0.0.1:{http}")),
        ("otlp-grpc", format!("127.0.0.1:{grpc}")),
        ("otlp-http", collector.otlp_http.to_string()),
        ("otlp-grpc", collector.otlp_grpc.to_string()),
    ] {
        assert_eq!(fixture.run_both(name, &to), "exported");
    }
    let count = |system| {
        let labels = format!("{{direction=\"outbound\",system=\"{system}\"}}");
        fixture.metric(&format!(
            "throughline_http_telemetry_requests_total{labels}"
        ))
    };
    assert_eq!((count("otlp"), count("collector")), (3.0, 1.0));
    assert_eq!(fixture.metric("throughline_http_spans_total"), 0.0);
    for path in ["/v1/traces", "/opentelemetry.proto.collector"] {
        assert_eq!(fixture.servers.requests(path), [false, false], "{path}");
    }
    // A request after them is traced, so the metrics above were of a working sidecar.
    fixture.run_both("urllib", &format!("127.0.0.1:{http}"));
    assert_eq!(spans(&fixture.collector, "client", 1).len(), 1);
}
