//! Our sidecar as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;
use crate::process::{Process, Spec};

/// `throughline sidecar`, running on free ports of the loopback.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    service: String,
    bootstrap: String,
    http: Vec<SocketAddr>,
    admin: SocketAddr,
}

const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(40);

// === impl Sidecar ===

impl Sidecar {
    /// Starts it before the brokers at `kafka`; its spans are of `service` and go to the OTLP/HTTP receiver at `collector`.
    ///
    /// # Errors
    /// When it does not come up; with its last lines.
    pub fn start(binary: &Path, kafka: &str, collector: SocketAddr, service: &str, args: &[&str]) -> Result<Self> {
        let fixed = ["--kafka", kafka, "--listen", "127.0.0.1:0", "--broker-ports", "any"];
        Self::start_with(binary, collector, service, &[&fixed, args].concat())
    }

    /// Starts it before the HTTP service at `behind`; the service finds its proxy at the second of [`Self::http`].
    ///
    /// # Errors
    /// When it does not come up; with its last lines.
    pub fn start_http(
        binary: &Path,
        behind: SocketAddr,
        collector: SocketAddr,
        service: &str,
        args: &[&str],
    ) -> Result<Self> {
        let inbound = format!("127.0.0.1:0={behind}");
        let fixed = ["--inbound", &inbound, "--outbound", "127.0.0.1:0"];
        Self::start_with(binary, collector, service, &[&fixed, args].concat())
    }

    fn start_with(binary: &Path, collector: SocketAddr, service: &str, args: &[&str]) -> Result<Self> {
        let process = Spec::new(service, binary)
            .forget_env("OTEL_")
            .forget_env("THROUGHLINE_SIDECAR_")
            .args(["sidecar", "--json", "--admin", "127.0.0.1:0"])
            .args(["--collector", &format!("http://{collector}"), "--service", service])
            .args(args.iter().copied())
            .spawn()?;
        let json = process.wait_for_line("its addresses", START_LIMIT, |line| {
            serde_json::from_str::<Value>(line).ok().filter(Value::is_object)
        })?;
        let bootstrap = json.get("kafka").and_then(Value::as_str).unwrap_or_default().to_owned();
        let admin = json.get("admin").and_then(Value::as_str).with_context(|| format!("no admin in {json}"))?;
        let http = json.get("http").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let http = http.map(str::parse).collect::<Result<_, _>>().with_context(|| format!("http in {json}"))?;
        Ok(Self { admin: admin.parse()?, service: service.to_owned(), bootstrap, http, process })
    }

    /// The address for clients' `bootstrap.servers`; empty without Kafka.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where it takes requests: first those to the service, then those of the service.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The service that its spans are of.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The process.
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// The answer to a GET on its own port, such as `/metrics` or `/ready`, whatever its status.
    ///
    /// # Errors
    /// When there is no answer within seconds.
    pub fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(&format!("http://{}{path}", self.admin), ANSWER_LIMIT)
    }

    /// Lets it end what its connections are at, and end.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(self) -> Result<()> {
        self.process.stop(STOP_LIMIT).map(drop)
    }
}
