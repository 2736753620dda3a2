//! W3C Baggage: named values that travel with a request, at most 64 entries and 8192 bytes.

/// W3C Baggage, section 3.3.2: the limits that a platform must support. Nothing beyond them is
/// accepted, so that a sender cannot make every message below it large.
const MAX_ENTRIES: usize = 64;
const MAX_BYTES: usize = 8192;

/// Named values, in the order of insertion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    entries: Vec<BaggageEntry>,
}

/// One named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaggageEntry {
    key: String,
    value: String,
    metadata: String,
    /// Bytes in the header, with the comma behind it. Stored, because every insertion sums them up.
    wire_length: usize,
}

// === impl Baggage ===

impl Baggage {
    /// Sets a decoded value and its metadata: the properties behind `;`, in wire form.
    ///
    /// Returns `false`, and sets nothing, when the key is not a token (RFC 9110, section 5.6.2) or
    /// the baggage would exceed a limit.
    pub fn insert(&mut self, key: &str, value: impl Into<String>, metadata: &str) -> bool {
        let entry = BaggageEntry::new(key, value.into(), metadata);
        let others = || self.entries.iter().filter(|other| other.key != key);
        // The new entry replaces one of the same key, which therefore does not count.
        let bytes = others().map(|other| other.wire_length).sum::<usize>() + entry.wire_length;
        // The last entry has no comma behind it.
        let fits = others().count() < MAX_ENTRIES && bytes <= MAX_BYTES + 1;
        if !fits || !is_token(key.as_bytes()) || !is_metadata(metadata) {
            return false;
        }
        match self.entries.iter_mut().find(|other| other.key == key) {
            Some(existing) => *existing = entry,
            None => self.entries.push(entry),
        }
        true
    }

    /// Returns the value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(BaggageEntry::value)
    }

    /// Returns all entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = &BaggageEntry> {
        self.entries.iter()
    }

    /// Returns whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

// === impl BaggageEntry ===

impl BaggageEntry {
    fn new(key: &str, value: String, metadata: &str) -> Self {
        // Everything but a plain octet takes three bytes on the wire: `%XX`.
        let encoded: usize = value
            .bytes()
            .map(|byte| if byte != b'%' && is_octet(byte) { 1 } else { 3 })
            .sum();
        let properties = if metadata.is_empty() {
            0
        } else {
            1 + metadata.len()
        };
        let wire_length = key.len() + 1 + encoded + properties + 1;
        Self {
            key: key.to_owned(),
            value,
            metadata: metadata.to_owned(),
            wire_length,
        }
    }

    /// Returns the name: a token of RFC 9110.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the decoded value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the properties behind the value in wire form, without the leading `;`.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }
}

/// Returns whether the key consists of `tchar` (RFC 9110, section 5.6.2).
fn is_token(key: &[u8]) -> bool {
    !key.is_empty()
        && key
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Returns whether properties can be carried unread: they must not end the member or the header.
fn is_metadata(metadata: &str) -> bool {
    metadata
        .bytes()
        // A comma would begin the next member, and control characters would end the header.
        .all(|byte| matches!(byte, b'\t' | 0x20..=0x7e) && byte != b',')
}

/// Returns whether a byte is a `baggage-octet`: printable ASCII without white space, `"`, `,`, `;`
/// and `\`.
pub(super) const fn is_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}
