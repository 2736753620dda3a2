//! The clients of `clients.rs` in a pod whose connections are redirected: their answers are the
//! same as without the sidecar, they are traced, and exports of telemetry are not.
//!
//! Needs root and network namespaces. Without them the test prints that it was skipped; in CI it
//! fails instead.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::network::{self, PodNetwork};
use throughline_testkit::sidecar::SidecarInstance;

use crate::clients::{TestServers, client, run, spans};

/// Clients, each with its server and the answer of that.
const CASES: [(&str, &str, &str); 7] = [
    ("urllib", "http", "GET /urllib?a=1 0"),
    ("aiohttp", "http", "GET /aiohttp 0"),
    ("grpc", "grpc", "echo 1 echo 2"),
    ("websockets", "websocket", "echo hello"),
    ("fetch", "http", "GET /fetch 0"),
    ("otlp-http", "http", "exported"),
    ("otlp-grpc", "grpc", "exported"),
];

/// Pods, a collector outside them, and the `throughline` program where unprivileged users reach it.
pub(crate) struct PodsFixture {
    pub(crate) network: PodNetwork,
    pub(crate) collector: CollectorInstance,
    binary: PathBuf,
    _home: TempDir,
}

// === impl PodsFixture ===

impl PodsFixture {
    /// Returns [`None`] where pods are not possible, which in CI is an error.
    pub(crate) fn start(pods: &[&str]) -> Option<Self> {
        if network::is_skipped() {
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = home.path().join("throughline");
        fs::copy(&ProjectBinaries::build().unwrap().throughline, &binary).unwrap();
        let network = PodNetwork::start(pods, &[]).unwrap();
        let host = network.host().to_string();
        let args = ["--host", &host, "--jaeger-http-port", "0"];
        let collector =
            CollectorInstance::start_on(&binary, CollectorPorts::default(), &args).unwrap();
        Some(Self {
            network,
            collector,
            binary,
            _home: home,
        })
    }

    /// Redirects the connections of a pod to a sidecar in it.
    pub(crate) fn start_sidecar(&self, name: &str) -> SidecarInstance {
        let pod = self.network.pod(name).unwrap();
        pod.run(&self.binary.to_string_lossy(), &["init"]).unwrap();
        let args = [
            "--transparent".to_owned(),
            "--admin".to_owned(),
            format!("{}:19091", pod.address()),
        ];
        SidecarInstance::start_with(
            &|spec| pod.enter_unprivileged(spec),
            &self.binary,
            self.collector.addresses().otlp_http,
            name,
            args,
        )
        .unwrap()
    }
}

#[test]
fn redirected_clients_are_traced_and_their_telemetry_is_not() {
    let Some(fixture) = PodsFixture::start(&["client", "server"]) else {
        return;
    };
    let network = &fixture.network;
    let (pod, server) = (
        network.pod("client").unwrap(),
        network.pod("server").unwrap(),
    );
    let servers = TestServers::start(|spec| server.enter(spec), "0.0.0.0");
    let run_all = || {
        for (name, server, answer) in CASES {
            let address = format!("server:{}", servers.port(server));
            assert_eq!(run(pod.enter(client(name, &address))), answer, "{name}");
        }
    };
    run_all();
    let sidecar = fixture.start_sidecar("client");
    run_all();
    let url = |server, path: &str| format!("http://server:{}{path}", servers.port(server));
    let mut expected = vec![
        format!("GET {}", url("http", "/urllib?a=1")),
        format!("GET {}", url("http", "/aiohttp")),
        format!("GET {}", url("http", "/fetch")),
        format!("GET {}", url("websocket", "/chat")),
        format!("shop.Orders/Place {}", url("grpc", "/shop.Orders/Place")),
        format!("shop.Orders/Place {}", url("grpc", "/shop.Orders/Place")),
    ];
    expected.sort();
    assert_eq!(
        spans(&fixture.collector, "client", expected.len()),
        expected
    );
    let telemetry =
        "throughline_http_telemetry_requests_total{direction=\"outbound\",system=\"otlp\"}";
    assert_eq!(sidecar.metric(telemetry), Some(2.0));
    for path in ["/v1/traces", "/opentelemetry.proto.collector"] {
        assert_eq!(servers.requests(path), [false, false], "{path}");
    }
    sidecar.stop().unwrap();
}
