//! What an exporter can be told. Plain values; [`Config::from_environment`] reads them from OpenTelemetry's variables.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Uri};

/// What an exporter can be told. The default sends to a collector on this machine at the usual port.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where spans go, and how that place is spoken to.
    pub endpoint: Endpoint,
    /// Headers of every request, such as an API key. Values marked sensitive do not show in logs.
    pub headers: HeaderMap,
    /// Whether requests are made smaller on the way.
    pub compression: Compression,
    /// How long one attempt may take, connecting included.
    pub timeout: Duration,
    /// Whom to trust and who we are, for an endpoint with `https`.
    pub tls: Tls,
    /// How many spans wait, and for how long.
    pub batching: Batching,
    /// How often and for how long a batch is tried again.
    pub retry: Retry,
}

/// An OTLP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `http/protobuf`: a POST to `/v1/traces`, usually at port 4318.
    #[default]
    HttpProtobuf,
    /// `grpc`: usually at port 4317.
    Grpc,
}

/// A place that takes spans: a checked URL and its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    protocol: Protocol,
    uri: Uri,
}

/// How requests are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all: right for a collector nearby.
    #[default]
    None,
    /// By gzip.
    Gzip,
}

/// TLS, in PEM. Without authorities those of the system are trusted.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificates that are trusted instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// Our own certificate with its chain, and its key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// How many spans wait, and for how long (OpenTelemetry's batch span processor).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Spans that may wait; more are dropped.
    pub queue_spans: usize,
    /// Bytes of spans that may wait, as memory counts them; more are dropped.
    pub queue_bytes: usize,
    /// Spans of one request.
    pub batch_spans: usize,
    /// How long a span waits for others. OpenTelemetry says 5 s; here it is less, so that whoever looks sees it at once.
    pub delay: Duration,
}

/// How a batch is tried again that a collector did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The pause after the first failure; it doubles with each.
    pub first: Duration,
    /// The longest pause of our own choice; also what a collector's wish for a longer one is cut to, times [`Retry::PATIENCE`].
    pub longest: Duration,
    /// How long one batch is tried before it is dropped, so that newer ones have their turn.
    pub give_up_after: Duration,
}

/// Why a URL is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not an `http` or `https` URL with a host and a port that exists.
    #[error("not a URL of the form http://host:port")]
    Url,
    /// A name and a password in it, which would end up in logs.
    #[error("holds credentials; give them as a header (OTEL_EXPORTER_OTLP_HEADERS)")]
    Credentials,
}

/// The one path of OTLP over HTTP for traces.
const TRACES: &str = "v1/traces";

/// The one method of OTLP over gRPC for traces.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

// === impl Config ===

impl Config {
    /// Sends to this endpoint; everything else as by default.
    #[must_use]
    pub fn to(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            headers: HeaderMap::new(),
            compression: Compression::None,
            timeout: Duration::from_secs(10),
            tls: Tls::default(),
            batching: Batching::default(),
            retry: Retry::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::to(Endpoint::local(Protocol::default()))
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// The collector at this address: `http://host:port`, to which the protocol adds its path.
    ///
    /// # Errors
    /// [`BadEndpoint`].
    pub fn collector(url: &str, protocol: Protocol) -> Result<Self, BadEndpoint> {
        match protocol {
            Protocol::Grpc => Self::exact(url, protocol),
            Protocol::HttpProtobuf => {
                // The path is added to the path, not to a query behind it.
                let (base, query) = url
                    .split_once('?')
                    .map_or((url, None), |(base, query)| (base, Some(query)));
                let url = format!("{}/{TRACES}", base.trim_end_matches('/'));
                Self::exact(
                    &query.map_or_else(|| url.clone(), |query| format!("{url}?{query}")),
                    protocol,
                )
            }
        }
    }

    /// Exactly this URL. For gRPC the path is that of the method, whatever the URL says.
    ///
    /// # Errors
    /// [`BadEndpoint`].
    pub fn exact(url: &str, protocol: Protocol) -> Result<Self, BadEndpoint> {
        let uri: Uri = url.parse().map_err(|_| {
            if url.contains('@') {
                BadEndpoint::Credentials
            } else {
                BadEndpoint::Url
            }
        })?;
        let authority = uri.authority().ok_or(BadEndpoint::Url)?;
        if authority.as_str().contains('@') {
            return Err(BadEndpoint::Credentials);
        }
        if !matches!(uri.scheme_str(), Some("http" | "https")) || !is_address(authority) {
            return Err(BadEndpoint::Url);
        }
        let mut parts = uri.into_parts();
        if protocol == Protocol::Grpc {
            parts.path_and_query = Some(PathAndQuery::from_static(METHOD));
        }
        Ok(Self {
            protocol,
            uri: Uri::from_parts(parts).map_err(|_| BadEndpoint::Url)?,
        })
    }

    /// A collector on this machine, at the port that the protocol usually has.
    #[must_use]
    pub fn local(protocol: Protocol) -> Self {
        let uri = match protocol {
            Protocol::HttpProtobuf => Uri::from_static("http://localhost:4318/v1/traces"),
            Protocol::Grpc => Uri::from_static(
                "http://localhost:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            ),
        };
        Self { protocol, uri }
    }

    /// How it is spoken to.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether it is spoken to by TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// What requests are addressed to.
    pub(crate) const fn uri(&self) -> &Uri {
        &self.uri
    }
}

/// The URL as a person would write it: the method of gRPC is left out, and so is a query, which may hold a secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.uri.authority().map_or("", Authority::as_str);
        write!(
            f,
            "{}://{authority}",
            self.uri.scheme_str().unwrap_or("http")
        )?;
        if self.protocol == Protocol::HttpProtobuf {
            f.write_str(self.uri.path())
        } else {
            Ok(())
        }
    }
}

