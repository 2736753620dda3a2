//! Ingest over sockets: spans a second with the sender on the same cores, and spans per CPU second
//! of the collector alone, which is a process of its own.
//!
//! `cargo bench -p throughline-cli --bench ingest -- [SPANS]` prints a line of JSON per case:
//! OTLP over HTTP and gRPC, plain and with gzip. Spans are durable after 200 ms at the latest, and
//! count once they are sealed, with their index.
//!
//! With `--jaeger BINARY` the collector, and that Jaeger over its memory store and over Badger,
//! take turns in `--rounds`; lines with the medians follow. A Jaeger has no batch processor, so
//! that it acknowledges spans once they are stored, and its spans count then.
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
use tempfile::TempDir;
use throughline_testkit::jaeger::{JaegerInstance, JaegerStore};
use tokio::net::TcpStream;

use self::spans::{BATCH_SPANS, TRACE_SPANS, request, resources, trace_id};

/// Connections that send at once, one request each.
const SENDERS: usize = 4;

/// Spans after which a generation is sealed.
const GENERATION_SPANS: u64 = 1 << 18;

/// Time for one case.
const LIMIT: Duration = Duration::from_secs(600);

/// Rounds of a comparison.
const ROUNDS: usize = 3;

/// A way to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IngestCase {
    name: &'static str,
    is_grpc: bool,
    is_gzip: bool,
}

/// A program that receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IngestTarget {
    Throughline,
    JaegerMemory,
    JaegerBadger,
}

/// A running collector or Jaeger, which ends with the measurement.
#[derive(Debug)]
enum TargetProcess {
    Collector(Child),
    Jaeger(Box<JaegerInstance>),
}

/// The figures of one run.
#[derive(Debug, Clone, Copy)]
struct IngestFigures {
    case: IngestCase,
    target: IngestTarget,
    spans: u64,
    /// Until the last acknowledgement, and until all is stored and indexed.
    acknowledged: (Duration, f64),
    stored: (Duration, f64),
    peak_mib: u64,
    parquet_bytes: u64,
    index_bytes: u64,
}

const HTTP: IngestCase = IngestCase {
    name: "OTLP/HTTP",
    is_grpc: false,
    is_gzip: false,
};

const GRPC: IngestCase = IngestCase {
    name: "OTLP/gRPC",
    is_grpc: true,
    is_gzip: false,
};

const CASES: [IngestCase; 4] = [
    HTTP,
    IngestCase {
        name: "OTLP/HTTP, gzip",
        is_gzip: true,
        ..HTTP
    },
    GRPC,
    IngestCase {
        name: "OTLP/gRPC, gzip",
        is_gzip: true,
        ..GRPC
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|it| it == name)?;
        arguments.get(at + 1).cloned()
    };
    // Cargo adds an argument of its own; the number comes before those of the options.
    let number = arguments.iter().find_map(|it| it.parse().ok());
    let spans: u64 = number.unwrap_or(1 << 20);
    let generations = spans.div_ceil(GENERATION_SPANS);
    if let Some(jaeger) = option("--jaeger") {
        let rounds = option("--rounds").map_or(ROUNDS, |it| it.parse().unwrap());
        compare(Path::new(&jaeger), generations, rounds);
        return;
    }
    for case in CASES {
        let figures = measure(case, IngestTarget::Throughline, Path::new(""), generations);
        println!("{}", figures.json());
    }
}

/// Measures the collector and Jaeger in turns, and prints medians.
fn compare(jaeger: &Path, generations: u64, rounds: usize) {
    let mut all = Vec::new();
    for _ in 0..rounds {
        for case in [HTTP, GRPC] {
            for target in IngestTarget::ALL {
                let figures = measure(case, target, jaeger, generations);
                println!("{}", figures.json());
                all.push(figures);
            }
        }
    }
    for case in [HTTP, GRPC] {
        let rate = |target, per_cpu: bool| {
            let runs = all.iter();
            let runs = runs.filter(|it| it.case == case && it.target == target);
            let mut rates: Vec<f64> = runs
                .map(|it| it.rate(if per_cpu { it.stored.1 } else { it.seconds() }))
                .collect();
            rates.sort_by(f64::total_cmp);
            *rates.get(rates.len() / 2).unwrap()
        };
        for target in IngestTarget::ALL {
            let (own, own_cpu) = (rate(target, false), rate(target, true));
            let ours = IngestTarget::Throughline;
            let line = json!({
                "case": case.name,
                "target": target.name(),
                "rounds": rounds,
                "stored_per_second": own,
                "stored_per_cpu_second": own_cpu,
                "times_as_fast": rate(ours, false) / own,
                "times_per_cpu_second": rate(ours, true) / own_cpu,
            });
            println!("{line}");
        }
    }
}

