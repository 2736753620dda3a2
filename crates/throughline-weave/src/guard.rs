//! Limits on what is claimed. A guard lowers a stated confidence; what the engine believes, and
//! goes on from, stays as it is.

use std::collections::{HashMap, HashSet};

use crate::coincidence::{Coincidence, CoincidenceCount};
use crate::event::{InboundId, Nanos};
use crate::weaver_settings::LiveChecks;

/// Confidence that is claimed for a pair of operations which few requests have shown.
const UNPROVEN_CONFIDENCE: f64 = 0.94;
/// Requests that must have shown a pair of operations.
const MIN_BACKING: f64 = 3.0;
/// The first call of a kind is trusted this soon after its request began.
const PROMPT_NS: Nanos = 100_000_000;
/// Doubt about a choice between several requests, before a call of the kind was certain. It becomes
/// smaller with the number of requests that have shown the call, by the rule of succession.
const FIRST_DOUBT: f64 = 0.05;
/// Above this many in flight, few requests vouch for little.
pub(crate) const CROWDED: usize = 3;
/// Requests in flight beyond these for which the doubt doubles.
const NEGLECTED_PER: f64 = 4.0;
/// Confidence while the state of the process is lost.
const LOST_CONFIDENCE: f64 = 0.98;
/// Share of confident decisions below which the state counts as lost.
const MIN_CONFIDENT_SHARE: f64 = 0.45;
/// Weight of one decision in the moving share.
const SHARE_STEP: f64 = 1.0 / 128.0;
/// Confidence from which a decision counts as confident.
pub(crate) const CONFIDENT: f64 = 0.99;

/// Checked decisions from which older ones count half: what was learned wrong first is forgotten.
const MEMORY_CHECKED: f64 = 1_000.0;
/// Standard deviations by which wrong decisions must exceed chance to be taken as a rate.
const SIGNIFICANCE: f64 = 2.0;

/// Share of calls without a cause from which a kind is never confident.
const MAX_STRAY_SHARE: f64 = 0.01;

/// Records from which older ones count half, and when records are not handled in turn.
const MEMORY_RECORDS: f64 = 1_000.0;
const MIN_OVERLAPPED: f64 = 0.5;
const MAX_OVERLAPPED_SHARE: f64 = 0.002;

/// Circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecisionContext {
    pub(crate) operation: u32,
    pub(crate) kind: u32,
    pub(crate) in_flight: usize,
    /// Whether the parent is a record.
    pub(crate) is_record: bool,
    /// Whether more records have waited in its partition than are held.
    pub(crate) is_lost: bool,
    /// The first call of its kind by the request, this long after the request began.
    pub(crate) first_after_ns: Option<Nanos>,
    /// A request has just ended: it may go on, and nobody has shown that it does not.
    pub(crate) ended_nearby: bool,
    /// A request without a client, which has not made this call yet, may make it unseen.
    pub(crate) abandoned_nearby: bool,
    /// Calls of this kind that had no cause, so far, and their share.
    pub(crate) strays: f64,
    pub(crate) stray_share: f64,
    /// How the call follows the events of its likely cause.
    pub(crate) coincidence: Option<Coincidence>,
}

/// The likeliest cause of a call when it was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatedCause {
    pub(crate) parent: InboundId,
    /// Its probability, before the guard limited it.
    pub(crate) raw: f64,
    pub(crate) confidence: f64,
}

/// Limits stated confidences.
#[derive(Debug, Clone)]
pub(crate) struct ConfidenceGuard {
    /// Distinct requests that have shown a pair of operations.
    backing: HashMap<(u32, u32), f64>,
    /// The same, by an earlier pass over the same requests.
    expected: HashMap<(u32, u32), f64>,
    /// Distinct requests that have made a call that can only have been theirs, by the same pair.
    proven: HashMap<(u32, u32), f64>,
    /// How often a call came just after an event of its likeliest cause, by the same pair.
    coincidences: HashMap<(u32, u32), CoincidenceCount>,
    /// Pairs of operations of which a request has waited for the call.
    awaited: HashSet<(u32, u32)>,
    /// Records of an operation, and those during which the next one made a call.
    records: HashMap<u32, (f64, f64)>,
    confident_share: f64,
    /// Confident decisions that were checked, those that were wrong, and expected to be.
    checked: f64,
    wrong: f64,
    expected_wrong: f64,
    pub(crate) checks: LiveChecks,
}

// === impl DecisionContext ===

impl DecisionContext {
    /// The circumstances of a call that was taken for one without a cause when it was made.
    pub(crate) const fn unknown(kind: u32) -> Self {
        Self {
            operation: 0,
            kind,
            in_flight: 2,
            is_record: false,
            is_lost: false,
            first_after_ns: None,
            ended_nearby: false,
            abandoned_nearby: false,
            strays: 0.0,
            stray_share: 0.0,
            coincidence: None,
        }
    }
}

