//! What a session needs of its driver: the process's common knowledge, and addresses.

use std::net::IpAddr;
use std::sync::Arc;

use super::Known;
use crate::correlate::{Correlator, TokenExtractor};

/// What the connections of a process have in common. The driver implements it once, around a lock.
pub trait Cluster {
    /// Runs `look` on the common knowledge, under the driver's lock. Sessions stay in it for moments and never nest.
    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T;

    /// Returns the token extractor of the correlator, or [`None`] if the clients are not all of one
    /// process and so have no correlator.
    fn token_extractor(&self) -> Option<&TokenExtractor> {
        None
    }

    /// Runs `look` on the correlator of the process, under its lock. Returns [`None`] if there is
    /// none: records without a context are roots then.
    fn correlate<T>(&self, look: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        drop(look);
        None
    }

    /// Whether clients are told addresses of the driver's own in place of the brokers'. What carries them is then held until it
    /// can be changed.
    fn is_addressed(&self) -> bool {
        false
    }

    /// Where a client of ours reaches this broker; [`None`] leaves the address as it is.
    fn local_address(&self, node_id: i32, host: &str, port: i32) -> Option<(Arc<str>, i32)> {
        let _ = (node_id, host, port);
        None
    }
}

/// Which client it is, as far as its connections show: a group's coordinator and the leaders of its partitions see it on
/// different ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ClientKey {
    pub address: Option<IpAddr>,
    pub client_id: Option<Arc<str>>,
}
