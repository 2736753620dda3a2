//! Starts one service and its sidecar or Envoy.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Config, EnvoyPods, Eshop, EshopService, START_TIMEOUT, ServiceProgram, SpanSource};
use crate::envoy::{self, ADMIN_PORT, EnvoyBootstrap, EnvoyInstance};
use crate::kafka::{free_ports, java};
use crate::network::{EXEMPT_GID, PodNetwork};
use crate::process::ProcessSpec;
use crate::sidecar::SidecarInstance;

/// Port of the services in pods.
const POD_PORT: u16 = 8080;
/// Ports of the broker as pods see it: for the bootstrap, and the one that it advertises.
const POD_KAFKA_PORTS: [u16; 2] = [9092, 9093];

/// Six JVMs share a machine with everything else: little memory, the smallest collector, and C1
/// alone, which starts faster.
const JVM_OPTIONS: [&str; 4] = [
    "-Xmx96m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
];

/// The proxy beside a service.
enum OwnProxy {
    None,
    Sidecar(SidecarInstance),
    Envoy(EnvoyInstance),
}

// === impl Eshop ===

impl Eshop {
    /// Starts a service and waits until it listens.
    pub(super) fn start_one(
        &self,
        name: &'static str,
        config: &Config<'_>,
    ) -> Result<EshopService> {
        let spec = spec(name, config)?;
        let listen = |port: u16| ["--listen".to_owned(), format!("127.0.0.1:{port}")];
        let port = if name == "eshop" { config.port } else { 0 };
        match config.tracing {
            SpanSource::None | SpanSource::Sdk(_) => {
                let urls = called_services(name)
                    .iter()
                    .flat_map(|called| [format!("--{called}"), self.service(called).url.clone()]);
                let spec = spec
                    .args(listen(port))
                    .args(urls)
                    .args(["--kafka", config.bootstrap]);
                start_process(name, spec, None, OwnProxy::None)
            }
            SpanSource::Sidecars(binary) => {
                // The sidecar needs the service's port before the service starts.
                let behind = free_ports(1)?.first().copied().context("no free port")?;
                let args = self.sidecar_args(name, config, (port, behind));
                let sidecar = SidecarInstance::start_with(
                    &|spec| spec,
                    binary,
                    otlp_address(config)?,
                    name,
                    args,
                )?;
                let (url, outbound) = sidecar
                    .http()
                    .split_first()
                    .context("the sidecar has no HTTP listener")?;
                let urls = called_services(name).iter().zip(outbound);
                let urls = urls.flat_map(|(called, address)| {
                    [format!("--{called}"), format!("http://{address}")]
                });
                // The service calls its peers through the sidecar's listeners, not their own
                // addresses.
                let mut spec = spec.args(listen(behind)).args(urls);
                if uses_kafka(name) {
                    spec = spec.args(["--kafka", sidecar.bootstrap()]);
                }
                let url = format!("http://{url}");
                start_process(name, spec, Some(url), OwnProxy::Sidecar(sidecar))
            }
            SpanSource::Envoys(module) => self.start_beside_envoy(name, spec, config, module),
            SpanSource::Pods(binary, network) => {
                start_in_pod(name, spec, config, (binary, network))
            }
            SpanSource::EnvoyPods(pods) => start_in_envoy_pod(name, spec, config, pods),
        }
    }

    /// Starts a service whose requests, calls and records pass through an Envoy of its own.
    fn start_beside_envoy(
        &self,
        name: &'static str,
        spec: ProcessSpec,
        config: &Config<'_>,
        module: &std::path::Path,
    ) -> Result<EshopService> {
        // Envoy needs the service's port before the service starts.
        let behind = free_ports(1)?.first().copied().context("no free port")?;
        let behind = SocketAddr::from(([127, 0, 0, 1], behind));
        let mut bootstrap = bootstrap(name, config)?;
        let port = if name == "eshop" { config.port } else { 0 };
        let url = bootstrap.inbound(port, behind)?;
        let mut spec = spec.args(["--listen", &behind.to_string()]);
        for called in called_services(name) {
            let upstream = self.service(called).url.trim_start_matches("http://");
            let address = bootstrap.outbound(upstream)?;
            spec = spec.args([format!("--{called}"), format!("http://{address}")]);
        }
        if uses_kafka(name) {
            let address = bootstrap.kafka(config.bootstrap)?;
            spec = spec.args(["--kafka", &address.to_string()]);
        }
        let envoy = EnvoyInstance::start(name, module, &bootstrap)?;
        start_process(
            name,
            spec,
            Some(format!("http://{url}")),
            OwnProxy::Envoy(envoy),
        )
    }

    /// Returns the arguments of a sidecar beside the service: it takes the inbound requests of the
    /// service and proxies each of its outbound calls.
    fn sidecar_args(
        &self,
        name: &str,
        config: &Config<'_>,
        (port, behind): (u16, u16),
    ) -> Vec<String> {
        let outbound = called_services(name)
            .iter()
            .map(|called| format!("127.0.0.1:0={}", self.service(called).url));
        let outbound = outbound.collect::<Vec<_>>().join(",");
        let inbound = format!("127.0.0.1:{port}=127.0.0.1:{behind}");
        let outbound = if outbound.is_empty() {
            "off"
        } else {
            &outbound
        };
        let mut args = tracing_args(name);
        args.extend(config.sidecar_args.iter().cloned());
        args.extend(["--inbound", &inbound, "--outbound", outbound].map(str::to_owned));
        if uses_kafka(name) {
            let kafka = [
                "--kafka",
                config.bootstrap,
                "--listen",
                "127.0.0.1:0",
                "--broker-ports",
                "any",
            ];
            args.extend(kafka.map(str::to_owned));
        }
        args
    }
}

