//! Broker, collector and eshop together; and a checkout with all the traces it caused.

mod complete;
mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use self::complete::missing;
pub use self::load::{CheckoutLoad, LoadReport};
use crate::build::ProjectBinaries;
use crate::collector::{CollectorInstance, CollectorPorts};
use crate::eshop::{self, DemoMode, Eshop, SpanSource};
use crate::kafka::{ApacheBroker, EmbeddedBroker, KafkaBroker, TopicSpec, create_topic};
use crate::network::PodNetwork;
use crate::process::{ProcessCrash, stop_all};
use crate::sidecar::SidecarInstance;
use crate::wait;

/// Which broker to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerChoice {
    /// The embedded one.
    Embedded,
    /// A real Apache Kafka, fetched and started.
    Apache,
    /// One that runs already, as `host:port`.
    Remote(String),
}

/// What to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is instrumented.
    pub mode: DemoMode,
    /// Whether each service gets a host of its own, with its sidecar (mode `sidecar` only).
    pub netns: bool,
    /// The broker.
    pub broker: BrokerChoice,
    /// The collector's ports.
    pub collector: CollectorPorts,
    /// The eshop's port; 0 is any free one.
    pub port: u16,
    /// Longest of the random delays that stand for work.
    pub max_delay: Duration,
    /// Further variables for every service of the eshop.
    pub env: Vec<(String, String)>,
}

/// All of it, running.
#[derive(Debug)]
pub struct Demo {
    // In the order in which they end: the services flush to the collector and leave the broker.
    eshop: Eshop,
    collector: CollectorInstance,
    gateway: Option<SidecarInstance>,
    kafka: KafkaBroker,
    network: Option<PodNetwork>,
    mode: DemoMode,
}

/// How long a checkout's spans may take to arrive.
pub const SPANS_LIMIT: Duration = Duration::from_secs(60);

/// Traces in one answer; a trace has some thirty KiB of JSON.
const PAGE: usize = 500;
/// A load's traces are done when all spans are there and nothing has changed for so long, or when nothing has changed for longer.
const SETTLED: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(15);
/// Whatever still comes then.
const LAST: Duration = Duration::from_secs(300);

const STOP_LIMIT: Duration = Duration::from_secs(20);

// === impl Config ===

impl Config {
    /// This mode with the embedded broker, on free ports, with delays that are hardly felt.
    #[must_use]
    pub const fn new(mode: DemoMode) -> Self {
        Self {
            mode,
            netns: false,
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
        }
    }

    /// With this broker.
    #[must_use]
    pub fn broker(mut self, broker: BrokerChoice) -> Self {
        self.broker = broker;
        self
    }

    /// With this variable for every service of the eshop.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
}

// === impl Demo ===

