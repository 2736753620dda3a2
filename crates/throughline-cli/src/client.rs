//! HTTP client for the query APIs of a collector.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio_rustls::rustls::crypto::ring;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::args::query::CollectorArgs;
use crate::error::CommandError;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Cap on a response, so that a wrong address cannot fill this process's memory.
const MAX_RESPONSE_BYTES: u64 = 1 << 30;

/// Part of an unexpected response that goes into the error message.
const MAX_QUOTED_CHARS: usize = 200;

/// A client of one collector.
pub(crate) struct QueryClient {
    url: String,
    /// Value of the header `authorization`.
    token: Option<String>,
    agent: ureq::Agent,
}

// === impl QueryClient ===

impl QueryClient {
    /// Creates a client for the collector at this address; an invalid address goes to `errors`.
    pub(crate) fn new(address: &CollectorArgs, errors: &mut Vec<String>) -> Self {
        let url = address.url.trim_end_matches('/').to_owned();
        let host = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"));
        if host.is_none_or(str::is_empty) {
            errors.push(format!(
                "--collector {url:?} is not an http:// or https:// URL; write it as \
                 http://127.0.0.1:16686"
            ));
        }
        let roots = address
            .ca
            .as_deref()
            .and_then(|path| read_roots(path, errors));
        let token = address.token_file.as_deref();
        let token = token.and_then(|path| read_token(path, errors));
        let mut config = ureq::Agent::config_builder()
            // Any status is read: the body of an error says more than its number.
            .timeout_global(Some(REQUEST_TIMEOUT))
            .tls_config(tls_config(roots))
            .http_status_as_error(false);
        if is_loopback(&url) {
            // http_proxy would resolve a loopback address to the proxy's own machine.
            config = config.proxy(None);
        }
        Self {
            url,
            token,
            agent: config.build().new_agent(),
        }
    }

    /// Sends a query and returns the status and body of the response.
    ///
    /// # Errors
    /// When the collector cannot be reached or its response ends before it is complete.
    pub(crate) fn get(
        &self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<(u16, Vec<u8>), CommandError> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        for (name, value) in parameters {
            request = request.query(*name, value);
        }
        let mut response = request
            .call()
            .map_err(|error| self.unreachable_error(&error))?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_RESPONSE_BYTES)
            .read_to_vec();
        let body = body.with_context(|| {
            format!(
                "the response of the collector at {} ended before it was complete",
                self.url
            )
        })?;
        Ok((status, body))
    }

    /// Returns the error for a response that is not what the query API serves.
    pub(crate) fn unexpected_response(&self, status: u16, body: &[u8]) -> CommandError {
        let text: String = String::from_utf8_lossy(body)
            .chars()
            .take(MAX_QUOTED_CHARS)
            .collect();
        let text = crate::terminal::printable(text.trim());
        CommandError::Failed(anyhow!(
            "the collector at {} responded with status {status}: {text}",
            self.url
        ))
    }

    fn unreachable_error(&self, error: &ureq::Error) -> anyhow::Error {
        let url = &self.url;
        anyhow!(
            "cannot reach a collector at {url} ({error}); start one with `throughline up`, or give \
             another address with --collector"
        )
    }
}

/// Returns TLS with these certificate authorities, or those of this machine.
fn tls_config(roots: Option<RootCerts>) -> TlsConfig {
    TlsConfig::builder()
        .root_certs(roots.unwrap_or(RootCerts::PlatformVerifier))
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build()
}

/// Reads certificate authorities; an error goes to `errors`.
fn read_roots(path: &str, errors: &mut Vec<String>) -> Option<RootCerts> {
    let pem = read_file("--collector-ca", path, errors)?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| {
            if let Ok(PemItem::Certificate(certificate)) = item {
                Some(certificate)
            } else {
                None
            }
        })
        .collect();
    if certificates.is_empty() {
        errors.push(format!("--collector-ca {path:?} has no certificate in PEM"));
        return None;
    }
    Some(certificates.into())
}

/// Reads a token, and returns the value of its header; an error goes to `errors`.
fn read_token(path: &str, errors: &mut Vec<String>) -> Option<String> {
    let text = read_file("--token-file", path, errors)?;
    let token = String::from_utf8_lossy(&text).trim().to_owned();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        errors.push(format!(
            "--token-file {path:?} must hold a token in one line"
        ));
        return None;
    }
    Some(format!("Bearer {token}"))
}

fn read_file(option: &str, path: &str, errors: &mut Vec<String>) -> Option<Vec<u8>> {
    std::fs::read(path)
        .map_err(|error| errors.push(format!("{option} {path:?} cannot be read: {error}")))
        .ok()
}

/// Whether the host of the URL is this machine's loopback.
fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<http::Uri>().ok();
    uri.as_ref().and_then(|uri| uri.host()).is_some_and(|host| {
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_urls_are_recognized_in_every_spelling() {
        for url in [
            "http://127.0.0.1:16686",
            "http://localhost",
            "http://[::1]:16686/base",
            "http://127.1.2.3",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://traces.example:16686",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
