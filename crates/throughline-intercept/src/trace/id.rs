//! Random ids for traces, spans and requests.

use throughline_model::{SpanId, TraceId};

/// Size of a UUID as text.
const UUID_BYTES: usize = 36;

/// Generator of ids from a seed that the driver supplies.
#[derive(Debug)]
pub(crate) struct IdGenerator {
    random: fastrand::Rng,
}

// === impl IdGenerator ===

impl IdGenerator {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Returns a new trace id.
    #[inline]
    pub(crate) fn trace_id(&mut self) -> TraceId {
        loop {
            // An id of all zeros is invalid in W3C Trace Context.
            if let Some(id) = TraceId::from_bytes(self.random.u128(..).to_be_bytes()) {
                return id;
            }
        }
    }

    /// Returns a new span id.
    #[inline]
    pub(crate) fn span_id(&mut self) -> SpanId {
        loop {
            if let Some(id) = SpanId::from_bytes(self.random.u64(..).to_be_bytes()) {
                return id;
            }
        }
    }

    /// Returns a random UUID (RFC 9562, version 4), the form in which Envoy writes `x-request-id`.
    pub(crate) fn request_id(&mut self) -> String {
        let bits = self.random.u128(..);
        // Version 4 in bits 76 to 79, variant 10 in bits 62 and 63.
        let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        // Formatting would cost several times as much.
        let hex = TraceId::from_bytes(bits.to_be_bytes()).map(TraceId::to_hex);
        let hex = hex.as_ref().and_then(|hex| str::from_utf8(hex).ok());
        let mut id = String::with_capacity(UUID_BYTES);
        for range in [0..8, 8..12, 12..16, 16..20, 20..32] {
            if range.start > 0 {
                id.push('-');
            }
            id.push_str(hex.and_then(|hex| hex.get(range)).unwrap_or_default());
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_a_version_4_uuid() {
        let id = IdGenerator::new(7).request_id();
        let parts: Vec<&str> = id.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(parts[2].starts_with('4'), "{id}");
        assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
}
