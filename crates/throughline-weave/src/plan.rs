//! Knowledge about a process, to keep over a restart or to begin another recording with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::event::{Nanos, OperationKey};
use crate::life_table::{BINS, Step};
use crate::message::OperationIndex;
use crate::order::ProcessOrder;
use crate::step_model::{Phase, Stay, StepModel};

/// First line of a plan.
const HEADER: &str = "throughline-weave plan 1";
/// Lines of a plan that are read.
const MAX_LINES: usize = 200_000;
/// Counts below this are not kept.
const MIN_COUNT: f32 = 0.01;

/// The steps of a process's requests with their timing, and how sure the engine is of each.
#[derive(Debug, Clone)]
pub struct ProcessPlan {
    pub(crate) operations: OperationIndex,
    pub(crate) kinds: OperationIndex,
    pub(crate) model: StepModel,
    pub(crate) order: ProcessOrder,
    pub(crate) resolution_ns: Nanos,
}

/// The text of a plan is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    line: usize,
}

// === impl PlanError ===

impl std::fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {} of the plan is invalid", self.line)
    }
}

impl std::error::Error for PlanError {}

// === impl ProcessPlan ===

impl ProcessPlan {
    pub(crate) fn new(resolution_ns: Nanos) -> Self {
        let scale = crate::life_table::GapScale::new(resolution_ns);
        Self {
            operations: OperationIndex::default(),
            kinds: OperationIndex::default(),
            model: StepModel::new(scale),
            order: ProcessOrder::default(),
            resolution_ns,
        }
    }

    /// Prepares another pass over the recording that the plan was learned from.
    pub(crate) fn begin_pass(&mut self, number: usize) {
        self.model.is_live = false;
        self.model.tokens.forget_frequencies();
        if number > 1 {
            self.model.scale_counts(0.5);
        }
    }

    /// Goes on after a second pass: its events were counted twice.
    pub(crate) fn end_pass(&mut self) {
        self.model.scale_counts(0.5);
        self.model.is_live = true;
        self.model.refresh();
    }

    /// Returns the plan as text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\nresolution {}\n", self.resolution_ns);
        for (name, index) in [("operation", &self.operations), ("kind", &self.kinds)] {
            for (key, id) in index.entries() {
                _ = writeln!(text, "{name} {id} {}", key.0);
            }
        }
        for (operation, requests) in self.model.requests_entries() {
            _ = writeln!(text, "requests {operation} {requests:.2}");
        }
        for ((operation, kind), gap_ns) in self.model.lingering_entries() {
            _ = writeln!(text, "linger {operation} {kind} {gap_ns}");
        }
        for (history, calls) in self.model.history_entries() {
            let path: Vec<String> = calls.1.iter().map(ToString::to_string).collect();
            let (done, went_on) = self.model.done_counts(history);
            _ = writeln!(
                text,
                "history {history} {} {done:.3} {went_on:.3} {}",
                calls.0,
                path.join(",")
            );
        }
        for (history, phase, step, bin, count) in self.model.table_entries() {
            if count >= MIN_COUNT {
                let step = step.map_or_else(|| "-".to_owned(), |step| step.to_string());
                _ = writeln!(text, "stay {history} {phase} {step} {bin} {count:.3}");
            }
        }
        text
    }

    fn read_line(&mut self, line: &str, histories: &mut BTreeMap<u32, u32>) -> Option<()> {
        let mut words = line.split(' ');
        match words.next()? {
            "operation" => self
                .operations
                .restore(parse(words.next())?, OperationKey(parse(words.next())?)),
            "kind" => {
                self.kinds
                    .restore(parse(words.next())?, OperationKey(parse(words.next())?));
                self.model.kinds = self.kinds.len();
            }
            "requests" => {
                let operation = parse(words.next())?;
                self.model.restore_requests(operation, parse(words.next())?);
            }
            "linger" => {
                let (operation, kind) = (parse(words.next())?, parse(words.next())?);
                self.model
                    .learn_lingering(operation, kind, parse(words.next())?);
            }
            "history" => {
                let id: u32 = parse(words.next())?;
                let mut history = self.model.fresh(parse(words.next())?);
                let (done, went_on) = (parse(words.next())?, parse(words.next())?);
                for kind in words.next()?.split(',').filter(|kind| !kind.is_empty()) {
                    history = self.model.after(history, parse(Some(kind))?);
                }
                self.model.learn_done(history, true, done);
                self.model.learn_done(history, false, went_on);
                histories.insert(id, history);
            }
            "stay" => {
                let history = *histories.get(&parse(words.next())?)?;
                let phase = Phase::from_index(parse(words.next())?)?;
                let step = match words.next()? {
                    "-" => None,
                    step => Some(parse::<Step>(Some(step))?),
                };
                let bin: usize = parse(words.next())?;
                let weight: f64 = parse(words.next())?;
                if bin >= BINS || !weight.is_finite() || weight < 0.0 {
                    return None;
                }
                let stay = Stay {
                    history,
                    phase,
                    gap_ns: self.model.scale.gap_of(bin),
                    step,
                };
                self.model.learn(&stay, weight);
            }
            _ => return None,
        }
        Some(())
    }
}

impl FromStr for ProcessPlan {
    type Err = PlanError;

    /// Reads a plan that [`to_text`](Self::to_text) wrote.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let mut lines = text.lines().enumerate().take(MAX_LINES);
        let error = |line: usize| PlanError { line: line + 1 };
        if lines.next().is_none_or(|(_, line)| line != HEADER) {
            return Err(error(0));
        }
        let resolution = lines
            .next()
            .and_then(|(_, line)| line.strip_prefix("resolution "));
        let resolution_ns: Nanos = parse(resolution).ok_or_else(|| error(1))?;
        let mut plan = Self::new(resolution_ns);
        let mut histories = BTreeMap::new();
        for (number, line) in lines {
            plan.read_line(line, &mut histories)
                .ok_or_else(|| error(number))?;
        }
        plan.model.refresh();
        Ok(plan)
    }
}

fn parse<T: FromStr>(word: Option<&str>) -> Option<T> {
    word?.parse().ok()
}
