//! HTTP client for the query APIs of a collector.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::args::query::CollectorArgs;
use crate::error::CommandError;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Cap on a response, so that a wrong address cannot fill this process's memory.
const MAX_RESPONSE_BYTES: u64 = 1 << 30;

/// Part of an unexpected response that goes into the error message.
const MAX_QUOTED_CHARS: usize = 200;

/// A client of one collector.
#[derive(Debug)]
pub(crate) struct QueryClient {
    url: String,
    agent: ureq::Agent,
}

// === impl QueryClient ===

impl QueryClient {
    /// Creates a client for the collector at this address; an invalid address goes to `errors`.
    pub(crate) fn new(address: &CollectorArgs, errors: &mut Vec<String>) -> Self {
        let url = address.url.trim_end_matches('/').to_owned();
        if url.strip_prefix("http://").is_none_or(str::is_empty) {
            errors.push(format!(
                "--collector {url:?} is not an http:// URL; write it as http://127.0.0.1:16686"
            ));
        }
        let mut config = ureq::Agent::config_builder()
            // Any status is read: the body of an error says more than its number.
            .timeout_global(Some(REQUEST_TIMEOUT))
            .http_status_as_error(false);
        if is_loopback(&url) {
            // http_proxy would resolve a loopback address to the proxy's own machine.
            config = config.proxy(None);
        }
        Self {
            url,
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

/// Whether the host of the URL is this machine's loopback.
fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<ureq::http::Uri>().ok();
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
