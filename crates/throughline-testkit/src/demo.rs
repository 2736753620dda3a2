//! Broker, collector and eshop together; sends checkouts and returns their traces.

mod complete;
mod load;
mod load_report;
mod measure;
mod reference;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

pub(crate) use self::complete::{missing_spans, span_ids};
pub use self::load::CheckoutLoad;
pub use self::load_report::{EdgeCount, LoadReport, TraceReport};
use crate::build::{ProjectBinaries, envoy_module};
use crate::clients::spring_eshop;
use crate::collector::{CollectorInstance, CollectorPorts};
use crate::eshop::{self, DemoMode, EnvoyPods, Eshop, ServiceProgram, SpanSource};
use crate::kafka::{ApacheBroker, EmbeddedBroker, KafkaBroker, TopicSpec, create_topic};
use crate::network::PodNetwork;
use crate::process::{ProcessCrash, stop_all};
use crate::sidecar::SidecarInstance;
use crate::wait;

/// The broker of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerChoice {
    /// librdkafka's mock cluster.
    Embedded,
    /// Apache Kafka, fetched and started.
    Apache,
    /// A broker that runs already, as `host:port`.
    Remote(String),
}

/// The services of the demo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DemoApplication {
    /// The eshop in Rust.
    Rust,
    /// The eshop as a Spring Boot application, without tracing code; mode `sidecar` only.
    Spring,
}

/// Configuration of a [`Demo`].
#[derive(Debug, Clone)]
pub struct Config {
    /// The instrumentation.
    pub mode: DemoMode,
    /// The services.
    pub application: DemoApplication,
    /// Whether each service runs in its own network namespace with its proxy (modes `sidecar` and
    /// `envoy` only).
    pub netns: bool,
    /// Whether Envoys use Zipkin's tracer and B3 in place of OpenTelemetry's (mode `envoy` only).
    pub zipkin: bool,
    /// The broker.
    pub broker: BrokerChoice,
    /// The collector's ports.
    pub collector: CollectorPorts,
    /// Port of the eshop; 0 selects any free port.
    pub port: u16,
    /// Longest random delay, which simulates work.
    pub max_delay: Duration,
    /// Further environment variables of every service.
    pub env: Vec<(String, String)>,
    /// Further arguments of every sidecar.
    pub sidecar_args: Vec<String>,
    /// Further arguments of the collector.
    pub collector_args: Vec<String>,
}

/// All running parts of a demo.
#[derive(Debug)]
pub struct Demo {
    // Drop order: services flush to the collector and leave the broker first.
    eshop: Eshop,
    collector: CollectorInstance,
    gateway: Option<SidecarInstance>,
    kafka: KafkaBroker,
    network: Option<PodNetwork>,
    mode: DemoMode,
}

/// Time within which the spans of a checkout must arrive.
pub const SPANS_TIMEOUT: Duration = Duration::from_secs(60);

const STOP_TIMEOUT: Duration = Duration::from_secs(20);

// === impl Config ===

impl Config {
    /// Returns a configuration with this mode, the mock broker, free ports and short delays.
    #[must_use]
    pub const fn new(mode: DemoMode) -> Self {
        Self {
            mode,
            application: DemoApplication::Rust,
            netns: false,
            zipkin: false,
            broker: BrokerChoice::Embedded,
            collector: CollectorPorts {
                otlp_grpc: 0,
                otlp_http: 0,
                zipkin: 0,
                query: 0,
            },
            port: 0,
            max_delay: Duration::from_millis(20),
            env: Vec::new(),
            sidecar_args: Vec::new(),
            collector_args: Vec::new(),
        }
    }

    /// Sets the broker.
    #[must_use]
    pub fn broker(mut self, broker: BrokerChoice) -> Self {
        self.broker = broker;
        self
    }

