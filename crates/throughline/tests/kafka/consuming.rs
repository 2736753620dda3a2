//! Consumers: relations, the active span of a handler, and every return path of a handler.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    FutureExt as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SpanData;
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message as _;
use rdkafka::producer::FutureRecord;
use throughline::kafka::{Consumer, Handling, KafkaOperation, Naming, SenderRelation};
use throughline::{Format, Propagation};

use crate::bench::{
    Bench, Failed, SENDER, SENDER_SPAN, SENDER_TRACE, SOON, TOPIC, from_the_start, headers_of,
    owned, texts,
};

const CARRIED: &[(&str, Option<&str>)] = &[("traceparent", Some(SENDER))];

fn parent(span: &SpanData) -> String {
    span.parent_span_id.to_string()
}

fn links(span: &SpanData) -> Vec<(String, Vec<String>)> {
    let links = span.links.links.iter();
    links
        .map(|link| {
            (
                link.span_context.span_id().to_string(),
                texts(&link.attributes),
            )
        })
        .collect()
}

fn follows_from(span: &str) -> (String, Vec<String>) {
    (
        span.to_owned(),
        vec!["opentracing.ref_type=follows_from".to_owned()],
    )
}

#[tokio::test]
async fn received_record_is_a_child_of_its_sender_and_follows_from_it() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    assert_eq!(
        bench.names().len(),
        0,
        "the span is open until the record is handled"
    );
    delivery
        .handle(async { Ok::<_, Failed>(()) })
        .await
        .unwrap();
    let span = bench.span("process orders");
    assert_eq!(
        (span.span_kind.clone(), parent(&span)),
        (SpanKind::Consumer, SENDER_SPAN.to_owned())
    );
    assert_eq!(span.span_context.trace_id().to_string(), SENDER_TRACE);
    assert_eq!(links(&span), [follows_from(SENDER_SPAN)]);
    let attributes = texts(&span.attributes);
    let expected = [
        "messaging.client.id=tester",
        "messaging.consumer.group.name=testers",
        "messaging.destination.name=orders",
        "messaging.destination.partition.id=0",
        "messaging.kafka.offset=0",
        "messaging.operation.name=process",
        "messaging.operation.type=process",
        "messaging.system=kafka",
    ];
    assert_eq!(attributes[..8], expected);
}

#[tokio::test]
async fn topic_can_be_linked_only_or_child_only() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.send_plain(CARRIED).await;
    }
    let linked = bench.consumer(
        bench
            .settings()
            .topic_relation(TOPIC, SenderRelation::LinksOnly),
    );
    drop(linked.recv().await.unwrap());
    let child = bench.consumer(bench.settings().relation(SenderRelation::ChildOnly));
    drop(child.recv().await.unwrap());
    let spans = bench.named("process orders");
    assert_eq!(
        (parent(&spans[0]).as_str(), links(&spans[0])),
        ("0000000000000000", vec![follows_from(SENDER_SPAN)])
    );
    assert_ne!(spans[0].span_context.trace_id().to_string(), SENDER_TRACE);
    assert_eq!(
        (parent(&spans[1]).as_str(), links(&spans[1])),
        (SENDER_SPAN, vec![])
    );
}

#[tokio::test]
async fn active_span_is_linked_when_the_sender_is_the_parent() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.send_plain(CARRIED).await;
    }
    let consumer = bench.consumer(bench.settings());
    let ambient = Context::new().with_span(bench.tracers.tracer("test").start("loop"));
    let id = ambient.span().span_context().span_id().to_string();
    drop(consumer.recv().with_context(ambient.clone()).await.unwrap());
    assert_eq!(
        links(&bench.span("process orders")),
        [follows_from(SENDER_SPAN), (id.clone(), vec![])]
    );

    let linked = bench.consumer(bench.settings().relation(SenderRelation::LinksOnly));
    drop(linked.recv().with_context(ambient).await.unwrap());
    assert_eq!(
        parent(&bench.named("process orders")[1]),
        id,
        "with links only the active span is the parent"
    );
}