// === impl ConfidenceGuard ===

impl Default for ConfidenceGuard {
    fn default() -> Self {
        Self {
            backing: HashMap::new(),
            expected: HashMap::new(),
            proven: HashMap::new(),
            coincidences: HashMap::new(),
            awaited: HashSet::new(),
            records: HashMap::new(),
            // Little is known yet: some decisions that are not confident show that, but the first
            // ones of a process never are.
            confident_share: MIN_CONFIDENT_SHARE + 0.05,
            checked: 0.0,
            wrong: 0.0,
            expected_wrong: 0.0,
            checks: LiveChecks::default(),
        }
    }
}

impl ConfidenceGuard {
    /// Returns a guard for another pass over the same requests: it knows the pairs of operations
    /// that they show, and has decided nothing yet.
    pub(crate) fn acquainted(&self) -> Self {
        Self {
            expected: self.backing.clone(),
            awaited: self.awaited.clone(),
            ..Self::default()
        }
    }

    /// Records that a request of `operation` made calls of `kind`, however many.
    pub(crate) fn back(&mut self, operation: u32, kind: u32, weight: f64) {
        *self.backing.entry((operation, kind)).or_default() += weight;
    }

    pub(crate) fn backing(&self, operation: u32, kind: u32) -> f64 {
        let of = |counts: &HashMap<(u32, u32), f64>| counts.get(&(operation, kind)).copied();
        let shown = of(&self.backing).unwrap_or(0.0);
        shown.max(of(&self.expected).unwrap_or(0.0))
    }

    /// Records that a request of `operation` has certainly made calls of `kind`, however many.
    pub(crate) fn note_proven(&mut self, operation: u32, kind: u32) {
        *self.proven.entry((operation, kind)).or_default() += 1.0;
    }

    /// Records how a call follows the events of its likely cause.
    pub(crate) fn note_coincidence(&mut self, context: &DecisionContext) {
        if let Some(coincidence) = context.coincidence {
            let pair = (context.operation, context.kind);
            let count = self.coincidences.entry(pair).or_default();
            count.observe(&coincidence);
        }
    }

    /// Returns the doubt about a choice between several requests.
    fn doubt_about_choice(&self, context: &DecisionContext) -> f64 {
        let pair = (context.operation, context.kind);
        let proven = self.proven.get(&pair).copied().unwrap_or(0.0);
        let count = self.coincidences.get(&pair).copied().unwrap_or_default();
        let doubt = FIRST_DOUBT / (proven + count.proofs() + 1.0);
        match context.coincidence.filter(|it| it.is_exclusive) {
            Some(it) => doubt.min(count.unrelated_share(FIRST_DOUBT) * it.chance),
            None => doubt,
        }
    }

    /// Records that a request of `operation` has waited for a call of `kind`.
    pub(crate) fn note_awaited(&mut self, operation: u32, kind: u32) {
        self.awaited.insert((operation, kind));
    }

    /// Records that records were handled, and during how many of them the next one made a call.
    pub(crate) fn observe_records(&mut self, operation: u32, (handled, overlapped): (f64, f64)) {
        let counts = self.records.entry(operation).or_default();
        counts.0 += handled;
        counts.1 += overlapped;
        if counts.0 > MEMORY_RECORDS {
            *counts = (counts.0 * 0.5, counts.1 * 0.5);
        }
    }

    /// Returns whether records of an operation are not handled one after the other.
    fn is_concurrent(&self, operation: u32) -> bool {
        let counts = self.records.get(&operation).copied();
        counts.is_some_and(|(handled, overlapped)| {
            overlapped >= MIN_OVERLAPPED && overlapped > MAX_OVERLAPPED_SHARE * handled
        })
    }

    /// Records a decision before it was limited.
    pub(crate) fn observe(&mut self, raw: f64) {
        let confident = if raw >= CONFIDENT { 1.0 } else { 0.0 };
        self.confident_share += SHARE_STEP * (confident - self.confident_share);
    }

    /// Records whether a decision agreed with a proof that came later. Limited ones are checked as
    /// well, or a limit would never end.
    pub(crate) fn check(&mut self, stated: &StatedCause, right: bool) {
        if stated.confidence >= CONFIDENT {
            self.checks.right += u64::from(right);
            self.checks.wrong += u64::from(!right);
        }
        let raw = stated.raw;
        if raw < CONFIDENT {
            return;
        }
        if self.checked >= MEMORY_CHECKED {
            self.checked *= 0.5;
            self.expected_wrong *= 0.5;
            self.wrong *= 0.5;
        }
        self.checked += 1.0;
        self.expected_wrong += 1.0 - raw;
        self.wrong += f64::from(u8::from(!right));
    }

