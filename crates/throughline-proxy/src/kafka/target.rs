//! The broker behind a local port, which may change while connections are open.

use std::sync::{Mutex, PoisonError};

use crate::address::HostPort;
use crate::transport::dial::BrokerCandidates;
use crate::transport::drain::Drain;

/// The broker behind a local port. A broker may move; its port stays.
#[derive(Debug)]
pub(crate) struct BrokerTarget(Mutex<BrokerAssignment>);

/// The current broker behind a port.
#[derive(Debug, Clone)]
pub(crate) struct BrokerAssignment {
    pub(crate) candidates: BrokerCandidates,
    /// Ends the connections of this assignment. While the broker of a port is unknown, any broker
    /// serves its connections, as on a bootstrap port; they drain once the broker is known.
    pub(crate) drain: Drain,
}

// === impl BrokerTarget ===

impl BrokerTarget {
    pub(crate) fn new(brokers: impl IntoIterator<Item = HostPort>, drain: Drain) -> Self {
        Self(Mutex::new(BrokerAssignment {
            candidates: BrokerCandidates::new(brokers),
            drain,
        }))
    }

    pub(crate) fn current(&self) -> BrokerAssignment {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Changes the address of the broker. Open connections to the old address end by themselves.
    pub(crate) fn move_to(&self, broker: HostPort) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .candidates = BrokerCandidates::new([broker]);
    }

    /// Assigns a broker to the port. Connections to other brokers drain.
    pub(crate) fn assign(&self, broker: HostPort, drain: Drain) {
        let assignment = BrokerAssignment {
            candidates: BrokerCandidates::new([broker]),
            drain,
        };
        let previous = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            assignment,
        );
        // The new broker is visible by now, so clients that reconnect find it.
        previous.drain.start();
    }
}
