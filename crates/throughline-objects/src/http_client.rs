//! HTTP and TLS of the client: hyper, and rustls with ring.
//!
//! The library's own client is reqwest, which wants a provider of cryptography from the process as
//! soon as it is built for TLS; and cargo builds it once for all that is built together, the SDK's
//! exporters among them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientConfigKey, ClientOptions, Error};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// Time to connect, for a response to begin, and without a byte of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes per second of the slowest upload: a response begins once the request is there.
const SLOWEST_UPLOAD: u64 = 256 << 10;
/// Connections without a request that are kept.
const MAX_IDLE: usize = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Makes the client of a bucket.
#[derive(Debug)]
pub(crate) struct HyperConnector {
    authorities: Arc<RootCertStore>,
}

#[derive(Debug)]
struct HyperService {
    client: Client<HttpsConnector<TcpConnector>, HttpRequestBody>,
}

/// The body of a response, which fails when nothing comes for a while, however long it is.
struct TimedBody {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
}

// === impl HyperConnector ===

impl HyperConnector {
    /// Makes a connector that trusts the authorities in this file of PEM, or those of the system.
    pub(crate) fn new(authorities: Option<&str>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = authorities {
            let certificates = CertificateDer::pem_file_iter(path).map_err(io::Error::other)?;
            for certificate in certificates {
                let certificate = certificate.map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
            }
            if roots.is_empty() {
                return Err(io::Error::other("it has no certificate"));
            }
        } else {
            // Certificates that cannot be read are missed when one is checked.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Ok(Self {
            authorities: Arc::new(roots),
        })
    }

    fn tls_config(&self) -> object_store::Result<ClientConfig> {
        let setup = |source: rustls::Error| Error::Generic {
            store: "S3",
            source: Box::new(source),
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config
            .with_safe_default_protocol_versions()
            .map_err(setup)?;
        let authorities = Arc::clone(&self.authorities);
        Ok(config
            .with_root_certificates(authorities)
            .with_no_client_auth())
    }
}

impl HttpConnector for HyperConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let tls = HttpsConnectorBuilder::new().with_tls_config(self.tls_config()?);
        let tls = if allows_http.is_some_and(|it| it == "true") {
            tls.https_or_http()
        } else {
            tls.https_only()
        };
        let mut tcp = TcpConnector::new();
        // The connector around this one handles `https`.
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(tls.enable_http1().wrap_connector(tcp));
        Ok(HttpClient::new(HyperService { client }))
    }
}

// === impl HyperService ===

#[async_trait]
impl HttpService for HyperService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let upload = request.body().size_hint().upper().unwrap_or(0) / SLOWEST_UPLOAD;
        let time = RESPONSE_TIMEOUT + Duration::from_secs(upload);
        let response = timeout(time, self.client.request(request)).await;
        let response = response
            .map_err(|elapsed| HttpError::new(HttpErrorKind::Timeout, elapsed))?
            .map_err(into_http_error)?;
        let (head, body) = response.into_parts();
        let body = TimedBody {
            body,
            deadline: Box::pin(sleep(READ_TIMEOUT)),
        };
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

// === impl TimedBody ===

impl Body for TimedBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.deadline.as_mut().reset(Instant::now() + READ_TIMEOUT);
            let frame = frame.map(|it| it.map_err(interrupted));
            return Poll::Ready(frame);
        }
        let stalled = || io::Error::from(io::ErrorKind::TimedOut);
        let deadline = self.deadline.as_mut().poll(context);
        deadline.map(|()| Some(Err(HttpError::new(HttpErrorKind::Timeout, stalled()))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn interrupted(error: hyper::Error) -> HttpError {
    HttpError::new(HttpErrorKind::Interrupted, error)
}

/// Returns an error with the kind by which the library decides whether to repeat the request.
fn into_http_error(error: ClientError) -> HttpError {
    let kind = if error.is_connect() {
        HttpErrorKind::Connect
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error)
}
