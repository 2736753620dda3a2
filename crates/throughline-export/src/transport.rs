//! One request with spans, over HTTP or gRPC, and what came of it (opentelemetry-proto, `docs/specification.md`).

mod answer;
mod tls;

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
use throughline_model::Span;
use throughline_otlp::encode_protobuf;

use self::answer::Answer;
pub use self::tls::Error as TlsError;
use crate::config::{Compression, Config, Endpoint, Protocol};

/// The way to one endpoint. Connections are kept between requests.
#[derive(Debug)]
pub(crate) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    endpoint: Endpoint,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

/// What came of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The collector has it; of its spans, it refused so many, and said why.
    Taken { refused: u64, message: String },
    /// The collector will not have it, however often it is sent.
    Refused { reason: String },
    /// It may go well later, at the soonest after the time the collector asked for.
    Failed {
        reason: String,
        asked: Option<Duration>,
    },
}

/// The most bytes of an answer that are read.
const ANSWER_MAX: usize = 64 << 10;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

// === impl Transport ===

impl Transport {
    /// # Errors
    /// When the certificates cannot be used.
    pub(crate) fn build(config: &Config) -> Result<Self, TlsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(30)));
        let is_grpc = config.endpoint.protocol() == Protocol::Grpc;
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

    /// The body of a request with these spans, to be sent as often as need be.
    pub(crate) fn body(&self, spans: &[Span]) -> Bytes {
        let message = encode_protobuf(spans);
        let message = match self.compression {
            Compression::None => message,
            Compression::Gzip => gzip(&message),
        };
        match self.endpoint.protocol() {
            Protocol::HttpProtobuf => message.into(),
            Protocol::Grpc => framed(&message, self.compression),
        }
    }

    /// Sends it once.
    pub(crate) async fn send(&self, body: Bytes) -> Outcome {
        match tokio::time::timeout(self.timeout, self.exchange(body)).await {
            Ok(Ok(answer)) => match self.endpoint.protocol() {
                Protocol::HttpProtobuf => answer.of_http(),
                Protocol::Grpc => answer.of_grpc(),
            },
            Ok(Err(reason)) => Outcome::Failed {
                reason,
                asked: None,
            },
            Err(_) => Outcome::Failed {
                reason: format!("no answer within {:?}", self.timeout),
                asked: None,
            },
        }
    }

    async fn exchange(&self, body: Bytes) -> Result<Answer, String> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri().clone();
        request.headers_mut().clone_from(&self.headers);
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| innermost(&error))?;
        let (head, body) = answer.into_parts();
        match Limited::new(body, ANSWER_MAX).collect().await {
            Ok(body) => {
                let trailers = body.trailers().cloned();
                Ok(Answer {
                    status: head.status,
                    headers: head.headers,
                    trailers,
                    body: body.to_bytes(),
                })
            }
            Err(error) => Err(format!(
                "its answer broke off: {}",
                innermost(error.as_ref())
            )),
        }
    }
}

/// The headers of every request. What the protocol needs stands, whatever the configuration says.
fn headers(config: &Config) -> HeaderMap {
    let mut headers = config.headers.clone();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("throughline/", env!("CARGO_PKG_VERSION"))),
    );
    let gzip =
        (config.compression == Compression::Gzip).then_some(HeaderValue::from_static("gzip"));
    match config.endpoint.protocol() {
        Protocol::HttpProtobuf => {
            headers.insert(
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-protobuf"),
            );
            headers.extend(gzip.map(|gzip| (CONTENT_ENCODING, gzip)));
        }
        Protocol::Grpc => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.extend(gzip.map(|gzip| (GRPC_ENCODING, gzip)));
        }
    }
    headers
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    drop(encoder.write_all(message));
    encoder.finish().unwrap_or_default()
}

/// The message with its prefix: a flag for compression, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
fn framed(message: &[u8], compression: Compression) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(message.len() + 5);
    frame.push(u8::from(compression == Compression::Gzip));
    frame.extend(length.to_be_bytes());
    frame.extend(message);
    frame.into()
}

/// The cause that says most: libraries wrap it in words of their own.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
