//! The queue from ingest to weaving, and the task at its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use throughline_model::Span;
use throughline_model::convention::{MESSAGING_KAFKA_CLUSTER_ID, PARENT_EVIDENCE};
use throughline_store::{InsertError, Store, WeaveOutcome, WovenEdge, WovenEvidence};
use throughline_weave::LiveChecks;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::activity_span::ActivitySpan;
use super::decision_log::DecisionLog;
use super::offset_join::OffsetJoin;
use super::process_weaver::ProcessWeaver;
use super::recent_requests::RecentRequests;
use super::record_endpoint::{RecordEndpoint, RecordSide};
use super::sent_traces::ReportedSpan;
use super::shared_entry::SharedEntry;
use super::shared_log::{DecisionIntake, DecisionPublisher, share};
use super::trace_forwarder::{SpanArrival, TraceForwarder};
use super::trace_sink::WovenTraceSink;
use super::unplaced_edges::UnplacedEdges;
use crate::clock;
use crate::config::{WeavingMode, WeavingSettings};
use crate::metrics::{CounterKey, Metrics};

/// Batches of spans that wait for weaving.
const MAX_QUEUED_BATCHES: usize = 1024;

/// Batches that are woven together.
const MAX_JOINED_BATCHES: usize = 64;

/// Entries of other collectors that are taken together.
const MAX_JOINED_ENTRIES: usize = 256;

/// The evidence of joins by the offsets of records.
const OFFSET: &str = WovenEvidence::Offset.name();

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
    /// Whether woven traces are sent on, for which every span counts.
    is_forwarding: bool,
    /// Takes part in what collectors share, for which every span counts as well.
    shared: Option<Arc<DecisionPublisher>>,
    /// Whether spans have come from a tracer that does not know the parents of calls.
    has_proxies: Arc<AtomicBool>,
    recent: Arc<Mutex<RecentRequests>>,
}

/// All that weaving needs of the spans of a request, which are on their way into the store.
#[derive(Debug, Default)]
pub(crate) struct WeavingBatch {
    records: Vec<RecordEndpoint>,
    activities: Vec<ActivitySpan>,
    arrivals: Vec<SpanArrival>,
}

/// Where woven traces go, and what other collectors share.
#[derive(Default)]
pub(crate) struct WeavingLinks {
    pub(crate) sink: Option<Arc<dyn WovenTraceSink>>,
    pub(crate) decisions: Option<Arc<dyn DecisionLog>>,
}

/// The task that weaves.
pub(crate) struct WeavingTask {
    queue: mpsc::Receiver<WeavingBatch>,
    /// Entries of other collectors.
    entries: Option<mpsc::Receiver<SharedEntry>>,
    intake: Option<DecisionIntake>,
    state: WeavingState,
}

/// All that is known about spans that may be joined.
struct WeavingState {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    settings: WeavingSettings,
    offsets: OffsetJoin,
    processes: HashMap<u64, ProcessWeaver>,
    forwarder: Option<TraceForwarder>,
    shared: Option<Arc<DecisionPublisher>>,
    unplaced: UnplacedEdges,
}

// === impl WeavingFeed ===