    /// Sets an environment variable of every service.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

// === impl Demo ===

impl Demo {
    /// Starts broker, collector and eshop, and waits until each is ready. Calls `progress` for each
    /// step.
    ///
    /// # Errors
    /// Fails if a part does not become ready; names it, shows its last output lines, and stops what
    /// runs.
    pub fn start(
        binaries: &ProjectBinaries,
        config: &Config,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        ensure!(
            !config.netns || matches!(config.mode, DemoMode::Sidecar | DemoMode::Envoy),
            "network namespaces need mode sidecar or envoy"
        );
        let jar = spring_jar(config, progress)?;
        let network = config.netns.then(|| {
            progress("creating a network namespace for each service");
            PodNetwork::start(&eshop::SERVICES, &["kafka"])
        });
        let network = network.transpose()?;
        let topic = TopicSpec::new(eshop::TOPIC, 1);
        let kafka = start_kafka(binaries, &config.broker, topic, progress)?;
        let gateway = network
            .as_ref()
            .map(|network| gateway(binaries, network, kafka.bootstrap()))
            .transpose()?;
        progress("starting the collector");
        // In pods the loopback is a different one, so the collector listens on the bridge address.
        let host = network.as_ref().map_or_else(
            || "127.0.0.1".to_owned(),
            |network| network.host().to_string(),
        );
        let mut args = vec!["--host", &host];
        args.extend(config.collector_args.iter().map(String::as_str));
        let collector =
            CollectorInstance::start_on(&binaries.throughline, config.collector, &args)?;
        let module = (config.mode == DemoMode::Envoy)
            .then(envoy_module)
            .transpose()?;
        let (binary, tracing) =
            span_source(config.mode, binaries, module.as_deref(), network.as_ref())?;
        let program = jar
            .as_deref()
            .map_or(ServiceProgram::Binary(binary), ServiceProgram::SpringJar);
        // The eshop starts last: its services export and connect at once.
        let services = eshop::Config {
            program,
            tracing,
            bootstrap: kafka.bootstrap(),
            topic: eshop::TOPIC,
            otlp_http: Some(collector.addresses().otlp_http),
            zipkin: config.zipkin.then_some(collector.addresses().zipkin),
            port: config.port,
            max_delay: config.max_delay,
            env: config.env.clone(),
            sidecar_args: config.sidecar_args.clone(),
        };
        let eshop = Eshop::start(&services, progress)?;
        if matches!(config.mode, DemoMode::Sidecar | DemoMode::Envoy) {
            progress("waiting until every proxy knows that its idle service makes no calls");
            eshop.wait_until_idle()?;
        }
        Ok(Self {
            eshop,
            collector,
            gateway,
            kafka,
            network,
            mode: config.mode,
        })
    }

    /// Returns the services.
    pub const fn eshop(&self) -> &Eshop {
        &self.eshop
    }

    /// Returns the collector.
    pub const fn collector(&self) -> &CollectorInstance {
        &self.collector
    }

    /// Returns the broker.
    pub const fn kafka(&self) -> &KafkaBroker {
        &self.kafka
    }

    /// Returns the broker, to stop and restart it.
    pub const fn kafka_mut(&mut self) -> &mut KafkaBroker {
        &mut self.kafka
    }

    /// Sends one checkout, waits until all its spans have arrived, and returns all its traces in
    /// Jaeger's JSON.
    ///
    /// A trace belongs to the checkout if it began after the request, so checkouts must not
    /// overlap.
    ///
    /// # Errors
    /// Fails if the checkout fails, a process ends, or spans are missing after `limit`; names them.
    pub fn checkout_and_wait(&self, limit: Duration) -> Result<Vec<Value>> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .as_micros()
            .to_string();
        self.eshop.checkout()?;
        self.wait_for_traces(&since, limit)
    }

    fn wait_for_traces(&self, since: &str, limit: Duration) -> Result<Vec<Value>> {
        let begin = Instant::now();
        let mut before = None;
        let mut missing_parts = String::new();
        let settled = wait::until(limit, || match self.fetch_traces(since) {
            Err(error) => Some(Err(error)),
            Ok(traces) => {
                missing_parts = missing_spans(self.mode, &traces).join(", ");
                // The traces must be complete and unchanged since the last poll: nothing more is in
                // transit.
                let spans = span_ids(&traces);
                let is_settled = missing_parts.is_empty() && before.as_ref() == Some(&spans);
                before = Some(spans);
                is_settled.then_some(Ok(traces))
            }
        });
        settled.unwrap_or_else(|| {
            ensure!(
                !wait::is_interrupted(),
                "interrupted while waiting for the checkout's traces"
            );
            let missing_parts = if missing_parts.is_empty() {
                "still changing"
            } else {
                missing_parts.as_str()
            };
            let waited = begin.elapsed().as_secs_f32();
            Err(anyhow!(
                "the checkout's traces are not complete after {waited:.1} s: {missing_parts}"
            ))
        })
    }

    /// Returns the traces since `since` of the services at both ends of the flow.
    fn fetch_traces(&self, since: &str) -> Result<Vec<Value>> {
        if let Some(crash) = self.crashed() {
            return Err(anyhow!("{crash}"));
        }
        let mut traces: Vec<Value> = Vec::new();
        for service in ["eshop", "kafka-consumer", "notification"] {
            for trace in self.collector.search(&[
                ("service", service),
                ("start", since),
                ("limit", "1000"),
            ])? {
                if !traces
                    .iter()
                    .any(|known| known.get("traceID") == trace.get("traceID"))
                {
                    traces.push(trace);
                }
            }
        }
        Ok(traces)
    }

