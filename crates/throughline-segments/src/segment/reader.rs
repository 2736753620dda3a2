//! Reads spans from a segment.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::column::reader::ColumnReader;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader as _, Length};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use throughline_model::{SpanId, TraceId};

use super::column::ColumnValues;
use super::row::RowBuffer;
use super::row_cursor::RowCursor;
use super::schema::Leaf;
use super::writer::SegmentSpan;
use super::{SegmentError, column, schema};

/// Rows that are decoded at a time.
const CHUNK_ROWS: usize = 4096;

/// An open segment.
pub struct SegmentReader {
    reader: SerializedFileReader<PositionedFile>,
    rows: usize,
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("SegmentReader");
        debug.field("rows", &self.rows).finish_non_exhaustive()
    }
}

/// A file that is read by position, so that several columns can be read at once.
#[derive(Debug, Clone)]
struct PositionedFile {
    file: Arc<File>,
    length: u64,
}

/// A file from a position on.
#[derive(Debug)]
struct FileTail {
    file: Arc<File>,
    position: u64,
}

// === impl SegmentReader ===

impl SegmentReader {
    /// Opens a segment.
    ///
    /// # Errors
    /// The file cannot be read, or is not a segment of a known version.
    pub fn open(path: &Path) -> Result<Self, SegmentError> {
        Self::of_file(File::open(path)?)
    }

    /// Reads the directory of an open segment.
    pub(crate) fn of_file(file: File) -> Result<Self, SegmentError> {
        guarded(|| Self::read_directory(file))
    }

    fn read_directory(file: File) -> Result<Self, SegmentError> {
        let length = file.metadata()?.len();
        let file = Arc::new(file);
        let options = ReadOptionsBuilder::new().with_page_index().build();
        let file = PositionedFile { file, length };
        let reader = SerializedFileReader::new_with_options(file, options)?;
        let metadata = reader.metadata();
        let pairs = metadata.file_metadata().key_value_metadata();
        let version = pairs.and_then(|pairs| {
            let mut pairs = pairs.iter();
            pairs.find(|pair| pair.key == schema::VERSION_KEY)
        });
        let version = version.and_then(|pair| pair.value.as_deref());
        let is_known = version == Some(schema::VERSION)
            && metadata.num_row_groups() == 1
            && metadata.file_metadata().schema() == &*schema::message_type()?;
        if !is_known {
            let message = "the file has another schema, or that of a newer version";
            return Err(ParquetError::General(message.to_owned()).into());
        }
        let rows = usize::try_from(metadata.file_metadata().num_rows()).unwrap_or_default();
        Ok(Self { reader, rows })
    }

