//! TLS to brokers and from clients: rustls with ring, certificates and keys as PEM.
//!
//! Everything is understood when it is built, so that a wrong file is told before a socket is bound. SASL goes through either way.

use std::fmt;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::transport::stream::Stream;

/// Whom we believe that a broker is who it says.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// The certificate authorities of this machine.
    System,
    /// These, in PEM.
    Pem(&'a [u8]),
}

/// Who we say we are: a certificate with those that vouch for it, and its key, in PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate, then the chain.
    pub certificates: &'a [u8],
    /// The private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: &'a [u8],
}

/// TLS to brokers.
#[derive(Clone)]
pub struct Connector {
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
}

/// TLS from clients.
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The PEM holds no certificate.
    #[error("has no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    NoCertificate,
    /// The PEM holds no key.
    #[error("has no private key in PEM (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// A certificate that cannot be read.
    #[error("has a certificate that cannot be read: {0}")]
    BadCertificate(String),
    /// The key is not that of the certificate, or of a kind that rustls does not know.
    #[error(
        "certificate and key do not belong together, or are of a kind that is not supported: {0}"
    )]
    BadIdentity(rustls::Error),
    /// This machine lists no certificate authority.
    #[error(
        "this machine has no certificate authorities; install ca-certificates, or give a file of your own"
    )]
    NoSystemRoots,
    /// Not a name that a certificate could be for.
    #[error("{0:?} is no host name")]
    BadName(String),
}

// === impl Connector ===

impl Connector {
    /// TLS to brokers that `roots` vouch for. With `name`, certificates must be for it instead of the host that was connected to.
    ///
    /// # Errors
    /// When the PEM or the name make no sense.
    pub fn new(
        roots: Roots<'_>,
        identity: Option<Identity<'_>>,
        name: Option<&str>,
    ) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::BadIdentity)?
            .with_root_certificates(store(roots)?);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(identity) => config
                .with_client_auth_cert(certificates(identity.certificates)?, key(identity.key)?)
                .map_err(TlsError::BadIdentity)?,
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let name = name.map(server_name).transpose()?;
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name,
        })
    }

    /// The same, for one of these protocols (ALPN).
    pub(crate) fn agreeing_on(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ClientConfig::clone(self.connector.config());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: self.name.clone(),
        }
    }

    /// Begins TLS with the broker at `host`.
    pub(crate) async fn connect(&self, host: &str, stream: TcpStream) -> std::io::Result<Stream> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => server_name(host).map_err(std::io::Error::other)?,
        };
        let stream = self.connector.connect(name, stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

// === impl Acceptor ===

impl Acceptor {
    /// TLS from clients, whom we show `identity`.
    ///
    /// # Errors
    /// When the PEM makes no sense.
    pub fn new(identity: Identity<'_>) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::BadIdentity)?
            .with_no_client_auth()
            .with_single_cert(certificates(identity.certificates)?, key(identity.key)?)
            .map_err(TlsError::BadIdentity)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The same, for one of these protocols, the best first (ALPN).
    pub(crate) fn agreeing_on(&self, protocols: &[&[u8]]) -> Self {
        let mut config = ServerConfig::clone(self.0.config());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    /// Begins TLS with a client.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<Stream> {
        let stream = self.0.accept(stream).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

// === impl Identity ===

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn store(roots: Roots<'_>) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            // One of many that cannot be read is no reason to believe nobody.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
        }
        Roots::Pem(pem) => {
            for certificate in certificates(pem)? {
                store
                    .add(certificate)
                    .map_err(|error| TlsError::BadCertificate(error.to_string()))?;
            }
        }
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::BadCertificate(error.to_string()))?;
    if certificates.is_empty() {
        Err(TlsError::NoCertificate)
    } else {
        Ok(certificates)
    }
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::NoKey)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::BadName(name.to_owned()))
}

/// Brokers whose TLS sessions are remembered, so that the next connection to them begins faster.
const SESSIONS_MAX: usize = 256;
