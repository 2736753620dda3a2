//! Knowledge about the requests of one process: the states they pass through, and the life
//! table of each.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::commit_habit::CommitHabit;
use crate::done_count::{DoneCount, FADE, FIRST_FADE};
use crate::event::Nanos;
use crate::life_table::{FAILURE, GapScale, HazardCurve, LifeTable, PriorMass, Step, StepPrior};
use crate::message::OPEN;
use crate::tokens::TokenModel;

/// Calls of one kind that a state distinguishes.
const MAX_REPEATS: u8 = 3;
/// Prior mass of the end of a request, while no call is outstanding and while one is.
const END_PRIOR: (f64, f64) = (0.3, 0.02);
/// A kind is less likely to follow itself.
const REPEAT_PRIOR: f64 = 0.05;
/// A kind that a request has made before is less likely than one that it has not made yet.
const MADE_PRIOR: f64 = 0.2;
/// Calls beside one that is outstanding are less usual than those that follow each other.
const WAITING_PRIOR: f64 = 0.3;
/// Calls after the end of a request are rare until they are seen.
const ENDED_PRIOR: f64 = 0.02;
/// Time in which a record is sent after the end of the request that made it.
const RECORD_LINGER_NS: Nanos = 20_000_000;
/// Operations and kinds of one process.
pub(crate) const MAX_OPERATIONS: u32 = 4096;
/// Histories that are distinguished.
const MAX_HISTORIES: usize = 4096;
/// How much a visit that was guessed shows about the steps that are not taken.
const GUESSED_PART: f64 = 0.1;
/// Growth of a table after which its curve is computed again.
const REFRESH_GROWTH: f64 = 1.08;
/// Visits up to which the curve of a table is computed when it is needed: in a process that has
/// just started, each request changes the expectations of the next one.
const YOUNG_VISITS: f64 = 12.0;
/// Cumulative hazard beyond which survival makes no difference.
const MAX_CUMULATIVE: f64 = 60.0;

/// Index of a [`CallHistory`].
pub(crate) type HistoryId = u32;

/// The calls that a request has made: their kinds with counts, and the last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CallHistory {
    operation: u32,
    counts: Vec<(Step, u8)>,
    last: Option<Step>,
}

/// Whether a request waits for a call, and whether it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    Idle,
    Waiting,
    Ended,
}

/// A stay of a request in one state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) history: HistoryId,
    pub(crate) phase: Phase,
    pub(crate) gap_ns: Nanos,
    /// The step that ended the stay; without one it is censored.
    pub(crate) step: Option<Step>,
}

/// A stay that was learned live.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ObservedStay {
    pub(crate) stay: Stay,
    pub(crate) weight: f64,
    /// Whether the calls before and after it are certain without the model.
    pub(crate) is_proven: bool,
}

/// Where a request stands, as far as its next step depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) history: HistoryId,
    /// Start of the last call, or of the request.
    pub(crate) last_start: Nanos,
    /// Latest end of its calls, or the start of the request.
    pub(crate) free_since: Nanos,
    /// The end of the request, once it lies before the last call.
    pub(crate) ended: bool,
}

/// Up to three stays between two events of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stays {
    pub(crate) stays: [Option<Stay>; 3],
}

#[derive(Debug, Clone, Default)]
struct StateTable {
    table: LifeTable,
    history: HistoryId,
    coarse: usize,
    curve: HazardCurve,
    /// Visits when the curve was computed.
    drawn_visits: f64,
    /// Visits that show which steps are not taken: what the model guessed shows little.
    proven_visits: f64,
    /// Visits that were learned live, ever, and those after which older ones fade.
    live_visits: f64,
    fade_at: f64,
    is_stale: bool,
}

