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
        let fixed = ["sidecar", "--json", "--listen", "127.0.0.1:0", "--broker-ports", "any", "--admin", "127.0.0.1:0"];
        let process = Spec::new(service, binary)
            .forget_env("OTEL_")
            .forget_env("THROUGHLINE_SIDECAR_")
            .args(fixed)
            .args(["--kafka", kafka, "--collector", &format!("http://{collector}"), "--service", service])
            .args(args.iter().copied())
            .spawn()?;
        let json = process.wait_for_line("its addresses", START_LIMIT, |line| {
            serde_json::from_str::<Value>(line).ok().filter(Value::is_object)
        })?;
        let address =
            |name: &str| json.get(name).and_then(Value::as_str).with_context(|| format!("no address {name} in {json}"));
        let (bootstrap, admin) = (address("kafka")?.to_owned(), address("admin")?.parse()?);
        Ok(Self { process, service: service.to_owned(), bootstrap, admin })
    }

    /// The address for clients' `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
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
