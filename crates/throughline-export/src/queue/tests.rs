//! The queue under a paused clock.

use std::sync::Arc;

use throughline_model::{
    DroppedCounts, GroupContent, GroupedSpan, KeyValue, Resource, Scope, SinkFull, SpanId,
    SpanKind, Status, TraceId,
};
use throughline_otlp::SpanRef;

use super::*;

fn span(name: &str) -> Span {
    Span {
        trace_id: TraceId::from_bytes([1; 16]).unwrap(),
        span_id: SpanId::from_bytes([2; 8]).unwrap(),
        parent_span_id: None,
        flags: 1,
        trace_state: String::new(),
        name: name.to_owned(),
        kind: SpanKind::Producer,
        start: 1,
        end: 2,
        attributes: vec![KeyValue::new("messaging.system", "kafka")],
        events: Vec::new(),
        links: Vec::new(),
        status: Status::Unset,
        status_message: Box::default(),
        dropped: DroppedCounts::default(),
        resource: Arc::new(Resource::of_service("test")),
        scope: Arc::new(Scope::default()),
    }
}

const LIMITS: BatchSettings = BatchSettings {
    max_queue_spans: 10,
    max_queue_bytes: 1 << 20,
    max_batch_spans: 4,
    delay: Duration::from_secs(3),
};

impl SpanQueue {
    fn push(&self, span: Span) -> Result<(), SinkFull> {
        match self.push_all(&mut std::iter::once(span)) {
            0 => Ok(()),
            _ => Err(SinkFull),
        }
    }
}

fn queue_of(spans: usize) -> SpanQueue {
    let queue = SpanQueue::new(LIMITS);
    for _ in 0..spans {
        queue.push(span("a")).unwrap();
    }
    queue
}

#[tokio::test(start_paused = true)]
async fn first_span_waits_no_longer_than_the_delay() {
    let begin = Instant::now();
    assert_eq!(queue_of(3).next_batch().await.unwrap().spans, 3);
    assert_eq!(begin.elapsed(), LIMITS.delay);
}

#[tokio::test(start_paused = true)]
async fn full_batch_is_due_at_once_and_the_rest_waits() {
    let (queue, begin) = (queue_of(5), Instant::now());
    assert_eq!(queue.next_batch().await.unwrap().spans, 4);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(queue.next_batch().await.unwrap().spans, 1);
    assert_eq!(begin.elapsed(), LIMITS.delay);
}

#[tokio::test(start_paused = true)]
async fn filling_span_ends_the_wait() {
    let (queue, begin) = (Arc::new(queue_of(3)), Instant::now());
    let taken = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.next_batch().await }
    });
    tokio::time::advance(Duration::from_secs(1)).await;
    queue.push(span("a")).unwrap();
    assert_eq!(taken.await.unwrap().unwrap().spans, 4);
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn flush_ends_the_wait_and_returns_when_all_spans_are_complete() {
    let (queue, begin) = (Arc::new(queue_of(1)), Instant::now());
    let flushed = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.flushed().await }
    });
    assert_eq!(queue.next_batch().await.unwrap().spans, 1);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    tokio::task::yield_now().await;
    assert!(!flushed.is_finished());
    queue.complete(1);
    flushed.await.unwrap();
    // Spans queued after the flush wait for the delay again.
    queue.push(span("a")).unwrap();
    assert_eq!(queue.next_batch().await.unwrap().spans, 1);
    assert_eq!(begin.elapsed(), LIMITS.delay);
}

#[tokio::test(start_paused = true)]
async fn retry_wait_ends_early_for_a_flush_only() {
    let (queue, begin) = (Arc::new(queue_of(0)), Instant::now());
    queue.push(span("a")).unwrap();
    queue.wait_for_retry(Duration::from_secs(5)).await;
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    let paused = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.wait_for_retry(Duration::from_secs(5)).await }
    });
    tokio::time::advance(Duration::from_secs(1)).await;
    queue.close();
    paused.await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(6));
}

#[test]
fn full_queue_drops_and_counts() {
    let queue = queue_of(LIMITS.max_queue_spans);
    assert_eq!(queue.push(span("a")), Err(SinkFull));
    let counts = queue.counts();
    assert_eq!((counts.queued, counts.dropped.queue_full), (10, 1));
}

#[test]
fn queue_is_bounded_by_bytes() {
    let queue = SpanQueue::new(BatchSettings {
        max_queue_bytes: 10_000,
        ..LIMITS
    });
    assert_eq!(queue.push(span(&"x".repeat(10_000))), Err(SinkFull));
    queue.push(span(&"x".repeat(6_000))).unwrap();
    assert_eq!(queue.push(span(&"x".repeat(6_000))), Err(SinkFull));
    assert!(queue.counts().queued_bytes > 6_000);
    assert_eq!(queue.counts().dropped.queue_full, 2);
}

