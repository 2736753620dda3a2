//! Traced producers and consumers against librdkafka's mock cluster.
#![cfg(feature = "kafka")]

mod support;

use opentelemetry::trace::SpanKind;
use rdkafka::consumer::Consumer as _;
use rdkafka::producer::FutureRecord;
use support::{Bench, Failed};
use throughline::kafka::{Naming, Settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_one_trace_from_the_sender_to_the_end_of_its_handling() {
    let bench = Bench::new("orders");
    let settings = Settings::default().telemetry(bench.telemetry()).naming(Naming::opentracing());
    let (producer, consumer) = (bench.producer(&settings), bench.consumer(&settings));
    producer.send(FutureRecord::<str, str>::to("orders").payload("v"), None).await.unwrap();
    let delivery = consumer.recv().await.unwrap();
    delivery.handle(async { Ok::<_, Failed>(()) }).await.unwrap();
    drop(delivery);

    let (sent, received) = (bench.span("To_orders"), bench.span("From_orders"));
    assert_eq!(sent.span_kind, SpanKind::Producer);
    assert_eq!(received.span_kind, SpanKind::Consumer);
    assert_eq!(received.parent_span_id, sent.span_context.span_id());
    assert_eq!(received.span_context.trace_id(), sent.span_context.trace_id());
    assert_eq!(received.links.links.len(), 1);
    assert_eq!(consumer.subscription().unwrap().count(), 1);
}
