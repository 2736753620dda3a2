//! Statistics of outbound calls by signature.

use std::collections::HashMap;

use super::call_signature::CallSignature;
use super::decaying_counter::{DecayingCounter, LongCounter};
use crate::Timestamp;

/// Count below which a signature counts as forgotten.
const FORGOTTEN_COUNT: f64 = 0.01;

/// Counts of the calls of one signature.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallStats {
    /// Calls while nothing was in flight that could have caused them.
    pub(super) unattributed: DecayingCounter,
    /// Unattributed calls within the linger time after the end of an activity.
    pub(super) unattributed_after_end: DecayingCounter,
    /// Calls while exactly one activity could have caused them.
    pub(super) single: DecayingCounter,
    /// Single calls in quiescent times: no other activity had ended within the linger time.
    pub(super) single_quiescent: DecayingCounter,
    /// Calls with a token of an inbound message.
    pub(super) with_token: DecayingCounter,
    /// Unattributed and single calls, for a long time.
    pub(super) long_unattributed: LongCounter,
    pub(super) long_single: LongCounter,
    /// Activities that have made a single call.
    pub(super) activities: u32,
}

/// Statistics of all signatures. Beyond the cap new signatures share one entry, which can only
/// raise the doubt about each of them.
#[derive(Debug)]
pub(super) struct CallStatsTable {
    by_signature: HashMap<CallSignature, CallStats>,
    overflow: CallStats,
    max_signatures: usize,
}

// === impl CallStatsTable ===

impl CallStatsTable {
    pub(super) fn new(max_signatures: usize) -> Self {
        Self {
            by_signature: HashMap::new(),
            overflow: CallStats::default(),
            max_signatures,
        }
    }

    /// Returns the statistics of a signature, created if there is room.
    pub(super) fn entry(&mut self, signature: CallSignature, now: Timestamp) -> &mut CallStats {
        let is_full = self.by_signature.len() >= self.max_signatures;
        if is_full && !self.by_signature.contains_key(&signature) {
            // The scan is linear, so it waits until there is no room.
            self.by_signature
                .retain(|_, stats| !stats.is_forgotten(now));
            if self.by_signature.len() >= self.max_signatures {
                return &mut self.overflow;
            }
        }
        self.by_signature.entry(signature).or_default()
    }
}

// === impl CallStats ===

impl CallStats {
    fn is_forgotten(&self, now: Timestamp) -> bool {
        let is_quiet = [self.unattributed, self.single, self.with_token]
            .iter()
            .all(|count| count.value_at(now) < FORGOTTEN_COUNT);
        is_quiet && self.long_unattributed.value_at(now) < FORGOTTEN_COUNT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_beyond_the_cap_share_statistics_until_old_ones_are_forgotten() {
        let signature = |name: &str| CallSignature::new(&name);
        let mut table = CallStatsTable::new(1);
        table.entry(signature("a"), 0).single.add(0, 1.0);
        table.entry(signature("b"), 0).unattributed.add(0, 1.0);
        assert!(
            table.entry(signature("c"), 0).unattributed.value_at(0) > 0.5,
            "c shares the entry of b"
        );
        let later = 365 * 24 * 3600 * 1_000_000_000;
        let unattributed = table.entry(signature("d"), later).unattributed;
        assert!(unattributed.value_at(later) < 0.5);
    }
}
