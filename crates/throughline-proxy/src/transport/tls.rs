//! TLS to upstream servers and from clients: rustls with ring, certificates and keys as PEM.
//!
//! All PEM is parsed at construction, so that a bad file is reported before a socket is bound. SASL
//! is independent of TLS and passes through either way.

use std::fmt;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::transport::stream::MaybeTlsStream;

/// Servers whose TLS sessions are cached for resumption.
const MAX_CACHED_SESSIONS: usize = 256;

/// The certificate authorities that a server's certificate must come from.
#[derive(Debug, Clone, Copy)]
pub enum TlsRoots<'a> {
    /// The certificate authorities of this machine.
    System,
    /// Certificates in PEM.
    Pem(&'a [u8]),
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone, Copy)]
pub struct TlsIdentity<'a> {
    /// The certificate, followed by its chain.
    pub certificates: &'a [u8],
    /// The private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: &'a [u8],
}

/// TLS to upstream servers.
#[derive(Clone)]
pub struct UpstreamTls {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

/// TLS from clients.
#[derive(Clone)]
pub struct DownstreamTls(TlsAcceptor);

/// A TLS configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The PEM holds no certificate.
    #[error("has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// The PEM holds no key.
    #[error("has no private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// A certificate cannot be parsed.
    #[error("has a certificate that cannot be parsed: {0}")]
    BadCertificate(String),
    /// The key does not match the certificate, or rustls does not support its type.
    #[error("has a certificate and a key that do not match or are of an unsupported type: {0}")]
    BadIdentity(rustls::Error),
    /// The trust store of this machine is empty.
    #[error(
        "finds no certificate authorities on this machine; install ca-certificates or set a CA file"
    )]
    NoSystemRoots,
    /// The server name is neither a DNS name nor an IP address.
    #[error("{0:?} is not a host name")]
    BadName(String),
}

// === impl UpstreamTls ===

impl UpstreamTls {
    /// Returns a connector that accepts servers certified by `roots`. With `server_name`,
    /// certificates must carry that name instead of the host that is dialed.
    ///
    /// # Errors
    /// Fails when the PEM or the name is invalid.
    pub fn new(
        roots: TlsRoots<'_>,
        identity: Option<TlsIdentity<'_>>,
        server_name: Option<&str>,
    ) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::BadIdentity)?
            .with_root_certificates(root_store(roots)?);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(
                    parse_certificates(identity.certificates)?,
                    parse_key(identity.key)?,
                )
                .map_err(TlsError::BadIdentity)?,
        };
        config.resumption = Resumption::in_memory_sessions(MAX_CACHED_SESSIONS);
        let server_name = server_name.map(parse_server_name).transpose()?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })
    }

    /// Returns a copy that offers these protocols (ALPN, RFC 7301).
    pub(crate) fn with_alpn(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(self.connector.config());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: self.server_name.clone(),
        }
    }

    /// Performs the TLS handshake with the server at `host`.
    pub(crate) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<MaybeTlsStream> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_server_name(host).map_err(std::io::Error::other)?,
        };
        let stream = self.connector.connect(name, stream).await?;
        Ok(MaybeTlsStream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

// === impl DownstreamTls ===

impl DownstreamTls {
    /// Returns an acceptor that presents `identity` to clients.
    ///
    /// # Errors
    /// Fails when the PEM is invalid.
    pub fn new(identity: TlsIdentity<'_>) -> Result<Self, TlsError> {
        Self::with_verifier(identity, None)
    }

    /// Returns an acceptor that also requires a certificate of each client, certified by `roots`.
    ///
    /// # Errors
    /// Fails when the PEM is invalid.
    pub fn with_client_roots(
        identity: TlsIdentity<'_>,
        roots: TlsRoots<'_>,
    ) -> Result<Self, TlsError> {
        let roots = Arc::new(root_store(roots)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .build()
            .map_err(|error| TlsError::BadCertificate(error.to_string()))?;
        Self::with_verifier(identity, Some(verifier))
    }

    fn with_verifier(
        identity: TlsIdentity<'_>,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::BadIdentity)?;
        let config = match verifier {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let config = config
            .with_single_cert(
                parse_certificates(identity.certificates)?,
                parse_key(identity.key)?,
            )
            .map_err(TlsError::BadIdentity)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Returns the configuration, for a server other than the sidecar's.
    #[must_use]
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        self.0.config()
    }

    /// Returns a copy that selects one of these protocols, in order of preference (ALPN).
    pub(crate) fn with_alpn(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ServerConfig::clone(self.0.config());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    /// Performs the TLS handshake with a client.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<MaybeTlsStream> {
        let stream = self.0.accept(stream).await?;
        Ok(MaybeTlsStream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for DownstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownstreamTls").finish_non_exhaustive()
    }
}

// === impl TlsIdentity ===

impl fmt::Debug for TlsIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private key must not get into a log.
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    // Explicit: the default of the process depends on the features of other crates.
    Arc::new(ring::default_provider())
}

fn root_store(roots: TlsRoots<'_>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        TlsRoots::System => {
            // One broken certificate among the many of a system must not disable all others.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            // Without roots every handshake would fail, so the start fails instead.
            if store.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
        }
        TlsRoots::Pem(pem) => {
            for certificate in parse_certificates(pem)? {
                store
                    .add(certificate)
                    .map_err(|error| TlsError::BadCertificate(error.to_string()))?;
            }
        }
    }
    Ok(store)
}

fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::BadCertificate(error.to_string()))?;
    if certificates.is_empty() {
        Err(TlsError::NoCertificate)
    } else {
        Ok(certificates)
    }
}

fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The parser's error may quote the file, and so bytes of the key.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::NoKey)
}

fn parse_server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::BadName(name.to_owned()))
}
