//! HTTP through the sidecar beside the same requests without it: nginx, uvicorn, gunicorn, and the
//! servers of Go and Node.js, each asked directly, through a listener of the sidecar (addressed),
//! and through redirection (transparent).
//!
//! The client takes care of its connections, as good ones do; a failure of a direct request has its
//! cause in the server. Through the sidecar no more may fail. `THROUGHLINE_FULL=1` makes it a soak
//! of several minutes.
//!
//! Needs root and network namespaces. Without them the test prints that it was skipped; in CI it
//! fails instead.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints what it measured"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::clients::{self, HttpServerPrograms};
use throughline_testkit::network::{self, Pod, PodNetwork};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

const START_TIMEOUT: Duration = Duration::from_secs(60);

// Ports of the servers. The addressed sidecar listens on the same ports, plus an offset.
const NGINX: u16 = 8001;
const NGINX_HTTP2: u16 = 8002;
const GO: u16 = 8003;
const NODE: u16 = 8004;
const NODE_HTTP2: u16 = 8005;
const UVICORN: u16 = 8006;
const GUNICORN: u16 = 8007;
const RELAY: u16 = 8008;
const PORTS: [u16; 8] = [
    NGINX,
    NGINX_HTTP2,
    GO,
    NODE,
    NODE_HTTP2,
    UVICORN,
    GUNICORN,
    RELAY,
];
const ADDRESSED_OFFSET: u16 = 1000;

/// The way of requests to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Addressed,
    Transparent,
}

/// The result of one client.
#[derive(Debug)]
struct ClientReport {
    requests: u64,
    failures: u64,
    /// Descriptions of responses, by the name of the request.
    answers: BTreeMap<String, String>,
    text: String,
}

/// A pod with the servers and the sidecars, and one with the clients.
struct ServersFixture {
    network: PodNetwork,
    programs: HttpServerPrograms,
    sidecars: Vec<SidecarInstance>,
    _servers: Vec<ChildProcess>,
    _home: TempDir,
}

#[test]
fn no_request_fails_that_would_not_fail_directly() {
    if network::is_skipped() {
        return;
    }
    let is_full = std::env::var_os("THROUGHLINE_FULL").is_some_and(|full| full == "1");
    let (idle, busy, dead) = if is_full { (120, 20, 120) } else { (6, 2, 10) };
    let fixture = ServersFixture::start();
    // A login ends with its connection, which a server closes when its client is slow.
    for port in [GO, NODE, UVICORN] {
        fixture.compare(&[("login", port)], 1);
    }
    for port in [NGINX, GO, NODE, UVICORN, GUNICORN] {
        fixture.compare_messages(port);
    }
    // Clients that mostly wait run at the same time; the others one after the other.
    fixture.compare(
        &[
            ("keepalive", NGINX),
            ("keepalive", GO),
            ("keepalive", NODE),
            ("keepalive", UVICORN),
            ("keepalive", GUNICORN),
        ],
        idle,
    );
    for port in [NGINX_HTTP2, GO, NODE_HTTP2] {
        fixture.compare(&[("streams", port)], busy);
        fixture.compare(&[("goaway", port)], busy);
    }
    fixture.compare(&[("dead", RELAY)], dead);
    for sidecar in &fixture.sidecars {
        let log = sidecar.process().log().join("\n");
        assert!(!log.contains("panicked"), "{log}");
    }
}

// === impl ServersFixture ===

impl ServersFixture {
    fn start() -> Self {
        let programs = clients::http_servers(&mut |step| eprintln!("{step}")).unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = home.path().join("throughline");
        fs::copy(&ProjectBinaries::build().unwrap().throughline, &binary).unwrap();
        let network = PodNetwork::start(&["server", "client"], &[]).unwrap();
        let pod = network.pod("server").unwrap();
        let servers = start_servers(pod, &programs, home.path());
        let sidecars = vec![addressed(pod, &binary), transparent(pod, &binary)];
        Self {
            network,
            programs,
            sidecars,
            _servers: servers,
            _home: home,
        }
    }

    /// Runs cases in all ways at the same time, and asserts that no more requests fail through the
    /// sidecar.
    fn compare(&self, cases: &[(&str, u16)], seconds: u32) {
        let running: Vec<_> = cases
            .iter()
            .map(|(case, port)| {
                let client = |way| self.client(case, *port, way, seconds);
                let direct = client(Way::Direct);
                (
                    case,
                    port,
                    direct,
                    [Way::Addressed, Way::Transparent].map(client),
                )
            })
            .collect();
        for (case, port, direct, through) in running {
            let direct = ClientReport::of(&direct, seconds);
            eprintln!("{case} at {port}: direct {}", direct.text);
            assert!(direct.requests > 0, "{case} at {port}: {direct:?}");
            for client in through {
                let through = ClientReport::of(&client, seconds);
                eprintln!("{case} at {port}: {} {}", client.name(), through.text);
                assert!(through.requests > 0, "{case} at {port}: {through:?}");
                // A connection that is lost for a while slows the client down, and so changes
                // the number of its requests: failures are compared as such.
                assert!(
                    through.failures <= direct.failures,
                    "{case} at {port}: {} has more failures than direct: {through:?}",
                    client.name()
                );
            }
        }
    }

