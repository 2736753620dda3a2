//! Ingest over sockets: spans a second with the sender on the same cores, and spans per CPU second
//! of the collector alone, which is a process of its own.
//!
//! `cargo bench -p throughline-cli --bench ingest -- [SPANS]` prints a line of JSON per case:
//! OTLP over HTTP and gRPC, plain and with gzip. Spans are durable after 200 ms at the latest, and
//! count once they are sealed.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, which fails by panicking"
)]

#[path = "../../throughline-segments/benches/store/spans.rs"]
mod spans;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use self::spans::{BATCH_SPANS, request, resources};

/// Connections that send at once, one request each.
const SENDERS: usize = 4;

/// Spans after which a generation is sealed.
const GENERATION_SPANS: u64 = 1 << 18;

/// Time for one case.
const LIMIT: Duration = Duration::from_secs(600);

/// A way to send.
#[derive(Debug, Clone, Copy)]
struct IngestCase {
    name: &'static str,
    is_grpc: bool,
    is_gzip: bool,
}

/// A collector, which ends with the measurement.
struct CollectorProcess(Child);

const CASES: [IngestCase; 4] = [
    IngestCase {
        name: "OTLP/HTTP",
        is_grpc: false,
        is_gzip: false,
    },
    IngestCase {
        name: "OTLP/HTTP, gzip",
        is_grpc: false,
        is_gzip: true,
    },
    IngestCase {
        name: "OTLP/gRPC",
        is_grpc: true,
        is_gzip: false,
    },
    IngestCase {
        name: "OTLP/gRPC, gzip",
        is_grpc: true,
        is_gzip: true,
    },
];

fn main() {
    let spans = std::env::args().find_map(|it| it.parse().ok());
    let spans: u64 = spans.unwrap_or(1 << 20);
    let generations = spans.div_ceil(GENERATION_SPANS);
    for case in CASES {
        measure(case, generations);
    }
}

fn measure(case: IngestCase, generations: u64) {
    // A generation takes what its senders have under way when it is full. With that much more for
    // each, all of them fill up and are sealed.
    let spans = generations * (GENERATION_SPANS + SENDERS as u64 * BATCH_SPANS);
    let folder = tempfile::tempdir().unwrap();
    let resources = resources();
    let batches = (0..spans).step_by(usize::try_from(BATCH_SPANS).unwrap());
    let requests = batches.map(|first| body(case, &request(first, &resources)));
    let requests: Vec<Bytes> = requests.collect();
    let mut collector = CollectorProcess::start(folder.path());
    let child = &mut collector.0;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let addresses: serde_json::Value = serde_json::from_str(&line).unwrap();
    let endpoint = if case.is_grpc {
        "otlp_grpc"
    } else {
        "otlp_http"
    };
    let address = addresses.get(endpoint).unwrap().as_str().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let (started, before) = (Instant::now(), cpu_seconds(child.id()));
    send(case, address, requests);
    let sent = started.elapsed();
    let cpu_sent = cpu_seconds(child.id()) - before;
    let segments = usize::try_from(generations).unwrap();
    while files(folder.path(), "index").len() < segments {
        assert!(started.elapsed() < LIMIT, "the segments were not sealed");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let (seconds, cpu) = (started.elapsed(), cpu_seconds(child.id()) - before);
    let bytes = |extension: &str| {
        let files = files(folder.path(), extension).into_iter();
        let sizes = files.map(|file| file.metadata().unwrap().len());
        sizes.sum::<u64>() / spans
    };
    let memory = peak_megabytes(child.id());
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let line = json!({
        "case": case.name,
        "spans": spans,
        "acknowledged_per_second": (spans as f64 / sent.as_secs_f64()).round(),
        "sealed_per_second": (spans as f64 / seconds.as_secs_f64()).round(),
        "acknowledged_per_cpu_second": (spans as f64 / cpu_sent).round(),
        "sealed_per_cpu_second": (spans as f64 / cpu).round(),
        "parquet_bytes_per_span": bytes("parquet"),
        "index_bytes_per_span": bytes("index"),
        "peak_mib": memory,
    });
    println!("{line}");
}

// === impl CollectorProcess ===

impl CollectorProcess {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
        command.args(["up", "--json", "--min-free", "0", "--data"]);
        command.arg(folder);
        for port in ["otlp-grpc", "otlp-http", "zipkin", "query"] {
            command.args([format!("--{port}-port"), "0".to_owned()]);
        }
        for port in ["http", "compact", "binary", "sampling"] {
            command.args([format!("--jaeger-{port}-port"), "off".to_owned()]);
        }
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for CollectorProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Returns the files of the segments with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let hours = std::fs::read_dir(folder.join("segments")).into_iter();
    let hours = hours.flatten().flatten().map(|hour| hour.path());
    let files = hours.flat_map(|hour| std::fs::read_dir(hour).into_iter().flatten());
    let files = files.flatten().map(|file| file.path());
    let files = files.filter(|path| path.extension().is_some_and(|own| own == extension));
    files.collect()
}

fn body(case: IngestCase, otlp: &[u8]) -> Bytes {
    let mut content = otlp.to_vec();
    if case.is_gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(otlp).unwrap();
        content = encoder.finish().unwrap();
    }
    if case.is_grpc {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let prefix = [&[u8::from(case.is_gzip)], length.as_slice()].concat();
        content.splice(0..0, prefix);
    }
    content.into()
}

fn send(case: IngestCase, address: SocketAddr, requests: Vec<Bytes>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        let senders = (0..SENDERS).map(|_| {
            let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
            tokio::spawn(send_all(case, address, requests, next))
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.unwrap();
        }
    });
}

async fn send_all(
    case: IngestCase,
    address: SocketAddr,
    requests: Arc<Vec<Bytes>>,
    next: Arc<AtomicUsize>,
) {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    if case.is_grpc {
        let executor = TokioExecutor::new();
        let handshake = hyper::client::conn::http2::handshake(executor, stream);
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        while let Some(body) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let response = sender.send_request(grpc_request(case, address, body));
            let response = response.await.unwrap();
            let status = response.headers().get("grpc-status").cloned();
            let trailers = response.into_body().collect().await.unwrap();
            let trailers = trailers.trailers().cloned().unwrap_or_default();
            let status = status.or_else(|| trailers.get("grpc-status").cloned());
            assert_eq!(status.unwrap(), "0");
        }
        return;
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    while let Some(body) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
        let mut request = Request::post("/v1/traces")
            .header("host", address.to_string())
            .header("content-type", "application/x-protobuf");
        if case.is_gzip {
            request = request.header("content-encoding", "gzip");
        }
        let request = request.body(Full::new(body.clone())).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
}

fn grpc_request(case: IngestCase, address: SocketAddr, body: &Bytes) -> Request<Full<Bytes>> {
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let mut request = Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if case.is_gzip {
        request = request.header("grpc-encoding", "gzip");
    }
    request.body(Full::new(body.clone())).unwrap()
}

/// Returns the CPU time of a process, in seconds (proc(5), `stat`, in ticks of 10 ms).
fn cpu_seconds(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks = fields.skip(11).take(2).map(|it| it.parse::<u32>().unwrap());
    ticks.map(f64::from).sum::<f64>() / 100.0
}

/// Returns the greatest memory of a process, in mebibytes (proc(5), `status`).
fn peak_megabytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() / 1024
}
