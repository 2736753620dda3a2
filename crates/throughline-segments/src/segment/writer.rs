//! Writes spans in columns as a segment.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::column::writer::ColumnWriter;
use parquet::errors::{ParquetError, Result};
use parquet::file::writer::SerializedFileWriter;
use throughline_model::Span;

use super::attribute_cells::{AttributeCells, MapCells, OriginCells};
use super::chunk_writer::{ChunkWriter, ColumnCells, ColumnDictionary};
use super::entry_map::EntryMap;
use super::page_encoder::PageLayout;
use super::row::{ERROR, OK, RowBuffer, UNSET};
use super::schema::{Leaf, PAGE_ROWS, UNIFORM_PAGE_ROWS, WELL_KNOWN, WellKnownType};
use super::{SegmentError, schema};
use crate::columns::{ColumnOrigin, HotColumns, KINDS, SealedOrder, SpanRow, TextTable, kind_name};
use crate::request_log::LogWriter;

/// Statuses in the order of their numbers in a row.
const STATUSES: [&str; 3] = [UNSET, OK, ERROR];

/// A mark for no entry.
const NONE: u32 = u32::MAX;

/// A mark for a value of another type than its column.
const OTHER_TYPE: u32 = u32::MAX - 1;

/// A span of a segment.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentSpan {
    /// The span, as it was reported.
    pub span: Arc<Span>,
    /// Whether it may be a fragment, which others of its id are merged with.
    pub is_fragment: bool,
}

/// The rows of a segment.
struct SegmentRows<'a> {
    columns: &'a HotColumns,
    rows: &'a [SpanRow],
    attributes: AttributeCells,
    origins: OriginCells,
    /// Cells that most rows have nothing in; `None` when no row has any.
    rest: Option<RowBuffer>,
}

/// Writes a segment with these rows in their order, and makes it durable.
pub(crate) fn write(
    path: &Path,
    columns: &HotColumns,
    order: &SealedOrder,
    log: Option<&LogWriter>,
) -> std::result::Result<(), SegmentError> {
    let file = File::create(path)?;
    let output = BufWriter::new(file);
    let properties = schema::properties()?;
    let mut writer = SerializedFileWriter::new(output, schema::message_type()?, properties)?;
    let rows = SegmentRows::new(columns, order, log, writer.schema_descr())?;
    let descriptors = writer.schema_descr().columns().to_vec();
    let mut group = writer.next_row_group()?;
    let mut chunks = ChunkWriter::new(&mut group, descriptors)?;
    rows.write(&mut chunks)?;
    group.close()?;
    let output = writer.into_inner()?;
    let file = output
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()?;
    Ok(())
}

// === impl SegmentRows ===

impl<'a> SegmentRows<'a> {
    fn new(
        columns: &'a HotColumns,
        order: &'a SealedOrder,
        log: Option<&LogWriter>,
        schema: &parquet::schema::types::SchemaDescriptor,
    ) -> std::result::Result<Self, SegmentError> {
        let rows = order.rows.as_slice();
        let attributes = AttributeCells::of(columns, rows);
        let origins = OriginCells::of(columns.origins());
        let is_exact = |at: usize, row: &SpanRow| {
            !attributes.is_inexact(at) && !origins.is_inexact(row.origin)
        };
        let has_rest =
            |at: usize, row: &SpanRow| !row.is_plain() || row.is_fragment() || !is_exact(at, row);
        let mut rest = None;
        if rows.iter().enumerate().any(|(at, row)| has_rest(at, row)) {
            let mut buffer = RowBuffer::new(schema)?;
            for (at, row) in rows.iter().enumerate() {
                if has_rest(at, row) {
                    let span = columns.decode(row, log)?;
                    buffer.push_rest(&span, row.is_fragment(), is_exact(at, row));
                } else {
                    buffer.push_plain();
                }
            }
            rest = Some(buffer);
        }
        Ok(Self {
            columns,
            rows,
            attributes,
            origins,
            rest,
        })
    }

