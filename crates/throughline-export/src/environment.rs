//! OpenTelemetry's variables for an OTLP exporter and its batches ("OTLP exporter configuration", "Batch span processor").
//!
//! Read by a function, so that this crate knows no environment; all mistakes are told together.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{Batching, Compression, Config, Endpoint, Protocol, Tls};

/// One thing that is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The variable at fault.
    pub variable: String,
    /// What it held, unless that may be a secret.
    pub value: Option<String>,
    /// What is wrong and how to mend it.
    pub problem: String,
}

/// Where variables come from, and what was wrong with those read so far.
struct Environment<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

// === impl Config ===

impl Config {
    /// What `OTEL_EXPORTER_OTLP_*`, their `_TRACES_` forms and `OTEL_BSP_*` say; the defaults for what they do not say.
    ///
    /// Certificates and keys are read from the files that the variables name.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn from_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<Mistake>> {
        let mut env = Environment {
            lookup,
            mistakes: Vec::new(),
        };
        let protocol = env.protocol();
        let config = Self {
            endpoint: env.endpoint(protocol),
            headers: env.headers(),
            compression: env.compression(),
            timeout: env.timeout(),
            tls: env.tls(),
            batching: env.batching(),
            ..Self::default()
        };
        if env.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(env.mistakes)
        }
    }
}

// === impl Environment ===

impl Environment<'_> {
    fn protocol(&mut self) -> Protocol {
        let Some((variable, name)) = self.either("PROTOCOL") else {
            return Protocol::default();
        };
        match name.to_ascii_lowercase().as_str() {
            "http/protobuf" => Protocol::HttpProtobuf,
            "grpc" => Protocol::Grpc,
            _ => self.mistake(
                &variable,
                Some(name),
                "no such protocol; use http/protobuf or grpc",
            ),
        }
    }

    fn endpoint(&mut self, protocol: Protocol) -> Endpoint {
        let Some((variable, mut url)) = self.either("ENDPOINT") else {
            return Endpoint::local(protocol);
        };
        if protocol == Protocol::Grpc && !url.contains("://") {
            let scheme = if self.insecure() { "http" } else { "https" };
            url = format!("{scheme}://{url}");
        }
        let is_exact = variable.contains("TRACES");
        let endpoint = if is_exact {
            Endpoint::exact(&url, protocol)
        } else {
            Endpoint::collector(&url, protocol)
        };
        endpoint.unwrap_or_else(|error| {
            let value = (!url.contains('@')).then_some(url);
            self.note(&variable, value, &error.to_string());
            Endpoint::local(protocol)
        })
    }

    /// Only asked where the endpoint has no scheme, which only gRPC allows.
    fn insecure(&mut self) -> bool {
        match self.either("INSECURE") {
            None => false,
            Some((_, value)) if value.eq_ignore_ascii_case("true") => true,
            Some((_, value)) if value.eq_ignore_ascii_case("false") => false,
            Some((variable, value)) => {
                self.mistake(&variable, Some(value), "neither true nor false")
            }
        }
    }

    /// `key=value,key=value`, percent-encoded as baggage is.
    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some((variable, text)) = self.either("HEADERS") else {
            return headers;
        };
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let read = pair.split_once('=').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(percent_decode(name.trim())?.as_bytes()).ok()?;
                Some((
                    name,
                    HeaderValue::from_bytes(percent_decode(value.trim())?.as_bytes()).ok()?,
                ))
            });
            let Some((name, mut value)) = read else {
                self.note(
                    &variable,
                    None,
                    "a part is not of the form key=value, percent-encoded and allowed in HTTP",
                );
                continue;
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers
    }

    fn compression(&mut self) -> Compression {
        match self.either("COMPRESSION") {
            None => Compression::None,
            Some((_, name)) if name.eq_ignore_ascii_case("none") => Compression::None,
            Some((_, name)) if name.eq_ignore_ascii_case("gzip") => Compression::Gzip,
            Some((variable, name)) => self.mistake(
                &variable,
                Some(name),
                "no such compression; use gzip or none",
            ),
        }
    }

    fn timeout(&mut self) -> Duration {
        let variable = self
            .either("TIMEOUT")
            .map_or_else(|| "OTEL_EXPORTER_OTLP_TIMEOUT".to_owned(), |(name, _)| name);
        self.millis(&variable, Duration::from_secs(10))
    }

    fn tls(&mut self) -> Tls {
        let authorities = self.file("CERTIFICATE");
        let client = match (self.file("CLIENT_CERTIFICATE"), self.file("CLIENT_KEY")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                // A file that could not be read has been told already.
                if self.mistakes.is_empty() {
                    self.note(
                        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                        None,
                        "a client certificate and its key go together",
                    );
                }
                None
            }
        };
        Tls {
            authorities,
            client,
        }
    }

    fn file(&mut self, name: &str) -> Option<Vec<u8>> {
        let (variable, path) = self.either(name)?;
        match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.note(&variable, Some(path), &format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn batching(&mut self) -> Batching {
        const MOST: usize = 1 << 20;
        let usual = Batching::default();
        let queue_spans = self.number("OTEL_BSP_MAX_QUEUE_SIZE", 1..=MOST, usual.queue_spans);
        let batch = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
        let batch_spans = self.number(batch, 1..=MOST, usual.batch_spans.min(queue_spans));
        if batch_spans > queue_spans {
            let problem = format!(
                "larger than the queue of {queue_spans}; lower it or raise OTEL_BSP_MAX_QUEUE_SIZE"
            );
            self.note(batch, Some(batch_spans.to_string()), &problem);
        }
        let delay = self.millis("OTEL_BSP_SCHEDULE_DELAY", usual.delay);
        Batching {
            queue_spans,
            batch_spans,
            delay,
            ..usual
        }
    }

    /// A duration in milliseconds, up to an hour.
    fn millis(&mut self, variable: &str, default: Duration) -> Duration {
        let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.number(variable, 1..=3_600_000, default))
    }

    fn number<N: FromStr + PartialOrd + fmt::Display>(
        &mut self,
        variable: &str,
        bounds: RangeInclusive<N>,
        default: N,
    ) -> N {
        let Some(value) = self.text(variable) else {
            return default;
        };
        match value.parse() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                self.note(
                    variable,
                    Some(value),
                    &format!("not a number from {} to {}", bounds.start(), bounds.end()),
                );
                default
            }
        }
    }

    /// The variable of this ending for traces, else that for all signals: its name and its value.
    fn either(&self, ending: &str) -> Option<(String, String)> {
        ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"]
            .into_iter()
            .find_map(|beginning| {
                let variable = format!("{beginning}{ending}");
                let value = self.text(&variable)?;
                Some((variable, value))
            })
    }

    /// The value, trimmed. An empty one is as good as none (OpenTelemetry, "Environment variables", parsing).
    fn text(&self, variable: &str) -> Option<String> {
        (self.lookup)(variable)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn mistake<T: Default>(&mut self, variable: &str, value: Option<String>, problem: &str) -> T {
        self.note(variable, value, problem);
        T::default()
    }

    fn note(&mut self, variable: &str, value: Option<String>, problem: &str) {
        self.mistakes.push(Mistake {
            variable: variable.to_owned(),
            value,
            problem: problem.to_owned(),
        });
    }
}

