//! Protobuf's wire format, as far as it is written here: no types in between, no allocation but the message itself.
//!
//! Source: protobuf.dev, "Encoding". Fields come out in the order in which they are written; who writes them in the order of
//! their numbers, and leaves out what is zero or empty, has byte for byte what others have.

/// A message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FIXED_32: u32 = 5;

/// A number of 64 bits in groups of seven.
const VARINT_MAX: usize = 10;

// === impl Writer ===

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    // --- fields that are always written: those of a oneof ---

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
        put_varint(
            &mut self.bytes,
            u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        );
        self.bytes.extend_from_slice(bytes);
    }

    /// A message in this one. Its length stands before it and is known behind it: room is left for that of a short one, and the
    /// others are moved.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH_DELIMITED);
        let place = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let length = self.bytes.len().saturating_sub(place + 1);
        match (u8::try_from(length), self.bytes.get_mut(place)) {
            (Ok(short @ ..0x80), Some(room)) => *room = short,
            _ => {
                let mut prefix = Vec::with_capacity(VARINT_MAX);
                put_varint(&mut prefix, u64::try_from(length).unwrap_or(u64::MAX));
                self.bytes.splice(place..=place, prefix);
            }
        }
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

    fn tag(&mut self, field: u32, wire_type: u32) {
        put_varint(&mut self.bytes, u64::from(field << 3 | wire_type));
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lengths_of_messages_are_found_at_every_size_of_their_numbers() {
        for length in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000] {
            let mut writer = Writer::default();
            writer.message(1, |inner| {
                inner.message(2, |innermost| {
                    innermost.bytes.resize(innermost.bytes.len() + length, 7)
                });
            });
            let bytes = writer.into_bytes();
            let mut inner = vec![2 << 3 | 2];
            prost::encoding::encode_varint(length.try_into().unwrap(), &mut inner);
            inner.resize(inner.len() + length, 7);
            let mut wanted = vec![1 << 3 | 2];
            prost::encoding::encode_varint(inner.len().try_into().unwrap(), &mut wanted);
            wanted.extend(inner);
            assert!(bytes == wanted, "{length}");
        }
    }
}
