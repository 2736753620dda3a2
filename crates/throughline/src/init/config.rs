//! The configuration as the standard variables give it (OpenTelemetry, "Environment variable specification"), checked as
//! a whole. The variables of the Jaeger clients are fall-backs, for services that still carry them.

use std::collections::HashMap;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::trace::SpanLimits;
use throughline_model::context::Format;

use super::environment::{Environment, Secrecy};
use super::jaeger;
use super::mistakes::Mistakes;

/// What the variables say.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) service_name: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) propagators: Vec<Format>,
    pub(crate) sampler: SamplerChoice,
    /// Where spans go; `None`: nowhere.
    pub(crate) traces: Option<Target>,
    /// Where metrics go; `None`: nowhere.
    pub(crate) metrics: Option<Target>,
    pub(crate) metric_interval: Duration,
    pub(crate) batch: Batching,
    pub(crate) limits: SpanLimits,
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SamplerChoice {
    /// Whether the decision of the parent counts first.
    pub(crate) parent_based: bool,
    /// The share of traces recorded, 0 to 1.
    pub(crate) ratio: f64,
}

/// An OTLP endpoint and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) endpoint: String,
    pub(crate) protocol: Protocol,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
}

/// How OTLP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

/// The batch span processor's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batching {
    pub(crate) queue: usize,
    pub(crate) batch: usize,
    pub(crate) delay: Duration,
}

/// A signal: its part in variable names and its path.
struct Signal {
    exporter: &'static str,
    name: &'static str,
    path: &'static str,
}

const TRACES: Signal = Signal {
    exporter: "OTEL_TRACES_EXPORTER",
    name: "TRACES",
    path: "v1/traces",
};
const METRICS: Signal = Signal {
    exporter: "OTEL_METRICS_EXPORTER",
    name: "METRICS",
    path: "v1/metrics",
};

/// Links per span when nothing else is said: as many as a batch of records can have. OpenTelemetry's 128 would drop the
/// links of a full batch.
const MOST_LINKS: u32 = 1024;

// === impl Config ===

impl Config {
    /// Reads everything, and tells everything that is wrong.
    pub(crate) fn read(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut env = Environment::new(lookup);
        let disabled = env.truth("OTEL_SDK_DISABLED");
        let (service_name, attributes) = resource(&mut env);
        let traces = target(&mut env, &TRACES);
        let metrics = target(&mut env, &METRICS);
        let config = Self {
            service_name,
            attributes,
            propagators: propagators(&mut env),
            sampler: sampler(&mut env),
            traces: traces.filter(|_| !disabled),
            metrics: metrics.filter(|_| !disabled),
            metric_interval: env.millis(&["OTEL_METRIC_EXPORT_INTERVAL"], Duration::from_secs(60)),
            batch: batching(&mut env),
            limits: limits(&mut env),
        };
        if config.traces.is_none() && !disabled {
            jaeger::refuse_endpoint(&mut env);
        }
        Mistakes::check(env.into_mistakes())?;
        Ok(config)
    }
}

fn resource(env: &mut Environment<'_>) -> (Option<String>, Vec<(String, String)>) {
    let mut attributes = env.pairs("OTEL_RESOURCE_ATTRIBUTES", Secrecy::Shown);
    if attributes.is_empty() {
        attributes = jaeger::tags(env);
    }
    let named = attributes
        .iter()
        .find(|(key, _)| key == "service.name")
        .map(|(_, name)| name.clone());
    let named = named.filter(|name| !name.is_empty());
    attributes.retain(|(key, _)| key != "service.name");
    let name = env
        .text("OTEL_SERVICE_NAME")
        .or(named)
        .or_else(|| env.text("JAEGER_SERVICE_NAME"));
    (name, attributes)
}

