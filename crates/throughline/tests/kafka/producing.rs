//! Producers: parents, headers, results.

use std::sync::Mutex;

use opentelemetry::Context;
use opentelemetry::trace::{
    SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, FutureRecord, Producer as _, ProducerContext,
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use throughline::kafka::{AckContext, Producer, Settings};
use throughline::{Format, Propagation};

use crate::bench::{
    Bench, Failed, SENDER, SENDER_SPAN, SENDER_TRACE, SOON, TOPIC, headers_of, owned, texts,
};

fn record() -> FutureRecord<'static, str, str> {
    FutureRecord::to(TOPIC).payload("v")
}

#[tokio::test]
async fn sent_record_has_conventional_attributes_and_its_offset_once_acknowledged() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings().cluster_id("c-1").message_keys());
    producer
        .send(record().key("k").partition(0), SOON)
        .await
        .unwrap();
    let span = bench.span("send orders");
    assert_eq!(span.span_kind, SpanKind::Producer);
    assert_eq!(span.status, Status::Unset);
    let servers = bench.cluster.bootstrap_servers();
    let port = servers.rsplit_once(':').unwrap().1;
    let expected = [
        "messaging.client.id=tester",
        "messaging.destination.name=orders",
        "messaging.destination.partition.id=0",
        "messaging.kafka.cluster.id=c-1",
        "messaging.kafka.message.key=k",
        "messaging.kafka.offset=0",
        "messaging.operation.name=send",
        "messaging.operation.type=send",
        "messaging.system=kafka",
        "server.address=127.0.0.1",
    ];
    let mut expected: Vec<String> = expected.map(str::to_owned).to_vec();
    expected.push(format!("server.port={port}"));
    assert_eq!(texts(&span.attributes), expected);
}

#[tokio::test]
async fn record_without_a_value_is_a_tombstone_and_keys_stay_private() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings());
    producer
        .send(FutureRecord::<str, str>::to(TOPIC).key("k"), SOON)
        .await
        .unwrap();
    let attributes = texts(&bench.span("send orders").attributes);
    assert!(attributes.contains(&"messaging.kafka.message.tombstone=true".to_owned()));
    assert!(
        !attributes
            .iter()
            .any(|one| one.starts_with("messaging.kafka.message.key"))
    );
}

#[tokio::test]
async fn parent_is_the_header_context_else_the_given_one_else_the_active_span() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings());
    let tracer = bench.tracers.tracer("test");
    let given = Context::new().with_span(tracer.start("given"));
    let active = Context::new().with_span(tracer.start("active"));
    let carried = || record().headers(owned(&[("traceparent", Some(SENDER))]));
    {
        use opentelemetry::trace::FutureExt as _;
        producer
            .send(record(), SOON)
            .with_context(active.clone())
            .await
            .unwrap();
        producer
            .send_with_parent(record(), SOON, &given)
            .with_context(active.clone())
            .await
            .unwrap();
        producer
            .send_with_parent(carried(), SOON, &given)
            .with_context(active.clone())
            .await
            .unwrap();
    }
    let parents: Vec<_> = bench
        .named("send orders")
        .iter()
        .map(|span| span.parent_span_id.to_string())
        .collect();
    let id = |cx: &Context| cx.span().span_context().span_id().to_string();
    assert_eq!(parents, [id(&active), id(&given), SENDER_SPAN.to_owned()]);
    assert_eq!(
        bench.named("send orders")[2]
            .span_context
            .trace_id()
            .to_string(),
        SENDER_TRACE
    );
}

#[tokio::test]
async fn application_headers_are_kept_and_an_old_context_is_replaced() {
    let bench = Bench::new();
    let (producer, consumer) = (
        bench.producer(bench.settings()),
        bench.consumer(bench.settings()),
    );
    let given = [
        ("a", Some("1")),
        (
            "Traceparent",
            Some("00-11111111111111111111111111111111-2222222222222222-01"),
        ),
        ("null", None),
        ("traceparent", Some(SENDER)),
        ("a", Some("2")),
        ("empty", Some("")),
    ];
    producer
        .send(record().headers(owned(&given)), SOON)
        .await
        .unwrap();
    let delivery = consumer.recv().await.unwrap();
    let span = bench.span("send orders").span_context;
    let injected = format!("00-{SENDER_TRACE}-{}-01", span.span_id());
    let own = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    let expected = [
        own("a", Some("1")),
        own("null", None),
        own("a", Some("2")),
        own("empty", Some("")),
        own("traceparent", Some(&injected)),
    ];
    assert_eq!(headers_of(&delivery), expected);
}

