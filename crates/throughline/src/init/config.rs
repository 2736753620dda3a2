//! The configuration of the pipeline from the standard variables (OpenTelemetry, "Environment
//! variable specification"), checked as a whole. The variables of the Jaeger clients are
//! fall-backs, for services that still set them.
//!
//! Reading always yields a configuration: an invalid value counts as unset, as the specification
//! wants, and an endpoint that cannot be used as no export. Whether the errors are fatal is the
//! caller's choice.

use std::collections::HashMap;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::trace::SpanLimits;
use throughline_model::context::{Format, FormatList};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::environment::otlp::{
    BatchSizes, EndpointVariable, OtlpProtocol, OtlpSignal, OtlpVariables,
};
use throughline_model::environment::{EnvironmentReader, ValueSecrecy, VariableError};

use super::jaeger;
use super::sampler_choice::SamplerChoice;

/// The supported protocols.
const PROTOCOLS: [OtlpProtocol; 3] = [
    OtlpProtocol::HttpProtobuf,
    OtlpProtocol::HttpJson,
    OtlpProtocol::Grpc,
];
/// The defaults of the batch span processor.
const BATCH_SIZES: BatchSizes = BatchSizes {
    max_queue_spans: 2048,
    max_batch_spans: 512,
    delay: Duration::from_secs(5),
};
/// The default of `OTEL_PROPAGATORS`.
const DEFAULT_PROPAGATORS: [Format; 2] = [Format::W3c, Format::Baggage];
/// The default of `OTEL_METRIC_EXPORT_INTERVAL`.
const METRIC_INTERVAL: Duration = Duration::from_secs(60);
/// The default of `OTEL_BSP_EXPORT_TIMEOUT`.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);
/// The default of the count limits for attributes and events.
const MAX_COUNT: u32 = 128;
/// The default of `OTEL_SPAN_LINK_COUNT_LIMIT`: as many as a batch of records can have.
/// OpenTelemetry's 128 would drop the links of a full batch.
const MAX_LINKS: u32 = 1024;

/// The checked configuration.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Whether `OTEL_SDK_DISABLED` is set: nothing is recorded, whatever the application added.
    pub(crate) is_disabled: bool,
    pub(crate) service_name: Option<String>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) propagators: Vec<Format>,
    pub(crate) sampler: SamplerChoice,
    /// The receiver of spans; `None` without export.
    pub(crate) traces: Option<ExportTarget>,
    /// The receiver of metrics; `None` without export.
    pub(crate) metrics: Option<ExportTarget>,
    /// Whether spans are printed on stdout.
    pub(crate) prints_spans: bool,
    /// Whether metrics are printed on stdout.
    pub(crate) prints_metrics: bool,
    #[cfg_attr(
        not(feature = "export"),
        expect(dead_code, reason = "only exporters have an interval")
    )]
    pub(crate) metric_interval: Duration,
    pub(crate) batch: BatchSizes,
    pub(crate) limits: SpanLimits,
}

/// The exporters of one signal.
struct SignalExporters {
    otlp: Option<ExportTarget>,
    console: bool,
}

/// An OTLP endpoint with its protocol and request settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExportTarget {
    pub(crate) endpoint: String,
    pub(crate) protocol: OtlpProtocol,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
}

// === impl Config ===

impl Config {
    /// Reads all variables. Returns the errors in them, too.
    pub(crate) fn read(lookup: &dyn Fn(&str) -> Option<String>) -> (Self, Vec<VariableError>) {
        let mut env = EnvironmentReader::new(lookup);
        if env.boolean("OTEL_SDK_DISABLED") {
            return (Self::disabled(lookup), env.into_errors());
        }
        let (service_name, attributes) = read_resource(&mut env);
        let traces = read_exporters(&mut env, OtlpSignal::Traces);
        let metrics = read_exporters(&mut env, OtlpSignal::Metrics);
        let config = Self {
            is_disabled: false,
            service_name,
            attributes,
            propagators: read_propagators(&mut env),
            sampler: read_sampler(&mut env),
            prints_spans: traces.console,
            prints_metrics: metrics.console,
            traces: traces.otlp,
            metrics: metrics.otlp,
            metric_interval: env.millis(&["OTEL_METRIC_EXPORT_INTERVAL"], METRIC_INTERVAL),
            batch: read_batch(&mut env),
            limits: read_limits(&mut env),
        };
        if config.traces.is_none() && !config.prints_spans {
            jaeger::reject_endpoint(&mut env);
        }
        (config, env.into_errors())
    }

