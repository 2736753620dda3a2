//! What tracing adds to producing a record: a traced producer against a bare one, on librdkafka's mock cluster.
//!
//! Measured is the CPU time of the producing thread, from handing over the records to the last acknowledgement, callbacks
//! included: a wall clock would measure the broker. Runs of the two producers take turns; the figures are medians. Prints
//! one line of JSON per case. Spans go through OpenTelemetry's batch processor into an exporter that drops them.
#![expect(clippy::expect_used, clippy::print_stdout, reason = "a benchmark is a program of its own")]

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

/// One way of tracing.
struct Case {
    name: &'static str,
    sampler: &'static str,
    naming: Naming,
    /// Headers that the application itself puts on each record.
    headers: usize,
}

/// Takes spans and forgets them.
#[derive(Debug)]
struct Forget;

impl SpanExporter for Forget {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

const TOPIC: &str = "bench";
const RECORDS: u32 = 10_000;
/// How many records are on their way at most. More would measure the memory of a queue that no service lets grow.
const IN_FLIGHT: u32 = 1_000;
const RUNS: usize = 15;
const PAYLOAD: [u8; 200] = [b'v'; 200];

fn main() {
    let case = |name, sampler, naming, headers| Case { name, sampler, naming, headers };
    let cases = [
        case("sampled", "always_on", Naming::OpenTelemetry, 0),
        case("sampled, 2 own headers", "always_on", Naming::OpenTelemetry, 2),
        case("sampled, opentracing names", "always_on", Naming::opentracing(), 0),
        case("unsampled", "always_off", Naming::OpenTelemetry, 0),
        case("unsampled, 2 own headers", "always_off", Naming::OpenTelemetry, 2),
    ];
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers()).set("linger.ms", "1");
    // `cargo bench --bench kafka -- unsampled`: only the cases whose name begins so.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for case in cases.iter().filter(|case| case.name.starts_with(&wanted)) {
        measure(&config, case);
    }
}

fn measure(config: &ClientConfig, case: &Case) {
    let guard = telemetry(case.sampler);
    let settings = Settings::from(config).telemetry(guard.telemetry().clone()).naming(case.naming.clone());
    let bare: Bare = config.create().expect("a producer");
    let traced = config.create_with_context(AckContext::new(DefaultProducerContext)).expect("a producer");
    let traced: Traced = Producer::new(traced, settings);
    let send_bare = || bare.send(record(case.headers)).map_err(|(error, _)| error).expect("room in the queue");
    let send_traced =
        || traced.send(record(case.headers), None).map_err(|(error, _)| error).expect("room in the queue");
    let (mut without, mut with) = (Vec::new(), Vec::new());
    // The first round warms up.
    for round in 0..=RUNS {
        let one = run(&bare, send_bare);
        let other = run(&*traced, send_traced);
        if round > 0 {
            without.push(one);
            with.push(other);
        }
    }
    let (bare, sdk) = (median(&mut without), median(&mut with));
    println!(
        r#"{{"case":"{}","ns_per_record_bare":{bare:.0},"ns_per_record_sdk":{sdk:.0},"added_ns":{:.0},"ratio":{:.2}}}"#,
        case.name,
        sdk - bare,
        sdk / bare,
    );
}

/// CPU nanoseconds per record of this thread.
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

fn record(headers: usize) -> BaseRecord<'static, str, [u8]> {
    const NAMES: [&str; 2] = ["content-type", "tenant"];
    let record = BaseRecord::to(TOPIC).key("some-key").payload(PAYLOAD.as_slice());
    if headers == 0 {
        return record;
    }
    let all = OwnedHeaders::new_with_capacity(headers);
    let all = NAMES.iter().take(headers).fold(all, |all, key| all.insert(Header { key, value: Some("some value") }));
    record.headers(all)
}

fn telemetry(sampler: &'static str) -> Guard {
    let queue = BatchConfigBuilder::default().with_max_queue_size(1 << 16).build();
    let processor = BatchSpanProcessor::builder(Forget).with_batch_config(queue).build();
    let variables = move |name: &str| (name == "OTEL_TRACES_SAMPLER").then(|| sampler.to_owned());
    builder().environment(variables).span_processor(processor).build().expect("telemetry")
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
