//! Kafka brokers: the mock cluster for speed, Apache Kafka for proof, or a running one.

mod apache;
mod embedded;
mod jars;
mod port;
mod security;
mod topic;

pub(crate) use self::apache::java;
pub use self::apache::{ApacheBroker, ApacheBuilder};
pub use self::embedded::EmbeddedBroker;
pub use self::jars::{EARLIER_VERSION, VERSION, fetch as fetch_apache};
pub(crate) use self::port::free_ports;
pub use self::security::{
    BROKER_NAME, CertificateFiles, MECHANISMS, PASSWORD, SecurityProtocol, USER,
};
pub use self::topic::{TopicSpec, create_topic, delete_topic};

use crate::process::ChildProcess;

/// A running broker.
#[derive(Debug)]
pub enum KafkaBroker {
    /// librdkafka's mock cluster.
    Embedded(EmbeddedBroker),
    /// Apache Kafka, started by this crate.
    Apache(ApacheBroker),
    /// A broker that runs already, as `host:port`.
    Remote(String),
}

// === impl KafkaBroker ===

impl KafkaBroker {
    /// Returns the address for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        match self {
            Self::Embedded(broker) => broker.bootstrap(),
            Self::Apache(broker) => broker.bootstrap(),
            Self::Remote(bootstrap) => bootstrap,
        }
    }

    /// Returns the broker's process if this crate started it.
    pub fn process(&self) -> Option<&ChildProcess> {
        match self {
            Self::Embedded(broker) => Some(broker.process()),
            Self::Apache(broker) => broker.process(),
            Self::Remote(_) => None,
        }
    }
}
