//! The SDK in this process against Apache Kafka: its spans, and the bytes in the topic.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use opentelemetry::metrics::noop::NoopMeterProvider;
use opentelemetry::trace::{SpanId, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use rdkafka::config::{ClientConfig, FromClientConfig, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DefaultProducerContext, FutureProducer, FutureRecord, Producer as _,
};
use rdkafka::{Offset, TopicPartitionList};
use throughline::Telemetry;
use throughline::kafka::{AckContext, Consumer, Naming, Producer, SenderRelation, Settings};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};

/// A topic of the broker, and the spans of its clients.
struct TopicCase {
    topic: &'static str,
    bootstrap: String,
    tracers: SdkTracerProvider,
    spans: InMemorySpanExporter,
}

const SOON: Duration = Duration::from_secs(30);
const SENDER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SENDER_SPAN: &str = "b7ad6b7169203331";

/// All cases share one broker: its start takes longer than all of them.
#[test]
fn records_are_traced_and_reach_the_broker_unchanged() {
    let topics = [
        "awaited", "polled", "related", "batched", "wild", "orders", "receipts", "narrow",
    ];
    let broker = topics.iter().fold(ApacheBroker::builder(), |broker, name| {
        let topic = TopicSpec::new(*name, 1);
        broker.topic(if *name == "narrow" {
            topic.config("max.message.bytes", "1100")
        } else {
            topic
        })
    });
    let broker = broker.start(&mut |step| eprintln!("{step}")).unwrap();
    let case = |topic| TopicCase::new(&broker, topic);
    polled_clients_use_opentracing_names(&case("polled"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        awaited_record_carries_its_context_and_is_committed(&case("awaited")).await;
        each_relation_references_the_producer_span(&case("related")).await;
        batch_links_to_each_producer_and_is_committed(&case("batched")).await;
        binary_headers_pass_and_the_old_context_is_replaced(&case("wild")).await;
        transaction_spans_cover_consume_and_produce(&case("orders"), &case("receipts")).await;
        record_too_large_for_a_context_is_sent_without(&case("narrow")).await;
    });
}

async fn awaited_record_carries_its_context_and_is_committed(case: &TopicCase) {
    case.producer()
        .send(case.record().key("k"), SOON)
        .await
        .unwrap();
    let sent = case.span("send awaited");
    assert_eq!(
        (sent.span_kind.clone(), sent.status.clone()),
        (SpanKind::Producer, Status::Unset)
    );
    assert!(
        has(&sent, "messaging.kafka.offset=0")
            && has(&sent, "messaging.destination.partition.id=0")
    );

    let inner: StreamConsumer = case.config().create().unwrap();
    inner.subscribe(&[case.topic]).unwrap();
    let consumer = Consumer::new(inner, case.settings());
    let delivery = consumer.recv().await.unwrap();
    let carried = format!("00-{}-{}-01", sent.span_context.trace_id(), id(&sent));
    assert_eq!(
        raw::headers(&delivery),
        [(b"traceparent".to_vec(), Some(carried.into_bytes()))]
    );
    let active = delivery
        .handle(async { Ok::<_, KafkaError>(Context::current().span().span_context().span_id()) });
    let active = active.await.unwrap();
    consumer.settle(&delivery, CommitMode::Sync).unwrap();

    let (handled, commit) = (case.span("process awaited"), case.span("commit awaited"));
    assert_eq!(
        (handled.span_kind.clone(), active),
        (SpanKind::Consumer, id(&handled))
    );
    assert_eq!(
        (handled.parent_span_id, links(&handled)),
        (id(&sent), vec![id(&sent).to_string()])
    );
    assert_eq!(
        handled.span_context.trace_id(),
        sent.span_context.trace_id()
    );
    assert_eq!(
        (commit.parent_span_id, case.committed(&consumer)),
        (id(&handled), Offset::Offset(1))
    );
}

