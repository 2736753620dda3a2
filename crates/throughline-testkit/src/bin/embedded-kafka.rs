//! A Kafka broker without Java: librdkafka's mock cluster in a separate process.
//!
//! It speaks the Kafka protocol on a real socket and supports groups, also those of KIP-848. It
//! keeps nothing on disk and at most 5 MiB per partition (older batches are dropped silently), does
//! not isolate transactions, and has no admin requests; clients other than librdkafka may fail. Use
//! it for demos, never as proof of a claim.
//!
//! It delays an empty fetch for the whole `fetch.wait.max.ms`, so consumers should set that to 5-20
//! ms.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use rdkafka::mocking::MockCluster;

/// In-memory Kafka broker for demos; prints `bootstrap 127.0.0.1:PORT` and runs until SIGTERM
#[derive(Debug, Parser)]
struct Options {
    /// Topic to create, 1 partition by default; may be repeated
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS]")]
    topics: Vec<TopicArgument>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct TopicArgument {
    name: String,
    partitions: i32,
}

/// sysexits.h: the command was used incorrectly.
const EX_USAGE: u8 = 64;

#[expect(
    clippy::print_stdout,
    reason = "the address on stdout is the interface to the caller"
)]
fn main() -> anyhow::Result<ExitCode> {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) => {
            error.print()?;
            return Ok(if error.use_stderr() {
                ExitCode::from(EX_USAGE)
            } else {
                ExitCode::SUCCESS
            });
        }
    };
    let cluster = MockCluster::new(1)?;
    for topic in &options.topics {
        cluster.create_topic(&topic.name, topic.partitions, 1)?;
    }
    println!("bootstrap {}", cluster.bootstrap_servers());
    loop {
        // The cluster runs in threads of librdkafka. SIGTERM and SIGINT end the process; there is
        // no state to save.
        std::thread::park();
    }
}

// === impl TopicArgument ===

impl FromStr for TopicArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, partitions) = text.split_once(':').unwrap_or((text, "1"));
        // Kafka's rule for names (org.apache.kafka.common.internals.Topic).
        let is_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 249 || !name.chars().all(is_legal) {
            return Err(
                "invalid topic name: use 1 to 249 letters, digits, dots, underscores or dashes"
                    .to_owned(),
            );
        }
        match partitions.parse() {
            Ok(partitions @ 1..=1000) => Ok(Self {
                name: name.to_owned(),
                partitions,
            }),
            _ => Err("invalid partition count: use a number from 1 to 1000".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_has_one_partition_by_default() {
        assert_eq!(
            "eshop-topic".parse(),
            Ok(TopicArgument {
                name: "eshop-topic".to_owned(),
                partitions: 1
            })
        );
        assert_eq!(
            "t:8".parse(),
            Ok(TopicArgument {
                name: "t".to_owned(),
                partitions: 8
            })
        );
    }

    #[test]
    fn invalid_topic_is_rejected() {
        for text in ["", "a b", "t:0", "t:x", "t:1001", "t:-1", ":3"] {
            assert!(text.parse::<TopicArgument>().is_err(), "{text:?}");
        }
    }
}
