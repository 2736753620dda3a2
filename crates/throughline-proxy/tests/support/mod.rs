//! A proxy on loopback sockets, clients and brokers that do as they are told, and what the proxy logs.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use throughline_intercept::kafka::{Capacity, Settings};
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

/// Spans that came out.
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

/// A listener on a free port before these brokers.
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
        capacity: Capacity::default(),
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

    /// Tells it to stop, and does not wait for it.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(LIMIT, self.task)
            .await
            .expect("the proxy does not end")
            .unwrap();
    }

    /// Status and body of what it answers on its own port.
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

    /// Waits until the metrics have this line.
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

/// A port on which a broker can be played.
pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port on which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    listen().await.1
}

/// Answers every request on every connection with what it asked.
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

/// Answers requests until the end: the correlation id, and all behind the client id.
pub(crate) async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    while let Some(frame) = read_frame(&mut stream).await {
        let answer = [&frame[4..8], &frame[10..]].concat();
        if stream.write_all(&framed(&answer)).await.is_err() {
            return;
        }
    }
}

/// A request of an API that nobody knows.
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

/// The next frame without its length, or nothing at the end.
pub(crate) async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = stream.read_i32().await.ok()?;
    let mut frame = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Asks, and has its answer.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    correlation: i32,
    body: &[u8],
) {
    stream.write_all(&request(correlation, body)).await.unwrap();
    let answer = within(read_frame(stream)).await.expect("an answer");
    assert_eq!(answer, [&correlation.to_be_bytes()[..], body].concat());
}

/// The end of the stream, whether orderly or not.
pub(crate) async fn read_end(stream: &mut (impl AsyncRead + Unpin)) {
    let mut byte = [0];
    assert!(
        matches!(within(stream.read(&mut byte)).await, Ok(0) | Err(_)),
        "not the end"
    );
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("not within the time")
}

/// What is logged on this thread while it lives.
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

/// Longer than anything here takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
