//! The parts that all filters of one Envoy process share: the correlator, the state of the cluster,
//! and the exporter.
//!
//! Envoy makes a configuration for each listener that uses a filter, and new ones when listeners
//! are updated. Configurations whose shared part is equal share one [`TracingProcess`], so that an
//! update loses neither spans nor what has been learned. It ends with the last of them.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use throughline_export::{Exporter, StartError};
use throughline_intercept::Timestamp;
use throughline_intercept::correlate::{
    Correlator, CorrelatorAccess, Settings as CorrelationSettings, TokenExtractor,
};
use throughline_intercept::kafka::{ClusterCapacity, ClusterState};
use throughline_model::{Span, SpanGroup, SpanSink};

use crate::gauge::{Gauge, GaugeHost};

/// Interval between two searches for spans of sends that nobody repeats, and between two updates of
/// the gauges.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of spans that are taken under one lock: all workers wait for it.
const SPANS_CHUNK: usize = 256;

/// Time for the last spans when the process ends. Envoy waits for it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The part of a configuration that is shared.
#[derive(Debug, Clone)]
pub struct SharedConfig {
    /// The texts that the part was made from: equal ones share.
    pub identity: String,
    /// The collector of the spans.
    pub export: throughline_export::Config,
    /// Rules for the parents of outbound messages.
    pub correlation: CorrelationSettings,
    /// Limits of the state of the cluster.
    pub capacity: ClusterCapacity,
}

/// Tracing of one Envoy process.
#[derive(Debug)]
pub struct TracingProcess {
    parts: Arc<SharedParts>,
    extractor: TokenExtractor,
    clock: ProcessClock,
    /// Ends the sweeper when it is dropped.
    stop: Option<SyncSender<()>>,
    sweeper: Option<JoinHandle<()>>,
}

/// The parts that the sweeper uses as well. It must not own the process, which waits for its end.
#[derive(Debug)]
struct SharedParts {
    exporter: Exporter,
    cluster: Mutex<ClusterState>,
    correlator: Mutex<Correlator>,
    gauges: Mutex<GaugeHosts>,
}

/// The configurations that show gauges. Envoy's stats are one for all of them, so the first one
/// shows the values.
#[derive(Default)]
struct GaugeHosts {
    hosts: Vec<(GaugeHostId, Box<dyn GaugeHost>)>,
    last_id: u64,
}

/// The registration of a configuration that shows gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaugeHostId(u64);

/// A clock that never steps back, even when the system's clock does.
#[derive(Debug, Clone, Copy)]
struct ProcessClock {
    start: Instant,
    /// Nanoseconds since the Unix epoch at `start`.
    start_nanos: u64,
}

/// The running processes: one, but for configurations that differ in the shared part.
static RUNNING: Mutex<Vec<(String, Weak<TracingProcess>)>> = Mutex::new(Vec::new());

// === impl TracingProcess ===

