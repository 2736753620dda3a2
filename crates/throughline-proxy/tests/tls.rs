//! TLS on both sides of the proxy, with certificates made here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use support::{Log, Running, ask, before, config, echo, echo_broker, listen, read_end, within};
use throughline_proxy::{
    ConnectionLimits, DownstreamTls, TlsError, TlsIdentity, TlsRoots, UpstreamTls,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: Vec<u8>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn sign(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificates: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&self.pem).unwrap())
            .unwrap();
        roots
    }
}

impl Pair {
    fn identity(&self) -> TlsIdentity<'_> {
        TlsIdentity {
            certificates: &self.certificates,
            key: &self.key,
        }
    }

    fn parsed(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (
            vec![CertificateDer::from_pem_slice(&self.certificates).unwrap()],
            PrivateKeyDer::from_pem_slice(&self.key).unwrap(),
        )
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
    .into_bytes()
}

/// A broker that speaks TLS, and wants to see a certificate of `clients` if given.
async fn tls_broker(pair: &Pair, clients: Option<&Authority>) -> SocketAddr {
    let (certificates, key) = pair.parsed();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let provider = Arc::new(ring::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider)
                    .build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(
        config.with_single_cert(certificates, key).unwrap(),
    ));
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    echo(stream).await;
                }
            });
        }
    });
    address
}

fn to_broker(authority: &Authority, pair: Option<&Pair>, name: Option<&str>) -> UpstreamTls {
    UpstreamTls::new(
        TlsRoots::Pem(&authority.pem),
        pair.map(Pair::identity),
        name,
    )
    .unwrap()
}

#[tokio::test]
async fn tls_to_the_broker_and_from_the_client() {
    let authority = Authority::new();
    let mut config = config(vec![before(&[tls_broker(
        &authority.sign("127.0.0.1"),
        None,
    )
    .await])]);
    config.broker_tls = Some(to_broker(&authority, None, None));
    config.client_tls =
        Some(DownstreamTls::new(authority.sign("sidecar.example").identity()).unwrap());
    let proxy = Running::start(config).await;
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(client));
    let name = ServerName::try_from("sidecar.example").unwrap();
    let mut stream = connector
        .connect(name, proxy.connect().await)
        .await
        .unwrap();
    for correlation in 0..3 {
        ask(&mut stream, correlation, &vec![7; 300_000]).await;
    }
}

#[tokio::test]
async fn a_broker_that_asks_for_our_certificate_gets_it() {
    let authority = Authority::new();
    let broker = tls_broker(&authority.sign("127.0.0.1"), Some(&authority)).await;
    let mut with = config(vec![before(&[broker])]);
    with.broker_tls = Some(to_broker(&authority, Some(&authority.sign("client")), None));
    ask(&mut Running::start(with).await.connect().await, 1, b"x").await;
    let mut without = config(vec![before(&[broker])]);
    without.broker_tls = Some(to_broker(&authority, None, None));
    read_end(&mut Running::start(without).await.connect().await).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_authority_is_refused_unless_told() {
    let (log, _guard) = Log::new();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let broker = tls_broker(&authority.sign("kafka.example"), None).await;
    for (roots, name, is_right) in [
        (&authority, None, false),
        (&stranger, Some("kafka.example"), false),
        (&authority, Some("kafka.example"), true),
    ] {
        let mut config = config(vec![before(&[broker])]);
        config.broker_tls = Some(to_broker(roots, None, name));
        let proxy = Running::start(config).await;
        if is_right {
            ask(&mut proxy.connect().await, 1, b"x").await;
        } else {
            read_end(&mut proxy.connect().await).await;
            proxy
                .until_metric("throughline_kafka_connections_failed_total{reason=\"connect\"} 1")
                .await;
        }
    }
    let text = log.text();
    assert!(
        text.contains("certificate") && text.contains("kafka.example"),
        "{text}"
    );
}

#[tokio::test]
async fn a_client_that_speaks_no_tls_to_a_tls_port_is_let_go_and_told_of() {
    let (log, _guard) = Log::new();
    let authority = Authority::new();
    let mut config = config(vec![before(&[echo_broker().await])]);
    config.client_tls = Some(DownstreamTls::new(authority.sign("sidecar").identity()).unwrap());
    let proxy = Running::start(config).await;
    let mut client = proxy.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut client, &support::request(1, b"x"))
        .await
        .unwrap();
    within(tokio::io::AsyncReadExt::read_to_end(
        &mut client,
        &mut Vec::new(),
    ))
    .await
    .ok();
    proxy
        .until_metric("throughline_kafka_connections_failed_total{reason=\"client_tls\"} 1")
        .await;
    assert!(
        log.text().contains("did not agree on TLS"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn a_broker_that_is_slow_to_begin_holds_up_nobody_else() {
    let authority = Authority::new();
    let pair = authority.sign("127.0.0.1");
    let good = tls_broker(&pair, None).await;
    // Accepts and says nothing.
    let (_silent, silent) = listen().await;
    let mut config = config(vec![before(&[silent]), before(&[good])]);
    config.broker_tls = Some(to_broker(&authority, None, None));
    config.limits = ConnectionLimits {
        connect_timeout: Duration::from_secs(2),
        ..config.limits
    };
    let proxy = Running::start(config).await;
    let mut slow = proxy.connect().await;
    let begin = std::time::Instant::now();
    let mut quick = tokio::net::TcpStream::connect(proxy.addresses.listeners[1])
        .await
        .unwrap();
    ask(&mut quick, 1, b"x").await;
    assert!(begin.elapsed() < Duration::from_secs(2));
    read_end(&mut slow).await;
    proxy
        .until_metric("throughline_kafka_connections_failed_total{reason=\"connect\"} 1")
        .await;
}

#[test]
fn what_is_no_certificate_or_key_is_told_apart() {
    let (authority, other) = (Authority::new(), Authority::new().sign("x"));
    let pair = authority.sign("x");
    let identity =
        |certificates, key| DownstreamTls::new(TlsIdentity { certificates, key }).map(drop);
    assert!(identity(&pair.certificates, &pair.key).is_ok());
    assert!(matches!(
        identity(b"text", &pair.key),
        Err(TlsError::NoCertificate)
    ));
    assert!(matches!(
        identity(&pair.certificates, b"text"),
        Err(TlsError::NoKey)
    ));
    assert!(matches!(
        identity(&pair.certificates, &other.key),
        Err(TlsError::BadIdentity(_))
    ));
    let connect = |roots, name| UpstreamTls::new(roots, None, name).map(drop);
    assert!(matches!(
        connect(TlsRoots::Pem(b"text"), None),
        Err(TlsError::NoCertificate)
    ));
    let nonsense = pem("CERTIFICATE", b"nonsense");
    assert!(matches!(
        connect(TlsRoots::Pem(&nonsense), None),
        Err(TlsError::BadCertificate(_))
    ));
    assert!(matches!(
        connect(TlsRoots::Pem(&authority.pem), Some("a b")),
        Err(TlsError::BadName(_))
    ));
}
