//! A correlator shared by the connections of a test, as a driver shares it behind a lock.

use std::cell::RefCell;

use throughline_intercept::Timestamp;
use throughline_intercept::correlate::{Correlator, CorrelatorAccess, Settings, TokenExtractor};

#[derive(Debug)]
pub(crate) struct SharedCorrelator {
    extractor: TokenExtractor,
    /// A nested borrow panics where the lock of a driver would deadlock.
    correlator: RefCell<Correlator>,
}

// === impl SharedCorrelator ===

impl SharedCorrelator {
    pub(crate) fn new(settings: Settings, now: Timestamp) -> Self {
        let correlator = Correlator::new(settings, now);
        Self {
            extractor: correlator.token_extractor().clone(),
            correlator: RefCell::new(correlator),
        }
    }
}

impl CorrelatorAccess for SharedCorrelator {
    fn token_extractor(&self) -> &TokenExtractor {
        &self.extractor
    }

    fn with_correlator<T>(&self, action: impl FnOnce(&mut Correlator) -> T) -> T {
        action(&mut self.correlator.borrow_mut())
    }
}