    /// Returns the number of spans.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Reads all rows and passes each span to `visit`.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(&self, visit: impl FnMut(SegmentSpan)) -> Result<(), SegmentError> {
        self.read(std::slice::from_ref(&(0..self.rows)), visit)
    }

    /// Reads rows, given as ranges in rising order, and passes each span to `visit`.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read(
        &self,
        ranges: &[Range<usize>],
        mut visit: impl FnMut(SegmentSpan),
    ) -> Result<(), SegmentError> {
        guarded(|| {
            let mut columns = self.column_readers(|leaf| !schema::is_derived(leaf))?;
            self.read_ranges(&mut columns, ranges.iter().cloned(), |cursor, _| {
                let (span, is_fragment) = cursor.next_span()?;
                let span = Arc::new(span);
                visit(SegmentSpan { span, is_fragment });
                Some(())
            })
        })
    }

    /// Reads outlines of traces, given with their rows in rising order: the spans have ids, times,
    /// service, name, kind and status, and nothing else.
    pub(crate) fn read_outlines(
        &self,
        traces: &[(TraceId, Range<usize>)],
        mut visit: impl FnMut(SegmentSpan),
    ) -> Result<(), SegmentError> {
        guarded(|| {
            let mut columns = self.column_readers(schema::is_outline)?;
            let ranges = traces.iter().map(|(_, range)| range.clone());
            self.read_ranges(&mut columns, ranges, |cursor, at| {
                let span = Arc::new(cursor.next_outline(traces.get(at)?.0)?);
                let is_fragment = false;
                visit(SegmentSpan { span, is_fragment });
                Some(())
            })
        })
    }

    /// Reads ranges; `visit` takes the next row of a range, which has this number.
    fn read_ranges(
        &self,
        columns: &mut [Option<ColumnReader>],
        ranges: impl Iterator<Item = Range<usize>>,
        mut visit: impl FnMut(&mut RowCursor, usize) -> Option<()>,
    ) -> Result<(), SegmentError> {
        let mut cursor = RowCursor::new();
        let mut position = 0;
        for (number, range) in ranges.enumerate() {
            let end = range.end.min(self.rows);
            self.skip(columns, range.start.saturating_sub(position))?;
            position = position.max(range.start);
            while position < end {
                let rows = (end - position).min(CHUNK_ROWS);
                cursor.load(self.read_rows(columns, rows)?);
                for row in position..position + rows {
                    visit(&mut cursor, number).ok_or(SegmentError::Row(row))?;
                }
                position += rows;
            }
        }
        Ok(())
    }

    /// Returns the rows with a span id.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn rows_of_span(&self, id: SpanId) -> Result<Vec<u32>, SegmentError> {
        guarded(|| self.find_span(id))
    }

    fn find_span(&self, id: SpanId) -> Result<Vec<u32>, SegmentError> {
        let group = self.reader.get_row_group(0)?;
        let mut reader = group.get_column_reader(Leaf::SpanId as usize)?;
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let mut rows = Vec::new();
        let mut position = 0u32;
        loop {
            let mut buffer = RowBuffer::new(schema)?;
            let Some(column) = buffer.columns_mut().get_mut(Leaf::SpanId as usize) else {
                return Ok(rows);
            };
            if column.read(&mut reader, CHUNK_ROWS)? == 0 {
                return Ok(rows);
            }
            let ColumnValues::Fixed(ids) = &column.values else {
                return Ok(rows);
            };
            for own in ids {
                if own.data() == id.to_bytes() {
                    rows.push(position);
                }
                position = position.saturating_add(1);
            }
        }
    }

    fn column_readers(
        &self,
        is_wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<ColumnReader>>, SegmentError> {
        let group = self.reader.get_row_group(0)?;
        let columns = (0..group.num_columns()).map(|at| {
            let is_wanted = is_wanted(at);
            is_wanted.then(|| group.get_column_reader(at)).transpose()
        });
        Ok(columns.collect::<Result<_, _>>()?)
    }

    fn skip(&self, columns: &mut [Option<ColumnReader>], rows: usize) -> Result<(), SegmentError> {
        if rows == 0 {
            return Ok(());
        }
        for reader in columns.iter_mut().flatten() {
            if column::skip(reader, rows)? != rows {
                return Err(SegmentError::Row(self.rows));
            }
        }
        Ok(())
    }

    fn read_rows(
        &self,
        columns: &mut [Option<ColumnReader>],
        rows: usize,
    ) -> Result<RowBuffer, SegmentError> {
        let schema = self.reader.metadata().file_metadata().schema_descr();
        let mut buffer = RowBuffer::new(schema)?;
        for (reader, column) in columns.iter_mut().zip(buffer.columns_mut()) {
            let Some(reader) = reader else { continue };
            if column.read(reader, rows)? != rows {
                return Err(SegmentError::Row(self.rows));
            }
        }
        Ok(buffer)
    }
}

/// Turns a panic into an error: the Parquet crate asserts what a damaged page does not keep.
fn guarded<T>(read: impl FnOnce() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read));
    read.unwrap_or_else(|_| {
        let message = "a page is damaged";
        Err(ParquetError::General(message.to_owned()).into())
    })
}

// === impl PositionedFile ===

impl Length for PositionedFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for PositionedFile {
    type T = BufReader<FileTail>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(FileTail {
            file: Arc::clone(&self.file),
            position: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF("a page is beyond the file".to_owned()));
        }
        // Within the file, so that a damaged length takes no more memory than the file has.
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

// === impl FileTail ===

impl Read for FileTail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
