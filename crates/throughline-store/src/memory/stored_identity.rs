//! The identity of a stored span within its trace: id, side and endpoint.

use std::ops::RangeInclusive;

use throughline_model::convention::{LOCAL_ADDRESSES, LOCAL_PORTS, SERVICE_NAME};
use throughline_model::{Span, SpanId, SpanKind, Value};

/// The identity of a span within its trace. The spans of one id are ordered by side: the caller's
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredIdentity {
    pub(super) span_id: SpanId,
    /// The side in the two highest bits, and a hash of kind and endpoint in the others.
    endpoint: u64,
}

/// The side in the two highest bits of [`StoredIdentity::endpoint`].
const SIDE_SHIFT: u32 = 62;
const CALLER: u64 = 0;
const CALLEE: u64 = 1;
const OTHER: u64 = 2;

// === impl StoredIdentity ===

impl StoredIdentity {
    pub(super) fn of(span: &Span) -> Self {
        let side = match span.kind {
            SpanKind::Client | SpanKind::Producer => CALLER,
            SpanKind::Server | SpanKind::Consumer => CALLEE,
            SpanKind::Unspecified | SpanKind::Internal => OTHER,
        };
        let mut hash = FnvHash::default();
        hash.write(span.kind.name().unwrap_or_default().as_bytes());
        hash.write(span.service().as_bytes());
        hash.write_value(first_of(span, LOCAL_ADDRESSES));
        hash.write_value(first_of(span, LOCAL_PORTS));
        Self {
            span_id: span.span_id,
            endpoint: side << SIDE_SHIFT | hash.0 >> 2,
        }
    }

    /// Returns the range of all identities with this span id.
    pub(super) const fn range(span_id: SpanId) -> RangeInclusive<Self> {
        let first = Self {
            span_id,
            endpoint: 0,
        };
        let last = Self {
            span_id,
            endpoint: u64::MAX,
        };
        first..=last
    }

    pub(super) const fn is_caller(self) -> bool {
        self.endpoint >> SIDE_SHIFT == CALLER
    }

    pub(super) const fn is_callee(self) -> bool {
        self.endpoint >> SIDE_SHIFT == CALLEE
    }

    /// Returns an id made up for a span whose own id another span has. It depends on the identity
    /// alone, so a span that is sent again keeps it.
    pub(super) fn derived_id(self) -> SpanId {
        let mut hash = FnvHash::default();
        hash.write(&self.span_id.to_bytes());
        hash.write(&self.endpoint.to_be_bytes());
        SpanId::from_bytes(hash.0.to_be_bytes()).unwrap_or(self.span_id)
    }

    /// Returns whether two spans of one id may be fragments of one span: kind and endpoint agree
    /// where both give them (Zipkin's rule).
    pub(super) fn may_be_same(a: &Span, b: &Span) -> bool {
        let is_kind_open = |span: &Span| span.kind == SpanKind::Unspecified;
        let has_service = |span: &Span| span.resource.attribute(SERVICE_NAME).is_some();
        let same_kind = a.kind == b.kind || is_kind_open(a) || is_kind_open(b);
        let same_service = a.service() == b.service() || !has_service(a) || !has_service(b);
        same_kind && same_service && Self::has_same_address(a, b)
    }

    /// Returns whether the addresses and ports agree where both spans give them.
    pub(super) fn has_same_address(a: &Span, b: &Span) -> bool {
        [LOCAL_ADDRESSES, LOCAL_PORTS].into_iter().all(|keys| {
            match (first_of(a, keys), first_of(b, keys)) {
                (Some(a), Some(b)) => a == b,
                (None, _) | (_, None) => true,
            }
        })
    }
}

/// Returns the attribute with the first of these names that the span has, in one pass.
fn first_of<'a>(span: &'a Span, keys: &[&str]) -> Option<&'a Value> {
    let mut best: Option<(usize, &Value)> = None;
    // All names begin so, and few others do: this runs for every span that is stored.
    let named = span
        .attributes
        .iter()
        .filter(|pair| pair.key.starts_with("net"));
    for pair in named {
        let rank = keys.iter().position(|key| pair.key == *key);
        if let Some(rank) = rank.filter(|rank| best.is_none_or(|(best, _)| *rank <= best)) {
            best = Some((rank, &pair.value));
        }
    }
    best.map(|(_, value)| value)
}

/// FNV-1a with 64 bits: the same on every machine, so that made-up ids are too.
struct FnvHash(u64);

impl Default for FnvHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl FnvHash {
    fn write(&mut self, bytes: &[u8]) {
        // The separator keeps two adjacent texts apart.
        for byte in bytes.iter().chain([&0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_value(&mut self, value: Option<&Value>) {
        match value {
            Some(Value::String(text)) => self.write(text.as_bytes()),
            Some(Value::Int(number)) => self.write(&number.to_be_bytes()),
            // No sender gives an address in another type.
            Some(_) | None => self.write(b""),
        }
    }
}