    /// Compares what comes in response to requests at the limits of HTTP/1.
    fn compare_messages(&self, port: u16) {
        let report = |way| ClientReport::of(&self.client("messages", port, way, 1), 1);
        let direct = report(Way::Direct);
        eprintln!("messages at {port}: direct {}", direct.text);
        assert_eq!(direct.failures, 0, "messages at {port}: {direct:?}");
        if port == NODE {
            for (name, begin) in NODE_RESPONSES {
                assert!(direct.answer(name).starts_with(begin), "{name}: {direct:?}");
            }
        }
        let mut differences = Vec::new();
        for way in [Way::Addressed, Way::Transparent] {
            let through = report(way);
            for (name, direct) in &direct.answers {
                let through = through.answer(name);
                let expected = expected_through(name, direct);
                if through != expected {
                    differences.push(format!("{name}, {way:?}: {through} instead of {expected}"));
                }
            }
        }
        assert!(differences.is_empty(), "at {port}: {differences:#?}");
    }

    fn client(&self, case: &str, port: u16, way: Way, seconds: u32) -> ChildProcess {
        let server = self.network.pod("server").unwrap();
        // Connections within a pod are not redirected.
        let (pod, host, port) = match way {
            Way::Direct => (server, "127.0.0.1", port),
            Way::Addressed => (server, "127.0.0.1", port + ADDRESSED_OFFSET),
            Way::Transparent => (self.network.pod("client").unwrap(), "server", port),
        };
        let spec = ProcessSpec::new(format!("{way:?}"), &self.programs.go).args([
            "client".to_owned(),
            case.to_owned(),
            format!("http://{host}:{port}"),
            seconds.to_string(),
        ]);
        pod.enter(spec).spawn().unwrap()
    }
}

// === impl ClientReport ===

impl ClientReport {
    fn answer(&self, name: &str) -> &str {
        self.answers.get(name).map_or("", String::as_str)
    }

    /// Waits for the end of a client.
    fn of(client: &ChildProcess, seconds: u32) -> Self {
        let limit = Duration::from_secs(u64::from(seconds)) + START_TIMEOUT;
        let text = client
            .wait_for_line("its report", limit, |line| {
                line.starts_with('{').then(|| line.to_owned())
            })
            .unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        let number = |key: &str| report.get(key).and_then(Value::as_u64).unwrap();
        Self {
            requests: number("requests"),
            failures: number("failures"),
            answers: report
                .get("answers")
                .map(|answers| serde_json::from_value(answers.clone()).unwrap())
                .unwrap_or_default(),
            text,
        }
    }
}

/// Returns the description that is expected through the sidecar of a response that has this one
/// directly: the same, but for the differences that docs/sidecar.md names.
fn expected_through(name: &str, direct: &str) -> String {
    match name {
        "raw target" => RAW_TARGET_REFUSED.to_owned(),
        // The end of the connection is the end of the body, so a cut must be a reset.
        "cut, HTTP/1.0" => {
            let is_cut = direct.ends_with("\"part\"");
            direct.replace("HTTP/1.1", "HTTP/1.0") + if is_cut { " cut" } else { "" }
        }
        "hints" => direct.replace("103 Early Hints, Link", "103 Early Hints, link"),
        "length and chunks" => direct.replace("Content-Length: 4, ", ""),
        "space before the colon" => direct.replace("X-a :", "X-a:"),
        // A client that does not ask for trailers gets neither them nor their announcement.
        "trailers" => direct
            .replace("Trailer: X-Sum, ", "")
            .replace(" X-Sum: [\"42\"]", ""),
        _ => direct.to_owned(),
    }
}

const RAW_TARGET_REFUSED: &str = "HTTP/1.1 400 Bad Request, content-length: 23, \
    content-type: text/plain; charset=utf-8, \
    proxy-status: throughline; error=http_request_error | \"malformed request head\\n\"";

