//! The file of an index. It is a cache: whatever is wrong with it, it is built again.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use throughline_model::TraceId;
use throughline_store::target_hash;

use super::byte_codec::{read_count, read_trace_id, read_u32, read_varint, write_varint};
use super::name_counter::names_of;
use super::posting_file::{PostingFile, section_crc};
use super::posting_lists::PostingLists;
use super::row_facts::{RowDurations, RowFacts};
use super::{IndexHeader, IndexedTrace, SegmentIndex, SegmentNames, TraceFilter};
use crate::columns::{HotColumns, SealedOrder};
use crate::objects::StoredFile;

/// The first bytes of an index; the last one is the version.
const MAGIC: &[u8; 8] = b"TLINDEX\x04";

/// Sections in their order: what stays in memory, traces and names, facts of rows, one column after
/// the other, and the directory of posting lists. The lists come last.
const SECTIONS: usize = 8;
const HEADER: usize = 0;
const BODY: usize = 1;
const FACTS: usize = 2;
const FACT_SERVICES: usize = 3;
const FACT_DURATIONS: usize = 4;
const FACT_PARENTS: usize = 5;
const FACT_BITS: usize = 6;
const DIRECTORY: usize = 7;

/// Length of what precedes the sections: the magic number, the hash of [`probe`], and length and
/// checksum of each section.
const PREFIX_BYTES: usize = 12 + SECTIONS * 8;

/// Maximum length of a section when it is inflated.
const MAX_SECTION_BYTES: usize = 1 << 30;

/// An index before it is written.
#[derive(Debug)]
pub(crate) struct BuiltIndex {
    pub(crate) traces: Vec<IndexedTrace>,
    names: SegmentNames,
    postings: PostingLists,
    facts: RowFacts,
}

// === impl BuiltIndex ===

impl BuiltIndex {
    /// Builds the index of a segment with these rows.
    pub(crate) fn of(columns: &HotColumns, order: &SealedOrder) -> Self {
        let facts = RowFacts::of(columns, order);
        let mut row = 0;
        let traces = (0..)
            .zip(&order.traces)
            .filter_map(|(at, (number, spans))| {
                let trace = columns.trace(*number)?;
                let first_row = row;
                row += spans;
                Some(IndexedTrace {
                    id: trace.id,
                    first_row,
                    spans: *spans,
                    first_start: trace.first_start,
                    last_start: trace.last_start,
                    duration: trace.duration(),
                    errors: trace.errors.into(),
                    is_outlined: facts.is_outlined(at),
                })
            });
        Self {
            traces: traces.collect(),
            names: names_of(columns),
            postings: PostingLists::of(columns, order),
            facts,
        }
    }

    /// Returns the header of the index.
    pub(crate) fn header(&self, shared: Vec<TraceId>) -> IndexHeader {
        let traces = || self.traces.iter();
        IndexHeader {
            spans: traces().map(|trace| u64::from(trace.spans)).sum(),
            traces: self.traces.len() as u64,
            first_start: traces().map(|it| it.first_start).min().unwrap_or(u64::MAX),
            last_first_start: traces().map(|it| it.first_start).max().unwrap_or_default(),
            last_start: traces().map(|it| it.last_start).max().unwrap_or_default(),
            filter: TraceFilter::of(traces().map(|trace| trace.id)),
            shared,
        }
    }
}

