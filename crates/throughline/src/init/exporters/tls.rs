//! The HTTP client of exporters to https endpoints.
//!
//! It is not reqwest's: a crate that enables TLS there decides the cryptography of all clients of
//! the application, or leaves them without one.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// A blocking client with the certificates of the system. It runs on the thread of the export.
#[derive(Debug)]
pub(super) struct TlsClient(Agent);

/// The longest response that is read, as of OpenTelemetry's own clients.
const MAX_RESPONSE_BYTES: u64 = 4 * 1024 * 1024;

// === impl TlsClient ===

impl TlsClient {
    pub(super) fn new(timeout: Duration) -> Self {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            // The exporter reads the status itself, to find out what may be sent again.
            .http_status_as_error(false)
            .tls_config(tls)
            .build();
        Self(config.new_agent())
    }
}

#[async_trait::async_trait]
impl HttpClient for TlsClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let response = self.0.run(Request::from_parts(parts, &*body))?;
        let (parts, mut body) = response.into_parts();
        let body = body.with_config().limit(MAX_RESPONSE_BYTES).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(body)))
    }
}
