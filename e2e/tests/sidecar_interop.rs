//! The sidecar beside instrumented applications: its spans continue theirs, and theirs continue its
//! spans.
//!
//! One side is always an uninstrumented client, the other opentracing-kafka-client 0.1.15 (over
//! Jaeger's tracer or Brave) or OpenTelemetry's Java agent.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "shared with other tests, which use more of it")]
mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use e2e::{TraceSet, TraceSpan};
use serde_json::{Value, json};
use support::case::BrokerPath;
use support::fixture::KafkaFixture;
use support::record::TestRecord;
use support::run;
use support::spans::TopicSpans;
use throughline_testkit::clients::ClientLibrary;
use throughline_testkit::process::ProcessSpec;
use throughline_testkit::wait;

/// Trace id and span id.
type SpanIds = (String, String);

const COUNT: usize = 20;

/// Tracers for opentracing-kafka-client, with their propagation formats.
const TRACERS: [(&str, &str); 2] = [("jaeger", "jaeger"), ("brave", "b3multi")];

#[test]
fn sidecar_continues_an_opentracing_producer() {
    let fixture = KafkaFixture::shared();
    for (tracer, format) in TRACERS {
        let path = fixture.sidecar(&format!("after-{tracer}"), &["--propagation", format]);
        let topic = format!("from-{tracer}");
        fixture.topic(&topic, 1);
        let lines = send(
            &path,
            fixture.client(ClientLibrary::Java),
            &topic,
            &[("tracer", tracer)],
        )
        .lines();
        let theirs: Vec<SpanIds> = tracer_spans(&lines, "To_")
            .map(|span| (span.trace, span.id))
            .collect();
        assert_eq!(theirs.len(), COUNT, "{lines:?}");
        receive(&path, fixture.client(ClientLibrary::FranzGo), &topic, &[]).lines();

        let (sent, processed) = sidecar_spans(&fixture, &path, &topic);
        assert_eq!(
            parents(&sent),
            sorted(&theirs),
            "the sidecar's producer spans are not children of the client's"
        );
        assert_eq!(
            parents(&processed),
            sorted(&theirs),
            "the sidecar's consumer spans do not continue the client's context"
        );
    }
}

#[test]
fn opentracing_consumer_continues_the_sidecar() {
    let fixture = KafkaFixture::shared();
    for (tracer, format) in TRACERS {
        for (deliver, operation) in [("observe", "send"), ("patch", "process")] {
            let service = format!("before-{tracer}-{deliver}");
            let path = fixture.sidecar(&service, &["--propagation", format, "--deliver", deliver]);
            let topic = format!("to-{tracer}-{deliver}");
            fixture.topic(&topic, 1);
            send(&path, fixture.client(ClientLibrary::FranzGo), &topic, &[]).lines();
            let lines = receive(
                &path,
                fixture.client(ClientLibrary::Java),
                &topic,
                &[("tracer", tracer)],
            )
            .lines();
            let theirs: Vec<SpanIds> = tracer_spans(&lines, "From_")
                .map(|span| (span.trace, span.parent))
                .collect();

            let (sent, processed) = sidecar_spans(&fixture, &path, &topic);
            let above = if operation == "send" { sent } else { processed };
            assert_eq!(sorted(&theirs), ids(&above), "{tracer}, {deliver}");
        }
    }
}

#[test]
fn sidecar_continues_a_producer_with_the_java_agent() {
    let fixture = KafkaFixture::shared();
    for format in ["tracecontext", "b3multi"] {
        let path = fixture.sidecar(&format!("after-agent-{format}"), &["--propagation", format]);
        let (topic, service) = (
            format!("from-agent-{format}"),
            format!("agent-producer-{format}"),
        );
        fixture.topic(&topic, 1);
        send(&path, agent(&fixture, &service, format), &topic, &[]).lines();
        receive(&path, fixture.client(ClientLibrary::FranzGo), &topic, &[]).lines();

        let theirs = agent_spans(&fixture, &service, "producer");
        let (sent, processed) = sidecar_spans(&fixture, &path, &topic);
        assert_eq!(parents(&sent), ids(&theirs));
        assert_eq!(parents(&processed), ids(&theirs));
    }
}

