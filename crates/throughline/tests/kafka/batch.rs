//! Batches: one span, one link per record.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::FutureRecord;
use throughline::kafka::{Consumer, MAX_BATCH_RECORDS, SenderRelation};

use crate::bench::{
    Bench, Failed, OTHER, OTHER_SPAN, SENDER, SENDER_SPAN, SOON, TOPIC, from_the_start, texts,
};

#[tokio::test]
async fn batch_links_to_each_sender_with_partition_and_offset() {
    let bench = Bench::new();
    bench.send_plain(&[("traceparent", Some(SENDER))]).await;
    bench.send_plain(&[]).await;
    bench.send_plain(&[("traceparent", Some(OTHER))]).await;
    let consumer = bench.consumer(bench.settings());
    let batch = consumer.recv_batch(3, SOON).await.unwrap();
    assert_eq!(batch.len(), 3);
    let inside = batch
        .handle(async { Ok::<_, Failed>(Context::current().span().span_context().span_id()) })
        .await;
    let span = bench.span("process orders");
    assert_eq!(inside.unwrap(), span.span_context.span_id());
    assert_eq!(
        (
            span.span_kind.clone(),
            span.parent_span_id.to_string().as_str()
        ),
        (SpanKind::Consumer, "0000000000000000")
    );
    assert!(texts(&span.attributes).contains(&"messaging.batch.message_count=3".to_owned()));
    assert!(
        !texts(&span.attributes)
            .iter()
            .any(|one| one.starts_with("messaging.kafka.offset"))
    );
    let links: Vec<_> = span
        .links
        .links
        .iter()
        .map(|link| texts(&link.attributes))
        .collect();
    let place = |offset: i64| {
        let offset = format!("messaging.kafka.offset={offset}");
        vec![
            "messaging.destination.partition.id=0".to_owned(),
            offset,
            "opentracing.ref_type=follows_from".to_owned(),
        ]
    };
    assert_eq!(links, [place(0), place(2)]);
    let senders: Vec<_> = span
        .links
        .links
        .iter()
        .map(|link| link.span_context.span_id().to_string())
        .collect();
    assert_eq!(senders, [SENDER_SPAN, OTHER_SPAN]);
}

/// The Java agent has no such rule: there, a batch of one record leaves its trace.
#[tokio::test]
async fn batch_of_one_sender_stays_in_its_trace() {
    for (relation, parent, links) in [
        (SenderRelation::ParentAndLink, SENDER_SPAN, 2),
        (SenderRelation::ChildOnly, SENDER_SPAN, 0),
        (SenderRelation::LinksOnly, "0000000000000000", 2),
    ] {
        let bench = Bench::new();
        for _ in 0..2 {
            bench.send_plain(&[("traceparent", Some(SENDER))]).await;
        }
        let consumer = bench.consumer(bench.settings().relation(relation));
        let batch = consumer.recv_batch(2, SOON).await.unwrap();
        batch.run(|| Ok::<_, Failed>(())).unwrap();
        let span = bench.span("process orders");
        assert_eq!(span.parent_span_id.to_string(), parent, "{relation:?}");
        assert_eq!(span.links.links.len(), links, "{relation:?}");
    }
}

#[tokio::test]
async fn each_record_of_a_batch_can_have_a_span_in_the_trace_of_its_sender() {
    let bench = Bench::new();
    for sender in [SENDER, OTHER] {
        bench.send_plain(&[("traceparent", Some(sender))]).await;
    }
    let consumer = bench.consumer(bench.settings());
    let batch = consumer.recv_batch(2, SOON).await.unwrap();
    let mut handled = Vec::new();
    for delivery in batch.deliveries() {
        let work = async {
            let active = Context::current().span().span_context().span_id();
            handled.push(active);
            if delivery.offset() == 0 {
                Ok(())
            } else {
                Err(Failed)
            }
        };
        assert_eq!(delivery.handle(work).await.is_ok(), delivery.offset() == 0);
    }
    drop(batch);
    let spans = bench.named("process orders");
    let [first, second, whole] = spans.as_slice() else {
        panic!("two records and their batch: {spans:?}");
    };
    for (span, sender) in [(first, SENDER_SPAN), (second, OTHER_SPAN)] {
        assert_eq!(span.parent_span_id.to_string(), sender);
        let linked: Vec<_> = span
            .links
            .links
            .iter()
            .map(|link| link.span_context.span_id())
            .collect();
        let expected = [span.parent_span_id, whole.span_context.span_id()];
        assert_eq!(linked, expected, "the sender, and the batch");
    }
    assert_eq!(
        handled,
        [first.span_context.span_id(), second.span_context.span_id()]
    );
    assert_eq!(first.status, Status::Unset);
    assert_eq!(second.status, Status::error("out of stock"));
    let cancelled = "error.type=cancelled".to_owned();
    assert!(
        !texts(&whole.attributes).contains(&cancelled),
        "its records were handled"
    );
}

#[tokio::test]
async fn batch_commit_is_a_child_of_the_batch_span() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.send_plain(&[]).await;
    }
    let consumer = bench.consumer(bench.settings());
    let batch = consumer.recv_batch(3, SOON).await.unwrap();
    consumer.settle_batch(&batch, CommitMode::Sync).unwrap();
    drop(batch);
    let committed = consumer.committed(SOON).unwrap();
    assert_eq!(
        committed.elements_for_topic(TOPIC)[0].offset(),
        Offset::Offset(3)
    );
    let (handled, commit) = (bench.span("process orders"), bench.span("commit orders"));
    assert_eq!(
        (commit.span_kind.clone(), commit.parent_span_id),
        (SpanKind::Client, handled.span_context.span_id())
    );
}

#[tokio::test]
async fn error_that_ends_a_batch_is_returned_by_the_next_call() {
    let bench = Bench::new();
    bench.send_plain(&[]).await;
    let mut config = bench.config();
    config.set("enable.partition.eof", "true");
    let inner: StreamConsumer = config.create().unwrap();
    inner.assign(&from_the_start()).unwrap();
    let consumer = Consumer::new(inner, bench.settings());
    assert_eq!(consumer.recv_batch(10, SOON).await.unwrap().len(), 1);
    let next = tokio::time::timeout(SOON, consumer.recv_batch(10, SOON))
        .await
        .unwrap();
    assert_eq!(next.unwrap_err(), KafkaError::PartitionEOF(0));
}

#[tokio::test]
async fn failed_batch_records_its_error() {
    let bench = Bench::new();
    bench.send_plain(&[]).await;
    let consumer = bench.consumer(bench.settings());
    let batch = consumer
        .recv_batch(10, Duration::from_millis(20))
        .await
        .unwrap();
    assert!(batch.run(|| Err::<(), _>(Failed)).is_err());
    assert_eq!(
        bench.span("process orders").status,
        Status::error("out of stock")
    );
}

#[tokio::test]
async fn full_batch_keeps_all_links() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings());
    let sent: Vec<_> = (0..200)
        .map(|_| {
            producer
                .send_result(FutureRecord::<str, str>::to(TOPIC).payload("v"))
                .map_err(|(error, _)| error)
                .unwrap()
        })
        .collect();
    for one in sent {
        one.await.unwrap().unwrap();
    }
    let consumer = bench.consumer(bench.settings());
    let batch = consumer.recv_batch(200, SOON).await.unwrap();
    assert_eq!(batch.len(), 200);
    drop(batch);
    let span = bench.span("process orders");
    assert_eq!((span.links.links.len(), span.links.dropped_count), (200, 0));
    const { assert!(MAX_BATCH_RECORDS <= 1024, "the link limit that init sets") };
}
