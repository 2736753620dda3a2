//! Expressions of a rule: a small program that loads a value into a register, compares it, and ends
//! with a verdict.

use std::net::IpAddr;

use super::attribute::NetlinkAttributes;
use crate::init::config::{IpNetwork, RedirectPorts};
use crate::init::ruleset::{ConnectionMatch, RedirectRule};

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_RANGE_SREG: u16 = 1;
const NFTA_RANGE_OP: u16 = 2;
const NFTA_RANGE_FROM_DATA: u16 = 3;
const NFTA_RANGE_TO_DATA: u16 = 4;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_BITWISE_SREG: u16 = 1;
const NFTA_BITWISE_DREG: u16 = 2;
const NFTA_BITWISE_LEN: u16 = 3;
const NFTA_BITWISE_MASK: u16 = 4;
const NFTA_BITWISE_XOR: u16 = 5;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFTA_REDIR_REG_PROTO_MIN: u16 = 1;
const NFTA_REDIR_FLAGS: u16 = 3;

const NFT_REG_VERDICT: u32 = 0;
/// The register of 16 bytes that every expression here uses.
const NFT_REG_1: u32 = 1;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_SKUID: u32 = 10;
const NFT_META_SKGID: u32 = 11;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_CMP_EQ: u32 = 0;
const NFT_RANGE_EQ: u32 = 0;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 2;

/// Ends the chain; the policy applies.
const NFT_RETURN: i32 = -5;

const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const IPPROTO_TCP: u8 = 6;

/// Length of an interface name, padded with zeros.
const IFNAMSIZ: usize = 16;

/// Expressions in the making.
#[derive(Debug, Default)]
struct ExpressionList(NetlinkAttributes);

/// Returns the expressions of a rule.
pub(super) fn of_rule(rule: &RedirectRule) -> NetlinkAttributes {
    let list = ExpressionList::default();
    match rule {
        RedirectRule::Return(matched) => list.matches(matched).verdict(NFT_RETURN),
        RedirectRule::RedirectTcp(port) => list
            .meta_equals(NFT_META_L4PROTO, &[IPPROTO_TCP])
            .redirect(*port),
    }
    .0
}

// === impl ExpressionList ===

impl ExpressionList {
    fn matches(self, matched: &ConnectionMatch) -> Self {
        match matched {
            // Ids are in the byte order of the machine.
            ConnectionMatch::User(uid) => self.meta_equals(NFT_META_SKUID, &uid.to_ne_bytes()),
            ConnectionMatch::Group(gid) => self.meta_equals(NFT_META_SKGID, &gid.to_ne_bytes()),
            ConnectionMatch::FromLoopback => {
                let mut name = b"lo".to_vec();
                name.resize(IFNAMSIZ, 0);
                self.meta_equals(NFT_META_IIFNAME, &name)
            }
            ConnectionMatch::Network(network) => self.destination(network),
            ConnectionMatch::Ports(ports) => self.ports(ports),
        }
    }

    /// Matches the destination address behind a test of the family.
    fn destination(self, network: &IpNetwork) -> Self {
        // Offsets of the destination: RFC 791, section 3.1, and RFC 8200, section 3.
        let (family, offset, address) = match network.address {
            IpAddr::V4(address) => (NFPROTO_IPV4, 16, address.octets().to_vec()),
            IpAddr::V6(address) => (NFPROTO_IPV6, 24, address.octets().to_vec()),
        };
        let mask = mask(network.prefix_bits, address.len());
        let masked: Vec<u8> = address.iter().zip(&mask).map(|(a, m)| a & m).collect();
        let list = self.meta_equals(NFT_META_NFPROTO, &[family]).payload(
            NFT_PAYLOAD_NETWORK_HEADER,
            offset,
            address.len(),
        );
        let list = if mask.iter().all(|byte| *byte == u8::MAX) {
            list
        } else {
            list.bitwise_and(&mask)
        };
        list.equals(&masked)
    }