    fn write<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        self.write_ids(chunks)?;
        self.write_times(chunks)?;
        self.write_names(chunks)?;
        self.write_rest(chunks, Leaf::StatusMessage..Leaf::Flags)?;
        self.write_flags(chunks)?;
        self.write_rest(chunks, Leaf::DroppedAttributes..Leaf::HttpRequestMethod)?;
        self.write_well_known(chunks)?;
        self.write_attributes(chunks)?;
        self.write_origins(chunks)?;
        self.write_rest(chunks, Leaf::EventTime..Leaf::End)
    }

    fn required(&self) -> Vec<PageLayout> {
        PageLayout::required(self.rows.len(), PAGE_ROWS)
    }

    fn required_of(&self, dictionary: &ColumnDictionary) -> Vec<PageLayout> {
        PageLayout::required(self.rows.len(), page_rows(dictionary))
    }

    fn write_ids<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let pages = self.required();
        let mut traces = ColumnDictionary::default();
        let mut entries = Vec::with_capacity(self.rows.len());
        let (mut last, mut entry) = (NONE, 0);
        for row in self.rows {
            // Rows are ordered by trace.
            if row.trace != last {
                last = row.trace;
                let id = self.columns.trace(last).map(|trace| trace.id.to_bytes());
                entry = traces.push_fixed(&id.unwrap_or_default());
            }
            entries.push(entry);
        }
        chunks.write(
            Leaf::TraceId,
            &pages,
            ColumnCells::Entries(&traces, &entries),
        )?;
        let mut ids = Vec::with_capacity(self.rows.len() * 8);
        for row in self.rows {
            ids.extend_from_slice(&row.span_id.to_bytes());
        }
        chunks.write(Leaf::SpanId, &pages, ColumnCells::Fixed(&ids, 8))?;
        let mut parents = Vec::with_capacity(self.rows.len() * 8);
        for id in self.rows.iter().filter_map(|row| row.parent_span_id) {
            parents.extend_from_slice(&id.to_bytes());
        }
        let is_there = self.rows.iter().map(|row| row.parent_span_id.is_some());
        let pages = PageLayout::optional(&is_there.collect::<Vec<bool>>(), PAGE_ROWS);
        chunks.write(Leaf::ParentSpanId, &pages, ColumnCells::Fixed(&parents, 8))
    }

    fn write_times<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let starts = self.rows.iter().map(|row| row.start.cast_signed());
        let starts: Vec<i64> = starts.collect();
        // Negative when the clock stepped back meanwhile.
        let durations = self.rows.iter().map(|row| row.end.wrapping_sub(row.start));
        let durations: Vec<i64> = durations.map(u64::cast_signed).collect();
        for values in [starts, durations] {
            let column = chunks.group.next_column()?;
            let mut column = column.ok_or_else(|| ParquetError::General("no column".to_owned()))?;
            if let ColumnWriter::Int64ColumnWriter(writer) = column.untyped() {
                writer.write_batch(&values, None, None)?;
            }
            column.close()?;
        }
        Ok(())
    }

    fn write_names<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let columns = self.columns;
        let pages = self.required();
        let mut services = EntryMap::new(columns.services().len());
        let entries = self.rows.iter().map(|row| {
            let service = columns.origin(row.origin).map_or(0, |it| it.service);
            services.text(service, columns.services())
        });
        let entries: Vec<u32> = entries.collect();
        let cells = ColumnCells::Entries(&services.dictionary, &entries);
        chunks.write(Leaf::ServiceName, &pages, cells)?;
        let mut names = EntryMap::new(columns.names().len());
        let entries = self
            .rows
            .iter()
            .map(|row| names.text(row.name, columns.names()));
        let entries: Vec<u32> = entries.collect();
        let cells = ColumnCells::Entries(&names.dictionary, &entries);
        chunks.write(Leaf::Name, &pages, cells)?;
        let kinds = KINDS.map(kind_name);
        let (dictionary, entries) = self.enumerated(&kinds, |row| row.kind);
        let cells = ColumnCells::Entries(&dictionary, &entries);
        chunks.write(Leaf::Kind, &self.required_of(&dictionary), cells)?;
        let (dictionary, entries) = self.enumerated(&STATUSES, |row| row.status);
        let cells = ColumnCells::Entries(&dictionary, &entries);
        chunks.write(Leaf::Status, &self.required_of(&dictionary), cells)
    }

    /// Returns the entries of a column with few values.
    fn enumerated(
        &self,
        values: &[&str],
        number: impl Fn(&SpanRow) -> u8,
    ) -> (ColumnDictionary, Vec<u32>) {
        let mut map = EntryMap::new(values.len());
        let entries = self.rows.iter().map(|row| {
            let number = number(row);
            let value = values.get(usize::from(number)).copied().unwrap_or_default();
            map.entry(number.into(), |it| it.push_text(value.as_bytes()))
        });
        let entries = entries.collect();
        (map.dictionary, entries)
    }

    fn write_flags<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let mut dictionary = ColumnDictionary::default();
        let mut known = HashMap::new();
        let mut last = None;
        let entries = self.rows.iter().map(|row| {
            // Most spans have the same flags.
            if let Some((flags, entry)) = last
                && flags == row.flags
            {
                return entry;
            }
            let add = || dictionary.push_number(row.flags.into());
            let entry = *known.entry(row.flags).or_insert_with(add);
            last = Some((row.flags, entry));
            entry
        });
        let entries: Vec<u32> = entries.collect();
        let cells = ColumnCells::Entries(&dictionary, &entries);
        chunks.write(Leaf::Flags, &self.required_of(&dictionary), cells)
    }

    fn write_well_known<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let terms = self.columns.terms();
        for (at, (_, kind)) in WELL_KNOWN.into_iter().enumerate() {
            let leaf = Leaf::HttpRequestMethod as usize + at;
            let Some(cells) = self.attributes.well_known(at) else {
                let pages = PageLayout::absent(self.rows.len(), false);
                let none = ColumnDictionary::default();
                chunks.write_at(leaf, &pages, ColumnCells::Entries(&none, &[]))?;
                continue;
            };
            let mut numbers = EntryMap::new(terms.len());
            let mut dictionary = ColumnDictionary::default();
            let mut entries = Vec::with_capacity(cells.len());
            let mut is_there = Vec::with_capacity(cells.len());
            for term in cells {
                let entry = if *term == NONE {
                    OTHER_TYPE
                } else {
                    numbers.entry(*term, |_| match kind {
                        WellKnownType::Text => terms
                            .string(*term)
                            .map_or(OTHER_TYPE, |text| dictionary.push_text(text.as_bytes())),
                        WellKnownType::Number => terms
                            .integer(*term)
                            .map_or(OTHER_TYPE, |number| dictionary.push_number(number)),
                    })
                };
                is_there.push(entry != OTHER_TYPE);
                if entry != OTHER_TYPE {
                    entries.push(entry);
                }
            }
            let pages = PageLayout::optional(&is_there, page_rows(&dictionary));
            let cells = ColumnCells::Entries(&dictionary, &entries);
            chunks.write_at(leaf, &pages, cells)?;
        }
        Ok(())
    }

    fn write_attributes<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let cells = &self.attributes.map;
        self.write_map(chunks, Leaf::AttributeKey, cells)?;
        let types = &self.attributes.types;
        let is_there: Vec<bool> = types.iter().map(|entry| *entry != NONE).collect();
        let entries = types.iter().copied().filter(|entry| *entry != NONE);
        let entries: Vec<u32> = entries.collect();
        let dictionary = &self.attributes.type_dictionary;
        let pages = PageLayout::optional(&is_there, page_rows(dictionary));
        let cells = ColumnCells::Entries(dictionary, &entries);
        chunks.write(Leaf::AttributeTypes, &pages, cells)
    }

    /// Writes keys and values of a map.
    fn write_map<W: Write + Send>(
        &self,
        chunks: &mut ChunkWriter<'_, '_, W>,
        keys: Leaf,
        cells: &MapCells,
    ) -> Result<()> {
        let pages = PageLayout::map(&cells.counts, PAGE_ROWS);
        let at = keys as usize;
        let entries = ColumnCells::Entries(&cells.key_dictionary, &cells.keys);
        chunks.write_at(at, &pages, entries)?;
        let entries = ColumnCells::Entries(&cells.value_dictionary, &cells.values);
        chunks.write_at(at + 1, &pages, entries)
    }

    fn write_origins<W: Write + Send>(&self, chunks: &mut ChunkWriter<'_, '_, W>) -> Result<()> {
        let resources = self.origins.resources.spread(self.rows);
        self.write_map(chunks, Leaf::ResourceKey, &resources)?;
        self.write_origin_text(chunks, Leaf::ResourceTypes, |at, _| {
            self.origins.resources.types(at).to_owned()
        })?;
        self.write_origin_text(chunks, Leaf::ResourceSchemaUrl, |_, origin| {
            origin.resource.schema_url.clone()
        })?;
        self.write_origin_text(chunks, Leaf::ScopeName, |_, origin| {
            origin.scope.name.clone()
        })?;
        self.write_origin_text(chunks, Leaf::ScopeVersion, |_, origin| {
            origin.scope.version.clone()
        })?;
        self.write_origin_text(chunks, Leaf::ScopeSchemaUrl, |_, origin| {
            origin.scope.schema_url.clone()
        })?;
        let scopes = self.origins.scopes.spread(self.rows);
        self.write_map(chunks, Leaf::ScopeAttributeKey, &scopes)?;
        self.write_origin_text(chunks, Leaf::ScopeAttributeTypes, |at, _| {
            self.origins.scopes.types(at).to_owned()
        })
    }

    /// Writes a text of resources or scopes, which is absent where it is empty.
    fn write_origin_text<W: Write + Send>(
        &self,
        chunks: &mut ChunkWriter<'_, '_, W>,
        leaf: Leaf,
        text: impl Fn(usize, &ColumnOrigin) -> String,
    ) -> Result<()> {
        let mut known = TextTable::new();
        let mut dictionary = ColumnDictionary::default();
        let origins = self.columns.origins().iter().enumerate();
        let of_origins = origins.map(|(at, origin)| {
            let text = text(at, origin);
            if text.is_empty() {
                return NONE;
            }
            let (number, is_new) = known.intern(text.as_bytes());
            if is_new {
                dictionary.push_text(text.as_bytes());
            }
            number
        });
        let of_origins: Vec<u32> = of_origins.collect();
        let cells = self.rows.iter().map(|row| {
            let entry = of_origins.get(row.origin as usize);
            entry.copied().unwrap_or(NONE)
        });
        let cells: Vec<u32> = cells.collect();
        let is_there: Vec<bool> = cells.iter().map(|entry| *entry != NONE).collect();
        let entries: Vec<u32> = cells.into_iter().filter(|entry| *entry != NONE).collect();
        let pages = PageLayout::optional(&is_there, page_rows(&dictionary));
        chunks.write(leaf, &pages, ColumnCells::Entries(&dictionary, &entries))
    }

    /// Writes columns that most rows have nothing in.
    fn write_rest<W: Write + Send>(
        &self,
        chunks: &mut ChunkWriter<'_, '_, W>,
        leaves: std::ops::Range<Leaf>,
    ) -> Result<()> {
        for at in leaves.start as usize..leaves.end as usize {
            if let Some(rest) = &self.rest {
                let column = chunks.group.next_column()?;
                let cells = rest.columns().get(at);
                let (Some(mut column), Some(cells)) = (column, cells) else {
                    return Err(ParquetError::General("no column".to_owned()));
                };
                cells.write(column.untyped())?;
                column.close()?;
                continue;
            }
            self.write_nothing(chunks, at)?;
        }
        Ok(())
    }

    fn write_nothing<W: Write + Send>(
        &self,
        chunks: &mut ChunkWriter<'_, '_, W>,
        at: usize,
    ) -> Result<()> {
        let rows = self.rows.len();
        if at == Leaf::IsFragment as usize {
            let pages = PageLayout::required(rows, UNIFORM_PAGE_ROWS);
            return chunks.write_at(at, &pages, ColumnCells::False);
        }
        let mut dictionary = ColumnDictionary::default();
        if (Leaf::DroppedAttributes as usize..=Leaf::DroppedLinks as usize).contains(&at) {
            dictionary.push_number(0);
            let entries = vec![0; rows];
            let cells = ColumnCells::Entries(&dictionary, &entries);
            return chunks.write_at(at, &self.required_of(&dictionary), cells);
        }
        let is_nested = at >= Leaf::EventTime as usize && at < Leaf::Original as usize;
        let pages = PageLayout::absent(rows, is_nested);
        chunks.write_at(at, &pages, ColumnCells::Entries(&dictionary, &[]))
    }
}

/// Returns the rows of a page of a column with these values.
const fn page_rows(dictionary: &ColumnDictionary) -> usize {
    if dictionary.len() > 1 {
        PAGE_ROWS
    } else {
        UNIFORM_PAGE_ROWS
    }
}