#[tokio::test]
async fn record_without_a_context_begins_a_trace() {
    let bench = Bench::new();
    bench.send_plain(&[("traceparent", Some("garbage"))]).await;
    let consumer = bench.consumer(bench.settings());
    drop(consumer.recv().await.unwrap());
    let span = bench.span("process orders");
    assert_eq!(
        (parent(&span).as_str(), links(&span)),
        ("0000000000000000", vec![])
    );
}

#[tokio::test]
async fn last_of_several_contexts_wins() {
    let bench = Bench::new();
    let other = "00-11111111111111111111111111111111-2222222222222222-01";
    bench
        .send_plain(&[("traceparent", Some(other)), ("traceparent", Some(SENDER))])
        .await;
    let consumer = bench.consumer(bench.settings());
    drop(consumer.recv().await.unwrap());
    assert_eq!(parent(&bench.span("process orders")), SENDER_SPAN);
}

#[tokio::test]
async fn records_of_a_handler_are_children_of_the_record_also_from_spawned_work() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let (producer, consumer) = (
        bench.producer(bench.settings()),
        bench.consumer(bench.settings()),
    );
    let delivery = consumer.recv().await.unwrap();
    let work = async {
        tokio::task::yield_now().await;
        producer
            .send(FutureRecord::<str, str>::to(TOPIC).payload("1"), SOON)
            .await
            .unwrap();
        let producer = producer.clone();
        let spawned = async move {
            producer
                .send(FutureRecord::<str, str>::to(TOPIC).payload("2"), SOON)
                .await
        };
        tokio::task::spawn(throughline::with_current_context(spawned))
            .await
            .unwrap()
            .unwrap();
        Ok::<_, Failed>(())
    };
    delivery.handle(work).await.unwrap();
    let handled = bench.span("process orders");
    let sent = bench.named("send orders");
    assert_eq!(sent.len(), 2);
    assert!(
        sent.iter()
            .all(|span| span.parent_span_id == handled.span_context.span_id())
    );
    assert!(
        !Context::current().has_active_span(),
        "nothing stays active behind"
    );
}

#[tokio::test]
async fn detached_record_keeps_its_span_open_in_another_task() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap().detach();
    let task = tokio::task::spawn(async move {
        let work = async {
            Ok::<_, Failed>((
                delivery.offset(),
                Context::current().span().span_context().span_id(),
            ))
        };
        (delivery.handle(work).await.unwrap(), delivery)
    });
    let ((offset, inside), delivery) = task.await.unwrap();
    let span = bench.span("process orders");
    assert_eq!(
        (offset, inside, parent(&span).as_str()),
        (0, span.span_context.span_id(), SENDER_SPAN)
    );
    consumer.settle(&delivery, CommitMode::Sync).unwrap();
    let committed = consumer.committed(SOON).unwrap();
    assert_eq!(
        committed.elements_for_topic(TOPIC)[0].offset(),
        Offset::Offset(1)
    );
}

#[tokio::test]
async fn handler_error_is_recorded_and_returned() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    assert!(
        delivery
            .handle(async { Err::<(), _>(Failed) })
            .await
            .is_err()
    );
    let span = bench.span("process orders");
    assert_eq!(span.status, Status::error("out of stock"));
    assert!(
        texts(&span.attributes)[0].starts_with("error.type=")
            && texts(&span.attributes)[0].ends_with("Failed")
    );
}

#[tokio::test]
async fn panic_in_the_handler_ends_the_span_as_failed() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    let handled = delivery.handle::<(), Failed>(async { panic!("on purpose") });
    let caught = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(handled)).await;
    assert!(caught.is_err());
    let span = bench.span("process orders");
    assert!(matches!(span.status, Status::Error { .. }));
    assert_eq!(texts(&span.attributes)[0], "error.type=panic");
    assert!(!Context::current().has_active_span());
}

