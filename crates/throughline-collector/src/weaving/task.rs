//! The queue from ingest to weaving, and the task at its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use throughline_model::Span;
use throughline_store::{Store, WeaveOutcome, WovenEdge};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::activity_span::ActivitySpan;
use super::offset_join::OffsetJoin;
use super::process_weaver::ProcessWeaver;
use super::record_endpoint::RecordEndpoint;
use crate::clock;
use crate::config::{WeavingMode, WeavingSettings};
use crate::metrics::{CounterKey, Metrics};

/// Batches of spans that wait for weaving.
const MAX_QUEUED_BATCHES: usize = 1024;

/// Batches that are woven together.
const MAX_JOINED_BATCHES: usize = 64;

/// Processes that are woven; for a further one, the one that was silent longest is forgotten.
const MAX_PROCESSES: usize = 1024;

/// Time between two looks for decisions that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Time that one process takes in a pass: others wait for it, and the stop of the collector.
const MAX_PROCESS_TIME: Duration = Duration::from_millis(50);

/// The entry of the queue.
#[derive(Debug, Clone)]
pub(crate) struct WeavingFeed {
    queue: mpsc::Sender<WeavingBatch>,
    metrics: Arc<Metrics>,
    mode: WeavingMode,
    lost_at: Arc<AtomicU64>,
}

/// All that weaving needs of the spans of a request, which are on their way into the store.
#[derive(Debug, Default)]
pub(crate) struct WeavingBatch {
    records: Vec<RecordEndpoint>,
    activities: Vec<ActivitySpan>,
    arrived: u64,
}

/// The task that weaves.
pub(crate) struct WeavingTask {
    queue: mpsc::Receiver<WeavingBatch>,
    state: WeavingState,
}

/// All that is known about spans that may be joined.
struct WeavingState {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    settings: WeavingSettings,
    offsets: OffsetJoin,
    processes: HashMap<u64, ProcessWeaver>,
    /// Arrival of the latest spans that were taken.
    heard_until: u64,
    /// Arrival of the latest spans that were lost on the way here, or 0.
    lost_at: Arc<AtomicU64>,
}

/// One turn of the task, on the blocking pool.
#[derive(Debug)]
struct WeavingPass {
    batches: Vec<WeavingBatch>,
    /// Everything that arrived before this is in the batches or was taken.
    heard_until: Option<u64>,
    stopping: CancellationToken,
}

// === impl WeavingFeed ===

impl WeavingFeed {
    /// Reads from spans all that weaving needs.
    pub(crate) fn read(&self, spans: &[Span]) -> WeavingBatch {
        let mut batch = WeavingBatch {
            arrived: clock::now(),
            ..WeavingBatch::default()
        };
        if self.mode != WeavingMode::Off {
            batch.records = spans.iter().filter_map(RecordEndpoint::of).collect();
        }
        if self.mode == WeavingMode::All {
            batch.activities = spans.iter().filter_map(ActivitySpan::of).collect();
        }
        batch
    }

    /// Offers spans that are stored by now.
    pub(crate) fn offer(&self, batch: WeavingBatch) {
        let count = batch.records.len().max(batch.activities.len()) as u64;
        let arrived = batch.arrived;
        // Ingest must not wait for weaving.
        if count > 0 && self.queue.try_send(batch).is_err() {
            self.lost_at.fetch_max(arrived, Ordering::Relaxed);
            let reason = CounterKey::WeaveAbandoned("queue_full");
            if self.metrics.add(reason, count) {
                tracing::warn!("spans arrive faster than they are woven; some stay apart");
            }
        }
    }
}

// === impl WeavingTask ===

