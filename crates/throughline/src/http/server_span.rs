//! The span of a request to a server.

mod extensions;
mod forwarded;
mod options;

use std::sync::Arc;
use std::time::Instant;

use http::uri::Authority;
use http::{HeaderMap, Method, Response, StatusCode, header};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use throughline_model::convention::{
    CLIENT_ADDRESS, CLIENT_PORT, ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL,
    HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE, NETWORK_PROTOCOL_VERSION, RPC_GRPC_STATUS_CODE,
    RPC_SYSTEM, SERVER_ADDRESS, SERVER_PORT, URL_PATH, URL_QUERY, URL_SCHEME, USER_AGENT_ORIGINAL,
};
use throughline_model::redact;

use self::forwarded::ForwardedRequest;
use self::options::push_headers;
use crate::Telemetry;
use crate::bridge;
use crate::http::RequestMetadata;
use crate::http::grpc::{GrpcMethod, GrpcStatus};
use crate::http::headers::RequestHeaders;
use crate::http::{known_method, protocol_version, span_name};
use crate::telemetry::ResolvedTelemetry;

pub use self::extensions::{ClientAddress, MatchedRoute};
pub(super) use self::options::ServerOptions;

/// The span of a request. It ends when it is dropped.
pub(super) struct ServerSpan {
    context: Context,
    /// The span of `tracing` that stands for it in the handler.
    scope: tracing::Span,
    telemetry: Arc<ResolvedTelemetry>,
    options: Arc<ServerOptions>,
    started: Instant,
    method: Method,
    metric_attributes: Vec<KeyValue>,
    status: Option<StatusCode>,
    grpc: GrpcCall,
    outcome: ResponseOutcome,
}

/// The part of a request that gRPC adds.
enum GrpcCall {
    None,
    Running,
    Answered(GrpcStatus),
}

/// The result of a request.
enum ResponseOutcome {
    Running,
    Complete,
    /// With error type and message.
    Failed(&'static str, String),
}

// === impl ServerSpan ===

impl ServerSpan {
    pub(super) fn start(
        telemetry: &Telemetry,
        options: &Arc<ServerOptions>,
        head: &RequestMetadata<'_>,
    ) -> Self {
        let telemetry = telemetry.resolve().into_owned();
        let parent = telemetry
            .propagation()
            .extract(&Context::current(), &RequestHeaders(head.headers));
        let route = route_of(head);
        let grpc = GrpcMethod::of(head.headers, head.uri.path());
        let forwarded = if options.trusts_forwarded {
            ForwardedRequest::read(head)
        } else {
            ForwardedRequest::default()
        };
        let metric_attributes = common_attributes(head, route, grpc, &forwarded);
        let chosen = options.name.as_ref().and_then(|name| name(head));
        let name = chosen
            .or_else(|| grpc.map(GrpcMethod::span_name))
            .map_or_else(|| span_name(head.method, route), Into::into);
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Server);
        let attributes = || {
            let mut attributes = metric_attributes.clone();
            push_span_attributes(head, grpc, &forwarded, &mut attributes);
            let (names, prefix) = (&options.request_headers, "http.request.header.");
            push_headers(names, head.headers, prefix, &mut attributes);
            if let Some(added) = &options.attributes {
                added(head, &mut attributes);
            }
            attributes
        };
        let context = telemetry.start(builder, &parent, attributes);
        Self {
            scope: bridge::scope_of(&context),
            context,
            telemetry,
            options: Arc::clone(options),
            started: Instant::now(),
            method: head.method.clone(),
            metric_attributes,
            status: None,
            grpc: grpc.map_or(GrpcCall::None, |_| GrpcCall::Running),
            outcome: ResponseOutcome::Running,
        }
    }

    /// Returns the context that holds the span.
    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    /// Returns the span of `tracing` that stands for it.
    pub(super) const fn scope(&self) -> &tracing::Span {
        &self.scope
    }

