//! `throughline sidecar` as a supervised process.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;
use crate::process::{ChildProcess, ProcessSpec};

/// A running `throughline sidecar` on free ports of the loopback.
#[derive(Debug)]
pub struct SidecarInstance {
    process: ChildProcess,
    service: String,
    bootstrap: Option<String>,
    http: Vec<SocketAddr>,
    admin: SocketAddr,
}

const START_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

// === impl SidecarInstance ===

impl SidecarInstance {
    /// Starts a sidecar in front of the brokers at `kafka`. Its spans belong to `service` and go to
    /// the OTLP/HTTP receiver at `collector`.
    ///
    /// # Errors
    /// Fails if the process does not become ready; shows its last output lines.
    pub fn start(
        binary: &Path,
        kafka: &str,
        collector: SocketAddr,
        service: &str,
        args: &[&str],
    ) -> Result<Self> {
        let kafka = [
            "--kafka",
            kafka,
            "--listen",
            "127.0.0.1:0",
            "--broker-ports",
            "any",
        ];
        let args = kafka.iter().chain(args).map(|arg| (*arg).to_owned());
        Self::start_with(&|spec| spec, binary, collector, service, args)
    }

    /// Starts a sidecar in front of the HTTP service at `behind`. The second address of
    /// [`Self::http`] is the proxy for outbound requests of the service.
    ///
    /// # Errors
    /// Fails if the process does not become ready; shows its last output lines.
    pub fn start_http(
        binary: &Path,
        behind: SocketAddr,
        collector: SocketAddr,
        service: &str,
        args: &[&str],
    ) -> Result<Self> {
        let inbound = format!("127.0.0.1:0={behind}");
        let fixed = ["--inbound", &inbound, "--outbound", "127.0.0.1:0"];
        let args = fixed.iter().chain(args).map(|arg| (*arg).to_owned());
        Self::start_with(&|spec| spec, binary, collector, service, args)
    }

    /// Starts a sidecar with these arguments; `place` moves the process into its namespace.
    ///
    /// # Errors
    /// Fails if the process does not become ready; shows its last output lines.
    pub fn start_with(
        place: &dyn Fn(ProcessSpec) -> ProcessSpec,
        binary: &Path,
        collector: SocketAddr,
        service: &str,
        args: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let spec = ProcessSpec::new(format!("{service}'s sidecar"), binary)
            // Variables of the developer's shell must not change the configuration under test.
            .clear_env("OTEL_")
            .clear_env("THROUGHLINE_SIDECAR_")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds: tests wait for spans
            .env("THROUGHLINE_SIDECAR_ADMIN", "127.0.0.1:0")
            .args(["sidecar", "--json"])
            .args([
                "--collector",
                &format!("http://{collector}"),
                "--service",
                service,
            ])
            .args(args);
        // The sidecar prints its addresses once all listeners are bound, so the line is also the
        // readiness signal.
        let process = place(spec).spawn()?;
        let json = process.wait_for_line("its listen addresses", START_TIMEOUT, |line| {
            serde_json::from_str::<Value>(line)
                .ok()
                .filter(Value::is_object)
        })?;
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let admin = text("admin")
            .with_context(|| format!("no field \"admin\" in {json}"))?
            .parse()?;
        let http = json
            .get("http")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let http = http
            .iter()
            .filter_map(|address| address.as_str()?.parse().ok())
            .collect();
        Ok(Self {
            service: service.to_owned(),
            bootstrap: text("kafka").map(str::to_owned),
            http,
            admin,
            process,
        })
    }

    /// Returns the address for `bootstrap.servers`, or an empty string without a Kafka listener.
    pub fn bootstrap(&self) -> &str {
        self.bootstrap.as_deref().unwrap_or_default()
    }

    /// Returns the HTTP listen addresses, in the order of the command line.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// Returns the `service.name` of its spans.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Returns the value of a metric, named as in `/metrics`, labels included.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").ok()?.body;
        text.lines()
            // The separator prevents a match with a longer metric name.
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// Returns the supervised process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// Sends a GET to the admin port, such as `/metrics` or `/ready`, and returns the response with
    /// any status.
    ///
    /// # Errors
    /// Fails if no response arrives within seconds.
    pub fn get(&self, path: &str) -> Result<http::HttpReply> {
        http::get(&format!("http://{}{path}", self.admin), RESPONSE_TIMEOUT)
    }

    /// Sends SIGTERM and waits while the sidecar drains its connections.
    ///
    /// # Errors
    /// Fails if the process had to be killed.
    pub fn stop(self) -> Result<()> {
        self.process.stop(STOP_TIMEOUT).map(drop)
    }
}
