//! Work that takes time, without doing anything.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::options::Settings;

/// Random delays, the same ones in each run when a seed is given.
#[derive(Debug)]
pub(crate) struct Delays {
    random: Mutex<fastrand::Rng>,
    longest: Duration,
}

// === impl Delays ===

impl Delays {
    pub(crate) fn new(settings: &Settings) -> Self {
        let random = settings.seed.map_or_else(fastrand::Rng::new, |seed| {
            // Services that share a seed must not take the same steps.
            fastrand::Rng::with_seed(seed.wrapping_add(settings.service as u64))
        });
        Self {
            random: Mutex::new(random),
            longest: settings.max_delay,
        }
    }

    /// Waits, from nothing up to the longest delay.
    pub(crate) async fn work(&self) {
        let share = self
            .random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64();
        tokio::time::sleep(self.longest.mul_f64(share)).await;
    }
}