impl TracingProcess {
    /// Returns the running process of this configuration, or starts one.
    ///
    /// # Errors
    /// When the exporter or a thread cannot be started.
    pub fn shared(config: &SharedConfig) -> Result<Arc<Self>, StartError> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, process)| process.strong_count() > 0);
        let same = running.iter().find(|(known, _)| *known == config.identity);
        if let Some(process) = same.and_then(|(_, process)| process.upgrade()) {
            return Ok(process);
        }
        if !running.is_empty() {
            tracing::warn!(
                "two filters differ in collector, service, memory, max_spans_per_second, sole, \
                 inference_threshold or correlation_keys: parents are not found across them"
            );
        }
        let process = Arc::new(Self::start(config)?);
        running.push((config.identity.clone(), Arc::downgrade(&process)));
        Ok(process)
    }

    fn start(config: &SharedConfig) -> Result<Self, StartError> {
        let clock = ProcessClock::new();
        let correlator = Correlator::new(config.correlation.clone(), clock.now());
        // Tokens are extracted without the lock.
        let extractor = correlator.token_extractor().clone();
        let parts = Arc::new(SharedParts {
            exporter: Exporter::start(&config.export)?,
            cluster: Mutex::new(ClusterState::new(config.capacity)),
            correlator: Mutex::new(correlator),
            gauges: Mutex::default(),
        });
        let (stop, stopped) = sync_channel(0);
        let swept = Arc::clone(&parts);
        let run = move || {
            while stopped.recv_timeout(SWEEP_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                swept.send_abandoned(clock.now());
                swept.show_gauges(clock.now());
            }
        };
        let sweeper = thread::Builder::new()
            .name("span-sweeper".to_owned())
            .spawn(run)?;
        Ok(Self {
            parts,
            extractor,
            clock,
            stop: Some(stop),
            sweeper: Some(sweeper),
        })
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Runs `operation` on the state of the cluster, under its lock.
    pub fn with_cluster<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        let cluster = self.parts.cluster.lock();
        operation(&mut cluster.unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows gauges by this configuration until [`TracingProcess::hide_gauges`].
    pub fn show_gauges(&self, host: Box<dyn GaugeHost>) -> GaugeHostId {
        let gauges = self.parts.gauges.lock();
        let mut gauges = gauges.unwrap_or_else(PoisonError::into_inner);
        gauges.last_id += 1;
        let id = GaugeHostId(gauges.last_id);
        gauges.hosts.push((id, host));
        id
    }

    /// Ends the use of a configuration: it is not called after the return.
    pub fn hide_gauges(&self, id: GaugeHostId) {
        let gauges = self.parts.gauges.lock();
        let mut gauges = gauges.unwrap_or_else(PoisonError::into_inner);
        gauges.hosts.retain(|(known, _)| *known != id);
    }

    /// Offers spans to the exporter. Returns the number that it had no room for.
    pub fn send_spans(&self, spans: SpanGroup) -> usize {
        self.parts.exporter.try_send_group(spans)
    }
}

impl CorrelatorAccess for TracingProcess {
    fn token_extractor(&self) -> &TokenExtractor {
        &self.extractor
    }

    fn with_correlator<T>(&self, action: impl FnOnce(&mut Correlator) -> T) -> T {
        let correlator = self.parts.correlator.lock();
        // A panic under the lock leaves counters and maps that are usable as they are.
        action(&mut correlator.unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for TracingProcess {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(sweeper) = self.sweeper.take() {
            // It is between two sweeps, and ends at once.
            drop(sweeper.join());
        }
        let parts = Arc::clone(&self.parts);
        let flush = thread::Builder::new()
            .name("span-flush".to_owned())
            .spawn(move || parts.flush());
        // The last connection may end on a worker, whose other connections must not wait. On the
        // main thread the process is about to end.
        if let (Ok(flush), true) = (flush, is_main_thread()) {
            drop(flush.join());
        }
    }
}

// === impl SharedParts ===

impl SharedParts {
    /// Sends the spans of sends that failed and that no producer has repeated until `now`.
    fn send_abandoned(&self, now: Timestamp) {
        loop {
            let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
            let spans = std::iter::from_fn(|| cluster.poll_abandoned_span(now));
            let spans: Vec<Span> = spans.take(SPANS_CHUNK).collect();
            drop(cluster);
            let count = spans.len();
            self.exporter.try_send_all(&mut spans.into_iter());
            if count < SPANS_CHUNK {
                return;
            }
        }
    }

    fn show_gauges(&self, now: Timestamp) {
        let correlator = self.correlator.lock();
        let mut correlator = correlator.unwrap_or_else(PoisonError::into_inner);
        let in_flight = correlator.in_flight_count();
        let idle = Duration::try_from_secs_f64(correlator.idle_seconds(now));
        drop(correlator);
        let counts = self.exporter.counts();
        let values = [
            (
                Gauge::InFlight,
                u64::try_from(in_flight).unwrap_or(u64::MAX),
            ),
            (Gauge::IdleSeconds, idle.map_or(0, |idle| idle.as_secs())),
            (Gauge::SpansQueued, counts.queued),
            (Gauge::SpansSent, counts.sent),
            (Gauge::SpansLost, counts.dropped.total()),
        ];
        // The lock keeps the configuration alive during the calls.
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, host)) = gauges.hosts.first() {
            for (gauge, value) in values {
                host.set(gauge, value);
            }
        }
    }

    /// Sends what is left.
    fn flush(&self) {
        self.send_abandoned(Timestamp::MAX);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        if let Ok(runtime) = runtime
            && !runtime.block_on(self.exporter.shutdown(FLUSH_TIMEOUT))
        {
            tracing::warn!("the last spans were lost: the collector did not take them in time");
        }
    }
}

// === impl GaugeHosts ===

impl std::fmt::Debug for GaugeHosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GaugeHosts({})", self.hosts.len())
    }
}

// === impl ProcessClock ===

impl ProcessClock {
    fn new() -> Self {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            start: Instant::now(),
            start_nanos: u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.start_nanos.saturating_add(elapsed)
    }
}

/// Whether this is the first thread of the process, which has the process's id.
fn is_main_thread() -> bool {
    let own = std::fs::read_link("/proc/thread-self").ok();
    let own = own.as_deref().and_then(|path| path.file_name());
    own.is_some_and(|own| *own == *std::process::id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use throughline_export::{Config, ExportProtocol, OtlpEndpoint};

    fn config(identity: &str) -> SharedConfig {
        // Nothing listens there: spans stay in the queue.
        let endpoint = OtlpEndpoint::collector("http://127.0.0.1:9", ExportProtocol::HttpProtobuf);
        SharedConfig {
            identity: identity.to_owned(),
            export: Config::to(endpoint.unwrap()),
            correlation: CorrelationSettings::default(),
            capacity: ClusterCapacity::default(),
        }
    }

    #[test]
    fn equal_configurations_share_a_process_until_the_last_one_ends() {
        let first = TracingProcess::shared(&config("shared")).unwrap();
        let second = TracingProcess::shared(&config("shared")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = TracingProcess::shared(&config("other")).unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        let gone = Arc::downgrade(&first);
        drop((first, second));
        assert_eq!(gone.strong_count(), 0);
        let next = TracingProcess::shared(&config("shared")).unwrap();
        assert!(!Arc::ptr_eq(&next, &other));
    }

    #[test]
    fn gauges_are_shown_by_one_configuration_until_it_ends() {
        struct Shown(SyncSender<(&'static str, Gauge)>, &'static str);
        impl GaugeHost for Shown {
            fn set(&self, gauge: Gauge, _: u64) {
                self.0.send((self.1, gauge)).unwrap();
            }
        }
        let process = TracingProcess::shared(&config("gauges")).unwrap();
        let (sender, shown) = sync_channel(100);
        let first = process.show_gauges(Box::new(Shown(sender.clone(), "first")));
        process.show_gauges(Box::new(Shown(sender, "second")));
        let next = || shown.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            Gauge::ALL.map(|_| next()),
            Gauge::ALL.map(|gauge| ("first", gauge))
        );
        process.hide_gauges(first);
        while let ("first", _) = next() {}
        drop(process);
        assert!(
            shown.iter().all(|(name, _)| name == "second"),
            "the process has ended"
        );
    }

    #[test]
    fn tests_do_not_run_on_the_main_thread() {
        assert!(!is_main_thread());
    }
}