/// Writes an index in place of an earlier one.
pub(crate) fn write(path: &Path, header: &IndexHeader, index: &BuiltIndex) -> io::Result<()> {
    let (blocks, directory) = index.postings.to_blocks()?;
    let facts = &index.facts;
    let sections = [
        header_bytes(header),
        body_bytes(index),
        facts.to_bytes(),
        facts.column(|row| row.service.to_le_bytes()),
        facts.column(|row| row.duration.to_le_bytes()),
        facts.column(|row| row.parent.to_le_bytes()),
        facts.column(|row| [row.bits]),
        directory,
    ];
    let sections = sections.map(|section| zstd::bulk::compress(&section, 1));
    let mut prefix = MAGIC.to_vec();
    prefix.extend(probe().to_le_bytes());
    let mut content = Vec::new();
    for section in sections {
        let section = section?;
        let length = u32::try_from(section.len()).map_err(io::Error::other)?;
        prefix.extend(length.to_le_bytes());
        prefix.extend(section_crc(&section).to_le_bytes());
        content.extend(section);
    }
    // A reader sees a whole index or none; a torn one has a wrong checksum.
    let temporary = path.with_extension("index.tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&prefix)?;
    file.write_all(&content)?;
    file.write_all(&blocks)?;
    std::fs::rename(temporary, path)
}

/// Reads the header; `None` when there is no usable index.
pub(crate) fn read_header(file: &StoredFile) -> Option<IndexHeader> {
    parse_header(&SectionReader::open(file)?.read(HEADER)?)
}

/// Reads traces, names and the directory of postings; `None` when they are not usable.
pub(crate) fn read_body(file: &StoredFile) -> Option<SegmentIndex> {
    let sections = SectionReader::open(file)?;
    let mut index = parse_body(&sections.read(BODY)?)?;
    let directory = sections.read(DIRECTORY)?;
    let lists = sections.end(DIRECTORY)?;
    index.postings = PostingFile::read(&mut directory.as_slice(), file, lists)?;
    Some(index)
}

/// Reads the facts of the rows; `None` when they are not usable.
pub(crate) fn read_row_facts(file: &StoredFile) -> Option<RowFacts> {
    let sections = SectionReader::open(file)?;
    let mut facts = RowFacts::parse(&sections.read(FACTS)?)?;
    let columns = [FACT_SERVICES, FACT_DURATIONS, FACT_PARENTS, FACT_BITS];
    let [services, durations, parents, bits] = columns.map(|it| sections.read(it));
    facts.set_rows(&services?, &durations?, &parents?, &bits?)?;
    Some(facts)
}

/// Reads the services and durations of the rows; `None` when they are not usable.
pub(crate) fn read_row_durations(file: &StoredFile) -> Option<RowDurations> {
    let sections = SectionReader::open(file)?;
    let facts = RowFacts::parse(&sections.read(FACTS)?)?;
    let (services, durations) = (
        sections.read(FACT_SERVICES)?,
        sections.read(FACT_DURATIONS)?,
    );
    RowDurations::new(facts.services, services, durations)
}

/// Returns the hash of a fixed id: the hashes of another version of the standard library may
/// differ.
fn probe() -> u32 {
    TraceId::from_bytes([7; 16]).map_or(0, target_hash)
}

/// The sections of a file.
struct SectionReader {
    file: File,
    /// Position, length and checksum of each.
    sections: Vec<(u64, u32, u32)>,
}

// === impl SectionReader ===

impl SectionReader {
    fn open(file: &StoredFile) -> Option<Self> {
        let file = file.open().ok()?;
        let mut prefix = [0; PREFIX_BYTES];
        file.read_exact_at(&mut prefix, 0).ok()?;
        let numbers = prefix.strip_prefix(MAGIC)?.chunks_exact(4);
        let mut numbers = numbers.filter_map(|it| {
            let number: [u8; 4] = it.try_into().ok()?;
            Some(u32::from_le_bytes(number))
        });
        if numbers.next()? != probe() {
            return None;
        }
        let mut offset = PREFIX_BYTES as u64;
        let mut sections = Vec::with_capacity(SECTIONS);
        for _ in 0..SECTIONS {
            let (length, crc) = (numbers.next()?, numbers.next()?);
            sections.push((offset, length, crc));
            offset += u64::from(length);
        }
        // No more is read than the file has, whatever its lengths say.
        (offset <= file.metadata().ok()?.len()).then_some(Self { file, sections })
    }

    /// Returns the position behind a section.
    fn end(&self, number: usize) -> Option<u64> {
        let (offset, length, _) = self.sections.get(number)?;
        Some(offset + u64::from(*length))
    }

    fn read(&self, number: usize) -> Option<Vec<u8>> {
        let (offset, length, crc) = *self.sections.get(number)?;
        let mut section = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut section, offset).ok()?;
        if section_crc(&section) != crc {
            return None;
        }
        let length = zstd::zstd_safe::get_frame_content_size(&section).ok()??;
        let length = usize::try_from(length).ok()?;
        (length <= MAX_SECTION_BYTES).then_some(())?;
        zstd::bulk::decompress(&section, length).ok()
    }
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
    header.shared.shrink_to_fit();
    header.filter = TraceFilter::read(bytes)?;
    Some(header)
}

fn body_bytes(index: &BuiltIndex) -> Vec<u8> {
    let mut out = Vec::new();
    let base = index.traces.iter().map(|trace| trace.first_start).min();
    let base = base.unwrap_or_default();
    write_varint(&mut out, base);
    write_varint(&mut out, index.traces.len() as u64);
    for trace in &index.traces {
        out.extend(trace.id.to_bytes());
        write_varint(&mut out, trace.spans.into());
        write_varint(&mut out, trace.first_start - base);
        write_varint(&mut out, trace.last_start.wrapping_sub(trace.first_start));
        write_varint(&mut out, trace.duration);
        write_varint(&mut out, trace.errors << 1 | u64::from(trace.is_outlined));
    }
    index.names.write(&mut out);
    out
}

fn parse_body(mut bytes: &[u8]) -> Option<SegmentIndex> {
    let bytes = &mut bytes;
    let mut index = SegmentIndex::default();
    let mut row = 0u32;
    let base = read_varint(bytes)?;
    for _ in 0..read_count(bytes)? {
        let id = read_trace_id(bytes)?;
        let spans = read_u32(bytes)?;
        let first_start = base.checked_add(read_varint(bytes)?)?;
        let last_start = first_start.wrapping_add(read_varint(bytes)?);
        let (duration, errors) = (read_varint(bytes)?, read_varint(bytes)?);
        index.traces.push(IndexedTrace {
            id,
            first_row: row,
            spans,
            first_start,
            last_start,
            duration,
            errors: errors >> 1,
            is_outlined: errors & 1 == 1,
        });
        row = row.checked_add(spans)?;
    }
    index.names = SegmentNames::read(bytes)?;
    Some(index)
}
