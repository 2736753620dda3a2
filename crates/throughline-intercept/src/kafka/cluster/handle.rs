//! Interface between a session and its driver.

use std::sync::Arc;

use throughline_kafka::types::NodeId;

use super::state::ClusterState;
use crate::correlate::{Correlator, TokenExtractor};

/// Access of one connection to the state of its cluster and process. The driver implements it once,
/// around its locks.
pub trait ClusterHandle {
    /// Runs `operation` on the shared state, under the driver's lock. Sessions keep the lock for
    /// moments and never nest calls.
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T;

    /// Runs work that takes long, such as decompressing megabytes, where it delays no other
    /// connection. The order within the connection is kept: the call returns when it is done.
    fn run_long<T>(work: impl FnOnce() -> T) -> T {
        work()
    }

    /// Returns the extractor of correlation tokens, if there is a correlator: all clients belong to
    /// one process. Tokens are extracted without the lock of the correlator.
    fn token_extractor(&self) -> Option<&TokenExtractor> {
        None
    }

    /// Runs `operation` on the correlator of the process, under its lock. Returns [`None`] when
    /// there is no correlator; records without a context then begin traces of their own.
    fn correlate<T>(&self, operation: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        drop(operation);
        None
    }

    /// Returns whether clients receive addresses of the driver in place of the brokers'. Responses
    /// that carry addresses are then buffered until they can be changed.
    fn is_addressed(&self) -> bool {
        false
    }

    /// Returns the address by which a client reaches this broker through the driver; [`None`]
    /// leaves the broker's own.
    fn local_address(&self, node_id: NodeId, host: &str, port: i32) -> Option<(Arc<str>, i32)> {
        let _ = (node_id, host, port);
        None
    }

    /// Takes the address of a broker in a response that clients get unmodified. The cluster id is
    /// that of the response, if it has one.
    fn observe_address(&self, cluster_id: Option<&str>, node_id: NodeId, host: &str, port: i32) {
        let _ = (cluster_id, node_id, host, port);
    }
}
