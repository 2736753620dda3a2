//! The variables of an OTLP exporter ("OTLP exporter configuration") and of the batch span
//! processor.
//!
//! Endpoints are returned as text: their check needs a URL parser, which this crate does not have.

use std::time::Duration;

use super::{EnvironmentReader, ValueSecrecy};

/// Upper bound of queue and batch sizes, against typing errors.
const MAX_SPANS: usize = 1 << 20;
/// The default of `OTEL_EXPORTER_OTLP_TIMEOUT`.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

const QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
const BATCH_SIZE: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
const SCHEDULE_DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";

/// The reader of one signal's variables: `OTEL_EXPORTER_OTLP_TRACES_*`, which override
/// `OTEL_EXPORTER_OTLP_*`.
#[derive(Debug)]
pub struct OtlpVariables<'r, 'a> {
    environment: &'r mut EnvironmentReader<'a>,
    signal: OtlpSignal,
}

/// A signal of OpenTelemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpSignal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

/// An OTLP transport, by its name in `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// `http/protobuf`.
    HttpProtobuf,
    /// `http/json`.
    HttpJson,
    /// `grpc`.
    Grpc,
}

/// An endpoint as configured, unchecked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointVariable {
    /// The variable that holds it.
    pub variable: String,
    /// The URL.
    pub url: String,
    /// Whether the URL is complete. That of all signals gets the signal's path over HTTP ("Endpoint
    /// URLs for OTLP/HTTP").
    pub is_complete: bool,
}

/// The sizes of the batch span processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSizes {
    /// Maximum number of spans in the queue; more are dropped.
    pub max_queue_spans: usize,
    /// Maximum number of spans in one export.
    pub max_batch_spans: usize,
    /// Longest time that a span waits for its batch to fill.
    pub delay: Duration,
}

// === impl OtlpVariables ===

impl<'r, 'a> OtlpVariables<'r, 'a> {
    /// Returns a reader of the variables of this signal.
    pub const fn new(environment: &'r mut EnvironmentReader<'a>, signal: OtlpSignal) -> Self {
        Self {
            environment,
            signal,
        }
    }

    /// Returns the underlying reader, for reporting errors.
    pub const fn environment(&mut self) -> &mut EnvironmentReader<'a> {
        self.environment
    }

    /// Reads the first variable of this suffix that is set, with its name: that of the signal, else
    /// that of all signals.
    #[must_use]
    pub fn text(&self, suffix: &str) -> Option<(String, String)> {
        self.names(suffix).into_iter().find_map(|variable| {
            let value = self.environment.text(&variable)?;
            Some((variable, value))
        })
    }

    /// Reads the endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Option<EndpointVariable> {
        let (variable, url) = self.text("ENDPOINT")?;
        let [own, _] = self.names("ENDPOINT");
        // The endpoint of a signal is used as it is (OTLP exporter, "Endpoint URLs for OTLP/HTTP").
        let is_complete = variable == own;
        Some(EndpointVariable {
            variable,
            url,
            is_complete,
        })
    }

    /// Reads the protocol. `None` when it is unset, or not one of `supported`.
    pub fn protocol(&mut self, supported: &[OtlpProtocol]) -> Option<OtlpProtocol> {
        let (variable, name) = self.text("PROTOCOL")?;
        // OpenTelemetry accepts the names of enums in any case of letters.
        let mut protocols = supported.iter().copied();
        let found = protocols.find(|protocol| protocol.name().eq_ignore_ascii_case(&name));
        if found.is_none() {
            let names: Vec<&str> = supported.iter().map(|protocol| protocol.name()).collect();
            let problem = format!("unsupported protocol; use {}", names.join(", "));
            self.environment.report(&variable, &name, problem);
        }
        found
    }

    /// Reads whether an endpoint without a scheme is spoken to without TLS.
    pub fn is_insecure(&mut self) -> bool {
        self.text("INSECURE")
            .is_some_and(|(variable, _)| self.environment.boolean(&variable))
    }

    /// Reads the headers of requests. Their values may be secrets and never appear in an error.
    pub fn headers(&mut self) -> Option<(String, Vec<(String, String)>)> {
        let (variable, _) = self.text("HEADERS")?;
        let pairs = self.environment.pairs(&variable, ValueSecrecy::Secret);
        Some((variable, pairs))
    }

    /// Reads whether requests are compressed with gzip.
    pub fn is_gzip(&mut self) -> bool {
        let Some((variable, name)) = self.text("COMPRESSION") else {
            return false;
        };
        // The specification has no other compression.
        let is_gzip = name.eq_ignore_ascii_case("gzip");
        if !is_gzip && !name.eq_ignore_ascii_case("none") {
            let problem = "unsupported compression; use gzip or none";
            self.environment.report(&variable, &name, problem);
        }
        is_gzip
    }

    /// Reads the time limit of one export.
    pub fn timeout(&mut self) -> Duration {
        let [own, common] = self.names("TIMEOUT");
        self.environment.millis(&[&own, &common], DEFAULT_TIMEOUT)
    }

    /// Returns the names of a variable, the one of this signal first.
    #[must_use]
    pub fn names(&self, suffix: &str) -> [String; 2] {
        let signal = self.signal.name();
        [
            format!("OTEL_EXPORTER_OTLP_{signal}_{suffix}"),
            format!("OTEL_EXPORTER_OTLP_{suffix}"),
        ]
    }
}

