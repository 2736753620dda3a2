//! Distinct attributes, by number, with the hashes that the index has of them.

use std::borrow::Cow;
use std::collections::HashMap;

use throughline_model::convention::{PARENT_CONFIDENCE, PARENT_EVIDENCE};
use throughline_model::{KeyValue, Value};
use throughline_otlp::{decode_key_value, text_key_value};
use throughline_store::{attribute_hashes, describes_message, text_attribute_hashes};

use super::text_table::{FoldHasher, TextTable};

/// Attribute that decides whether a span failed.
const ERROR: &str = "error";

/// A mark for no name.
const NO_KEY: u32 = u32::MAX;

/// Number of attributes that are looked up at once: what is known of them stays in the first cache.
const BATCH_TERMS: usize = 256;

/// Distinct attributes, each as its `KeyValue` message.
#[derive(Debug)]
pub(crate) struct TermTable {
    messages: TextTable,
    terms: Vec<Term>,
    keys: TextTable,
    key_facts: Vec<KeyFacts>,
    /// Whether a name says how a parent was found.
    has_evidence: bool,
    hashes: HashTable,
    /// Hashes of all terms, by number.
    term_hashes: Vec<u32>,
}

/// An attribute and where its hashes are; small, because each is looked at for each span.
#[derive(Debug, Clone, Copy)]
struct Term {
    /// [`NO_KEY`] for a malformed attribute.
    key: u32,
    /// End of its hashes in `term_hashes`.
    hashes_end: u32,
}

/// Facts that follow from the name of an attribute.
#[derive(Debug, Clone, Copy, Default)]
struct KeyFacts {
    /// More than its hashes matters to the index.
    is_special: bool,
    /// It says how the parent of the span was found.
    is_evidence: bool,
}

/// The hashes of an index, by number.
#[derive(Debug)]
pub(crate) struct HashTable {
    numbers: HashMap<u32, u32, FoldHasher>,
    hashes: Vec<u32>,
}

// === impl HashTable ===

impl HashTable {
    /// Returns the number of a hash.
    pub(crate) fn intern(&mut self, hash: u32) -> u32 {
        let next = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
        let hashes = &mut self.hashes;
        *self.numbers.entry(hash).or_insert_with(|| {
            hashes.push(hash);
            next
        })
    }

    pub(crate) fn find(&self, hash: u32) -> Option<u32> {
        self.numbers.get(&hash).copied()
    }

    /// Returns all hashes, by number.
    pub(crate) fn all(&self) -> &[u32] {
        &self.hashes
    }
}

// === impl TermTable ===

