//! The measured targets: Kafka directly, and behind each proxy.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use throughline_testkit::envoy::{EnvoyBootstrap, EnvoyInstance};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

use crate::wire::BrokerConnection;

/// A path to the broker.
#[derive(Debug)]
pub(crate) struct KafkaTarget {
    pub(crate) name: String,
    /// Address for the client: the one in the metadata, or the listener of a proxy that does not
    /// rewrite metadata.
    pub(crate) broker: String,
    /// The proxy process; none for the direct target.
    process: Option<KafkaProxyProcess>,
}

/// The process of a proxy.
#[derive(Debug)]
enum KafkaProxyProcess {
    Plain(ChildProcess),
    Envoy(EnvoyInstance),
}

/// Paths of the proxies; one without a path is left out.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ProxyPrograms {
    /// Path of the Envoy binary
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Path of our module for Envoy
    #[arg(long, requires = "envoy")]
    envoy_module: Option<PathBuf>,
    /// Path of the kafka-proxy binary
    #[arg(long)]
    kafka_proxy: Option<PathBuf>,
    /// Folder with the jars of Kroxylicious
    #[arg(long)]
    kroxylicious: Option<PathBuf>,
    /// Path of the throughline binary
    #[arg(long)]
    throughline: Option<PathBuf>,
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

// === impl KafkaProxyProcess ===

impl KafkaProxyProcess {
    const fn child(&self) -> &ChildProcess {
        match self {
            Self::Plain(process) => process,
            Self::Envoy(envoy) => envoy.process(),
        }
    }
}

// === impl KafkaTarget ===

impl KafkaTarget {
    fn direct(bootstrap: &str) -> Self {
        Self {
            name: "direct".to_owned(),
            broker: bootstrap.to_owned(),
            process: None,
        }
    }

    /// Waits until the proxy at `bootstrap` forwards requests to the broker.
    fn when_ready(
        name: &str,
        bootstrap: &str,
        process: KafkaProxyProcess,
        discovery: BrokerDiscovery,
    ) -> Result<Self> {
        let child = process.child();
        let broker = wait::until(START_TIMEOUT, || {
            if let Some(crash) = child.crashed() {
                return Some(Err(anyhow!("{crash}")));
            }
            BrokerConnection::open(bootstrap)
                .and_then(|mut connection| connection.broker())
                .ok()
                .map(Ok)
        });
        let broker = broker.with_context(|| {
            format!("{name} did not become ready:\n{}", child.log().join("\n"))
        })??;
        let broker = if discovery == BrokerDiscovery::Metadata {
            broker
        } else {
            bootstrap.to_owned()
        };
        Ok(Self {
            name: name.to_owned(),
            broker,
            process: Some(process),
        })
    }

    /// Returns the CPU seconds of the proxy so far, user and system.
    pub(crate) fn cpu_seconds(&self) -> Result<Option<f64>> {
        self.process
            .as_ref()
            .map(|process| process.child().cpu_seconds())
            .transpose()
    }

    /// Returns the peak memory of the proxy, in MB.
    pub(crate) fn peak_megabytes(&self) -> Option<u64> {
        let id = self.process.as_ref()?.child().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
    }
}

/// Address that a client uses behind a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BrokerDiscovery {
    /// The proxy advertises its own address in the metadata.
    Metadata,
    /// The proxy is unaware of Kafka; the client stays at the bootstrap address.
    Bootstrap,
}

/// Starts all available targets.
pub(crate) fn start_all(
    programs: &ProxyPrograms,
    bootstrap: &str,
    collector: &str,
    home: &Path,
) -> Result<Vec<KafkaTarget>> {
    let mut targets = vec![KafkaTarget::direct(bootstrap)];
    if let Some(envoy) = &programs.envoy {
        targets.push(start_envoy(envoy, bootstrap, home)?);
        if let Some(module) = &programs.envoy_module {
            for (name, keys) in MODULE_SETTINGS {
                let target = start_envoy_with_module(module, (name, keys), bootstrap, collector);
                targets.push(target?);
            }
        }
    }
    if let Some(kafka_proxy) = &programs.kafka_proxy {
        targets.push(start_kafka_proxy(kafka_proxy, bootstrap)?);
    }
    if let Some(jars) = &programs.kroxylicious {
        targets.push(start_kroxylicious(jars, bootstrap, home)?);
    }
    if let Some(throughline) = &programs.throughline {
        for (name, settings) in THROUGHLINE_SETTINGS {
            targets.push(start_throughline(
                throughline,
                name,
                settings,
                bootstrap,
                collector,
            )?);
        }
    }
    Ok(targets)
}

