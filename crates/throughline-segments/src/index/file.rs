//! The file of an index. It is a cache: whatever is wrong with it, it is built again.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crc_fast::{CrcAlgorithm, checksum};
use throughline_model::TraceId;
use throughline_store::target_hash;

use super::byte_codec::{read_count, read_trace_id, read_u32, read_varint, write_varint};
use super::{IndexHeader, IndexedTrace, PostingLists, SegmentIndex, SegmentNames, TraceFilter};

/// The first bytes of an index; the last one is the version.
const MAGIC: &[u8; 8] = b"TLINDEX\x01";

/// Length of what precedes the sections: the magic number, the hash of [`probe`], and the length
/// and checksum of both sections.
const PREFIX_BYTES: usize = 28;

/// Maximum length of a section when it is inflated.
const MAX_SECTION_BYTES: usize = 1 << 30;

/// Writes an index in place of an earlier one.
pub(crate) fn write(path: &Path, header: &IndexHeader, index: &SegmentIndex) -> io::Result<()> {
    let header = zstd::bulk::compress(&header_bytes(header), 1)?;
    let body = zstd::bulk::compress(&body_bytes(index), 1)?;
    let mut prefix = MAGIC.to_vec();
    prefix.extend(probe().to_le_bytes());
    for section in [&header, &body] {
        let length = u32::try_from(section.len()).map_err(io::Error::other)?;
        prefix.extend(length.to_le_bytes());
        prefix.extend(section_crc(section).to_le_bytes());
    }
    // A reader sees a whole index or none; a torn one has a wrong checksum.
    let temporary = path.with_extension("index.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&prefix)?;
    file.write_all(&header)?;
    file.write_all(&body)?;
    std::fs::rename(temporary, path)
}

/// Reads the header; `None` when there is no usable index.
pub(crate) fn read_header(path: &Path) -> Option<IndexHeader> {
    parse_header(&read_section(path, 0)?)
}

/// Reads the rest of an index; `None` when it is not usable.
pub(crate) fn read_body(path: &Path) -> Option<SegmentIndex> {
    parse_body(&read_section(path, 1)?)
}

/// Returns the hash of a fixed id: the hashes of another version of the standard library may
/// differ.
fn probe() -> u32 {
    TraceId::from_bytes([7; 16]).map_or(0, target_hash)
}

fn section_crc(section: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32Iscsi, section)).unwrap_or_default()
}

fn read_section(path: &Path, number: usize) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let mut prefix = [0; PREFIX_BYTES];
    file.read_exact_at(&mut prefix, 0).ok()?;
    let mut numbers = prefix
        .strip_prefix(MAGIC)?
        .chunks_exact(4)
        .filter_map(|it| {
            let number: [u8; 4] = it.try_into().ok()?;
            Some(u32::from_le_bytes(number))
        });
    if numbers.next()? != probe() {
        return None;
    }
    let mut offset = PREFIX_BYTES as u64;
    for _ in 0..number {
        offset += u64::from(numbers.next()?);
        numbers.next()?;
    }
    let length = u64::from(numbers.next()?);
    let crc = numbers.next()?;
    if offset + length > file.metadata().ok()?.len() {
        return None;
    }
    let mut section = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut section, offset).ok()?;
    if section_crc(&section) != crc {
        return None;
    }
    let length = zstd::zstd_safe::get_frame_content_size(&section).ok()??;
    let length = usize::try_from(length).ok()?;
    (length <= MAX_SECTION_BYTES).then_some(())?;
    zstd::bulk::decompress(&section, length).ok()
}

fn header_bytes(header: &IndexHeader) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [
        header.spans,
        header.traces,
        header.first_start,
        header.last_first_start,
        header.last_start,
        header.shared.len() as u64,
    ] {
        write_varint(&mut out, number);
    }
    for id in &header.shared {
        out.extend(id.to_bytes());
    }
    header.filter.write(&mut out);
    out
}

fn parse_header(mut bytes: &[u8]) -> Option<IndexHeader> {
    let bytes = &mut bytes;
    let mut header = IndexHeader {
        spans: read_varint(bytes)?,
        traces: read_varint(bytes)?,
        first_start: read_varint(bytes)?,
        last_first_start: read_varint(bytes)?,
        last_start: read_varint(bytes)?,
        ..IndexHeader::default()
    };
    for _ in 0..read_count(bytes)? {
        header.shared.push(read_trace_id(bytes)?);
    }
    header.filter = TraceFilter::read(bytes)?;
    Some(header)
}

fn body_bytes(index: &SegmentIndex) -> Vec<u8> {
    let mut out = Vec::new();
    write_varint(&mut out, index.traces.len() as u64);
    for trace in &index.traces {
        out.extend(trace.id.to_bytes());
        write_varint(&mut out, trace.spans.into());
        write_varint(&mut out, trace.first_start);
        write_varint(&mut out, trace.last_start.wrapping_sub(trace.first_start));
        write_varint(&mut out, trace.duration);
        write_varint(&mut out, trace.errors);
    }
    let PostingLists {
        hashes,
        ends,
        lists,
    } = &index.postings;
    write_varint(&mut out, hashes.len() as u64);
    let (mut last_hash, mut last_end) = (0, 0);
    for (hash, end) in hashes.iter().zip(ends) {
        write_varint(&mut out, u64::from(hash - last_hash));
        write_varint(&mut out, u64::from(end - last_end));
        (last_hash, last_end) = (*hash, *end);
    }
    write_varint(&mut out, lists.len() as u64);
    out.extend(lists);
    index.names.write(&mut out);
    out
}

fn parse_body(mut bytes: &[u8]) -> Option<SegmentIndex> {
    let bytes = &mut bytes;
    let mut index = SegmentIndex::default();
    let mut row = 0u32;
    for _ in 0..read_count(bytes)? {
        let id = read_trace_id(bytes)?;
        let spans = read_u32(bytes)?;
        let first_start = read_varint(bytes)?;
        index.traces.push(IndexedTrace {
            id,
            first_row: row,
            spans,
            first_start,
            last_start: first_start.wrapping_add(read_varint(bytes)?),
            duration: read_varint(bytes)?,
            errors: read_varint(bytes)?,
        });
        row = row.checked_add(spans)?;
    }
    let postings = &mut index.postings;
    let (mut hash, mut end) = (0u32, 0u32);
    for _ in 0..read_count(bytes)? {
        hash = hash.checked_add(read_u32(bytes)?)?;
        end = end.checked_add(read_u32(bytes)?)?;
        postings.hashes.push(hash);
        postings.ends.push(end);
    }
    let length = read_count(bytes)?;
    let (lists, rest) = bytes.split_at_checked(length)?;
    postings.lists = lists.to_vec();
    *bytes = rest;
    index.names = SegmentNames::read(bytes)?;
    Some(index)
}
