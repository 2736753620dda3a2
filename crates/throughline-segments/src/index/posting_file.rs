//! The posting lists of an index in its file: blocks that are read one by one.

use std::os::unix::fs::FileExt as _;

use crc_fast::{CrcAlgorithm, checksum};

use super::byte_codec::{read_count, read_u32, read_varint, write_varint};
use super::posting_lists::PostingLists;
use super::trace_bitmap::TraceBitmap;
use crate::objects::StoredFile;

/// Hashes of a block.
const BLOCK_HASHES: usize = 1024;

/// Maximum length of a block when it is inflated.
const MAX_BLOCK_BYTES: usize = 1 << 28;

/// The posting lists of an index, in its file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PostingFile {
    pub(super) file: StoredFile,
    blocks: Vec<PostingBlock>,
}

/// A block of lists.
#[derive(Debug, Clone, Copy, PartialEq)]
struct PostingBlock {
    first_hash: u32,
    /// Position in the file.
    offset: u64,
    length: u32,
    crc: u32,
}

/// Returns the checksum of a section or block.
pub(super) fn section_crc(section: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, section)).unwrap_or_default()
}

// === impl PostingLists ===

impl PostingLists {
    /// Returns the lists as blocks, and a directory of them.
    pub(super) fn to_blocks(&self) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let (mut blocks, mut directory) = (Vec::new(), Vec::new());
        write_varint(
            &mut directory,
            self.hashes.len().div_ceil(BLOCK_HASHES) as u64,
        );
        let mut compressor = zstd::bulk::Compressor::new(1)?;
        let mut start = 0;
        let chunks = self.hashes.chunks(BLOCK_HASHES);
        for (hashes, ends) in chunks.zip(self.ends.chunks(BLOCK_HASHES)) {
            let first = hashes.first().copied().unwrap_or_default();
            let end = ends.last().map_or(start, |end| *end as usize);
            let mut block = Vec::new();
            write_varint(&mut block, hashes.len() as u64);
            let (mut last_hash, mut last_end) = (first, start);
            for (hash, end) in hashes.iter().zip(ends) {
                write_varint(&mut block, u64::from(hash - last_hash));
                write_varint(&mut block, (*end as usize - last_end) as u64);
                (last_hash, last_end) = (*hash, *end as usize);
            }
            block.extend_from_slice(self.lists.get(start..end).unwrap_or_default());
            start = end;
            let block = compressor.compress(&block)?;
            write_varint(&mut directory, first.into());
            write_varint(&mut directory, block.len() as u64);
            write_varint(&mut directory, section_crc(&block).into());
            blocks.extend_from_slice(&block);
        }
        Ok((blocks, directory))
    }
}

// === impl PostingFile ===

impl PostingFile {
    /// Reads the directory of blocks that begin at `offset` of a file.
    pub(super) fn read(bytes: &mut &[u8], file: &StoredFile, mut offset: u64) -> Option<Self> {
        let mut blocks = Vec::new();
        for _ in 0..read_count(bytes)? {
            let first_hash = read_u32(bytes)?;
            let (length, crc) = (read_u32(bytes)?, read_u32(bytes)?);
            blocks.push(PostingBlock {
                first_hash,
                offset,
                length,
                crc,
            });
            offset += u64::from(length);
        }
        Some(Self {
            file: file.clone(),
            blocks,
        })
    }

    pub(super) const fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<PostingBlock>()
    }

    /// Returns the traces with this hash, of this number; all of them where the file cannot be
    /// read.
    pub(super) fn set(&self, hash: u32, traces: usize) -> TraceBitmap {
        let after = self
            .blocks
            .partition_point(|block| block.first_hash <= hash);
        let Some(block) = after.checked_sub(1).and_then(|at| self.blocks.get(at)) else {
            return TraceBitmap::new(traces);
        };
        let content = self.content(*block);
        let set = content.and_then(|content| find(&content, *block, hash, traces));
        set.unwrap_or_else(|| {
            tracing::warn!(path = %self.file.path().display(), "an index is damaged");
            TraceBitmap::all(traces)
        })
    }

    fn content(&self, block: PostingBlock) -> Option<Vec<u8>> {
        let file = self.file.open().ok()?;
        // Within the file, so that a damaged length takes no more memory than the file has.
        let end = block.offset + u64::from(block.length);
        (end <= file.metadata().ok()?.len()).then_some(())?;
        let mut bytes = vec![0; usize::try_from(block.length).ok()?];
        file.read_exact_at(&mut bytes, block.offset).ok()?;
        (section_crc(&bytes) == block.crc).then_some(())?;
        let length = zstd::zstd_safe::get_frame_content_size(&bytes).ok()??;
        let length = usize::try_from(length).ok()?;
        (length <= MAX_BLOCK_BYTES).then_some(())?;
        zstd::bulk::decompress(&bytes, length).ok()
    }
}

/// Finds the list of a hash in a block; an empty set when there is none.
fn find(mut block: &[u8], entry: PostingBlock, hash: u32, traces: usize) -> Option<TraceBitmap> {
    let bytes = &mut block;
    let count = read_count(bytes)?;
    let (mut own, mut start) = (entry.first_hash, 0usize);
    let mut found = None;
    for _ in 0..count {
        own = own.checked_add(read_u32(bytes)?)?;
        let length = usize::try_from(read_varint(bytes)?).ok()?;
        let end = start.checked_add(length)?;
        if own == hash {
            found = Some(start..end);
        }
        start = end;
    }
    let mut set = TraceBitmap::new(traces);
    let Some(range) = found else {
        return Some(set);
    };
    let mut list = bytes.get(range)?;
    let mut number = 0u64;
    while !list.is_empty() {
        number = number.checked_add(read_varint(&mut list)?)?;
        set.insert(usize::try_from(number).ok()?);
    }
    Some(set)
}
