//! A proxy for HTTP, with clients and services.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use throughline_model::{Span, Value};
use throughline_proxy::http::{
    Config, ConnectPorts, HttpLimits, HttpListenerConfig, HttpRoute, UpstreamOrigin,
    UpstreamProtocol,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{LIMIT, Running, Spans, config, listen, within};

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// A running proxy and the spans that it has exported.
pub(crate) struct HttpFixture {
    pub(crate) proxy: Running,
    pub(crate) spans: Arc<Spans>,
}

// === impl HttpFixture ===

impl HttpFixture {
    pub(crate) async fn start(http: Config) -> Self {
        let spans = Arc::new(Spans::default());
        let sink: Arc<Spans> = Arc::clone(&spans);
        let proxy = Running::start_with(
            throughline_proxy::Config {
                http,
                ..config(Vec::new())
            },
            sink,
        )
        .await;
        Self { proxy, spans }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.addresses.http[0]
    }

    /// Opens an HTTP/1.1 connection.
    pub(crate) async fn http1(&self) -> http1::SendRequest<Body> {
        http1_to(self.address()).await
    }

    /// Opens an HTTP/2 connection.
    pub(crate) async fn http2(&self) -> http2::SendRequest<Body> {
        http2_to(self.address()).await
    }

    /// Sends bytes and returns everything received until the close.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(bytes.as_ref()).await.unwrap();
        let mut response = Vec::new();
        // The proxy may reset the connection after its response.
        drop(within(stream.read_to_end(&mut response)).await);
        String::from_utf8_lossy(&response).into_owned()
    }

    /// Waits for this number of spans and returns them.
    pub(crate) async fn spans(&self, count: usize) -> Vec<Span> {
        let begin = tokio::time::Instant::now();
        loop {
            let spans = self.spans.0.lock().unwrap().clone();
            if spans.len() >= count {
                assert_eq!(spans.len(), count, "{spans:#?}");
                return spans;
            }
            assert!(
                begin.elapsed() < LIMIT,
                "{} spans of {count}: {spans:#?}",
                spans.len()
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

/// Returns the configuration of a listener in front of a service.
pub(crate) fn inbound(service: SocketAddr) -> Config {
    listening(HttpRoute::Service {
        address: service.to_string().parse().unwrap(),
        protocol: UpstreamProtocol::Same,
    })
}

/// Returns the configuration of a forward proxy, as clients use it with `http_proxy`.
pub(crate) fn forward_proxy(connect: ConnectPorts) -> Config {
    listening(HttpRoute::Named { connect })
}

pub(crate) fn fixed_origin(to: &str, tls: bool) -> Config {
    listening(HttpRoute::Fixed(UpstreamOrigin {
        address: to.parse().unwrap(),
        tls,
    }))
}

pub(crate) fn listening(route: HttpRoute) -> Config {
    let listener = HttpListenerConfig {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        route,
        tls: None,
    };
    Config {
        listeners: vec![listener],
        ..Config::default()
    }
}

pub(crate) fn with_limits(http: Config, change: impl FnOnce(&mut HttpLimits)) -> Config {
    let mut http = http;
    change(&mut http.limits);
    http
}

/// Starts a service with this handler.
pub(crate) async fn service<F, R>(response: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, response.clone()));
        }
    });
    address
}

async fn serve<F, R>(stream: TcpStream, response: F)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let response = service_fn(move |request| {
        let responding = response(request);
        async move { Ok::<_, Infallible>(responding.await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    drop(
        builder
            .serve_connection_with_upgrades(TokioIo::new(stream), response)
            .await,
    );
}

/// Responds with the request: its line, its fields, and its body at the end.
pub(crate) async fn echo() -> SocketAddr {
    service(|request| async move {
        let (parts, body) = request.into_parts();
        let mut head = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
        for (name, value) in &parts.headers {
            head += &format!("{name}: {}\n", value.to_str().unwrap());
        }
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Response::new(text_body(head + &String::from_utf8_lossy(&body)))
    })
    .await
}

pub(crate) async fn http1_to(address: SocketAddr) -> http1::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender
}

pub(crate) async fn http2_to(address: SocketAddr) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn get(uri: &str) -> Request<Body> {
    Request::builder()
        .uri(uri)
        .header("host", "shop")
        .body(empty_body())
        .unwrap()
}

pub(crate) fn empty_body() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

pub(crate) fn text_body(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// Reads a response and returns its status and body.
pub(crate) async fn read_response(response: Response<Incoming>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Returns an attribute as text.
pub(crate) fn attribute_text(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|pair| pair.key == key)?;
    Some(if let Value::String(text) = &found.value {
        text.to_string()
    } else {
        format!("{:?}", found.value)
    })
}
