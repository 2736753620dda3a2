//! Pages of summaries, in order. The lock is taken for some traces at a time, so that a long search lets spans in between.

use std::collections::BinaryHeap;
use std::ops::Bound;

use throughline_model::TraceId;

use super::need::{Known, Need};
use super::{MemoryStore, Shelf};
use crate::{Find, Found, Order, Place};

impl MemoryStore {
    pub(super) fn page(&self, find: &Find) -> Found {
        let need = {
            let shelf = self.read();
            let known = Known {
                vocabulary: &shelf.vocabulary,
                catalogue: &shelf.catalogue,
            };
            find.expression
                .as_ref()
                .map_or(Need::Nothing, |expression| {
                    Need::of_expression(expression, known)
                })
        };
        if find.start.is_empty() || need.is_hopeless() {
            return Found {
                total: Some(0),
                ..Found::default()
            };
        }
        let search = Search {
            store: self,
            find,
            need,
        };
        match find.order {
            Order::Newest => search.newest(),
            Order::Duration | Order::Spans | Order::Errors => search.greatest(),
        }
    }
}

struct Search<'a> {
    store: &'a MemoryStore,
    find: &'a Find,
    need: Need,
}

// === impl Search ===

impl Search<'_> {
    /// Goes back in time until there are enough.
    fn newest(&self) -> Found {
        let mut found = Found::default();
        let mut after = self.find.after;
        let mut is_full = false;
        while !is_full {
            let shelf = self.store.read();
            let places: Vec<(u64, TraceId)> = self
                .range(&shelf, after)
                .rev()
                .take(CHUNK)
                .copied()
                .collect();
            for (start, id) in &places {
                let place = Place {
                    value: *start,
                    start: *start,
                    id: *id,
                };
                is_full = self.take(&shelf, place, &mut found);
                if is_full {
                    break;
                }
            }
            let Some((start, id)) = places.last().filter(|_| places.len() == CHUNK) else {
                break;
            };
            after = Some(Place {
                value: *start,
                start: *start,
                id: *id,
            });
        }
        found.next = found.next.filter(|_| is_full);
        found.total = if self.is_every_trace_in_range() {
            let shelf = self.store.read();
            Some(self.range(&shelf, None).count() as u64)
        } else {
            (!is_full && self.find.after.is_none()).then_some(found.traces.len() as u64)
        };
        found
    }

    /// Puts all that may match on a heap, and looks closer at the greatest until there are enough.
    fn greatest(&self) -> Found {
        let mut candidates: Vec<Place> = {
            let shelf = self.store.read();
            let places = self.range(&shelf, None).filter_map(|(_, id)| {
                let entry = shelf.traces.get(id)?;
                (entry.fits(self.find) && self.need.is_met(*id, entry))
                    .then(|| entry.place(*id, self.find.order))
            });
            places.collect()
        };
        let all = candidates.len() as u64;
        candidates.retain(|place| self.find.after.is_none_or(|after| *place < after));
        let mut heap = BinaryHeap::from(candidates);
        let mut found = Found::default();
        let mut is_full = false;
        while !is_full && !heap.is_empty() {
            let shelf = self.store.read();
            for _ in 0..CHUNK {
                let Some(place) = heap.pop() else { break };
                is_full = self.take(&shelf, place, &mut found);
                if is_full {
                    break;
                }
            }
        }
        found.next = found.next.filter(|_| is_full);
        found.total = match (&self.find.expression, self.find.after) {
            (None, _) => Some(all),
            (Some(_), None) if !is_full => Some(found.traces.len() as u64),
            (Some(_), _) => None,
        };
        found
    }

    /// Adds the trace at this place if it matches; `true` when the page was full already, and there are more.
    fn take(&self, shelf: &Shelf, place: Place, found: &mut Found) -> bool {
        let Some(entry) = shelf.traces.get(&place.id) else {
            return false;
        };
        let expression = self.find.expression.as_ref();
        let matches = entry.fits(self.find)
            && self.need.is_met(place.id, entry)
            && expression.is_none_or(|expression| entry.holds(place.id, expression));
        if !matches {
            return false;
        }
        if found.traces.len() >= self.find.limit {
            return true;
        }
        found.next = Some(place);
        found.traces.push(entry.to_summary(place.id, expression));
        false
    }

    /// The traces that started in the range asked for, and before this place.
    fn range<'s>(
        &self,
        shelf: &'s Shelf,
        after: Option<Place>,
    ) -> std::collections::btree_set::Range<'s, (u64, TraceId)> {
        let first = TraceId::from_bytes(1u128.to_be_bytes());
        let (from, until) = (*self.find.start.start(), *self.find.start.end());
        let least = first.map_or(Bound::Unbounded, |first| Bound::Included((from, first)));
        let end = until.checked_add(1).zip(first);
        let most = match (after, end) {
            (Some(place), Some(end)) => Bound::Excluded((place.start, place.id).min(end)),
            (Some(place), None) => Bound::Excluded((place.start, place.id)),
            (None, Some(end)) => Bound::Excluded(end),
            (None, None) => Bound::Unbounded,
        };
        // A range that ends before it begins is empty, which the set takes for a mistake.
        match (&least, &most) {
            (Bound::Included(from), Bound::Excluded(to)) if to <= from => {
                shelf.by_start.range(*from..*from)
            }
            _ => shelf.by_start.range((least, most)),
        }
    }

    /// Whether nothing is asked but when a trace started.
    fn is_every_trace_in_range(&self) -> bool {
        self.find.expression.is_none()
            && self.find.topic.is_none()
            && self.find.duration == (0..=u64::MAX)
    }
}

/// Traces looked at under one lock.
const CHUNK: usize = 256;
