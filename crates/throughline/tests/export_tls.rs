//! The export to an https endpoint, whose certificate the system trusts.
#![cfg(feature = "export-tls")]
#![expect(
    clippy::exit,
    clippy::unwrap_used,
    reason = "the service is a process of its own; a test that cannot be set up has failed"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tracing_subscriber::layer::SubscriberExt as _;

/// Names the endpoint for the service, which is this test in another process: the variable of its
/// certificates (`SSL_CERT_FILE`) must be set before it starts.
const ENDPOINT: &str = "THROUGHLINE_TEST_ENDPOINT";
/// The exit status of the service whose span was not accepted.
const NOT_EXPORTED: i32 = 3;

#[test]
fn spans_reach_an_https_endpoint_with_a_trusted_certificate_only() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        // Not by a failed assertion, which would print a failed test among those of this run.
        std::process::exit(if export(&endpoint) { 0 } else { NOT_EXPORTED });
    }
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, certificate.cert.pem()).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let untrusted = folder.path().join("other.pem");
    std::fs::write(&untrusted, other.cert.pem()).unwrap();
    let endpoint = collector(&certificate);
    for (certificates, expected) in [(&trusted, 0), (&untrusted, NOT_EXPORTED)] {
        let name = "spans_reach_an_https_endpoint_with_a_trusted_certificate_only";
        let service = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(ENDPOINT, &endpoint)
            .env("SSL_CERT_FILE", certificates)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        assert_eq!(
            service.status.code(),
            Some(expected),
            "{certificates:?}: {service:?}"
        );
    }
}

/// Exports a span, and returns whether it was accepted.
fn export(endpoint: &str) -> bool {
    let telemetry = throughline::builder()
        .environment(|_| None)
        .endpoint(endpoint)
        .variable("OTEL_METRICS_EXPORTER", "none")
        .try_build()
        .unwrap();
    let spans = tracing_subscriber::registry().with(telemetry.layer());
    tracing::subscriber::with_default(spans, || tracing::info_span!("work").in_scope(|| {}));
    telemetry.shutdown().exported == 1
}

/// Starts a server that answers every request with 200, and returns its address.
fn collector(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            PrivateKeyDer::Pkcs8(key),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(StreamOwned::new(connection, stream.unwrap()));
        }
    });
    format!("https://localhost:{port}")
}

/// Answers one request. A client that does not trust the certificate sends none.
fn answer(mut stream: StreamOwned<ServerConnection, std::net::TcpStream>) {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let Ok(read @ 1..) = stream.read(&mut chunk) else {
            return;
        };
        received.extend(chunk.iter().take(read));
        let text = String::from_utf8_lossy(&received).to_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if received.len() >= head.len() + 4 + length {
            break;
        }
    }
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(response).unwrap();
    stream.flush().unwrap();
}
