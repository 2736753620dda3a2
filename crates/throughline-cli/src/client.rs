//! Asking a collector.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::Failure;
use crate::args::CollectorAddress;

/// A collector that answers queries.
#[derive(Debug)]
pub(crate) struct Client {
    url: String,
    agent: ureq::Agent,
}

impl Client {
    /// For the collector at this address; a mistake in it goes to `mistakes`.
    pub(crate) fn new(address: &CollectorAddress, mistakes: &mut Vec<String>) -> Self {
        let url = address.url.trim_end_matches('/').to_owned();
        if url.strip_prefix("http://").is_none_or(str::is_empty) {
            mistakes
                .push(format!("--collector {url:?} is no address of a collector; write it as http://127.0.0.1:16686"));
        }
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false);
        if is_loopback(&url) {
            // A proxy would look for the collector on its own machine.
            config = config.proxy(None);
        }
        Self {
            url,
            agent: config.build().new_agent(),
        }
    }

    /// The body of the answer to a query, whatever its status, with the status.
    pub(crate) fn ask(
        &self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<(u16, Vec<u8>), Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in parameters {
            request = request.query(*name, value);
        }
        let mut response = request.call().map_err(|error| self.explain(&error))?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_MAX)
            .read_to_vec();
        let body =
            body.with_context(|| format!("the collector at {} broke off its answer", self.url))?;
        Ok((status, body))
    }

    fn explain(&self, error: &ureq::Error) -> anyhow::Error {
        let url = &self.url;
        anyhow!(
            "cannot reach a collector at {url} ({error}); start one with `throughline up`, or name another with --collector"
        )
    }

    /// What a collector that did not answer as expected is reported as.
    pub(crate) fn unexpected(&self, status: u16, body: &[u8]) -> Failure {
        let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
        let text = crate::terminal::printable(text.trim());
        Failure::Failed(anyhow!(
            "the collector at {} answered {status}: {text}",
            self.url
        ))
    }
}

/// Whether the address is this machine's own.
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

const TIMEOUT: Duration = Duration::from_secs(30);

/// No more of an answer is read than this.
const ANSWER_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_all_its_names() {
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