/// Returns the process spec that all span sources share.
fn spec(name: &'static str, config: &Config<'_>) -> Result<ProcessSpec> {
    let delay = config.max_delay.as_millis().to_string();
    let spec = match config.program {
        ServiceProgram::Binary(binary) => ProcessSpec::new(name, binary),
        ServiceProgram::SpringJar(jar) => ProcessSpec::new(name, java()?)
            .args(JVM_OPTIONS)
            .arg("-jar")
            .arg(jar),
    };
    let mut spec = spec.clear_env("OTEL_").clear_env("ESHOP_").args([
        name,
        "--max-delay-ms",
        &delay,
        "--topic",
        config.topic,
    ]);
    if let SpanSource::Sdk(mode) = config.tracing {
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
        .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds: tests wait for spans
        .env("OTEL_METRICS_EXPORTER", "none");
    let env = config.env.iter();
    Ok(env.fold(spec, |spec, (name, value)| spec.env(name, value)))
}

/// Starts a service in its pod; the sidecar handles its connections by redirection.
fn start_in_pod(
    name: &'static str,
    spec: ProcessSpec,
    config: &Config<'_>,
    (binary, network): (&std::path::Path, &PodNetwork),
) -> Result<EshopService> {
    let pod = network.pod(name)?;
    let exempt = EXEMPT_GID.to_string();
    // The rules must be in place before the sidecar and the service connect.
    pod.run(&binary.to_string_lossy(), &["init", "--gid", &exempt])
        .with_context(|| format!("redirecting the connections of {name}"))?;
    // The metrics are read from outside of the pod.
    let own = [
        "--transparent".to_owned(),
        "--admin".to_owned(),
        format!("{}:19091", pod.address()),
    ];
    let further = config.sidecar_args.iter().cloned();
    let args = tracing_args(name).into_iter().chain(further).chain(own);
    let sidecar = SidecarInstance::start_with(
        &|spec| pod.enter_exempt(spec),
        binary,
        otlp_address(config)?,
        name,
        args,
    )?;
    let url = format!("http://{}:{POD_PORT}", pod.address());
    start_process(name, pod.enter(spec), Some(url), OwnProxy::Sidecar(sidecar))
}

/// Starts a service in its pod, whose connections are redirected to an Envoy as Istio does it.
fn start_in_envoy_pod(
    name: &'static str,
    spec: ProcessSpec,
    config: &Config<'_>,
    pods: EnvoyPods<'_>,
) -> Result<EshopService> {
    let pod = pods.network.pod(name)?;
    envoy::redirect(pod, pods.throughline)
        .with_context(|| format!("redirecting the connections of {name}"))?;
    let admin = SocketAddr::from((pod.address(), ADMIN_PORT));
    let mut bootstrap = bootstrap(name, config)?.with_admin(admin);
    let kafka_ports: &[u16] = if uses_kafka(name) {
        &POD_KAFKA_PORTS
    } else {
        &[]
    };
    bootstrap.redirected(POD_PORT, kafka_ports);
    let enter = |spec| pod.enter_exempt(spec);
    let envoy = EnvoyInstance::start_with(&enter, name, pods.module, &bootstrap)?;
    let url = format!("http://{}:{POD_PORT}", pod.address());
    start_process(name, pod.enter(spec), Some(url), OwnProxy::Envoy(envoy))
}

/// Returns the configuration that the Envoys of all services share.
fn bootstrap(name: &str, config: &Config<'_>) -> Result<EnvoyBootstrap> {
    let keys = json!({
        "naming": "opentracing",
        "message_key": true,
        "routes": route(name).unwrap_or_default(),
    });
    let bootstrap = EnvoyBootstrap::new(name, otlp_address(config)?, &keys);
    Ok(match config.zipkin {
        Some(receiver) => bootstrap.with_zipkin(receiver),
        None => bootstrap,
    })
}

/// Returns the tracing options of all sidecars: span names of the article, and the checkout number
/// on every span.
fn tracing_args(name: &str) -> Vec<String> {
    let mut args = vec!["--naming", "opentracing", "--message-key", "true"];
    if let Some(route) = route(name) {
        args.extend(["--routes", route]);
    }
    args.into_iter().map(str::to_owned).collect()
}

fn start_process(
    name: &'static str,
    spec: ProcessSpec,
    url: Option<String>,
    proxy: OwnProxy,
) -> Result<EshopService> {
    let process = spec.spawn()?;
    let address = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
    let announced = process.wait_for_line("the address it listens on", START_TIMEOUT, address)?;
    let (sidecar, envoy) = match proxy {
        OwnProxy::None => (None, None),
        OwnProxy::Sidecar(sidecar) => (Some(sidecar), None),
        OwnProxy::Envoy(envoy) => (None, Some(envoy)),
    };
    Ok(EshopService {
        name,
        url: url.unwrap_or(announced),
        process,
        sidecar,
        envoy,
    })
}

fn otlp_address(config: &Config<'_>) -> Result<SocketAddr> {
    config
        .otlp_http
        .context("sidecars need a collector address")
}

/// Returns the services that a service calls by HTTP.
fn called_services(name: &str) -> &'static [&'static str] {
    match name {
        "eshop" => &["inventory", "billing", "delivery"],
        "kafka-consumer" => &["notification"],
        _ => &[],
    }
}

fn uses_kafka(name: &str) -> bool {
    matches!(name, "eshop" | "kafka-consumer")
}

/// Returns the route that a service serves.
fn route(name: &str) -> Option<&'static str> {
    match name {
        "eshop" => Some("/checkout"),
        "inventory" => Some("/createOrder"),
        "billing" => Some("/payment"),
        "delivery" => Some("/arrangeDelivery"),
        "notification" => Some("/sendEmail"),
        _ => None,
    }
}
