//! Writes spans as a segment.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use parquet::file::writer::SerializedFileWriter;
use throughline_model::Span;

use super::row::RowBuffer;
use super::{SegmentError, schema};

/// A span of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentSpan {
    /// The span, as it was reported.
    pub span: Arc<Span>,
    /// Whether it may be a fragment, which others of its id are merged with.
    pub is_fragment: bool,
}

/// Writes a segment with these spans in their order, and makes it durable.
pub(crate) fn write(path: &Path, spans: &[SegmentSpan]) -> Result<(), SegmentError> {
    let file = File::create(path)?;
    let output = BufWriter::new(file);
    let properties = schema::properties()?;
    let mut writer = SerializedFileWriter::new(output, schema::message_type()?, properties)?;
    let mut rows = RowBuffer::new(writer.schema_descr())?;
    for SegmentSpan { span, is_fragment } in spans {
        rows.push(span, *is_fragment);
    }
    let mut group = writer.next_row_group()?;
    for column in rows.columns() {
        let Some(mut output) = group.next_column()? else {
            break;
        };
        column.write(output.untyped())?;
        output.close()?;
    }
    group.close()?;
    let output = writer.into_inner()?;
    let file = output
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}
