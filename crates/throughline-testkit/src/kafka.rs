//! Kafka brokers: the embedded one for speed, a real Apache Kafka for proof, or one that runs already.

mod apache;
mod embedded;
mod jars;
mod security;
mod topic;

pub use self::apache::{ApacheBroker, ApacheBuilder};
pub(crate) use self::apache::{free_ports, java};
pub use self::embedded::EmbeddedBroker;
pub use self::jars::{VERSION, fetch as fetch_apache};
pub use self::security::{CertificateFiles, MECHANISMS, PASSWORD, SecurityProtocol, USER};
pub use self::topic::{TopicSpec, create_topic, delete_topic};

use crate::process::ChildProcess;

/// A broker that runs.
#[derive(Debug)]
pub enum KafkaBroker {
    /// librdkafka's mock cluster.
    Embedded(EmbeddedBroker),
    /// A real one that we started.
    Apache(ApacheBroker),
    /// A real one that somebody else started.
    Remote(String),
}

// === impl KafkaBroker ===

impl KafkaBroker {
    /// The address for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        match self {
            Self::Embedded(broker) => broker.bootstrap(),
            Self::Apache(broker) => broker.bootstrap(),
            Self::Remote(bootstrap) => bootstrap,
        }
    }

    /// The process, when it is ours and was started.
    pub fn process(&self) -> Option<&ChildProcess> {
        match self {
            Self::Embedded(broker) => Some(broker.process()),
            Self::Apache(broker) => broker.process(),
            Self::Remote(_) => None,
        }
    }
}
