//! Weaving without a store of one's own: records are read, woven in memory and sent on, and their
//! offsets are committed after the delivery.
//!
//! ```text
//!  RecordSource ─► MemoryStore ─► weaving ─► WovenTraceSink
//!       ▲                                         │ delivered
//!       └──────────── DeliveryTracker ◄───────────┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use throughline_store::{MemoryStore, Store};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::collector::RecordSourceEnd;
use crate::config::{CollectorLimits, WeavingSettings};
use crate::ingest::{IngestPipeline, RecordIngest, RecordSource, SpanDestination};
use crate::metrics::{CounterKey, Metrics};
use crate::weaving::{DecisionLog, DeliveryTracker, WeavingLinks, WeavingTask, WovenTraceSink};

/// The share of the memory that values of records may take which are not delivered: spans and their
/// indexes take several times their encoded size.
const RECORD_SHARE: usize = 10;

/// Time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How records are woven.
#[derive(Debug)]
pub struct StreamWeavingSettings {
    /// How parents are found.
    pub weaving: WeavingSettings,
    /// The log that all weavers of a group share, if any.
    pub decisions: Option<Arc<dyn DecisionLog>>,
    /// Maximum memory of spans.
    pub max_bytes: usize,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamWeavingProgress {
    /// Records that were read.
    pub records: u64,
    /// Records that were skipped, because they are not requests of OTLP.
    pub poisoned: u64,
    /// Spans of the records, repeated ones included.
    pub spans: u64,
    /// Spans that were joined with a parent.
    pub woven: u64,
    /// Spans that wait until their trace is settled.
    pub pending: u64,
    /// Spans that were delivered.
    pub sent: u64,
    /// Spans that could not be delivered.
    pub dropped: u64,
    /// Records of the assigned partitions that are not committed.
    pub lag: u64,
}

/// Reads, weaves and sends on until `stop` completes; then sends all that waits, commits and leaves
/// the group.
///
/// # Errors
/// The source of records ended before `stop`.
pub async fn weave_records(
    settings: StreamWeavingSettings,
    records: Box<dyn RecordSource>,
    sink: Arc<dyn WovenTraceSink>,
    progress: &mut (dyn FnMut(StreamWeavingProgress) + Send),
    stop: impl Future<Output = ()> + Send,
) -> Result<StreamWeavingProgress, RecordSourceEnd> {
    let metrics = Arc::new(Metrics::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(settings.max_bytes));
    let tracker = Arc::new(DeliveryTracker::new(settings.max_bytes / RECORD_SHARE));
    let links = WeavingLinks {
        sink: Some(sink),
        decisions: settings.decisions,
        tracker: Some(Arc::clone(&tracker)),
    };
    let weaving = settings.weaving;
    let (feed, mut weaver) =
        WeavingTask::new(Arc::clone(&store), Arc::clone(&metrics), weaving, links);
    let pipeline = IngestPipeline::new(
        SpanDestination::Store(store),
        Arc::clone(&metrics),
        CollectorLimits::default(),
        feed,
    );
    let ingest = RecordIngest::new(Arc::new(pipeline));
    let (stopping, reader_ended) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks = JoinSet::new();
    if let Some(reader) = weaver.decision_reader() {
        let stopping = stopping.clone();
        tasks.spawn_blocking(move || reader(stopping));
    }
    tasks.spawn(weaver.run(stopping.clone()));
    let (reader_stopping, ended) = (stopping.clone(), reader_ended.clone());
    tasks.spawn_blocking(move || {
        let _ended = ended.drop_guard();
        records.run(ingest, reader_stopping);
    });
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(stop);
    let ended = loop {
        tokio::select! {
            () = &mut stop => break Ok(()),
            () = reader_ended.cancelled() => break Err(RecordSourceEnd),
            _ = ticks.tick() => progress(StreamWeavingProgress::of(&metrics)),
        }
    };
    // First, so that the reader waits for the last deliveries before it commits.
    tracker.stop();
    stopping.cancel();
    while tasks.join_next().await.is_some() {}
    ended.map(|()| StreamWeavingProgress::of(&metrics))
}

// === impl StreamWeavingProgress ===

impl StreamWeavingProgress {
    fn of(metrics: &Metrics) -> Self {
        let one = |counter: CounterKey| metrics.sum(|key| key == counter);
        let poisoned = one(CounterKey::Records("poisoned"));
        Self {
            records: one(CounterKey::Records("stored")) + poisoned,
            poisoned,
            spans: metrics.sum(|key| matches!(key, CounterKey::Received(_))),
            woven: metrics.sum(|key| matches!(key, CounterKey::Woven(_))),
            pending: one(CounterKey::ForwardPending),
            sent: one(CounterKey::ForwardSent),
            dropped: metrics.sum(|key| matches!(key, CounterKey::ForwardDropped(_))),
            lag: one(CounterKey::RecordLag),
        }
    }
}
