//! OTLP over HTTP: `POST /v1/traces` in protobuf or JSON, answered in the same (opentelemetry-proto, `docs/specification.md`,
//! section "OTLP/HTTP").

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use throughline_otlp::{RejectedSpans, decode_json, decode_protobuf, response};
use tonic::Code;

use crate::config::Door;
use crate::intake::{Intake, Refusal};

/// The routes of the door.
pub(crate) fn router(intake: Arc<Intake>) -> Router {
    Router::new()
        .route("/v1/traces", post(export))
        .route(
            "/v1/metrics",
            post(async |intake, body| traces_only(intake, body, NO_METRICS).await),
        )
        .route(
            "/v1/logs",
            post(async |intake, body| traces_only(intake, body, NO_LOGS).await),
        )
        .with_state(intake)
}

/// The two encodings of a request and its answer.
#[derive(Debug, Clone, Copy)]
enum Format {
    Protobuf,
    Json,
}

async fn export(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Response {
    let Some(format) = Format::of(&headers) else {
        intake.discard(body).await;
        let message = "the content type must be application/x-protobuf or application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    };
    match take(&intake, format, &headers, body).await {
        Ok(rejected) => format.accepted(&rejected),
        Err(refusal) => format.refused(&refusal, &intake),
    }
}

async fn traces_only(
    State(intake): State<Arc<Intake>>,
    body: Body,
    message: &'static str,
) -> Response {
    intake.discard(body).await;
    (StatusCode::NOT_FOUND, message).into_response()
}

async fn take(
    intake: &Arc<Intake>,
    format: Format,
    headers: &HeaderMap,
    body: Body,
) -> Result<RejectedSpans, Refusal> {
    let (encoding, body) = intake.admit_encoded(headers, body).await?;
    let decode = move |bytes: &[u8]| {
        let decoded = match format {
            Format::Protobuf => decode_protobuf(bytes),
            Format::Json => decode_json(bytes),
        };
        decoded.map_err(|error| Refusal::Malformed(error.to_string()))
    };
    intake.keep(Door::OtlpHttp, body, encoding, decode).await
}

// === impl Format ===

impl Format {
    /// From the header `content-type`, whatever its parameters.
    fn of(headers: &HeaderMap) -> Option<Self> {
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

    fn accepted(self, rejected: &RejectedSpans) -> Response {
        match self {
            Self::Protobuf => self.respond(StatusCode::OK, response::export_protobuf(rejected)),
            Self::Json => self.respond(StatusCode::OK, response::export_json(rejected)),
        }
    }

    fn refused(self, refusal: &Refusal, intake: &Intake) -> Response {
        let (status, code) = verdict(refusal);
        let (code, message) = (i32::from(code), refusal.to_string());
        let mut answer = match self {
            Self::Protobuf => self.respond(status, response::status_protobuf(code, &message)),
            Self::Json => self.respond(status, response::status_json(code, &message)),
        };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            answer
                .headers_mut()
                .insert(RETRY_AFTER, intake.retry_after().as_secs().into());
        }
        answer
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

/// How a refusal is told, in HTTP and in gRPC. Clients send again after 503 and UNAVAILABLE, and after none of the others.
pub(crate) const fn verdict(refusal: &Refusal) -> (StatusCode, Code) {
    match refusal {
        Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        Refusal::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted),
        Refusal::Slow => (StatusCode::REQUEST_TIMEOUT, Code::DeadlineExceeded),
        Refusal::Encoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented),
        Refusal::Broken(_) | Refusal::Gzip(_) | Refusal::Malformed(_) => {
            (StatusCode::BAD_REQUEST, Code::InvalidArgument)
        }
        Refusal::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Code::Internal),
    }
}

/// SDKs send all they have to one endpoint unless told otherwise, and complain of the answer: it should say how to tell them.
const NO_METRICS: &str = "this collector keeps traces only; turn the sender's metrics off with OTEL_METRICS_EXPORTER=none\n";
const NO_LOGS: &str =
    "this collector keeps traces only; turn the sender's logs off with OTEL_LOGS_EXPORTER=none\n";
