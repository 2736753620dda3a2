//! The configuration of an exporter, as plain values. `environment.rs` reads it from
//! OpenTelemetry's variables.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Uri};
use throughline_model::environment::otlp::OtlpSignal;

/// The gRPC method for traces (opentelemetry-proto, `trace_service.proto`).
const GRPC_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The configuration of an exporter. The default sends to a local collector at the standard port.
#[derive(Debug, Clone)]
pub struct Config {
    /// The collector and its protocol.
    pub endpoint: OtlpEndpoint,
    /// Headers of every request, such as an API key. Values marked sensitive do not appear in logs.
    pub headers: HeaderMap,
    /// Compression of requests.
    pub compression: Compression,
    /// Time limit of one attempt, connecting included.
    pub timeout: Duration,
    /// Certificates, for an `https` endpoint.
    pub tls: TlsSettings,
    /// Queue and batch sizes.
    pub batch: BatchSettings,
    /// Retries of a batch.
    pub retry: RetrySettings,
}

/// An OTLP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExportProtocol {
    /// `http/protobuf`: a POST to `/v1/traces`, usually at port 4318.
    #[default]
    HttpProtobuf,
    /// `grpc`: usually at port 4317.
    Grpc,
}

/// A receiver of spans: a checked URL and its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint {
    protocol: ExportProtocol,
    uri: Uri,
}

/// Compression of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// None, which suits a collector nearby.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// TLS certificates in PEM.
#[derive(Clone, Default)]
pub struct TlsSettings {
    /// Trusted authorities, in place of the system's.
    pub authorities: Option<Vec<u8>>,
    /// Client certificate with its chain, and its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Queue and batch sizes (OpenTelemetry SDK, "Batching processor").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// Maximum number of queued spans; more are dropped.
    pub max_queue_spans: usize,
    /// Maximum memory of queued spans in bytes; more are dropped.
    pub max_queue_bytes: usize,
    /// Maximum number of spans in a request.
    pub max_batch_spans: usize,
    /// Longest time that a span waits for its batch to fill. OpenTelemetry's default is 5 s; this
    /// one is shorter, so that traces appear while one watches.
    pub delay: Duration,
}

/// Retries of a batch that the collector did not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Interval after the first failure; it doubles with each further one.
    pub initial_interval: Duration,
    /// Upper bound of the interval. A `retry-after` of the collector is bounded by
    /// [`RetrySettings::MAX_RETRY_AFTER_INTERVALS`] times this.
    pub max_interval: Duration,
    /// Time after which a batch is dropped, so that newer ones get their turn.
    pub max_elapsed_time: Duration,
}

/// The reason why a URL is not a valid endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not an `http` or `https` URL with a host and a valid port.
    #[error("not a URL of the form http://host:port")]
    InvalidUrl,
    /// It holds a user name or password, which would end up in logs.
    #[error("holds credentials; pass them as a header (OTEL_EXPORTER_OTLP_HEADERS)")]
    Credentials,
}

// === impl Config ===

impl Config {
    /// Returns the default configuration with this endpoint.
    #[must_use]
    pub fn to(endpoint: OtlpEndpoint) -> Self {
        Self {
            endpoint,
            headers: HeaderMap::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            tls: TlsSettings::default(),
            batch: BatchSettings::default(),
            retry: RetrySettings::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::to(OtlpEndpoint::local(ExportProtocol::default()))
    }
}

// === impl OtlpEndpoint ===

impl OtlpEndpoint {
    /// Parses the base URL of a collector, `http://host:port`, to which the protocol adds its path.
    ///
    /// # Errors
    /// When the URL is malformed or holds credentials.
    pub fn collector(url: &str, protocol: ExportProtocol) -> Result<Self, EndpointError> {
        match protocol {
            ExportProtocol::Grpc => Self::exact(url, protocol),
            ExportProtocol::HttpProtobuf => {
                let path = OtlpSignal::Traces.path();
                // The signal's path extends the path of the URL, not a query behind it.
                let (base, query) = url
                    .split_once('?')
                    .map_or((url, None), |(base, query)| (base, Some(query)));
                let url = format!("{}/{path}", base.trim_end_matches('/'));
                Self::exact(
                    &query.map_or_else(|| url.clone(), |query| format!("{url}?{query}")),
                    protocol,
                )
            }
        }
    }

    /// Parses a complete URL. For gRPC the path is always that of the method.
    ///
    /// # Errors
    /// When the URL is malformed or holds credentials.
    pub fn exact(url: &str, protocol: ExportProtocol) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| {
            // A password with a special character makes the URL malformed: name the likelier cause.
            if url.contains('@') {
                EndpointError::Credentials
            } else {
                EndpointError::InvalidUrl
            }
        })?;
        let authority = uri.authority().ok_or(EndpointError::InvalidUrl)?;
        if authority.as_str().contains('@') {
            return Err(EndpointError::Credentials);
        }
        // `Uri` also parses a bare authority and other schemes.
        if !matches!(uri.scheme_str(), Some("http" | "https")) || !is_address(authority) {
            return Err(EndpointError::InvalidUrl);
        }
        let mut parts = uri.into_parts();
        if protocol == ExportProtocol::Grpc {
            // gRPC addresses a method by its path; a path of the URL has no meaning.
            parts.path_and_query = Some(PathAndQuery::from_static(GRPC_METHOD));
        }
        Ok(Self {
            protocol,
            uri: Uri::from_parts(parts).map_err(|_| EndpointError::InvalidUrl)?,
        })
    }

    /// Returns the endpoint of a local collector at the protocol's standard port.
    #[must_use]
    pub fn local(protocol: ExportProtocol) -> Self {
        let uri = match protocol {
            ExportProtocol::HttpProtobuf => Uri::from_static("http://localhost:4318/v1/traces"),
            ExportProtocol::Grpc => Uri::from_static(
                "http://localhost:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ),
        };
        Self { protocol, uri }
    }

    /// Returns the protocol.
    #[must_use]
    pub const fn protocol(&self) -> ExportProtocol {
        self.protocol
    }

    /// Returns the host; an IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Returns the port, which is that of the scheme where the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        let default_port = if self.is_secure() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(default_port)
    }

    /// Returns whether it uses TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the address of requests.
    pub(crate) const fn uri(&self) -> &Uri {
        &self.uri
    }
}

