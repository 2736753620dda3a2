//! Decisions about parents as bytes, in the records of logs.
//!
//! A decision has a fixed length, and so has each of its alternatives: numbers are big-endian ids
//! and little-endian probabilities, and an id of zeros is none. So the length of what is kept is
//! known without encoding it. The kind of the record is the version of the encoding.

use throughline_model::{SpanId, TraceId};
use throughline_store::{AlternativeParent, MAX_ALTERNATIVES, SpanKey, WovenEdge, WovenEvidence};

/// Length of the ids of a span.
const KEY_BYTES: usize = 24;

/// Length of a decision without its alternatives: two spans, probability, evidence, whether it
/// joins, and the number of alternatives.
const EDGE_BYTES: usize = 2 * KEY_BYTES + 8 + 3;

const ALTERNATIVE_BYTES: usize = KEY_BYTES + 8;

/// Returns the length of a number of decisions with a number of alternatives in all.
pub(super) const fn encoded_bytes(decisions: usize, alternatives: usize) -> u64 {
    (decisions * EDGE_BYTES + alternatives * ALTERNATIVE_BYTES) as u64
}

/// Appends a decision to a payload.
pub(super) fn encode(edge: &WovenEdge, payload: &mut Vec<u8>) {
    let mut kinds = WovenEvidence::ALL.into_iter();
    let evidence = kinds.position(|kind| kind == edge.evidence);
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    encode_key(Some(edge.child), payload);
    encode_key(edge.parent, payload);
    payload.extend(edge.confidence.to_le_bytes());
    payload.push(byte(evidence.unwrap_or(usize::MAX)));
    payload.push(edge.is_joined.into());
    payload.push(byte(edge.alternatives.len().min(MAX_ALTERNATIVES)));
    for other in edge.alternatives.iter().take(MAX_ALTERNATIVES) {
        encode_key(other.parent, payload);
        payload.extend(other.confidence.to_le_bytes());
    }
}

fn encode_key(key: Option<SpanKey>, payload: &mut Vec<u8>) {
    let Some(key) = key else {
        payload.extend([0; KEY_BYTES]);
        return;
    };
    payload.extend(key.trace_id.to_bytes());
    payload.extend(key.span_id.to_bytes());
}

/// Decodes the payload of a record, up to the first decision that is none.
pub(super) fn decode(mut payload: &[u8]) -> Vec<WovenEdge> {
    std::iter::from_fn(|| decode_edge(&mut payload)).collect()
}

fn decode_edge(payload: &mut &[u8]) -> Option<WovenEdge> {
    let child = decode_key(payload)??;
    let parent = decode_key(payload)?;
    let confidence = f64::from_le_bytes(take(payload)?);
    let [evidence, is_joined, alternatives] = take(payload)?;
    let alternatives = (0..usize::from(alternatives).min(MAX_ALTERNATIVES)).map(|_| {
        Some(AlternativeParent {
            parent: decode_key(payload)?,
            confidence: f64::from_le_bytes(take(payload)?),
        })
    });
    Some(WovenEdge {
        alternatives: alternatives.collect::<Option<_>>()?,
        child,
        parent,
        evidence: *WovenEvidence::ALL.get(usize::from(evidence))?,
        confidence,
        is_joined: is_joined != 0,
    })
}

/// Decodes ids; the outer `None` is the end of the payload.
fn decode_key(payload: &mut &[u8]) -> Option<Option<SpanKey>> {
    let trace_id = TraceId::from_bytes(take(payload)?);
    let span_id = SpanId::from_bytes(take(payload)?);
    let key = |(trace_id, span_id)| SpanKey { trace_id, span_id };
    Some(trace_id.zip(span_id).map(key))
}

fn take<const N: usize>(payload: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = payload.split_first_chunk::<N>()?;
    *payload = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> SpanKey {
        SpanKey {
            trace_id: TraceId::from_bytes(u128::from(number).to_be_bytes()).unwrap(),
            span_id: SpanId::from_bytes(number.to_be_bytes()).unwrap(),
        }
    }

    #[test]
    fn decisions_have_the_length_that_is_expected_and_are_read_as_they_were() {
        let other = |parent: Option<u64>| AlternativeParent {
            parent: parent.map(key),
            confidence: 0.1,
        };
        let kinds = WovenEvidence::ALL.into_iter().zip([1, 2, 3, 0, 1]);
        let edges = kinds.zip(1..).map(|((kind, alternatives), at)| {
            let others = [other(None), other(Some(9)), other(Some(8))];
            WovenEdge {
                child: key(at),
                parent: (at % 2 == 0).then(|| key(at + 10)),
                evidence: kind,
                confidence: 0.3,
                alternatives: others.into_iter().take(alternatives).collect(),
                is_joined: at % 2 == 0,
            }
        });
        let edges: Vec<WovenEdge> = edges.collect();
        let mut payload = Vec::new();
        edges.iter().for_each(|edge| encode(edge, &mut payload));
        let alternatives = edges.iter().map(|edge| edge.alternatives.len()).sum();
        let expected = encoded_bytes(edges.len(), alternatives);
        assert_eq!(payload.len() as u64, expected);
        assert_eq!(decode(&payload), edges);
        for length in 0..payload.len() {
            assert!(edges.starts_with(&decode(&payload[..length])), "{length}");
        }
    }
}