#[test]
fn consumer_with_the_java_agent_continues_the_sidecar() {
    let fixture = KafkaFixture::shared();
    for format in ["tracecontext", "b3"] {
        let (sent, theirs) = send_to_agent(&fixture, format);
        assert_eq!(parents(&theirs), ids(&sent), "{format}");
    }
}

/// Names of Kafka headers are case-sensitive. The sidecar writes B3 multi-header names in lower
/// case, as Go and Python clients read them; Java clients look up `X-B3-TraceId` and find nothing.
/// The single header `b3` has one spelling.
#[test]
fn java_agent_does_not_find_b3_multi_headers_in_lower_case() {
    let fixture = KafkaFixture::shared();
    let (_, theirs) = send_to_agent(&fixture, "b3multi");
    assert!(
        theirs.iter().all(|span| span.references.is_empty()),
        "{theirs:?}: the documentation says that it does not"
    );
}

/// A service shows its format by a request. From then on it is written into the service's records,
/// beside the one that is configured; before, that one alone is.
#[test]
fn records_carry_the_format_that_their_service_has_been_seen_to_send() {
    let fixture = KafkaFixture::shared();
    let path = fixture.sidecar("b3-service", &["--outbound", "127.0.0.1:0"]);
    let sidecar = path.sidecar.as_ref().expect("this test needs the sidecar");
    let contexts = |topic: &str| {
        fixture.topic(topic, 1);
        send(&path, fixture.client(ClientLibrary::FranzGo), topic, &[]).lines();
        let (client, kafka) = (
            fixture.client(ClientLibrary::FranzGo),
            fixture.kafka.bootstrap(),
        );
        let stored = run::consume(client, kafka, topic, COUNT, &[("group", topic)]).consumed();
        assert_eq!(stored.len(), COUNT);
        stored
            .into_iter()
            .map(|record| {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                let headers = record.headers.into_iter();
                let headers = headers.map(|(name, value)| (text(name), text(value.unwrap())));
                headers
                    .filter(|(name, _)| name != "number")
                    .collect::<BTreeMap<_, _>>()
            })
            .collect::<Vec<_>>()
    };
    for context in contexts("before-a-b3-request") {
        assert_eq!(context.into_keys().collect::<Vec<_>>(), ["traceparent"]);
    }

    let url = format!(
        "http://{}/api/services",
        fixture.collector.addresses().query
    );
    let proxy = sidecar.http().first().unwrap();
    let mut connection = TcpStream::connect(proxy).unwrap();
    let b3 = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1";
    let request = format!("GET {url} HTTP/1.1\r\nhost: a\r\nb3: {b3}\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");

    for context in contexts("after-a-b3-request") {
        let names: Vec<&String> = context.keys().collect();
        assert_eq!(names, ["b3", "traceparent"]);
        let (b3, w3c) = (&context["b3"], &context["traceparent"]);
        assert_eq!(
            *w3c,
            format!("00-{}-0{}", b3.get(..49).unwrap(), w3c.get(54..).unwrap()),
            "{b3}"
        );
    }
}

/// Returns the sidecar's producer spans and the agent's consumer spans.
fn send_to_agent(fixture: &KafkaFixture, format: &str) -> (Vec<TraceSpan>, Vec<TraceSpan>) {
    let path = fixture.sidecar(
        &format!("before-agent-{format}"),
        &["--propagation", format],
    );
    let (topic, service) = (
        format!("to-agent-{format}"),
        format!("agent-consumer-{format}"),
    );
    fixture.topic(&topic, 1);
    send(&path, fixture.client(ClientLibrary::FranzGo), &topic, &[]).lines();
    receive(&path, agent(fixture, &service, format), &topic, &[]).lines();
    let (sent, _) = sidecar_spans(fixture, &path, &topic);
    (sent, agent_spans(fixture, &service, "consumer"))
}

/// A span of opentracing-kafka-client, from the client's output.
struct TracerSpan {
    trace: String,
    id: String,
    parent: String,
}

