//! A map that forgets the oldest when it is full.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// At most so many values, each by its key. What has been put in first goes first.
#[derive(Debug)]
pub(super) struct Capped<K, V> {
    values: HashMap<K, V>,
    order: VecDeque<K>,
    most: usize,
}

// === impl Capped ===

impl<K: Clone + Eq + Hash, V> Capped<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
            most: most.max(1),
        }
    }

    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.values.get(key)
    }

    pub(super) fn get_mut<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.values.get_mut(key)
    }

    /// Puts a value in the place of the one there was.
    pub(super) fn insert(&mut self, key: K, value: V) {
        if let Some(old) = self.values.get_mut(&key) {
            *old = value;
            return;
        }
        if self.values.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.values.insert(key, value);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_it_is_full_and_a_value_put_again_takes_no_room() {
        let mut map = Capped::new(2);
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
