//! Values that servers and frameworks attach to requests and responses.

use std::net::SocketAddr;
use std::sync::Arc;

/// The matched route, of low cardinality, such as `/orders/{id}`. In the extensions of a *response*
/// it names the span, unless the framework provided a route before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedRoute(pub Arc<str>);

/// The address of the peer, for `client.address`. A server puts it into the extensions of a
/// *request*; axum's `ConnectInfo<SocketAddr>` serves as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub SocketAddr);