/// RFC 3986, section 2.1; `None` when the result is no UTF-8 or a `%` is not followed by two hex digits.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

// === impl Mistake ===

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: {}", self.variable, self.problem),
            None => write!(f, "{}: {}", self.variable, self.problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
        Config::from_environment(&|name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        read(variables)
            .unwrap_err()
            .iter()
            .map(Mistake::to_string)
            .collect()
    }

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let config = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap();
        assert_eq!(config.endpoint, Endpoint::local(Protocol::HttpProtobuf));
        assert_eq!(config.batching, Batching::default());
        assert_eq!(config.timeout, Duration::from_secs(10));
    }

    #[test]
    fn the_endpoint_of_all_signals_gets_a_path_and_that_of_traces_is_taken_as_it_is() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318");
        let traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://traces:4318/in",
        );
        assert_eq!(
            read(&[all]).unwrap().endpoint.to_string(),
            "http://all:4318/v1/traces"
        );
        assert_eq!(
            read(&[all, traces]).unwrap().endpoint.to_string(),
            "http://traces:4318/in"
        );
    }

    #[test]
    fn grpc_without_a_scheme_is_secure_unless_told_otherwise() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let host = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
        let endpoint = |variables: &[_]| read(variables).unwrap().endpoint;
        assert_eq!(endpoint(&[grpc]), Endpoint::local(Protocol::Grpc));
        assert!(endpoint(&[grpc, host]).is_secure());
        assert!(!endpoint(&[grpc, host, ("OTEL_EXPORTER_OTLP_INSECURE", "true")]).is_secure());
    }

    #[test]
    fn everything_that_can_be_said_is_heard() {
        let config = read(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b, other=1"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
            ("OTEL_BSP_SCHEDULE_DELAY", "20"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ])
        .unwrap();
        assert_eq!(config.headers["x-key"], "a b");
        assert_eq!(config.headers.len(), 2);
        assert_eq!(config.compression, Compression::Gzip);
        assert_eq!(config.timeout, Duration::from_millis(1500));
        assert_eq!(
            (config.batching.queue_spans, config.batching.batch_spans),
            (100, 100)
        );
        assert_eq!(config.batching.delay, Duration::from_millis(20));
    }

    #[test]
    fn all_mistakes_are_told_together_and_no_secret_with_them() {
        let told = problems(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hidden@c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key hidden"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "11"),
        ]);
        assert_eq!(told.len(), 7, "{told:#?}");
        assert!(!told.concat().contains("hidden"), "{told:#?}");
        assert!(told[0].contains("http/json"), "{told:#?}");
    }

    #[test]
    fn a_client_certificate_without_its_key_is_a_mistake() {
        let told = problems(&[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/dev/null")]);
        assert_eq!(
            told,
            ["OTEL_EXPORTER_OTLP_CLIENT_KEY: a client certificate and its key go together"]
        );
    }
}