#[tokio::test]
async fn cancelled_handler_ends_its_span_with_the_delivery() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    let endless = delivery.handle::<(), Failed>(std::future::pending());
    assert!(
        tokio::time::timeout(Duration::from_millis(10), endless)
            .await
            .is_err()
    );
    drop(delivery);
    let span = bench.span("process orders");
    assert_eq!(span.status, Status::Unset);
    assert!(texts(&span.attributes).contains(&"error.type=cancelled".to_owned()));
}

#[tokio::test]
async fn interceptor_span_has_zero_length_and_is_not_active() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings().handling(Handling::Interceptor));
    let delivery = consumer.recv().await.unwrap();
    assert_eq!(
        parent(&bench.span("process orders")),
        SENDER_SPAN,
        "ended before the handler"
    );
    let active = delivery
        .handle(async { Ok::<_, Failed>(Context::current().has_active_span()) })
        .await;
    assert!(!active.unwrap());
    drop(delivery);
    assert_eq!(bench.names(), ["process orders"]);
}

#[tokio::test]
async fn listener_has_spans_for_arrival_and_handling() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings().handling(Handling::Listener));
    let delivery = consumer.recv().await.unwrap();
    delivery
        .handle(async { Ok::<_, Failed>(()) })
        .await
        .unwrap();
    let (poll, process) = (bench.span("poll orders"), bench.span("process orders"));
    assert_eq!(
        (poll.span_kind.clone(), links(&poll)),
        (SpanKind::Client, vec![follows_from(SENDER_SPAN)])
    );
    assert_eq!(parent(&process), SENDER_SPAN);
}

#[tokio::test]
async fn commit_is_a_settle_span_below_the_record() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    delivery
        .handle(async { Ok::<_, Failed>(()) })
        .await
        .unwrap();
    consumer.settle(&delivery, CommitMode::Async).unwrap();
    let (handled, commit) = (bench.span("process orders"), bench.span("commit orders"));
    assert_eq!(
        (commit.span_kind.clone(), commit.parent_span_id),
        (SpanKind::Client, handled.span_context.span_id())
    );
    assert!(texts(&commit.attributes).contains(&"messaging.operation.type=settle".to_owned()));
}

#[tokio::test]
async fn record_of_the_inner_stream_can_be_traced() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let message = futures_util::StreamExt::next(&mut consumer.stream())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bench.names().len(), 0);
    drop(consumer.deliver(message));
    assert_eq!(parent(&bench.span("process orders")), SENDER_SPAN);
}

#[test]
fn polled_consumer_traces_like_an_awaited_one() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(bench.send_plain(CARRIED));
    let inner: BaseConsumer = bench.config().create().unwrap();
    inner.assign(&from_the_start()).unwrap();
    let consumer = Consumer::new(inner, bench.settings());
    let delivery = consumer.poll(SOON).unwrap().unwrap();
    let inside = delivery
        .run(|| Ok::<_, Failed>(Context::current().span().span_context().span_id()))
        .unwrap();
    drop(delivery);
    let span = bench.span("process orders");
    assert_eq!(
        (inside, parent(&span).as_str()),
        (span.span_context.span_id(), SENDER_SPAN)
    );
    assert!(consumer.poll(Duration::from_millis(20)).is_none());
    assert_eq!(bench.names().len(), 1, "an empty poll leaves no span");
}

#[tokio::test]
async fn refused_recording_is_respected() {
    let bench = Bench::new();
    bench
        .send_plain(&[(
            "b3",
            Some("0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"),
        )])
        .await;
    let consumer = bench.consumer(bench.settings_with(Propagation::new(&[Format::B3Multi])));
    drop(consumer.recv().await.unwrap());
    assert_eq!(bench.names().len(), 0);
}

/// An error as `anyhow` has it with backtraces: its debug output takes milliseconds.
struct CostlyError;

impl std::fmt::Display for CostlyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("costly")
    }
}

impl std::fmt::Debug for CostlyError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unreachable!("formatted, although nobody reads it")
    }
}

