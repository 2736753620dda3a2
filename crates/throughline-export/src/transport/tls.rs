//! TLS towards the collector: rustls with ring, the system's authorities or given ones, our own certificate if there is one.

use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::config::{Endpoint, Tls};

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system has no authorities, or none that can be read.
    #[error(
        "this system trusts no authority ({0}); name a file of them in OTEL_EXPORTER_OTLP_CERTIFICATE"
    )]
    NoAuthorities(String),
    /// The given authorities are no certificates.
    #[error(
        "the trusted certificates (OTEL_EXPORTER_OTLP_CERTIFICATE) are no PEM of certificates: {0}"
    )]
    Authorities(String),
    /// Our own certificate or key is none.
    #[error("the client certificate or its key cannot be used: {0}")]
    Client(String),
    /// rustls refused.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// What is trusted and shown when this endpoint is spoken to.
pub(super) fn configure(tls: &Tls, endpoint: &Endpoint) -> Result<ClientConfig, Error> {
    // Reading the system's authorities takes a while and may fail; who speaks plain HTTP needs none.
    let roots = match (&tls.authorities, endpoint.is_secure()) {
        (_, false) => RootCertStore::empty(),
        (Some(authorities), true) => given(authorities)?,
        (None, true) => of_the_system()?,
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

fn given(authorities: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in
        certificates(authorities).map_err(|error| Error::Authorities(error.to_string()))?
    {
        roots
            .add(certificate)
            .map_err(|error| Error::Authorities(error.to_string()))?;
    }
    if roots.is_empty() {
        Err(Error::Authorities("it holds none".to_owned()))
    } else {
        Ok(roots)
    }
}

fn of_the_system() -> Result<RootCertStore, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let why = if errors.is_empty() {
            "none are installed".to_owned()
        } else {
            errors.join("; ")
        };
        return Err(Error::NoAuthorities(why));
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}
