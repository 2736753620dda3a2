//! The eshop of the example: six services, one process each.

mod start;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::envoy::EnvoyInstance;
use crate::http;
use crate::network::PodNetwork;
use crate::process::{ChildProcess, ProcessCrash, stop_all};
use crate::sidecar::SidecarInstance;
use crate::wait;

/// Instrumentation of the eshop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DemoMode {
    /// HTTP only: the trace ends at the record.
    Rest,
    /// HTTP and Kafka, but the consumer span ends before the handler runs: calls of the handler
    /// start another trace.
    Kafka,
    /// The consumer span is active while the handler runs: one complete trace.
    Linked,
    /// No instrumentation in the services: a sidecar beside each produces the complete trace.
    Sidecar,
    /// The same, by a stock Envoy with our module beside each service.
    Envoy,
}

/// Configuration of the services.
#[derive(Debug, Clone)]
pub struct Config<'a> {
    /// The services' program.
    pub program: ServiceProgram<'a>,
    /// The broker's `host:port`.
    pub bootstrap: &'a str,
    /// The topic, which must exist.
    pub topic: &'a str,
    /// OTLP/HTTP address of the collector; [`None`] disables the export.
    pub otlp_http: Option<SocketAddr>,
    /// Zipkin's receiver: where it is set, Envoys use Zipkin's tracer and B3.
    pub zipkin: Option<SocketAddr>,
    /// The source of their spans.
    pub tracing: SpanSource<'a>,
    /// Port of the service named eshop; 0 selects any free port. Pods have their own addresses and
    /// always use 8080.
    pub port: u16,
    /// Longest random delay, which simulates work.
    pub max_delay: Duration,
    /// Further variables of every service, such as `OTEL_TRACES_SAMPLER`.
    pub env: Vec<(String, String)>,
    /// Further arguments of every sidecar.
    pub sidecar_args: Vec<String>,
}

