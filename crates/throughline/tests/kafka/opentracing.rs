//! The names and tags of opentracing-kafka-client 0.1.15, exactly.

use std::sync::Arc;

use opentelemetry::trace::{
    FutureExt as _, SpanKind, SpanRef, Status, TraceContextExt as _, Tracer as _,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use rdkafka::consumer::CommitMode;
use rdkafka::producer::FutureRecord;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use throughline::kafka::{
    Handling, Naming, OpenTracing, RecordMetadata, SpanDecorator, SpanError, SpanName, StandardTags,
};
use throughline::{Format, Propagation};

use crate::bench::{Bench, Failed, SENDER, SENDER_SPAN, SOON, TOPIC, headers_of, texts};

fn record() -> FutureRecord<'static, str, str> {
    FutureRecord::to(TOPIC).payload("v")
}

#[tokio::test]
async fn names_tags_and_references_equal_the_original() {
    let bench = Bench::new();
    let settings = bench.settings().naming(Naming::opentracing());
    let (producer, consumer) = (bench.producer(settings.clone()), bench.consumer(settings));
    producer.send(record(), SOON).await.unwrap();
    producer.send(record().partition(0), SOON).await.unwrap();
    let delivery = consumer.recv().await.unwrap();
    delivery
        .handle(async { Ok::<_, Failed>(()) })
        .await
        .unwrap();
    consumer.settle(&delivery, CommitMode::Async).unwrap();

    let sent = bench.named("To_orders");
    let tags = [
        "component=java-kafka",
        "message_bus.destination=orders",
        "peer.service=kafka",
    ];
    assert_eq!(
        (sent[0].span_kind.clone(), texts(&sent[0].attributes)),
        (SpanKind::Producer, tags.map(str::to_owned).to_vec())
    );
    assert!(
        texts(&sent[1].attributes).contains(&"partition=0".to_owned()),
        "the partition, if the caller set it"
    );
    let received = bench.span("From_orders");
    let tags = [
        "component=java-kafka",
        "message_bus.destination=orders",
        "offset=0",
        "partition=0",
        "peer.service=kafka",
    ];
    assert_eq!(
        (received.span_kind, texts(&received.attributes)),
        (SpanKind::Consumer, tags.map(str::to_owned).to_vec())
    );
    assert_eq!(received.parent_span_id, sent[0].span_context.span_id());
    assert_eq!(received.links.links.len(), 1);
    assert_eq!(
        received.links.links[0].span_context,
        sent[0].span_context.clone().into_remote()
    );
    assert_eq!(bench.names().len(), 3, "a commit has no span");
}

#[tokio::test]
async fn sender_is_the_only_reference_whatever_span_is_active() {
    let bench = Bench::new();
    bench.send_plain(&[("traceparent", Some(SENDER))]).await;
    let consumer = bench.consumer(bench.settings().naming(Naming::opentracing()));
    let ambient = Context::new().with_span(bench.tracers.tracer("test").start("loop"));
    drop(consumer.recv().with_context(ambient).await.unwrap());
    let links = bench.span("From_orders").links.links;
    assert_eq!(
        links
            .iter()
            .map(|link| link.span_context.span_id().to_string())
            .collect::<Vec<_>>(),
        [SENDER_SPAN]
    );
}

trait IntoRemote {
    fn into_remote(self) -> Self;
}

impl IntoRemote for opentelemetry::trace::SpanContext {
    fn into_remote(self) -> Self {
        Self::new(
            self.trace_id(),
            self.span_id(),
            self.trace_flags(),
            true,
            self.trace_state().clone(),
        )
    }
}

