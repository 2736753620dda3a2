//! The task at the end of the queue from ingest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_store::{Store, WovenEdge};
use throughline_weave::LiveChecks;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::decision_log::DecisionLog;
use super::delivery_tracker::DeliveryTracker;
use super::kept_edges::{DecisionOrigin, KeptEdges};
use super::offset_join::OffsetJoin;
use super::process_weaver::DueDecisions;
use super::record_endpoint::RecordSide;
use super::shared_entry::SharedEntry;
use super::shared_log::{DecisionIntake, DecisionPublisher, share};
use super::trace_forwarder::TraceForwarder;
use super::trace_sink::WovenTraceSink;
use super::unplaced_edges::UnplacedEdges;
use super::weaving_feed::{FeedLinks, WeavingBatch, WeavingFeed};
use super::woven_processes::WovenProcesses;
use crate::clock;
use crate::config::{WeavingMode, WeavingSettings};
use crate::metrics::{CounterKey, Metrics};

/// Batches that are woven together.
const MAX_JOINED_BATCHES: usize = 64;

/// Entries of other collectors that are taken in one turn: after a start there may be millions, and
/// spans that come meanwhile must not wait for them.
const MAX_JOINED_ENTRIES: usize = 64;

/// Time for the delivery of the last spans, where nothing else keeps them.
const MAX_DELIVERY_TIME: Duration = Duration::from_secs(15);

/// Time in which the sink takes the last spans, where they are stored.
const MAX_FORWARD_TIME: Duration = Duration::from_secs(5);

/// Time between two looks for decisions that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Where woven traces go, and what other collectors share.
#[derive(Default)]
pub(crate) struct WeavingLinks {
    pub(crate) sink: Option<Arc<dyn WovenTraceSink>>,
    pub(crate) decisions: Option<Arc<dyn DecisionLog>>,
    pub(crate) tracker: Option<Arc<DeliveryTracker>>,
}

/// The task that weaves.
pub(crate) struct WeavingTask {
    inputs: WeavingInputs,
    intake: Option<DecisionIntake>,
    state: WeavingState,
}

/// All that the task waits for.
struct WeavingInputs {
    queue: mpsc::Receiver<WeavingBatch>,
    /// Entries of other collectors.
    entries: Option<mpsc::Receiver<SharedEntry>>,
}

/// The work that is done at once.
#[derive(Default)]
struct WeavingTurn {
    batches: Vec<WeavingBatch>,
    entries: Vec<SharedEntry>,
    /// It is time to look for decisions that are due.
    is_tick: bool,
    /// The collector stops.
    is_last: bool,
}

/// All that is known about spans that may be joined.
struct WeavingState {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    settings: WeavingSettings,
    offsets: OffsetJoin,
    processes: WovenProcesses,
    forwarder: Option<TraceForwarder>,
    shared: Option<Arc<DecisionPublisher>>,
    unplaced: UnplacedEdges,
}

// === impl WeavingTask ===

