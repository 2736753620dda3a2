//! The queue from ingest to weaving, and the task at its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use throughline_model::Span;
use throughline_model::convention::{MESSAGING_KAFKA_CLUSTER_ID, PARENT_EVIDENCE};
use throughline_store::{Store, WeaveOutcome, WovenEdge};
use throughline_weave::LiveChecks;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::activity_span::ActivitySpan;
use super::offset_join::OffsetJoin;
use super::process_weaver::ProcessWeaver;
use super::recent_requests::RecentRequests;
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

/// Attributes of the spans of our sidecars, and of Envoy's and Istio's tracers.
const PROXY_ATTRIBUTES: [&str; 2] = [PARENT_EVIDENCE, "upstream_cluster"];

/// Probability from which a span counts as one without a parent.
pub(super) const MIN_NONE: f64 = 0.5;

/// Time between two looks for decisions that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The entry of the queue.
#[derive(Debug, Clone)]
pub(crate) struct WeavingFeed {
    queue: mpsc::Sender<WeavingBatch>,
    metrics: Arc<Metrics>,
    mode: WeavingMode,
    /// Whether spans have come from a tracer that does not know the parents of calls.
    has_proxies: Arc<AtomicBool>,
    recent: Arc<Mutex<RecentRequests>>,
}

/// All that weaving needs of the spans of a request, which are on their way into the store.
#[derive(Debug, Default)]
pub(crate) struct WeavingBatch {
    records: Vec<RecordEndpoint>,
    activities: Vec<ActivitySpan>,
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
}

// === impl WeavingFeed ===

impl WeavingFeed {
    /// Returns whether a request may have spans that weaving needs. The offset join needs records
    /// with their cluster; the inference needs all that a process receives and sends, also as its
    /// own tracer reports it: a call that Envoy reports is joined with such a span. Where no proxy
    /// reports spans there is nothing to infer, and nothing needs to be decoded.
    pub(crate) fn wants(&self, otlp: &[u8]) -> bool {
        let contains = |text: &str| memmem::find(otlp, text.as_bytes()).is_some();
        match self.mode {
            WeavingMode::Off => false,
            WeavingMode::Offsets => contains(MESSAGING_KAFKA_CLUSTER_ID),
            WeavingMode::All => {
                if self.has_proxies.load(Ordering::Relaxed) {
                    return true;
                }
                if PROXY_ATTRIBUTES.into_iter().any(contains) {
                    self.note_proxies();
                    return true;
                }
                contains(MESSAGING_KAFKA_CLUSTER_ID)
            }
        }
    }

    /// Takes a request that was stored without being decoded.
    pub(crate) fn skip(&self, otlp: &[u8]) {
        if self.mode != WeavingMode::All {
            return;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: whoever notes the first proxy takes what is kept.
        if !self.has_proxies.load(Ordering::Relaxed) {
            recent.push(otlp, clock::now());
        }
    }

    /// Reads from spans all that weaving needs.
    pub(crate) fn read(&self, spans: &[Span]) -> WeavingBatch {
        let mut batch = WeavingBatch::default();
        if self.mode != WeavingMode::Off {
            batch.records = spans.iter().filter_map(RecordEndpoint::of).collect();
        }
        if self.mode == WeavingMode::All {
            batch.activities = spans.iter().filter_map(ActivitySpan::of).collect();
            if batch.activities.iter().any(ActivitySpan::is_open) {
                self.note_proxies();
            }
        }
        batch
    }

    /// Notes that proxies report spans. With the first, spans that came a little before matter.
    fn note_proxies(&self) {
        let recent = {
            let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            if self.has_proxies.swap(true, Ordering::Relaxed) {
                return;
            }
            recent.take(clock::now())
        };
        for otlp in recent {
            if let Ok(decoded) = throughline_otlp::decode_protobuf(&otlp) {
                self.offer(self.read(&decoded.spans));
            }
        }
    }

    /// Offers spans that are stored by now.
    pub(crate) fn offer(&self, batch: WeavingBatch) {
        let count = batch.records.len().max(batch.activities.len()) as u64;
        // Ingest must not wait for weaving.
        if count > 0 && self.queue.try_send(batch).is_err() {
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
        let feed = WeavingFeed {
            queue: sender,
            metrics: Arc::clone(&metrics),
            mode: settings.mode,
            has_proxies: Arc::default(),
            recent: Arc::default(),
        };
        let state = WeavingState {
            store,
            metrics,
            settings,
            offsets: OffsetJoin::default(),
            processes: HashMap::new(),
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
            }
            // On the blocking pool: a decision among many requests takes milliseconds.
            let worked = tokio::task::spawn_blocking(move || {
                state.weave(batches, clock::now());
                state
            });
            match worked.await {
                Ok(next) => state = next,
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
    fn weave(&mut self, batches: Vec<WeavingBatch>, now: u64) {
        let mut edges = Vec::new();
        let is_tick = batches.is_empty();
        for batch in batches {
            for span in batch.records {
                self.offsets.push(span, &mut edges);
            }
            for span in batch.activities {
                self.process(span.process).push(span, now);
            }
        }
        if is_tick {
            let wait = u64::try_from(self.settings.wait.as_nanos()).unwrap_or(u64::MAX);
            let mut open = 0;
            for process in self.processes.values_mut() {
                edges.extend(process.poll(now, wait, self.settings.min_confidence));
                open += process.open() as u64;
                let LiveChecks { right, wrong } = process.new_checks();
                self.metrics.add(CounterKey::WeaveChecks("right"), right);
                self.metrics.add(CounterKey::WeaveChecks("wrong"), wrong);
            }
            self.metrics.set(CounterKey::WeaveOpen, open);
        }
        if !edges.is_empty() {
            self.join(edges);
        }
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
        let counters = edges.iter().map(|edge| {
            if edge.is_joined {
                CounterKey::Woven(edge.evidence.name())
            } else if edge.parent.is_some() || edge.confidence < MIN_NONE {
                CounterKey::WeaveAbandoned("uncertain")
            } else {
                CounterKey::WeaveAbandoned("no_parent")
            }
        });
        let counters: Vec<CounterKey> = counters.collect();
        let WeaveOutcome {
            missing,
            reported,
            cyclic,
            too_many,
            joined: _,
            kept: _,
        } = self.store.weave(edges);
        // Counted once they are kept: queries show the joins that are counted.
        for counter in counters {
            self.metrics.add(counter, 1);
        }
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
