//! The cells of maps: attributes of spans, resources and scopes.

use throughline_model::KeyValue;

use super::chunk_writer::ColumnDictionary;
use super::entry_map::EntryMap;
use super::schema::WELL_KNOWN;
use super::value_text;
use crate::columns::{ColumnOrigin, HotColumns, SpanRow, TextTable};

/// A mark for no entry.
const NONE: u32 = u32::MAX;

/// The letter of a string, and of a value that its text does not give back.
const STRING: u8 = b's';
const INEXACT: u8 = b'?';

/// The keys and values of a map in every row.
#[derive(Debug, Default)]
pub(super) struct MapCells {
    /// Number of the entries of each row.
    pub(super) counts: Vec<u32>,
    pub(super) keys: Vec<u32>,
    pub(super) values: Vec<u32>,
    pub(super) key_dictionary: ColumnDictionary,
    pub(super) value_dictionary: ColumnDictionary,
}

/// The attributes of the spans.
#[derive(Debug)]
pub(super) struct AttributeCells {
    pub(super) map: MapCells,
    /// Entry of the types of each row; none where all are strings.
    pub(super) types: Vec<u32>,
    pub(super) type_dictionary: ColumnDictionary,
    /// Rows that the cells do not give back, in rising order.
    inexact: Vec<usize>,
    /// Term of each row for each of [`WELL_KNOWN`]; empty where no span has the attribute.
    well_known: Vec<Vec<u32>>,
}

/// Builds [`AttributeCells`].
#[derive(Debug)]
struct CellBuilder<'a> {
    columns: &'a HotColumns,
    keys: EntryMap,
    terms: Vec<CellTerm>,
    /// The row that had a key last, plus one.
    key_rows: Vec<usize>,
    /// Number in [`WELL_KNOWN`] of each key; [`NONE`] for others.
    well_known_of_key: Vec<u32>,
    known_types: TextTable,
    cells: AttributeCells,
    text: String,
    row_letters: Vec<u8>,
}

/// The cells of a term; side by side, as most terms are in no cache.
#[derive(Debug, Clone, Copy)]
struct CellTerm {
    /// Number of its name.
    key: u32,
    /// Entry of its name, and of its value; [`NONE`] before the first row that has it.
    key_entry: u32,
    entry: u32,
    /// Letter of its type.
    letter: u8,
}

/// The maps of resources, or of scopes.
#[derive(Debug, Default)]
pub(super) struct OriginMaps {
    /// Keys and values of each, as entries.
    pairs: Vec<Vec<(u32, u32)>>,
    types: Vec<String>,
    is_inexact: Vec<bool>,
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

/// The cells of resources and scopes.
#[derive(Debug)]
pub(super) struct OriginCells {
    pub(super) resources: OriginMaps,
    pub(super) scopes: OriginMaps,
}

// === impl AttributeCells ===

impl AttributeCells {
    /// Builds the cells of these rows.
    pub(super) fn of(columns: &HotColumns, rows: &[SpanRow]) -> Self {
        let mut builder = CellBuilder::new(columns, rows.len());
        for (at, row) in rows.iter().enumerate() {
            builder.push(at, row);
        }
        let mut cells = builder.cells;
        cells.map.key_dictionary = builder.keys.dictionary;
        cells
    }

    /// Returns whether the cells do not give back the attributes of a row.
    pub(super) fn is_inexact(&self, row: usize) -> bool {
        !self.inexact.is_empty() && self.inexact.binary_search(&row).is_ok()
    }