impl TermTable {
    pub(super) fn new() -> Self {
        Self {
            messages: TextTable::new(),
            terms: Vec::new(),
            keys: TextTable::new(),
            key_facts: Vec::new(),
            has_evidence: false,
            hashes: HashTable {
                numbers: HashMap::with_hasher(FoldHasher::new()),
                hashes: Vec::new(),
            },
            term_hashes: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.terms.len()
    }

    pub(crate) fn hashes(&self) -> &HashTable {
        &self.hashes
    }

    pub(super) fn hashes_mut(&mut self) -> &mut HashTable {
        &mut self.hashes
    }

    pub(crate) fn memory(&self) -> usize {
        self.messages.memory()
            + self.keys.memory()
            + self.terms.capacity() * size_of::<Term>()
            + self.term_hashes.capacity() * 4
            // A map is between half and wholly full.
            + self.hashes.hashes.capacity() * 20
    }

    /// Returns the number of an attribute; `None` when the message is malformed.
    pub(super) fn intern(&mut self, message: &[u8]) -> Option<u32> {
        let (number, is_new) = self.messages.intern(message);
        if is_new {
            self.add(message);
        }
        let term = self.terms.get(number as usize)?;
        (term.key != NO_KEY).then_some(number)
    }

    /// Adds the numbers of attributes to `numbers`; `None` when a message is malformed.
    pub(super) fn intern_each(&mut self, messages: &[&[u8]], numbers: &mut Vec<u32>) -> Option<()> {
        let mut found = Vec::with_capacity(BATCH_TERMS);
        for batch in messages.chunks(BATCH_TERMS) {
            self.messages.find_each(batch.iter().copied(), &mut found);
            for (message, number) in batch.iter().zip(&found) {
                let number = match number {
                    Some(number) if self.is_valid(*number) => *number,
                    _ => self.intern(message)?,
                };
                numbers.push(number);
            }
        }
        Some(())
    }

    fn is_valid(&self, number: u32) -> bool {
        let term = self.terms.get(number as usize);
        term.is_some_and(|term| term.key != NO_KEY)
    }

    fn add(&mut self, message: &[u8]) {
        let mut term = Term {
            // Kept, so that the numbers agree.
            key: NO_KEY,
            hashes_end: 0,
        };
        if let Some((key, text)) = text_key_value(message) {
            term.key = self.key(key);
            for hash in text_attribute_hashes(key, text) {
                self.term_hashes.push(self.hashes.intern(hash));
            }
        } else if let Some(pair) = decode_key_value(message) {
            term.key = self.key(&pair.key);
            let (hashes, term_hashes) = (&mut self.hashes, &mut self.term_hashes);
            attribute_hashes(&pair, &mut |hash| term_hashes.push(hashes.intern(hash)));
        }
        // Each takes four bytes in memory: there are fewer than 2^32.
        term.hashes_end = u32::try_from(self.term_hashes.len()).unwrap_or(u32::MAX);
        self.terms.push(term);
    }

    fn key(&mut self, key: &str) -> u32 {
        let (number, is_new) = self.keys.intern(key.as_bytes());
        if is_new {
            let facts = KeyFacts {
                is_special: key == ERROR || describes_message(key),
                is_evidence: key == PARENT_EVIDENCE || key == PARENT_CONFIDENCE,
            };
            self.has_evidence |= facts.is_evidence;
            self.key_facts.push(facts);
        }
        number
    }

    pub(crate) fn keys(&self) -> &TextTable {
        &self.keys
    }

    /// Returns the number of an attribute's name.
    pub(crate) fn key_of(&self, term: u32) -> u32 {
        self.terms.get(term as usize).map_or(0, |term| term.key)
    }

    /// Returns the attributes with this name, by their number among names.
    pub(super) fn of_key(&self, key: u32) -> impl Iterator<Item = u32> {
        let terms = (0..).zip(&self.terms);
        let own = terms.filter(move |(_, term)| term.key == key);
        own.map(|(number, _)| number)
    }

    fn facts_of(&self, term: u32) -> KeyFacts {
        let facts = self.key_facts.get(self.key_of(term) as usize);
        facts.copied().unwrap_or_default()
    }

    /// Returns whether more than its hashes matters to the index.
    pub(super) fn is_special(&self, term: u32) -> bool {
        self.facts_of(term).is_special
    }

    /// Returns whether one of the attributes says how the parent of the span was found.
    pub(super) fn has_evidence(&self, terms: &[u32]) -> bool {
        self.has_evidence && terms.iter().any(|term| self.facts_of(*term).is_evidence)
    }

    /// Returns the hashes of an attribute, by number.
    pub(crate) fn hashes_of(&self, term: u32) -> &[u32] {
        let at = term as usize;
        let end = self.terms.get(at).map_or(0, |term| term.hashes_end);
        let before = at.checked_sub(1).and_then(|at| self.terms.get(at));
        let start = before.map_or(0, |term| term.hashes_end);
        let hashes = self.term_hashes.get(start as usize..end as usize);
        hashes.unwrap_or_default()
    }

    /// Returns name and text of an attribute whose value is text.
    pub(crate) fn text(&self, term: u32) -> Option<(&str, &str)> {
        text_key_value(self.messages.get(term))
    }

    /// Returns the value of an attribute that is text of any length.
    pub(crate) fn string(&self, term: u32) -> Option<Cow<'_, str>> {
        if let Some((_, text)) = self.text(term) {
            return Some(Cow::Borrowed(text));
        }
        let Value::String(text) = self.attribute(term)?.value else {
            return None;
        };
        Some(Cow::Owned(text.to_string()))
    }

    /// Returns the value of an attribute that is a whole number.
    pub(crate) fn integer(&self, term: u32) -> Option<i64> {
        let Value::Int(number) = self.attribute(term)?.value else {
            return None;
        };
        Some(number)
    }

    /// Returns an attribute.
    pub(crate) fn attribute(&self, term: u32) -> Option<KeyValue> {
        decode_key_value(self.messages.get(term))
    }
}
