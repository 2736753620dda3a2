//! `deploy/istio/kafka-tls.yaml` in a running Envoy: what Istio's control plane makes of it and of
//! the `EnvoyFilter`, in a network namespace whose connections are redirected as Istio does it, in
//! front of Apache Kafka that accepts only TLS with SCRAM.
//!
//! Three things differ from a proxy of Istio: the filters that only Istio's build of Envoy has are
//! left out; the agent that would serve the authority's certificate is a file; and no control plane
//! runs, so only the resources of these brokers are loaded.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use throughline_testkit::build::{ProjectBinaries, envoy_module};
use throughline_testkit::clients::{ClientLibrary, ClientPrograms};
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::envoy::{self, ADMIN_PORT, EnvoyInstance};
use throughline_testkit::http;
use throughline_testkit::kafka::{ApacheBroker, BROKER_NAME, SecurityProtocol, TopicSpec};
use throughline_testkit::network::{self, PodNetwork};

use super::support::scram;
use super::{drop_istio_filters, is_full, run_istio};

const SERVICE: &str = "eshop";
/// Port of the brokers, and of the collector, as in the files.
const KAFKA_PORT: u16 = 9092;
const COLLECTOR_PORT: u16 = 4318;
const COLLECTOR_NAME: &str = "throughline-collector.throughline";
/// The authority, as Istio asks its agent for it.
const AUTHORITY: &str = "file-root:/etc/kafka-ca/ca.crt";

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn envoy_of_the_mesh_speaks_tls_to_brokers() {
    if !is_full() || network::is_skipped() {
        return;
    }
    let network = PodNetwork::start(&[SERVICE], &[BROKER_NAME, COLLECTOR_NAME]).unwrap();
    let host = network.host();
    let rendered = tempfile::tempdir().unwrap();
    run_istio(rendered.path(), &format!("{host}/32"));
    let throughline = &ProjectBinaries::build().unwrap().throughline;
    let ports = CollectorPorts {
        otlp_http: COLLECTOR_PORT,
        ..CollectorPorts::default()
    };
    let address = host.to_string();
    let collector = CollectorInstance::start_on(throughline, ports, &["--host", &address]).unwrap();
    let clients = [ClientLibrary::Java, ClientLibrary::FranzGo];
    let bootstrap = format!("{BROKER_NAME}:{KAFKA_PORT}");
    let mut builder = ApacheBroker::builder().host(host);
    builder = builder.advertised(SecurityProtocol::SaslSsl, &bootstrap, KAFKA_PORT);
    for client in clients {
        builder = builder.topic(TopicSpec::new(client.name(), 1));
    }
    let kafka = builder.start(&mut |step| eprintln!("{step}")).unwrap();

    let pod = network.pod(SERVICE).unwrap();
    envoy::redirect(pod, throughline).unwrap();
    let admin = SocketAddr::from((pod.address(), ADMIN_PORT));
    let authority = &kafka.certificates().unwrap().ca;
    let config = envoy_config(rendered.path(), authority, admin);
    let module = envoy_module().unwrap();
    // The name of the service, as `proxyMetadata` sets it.
    let enter = |spec: throughline_testkit::process::ProcessSpec| {
        pod.enter_exempt(spec.env("OTEL_SERVICE_NAME", SERVICE))
    };
    let envoy = EnvoyInstance::start_configured(&enter, SERVICE, &module, &config).unwrap();

    let programs = ClientPrograms::install(Path::new("rdkafka-client"), &mut |_| ()).unwrap();
    for client in clients {
        let spec = || pod.enter(programs.spec(client).unwrap());
        scram::exchange(&spec, &bootstrap, client.name());
    }
    assert!(
        scram::are_traced(&collector, SERVICE, clients.len()),
        "{} traces: {:?}",
        collector.traces(SERVICE).unwrap().len(),
        envoy.stats().unwrap()
    );
    // Every connection to the broker spoke TLS, which the listener enforces as well.
    let (connections, handshakes) = (
        stat(admin, ".upstream_cx_total"),
        stat(admin, ".ssl.handshake"),
    );
    assert!(
        handshakes >= 4 && handshakes == connections,
        "{handshakes} handshakes of {connections} connections"
    );
    let stats = envoy.stats().unwrap();
    let injected = (clients.len() * scram::RECORDS) as u64;
    assert_eq!(stats["kafka_records_injected"], injected, "{stats:?}");
    assert_eq!(stats.get("kafka_framing_failed"), None, "{stats:?}");
    assert_eq!(stats.get("panics"), None, "{stats:?}");
    envoy.stop().unwrap();
}

/// Returns a bootstrap with the listeners that outbound connections enter and the clusters that
/// need no control plane.
fn envoy_config(rendered: &Path, authority: &Path, admin: SocketAddr) -> Value {
    let read = |name: &str| -> Vec<Value> {
        let mut resources =
            serde_json::from_slice(&fs::read(rendered.join(name)).unwrap()).unwrap();
        drop_istio_filters(&mut resources);
        serde_json::from_value(resources).unwrap()
    };
    let mut listeners = read("tls-listeners.json");
    listeners.retain(|listener| {
        let is_kafka = listener.to_string().contains("throughline_kafka");
        is_kafka || listener["name"] == "virtualOutbound"
    });
    assert_eq!(listeners.len(), 2, "{listeners:#?}");
    let mut clusters = read("tls-clusters.json");
    clusters.retain(|cluster| cluster["type"] != "EDS");
    let secret = rendered.join("authority.json");
    let resource = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": AUTHORITY,
        "validation_context": { "trusted_ca": { "filename": authority } },
    });
    fs::write(&secret, json!({ "resources": [resource] }).to_string()).unwrap();
    let source = json!({ "path_config_source": { "path": secret } });
    let replaced: usize = clusters
        .iter_mut()
        .map(|cluster| serve_authority(cluster, &source))
        .sum();
    assert_eq!(replaced, 1, "{clusters:#?}");
    let ip = admin.ip().to_string();
    let address = json!({ "address": ip, "port_value": admin.port() });
    json!({
        "admin": { "address": { "socket_address": address } },
        "node": { "id": SERVICE, "cluster": SERVICE },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

/// Replaces the agent as the source of the authority. Returns how often.
fn serve_authority(value: &mut Value, source: &Value) -> usize {
    if value["name"] == AUTHORITY {
        value["sdsConfig"] = source.clone();
        return 1;
    }
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let replaced = children
        .into_iter()
        .map(|child| serve_authority(child, source));
    replaced.sum()
}

/// Returns a counter of the brokers' cluster.
fn stat(admin: SocketAddr, name: &str) -> u64 {
    let url = format!("http://{admin}/stats?usedonly&filter=kafka.example.*{name}$");
    let text = http::get(&url, RESPONSE_TIMEOUT).unwrap().body;
    let value = text
        .trim()
        .rsplit_once(": ")
        .unwrap_or_else(|| panic!("{name}: {text}"));
    value.1.parse().unwrap()
}
