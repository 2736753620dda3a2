//! Which outbound calls are of one kind, and what each kind has shown of itself.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::load::Fading;
use crate::Timestamp;

/// What outbound calls have in common that ask the same of the same peer: method, authority and the shape of the path; the
/// topic of a record. A path's shape is its first segments, those with digits in them taken for ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(u64);

/// What the calls of a kind have shown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Habit {
    /// Calls that came when nobody could have asked for them.
    pub(super) stray: Fading,
    /// Those of them that came not long after something had ended.
    pub(super) late: Fading,
    /// Calls that came when exactly one could have.
    pub(super) lone: Fading,
    /// Those of them that came when nothing had ended not long before.
    pub(super) clear: Fading,
    /// Calls that carried a token of an inbound message.
    pub(super) told: Fading,
}

/// The habits of all kinds. Past its cap new kinds share one habit, which can only make the verdict on each of them worse.
#[derive(Debug)]
pub(super) struct Habits {
    known: HashMap<Kind, Habit>,
    others: Habit,
    most: usize,
}

/// Segments of a path that are looked at.
const SEGMENTS: usize = 4;
/// A longer segment is an id, whatever it consists of.
const LONGEST_WORD: usize = 32;

// === impl Kind ===

impl Kind {
    /// A request. `path` may have a query, which says nothing.
    #[must_use]
    pub fn http(method: &str, authority: &str, path: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        ("http", method, authority).hash(&mut hasher);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        for segment in path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .take(SEGMENTS)
        {
            let is_word =
                segment.len() <= LONGEST_WORD && !segment.bytes().any(|byte| byte.is_ascii_digit());
            if is_word { segment } else { "{}" }.hash(&mut hasher);
        }
        Self(hasher.finish())
    }

    /// A record.
    #[must_use]
    pub fn record(topic: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        ("kafka", topic).hash(&mut hasher);
        Self(hasher.finish())
    }
}

// === impl Habits ===

impl Habits {
    pub(super) fn new(most: usize) -> Self {
        Self {
            known: HashMap::new(),
            others: Habit::default(),
            most,
        }
    }

    pub(super) fn of(&mut self, kind: Kind, now: Timestamp) -> &mut Habit {
        if !self.known.contains_key(&kind) && self.known.len() >= self.most {
            self.known.retain(|_, habit| !habit.is_forgotten(now));
            if self.known.len() >= self.most {
                return &mut self.others;
            }
        }
        self.known.entry(kind).or_default()
    }
}

// === impl Habit ===

impl Habit {
    fn is_forgotten(&self, now: Timestamp) -> bool {
        [self.stray, self.lone, self.told]
            .iter()
            .all(|count| count.at(now) < 0.01)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_a_path_make_no_kind_of_their_own_and_words_do() {
        let kind = |path| Kind::http("GET", "inventory:8080", path);
        assert_eq!(kind("/orders/17?full=1"), kind("/orders/9f86d081"));
        assert_eq!(kind("/a/b/c/d/e"), kind("/a/b/c/d/f"));
        assert_ne!(kind("/orders/17"), kind("/orders"));
        assert_ne!(kind("/orders"), kind("/customers"));
        assert_ne!(
            kind("/orders"),
            Kind::http("POST", "inventory:8080", "/orders")
        );
        assert_ne!(
            kind("/orders"),
            Kind::http("GET", "billing:8080", "/orders")
        );
        assert_ne!(Kind::http("", "", ""), Kind::record(""));
    }

    #[test]
    fn past_the_cap_new_kinds_share_a_habit_until_old_ones_are_forgotten() {
        let mut habits = Habits::new(1);
        habits.of(Kind::record("a"), 0).lone.add(0, 1.0);
        habits.of(Kind::record("b"), 0).stray.add(0, 1.0);
        assert!(
            habits.of(Kind::record("c"), 0).stray.at(0) > 0.5,
            "c pays for b"
        );
        let later = 24 * 3600 * 1_000_000_000;
        assert!(habits.of(Kind::record("d"), later).stray.at(later) < 0.5);
    }
}