fn tracer_spans<'a>(lines: &'a [Value], name: &'a str) -> impl Iterator<Item = TracerSpan> + 'a {
    // Brave writes names in lower case.
    let is_so = |line: &&Value| {
        let own = line["name"].as_str().unwrap_or_default();
        own.get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    lines.iter().filter(is_so).map(move |line| TracerSpan {
        trace: text(&line["trace"]),
        id: text(&line["span"]),
        parent: text(&line["parent"]),
    })
}

fn records() -> Vec<TestRecord> {
    let record = |number: usize| TestRecord {
        partition: 0,
        timestamp: None,
        key: None,
        value: Some(format!("record {number}").into_bytes()),
        headers: vec![(b"number".to_vec(), Some(number.to_string().into_bytes()))],
    };
    (0..COUNT).map(record).collect()
}

fn send(
    path: &BrokerPath,
    client: ProcessSpec,
    topic: &str,
    options: &[(&str, &str)],
) -> run::ClientRun {
    run::produce(client, &path.bootstrap, topic, &records(), options)
}

fn receive(
    path: &BrokerPath,
    client: ProcessSpec,
    topic: &str,
    options: &[(&str, &str)],
) -> run::ClientRun {
    let options = [options, &[("group", topic)]].concat();
    run::consume(client, &path.bootstrap, topic, COUNT, &options)
}

/// Returns the sidecar's producer and consumer spans.
fn sidecar_spans(
    fixture: &KafkaFixture,
    path: &BrokerPath,
    topic: &str,
) -> (Vec<TraceSpan>, Vec<TraceSpan>) {
    let service = path
        .sidecar
        .as_ref()
        .expect("these tests need the sidecar")
        .service();
    let spans = TopicSpans::wait_for(
        &fixture.collector,
        service,
        topic,
        &[("send", COUNT), ("process", COUNT)],
    );
    (
        spans.with_operation("send"),
        spans.with_operation("process"),
    )
}

/// Returns the Java client with the agent, whose spans belong to `service`.
fn agent(fixture: &KafkaFixture, service: &str, propagators: &str) -> ProcessSpec {
    let endpoint = format!("http://{}", fixture.collector.addresses().otlp_http);
    let spec = fixture
        .clients
        .java_with_agent()
        .unwrap()
        .clear_env("OTEL_");
    [
        ("OTEL_SERVICE_NAME", service),
        ("OTEL_PROPAGATORS", propagators),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_LOGS_EXPORTER", "none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ]
    .into_iter()
    .fold(spec, |spec, (name, value)| spec.env(name, value))
}

/// Returns the agent's spans of this kind, one per record, as the agent reported them: the
/// collector gives a parent to a span without one by the offset of its record.
fn agent_spans(fixture: &KafkaFixture, service: &str, kind: &str) -> Vec<TraceSpan> {
    let find = || {
        let query = [("service", service), ("limit", "1000"), ("raw", "true")];
        let traces = fixture.collector.search(&query).unwrap();
        let spans = TraceSet::from_json(&json!({ "data": traces })).spans;
        let is_so = |span: &TraceSpan| span.service == service && span.tag("span.kind") == kind;
        spans.into_iter().filter(is_so).collect::<Vec<_>>()
    };
    let found = wait::until(Duration::from_secs(20), || {
        Some(find()).filter(|spans| spans.len() == COUNT)
    });
    found.unwrap_or_else(|| panic!("{} spans of {service}", find().len()))
}

fn ids(spans: &[TraceSpan]) -> Vec<SpanIds> {
    sorted(
        &spans
            .iter()
            .map(|span| (span.trace.clone(), span.id.clone()))
            .collect::<Vec<_>>(),
    )
}

/// Returns the parents of the spans; a link to another trace is not a parent.
fn parents(spans: &[TraceSpan]) -> Vec<SpanIds> {
    let parent = |span: &TraceSpan| {
        let (_, trace, id) = span.references.first().cloned().unwrap_or_default();
        assert_eq!(trace, span.trace, "{span:?}");
        (trace, id)
    };
    sorted(&spans.iter().map(parent).collect::<Vec<_>>())
}

fn sorted(ids: &[SpanIds]) -> Vec<SpanIds> {
    let mut ids = ids.to_vec();
    ids.sort();
    ids
}
