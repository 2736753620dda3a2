//! Endpoints of a connection.

use std::net::IpAddr;
use std::sync::Arc;

/// Addresses of the two ends of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionEndpoints {
    /// Address that the client connects from (`client.address`).
    pub client: Option<IpAddr>,
    /// Host and port of the broker (`server.address`, `server.port`).
    pub broker: Option<(Arc<str>, u16)>,
}
