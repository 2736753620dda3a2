//! References of checkouts: values that show the judge alone which spans belong together.
//!
//! Every message of a checkout carries a reference that is derived from the one before
//! (`examples/eshop/src/reference.rs`). A sidecar or a weaver that compares values finds none that
//! two messages share.

use std::collections::BTreeMap;

use crate::eshop::TOPIC;
use crate::legacy_span::LegacySpan;

/// The numbers of checkouts by the references of their messages.
#[derive(Debug, Clone, Default)]
pub(super) struct ReferenceTable {
    /// Differs between loads, so that a reference is used once in the life of a collector.
    run: String,
    numbers: BTreeMap<String, usize>,
}

/// The calls that a checkout leads to, by the last segment of their path.
const CALLS: [&str; 3] = ["createOrder", "payment", "arrangeDelivery"];

// === impl ReferenceTable ===

impl ReferenceTable {
    pub(super) fn new(run: &impl ToString) -> Self {
        Self {
            run: run.to_string(),
            numbers: BTreeMap::new(),
        }
    }

    /// Returns the reference that the request of a checkout begins with.
    pub(super) fn first(&self, number: usize) -> String {
        derive(&self.run, &number.to_string())
    }

    /// Adds all references of a checkout.
    pub(super) fn add(&mut self, number: usize) {
        let first = self.first(number);
        let record = derive(&first, TOPIC);
        let calls = CALLS.iter().map(|call| derive(&first, call));
        let all = calls.chain([derive(&record, "sendEmail"), record.clone(), first.clone()]);
        self.numbers
            .extend(all.map(|reference| (reference, number)));
    }

    /// Returns the checkout that a span belongs to, from its query or record key.
    pub(super) fn number(&self, span: &LegacySpan<'_>) -> Option<usize> {
        let query = |text: &'static str| {
            let (_, reference) = span.tag(text)?.rsplit_once("reference=")?;
            Some(reference)
        };
        let reference = query("url.query")
            .or_else(|| query("url.full"))
            .or_else(|| span.tag("messaging.kafka.message.key"));
        self.numbers.get(reference?).copied()
    }
}

/// Returns the reference of the next step: 64 bits of FNV-1a over reference and step, in hex.
pub(super) fn derive(reference: &str, step: &str) -> String {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let text = format!("{reference}/{step}");
    let hash = text.bytes().fold(OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same value is in the test of the eshop.
    #[test]
    fn reference_of_a_step_is_fixed() {
        assert_eq!(derive("17", "createOrder"), "1ef22fba5a695026");
    }

    #[test]
    fn every_message_of_every_checkout_has_its_own_reference() {
        let mut table = ReferenceTable::new(&1);
        (1..=500).for_each(|number| table.add(number));
        assert_eq!(table.numbers.len(), 500 * 6);
    }
}