impl WeavingTask {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        settings: WeavingSettings,
    ) -> (WeavingFeed, Self) {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_BATCHES);
        let lost_at = Arc::new(AtomicU64::new(0));
        let feed = WeavingFeed {
            queue: sender,
            metrics: Arc::clone(&metrics),
            mode: settings.mode,
            lost_at: Arc::clone(&lost_at),
        };
        let state = WeavingState {
            store,
            metrics,
            settings,
            offsets: OffsetJoin::default(),
            processes: HashMap::new(),
            heard_until: 0,
            lost_at,
        };
        let task = Self {
            queue: receiver,
            state,
        };
        (feed, task)
    }

    /// Weaves until the collector stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let Self {
            mut queue,
            mut state,
        } = self;
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_behind = false;
        loop {
            let mut batches = Vec::new();
            tokio::select! {
                () = stopping.cancelled() => return,
                count = queue.recv_many(&mut batches, MAX_JOINED_BATCHES) => {
                    if count == 0 {
                        return;
                    }
                }
                _ = ticks.tick() => {}
                () = std::future::ready(()), if is_behind => {}
            }
            // Spans that wait in the queue may be older than the clock says.
            let heard_until = queue.is_empty().then(clock::now);
            let pass = WeavingPass {
                batches,
                heard_until,
                stopping: stopping.clone(),
            };
            // On the blocking pool: a decision among many requests takes milliseconds.
            let worked = tokio::task::spawn_blocking(move || {
                let is_behind = state.weave(pass);
                (state, is_behind)
            });
            match worked.await {
                Ok(next) => (state, is_behind) = next,
                Err(error) => {
                    tracing::error!(%error, "weaving failed; spans stay apart from here on");
                    return;
                }
            }
        }
    }
}

// === impl WeavingState ===

impl WeavingState {
    /// Takes spans; joins those whose parents are found. Without spans, decides what is due.
    /// Returns whether more is due.
    fn weave(&mut self, pass: WeavingPass) -> bool {
        let mut edges = Vec::new();
        let is_tick = pass.batches.is_empty();
        for batch in pass.batches {
            self.heard_until = self.heard_until.max(batch.arrived);
            for span in batch.records {
                self.offsets.push(span, &mut edges);
            }
            for span in batch.activities {
                self.process(span.process).push(span, batch.arrived);
            }
        }
        let lost_at = self.lost_at.swap(0, Ordering::Relaxed);
        if lost_at > 0 {
            let processes = self.processes.values_mut();
            processes.for_each(|process| process.notice_loss(lost_at));
        }
        let mut is_behind = false;
        if is_tick {
            self.heard_until = self.heard_until.max(pass.heard_until.unwrap_or(0));
            is_behind = self.decide(&pass.stopping, &mut edges);
        }
        if !edges.is_empty() {
            self.join(edges);
        }
        is_behind
    }

    /// Adds the decisions that are due. Returns whether some are left.
    fn decide(&mut self, stopping: &CancellationToken, edges: &mut Vec<WovenEdge>) -> bool {
        let wait = u64::try_from(self.settings.wait.as_nanos()).unwrap_or(u64::MAX);
        let (mut open, mut is_behind) = (0, false);
        for process in self.processes.values_mut() {
            if stopping.is_cancelled() {
                return false;
            }
            let begin = Instant::now();
            let is_over = || stopping.is_cancelled() || begin.elapsed() > MAX_PROCESS_TIME;
            let min_confidence = self.settings.min_confidence;
            edges.extend(process.poll(self.heard_until, wait, min_confidence, &is_over));
            is_behind |= process.is_behind;
            open += process.open() as u64;
        }
        self.metrics.set(CounterKey::WeaveOpen, open);
        is_behind
    }

    fn process(&mut self, process: u64) -> &mut ProcessWeaver {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&process) {
            let silent = self.processes.iter();
            let silent = silent.min_by_key(|(_, other)| other.last_seen);
            if let Some(silent) = silent.map(|(process, _)| *process) {
                let forgotten = self.processes.remove(&silent);
                let open = forgotten.map_or(0, |it| it.open() as u64);
                let reason = CounterKey::WeaveAbandoned("processes");
                self.metrics.add(reason, open);
            }
        }
        self.processes
            .entry(process)
            .or_insert_with(ProcessWeaver::new)
    }

    fn join(&self, edges: Vec<WovenEdge>) {
        for edge in &edges {
            let counter = if edge.is_joined {
                CounterKey::Woven(edge.evidence.name())
            } else if edge.parent.is_some() {
                CounterKey::WeaveAbandoned("uncertain")
            } else {
                CounterKey::WeaveAbandoned("no_parent")
            };
            self.metrics.add(counter, 1);
        }
        let WeaveOutcome {
            missing,
            reported,
            cyclic,
            too_many,
            joined: _,
            kept: _,
        } = self.store.weave(edges);
        for (reason, count) in [
            ("evicted", missing),
            ("reported", reported),
            ("cyclic", cyclic),
            ("too_many", too_many),
        ] {
            self.metrics.add(CounterKey::WeaveAbandoned(reason), count);
        }
    }
}
