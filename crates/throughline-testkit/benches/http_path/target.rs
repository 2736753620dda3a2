//! The measured targets: the service directly, and behind each proxy.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use throughline_testkit::envoy::{EnvoyBootstrap, EnvoyInstance};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

use crate::sink::CountingCollector;

pub(crate) struct HttpTarget {
    name: &'static str,
    address: SocketAddr,
    /// The proxy process; none for the direct target.
    process: Option<HttpProxyProcess>,
}

/// The process of a proxy.
enum HttpProxyProcess {
    Plain(ChildProcess),
    Envoy(EnvoyInstance),
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

// === impl HttpProxyProcess ===

impl HttpProxyProcess {
    const fn child(&self) -> &ChildProcess {
        match self {
            Self::Plain(process) => process,
            Self::Envoy(envoy) => envoy.process(),
        }
    }
}

// === impl HttpTarget ===

impl HttpTarget {
    pub(crate) const fn direct(service: SocketAddr) -> Self {
        Self {
            name: "direct",
            address: service,
            process: None,
        }
    }

    /// Starts Envoy's HTTP connection manager with the OpenTelemetry tracer, which samples all
    /// requests by default.
    pub(crate) fn envoy(
        envoy: &Path,
        service: SocketAddr,
        sink: &CountingCollector,
        workers: usize,
        home: &Path,
    ) -> Result<Self> {
        let address = free_address()?;
        let config = include_str!("envoy.yaml")
            .replace("{port}", &address.port().to_string())
            .replace("{service_port}", &service.port().to_string())
            .replace("{sink_port}", &sink.address().port().to_string());
        let path = home.join("envoy.yaml");
        fs::write(&path, config)?;
        let process = ProcessSpec::new("envoy", envoy)
            .args([
                "--log-level",
                "warn",
                "--disable-hot-restart",
                "--concurrency",
                &workers.to_string(),
                "-c",
            ])
            .arg(path.as_os_str())
            .spawn()?;
        Self::when_ready("envoy", address, HttpProxyProcess::Plain(process))
    }

    /// Starts the same Envoy, with the filter of our module in its chain. Both have two workers.
    pub(crate) fn envoy_with_module(
        module: &Path,
        service: SocketAddr,
        sink: &CountingCollector,
    ) -> Result<Self> {
        let mut config = EnvoyBootstrap::new("orders", sink.address(), &serde_json::json!({}));
        config.export_as_in_production();
        let address = config.inbound(0, service)?;
        let envoy = EnvoyInstance::start("orders", module, &config)?;
        Self::when_ready("envoy, module", address, HttpProxyProcess::Envoy(envoy))
    }

    pub(crate) fn throughline(
        name: &'static str,
        binary: &Path,
        service: SocketAddr,
        sink: &CountingCollector,
        workers: usize,
    ) -> Result<Self> {
        let address = free_address()?;
        let process = ProcessSpec::new("throughline", binary)
            .clear_env("OTEL_")
            .clear_env("THROUGHLINE_")
            .env("TOKIO_WORKER_THREADS", workers.to_string())
            .args([
                "sidecar",
                "--outbound",
                "off",
                "--admin",
                "off",
                "--service",
                "orders",
                // Envoy has no such limit.
                "--max-spans-per-second",
                "1000000",
            ])
            .args(["--inbound".to_owned(), format!("{address}={service}")])
            .args([
                "--collector".to_owned(),
                format!("http://{}", sink.address()),
            ])
            .spawn()?;
        Self::when_ready(name, address, HttpProxyProcess::Plain(process))
    }

    /// Waits until the proxy at `address` accepts connections.
    fn when_ready(
        name: &'static str,
        address: SocketAddr,
        process: HttpProxyProcess,
    ) -> Result<Self> {
        let child = process.child();
        let up = wait::until(START_TIMEOUT, || {
            if let Some(crash) = child.crashed() {
                return Some(Err(anyhow!("{crash}")));
            }
            TcpStream::connect(address).ok().map(Ok)
        });
        drop(up.with_context(|| {
            format!("{name} did not become ready:\n{}", child.log().join("\n"))
        })??);
        Ok(Self {
            name,
            address,
            process: Some(process),
        })
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
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

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