/// Responses of Node.js directly: without these the comparison would show nothing.
const NODE_RESPONSES: [(&str, &str); 8] = [
    ("expect", "HTTP/1.1 100 Continue | HTTP/1.1 200 OK"),
    ("expect, refused", "HTTP/1.1 401 Unauthorized"),
    ("hints", "HTTP/1.1 103 Early Hints, Link: "),
    ("trailers, asked for", "HTTP/1.1 200 OK, Trailer: X-Sum"),
    ("length and chunks", "HTTP/1.1 200 OK, Content-Length: 4, "),
    ("spelling", "HTTP/1.1 299 Fine Thing, "),
    ("status 999", "HTTP/1.1 999 unknown"),
    ("400 fields", "HTTP/1.1 200 OK, 401 fields"),
];

fn start_servers(pod: &Pod, programs: &HttpServerPrograms, home: &Path) -> Vec<ChildProcess> {
    let sources = repository_root().join("e2e/servers");
    let python = |name: &str| {
        ProcessSpec::new(name, programs.python.join("bin/python"))
            .args(["-m", name])
            // The working directory is lost on the way into a pod.
            .env("PYTHONPATH", sources.join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
    };
    let node = |protocol: &str, port: u16| {
        ProcessSpec::new("node", "node")
            .arg(sources.join("node/server.js"))
            .args([protocol, "0.0.0.0", &port.to_string()])
    };
    let go = |args: &[&str]| ProcessSpec::new("go", &programs.go).args(args.iter().copied());
    let [go_address, relay, gunicorn] = [GO, RELAY, GUNICORN].map(|port| format!("0.0.0.0:{port}"));
    let uvicorn = UVICORN.to_string();
    let specs = [
        nginx(&sources, home),
        go(&["serve", &go_address]),
        go(&["relay", &relay, &format!("127.0.0.1:{GO}"), "4s"]),
        node("http1", NODE),
        node("http2", NODE_HTTP2),
        python("uvicorn").args([
            "--host",
            "0.0.0.0",
            "--port",
            &uvicorn,
            "--timeout-keep-alive",
            "1",
            "asgi:app",
        ]),
        python("gunicorn").args([
            "--bind",
            &gunicorn,
            "--worker-class",
            "gthread",
            "--threads",
            "64",
            "--keep-alive",
            "1",
            "wsgi:app",
        ]),
    ];
    let servers: Vec<ChildProcess> = specs
        .into_iter()
        .map(|spec| pod.enter(spec).spawn().unwrap())
        .collect();
    for port in PORTS {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let listens = wait::until(START_TIMEOUT, || connects(pod, address).then_some(()));
        let logs = || servers.iter().flat_map(ChildProcess::log);
        assert!(
            listens.is_some(),
            "nothing listens at {port}: {:#?}",
            logs().collect::<Vec<_>>()
        );
    }
    servers
}

fn nginx(sources: &Path, home: &Path) -> ProcessSpec {
    let template = fs::read_to_string(sources.join("nginx/nginx.conf")).unwrap();
    let config: PathBuf = home.join("nginx.conf");
    let text = template
        .replace("FOLDER", &home.to_string_lossy())
        .replace("HTTP1", &NGINX.to_string())
        .replace("HTTP2", &NGINX_HTTP2.to_string());
    fs::write(&config, text).unwrap();
    ProcessSpec::new("nginx", "nginx")
        .args(["-e", "stderr", "-c"])
        .arg(config)
}

fn connects(pod: &Pod, address: SocketAddr) -> bool {
    let script = format!("exec 3<>/dev/tcp/{}/{}", address.ip(), address.port());
    pod.run("bash", &["-c", &script]).is_ok()
}

/// Starts a sidecar with a listener for each server.
fn addressed(pod: &Pod, binary: &Path) -> SidecarInstance {
    let inbound: Vec<String> = PORTS
        .iter()
        .map(|port| format!("127.0.0.1:{}=127.0.0.1:{port}", port + ADDRESSED_OFFSET))
        .collect();
    let args = ["--inbound", &inbound.join(","), "--outbound", "off"];
    start_sidecar(pod, binary, &args)
}

/// Redirects the connections of the pod to a sidecar in it.
fn transparent(pod: &Pod, binary: &Path) -> SidecarInstance {
    pod.run(&binary.to_string_lossy(), &["init"]).unwrap();
    start_sidecar(pod, binary, &["--transparent"])
}

fn start_sidecar(pod: &Pod, binary: &Path, args: &[&str]) -> SidecarInstance {
    // No collector listens there.
    let collector = SocketAddr::from(([127, 0, 0, 1], 1));
    SidecarInstance::start_with(
        &|spec| pod.enter_unprivileged(spec),
        binary,
        collector,
        "server",
        args.iter().map(|arg| (*arg).to_owned()),
    )
    .unwrap()
}