    /// Returns the confidence to state instead of `raw`.
    pub(crate) fn limit(&self, raw: f64, context: &DecisionContext) -> f64 {
        let backing = self.backing(context.operation, context.kind);
        let mut limit: f64 = 1.0;
        let prompt = context.first_after_ns.is_some_and(|gap| gap <= PROMPT_NS);
        let is_trusted = prompt && !context.ended_nearby && context.strays < 1.0;
        let pair = (context.operation, context.kind);
        let is_shown = backing >= MIN_BACKING || self.awaited.contains(&pair);
        if !is_shown && !is_trusted {
            limit = limit.min(UNPROVEN_CONFIDENCE);
        }
        if context.in_flight > 1 && !context.is_record {
            limit = limit.min(1.0 - self.doubt_about_choice(context));
        }
        if context.in_flight > CROWDED {
            limit = limit.min(1.0 - 1.0 / (backing * backing + 2.0));
        }
        if self.confident_share < MIN_CONFIDENT_SHARE
            || context.stray_share > MAX_STRAY_SHARE
            || context.abandoned_nearby
            || context.is_lost
            || self.is_concurrent(context.operation)
        {
            limit = limit.min(LOST_CONFIDENCE);
        }
        let rivals = context.in_flight.saturating_sub(CROWDED);
        // Where many compete, some of their dependence is neglected.
        let mut doubt = (1.0 - raw) * (1.0 + rivals as f64 / NEGLECTED_PER);
        if self.wrong > 0.0 {
            let excess = (self.wrong + 1.0) / (self.expected_wrong + 1.0);
            let significant = self.wrong - SIGNIFICANCE * self.wrong.sqrt();
            doubt = (doubt * excess.max(1.0)).max(significant / (self.checked + 1.0));
        }
        (1.0 - doubt).min(limit).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(in_flight: usize) -> DecisionContext {
        DecisionContext {
            operation: 1,
            kind: 2,
            in_flight,
            is_record: false,
            is_lost: false,
            first_after_ns: None,
            ended_nearby: false,
            abandoned_nearby: false,
            strays: 0.0,
            stray_share: 0.0,
            coincidence: None,
        }
    }

    fn stated(confidence: f64) -> StatedCause {
        StatedCause {
            parent: InboundId(1),
            raw: confidence,
            confidence,
        }
    }

    fn guard() -> ConfidenceGuard {
        let mut guard = ConfidenceGuard::default();
        for _ in 0..1000 {
            guard.back(1, 2, 1.0);
            guard.note_proven(1, 2);
        }
        guard
    }

    #[test]
    fn one_wrong_decision_does_not_end_all_confidence() {
        let mut guard = guard();
        guard.check(&stated(0.995), false);
        assert!(guard.limit(0.9999, &context(2)) > 0.999);
    }

    #[test]
    fn decisions_that_are_often_wrong_lower_the_confidence_until_they_are_right_again() {
        let mut guard = guard();
        for number in 0..100 {
            guard.check(&stated(0.99999), number % 4 != 0);
        }
        assert!(guard.limit(0.99999, &context(2)) < 0.9);
        for _ in 0..20_000 {
            guard.check(&stated(0.99999), true);
        }
        assert_eq!((guard.checks.right, guard.checks.wrong), (20_075, 25));
        assert!(guard.limit(0.99999, &context(2)) > 0.998);
    }

    #[test]
    fn choice_between_requests_is_only_as_sure_as_the_requests_that_have_shown_the_call() {
        let mut guard = ConfidenceGuard::default();
        (0..10).for_each(|_| guard.back(1, 2, 1.0));
        assert!(guard.limit(0.9999, &context(1)) > 0.999);
        assert!(guard.limit(0.9999, &context(2)) < 0.99);
        (0..100).for_each(|_| guard.note_proven(1, 2));
        assert!(guard.limit(0.9999, &context(2)) > 0.999);
    }

    #[test]
    fn partition_with_records_that_were_given_up_is_not_claimed() {
        let context = DecisionContext {
            is_lost: true,
            ..context(1)
        };
        assert!(guard().limit(0.9999, &context) <= LOST_CONFIDENCE);
    }

    #[test]
    fn unshown_call_soon_after_another_request_ended_is_not_claimed() {
        let guard = ConfidenceGuard::default();
        let prompt = DecisionContext {
            first_after_ns: Some(5_000_000),
            ..context(1)
        };
        assert!(guard.limit(0.9999, &prompt) > 0.999);
        let ended_nearby = true;
        let after_end = DecisionContext {
            ended_nearby,
            ..prompt
        };
        assert!(guard.limit(0.9999, &after_end) <= UNPROVEN_CONFIDENCE);
    }
}