#[tokio::test]
async fn record_forwarded_by_its_handler_is_a_child_of_the_handling() {
    let bench = Bench::new();
    let (producer, consumer) = (
        bench.producer(bench.settings()),
        bench.consumer(bench.settings()),
    );
    bench.send_plain(&[("traceparent", Some(SENDER))]).await;
    let delivery = consumer.recv().await.unwrap();
    let forwarded = async {
        use rdkafka::message::Message as _;
        let headers = delivery.headers().unwrap().detach();
        producer
            .send(record().headers(headers), SOON)
            .await
            .map_err(|_| Failed)
    };
    delivery.handle(forwarded).await.unwrap();
    let (handled, sent) = (bench.span("process orders"), bench.span("send orders"));
    assert_eq!(sent.parent_span_id, handled.span_context.span_id());
    assert_eq!(sent.span_context.trace_id().to_string(), SENDER_TRACE);
    let again = consumer.recv().await.unwrap();
    assert_eq!(
        headers_of(&again)
            .iter()
            .filter(|(key, _)| key == "traceparent")
            .count(),
        1,
        "replaced, not appended"
    );
}

#[tokio::test]
async fn rejection_by_the_broker_is_an_error_on_the_span() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings());
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    bench
        .cluster
        .request_errors(RDKafkaApiKey::Produce, &[refusal]);
    let (error, _) = producer.send(record(), SOON).await.unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    );
    let span = bench.span("send orders");
    assert!(matches!(span.status, Status::Error { .. }));
    assert!(texts(&span.attributes).contains(&"error.type=TOPIC_AUTHORIZATION_FAILED".to_owned()));
}

#[tokio::test]
async fn cancelled_send_ends_its_span() {
    let bench = Bench::new();
    let producer = bench.producer(bench.settings());
    bench.cluster.broker_down(-1).unwrap();
    let sending = producer.send(record(), SOON);
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(50), sending)
            .await
            .is_err()
    );
    let cancelled = "error.type=cancelled".to_owned();
    let span = bench.span("send orders");
    assert_eq!(span.status, Status::Unset);
    assert!(texts(&span.attributes).contains(&cancelled));
    // A record that is sent and forgotten was not given up.
    drop(producer.send_result(record()).unwrap());
    let spans = bench.named("send orders");
    let outcomes = spans
        .iter()
        .map(|span| texts(&span.attributes).contains(&cancelled));
    assert_eq!(outcomes.collect::<Vec<_>>(), [true, false]);
}

#[tokio::test]
async fn record_rejected_by_a_full_queue_returns_in_its_original_form() {
    let bench = Bench::new();
    bench.cluster.broker_down(-1).unwrap();
    let mut config = bench.config();
    config.set("queue.buffering.max.messages", "1");
    let producer = Producer::new(config.create().unwrap(), bench.settings());
    let producer: Producer<rdkafka::producer::FutureProducer> = producer;
    let first = producer.send_result(record()).unwrap();
    let (error, unsent) = producer.send_result(record()).err().unwrap();
    assert_eq!(
        error,
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)
    );
    assert!(unsent.headers.is_none());
    let (_, unsent) = producer
        .send_result(record().headers(owned(&[("a", Some("1"))])))
        .err()
        .unwrap();
    assert_eq!(
        texts(&bench.named("send orders")[0].attributes)[0],
        "error.type=QUEUE_FULL"
    );
    let left: Vec<_> = {
        use rdkafka::message::Headers as _;
        unsent
            .headers
            .as_ref()
            .unwrap()
            .iter()
            .map(|header| header.key.to_owned())
            .collect()
    };
    assert_eq!(left, ["a"]);
    let carried = [
        ("TraceParent", Some("old")),
        ("a", Some("1")),
        ("traceparent", Some(SENDER)),
    ];
    let (_, unsent) = producer
        .send_result(record().headers(owned(&carried)))
        .err()
        .unwrap();
    let left: Vec<_> = {
        use rdkafka::message::Headers as _;
        unsent
            .headers
            .as_ref()
            .unwrap()
            .iter()
            .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
            .collect()
    };
    let carried =
        carried.map(|(key, value)| (key.to_owned(), value.map(|value| value.as_bytes().to_vec())));
    assert_eq!(left, carried, "with the context that it had");
    drop(first);
}

