//! A collector that runs for one test, and clients for it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use throughline_collector::{
    CollectorAddresses, CollectorLimits, CollectorServer, Config, ListenerPort,
};
use throughline_store::{MemoryStore, Store};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A collector on free ports; it stops with the test.
#[derive(Debug)]
pub(crate) struct RunningCollector {
    pub(crate) addresses: CollectorAddresses,
    pub(crate) runtime: Runtime,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl RunningCollector {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut CollectorLimits)) -> Self {
        Self::configured(|config| change(&mut config.limits))
    }

    pub(crate) fn configured(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_store(Arc::new(MemoryStore::new(512 << 20)), change)
    }

    pub(crate) fn with_store(store: Arc<dyn Store>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            otlp_grpc_port: 0,
            otlp_http_port: 0,
            zipkin_port: 0,
            query_port: 0,
            query_grpc: ListenerPort::Required(0),
            ..Config::default()
        };
        change(&mut config);
        let runtime = Runtime::new().unwrap();
        let collector = runtime.block_on(CollectorServer::bind(config)).unwrap();
        let addresses = collector.addresses();
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(collector.run_with_store(store, async {
            stopped.await.unwrap_or_default();
        }));
        Self {
            addresses,
            runtime,
            stop: Some(stop),
            served: Some(served),
        }
    }

    /// Stops the collector and returns the time that took.
    pub(crate) fn stop(mut self) -> Duration {
        let begun = Instant::now();
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).unwrap();
        }
        begun.elapsed()
    }

    /// Sends spans in OTLP's JSON; all of them must be accepted.
    pub(crate) fn send(&self, request: &Value) {
        let response = self.post(
            self.addresses.otlp_http,
            "/v1/traces",
            &[JSON],
            request.to_string().as_bytes(),
        );
        assert_eq!((response.status, response.text().as_str()), (200, "{}"));
    }

    /// Sends a query that must be answered with 200.
    pub(crate) fn query(&self, path: &str) -> Value {
        let response = self.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.json()
    }

    pub(crate) fn get(&self, path: &str) -> HttpResponse {
        let response = agent()
            .get(format!("http://{}{path}", self.addresses.query))
            .call()
            .unwrap();
        HttpResponse::of(response)
    }

    pub(crate) fn post(
        &self,
        to: SocketAddr,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        let mut request = agent().post(format!("http://{to}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        HttpResponse::of(request.send(body).unwrap())
    }
}

impl HttpResponse {
    fn of(mut response: http::Response<ureq::Body>) -> Self {
        let body = response.body_mut().read_to_vec().unwrap();
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body,
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)));
    config.build().new_agent()
}

/// Sends bytes and reads until the peer closes the connection, for at most ten seconds.
pub(crate) fn raw(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = open(to, bytes);
    let mut response = Vec::new();
    stream.read_to_end(&mut response).unwrap();
    String::from_utf8_lossy(&response).into_owned()
}

/// Opens a connection and sends bytes.
pub(crate) fn open(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

/// Polls until there is a result, for at most ten seconds.
pub(crate) fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(result) = poll() {
            return result;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Returns a request with one span of this trace id and span id, both in hex.
pub(crate) fn request(trace: &str, span: &str) -> Value {
    let resource = serde_json::json!({
        "attributes": [{ "key": "service.name", "value": { "stringValue": "eshop" } }],
    });
    let span = serde_json::json!({
        "traceId": trace, "spanId": span, "name": "GET /checkout", "kind": 2,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000250000000",
    });
    serde_json::json!({
        "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }],
    })
}

/// Returns a request with one span in protobuf, with a span name of this length.
pub(crate) fn request_protobuf(name: usize) -> Vec<u8> {
    use prost::Message as _;
    request_message(name).encode_to_vec()
}

pub(crate) fn request_message(
    name: usize,
) -> opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "x".repeat(name),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans {
        spans: vec![span],
        ..ScopeSpans::default()
    }];
    let resource_spans = vec![ResourceSpans {
        scope_spans,
        ..ResourceSpans::default()
    }];
    opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest { resource_spans }
}

/// Compresses with gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");
pub(crate) const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
pub(crate) const GZIP: (&str, &str) = ("content-encoding", "gzip");
pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
