//! TLS towards the collector: rustls with ring, the system's authorities or configured ones, and an
//! optional client certificate.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::config::{OtlpEndpoint, TlsSettings};

/// The reason why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system has no readable authorities.
    #[error(
        "no system certificate authority found ({0}); set OTEL_EXPORTER_OTLP_CERTIFICATE to a file"
    )]
    NoAuthorities(String),
    /// The configured authorities are not certificates.
    #[error("OTEL_EXPORTER_OTLP_CERTIFICATE is not a PEM file of certificates: {0}")]
    Authorities(String),
    /// The client certificate or its key is invalid.
    #[error("client certificate or key is invalid: {0}")]
    Client(String),
    /// rustls rejected the configuration.
    #[error("TLS setup failed: {0}")]
    Setup(#[from] rustls::Error),
}

/// Returns the TLS configuration for this endpoint.
pub(crate) fn configure(tls: &TlsSettings, endpoint: &OtlpEndpoint) -> Result<ClientConfig, Error> {
    // Reading the system's authorities takes time and may fail, and plain HTTP needs none.
    let roots = match (&tls.authorities, endpoint.is_secure()) {
        (_, false) => RootCertStore::empty(),
        (Some(authorities), true) => configured_roots(authorities)?,
        (None, true) => system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.client else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates(certificate).map_err(|error| Error::Client(error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|error| Error::Client(error.to_string()))?;
    config
        .with_client_auth_cert(chain, key)
        .map_err(|error| Error::Client(error.to_string()))
}

fn configured_roots(authorities: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in
        certificates(authorities).map_err(|error| Error::Authorities(error.to_string()))?
    {
        roots
            .add(certificate)
            .map_err(|error| Error::Authorities(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(Error::Authorities("it holds no certificate".to_owned()))
    } else {
        Ok(roots)
    }
}

fn system_roots() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems ship a few certificates that rustls rejects; the others are enough.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let reason = if errors.is_empty() {
            "none are installed".to_owned()
        } else {
            errors.join("; ")
        };
        return Err(Error::NoAuthorities(reason));
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
