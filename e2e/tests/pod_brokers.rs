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
use std::time::Duration;

use serde_json::Value;
use support::record::TestRecord;
use support::run;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::kafka::{ApacheBroker, PASSWORD, SecurityProtocol, TopicSpec, USER};
use throughline_testkit::network::{self, Pod, PodNetwork};
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::wait;

const LIMIT: Duration = Duration::from_secs(30);
const RECORDS: usize = 20;

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
        exchange(&spec, &bootstrap, client.name());
    }
    let is_whole = |trace: &Value| trace["spans"].as_array().unwrap().len() >= 2;
    let traces = wait::until(LIMIT, || {
        let traces = collector.traces("orders").unwrap();
        let whole = traces.iter().filter(|trace| is_whole(trace)).count();
        (whole == clients.len() * RECORDS).then_some(traces)
    });
    assert!(
        traces.is_some(),
        "{} traces:\n{}",
        collector.traces("orders").unwrap().len(),
        sidecar.get("/metrics").unwrap().body
    );
    sidecar.stop().unwrap();
}

/// Sends records to a topic and reads them again, with the application's own settings.
fn exchange(spec: &dyn Fn() -> ProcessSpec, bootstrap: &str, topic: &str) {
    // Without TLS, and this listener accepts nothing but TLS.
    let login = [
        ("security", "sasl_plaintext"),
        ("mechanism", "SCRAM-SHA-512"),
        ("username", USER),
        ("password", PASSWORD),
    ];
    let records: Vec<TestRecord> = (0..RECORDS).map(record).collect();
    let acknowledged = run::produce(spec(), bootstrap, topic, &records, &login).acknowledged();
    assert_eq!(acknowledged.len(), RECORDS, "{topic}");
    let consume = [&login[..], &[("group", topic)]].concat();
    let consumed = run::consume(spec(), bootstrap, topic, RECORDS, &consume).consumed();
    for (record, sent) in consumed.iter().zip(&records) {
        assert_eq!(record.value, sent.value, "{topic}");
        let has_context = record
            .headers
            .iter()
            .any(|(name, _)| name == b"traceparent");
        assert!(has_context, "{topic}: {:?}", record.headers);
    }
}

fn record(index: usize) -> TestRecord {
    TestRecord {
        partition: 0,
        timestamp: None,
        key: Some(format!("key {index}").into_bytes()),
        value: Some(format!("value {index}").into_bytes()),
        headers: Vec::new(),
    }
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
