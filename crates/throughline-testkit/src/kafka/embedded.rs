//! The `embedded-kafka` binary as a supervised process.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::TopicSpec;
use crate::process::{ChildProcess, ProcessSpec};

/// librdkafka's mock cluster in a separate process: ready in milliseconds, all data in memory.
#[derive(Debug)]
pub struct EmbeddedBroker {
    process: ChildProcess,
    bootstrap: String,
}

// === impl EmbeddedBroker ===

impl EmbeddedBroker {
    /// Starts the broker with these topics on a free port of the loopback.
    ///
    /// # Errors
    /// Fails if the broker does not become ready.
    pub fn start(binary: &Path, topics: &[TopicSpec]) -> Result<Self> {
        let topics = topics
            .iter()
            .flat_map(|topic| ["--topic".to_owned(), topic.to_string()]);
        let process = ProcessSpec::new("embedded-kafka", binary)
            .args(topics)
            .spawn()?;
        // The address line is also the readiness signal: the cluster listens by then.
        let address = |line: &str| line.strip_prefix("bootstrap ").map(str::to_owned);
        let bootstrap =
            process.wait_for_line("its bootstrap address", Duration::from_secs(20), address)?;
        Ok(Self { process, bootstrap })
    }

    /// Returns the address for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the supervised process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }
}