/// Learned behavior of one process.
#[derive(Debug, Clone)]
pub(crate) struct StepModel {
    pub(crate) scale: GapScale,
    /// Whether it learns from decisions that cannot be revised.
    pub(crate) is_live: bool,
    histories: Vec<CallHistory>,
    history_ids: HashMap<CallHistory, HistoryId>,
    following: HashMap<(HistoryId, Step), HistoryId>,
    /// By history and phase.
    states: Vec<[Option<u32>; 3]>,
    tables: Vec<StateTable>,
    coarse_ids: HashMap<(u32, Option<Step>, Phase), usize>,
    coarse: Vec<((u32, Option<Step>, Phase), LifeTable)>,
    /// Kinds of calls seen in the process.
    pub(crate) kinds: usize,
    /// Requests learned from, by operation.
    requests: Vec<f64>,
    done: HashMap<HistoryId, DoneCount>,
    /// Longest time between the end of a request and a call of a kind that followed it.
    lingering: HashMap<(u32, Step), Nanos>,
    /// Kinds of calls that are records.
    pub(crate) record_kinds: BTreeSet<Step>,
    pub(crate) tokens: TokenModel,
    pub(crate) commits: CommitHabit,
    /// Tables whose curves are to be computed again.
    stale: VecDeque<usize>,
}

// === impl Phase ===

impl Phase {
    pub(crate) fn from_index(index: u8) -> Option<Self> {
        [Self::Idle, Self::Waiting, Self::Ended]
            .get(usize::from(index))
            .copied()
    }
}

// === impl Stays ===

impl Stays {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stay> {
        self.stays.iter().flatten()
    }

    /// Returns where the request stood before the step at `at`.
    pub(crate) fn standing(&self, at: Nanos) -> Standing {
        let idle = self.iter().find(|stay| stay.phase == Phase::Idle);
        let waiting = self.iter().find(|stay| stay.phase == Phase::Waiting);
        let history = self.iter().next().map_or(0, |stay| stay.history);
        let free_since = idle.map_or(OPEN, |stay| at - stay.gap_ns);
        let waited_until = if idle.is_some() { free_since } else { at };
        Standing {
            history,
            last_start: waiting.map_or(free_since, |stay| waited_until - stay.gap_ns),
            free_since,
            ended: self.iter().any(|stay| stay.phase == Phase::Ended),
        }
    }
}

// === impl StepModel ===

impl StepModel {
    pub(crate) fn new(scale: GapScale) -> Self {
        Self {
            scale,
            is_live: false,
            histories: Vec::new(),
            history_ids: HashMap::new(),
            following: HashMap::new(),
            states: Vec::new(),
            tables: Vec::new(),
            coarse_ids: HashMap::new(),
            coarse: Vec::new(),
            kinds: 0,
            requests: Vec::new(),
            done: HashMap::new(),
            lingering: HashMap::new(),
            record_kinds: BTreeSet::new(),
            tokens: TokenModel::default(),
            commits: CommitHabit::default(),
            stale: VecDeque::new(),
        }
    }

    /// Returns the history of a request of `operation` that has made no call.
    pub(crate) fn fresh(&mut self, operation: u32) -> HistoryId {
        self.intern(CallHistory {
            operation,
            counts: Vec::new(),
            last: None,
        })
    }

    /// Returns the history after one more call.
    pub(crate) fn after(&mut self, history: HistoryId, kind: Step) -> HistoryId {
        if let Some(known) = self.following.get(&(history, kind)) {
            return *known;
        }
        let mut next = self.histories[history as usize].clone();
        match next.counts.binary_search_by_key(&kind, |(known, _)| *known) {
            Ok(index) => {
                let count = &mut next.counts[index].1;
                *count = (*count + 1).min(MAX_REPEATS);
            }
            Err(index) => next.counts.insert(index, (kind, 1)),
        }
        next.last = Some(kind);
        let id = self.intern(next);
        self.following.insert((history, kind), id);
        id
    }

    /// Notes that requests of `operation` make calls of `kind` up to `gap_ns` after their end.
    pub(crate) fn learn_lingering(&mut self, operation: u32, kind: Step, gap_ns: Nanos) {
        let longest = self.lingering.entry((operation, kind)).or_default();
        *longest = (*longest).max(gap_ns);
    }

    /// Returns how long after its end a request of `operation` may make a call of `kind`.
    pub(crate) fn lingers(&self, operation: u32, kind: Step) -> Nanos {
        // A producer sends from its own thread, a little after the handler made the record.
        if self.record_kinds.contains(&kind) {
            return RECORD_LINGER_NS;
        }
        self.lingering.get(&(operation, kind)).copied().unwrap_or(0)
    }

