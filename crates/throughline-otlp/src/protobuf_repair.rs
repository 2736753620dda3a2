//! Makes a request readable that the protobuf parser refuses: texts that are not UTF-8, and single
//! spans, events, links and attributes whose fields are not of their types.
//!
//! Source: protobuf.dev, "Encoding": a text must be UTF-8; senders that cut a text at a number of
//! bytes send others. Runs only when the parser has failed.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

use crate::decode::{RejectedSpans, RejectionReason};
use crate::limit::{MAX_DEPTH, MessageKind, next_field};
use crate::protobuf::put_varint;
use crate::repair::{RepairCounts, RepairKind};

/// A message whose framing is broken.
struct BrokenMessage;

/// The repair of one request.
#[derive(Debug, Default)]
pub(crate) struct ProtobufRepair {
    pub(crate) rejected: RejectedSpans,
    pub(crate) repairs: RepairCounts,
}

// === impl ProtobufRepair ===

impl ProtobufRepair {
    /// Returns the request with what can be kept; `None` when its own framing is broken.
    pub(crate) fn request(&mut self, body: &[u8]) -> Option<Vec<u8>> {
        self.message(MessageKind::Request, body, 0).ok()
    }

    fn message(
        &mut self,
        kind: MessageKind,
        mut bytes: &[u8],
        depth: u32,
    ) -> Result<Vec<u8>, BrokenMessage> {
        if depth > MAX_DEPTH {
            return Err(BrokenMessage);
        }
        let mut out = Vec::with_capacity(bytes.len());
        while !bytes.is_empty() {
            let (field, content, rest) = next_field(bytes).ok_or(BrokenMessage)?;
            let whole = bytes.len().saturating_sub(rest.len());
            let (whole, _) = bytes.split_at(whole);
            bytes = rest;
            let Some(content) = content else {
                out.extend_from_slice(whole);
                continue;
            };
            if let Some(child) = kind.child(field) {
                match self.message(child, content, depth + 1) {
                    Ok(message) if is_readable(child, &message, depth) => {
                        put_field(&mut out, field, &message);
                    }
                    // One of many: it is left out, and the others are kept.
                    Ok(_) | Err(BrokenMessage) => self.leave_out(child)?,
                }
            } else if kind.is_text(field) {
                let text = String::from_utf8_lossy(content);
                let is_repaired = matches!(text, std::borrow::Cow::Owned(_));
                self.repairs.add(RepairKind::Text, u64::from(is_repaired));
                put_field(&mut out, field, text.as_bytes());
            } else {
                out.extend_from_slice(whole);
            }
        }
        Ok(out)
    }

    fn leave_out(&mut self, kind: MessageKind) -> Result<(), BrokenMessage> {
        match kind {
            MessageKind::Span => self.rejected.add(RejectionReason::Malformed),
            MessageKind::KeyValue => self.repairs.add(RepairKind::Attribute, 1),
            MessageKind::WithAttributes { .. } | MessageKind::Leaf | MessageKind::EntityRef => {
                self.repairs.add(RepairKind::Field, 1);
            }
            // The parts of a value cost the attribute, groups of spans the request.
            MessageKind::AnyValue
            | MessageKind::Array
            | MessageKind::KeyValueList
            | MessageKind::Request
            | MessageKind::ResourceSpans
            | MessageKind::Resource
            | MessageKind::ScopeSpans => return Err(BrokenMessage),
        }
        Ok(())
    }
}

/// Returns whether the parser will accept a repaired message. Only whole spans and their attributes
/// are tried: trying every level of a nested value would take quadratic time.
fn is_readable(kind: MessageKind, message: &[u8], depth: u32) -> bool {
    /// Depth of the messages that hold the attributes of resources, scopes and spans.
    const ATTRIBUTE_OWNER_DEPTH: u32 = 3;
    if matches!(kind, MessageKind::Span) {
        return Span::decode(message).is_ok();
    }
    let is_attribute = matches!(kind, MessageKind::KeyValue) && depth <= ATTRIBUTE_OWNER_DEPTH;
    !is_attribute || KeyValue::decode(message).is_ok()
}

fn put_field(out: &mut Vec<u8>, field: u64, content: &[u8]) {
    const LENGTH_DELIMITED: u64 = 2;
    put_varint(out, field << 3 | LENGTH_DELIMITED);
    put_varint(out, u64::try_from(content.len()).unwrap_or(u64::MAX));
    out.extend_from_slice(content);
}
