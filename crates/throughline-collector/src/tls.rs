//! TLS of the listeners, whose certificate can be replaced while they serve.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// TLS of all TCP listeners. Clones share the certificate.
#[derive(Clone)]
pub struct CollectorTls(Arc<RwLock<TlsAcceptors>>);

/// Acceptors that differ in the protocol that they select (ALPN, RFC 7301).
struct TlsAcceptors {
    http1: TlsAcceptor,
    http2: TlsAcceptor,
}

// === impl CollectorTls ===

impl CollectorTls {
    /// Returns TLS with this certificate and these requirements on clients.
    #[must_use]
    pub fn new(config: &ServerConfig) -> Self {
        Self(Arc::new(RwLock::new(TlsAcceptors::new(config))))
    }

    /// Replaces the certificate and the requirements. Open connections keep theirs.
    pub fn replace(&self, config: &ServerConfig) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = TlsAcceptors::new(config);
    }

    pub(crate) fn http1(&self) -> TlsAcceptor {
        let acceptors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        acceptors.http1.clone()
    }

    pub(crate) fn http2(&self) -> TlsAcceptor {
        let acceptors = self.0.read().unwrap_or_else(PoisonError::into_inner);
        acceptors.http2.clone()
    }
}

impl fmt::Debug for CollectorTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorTls").finish_non_exhaustive()
    }
}

// === impl TlsAcceptors ===

impl TlsAcceptors {
    fn new(config: &ServerConfig) -> Self {
        let acceptor = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsAcceptor::from(Arc::new(config))
        };
        Self {
            http1: acceptor(b"http/1.1"),
            http2: acceptor(b"h2"),
        }
    }
}
