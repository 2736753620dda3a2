//! Identity of a client across its connections.

use std::net::IpAddr;
use std::sync::Arc;

/// Client as its connections show it. The coordinator of its group and the leaders of its
/// partitions see the same client on different connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClientKey {
    pub address: Option<IpAddr>,
    pub client_id: Option<Arc<str>>,
}