#[tokio::test]
async fn failed_handler_is_an_exception_and_pays_for_no_debug_output() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    let failed = delivery.run(|| Err::<(), _>(CostlyError));
    assert!(failed.is_err());
    let span = bench.span("process orders");
    assert_eq!(span.status, Status::error("costly"));
    let event = &span.events.events[0];
    let kind = std::any::type_name::<CostlyError>();
    assert_eq!(event.name, "exception");
    assert_eq!(
        texts(&event.attributes),
        [
            "exception.message=costly".to_owned(),
            format!("exception.type={kind}")
        ]
    );
    let waited = span
        .attributes
        .iter()
        .find(|one| one.key.as_str() == "throughline.kafka.queue_time");
    let waited = waited.map(|one| one.value.as_str().parse::<f64>().unwrap());
    assert!(waited.is_some_and(|seconds| (0.0..20.0).contains(&seconds)));
}

#[tokio::test]
async fn records_of_a_partition_queue_can_be_traced() {
    let bench = Bench::new();
    bench.send_plain(CARRIED).await;
    let inner: StreamConsumer = bench.config().create().unwrap();
    let consumer = Consumer::new(Arc::new(inner), bench.settings());
    let queue = consumer.split_partition_queue(TOPIC, 0).unwrap();
    consumer.assign(&from_the_start()).unwrap();
    let received = tokio::select! {
        // The queues of other partitions are served by the consumer itself.
        other = consumer.recv() => panic!("{other:?}"),
        received = queue.recv() => received.unwrap(),
    };
    let delivery = consumer.deliver(received);
    delivery.run(|| Ok::<_, Failed>(())).unwrap();
    consumer.settle(&delivery, CommitMode::Sync).unwrap();
    assert_eq!(parent(&bench.span("process orders")), SENDER_SPAN);
    assert_eq!(bench.named("commit orders").len(), 1);
}

#[tokio::test]
async fn functions_of_the_application_name_spans_and_add_attributes() {
    let bench = Bench::new();
    let settings = bench
        .settings()
        .naming(Naming::opentracing())
        .span_name(|operation, record| {
            let chosen = operation == KafkaOperation::Process;
            chosen.then(|| format!("handle {}", record.topic))
        })
        .attributes(|_, record, attributes| {
            let size = record.payload.map_or(0, <[u8]>::len).to_string();
            let tenant = record.header("Tenant").map(String::from_utf8_lossy);
            attributes.push(KeyValue::new("size", size));
            attributes.push(KeyValue::new(
                "tenant",
                tenant.unwrap_or_default().into_owned(),
            ));
            attributes.push(KeyValue::new("timed", record.timestamp_ms.is_some()));
        });
    let producer = bench.producer(settings.clone());
    let record = FutureRecord::<str, str>::to(TOPIC)
        .payload("four")
        .headers(owned(&[("tenant", Some("north"))]));
    producer.send(record, SOON).await.unwrap();
    let delivery = bench.consumer(settings).recv().await.map(drop);
    delivery.unwrap();
    for (name, timed) in [("To_orders", false), ("handle orders", true)] {
        let span = bench.span(name);
        for expected in [
            "size=4".to_owned(),
            "tenant=north".to_owned(),
            format!("timed={timed}"),
        ] {
            assert!(
                texts(&span.attributes).contains(&expected),
                "{name}: {expected}"
            );
        }
        assert!(texts(&span.attributes).contains(&"component=java-kafka".to_owned()));
    }
}

#[tokio::test]
async fn producer_without_injection_leaves_records_as_they_are() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings().without_injection());
    let record = FutureRecord::<str, str>::to(TOPIC).payload("v");
    producer.send(record, SOON).await.unwrap();
    let consumer = bench.consumer(bench.settings());
    let delivery = consumer.recv().await.unwrap();
    assert_eq!(headers_of(&delivery), []);
    assert_eq!(bench.named("send orders").len(), 1, "its span is made");
}