/// The program of the services, which has all six.
#[derive(Debug, Clone, Copy)]
pub enum ServiceProgram<'a> {
    /// `eshop`, or `eshop-bare`, which has no modes.
    Binary(&'a Path),
    /// The jar of the Spring application, which has no modes.
    SpringJar(&'a Path),
}

/// The source of the services' spans.
#[derive(Debug, Clone, Copy)]
pub enum SpanSource<'a> {
    /// No source: `eshop-bare`.
    None,
    /// The SDK in the services, in this mode: `eshop`.
    Sdk(DemoMode),
    /// A sidecar beside each service, which calls its peers through it: `eshop-bare`.
    Sidecars(&'a Path),
    /// An Envoy with the module at this path beside each service: `eshop-bare`.
    Envoys(&'a Path),
    /// A sidecar in each pod, to which connections are redirected: `eshop-bare`.
    Pods(&'a Path, &'a PodNetwork),
    /// An Envoy with a module in each pod, to which connections are redirected: `eshop-bare`.
    EnvoyPods(EnvoyPods<'a>),
}

/// The parts of pods with an Envoy.
#[derive(Debug, Clone, Copy)]
pub struct EnvoyPods<'a> {
    /// The module.
    pub module: &'a Path,
    /// The command whose `init` redirects connections.
    pub throughline: &'a Path,
    /// The pods.
    pub network: &'a PodNetwork,
}

/// The six running services.
#[derive(Debug)]
pub struct Eshop {
    services: Vec<EshopService>,
}

/// One running service.
#[derive(Debug)]
pub struct EshopService {
    /// The name, also its `service.name`.
    pub name: &'static str,
    /// Base URL: `http://127.0.0.1:PORT`, or the pod's address.
    pub url: String,
    /// The process.
    pub process: ChildProcess,
    /// The sidecar, if there is one.
    pub sidecar: Option<SidecarInstance>,
    /// The Envoy, if there is one.
    pub envoy: Option<EnvoyInstance>,
}

/// The services in start order: each finds the services that it calls already running.
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

/// Response body of `GET /checkout`.
pub const CHECKOUT_BODY: &str =
    "Your order has been created!<BR>Your order has been paid!<BR>Your order is on the way!";

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle seconds before the first request. With less, the longest delay of a request could be
/// mistaken for idle time.
const MIN_IDLE_SECONDS: f64 = 5.0;
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(60);
/// A service may spend seconds on flushing spans to a collector that does not respond.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

// === impl Eshop ===

impl Eshop {
    /// Starts the six services and waits until each listens. Calls `progress` for each.
    ///
    /// # Errors
    /// Fails if a service does not become ready; names it and shows its last output lines.
    pub fn start(config: &Config<'_>, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let mut eshop = Self {
            services: Vec::with_capacity(SERVICES.len()),
        };
        for (number, name) in SERVICES.into_iter().enumerate() {
            progress(&format!(
                "starting {name}, service {} of {}",
                number + 1,
                SERVICES.len()
            ));
            // A service gets the URLs of its callees as arguments, so they must run first.
            let service = eshop.start_one(name, config)?;
            eshop.services.push(service);
        }
        Ok(eshop)
    }

    /// Returns one service by its name.
    ///
    /// # Panics
    /// Panics if no service has this name; see [`SERVICES`].
    #[expect(clippy::panic, reason = "a wrong name is a bug in the test")]
    pub fn service(&self, name: &str) -> &EshopService {
        self.services
            .iter()
            .find(|service| service.name == name)
            .unwrap_or_else(|| panic!("no service named {name}"))
    }

    /// Returns all services in start order.
    pub fn services(&self) -> &[EshopService] {
        &self.services
    }

    /// Returns the URL of the checkout.
    pub fn checkout_url(&self) -> String {
        format!("{}/checkout", self.service("eshop").url)
    }

    /// Sends `GET /checkout`.
    ///
    /// # Errors
    /// Fails if the response is not the expected one; reports a service that has ended first.
    pub fn checkout(&self) -> Result<()> {
        self.request_checkout().map_err(|error| {
            match wait::until(Duration::from_secs(1), || self.crashed()) {
                Some(crash) => error.context(crash.to_string()),
                None => error,
            }
        })
    }

    /// Waits until every sidecar or Envoy has seen its service idle for long enough to attribute
    /// calls from the first request on (`docs/correlation.md`).
    ///
    /// # Errors
    /// Fails if a service does not become idle.
    pub fn wait_until_idle(&self) -> Result<()> {
        for service in &self.services {
            let is_idle = || {
                let idle = service.idle_seconds()?;
                (idle >= MIN_IDLE_SECONDS).then_some(())
            };
            wait::until(START_TIMEOUT, is_idle).with_context(|| {
                format!(
                    "{} is not idle, or its proxy does not respond",
                    service.name
                )
            })?;
        }
        Ok(())
    }

    /// Returns the first service or sidecar that has ended unexpectedly.
    pub fn crashed(&self) -> Option<ProcessCrash> {
        self.services
            .iter()
            .map(|service| &service.process)
            .chain(self.proxies())
            .find_map(ChildProcess::crashed)
    }

    /// Stops all services, then all sidecars.
    ///
    /// # Errors
    /// Fails if a process had to be killed; names it.
    pub fn stop(&self) -> Result<()> {
        let services = stop_all(
            self.services.iter().map(|service| &service.process),
            STOP_TIMEOUT,
        );
        // Proxies stop last: a stopping service still sends through them.
        let proxies = stop_all(self.proxies(), STOP_TIMEOUT);
        services.and(proxies)
    }

    /// Returns the processes of all sidecars and Envoys.
    fn proxies(&self) -> impl Iterator<Item = &ChildProcess> {
        self.services.iter().flat_map(|service| {
            let sidecar = service.sidecar.as_ref().map(SidecarInstance::process);
            let envoy = service.envoy.as_ref().map(EnvoyInstance::process);
            sidecar.into_iter().chain(envoy)
        })
    }

    fn request_checkout(&self) -> Result<()> {
        let reply = http::get(&self.checkout_url(), CHECKOUT_TIMEOUT)?;
        ensure!(
            reply.status == 200,
            "the checkout returned status {}: {}",
            reply.status,
            reply.body
        );
        ensure!(
            reply.body == CHECKOUT_BODY,
            "the checkout returned {:?} instead of {CHECKOUT_BODY:?}",
            reply.body
        );
        Ok(())
    }
}

// === impl EshopService ===

impl EshopService {
    /// Returns the recent seconds without a request, as the proxy beside the service counts them.
    fn idle_seconds(&self) -> Option<f64> {
        match (&self.sidecar, &self.envoy) {
            (Some(sidecar), _) => sidecar.metric("throughline_process_idle_seconds"),
            (None, Some(envoy)) => {
                let seconds = *envoy.stats().ok()?.get("idle_seconds")?;
                u32::try_from(seconds).ok().map(f64::from)
            }
            (None, None) => Some(f64::INFINITY),
        }
    }
}

// === impl DemoMode ===

impl DemoMode {
    /// All modes, in the order of the article.
    pub const ALL: [Self; 5] = [
        Self::Rest,
        Self::Kafka,
        Self::Linked,
        Self::Sidecar,
        Self::Envoy,
    ];

    /// Returns the value of the command line option.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Kafka => "kafka",
            Self::Linked => "linked",
            Self::Sidecar => "sidecar",
            Self::Envoy => "envoy",
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
            None => bail!("unknown mode: use rest, kafka, linked, sidecar or envoy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_round_trips_through_text() {
        for mode in DemoMode::ALL {
            assert_eq!(mode.to_string().parse::<DemoMode>().unwrap(), mode);
        }
        assert!("pods".parse::<DemoMode>().is_err());
    }
}
