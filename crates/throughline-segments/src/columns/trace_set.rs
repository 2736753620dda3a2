//! The traces that can satisfy a prefilter.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use throughline_model::{SpanId, TraceId};
use throughline_store::{Prefilter, PrefilterTarget};

use super::{ColumnTrace, HotColumns};
use crate::index::TraceBitmap;

/// The traces with each of the hashes and span ids that a prefilter asks for.
#[derive(Debug, Default)]
struct WantedSets {
    hashes: HashMap<u32, usize>,
    spans: HashMap<SpanId, usize>,
    /// Services with the durations of their spans.
    durations: Vec<WantedDuration>,
    sets: Vec<TraceBitmap>,
    /// For each hash, by its number in the columns: the set plus one.
    wanted: Vec<u32>,
}

/// A condition about the duration of a span.
#[derive(Debug)]
struct WantedDuration {
    service: Option<String>,
    /// Number of the service; `None` without one, and for one that no span has.
    number: Option<u32>,
    range: RangeInclusive<u64>,
    set: usize,
}

/// A trace with the answers to the prefilter.
struct CandidateTrace<'a> {
    trace: &'a ColumnTrace,
    number: usize,
    wanted: &'a WantedSets,
}

// === impl HotColumns ===

impl HotColumns {
    /// Returns the traces that can satisfy a prefilter, and those with spans that came twice.
    pub(crate) fn candidates(&self, prefilter: &Prefilter) -> Vec<u32> {
        let wanted = self.wanted_sets(prefilter);
        let accepted = self.traces().filter(|(number, trace)| {
            let candidate = CandidateTrace {
                trace,
                number: *number as usize,
                wanted: &wanted,
            };
            prefilter.accepts(&candidate) || self.is_repeated(*number)
        });
        accepted.map(|(number, _)| number).collect()
    }

    fn wanted_sets(&self, prefilter: &Prefilter) -> WantedSets {
        let mut wanted = WantedSets {
            wanted: vec![0; self.terms.hashes().all().len()],
            ..WantedSets::default()
        };
        let traces = self.traces.len();
        let (sets, hashes) = (&mut wanted.sets, &mut wanted.hashes);
        let numbers = &mut wanted.wanted;
        prefilter.visit_hashes(&mut |hash| {
            let set = *hashes.entry(hash).or_insert_with(|| {
                sets.push(TraceBitmap::new(traces));
                sets.len() - 1
            });
            let number = self.terms.hashes().find(hash);
            let slot = number.and_then(|number| numbers.get_mut(number as usize));
            if let Some(slot) = slot {
                *slot = u32::try_from(set + 1).unwrap_or_default();
            }
        });
        let spans = &mut wanted.spans;
        prefilter.visit_spans(&mut |id| {
            spans.entry(id).or_insert_with(|| {
                sets.push(TraceBitmap::new(traces));
                sets.len() - 1
            });
        });
        let durations = &mut wanted.durations;
        prefilter.visit_durations(&mut |service, range| {
            sets.push(TraceBitmap::new(traces));
            durations.push(WantedDuration {
                service: service.map(str::to_owned),
                number: service.and_then(|it| self.services.find(it.as_bytes())),
                range: range.clone(),
                set: sets.len() - 1,
            });
        });
        if !wanted.sets.is_empty() {
            self.fill(&mut wanted);
        }
        wanted
    }

    fn fill(&self, wanted: &mut WantedSets) {
        let is_wanted = |hash: &u32| {
            let set = wanted.wanted.get(*hash as usize);
            set.is_some_and(|set| *set > 0)
        };
        let has_any = |hashes: &[u32]| hashes.iter().any(is_wanted);
        let terms = (0..self.terms.len()).map(|term| {
            let term = u32::try_from(term).unwrap_or(u32::MAX);
            has_any(self.terms.hashes_of(term))
        });
        let terms: Vec<bool> = terms.collect();
        let origins = self.origins.iter().map(|origin| has_any(&origin.hashes));
        let origins: Vec<bool> = origins.collect();
        let is_hit = |list: &[bool], at: u32| list.get(at as usize).copied().unwrap_or_default();
        for (_, row) in self.live_rows() {
            let trace = row.trace as usize;
            wanted.add_all(&self.field_hashes(row), trace);
            if is_hit(&origins, row.origin) {
                wanted.add_all(self.origin_hashes(row.origin), trace);
            }
            for term in self.terms_of(row) {
                if is_hit(&terms, *term) {
                    wanted.add_all(self.terms.hashes_of(*term), trace);
                }
            }
            if let Some(set) = wanted.spans.get(&row.span_id).copied() {
                wanted.add(set, trace);
            }
            if !wanted.durations.is_empty() {
                let service = self.origin(row.origin).map(|origin| origin.service);
                wanted.add_durations(service, row.end.saturating_sub(row.start), trace);
            }
        }
        for (row, _, term) in &self.nested {
            if let Some(row) = self.row(*row).filter(|row| self.is_live(row)) {
                wanted.add_all(self.terms.hashes_of(*term), row.trace as usize);
            }
        }
        for (row, topic) in &self.row_topics {
            if let Some(row) = self.row(*row).filter(|row| self.is_live(row)) {
                wanted.add_all(&[self.topic_hash(*topic)], row.trace as usize);
            }
        }
    }
}

// === impl WantedSets ===

impl WantedSets {
    fn add(&mut self, set: usize, trace: usize) {
        if let Some(set) = self.sets.get_mut(set) {
            set.insert(trace);
        }
    }

    fn add_durations(&mut self, service: Option<u32>, duration: u64, trace: usize) {
        for wanted in &self.durations {
            let has_service = wanted.service.is_none() || wanted.number == service;
            if has_service
                && wanted.range.contains(&duration)
                && let Some(set) = self.sets.get_mut(wanted.set)
            {
                set.insert(trace);
            }
        }
    }

    fn add_all(&mut self, hashes: &[u32], trace: usize) {
        for hash in hashes {
            let set = self.wanted.get(*hash as usize).copied();
            if let Some(set) = set.and_then(|set| (set as usize).checked_sub(1)) {
                self.add(set, trace);
            }
        }
    }
}

// === impl CandidateTrace ===

impl CandidateTrace<'_> {
    fn is_in(&self, set: Option<&usize>) -> bool {
        let set = set.and_then(|set| self.wanted.sets.get(*set));
        set.is_none_or(|set| set.contains(self.number))
    }
}

impl PrefilterTarget for CandidateTrace<'_> {
    fn may_contain(&self, hash: u32) -> bool {
        self.is_in(self.wanted.hashes.get(&hash))
    }

    fn has_id(&self, id: TraceId) -> bool {
        self.trace.id == id
    }

    fn has_span(&self, id: SpanId) -> bool {
        self.is_in(self.wanted.spans.get(&id))
    }

    fn started_since(&self, time: u64) -> bool {
        self.trace.last_start >= time
    }

    fn started_until(&self, time: u64) -> bool {
        self.trace.first_start <= time
    }

    fn has_duration(&self, service: Option<&str>, range: &RangeInclusive<u64>) -> bool {
        let mut durations = self.wanted.durations.iter();
        let own = durations.find(|it| it.service.as_deref() == service && it.range == *range);
        self.is_in(own.map(|own| &own.set))
    }
}
