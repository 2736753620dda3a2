//! The latest requests that were stored without being decoded.

use std::collections::VecDeque;

/// Bytes that are kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Requests in OTLP that no proxy has been seen beside. When one is, its calls may belong to spans
/// that came a little before.
#[derive(Debug, Default)]
pub(super) struct RecentRequests {
    requests: VecDeque<Box<[u8]>>,
    bytes: usize,
}

// === impl RecentRequests ===

impl RecentRequests {
    /// Keeps a request, and forgets the oldest.
    pub(super) fn push(&mut self, otlp: &[u8]) {
        if otlp.len() > MAX_BYTES {
            return;
        }
        self.bytes += otlp.len();
        self.requests.push_back(otlp.into());
        while self.bytes > MAX_BYTES {
            let oldest = self.requests.pop_front();
            self.bytes -= oldest.map_or(0, |it| it.len());
        }
    }

    /// Returns all requests, and forgets them.
    pub(super) fn take(&mut self) -> VecDeque<Box<[u8]>> {
        self.bytes = 0;
        std::mem::take(&mut self.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latest_requests_are_kept_up_to_a_number_of_bytes() {
        let mut recent = RecentRequests::default();
        for number in 0..9 {
            recent.push(&vec![number; MAX_BYTES / 4]);
        }
        recent.push(&vec![9; MAX_BYTES + 1]);
        let kept: Vec<u8> = recent.take().iter().map(|request| request[0]).collect();
        assert_eq!(kept, [5, 6, 7, 8]);
        assert!(recent.take().is_empty());
    }
}
