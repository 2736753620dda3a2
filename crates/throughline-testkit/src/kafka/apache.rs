//! Apache Kafka in KRaft mode: one or more nodes, each a JVM that is broker and controller.
//!
//! The data are in a temporary folder that is removed at the end. Ports are chosen once, so a node
//! that was stopped or killed restarts as the same node: same addresses, same records, same
//! committed offsets.

mod node;
mod properties;
mod settings;

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

pub(crate) use self::node::java;

use self::node::BrokerNode;
use self::settings::ClusterSettings;
use super::security::{CertificateFiles, SecurityProtocol};
use super::{TopicSpec, create_topic, jars};
use crate::process::ChildProcess;

/// An Apache Kafka cluster, running or stopped.
#[derive(Debug)]
pub struct ApacheBroker {
    nodes: Vec<BrokerNode>,
    bootstrap: String,
    certificates: Option<CertificateFiles>,
    // Dropped last: the processes must be gone before their folder is removed.
    _home: TempDir,
}

/// Builder of an [`ApacheBroker`]. A later property of the same name replaces an earlier one, our
/// defaults included.
#[derive(Debug, Clone, Default)]
pub struct ApacheBuilder {
    settings: ClusterSettings,
    topics: Vec<TopicSpec>,
}

// === impl ApacheBuilder ===

impl ApacheBuilder {
    /// Sets the version of Apache Kafka: [`super::VERSION`] or [`super::EARLIER_VERSION`].
    #[must_use]
    pub const fn version(mut self, version: &'static str) -> Self {
        self.settings.version = version;
        self
    }

    /// Sets a property of every broker, such as `message.max.bytes`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.properties.insert(name.into(), value.into());
        self
    }

    /// Creates a topic once the brokers run.
    #[must_use]
    pub fn topic(mut self, topic: TopicSpec) -> Self {
        self.topics.push(topic);
        self
    }

    /// Sets the number of brokers. Topics then have a replica on each broker and survive the loss
    /// of one.
    #[must_use]
    pub const fn nodes(mut self, nodes: u16) -> Self {
        self.settings.nodes = nodes;
        self
    }

    /// Adds a listener; the plaintext listener is always there.
    #[must_use]
    pub fn listener(mut self, listener: SecurityProtocol) -> Self {
        if !self.settings.listeners.contains(&listener) {
            self.settings.listeners.push(listener);
        }
        self
    }

    /// Sets the address of all listeners; 127.0.0.1 by default.
    #[must_use]
    pub const fn host(mut self, host: Ipv4Addr) -> Self {
        self.settings.host = host;
        self
    }

    /// Advertises `address` for the only broker, where a proxy forwards to `port`.
    #[must_use]
    pub fn behind(self, address: impl Into<String>, port: u16) -> Self {
        self.advertised(SecurityProtocol::Plaintext, address, port)
    }

    /// Adds a listener on `port` of the only broker, and advertises `address` for it.
    #[must_use]
    pub fn advertised(
        mut self,
        listener: SecurityProtocol,
        address: impl Into<String>,
        port: u16,
    ) -> Self {
        self.settings.ports.insert(listener, port);
        self.settings.advertised.insert(listener, address.into());
        self.listener(listener)
    }

    /// Adds a JVM option. A later option wins, also over our defaults, which suit a short life in
    /// little memory.
    #[must_use]
    pub fn jvm(mut self, option: impl Into<String>) -> Self {
        self.settings.jvm.push(option.into());
        self
    }

    /// Fetches the jars if needed, formats the storage, starts the brokers and waits until they are
    /// ready.
    ///
    /// # Errors
    /// Fails if Java or the jars are missing, or a broker does not become ready; shows its last
    /// output lines.
    pub fn start(self, progress: &mut dyn FnMut(&str)) -> Result<ApacheBroker> {
        ensure!(self.settings.nodes > 0, "a cluster needs at least one node");
        let jars = jars::fetch_version(self.settings.version, progress)?;
        progress(&format!("starting Apache Kafka {}", self.settings.version));
        let home = tempfile::Builder::new()
            .prefix("throughline-kafka-")
            .tempdir()?;
        let any_tls = self
            .settings
            .listeners
            .iter()
            .any(|listener| listener.uses_tls());
        let certificates = any_tls
            .then(|| CertificateFiles::create(home.path()))
            .transpose()?;
        let nodes = properties::configure_nodes(&self.settings, certificates.as_ref())?;
        let nodes = nodes.into_iter().map(|config| {
            let folder = home.path().join(format!("node-{}", config.id));
            fs::create_dir(&folder)?;
            BrokerNode::create(config, &jars, folder)
        });
        let nodes = nodes.collect::<Result<Vec<BrokerNode>>>()?;
        // All nodes are listed, so that clients start even if one node is down.
        let bootstrap = join(
            nodes
                .iter()
                .filter_map(|node| node.address(SecurityProtocol::Plaintext)),
        );
        let mut kafka = ApacheBroker {
            nodes,
            bootstrap,
            certificates,
            _home: home,
        };
        kafka.start_all()?;
        for topic in &self.topics {
            create_topic(&kafka.bootstrap, topic)?;
        }
        Ok(kafka)
    }
}

