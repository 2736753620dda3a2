//! A real Apache Kafka: KRaft, one node or more, each a JVM that is broker and controller.
//!
//! Its data live in a temporary folder that goes with it. Its ports are chosen once, so a node can be stopped or killed and started
//! again as the same one: same addresses, same records, same committed offsets.

mod node;
mod properties;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

pub(crate) use self::node::java;

use self::node::BrokerNode;
use super::security::{CertificateFiles, SecurityProtocol};
use super::{TopicSpec, create_topic, jars};
use crate::process::ChildProcess;

/// A Kafka of our own, or the place where one ran and can run again.
#[derive(Debug)]
pub struct ApacheBroker {
    nodes: Vec<BrokerNode>,
    bootstrap: String,
    certificates: Option<CertificateFiles>,
    // Last, so that the processes are gone before their folder is removed.
    _home: TempDir,
}

/// What a Kafka is started with. Later settings of the same name win, also over ours.
#[derive(Debug, Clone)]
pub struct ApacheBuilder {
    properties: BTreeMap<String, String>,
    topics: Vec<TopicSpec>,
    nodes: u16,
    listeners: Vec<SecurityProtocol>,
    advertised: Option<String>,
    port: Option<u16>,
    jvm: Vec<String>,
}

// === impl ApacheBuilder ===

impl Default for ApacheBuilder {
    fn default() -> Self {
        Self {
            properties: BTreeMap::new(),
            topics: Vec::new(),
            nodes: 1,
            listeners: vec![SecurityProtocol::Plaintext],
            advertised: None,
            port: None,
            jvm: Vec::new(),
        }
    }
}

impl ApacheBuilder {
    /// Sets a property of every broker, such as `message.max.bytes`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Creates a topic once the brokers run.
    #[must_use]
    pub fn topic(mut self, topic: TopicSpec) -> Self {
        self.topics.push(topic);
        self
    }

    /// Starts so many brokers instead of one. Topics then have a replica on each, and live on when one is gone.
    #[must_use]
    pub const fn nodes(mut self, nodes: u16) -> Self {
        self.nodes = nodes;
        self
    }

    /// Also listens in this way; every broker always listens without TLS and login as well.
    #[must_use]
    pub fn listener(mut self, listener: SecurityProtocol) -> Self {
        if !self.listeners.contains(&listener) {
            self.listeners.push(listener);
        }
        self
    }

    /// Says to clients that the (one) broker is to be reached at `address`, where something forwards to `port`.
    #[must_use]
    pub fn behind(mut self, address: impl Into<String>, port: u16) -> Self {
        self.advertised = Some(address.into());
        self.port = Some(port);
        self
    }

    /// Gives the brokers' JVMs an option; a later one wins, also over ours, which are for a short life in little memory.
    #[must_use]
    pub fn jvm(mut self, option: impl Into<String>) -> Self {
        self.jvm.push(option.into());
        self
    }

