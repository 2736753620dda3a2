//! The queue from ingest to weaving.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memchr::memmem;
use throughline_model::Span;
use throughline_model::convention::{MESSAGING_KAFKA_CLUSTER_ID, PARENT_EVIDENCE};
use throughline_store::InsertError;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::activity_span::ActivitySpan;
use super::delivery_tracker::DeliveryTracker;
use super::recent_requests::RecentRequests;
use super::record_endpoint::RecordEndpoint;
use super::sent_traces::ReportedSpan;
use super::shared_entry::SharedEntry;
use super::shared_log::DecisionPublisher;
use super::trace_forwarder::SpanArrival;
use crate::clock;
use crate::config::WeavingMode;
use crate::metrics::{CounterKey, IngestSource, Metrics};

/// Batches of spans that wait for weaving.
const MAX_QUEUED_BATCHES: usize = 1024;

/// Entries of the queue that a record takes.
const QUEUED_BY_RECORD: usize = 2;

/// Time that offsets wait for the last deliveries before the group is left.
const MAX_FINISH_TIME: Duration = Duration::from_secs(20);

/// Attributes of the spans of our sidecars, and of Envoy's and Istio's tracers.
const PROXY_ATTRIBUTES: [&str; 2] = [PARENT_EVIDENCE, "upstream_cluster"];

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
    /// Where nothing else keeps spans: nothing may be dropped then.
    tracker: Option<Arc<DeliveryTracker>>,
    /// The record that is being read.
    record: Arc<AtomicU64>,
    /// Whether spans have come from a tracer that does not know the parents of calls.
    has_proxies: Arc<AtomicBool>,
    recent: Arc<Mutex<RecentRequests>>,
}

/// All that weaving needs of the spans of a request, which are on their way into the store.
#[derive(Debug, Default)]
pub(crate) struct WeavingBatch {
    pub(super) records: Vec<RecordEndpoint>,
    pub(super) activities: Vec<ActivitySpan>,
    pub(super) arrivals: Vec<SpanArrival>,
    /// Number of the record that the spans are from.
    pub(super) record: u64,
    /// The record has no more spans.
    pub(super) is_last: bool,
}

/// All that the feed has to do with.
pub(super) struct FeedLinks {
    pub(super) metrics: Arc<Metrics>,
    pub(super) mode: WeavingMode,
    pub(super) is_forwarding: bool,
    pub(super) shared: Option<Arc<DecisionPublisher>>,
    pub(super) tracker: Option<Arc<DeliveryTracker>>,
}

// === impl WeavingFeed ===

impl WeavingFeed {
    /// Makes a feed, and the end of its queue.
    pub(super) fn new(links: FeedLinks) -> (Self, mpsc::Receiver<WeavingBatch>) {
        let (queue, batches) = mpsc::channel(MAX_QUEUED_BATCHES);
        let FeedLinks {
            metrics,
            mode,
            is_forwarding,
            shared,
            tracker,
        } = links;
        let feed = Self {
            queue,
            metrics,
            mode,
            is_forwarding,
            shared,
            tracker,
            record: Arc::default(),
            has_proxies: Arc::default(),
            recent: Arc::default(),
        };
        (feed, batches)
    }

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

    /// Begins to read a record of this size; `None` when it must wait until others are delivered.
    /// There is one reader where records are tracked.
    /// The same while entries of earlier ones wait to be shared: they are not read again.
    pub(crate) fn begin_record(&self, value_bytes: usize) -> Option<u64> {
        if self.shared.as_ref().is_some_and(|it| !it.has_room()) {
            return None;
        }
        let Some(tracker) = &self.tracker else {
            return Some(0);
        };
        let has_room = tracker.has_room() && self.queue.capacity() >= QUEUED_BY_RECORD;
        let record = has_room.then(|| tracker.begin(value_bytes))?;
        self.record.store(record, Ordering::Relaxed);
        Some(record)
    }

    /// Notes that all spans of a record were offered.
    pub(crate) fn end_record(&self, record: u64) {
        if self.tracker.is_some() {
            let last = WeavingBatch {
                record,
                is_last: true,
                ..WeavingBatch::default()
            };
            // There is room, unless the collector stops.
            self.queue.try_send(last).unwrap_or_default();
        }
    }

    /// Returns the number below which all records are delivered; the greatest one where they are
    /// kept here.
    pub(crate) fn delivered_records(&self) -> u64 {
        let tracker = self.tracker.as_ref();
        tracker.map_or(u64::MAX, |tracker| tracker.completed(MAX_FINISH_TIME))
    }

    /// Returns whether spans are kept elsewhere, after their delivery.
    pub(crate) const fn is_tracking(&self) -> bool {
        self.tracker.is_some()
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

    /// Shares the ends of records among spans that are stored by now.
    pub(crate) fn share(&self, batch: &WeavingBatch, source: IngestSource) {
        let Some(shared) = &self.shared else { return };
        for record in &batch.records {
            let entry = SharedEntry::Record(record.clone());
            match source {
                IngestSource::Topic { .. } => shared.publish_read(&entry),
                // Its sender must not wait, and does not send it again.
                IngestSource::Endpoint(_) => shared.publish(&entry),
            }
        }
    }

    /// Offers spans that are stored by now.
    pub(crate) fn offer(&self, mut batch: WeavingBatch) {
        batch.record = self.record.load(Ordering::Relaxed);
        let count = batch.records.len().max(batch.activities.len()) as u64;
        let arrivals = batch.arrivals.len() as u64;
        if count.max(arrivals) == 0 {
            return;
        }
        // Ingest must not wait for weaving.
        let (dropped, abandoned, message) = match self.queue.try_send(batch) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => (
                "weave_queue_full",
                "queue_full",
                "spans arrive faster than they are woven; some stay apart",
            ),
            Err(TrySendError::Closed(_)) => (
                "weaving_ended",
                "weaving_ended",
                "spans arrive after the end of weaving and stay apart",
            ),
        };
        let forwarded = if self.is_forwarding { arrivals } else { 0 };
        self.metrics
            .add(CounterKey::ForwardDropped(dropped), forwarded);
        if self
            .metrics
            .add(CounterKey::WeaveAbandoned(abandoned), count)
        {
            tracing::warn!("{message}");
        }
    }
}