fn polled_clients_use_opentracing_names(case: &TopicCase) {
    let settings = || case.settings().naming(Naming::opentracing());
    let mut config = case.config();
    config.set("enable.idempotence", "true");
    let inner: BaseProducer<_> =
        BaseProducer::from_config_and_context(&config, AckContext::new(DefaultProducerContext))
            .unwrap();
    let producer = Producer::new(inner, settings());
    for _ in 0..3 {
        producer
            .send(BaseRecord::<str, str>::to(case.topic).payload("v"), None)
            .map_err(|(error, _)| error)
            .unwrap();
    }
    producer.flush(SOON).unwrap();
    let consumer = Consumer::new(case.reader::<BaseConsumer>(), settings());
    for _ in 0..3 {
        consumer
            .poll(SOON)
            .unwrap()
            .unwrap()
            .run(|| Ok::<_, KafkaError>(()))
            .unwrap();
    }
    let (sent, received) = (case.named("To_polled"), case.named("From_polled"));
    let ids = |spans: &[SpanData]| spans.iter().map(id).collect::<Vec<_>>();
    assert_eq!(
        received
            .iter()
            .map(|span| span.parent_span_id)
            .collect::<Vec<_>>(),
        ids(&sent)
    );
    assert!(
        sent.iter()
            .chain(&received)
            .all(|span| has(span, "message_bus.destination=polled"))
    );
    assert!(
        received
            .iter()
            .zip(0..)
            .all(|(span, offset)| has(span, &format!("offset={offset}")))
    );
}

async fn each_relation_references_the_producer_span(case: &TopicCase) {
    case.producer().send(case.record(), SOON).await.unwrap();
    let sender = id(&case.span("send related"));
    for relation in [
        SenderRelation::ParentAndLink,
        SenderRelation::LinksOnly,
        SenderRelation::ChildOnly,
    ] {
        let settings = case
            .settings()
            .relation(SenderRelation::ChildOnly)
            .topic_relation(case.topic, relation);
        drop(
            Consumer::new(case.reader::<StreamConsumer>(), settings)
                .recv()
                .await
                .unwrap(),
        );
    }
    let seen: Vec<_> = case
        .named("process related")
        .iter()
        .map(|span| (span.parent_span_id, links(span)))
        .collect();
    let linked = || vec![sender.to_string()];
    assert_eq!(
        seen,
        [
            (sender, linked()),
            (SpanId::INVALID, linked()),
            (sender, vec![])
        ]
    );
}

async fn batch_links_to_each_producer_and_is_committed(case: &TopicCase) {
    let mut config = case.config();
    config
        .set("compression.type", "zstd")
        .set("linger.ms", "50");
    let producer: Producer<FutureProducer> =
        Producer::new(config.create().unwrap(), case.settings());
    let pending: Vec<_> = (0..50)
        .map(|_| {
            producer
                .send_result(case.record())
                .map_err(|(error, _)| error)
                .unwrap()
        })
        .collect();
    for one in pending {
        one.await.unwrap().unwrap();
    }
    let consumer = Consumer::new(case.reader::<StreamConsumer>(), case.settings());
    let batch = consumer.recv_batch(50, SOON).await.unwrap();
    batch
        .handle(async { Ok::<_, KafkaError>(()) })
        .await
        .unwrap();
    consumer.settle_batch(&batch, CommitMode::Sync).unwrap();
    let (handled, sent) = (case.span("process batched"), case.named("send batched"));
    assert_eq!(
        links(&handled),
        sent.iter()
            .map(|span| id(span).to_string())
            .collect::<Vec<_>>()
    );
    assert!(has(&handled, "messaging.batch.message_count=50"));
    assert_eq!(case.committed(&consumer), Offset::Offset(50));
    assert_eq!(case.span("commit batched").parent_span_id, id(&handled));
}