#[tokio::test]
async fn error_is_a_tag_and_a_log_with_the_original_fields() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings().naming(Naming::opentracing()));
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    bench
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &[refusal]);
    producer.send(record(), SOON).await.unwrap_err();
    let span = bench.span("To_orders");
    assert!(matches!(span.status, Status::Error { .. }));
    assert!(texts(&span.attributes).contains(&"error=true".to_owned()));
    let log = &span.events.events[0];
    let fields: Vec<_> = log
        .attributes
        .iter()
        .map(|field| field.key.to_string())
        .collect();
    assert_eq!(
        (log.name.as_ref(), fields),
        (
            "error",
            ["event", "error.kind", "error.object", "message", "stack"]
                .map(str::to_owned)
                .to_vec()
        )
    );
    assert_eq!(
        log.attributes[1].value.as_str(),
        "TOPIC_AUTHORIZATION_FAILED"
    );
}

#[tokio::test]
async fn listener_span_follows_from_the_arrival_and_fails_with_the_listener() {
    let bench = Bench::new();
    bench.send_plain(&[("traceparent", Some(SENDER))]).await;
    let settings = bench
        .settings()
        .naming(Naming::opentracing())
        .handling(Handling::Listener);
    let consumer = bench.consumer(settings);
    let delivery = consumer.recv().await.unwrap();
    delivery
        .handle(async { Err::<(), _>(Failed) })
        .await
        .unwrap_err();
    let (arrival, listener) = (
        bench.span("From_orders"),
        bench.span("KafkaListener_orders"),
    );
    assert_eq!(arrival.parent_span_id.to_string(), SENDER_SPAN);
    assert_eq!(
        (listener.span_kind.clone(), listener.parent_span_id),
        (SpanKind::Consumer, arrival.span_context.span_id())
    );
    assert_eq!(
        texts(&listener.links.links[0].attributes),
        ["opentracing.ref_type=follows_from"]
    );
    assert_eq!(texts(&listener.attributes), ["error=true"]);
}

#[tokio::test]
async fn second_span_of_old_releases_is_read_but_not_written() {
    let bench = Bench::new();
    let second = format!("{}:{SENDER_SPAN}:0:1", "0af7651916cd43dd8448eb211c80319c");
    bench
        .send_plain(&[("second_span_uber-trace-id", Some(&second))])
        .await;
    let jaeger = || bench.settings_with(Propagation::new(&[Format::Jaeger]));
    drop(bench.consumer(jaeger()).recv().await.unwrap());
    assert_eq!(
        bench.span("process orders").parent_span_id.to_string(),
        "0000000000000000",
        "only in the old naming"
    );
    let settings = jaeger().naming(Naming::opentracing());
    let consumer = bench.consumer(settings.clone());
    drop(consumer.recv().await.unwrap());
    assert_eq!(
        bench.span("From_orders").parent_span_id.to_string(),
        SENDER_SPAN
    );
    bench.producer(settings).send(record(), SOON).await.unwrap();
    let keys: Vec<_> = headers_of(&consumer.recv().await.unwrap())
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["uber-trace-id"]);
}

/// Tags with the record's key only.
struct KeyTag;

impl SpanDecorator for KeyTag {
    fn on_send(&self, record: &RecordMetadata<'_>, tags: &mut Vec<KeyValue>) {
        let key = record
            .key
            .map(|key| String::from_utf8_lossy(key).into_owned());
        tags.extend(key.map(|key| KeyValue::new("key", key)));
    }

    fn on_response(&self, _record: &RecordMetadata<'_>, _tags: &mut Vec<KeyValue>) {}

    fn on_error(&self, _failure: &SpanError<'_>, _span: &SpanRef<'_>) {}
}

#[tokio::test]
async fn configured_decorators_and_names_replace_the_standard_ones() {
    let bench = Bench::new();
    let names = OpenTracing::default().producer_name(SpanName::OperationNameTopic);
    let alone = names.clone().decorators(vec![Arc::new(KeyTag)]);
    let both = names.decorators(vec![Arc::new(StandardTags), Arc::new(KeyTag)]);
    for names in [alone, both] {
        let producer = bench.producer(bench.settings().naming(Naming::OpenTracing(names)));
        producer.send(record().key("k"), SOON).await.unwrap();
    }
    let spans = bench.named("send - orders");
    assert_eq!(texts(&spans[0].attributes), ["key=k"]);
    assert_eq!(spans[1].attributes.len(), 4);
}