    pub(super) fn record_response<B>(&mut self, response: &Response<B>) {
        let status = response.status();
        self.status = Some(status);
        let span = self.context.span();
        let code = KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
        span.set_attribute(code.clone());
        self.metric_attributes.push(code);
        let mut captured = Vec::new();
        let (names, prefix) = (&self.options.response_headers, "http.response.header.");
        push_headers(names, response.headers(), prefix, &mut captured);
        span.set_attributes(captured);
        // The route of a framework takes precedence, because it named the span from the start.
        let has_route = self
            .metric_attributes
            .iter()
            .any(|attribute| attribute.key.as_str() == HTTP_ROUTE);
        if let Some(MatchedRoute(route)) = response.extensions().get().filter(|_| !has_route) {
            span.update_name(span_name(&self.method, Some(route)));
            let route = KeyValue::new(HTTP_ROUTE, Arc::clone(route));
            span.set_attribute(route.clone());
            self.metric_attributes.push(route);
        }
        self.record_grpc_status(response.headers());
        // A response to HEAD has no body that could end later.
        if self.method == Method::HEAD {
            self.outcome = ResponseOutcome::Complete;
        }
    }

    /// Reads the status of a call from trailers, or from the headers of a response without body.
    pub(super) fn record_grpc_status(&mut self, headers: &HeaderMap) {
        if matches!(self.grpc, GrpcCall::None) {
            return;
        }
        if let Some(status) = GrpcStatus::read(headers) {
            self.grpc = GrpcCall::Answered(status);
        }
    }

    pub(super) fn complete(&mut self) {
        self.outcome = ResponseOutcome::Complete;
    }

    pub(super) fn fail(&mut self, kind: &'static str, message: String) {
        self.outcome = ResponseOutcome::Failed(kind, message);
    }

    /// Returns the error type of a response that came to its end, if it is an error of the server.
    fn response_error(&self) -> Option<String> {
        match (&self.grpc, self.status) {
            (GrpcCall::Answered(status), _) if status.is_server_error() => {
                Some(status.name().to_owned())
            }
            (GrpcCall::Answered(_), _) => None,
            // HTTP spans, "Status": for a server only 5xx is an error.
            (GrpcCall::None | GrpcCall::Running, Some(status)) if status.is_server_error() => {
                Some(status.as_str().to_owned())
            }
            (GrpcCall::None | GrpcCall::Running, _) => None,
        }
    }
}

impl Drop for ServerSpan {
    fn drop(&mut self) {
        let span = self.context.span();
        // Dropped during unwinding: the handler or the body panicked.
        if std::thread::panicking() {
            self.outcome = ResponseOutcome::Failed("panic", "the handler panicked".to_owned());
        }
        if let GrpcCall::Answered(status) = self.grpc {
            let code = KeyValue::new(RPC_GRPC_STATUS_CODE, i64::from(status.0));
            span.set_attribute(code.clone());
            self.metric_attributes.push(code);
        }
        let is_answered = matches!(self.grpc, GrpcCall::Answered(_));
        let kind = match (&self.outcome, self.response_error()) {
            (ResponseOutcome::Failed(kind, message), _) => {
                span.set_status(Status::error(message.clone()));
                Some((*kind).to_owned())
            }
            (ResponseOutcome::Complete | ResponseOutcome::Running, Some(kind)) => {
                span.set_status(Status::error(""));
                Some(kind)
            }
            // The client disconnected, which is recorded, but is not an error of this server.
            (ResponseOutcome::Running, None) if !is_answered => Some("cancelled".to_owned()),
            (ResponseOutcome::Running | ResponseOutcome::Complete, None) => None,
        };
        if let Some(kind) = kind {
            let kind = KeyValue::new(ERROR_TYPE, kind);
            span.set_attribute(kind.clone());
            self.metric_attributes.push(kind);
        }
        span.end();
        if let Some(instruments) = self.telemetry.instruments() {
            instruments.server_duration.record(
                self.started.elapsed().as_secs_f64(),
                &self.metric_attributes,
            );
        }
    }
}

