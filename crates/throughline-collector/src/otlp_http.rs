//! OTLP over HTTP: `POST /v1/traces` in protobuf or JSON, answered in the same encoding
//! (opentelemetry-proto, `docs/specification.md`, section "OTLP/HTTP").

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::{self, CONTENT_TYPE, HeaderMap, HeaderValue};
use throughline_otlp::{RejectedSpans, decode_json, decode_protobuf, response};

use crate::config::CollectorEndpoint;
use crate::ingest::{IngestError, IngestPipeline, RETRY_AFTER};

/// Responses to other signals. SDKs send all signals to one endpoint by default and log the
/// response, so it names the setting that stops them.
const NO_METRICS: &str = "this collector stores traces only; \
                          turn the sender's metrics off with OTEL_METRICS_EXPORTER=none\n";
const NO_LOGS: &str = "this collector stores traces only; \
                       turn the sender's logs off with OTEL_LOGS_EXPORTER=none\n";

/// Returns the routes of the endpoint.
pub(crate) fn router(pipeline: Arc<IngestPipeline>) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .route(
            "/v1/metrics",
            post(async |pipeline, body| reject_signal(pipeline, body, NO_METRICS).await),
        )
        .route(
            "/v1/logs",
            post(async |pipeline, body| reject_signal(pipeline, body, NO_LOGS).await),
        )
        .with_state(pipeline)
}

/// The encoding of a request and its response.
#[derive(Debug, Clone, Copy)]
enum PayloadEncoding {
    Protobuf,
    Json,
}

async fn export(
    State(pipeline): State<Arc<IngestPipeline>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Without a known encoding the error cannot be in that of the request: plain text.
    let Some(encoding) = PayloadEncoding::from_headers(&headers) else {
        pipeline.discard(body).await;
        let message = "the content type must be application/x-protobuf or application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    };
    match ingest(&pipeline, encoding, &headers, body).await {
        Ok(rejected) => encoding.success_response(&rejected),
        Err(error) => encoding.error_response(&error),
    }
}

async fn reject_signal(
    State(pipeline): State<Arc<IngestPipeline>>,
    body: Body,
    message: &'static str,
) -> Response {
    pipeline.discard(body).await;
    (StatusCode::NOT_FOUND, message).into_response()
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    encoding: PayloadEncoding,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, IngestError> {
    let (compression, body) = pipeline.admit_encoded(headers, body).await?;
    let decode = move |bytes: &[u8]| {
        let decoded = match encoding {
            PayloadEncoding::Protobuf => decode_protobuf(bytes),
            PayloadEncoding::Json => decode_json(bytes),
        };
        decoded.map_err(|error| IngestError::Malformed(error.to_string()))
    };
    let endpoint = CollectorEndpoint::OtlpHttp;
    pipeline.store(endpoint, body, compression, decode).await
}

// === impl PayloadEncoding ===

impl PayloadEncoding {
    /// Reads the `content-type` header, whatever its parameters.
    fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let media_type = headers
            .get(CONTENT_TYPE)?
            .to_str()
            .ok()?
            .split(';')
            .next()?
            .trim();
        if media_type.eq_ignore_ascii_case("application/x-protobuf") {
            Some(Self::Protobuf)
        } else if media_type.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }

    fn success_response(self, rejected: &RejectedSpans) -> Response {
        // OTLP: rejected spans are a partial success with status 200, which is not retried.
        match self {
            Self::Protobuf => self.respond(StatusCode::OK, response::export_protobuf(rejected)),
            Self::Json => self.respond(StatusCode::OK, response::export_json(rejected)),
        }
    }

    fn error_response(self, error: &IngestError) -> Response {
        let (status, code) = error.status();
        let (code, message) = (i32::from(code), error.to_string());
        // OTLP: the body of an error is a `google.rpc.Status` in the encoding of the request.
        let mut response = match self {
            Self::Protobuf => self.respond(status, response::status_protobuf(code, &message)),
            Self::Json => self.respond(status, response::status_json(code, &message)),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = RETRY_AFTER.as_secs().into();
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }

    fn respond(self, status: StatusCode, body: impl Into<Body>) -> Response {
        let media_type = match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        };
        (
            status,
            [(CONTENT_TYPE, HeaderValue::from_static(media_type))],
            body.into(),
        )
            .into_response()
    }
}