/// Starts Envoy as a plain TCP proxy, unaware of Kafka.
fn start_envoy(envoy: &Path, bootstrap: &str, home: &Path) -> Result<KafkaTarget> {
    let port = free_port()?;
    let (host, broker_port) = bootstrap
        .rsplit_once(':')
        .context("invalid broker address")?;
    let config = include_str!("envoy.yaml")
        .replace("{port}", &port.to_string())
        .replace("{broker_host}", host)
        .replace("{broker_port}", broker_port);
    let path = home.join("envoy.yaml");
    fs::write(&path, config)?;
    let process = ProcessSpec::new("envoy", envoy)
        .args([
            "--log-level",
            "warn",
            "--disable-hot-restart",
            "--concurrency",
            "2",
            "-c",
        ])
        .arg(path.as_os_str())
        .spawn()?;
    KafkaTarget::when_ready(
        "envoy tcp_proxy",
        &local(port),
        KafkaProxyProcess::Plain(process),
        BrokerDiscovery::Bootstrap,
    )
}

/// Configurations of our module, as keys of its filter.
const MODULE_SETTINGS: [(&str, &str); 3] = [
    (
        "envoy, module observing, all sampled",
        r#"{"inject":"never"}"#,
    ),
    ("envoy, module injecting, all sampled", "{}"),
    ("envoy, module injecting, 1 % sampled", r#"{"sample":0.01}"#),
];

fn start_envoy_with_module(
    module: &Path,
    (name, keys): (&str, &str),
    bootstrap: &str,
    collector: &str,
) -> Result<KafkaTarget> {
    let collector = collector.trim_start_matches("http://").parse()?;
    let keys = serde_json::from_str(keys)?;
    let mut config = EnvoyBootstrap::new("bench", collector, &keys);
    let address = config.kafka(bootstrap)?.to_string();
    let envoy = EnvoyInstance::start(name, module, &config)?;
    let process = KafkaProxyProcess::Envoy(envoy);
    KafkaTarget::when_ready(name, &address, process, BrokerDiscovery::Metadata)
}

fn start_kafka_proxy(kafka_proxy: &Path, bootstrap: &str) -> Result<KafkaTarget> {
    let port = free_port()?;
    let process = ProcessSpec::new("kafka-proxy", kafka_proxy)
        .args(["server", "--log-level", "warning", "--http-disable"])
        .arg("--bootstrap-server-mapping")
        .arg(format!("{bootstrap},{}", local(port)))
        .spawn()?;
    KafkaTarget::when_ready(
        "kafka-proxy",
        &local(port),
        KafkaProxyProcess::Plain(process),
        BrokerDiscovery::Metadata,
    )
}

/// Starts Kroxylicious without filters. Its release has no main program on Maven Central, so ten
/// lines of Java call its runtime in the same way.
fn start_kroxylicious(jars: &Path, bootstrap: &str, home: &Path) -> Result<KafkaTarget> {
    let port = free_port()?;
    let config = include_str!("kroxylicious.yaml")
        .replace("{bootstrap}", bootstrap)
        .replace("{address}", &local(port));
    let (path, program) = (
        home.join("kroxylicious.yaml"),
        home.join("Kroxylicious.java"),
    );
    fs::write(&path, config)?;
    fs::write(&program, include_str!("Kroxylicious.java"))?;
    let process = ProcessSpec::new("kroxylicious", "java")
        .args([
            "-Dlog4j2.level=WARN".to_owned(),
            "-cp".to_owned(),
            format!("{}/*", jars.display()),
        ])
        .args([program.as_os_str(), path.as_os_str()])
        .spawn()?;
    KafkaTarget::when_ready(
        "kroxylicious",
        &local(port),
        KafkaProxyProcess::Plain(process),
        BrokerDiscovery::Metadata,
    )
}

/// Configurations of our sidecar. The second records a span per record without a cap; the first has
/// the default cap per second.
const THROUGHLINE_SETTINGS: [(&str, &[&str]); 4] = [
    ("throughline, all sampled", &["--sample", "1"]),
    (
        "throughline, all sampled, no cap",
        &["--sample", "1", "--max-spans-per-second", "10000000"],
    ),
    ("throughline, 1 % sampled", &["--sample", "0.01"]),
    (
        "throughline, no injection",
        &["--sample", "0", "--inject", "false"],
    ),
];

fn start_throughline(
    throughline: &Path,
    name: &str,
    settings: &[&str],
    bootstrap: &str,
    collector: &str,
) -> Result<KafkaTarget> {
    let process = ProcessSpec::new("throughline", throughline)
        .clear_env("OTEL_")
        .clear_env("THROUGHLINE_")
        .args([
            "sidecar",
            "--kafka",
            bootstrap,
            "--listen",
            "127.0.0.1:0",
            "--broker-ports",
            "any",
        ])
        .args(["--collector", collector, "--admin", "off", "--json"])
        .args(settings.iter().copied())
        .spawn()?;
    let address = |line: &str| {
        line.split('"')
            .find(|part| part.starts_with("127.0.0.1:"))
            .map(str::to_owned)
    };
    let bootstrap = process.wait_for_line("its listen address", START_TIMEOUT, address)?;
    let process = KafkaProxyProcess::Plain(process);
    KafkaTarget::when_ready(name, &bootstrap, process, BrokerDiscovery::Metadata)
}

fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
