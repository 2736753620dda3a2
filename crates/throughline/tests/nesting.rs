//! Nesting of method spans and OpenTelemetry's spans: across await points, spawned tasks and
//! threads, on every return path of a method.
#![cfg(all(feature = "tower", feature = "reqwest"))]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::panic::AssertUnwindSafe;

use http::{Request, Response};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SimpleSpanProcessor, SpanData};
use throughline::http::{ClientTracing, ServerLayer};
use throughline::{Guard, builder, with_current_context, with_current_context_fn};
use tower::{Layer as _, ServiceExt as _};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt as _;

struct Traced {
    guard: Guard,
    spans: InMemorySpanExporter,
    _subscriber: DefaultGuard,
}

impl Traced {
    fn new() -> Self {
        let spans = InMemorySpanExporter::default();
        let processor = SimpleSpanProcessor::new(spans.clone());
        let guard = builder()
            .environment(|_| None)
            .span_processor(processor)
            .build();
        let subscriber =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(guard.layer()));
        Self {
            guard,
            spans,
            _subscriber: subscriber,
        }
    }

    /// Handles one request with `handler`, below a server span.
    #[expect(clippy::future_not_send, reason = "stays on the test's thread")]
    async fn serve(&self, handler: impl AsyncFn(reqwest_middleware::ClientWithMiddleware)) {
        let tracing = ClientTracing::new().telemetry(self.guard.telemetry().clone());
        let client = reqwest_middleware::ClientBuilder::new(reqwest::Client::new())
            .with(tracing)
            .build();
        let service = tower::service_fn(|_request: Request<String>| async {
            handler(client.clone()).await;
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let layer = ServerLayer::new().telemetry(self.guard.telemetry().clone());
        drop(
            layer
                .layer(service)
                .oneshot(Request::new(String::new()))
                .await
                .unwrap(),
        );
    }

    fn span(&self, name: &str) -> SpanData {
        let all = self.spans.get_finished_spans().unwrap();
        let found: Vec<_> = all
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect();
        assert_eq!(
            found.len(),
            1,
            "{name} among {:?}",
            all.iter().map(|span| &span.name).collect::<Vec<_>>()
        );
        found.into_iter().next().unwrap()
    }

    /// Returns the id of the parent and the id of the span.
    fn ids(&self, name: &str) -> (SpanId, SpanId) {
        let span = self.span(name);
        (span.parent_span_id, span.span_context.span_id())
    }
}

/// Makes a call that fails at once, and leaves a client span.
async fn call(client: &reqwest_middleware::ClientWithMiddleware, method: &str) {
    let method = method.parse().unwrap();
    client
        .request(method, "http://127.0.0.1:1/")
        .send()
        .await
        .unwrap_err();
}

#[tracing::instrument(skip_all)]
async fn outer(client: reqwest_middleware::ClientWithMiddleware) {
    tokio::task::yield_now().await;
    inner(&client).await;
    call(&client, "PUT").await;
}

#[tracing::instrument(skip_all)]
async fn inner(client: &reqwest_middleware::ClientWithMiddleware) {
    tokio::task::yield_now().await;
    call(client, "POST").await;
}

#[tokio::test]
async fn both_kinds_of_spans_nest_across_await_points() {
    let traced = Traced::new();
    traced.serve(async |client| outer(client).await).await;
    let (server, outer, inner) = (traced.ids("GET"), traced.ids("outer"), traced.ids("inner"));
    assert_eq!(server.0, SpanId::INVALID);
    assert_eq!(
        (outer.0, inner.0),
        (server.1, outer.1),
        "a method below a request, a method below a method"
    );
    assert_eq!(
        (traced.ids("PUT").0, traced.ids("POST").0),
        (outer.1, inner.1),
        "calls below methods"
    );
}

#[tokio::test]
async fn spawned_tasks_and_threads_join_with_the_current_context() {
    let traced = Traced::new();
    traced
        .serve(async |client| {
            let task = with_current_context(async move { call(&client, "PUT").await });
            tokio::task::spawn(task).await.unwrap();
            let thread = with_current_context_fn(opentelemetry::Context::current);
            let seen = tokio::task::spawn_blocking(thread).await.unwrap();
            assert_eq!(current(&seen), current(&opentelemetry::Context::current()));
        })
        .await;
    assert_eq!(traced.ids("PUT").0, traced.ids("GET").1);
}

fn current(cx: &opentelemetry::Context) -> SpanId {
    use opentelemetry::trace::TraceContextExt as _;
    cx.span().span_context().span_id()
}

#[tracing::instrument(err)]
fn failing() -> Result<(), std::io::Error> {
    Err(std::io::Error::other("no money"))
}

#[tracing::instrument]
fn panicking() {
    panic!("on purpose");
}

#[test]
fn method_that_returns_an_error_ends_its_span_as_failed() {
    let traced = Traced::new();
    failing().unwrap_err();
    let span = traced.span("failing");
    assert!(
        matches!(&span.status, Status::Error { description } if description.contains("no money")),
        "{:?}",
        span.status
    );
    assert_eq!(span.span_kind, SpanKind::Internal);
}

#[test]
fn method_that_panics_ends_its_span_as_failed() {
    let traced = Traced::new();
    let caught = std::panic::catch_unwind(AssertUnwindSafe(panicking));
    assert!(caught.is_err());
    assert_eq!(
        traced.span("panicking").status,
        Status::error("the method panicked")
    );
    tracing::info_span!("after").in_scope(|| {});
    let after = traced.span("after");
    assert_eq!(
        (after.parent_span_id, after.status),
        (SpanId::INVALID, Status::Unset)
    );
}