    fn intern(&mut self, history: CallHistory) -> HistoryId {
        if let Some(known) = self.history_ids.get(&history) {
            return *known;
        }
        let is_first = history.last.is_none();
        if self.histories.len() >= MAX_HISTORIES && !is_first {
            // Beyond the bound, what a request did before its last call is not distinguished.
            return self.fresh(history.operation);
        }
        let id = HistoryId::try_from(self.histories.len()).unwrap_or(HistoryId::MAX);
        self.histories.push(history.clone());
        self.states.push([None; 3]);
        self.history_ids.insert(history, id);
        id
    }

    fn state(&mut self, history: HistoryId, phase: Phase) -> usize {
        let slot = phase as usize;
        if let Some(known) = self.states[history as usize][slot] {
            return known as usize;
        }
        let CallHistory {
            operation, last, ..
        } = self.histories[history as usize];
        let coarse = self.coarse_table(operation, last, phase);
        let prior = self.state_prior(history, coarse);
        let table = LifeTable::default();
        let curve = table.curve(&prior, 0.0, self.scale);
        self.tables.push(StateTable {
            table,
            history,
            coarse,
            curve,
            fade_at: FIRST_FADE,
            ..StateTable::default()
        });
        let id = self.tables.len() - 1;
        self.states[history as usize][slot] = u32::try_from(id).ok();
        id
    }

    fn coarse_table(&mut self, operation: u32, last: Option<Step>, phase: Phase) -> usize {
        let key = (operation, last, phase);
        if let Some(known) = self.coarse_ids.get(&key) {
            return *known;
        }
        self.coarse.push((key, LifeTable::default()));
        self.coarse_ids.insert(key, self.coarse.len() - 1);
        self.coarse.len() - 1
    }

    fn coarse_prior(&self, coarse: usize) -> StepPrior {
        let ((operation, last, phase), table) = &self.coarse[coarse];
        let requests = self
            .requests
            .get(*operation as usize)
            .copied()
            .unwrap_or(0.0);
        let factor = match phase {
            Phase::Idle => 1.0,
            Phase::Waiting => WAITING_PRIOR,
            Phase::Ended => ENDED_PRIOR,
        };
        let end = match phase {
            Phase::Idle => END_PRIOR.0,
            Phase::Waiting => END_PRIOR.1,
            Phase::Ended => 0.0,
        };
        let ignorance = StepPrior::ignorance(PriorMass {
            call: factor * (0.5 / (requests + 1.0)).max(0.1),
            end,
            last: *last,
            repeat: REPEAT_PRIOR,
            kinds: self.kinds,
        });
        if self.is_live {
            table.as_cautious_prior(&ignorance)
        } else {
            table.as_prior(&ignorance)
        }
    }

    /// Returns what is expected of a state before any request was seen in it.
    fn state_prior(&self, history: HistoryId, coarse: usize) -> StepPrior {
        let mut prior = self.coarse_prior(coarse);
        let CallHistory { counts, last, .. } = &self.histories[history as usize];
        // A failed call is made again.
        if *last != Some(FAILURE) {
            let made = counts.iter().filter(|(kind, _)| *kind != FAILURE);
            made.for_each(|(kind, _)| prior.lower_unseen(*kind, MADE_PRIOR));
        }
        prior
    }

    /// Returns the histories: operation, and calls in an order that leads to the same history.
    pub(crate) fn history_entries(&self) -> impl Iterator<Item = (HistoryId, (u32, Vec<Step>))> {
        self.histories.iter().enumerate().map(|(id, history)| {
            let mut calls = Vec::new();
            for (kind, count) in &history.counts {
                let repeats = usize::from(*count) - usize::from(Some(*kind) == history.last);
                calls.extend(std::iter::repeat_n(*kind, repeats));
            }
            calls.extend(history.last);
            (id as HistoryId, (history.operation, calls))
        })
    }