async fn binary_headers_pass_and_the_old_context_is_replaced(case: &TopicCase) {
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "twice",
            value: Some("1"),
        })
        .insert(Header {
            key: "TraceParent",
            value: Some("not one"),
        })
        .insert(Header::<&str> {
            key: "null",
            value: None,
        })
        .insert(Header {
            key: "traceparent",
            value: Some(SENDER),
        });
    let headers = raw::with(headers, b"\xff\xfe", b"\x00\x80").insert(Header {
        key: "twice",
        value: Some(""),
    });
    let past_the_sdk: FutureProducer = case.config().create().unwrap();
    past_the_sdk
        .send(case.record().headers(headers.clone()), SOON)
        .await
        .unwrap();
    case.producer()
        .send(case.record().headers(headers), SOON)
        .await
        .unwrap();

    let consumer = Consumer::new(case.reader::<StreamConsumer>(), case.settings());
    drop(consumer.recv().await.unwrap());
    let delivery = consumer.recv().await.unwrap();
    let sent = case.span("send wild");
    let carried = format!("00-{}-{}-01", sent.span_context.trace_id(), id(&sent));
    let expected: [(&[u8], Option<&[u8]>); 5] = [
        (b"twice", Some(b"1")),
        (b"null", None),
        (b"\xff\xfe", Some(b"\x00\x80")),
        (b"twice", Some(b"")),
        (b"traceparent", Some(carried.as_bytes())),
    ];
    let found = raw::headers(&delivery);
    assert_eq!(
        found
            .iter()
            .map(|(key, value)| (&key[..], value.as_deref()))
            .collect::<Vec<_>>(),
        expected
    );
    drop(delivery);
    let parents: Vec<_> = case
        .named("process wild")
        .iter()
        .map(|span| span.parent_span_id.to_string())
        .collect();
    assert_eq!(parents, [SENDER_SPAN.to_owned(), id(&sent).to_string()]);
    assert_eq!(
        sent.parent_span_id.to_string(),
        SENDER_SPAN,
        "the context of the record is not continued"
    );
}

async fn transaction_spans_cover_consume_and_produce(orders: &TopicCase, receipts: &TopicCase) {
    let plain: FutureProducer = orders.config().create().unwrap();
    plain.send(orders.record(), SOON).await.unwrap();
    let mut config = receipts.config();
    config.set("transactional.id", "receipts");
    let producer: Producer<FutureProducer> =
        Producer::new(config.create().unwrap(), receipts.settings());
    producer.init_transactions(SOON).unwrap();
    let consumer = Consumer::new(orders.reader::<StreamConsumer>(), receipts.settings());
    let delivery = consumer.recv().await.unwrap();
    let work = async {
        producer.begin_transaction()?;
        producer
            .send(receipts.record(), SOON)
            .await
            .map_err(|(error, _)| error)?;
        producer.abort_transaction(SOON)?;
        producer.begin_transaction()?;
        producer
            .send(receipts.record(), SOON)
            .await
            .map_err(|(error, _)| error)?;
        let group = consumer.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&orders.position(Offset::Offset(1)), &group, SOON)?;
        producer.commit_transaction(SOON)
    };
    delivery.handle(work).await.unwrap();
    let (handled, sent) = (
        receipts.span("process orders"),
        receipts.named("send receipts"),
    );
    assert!(sent.len() == 2 && sent.iter().all(|span| span.parent_span_id == id(&handled)));
    assert_eq!(orders.committed(&consumer), Offset::Offset(1));

    let reader = Consumer::new(receipts.reader::<StreamConsumer>(), receipts.settings());
    drop(reader.recv().await.unwrap());
    assert_eq!(
        receipts.span("process receipts").parent_span_id,
        id(&sent[1]),
        "the aborted record was delivered"
    );
}

async fn record_too_large_for_a_context_is_sent_without(case: &TopicCase) {
    // The topic allows batches of 1100 bytes, of which Kafka needs 61 per batch and some per
    // record.
    let value = "v".repeat(1000);
    case.producer()
        .send(
            FutureRecord::<str, str>::to(case.topic).payload(&value),
            SOON,
        )
        .await
        .unwrap();
    let consumer = Consumer::new(case.reader::<StreamConsumer>(), case.settings());
    let delivery = consumer.recv().await.unwrap();
    assert_eq!(
        (raw::headers(&delivery), delivery.payload()),
        (vec![], Some(value.as_bytes()))
    );
    assert_eq!(case.span("send narrow").status, Status::Unset);
}

// === impl TopicCase ===

impl TopicCase {
    fn new(broker: &ApacheBroker, topic: &'static str) -> Self {
        let spans = InMemorySpanExporter::default();
        let tracers = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .build();
        Self {
            topic,
            bootstrap: broker.bootstrap().to_owned(),
            tracers,
            spans,
        }
    }

