//! OTLP requests over HTTP or gRPC (opentelemetry-proto, `docs/specification.md`).

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use throughline_otlp::encode_protobuf_into;

use crate::config::{Compression, Config, ExportProtocol, OtlpEndpoint};
use crate::queue::SpanBatch;
use crate::queued::QueuedSpans;
use crate::response::{ExportOutcome, ExportResponse, GRPC_PREFIX_BYTES};
use crate::tls;

/// The largest response that is read.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// Interval of TCP keep-alive probes, so that a vanished collector is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// A client of one endpoint. Connections are reused.
#[derive(Debug)]
pub(crate) struct OtlpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: OtlpEndpoint,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

// === impl OtlpClient ===

impl OtlpClient {
    /// Builds a client, without connecting.
    ///
    /// # Errors
    /// When the certificates are invalid.
    pub(crate) fn build(config: &Config) -> Result<Self, tls::Error> {
        let mut tcp = HttpConnector::new();
        // The connector of TLS around this one handles `https`.
        tcp.enforce_http(false);
        // A request is one write; Nagle's algorithm would only delay it.
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_INTERVAL));
        let is_grpc = config.endpoint.protocol() == ExportProtocol::Grpc;
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls::configure(&config.tls, &config.endpoint)?)
            .https_or_http();
        let connector = if is_grpc {
            https.enable_http2().wrap_connector(tcp)
        } else {
            https.enable_http1().wrap_connector(tcp)
        };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            // gRPC needs HTTP/2 even without TLS, where it cannot be negotiated ("prior
            // knowledge").
            .http2_only(is_grpc)
            .build(connector);
        Ok(Self {
            client,
            endpoint: config.endpoint.clone(),
            headers: headers(config),
            compression: config.compression,
            timeout: config.timeout,
        })
    }

    /// Encodes a request with these spans, in the memory of `buffer` if possible. Its bytes are
    /// shared by all attempts.
    pub(crate) fn encode(&self, batch: &SpanBatch, buffer: Vec<u8>) -> Bytes {
        let spans = batch.entries.iter().map(QueuedSpans::as_span_ref);
        let message = encode_protobuf_into(buffer, spans);
        let message = match self.compression {
            Compression::None => message,
            Compression::Gzip => gzip(&message),
        };
        match self.endpoint.protocol() {
            ExportProtocol::HttpProtobuf => message.into(),
            ExportProtocol::Grpc => grpc_frame(&message, self.compression),
        }
    }

    /// Sends a request once.
    pub(crate) async fn send(&self, body: Bytes) -> ExportOutcome {
        // The timeout covers connecting, sending and the whole response.
        match tokio::time::timeout(self.timeout, self.exchange(body)).await {
            Ok(Ok(response)) => match self.endpoint.protocol() {
                ExportProtocol::HttpProtobuf => response.http_outcome(),
                ExportProtocol::Grpc => response.grpc_outcome(),
            },
            Ok(Err(reason)) => ExportOutcome::Retryable {
                reason,
                retry_after: None,
            },
            Err(_) => ExportOutcome::Retryable {
                reason: format!("no response within {:?}", self.timeout),
                retry_after: None,
            },
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<ExportResponse, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri().clone();
        request.headers_mut().clone_from(&self.headers);
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| root_cause(&error))?;
        let (head, body) = response.into_parts();
        // A broken collector must not make its clients buffer without bound.
        match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
            Ok(body) => {
                let trailers = body.trailers().cloned();
                Ok(ExportResponse {
                    status: head.status,
                    headers: head.headers,
                    trailers,
                    body: body.to_bytes(),
                })
            }
            Err(error) => Err(format!(
                "response was cut off: {}",
                root_cause(error.as_ref())
            )),
        }
    }
}

/// Returns the headers of every request.
fn headers(config: &Config) -> HeaderMap {
    // Headers of the protocol come last, so that configured ones cannot replace them.
    let mut headers = config.headers.clone();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("throughline/", env!("CARGO_PKG_VERSION"))),
    );
    let gzip =
        (config.compression == Compression::Gzip).then_some(HeaderValue::from_static("gzip"));
    match config.endpoint.protocol() {
        ExportProtocol::HttpProtobuf => {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-protobuf"),
            );
            headers.extend(gzip.map(|gzip| (CONTENT_ENCODING, gzip)));
        }
        ExportProtocol::Grpc => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            // Required by gRPC over HTTP/2, to detect proxies that drop trailers.
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.extend(gzip.map(|gzip| (GRPC_ENCODING, gzip)));
        }
    }
    headers
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing into a Vec cannot fail.
    drop(encoder.write_all(message));
    encoder.finish().unwrap_or_default()
}

/// Frames a message: compression flag, length, bytes (gRPC over HTTP/2, "Length-Prefixed-Message").
fn grpc_frame(message: &[u8], compression: Compression) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(message.len() + GRPC_PREFIX_BYTES);
    frame.push(u8::from(compression == Compression::Gzip));
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// Returns the root cause: libraries wrap it in messages that add nothing.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
