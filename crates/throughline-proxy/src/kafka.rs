//! Kafka connections: the driver of a session, the brokers and their ports, shared cluster state.

pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod driver;
pub(crate) mod port;
