//! Batches over HTTP: `POST /api/traces`, and the path of remote sampling on the same port.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use throughline_otlp::RejectedSpans;

use super::batch::decode_batch;
use super::sampling;
use super::thrift::ThriftProtocol;
use crate::access::IngestGrant;
use crate::config::CollectorEndpoint;
use crate::ingest::{IngestError, IngestPipeline};

/// Returns the routes of the endpoint.
pub(crate) fn router(pipeline: Arc<IngestPipeline>) -> Router {
    Router::new()
        .route("/api/traces", post(export))
        .with_state(pipeline)
        .merge(sampling::collector_router())
}

async fn export(
    State(pipeline): State<Arc<IngestPipeline>>,
    grant: IngestGrant,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(protocol) = protocol(&headers) else {
        pipeline.discard(body).await;
        let message = "the content type must be application/x-thrift or \
                       application/vnd.apache.thrift.binary\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    };
    match ingest(&pipeline, grant, &headers, body, protocol).await {
        // The protocol has no partial success: rejected spans are counted in the metrics, and
        // named here for people.
        Ok(rejected) => (StatusCode::ACCEPTED, rejected.to_string()).into_response(),
        Err(error) => {
            let (status, _) = error.status();
            let mut response = (status, format!("{error}\n")).into_response();
            error.add_retry_header(&mut response);
            response
        }
    }
}

async fn ingest(
    pipeline: &Arc<IngestPipeline>,
    grant: IngestGrant,
    headers: &HeaderMap,
    body: Body,
    protocol: ThriftProtocol,
) -> Result<RejectedSpans, IngestError> {
    let (codings, body) = pipeline.admit_encoded(headers, body).await?;
    let decode = move |bytes: &[u8]| decode_batch(bytes, protocol);
    let endpoint = CollectorEndpoint::JaegerHttp;
    pipeline.store(endpoint, grant, body, codings, decode).await
}

/// Returns the protocol that the content type names.
fn protocol(headers: &HeaderMap) -> Option<ThriftProtocol> {
    let media_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let media_type = media_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default();
    match media_type.trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"application/x-thrift" | b"application/vnd.apache.thrift.binary" => {
            Some(ThriftProtocol::Binary)
        }
        b"application/vnd.apache.thrift.compact" => Some(ThriftProtocol::Compact),
        _ => None,
    }
}
