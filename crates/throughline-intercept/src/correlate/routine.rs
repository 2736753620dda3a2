//! What the records of a topic always make their consumer do, learned from records that were alone in the process.

use super::Kind;
use super::work::Work;
use crate::Timestamp;

/// The calls that each record of a topic makes.
#[derive(Debug, Default)]
pub(super) struct Routine {
    patterns: Vec<Pattern>,
    /// The longest pause in which a record did nothing and then did something, slowly forgotten.
    pause: u64,
    /// Records of one partition have been seen to be handled at the same time.
    pub(super) parallel: bool,
}

#[derive(Debug)]
struct Pattern {
    kind: Kind,
    /// Calls of each record.
    calls: u32,
    /// Records in a row that made so many.
    records: u32,
}

/// So many records alike, and what they did is what they always do.
const ALWAYS: u32 = 16;
/// So many, and it can be counted on even where several records wait.
const COUNTED_ON: u32 = 64;
/// Kinds that are remembered of a topic.
const MOST_KINDS: usize = 16;
/// A record has done all that it does when nothing happened for so many times the longest pause.
const PATIENCE: u64 = 4;

// === impl Routine ===

impl Routine {
    /// A record came to a call after a pause.
    pub(super) fn paused(&mut self, pause: u64) {
        self.pause = pause.max(self.pause - self.pause / 128);
    }

    /// A record that was alone has been handled (`settled`), or is so far that something else began.
    pub(super) fn learn(&mut self, work: &Work, now: Timestamp, settled: bool) {
        let quiet = now.saturating_sub(work.active) > self.pause.saturating_mul(PATIENCE);
        if work.waits() || work.may_retry() || !(settled || (quiet && self.pause > 0)) {
            return;
        }
        for calls in &work.calls {
            if !self
                .patterns
                .iter()
                .any(|pattern| pattern.kind == calls.kind)
                && self.patterns.len() < MOST_KINDS
            {
                self.patterns.push(Pattern {
                    kind: calls.kind,
                    calls: calls.made,
                    records: 0,
                });
            }
        }
        for pattern in &mut self.patterns {
            pattern.observe(work.calls_of(pattern.kind).map_or(0, |calls| calls.made));
        }
    }

    /// Whether the record has made all its calls of this kind.
    pub(super) fn is_spent(&self, kind: Kind, work: &Work) -> bool {
        self.pattern(kind)
            .is_some_and(|pattern| pattern.is_spent(work))
    }

    /// Whether the record has made all its calls.
    pub(super) fn is_done(&self, work: &Work) -> bool {
        self.patterns.iter().any(|pattern| pattern.calls > 0)
            && self.patterns.iter().all(|pattern| pattern.is_spent(work))
    }

    /// How many records in a row stand behind the routine, when it can be counted on.
    pub(super) fn counted_on(&self, kind: Kind) -> Option<u32> {
        let pattern = self.pattern(kind)?;
        (!self.parallel && pattern.calls > 0 && pattern.records >= COUNTED_ON)
            .then_some(pattern.records)
    }

    /// Whether the record has begun all its calls of this kind, so that another is not its own.
    pub(super) fn has_begun_all(&self, kind: Kind, work: &Work) -> bool {
        let begun = work.calls_of(kind).map_or(0, |calls| calls.made);
        self.pattern(kind)
            .is_some_and(|pattern| begun >= pattern.calls)
    }

    /// A call came that no record should have made.
    pub(super) fn surprise(&mut self, kind: Kind) {
        self.patterns.retain(|pattern| pattern.kind != kind);
    }

    /// The record has been settled: has it done what was counted on?
    pub(super) fn check(&mut self, work: &Work) {
        let did = |pattern: &Pattern| {
            work.calls_of(pattern.kind).map_or(0, |calls| calls.made) == pattern.calls
        };
        self.patterns
            .retain(|pattern| work.is_unsure || pattern.records < COUNTED_ON || did(pattern));
    }

    fn pattern(&self, kind: Kind) -> Option<&Pattern> {
        self.patterns.iter().find(|pattern| pattern.kind == kind)
    }
}

// === impl Pattern ===

impl Pattern {
    fn observe(&mut self, calls: u32) {
        if calls == self.calls {
            self.records = self.records.saturating_add(1);
        } else {
            (self.calls, self.records) = (calls, 1);
        }
    }

    fn is_spent(&self, work: &Work) -> bool {
        let enough = |calls: &super::work::Calls| {
            calls.made >= self.calls && calls.waiting == 0 && !calls.failed
        };
        self.records >= ALWAYS && work.calls_of(self.kind).map_or(self.calls == 0, enough)
    }
}
