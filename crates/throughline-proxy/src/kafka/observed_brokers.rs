//! Addresses of brokers whose clients connect to them without local ports, for the log: a broker
//! that moves, or has another listener, is logged once for each address.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use throughline_intercept::kafka::NodeId;

use crate::address::HostPort;

/// The most brokers whose addresses are remembered. Ids come off the wire.
const MAX_OBSERVED: usize = 1024;

/// The most addresses of one broker: one for each of its listeners, and some earlier ones.
const MAX_ADDRESSES: usize = 8;

/// The addresses of brokers in Metadata and DescribeCluster responses.
#[derive(Debug, Default)]
pub(crate) struct ObservedBrokers(Mutex<HashMap<(Arc<str>, NodeId), VecDeque<HostPort>>>);

// === impl ObservedBrokers ===

impl ObservedBrokers {
    /// Remembers an address, and logs one that a known broker did not have before.
    pub(crate) fn observe(&self, cluster_id: &str, node_id: NodeId, broker: &HostPort) {
        if let Some(previous) = self.replace(cluster_id, node_id, broker) {
            tracing::info!(
                node_id = node_id.0, %previous, %broker,
                "broker address changed: it moved, or clients use another of its listeners"
            );
        }
    }

    /// Returns the address that the broker had before, if this one is new.
    fn replace(&self, cluster_id: &str, node_id: NodeId, broker: &HostPort) -> Option<HostPort> {
        let mut brokers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cluster_id.into(), node_id);
        let is_full = brokers.len() >= MAX_OBSERVED;
        let Some(addresses) = brokers.get_mut(&key) else {
            if !is_full {
                brokers.insert(key, VecDeque::from([broker.clone()]));
            }
            return None;
        };
        if addresses.contains(broker) {
            return None;
        }
        let previous = addresses.back().cloned();
        if addresses.len() >= MAX_ADDRESSES {
            addresses.pop_front();
        }
        addresses.push_back(broker.clone());
        previous
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_new_once_for_each_broker_of_a_cluster() {
        let brokers = ObservedBrokers::default();
        let observe = |cluster, node, address: &str| {
            let address = address.parse().unwrap();
            let previous = brokers.replace(cluster, NodeId(node), &address);
            previous.map(|previous| previous.to_string())
        };
        assert_eq!(observe("one", 1, "a:9092"), None);
        assert_eq!(observe("one", 1, "a:9092"), None);
        assert_eq!(observe("two", 1, "c:9092"), None, "another cluster");
        assert_eq!(observe("one", 1, "b:9092"), Some("a:9092".to_owned()));
        assert_eq!(observe("one", 1, "a:9092"), None, "a second listener");
        assert_eq!(observe("one", 2, "b:9092"), None);
    }
}