    /// Returns the counts of all tables: history, phase, step, bin and count.
    pub(crate) fn table_entries(
        &self,
    ) -> impl Iterator<Item = (HistoryId, u8, Option<Step>, usize, f32)> {
        let states = self
            .states
            .iter()
            .enumerate()
            .flat_map(|(history, phases)| {
                let known = phases.iter().enumerate();
                known.filter_map(move |(phase, state)| Some((history, phase, (*state)?)))
            });
        states.flat_map(|(history, phase, state)| {
            let rows = self.tables[state as usize].table.rows();
            rows.map(move |(step, bin, count)| {
                (history as HistoryId, phase as u8, step, bin, count)
            })
        })
    }

    pub(crate) fn requests_entries(&self) -> impl Iterator<Item = (usize, f64)> {
        self.requests.iter().copied().enumerate()
    }

    pub(crate) fn restore_requests(&mut self, operation: u32, requests: f64) {
        // Operations are numbered from zero; a number out of bounds is invalid.
        if operation < MAX_OPERATIONS {
            self.learn_requests(operation, requests);
        }
    }

    pub(crate) fn lingering_entries(&self) -> Vec<((u32, Step), Nanos)> {
        let mut entries: Vec<_> = self
            .lingering
            .iter()
            .map(|(key, gap)| (*key, *gap))
            .collect();
        entries.sort_unstable();
        entries
    }

    pub(crate) fn done_counts(&self, history: HistoryId) -> (f64, f64) {
        let count = self.done.get(&history).copied().unwrap_or_default();
        count.counts()
    }

    /// Computes all curves from the tables.
    pub(crate) fn refresh(&mut self) {
        (0..self.tables.len()).for_each(|index| self.refresh_table(index));
        self.stale.clear();
    }

    /// Computes up to `count` of the curves whose tables have grown since.
    pub(crate) fn refresh_some(&mut self, count: usize) {
        for _ in 0..count {
            let Some(index) = self.stale.pop_front() else {
                return;
            };
            self.refresh_table(index);
        }
    }

    fn refresh_table(&mut self, index: usize) {
        let StateTable {
            history, coarse, ..
        } = self.tables[index];
        let prior = self.state_prior(history, coarse);
        let state = &mut self.tables[index];
        state.curve = state.table.curve(&prior, state.proven_visits, self.scale);
        state.drawn_visits = state.table.visits;
        state.is_stale = false;
    }

    fn refresh_young(&mut self, index: usize) {
        let state = &self.tables[index];
        if state.is_stale && state.table.visits < YOUNG_VISITS {
            self.stale.retain(|other| *other != index);
            self.refresh_table(index);
        }
    }

    /// Returns the number of requests of an operation that were learned from.
    pub(crate) fn request_count(&self, operation: u32) -> f64 {
        let requests = self.requests.get(operation as usize);
        requests.copied().unwrap_or(0.0)
    }

    /// Learns the stays of one request with their weights. A request counts once for each coarse
    /// state, however often it repeats a call: the calls of one request are not independent.
    pub(crate) fn learn_path(&mut self, stays: &[ObservedStay]) {
        let mut seen: Vec<(usize, Option<Step>)> = Vec::new();
        for ObservedStay {
            stay,
            weight,
            is_proven,
        } in stays
        {
            let index = self.state(stay.history, stay.phase);
            let bin = self.scale.bin(stay.gap_ns).index;
            let state = &mut self.tables[index];
            state.table.add(bin, stay.step, *weight);
            state.live_visits += weight;
            state.proven_visits += if *is_proven || !self.is_live {
                *weight
            } else {
                weight * GUESSED_PART
            };
            if self.is_live && state.live_visits >= state.fade_at {
                // The first events were learned from guesses.
                state.fade_at *= 2.0;
                state.table.scale(FADE);
                state.drawn_visits = 0.0;
            }
            let has_grown = state.table.visits > state.drawn_visits * REFRESH_GROWTH + 0.4;
            if has_grown && !state.is_stale {
                state.is_stale = true;
                self.stale.push_back(index);
            }
            let coarse = state.coarse;
            if !seen.contains(&(coarse, stay.step)) {
                seen.push((coarse, stay.step));
                self.coarse[coarse].1.add(bin, stay.step, *weight);
            }
        }
    }

    /// Returns whether requests with this history have been seen to make a call of a kind next.
    pub(crate) fn has_followed(&self, history: HistoryId, kind: Step) -> bool {
        let states = self.states[history as usize].iter().flatten();
        let mut counts = states.map(|state| self.tables[*state as usize].table.count(kind));
        counts.any(|count| count > 0.5)
    }

