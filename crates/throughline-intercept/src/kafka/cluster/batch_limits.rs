//! Limits of a topic's batches, learned from what the broker accepts and refuses.

use crate::Timestamp;
use crate::kafka::settings::DEFAULT_MAX_MESSAGE_BYTES;

/// Sizes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchSize {
    /// Size as sent.
    pub sent: usize,
    /// Size without compression; 0 when it is unknown. A broker that recompresses may store
    /// anything up to it.
    pub uncompressed: usize,
}

/// Knowledge about the sizes of batches that a topic accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicBatchLimits {
    /// Largest accepted sizes since the last refusal.
    accepted: BatchSize,
    /// Smallest refused size as sent, if the size as sent was the cause.
    refused_sent: Option<usize>,
    /// Smallest refused size without compression, if that was the cause.
    refused_uncompressed: Option<usize>,
    /// Limit in the topic's configuration, as it was seen last.
    configured: Option<usize>,
    /// Whether the topic refused changed records whatever their size.
    refuses_changes: bool,
    refused_at: Timestamp,
}

/// Nanoseconds after which a refused size is tried again: limits change, and a wrong guess costs
/// one repeated request.
const REFUSAL_TIMEOUT: u64 = 600_000_000_000;

// === impl BatchSize ===

impl BatchSize {
    /// Returns the largest size that the batch has as sent, or after a broker that uses another
    /// codec has compressed it: records that do not compress get longer, by less than a percent.
    const fn max_stored(self) -> usize {
        let overhead = self.uncompressed / 64 + 128;
        let recompressed = self.uncompressed.saturating_add(overhead);
        if recompressed > self.sent {
            recompressed
        } else {
            self.sent
        }
    }
}

// === impl TopicBatchLimits ===

impl TopicBatchLimits {
    /// Returns the maximum sizes of a batch after injection; [`None`] when the topic takes no batch
    /// that was injected into. `known` is the limit of the topic, if the user stated it, `default`
    /// that of topics without a configuration.
    #[must_use]
    pub fn injection_limit(
        &self,
        known: Option<usize>,
        default: usize,
        now: Timestamp,
    ) -> Option<BatchSize> {
        // Twice the largest accepted size: a topic with a larger limit is explored step by step.
        let explored = self.accepted.sent.saturating_mul(2);
        let known = known.or(self.configured);
        let sent = known.unwrap_or_else(|| explored.max(default));
        let limit = BatchSize {
            sent,
            uncompressed: usize::MAX,
        };
        if now.saturating_sub(self.refused_at) > REFUSAL_TIMEOUT {
            return Some(limit);
        }
        if self.refuses_changes {
            return None;
        }
        let below = |refused: usize| refused.saturating_sub(1);
        Some(BatchSize {
            sent: self.refused_sent.map_or(sent, |it| below(it).min(sent)),
            uncompressed: self.refused_uncompressed.map_or(usize::MAX, below),
        })
    }

    /// Returns whether there is evidence that the topic accepts a batch of this size.
    #[must_use]
    pub fn is_accepted(&self, size: BatchSize, known: Option<usize>) -> bool {
        let known = known.or(self.configured);
        let is_known = known.is_some_and(|max| size.max_stored() <= max);
        let is_below =
            size.sent <= self.accepted.sent && size.uncompressed <= self.accepted.uncompressed;
        is_known || is_below
    }

    /// Records the limit in the topic's configuration; [`None`] when it is the default.
    pub fn configure(&mut self, limit: Option<usize>) {
        if self.configured == limit {
            return;
        }
        self.configured = limit;
        // Sizes without compression were refused for the broker's compression, not for the limit.
        self.refused_sent = None;
        if let Some(limit) = limit {
            self.accepted.sent = self.accepted.sent.min(limit);
        }
    }

    /// Records that the broker accepted a batch of this size.
    pub fn accept(&mut self, size: BatchSize) {
        self.accepted.sent = self.accepted.sent.max(size.sent);
        self.accepted.uncompressed = self.accepted.uncompressed.max(size.uncompressed);
        if self.configured.is_some_and(|it| it < size.sent) {
            // The configuration was changed unseen, or is that of a topic that was recreated.
            self.configured = None;
        }
        // A refused size is accepted now: the limit was raised.
        if self.refused_sent.is_some_and(|it| it <= size.sent) {
            self.refused_sent = None;
        }
        if self
            .refused_uncompressed
            .is_some_and(|it| it <= size.uncompressed)
        {
            self.refused_uncompressed = None;
        }
    }