    /// Returns the configuration of a disabled SDK. Propagators work all the same (environment
    /// variable specification, `OTEL_SDK_DISABLED`); no other variable has a meaning, so none is
    /// checked.
    fn disabled(lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        let mut unchecked = EnvironmentReader::new(lookup);
        Self {
            is_disabled: true,
            service_name: None,
            attributes: Vec::new(),
            propagators: read_propagators(&mut unchecked),
            sampler: SamplerChoice::DEFAULT,
            traces: None,
            metrics: None,
            prints_spans: false,
            prints_metrics: false,
            metric_interval: METRIC_INTERVAL,
            batch: BATCH_SIZES,
            limits: SpanLimits::default(),
        }
    }
}

fn read_resource(env: &mut EnvironmentReader<'_>) -> (Option<String>, Vec<(String, String)>) {
    let mut attributes = env.pairs("OTEL_RESOURCE_ATTRIBUTES", ValueSecrecy::Public);
    if attributes.is_empty() {
        attributes = jaeger::read_tags(env);
    }
    let attribute = attributes
        .iter()
        .find(|(key, _)| key == SERVICE_NAME)
        .map(|(_, name)| name.clone());
    // An empty name is as good as none (resource conventions, "Service").
    let attribute = attribute.filter(|name| !name.is_empty());
    attributes.retain(|(key, _)| key != SERVICE_NAME);
    // OTEL_SERVICE_NAME takes precedence over the attribute (OpenTelemetry, "General SDK
    // configuration").
    let name = env
        .text("OTEL_SERVICE_NAME")
        .or(attribute)
        .or_else(|| env.text("JAEGER_SERVICE_NAME"));
    (name, attributes)
}

fn read_propagators(env: &mut EnvironmentReader<'_>) -> Vec<Format> {
    const VARIABLE: &str = "OTEL_PROPAGATORS";
    let Some(text) = env.text(VARIABLE) else {
        return jaeger::read_propagators(env).unwrap_or_else(|| DEFAULT_PROPAGATORS.to_vec());
    };
    let list = FormatList::parse(&text);
    let known = FormatList::names(Format::ALL.iter().copied());
    for name in &list.unknown {
        let problem = format!("unknown propagator, ignored; use {known} or none");
        env.report(VARIABLE, name, problem);
    }
    if list.has_none && !list.formats.is_empty() {
        let problem = "none excludes other propagators; remove it, or all others";
        env.report(VARIABLE, &text, problem);
    }
    if list.formats.is_empty() && !list.has_none {
        // Nothing known was named: to propagate nothing would be a surprise.
        return DEFAULT_PROPAGATORS.to_vec();
    }
    list.formats
}