/// Formats the URL for logs: without the gRPC method, and without the query, which may hold a
/// secret.
impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        write!(
            f,
            "{}://{authority}",
            self.uri.scheme_str().unwrap_or("http")
        )?;
        if self.protocol == ExportProtocol::HttpProtobuf {
            f.write_str(self.uri.path())
        } else {
            Ok(())
        }
    }
}

/// Returns whether the authority has a host, and a valid port or none. `Uri` accepts any digits.
fn is_address(authority: &Authority) -> bool {
    let is_port_valid =
        authority.as_str() == authority.host() || authority.port_u16().is_some_and(|port| port > 0);
    !authority.host().is_empty() && is_port_valid
}

// === impl TlsSettings ===

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A private key must not reach a log.
        let (authorities, client) = (self.authorities.is_some(), self.client.is_some());
        f.debug_struct("TlsSettings")
            .field("authorities", &authorities)
            .field("client", &client)
            .finish()
    }
}

// === impl BatchSettings ===

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            max_queue_spans: 16_384,
            max_queue_bytes: 32 << 20,
            max_batch_spans: 512,
            delay: Duration::from_millis(500),
        }
    }
}

impl BatchSettings {
    /// Maximum memory of the spans in a request, in bytes. Their protobuf is smaller, and a gRPC
    /// server accepts 4 MiB by default.
    pub(crate) const MAX_BATCH_BYTES: usize = 3 << 20;
}

// === impl RetrySettings ===

impl RetrySettings {
    /// The bound of a collector's `retry-after`, in multiples of the longest interval.
    pub const MAX_RETRY_AFTER_INTERVALS: u32 = 6;
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_millis(250),
            max_interval: Duration::from_secs(5),
            max_elapsed_time: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(url: &str, protocol: ExportProtocol) -> Result<String, EndpointError> {
        OtlpEndpoint::collector(url, protocol).map(|endpoint| endpoint.uri().to_string())
    }

    #[test]
    fn collector_url_gets_the_path_of_its_protocol() {
        let http = ExportProtocol::HttpProtobuf;
        assert_eq!(
            collector("http://c:4318", http).unwrap(),
            "http://c:4318/v1/traces"
        );
        assert_eq!(
            collector("http://c:4318/", http).unwrap(),
            "http://c:4318/v1/traces"
        );
        assert_eq!(
            collector("https://c/otlp?key=1", http).unwrap(),
            "https://c/otlp/v1/traces?key=1"
        );
        assert_eq!(
            collector("http://[::1]:4318", http).unwrap(),
            "http://[::1]:4318/v1/traces"
        );
        assert_eq!(
            collector("http://c:4317", ExportProtocol::Grpc).unwrap(),
            format!("http://c:4317{GRPC_METHOD}")
        );
        assert_eq!(
            OtlpEndpoint::exact("http://c/x", http)
                .unwrap()
                .uri()
                .path(),
            "/x"
        );
    }

    #[test]
    fn invalid_endpoints_are_rejected() {
        for url in [
            "",
            "c:4318",
            "http://",
            "ftp://c",
            "http://c:0",
            "http://c:70000",
            "http://c:",
            "/v1/traces",
        ] {
            assert_eq!(
                collector(url, ExportProtocol::HttpProtobuf),
                Err(EndpointError::InvalidUrl),
                "{url}"
            );
        }
        assert_eq!(
            collector("http://me:secret@c:4318", ExportProtocol::Grpc),
            Err(EndpointError::Credentials)
        );
    }

    #[test]
    fn secrets_do_not_appear_in_formatted_settings() {
        let shown = |url, protocol| OtlpEndpoint::exact(url, protocol).unwrap().to_string();
        assert_eq!(
            shown(
                "https://c/v1/traces?token=abc",
                ExportProtocol::HttpProtobuf
            ),
            "https://c/v1/traces"
        );
        assert_eq!(
            shown("http://c:4317", ExportProtocol::Grpc),
            "http://c:4317"
        );
        let tls = TlsSettings {
            authorities: None,
            client: Some((b"certificate".to_vec(), b"key".to_vec())),
        };
        assert_eq!(
            format!("{tls:?}"),
            "TlsSettings { authorities: false, client: true }"
        );
    }

    #[test]
    fn local_endpoints_equal_their_parsed_urls() {
        let http = OtlpEndpoint::collector("http://localhost:4318", ExportProtocol::HttpProtobuf);
        assert_eq!(
            OtlpEndpoint::local(ExportProtocol::HttpProtobuf),
            http.unwrap()
        );
        assert_eq!(
            OtlpEndpoint::local(ExportProtocol::Grpc),
            OtlpEndpoint::collector("http://localhost:4317", ExportProtocol::Grpc).unwrap()
        );
    }
}
