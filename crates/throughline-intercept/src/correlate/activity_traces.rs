//! The traces of the activities that are remembered, for calls that carry a context.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use throughline_model::TraceId;

/// Traces by the low half of their ids. Tracers that keep only 64 bits of an id keep those.
#[derive(Debug, Default)]
pub(super) struct ActivityTraces(HashMap<[u8; 8], TraceUse>);

/// A trace, and the number of activities in it.
#[derive(Debug)]
struct TraceUse {
    trace_id: TraceId,
    activities: usize,
}

// === impl ActivityTraces ===

impl ActivityTraces {
    pub(super) fn insert(&mut self, trace_id: TraceId) {
        let (_, low) = halves(trace_id);
        let entry = self.0.entry(low).or_insert(TraceUse {
            trace_id,
            activities: 0,
        });
        // Of two traces with one low half the first counts: none is mistaken for the other.
        entry.activities += usize::from(entry.trace_id == trace_id);
    }

    pub(super) fn remove(&mut self, trace_id: TraceId) {
        let (_, low) = halves(trace_id);
        if let Entry::Occupied(mut entry) = self.0.entry(low)
            && entry.get().trace_id == trace_id
        {
            entry.get_mut().activities -= 1;
            if entry.get().activities == 0 {
                entry.remove();
            }
        }
    }

    /// Returns the trace that an id names: itself, or the one whose low half it is.
    pub(super) fn find(&self, trace_id: TraceId) -> Option<TraceId> {
        let (high, low) = halves(trace_id);
        let found = self.0.get(&low)?.trace_id;
        (found == trace_id || high == [0; 8]).then_some(found)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn halves(trace_id: TraceId) -> ([u8; 8], [u8; 8]) {
    let bytes = trace_id.to_bytes();
    let half = |bytes: Option<&[u8; 8]>| bytes.copied().unwrap_or_default();
    (half(bytes.first_chunk()), half(bytes.last_chunk()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_is_found_by_its_id_and_by_the_low_half_of_it() {
        let id = |hex| TraceId::from_hex(hex).unwrap();
        let full = id("0af7651916cd43dd8448eb211c80319c");
        let mut traces = ActivityTraces::default();
        traces.insert(full);
        traces.insert(full);
        assert_eq!(traces.find(full), Some(full));
        assert_eq!(traces.find(id("8448eb211c80319c")), Some(full));
        assert_eq!(traces.find(id("10000000000000008448eb211c80319c")), None);
        assert_eq!(traces.find(id("16cd43dd")), None);
        traces.remove(full);
        assert_eq!(traces.find(full), Some(full), "one activity is left");
        traces.remove(full);
        assert_eq!((traces.find(full), traces.len()), (None, 0));
    }
}
