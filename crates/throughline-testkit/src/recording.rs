//! Recordings for the weaver's benchmark: spans of a bare service behind a sidecar, with their true
//! parents.
//!
//! The service (`examples/weave-service`) carries the truth in references that no two messages
//! share. The recorder reads them from the spans; they do not get into the tables.

mod reference;
mod table;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

pub use self::table::RecordedTable;
use crate::collector::CollectorInstance;
use crate::http;
use crate::kafka::{ApacheBroker, TopicSpec, free_ports};
use crate::process::{ChildProcess, ProcessSpec};
use crate::sidecar::SidecarInstance;
use crate::wait;

/// One recording: a service and its load.
#[derive(Debug, Clone, Copy)]
pub struct RecordingPlan {
    /// Shape of the service, as `weave-service` names it.
    pub shape: &'static str,
    /// Requests in flight at any time, or records that are sent at once.
    pub in_flight: u64,
    pub duration: Duration,
}

/// The programs of a recording.
#[derive(Debug, Clone, Copy)]
pub struct RecordingPrograms<'a> {
    pub throughline: &'a Path,
    pub service: &'a Path,
}

/// Shapes of services, each with the numbers of requests in flight that it is recorded with.
pub const SHAPES: [(&str, &[u64]); 9] = [
    ("thread-pool", &[1, 10, 50, 200]),
    ("event-loop", &[1, 10, 50, 200]),
    ("async", &[1, 10, 50, 200]),
    ("fan-out", &[1, 10, 50]),
    ("retries", &[1, 10, 50]),
    ("cache-skips", &[1, 10, 50]),
    ("timers", &[1, 10, 50]),
    ("consume-produce", &[1, 10, 50]),
    ("batch-consumer", &[1, 10, 50]),
];

/// Name of the service under test on its spans.
const SERVICE: &str = "service";
const START_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Spans have settled if their number is unchanged for this time.
const SETTLED_INTERVAL: Duration = Duration::from_secs(3);
/// Time between two bursts of records, for each record of a burst: longer than its handling.
const TIME_PER_RECORD: Duration = Duration::from_millis(20);

// === impl RecordingPlan ===

impl RecordingPlan {
    /// Returns the name of the table.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}_{:03}", self.shape, self.in_flight)
    }

    /// Starts the service with its sidecar and backend, sends the load, and returns the spans.
    ///
    /// # Errors
    /// Fails if a part does not become ready, or the collector does not respond.
    pub fn record(
        &self,
        programs: RecordingPrograms<'_>,
        progress: &mut dyn FnMut(&str),
    ) -> Result<RecordedTable> {
        let uses_kafka = matches!(self.shape, "consume-produce" | "batch-consumer");
        let kafka = uses_kafka.then(|| {
            let broker = ApacheBroker::builder().topic(TopicSpec::new("in", 1));
            broker.topic(TopicSpec::new("out", 1)).start(progress)
        });
        let kafka = kafka.transpose()?;
        let broker = kafka.as_ref().map(ApacheBroker::bootstrap);
        let collector = CollectorInstance::start(programs.throughline)?;
        let (_backend, backend) = start(programs.service, "backend", &[])?;
        let behind = free_ports(1)?.first().copied().context("no free port")?;
        let sidecar = start_sidecar(programs, &collector, (behind, &backend), broker)?;
        let [inbound, outbound] = sidecar.http() else {
            anyhow::bail!("the sidecar has no HTTP listeners");
        };
        let args = [
            ("--listen", format!("127.0.0.1:{behind}")),
            ("--backend", outbound.to_string()),
            ("--kafka", sidecar.bootstrap().to_owned()),
        ];
        let (_service, _) = start(programs.service, self.shape, &args)?;
        let front = broker
            .map(|broker| start(programs.service, "front", &[("--kafka", broker.to_owned())]));
        let front = front.transpose()?;
        progress(&format!(
            "recording {} with {} in flight",
            self.shape, self.in_flight
        ));
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        match &front {
            Some((_, front)) => self.send_bursts(front),
            None => self.keep_in_flight(&format!("http://{inbound}")),
        }
        settled_table(&collector, since)
    }

    /// Keeps this number of requests in flight, each on a thread of its own.
    fn keep_in_flight(&self, url: &str) {
        let (deadline, next) = (Instant::now() + self.duration, AtomicU64::new(1));
        let send_in_turn = || {
            while Instant::now() < deadline && !wait::is_interrupted() {
                send(url, next.fetch_add(1, Ordering::Relaxed));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.in_flight {
                scope.spawn(send_in_turn);
            }
        });
    }

    /// Sends this number of records at once, and again when they should have been handled.
    fn send_bursts(&self, url: &str) {
        let (deadline, next) = (Instant::now() + self.duration, AtomicU64::new(1));
        let between = TIME_PER_RECORD * u32::try_from(self.in_flight).unwrap_or(u32::MAX);
        while Instant::now() < deadline && !wait::is_interrupted() {
            let due = Instant::now() + between;
            std::thread::scope(|scope| {
                for _ in 0..self.in_flight {
                    scope.spawn(|| send(url, next.fetch_add(1, Ordering::Relaxed)));
                }
            });
            while Instant::now() < due {
                std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            }
        }
    }
}

/// Sends one request; one that fails shows in no span.
fn send(url: &str, request: u64) {
    let reference = reference::encode(request);
    drop(http::get(
        &format!("{url}/order?reference={reference}"),
        RESPONSE_TIMEOUT,
    ));
}

/// Starts a service and returns its URL as well.
fn start(program: &Path, shape: &str, args: &[(&str, String)]) -> Result<(ChildProcess, String)> {
    let args = args.iter().flat_map(|(name, value)| [*name, value]);
    let process = ProcessSpec::new(shape, program)
        .arg(shape)
        .args(args)
        .spawn()?;
    let address = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
    let url = process.wait_for_line("the address it listens on", START_TIMEOUT, address)?;
    Ok((process, url))
}

/// Starts the sidecar of the service on port `behind`, whose calls go to `backend`.
fn start_sidecar(
    programs: RecordingPrograms<'_>,
    collector: &CollectorInstance,
    (behind, backend): (u16, &str),
    broker: Option<&str>,
) -> Result<SidecarInstance> {
    let mut args = vec![
        "--inbound".to_owned(),
        format!("127.0.0.1:0=127.0.0.1:{behind}"),
        "--outbound".to_owned(),
        format!("127.0.0.1:0={backend}"),
        "--message-key".to_owned(),
        "true".to_owned(),
    ];
    if let Some(broker) = broker {
        let kafka = ["--kafka", broker, "--listen", "127.0.0.1:0"];
        args.extend(kafka.map(str::to_owned));
        args.extend(["--broker-ports", "any"].map(str::to_owned));
    }
    let otlp = collector.addresses().otlp_http;
    SidecarInstance::start_with(&|spec| spec, programs.throughline, otlp, SERVICE, args)
}

/// Waits until no more spans arrive, and returns them.
fn settled_table(collector: &CollectorInstance, since: u128) -> Result<RecordedTable> {
    let (mut count, mut changed) = (0, Instant::now());
    loop {
        let traces = collector.traces_since(SERVICE, since, true)?;
        let table = RecordedTable::of(traces.values());
        if table.rows() != count {
            (count, changed) = (table.rows(), Instant::now());
        }
        if changed.elapsed() >= SETTLED_INTERVAL || wait::is_interrupted() {
            return Ok(table);
        }
        wait::pause();
    }
}
