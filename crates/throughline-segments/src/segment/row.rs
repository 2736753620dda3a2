//! One span as the cells of a row.
//!
//! A cell has a definition level, the length of its path that is there, and a repetition level, the
//! depth of the list that it continues (the Dremel encoding of Parquet).

use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::Result;
use parquet::schema::types::SchemaDescriptor;
use throughline_model::{Event, KeyValue, Link, Span, Status};

use super::column::{ColumnBuffer, ColumnValues};
use super::schema::Leaf;
use super::value_text;

pub(super) const UNSET: &str = "unset";
pub(super) const OK: &str = "ok";
pub(super) const ERROR: &str = "error";

/// The cells of several rows.
#[derive(Debug)]
pub(super) struct RowBuffer {
    columns: Vec<ColumnBuffer>,
    text: String,
}

/// The leaves of a map and of the types of its values.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapLeaves {
    pub(super) key: Leaf,
    pub(super) value: Leaf,
    pub(super) types: Leaf,
}

/// The levels of an element and of the first entry in its map.
#[derive(Debug, Clone, Copy)]
pub(super) struct ElementLevels {
    pub(super) definition: i16,
    pub(super) first_repetition: i16,
    pub(super) next_repetition: i16,
}

pub(super) const ATTRIBUTES: MapLeaves = MapLeaves {
    key: Leaf::AttributeKey,
    value: Leaf::AttributeValue,
    types: Leaf::AttributeTypes,
};
pub(super) const RESOURCE: MapLeaves = MapLeaves {
    key: Leaf::ResourceKey,
    value: Leaf::ResourceValue,
    types: Leaf::ResourceTypes,
};
pub(super) const SCOPE: MapLeaves = MapLeaves {
    key: Leaf::ScopeAttributeKey,
    value: Leaf::ScopeAttributeValue,
    types: Leaf::ScopeAttributeTypes,
};
pub(super) const EVENT: MapLeaves = MapLeaves {
    key: Leaf::EventAttributeKey,
    value: Leaf::EventAttributeValue,
    types: Leaf::EventAttributeTypes,
};
pub(super) const LINK: MapLeaves = MapLeaves {
    key: Leaf::LinkAttributeKey,
    value: Leaf::LinkAttributeValue,
    types: Leaf::LinkAttributeTypes,
};

// === impl ElementLevels ===

impl ElementLevels {
    /// The levels of a field of the row.
    pub(super) const ROW: Self = Self {
        definition: 0,
        first_repetition: 0,
        next_repetition: 1,
    };

    /// The levels within the element of a list of the row.
    pub(super) const fn element(at: usize) -> Self {
        Self {
            definition: 1,
            first_repetition: if at == 0 { 0 } else { 1 },
            next_repetition: 2,
        }
    }
}

// === impl RowBuffer ===

impl RowBuffer {
    pub(super) fn new(schema: &SchemaDescriptor) -> Result<Self> {
        let columns = schema.columns().iter().map(|column| {
            let levels = (column.max_def_level(), column.max_rep_level());
            ColumnBuffer::new(column.physical_type(), levels.0, levels.1)
        });
        Ok(Self {
            columns: columns.collect::<Result<_>>()?,
            text: String::new(),
        })
    }

    pub(super) fn columns(&self) -> &[ColumnBuffer] {
        &self.columns
    }

    pub(super) fn into_columns(self) -> Vec<ColumnBuffer> {
        self.columns
    }

    pub(super) fn columns_mut(&mut self) -> &mut [ColumnBuffer] {
        &mut self.columns
    }

    /// Adds the cells that most rows have nothing in. `is_exact`: the others give the span back.
    pub(super) fn push_rest(&mut self, span: &Span, is_fragment: bool, mut is_exact: bool) {
        let row = ElementLevels::ROW;
        let message = match &span.status {
            Status::Unset | Status::Ok => &*span.status_message,
            Status::Error(message) => message.as_str(),
        };
        self.optional_text(Leaf::StatusMessage, message, row);
        self.optional_text(Leaf::TraceState, &span.trace_state, row);
        self.number(Leaf::DroppedAttributes, span.dropped.attributes.into());
        self.number(Leaf::DroppedEvents, span.dropped.events.into());
        self.number(Leaf::DroppedLinks, span.dropped.links.into());
        self.flag(Leaf::IsFragment, is_fragment);
        is_exact &= self.events(&span.events);
        is_exact &= self.links(&span.links);
        // A failure's message of its own has no column.
        is_exact &= !matches!(span.status, Status::Error(_)) || span.status_message.is_empty();
        if is_exact {
            self.absent(Leaf::Original, 0, 0);
        } else {
            let original = throughline_otlp::encode_protobuf([span]);
            self.bytes(Leaf::Original, original, 1, 0);
        }
    }

    /// Adds the same cells of a row that has nothing in them.
    pub(super) fn push_plain(&mut self) {
        self.absent(Leaf::StatusMessage, 0, 0);
        self.absent(Leaf::TraceState, 0, 0);
        self.number(Leaf::DroppedAttributes, 0);
        self.number(Leaf::DroppedEvents, 0);
        self.number(Leaf::DroppedLinks, 0);
        self.flag(Leaf::IsFragment, false);
        self.events(&[]);
        self.links(&[]);
        self.absent(Leaf::Original, 0, 0);
    }

