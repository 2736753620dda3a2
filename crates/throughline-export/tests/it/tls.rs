//! TLS towards the collector.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use throughline_export::{Config, ExportProtocol, Exporter, TlsSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::{LONG, config, send};

/// Starts a TLS server for `localhost` that responds with 200. Returns its URL and its certificate
/// in PEM.
async fn server() -> (String, Vec<u8>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            // The request is small enough for one read.
            let mut request = [0; 4096];
            if stream
                .read(&mut request)
                .await
                .is_ok_and(|length| length > 0)
            {
                drop(
                    stream
                        .write_all(
                            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                        )
                        .await,
                );
                drop(stream.shutdown().await);
            }
        }
    });
    (url, cert.pem().into_bytes())
}

#[tokio::test]
async fn collector_of_a_trusted_authority_receives_spans() {
    let (url, authorities) = server().await;
    let tls = TlsSettings {
        authorities: Some(authorities),
        client: None,
    };
    let exporter = Exporter::start(&Config {
        tls,
        ..config(&url, ExportProtocol::HttpProtobuf)
    })
    .unwrap();
    send(&exporter, 1);
    assert!(exporter.flush(LONG).await);
    assert_eq!(exporter.counts().sent, 1);
}

#[tokio::test]
async fn collector_of_another_authority_receives_nothing() {
    let (url, _) = server().await;
    let (_, authorities) = server().await;
    let tls = TlsSettings {
        authorities: Some(authorities),
        client: None,
    };
    let mut config = Config {
        tls,
        ..config(&url, ExportProtocol::HttpProtobuf)
    };
    config.retry.max_elapsed_time = Duration::from_millis(50);
    let exporter = Exporter::start(&config).unwrap();
    send(&exporter, 1);
    assert!(exporter.flush(LONG).await);
    assert_eq!(exporter.counts().dropped.unreachable, 1);
}

#[test]
fn invalid_certificate_is_reported_at_start() {
    let refused = |authorities: Option<&[u8]>, client: Option<(&[u8], &[u8])>| {
        let client = client.map(|(certificate, key)| (certificate.to_vec(), key.to_vec()));
        let tls = TlsSettings {
            authorities: authorities.map(<[u8]>::to_vec),
            client,
        };
        Exporter::start(&Config {
            tls,
            ..config("https://localhost", ExportProtocol::Grpc)
        })
        .unwrap_err()
        .to_string()
    };
    assert!(refused(Some(b"no certificate"), None).contains("OTEL_EXPORTER_OTLP_CERTIFICATE"));
    assert!(
        refused(
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            None
        )
        .contains("PEM")
    );
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (pem, key) = (
        cert.pem().into_bytes(),
        signing_key.serialize_pem().into_bytes(),
    );
    assert!(
        refused(Some(&pem), Some((&pem, b"no key"))).contains("client certificate"),
        "{key:?}"
    );
}
