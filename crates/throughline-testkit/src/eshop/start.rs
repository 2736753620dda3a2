//! How one service is started, and what is put beside it.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::{Config, Eshop, EshopService, START_LIMIT, SpanSource};
use crate::kafka::free_ports;
use crate::network::{EXEMPT, PodNetwork};
use crate::process::ProcessSpec;
use crate::sidecar::SidecarInstance;

/// Where services listen in a network of their own.
const PORT: u16 = 8080;

// === impl Eshop ===

impl Eshop {
    /// Starts a service, and waits until it says that it listens.
    pub(super) fn start_one(
        &self,
        name: &'static str,
        config: &Config<'_>,
    ) -> Result<EshopService> {
        let spec = self.spec(name, config);
        let listen = |port: u16| ["--listen".to_owned(), format!("127.0.0.1:{port}")];
        let port = if name == "eshop" { config.port } else { 0 };
        match config.tracing {
            SpanSource::None | SpanSource::Sdk(_) => {
                let urls = calls(name)
                    .iter()
                    .flat_map(|called| [format!("--{called}"), self.service(called).url.clone()]);
                let spec = spec
                    .args(listen(port))
                    .args(urls)
                    .args(["--kafka", config.bootstrap]);
                running(name, spec, None, None)
            }
            SpanSource::Sidecars(binary) => {
                let behind = free_ports(1)?.first().copied().context("no port is free")?;
                let args = self.beside(name, config, (port, behind));
                let sidecar =
                    SidecarInstance::start_with(&|spec| spec, binary, otlp(config)?, name, args)?;
                let (url, asked) = sidecar
                    .http()
                    .split_first()
                    .context("a sidecar that takes no requests")?;
                let urls = calls(name).iter().zip(asked);
                let urls = urls.flat_map(|(called, outbound)| {
                    [format!("--{called}"), format!("http://{outbound}")]
                });
                let mut spec = spec.args(listen(behind)).args(urls);
                if uses_kafka(name) {
                    spec = spec.args(["--kafka", sidecar.bootstrap()]);
                }
                running(name, spec, Some(format!("http://{url}")), Some(sidecar))
            }
            SpanSource::Pods(binary, network) => in_pod(name, spec, config, (binary, network)),
        }
    }

    /// What all have in common, however they are traced.
    fn spec(&self, name: &'static str, config: &Config<'_>) -> ProcessSpec {
        let delay = config.max_delay.as_millis().to_string();
        let mut spec = ProcessSpec::new(name, config.binary)
            .forget_env("OTEL_")
            .forget_env("ESHOP_")
            .args([name, "--max-delay-ms", &delay, "--topic", config.topic]);
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
            .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds; spans are waited for
            .env("OTEL_METRICS_EXPORTER", "none");
        config
            .env
            .iter()
            .fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    /// The sidecar is asked in place of the service, and stands in place of all that the service asks.
    fn beside(&self, name: &str, config: &Config<'_>, (port, behind): (u16, u16)) -> Vec<String> {
        let outbound = calls(name)
            .iter()
            .map(|called| format!("127.0.0.1:0={}", self.service(called).url));
        let outbound = outbound.collect::<Vec<_>>().join(",");
        let inbound = format!("127.0.0.1:{port}=127.0.0.1:{behind}");
        let outbound = if outbound.is_empty() {
            "off"
        } else {
            &outbound
        };
        let mut args = traced(name);
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

/// The pod's connections go through its sidecar, whatever the service was told.
fn in_pod(
    name: &'static str,
    spec: ProcessSpec,
    config: &Config<'_>,
    (binary, network): (&std::path::Path, &PodNetwork),
) -> Result<EshopService> {
    let pod = network.pod(name)?;
    let exempt = EXEMPT.to_string();
    pod.run(&binary.to_string_lossy(), &["init", "--gid", &exempt])
        .with_context(|| format!("redirecting the connections of {name}"))?;
    // Its metrics are asked for from outside of the pod.
    let own = [
        "--transparent".to_owned(),
        "--admin".to_owned(),
        format!("{}:19091", pod.address()),
    ];
    let args = traced(name).into_iter().chain(own);
    let sidecar = SidecarInstance::start_with(
        &|spec| pod.place_exempt(spec),
        binary,
        otlp(config)?,
        name,
        args,
    )?;
    let url = format!("http://{}:{PORT}", pod.address());
    running(name, pod.place(spec), Some(url), Some(sidecar))
}

/// How all sidecars of the eshop trace: with the article's names, and with the order on every span.
fn traced(name: &str) -> Vec<String> {
    let mut args = vec!["--naming", "opentracing", "--message-key", "true"];
    if let Some(route) = route(name) {
        args.extend(["--routes", route]);
    }
    args.into_iter().map(str::to_owned).collect()
}

fn running(
    name: &'static str,
    spec: ProcessSpec,
    url: Option<String>,
    sidecar: Option<SidecarInstance>,
) -> Result<EshopService> {
    let process = spec.spawn()?;
    let address = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
    let said = process.wait_for_line("the address it listens on", START_LIMIT, address)?;
    Ok(EshopService {
        name,
        url: url.unwrap_or(said),
        process,
        sidecar,
    })
}

fn otlp(config: &Config<'_>) -> Result<SocketAddr> {
    config.otlp_http.context("sidecars need a collector")
}

/// Whom a service asks by HTTP.
fn calls(name: &str) -> &'static [&'static str] {
    match name {
        "eshop" => &["inventory", "billing", "delivery"],
        "kafka-consumer" => &["notification"],
        _ => &[],
    }
}

fn uses_kafka(name: &str) -> bool {
    matches!(name, "eshop" | "kafka-consumer")
}

/// What a service answers.
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
