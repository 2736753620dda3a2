//! Netlink messages: the batch that replaces the table, and the responses to it.

use std::io;

use super::attribute::{ALIGNMENT, NetlinkAttributes};
use super::expression;
use crate::init::ruleset::{NatHook, RedirectChain, RedirectRule, TABLE};

// Flags of a message (linux/netlink.h).
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// Type of a response: an error number, 0 for success.
const NLMSG_ERROR: u16 = 2;

// Types of messages (linux/netfilter/nfnetlink.h, nf_tables.h).
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_NEWRULE: u16 = 6;

const AF_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;

// Attributes.
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;

const NF_ACCEPT: u32 = 1;
const NF_INET_PRE_ROUTING: u32 = 0;
const NF_INET_LOCAL_OUT: u32 = 3;

/// Priority of destination NAT.
const NF_IP_PRI_NAT_DST: i32 = -100;

const HEADER_BYTES: usize = 16;

/// Messages that take effect together.
#[derive(Debug)]
pub(super) struct MessageBatch {
    bytes: Vec<u8>,
    acknowledged: usize,
}

// === impl MessageBatch ===

impl MessageBatch {
    /// Returns the batch that replaces the table by one with these chains, or removes it if there
    /// are none.
    pub(super) fn replacing_table(chains: &[RedirectChain]) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            acknowledged: 0,
        };
        batch.push_marker(NFNL_MSG_BATCH_BEGIN);
        // A table that does not exist cannot be deleted, so it is created first.
        let table = || NetlinkAttributes::default().text(NFTA_TABLE_NAME, TABLE);
        batch.push(NFT_MSG_NEWTABLE, NLM_F_CREATE, &table());
        batch.push(NFT_MSG_DELTABLE, 0, &table());
        if !chains.is_empty() {
            batch.push(NFT_MSG_NEWTABLE, NLM_F_CREATE, &table());
        }
        for chain in chains {
            batch.push(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &chain_attributes(chain));
            for rule in &chain.rules {
                let flags = NLM_F_CREATE | NLM_F_APPEND;
                batch.push(NFT_MSG_NEWRULE, flags, &rule_attributes(chain, rule));
            }
        }
        batch.push_marker(NFNL_MSG_BATCH_END);
        batch
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many messages the kernel acknowledges.
    pub(super) const fn acknowledged_messages(&self) -> usize {
        self.acknowledged
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: &NetlinkAttributes) {
        self.acknowledged += 1;
        let kind = (NFNL_SUBSYS_NFTABLES << 8) | kind;
        let head = [NFPROTO_INET, 0, 0, 0];
        self.push_message(kind, flags | NLM_F_ACK, head, attributes.as_bytes());
    }

    fn push_marker(&mut self, kind: u16) {
        let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
        self.push_message(kind, 0, [AF_UNSPEC, 0, high, low], &[]);
    }

    /// Writes `nlmsghdr`, `nfgenmsg` and the attributes.
    fn push_message(&mut self, kind: u16, flags: u16, head: [u8; 4], attributes: &[u8]) {
        let length = HEADER_BYTES + head.len() + attributes.len();
        // A rule has some hundred bytes.
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let sequence = u32::try_from(self.acknowledged).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        // Port 0: the kernel fills in that of the socket.
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(head);
        self.bytes.extend(attributes);
    }
}

fn chain_attributes(chain: &RedirectChain) -> NetlinkAttributes {
    let hook = match chain.hook {
        NatHook::Prerouting => NF_INET_PRE_ROUTING,
        NatHook::Output => NF_INET_LOCAL_OUT,
    };
    let hook = NetlinkAttributes::default()
        .number(NFTA_HOOK_HOOKNUM, hook)
        .number(NFTA_HOOK_PRIORITY, NF_IP_PRI_NAT_DST.cast_unsigned());
    NetlinkAttributes::default()
        .text(NFTA_CHAIN_TABLE, TABLE)
        .text(NFTA_CHAIN_NAME, chain.name)
        .nested(NFTA_CHAIN_HOOK, &hook)
        .number(NFTA_CHAIN_POLICY, NF_ACCEPT)
        .text(NFTA_CHAIN_TYPE, "nat")
}

fn rule_attributes(chain: &RedirectChain, rule: &RedirectRule) -> NetlinkAttributes {
    NetlinkAttributes::default()
        .text(NFTA_RULE_TABLE, TABLE)
        .text(NFTA_RULE_CHAIN, chain.name)
        .nested(NFTA_RULE_EXPRESSIONS, &expression::of_rule(rule))
}

/// Returns the number of acknowledgements in a datagram of the kernel.
///
/// # Errors
/// The first error in it.
pub(super) fn parse_acknowledgements(mut bytes: &[u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let [l0, l1, l2, l3, k0, k1, ..] = *header;
        let length = u32::from_ne_bytes([l0, l1, l2, l3]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let invalid = || io::Error::other("the kernel's response cannot be read");
        let body = bytes.get(HEADER_BYTES..length).ok_or_else(invalid)?;
        if u16::from_ne_bytes([k0, k1]) == NLMSG_ERROR {
            let (code, _) = body.split_first_chunk::<4>().ok_or_else(invalid)?;
            match i32::from_ne_bytes(*code) {
                0 => count += 1,
                // The number is negative.
                code => return Err(io::Error::from_raw_os_error(code.saturating_neg())),
            }
        }
        let next = length.next_multiple_of(ALIGNMENT);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_counted_and_an_error_is_returned() {
        let response = |code: i32| {
            let mut bytes = Vec::new();
            bytes.extend(20_u32.to_ne_bytes());
            bytes.extend(NLMSG_ERROR.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        let two = [response(0), response(0)].concat();
        assert_eq!(parse_acknowledgements(&two).unwrap(), 2);
        let failed = [response(0), response(-1)].concat();
        let error = parse_acknowledgements(&failed).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(parse_acknowledgements(&two[..18]).is_err());
        assert_eq!(parse_acknowledgements(&[]).unwrap(), 0);
    }
}
