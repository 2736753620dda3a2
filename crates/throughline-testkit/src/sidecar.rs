//! Our sidecar as a process.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;
use crate::process::{ChildProcess, ProcessSpec};

/// `throughline sidecar`, running on free ports of the loopback.
#[derive(Debug)]
pub struct SidecarInstance {
    process: ChildProcess,
    service: String,
    bootstrap: Option<String>,
    http: Vec<SocketAddr>,
    admin: SocketAddr,
}

const START_LIMIT: Duration = Duration::from_secs(30);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const STOP_LIMIT: Duration = Duration::from_secs(40);

// === impl Sidecar ===

impl SidecarInstance {
    /// Starts it before the brokers at `kafka`; its spans are of `service` and go to the OTLP/HTTP receiver at `collector`.
    ///
    /// # Errors
    /// When it does not come up; with its last lines.
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
        let args = fixed.iter().chain(args).map(|arg| (*arg).to_owned());
        Self::start_with(&|spec| spec, binary, collector, service, args)
    }

    /// Starts it with these arguments, as a process that `place` puts where it belongs.
    ///
    /// # Errors
    /// When it does not come up; with its last lines.
    pub fn start_with(
        place: &dyn Fn(ProcessSpec) -> ProcessSpec,
        binary: &Path,
        collector: SocketAddr,
        service: &str,
        args: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let spec = ProcessSpec::new(format!("{service}'s sidecar"), binary)
            .forget_env("OTEL_")
            .forget_env("THROUGHLINE_SIDECAR_")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds; spans are waited for
            .env("THROUGHLINE_SIDECAR_ADMIN", "127.0.0.1:0")
            .args(["sidecar", "--json"])
            .args([
                "--collector",
                &format!("http://{collector}"),
                "--service",
                service,
            ])
            .args(args);
        let process = place(spec).spawn()?;
        let json = process.wait_for_line("its addresses", START_LIMIT, |line| {
            serde_json::from_str::<Value>(line)
                .ok()
                .filter(Value::is_object)
        })?;
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let admin = text("admin")
            .with_context(|| format!("no address admin in {json}"))?
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

    /// The address for clients' `bootstrap.servers`; empty, if it does not stand before brokers.
    pub fn bootstrap(&self) -> &str {
        self.bootstrap.as_deref().unwrap_or_default()
    }

    /// Where it takes requests, in the order in which it was told.
    pub fn http(&self) -> &[SocketAddr] {
        &self.http
    }

    /// The service that its spans are of.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The value of one of its metrics, as it stands in `/metrics`: with its labels, if it has any.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get("/metrics").ok()?.body;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// The answer to a GET on its own port, such as `/metrics` or `/ready`, whatever its status.
    ///
    /// # Errors
    /// When there is no answer within seconds.
    pub fn get(&self, path: &str) -> Result<http::HttpReply> {
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
