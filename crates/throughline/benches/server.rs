//! The cost of tracing a handled request: a service below the server layer against the bare one.
//!
//! The service is ready at once and its body is empty, so the figure is the layer's alone: CPU time
//! of one thread for each request. The cases take turns; the figures are medians. Spans pass
//! OpenTelemetry's batch processor into an exporter that drops them. `bridge` has the guard's layer
//! in the subscriber, `logs` also formats log lines (of which there are none), as `init` installs
//! it.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark is a program of its own"
)]

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter};
use rustix::time::{ClockId, clock_gettime};
use throughline::http::ServerLayer;
use throughline::{Guard, builder};
use tower::{Layer as _, Service};
use tracing::Dispatch;
use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// An exporter that drops spans.
#[derive(Debug)]
struct DroppingExporter;

impl SpanExporter for DroppingExporter {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

const REQUESTS: u32 = 10_000;
const RUNS: usize = 15;

fn main() {
    for sampler in ["always_on", "always_off"] {
        let guard = telemetry(sampler);
        let spans = tracing_subscriber::registry().with(guard.layer());
        let logs = tracing_subscriber::fmt::layer()
            .with_writer(std::io::sink)
            .with_filter(tracing_subscriber::EnvFilter::new("warn"));
        let logged = tracing_subscriber::registry()
            .with(guard.layer())
            .with(logs);
        measure(&guard, sampler, "no subscriber", &Dispatch::none());
        measure(&guard, sampler, "bridge", &Dispatch::new(spans));
        measure(&guard, sampler, "bridge and logs", &Dispatch::new(logged));
    }
}

fn measure(guard: &Guard, sampler: &str, subscriber: &str, dispatch: &Dispatch) {
    let bare = tower::service_fn(answer);
    let layer = ServerLayer::new().telemetry(guard.telemetry().clone());
    let (mut without, mut with) = (Vec::new(), Vec::new());
    tracing::dispatcher::with_default(dispatch, || {
        // The first round warms up.
        for round in 0..=RUNS {
            let times = (run(bare), run(layer.layer(bare)));
            if round > 0 {
                without.push(times.0);
                with.push(times.1);
            }
        }
    });
    let (bare, traced) = (median(&mut without), median(&mut with));
    println!(
        concat!(
            r#"{{"case":"request, {}, {}","ns_per_request_bare":{:.0},"#,
            r#""ns_per_request_sdk":{:.0},"added_ns":{:.0}}}"#
        ),
        sampler,
        subscriber,
        bare,
        traced,
        traced - bare,
    );
}

fn answer(_: Request<String>) -> Ready<Result<Response<String>, Infallible>> {
    ready(Ok(Response::new(String::new())))
}

/// Returns the CPU nanoseconds per request of this thread.
fn run<S, B>(mut service: S) -> f64
where
    S: Service<Request<String>, Response = Response<B>, Error = Infallible>,
{
    let before = thread_time();
    for _ in 0..REQUESTS {
        let request = Request::get("/orders/7").body(String::new());
        let request = request.expect("a valid request");
        drop(
            service
                .call(request)
                .now_or_never()
                .expect("a ready answer"),
        );
    }
    (thread_time() - before).as_secs_f64() * 1e9 / f64::from(REQUESTS)
}

fn telemetry(sampler: &'static str) -> Guard {
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(1 << 16)
        .build();
    let processor = BatchSpanProcessor::builder(DroppingExporter)
        .with_batch_config(queue)
        .build();
    builder()
        .environment(move |name| (name == "OTEL_TRACES_SAMPLER").then(|| sampler.to_owned()))
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