    /// Returns the term of each row for a well-known attribute; `None` when no span has it.
    pub(super) fn well_known(&self, at: usize) -> Option<&[u32]> {
        let cells = self.well_known.get(at)?;
        (!cells.is_empty()).then_some(cells)
    }
}

// === impl CellTerm ===

impl CellTerm {
    const UNSEEN: Self = Self {
        key: NONE,
        key_entry: NONE,
        entry: NONE,
        letter: 0,
    };
}

// === impl CellBuilder ===

impl<'a> CellBuilder<'a> {
    fn new(columns: &'a HotColumns, rows: usize) -> Self {
        let terms = columns.terms();
        let keys = terms.keys().len();
        let mut well_known_of_key = vec![NONE; keys];
        let mut well_known = vec![Vec::new(); WELL_KNOWN.len()];
        for ((number, (name, _)), cells) in (0..).zip(WELL_KNOWN).zip(&mut well_known) {
            let key = terms.keys().find(name.as_bytes());
            if let Some(own) = key.and_then(|key| well_known_of_key.get_mut(key as usize)) {
                *own = number;
                *cells = vec![NONE; rows];
            }
        }
        Self {
            columns,
            keys: EntryMap::new(keys),
            terms: vec![CellTerm::UNSEEN; terms.len()],
            key_rows: vec![0; keys],
            well_known_of_key,
            known_types: TextTable::new(),
            cells: AttributeCells {
                map: MapCells::default(),
                types: Vec::with_capacity(rows),
                type_dictionary: ColumnDictionary::default(),
                inexact: Vec::new(),
                well_known,
            },
            text: String::new(),
            row_letters: Vec::new(),
        }
    }

    fn push(&mut self, at: usize, row: &SpanRow) {
        let terms = self.columns.terms_of(row);
        let first = self.cells.map.keys.len();
        let mut letters = std::mem::take(&mut self.row_letters);
        letters.clear();
        let mut has_types = false;
        let mut is_exact = true;
        for term in terms {
            let cell = self.cell_of(*term);
            self.note_well_known(at, cell.key, *term);
            // Readers expect each key once, and the last value counts.
            if self.is_repeated(at, cell.key) {
                is_exact = false;
            }
            let letter = self.push_pair(cell);
            has_types |= letter != STRING;
            is_exact &= letter != INEXACT;
            letters.push(letter);
        }
        if !is_exact {
            self.cells.inexact.push(at);
            self.repair(first, terms, &mut letters);
            has_types = letters.iter().any(|letter| *letter != STRING);
        }
        let count = self.cells.map.keys.len() - first;
        self.cells
            .map
            .counts
            .push(u32::try_from(count).unwrap_or(u32::MAX));
        let types = if has_types {
            self.types(&letters)
        } else {
            NONE
        };
        self.cells.types.push(types);
        self.row_letters = letters;
    }

    /// Writes the pairs of a row again, each key once.
    fn repair(&mut self, first: usize, terms: &[u32], letters: &mut Vec<u8>) {
        self.cells.map.keys.truncate(first);
        self.cells.map.values.truncate(first);
        letters.clear();
        for (position, term) in terms.iter().enumerate() {
            let key = self.columns.terms().key_of(*term);
            let rest = terms.get(position + 1..).unwrap_or_default();
            if !self.has_key(rest, key) {
                let cell = self.cell_of(*term);
                letters.push(self.push_pair(cell));
            }
        }
    }

    fn has_key(&self, terms: &[u32], key: u32) -> bool {
        let table = self.columns.terms();
        terms.iter().any(|other| table.key_of(*other) == key)
    }

    /// Returns whether a key was in this row before.
    fn is_repeated(&mut self, row: usize, key: u32) -> bool {
        let Some(last) = self.key_rows.get_mut(key as usize) else {
            return false;
        };
        std::mem::replace(last, row + 1) == row + 1
    }

    fn note_well_known(&mut self, row: usize, key: u32, term: u32) {
        let number = self.well_known_of_key.get(key as usize).copied();
        let cells = number.and_then(|it| self.cells.well_known.get_mut(it as usize));
        if let Some(cell) = cells.and_then(|cells| cells.get_mut(row)) {
            *cell = term;
        }
    }

    /// Adds a key with its value; returns the letter of its type.
    fn push_pair(&mut self, cell: CellTerm) -> u8 {
        self.cells.map.keys.push(cell.key_entry);
        self.cells.map.values.push(cell.entry);
        cell.letter
    }

