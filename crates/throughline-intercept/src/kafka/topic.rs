//! Topics as messages name them, and as people do.

use std::sync::Arc;

/// A topic by its name, or by an id whose name may not be known yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum TopicKey {
    Name(Arc<str>),
    Id([u8; 16]),
}

/// A partition, as a map has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PartitionKey {
    pub(super) topic: TopicKey,
    pub(super) index: i32,
}

/// The id in place of a name: `id:` and Kafka's own way to write it, which is base64 for URLs without padding.
pub(super) fn written(id: [u8; 16]) -> String {
    let mut out = String::from("id:");
    for group in id.chunks(3) {
        let bits = group
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            let digit = bits >> (18 - 6 * place) & 0x3f;
            out.extend(
                usize::try_from(digit)
                    .ok()
                    .and_then(|digit| DIGITS.get(digit))
                    .map(|digit| char::from(*digit)),
            );
        }
    }
    out
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_kafka_writes_it() {
        // Uuid.ONE_UUID and Uuid.METADATA_TOPIC_ID's like, by `org.apache.kafka.common.Uuid.toString`.
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(written(one), "id:AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(written([0xff; 16]), "id:_____________________w");
        assert_eq!(written(*b"0123456789abcdef"), "id:MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
