//! Runs the engine on the processes of a set, and compares with the truth.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use throughline_weave::{
    Decision, EvidenceTier, InboundId, InboundOutcome, InboundStart, LiveDecider, Nanos,
    OperationKey, OutboundId, OutboundStart, ProcessPlan, QueuePosition, WeaveEvent, Weaver,
    WeaverSettings, weave_recording,
};

use crate::dataset::{SpanRow, SpanTable};

/// Bins of stated confidence.
const CONFIDENCE_BINS: usize = 20;

/// Confidence from which a proxy writes a parent into a message.
const CONFIDENT: f64 = 0.99;

/// Confidence from which a collector joins traces.
const JOINED: f64 = 0.95;

/// Time between two looks for decisions, and for which a collector looks on after the last event.
const POLL_NS: usize = 250_000_000;
const AFTER_NS: Nanos = 120_000_000_000;

/// Confidences with whether they were right.
#[derive(Debug, Default)]
struct Reliability {
    decisions: Vec<(f64, bool)>,
}

/// Sums over the processes of a set.
#[derive(Debug, Default)]
struct WeaveScore {
    edges: usize,
    right: usize,
    proven: usize,
    proven_right: usize,
    background: usize,
    background_given: usize,
    wrong_traces: BTreeSet<u64>,
    wrong_single_traces: BTreeSet<u64>,
    offline: Reliability,
    live: Reliability,
    streamed: Reliability,
    /// Outbound events that are joined with no parent, or a wrong one, each with its trace.
    unjoined: HashMap<OutboundId, u64>,
    /// Traces with a call whose parent is open, or wrong, at the moment of the call.
    open_traces: BTreeSet<u64>,
    cpu_s: f64,
    live_cpu_s: f64,
    decision_ns: Vec<u64>,
}

/// Weaves a set, and returns its figures.
pub(crate) fn measure(
    table: &SpanTable,
    factor: i64,
    plans: &mut HashMap<String, ProcessPlan>,
    is_live_only: bool,
) -> Value {
    reset_peak_memory();
    let rows = table.compressed(factor);
    let mut processes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        processes.entry(&row.service).or_default().push(index);
    }
    let spans: HashMap<(u64, i64), usize> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| ((row.trace, row.span as i64), index))
        .collect();
    let truth = |outbound: OutboundId| {
        let row = &rows[outbound.0 as usize];
        spans
            .get(&(row.trace, row.parent))
            .map(|index| InboundId(*index as u64))
    };
    let mut score = WeaveScore::default();
    for (service, indices) in &processes {
        let events = events(&rows, indices);
        let is_single = callers(&rows, indices).len() <= 1;
        if !is_live_only {
            let begin = cpu_seconds();
            let woven = weave_recording(&events, plans.get(*service));
            score.cpu_s += cpu_seconds() - begin;
            for decision in &woven.decisions {
                let trace = rows[decision.outbound.0 as usize].trace;
                score.add(decision, truth(decision.outbound), trace, is_single);
            }
            plans.entry((*service).to_owned()).or_insert(woven.plan);
        }
        score.run_streamed(&events, truth, |outbound| rows[outbound.0 as usize].trace);
        score.run_live(events, &rows, truth);
    }
    let traces: BTreeSet<u64> = rows.iter().map(|row| row.trace).collect();
    score.into_json(
        &format!("{} x{factor}", table.name),
        rows.len(),
        traces.len(),
    )
}

fn callers<'a>(rows: &'a [SpanRow], indices: &[usize]) -> BTreeSet<&'a str> {
    let received = indices.iter().map(|index| &rows[*index]);
    let received = received.filter(|row| matches!(row.kind, 'S' | 'D'));
    received.map(|row| row.peer.as_str()).collect()
}

/// Returns what the proxy of a process saw, in an order that gives nothing away.
fn events(rows: &[SpanRow], indices: &[usize]) -> Vec<WeaveEvent> {
    let mut order = indices.to_vec();
    fastrand::Rng::with_seed(indices.len() as u64).shuffle(&mut order);
    let commits: HashMap<(&str, Option<i64>), i64> = indices
        .iter()
        .map(|index| &rows[*index])
        .filter(|row| row.kind == 'K')
        .map(|row| ((row.partition.as_str(), row.offset), row.start_us * 1000))
        .collect();
    let mut events = Vec::new();
    for index in order {
        let row = &rows[index];
        let (at, end) = (row.start_us * 1000, (row.start_us + row.duration_us) * 1000);
        let id = index as u64;
        match row.kind {
            'S' | 'D' => {
                events.push(WeaveEvent::InboundStarted(InboundStart {
                    id: InboundId(id),
                    at,
                    operation: OperationKey(hash(&row.operation)),
                    position: row.offset.map(|offset| QueuePosition {
                        queue: hash(&row.partition),
                        offset,
                    }),
                    tokens: Vec::new(),
                }));
                let commit = commits.get(&(row.partition.as_str(), row.offset)).copied();
                if let Some(at) = if row.kind == 'S' { Some(end) } else { commit } {
                    events.push(WeaveEvent::InboundEnded {
                        id: InboundId(id),
                        at,
                        outcome: InboundOutcome::Completed,
                    });
                }
            }
            'C' | 'P' => {
                events.push(WeaveEvent::OutboundStarted(OutboundStart {
                    id: OutboundId(id),
                    at: row.begun_us() * 1000,
                    operation: OperationKey(hash(&format!("{} {}", row.peer, row.operation))),
                    tokens: Vec::new(),
                    is_record: row.kind == 'P',
                    exact: None,
                }));
                events.push(WeaveEvent::OutboundEnded {
                    id: OutboundId(id),
                    at: end,
                });
            }
            _ => {}
        }
    }
    events
}

