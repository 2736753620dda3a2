//! Creating and deleting a topic on a real broker: one request each, written by hand.
//!
//! The client library would bring a C build into every crate that uses the testkit, and Kafka's own tool is a JVM start away;
//! a request is forty bytes. CreateTopics 4 and DeleteTopics 3: the last without tagged fields (KIP-482).

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
    /// How many partitions it gets.
    pub partitions: u16,
    /// Its own settings, such as `max.message.bytes`.
    pub config: Vec<(String, String)>,
}

// === impl Topic ===

impl TopicSpec {
    /// A topic with `partitions` partitions and the broker's settings.
    pub fn new(name: impl Into<String>, partitions: u16) -> Self {
        Self {
            name: name.into(),
            partitions,
            config: Vec::new(),
        }
    }

    /// Sets one setting of the topic.
    #[must_use]
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }
}

/// `name:partitions`, as `embedded-kafka --topic` takes it.
impl fmt::Display for TopicSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.partitions)
    }
}

/// Reads `name` (one partition) or `name:partitions`.
impl FromStr for TopicSpec {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, partitions) = text.split_once(':').unwrap_or((text, "1"));
        Ok(Self::new(
            name,
            partitions
                .parse()
                .with_context(|| format!("the partitions of topic {text:?}"))?,
        ))
    }
}

/// Creates `topic` on the cluster behind `bootstrap` (`host:port`); one that exists already is left as it is.
///
/// # Errors
/// When the broker cannot be reached or refuses, with its words.
pub fn create_topic(bootstrap: &str, topic: &TopicSpec) -> Result<()> {
    let answer = exchange(bootstrap, &creation(topic)).with_context(|| {
        format!(
            "creating topic {} on {bootstrap} (a broker without TLS and login is needed)",
            topic.name
        )
    })?;
    match parse_creation(&answer)
        .ok_or_else(|| anyhow!("{bootstrap} gave an answer that is not one of CreateTopics"))?
    {
        (0 | TOPIC_ALREADY_EXISTS, _) => Ok(()),
        (code, words) => bail!(
            "{bootstrap} refused to create topic {}: error {code}, {words}",
            topic.name
        ),
    }
}

/// Deletes the topic `name` on the cluster behind `bootstrap` (`host:port`). One of the same name that is created later has another id.
///
/// # Errors
/// When the broker cannot be reached or refuses.
pub fn delete_topic(bootstrap: &str, name: &str) -> Result<()> {
    let answer = exchange(bootstrap, &deletion(name)).with_context(|| {
        format!("deleting topic {name} on {bootstrap} (a broker without TLS and login is needed)")
    })?;
    match parse_error(&answer)
        .ok_or_else(|| anyhow!("{bootstrap} gave an answer that is not one of DeleteTopics"))?
    {
        (0, _) => Ok(()),
        (code, _) => bail!("{bootstrap} refused to delete topic {name}: error {code}"),
    }
}

const CREATE_TOPICS: [i16; 2] = [19, 4];
const DELETE_TOPICS: [i16; 2] = [20, 3];
const CORRELATION: i32 = 7;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const LIMIT: Duration = Duration::from_secs(30);

fn creation(topic: &TopicSpec) -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_string(&mut body, &topic.name);
    body.extend(i32::from(topic.partitions).to_be_bytes());
    body.extend((-1_i16).to_be_bytes()); // the broker's default replication
    put_count(&mut body, 0); // no manual assignment
    put_count(&mut body, topic.config.len());
    for (name, value) in &topic.config {
        put_string(&mut body, name);
        put_string(&mut body, value);
    }
    body.extend(20_000_i32.to_be_bytes()); // milliseconds the broker may take
    body.push(0); // really create, do not only validate
    request(CREATE_TOPICS, &body)
}

fn deletion(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    put_count(&mut body, 1);
    put_string(&mut body, name);
    body.extend(20_000_i32.to_be_bytes()); // milliseconds the broker may take
    request(DELETE_TOPICS, &body)
}

/// The request with its length in front (Kafka protocol: request header version 1).
fn request([key, version]: [i16; 2], body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    message.extend(CORRELATION.to_be_bytes());
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

/// Asks the first of the brokers; each passes on what only the controller can do.
fn exchange(bootstrap: &str, request: &[u8]) -> Result<Vec<u8>> {
    let address = bootstrap.split(',').next().unwrap_or_default();
    let address = address
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| anyhow!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    ensure!(
        length <= 64 * 1024,
        "an answer of {length} bytes is not one about topics"
    );
    let mut answer = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The error code and message of the one topic.
fn parse_creation(answer: &[u8]) -> Option<(i16, String)> {
    let (code, rest) = parse_error(answer)?;
    let (words_length, rest) = rest.split_first_chunk::<2>()?;
    let words = match i16::from_be_bytes(*words_length) {
        length @ 0.. => rest.get(..usize::try_from(length).ok()?)?,
        _ => b"and no words",
    };
    Some((code, String::from_utf8_lossy(words).into_owned()))
}

/// The error code of the one topic, and what follows it: correlation id, throttle time, count, name, code.
fn parse_error(answer: &[u8]) -> Option<(i16, &[u8])> {
    let (correlation, rest) = answer.split_first_chunk::<4>()?;
    let (_throttle, rest) = rest.split_first_chunk::<4>()?;
    let (_count, rest) = rest.split_first_chunk::<4>()?;
    let (name_length, rest) = rest.split_first_chunk::<2>()?;
    let rest = rest.get(usize::from(u16::from_be_bytes(*name_length))..)?;
    let (code, rest) = rest.split_first_chunk::<2>()?;
    let ours = i32::from_be_bytes(*correlation) == CORRELATION;
    ours.then(|| (i16::from_be_bytes(*code), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_written_and_read_with_its_partitions() {
        assert_eq!(TopicSpec::new("t", 3).to_string(), "t:3");
        assert_eq!("t:3".parse::<TopicSpec>().unwrap(), TopicSpec::new("t", 3));
        assert_eq!("t".parse::<TopicSpec>().unwrap(), TopicSpec::new("t", 1));
        assert!("t:many".parse::<TopicSpec>().is_err());
    }

    #[test]
    fn the_length_in_front_of_a_request_is_that_of_the_rest() {
        let request = creation(&TopicSpec::new("t", 1).config("max.message.bytes", "1000"));
        let (length, rest) = request.split_first_chunk::<4>().unwrap();
        assert_eq!(
            usize::try_from(u32::from_be_bytes(*length)).unwrap(),
            rest.len()
        );
    }

    #[test]
    fn an_answer_cut_anywhere_is_no_answer() {
        let mut answer = Vec::new();
        answer.extend([0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 17, 0, 3]);
        answer.extend(b"bad");
        assert_eq!(parse_creation(&answer), Some((17, "bad".to_owned())));
        for length in 0..answer.len() {
            assert_eq!(parse_creation(&answer[..length]), None, "cut at {length}");
        }
    }
}