fn read_sampler(env: &mut EnvironmentReader<'_>) -> SamplerChoice {
    const VARIABLE: &str = "OTEL_TRACES_SAMPLER";
    let Some(name) = env.text(VARIABLE) else {
        return jaeger::read_sampler(env).unwrap_or(SamplerChoice::DEFAULT);
    };
    // OpenTelemetry accepts the names of enums in any case of letters.
    let lower = name.to_ascii_lowercase();
    let (parent_based, root) = lower
        .strip_prefix("parentbased_")
        .map_or((false, lower.as_str()), |root| (true, root));
    let ratio = match root {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => env.number(&["OTEL_TRACES_SAMPLER_ARG"], 0.0..=1.0, 1.0),
        "jaeger_remote" | "xray" => {
            let problem = "a sampler that asks a server is not built in; all traces are recorded; \
                           use parentbased_traceidratio with OTEL_TRACES_SAMPLER_ARG";
            env.report(VARIABLE, &name, problem);
            return SamplerChoice::DEFAULT;
        }
        _ => {
            let problem = "unknown sampler; use always_on, always_off or traceidratio, \
                           each also with the prefix parentbased_";
            env.report(VARIABLE, &name, problem);
            return SamplerChoice::DEFAULT;
        }
    };
    SamplerChoice {
        parent_based,
        ratio,
    }
}

/// Reads the exporters of a signal. None, unless an endpoint or an exporter is set: a service
/// without telemetry settings must not try to reach a collector that does not exist.
fn read_exporters(env: &mut EnvironmentReader<'_>, signal: OtlpSignal) -> SignalExporters {
    let variable = format!("OTEL_{}_EXPORTER", signal.name());
    let Some(list) = env.text(&variable) else {
        let has_endpoint = OtlpVariables::new(env, signal).endpoint().is_some();
        return SignalExporters {
            otlp: has_endpoint.then(|| read_target(env, signal)).flatten(),
            console: false,
        };
    };
    let (mut otlp, mut console) = (false, false);
    for name in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        match name.to_ascii_lowercase().as_str() {
            "none" => {}
            "otlp" => otlp = true,
            // `logging` is the deprecated name of `console`.
            "console" | "logging" => console = true,
            "zipkin" | "jaeger" | "prometheus" => {
                let problem = "this exporter is not built in, ignored; use otlp, to a collector \
                               that forwards, or none";
                env.report(&variable, name, problem);
            }
            _ => {
                let problem = "unknown exporter, ignored; use otlp, console or none";
                env.report(&variable, name, problem);
            }
        }
    }
    SignalExporters {
        otlp: otlp.then(|| read_target(env, signal)).flatten(),
        console,
    }
}

/// Reads the OTLP receiver of a signal; `None` when its endpoint cannot be used.
fn read_target(env: &mut EnvironmentReader<'_>, signal: OtlpSignal) -> Option<ExportTarget> {
    let mut variables = OtlpVariables::new(env, signal);
    let endpoint = variables.endpoint();
    let protocol = variables.protocol(&PROTOCOLS);
    let protocol = protocol.unwrap_or(OtlpProtocol::HttpProtobuf);
    if protocol == OtlpProtocol::Grpc && cfg!(all(feature = "export", not(feature = "export-grpc")))
    {
        let problem = "gRPC is not built in, so nothing is exported; enable the feature \
                       `export-grpc` of throughline, or use http/protobuf on port 4318";
        let env = variables.environment();
        env.report("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", problem);
        return None;
    }
    let endpoint = match endpoint {
        None if protocol == OtlpProtocol::Grpc => Some("http://localhost:4317".to_owned()),
        None => Some(format!("http://localhost:4318/{}", signal.path())),
        Some(endpoint) => {
            // Only OTLP over HTTP has paths ("Endpoint URLs for OTLP/HTTP").
            let needs_path = protocol != OtlpProtocol::Grpc && !endpoint.is_complete;
            let path = needs_path.then_some(signal.path());
            // The gRPC exporter always has it.
            let has_tls = protocol == OtlpProtocol::Grpc || cfg!(feature = "export-tls");
            check_endpoint(&mut variables, endpoint, path, has_tls)
        }
    };
    // All variables are read before the endpoint decides: their errors are reported together.
    let target = ExportTarget {
        endpoint: String::new(),
        protocol,
        headers: read_headers(&mut variables),
        timeout: variables.timeout(),
        gzip: variables.is_gzip(),
    };
    endpoint.map(|endpoint| ExportTarget { endpoint, ..target })
}