    /// Fetches the jars if need be, formats the storage, starts the brokers and waits until they are ready.
    ///
    /// # Errors
    /// When Java or the jars are missing, or a broker does not come up; with its last lines.
    pub fn start(self, progress: &mut dyn FnMut(&str)) -> Result<ApacheBroker> {
        ensure!(self.nodes > 0, "a Kafka has one node or more");
        let jars = jars::fetch(progress)?;
        progress(&format!("starting Apache Kafka {}", super::VERSION));
        let home = tempfile::Builder::new()
            .prefix("throughline-kafka-")
            .tempdir()?;
        let secure = self
            .listeners
            .iter()
            .any(|listener| listener.is_encrypted());
        let certificates = secure
            .then(|| CertificateFiles::create(home.path()))
            .transpose()?;
        let nodes = properties::plan(&self, certificates.as_ref())?;
        let nodes = nodes.into_iter().map(|plan| {
            let folder = home.path().join(format!("node-{}", plan.id));
            fs::create_dir(&folder)?;
            BrokerNode::create(plan, &jars, folder)
        });
        let nodes = nodes.collect::<Result<Vec<BrokerNode>>>()?;
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
    /// A Kafka to be described further, then started.
    pub fn builder() -> ApacheBuilder {
        ApacheBuilder::default()
    }

    /// The addresses for `bootstrap.servers`, without TLS and login; the same for the Kafka's life.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The same for clients that come in this way.
    ///
    /// # Errors
    /// When it does not listen so; [`ApacheBuilder::listener`] makes it.
    pub fn bootstrap_for(&self, listener: SecurityProtocol) -> Result<String> {
        let addresses = join(self.nodes.iter().filter_map(|node| node.address(listener)));
        ensure!(
            !addresses.is_empty(),
            "this Kafka has no listener {listener}"
        );
        Ok(addresses)
    }

    /// What clients of an encrypted listener trust, and may show.
    ///
    /// # Errors
    /// When no listener is encrypted.
    pub fn certificates(&self) -> Result<&CertificateFiles> {
        self.certificates
            .as_ref()
            .context("this Kafka has no encrypted listener")
    }

    /// The JVM of the first broker, unless it was stopped.
    pub fn process(&self) -> Option<&ChildProcess> {
        self.nodes.first()?.process()
    }

    /// The JVM of the broker with this `node.id` (from 1 on), unless it was stopped.
    pub fn process_of(&self, id: u16) -> Option<&ChildProcess> {
        self.nodes.iter().find(|node| node.id() == id)?.process()
    }

    /// Stops all brokers in an orderly way; their data stay.
    ///
    /// # Errors
    /// When one had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.nodes
            .iter()
            .filter_map(BrokerNode::process)
            .for_each(ChildProcess::ask_to_stop);
        self.nodes.iter_mut().try_for_each(BrokerNode::stop)
    }

    /// Starts the brokers that were stopped or killed, with their data and on their ports.
    ///
    /// # Errors
    /// When all are running already, or one does not come up; with its last lines.
    pub fn start(&mut self) -> Result<()> {
        ensure!(
            self.nodes.iter().any(|node| !node.is_running()),
            "the broker is running already"
        );
        self.start_all()
    }

    /// Starts the one broker with this `node.id`, which was stopped or killed.
    ///
    /// # Errors
    /// When there is none, it is running already, or it does not come up.
    pub fn start_node(&mut self, id: u16) -> Result<()> {
        let node = self
            .nodes
            .iter_mut()
            .find(|node| node.id() == id)
            .ok_or_else(|| anyhow!("there is no node {id}"))?;
        ensure!(!node.is_running(), "node {id} is running already");
        node.spawn()?;
        node.wait_until_ready()
    }

    /// All at once: a controller waits for the majority of the others.
    fn start_all(&mut self) -> Result<()> {
        let (mut idle, mut begun): (Vec<&mut BrokerNode>, Vec<u16>) = (Vec::new(), Vec::new());
        idle.extend(self.nodes.iter_mut().filter(|node| !node.is_running()));
        for node in idle {
            node.spawn()?;
            begun.push(node.id());
        }
        self.nodes
            .iter()
            .filter(|node| begun.contains(&node.id()))
            .try_for_each(BrokerNode::wait_until_ready)
    }
}

fn join<'a>(addresses: impl Iterator<Item = &'a str>) -> String {
    addresses.collect::<Vec<_>>().join(",")
}

/// Ports that are free now, and stay so until whoever is told binds them, and while a broker is down: they are none of those that the system
/// gives to connections and to whoever asks for any port (`ip_local_port_range`), no two calls of this process get the same, and
/// processes begin at different ones.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let (first, last) = (20_000, 32_000);
    let (own, most) = (std::process::id().wrapping_mul(101), last - first);
    let mut ports = Vec::new();
    while ports.len() < count {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        ensure!(tried < most, "no port from {first} to {last} is free");
        let port = u16::try_from(first + own.wrapping_add(tried) % most)?;
        ports.extend(
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .is_ok()
                .then_some(port),
        );
    }
    Ok(ports)
}