#[cfg(feature = "axum")]
fn route_of<'a>(head: &RequestMetadata<'a>) -> Option<&'a str> {
    head.extensions
        .get()
        .map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
const fn route_of<'a>(_head: &RequestMetadata<'a>) -> Option<&'a str> {
    None
}

/// Returns the address of the peer, where the server attached it.
fn peer_of(head: &RequestMetadata<'_>) -> Option<std::net::SocketAddr> {
    let peer = head.extensions.get().map(|ClientAddress(peer)| *peer);
    #[cfg(feature = "axum")]
    let peer = peer.or_else(|| {
        let connected = head.extensions.get();
        connected.map(|axum::extract::ConnectInfo(peer)| *peer)
    });
    peer
}

/// Returns the attributes that the metric has too, all of low cardinality.
fn common_attributes(
    head: &RequestMetadata<'_>,
    route: Option<&str>,
    grpc: Option<GrpcMethod<'_>>,
    forwarded: &ForwardedRequest<'_>,
) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(18);
    attributes.push(KeyValue::new(
        HTTP_REQUEST_METHOD,
        known_method(head.method).unwrap_or("_OTHER"),
    ));
    // A request in origin form has no scheme, and TLS ends before this layer.
    let scheme = forwarded.scheme.or_else(|| head.uri.scheme_str());
    attributes.push(KeyValue::new(
        URL_SCHEME,
        scheme.unwrap_or("http").to_owned(),
    ));
    attributes.extend(route.map(|route| KeyValue::new(HTTP_ROUTE, route.to_owned())));
    attributes.extend(
        protocol_version(head.version)
            .map(|version| KeyValue::new(NETWORK_PROTOCOL_VERSION, version)),
    );
    // Without the method: a client may call any, and a metric must not grow with them.
    attributes.extend(grpc.map(|_| KeyValue::new(RPC_SYSTEM, "grpc")));
    attributes
}

/// Adds the attributes that only the span has.
fn push_span_attributes(
    head: &RequestMetadata<'_>,
    grpc: Option<GrpcMethod<'_>>,
    forwarded: &ForwardedRequest<'_>,
    attributes: &mut Vec<KeyValue>,
) {
    if known_method(head.method).is_none() {
        attributes.push(KeyValue::new(
            HTTP_REQUEST_METHOD_ORIGINAL,
            head.method.as_str().to_owned(),
        ));
    }
    attributes.push(KeyValue::new(URL_PATH, head.uri.path().to_owned()));
    let query = head.uri.query().map(redact::query);
    attributes.extend(query.map(|query| KeyValue::new(URL_QUERY, query.into_owned())));
    let authority = forwarded
        .host
        .and_then(|host| host.parse::<Authority>().ok())
        .or_else(|| head.uri.authority().cloned())
        // HTTP/2 has the authority in the URI, HTTP/1.1 in the Host header.
        .or_else(|| head.header(header::HOST.as_str())?.parse().ok());
    if let Some(authority) = authority {
        attributes.push(KeyValue::new(SERVER_ADDRESS, authority.host().to_owned()));
        attributes.extend(
            authority
                .port_u16()
                .map(|port| KeyValue::new(SERVER_PORT, i64::from(port))),
        );
    }
    let peer = peer_of(head);
    let client = forwarded.client.map(str::to_owned);
    // The port is that of the proxy, where there is one.
    let port = peer.filter(|_| client.is_none()).map(|peer| peer.port());
    let client = client.or_else(|| peer.map(|peer| peer.ip().to_string()));
    attributes.extend(client.map(|client| KeyValue::new(CLIENT_ADDRESS, client)));
    attributes.extend(port.map(|port| KeyValue::new(CLIENT_PORT, i64::from(port))));
    attributes.extend(
        head.header(header::USER_AGENT.as_str())
            .map(|agent| KeyValue::new(USER_AGENT_ORIGINAL, agent.to_owned())),
    );
    if let Some(grpc) = grpc {
        attributes.retain(|attribute| attribute.key.as_str() != RPC_SYSTEM);
        grpc.push_attributes(attributes);
    }
}
