//! Attributes of netlink messages: length, type, value, padding.

/// Attributes begin at multiples of this.
pub(super) const ALIGNMENT: usize = 4;

const NLA_F_NESTED: u16 = 0x8000;

/// Attributes in the making.
#[derive(Debug, Default)]
pub(super) struct NetlinkAttributes {
    bytes: Vec<u8>,
}

// === impl NetlinkAttributes ===

impl NetlinkAttributes {
    /// Returns the bytes of the attributes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(ALIGNMENT + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        let aligned = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(aligned, 0);
        self
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let terminated = [value.as_bytes(), &[0]].concat();
        self.bytes(kind, &terminated)
    }

    /// Numbers of nf_tables are in network byte order.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nested(self, kind: u16, value: &Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &value.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_their_length_is_not() {
        let nested = NetlinkAttributes::default().text(1, "lo");
        let bytes = NetlinkAttributes::default().nested(4, &nested).bytes;
        let mut expected = Vec::new();
        expected.extend(12_u16.to_ne_bytes());
        expected.extend((4 | NLA_F_NESTED).to_ne_bytes());
        expected.extend(7_u16.to_ne_bytes());
        expected.extend(1_u16.to_ne_bytes());
        expected.extend(*b"lo\0\0");
        assert_eq!(bytes, expected);
    }
}
