//! The eshop of the example: six services, each a process.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::http;
use crate::process::{Crash, Process, Spec, stop_all};
use crate::wait;

/// What is instrumented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// HTTP only: the trace ends where the message begins.
    Rest,
    /// Kafka too, but the consumer span is over before the handler runs: what the handler calls is another trace.
    Kafka,
    /// The consumer span is active while the handler runs: one whole trace.
    Linked,
}

/// What the services are started with.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// `eshop` or `eshop-bare`.
    pub binary: &'a Path,
    /// [`None`] for `eshop-bare`, which knows no modes.
    pub mode: Option<Mode>,
    /// The broker's `host:port`.
    pub bootstrap: &'a str,
    /// The topic, which must exist.
    pub topic: &'a str,
    /// The collector's OTLP/HTTP address; [`None`] starts services without an exporter.
    pub otlp_http: Option<SocketAddr>,
    /// The port of the service named eshop; 0 is any free one.
    pub port: u16,
    /// Longest of the random delays that stand for work.
    pub max_delay: Duration,
    /// Further variables for every service, such as `OTEL_TRACES_SAMPLER`.
    pub env: Vec<(String, String)>,
}

/// The six services, running.
#[derive(Debug)]
pub struct Eshop {
    services: Vec<Service>,
}

/// One service, running.
#[derive(Debug)]
pub struct Service {
    /// Its name, also in its spans.
    pub name: &'static str,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The process.
    pub process: Process,
}

/// The services in the order in which they start: each finds those it calls already running.
pub const SERVICES: [&str; 6] = ["notification", "inventory", "billing", "delivery", "kafka-consumer", "eshop"];

/// The topic of the article.
pub const TOPIC: &str = "eshop-topic";

/// What `GET /checkout` answers.
pub const ANSWER: &str = "Your order has been created!<BR>Your order has been paid!<BR>Your order is on the way!";

const START_LIMIT: Duration = Duration::from_secs(60);
const CHECKOUT_LIMIT: Duration = Duration::from_secs(60);
/// A service may spend seconds on flushing its spans to a collector that does not answer.
const STOP_LIMIT: Duration = Duration::from_secs(20);

// === impl Eshop ===

impl Eshop {
    /// Starts the six services and waits until each says that it listens.
    ///
    /// # Errors
    /// When one does not come up; names it and shows its last lines.
    pub fn start(config: &Config<'_>) -> Result<Self> {
        let mut eshop = Self { services: Vec::with_capacity(SERVICES.len()) };
        for name in SERVICES {
            let process = eshop.spec(name, config).spawn()?;
            let address = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
            let url = process.wait_for_line("the address it listens on", START_LIMIT, address)?;
            eshop.services.push(Service { name, url, process });
        }
        Ok(eshop)
    }

    /// One service by its name.
    ///
    /// # Panics
    /// When there is no such service: names are those of [`SERVICES`].
    #[expect(clippy::panic, reason = "a wrong name is a mistake in the test that wrote it")]
    pub fn service(&self, name: &str) -> &Service {
        self.services.iter().find(|service| service.name == name).unwrap_or_else(|| panic!("no service named {name}"))
    }

    /// All services in the order of their start.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The address that a customer opens.
    pub fn checkout_url(&self) -> String {
        format!("{}/checkout", self.service("eshop").url)
    }

    /// Buys something: `GET /checkout`.
    ///
    /// # Errors
    /// When the answer is not the one of the article; a service that has ended is then the thing to tell.
    pub fn checkout(&self) -> Result<()> {
        self.ask().map_err(|error| match wait::until(Duration::from_secs(1), || self.crashed()) {
            Some(crash) => error.context(crash.to_string()),
            None => error,
        })
    }

    /// The first service that has ended though it should run.
    pub fn crashed(&self) -> Option<Crash> {
        self.services.iter().find_map(|service| service.process.crashed())
    }

    /// Stops all services in an orderly way.
    ///
    /// # Errors
    /// When one had to be killed, naming it.
    pub fn stop(self) -> Result<()> {
        stop_all(self.services.iter().map(|service| &service.process), STOP_LIMIT)
    }

    fn ask(&self) -> Result<()> {
        let answer = http::get(&self.checkout_url(), CHECKOUT_LIMIT)?;
        ensure!(answer.status == 200, "the checkout answered {}: {}", answer.status, answer.body);
        ensure!(answer.body == ANSWER, "the checkout answered {:?} instead of {ANSWER:?}", answer.body);
        Ok(())
    }

    fn spec(&self, name: &'static str, config: &Config<'_>) -> Spec {
        let port = if name == "eshop" { config.port } else { 0 };
        let delay = config.max_delay.as_millis().to_string();
        let mut spec = Spec::new(name, config.binary)
            .forget_env("OTEL_")
            .forget_env("ESHOP_")
            .args([name, "--listen", &format!("127.0.0.1:{port}"), "--max-delay-ms", &delay])
            .args(["--kafka", config.bootstrap, "--topic", config.topic]);
        for service in &self.services {
            if ["notification", "inventory", "billing", "delivery"].contains(&service.name) {
                spec = spec.args([format!("--{}", service.name), service.url.clone()]);
            }
        }
        if let Some(mode) = config.mode {
            spec = spec.args(["--mode".to_owned(), mode.to_string()]);
        }
        spec = match config.otlp_http {
            Some(address) => spec
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            None => spec.env("OTEL_TRACES_EXPORTER", "none"),
        };
        spec = spec
            .env("OTEL_SERVICE_NAME", name)
            .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds; spans are waited for
            .env("OTEL_METRICS_EXPORTER", "none");
        config.env.iter().fold(spec, |spec, (name, value)| spec.env(name, value))
    }
}

// === impl Mode ===

impl Mode {
    /// All modes, in the order of the article.
    pub const ALL: [Self; 3] = [Self::Rest, Self::Kafka, Self::Linked];

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Kafka => "kafka",
            Self::Linked => "linked",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|mode| mode.name() == text) {
            Some(mode) => Ok(mode),
            None => bail!("a mode is one of rest, kafka, linked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        }
        assert!("sidecar".parse::<Mode>().is_err());
    }
}
