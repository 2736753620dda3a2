//! A sealed segment: spans in a Parquet file. `docs/segments.md` describes the schema.

mod attribute_cells;
mod chunk_writer;
mod column;
mod entry_map;
mod page_encoder;
mod reader;
mod row;
mod row_cursor;
mod schema;
mod value_text;
mod writer;

pub use reader::SegmentReader;
pub use writer::SegmentSpan;
pub(crate) use writer::write;

/// The reason for which a segment cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is not the Parquet that it should be.
    #[error("not a readable segment: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A row has no valid span.
    #[error("row {0} of the segment is not a span")]
    Row(usize),
}
