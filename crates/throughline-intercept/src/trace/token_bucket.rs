//! Rate limit for spans.

use crate::Timestamp;

/// Token bucket that holds one second's worth of permits at most. It is filled in nanoseconds.
#[derive(Debug)]
pub struct TokenBucket {
    /// Saved nanoseconds, at most a second.
    saved: u64,
    last: Timestamp,
}

const SECOND: u64 = 1_000_000_000;

// === impl TokenBucket ===

impl TokenBucket {
    /// Returns a full bucket.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            saved: SECOND,
            last: 0,
        }
    }

    /// Takes up to `wanted` permits at a rate of `per_second`. Returns the number taken.
    pub fn take(&mut self, now: Timestamp, per_second: u32, wanted: u32) -> u32 {
        let elapsed = now.saturating_sub(self.last);
        self.saved = self.saved.saturating_add(elapsed).min(SECOND);
        // Connections read the clock before they get the lock: time may seem to step back.
        self.last = self.last.max(now);
        // A rate of 0 has no price: nothing is ever admitted.
        let Some(price) = SECOND.checked_div(u64::from(per_second)) else {
            return 0;
        };
        let affordable = self.saved.checked_div(price).unwrap_or(u64::MAX);
        let taken = affordable.min(u64::from(wanted));
        self.saved = self.saved.saturating_sub(taken.saturating_mul(price));
        u32::try_from(taken).unwrap_or(wanted)
    }

    /// Gives back permits that were taken and not used.
    pub fn give_back(&mut self, per_second: u32, permits: u32) {
        if let Some(price) = SECOND.checked_div(u64::from(per_second)) {
            let returned = price.saturating_mul(u64::from(permits));
            self.saved = self.saved.saturating_add(returned).min(SECOND);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_accrue_at_the_rate_up_to_one_second() {
        let mut bucket = TokenBucket::full();
        let mut taken = |now| bucket.take(now, 4, 100);
        assert_eq!(
            [0, SECOND / 2, SECOND, 100 * SECOND].map(&mut taken),
            [4, 2, 2, 4]
        );
        assert_eq!(TokenBucket::full().take(SECOND, 0, 1), 0);
    }

    #[test]
    fn unused_permits_can_be_taken_again() {
        let mut bucket = TokenBucket::full();
        assert_eq!(bucket.take(0, 4, 3), 3);
        bucket.give_back(4, 2);
        assert_eq!(bucket.take(0, 4, 100), 3);
    }
}