fn measure(
    case: IngestCase,
    target: IngestTarget,
    jaeger: &Path,
    generations: u64,
) -> IngestFigures {
    // A generation takes what its senders have under way when it is full. With that much more for
    // each, all of them fill up and are sealed.
    let spans = generations * (GENERATION_SPANS + SENDERS as u64 * BATCH_SPANS);
    let folder = tempfile::tempdir().unwrap();
    let resources = resources();
    let batches = (0..spans).step_by(usize::try_from(BATCH_SPANS).unwrap());
    let requests = batches.map(|first| body(case, &request(first, &resources)));
    let requests: Vec<Bytes> = requests.collect();
    let (process, address) = TargetProcess::start(case, target, jaeger, &folder, spans);
    let id = process.id();
    let (started, before) = (Instant::now(), cpu_seconds(id));
    send(case, address, requests);
    let acknowledged = (started.elapsed(), cpu_seconds(id) - before);
    let mut stored = acknowledged;
    match &process {
        TargetProcess::Collector(_) => {
            let segments = usize::try_from(generations).unwrap();
            while files(folder.path(), "index").len() < segments {
                assert!(started.elapsed() < LIMIT, "the segments were not sealed");
                std::thread::park_timeout(Duration::from_millis(5));
            }
            stored = (started.elapsed(), cpu_seconds(id) - before);
        }
        TargetProcess::Jaeger(jaeger) => check_stored(jaeger, spans),
    }
    let bytes = |extension: &str| {
        let files = files(folder.path(), extension).into_iter();
        let sizes = files.map(|file| file.metadata().unwrap().len());
        sizes.sum::<u64>() / spans
    };
    IngestFigures {
        case,
        target,
        spans,
        acknowledged,
        stored,
        peak_mib: peak_megabytes(id),
        parquet_bytes: bytes("parquet"),
        index_bytes: bytes("index"),
    }
}

/// Asserts that a Jaeger has the first, the last and other traces whole.
fn check_stored(jaeger: &JaegerInstance, spans: u64) {
    let traces = spans / TRACE_SPANS;
    for trace in (0..traces).step_by(100_003).chain([traces - 1]) {
        let found = jaeger.get(&format!("/api/traces/{}", trace_id(trace)));
        let found = found.unwrap();
        let spans = found.pointer("/0/spans").and_then(|it| it.as_array());
        assert_eq!(spans.unwrap().len() as u64, TRACE_SPANS, "{trace}");
    }
}

// === impl IngestTarget ===

impl IngestTarget {
    const ALL: [Self; 3] = [Self::Throughline, Self::JaegerMemory, Self::JaegerBadger];

    const fn name(self) -> &'static str {
        match self {
            Self::Throughline => "throughline",
            Self::JaegerMemory => "jaeger, memory",
            Self::JaegerBadger => "jaeger, badger",
        }
    }
}

// === impl IngestFigures ===

impl IngestFigures {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn rate(&self, seconds: f64) -> f64 {
        (self.spans as f64 / seconds).round()
    }

    const fn seconds(&self) -> f64 {
        self.stored.0.as_secs_f64()
    }

    fn json(&self) -> serde_json::Value {
        // A Jaeger seals nothing.
        let is_sealed = self.target == IngestTarget::Throughline;
        let sealed = |figure: f64| is_sealed.then_some(figure);
        let bytes = |figure: u64| is_sealed.then_some(figure);
        json!({
            "case": self.case.name,
            "target": self.target.name(),
            "spans": self.spans,
            "acknowledged_per_second": self.rate(self.acknowledged.0.as_secs_f64()),
            "sealed_per_second": sealed(self.rate(self.seconds())),
            "acknowledged_per_cpu_second": self.rate(self.acknowledged.1),
            "sealed_per_cpu_second": sealed(self.rate(self.stored.1)),
            "parquet_bytes_per_span": bytes(self.parquet_bytes),
            "index_bytes_per_span": bytes(self.index_bytes),
            "peak_mib": self.peak_mib,
        })
    }
}

// === impl TargetProcess ===

impl TargetProcess {
    /// Starts a target, and returns the address that takes the spans.
    fn start(
        case: IngestCase,
        target: IngestTarget,
        jaeger: &Path,
        folder: &TempDir,
        spans: u64,
    ) -> (Self, SocketAddr) {
        let store = match target {
            IngestTarget::Throughline => return Self::start_collector(case, folder.path()),
            IngestTarget::JaegerMemory => JaegerStore::Memory {
                max_traces: usize::try_from(spans / TRACE_SPANS + 1).unwrap(),
            },
            IngestTarget::JaegerBadger => JaegerStore::Badger(folder.path().to_path_buf()),
        };
        let jaeger = JaegerInstance::start(jaeger, &store, false).unwrap();
        let address = if case.is_grpc {
            jaeger.otlp_grpc
        } else {
            jaeger.otlp_http
        };
        (Self::Jaeger(Box::new(jaeger)), address)
    }

    fn start_collector(case: IngestCase, folder: &Path) -> (Self, SocketAddr) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_throughline"));
        command.args(["up", "--json", "--min-free", "0", "--data"]);
        command.arg(folder);
        for port in ["otlp-grpc", "otlp-http", "zipkin", "query"] {
            command.args([format!("--{port}-port"), "0".to_owned()]);
        }
        let closed = ["query-grpc", "jaeger-http", "jaeger-sampling"];
        for port in closed
            .into_iter()
            .chain(["jaeger-compact", "jaeger-binary"])
        {
            command.args([format!("--{port}-port"), "off".to_owned()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
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
        (Self::Collector(child), address.parse().unwrap())
    }

    fn id(&self) -> u32 {
        match self {
            Self::Collector(child) => child.id(),
            Self::Jaeger(jaeger) => jaeger.process().id(),
        }
    }
}

impl Drop for TargetProcess {
    fn drop(&mut self) {
        if let Self::Collector(child) = self {
            // It may have ended by itself.
            let _ended = child.kill().and_then(|()| child.wait());
        }
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
    let stream = TcpStream::connect(address).await.unwrap();
    // As every gRPC client does: a frame would wait for the acknowledgement of the one before.
    stream.set_nodelay(true).unwrap();
    let stream = TokioIo::new(stream);
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