/// Sorts events. At one time: ends of calls, starts of requests, calls, ends of requests.
fn sort_by_time(events: &mut [WeaveEvent], time: impl Fn(&WeaveEvent) -> Nanos) {
    events.sort_by_key(|event| {
        let rank = match event {
            WeaveEvent::OutboundEnded { .. } => 0,
            WeaveEvent::InboundStarted(_) => 1,
            WeaveEvent::OutboundStarted(_) => 2,
            WeaveEvent::InboundEnded { .. } => 3,
        };
        let offset = match event {
            WeaveEvent::InboundStarted(start) => start.position.map(|it| it.offset),
            WeaveEvent::OutboundStarted(_)
            | WeaveEvent::InboundEnded { .. }
            | WeaveEvent::OutboundEnded { .. } => None,
        };
        (time(event), rank, offset)
    });
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

// === impl WeaveScore ===

impl WeaveScore {
    fn add(&mut self, decision: &Decision, truth: Option<InboundId>, trace: u64, is_single: bool) {
        let right = decision.parent == truth;
        self.edges += 1;
        self.right += usize::from(right);
        if decision.tier == EvidenceTier::Proven {
            self.proven += 1;
            self.proven_right += usize::from(right);
        }
        if truth.is_none() {
            self.background += 1;
            self.background_given += usize::from(!right);
        }
        self.offline.decisions.push((decision.confidence, right));
        if !right {
            self.wrong_traces.insert(trace);
            if is_single {
                self.wrong_single_traces.insert(trace);
            }
        }
    }

    /// Gives the events of a process about which nothing is known to the engine in their order, as
    /// a collector does, and takes the decisions that are final.
    fn run_streamed(
        &mut self,
        events: &[WeaveEvent],
        truth: impl Fn(OutboundId) -> Option<InboundId>,
        trace: impl Fn(OutboundId) -> u64,
    ) {
        let mut events = events.to_vec();
        sort_by_time(&mut events, WeaveEvent::at);
        let (first, last) = match (events.first(), events.last()) {
            (Some(first), Some(last)) => (first.at(), last.at()),
            _ => return,
        };
        let mut weaver = Weaver::new(WeaverSettings::default());
        let mut decisions: HashMap<OutboundId, Decision> = HashMap::new();
        let mut take = |weaver: &mut Weaver, now| {
            let taken = weaver.poll(now).into_iter();
            decisions.extend(taken.map(|decision| (decision.outbound, decision)));
        };
        let mut events = events.into_iter().peekable();
        for now in (first..last + AFTER_NS).step_by(POLL_NS) {
            while let Some(event) = events.next_if(|event| event.at() <= now) {
                if let WeaveEvent::OutboundStarted(start) = &event {
                    self.unjoined.insert(start.id, trace(start.id));
                }
                weaver.push(event);
            }
            take(&mut weaver, now);
        }
        for (outbound, decision) in decisions {
            let right = decision.parent == truth(outbound);
            let stated = decision.parent.map_or(0.0, |_| decision.confidence);
            if right && (stated >= JOINED || decision.parent.is_none()) {
                self.unjoined.remove(&outbound);
            }
            self.streamed.decisions.push((stated, right));
        }
    }

    /// Asks the live engine at each outbound event, with what has been seen by then.
    fn run_live(
        &mut self,
        mut events: Vec<WeaveEvent>,
        rows: &[SpanRow],
        truth: impl Fn(OutboundId) -> Option<InboundId>,
    ) {
        // A record is seen when it is sent.
        let seen_at = |event: &WeaveEvent| match event {
            WeaveEvent::OutboundStarted(start) => rows[start.id.0 as usize].start_us * 1000,
            WeaveEvent::InboundStarted(_)
            | WeaveEvent::InboundEnded { .. }
            | WeaveEvent::OutboundEnded { .. } => event.at(),
        };
        sort_by_time(&mut events, seen_at);
        let base = events.first().map_or(0, WeaveEvent::at);
        let is_coarse = events
            .iter()
            .all(|event| (event.at() - base) % 1_000_000 == 0);
        let mut decider = LiveDecider::new(WeaverSettings {
            clock_tick_ns: if is_coarse { 1_000_000 } else { 1_000 },
            max_competing: 256,
            ..WeaverSettings::default()
        });
        let begin = cpu_seconds();
        for event in events {
            let WeaveEvent::OutboundStarted(outbound) = &event else {
                decider.push(event);
                continue;
            };
            let asked = cpu_seconds();
            let decision = decider.decide(outbound);
            self.decision_ns
                .push(((cpu_seconds() - asked) * 1e9) as u64);
            let stated = decision.filter(|decision| decision.parent.is_some());
            let right = stated
                .as_ref()
                .is_some_and(|stated| stated.parent == truth(outbound.id));
            let confidence = stated.map_or(0.0, |stated| stated.confidence);
            let is_open = match truth(outbound.id) {
                Some(_) => !right || confidence < CONFIDENT,
                None => confidence >= CONFIDENT,
            };
            if is_open {
                self.open_traces.insert(rows[outbound.id.0 as usize].trace);
            }
            self.live.decisions.push((confidence, right));
        }
        self.live_cpu_s += cpu_seconds() - begin;
    }

    fn into_json(mut self, name: &str, spans: usize, traces: usize) -> Value {
        let whole = |wrong: &BTreeSet<u64>| percent(traces - wrong.len(), traces);
        self.decision_ns.sort_unstable();
        let at = |share: f64| {
            let index = (self.decision_ns.len() as f64 * share) as usize;
            self.decision_ns
                .get(index)
                .map_or(0.0, |ns| *ns as f64 / 1e3)
        };
        let (cover_95, right_95) = self.offline.at_least(0.95);
        let (streamed_cover_95, streamed_right_95) = self.streamed.at_least(JOINED);
        let unjoined: BTreeSet<u64> = self.unjoined.values().copied().collect();
        let (live_cover_95, live_right_95) = self.live.at_least(0.95);
        let (live_cover_99, live_right_99) = self.live.at_least(0.99);
        json!({
            "set": name,
            "traces": traces,
            "whole_single_caller": whole(&self.wrong_single_traces),
            "whole_all": whole(&self.wrong_traces),
            "edges_right": percent(self.right, self.edges),
            "proven": percent(self.proven, self.edges),
            "proven_right": percent(self.proven_right, self.proven),
            "cover_95": cover_95,
            "right_95": right_95,
            "calibration_error": self.offline.calibration_error(),
            "streamed_whole": whole(&unjoined),
            "streamed_cover_95": streamed_cover_95,
            "streamed_right_95": streamed_right_95,
            "background": self.background,
            "background_given": percent(self.background_given, self.background),
            "live_cover_95": live_cover_95,
            "live_right_95": live_right_95,
            "live_cover_99": live_cover_99,
            "live_right_99": live_right_99,
            "live_whole": whole(&self.open_traces),
            "live_p50_us": round(at(0.5)),
            "live_p99_us": round(at(0.99)),
            "spans_per_cpu_s": (spans as f64 / self.cpu_s).round(),
            "live_spans_per_cpu_s": (spans as f64 / self.live_cpu_s).round(),
            "peak_mb": round(peak_memory_mb()),
        })
    }
}

// === impl Reliability ===

impl Reliability {
    /// Returns the share of decisions stated with at least this confidence, and of these the right.
    fn at_least(&self, confidence: f64) -> (f64, f64) {
        let stated = self
            .decisions
            .iter()
            .filter(|(stated, _)| *stated >= confidence);
        let (count, right) = stated.fold((0, 0), |(count, right), (_, is_right)| {
            (count + 1, right + usize::from(*is_right))
        });
        (percent(count, self.decisions.len()), percent(right, count))
    }

    /// Returns the mean difference between what was stated and what was right.
    fn calibration_error(&self) -> f64 {
        let mut bins = [(0.0, 0.0, 0.0); CONFIDENCE_BINS];
        for (stated, right) in &self.decisions {
            let bin =
                &mut bins[((stated * CONFIDENCE_BINS as f64) as usize).min(CONFIDENCE_BINS - 1)];
            bin.0 += 1.0;
            bin.1 += stated;
            bin.2 += f64::from(u8::from(*right));
        }
        let off: f64 = bins
            .iter()
            .map(|(_, stated, right)| (stated - right).abs())
            .sum();
        (off / self.decisions.len().max(1) as f64 * 1e4).round() / 1e4
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        100.0
    } else {
        round(part as f64 * 100.0 / whole as f64)
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Forgets the peak of the resident memory (Linux, proc(5): `clear_refs`).
fn reset_peak_memory() {
    drop(fs::write("/proc/self/clear_refs", "5"));
}

fn peak_memory_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}