// === impl OtlpSignal ===

impl OtlpSignal {
    /// Returns the part of the signal in variable names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// Returns the path of the signal for OTLP over HTTP, without a leading slash.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        }
    }
}

// === impl OtlpProtocol ===

impl OtlpProtocol {
    /// Returns the name in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HttpProtobuf => "http/protobuf",
            Self::HttpJson => "http/json",
            Self::Grpc => "grpc",
        }
    }
}

// === impl BatchSizes ===

impl BatchSizes {
    /// Reads `OTEL_BSP_*`, with `self` as the defaults.
    #[must_use]
    pub fn read(self, environment: &mut EnvironmentReader<'_>) -> Self {
        let bounds = 1..=MAX_SPANS;
        let max_queue_spans =
            environment.number(&[QUEUE_SIZE], bounds.clone(), self.max_queue_spans);
        // A smaller queue lowers the default of the batch with it, which is not an error then.
        let default_batch = self.max_batch_spans.min(max_queue_spans);
        let mut max_batch_spans = environment.number(&[BATCH_SIZE], bounds, default_batch);
        if max_batch_spans > max_queue_spans {
            let problem = format!(
                "larger than the queue of {max_queue_spans}; lower it or raise {QUEUE_SIZE}"
            );
            environment.report(BATCH_SIZE, &max_batch_spans.to_string(), problem);
            max_batch_spans = default_batch;
        }
        Self {
            max_queue_spans,
            max_batch_spans,
            delay: environment.millis(&[SCHEDULE_DELAY], self.delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads from these variables.
    fn read<T>(
        variables: &[(&str, &str)],
        read: impl Fn(&mut OtlpVariables<'_, '_>) -> T,
    ) -> (T, Vec<String>) {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let mut environment = EnvironmentReader::new(&lookup);
        let result = read(&mut OtlpVariables::new(
            &mut environment,
            OtlpSignal::Traces,
        ));
        let errors = environment.into_errors();
        (result, errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn variable_of_the_signal_overrides_that_of_all_signals() {
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces");
        let endpoint = |variables: &[_]| {
            let (endpoint, _) = read(variables, |otlp| otlp.endpoint());
            endpoint.map(|endpoint| (endpoint.url, endpoint.is_complete))
        };
        assert_eq!(endpoint(&[common]), Some(("http://all".to_owned(), false)));
        let traces = Some(("http://traces".to_owned(), true));
        assert_eq!(endpoint(&[common, own]), traces);
    }

    #[test]
    fn unsupported_protocol_is_reported_with_the_supported_ones() {
        let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/JSON")];
        let supported = [OtlpProtocol::HttpProtobuf, OtlpProtocol::Grpc];
        let (protocol, errors) = read(&variables, |otlp| otlp.protocol(&supported));
        assert_eq!(protocol, None);
        let problem = "unsupported protocol; use http/protobuf, grpc";
        let expected = format!("OTEL_EXPORTER_OTLP_PROTOCOL=\"HTTP/JSON\": {problem}");
        assert_eq!(errors, [expected]);
    }

    #[test]
    fn batch_larger_than_the_queue_is_reported() {
        let sizes = BatchSizes {
            max_queue_spans: 100,
            max_batch_spans: 50,
            delay: Duration::from_secs(1),
        };
        let queue = (QUEUE_SIZE, "10");
        let (read_sizes, errors) = read(&[queue], |otlp| sizes.read(otlp.environment()));
        assert_eq!((read_sizes.max_batch_spans, errors), (10, vec![]));
        let batch = (BATCH_SIZE, "11");
        let (read_sizes, errors) = read(&[queue, batch], |otlp| sizes.read(otlp.environment()));
        assert_eq!((read_sizes.max_batch_spans, errors.len()), (10, 1));
    }
}