    /// Returns whether a request with this history has made a call of a kind.
    pub(crate) fn has_made(&self, history: HistoryId, kind: Step) -> bool {
        let counts = &self.histories[history as usize].counts;
        counts.iter().any(|(known, _)| *known == kind)
    }

    /// Returns the numbers of calls in a history, by kind.
    pub(crate) fn calls_in(&self, history: HistoryId) -> &[(Step, u8)] {
        &self.histories[history as usize].counts
    }

    /// Multiplies all counts, so that later ones weigh more.
    pub(crate) fn scale_counts(&mut self, factor: f64) {
        for state in &mut self.tables {
            state.table.scale(factor);
            state.proven_visits *= factor;
            state.live_visits *= factor;
        }
        self.coarse
            .iter_mut()
            .for_each(|(_, table)| table.scale(factor));
        self.requests
            .iter_mut()
            .for_each(|requests| *requests *= factor);
        self.done.values_mut().for_each(|count| count.scale(factor));
    }

    /// Scales the counts so that none of the operations stands for more than `most` requests.
    pub(crate) fn limit_counts(&mut self, most: f64) {
        let requests = self.requests.iter().copied().fold(0.0, f64::max);
        if requests > most {
            self.scale_counts(most / requests);
        }
    }

    pub(crate) fn learn_request(&mut self, operation: u32) {
        self.learn_requests(operation, 1.0);
    }

    fn learn_requests(&mut self, operation: u32, number: f64) {
        let index = operation as usize;
        if self.requests.len() <= index {
            self.requests.resize(index + 1, 0.0);
        }
        self.requests[index] += number;
    }

    pub(crate) fn learn(&mut self, stay: &Stay, weight: f64) {
        let state = self.state(stay.history, stay.phase);
        let bin = self.scale.bin(stay.gap_ns).index;
        let state = &mut self.tables[state];
        state.proven_visits += weight;
        let coarse = &mut self.coarse[state.coarse].1;
        for table in [&mut state.table, coarse] {
            table.add(bin, stay.step, weight);
        }
    }

    /// Returns the probability that the handling of a record is over after `history`; `recent` are
    /// counts that are not learned yet.
    pub(crate) fn done_probability(&self, history: HistoryId, recent: (f64, f64)) -> f64 {
        let count = self.done.get(&history).copied().unwrap_or_default();
        let is_fresh = self.histories[history as usize].last.is_none();
        count.probability(recent, is_fresh)
    }

    pub(crate) fn learn_done(&mut self, history: HistoryId, done: bool, weight: f64) {
        let count = self.done.entry(history).or_default();
        count.add(done, weight);
        if self.is_live {
            count.fade(weight);
        }
    }

    /// Returns the likelihood of a stay: a density per second, or the probability of survival.
    pub(crate) fn likelihood(&mut self, stay: &Stay) -> f64 {
        let state = self.state(stay.history, stay.phase);
        let curve = &self.tables[state].curve;
        let bin = self.scale.bin(stay.gap_ns);
        let survival = (-curve.cumulative(bin).min(MAX_CUMULATIVE)).exp();
        match stay.step {
            Some(step) => survival * curve.hazard(step, bin),
            None => survival,
        }
    }

    /// Returns the probability of survival up to the last of `stays`, and the hazard of its step.
    pub(crate) fn split_likelihood(&mut self, stays: &Stays) -> (f64, f64) {
        let (mut cumulative, mut hazard) = (0.0, 1.0);
        for stay in stays.iter() {
            let state = self.state(stay.history, stay.phase);
            self.refresh_young(state);
            let curve = &self.tables[state].curve;
            let bin = self.scale.bin(stay.gap_ns);
            cumulative += curve.cumulative(bin);
            if let Some(step) = stay.step {
                hazard = curve.hazard(step, bin);
            }
        }
        ((-cumulative.min(MAX_CUMULATIVE)).exp(), hazard)
    }

    pub(crate) fn likelihood_of(&mut self, stays: &Stays) -> f64 {
        stays.iter().map(|stay| self.likelihood(stay)).product()
    }
}
