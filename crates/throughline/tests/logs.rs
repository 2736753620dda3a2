//! Log events of handlers: in the trace, and with its ids on each line.
#![cfg(feature = "tower")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use throughline::http::ServerLayer;
use throughline::{Guard, builder};
use tower::{Layer as _, ServiceExt as _};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// A writer of log lines that the test reads.
#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        lines.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Handles one request below a server span, with log lines at level WARN.
#[expect(clippy::future_not_send, reason = "stays on the test's thread")]
async fn serve<F: Future<Output = ()>>(handler: impl Fn() -> F) -> (Vec<SpanData>, String) {
    let (spans, lines) = (InMemorySpanExporter::default(), LogLines::default());
    let guard: Guard = builder()
        .environment(|_| None)
        .span_processor(SimpleSpanProcessor::new(spans.clone()))
        .build();
    let writer = lines.clone();
    let logs = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let filter = tracing_subscriber::EnvFilter::new("warn");
    let subscriber = tracing_subscriber::registry()
        .with(guard.layer())
        .with(tracing_subscriber::Layer::with_filter(logs, filter));
    let _default = tracing::subscriber::set_default(subscriber);
    let service = tower::service_fn(|_: Request<()>| async {
        handler().await;
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let layer = ServerLayer::new().telemetry(guard.telemetry().clone());
    drop(
        layer
            .layer(service)
            .oneshot(Request::new(()))
            .await
            .unwrap(),
    );
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    (spans.get_finished_spans().unwrap(), text)
}

fn server(spans: &[SpanData]) -> &SpanData {
    spans
        .iter()
        .find(|span| span.span_kind == SpanKind::Server)
        .unwrap()
}

#[tokio::test]
async fn events_of_a_handler_are_events_of_its_request() {
    let (spans, _) = serve(async || {
        tracing::info!(order = 7, "order accepted");
        tokio::task::yield_now().await;
        tracing::error!("stock is low");
    })
    .await;
    assert_eq!(spans.len(), 1, "the request alone");
    let server = server(&spans);
    let names: Vec<_> = server
        .events
        .iter()
        .map(|event| event.name.as_ref())
        .collect();
    assert_eq!(names, ["order accepted", "stock is low"]);
    let order = server.events.events[0].attributes.iter();
    assert!(order.clone().any(|one| one.key.as_str() == "order"));
    assert_eq!(
        server.status,
        Status::Unset,
        "a logged error is no failed request"
    );
}

#[tokio::test]
async fn log_lines_carry_the_ids_of_the_trace_at_any_level() {
    let (spans, lines) = serve(async || tracing::warn!("stock is low")).await;
    let ids = &server(&spans).span_context;
    let line = lines
        .lines()
        .find(|line| line.contains("stock is low"))
        .unwrap();
    for id in [ids.trace_id().to_string(), ids.span_id().to_string()] {
        assert!(line.contains(&id), "{id} in {line}");
    }
}

#[tokio::test]
async fn current_span_stands_for_the_request() {
    let (spans, _) = serve(async || {
        let current = tracing::Span::current();
        current.set_attribute("tenant", "north");
        let child = async { tracing::info_span!("child").in_scope(|| {}) };
        let spawned = tokio::task::spawn(
            async {
                tracing::info!("in a task");
            }
            .in_current_span(),
        );
        child.await;
        spawned.await.unwrap();
    })
    .await;
    let server = server(&spans);
    let child = spans.iter().find(|span| span.name == "child").unwrap();
    assert_eq!(child.parent_span_id, server.span_context.span_id());
    let tenant = server
        .attributes
        .iter()
        .find(|one| one.key.as_str() == "tenant");
    assert_eq!(tenant.unwrap().value.as_str(), "north");
    assert_eq!(server.events.events[0].name, "in a task");
    assert_eq!(spans.len(), 2);
}

#[tokio::test]
async fn spawned_work_with_the_current_context_logs_into_the_request() {
    let (spans, _) = serve(async || {
        let task = throughline::with_current_context(async { tracing::info!("in a task") });
        tokio::task::spawn(task).await.unwrap();
        let thread = throughline::with_current_context_fn(|| tracing::info!("in a thread"));
        // The subscriber of the test belongs to its thread.
        let subscriber = tracing::dispatcher::get_default(Clone::clone);
        let logged = move || tracing::dispatcher::with_default(&subscriber, thread);
        tokio::task::spawn_blocking(logged).await.unwrap();
    })
    .await;
    let names: Vec<_> = server(&spans)
        .events
        .iter()
        .map(|it| it.name.clone())
        .collect();
    assert_eq!(names, ["in a task", "in a thread"]);
}
