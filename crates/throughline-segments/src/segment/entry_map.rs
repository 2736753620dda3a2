//! The numbers of dictionary entries, while a column is written.

use super::chunk_writer::ColumnDictionary;
use crate::columns::TextTable;

/// A mark for no entry.
const NONE: u32 = u32::MAX;

/// The numbers of dictionary entries, by another number of their values.
#[derive(Debug)]
pub(super) struct EntryMap {
    entries: Vec<u32>,
    pub(super) dictionary: ColumnDictionary,
}

// === impl EntryMap ===

impl EntryMap {
    pub(super) fn new(numbers: usize) -> Self {
        Self {
            entries: vec![NONE; numbers],
            dictionary: ColumnDictionary::default(),
        }
    }

    /// Returns the entry of a number, which `add` makes when it has none.
    pub(super) fn entry(
        &mut self,
        number: u32,
        add: impl FnOnce(&mut ColumnDictionary) -> u32,
    ) -> u32 {
        let Some(entry) = self.entries.get_mut(number as usize) else {
            return 0;
        };
        if *entry == NONE {
            *entry = add(&mut self.dictionary);
        }
        *entry
    }

    pub(super) fn text(&mut self, number: u32, table: &TextTable) -> u32 {
        self.entry(number, |dictionary| dictionary.push_text(table.get(number)))
    }
}
