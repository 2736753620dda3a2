//! Kafka connections: one driver for each, the brokers and their local ports, shared cluster state.

pub(crate) mod abandoned_spans;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod connection_end;
pub(crate) mod driver;
pub(crate) mod endpoint;
pub(crate) mod observed_brokers;
pub(crate) mod port;
pub(crate) mod server;
pub(crate) mod session_timer;
pub(crate) mod target;