#[tokio::test]
async fn record_too_large_only_with_its_context_is_sent_without_it() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.set("message.max.bytes", "1100");
    let consumer = bench.consumer(bench.settings());
    let value = "v".repeat(1000);
    let full = || {
        FutureRecord::<str, str>::to(TOPIC)
            .payload(&value)
            .headers(owned(&[("a", Some("1"))]))
    };
    let producer = Producer::<rdkafka::producer::FutureProducer>::new(
        config.create().unwrap(),
        bench.settings(),
    );
    producer.send(full(), SOON).await.unwrap();
    producer
        .send_result(full())
        .map_err(|(error, _)| error)
        .unwrap()
        .await
        .unwrap()
        .unwrap();
    let inner: BaseProducer<_> =
        BaseProducer::from_config_and_context(&config, AckContext::new(Remembered::default()))
            .unwrap();
    let polled = Producer::new(inner, bench.settings());
    let record = BaseRecord::<str, str, _>::with_opaque_to(TOPIC, Box::new(7)).payload(&value);
    polled
        .send(record.headers(owned(&[("a", Some("1"))])), None)
        .map_err(|(error, _)| error)
        .unwrap();
    polled.flush(SOON).unwrap();
    for _ in 0..3 {
        assert_eq!(
            headers_of(&consumer.recv().await.unwrap()),
            [("a".to_owned(), Some("1".to_owned()))]
        );
    }
    let spans = bench.named("send orders");
    assert!(spans.len() == 3 && spans.iter().all(|span| span.status == Status::Unset));
    let larger = "v".repeat(2000);
    let (error, _) = producer
        .send(FutureRecord::<str, str>::to(TOPIC).payload(&larger), SOON)
        .await
        .unwrap_err();
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::MessageSizeTooLarge)
    );
}

#[tokio::test]
async fn without_a_pipeline_contexts_and_records_pass_unmodified() {
    let bench = Bench::new();
    let idle = throughline::builder().environment(|_| None).build();
    let settings = Settings::default().telemetry(idle.telemetry().clone());
    let (producer, consumer) = (bench.producer(settings.clone()), bench.consumer(settings));
    producer.send(record(), SOON).await.unwrap();
    assert_eq!(headers_of(&consumer.recv().await.unwrap()), []);
    producer
        .send(
            record().headers(owned(&[("traceparent", Some(SENDER))])),
            SOON,
        )
        .await
        .unwrap();
    let delivery = consumer.recv().await.unwrap();
    assert_eq!(
        headers_of(&delivery),
        [("traceparent".to_owned(), Some(SENDER.to_owned()))]
    );
    assert_eq!(
        delivery
            .context()
            .span()
            .span_context()
            .trace_id()
            .to_string(),
        SENDER_TRACE
    );
}

#[tokio::test]
async fn all_configured_formats_are_written() {
    let bench = Bench::new();
    let formats = Propagation::new(&[
        Format::W3c,
        Format::B3Multi,
        Format::B3Single,
        Format::Jaeger,
    ]);
    let (producer, consumer) = (
        bench.producer(bench.settings_with(formats)),
        bench.consumer(bench.settings()),
    );
    producer.send(record(), SOON).await.unwrap();
    let keys: Vec<_> = headers_of(&consumer.recv().await.unwrap())
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(
        keys,
        [
            "traceparent",
            "x-b3-traceid",
            "x-b3-spanid",
            "x-b3-sampled",
            "b3",
            "uber-trace-id"
        ]
    );
}

/// Records deliveries and the span that was active.
#[derive(Default)]
struct Remembered(Mutex<Vec<(usize, String)>>);

impl ClientContext for Remembered {}

impl ProducerContext for Remembered {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: Box<usize>) {
        assert!(result.is_ok());
        let span = Context::current()
            .span()
            .span_context()
            .span_id()
            .to_string();
        self.0.lock().unwrap().push((*opaque, span));
    }
}

#[test]
fn polled_producer_span_ends_at_the_acknowledgement_and_is_active_in_the_callback() {
    let bench = Bench::new();
    let context = AckContext::new(Remembered::default());
    let inner: BaseProducer<_> =
        BaseProducer::from_config_and_context(&bench.config(), context).unwrap();
    let producer = Producer::new(inner, bench.settings());
    let record = BaseRecord::<str, str, _>::with_opaque_to(TOPIC, Box::new(7)).payload("v");
    producer
        .send(record, None)
        .map_err(|(error, _)| error)
        .unwrap();
    assert_eq!(bench.names().len(), 0, "not acknowledged yet");
    producer.flush(SOON).unwrap();
    let span = bench.span("send orders");
    let seen = producer
        .client()
        .context()
        .inner()
        .0
        .lock()
        .unwrap()
        .clone();
    assert_eq!(seen, [(7, span.span_context.span_id().to_string())]);
    assert!(texts(&span.attributes).contains(&"messaging.kafka.offset=0".to_owned()));
}