    fn flag(&mut self, leaf: Leaf, value: bool) {
        if let Some(column) = self.column(leaf)
            && let ColumnValues::Bool(values) = &mut column.values
        {
            values.push(value);
        }
    }

    fn events(&mut self, events: &[Event]) -> bool {
        if events.is_empty() {
            self.absent(Leaf::EventTime, 0, 0);
            self.absent(Leaf::EventName, 0, 0);
            self.no_map(EVENT, 0, 0);
        }
        let mut is_exact = true;
        for (at, event) in events.iter().enumerate() {
            let levels = ElementLevels::element(at);
            self.element_number(Leaf::EventTime, event.time.cast_signed(), levels);
            self.text(Leaf::EventName, &event.name, 1, levels.first_repetition);
            is_exact &= self.map(EVENT, &event.attributes, levels);
        }
        is_exact
    }

    fn links(&mut self, links: &[Link]) -> bool {
        if links.is_empty() {
            self.absent(Leaf::LinkTraceId, 0, 0);
            self.absent(Leaf::LinkSpanId, 0, 0);
            self.absent(Leaf::LinkTraceState, 0, 0);
            self.absent(Leaf::LinkFlags, 0, 0);
            self.no_map(LINK, 0, 0);
        }
        let mut is_exact = true;
        for (at, link) in links.iter().enumerate() {
            let levels = ElementLevels::element(at);
            let repetition = levels.first_repetition;
            self.fixed(Leaf::LinkTraceId, &link.trace_id.to_bytes(), 1, repetition);
            self.fixed(Leaf::LinkSpanId, &link.span_id.to_bytes(), 1, repetition);
            self.optional_text(Leaf::LinkTraceState, &link.trace_state, levels);
            self.element_number(Leaf::LinkFlags, link.flags.into(), levels);
            is_exact &= self.map(LINK, &link.attributes, levels);
        }
        is_exact
    }

    /// Adds a map; returns whether the row gives it back as it is.
    fn map(&mut self, leaves: MapLeaves, pairs: &[KeyValue], levels: ElementLevels) -> bool {
        let mut is_exact = true;
        let mut types = String::new();
        let mut repetition = levels.first_repetition;
        let definition = levels.definition + 1;
        let mut text = std::mem::take(&mut self.text);
        for (at, pair) in pairs.iter().enumerate() {
            // Readers expect each key once, and the last value counts.
            let rest = pairs.get(at + 1..).unwrap_or_default();
            if rest.iter().any(|other| other.key == pair.key) {
                is_exact = false;
                continue;
            }
            let letter = value_text::write(&pair.value, &mut text);
            is_exact &= letter.is_some();
            types.push(letter.unwrap_or('?'));
            self.text(leaves.key, &pair.key, definition, repetition);
            self.text(leaves.value, &text, definition, repetition);
            repetition = levels.next_repetition;
        }
        self.text = text;
        if pairs.is_empty() {
            self.absent(leaves.key, levels.definition, repetition);
            self.absent(leaves.value, levels.definition, repetition);
        }
        // Nearly all values are strings.
        if types.chars().all(|letter| letter == 's') {
            types.clear();
        }
        self.optional_text(leaves.types, &types, levels);
        is_exact
    }

    fn no_map(&mut self, leaves: MapLeaves, definition: i16, repetition: i16) {
        for leaf in [leaves.key, leaves.value, leaves.types] {
            self.absent(leaf, definition, repetition);
        }
    }

    fn column(&mut self, leaf: Leaf) -> Option<&mut ColumnBuffer> {
        self.columns.get_mut(leaf as usize)
    }

    fn absent(&mut self, leaf: Leaf, definition: i16, repetition: i16) {
        if let Some(column) = self.column(leaf) {
            column.push_levels(definition, repetition);
        }
    }

    fn number(&mut self, leaf: Leaf, value: i64) {
        self.element_number(leaf, value, ElementLevels::ROW);
    }

    fn element_number(&mut self, leaf: Leaf, value: i64, levels: ElementLevels) {
        if let Some(column) = self.column(leaf)
            && let ColumnValues::Int64(values) = &mut column.values
        {
            values.push(value);
            column.push_levels(levels.definition, levels.first_repetition);
        }
    }

    fn optional_text(&mut self, leaf: Leaf, text: &str, levels: ElementLevels) {
        let (definition, repetition) = (levels.definition, levels.first_repetition);
        if text.is_empty() {
            self.absent(leaf, definition, repetition);
        } else {
            self.text(leaf, text, definition + 1, repetition);
        }
    }

    fn text(&mut self, leaf: Leaf, text: &str, definition: i16, repetition: i16) {
        self.bytes(leaf, text.as_bytes().to_vec(), definition, repetition);
    }

    fn bytes(&mut self, leaf: Leaf, value: Vec<u8>, definition: i16, repetition: i16) {
        if let Some(column) = self.column(leaf)
            && let ColumnValues::Bytes(values) = &mut column.values
        {
            values.push(ByteArray::from(value));
            column.push_levels(definition, repetition);
        }
    }

    fn fixed(&mut self, leaf: Leaf, value: &[u8], definition: i16, repetition: i16) {
        if let Some(column) = self.column(leaf)
            && let ColumnValues::Fixed(values) = &mut column.values
        {
            values.push(FixedLenByteArray::from(value.to_vec()));
            column.push_levels(definition, repetition);
        }
    }
}
