//! The little HTTP that tests need: a GET with a time limit, and the answer whatever its status.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Longest answer that is read, in bytes.
const BODY_LIMIT: u64 = 64 * 1024 * 1024;

/// An answer with any status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReply {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: String,
}

/// GETs `url`. A status of 400 or more is an answer, not an error; no answer within `limit` is an error.
pub fn get(url: &str, limit: Duration) -> Result<HttpReply> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        // Everything is on the loopback: a proxy named in the environment has no business here.
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
        .limit(BODY_LIMIT)
        .read_to_string();
    Ok(HttpReply {
        status,
        body: body.with_context(|| format!("reading the answer of GET {url}"))?,
    })
}

/// GETs a JSON document; any status but 200 is an error that shows the body.
pub fn get_json(url: &str, limit: Duration) -> Result<Value> {
    let answer = get(url, limit)?;
    ensure!(
        answer.status == 200,
        "GET {url} answered {}: {}",
        answer.status,
        answer.body
    );
    serde_json::from_str(&answer.body)
        .with_context(|| format!("GET {url} did not answer with JSON: {}", answer.body))
}

/// `text` as one component of a path or one value of a query (RFC 3986, section 2.1).
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
    fn what_has_a_meaning_in_a_query_is_escaped() {
        assert_eq!(
            escape("GET /checkout?a=b&c"),
            "GET%20%2Fcheckout%3Fa%3Db%26c"
        );
        assert_eq!(escape("kafka-consumer_1.0~"), "kafka-consumer_1.0~");
    }
}
