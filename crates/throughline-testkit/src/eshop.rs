//! The eshop of the example: six services, each a process.

mod start;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::http;
use crate::network::PodNetwork;
use crate::process::{ChildProcess, ProcessCrash, stop_all};
use crate::sidecar::SidecarInstance;
use crate::wait;

/// What is instrumented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DemoMode {
    /// HTTP only: the trace ends where the message begins.
    Rest,
    /// Kafka too, but the consumer span is over before the handler runs: what the handler calls is another trace.
    Kafka,
    /// The consumer span is active while the handler runs: one whole trace.
    Linked,
    /// Nothing in the services: a sidecar beside each makes the whole trace.
    Sidecar,
}

/// What the services are started with.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// `eshop`, or `eshop-bare`, which knows no modes.
    pub binary: &'a Path,
    /// The broker's `host:port`.
    pub bootstrap: &'a str,
    /// The topic, which must exist.
    pub topic: &'a str,
    /// The collector's OTLP/HTTP address; [`None`] starts services whose spans go nowhere.
    pub otlp_http: Option<SocketAddr>,
    /// What makes their spans.
    pub tracing: SpanSource<'a>,
    /// The port of the service named eshop; 0 is any free one. Pods have addresses of their own, and always 8080.
    pub port: u16,
    /// Longest of the random delays that stand for work.
    pub max_delay: Duration,
    /// Further variables for every service, such as `OTEL_TRACES_SAMPLER`.
    pub env: Vec<(String, String)>,
}

/// What makes the spans of the services.
#[derive(Debug, Clone, Copy)]
pub enum SpanSource<'a> {
    /// Nothing: `eshop-bare`.
    None,
    /// The SDK within them, in this mode: `eshop`.
    Sdk(DemoMode),
    /// A sidecar beside each, to which the service's addresses point: `eshop-bare`.
    Sidecars(&'a Path),
    /// A sidecar in the pod of each, to which the pod's connections are redirected: `eshop-bare`.
    Pods(&'a Path, &'a PodNetwork),
}

/// The six services, running.
#[derive(Debug)]
pub struct Eshop {
    services: Vec<EshopService>,
}

/// One service, running.
#[derive(Debug)]
pub struct EshopService {
    /// Its name, also in its spans.
    pub name: &'static str,
    /// Where others ask it: `http://127.0.0.1:PORT`, or in a network of its own.
    pub url: String,
    /// The process.
    pub process: ChildProcess,
    /// What stands beside it, if anything does.
    pub sidecar: Option<SidecarInstance>,
}

/// The services in the order in which they start: each finds those it calls already running.
pub const SERVICES: [&str; 6] = [
    "notification",
    "inventory",
    "billing",
    "delivery",
    "kafka-consumer",
    "eshop",
];

/// The topic of the article.
pub const TOPIC: &str = "eshop-topic";

/// What `GET /checkout` answers.
pub const ANSWER: &str =
    "Your order has been created!<BR>Your order has been paid!<BR>Your order is on the way!";

const START_LIMIT: Duration = Duration::from_secs(60);
/// In seconds. With less, a request of the longest delays would be too long to tell by.
const IDLE: f64 = 5.0;
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
        let mut eshop = Self {
            services: Vec::with_capacity(SERVICES.len()),
        };
        for name in SERVICES {
            let service = eshop.start_one(name, config)?;
            eshop.services.push(service);
        }
        Ok(eshop)
    }

    /// One service by its name.
    ///
    /// # Panics
    /// When there is no such service: names are those of [`SERVICES`].
    #[expect(
        clippy::panic,
        reason = "a wrong name is a mistake in the test that wrote it"
    )]
    pub fn service(&self, name: &str) -> &EshopService {
        self.services
            .iter()
            .find(|service| service.name == name)
            .unwrap_or_else(|| panic!("no service named {name}"))
    }

    /// All services in the order of their start.
    pub fn services(&self) -> &[EshopService] {
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
        self.ask().map_err(
            |error| match wait::until(Duration::from_secs(1), || self.crashed()) {
                Some(crash) => error.context(crash.to_string()),
                None => error,
            },
        )
    }

    /// Waits until every sidecar has seen its service idle for long enough to tell by the first request already what it makes a
    /// service do (`docs/correlation.md`).
    ///
    /// # Errors
    /// When one does not come to that.
    pub fn settle(&self) -> Result<()> {
        for EshopService { name, sidecar, .. } in &self.services {
            let Some(sidecar) = sidecar else { continue };
            let idle = || {
                sidecar
                    .metric("throughline_process_idle_seconds")
                    .filter(|idle| *idle >= IDLE)
            };
            wait::until(START_LIMIT, idle)
                .with_context(|| format!("{name} is not idle, or its sidecar tells nothing"))?;
        }
        Ok(())
    }

    /// The first service that has ended though it should run.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        let sidecars = self
            .services
            .iter()
            .filter_map(|service| service.sidecar.as_ref())
            .map(SidecarInstance::process);
        self.services
            .iter()
            .map(|service| &service.process)
            .chain(sidecars)
            .find_map(ChildProcess::crashed)
    }

    /// Stops all services in an orderly way.
    ///
    /// # Errors
    /// When one had to be killed, naming it.
    pub fn stop(&self) -> Result<()> {
        let services = stop_all(
            self.services.iter().map(|service| &service.process),
            STOP_LIMIT,
        );
        let sidecars = self
            .services
            .iter()
            .filter_map(|service| service.sidecar.as_ref())
            .map(SidecarInstance::process);
        let sidecars = stop_all(sidecars, STOP_LIMIT);
        services.and(sidecars)
    }

    fn ask(&self) -> Result<()> {
        let answer = http::get(&self.checkout_url(), CHECKOUT_LIMIT)?;
        ensure!(
            answer.status == 200,
            "the checkout answered {}: {}",
            answer.status,
            answer.body
        );
        ensure!(
            answer.body == ANSWER,
            "the checkout answered {:?} instead of {ANSWER:?}",
            answer.body
        );
        Ok(())
    }
}

// === impl Mode ===

impl DemoMode {
    /// All modes, in the order of the article.
    pub const ALL: [Self; 4] = [Self::Rest, Self::Kafka, Self::Linked, Self::Sidecar];

    /// The word on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Kafka => "kafka",
            Self::Linked => "linked",
            Self::Sidecar => "sidecar",
        }
    }
}

impl fmt::Display for DemoMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DemoMode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|mode| mode.name() == text) {
            Some(mode) => Ok(mode),
            None => bail!("a mode is one of rest, kafka, linked, sidecar"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_read_as_it_is_written() {
        for mode in DemoMode::ALL {
            assert_eq!(mode.to_string().parse::<DemoMode>().unwrap(), mode);
        }
        assert!("envoy".parse::<DemoMode>().is_err());
    }
}