    fn settings(&self) -> Settings {
        let telemetry = Telemetry::new(&self.tracers, &NoopMeterProvider::new(), None);
        Settings::from(&self.config()).telemetry(telemetry)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("group.id", self.topic)
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false");
        config
    }

    fn record(&self) -> FutureRecord<'_, str, str> {
        FutureRecord::to(self.topic).payload("v")
    }

    fn producer(&self) -> Producer<FutureProducer> {
        Producer::new(self.config().create().unwrap(), self.settings())
    }

    /// Returns a consumer at the start of the topic.
    fn reader<C: FromClientConfig + rdkafka::consumer::Consumer>(&self) -> C {
        let consumer: C = self.config().create().unwrap();
        consumer.assign(&self.position(Offset::Beginning)).unwrap();
        consumer
    }

    fn position(&self, offset: Offset) -> TopicPartitionList {
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(self.topic, 0, offset).unwrap();
        place
    }

    fn committed(&self, consumer: &StreamConsumer) -> Offset {
        let committed = consumer
            .committed_offsets(self.position(Offset::Invalid), SOON)
            .unwrap();
        committed.elements_for_topic(self.topic)[0].offset()
    }

    fn span(&self, name: &str) -> SpanData {
        let mut found = self.named(name);
        assert_eq!(found.len(), 1, "spans named {name} on {}", self.topic);
        found.remove(0)
    }

    fn named(&self, name: &str) -> Vec<SpanData> {
        self.spans
            .get_finished_spans()
            .unwrap()
            .into_iter()
            .filter(|span| span.name == name)
            .collect()
    }
}

fn id(span: &SpanData) -> SpanId {
    span.span_context.span_id()
}

fn links(span: &SpanData) -> Vec<String> {
    span.links
        .links
        .iter()
        .map(|link| link.span_context.span_id().to_string())
        .collect()
}

fn has(span: &SpanData, attribute: &str) -> bool {
    let text = |one: &KeyValue| format!("{}={}", one.key, one.value);
    span.attributes.iter().any(|one| text(one) == attribute)
}

/// Raw headers: rdkafka's safe API neither writes nor reads a key that is not UTF-8.
mod raw {
    #![expect(
        unsafe_code,
        reason = "header keys that are not UTF-8 need the C API of librdkafka"
    )]

    use std::ffi::CStr;
    use std::ptr;

    use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Message as _, OwnedHeaders};
    use rdkafka_sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    use rdkafka_sys::{rd_kafka_header_add, rd_kafka_header_get_all, rd_kafka_headers_t};

    /// Appends a header of any bytes.
    pub(super) fn with(headers: OwnedHeaders, key: &[u8], value: &[u8]) -> OwnedHeaders {
        let list: *mut rd_kafka_headers_t = ptr::from_ref(headers.as_borrowed()).cast_mut().cast();
        let (key_size, value_size) = (
            key.len().try_into().unwrap(),
            value.len().try_into().unwrap(),
        );
        // SAFETY: the list is live and owned here; key and value are readable for their lengths,
        // and librdkafka copies them.
        unsafe {
            rd_kafka_header_add(
                list,
                key.as_ptr().cast(),
                key_size,
                value.as_ptr().cast(),
                value_size,
            )
        };
        headers
    }

    pub(super) fn headers(message: &BorrowedMessage<'_>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        message.headers().map(all).unwrap_or_default()
    }

    fn all(headers: &BorrowedHeaders) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let list: *const rd_kafka_headers_t = ptr::from_ref(headers).cast();
        let mut all = Vec::new();
        for index in 0.. {
            let (mut key, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is live while it is borrowed, and the other pointers point to
            // locals.
            let result =
                unsafe { rd_kafka_header_get_all(list, index, &mut key, &mut value, &mut size) };
            if result != RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            // SAFETY: on success the key is a C string owned by the list.
            let key = unsafe { CStr::from_ptr(key) }.to_bytes().to_vec();
            // SAFETY: on success a value that is not null is readable for its size.
            let value = (!value.is_null())
                .then(|| unsafe { std::slice::from_raw_parts::<u8>(value.cast(), size) });
            all.push((key, value.map(<[u8]>::to_vec)));
        }
        all
    }
}
