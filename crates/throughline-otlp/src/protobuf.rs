//! A writer of protobuf's wire format, without intermediate types and with a single allocation.
//!
//! Source: protobuf.dev, "Encoding". Fields appear in the order of the calls: with calls in the
//! order of field numbers, and zero and empty fields left out, the bytes equal those of other
//! encoders.

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED_32: u32 = 5;

/// A writer of one message.
#[derive(Debug, Default)]
pub(crate) struct MessageWriter {
    bytes: Vec<u8>,
}

// === impl MessageWriter ===

impl MessageWriter {
    /// Returns a writer into a buffer, whose content it discards and whose memory it uses.
    pub(crate) fn into_buffer(mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        Self { bytes: buffer }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    // --- fields that are always written, because they belong to a oneof ---

    pub(crate) fn varint(&mut self, field: u32, number: u64) {
        self.tag(field, VARINT);
        put_varint(&mut self.bytes, number);
    }

    pub(crate) fn double(&mut self, field: u32, number: f64) {
        self.tag(field, FIXED_64);
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a nested message, which is expected to be short.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.message_of(field, 0, write);
    }

    /// Writes a nested message of about `expected_bytes`.
    ///
    /// The length precedes the content and is known after it: room is reserved for a length like
    /// the expected one, and the content is only moved if that takes another number of bytes.
    pub(crate) fn message_of(
        &mut self,
        field: u32,
        expected_bytes: usize,
        write: impl FnOnce(&mut Self),
    ) {
        self.tag(field, LENGTH_DELIMITED);
        let start = self.bytes.len();
        let reserved = varint_length(to_u64(expected_bytes));
        self.bytes.resize(start + reserved, 0);
        write(self);
        let end = self.bytes.len();
        let length = end.saturating_sub(start + reserved);
        let needed = varint_length(to_u64(length));
        if needed > reserved {
            self.bytes.resize(end + needed - reserved, 0);
        }
        if needed != reserved {
            self.bytes
                .copy_within(start + reserved..end, start + needed);
            self.bytes.truncate(start + needed + length);
        }
        let mut rest = to_u64(length);
        for byte in self.bytes.iter_mut().skip(start).take(needed) {
            *byte = rest.to_le_bytes()[0] | 0x80;
            rest >>= 7;
        }
        // The last byte of a varint has no high bit.
        if let Some(last) = self.bytes.get_mut(start + needed - 1) {
            *last &= 0x7f;
        }
    }

    /// Writes an OTLP `KeyValue`, of which `write` writes the value, in `length` bytes.
    pub(crate) fn key_value(
        &mut self,
        field: u32,
        key: &[u8],
        length: usize,
        write: impl FnOnce(&mut Self),
    ) {
        let of_key = if key.is_empty() {
            0
        } else {
            bytes_length(key.len())
        };
        self.tag(field, LENGTH_DELIMITED);
        self.length(of_key + bytes_length(length));
        self.some_bytes(1, key);
        self.tag(2, LENGTH_DELIMITED);
        self.length(length);
        write(self);
    }

    /// Writes fields that are encoded already.
    pub(crate) fn fields(&mut self, encoded: &[u8]) {
        self.bytes.extend_from_slice(encoded);
    }

    // --- fields that are left out when they are zero or empty ---

    pub(crate) fn some_varint(&mut self, field: u32, number: u32) {
        if number != 0 {
            self.varint(field, number.into());
        }
    }

    pub(crate) fn some_fixed_32(&mut self, field: u32, number: u32) {
        if number != 0 {
            self.tag(field, FIXED_32);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn some_fixed_64(&mut self, field: u32, number: u64) {
        if number != 0 {
            self.tag(field, FIXED_64);
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn some_bytes(&mut self, field: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes(field, bytes);
        }
    }

    fn length(&mut self, length: usize) {
        put_varint(&mut self.bytes, to_u64(length));
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        put_varint(&mut self.bytes, u64::from(field << 3 | wire_type));
    }
}

pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    // Seven bits a byte, the lowest first; the high bit marks that more follow.
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Returns the number of bytes of a varint.
pub(crate) const fn varint_length(mut number: u64) -> usize {
    let mut bytes = 1;
    while number >= 0x80 {
        number >>= 7;
        bytes += 1;
    }
    bytes
}

/// Returns the length of a field, with a number below 16, of this many bytes.
pub(crate) fn bytes_length(bytes: usize) -> usize {
    1 + varint_length(to_u64(bytes)) + bytes
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_lengths_of_every_varint_size_are_written() {
        let lengths = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000];
        let expected = lengths.into_iter().flat_map(|length| {
            let others = [0, 1, length, length / 2, length * 200];
            others.map(|expected| (length, expected))
        });
        for (length, expected) in expected {
            let mut writer = MessageWriter::default();
            writer.message_of(1, expected, |inner| {
                inner.message(2, |innermost| {
                    innermost.bytes.resize(innermost.bytes.len() + length, 7);
                });
            });
            let bytes = writer.into_bytes();
            let mut inner = vec![2 << 3 | 2];
            prost::encoding::encode_varint(length.try_into().unwrap(), &mut inner);
            inner.resize(inner.len() + length, 7);
            let mut wanted = vec![1 << 3 | 2];
            prost::encoding::encode_varint(inner.len().try_into().unwrap(), &mut wanted);
            wanted.extend(inner);
            assert!(bytes == wanted, "{length}, expected {expected}");
        }
    }
}
