//! The latest requests that were stored without being decoded.

use std::collections::VecDeque;

/// Bytes that are kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Age up to which requests matter, in nanoseconds.
const MAX_AGE: u64 = 60_000_000_000;

/// Requests in OTLP that no proxy has been seen beside. When one is, its calls may belong to spans
/// that came a little before.
#[derive(Debug, Default)]
pub(super) struct RecentRequests {
    requests: VecDeque<RecentRequest>,
    bytes: usize,
}

#[derive(Debug)]
struct RecentRequest {
    otlp: Box<[u8]>,
    arrival: u64,
}

// === impl RecentRequests ===

impl RecentRequests {
    /// Keeps a request that arrives now, and forgets the oldest.
    pub(super) fn push(&mut self, otlp: &[u8], now: u64) {
        if otlp.len() > MAX_BYTES {
            return;
        }
        self.bytes += otlp.len();
        self.requests.push_back(RecentRequest {
            otlp: otlp.into(),
            arrival: now,
        });
        while self.bytes > MAX_BYTES {
            let oldest = self.requests.pop_front();
            self.bytes -= oldest.map_or(0, |it| it.otlp.len());
        }
    }

    /// Returns the requests of the last minute, and forgets all.
    pub(super) fn take(&mut self, now: u64) -> Vec<Box<[u8]>> {
        self.bytes = 0;
        let requests = std::mem::take(&mut self.requests).into_iter();
        let recent = requests.filter(|it| now.saturating_sub(it.arrival) <= MAX_AGE);
        recent.map(|it| it.otlp).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_requests_are_kept_up_to_a_number_of_bytes() {
        let mut recent = RecentRequests::default();
        for number in 0..9 {
            recent.push(&vec![number; MAX_BYTES / 4], 0);
        }
        recent.push(&vec![9; MAX_BYTES + 1], 0);
        let kept: Vec<u8> = recent.take(0).iter().map(|request| request[0]).collect();
        assert_eq!(kept, [5, 6, 7, 8]);
        assert!(recent.take(0).is_empty());
    }

    #[test]
    fn requests_of_long_ago_are_not_returned() {
        let mut recent = RecentRequests::default();
        recent.push(&[1], 0);
        recent.push(&[2], MAX_AGE);
        assert_eq!(recent.take(MAX_AGE + 1), [Box::from([2])]);
    }
}