/// Checks an endpoint, and returns its URL with the signal's path, if it needs one.
fn check_endpoint(
    variables: &mut OtlpVariables<'_, '_>,
    endpoint: EndpointVariable,
    path: Option<&str>,
    has_tls: bool,
) -> Option<String> {
    let EndpointVariable {
        variable, mut url, ..
    } = endpoint;
    // INSECURE has a meaning only for an endpoint without a scheme, but its value is checked
    // always.
    if variables.is_insecure() && !url.contains("://") {
        url = format!("http://{url}");
    }
    let uri = url.parse::<Uri>().ok();
    // Of a malformed URL the whole text is searched for credentials.
    let authority = uri.as_ref().map_or(Some(url.as_str()), |uri| {
        uri.authority().map(Authority::as_str)
    });
    let has_credentials = authority.is_some_and(|authority| authority.contains('@'));
    let parts = uri
        .as_ref()
        .and_then(|uri| Some((uri.scheme_str()?, uri.authority()?)));
    let env = variables.environment();
    match parts {
        _ if has_credentials => {
            let problem = "holds credentials; pass them in OTEL_EXPORTER_OTLP_HEADERS";
            env.report_hidden(&variable, problem);
            return None;
        }
        Some(("http", authority)) if is_address(authority) => {}
        Some(("https", authority)) if has_tls && is_address(authority) => {}
        Some(("https", _)) if !has_tls => {
            let problem = "TLS is not built in; enable the feature `export-tls` of throughline, or \
                           use http:// to a local collector, which can forward with TLS";
            env.report(&variable, &url, problem);
            return None;
        }
        _ => {
            env.report(&variable, &url, "not a URL of the form http://host:port");
            return None;
        }
    }
    Some(match path {
        Some(path) => format!("{}/{path}", url.trim_end_matches('/')),
        None => url,
    })
}

/// Returns whether the authority has a host, and a valid port or none. `Uri` accepts any digits.
fn is_address(authority: &Authority) -> bool {
    let is_port_valid =
        authority.as_str() == authority.host() || authority.port_u16().is_some_and(|port| port > 0);
    !authority.host().is_empty() && is_port_valid
}

fn read_headers(variables: &mut OtlpVariables<'_, '_>) -> HashMap<String, String> {
    let Some((variable, pairs)) = variables.headers() else {
        return HashMap::new();
    };
    let is_invalid = |(key, value): &(String, String)| {
        HeaderName::from_bytes(key.as_bytes()).is_err()
            || HeaderValue::from_bytes(value.as_bytes()).is_err()
    };
    if pairs.iter().any(is_invalid) {
        let problem = "a header name or value is not allowed in HTTP";
        variables.environment().report_hidden(&variable, problem);
    }
    pairs.into_iter().filter(|pair| !is_invalid(pair)).collect()
}

fn read_batch(env: &mut EnvironmentReader<'_>) -> BatchSizes {
    let sizes = BATCH_SIZES.read(env);
    // Read for its errors only: OTEL_EXPORTER_OTLP_TIMEOUT bounds an export here.
    env.millis(&["OTEL_BSP_EXPORT_TIMEOUT"], EXPORT_TIMEOUT);
    sizes
}

fn read_limits(env: &mut EnvironmentReader<'_>) -> SpanLimits {
    let mut limit = |variables: &[&str], default| env.number(variables, 0..=65_536, default);
    SpanLimits {
        max_attributes_per_span: limit(
            &[
                "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
            ],
            MAX_COUNT,
        ),
        max_events_per_span: limit(&["OTEL_SPAN_EVENT_COUNT_LIMIT"], MAX_COUNT),
        max_links_per_span: limit(&["OTEL_SPAN_LINK_COUNT_LIMIT"], MAX_LINKS),
        max_attributes_per_event: limit(&["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"], MAX_COUNT),
        max_attributes_per_link: limit(&["OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"], MAX_COUNT),
    }
}

#[cfg(test)]
mod tests;
