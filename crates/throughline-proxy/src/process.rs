//! The process that we stand beside: what it was asked and given, over HTTP and Kafka, and so what it does on whose behalf.

use std::sync::{Arc, Mutex, PoisonError};

use throughline_intercept::Timestamp;
use throughline_intercept::correlate::{Correlator, Settings};

use crate::clock::Clock;

/// The one correlator of the process, shared by all its connections.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    correlator: Arc<Mutex<Correlator>>,
    clock: Clock,
}

// === impl Process ===

impl Process {
    /// One that has nothing to do yet.
    pub(crate) fn new(settings: Settings, clock: Clock) -> Self {
        Self { correlator: Arc::new(Mutex::new(Correlator::new(settings, clock.now()))), clock }
    }

    /// Tells or asks the correlator something, at a time that no other has been told to be later.
    pub(crate) fn now<T>(&self, act: impl FnOnce(Timestamp, &mut Correlator) -> T) -> T {
        let mut correlator = self.correlator.lock().unwrap_or_else(PoisonError::into_inner);
        act(self.clock.now(), &mut correlator)
    }
}