/// A host, and a port that exists or none at all. `Uri` itself takes any digits for a port.
fn is_address(authority: &Authority) -> bool {
    let port_is_right =
        authority.as_str() == authority.host() || authority.port_u16().is_some_and(|port| port > 0);
    !authority.host().is_empty() && port_is_right
}

// === impl Tls ===

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (authorities, client) = (self.authorities.is_some(), self.client.is_some());
        f.debug_struct("Tls")
            .field("authorities", &authorities)
            .field("client", &client)
            .finish()
    }
}

// === impl Batching, Retry ===

impl Default for Batching {
    fn default() -> Self {
        Self {
            queue_spans: 16_384,
            queue_bytes: 32 << 20,
            batch_spans: 512,
            delay: Duration::from_millis(500),
        }
    }
}

impl Batching {
    /// Bytes of one request, as memory counts them, which is more than its protobuf: gRPC servers take 4 MiB unless told otherwise.
    pub(crate) const BATCH_BYTES: usize = 3 << 20;
}

impl Retry {
    /// A collector that asks for a pause gets at most so many times the longest of our own.
    pub const PATIENCE: u32 = 6;
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collector(url: &str, protocol: Protocol) -> Result<String, BadEndpoint> {
        Endpoint::collector(url, protocol).map(|endpoint| endpoint.uri().to_string())
    }

    #[test]
    fn a_collector_s_address_gets_the_path_of_its_protocol() {
        let http = Protocol::HttpProtobuf;
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
            collector("http://c:4317", Protocol::Grpc).unwrap(),
            format!("http://c:4317{METHOD}")
        );
        assert_eq!(
            Endpoint::exact("http://c/x", http).unwrap().uri().path(),
            "/x"
        );
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
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
                collector(url, Protocol::HttpProtobuf),
                Err(BadEndpoint::Url),
                "{url}"
            );
        }
        assert_eq!(
            collector("http://me:secret@c:4318", Protocol::Grpc),
            Err(BadEndpoint::Credentials)
        );
    }

    #[test]
    fn an_endpoint_is_shown_without_what_may_be_secret() {
        let shown = |url, protocol| Endpoint::exact(url, protocol).unwrap().to_string();
        assert_eq!(
            shown("https://c/v1/traces?token=abc", Protocol::HttpProtobuf),
            "https://c/v1/traces"
        );
        assert_eq!(shown("http://c:4317", Protocol::Grpc), "http://c:4317");
        let tls = Tls {
            authorities: None,
            client: Some((b"certificate".to_vec(), b"key".to_vec())),
        };
        assert_eq!(
            format!("{tls:?}"),
            "Tls { authorities: false, client: true }"
        );
    }

    #[test]
    fn the_local_endpoints_are_those_that_a_url_would_give() {
        let http = Endpoint::collector("http://localhost:4318", Protocol::HttpProtobuf);
        assert_eq!(Endpoint::local(Protocol::HttpProtobuf), http.unwrap());
        assert_eq!(
            Endpoint::local(Protocol::Grpc),
            Endpoint::collector("http://localhost:4317", Protocol::Grpc).unwrap()
        );
    }
}
