//! Tally of the attributions in a simulation.

use std::fmt::Write as _;

use throughline_intercept::correlate::{Evidence, ParentDecision};
use throughline_model::context::SpanContext;

/// Head of the table.
pub(crate) const TABLE_HEAD: &str = "\
| process | load | calls | exact % | sole % | order % | steps % | open % | wrong | % of guesses |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|";

/// Attributions of a simulation by evidence, and the wrong ones among them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AttributionTally {
    /// Calls with a cause.
    pub(crate) calls: u32,
    pub(crate) exact: u32,
    pub(crate) exact_wrong: u32,
    sole: u32,
    sole_wrong: u32,
    order: u32,
    order_wrong: u32,
    /// By the steps of requests: structure, timing and shared tokens.
    steps: u32,
    steps_wrong: u32,
    open: u32,
    /// Inferred parents, those of calls without a cause included.
    pub(crate) inferred: u32,
    /// Sum of their confidences.
    pub(crate) confidence: f64,
}

// === impl AttributionTally ===

impl AttributionTally {
    /// Compares a decision with the cause that the simulation knows.
    pub(crate) fn record(&mut self, parent: &ParentDecision, cause: Option<&SpanContext>) {
        let evidence = parent.evidence;
        let found = parent.context.as_ref();
        let wrong = u32::from(found.is_some() && found != cause);
        self.inferred += u32::from(parent.confidence.is_some());
        self.confidence += parent.confidence.unwrap_or_default();
        match evidence {
            Evidence::Header | Evidence::RequestId => self.exact_wrong += wrong,
            Evidence::Sole => self.sole_wrong += wrong,
            Evidence::Order => self.order_wrong += wrong,
            Evidence::Tokens | Evidence::Structure | Evidence::Timing => self.steps_wrong += wrong,
            Evidence::Open => {}
        }
        if cause.is_none() {
            return;
        }
        self.calls += 1;
        match evidence {
            Evidence::Header | Evidence::RequestId => self.exact += 1,
            Evidence::Sole => self.sole += 1,
            Evidence::Order => self.order += 1,
            Evidence::Tokens | Evidence::Structure | Evidence::Timing => self.steps += 1,
            Evidence::Open => self.open += 1,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.exact += other.exact;
        self.exact_wrong += other.exact_wrong;
        self.sole += other.sole;
        self.sole_wrong += other.sole_wrong;
        self.order += other.order;
        self.order_wrong += other.order_wrong;
        self.steps += other.steps;
        self.steps_wrong += other.steps_wrong;
        self.open += other.open;
        self.inferred += other.inferred;
        self.confidence += other.confidence;
    }

    /// Returns the calls whose parents were inferred.
    pub(crate) fn inferred_calls(&self) -> u32 {
        self.sole + self.order + self.steps
    }

    pub(crate) fn wrong(&self) -> u32 {
        self.sole_wrong + self.order_wrong + self.steps_wrong
    }

    /// Returns a share of the calls with a cause, in percent.
    pub(crate) fn share(&self, part: u32) -> f64 {
        100.0 * f64::from(part) / f64::from(self.calls.max(1))
    }

    /// Returns the row of the table.
    pub(crate) fn row(&self, name: &str, load: &str) -> String {
        let mut row = String::new();
        write!(
            row,
            "| {name} | {load} | {} | {:.1} | ",
            self.calls,
            self.share(self.exact)
        )
        .unwrap();
        write!(
            row,
            "{:.1} | {:.1} | {:.1} | ",
            self.share(self.sole),
            self.share(self.order),
            self.share(self.steps)
        )
        .unwrap();
        let wrong_share = 100.0 * f64::from(self.wrong()) / f64::from(self.inferred.max(1));
        write!(
            row,
            "{:.1} | {} ({}) | {wrong_share:.3} |",
            self.share(self.open),
            self.wrong(),
            self.steps_wrong
        )
        .unwrap();
        row
    }
}
