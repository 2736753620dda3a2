//! OTLP over HTTP: `POST /v1/traces` in protobuf or JSON, answered in the same encoding
//! (opentelemetry-proto, `docs/specification.md`, section "OTLP/HTTP"). Metrics and logs are
//! accepted and dropped.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::{self, CONTENT_TYPE, HeaderMap, HeaderValue};
use throughline_otlp::{RejectedSpans, decode_json, response};

use crate::access::IngestGrant;
use crate::config::CollectorEndpoint;
use crate::ingest::{ACCEPTED_CODINGS, IgnoredSignal, IngestError, IngestPipeline};

/// Returns the routes of the endpoint.
pub(crate) fn router(pipeline: Arc<IngestPipeline>) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .route(
            "/v1/metrics",
            post(async |pipeline, headers, body| {
                drop_signal(pipeline, headers, body, IgnoredSignal::Metrics).await
            }),
        )
        .route(
            "/v1/logs",
            post(async |pipeline, headers, body| {
                drop_signal(pipeline, headers, body, IgnoredSignal::Logs).await
            }),
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
    grant: IngestGrant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Without a known encoding the error cannot be in that of the request: plain text.
    let Some(encoding) = PayloadEncoding::from_headers(&headers) else {
        pipeline.discard(body).await;
        let message = "the content type must be application/x-protobuf or application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    };
    match ingest(&pipeline, grant, encoding, &headers, body).await {
        Ok(rejected) => encoding.success_response(&rejected),
        Err(error) => encoding.error_response(&error),
    }
}

async fn drop_signal(
    State(pipeline): State<Arc<IngestPipeline>>,
    headers: HeaderMap,
    body: Body,
    signal: IgnoredSignal,
) -> Response {
    let endpoint = CollectorEndpoint::OtlpHttp;
    pipeline.drop_signal(endpoint, signal, body).await;
    // The responses of all signals are alike, and an empty one is a full success.
    let encoding = PayloadEncoding::from_headers(&headers).unwrap_or(PayloadEncoding::Protobuf);
    encoding.success_response(&RejectedSpans::default())
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    grant: IngestGrant,
    encoding: PayloadEncoding,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, IngestError> {
    let (compression, body) = pipeline.admit_encoded(headers, body).await?;
    let endpoint = CollectorEndpoint::OtlpHttp;
    match encoding {
        PayloadEncoding::Protobuf => {
            pipeline
                .store_otlp(endpoint, grant, body, compression)
                .await
        }
        PayloadEncoding::Json => {
            let decode = |bytes: &[u8]| {
                decode_json(bytes).map_err(|error| IngestError::Malformed(error.to_string()))
            };
            pipeline
                .store(endpoint, grant, body, compression, decode)
                .await
        }
    }
}

/// The name in the OTLP specification, and those that HTTP libraries give protobuf.
const PROTOBUF_TYPES: [&str; 3] = [
    "application/x-protobuf",
    "application/protobuf",
    "application/vnd.google.protobuf",
];

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
        let is = |name: &&str| media_type.eq_ignore_ascii_case(name);
        if PROTOBUF_TYPES.iter().any(is) {
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
        error.add_retry_header(&mut response);
        if let IngestError::UnsupportedEncoding(_) = error {
            // RFC 9110, section 15.5.16: names the codings that the client may use.
            let codings = HeaderValue::from_static(ACCEPTED_CODINGS);
            response
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, codings);
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
