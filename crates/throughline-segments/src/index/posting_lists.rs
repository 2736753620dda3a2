//! The posting lists of a segment while they are built.

use super::byte_codec;

/// The traces, by number, that have a name, a value, a span or a link with a hash.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PostingLists {
    /// Sorted.
    pub(super) hashes: Vec<u32>,
    /// End of the list of each hash in `lists`.
    pub(super) ends: Vec<u32>,
    /// Distances of the numbers of a list, as varints.
    pub(super) lists: Vec<u8>,
}

// === impl PostingLists ===

impl PostingLists {
    /// Adds a hash with its traces, which are in rising order.
    pub(super) fn push(&mut self, hash: u32, traces: &[u32]) {
        let mut last = 0;
        for trace in traces {
            byte_codec::write_varint(&mut self.lists, u64::from(trace - last));
            last = *trace;
        }
        self.hashes.push(hash);
        let end = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
        self.ends.push(end);
    }
}
