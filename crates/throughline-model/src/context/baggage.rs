//! W3C Baggage: named values that travel with a request. At most 64 entries and 8192 bytes, whatever a sender sends.

use super::trace_state::trim;
use super::{Carrier, CarrierMut, Extracted, percent};

const BAGGAGE: &str = "baggage";
/// W3C Baggage, section 3.3.2: the limits a platform must be able to carry. Ours carries no more.
const MOST_ENTRIES: usize = 64;
const MOST_BYTES: usize = 8192;

/// Named values in the order they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    entries: Vec<Entry>,
}

/// One named value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    key: String,
    value: String,
    metadata: String,
    /// Bytes in the header, with the comma that parts it from the next. Kept, because every insertion asks all of them.
    wire_length: usize,
}

// === impl Baggage ===

impl Baggage {
    /// Sets a value, decoded, with its metadata (the properties behind `;`, as they stand on the wire). `false`, and
    /// nothing is set, when the key is no token (RFC 9110, section 5.6.2) or a limit would be passed.
    pub fn insert(&mut self, key: &str, value: impl Into<String>, metadata: &str) -> bool {
        let entry = Entry::new(key, value.into(), metadata);
        let others = || self.entries.iter().filter(|other| other.key != key);
        let bytes = others().map(|other| other.wire_length).sum::<usize>() + entry.wire_length;
        // The last entry has no comma behind it.
        let fits = others().count() < MOST_ENTRIES && bytes <= MOST_BYTES + 1;
        if !fits || !is_token(key.as_bytes()) || !is_metadata(metadata) {
            return false;
        }
        match self.entries.iter_mut().find(|other| other.key == key) {
            Some(place) => *place = entry,
            None => self.entries.push(entry),
        }
        true
    }

    /// The value of this key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(Entry::value)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

// === impl Entry ===

impl Entry {
    fn new(key: &str, value: String, metadata: &str) -> Self {
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

    /// The name: a token of RFC 9110.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value, decoded.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The properties behind the value, as they stand on the wire, without the leading `;`.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }
}

pub(super) fn extract(carrier: &(impl Carrier + ?Sized), found: &mut Extracted) {
    let Extracted {
        baggage, rejected, ..
    } = found;
    carrier.each(&mut |name, value| {
        if !name.eq_ignore_ascii_case(BAGGAGE.as_bytes()) {
            return;
        }
        let members = value
            .unwrap_or_default()
            .split(|byte| *byte == b',')
            .map(trim);
        for member in members.filter(|member| !member.is_empty()) {
            if !insert_member(member, baggage) {
                *rejected = rejected.saturating_add(1);
            }
        }
    });
}

pub(super) fn inject(baggage: &Baggage, carrier: &mut (impl CarrierMut + ?Sized)) {
    if baggage.is_empty() {
        return carrier.remove(BAGGAGE);
    }
    let mut header = String::new();
    for entry in baggage.iter() {
        if !header.is_empty() {
            header.push(',');
        }
        header.push_str(entry.key());
        header.push('=');
        header.push_str(&percent::encode(entry.value(), is_octet));
        if !entry.metadata().is_empty() {
            header.push(';');
            header.push_str(entry.metadata());
        }
    }
    carrier.replace(BAGGAGE, header.as_bytes());
}

/// `key = value [; properties]`.
fn insert_member(member: &[u8], baggage: &mut Baggage) -> bool {
    let Ok(member) = str::from_utf8(member) else {
        return false;
    };
    let (pair, metadata) = member.split_once(';').unwrap_or((member, ""));
    let Some((key, value)) = pair.split_once('=') else {
        return false;
    };
    let value = value.trim_matches([' ', '\t']);
    value.bytes().all(is_octet)
        && baggage.insert(
            key.trim_matches([' ', '\t']),
            percent::decode(value.as_bytes()),
            metadata.trim_matches([' ', '\t']),
        )
}

/// `tchar` of RFC 9110.
fn is_token(key: &[u8]) -> bool {
    !key.is_empty()
        && key
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Properties are carried as they came; they only must not end the member or the header.
fn is_metadata(metadata: &str) -> bool {
    metadata
        .bytes()
        .all(|byte| matches!(byte, b'\t' | 0x20..=0x7e) && byte != b',')
}

/// `baggage-octet`: printable ASCII without white space, `"`, `,`, `;` and `\`.
const fn is_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}