    /// Returns the first process that has ended unexpectedly.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        let gateway = self.gateway.as_ref().map(SidecarInstance::process);
        let own = [
            Some(self.collector.process()),
            gateway,
            self.kafka.process(),
        ];
        // The network is checked first: its loss takes all pods with it.
        let network = self.network.as_ref().and_then(PodNetwork::crashed);
        network.or_else(|| self.eshop.crashed()).or_else(|| {
            own.into_iter()
                .flatten()
                .find_map(crate::process::ChildProcess::crashed)
        })
    }

    /// Stops services, then collector, then broker.
    ///
    /// # Errors
    /// Fails if a process had to be killed; names it. Nothing runs afterwards in any case.
    pub fn stop(self) -> Result<()> {
        let Self {
            eshop,
            collector,
            gateway,
            kafka,
            ..
        } = &self;
        // The collector must still run: a service that ends flushes its last spans.
        let stopped = eshop.stop();
        let gateway = gateway.as_ref().map(SidecarInstance::process);
        let rest = stop_all(
            [Some(collector.process()), gateway, kafka.process()]
                .into_iter()
                .flatten(),
            STOP_TIMEOUT,
        );
        stopped.and(rest)
    }
}

/// Returns the program of the services in this mode, and the source of their spans.
fn span_source<'a>(
    mode: DemoMode,
    binaries: &'a ProjectBinaries,
    module: Option<&'a Path>,
    network: Option<&'a PodNetwork>,
) -> Result<(&'a PathBuf, SpanSource<'a>)> {
    let throughline = &binaries.throughline;
    let source = match (mode, network) {
        (DemoMode::Sidecar, None) => SpanSource::Sidecars(throughline),
        (DemoMode::Sidecar, Some(network)) => SpanSource::Pods(throughline, network),
        (DemoMode::Envoy, network) => {
            let module = module.context("no module for Envoy")?;
            network.map_or(SpanSource::Envoys(module), |network| {
                SpanSource::EnvoyPods(EnvoyPods {
                    module,
                    throughline,
                    network,
                })
            })
        }
        (DemoMode::Rest | DemoMode::Kafka | DemoMode::Linked, _) => {
            return Ok((&binaries.eshop, SpanSource::Sdk(mode)));
        }
    };
    Ok((&binaries.eshop_bare, source))
}

/// Returns the jar of the Spring application if it is the demo's; builds it if it is missing.
fn spring_jar(config: &Config, progress: &mut dyn FnMut(&str)) -> Result<Option<PathBuf>> {
    if config.application == DemoApplication::Rust {
        return Ok(None);
    }
    ensure!(
        config.mode == DemoMode::Sidecar,
        "the Spring application has no tracing code, so it needs mode sidecar"
    );
    spring_eshop(progress).map(Some)
}

/// Starts the gateway to the broker for services in network namespaces: the broker listens and
/// advertises on this machine's loopback only. The gateway records no spans.
fn gateway(
    binaries: &ProjectBinaries,
    network: &PodNetwork,
    bootstrap: &str,
) -> Result<SidecarInstance> {
    let (listen, unused) = (
        format!("{}:9092", network.host()),
        SocketAddr::from(([127, 0, 0, 1], 9)),
    );
    let args = [
        "--kafka",
        bootstrap,
        "--listen",
        &listen,
        "--advertise",
        "kafka",
        // Envoys in pods have a listener for each port of the broker.
        "--broker-ports",
        "9093-9093",
        "--inject",
        "never",
        "--sample",
        "0",
    ];
    let args = args.map(str::to_owned);
    SidecarInstance::start_with(
        &|spec| spec,
        &binaries.throughline,
        unused,
        "kafka-gateway",
        args,
    )
}

fn start_kafka(
    binaries: &ProjectBinaries,
    broker: &BrokerChoice,
    topic: TopicSpec,
    progress: &mut dyn FnMut(&str),
) -> Result<KafkaBroker> {
    match broker {
        BrokerChoice::Embedded => {
            progress("starting the mock broker");
            EmbeddedBroker::start(&binaries.embedded_kafka, &[topic]).map(KafkaBroker::Embedded)
        }
        BrokerChoice::Apache => ApacheBroker::builder()
            .topic(topic)
            .start(progress)
            .map(KafkaBroker::Apache),
        BrokerChoice::Remote(bootstrap) => {
            progress(&format!("using the broker at {bootstrap}"));
            // The first request also verifies the address.
            create_topic(bootstrap, &topic).context("the given broker is not reachable")?;
            Ok(KafkaBroker::Remote(bootstrap.clone()))
        }
    }
}
