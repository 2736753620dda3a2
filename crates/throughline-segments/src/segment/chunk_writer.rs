//! Writes columns whose values are numbers of dictionary entries already.
//!
//! The column writer of the Parquet crate hashes every value to find its number. Here the numbers
//! are known: pages are encoded from them, and spliced into the file as a whole chunk.

use std::io::Write;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter as _};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::page_encoder::{PageLayout, bits_of, write_hybrid};
use super::schema::Leaf;

/// Compression level, as that of the other columns.
const ZSTD_LEVEL: i32 = 1;

/// Distinct values of a column, in Parquet's plain encoding.
#[derive(Debug, Default)]
pub(super) struct ColumnDictionary {
    plain: Vec<u8>,
    count: u32,
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    numbers: Option<(i64, i64)>,
}

/// The values of a column.
#[derive(Debug, Clone, Copy)]
pub(super) enum ColumnCells<'a> {
    /// Numbers of entries of a dictionary.
    Entries(&'a ColumnDictionary, &'a [u32]),
    /// Values of the same length, in the plain encoding.
    Fixed(&'a [u8], usize),
    /// False in every row.
    False,
}

/// Writes the columns of a row group in turn.
pub(super) struct ChunkWriter<'a, 'b, W: Write + Send> {
    pub(super) group: &'a mut SerializedRowGroupWriter<'b, W>,
    columns: Vec<ColumnDescPtr>,
    compressor: zstd::bulk::Compressor<'static>,
}

/// The sums over the pages of a chunk.
#[derive(Debug, Default)]
struct ChunkTotals {
    compressed: i64,
    uncompressed: i64,
    values: i64,
    rows: u64,
    nulls: u64,
    dictionary_offset: Option<i64>,
    data_offset: Option<i64>,
}

// === impl ColumnDictionary ===

impl ColumnDictionary {
    /// Adds a text; returns its number.
    pub(super) fn push_text(&mut self, text: &[u8]) -> u32 {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.plain.extend_from_slice(&length.to_le_bytes());
        self.plain.extend_from_slice(text);
        self.widen(text);
        self.next()
    }

    /// Adds a value of a fixed length; returns its number.
    pub(super) fn push_fixed(&mut self, value: &[u8]) -> u32 {
        self.plain.extend_from_slice(value);
        self.widen(value);
        self.next()
    }

    /// Adds a number; returns its own number.
    pub(super) fn push_number(&mut self, value: i64) -> u32 {
        self.plain.extend_from_slice(&value.to_le_bytes());
        let (min, max) = self.numbers.unwrap_or((value, value));
        self.numbers = Some((min.min(value), max.max(value)));
        self.next()
    }

    /// Returns the number of values.
    pub(super) const fn len(&self) -> u32 {
        self.count
    }

    fn widen(&mut self, value: &[u8]) {
        match &mut self.bounds {
            None => self.bounds = Some((value.to_vec(), value.to_vec())),
            Some((min, _)) if value < min.as_slice() => *min = value.to_vec(),
            Some((_, max)) if value > max.as_slice() => *max = value.to_vec(),
            Some(_) => {}
        }
    }

    const fn next(&mut self) -> u32 {
        self.count += 1;
        self.count - 1
    }

    fn statistics(&self, column: &ColumnDescPtr, nulls: u64) -> Statistics {
        use parquet::basic::Type;
        let bounds = || self.bounds.clone().unzip();
        let nulls = Some(nulls);
        match column.physical_type() {
            Type::INT64 => {
                let (min, max) = self.numbers.unzip();
                Statistics::int64(min, max, None, nulls, false)
            }
            Type::FIXED_LEN_BYTE_ARRAY => {
                let (min, max) = bounds();
                let fixed = |it: Vec<u8>| FixedLenByteArray::from(it);
                Statistics::fixed_len_byte_array(min.map(fixed), max.map(fixed), None, nulls, false)
            }
            Type::BYTE_ARRAY
            | Type::BOOLEAN
            | Type::INT32
            | Type::INT96
            | Type::FLOAT
            | Type::DOUBLE => {
                let (min, max) = bounds();
                let bytes = |it: Vec<u8>| ByteArray::from(it);
                Statistics::byte_array(min.map(bytes), max.map(bytes), None, nulls, false)
            }
        }
    }
}

// === impl ChunkWriter ===

