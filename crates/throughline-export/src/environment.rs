//! The exporter's configuration from OpenTelemetry's variables ("OTLP exporter configuration",
//! "Batch span processor").

use http::{HeaderMap, HeaderName, HeaderValue};
use throughline_model::environment::otlp::{BatchSizes, OtlpProtocol, OtlpSignal, OtlpVariables};
use throughline_model::environment::{EnvironmentReader, VariableError};

use crate::config::{
    BatchSettings, Compression, Config, ExportProtocol, OtlpEndpoint, TlsSettings,
};

/// The supported protocols, the default first.
const PROTOCOLS: [OtlpProtocol; 2] = [OtlpProtocol::HttpProtobuf, OtlpProtocol::Grpc];

// === impl Config ===

impl Config {
    /// Reads `OTEL_EXPORTER_OTLP_*`, their `_TRACES_` forms and `OTEL_BSP_*`; unset variables leave
    /// the defaults. Certificates and keys are read from the files that the variables name.
    ///
    /// # Errors
    /// All invalid variables.
    pub fn from_environment(
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<VariableError>> {
        let mut environment = EnvironmentReader::new(lookup);
        let mut variables = OtlpVariables::new(&mut environment, OtlpSignal::Traces);
        let protocol = read_protocol(&mut variables);
        let config = Self {
            endpoint: read_endpoint(&mut variables, protocol),
            headers: read_headers(&mut variables),
            compression: if variables.is_gzip() {
                Compression::Gzip
            } else {
                Compression::None
            },
            timeout: variables.timeout(),
            tls: read_tls(&mut variables),
            batch: read_batch(variables.environment()),
            ..Self::default()
        };
        if environment.has_errors() {
            Err(environment.into_errors())
        } else {
            Ok(config)
        }
    }
}

fn read_protocol(variables: &mut OtlpVariables<'_, '_>) -> ExportProtocol {
    match variables.protocol(&PROTOCOLS) {
        Some(OtlpProtocol::Grpc) => ExportProtocol::Grpc,
        Some(OtlpProtocol::HttpProtobuf | OtlpProtocol::HttpJson) | None => {
            ExportProtocol::HttpProtobuf
        }
    }
}

fn read_endpoint(variables: &mut OtlpVariables<'_, '_>, protocol: ExportProtocol) -> OtlpEndpoint {
    let Some(endpoint) = variables.endpoint() else {
        return OtlpEndpoint::local(protocol);
    };
    let mut url = endpoint.url;
    // Only gRPC allows an endpoint without a scheme, and only then INSECURE has a meaning.
    if protocol == ExportProtocol::Grpc && !url.contains("://") {
        let scheme = if variables.is_insecure() {
            "http"
        } else {
            "https"
        };
        url = format!("{scheme}://{url}");
    }
    let checked = if endpoint.is_complete {
        OtlpEndpoint::exact(&url, protocol)
    } else {
        OtlpEndpoint::collector(&url, protocol)
    };
    checked.unwrap_or_else(|error| {
        let (environment, variable) = (variables.environment(), &endpoint.variable);
        // A URL with credentials must not appear in a log.
        if url.contains('@') {
            environment.report_hidden(variable, error.to_string());
        } else {
            environment.report(variable, &url, error.to_string());
        }
        OtlpEndpoint::local(protocol)
    })
}

fn read_headers(variables: &mut OtlpVariables<'_, '_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some((variable, pairs)) = variables.headers() else {
        return headers;
    };
    for (name, value) in pairs {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        let (Ok(name), Ok(mut value)) = (name, value) else {
            let problem = "a header name or value is not allowed in HTTP";
            variables.environment().report_hidden(&variable, problem);
            continue;
        };
        // Sensitive values are left out of debug output, and of HTTP/2 header compression.
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    headers
}

fn read_tls(variables: &mut OtlpVariables<'_, '_>) -> TlsSettings {
    let authorities = read_file(variables, "CERTIFICATE");
    let certificate = read_file(variables, "CLIENT_CERTIFICATE");
    let client = match (certificate, read_file(variables, "CLIENT_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            // An unreadable file is reported already, and looks like a missing one here.
            let environment = variables.environment();
            if !environment.has_errors() {
                environment.report_hidden(
                    "OTEL_EXPORTER_OTLP_CLIENT_KEY",
                    "client certificate and key must both be set",
                );
            }
            None
        }
    };
    TlsSettings {
        authorities,
        client,
    }
}

/// Reads the file that a variable names.
fn read_file(variables: &mut OtlpVariables<'_, '_>, suffix: &str) -> Option<Vec<u8>> {
    let (variable, path) = variables.text(suffix)?;
    match std::fs::read(&path) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let problem = format!("cannot be read: {error}");
            variables.environment().report(&variable, &path, problem);
            None
        }
    }
}

fn read_batch(environment: &mut EnvironmentReader<'_>) -> BatchSettings {
    // Sizes in bytes have no standard variable, so their defaults remain.
    let defaults = BatchSettings::default();
    let sizes = BatchSizes {
        max_queue_spans: defaults.max_queue_spans,
        max_batch_spans: defaults.max_batch_spans,
        delay: defaults.delay,
    };
    let sizes = sizes.read(environment);
    BatchSettings {
        max_queue_spans: sizes.max_queue_spans,
        max_batch_spans: sizes.max_batch_spans,
        delay: sizes.delay,
        ..defaults
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, Vec<VariableError>> {
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
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn empty_environment_yields_the_defaults() {
        let config = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap();
        assert_eq!(
            config.endpoint,
            OtlpEndpoint::local(ExportProtocol::HttpProtobuf)
        );
        assert_eq!(config.batch, BatchSettings::default());
        assert_eq!(config.timeout, Duration::from_secs(10));
    }

    #[test]
    fn only_the_endpoint_of_all_signals_gets_a_path() {
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
    fn grpc_endpoint_without_scheme_is_secure_unless_insecure_is_set() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let host = ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317");
        let endpoint = |variables: &[_]| read(variables).unwrap().endpoint;
        assert_eq!(endpoint(&[grpc]), OtlpEndpoint::local(ExportProtocol::Grpc));
        assert!(endpoint(&[grpc, host]).is_secure());
        assert!(!endpoint(&[grpc, host, ("OTEL_EXPORTER_OTLP_INSECURE", "true")]).is_secure());
    }

    #[test]
    fn every_variable_is_read() {
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
            (config.batch.max_queue_spans, config.batch.max_batch_spans),
            (100, 100)
        );
        assert_eq!(config.batch.delay, Duration::from_millis(20));
    }

    #[test]
    fn all_errors_are_reported_together_without_secrets() {
        let errors = problems(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hidden@c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key hidden"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/file"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "11"),
        ]);
        assert_eq!(errors.len(), 7, "{errors:#?}");
        assert!(!errors.concat().contains("hidden"), "{errors:#?}");
        assert!(errors[0].contains("http/json"), "{errors:#?}");
    }

    #[test]
    fn client_certificate_without_key_is_reported() {
        let errors = problems(&[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/dev/null")]);
        assert_eq!(
            errors,
            ["OTEL_EXPORTER_OTLP_CLIENT_KEY: client certificate and key must both be set"]
        );
    }
}
