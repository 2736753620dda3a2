//! Pods: `throughline init` redirects inbound and outbound connections over IPv4 and IPv6 and
//! respects its exclusions; the sidecar runs as an unprivileged user.
//!
//! Needs root and network namespaces. Without them the test prints that it was skipped; in CI it
//! fails instead.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::network::{self, Pod, PodNetwork};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn pod_connections_pass_the_sidecar_unless_excluded() {
    if network::is_skipped() {
        return;
    }
    let pods = PodFixture::start();
    let server = pods.network.pod("server").unwrap();
    let services = [8080, 9999].map(|port| pods.service(server, port));
    let (inbound, outbound) = (pods.redirect("server"), pods.redirect("client"));
    let addresses: [IpAddr; 2] = [server.address().into(), server.address_v6().into()];
    let redirected = |direction| {
        let labels = connection_labels(direction, "http1");
        format!("throughline_redirected_connections_total{labels}")
    };
    for (number, destination) in addresses.into_iter().enumerate() {
        assert_eq!(pods.request(destination, 8080), "Email sent out!");
        let times = (number + 1).to_string();
        until_metric(&outbound, &redirected("outbound"), &times);
        until_metric(&inbound, &redirected("inbound"), &times);
    }
    // Client and server spans are joined: caller and callee.
    let traces = wait::until(LIMIT, || {
        let traces = pods.collector.traces("server").unwrap();
        (traces.len() == 2
            && traces
                .iter()
                .all(|trace| trace["spans"].as_array().unwrap().len() == 2))
        .then_some(traces)
    });
    assert!(traces.is_some(), "{:?}", pods.collector.traces("server"));
    // Excluded connections pass neither sidecar.
    for destination in addresses {
        assert_eq!(pods.request(destination, 9999), "Email sent out!");
    }
    for (sidecar, direction) in [(&inbound, "inbound"), (&outbound, "outbound")] {
        let text = sidecar.get("/metrics").unwrap().body;
        assert!(
            text.contains(&format!(
                "connections_total{} 2\n",
                connection_labels(direction, "http1")
            )),
            "{text}"
        );
        assert_eq!(
            text.matches("throughline_redirected_connections_total{")
                .count(),
            1,
            "{text}"
        );
    }
    for sidecar in [inbound, outbound] {
        sidecar.stop().unwrap();
    }
    // Removing the rules restores the pods.
    for pod in ["server", "client"] {
        pods.network
            .pod(pod)
            .unwrap()
            .run(&pods.binary.to_string_lossy(), &["init", "--undo"])
            .unwrap();
    }
    assert_eq!(pods.request(addresses[1], 8080), "Email sent out!");
    drop(services);
}

/// Two pods, and a collector that both reach.
struct PodFixture {
    collector: CollectorInstance,
    network: PodNetwork,
    /// Copy of the binary in a folder that every user can read.
    binary: PathBuf,
    _home: TempDir,
}

impl PodFixture {
    fn start() -> Self {
        let throughline = &ProjectBinaries::build().unwrap().throughline;
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = home.path().join("throughline");
        fs::copy(throughline, &binary).unwrap();
        let network = PodNetwork::start(&["client", "server"], &[]).unwrap();
        let host = network.host().to_string();
        let collector =
            CollectorInstance::start_on(throughline, CollectorPorts::default(), &["--host", &host])
                .unwrap();
        Self {
            collector,
            network,
            binary,
            _home: home,
        }
    }

    /// Starts an HTTP service on IPv4 and IPv6 that is unaware of the redirection.
    fn service(&self, pod: &Pod, port: u16) -> ChildProcess {
        let bare = &ProjectBinaries::build().unwrap().eshop_bare;
        let listen = format!("[::]:{port}");
        let spec = ProcessSpec::new("notification", bare).args([
            "notification",
            "--listen",
            &listen,
            "--max-delay-ms",
            "0",
        ]);
        let service = pod.enter(spec).spawn().unwrap();
        service
            .wait_for_line("its listen address", LIMIT, |line| {
                line.starts_with("listening").then_some(())
            })
            .unwrap();
        service
    }

    /// Redirects the connections of a pod to a sidecar in it.
    fn redirect(&self, name: &str) -> SidecarInstance {
        let pod = self.network.pod(name).unwrap();
        let excluded = ["--exclude-inbound", "9999", "--exclude-outbound", "9999"];
        pod.run(
            &self.binary.to_string_lossy(),
            &[&["init"], &excluded[..]].concat(),
        )
        .unwrap();
        let args = [
            "--transparent".to_owned(),
            "--admin".to_owned(),
            format!("{}:19091", pod.address()),
        ];
        let collector = self.collector.addresses().otlp_http;
        SidecarInstance::start_with(
            &|spec| pod.enter_unprivileged(spec),
            &self.binary,
            collector,
            name,
            args,
        )
        .unwrap()
    }

    /// Sends a request from the client pod and returns the response.
    fn request(&self, destination: IpAddr, port: u16) -> String {
        let request =
            "GET /sendEmail HTTP/1.1\\r\\nhost: server\\r\\nconnection: close\\r\\n\\r\\n";
        let script =
            format!("exec 3<>/dev/tcp/{destination}/{port} && printf '{request}' >&3 && cat <&3");
        let answer = self
            .network
            .pod("client")
            .unwrap()
            .output("bash", &["-c", &script])
            .unwrap();
        answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
    }
}

fn connection_labels(direction: &str, protocol: &str) -> String {
    format!("{{direction=\"{direction}\",protocol=\"{protocol}\"}}")
}

fn until_metric(sidecar: &SidecarInstance, name: &str, value: &str) {
    let there = wait::until(LIMIT, || {
        sidecar
            .metric(name)
            .filter(|found| found.to_string() == value)
    });
    assert!(
        there.is_some(),
        "{name} is not {value} in:\n{}",
        sidecar.get("/metrics").unwrap().body
    );
}
