//! The values and levels of one column, while it is written and after it was read.

use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};

/// The values of a column.
#[derive(Debug)]
pub(super) enum ColumnValues {
    Bool(Vec<bool>),
    Int64(Vec<i64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

/// The values and levels of a column. The lists of levels are empty where the schema allows one
/// level only.
#[derive(Debug)]
pub(super) struct ColumnBuffer {
    pub(super) definition: Vec<i16>,
    pub(super) repetition: Vec<i16>,
    pub(super) values: ColumnValues,
    pub(super) max_definition: i16,
    pub(super) max_repetition: i16,
}

// === impl ColumnBuffer ===

impl ColumnBuffer {
    pub(super) fn new(
        kind: parquet::basic::Type,
        definition: i16,
        repetition: i16,
    ) -> Result<Self> {
        use parquet::basic::Type;
        let values = match kind {
            Type::BOOLEAN => ColumnValues::Bool(Vec::new()),
            Type::INT64 => ColumnValues::Int64(Vec::new()),
            Type::BYTE_ARRAY => ColumnValues::Bytes(Vec::new()),
            Type::FIXED_LEN_BYTE_ARRAY => ColumnValues::Fixed(Vec::new()),
            Type::INT32 | Type::INT96 | Type::FLOAT | Type::DOUBLE => {
                return Err(ParquetError::General(format!("unexpected type {kind}")));
            }
        };
        Ok(Self {
            definition: Vec::new(),
            repetition: Vec::new(),
            values,
            max_definition: definition,
            max_repetition: repetition,
        })
    }

    /// Adds the levels of a value, or of its absence.
    pub(super) fn push_levels(&mut self, definition: i16, repetition: i16) {
        if self.max_definition > 0 {
            self.definition.push(definition);
        }
        if self.max_repetition > 0 {
            self.repetition.push(repetition);
        }
    }

    pub(super) fn write(&self, writer: &mut ColumnWriter<'_>) -> Result<()> {
        let definition = (self.max_definition > 0).then_some(&*self.definition);
        let repetition = (self.max_repetition > 0).then_some(&*self.repetition);
        let written = match (writer, &self.values) {
            (ColumnWriter::BoolColumnWriter(writer), ColumnValues::Bool(values)) => {
                writer.write_batch(values, definition, repetition)
            }
            (ColumnWriter::Int64ColumnWriter(writer), ColumnValues::Int64(values)) => {
                writer.write_batch(values, definition, repetition)
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), ColumnValues::Bytes(values)) => {
                writer.write_batch(values, definition, repetition)
            }
            (ColumnWriter::FixedLenByteArrayColumnWriter(writer), ColumnValues::Fixed(values)) => {
                writer.write_batch(values, definition, repetition)
            }
            _ => return Err(mismatch()),
        };
        written.map(|_| ())
    }

    /// Reads the next rows; returns how many there were.
    pub(super) fn read(&mut self, reader: &mut ColumnReader, rows: usize) -> Result<usize> {
        let definition = (self.max_definition > 0).then_some(&mut self.definition);
        let repetition = (self.max_repetition > 0).then_some(&mut self.repetition);
        let (rows, _, _) = match (reader, &mut self.values) {
            (ColumnReader::BoolColumnReader(reader), ColumnValues::Bool(values)) => {
                reader.read_records(rows, definition, repetition, values)
            }
            (ColumnReader::Int64ColumnReader(reader), ColumnValues::Int64(values)) => {
                reader.read_records(rows, definition, repetition, values)
            }
            (ColumnReader::ByteArrayColumnReader(reader), ColumnValues::Bytes(values)) => {
                reader.read_records(rows, definition, repetition, values)
            }
            (ColumnReader::FixedLenByteArrayColumnReader(reader), ColumnValues::Fixed(values)) => {
                reader.read_records(rows, definition, repetition, values)
            }
            _ => return Err(mismatch()),
        }?;
        Ok(rows)
    }
}

/// Skips rows; returns how many there were.
pub(super) fn skip(reader: &mut ColumnReader, rows: usize) -> Result<usize> {
    match reader {
        ColumnReader::BoolColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int64ColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::ByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::FixedLenByteArrayColumnReader(reader) => reader.skip_records(rows),
        ColumnReader::Int32ColumnReader(_)
        | ColumnReader::Int96ColumnReader(_)
        | ColumnReader::FloatColumnReader(_)
        | ColumnReader::DoubleColumnReader(_) => Err(mismatch()),
    }
}

fn mismatch() -> ParquetError {
    ParquetError::General("a column has another type than the schema".to_owned())
}