fn propagators(env: &mut Environment<'_>) -> Vec<Format> {
    const VARIABLE: &str = "OTEL_PROPAGATORS";
    let Some(text) = env.text(VARIABLE) else {
        return jaeger::propagators(env).unwrap_or_else(|| vec![Format::W3c, Format::Baggage]);
    };
    let mut formats = Vec::new();
    let mut refused = false;
    for name in text.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            "tracecontext" => formats.push(Format::W3c),
            "baggage" => formats.push(Format::Baggage),
            "b3" => formats.push(Format::B3Single),
            "b3multi" => formats.push(Format::B3Multi),
            "jaeger" => formats.push(Format::Jaeger),
            "none" => refused = true,
            "" => {}
            _ => env.mistake(
                VARIABLE,
                name,
                "no such propagator; use tracecontext, baggage, b3, b3multi, jaeger or none",
            ),
        }
    }
    if refused && !formats.is_empty() {
        env.mistake(
            VARIABLE,
            &text,
            "none stands beside others; leave it out, or leave it alone",
        );
    }
    formats
}

fn sampler(env: &mut Environment<'_>) -> SamplerChoice {
    const VARIABLE: &str = "OTEL_TRACES_SAMPLER";
    const EVERYTHING: SamplerChoice = SamplerChoice {
        parent_based: true,
        ratio: 1.0,
    };
    let Some(name) = env.text(VARIABLE) else {
        return jaeger::sampler(env).unwrap_or(EVERYTHING);
    };
    let lower = name.to_ascii_lowercase();
    let (parent_based, root) = lower
        .strip_prefix("parentbased_")
        .map_or((false, lower.as_str()), |root| (true, root));
    let ratio = match root {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => env.number(&["OTEL_TRACES_SAMPLER_ARG"], 0.0..=1.0, 1.0),
        _ => {
            let known = "no such sampler; use always_on, always_off or traceidratio, each also with parentbased_ before it";
            env.mistake(VARIABLE, &name, known);
            return EVERYTHING;
        }
    };
    SamplerChoice {
        parent_based,
        ratio,
    }
}

/// Where a signal goes. Nowhere, unless an endpoint or the exporter is named: a service that says nothing of telemetry
/// must not try to reach a collector that is not there.
fn target(env: &mut Environment<'_>, signal: &Signal) -> Option<Target> {
    let named = env.text(signal.exporter);
    let own_endpoint = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name);
    let endpoint = env.first(&[own_endpoint.as_str(), "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    match named.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("none") => return None,
        Some("otlp") => {}
        None if endpoint.is_some() => {}
        None => return None,
        Some(_) => {
            env.mistake(
                signal.exporter,
                named.as_deref().unwrap_or_default(),
                "no such exporter; use otlp or none",
            );
            return None;
        }
    }
    let both = |part: &str| {
        [
            format!("OTEL_EXPORTER_OTLP_{}_{part}", signal.name),
            format!("OTEL_EXPORTER_OTLP_{part}"),
        ]
    };
    let protocol = protocol(env, &both("PROTOCOL"));
    let endpoint = match endpoint {
        None if protocol == Protocol::Grpc => "http://localhost:4317".to_owned(),
        None => format!("http://localhost:4318/{}", signal.path),
        Some((variable, endpoint)) => {
            let path =
                (protocol != Protocol::Grpc && variable != own_endpoint).then_some(signal.path);
            checked_endpoint(env, variable, endpoint, path, &both("INSECURE"))
        }
    };
    Some(Target {
        endpoint,
        protocol,
        headers: headers(env, &both("HEADERS")),
        timeout: env.millis(&strs(&both("TIMEOUT")), Duration::from_secs(10)),
        gzip: compressed(env, &both("COMPRESSION")),
    })
}

fn protocol(env: &mut Environment<'_>, variables: &[String; 2]) -> Protocol {
    let Some((variable, name)) = env.first(&strs(variables)) else {
        return Protocol::HttpProtobuf;
    };
    match name.to_ascii_lowercase().as_str() {
        "grpc" => Protocol::Grpc,
        "http/protobuf" => Protocol::HttpProtobuf,
        "http/json" => Protocol::HttpJson,
        _ => {
            env.mistake(
                variable,
                &name,
                "no such protocol; use http/protobuf, http/json or grpc",
            );
            Protocol::HttpProtobuf
        }
    }
}