#[tokio::test(start_paused = true)]
async fn batch_is_bounded_by_bytes_and_holds_at_least_one_span() {
    let queue = SpanQueue::new(BatchSettings {
        max_queue_bytes: 100 << 20,
        ..LIMITS
    });
    for size in [5 << 20, 1 << 20, 1 << 20, 2 << 20] {
        queue.push(span(&"x".repeat(size))).unwrap();
    }
    assert_eq!(queue.next_batch().await.unwrap().spans, 1);
    assert_eq!(queue.next_batch().await.unwrap().spans, 2);
    assert_eq!(queue.next_batch().await.unwrap().spans, 1);
    assert_eq!(queue.counts().queued_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn closed_queue_rejects_spans_and_drains() {
    let queue = queue_of(2);
    queue.close();
    assert_eq!(queue.push(span("a")), Err(SinkFull));
    assert_eq!(queue.next_batch().await.unwrap().spans, 2);
    assert!(queue.next_batch().await.is_none());
    assert_eq!(queue.counts().dropped.shutdown, 1);
}

fn group_of(spans: usize) -> SpanGroup {
    let Span {
        name,
        kind,
        attributes,
        resource,
        scope,
        ..
    } = span("a");
    let common = GroupContent {
        name,
        kind,
        start: 1,
        end: 2,
        attributes,
        events: Vec::new(),
        status: Status::Unset,
        resource,
        scope,
    };
    let mut group = SpanGroup::new(Arc::new(common));
    for id in 1..=u64::try_from(spans).unwrap() {
        let trace_id = TraceId::from_bytes([1; 16]).unwrap();
        let span_id = SpanId::from_bytes(id.to_be_bytes()).unwrap();
        group.push(GroupedSpan::root(trace_id, span_id, 1), |_| {});
    }
    group
}

/// Returns the ids of the spans of a batch.
fn ids(batch: &SpanBatch) -> Vec<u64> {
    let id = |id: SpanId| u64::from_be_bytes(id.to_bytes());
    let entries = batch.entries.iter();
    let ids = entries.flat_map(|entry| match entry.as_span_ref() {
        SpanRef::Single(span) => vec![id(span.span_id)],
        SpanRef::Group(group) => group.members().map(|(span, _)| id(span.span_id)).collect(),
    });
    ids.collect()
}

#[tokio::test(start_paused = true)]
async fn group_is_split_between_batches() {
    let queue = queue_of(1);
    assert_eq!(queue.push_group(group_of(0)), 0);
    assert_eq!(queue.push_group(group_of(8)), 0);
    // The single span of the queue has id 0x0202...
    let mut batches = Vec::new();
    for _ in 0..3 {
        let batch = queue.next_batch().await.unwrap();
        queue.complete(batch.spans.try_into().unwrap());
        batches.push(ids(&batch));
    }
    assert_eq!(batches[0][1..], [1, 2, 3]);
    assert_eq!(batches[1..], [vec![4, 5, 6, 7], vec![8]]);
    let counts = queue.counts();
    assert_eq!((counts.queued, counts.queued_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn group_is_cut_to_the_room_of_the_queue() {
    let queue = queue_of(7);
    assert_eq!(queue.push_group(group_of(5)), 2);
    assert_eq!(queue.push_group(group_of(5)), 5);
    let counts = queue.counts();
    assert_eq!((counts.queued, counts.dropped.queue_full), (10, 7));
    queue.close();
    assert_eq!(queue.push_group(group_of(3)), 3);
    assert_eq!(queue.counts().dropped.shutdown, 3);
}

#[tokio::test(start_paused = true)]
async fn spans_of_a_group_count_with_their_common_content() {
    let mut group = group_of(4);
    let common = GroupContent {
        name: "x".repeat(1 << 20),
        ..group.common().as_ref().clone()
    };
    let mut large = SpanGroup::new(Arc::new(common));
    for (span, _) in group.split_off(0).members() {
        large.push(span.clone(), |_| {});
    }
    let queue = SpanQueue::new(BatchSettings {
        max_queue_bytes: 100 << 20,
        ..LIMITS
    });
    assert_eq!(queue.push_group(large), 0);
    assert_eq!(queue.next_batch().await.unwrap().spans, 2);
    assert_eq!(queue.next_batch().await.unwrap().spans, 2);
}

#[test]
fn abandoned_spans_are_counted_whether_taken_or_queued() {
    let queue = queue_of(6);
    drop(queue.take(&mut queue.state()));
    queue.complete(1);
    queue.abandon();
    let counts = queue.counts();
    assert_eq!(
        (counts.queued, counts.queued_bytes, counts.dropped.shutdown),
        (0, 0, 5)
    );
}
