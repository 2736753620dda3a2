//! A minimal HTTP client for tests: GET with a timeout, any status accepted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Largest response body that is read.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// A response with any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The complete body.
    pub body: String,
}

/// Sends a GET to `url`. A status of 400 or more is a response, not an error; a timeout is an
/// error.
pub fn get(url: &str, limit: Duration) -> Result<HttpReply> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        // All targets are on the loopback, which a proxy from `HTTP_PROXY` could not reach.
        .proxy(None)
        .build();
    let mut response = ureq::Agent::new_with_config(config)
        .get(url)
        .call()
        .with_context(|| format!("GET {url}"))?;
    let status = response.status().as_u16();
    let body = response
        .body_mut()
        .with_config()
        .limit(MAX_BODY_BYTES)
        .read_to_string();
    Ok(HttpReply {
        status,
        body: body.with_context(|| format!("reading the response to GET {url}"))?,
    })
}

/// Fetches a JSON document; any status but 200 is an error that shows the body.
pub fn get_json(url: &str, limit: Duration) -> Result<Value> {
    let reply = get(url, limit)?;
    ensure!(
        reply.status == 200,
        "GET {url} returned status {}: {}",
        reply.status,
        reply.body
    );
    serde_json::from_str(&reply.body)
        .with_context(|| format!("GET {url} did not return JSON: {}", reply.body))
}

/// Percent-encodes `text` for a path segment or a query value (RFC 3986, section 2.1).
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_encodes_reserved_characters() {
        assert_eq!(
            escape("GET /checkout?a=b&c"),
            "GET%20%2Fcheckout%3Fa%3Db%26c"
        );
        assert_eq!(escape("kafka-consumer_1.0~"), "kafka-consumer_1.0~");
    }
}
