//! A proxy on loopback sockets, scripted clients and brokers, and the proxy's log.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline_intercept::kafka::{ClusterCapacity, Settings};
use throughline_model::{SinkFull, Span, SpanSink};
use throughline_proxy::{
    AddressedCluster, Config, ConnectionLimits, HostPort, ListenerConfig, ListenerRoute, PortRange,
    Proxy, ProxyAddresses, ProxyControl,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::subscriber::DefaultGuard;

/// A proxy that runs until it is stopped.
pub(crate) struct Running {
    pub(crate) addresses: ProxyAddresses,
    pub(crate) control: ProxyControl,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// A sink that collects spans.
#[derive(Debug, Default)]
pub(crate) struct Spans(pub(crate) Mutex<Vec<Span>>);

impl SpanSink for Spans {
    fn try_send(&self, span: Span) -> Result<(), SinkFull> {
        match self.0.lock() {
            Ok(mut spans) => spans.push(span),
            Err(_) => return Err(SinkFull),
        }
        Ok(())
    }
}

/// Returns a listener on a free port in front of these brokers.
pub(crate) fn before(brokers: &[SocketAddr]) -> ListenerConfig {
    let bootstrap = brokers
        .iter()
        .map(|broker| broker.to_string().parse::<HostPort>().unwrap())
        .collect();
    let route = AddressedCluster {
        bootstrap,
        broker_ports: PortRange::Any,
        advertise: None,
        state: None,
    };
    ListenerConfig {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        route: ListenerRoute::Addressed(route),
    }
}

pub(crate) fn config(listeners: Vec<ListenerConfig>) -> Config {
    Config {
        listeners,
        broker_tls: None,
        client_tls: None,
        admin: Some((Ipv4Addr::LOCALHOST, 0).into()),
        limits: ConnectionLimits {
            connect_timeout: Duration::from_secs(5),
            ..ConnectionLimits::default()
        },
        capacity: ClusterCapacity::default(),
        settings: Arc::new(Settings::default()),
        http: throughline_proxy::http::Config::default(),
    }
}

// === impl Running ===

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_with(config, Arc::new(Spans::default())).await
    }

    pub(crate) async fn start_with(config: Config, sink: Arc<dyn SpanSink>) -> Self {
        let proxy = Proxy::bind(config, sink).await.unwrap();
        let (addresses, control) = (proxy.addresses().clone(), proxy.control());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(proxy.run(async { drop(stopped.await) }));
        Self {
            addresses,
            control,
            stop: Some(stop),
            task,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addresses.listeners[0])
            .await
            .unwrap()
    }

    /// Starts the drain without waiting for its end.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the proxy has drained.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("the proxy does not stop")
            .unwrap();
    }

    /// Returns the status and the whole response of the admin port.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.addresses.admin.unwrap())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// Waits until the metrics contain this line.
    pub(crate) async fn until_metric(&self, line: &str) {
        let begin = tokio::time::Instant::now();
        loop {
            let (_, text) = self.get("/metrics").await;
            if text.lines().any(|own| own == line) {
                return;
            }
            assert!(begin.elapsed() < LIMIT, "{line} is missing in:\n{text}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Binds a port for a simulated broker.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Returns an address on which no socket listens.
pub(crate) fn closed_port() -> SocketAddr {
    // It stays bound without listening, so that no other test gets the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    Box::leak(Box::new(socket));
    address
}

/// Starts a broker that echoes the body of every request.
pub(crate) async fn echo_broker() -> SocketAddr {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echo(stream));
        }
    });
    address
}

/// Answers requests with their correlation id and all bytes behind the client id.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(frame) = read_frame(&mut stream).await {
        let answer = [&frame[4..8], &frame[10..]].concat();
        if stream.write_all(&framed(&answer)).await.is_err() {
            return;
        }
    }
}

/// Returns a request of an unknown API.
pub(crate) fn request(correlation: i32, body: &[u8]) -> Vec<u8> {
    let head = [200_i16.to_be_bytes(), 0_i16.to_be_bytes()].concat();
    framed(
        &[
            &head[..],
            &correlation.to_be_bytes(),
            &(-1_i16).to_be_bytes(),
            body,
        ]
        .concat(),
    )
}

pub(crate) fn framed(frame: &[u8]) -> Vec<u8> {
    [&i32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

/// Reads the next frame without its length; `None` at the end of the stream.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Sends a request and checks the echoed response.
pub(crate) async fn round_trip(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    correlation: i32,
    body: &[u8],
) {
    stream.write_all(&request(correlation, body)).await.unwrap();
    let response = within(read_frame(stream)).await.expect("a response");
    assert_eq!(response, [&correlation.to_be_bytes()[..], body].concat());
}

/// Waits for the end of the stream, in order or by an error.
pub(crate) async fn read_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut byte = [0];
    assert!(
        matches!(within(stream.read(&mut byte)).await, Ok(0) | Err(_)),
        "the stream goes on"
    );
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("timed out")
}

/// The log lines of this thread while the guard lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn new() -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .map_err(|_| std::io::Error::other("poisoned"))?
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Longer than any test takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
