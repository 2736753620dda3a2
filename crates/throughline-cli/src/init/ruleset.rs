//! The rules, independent of how they reach the kernel: as netlink messages, or as text for `nft`.

use std::fmt;
use std::fmt::Write as _;

use super::config::{IpNetwork, RedirectConfig, RedirectPorts};

/// Name of the table, which holds all rules.
pub(super) const TABLE: &str = "throughline";

/// Removes the table. It cannot be deleted if it does not exist, so it is created first.
const REMOVE: &str = "add table inet throughline\ndelete table inet throughline\n";

/// A chain of NAT with its rules.
#[derive(Debug)]
pub(super) struct RedirectChain {
    pub(super) name: &'static str,
    pub(super) hook: NatHook,
    pub(super) rules: Vec<RedirectRule>,
}

/// Where a chain sees connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NatHook {
    /// Inbound ones.
    Prerouting,
    /// Those of local processes.
    Output,
}

/// A rule: the connections that it applies to, and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RedirectRule {
    /// Leaves the connections alone.
    Return(ConnectionMatch),
    /// Redirects every TCP connection to this port.
    RedirectTcp(u16),
}

/// Connections that a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ConnectionMatch {
    /// Those of sockets of this user.
    User(u32),
    /// Those of sockets of this group.
    Group(u32),
    /// Those from the loopback interface.
    FromLoopback,
    /// Those to a network.
    Network(IpNetwork),
    /// Those to a range of TCP ports.
    Ports(RedirectPorts),
}

/// Returns the chains of a configuration.
pub(super) fn chains(config: &RedirectConfig) -> Vec<RedirectChain> {
    let mut chains = vec![RedirectChain {
        name: "outbound",
        hook: NatHook::Output,
        rules: outbound_rules(config),
    }];
    // Without a chain, inbound connections reach the service directly.
    chains.extend(config.inbound_port.map(|port| RedirectChain {
        name: "inbound",
        hook: NatHook::Prerouting,
        rules: inbound_rules(config, port),
    }));
    chains
}

/// Returns the rules as text for `nft`, which replaces earlier ones.
pub(super) fn render(chains: &[RedirectChain]) -> String {
    if chains.is_empty() {
        return REMOVE.to_owned();
    }
    let mut text = format!("{REMOVE}table inet {TABLE} {{\n");
    for chain in chains {
        // Priority -100 is that of destination NAT. Writing to a string cannot fail.
        writeln!(
            text,
            "  chain {} {{\n    type nat hook {} priority -100; policy accept;",
            chain.name, chain.hook
        )
        .unwrap_or_default();
        for rule in &chain.rules {
            writeln!(text, "    {rule}").unwrap_or_default();
        }
        text.push_str("  }\n");
    }
    text + "}\n"
}

fn outbound_rules(config: &RedirectConfig) -> Vec<RedirectRule> {
    // The sidecar's own connections come first: redirected, they would loop.
    let mut matches = vec![
        ConnectionMatch::User(config.uid),
        ConnectionMatch::Group(config.gid),
        ConnectionMatch::Network(IpNetwork::LOOPBACK_V4),
        ConnectionMatch::Network(IpNetwork::LOOPBACK_V6),
    ];
    let networks = config.exclude_networks.iter().copied();
    matches.extend(networks.map(ConnectionMatch::Network));
    let ports = config.exclude_outbound.iter().copied();
    matches.extend(ports.map(ConnectionMatch::Ports));
    rules(matches, config.outbound_port)
}

fn inbound_rules(config: &RedirectConfig, port: u16) -> Vec<RedirectRule> {
    // The pod's connections to its own address have been redirected on their way out.
    let mut matches = vec![ConnectionMatch::FromLoopback];
    let ports = config.all_excluded_inbound().into_iter();
    matches.extend(ports.map(ConnectionMatch::Ports));
    rules(matches, port)
}

fn rules(matches: Vec<ConnectionMatch>, port: u16) -> Vec<RedirectRule> {
    let returns = matches.into_iter().map(RedirectRule::Return);
    // Both families in one rule, which needs the inet family of nat (Linux 5.2).
    returns.chain([RedirectRule::RedirectTcp(port)]).collect()
}

// === impl NatHook ===

impl fmt::Display for NatHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prerouting => "prerouting",
            Self::Output => "output",
        })
    }
}

impl fmt::Display for RedirectRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return(matched) => write!(f, "{matched} return"),
            Self::RedirectTcp(port) => write!(f, "meta l4proto tcp redirect to :{port}"),
        }
    }
}

impl fmt::Display for ConnectionMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "meta skuid {uid}"),
            Self::Group(gid) => write!(f, "meta skgid {gid}"),
            Self::FromLoopback => f.write_str("iifname \"lo\""),
            Self::Network(network) if network.address.is_ipv4() => write!(f, "ip daddr {network}"),
            Self::Network(network) => write!(f, "ip6 daddr {network}"),
            Self::Ports(ports) => write!(f, "tcp dport {ports}"),
        }
    }
}
