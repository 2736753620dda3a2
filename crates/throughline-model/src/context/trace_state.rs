//! `tracestate`: data of other tracing systems, carried along unread (W3C Trace Context level 2,
//! section 3.3).

use std::fmt;

/// Section 3.3.1.1: at most 32 members; more make the header invalid.
const MAX_MEMBERS: usize = 32;
/// Section 3.3.1.3: the longest key and the longest value.
const MAX_MEMBER_BYTES: usize = 256;

/// A valid `tracestate`, or an empty one. Members are neither read nor reordered.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct TraceState(String);

// === impl TraceState ===

impl TraceState {
    /// Parses a `tracestate` in header form; `None` when it breaks the grammar.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        Self::from_headers(&[value.as_bytes()])
    }

    /// Joins several header lines into one list, in order.
    pub(super) fn from_headers(lines: &[&[u8]]) -> Option<Self> {
        let mut joined = String::new();
        let mut count = 0;
        for member in lines
            .iter()
            .flat_map(|line| line.split(|byte| *byte == b','))
        {
            let member = trim(member);
            // Empty members are allowed, because joined lines may leave some (section 3.3.1.1).
            if member.is_empty() {
                continue;
            }
            count += 1;
            if count > MAX_MEMBERS || !is_member(member) {
                return None;
            }
            if !joined.is_empty() {
                joined.push(',');
            }
            // Members are ASCII by the grammar just checked, so this cannot fail.
            joined.push_str(std::str::from_utf8(member).ok()?);
        }
        Some(Self(joined))
    }

    /// Returns the header's value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether there is nothing to carry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceState({:?})", self.0)
    }
}

/// Removes optional white space: spaces and tabs (RFC 9110, section 5.6.3).
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

fn is_member(member: &[u8]) -> bool {
    let Some(equals) = member.iter().position(|byte| *byte == b'=') else {
        return false;
    };
    let (key, value) = member.split_at(equals);
    is_key(key)
        && value
            .split_first()
            .is_some_and(|(_, value)| is_value(value))
}

fn is_key(key: &[u8]) -> bool {
    key.len() <= MAX_MEMBER_BYTES
        && key
            .first()
            .is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit())
        // The two forms of keys, with and without `@`, are not distinguished: no member is
        // interpreted.
        && key.iter().all(
            |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'),
        )
}

fn is_value(value: &[u8]) -> bool {
    // A value must not be empty, and its last character must not be a space: `trim` removed that
    // (section 3.3.1.3.2).
    (1..=MAX_MEMBER_BYTES).contains(&value.len())
        && value
            .iter()
            .all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'='))
}
