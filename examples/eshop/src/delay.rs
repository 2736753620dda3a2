//! Simulated work: random delays.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::options::Settings;

/// Random delays, repeatable with a seed.
#[derive(Debug)]
pub(crate) struct RandomDelays {
    random: Mutex<fastrand::Rng>,
    max_delay: Duration,
}

// === impl RandomDelays ===

impl RandomDelays {
    pub(crate) fn new(settings: &Settings) -> Self {
        let random = settings.seed.map_or_else(fastrand::Rng::new, |seed| {
            // Services that share a seed must not draw the same delays.
            fastrand::Rng::with_seed(seed.wrapping_add(settings.service as u64))
        });
        Self {
            random: Mutex::new(random),
            max_delay: settings.max_delay,
        }
    }

    /// Waits between zero and the maximum delay.
    pub(crate) async fn work(&self) {
        let share = self
            .random
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .f64();
        tokio::time::sleep(self.max_delay.mul_f64(share)).await;
    }
}
