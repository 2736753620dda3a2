//! Creates and deletes a topic on a real broker, with hand-written requests.
//!
//! The client library would add a C build to every crate that uses the testkit, and Kafka's own
//! tool needs a JVM start; a request is forty bytes. CreateTopics 4 and DeleteTopics 3 are the last
//! versions without tagged fields (KIP-482).

use std::fmt;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

/// A topic to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Number of partitions.
    pub partitions: u16,
    /// Topic configuration, such as `max.message.bytes`.
    pub config: Vec<(String, String)>,
}

// === impl TopicSpec ===

impl TopicSpec {
    /// Creates the spec of a topic with the broker's default configuration.
    pub fn new(name: impl Into<String>, partitions: u16) -> Self {
        Self {
            name: name.into(),
            partitions,
            config: Vec::new(),
        }
    }

    /// Sets one property of the topic.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }
}

/// Writes `name:partitions`, the form of `embedded-kafka --topic`.
impl fmt::Display for TopicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.partitions)
    }
}

/// Parses `name` (one partition) or `name:partitions`.
impl FromStr for TopicSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, partitions) = text.split_once(':').unwrap_or((text, "1"));
        Ok(Self::new(
            name,
            partitions
                .parse()
                .with_context(|| format!("invalid partition count of topic {text:?}"))?,
        ))
    }
}

/// Creates `topic` on the cluster at `bootstrap` (`host:port`). An existing topic is left
/// unchanged.
///
/// # Errors
/// Fails if the broker is unreachable or refuses; shows the broker's message.
pub fn create_topic(bootstrap: &str, topic: &TopicSpec) -> Result<()> {
    let response = exchange(bootstrap, &create_request(topic)).with_context(|| {
        format!(
            "creating topic {} on {bootstrap} (plaintext listener required)",
            topic.name
        )
    })?;
    match parse_create_response(&response)
        .ok_or_else(|| anyhow!("{bootstrap} sent an invalid CreateTopics response"))?
    {
        // Idempotent: a demo against a running broker finds its topic from the last time.
        (0 | TOPIC_ALREADY_EXISTS, _) => Ok(()),
        (code, message) => bail!(
            "{bootstrap} refused to create topic {}: error {code}, {message}",
            topic.name
        ),
    }
}

/// Deletes the topic `name` on the cluster at `bootstrap` (`host:port`). A later topic of the same
/// name gets another topic id (KIP-516).
///
/// # Errors
/// Fails if the broker is unreachable or refuses.
pub fn delete_topic(bootstrap: &str, name: &str) -> Result<()> {
    let response = exchange(bootstrap, &delete_request(name)).with_context(|| {
        format!("deleting topic {name} on {bootstrap} (plaintext listener required)")
    })?;
    match parse_error(&response)
        .ok_or_else(|| anyhow!("{bootstrap} sent an invalid DeleteTopics response"))?
    {
        (0, _) => Ok(()),
        (code, _) => bail!("{bootstrap} refused to delete topic {name}: error {code}"),
    }
}

const CREATE_TOPICS: [i16; 2] = [19, 4];
const DELETE_TOPICS: [i16; 2] = [20, 3];
const CORRELATION_ID: i32 = 7;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const TIMEOUT: Duration = Duration::from_secs(30);

fn create_request(topic: &TopicSpec) -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_string(&mut body, &topic.name);
    body.extend(i32::from(topic.partitions).to_be_bytes());
    body.extend((-1_i16).to_be_bytes()); // replication_factor: broker default
    put_count(&mut body, 0); // assignments: automatic
    put_count(&mut body, topic.config.len());
    for (name, value) in &topic.config {
        put_string(&mut body, name);
        put_string(&mut body, value);
    }
    body.extend(20_000_i32.to_be_bytes()); // timeout_ms
    body.push(0); // validate_only
    request(CREATE_TOPICS, &body)
}

fn delete_request(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_string(&mut body, name);
    body.extend(20_000_i32.to_be_bytes()); // timeout_ms
    request(DELETE_TOPICS, &body)
}

/// Frames a request with request header version 1.
fn request([key, version]: [i16; 2], body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    // One request per connection, so any constant id identifies the response.
    message.extend(CORRELATION_ID.to_be_bytes());
    put_string(&mut message, "throughline-testkit");
    message.extend(body);
    let mut framed = Vec::with_capacity(message.len() + 4);
    put_count(&mut framed, message.len());
    framed.extend(message);
    framed
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(text.as_bytes());
}

/// Sends the request to the first broker; brokers forward admin requests to the controller
/// (KIP-590).
fn exchange(bootstrap: &str, request: &[u8]) -> Result<Vec<u8>> {
    let address = bootstrap.split(',').next().unwrap_or_default();
    let address = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| anyhow!("{address} is not an address"))?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    ensure!(
        // The length comes from the wire: without a cap a stray server could make us allocate 4
        // GiB.
        length <= 64 * 1024,
        "the response of {length} bytes is too long"
    );
    let mut response = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut response)?;
    Ok(response)
}

/// Parses the error code and message of the only topic.
fn parse_create_response(response: &[u8]) -> Option<(i16, String)> {
    let (code, rest) = parse_error(response)?;
    let (message_length, rest) = rest.split_first_chunk::<2>()?;
    let message = match i16::from_be_bytes(*message_length) {
        length @ 0.. => rest.get(..usize::try_from(length).ok()?)?,
        _ => b"no message",
    };
    Some((code, String::from_utf8_lossy(message).into_owned()))
}

/// Parses the error code of the only topic, and returns the rest. Before it come correlation id,
/// throttle time, count and name.
fn parse_error(response: &[u8]) -> Option<(i16, &[u8])> {
    let (correlation, rest) = response.split_first_chunk::<4>()?;
    let (_throttle, rest) = rest.split_first_chunk::<4>()?;
    let (_count, rest) = rest.split_first_chunk::<4>()?;
    let (name_length, rest) = rest.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*name_length))..)?;
    let (code, rest) = rest.split_first_chunk::<2>()?;
    let ours = i32::from_be_bytes(*correlation) == CORRELATION_ID;
    ours.then(|| (i16::from_be_bytes(*code), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_spec_round_trips_through_text() {
        assert_eq!(TopicSpec::new("t", 3).to_string(), "t:3");
        assert_eq!("t:3".parse::<TopicSpec>().unwrap(), TopicSpec::new("t", 3));
        assert_eq!("t".parse::<TopicSpec>().unwrap(), TopicSpec::new("t", 1));
        assert!("t:many".parse::<TopicSpec>().is_err());
    }

    #[test]
    fn frame_length_matches_the_request() {
        let request = create_request(&TopicSpec::new("t", 1).config("max.message.bytes", "1000"));
        let (length, rest) = request.split_first_chunk::<4>().unwrap();
        assert_eq!(
            usize::try_from(u32::from_be_bytes(*length)).unwrap(),
            rest.len()
        );
    }

    #[test]
    fn truncated_response_is_rejected() {
        let mut response = Vec::new();
        response.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 17, 0, 3]);
        response.extend(b"bad");
        assert_eq!(
            parse_create_response(&response),
            Some((17, "bad".to_owned()))
        );
        for length in 0..response.len() {
            assert_eq!(
                parse_create_response(&response[..length]),
                None,
                "cut at {length}"
            );
        }
    }
}
