//! The cost of tracing a produced record: a traced producer against a bare one, and against a bare
//! one whose records carry a constant `traceparent`, on librdkafka's mock cluster.
//!
//! The benchmark measures the CPU time of the producing thread, from queueing the records to the
//! last acknowledgement, callbacks included: a wall clock would measure the broker. The three
//! producers take turns; the figures are medians. Prints one line of JSON for each case. Spans pass
//! OpenTelemetry's batch processor into an exporter that drops them.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark is a program of its own"
)]

use std::time::Duration;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rustix::time::{ClockId, clock_gettime};
use throughline::kafka::{AckContext, Naming, Producer, Settings};
use throughline::{Guard, builder};

type Bare = BaseProducer<DefaultProducerContext>;
type Traced = Producer<BaseProducer<AckContext<DefaultProducerContext>>>;

/// A configuration to measure.
struct Case {
    name: &'static str,
    sampler: &'static str,
    naming: Naming,
    /// Headers that the application adds to each record.
    headers: usize,
}

/// An exporter that drops spans.
#[derive(Debug)]
struct Forget;

impl SpanExporter for Forget {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

const TOPIC: &str = "bench";
const RECORDS: u32 = 10_000;
/// Maximum number of records in flight. More would measure the memory of a queue larger than any
/// service allows.
const IN_FLIGHT: u32 = 1_000;
const RUNS: usize = 15;
const PAYLOAD: [u8; 200] = [b'v'; 200];

fn main() {
    let case = |name, sampler, naming, headers| Case {
        name,
        sampler,
        naming,
        headers,
    };
    let cases = [
        case("sampled", "always_on", Naming::OpenTelemetry, 0),
        case(
            "sampled, 2 own headers",
            "always_on",
            Naming::OpenTelemetry,
            2,
        ),
        case(
            "sampled, opentracing names",
            "always_on",
            Naming::opentracing(),
            0,
        ),
        case("unsampled", "always_off", Naming::OpenTelemetry, 0),
        case(
            "unsampled, 2 own headers",
            "always_off",
            Naming::OpenTelemetry,
            2,
        ),
    ];
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", cluster.bootstrap_servers())
        .set("linger.ms", "1");
    // `cargo bench --bench kafka -- unsampled`: only the cases with this prefix.
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    for case in cases.iter().filter(|case| case.name.starts_with(&wanted)) {
        measure(&config, case);
    }
}

fn measure(config: &ClientConfig, case: &Case) {
    let guard = telemetry(case.sampler);
    let settings = Settings::from(config)
        .telemetry(guard.telemetry().clone())
        .naming(case.naming.clone());
    let bare: Bare = config.create().expect("a producer");
    let traced = config
        .create_with_context(AckContext::new(DefaultProducerContext))
        .expect("a producer");
    let traced: Traced = Producer::new(traced, settings);
    let sent = |result: Result<(), rdkafka::error::KafkaError>| result.expect("room in the queue");
    let send_bare = || {
        sent(
            bare.send(record(own(case.headers)))
                .map_err(|(error, _)| error),
        );
    };
    let send_by_hand = || {
        sent(
            bare.send(record(Some(by_hand(case.headers))))
                .map_err(|(error, _)| error),
        );
    };
    let send_traced = || {
        sent(
            traced
                .send(record(own(case.headers)), None)
                .map_err(|(error, _)| error),
        );
    };
    let (mut without, mut with_header, mut with) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=RUNS {
        let times = (
            run(&bare, send_bare),
            run(&bare, send_by_hand),
            run(&*traced, send_traced),
        );
        if round > 0 {
            without.push(times.0);
            with_header.push(times.1);
            with.push(times.2);
        }
    }
    let (bare, header, sdk) = (
        median(&mut without),
        median(&mut with_header),
        median(&mut with),
    );
    let (added, ratio) = (sdk - bare, sdk / bare);
    println!(
        concat!(
            r#"{{"case":"{}","ns_per_record_bare":{:.0},"ns_per_record_header":{:.0},"#,
            r#""ns_per_record_sdk":{:.0},"added_ns":{:.0},"ratio":{:.2}}}"#
        ),
        case.name, bare, header, sdk, added, ratio,
    );
}

/// Returns the CPU nanoseconds per record of this thread.
fn run<C: rdkafka::producer::ProducerContext>(producer: &BaseProducer<C>, send: impl Fn()) -> f64 {
    let before = thread_time();
    for sent in 1..=RECORDS {
        send();
        if sent % IN_FLIGHT == 0 {
            while producer.in_flight_count() > 0 {
                producer.poll(Duration::from_millis(10));
            }
        }
    }
    (thread_time() - before).as_secs_f64() * 1e9 / f64::from(RECORDS)
}

fn record(headers: Option<OwnedHeaders>) -> BaseRecord<'static, str, [u8]> {
    let record = BaseRecord::to(TOPIC)
        .key("some-key")
        .payload(PAYLOAD.as_slice());
    match headers {
        Some(headers) => record.headers(headers),
        None => record,
    }
}

/// Returns the headers of the application.
fn own(count: usize) -> Option<OwnedHeaders> {
    (count > 0).then(|| filled(OwnedHeaders::new_with_capacity(count), count))
}

/// Adds a constant header of the length of a `traceparent`, to measure the cost of the header alone
/// in librdkafka.
fn by_hand(count: usize) -> OwnedHeaders {
    const CONTEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let headers = filled(OwnedHeaders::new_with_capacity(count + 1), count);
    headers.insert(Header {
        key: "traceparent",
        value: Some(CONTEXT),
    })
}

fn filled(headers: OwnedHeaders, count: usize) -> OwnedHeaders {
    const NAMES: [&str; 2] = ["content-type", "tenant"];
    NAMES.iter().take(count).fold(headers, |all, key| {
        all.insert(Header {
            key,
            value: Some("some value"),
        })
    })
}

fn telemetry(sampler: &'static str) -> Guard {
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(1 << 16)
        .build();
    let processor = BatchSpanProcessor::builder(Forget)
        .with_batch_config(queue)
        .build();
    let variables = move |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| sampler.to_owned());
    builder()
        .environment(variables)
        .span_processor(processor)
        .build()
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