    /// Returns the cells of a term, which it makes for the first row.
    fn cell_of(&mut self, term: u32) -> CellTerm {
        let seen = self.terms.get(term as usize).copied();
        if let Some(cell) = seen.filter(|cell| cell.entry != NONE) {
            return cell;
        }
        let terms = self.columns.terms();
        let key = terms.key_of(term);
        let (own, letter) = match terms.text(term) {
            Some((_, own)) => (own, STRING),
            None => {
                self.text.clear();
                let pair = terms.attribute(term);
                let letter = pair.and_then(|pair| value_text::write(&pair.value, &mut self.text));
                let letter = letter.and_then(|letter| u8::try_from(letter).ok());
                (self.text.as_str(), letter.unwrap_or(INEXACT))
            }
        };
        let dictionary = &mut self.cells.map.value_dictionary;
        let cell = CellTerm {
            key,
            key_entry: self.keys.text(key, terms.keys()),
            entry: dictionary.push_text(own.as_bytes()),
            letter,
        };
        if let Some(slot) = self.terms.get_mut(term as usize) {
            *slot = cell;
        }
        cell
    }

    fn types(&mut self, letters: &[u8]) -> u32 {
        let (number, is_new) = self.known_types.intern(letters);
        if is_new {
            self.cells.type_dictionary.push_text(letters);
        }
        number
    }
}

// === impl OriginCells ===

impl OriginCells {
    pub(super) fn of(origins: &[ColumnOrigin]) -> Self {
        let resources = origins.iter().map(|it| it.resource.attributes.as_slice());
        let scopes = origins.iter().map(|it| it.scope.attributes.as_slice());
        Self {
            resources: OriginMaps::of(resources),
            scopes: OriginMaps::of(scopes),
        }
    }

    pub(super) fn is_inexact(&self, origin: u32) -> bool {
        let at = origin as usize;
        let of = |maps: &OriginMaps| maps.is_inexact.get(at).copied().unwrap_or_default();
        of(&self.resources) || of(&self.scopes)
    }
}

// === impl OriginMaps ===

impl OriginMaps {
    fn of<'o>(maps: impl Iterator<Item = &'o [KeyValue]>) -> Self {
        let (mut keys, mut values) = (TextTable::new(), TextTable::new());
        let mut own = Self::default();
        let mut text = String::new();
        for pairs in maps {
            let mut entries = Vec::new();
            let mut types = String::new();
            let mut is_exact = true;
            for (at, pair) in pairs.iter().enumerate() {
                let rest = pairs.get(at + 1..).unwrap_or_default();
                if rest.iter().any(|other| other.key == pair.key) {
                    is_exact = false;
                    continue;
                }
                text.clear();
                let letter = value_text::write(&pair.value, &mut text);
                is_exact &= letter.is_some();
                types.push(letter.unwrap_or('?'));
                let key = keys.intern(pair.key.as_bytes()).0;
                entries.push((key, values.intern(text.as_bytes()).0));
            }
            if types.chars().all(|letter| letter == 's') {
                types.clear();
            }
            own.pairs.push(entries);
            own.types.push(types);
            own.is_inexact.push(!is_exact);
        }
        own.keys = texts(&keys);
        own.values = texts(&values);
        own
    }

    /// Returns the types of a map; an empty text where all values are strings.
    pub(super) fn types(&self, origin: usize) -> &str {
        self.types.get(origin).map_or("", String::as_str)
    }

    /// Returns the cells of rows, each with the map of its origin.
    pub(super) fn spread(&self, rows: &[SpanRow]) -> MapCells {
        let mut cells = MapCells::default();
        for text in &self.keys {
            cells.key_dictionary.push_text(text);
        }
        for text in &self.values {
            cells.value_dictionary.push_text(text);
        }
        for row in rows {
            let pairs = self.pairs.get(row.origin as usize);
            let pairs = pairs.map(Vec::as_slice).unwrap_or_default();
            cells
                .counts
                .push(u32::try_from(pairs.len()).unwrap_or(u32::MAX));
            cells.keys.extend(pairs.iter().map(|(key, _)| *key));
            cells.values.extend(pairs.iter().map(|(_, value)| *value));
        }
        cells
    }
}

fn texts(table: &TextTable) -> Vec<Vec<u8>> {
    let numbers = (0..).take(table.len());
    numbers.map(|number| table.get(number).to_vec()).collect()
}
