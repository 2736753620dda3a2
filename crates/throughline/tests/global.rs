//! Global state: clients that exist before `init`, and the propagator of the application. One
//! process has one global state, so the cases run in order.
#![cfg(feature = "tower")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::convert::Infallible;

use http::{Request, Response};
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{Context, global};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SimpleSpanProcessor};
use throughline::http::{ClientLayer, ServerLayer};
use tower::{Layer as _, ServiceExt as _};

/// A format of the application: one header with the span id.
#[derive(Debug)]
struct OwnFormat([String; 1]);

impl TextMapPropagator for OwnFormat {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        injector.set("x-own", cx.span().span_context().span_id().to_string());
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        let Some(id) = extractor
            .get("x-own")
            .and_then(|id| SpanId::from_hex(id).ok())
        else {
            return cx.clone();
        };
        let trace = TraceId::from_bytes([7; 16]);
        let (flags, state) = (TraceFlags::SAMPLED, TraceState::NONE);
        cx.with_remote_span_context(SpanContext::new(trace, id, flags, true, state))
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.0)
    }
}

/// Sends a request through a server and the client of its handler; returns the client's headers.
async fn call(server: &ServerLayer, client: &ClientLayer) -> http::HeaderMap {
    let inner = tower::service_fn(|request: Request<()>| async move {
        let headers = request.headers().clone();
        Ok::<_, Infallible>(
            Response::builder()
                .extension(headers)
                .body(String::new())
                .unwrap(),
        )
    });
    let client = client.layer(inner);
    let service = tower::service_fn(move |_: Request<()>| {
        let client = client.clone();
        async move {
            let response = client.oneshot(Request::new(())).await?;
            let headers: http::HeaderMap = response.extensions().get().cloned().unwrap();
            Ok::<_, Infallible>(
                Response::builder()
                    .extension(headers)
                    .body(String::new())
                    .unwrap(),
            )
        }
    });
    let mut request = Request::new(());
    for (name, value) in [
        ("x-own", "00000000000000aa"),
        (
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = server.layer(service).oneshot(request).await.unwrap();
    response.extensions().get().cloned().unwrap()
}

#[tokio::test]
async fn clients_resolve_their_telemetry_when_they_are_used() {
    let (server, client) = (ServerLayer::new(), ClientLayer::new());
    // Nothing is set up yet: the sender's context passes through.
    let headers = call(&server, &client).await;
    assert!(
        headers["traceparent"]
            .to_str()
            .unwrap()
            .contains("b7ad6b7169203331")
    );

    // The application has a provider and a propagator of its own.
    let spans = InMemorySpanExporter::default();
    let tracers = SdkTracerProvider::builder()
        .with_simple_exporter(spans.clone())
        .build();
    global::set_tracer_provider(tracers);
    global::set_text_map_propagator(OwnFormat(["x-own".to_owned()]));
    let (own_server, own_client) = (ServerLayer::new(), ClientLayer::new());
    let headers = call(&own_server, &own_client).await;
    let finished = spans.get_finished_spans().unwrap();
    let [sent, received] = finished.as_slice() else {
        panic!("client and server: {finished:?}");
    };
    assert_eq!(received.parent_span_id.to_string(), "00000000000000aa");
    assert_eq!(
        headers["x-own"],
        sent.span_context.span_id().to_string().as_str()
    );
    assert!(
        !headers.contains_key("traceparent"),
        "in the application's format alone"
    );

    // Layers from before `init` belong to it afterwards.
    let later = InMemorySpanExporter::default();
    let _guard = throughline::builder()
        .environment(|_| None)
        .span_processor(SimpleSpanProcessor::new(later.clone()))
        .without_subscriber()
        .init();
    call(&server, &client).await;
    assert_eq!(later.get_finished_spans().unwrap().len(), 2);
}