impl WeavingFeed {
    /// Returns whether a request may have spans that weaving needs. The offset join needs records
    /// with their cluster; the inference needs all that a process receives and sends, also as its
    /// own tracer reports it: a call that Envoy reports is joined with such a span. Where no proxy
    /// reports spans there is nothing to infer, and nothing needs to be decoded.
    pub(crate) fn wants(&self, otlp: &[u8]) -> bool {
        if self.wants_arrivals() {
            return true;
        }
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
        if self.wants_arrivals() {
            let arrivals = spans.iter().map(|span| SpanArrival {
                trace: span.trace_id,
                span: ReportedSpan::of(span),
            });
            batch.arrivals = arrivals.collect();
        }
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

    const fn wants_arrivals(&self) -> bool {
        self.is_forwarding || self.shared.is_some()
    }

    /// Waits until all that was shared so far is kept.
    ///
    /// # Errors
    /// [`InsertError`]: some of it is not kept yet.
    pub(crate) fn flush(&self) -> Result<(), InsertError> {
        self.shared.as_ref().map_or(Ok(()), |shared| shared.flush())
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
        if let Some(shared) = &self.shared {
            for record in &batch.records {
                shared.publish(&SharedEntry::Record(record.clone()));
            }
        }
        let count = batch.records.len().max(batch.activities.len()) as u64;
        let arrivals = batch.arrivals.len() as u64;
        // Ingest must not wait for weaving.
        if count.max(arrivals) > 0 && self.queue.try_send(batch).is_err() {
            let key = CounterKey::ForwardDropped("weave_queue_full");
            self.metrics
                .add(key, if self.is_forwarding { arrivals } else { 0 });
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
        links: WeavingLinks,
    ) -> (WeavingFeed, Self) {
        let WeavingLinks { sink, decisions } = links;
        let decisions = decisions.filter(|_| settings.mode != WeavingMode::Off);
        let shared = decisions.map(|log| share(log, &metrics));
        let (shared, intake, entries) = match shared {
            Some((shared, intake, entries)) => (Some(shared), Some(intake), Some(entries)),
            None => (None, None, None),
        };
        let shared = shared.map(Arc::new);
        let (sender, receiver) = mpsc::channel(MAX_QUEUED_BATCHES);
        let feed = WeavingFeed {
            queue: sender,
            metrics: Arc::clone(&metrics),
            mode: settings.mode,
            is_forwarding: sink.is_some(),
            shared: shared.clone(),
            has_proxies: Arc::default(),
            recent: Arc::default(),
        };
        let quiet = nanos(settings.wait);
        let state = WeavingState {
            store,
            metrics,
            settings,
            offsets: OffsetJoin::default(),
            processes: HashMap::new(),
            forwarder: sink.map(|sink| TraceForwarder::new(sink, quiet)),
            shared,
            unplaced: UnplacedEdges::default(),
        };
        let task = Self {
            queue: receiver,
            entries,
            intake,
            state,
        };
        (feed, task)
    }

    /// Returns the work of reading what others share, which blocks its thread.
    pub(crate) fn decision_reader(&mut self) -> Option<impl FnOnce(CancellationToken) + use<>> {
        let log = Arc::clone(self.state.shared.as_ref()?.log());
        let intake = self.intake.take()?;
        Some(move |stopping: CancellationToken| {
            log.read(&|value| intake.take(value), &stopping);
        })
    }

    /// Weaves until the collector stops.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let Self {
            mut queue,
            mut entries,
            intake: _,
            mut state,
        } = self;
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (mut batches, mut shared) = (Vec::new(), Vec::new());
            tokio::select! {
                () = stopping.cancelled() => {
                    while let Ok(batch) = queue.try_recv() {
                        batches.push(batch);
                    }
                    finish(state, batches).await;
                    return;
                }
                count = queue.recv_many(&mut batches, MAX_JOINED_BATCHES) => {
                    if count == 0 {
                        return;
                    }
                }
                count = receive(&mut entries, &mut shared) => {
                    if count == 0 {
                        entries = None;
                    }
                }
                _ = ticks.tick() => {}
            }
            // On the blocking pool: a decision among many requests takes milliseconds.
            let worked = tokio::task::spawn_blocking(move || {
                if shared.is_empty() {
                    state.weave(batches, clock::now());
                } else {
                    state.take_shared(shared);
                }
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
            self.take(batch, now, &mut edges);
        }
        if is_tick {
            let wait = nanos(self.settings.wait);
            let mut open = 0;
            let mut separated = Vec::new();
            for process in self.processes.values_mut() {
                edges.extend(process.poll(now, wait, self.settings.min_confidence));
                separated.extend(process.take_separated());
                open += process.open() as u64;
                let decided = process.take_decided().into_iter();
                if let Some(forwarder) = &mut self.forwarder {
                    decided.for_each(|span| forwarder.note_decided(span));
                }
                let LiveChecks { right, wrong } = process.new_checks();
                self.metrics.add(CounterKey::WeaveChecks("right"), right);
                self.metrics.add(CounterKey::WeaveChecks("wrong"), wrong);
            }
            self.metrics.set(CounterKey::WeaveOpen, open);
            // Before they are joined again, which is counted.
            if !separated.is_empty() {
                self.keep(separated);
            }
        }
        if !edges.is_empty() {
            if let Some(forwarder) = &mut self.forwarder {
                edges.iter().for_each(|edge| forwarder.note_edge(edge));
            }
            self.publish(&edges);
            self.join(edges);
        }
        if is_tick && let Some(forwarder) = &mut self.forwarder {
            forwarder.poll(&*self.store, now);
            count_forwarded(forwarder, &self.metrics);
        }
    }

    /// Shares decisions that others cannot make: the ends of records they have as well.
    fn publish(&self, edges: &[WovenEdge]) {
        let Some(shared) = &self.shared else { return };
        for edge in edges.iter().filter(|edge| !edge.evidence.is_exact()) {
            shared.publish(&SharedEntry::Parent(edge.clone()));
        }
    }

    /// Takes what other collectors share.
    fn take_shared(&mut self, entries: Vec<SharedEntry>) {
        let (mut joined, mut decided) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                SharedEntry::Record(record) => self.offsets.push(record, &mut joined),
                SharedEntry::Parent(edge) => decided.push(edge),
            }
        }
        let count = self.join_shared(joined);
        self.metrics.add(CounterKey::Woven(OFFSET), count);
        // Counted by the collector that has decided.
        self.join_shared(decided);
    }

    /// Joins spans of which others have a part; returns the number of joins.
    fn join_shared(&mut self, edges: Vec<WovenEdge>) -> u64 {
        let mut joined = 0;
        for edge in edges {
            if let Some(forwarder) = &mut self.forwarder {
                forwarder.note_edge(&edge);
            }
            let outcome = self.store.weave_shared(vec![edge.clone()]);
            joined += outcome.joined;
            if outcome.missing > 0 {
                self.unplaced.insert(edge);
            }
        }
        joined
    }

    /// Takes the spans of a request.
    fn take(&mut self, batch: WeavingBatch, now: u64, edges: &mut Vec<WovenEdge>) {
        let unplaced = batch.arrivals.iter();
        let unplaced = unplaced.flat_map(|arrival| self.unplaced.take(arrival.trace));
        let unplaced: Vec<WovenEdge> = unplaced.collect();
        self.join_shared(unplaced);
        if let Some(forwarder) = &mut self.forwarder {
            for arrival in batch.arrivals {
                forwarder.push(arrival, now);
            }
            let open = batch.activities.iter().filter(|span| span.is_open());
            open.for_each(|span| forwarder.expect_decision(span.trace_id()));
            let consumers = batch.records.iter();
            let consumers = consumers.filter(|span| span.side == RecordSide::Consumer);
            consumers.for_each(|span| forwarder.expect_producer(span.key.trace_id));
        }
        for span in batch.records {
            self.offsets.push(span, edges);
        }
        for span in batch.activities {
            self.process(span.process).push(span, now);
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

    /// Keeps decisions in the store.
    fn keep(&self, edges: Vec<WovenEdge>) -> WeaveOutcome {
        if self.shared.is_some() {
            self.store.weave_shared(edges)
        } else {
            self.store.weave(edges)
        }
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
        } = self.keep(edges);
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

/// Receives entries of others; never completes without a log of them.
async fn receive(
    entries: &mut Option<mpsc::Receiver<SharedEntry>>,
    received: &mut Vec<SharedEntry>,
) -> usize {
    match entries {
        Some(entries) => entries.recv_many(received, MAX_JOINED_ENTRIES).await,
        None => std::future::pending().await,
    }
}

/// Sends on all that waits, when the collector stops.
async fn finish(mut state: WeavingState, batches: Vec<WeavingBatch>) {
    if state.forwarder.is_none() {
        return;
    }
    let finished = tokio::task::spawn_blocking(move || {
        let now = clock::now();
        if !batches.is_empty() {
            state.weave(batches, now);
        }
        if let Some(forwarder) = &mut state.forwarder {
            forwarder.finish(&*state.store, now);
        }
    });
    if let Err(error) = finished.await {
        tracing::error!(%error, "woven traces that waited were not forwarded");
    }
}

/// Copies the counters of forwarding.
fn count_forwarded(forwarder: &TraceForwarder, metrics: &Metrics) {
    let counts = forwarder.counts();
    let sink = forwarder.sink().counts();
    metrics.set(CounterKey::ForwardPending, counts.pending);
    metrics.set(CounterKey::ForwardDropped("evicted"), counts.evicted);
    metrics.set(CounterKey::ForwardUnsettled, counts.unsettled);
    metrics.set(CounterKey::ForwardLateJoins, counts.late_joins);
    metrics.set(CounterKey::ForwardQueued, sink.queued);
    metrics.set(CounterKey::ForwardSent, sink.sent);
    metrics.set(CounterKey::ForwardRetries, sink.retries);
    for (reason, spans) in sink.dropped {
        metrics.set(CounterKey::ForwardDropped(reason), spans);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
