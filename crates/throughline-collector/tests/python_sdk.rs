//! OTLP from the OpenTelemetry SDK for Python, over both protocols with all compressions.
//!
//! Its packages are downloaded once from PyPI into `.tools/` at the root of the repository;
//! requires `python3` with `venv`.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

#[path = "it/python.rs"]
mod python;
#[path = "it/running.rs"]
#[expect(
    dead_code,
    reason = "shared with the other tests, which use more of it"
)]
mod running;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use throughline_collector::{AccessControl, AccessRules, AccessToken, CollectorTls, IngestToken};

use crate::running::RunningCollector;

/// Pinned, so that the test means the same next year.
const PACKAGES: [&str; 3] = [
    "opentelemetry-sdk==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
    "opentelemetry-exporter-otlp-proto-grpc==1.45.2",
];

#[test]
fn spans_of_the_python_sdk_arrive_complete_with_every_compression() {
    let python = python::interpreter("python-otlp", &PACKAGES);
    let collector = RunningCollector::start();
    for (protocol, endpoint) in [
        ("http", collector.addresses.otlp_http),
        ("grpc", collector.addresses.otlp_grpc),
    ] {
        for compression in ["NoCompression", "Gzip", "Deflate"] {
            let endpoint = format!("http://{endpoint}");
            let trace = send(&python, protocol, compression, &endpoint, &[]).unwrap();
            let response = collector.query(&format!("/api/traces/{trace}"));
            check(&response["data"][0], protocol);
        }
    }
}

/// The environment that the exporters read, with files in a folder of the test.
struct TlsClient {
    folder: tempfile::TempDir,
}

impl TlsClient {
    fn variables(&self, has_certificate: bool, token: &str) -> Vec<(&'static str, String)> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut variables = vec![
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", path("ca.pem")),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                format!("authorization=Bearer%20{token}"),
            ),
            // A refused batch is not sent again and again.
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "5".to_owned()),
        ];
        if has_certificate {
            variables.push(("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path("client.pem")));
            variables.push(("OTEL_EXPORTER_OTLP_CLIENT_KEY", path("client.key")));
        }
        variables
    }
}

/// Returns TLS for `localhost` that requires client certificates, and the files of a client.
fn mutual_tls() -> (CollectorTls, TlsClient) {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // With the default name of all certificates OpenSSL takes those that it signs for its own.
    let name = &mut params.distinguished_name;
    name.push(rcgen::DnType::CommonName, "test authority");
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(params, ca_key);
    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = signed("localhost");
    let (client, client_key) = signed("client");
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("client.pem", client.pem()),
        ("client.key", client_key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    )
    .build()
    .unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![server.der().clone()], key.into())
        .unwrap();
    (CollectorTls::new(&config), TlsClient { folder })
}

#[test]
fn python_sdk_sends_over_mutual_tls_with_its_token_and_not_without_either() {
    const TOKEN: &str = "python-0123456789";
    let python = python::interpreter("python-otlp", &PACKAGES);
    let (tls, client) = mutual_tls();
    let token = IngestToken::new(AccessToken::new(TOKEN), Vec::new(), None);
    let collector = RunningCollector::configured(|config| {
        config.tls = Some(tls);
        config.access = AccessControl::new(AccessRules {
            ingest: vec![token],
            ..AccessRules::default()
        });
    });
    for (protocol, address) in [
        ("http", collector.addresses.otlp_http),
        ("grpc", collector.addresses.otlp_grpc),
    ] {
        let endpoint = format!("https://localhost:{}", address.port());
        let sent = |has_certificate, token| {
            let variables = client.variables(has_certificate, token);
            send(&python, protocol, "NoCompression", &endpoint, &variables)
        };
        sent(true, TOKEN).unwrap();
        let refused = sent(true, "another-0123456789").unwrap_err();
        assert!(
            refused.contains("401") || refused.contains("UNAUTHENTICATED"),
            "{protocol}: {refused}"
        );
        let refused = sent(false, TOKEN).unwrap_err();
        assert!(refused.contains("xport"), "{protocol}: {refused}");
    }
}

fn check(trace: &Value, protocol: &str) {
    let spans = trace["spans"].as_array().unwrap();
    let span = |name: &str| {
        spans
            .iter()
            .find(|span| span["operationName"] == name)
            .unwrap()
    };
    let (server, producer) = (span("GET /checkout"), span("To_eshop-topic"));
    assert_eq!(spans.len(), 2);

    let process = &trace["processes"][server["processID"].as_str().unwrap()];
    assert_eq!(process["serviceName"], format!("python-{protocol}"));
    assert!(
        process["tags"]
            .as_array()
            .unwrap()
            .contains(&text("telemetry.sdk.language", "python"))
    );

    let tags = server["tags"].as_array().unwrap();
    for tag in [
        text("otel.scope.name", "send_spans"),
        text("otel.scope.version", "1.2.3"),
        text("span.kind", "server"),
        text("text", "caf\u{e9}"),
        text("items", r#"["book","pen"]"#),
        json!({ "key": "count", "type": "int64", "value": 7 }),
        json!({ "key": "ratio", "type": "float64", "value": 0.5 }),
        json!({ "key": "cached", "type": "bool", "value": true }),
    ] {
        assert!(tags.contains(&tag), "{tag} is missing in {tags:?}");
    }
    let fields =
        json!([text("event", "accepted"), { "key": "total", "type": "int64", "value": 3 }]);
    assert_eq!(server["logs"][0]["fields"], fields);
    assert_eq!(server["references"], json!([]));

    let tags = producer["tags"].as_array().unwrap();
    for tag in [
        text("span.kind", "producer"),
        text("otel.status_code", "ERROR"),
        text("otel.status_description", "broker away"),
        json!({ "key": "error", "type": "bool", "value": true }),
    ] {
        assert!(tags.contains(&tag), "{tag} is missing in {tags:?}");
    }
    assert_eq!(
        producer["references"],
        json!([
            { "refType": "CHILD_OF", "traceID": server["traceID"], "spanID": server["spanID"] },
            { "refType": "FOLLOWS_FROM",
              "traceID": "4bf92f3577b34da6a3ce929d0e0e4736", "spanID": "00f067aa0ba902b7",
              "tags": [text("opentracing.ref_type", "follows_from")] }
        ])
    );
    let end =
        |span: &Value| span["startTime"].as_u64().unwrap() + span["duration"].as_u64().unwrap();
    assert!(
        server["startTime"].as_u64() <= producer["startTime"].as_u64()
            && end(server) >= end(producer)
    );
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "type": "string", "value": value })
}

/// Returns the id of the trace that was sent, or what the SDK logs about its failure.
fn send(
    python: &Path,
    protocol: &str,
    compression: &str,
    endpoint: &str,
    variables: &[(&str, String)],
) -> Result<String, String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/send_spans.py");
    let mut command = Command::new(python);
    // The settings of the machine must not change the result.
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_"))
    {
        command.env_remove(name);
    }
    for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
        command.env_remove(name);
    }
    for (name, value) in variables {
        command.env(name, value);
    }
    let output = command.args([script, protocol, compression, endpoint]);
    let output = output.output().map_err(|error| error.to_string())?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    if log.contains("Failed") {
        return Err(log);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
