//! Limits of the size of a request, learned from connections that brokers close.
//!
//! A broker reads the length of a request first, and closes the connection without a response when
//! it is above `socket.request.max.bytes`.

use crate::Timestamp;

/// Knowledge about the sizes of requests that the brokers of a cluster read.
#[derive(Debug, Default)]
pub(super) struct RequestLimits {
    /// Largest request that was answered, of those that were enlarged.
    accepted_bytes: usize,
    /// Size from which on requests are not enlarged.
    refused: Option<(usize, Timestamp)>,
}

/// Size below which a request is not the cause for which a connection is closed: no broker could
/// be used with such a limit.
pub(in crate::kafka) const MIN_REFUSED_REQUEST: usize = 64 * 1024;

/// Nanoseconds after which a refused size is tried again: it was refused by guess, for a connection
/// that was closed.
const REFUSAL_TIMEOUT: u64 = 600_000_000_000;

// === impl RequestLimits ===

impl RequestLimits {
    /// Returns the size from which on a request is not enlarged.
    pub(super) fn refused_bytes(&self, now: Timestamp) -> Option<usize> {
        let (bytes, refused_at) = self.refused?;
        (now.saturating_sub(refused_at) <= REFUSAL_TIMEOUT).then_some(bytes)
    }

    /// Records that a request of this size was answered, whatever the result.
    pub(super) fn accept(&mut self, bytes: usize) {
        self.accepted_bytes = self.accepted_bytes.max(bytes);
        self.refused = self.refused.filter(|(refused, _)| *refused > bytes);
    }

    /// Records that a broker closed the connection at a request that was enlarged to `bytes`.
    /// Returns whether that limits what follows.
    pub(super) fn refuse(&mut self, original_bytes: usize, bytes: usize, now: Timestamp) -> bool {
        if bytes < MIN_REFUSED_REQUEST {
            return false;
        }
        if bytes <= self.accepted_bytes {
            // Connections end for other reasons as well. If it happens again, the limit is lower
            // than it was.
            self.accepted_bytes = 0;
            return false;
        }
        // The limit is anywhere above the size that the client chose: sizes in between would cost
        // a connection each.
        let bytes = original_bytes.max(self.accepted_bytes).saturating_add(1);
        let smallest = self
            .refused
            .map_or(bytes, |(refused, _)| refused.min(bytes));
        self.refused = Some((smallest, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_refused_size_are_not_enlarged_for_ten_minutes() {
        let mut limits = RequestLimits::default();
        assert!(limits.refuse(1_000_000, 1_030_000, 1));
        assert!(limits.refuse(900_000, 930_000, 2));
        assert_eq!(limits.refused_bytes(2), Some(900_001));
        assert_eq!(limits.refused_bytes(3 + REFUSAL_TIMEOUT), None);
        limits.accept(900_000);
        assert_eq!(limits.refused_bytes(2), Some(900_001));
        limits.accept(910_000);
        assert_eq!(limits.refused_bytes(2), None);
        assert!(limits.refuse(900_000, 930_000, 3));
        assert_eq!(limits.refused_bytes(3), Some(910_001));
    }

    #[test]
    fn connection_that_ends_at_a_size_that_was_accepted_limits_nothing_at_first() {
        let mut limits = RequestLimits::default();
        limits.accept(1_000_000);
        assert!(!limits.refuse(970_000, 1_000_000, 1));
        assert_eq!(limits.refused_bytes(1), None);
        assert!(limits.refuse(970_000, 1_000_000, 2));
        assert_eq!(limits.refused_bytes(2), Some(970_001));
        assert!(!limits.refuse(1, MIN_REFUSED_REQUEST - 1, 2));
    }
}
