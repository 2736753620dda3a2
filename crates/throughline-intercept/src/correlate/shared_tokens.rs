//! Tokens that several inbound messages had: a value on many of them is a constant, and no key.

use std::collections::{HashMap, VecDeque};

/// Inbound messages from which a value counts as a constant. A request is sent again once or twice.
const MIN_COMMON: u32 = 5;
/// Values that are counted.
const MAX_VALUES: usize = 4096;

/// Counts of values that more than one inbound message had. The oldest give way.
#[derive(Debug, Default)]
pub(super) struct SharedTokens {
    counts: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

// === impl SharedTokens ===

impl SharedTokens {
    /// Counts one more message with a value, after the first.
    pub(super) fn record(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(&value) {
            *count = count.saturating_add(1);
            return;
        }
        if self.counts.len() >= MAX_VALUES
            && let Some(oldest) = self.order.pop_front()
        {
            self.counts.remove(&oldest);
        }
        self.counts.insert(value, 2);
        self.order.push_back(value);
    }

    /// Returns whether a value was in too many messages to identify one.
    pub(super) fn is_common(&self, value: u64) -> bool {
        self.counts
            .get(&value)
            .is_some_and(|count| *count >= MIN_COMMON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_many_messages_is_common_and_the_oldest_give_way() {
        let mut shared = SharedTokens::default();
        for _ in 0..3 {
            shared.record(7);
        }
        assert!(!shared.is_common(7), "four messages had it");
        shared.record(7);
        assert!(shared.is_common(7));
        for value in 100..100 + MAX_VALUES as u64 {
            shared.record(value);
        }
        assert!(!shared.is_common(7));
        assert_eq!(shared.counts.len(), MAX_VALUES);
        assert_eq!(shared.order.len(), MAX_VALUES);
    }
}