impl Demo {
    /// Starts broker, collector and eshop, and waits until each is ready. `progress` is told what happens.
    ///
    /// # Errors
    /// When one of them does not come up; names it and shows its last lines. What was started by then has been ended.
    pub fn start(
        binaries: &ProjectBinaries,
        config: &Config,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        ensure!(
            !config.netns || config.mode == DemoMode::Sidecar,
            "only mode sidecar runs in network namespaces"
        );
        let network = config.netns.then(|| {
            progress("making a network namespace for each service");
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
        let host = network.as_ref().map_or_else(
            || "127.0.0.1".to_owned(),
            |network| network.host().to_string(),
        );
        let collector = CollectorInstance::start_on(
            &binaries.throughline,
            config.collector,
            &["--host", &host],
        )?;
        progress(&format!(
            "starting the eshop's six services in mode {}",
            config.mode
        ));
        let sidecar = &binaries.throughline;
        let (binary, tracing) = match (config.mode, &network) {
            (DemoMode::Sidecar, None) => (&binaries.eshop_bare, SpanSource::Sidecars(sidecar)),
            (DemoMode::Sidecar, Some(network)) => {
                (&binaries.eshop_bare, SpanSource::Pods(sidecar, network))
            }
            (mode @ (DemoMode::Rest | DemoMode::Kafka | DemoMode::Linked), _) => {
                (&binaries.eshop, SpanSource::Sdk(mode))
            }
        };
        let eshop = Eshop::start(&eshop::Config {
            binary,
            tracing,
            bootstrap: kafka.bootstrap(),
            topic: eshop::TOPIC,
            otlp_http: Some(collector.addresses().otlp_http),
            port: config.port,
            max_delay: config.max_delay,
            env: config.env.clone(),
        })?;
        if config.mode == DemoMode::Sidecar {
            progress("letting the services show for some seconds that they do nothing unasked");
            eshop.settle()?;
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

    /// The services.
    pub const fn eshop(&self) -> &Eshop {
        &self.eshop
    }

    /// The collector.
    pub const fn collector(&self) -> &CollectorInstance {
        &self.collector
    }

    /// The broker.
    pub const fn kafka(&self) -> &KafkaBroker {
        &self.kafka
    }

    /// The broker, to stop it and start it again.
    pub const fn kafka_mut(&mut self) -> &mut KafkaBroker {
        &mut self.kafka
    }

    /// Sends one checkout and waits until all its spans are in; gives all traces it caused in Jaeger's JSON, the
    /// checkout's own first.
    ///
    /// A trace belongs to the checkout when it began after it was sent, so checkouts must not overlap.
    ///
    /// # Errors
    /// When the checkout fails, when a process ends meanwhile, or when spans are missing after `limit`; says which.
    pub fn checkout_and_wait(&self, limit: Duration) -> Result<Vec<Value>> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .as_micros()
            .to_string();
        self.eshop.checkout()?;
        self.wait_for_traces(&since, limit)
    }

    /// Sends checkouts at a steady rate, and tells what became of their traces once they have settled.
    ///
    /// # Errors
    /// When a process ends meanwhile, or the collector does not answer.
    pub fn load(&self, load: &CheckoutLoad, progress: &mut dyn FnMut(&str)) -> Result<LoadReport> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let (sent, answered) = load.run(&self.eshop.checkout_url(), progress);
        progress("waiting for the last spans");
        let (begin, mut report, mut changed) =
            (Instant::now(), LoadReport::default(), Instant::now());
        loop {
            if let Some(crash) = self.crashed() {
                return Err(anyhow!("{crash}"));
            }
            let now = LoadReport::of(sent, &answered, &self.all_since(since)?);
            if now != report {
                (report, changed) = (now, Instant::now());
            }
            let is_quiet = changed.elapsed() >= QUIET || begin.elapsed() >= LAST;
            if wait::is_interrupted()
                || is_quiet
                || (report.incomplete == 0 && changed.elapsed() >= SETTLED)
            {
                return Ok(report);
            }
            wait::pause();
        }
    }

    /// All traces since then: pages of what each service had a part in, newest first.
    fn all_since(&self, since: u128) -> Result<Vec<Value>> {
        let (since, limit) = (since.to_string(), PAGE.to_string());
        let mut traces: BTreeMap<String, Value> = BTreeMap::new();
        for service in eshop::SERVICES {
            let mut end = u64::MAX >> 1;
            loop {
                let until = end.to_string();
                let page = [
                    ("service", service),
                    ("start", &since),
                    ("end", &until),
                    ("limit", &limit),
                ];
                let found = self.collector.search(&page)?;
                let first = found.iter().filter_map(complete::begin).min();
                let is_last = found.len() < PAGE;
                let named = found
                    .into_iter()
                    .filter_map(|trace| Some((trace.get("traceID")?.as_str()?.to_owned(), trace)));
                traces.extend(named);
                match first {
                    Some(first) if !is_last && first < end => end = first,
                    _ => break,
                }
            }
        }
        Ok(traces.into_values().collect())
    }

    fn wait_for_traces(&self, since: &str, limit: Duration) -> Result<Vec<Value>> {
        let begin = Instant::now();
        let mut before = None;
        let mut lacking = String::new();
        let settled = wait::until(limit, || match self.look(since) {
            Err(error) => Some(Err(error)),
            Ok(traces) => {
                lacking = missing(self.mode, &traces).join(", ");
                // Complete, and the same at two looks: nothing more is on its way.
                let spans = complete::span_ids(&traces);
                let is_settled = lacking.is_empty() && before.as_ref() == Some(&spans);
                before = Some(spans);
                is_settled.then_some(Ok(traces))
            }
        });
        settled.unwrap_or_else(|| {
            ensure!(
                !wait::is_interrupted(),
                "interrupted while waiting for the checkout's traces"
            );
            let lacking = if lacking.is_empty() {
                "still changing"
            } else {
                lacking.as_str()
            };
            let waited = begin.elapsed().as_secs_f32();
            Err(anyhow!(
                "the checkout's traces are not complete after {waited:.1} s: {lacking}"
            ))
        })
    }

    /// What is there now: the traces since then, of both ends of the story.
    fn look(&self, since: &str) -> Result<Vec<Value>> {
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

    /// The first process that has ended though it should run.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        let gateway = self.gateway.as_ref().map(SidecarInstance::process);
        let own = [
            Some(self.collector.process()),
            gateway,
            self.kafka.process(),
        ];
        let network = self.network.as_ref().and_then(PodNetwork::crashed);
        network.or_else(|| self.eshop.crashed()).or_else(|| {
            own.into_iter()
                .flatten()
                .find_map(crate::process::ChildProcess::crashed)
        })
    }

    /// Ends everything in an orderly way: services, then collector, then broker.
    ///
    /// # Errors
    /// When something had to be killed, naming it. Nothing runs on in any case.
    pub fn stop(self) -> Result<()> {
        let Self {
            eshop,
            collector,
            gateway,
            kafka,
            ..
        } = &self;
        let stopped = eshop.stop();
        let gateway = gateway.as_ref().map(SidecarInstance::process);
        let rest = stop_all(
            [Some(collector.process()), gateway, kafka.process()]
                .into_iter()
                .flatten(),
            STOP_LIMIT,
        );
        stopped.and(rest)
    }
}

/// The way to the broker for services in a network of their own: it speaks on this machine's loopback only, and tells its clients to
/// come there. Traces nothing; its spans go where nobody listens.
fn gateway(
    binaries: &ProjectBinaries,
    network: &PodNetwork,
    bootstrap: &str,
) -> Result<SidecarInstance> {
    let (listen, nobody) = (
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
        "--inject",
        "false",
        "--sample",
        "0",
    ];
    let args = args.map(str::to_owned);
    SidecarInstance::start_with(
        &|spec| spec,
        &binaries.throughline,
        nobody,
        "the gateway to Kafka",
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
            progress("starting the embedded broker");
            EmbeddedBroker::start(&binaries.embedded_kafka, &[topic]).map(KafkaBroker::Embedded)
        }
        BrokerChoice::Apache => ApacheBroker::builder()
            .topic(topic)
            .start(progress)
            .map(KafkaBroker::Apache),
        BrokerChoice::Remote(bootstrap) => {
            progress(&format!("using the broker at {bootstrap}"));
            create_topic(bootstrap, &topic).context("the broker given must be reachable")?;
            Ok(KafkaBroker::Remote(bootstrap.clone()))
        }
    }
}