// === impl ApacheBroker ===

impl ApacheBroker {
    /// Returns a builder with one plaintext node.
    pub fn builder() -> ApacheBuilder {
        ApacheBuilder::default()
    }

    /// Returns the plaintext addresses for `bootstrap.servers`, which never change.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns the addresses of the listeners with this protocol.
    ///
    /// # Errors
    /// Fails without such a listener; [`ApacheBuilder::listener`] adds one.
    pub fn bootstrap_for(&self, listener: SecurityProtocol) -> Result<String> {
        let addresses = join(self.nodes.iter().filter_map(|node| node.address(listener)));
        ensure!(
            !addresses.is_empty(),
            "the cluster has no listener {listener}"
        );
        Ok(addresses)
    }

    /// Returns the certificates for clients of TLS listeners.
    ///
    /// # Errors
    /// Fails without a TLS listener.
    pub fn certificates(&self) -> Result<&CertificateFiles> {
        self.certificates
            .as_ref()
            .context("the cluster has no TLS listener")
    }

    /// Returns the JVM of the first broker, unless it was stopped.
    pub fn process(&self) -> Option<&ChildProcess> {
        self.nodes.first()?.process()
    }

    /// Returns the JVM of the broker with this `node.id` (from 1 on), unless it was stopped.
    pub fn process_of(&self, id: u16) -> Option<&ChildProcess> {
        self.nodes.iter().find(|node| node.id() == id)?.process()
    }

    /// Stops all brokers by SIGTERM; their data stay.
    ///
    /// # Errors
    /// Fails if a broker had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.nodes
            .iter()
            .filter_map(BrokerNode::process)
            .for_each(ChildProcess::terminate);
        self.nodes.iter_mut().try_for_each(BrokerNode::stop)
    }

    /// Restarts the stopped or killed brokers, with their data and on their ports.
    ///
    /// # Errors
    /// Fails if all run already, or one does not become ready; shows its last output lines.
    pub fn start(&mut self) -> Result<()> {
        ensure!(
            self.nodes.iter().any(|node| !node.is_running()),
            "the broker is running already"
        );
        self.start_all()
    }

    /// Restarts the broker with this `node.id`.
    ///
    /// # Errors
    /// Fails if there is no such broker, it runs already, or it does not become ready.
    pub fn start_node(&mut self, id: u16) -> Result<()> {
        let node = self
            .nodes
            .iter_mut()
            .find(|node| node.id() == id)
            .ok_or_else(|| anyhow!("no node {id} in the cluster"))?;
        ensure!(!node.is_running(), "node {id} is running already");
        node.spawn()?;
        node.wait_until_ready()
    }

    /// Starts all nodes before it waits for one: a controller is ready only when a majority runs.
    fn start_all(&mut self) -> Result<()> {
        let (mut idle, mut started): (Vec<&mut BrokerNode>, Vec<u16>) = (Vec::new(), Vec::new());
        idle.extend(self.nodes.iter_mut().filter(|node| !node.is_running()));
        for node in idle {
            node.spawn()?;
            started.push(node.id());
        }
        self.nodes
            .iter()
            .filter(|node| started.contains(&node.id()))
            .try_for_each(BrokerNode::wait_until_ready)
    }
}

fn join<'a>(addresses: impl Iterator<Item = &'a str>) -> String {
    addresses.collect::<Vec<_>>().join(",")
}