/// The endpoint with the signal's path, if it wants one (OTLP exporter, "Endpoint URLs for OTLP/HTTP").
fn checked_endpoint(
    env: &mut Environment<'_>,
    variable: &str,
    mut endpoint: String,
    path: Option<&str>,
    insecure: &[String; 2],
) -> String {
    let insecure = env
        .first(&strs(insecure))
        .is_some_and(|(variable, _)| env.truth(variable));
    if !endpoint.contains("://") && insecure {
        endpoint = format!("http://{endpoint}");
    }
    let uri = endpoint.parse::<Uri>().ok();
    let authority = uri.as_ref().map_or(Some(endpoint.as_str()), |uri| {
        uri.authority().map(Authority::as_str)
    });
    let has_credentials = authority.is_some_and(|authority| authority.contains('@'));
    match uri
        .as_ref()
        .and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)))
    {
        _ if has_credentials => {
            env.secret_mistake(
                variable,
                "holds credentials; put them into OTEL_EXPORTER_OTLP_HEADERS",
            );
        }
        Some(("http", authority)) if is_address(authority) => {}
        Some(("https", _)) => {
            let problem = "TLS is not built in; use http:// to a collector or agent nearby, which can speak TLS onwards";
            env.mistake(variable, &endpoint, problem);
        }
        _ => env.mistake(
            variable,
            &endpoint,
            "not a URL of the form http://host:port",
        ),
    }
    match path {
        Some(path) => format!("{}/{path}", endpoint.trim_end_matches('/')),
        None => endpoint,
    }
}

/// A host, and a port that exists or none at all. `Uri` itself takes any digits for a port.
fn is_address(authority: &Authority) -> bool {
    let port_is_right =
        authority.as_str() == authority.host() || authority.port_u16().is_some_and(|port| port > 0);
    !authority.host().is_empty() && port_is_right
}

fn headers(env: &mut Environment<'_>, variables: &[String; 2]) -> HashMap<String, String> {
    let Some((variable, _)) = env.first(&strs(variables)) else {
        return HashMap::new();
    };
    let pairs = env.pairs(variable, Secrecy::Hidden);
    if pairs.iter().any(|(key, value)| {
        HeaderName::from_bytes(key.as_bytes()).is_err()
            || HeaderValue::from_bytes(value.as_bytes()).is_err()
    }) {
        env.secret_mistake(variable, "a header's name or value is not allowed in HTTP");
    }
    pairs.into_iter().collect()
}

fn compressed(env: &mut Environment<'_>, variables: &[String; 2]) -> bool {
    match env.first(&strs(variables)) {
        None => false,
        Some((_, name)) if name.eq_ignore_ascii_case("none") => false,
        Some((_, name)) if name.eq_ignore_ascii_case("gzip") => true,
        Some((variable, name)) => {
            env.mistake(variable, &name, "no such compression; use gzip or none");
            false
        }
    }
}

fn batching(env: &mut Environment<'_>) -> Batching {
    const MOST: usize = 1 << 20;
    let queue = env.number(&["OTEL_BSP_MAX_QUEUE_SIZE"], 1..=MOST, 2048);
    let batch = env.number(
        &["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"],
        1..=MOST,
        512.min(queue),
    );
    if batch > queue {
        let problem =
            format!("larger than the queue of {queue}; lower it or raise OTEL_BSP_MAX_QUEUE_SIZE");
        env.mistake(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            &batch.to_string(),
            problem,
        );
    }
    // Read for its mistakes only: OTEL_EXPORTER_OTLP_TIMEOUT bounds an export here.
    env.millis(&["OTEL_BSP_EXPORT_TIMEOUT"], Duration::from_secs(30));
    Batching {
        queue,
        batch,
        delay: env.millis(&["OTEL_BSP_SCHEDULE_DELAY"], Duration::from_secs(5)),
    }
}

fn limits(env: &mut Environment<'_>) -> SpanLimits {
    let mut limit = |variables: &[&str], default| env.number(variables, 0..=65_536, default);
    SpanLimits {
        max_attributes_per_span: limit(
            &[
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
            ],
            128,
        ),
        max_events_per_span: limit(&["OTEL_SPAN_EVENT_COUNT_LIMIT"], 128),
        max_links_per_span: limit(&["OTEL_SPAN_LINK_COUNT_LIMIT"], MOST_LINKS),
        max_attributes_per_event: limit(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"], 128),
        max_attributes_per_link: limit(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"], 128),
    }
}

fn strs(names: &[String; 2]) -> [&str; 2] {
    names.each_ref().map(String::as_str)
}

#[cfg(test)]
mod tests;