    fn ports(self, ports: &RedirectPorts) -> Self {
        let list = self
            .meta_equals(NFT_META_L4PROTO, &[IPPROTO_TCP])
            // RFC 9293, section 3.1.
            .payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
        if ports.first == ports.last {
            return list.equals(&ports.first.to_be_bytes());
        }
        let attributes = NetlinkAttributes::default()
            .number(NFTA_RANGE_SREG, NFT_REG_1)
            .number(NFTA_RANGE_OP, NFT_RANGE_EQ)
            .nested(NFTA_RANGE_FROM_DATA, &value(&ports.first.to_be_bytes()))
            .nested(NFTA_RANGE_TO_DATA, &value(&ports.last.to_be_bytes()));
        list.push("range", &attributes)
    }

    fn meta_equals(self, key: u32, expected: &[u8]) -> Self {
        let attributes = NetlinkAttributes::default()
            .number(NFTA_META_KEY, key)
            .number(NFTA_META_DREG, NFT_REG_1);
        self.push("meta", &attributes).equals(expected)
    }

    fn payload(self, base: u32, offset: u32, length: usize) -> Self {
        let attributes = NetlinkAttributes::default()
            .number(NFTA_PAYLOAD_DREG, NFT_REG_1)
            .number(NFTA_PAYLOAD_BASE, base)
            .number(NFTA_PAYLOAD_OFFSET, offset)
            .number(NFTA_PAYLOAD_LEN, byte_count(length));
        self.push("payload", &attributes)
    }

    fn bitwise_and(self, mask: &[u8]) -> Self {
        let zeros = vec![0; mask.len()];
        let attributes = NetlinkAttributes::default()
            .number(NFTA_BITWISE_SREG, NFT_REG_1)
            .number(NFTA_BITWISE_DREG, NFT_REG_1)
            .number(NFTA_BITWISE_LEN, byte_count(mask.len()))
            .nested(NFTA_BITWISE_MASK, &value(mask))
            .nested(NFTA_BITWISE_XOR, &value(&zeros));
        self.push("bitwise", &attributes)
    }

    fn equals(self, expected: &[u8]) -> Self {
        let attributes = NetlinkAttributes::default()
            .number(NFTA_CMP_SREG, NFT_REG_1)
            .number(NFTA_CMP_OP, NFT_CMP_EQ)
            .nested(NFTA_CMP_DATA, &value(expected));
        self.push("cmp", &attributes)
    }

    fn verdict(self, code: i32) -> Self {
        let code = NetlinkAttributes::default().number(NFTA_VERDICT_CODE, code.cast_unsigned());
        let data = NetlinkAttributes::default().nested(NFTA_DATA_VERDICT, &code);
        let attributes = NetlinkAttributes::default()
            .number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT)
            .nested(NFTA_IMMEDIATE_DATA, &data);
        self.push("immediate", &attributes)
    }

    fn redirect(self, port: u16) -> Self {
        let load = NetlinkAttributes::default()
            .number(NFTA_IMMEDIATE_DREG, NFT_REG_1)
            .nested(NFTA_IMMEDIATE_DATA, &value(&port.to_be_bytes()));
        let redirect = NetlinkAttributes::default()
            .number(NFTA_REDIR_REG_PROTO_MIN, NFT_REG_1)
            .number(NFTA_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
        self.push("immediate", &load).push("redir", &redirect)
    }

    fn push(self, name: &str, attributes: &NetlinkAttributes) -> Self {
        let expression = NetlinkAttributes::default()
            .text(NFTA_EXPR_NAME, name)
            .nested(NFTA_EXPR_DATA, attributes);
        Self(self.0.nested(NFTA_LIST_ELEM, &expression))
    }
}

fn value(bytes: &[u8]) -> NetlinkAttributes {
    NetlinkAttributes::default().bytes(NFTA_DATA_VALUE, bytes)
}

/// Returns the mask of a prefix in an address of `length` bytes.
fn mask(prefix_bits: u8, length: usize) -> Vec<u8> {
    let bits = usize::from(prefix_bits);
    (0..length)
        .map(|index| match bits.saturating_sub(index * 8) {
            0 => 0,
            set @ 1..=7 => u8::MAX << (8 - set),
            _ => u8::MAX,
        })
        .collect()
}

/// Lengths here are those of addresses.
fn byte_count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_bits_of_the_prefix() {
        assert_eq!(mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(mask(8, 4), [255, 0, 0, 0]);
        assert_eq!(mask(12, 4), [255, 240, 0, 0]);
        assert_eq!(mask(32, 4), [255; 4]);
        assert_eq!(mask(128, 16), [255; 16]);
    }
}