    /// Records that the broker refused a batch of this size after injection.
    pub fn refuse_size(&mut self, size: BatchSize, now: Timestamp) {
        // A batch that is small as sent can only be too large after the broker's compression.
        let is_recompressed = size.uncompressed > size.sent
            && (size.sent <= self.accepted.sent || size.uncompressed > DEFAULT_MAX_MESSAGE_BYTES);
        let refused = if is_recompressed {
            (&mut self.refused_uncompressed, size.uncompressed)
        } else {
            (&mut self.refused_sent, size.sent)
        };
        let (smallest, bytes) = refused;
        *smallest = Some(smallest.map_or(bytes, |it| it.min(bytes)));
        self.refused_at = now;
        if !is_recompressed && self.configured.is_some_and(|limit| size.sent <= limit) {
            // The configuration was changed unseen.
            self.configured = None;
        }
        // The evidence is out of date, or was about records that compress better.
        self.accepted = BatchSize::default();
    }

    /// Records that the topic refuses records that were changed.
    pub const fn refuse_changes(&mut self, now: Timestamp) {
        self.refuses_changes = true;
        self.refused_at = now;
    }

    /// Records that the topic refused unmodified records as well: the change was not the cause.
    pub const fn allow_changes(&mut self) {
        self.refuses_changes = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: usize) -> BatchSize {
        BatchSize {
            sent: bytes,
            uncompressed: bytes,
        }
    }

    #[test]
    fn limit_grows_with_accepted_batches_and_shrinks_below_refused_ones() {
        let mut limits = TopicBatchLimits::default();
        let sent = |limits: &TopicBatchLimits, now| {
            limits
                .injection_limit(None, DEFAULT_MAX_MESSAGE_BYTES, now)
                .map(|it| it.sent)
        };
        assert_eq!(sent(&limits, 1), Some(DEFAULT_MAX_MESSAGE_BYTES));
        assert!(!limits.is_accepted(plain(1), None));
        limits.accept(plain(5_000_000));
        assert_eq!(sent(&limits, 1), Some(10_000_000));
        assert!(limits.is_accepted(plain(5_000_000), None));
        limits.refuse_size(plain(900), 1);
        assert_eq!(sent(&limits, 1), Some(899));
        assert!(
            !limits.is_accepted(plain(1), None),
            "the evidence is out of date"
        );
        assert_eq!(
            sent(&limits, 2 + REFUSAL_TIMEOUT),
            Some(DEFAULT_MAX_MESSAGE_BYTES),
            "a refused size is tried again"
        );
        limits.accept(plain(1000));
        assert_eq!(
            sent(&limits, 1),
            Some(DEFAULT_MAX_MESSAGE_BYTES),
            "the limit was raised"
        );
    }

    #[test]
    fn refusal_of_a_small_compressed_batch_limits_the_size_without_compression() {
        let mut limits = TopicBatchLimits::default();
        let size = BatchSize {
            sent: 50_000,
            uncompressed: 2_000_000,
        };
        limits.refuse_size(size, 1);
        let limit = limits.injection_limit(None, DEFAULT_MAX_MESSAGE_BYTES, 1);
        let limit = limit.unwrap_or_default();
        assert_eq!(limit.sent, DEFAULT_MAX_MESSAGE_BYTES);
        assert_eq!(limit.uncompressed, 1_999_999);
    }

    #[test]
    fn known_limit_applies_from_the_first_batch_on() {
        let limits = TopicBatchLimits::default();
        let limit = limits.injection_limit(Some(1000), DEFAULT_MAX_MESSAGE_BYTES, 1);
        let limit = limit.unwrap_or_default();
        assert_eq!(limit.sent, 1000);
        assert!(limits.is_accepted(plain(850), Some(1000)));
        assert!(!limits.is_accepted(plain(1001), Some(1000)));
    }

    #[test]
    fn batch_near_the_limit_may_be_longer_after_the_compression_of_the_broker() {
        let limits = TopicBatchLimits::default();
        assert!(!limits.is_accepted(plain(1_048_500), Some(DEFAULT_MAX_MESSAGE_BYTES)));
        assert!(limits.is_accepted(plain(1_030_000), Some(DEFAULT_MAX_MESSAGE_BYTES)));
    }

    #[test]
    fn accepted_batch_above_the_configured_limit_shows_that_the_configuration_has_changed() {
        let mut limits = TopicBatchLimits::default();
        limits.configure(Some(1000));
        limits.accept(plain(1000));
        let sent = |limits: &TopicBatchLimits| {
            let limit = limits.injection_limit(None, DEFAULT_MAX_MESSAGE_BYTES, 1);
            limit.map(|it| it.sent)
        };
        assert_eq!(sent(&limits), Some(1000));
        limits.accept(plain(1001));
        assert_eq!(sent(&limits), Some(DEFAULT_MAX_MESSAGE_BYTES));
    }
}