impl WeavingTask {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        settings: WeavingSettings,
        links: WeavingLinks,
    ) -> (WeavingFeed, Self) {
        let WeavingLinks {
            sink,
            decisions,
            tracker,
        } = links;
        let decisions = decisions.filter(|_| settings.mode != WeavingMode::Off);
        let shared = decisions.map(|log| share(log, &metrics));
        let (shared, intake, entries) = match shared {
            Some((shared, intake, entries)) => (Some(shared), Some(intake), Some(entries)),
            None => (None, None, None),
        };
        let shared = shared.map(Arc::new);
        let (feed, queue) = WeavingFeed::new(FeedLinks {
            metrics: Arc::clone(&metrics),
            mode: settings.mode,
            is_forwarding: sink.is_some(),
            shared: shared.clone(),
            tracker: tracker.clone(),
        });
        let quiet = nanos(settings.wait);
        let forwarder = sink.map(|sink| TraceForwarder::new(sink, quiet, tracker));
        if let Some(forwarder) = &forwarder {
            // Scraped from the start: a counter that appears later has no increase.
            count_forwarded(forwarder, &metrics);
        }
        let state = WeavingState {
            store,
            metrics,
            settings,
            offsets: OffsetJoin::default(),
            processes: WovenProcesses::default(),
            forwarder,
            shared,
            unplaced: UnplacedEdges::default(),
        };
        let task = Self {
            inputs: WeavingInputs { queue, entries },
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

    /// Weaves until the collector stops. Spans that are offered before `stopping` is cancelled are
    /// woven and sent on.
    pub(crate) async fn run(self, stopping: CancellationToken) {
        let Self {
            mut inputs,
            intake: _,
            mut state,
        } = self;
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = inputs.next_turn(&mut ticks, &stopping).await;
            if turn.is_last {
                return finish(state, turn).await;
            }
            // On the blocking pool: a decision among many requests takes milliseconds.
            let worked = tokio::task::spawn_blocking(move || {
                state.work(turn, clock::now());
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

// === impl WeavingInputs ===

impl WeavingInputs {
    /// Waits for work. Spans that came here are all taken, up to a bound, and a few of the others'
    /// entries in each turn.
    async fn next_turn(
        &mut self,
        ticks: &mut Interval,
        stopping: &CancellationToken,
    ) -> WeavingTurn {
        let mut turn = WeavingTurn::default();
        tokio::select! {
            biased;
            () = stopping.cancelled() => {
                turn.is_last = true;
                fill(&mut self.queue, &mut turn.batches, usize::MAX);
                return turn;
            }
            _ = ticks.tick() => turn.is_tick = true,
            count = self.queue.recv_many(&mut turn.batches, MAX_JOINED_BATCHES) => {
                turn.is_last = count == 0;
            }
            count = receive(&mut self.entries, &mut turn.entries) => {
                if count == 0 {
                    self.entries = None;
                }
            }
        }
        fill(&mut self.queue, &mut turn.batches, MAX_JOINED_BATCHES);
        if let Some(entries) = &mut self.entries {
            fill(entries, &mut turn.entries, MAX_JOINED_ENTRIES);
        }
        turn
    }
}

// === impl WeavingState ===

impl WeavingState {
    fn work(&mut self, turn: WeavingTurn, now: u64) {
        self.take_batches(turn.batches, now);
        if turn.is_tick {
            self.tick(now);
        }
        self.take_shared(turn.entries);
    }

    /// Takes spans, and joins records whose ends have come.
    fn take_batches(&mut self, batches: Vec<WeavingBatch>, now: u64) {
        let mut edges = Vec::new();
        for batch in batches {
            self.take(batch, now, &mut edges);
        }
        self.decide(edges, DecisionOrigin::Final);
    }

    /// Decides what is due.
    fn tick(&mut self, now: u64) {
        let wait = nanos(self.settings.wait);
        let (mut open, mut due) = (0, DueDecisions::default());
        for process in self.processes.iter_mut() {
            process.poll(now, wait, self.settings.min_confidence, &mut due);
            open += process.open() as u64;
            let LiveChecks { right, wrong } = process.new_checks();
            self.metrics.add(CounterKey::WeaveChecks("right"), right);
            self.metrics.add(CounterKey::WeaveChecks("wrong"), wrong);
        }
        self.metrics.set(CounterKey::WeaveOpen, open);
        let abandoned = self.processes.forget_silent(now);
        let reason = CounterKey::WeaveAbandoned("processes");
        self.metrics.add(reason, abandoned);
        if let Some(forwarder) = &mut self.forwarder {
            let decided = due.decided.into_iter();
            decided.for_each(|span| forwarder.note_decided(span));
        }
        // Before they are joined again, which is counted.
        self.decide(due.separated, DecisionOrigin::Separated);
        self.decide(due.provisional, DecisionOrigin::Provisional);
        self.decide(due.last, DecisionOrigin::Final);
        // Kept already; the others know nothing of them.
        if self.shared.is_some() {
            self.decide(due.confirmed, DecisionOrigin::Confirmed);
        }
        if let Some(shared) = &self.shared {
            shared.count_written();
        }
        if let Some(forwarder) = &mut self.forwarder {
            forwarder.poll(&*self.store, now);
            count_forwarded(forwarder, &self.metrics);
        }
    }

    /// Takes what other collectors share.
    fn take_shared(&mut self, entries: Vec<SharedEntry>) {
        let mut edges = Vec::new();
        for entry in entries {
            match entry {
                SharedEntry::Record(record) => self.offsets.push(record, &mut edges),
                SharedEntry::Parent(edge) => edges.push(edge),
            }
        }
        self.decide(edges, DecisionOrigin::Shared);
    }

    /// Keeps decisions. Of those that the store keeps, shares the ones that others cannot make, and
    /// notes all at the forwarder. Of others' decisions, files those whose spans may still come.
    fn decide(&mut self, edges: Vec<WovenEdge>, origin: DecisionOrigin) {
        if edges.is_empty() {
            return;
        }
        let edges = KeptEdges::keep(&*self.store, self.shared.is_some(), edges, origin);
        // Counted once they are kept: queries show the joins that are counted.
        edges.count(origin, &self.metrics);
        for edge in edges.kept {
            // An earlier one that waits for its spans must not take the place of this one later.
            self.unplaced.remove(edge.child);
            if let Some(forwarder) = &mut self.forwarder
                && origin != DecisionOrigin::Confirmed
            {
                forwarder.note_edge(&edge);
            }
            // The ends of records are entries themselves.
            if let Some(shared) = &self.shared
                && origin.is_published()
                && !edge.evidence.is_exact()
            {
                shared.publish(&SharedEntry::Parent(edge));
            }
        }
        if origin == DecisionOrigin::Shared {
            for edge in edges.missing {
                self.unplaced.insert(edge);
            }
        }
    }

    /// Takes the spans of a request.
    fn take(&mut self, batch: WeavingBatch, now: u64, edges: &mut Vec<WovenEdge>) {
        let unplaced = batch.arrivals.iter();
        let unplaced = unplaced.flat_map(|arrival| self.unplaced.take(arrival.trace));
        let unplaced: Vec<WovenEdge> = unplaced.collect();
        self.decide(unplaced, DecisionOrigin::Shared);
        if let Some(forwarder) = &mut self.forwarder {
            for arrival in batch.arrivals {
                forwarder.push(arrival, batch.record, now);
            }
            let open = batch.activities.iter().filter(|span| span.is_open());
            open.for_each(|span| forwarder.expect_decision(span.trace_id()));
            let consumers = batch.records.iter();
            let consumers = consumers.filter(|span| span.side == RecordSide::Consumer);
            consumers.for_each(|span| forwarder.expect_producer(span.key.trace_id));
            if batch.is_last {
                forwarder.note_taken(batch.record);
            }
        }
        for span in batch.records {
            self.offsets.push(span, edges);
        }
        for span in batch.activities {
            self.processes.entry(span.process).push(span, now);
        }
    }
}

/// Adds what has come already, up to `max` items.
fn fill<T>(queue: &mut mpsc::Receiver<T>, items: &mut Vec<T>, max: usize) {
    while items.len() < max
        && let Ok(item) = queue.try_recv()
    {
        items.push(item);
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
async fn finish(mut state: WeavingState, turn: WeavingTurn) {
    if state.forwarder.is_none() {
        return;
    }
    let finished = tokio::task::spawn_blocking(move || {
        let (begin, now) = (Instant::now(), clock::now());
        state.take_batches(turn.batches, now);
        if let Some(forwarder) = &mut state.forwarder {
            let max_time = if forwarder.is_tracking() {
                MAX_DELIVERY_TIME
            } else {
                MAX_FORWARD_TIME
            };
            let has_time = || begin.elapsed() < max_time;
            forwarder.finish(&*state.store, now, &has_time);
            count_forwarded(forwarder, &state.metrics);
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
    metrics.set(CounterKey::ForwardUnsettled, counts.unsettled);
    metrics.set(CounterKey::ForwardLateJoins, counts.late_joins);
    metrics.set(CounterKey::ForwardQueued, sink.queued);
    metrics.set(CounterKey::ForwardSent, sink.sent);
    metrics.set(CounterKey::ForwardRetries, sink.retries);
    let mut dropped = BTreeMap::from([
        ("evicted", counts.evicted),
        ("unreadable", counts.unreadable),
        ("shutdown", counts.abandoned),
    ]);
    for (reason, spans) in sink.dropped {
        *dropped.entry(reason).or_default() += spans;
    }
    for (reason, spans) in dropped {
        metrics.set(CounterKey::ForwardDropped(reason), spans);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
