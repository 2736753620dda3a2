//! Brokers that speak TLS and SASL, behind redirection: the applications of a pod connect without
//! TLS, and the sidecar speaks TLS to Apache Kafka.
//!
//! Needs root and network namespaces. Without them the test prints that it was skipped; in CI it
//! fails instead.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use support::scram;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::kafka::{ApacheBroker, SecurityProtocol, TopicSpec};
use throughline_testkit::network::{self, Pod, PodNetwork};
use throughline_testkit::sidecar::SidecarInstance;

#[test]
fn sidecar_of_a_pod_speaks_tls_to_brokers() {
    if network::is_skipped() {
        return;
    }
    let throughline = &ProjectBinaries::build().unwrap().throughline;
    // A folder that the sidecar's unprivileged user can read.
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let binary = home.path().join("throughline");
    fs::copy(throughline, &binary).unwrap();
    let network = PodNetwork::start(&["orders"], &[]).unwrap();
    let host = network.host();
    let collector = CollectorInstance::start_on(
        throughline,
        CollectorPorts::default(),
        &["--host", &host.to_string()],
    )
    .unwrap();
    let mut builder = ApacheBroker::builder()
        .host(host)
        .listener(SecurityProtocol::SaslSsl);
    let clients = [ClientLibrary::Java, ClientLibrary::FranzGo];
    for client in clients {
        builder = builder.topic(TopicSpec::new(client.name(), 1));
    }
    let kafka = builder.start(&mut |_| ()).unwrap();
    let authority = home.path().join("ca.pem");
    fs::copy(&kafka.certificates().unwrap().ca, &authority).unwrap();

    let pod = network.pod("orders").unwrap();
    let sidecar = redirect(pod, &binary, &authority, &collector);
    let programs = ClientPrograms::install(Path::new("rdkafka-client"), &mut |_| ()).unwrap();
    let bootstrap = kafka.bootstrap_for(SecurityProtocol::SaslSsl).unwrap();
    for client in clients {
        let spec = || pod.enter(programs.spec(client).unwrap());
        scram::exchange(&spec, &bootstrap, client.name());
    }
    assert!(
        scram::are_traced(&collector, "orders", clients.len()),
        "{} traces:\n{}",
        collector.traces("orders").unwrap().len(),
        sidecar.get("/metrics").unwrap().body
    );
    sidecar.stop().unwrap();
}

/// Redirects the connections of a pod to a sidecar that speaks TLS to brokers.
fn redirect(
    pod: &Pod,
    binary: &Path,
    authority: &Path,
    collector: &CollectorInstance,
) -> SidecarInstance {
    pod.run(&binary.to_string_lossy(), &["init"]).unwrap();
    let args = [
        "--transparent".to_owned(),
        "--admin".to_owned(),
        format!("{}:19091", pod.address()),
        "--broker-tls".to_owned(),
        "--broker-tls-ca".to_owned(),
        authority.display().to_string(),
        // Redirection shows an address, and the certificate names `localhost`.
        "--broker-tls-name".to_owned(),
        "localhost".to_owned(),
    ];
    SidecarInstance::start_with(
        &|spec| pod.enter_unprivileged(spec),
        binary,
        collector.addresses().otlp_http,
        "orders",
        args,
    )
    .unwrap()
}
