//! Topics: by name, or by an id whose name may not be known yet (KIP-516).

use std::sync::Arc;

use throughline_kafka::message::TopicRef;
use throughline_kafka::types::{PartitionIndex, TopicId};

use super::fifo_map::FifoMap;

/// Topic as a message refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// Partition as a message refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartitionKey {
    pub(super) topic: TopicKey,
    pub(super) index: PartitionIndex,
}

/// Topic names of a connection, so that requests do not allocate them again.
#[derive(Debug)]
pub(super) struct TopicNames(FifoMap<Arc<str>, Arc<str>>);

/// Maximum number of names that a connection remembers.
const MAX_TOPIC_NAMES: usize = 1024;

/// Alphabet of base64 for URLs (RFC 4648, section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Formats an id in place of an unknown name: `id:`, and the id as Kafka's `Uuid.toString` writes
/// it, in base64 for URLs without padding.
pub(super) fn format_id(id: TopicId) -> String {
    let mut out = String::from("id:");
    for group in id.0.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        // A group of n bytes fills n + 1 digits; without padding the rest is left out.
        for place in 0..=group.len() {
            let digit = usize::try_from(bits >> (18 - 6 * place) & 0x3f).ok();
            let digit = digit.and_then(|digit| DIGITS.get(digit));
            out.extend(digit.map(|digit| char::from(*digit)));
        }
    }
    out
}

// === impl TopicNames ===

impl TopicNames {
    pub(super) fn new() -> Self {
        Self(FifoMap::new(MAX_TOPIC_NAMES))
    }

    /// Returns the key of a topic; [`None`] when its name is not UTF-8.
    pub(super) fn key(&mut self, topic: &TopicRef<'_>) -> Option<TopicKey> {
        match topic {
            TopicRef::Id(id) => Some(TopicKey::Id(*id)),
            TopicRef::Name(field) => field.text().map(|name| TopicKey::Name(self.intern(name))),
        }
    }

    /// Returns a shared copy of a name.
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        // Requests name the same few topics again and again.
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name), Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_is_formatted_like_kafkas_uuid() {
        // Values of `org.apache.kafka.common.Uuid.toString`.
        let mut one = [0; 16];
        one[15] = 1;
        let format = |bytes| format_id(TopicId(bytes));
        assert_eq!(format(one), "id:AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(format([0xff; 16]), "id:_____________________w");
        assert_eq!(format(*b"0123456789abcdef"), "id:MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
