//! Builds the `server.properties` of each node.

use std::collections::BTreeMap;

use anyhow::Result;

use super::node::NodeConfig;
use super::settings::ClusterSettings;
use crate::kafka::port::free_ports;
use crate::kafka::security::{self, CertificateFiles, SecurityProtocol};

/// Chooses the ports of all nodes and builds their configurations.
pub(super) fn configure_nodes(
    settings: &ClusterSettings,
    certificates: Option<&CertificateFiles>,
) -> Result<Vec<NodeConfig>> {
    let controllers = free_ports(settings.nodes.into())?;
    let ids = 1..=settings.nodes;
    let voters: Vec<String> = ids
        .clone()
        .zip(&controllers)
        .map(|(id, port)| format!("{id}@127.0.0.1:{port}"))
        .collect();
    ids.zip(&controllers)
        .map(|(id, port)| configure_node(settings, certificates, id, *port, &voters.join(",")))
        .collect()
}

fn configure_node(
    settings: &ClusterSettings,
    certificates: Option<&CertificateFiles>,
    id: u16,
    controller: u16,
    voters: &str,
) -> Result<NodeConfig> {
    let mut ports: BTreeMap<SecurityProtocol, u16> = settings
        .listeners
        .iter()
        .copied()
        .zip(free_ports(settings.listeners.len())?)
        .collect();
    ports.extend(settings.ports.clone());
    let mut addresses: BTreeMap<SecurityProtocol, String> = ports
        .iter()
        .map(|(listener, port)| (*listener, format!("{}:{port}", settings.host)))
        .collect();
    // The broker binds its own address, even if clients get another one.
    let listeners = urls(&addresses);
    addresses.extend(settings.advertised.clone());
    let mut properties = default_properties(settings.nodes);
    let mut set = |name: &str, value: String| properties.insert(name.to_owned(), value);
    set("node.id", id.to_string());
    set("controller.quorum.voters", voters.to_owned());
    set(
        "listeners",
        format!("{listeners},CONTROLLER://127.0.0.1:{controller}"),
    );
    set("advertised.listeners", urls(&addresses));
    let map: Vec<String> = addresses
        .keys()
        .map(|listener| format!("{listener}:{listener}"))
        .collect();
    set(
        "listener.security.protocol.map",
        format!("CONTROLLER:PLAINTEXT,{}", map.join(",")),
    );
    properties.extend(security::properties(
        addresses.keys().copied(),
        certificates,
    ));
    // Last, so that properties of the test win over all defaults.
    properties.extend(settings.properties.clone());
    Ok(NodeConfig {
        id,
        addresses,
        properties,
        jvm: settings.jvm.clone(),
    })
}

fn urls(addresses: &BTreeMap<SecurityProtocol, String>) -> String {
    addresses
        .iter()
        .map(|(listener, address)| format!("{listener}://{address}"))
        .collect::<Vec<_>>()
        .join(",")
}

/// Returns the defaults: all topics are replicated to every node, internal topics are small, and
/// groups rebalance without delay.
fn default_properties(nodes: u16) -> BTreeMap<String, String> {
    let (replicas, in_sync) = (nodes.to_string(), (nodes / 2 + 1).to_string());
    [
        ("process.roles", "broker,controller"),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("num.partitions", "1"),
        ("default.replication.factor", &replicas),
        ("min.insync.replicas", &in_sync),
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.consumer.min.heartbeat.interval.ms", "500"),
        ("group.consumer.heartbeat.interval.ms", "500"),
        ("group.streams.min.heartbeat.interval.ms", "500"),
        ("group.streams.heartbeat.interval.ms", "500"),
        ("group.streams.initial.rebalance.delay.ms", "0"),
        ("group.share.min.heartbeat.interval.ms", "500"),
        ("group.share.heartbeat.interval.ms", "500"),
        // Tests use old timestamps, which retention by time would delete.
        ("log.retention.ms", "-1"),
        // The controller fences a killed broker after three seconds.
        ("broker.heartbeat.interval.ms", "500"),
        ("broker.session.timeout.ms", "3000"),
        ("offsets.topic.num.partitions", "4"),
        ("offsets.topic.replication.factor", &replicas),
        ("transaction.state.log.num.partitions", "4"),
        ("transaction.state.log.replication.factor", &replicas),
        ("transaction.state.log.min.isr", &in_sync),
        ("share.coordinator.state.topic.num.partitions", "1"),
        (
            "share.coordinator.state.topic.replication.factor",
            &replicas,
        ),
        ("share.coordinator.state.topic.min.isr", &in_sync),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