impl<'a, 'b, W: Write + Send> ChunkWriter<'a, 'b, W> {
    pub(super) fn new(
        group: &'a mut SerializedRowGroupWriter<'b, W>,
        columns: Vec<ColumnDescPtr>,
    ) -> Result<Self> {
        let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL);
        Ok(Self {
            group,
            columns,
            compressor: compressor.map_err(|error| ParquetError::External(error.into()))?,
        })
    }

    /// Writes the next column.
    pub(super) fn write(
        &mut self,
        leaf: Leaf,
        pages: &[PageLayout],
        cells: ColumnCells<'_>,
    ) -> Result<()> {
        self.write_at(leaf as usize, pages, cells)
    }

    /// Writes the next column, which has this number.
    pub(super) fn write_at(
        &mut self,
        leaf: usize,
        pages: &[PageLayout],
        cells: ColumnCells<'_>,
    ) -> Result<()> {
        let column = self.columns.get(leaf).cloned();
        let column = column.ok_or_else(|| ParquetError::General("no such column".to_owned()))?;
        let mut sink = TrackedWrite::new(Vec::new());
        let mut output = SerializedPageWriter::new(&mut sink);
        let mut totals = ChunkTotals::default();
        let mut offsets = OffsetIndexBuilder::new();
        let mut encoding = Encoding::PLAIN;
        let mut statistics = None;
        let mut bits = 0;
        if let ColumnCells::Entries(dictionary, _) = cells {
            encoding = Encoding::RLE_DICTIONARY;
            bits = bits_of(dictionary.count.saturating_sub(1));
            let page = Page::DictionaryPage {
                buf: self.compress(&dictionary.plain)?,
                num_values: dictionary.count,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let spec = output.write_page(CompressedPage::new(page, dictionary.plain.len()))?;
            totals.dictionary_offset = i64::try_from(spec.offset).ok();
            totals.add_bytes(spec.compressed_size, spec.uncompressed_size);
        }
        let mut at = 0;
        for page in pages {
            let mut data = page.levels.clone();
            cells.write(at..at + page.present, bits, &mut data);
            at += page.present;
            let data_page = Page::DataPage {
                buf: self.compress(&data)?,
                num_values: u32::try_from(page.values).unwrap_or(u32::MAX),
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let spec = output.write_page(CompressedPage::new(data_page, data.len()))?;
            totals.add_page(page, spec.offset);
            totals.add_bytes(spec.compressed_size, spec.uncompressed_size);
            offsets.append_row_count(i64::try_from(page.rows).unwrap_or_default());
            offsets.append_offset_and_size(
                i64::try_from(spec.offset).unwrap_or_default(),
                i32::try_from(spec.compressed_size).unwrap_or_default(),
            );
        }
        output.close()?;
        if let ColumnCells::Entries(dictionary, _) = cells {
            statistics = Some(dictionary.statistics(&column, totals.nulls));
        }
        let close = totals.close(column, encoding, statistics, offsets)?;
        self.group
            .append_column(&Bytes::from(sink.into_inner()?), close)
    }

    fn compress(&mut self, bytes: &[u8]) -> Result<Bytes> {
        let compressed = self.compressor.compress(bytes);
        let compressed = compressed.map_err(|error| ParquetError::External(error.into()))?;
        Ok(compressed.into())
    }
}

// === impl ColumnCells ===

impl ColumnCells<'_> {
    /// Writes the values of a page.
    fn write(self, range: std::ops::Range<usize>, bits: u32, out: &mut Vec<u8>) {
        match self {
            Self::Entries(_, entries) => {
                // A reader wants a width of one bit at least.
                let bits = bits.max(1);
                out.push(u8::try_from(bits).unwrap_or_default());
                write_hybrid(entries.get(range).unwrap_or_default(), bits, out);
            }
            Self::Fixed(bytes, length) => {
                let range = range.start * length..range.end * length;
                out.extend_from_slice(bytes.get(range).unwrap_or_default());
            }
            Self::False => out.resize(out.len() + range.len().div_ceil(8), 0),
        }
    }
}

// === impl ChunkTotals ===

impl ChunkTotals {
    fn add_bytes(&mut self, compressed: usize, uncompressed: usize) {
        self.compressed += i64::try_from(compressed).unwrap_or_default();
        self.uncompressed += i64::try_from(uncompressed).unwrap_or_default();
    }

    fn add_page(&mut self, page: &PageLayout, offset: u64) {
        self.values += i64::try_from(page.values).unwrap_or_default();
        self.rows += page.rows as u64;
        self.nulls += (page.values - page.present) as u64;
        if self.data_offset.is_none() {
            self.data_offset = i64::try_from(offset).ok();
        }
    }

    fn close(
        self,
        column: ColumnDescPtr,
        encoding: Encoding,
        statistics: Option<Statistics>,
        offsets: OffsetIndexBuilder,
    ) -> Result<ColumnCloseResult> {
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        if encoding != Encoding::PLAIN {
            encodings.push(encoding);
        }
        let mut metadata = ColumnChunkMetaData::builder(column)
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
            .set_encodings(encodings)
            .set_total_compressed_size(self.compressed)
            .set_total_uncompressed_size(self.uncompressed)
            .set_num_values(self.values)
            .set_data_page_offset(self.data_offset.unwrap_or_default())
            .set_dictionary_page_offset(self.dictionary_offset);
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        Ok(ColumnCloseResult {
            bytes_written: u64::try_from(self.compressed).unwrap_or_default(),
            rows_written: self.rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        })
    }
}
