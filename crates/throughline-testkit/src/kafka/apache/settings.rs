//! Settings that all nodes of a cluster share.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::kafka::jars::VERSION;
use crate::kafka::security::SecurityProtocol;

/// The settings of an Apache Kafka cluster.
#[derive(Debug, Clone)]
pub(super) struct ClusterSettings {
    /// Version of Apache Kafka.
    pub(super) version: &'static str,
    /// Broker properties of the test, which replace our defaults.
    pub(super) properties: BTreeMap<String, String>,
    /// Number of nodes.
    pub(super) nodes: u16,
    /// Protocols of the listeners, one listener each.
    pub(super) listeners: Vec<SecurityProtocol>,
    /// Address of all listeners.
    pub(super) host: Ipv4Addr,
    /// Ports of listeners; free ones by default.
    pub(super) ports: BTreeMap<SecurityProtocol, u16>,
    /// Advertised addresses of listeners; their own by default.
    pub(super) advertised: BTreeMap<SecurityProtocol, String>,
    /// Further JVM options.
    pub(super) jvm: Vec<String>,
}

// === impl ClusterSettings ===

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            version: VERSION,
            properties: BTreeMap::new(),
            nodes: 1,
            listeners: vec![SecurityProtocol::Plaintext],
            host: Ipv4Addr::LOCALHOST,
            ports: BTreeMap::new(),
            advertised: BTreeMap::new(),
            jvm: Vec::new(),
        }
    }
}
