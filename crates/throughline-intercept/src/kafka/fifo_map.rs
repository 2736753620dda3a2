//! Map with a capacity that evicts the oldest entry.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Map of at most `capacity` entries. Inserting into a full map removes the entry that was inserted
/// first.
#[derive(Debug)]
pub(in crate::kafka) struct FifoMap<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
    capacity: usize,
}

// === impl FifoMap ===

impl<K: Clone + Eq + Hash, V> FifoMap<K, V> {
    pub(in crate::kafka) fn new(capacity: usize) -> Self {
        Self {
            values: HashMap::default(),
            order: VecDeque::new(),
            capacity: capacity.max(1),
        }
    }

    pub(in crate::kafka) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.values.get(key)
    }

    pub(in crate::kafka) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.values.get_mut(key)
    }

    /// Returns the value under a key, a new one if there is none.
    pub(in crate::kafka) fn get_or_insert_default(&mut self, key: &K) -> &mut V
    where
        V: Default,
    {
        if !self.values.contains_key(key) {
            self.insert(key.clone(), V::default());
        }
        self.values.entry(key.clone()).or_default()
    }

    /// Inserts a value, or replaces the one under the same key.
    pub(in crate::kafka) fn insert(&mut self, key: K, value: V) {
        if let Some(old) = self.values.get_mut(&key) {
            // The entry keeps its age: a key that is written often is not evicted any later.
            *old = value;
            return;
        }
        if self.values.len() >= self.capacity
            // The order holds each key once, so that its length equals that of the map.
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.values.insert(key, value);
    }

    #[cfg(test)]
    pub(in crate::kafka) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_map_evicts_the_oldest_entry_and_replacing_a_value_takes_no_room() {
        let mut map = FifoMap::new(2);
        map.insert("a", 1);
        map.insert("b", 2);
        map.insert("a", 3);
        assert_eq!((map.get("a"), map.len()), (Some(&3), 2));
        map.insert("c", 4);
        assert_eq!(
            (map.get("a"), map.get("b"), map.get("c"), map.len()),
            (None, Some(&2), Some(&4), 2)
        );
    }
}
