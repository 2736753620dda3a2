//! Values that an inbound and an outbound message share, as hashes.
//!
//! A rare value in both says much, a common one little. How often messages that belong together
//! share a value is learned for each pair of operations, from causes that are certain without it.

use std::collections::HashMap;

use crate::message::{Inbound, Outbound};

/// Values whose frequency is known; beyond it, new ones are taken as rare.
const MAX_VALUES: usize = 65_536;
/// Messages after which old frequencies count half.
const HALF_LIFE: f64 = 50_000.0;
/// Shared values and pairs that are assumed before any was seen.
const PRIOR: (f64, f64) = (0.3, 1.0);
/// Messages that a value of a single message is expected in besides.
const UNIQUE: f64 = 0.005;
/// Largest factor for sharing or not sharing a value.
const MAX_FACTOR: f64 = 1e6;
/// A factor above this decides.
pub(crate) const DECISIVE_FACTOR: f64 = 100.0;

/// Frequencies of values, and how often pairs of operations share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenModel {
    frequency: HashMap<u64, f64>,
    messages: f64,
    shared: HashMap<(u32, u32), (f64, f64)>,
}

// === impl TokenModel ===

impl TokenModel {
    /// Counts the values of a message.
    pub(crate) fn observe(&mut self, tokens: &[u64]) {
        if tokens.is_empty() {
            return;
        }
        self.messages += 1.0;
        for token in tokens {
            if self.frequency.len() < MAX_VALUES || self.frequency.contains_key(token) {
                *self.frequency.entry(*token).or_default() += 1.0;
            }
        }
        if self.messages > HALF_LIFE {
            self.messages *= 0.5;
            self.frequency.retain(|_, count| {
                *count *= 0.5;
                *count >= 1.0
            });
        }
    }

    /// Forgets how often values occur, to count them again.
    pub(crate) fn forget_frequencies(&mut self) {
        self.frequency.clear();
        self.messages = 0.0;
    }

    /// Records that a request made a call, as other evidence says.
    pub(crate) fn learn(&mut self, inbound: &Inbound, outbound: &Outbound) {
        if inbound.tokens.is_empty() || outbound.tokens.is_empty() {
            return;
        }
        let counts = self
            .shared
            .entry((inbound.operation, outbound.kind))
            .or_default();
        counts.1 += 1.0;
        let shares = outbound
            .tokens
            .iter()
            .any(|token| inbound.tokens.contains(token));
        counts.0 += f64::from(u8::from(shares));
    }

    /// Returns how much likelier the values make it that a request made a call.
    pub(crate) fn factor(&self, inbound: &Inbound, outbound: &Outbound) -> f64 {
        if inbound.tokens.is_empty() || outbound.tokens.is_empty() {
            return 1.0;
        }
        let key = (inbound.operation, outbound.kind);
        let (shared, pairs) = self.shared.get(&key).copied().unwrap_or_default();
        let expected = ((shared + PRIOR.0) / (pairs + PRIOR.1)).min(0.999);
        let rarest = outbound
            .tokens
            .iter()
            .filter(|token| inbound.tokens.contains(token))
            .map(|token| self.frequency.get(token).copied().unwrap_or(1.0))
            .fold(f64::INFINITY, f64::min);
        if rarest.is_finite() {
            // The request itself is one of the messages.
            let others = (rarest - 1.0).max(UNIQUE);
            let by_chance = (others / self.messages.max(rarest)).clamp(1e-6, 1.0);
            (expected / by_chance).clamp(1.0 / MAX_FACTOR, MAX_FACTOR)
        } else {
            1.0 - expected
        }
    }
}
