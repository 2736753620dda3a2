//! The variables, valid and invalid.

use super::*;
use crate::InitError;

fn read(variables: &[(&str, &str)]) -> Result<Config, InitError> {
    let all: HashMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let (config, errors) = Config::read(&move |name| all.get(name).cloned());
    InitError::check(errors).map(|()| config)
}

fn traces(variables: &[(&str, &str)]) -> Option<ExportTarget> {
    read(variables).unwrap().traces
}

fn endpoint(variables: &[(&str, &str)]) -> String {
    traces(variables).unwrap().endpoint
}

#[test]
fn empty_environment_exports_nothing() {
    let config = read(&[("OTEL_SERVICE_NAME", "billing")]).unwrap();
    assert_eq!((config.traces, config.metrics), (None, None));
    assert_eq!(config.propagators, [Format::W3c, Format::Baggage]);
    assert_eq!(
        config.sampler,
        SamplerChoice {
            parent_based: true,
            ratio: 1.0
        }
    );
    assert_eq!(config.limits.max_links_per_span, 1024);
}

#[test]
fn empty_variable_counts_as_unset() {
    assert_eq!(
        traces(&[
            ("OTEL_TRACES_EXPORTER", " "),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        ]),
        None
    );
}

#[test]
fn only_the_endpoint_of_all_signals_gets_a_path() {
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]),
        "http://c:4318/v1/traces"
    );
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/in")]),
        "http://c:4318/in/v1/traces"
    );
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/x")]),
        "http://c:1/x"
    );
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(
        endpoint(&[grpc, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")]),
        "http://c:4317"
    );
    let insecure = ("OTEL_EXPORTER_OTLP_INSECURE", "true");
    assert_eq!(
        endpoint(&[grpc, insecure, ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4317")]),
        "http://c:4317"
    );
    let secure = ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "False");
    assert!(
        read(&[
            secure,
            insecure,
            grpc,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "c:4317")
        ])
        .is_err()
    );
    assert_eq!(
        endpoint(&[("OTEL_TRACES_EXPORTER", "otlp")]),
        "http://localhost:4318/v1/traces"
    );
    assert_eq!(
        endpoint(&[("OTEL_TRACES_EXPORTER", "otlp"), grpc]),
        "http://localhost:4317"
    );
}

#[test]
fn variables_for_traces_override_general_ones() {
    let target = traces(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=s%20t, b=2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
    ]);
    let expected = ExportTarget {
        endpoint: "http://c:4318/v1/traces".to_owned(),
        protocol: OtlpProtocol::HttpJson,
        headers: HashMap::from([
            ("api-key".to_owned(), "s t".to_owned()),
            ("b".to_owned(), "2".to_owned()),
        ]),
        timeout: Duration::from_millis(2500),
        gzip: false,
    };
    assert_eq!(target, Some(expected));
}

#[test]
fn export_can_be_switched_off_by_signal_and_as_a_whole() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
    let config = read(&[endpoint, ("OTEL_METRICS_EXPORTER", "none")]).unwrap();
    assert!(config.traces.is_some() && config.metrics.is_none());
    let config = read(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap();
    assert!(config.traces.is_none() && config.metrics.is_some());
    let config = read(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]).unwrap();
    assert!(config.traces.is_none() && config.metrics.is_none());
}

#[test]
fn service_name_comes_from_variable_attribute_and_jaeger_in_this_order() {
    let name = |variables: &[(&str, &str)]| read(variables).unwrap().service_name;
    let (own, attributes) = (
        ("OTEL_SERVICE_NAME", "a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=b,zone=x%2Cy"),
    );
    let jaeger = ("JAEGER_SERVICE_NAME", "c");
    assert_eq!(name(&[own, attributes, jaeger]).as_deref(), Some("a"));
    assert_eq!(name(&[attributes, jaeger]).as_deref(), Some("b"));
    assert_eq!(name(&[jaeger]).as_deref(), Some("c"));
    assert_eq!(
        read(&[attributes]).unwrap().attributes,
        [("zone".to_owned(), "x,y".to_owned())]
    );
    assert_eq!(
        name(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=,a=b")]),
        None,
        "an empty name is none"
    );
}

#[test]
fn keys_and_values_of_resource_attributes_are_percent_decoded() {
    let read = |text| read(&[("OTEL_RESOURCE_ATTRIBUTES", text)]).map(|config| config.attributes);
    let expected = [
        ("a,b".to_owned(), "c=d".to_owned()),
        ("e".to_owned(), "\u{e9} f".to_owned()),
    ];
    assert_eq!(read(" a%2Cb = c%3Dd , e=%C3%a9%20f ,").unwrap(), expected);
    for wrong in ["a=%C3", "a=%4", "%zz=b", "=b"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn standard_samplers_and_propagators_are_read() {
    let sampler = |variables: &[(&str, &str)]| read(variables).unwrap().sampler;
    let ratio = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
    let choice = |parent_based, ratio| SamplerChoice {
        parent_based,
        ratio,
    };
    assert_eq!(
        sampler(&[("OTEL_TRACES_SAMPLER", "always_off")]),
        choice(false, 0.0)
    );
    assert_eq!(
        sampler(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ratio]),
        choice(false, 0.25)
    );
    assert_eq!(
        sampler(&[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ratio]),
        choice(true, 0.25)
    );
    let formats = |text| read(&[("OTEL_PROPAGATORS", text)]).unwrap().propagators;
    assert_eq!(
        formats("b3multi, b3,jaeger"),
        [Format::B3Multi, Format::B3Single, Format::Jaeger]
    );
    assert_eq!(formats("none"), []);
    assert_eq!(
        formats(" TraceContext ,, B3,"),
        [Format::W3c, Format::B3Single]
    );
    assert!(
        read(&[("OTEL_PROPAGATORS", "b3,none")])
            .unwrap_err()
            .to_string()
            .contains("none excludes other propagators")
    );
    for wrong in ["1.5", "-0.1", "NaN", "half"] {
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        assert!(
            read(&[sampler, ("OTEL_TRACES_SAMPLER_ARG", wrong)]).is_err(),
            "{wrong}"
        );
        assert!(
            read(&[("OTEL_TRACES_SAMPLER_ARG", wrong)]).is_ok(),
            "of no use to the default sampler"
        );
    }
}

#[test]
fn jaeger_variables_are_fall_backs() {
    let old = [
        ("JAEGER_PROPAGATION", "b3,w3c"),
        ("JAEGER_SAMPLER_TYPE", "probabilistic"),
        ("JAEGER_SAMPLER_PARAM", "0.5"),
        ("JAEGER_TAGS", "zone=${ZONE:north}, pod=${POD:p},v=1"),
        ("POD", "eshop-1"),
    ];
    let config = read(&old).unwrap();
    assert_eq!(
        config.propagators,
        [Format::B3Multi, Format::W3c, Format::Baggage]
    );
    assert_eq!(
        config.sampler,
        SamplerChoice {
            parent_based: true,
            ratio: 0.5
        }
    );
    let tags = [("zone", "north"), ("pod", "eshop-1"), ("v", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(config.attributes, tags);
    let config = read(&[
        old[0],
        old[1],
        ("OTEL_PROPAGATORS", "jaeger"),
        ("OTEL_TRACES_SAMPLER", "always_on"),
    ])
    .unwrap();
    assert_eq!(config.propagators, [Format::Jaeger]);
    assert_eq!(
        config.sampler,
        SamplerChoice {
            parent_based: false,
            ratio: 1.0
        }
    );
}

#[test]
fn all_errors_are_reported_at_once_with_their_remedies() {
    let error = read(&[
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c:4318"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "thrift"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "lz4"),
        ("OTEL_RESOURCE_ATTRIBUTES", "zone"),
        ("OTEL_PROPAGATORS", "tracecontext,xray"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "-1"),
        ("OTEL_SDK_DISABLED", "yes"),
    ])
    .unwrap_err();
    let expected = [
        "11 errors in the telemetry configuration:",
        "  OTEL_SDK_DISABLED=\"yes\": neither true nor false",
        "  OTEL_RESOURCE_ATTRIBUTES=\"zone\": not of the form key=value, percent-encoded",
        "  OTEL_TRACES_EXPORTER=\"zipkin\": this exporter is not built in, ignored; use otlp, \
         to a collector that forwards, or none",
        "  OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=\"thrift\": unsupported protocol; use \
         http/protobuf, http/json, grpc",
        "  OTEL_EXPORTER_OTLP_ENDPOINT=\"ftp://c:4318\": not a URL of the form http://host:port",
        "  OTEL_EXPORTER_OTLP_TIMEOUT=\"10s\": not a number from 1 to 3600000",
        "  OTEL_EXPORTER_OTLP_COMPRESSION=\"lz4\": unsupported compression; use gzip \
         or none",
        "  OTEL_PROPAGATORS=\"xray\": unknown propagator, ignored; use tracecontext, baggage, \
         b3, b3multi, jaeger or none",
        "  OTEL_TRACES_SAMPLER=\"sometimes\": unknown sampler; use always_on, \
         always_off or traceidratio, each also with the prefix parentbased_",
        "  OTEL_BSP_MAX_EXPORT_BATCH_SIZE=\"20\": larger than the queue of 10; lower \
         it or raise OTEL_BSP_MAX_QUEUE_SIZE",
        "  OTEL_SPAN_LINK_COUNT_LIMIT=\"-1\": not a number from 0 to 65536",
    ];
    assert_eq!(error.to_string(), expected.join("\n"));
}

#[test]
fn error_read_by_both_signals_is_reported_once() {
    let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "nowhere")]).unwrap_err();
    assert_eq!(error.iter().count(), 1, "{error}");
    assert!(
        error
            .to_string()
            .contains("not a URL of the form http://host:port")
    );
}

#[test]
fn endpoint_needs_a_host_and_a_valid_port() {
    for wrong in [
        "http://c:99999",
        "http://c:0",
        "http://c:",
        "http://:4318",
        "c:4318",
        "tcp://c:4318",
        "/v1/traces",
    ] {
        assert!(
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)]).is_err(),
            "{wrong}"
        );
    }
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1]:4318")]),
        "http://[::1]:4318/v1/traces"
    );
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c")]),
        "http://c/v1/traces"
    );
}

#[test]
fn secrets_do_not_appear_in_errors() {
    for headers in ["api-key", "api-key=%zz", "bad name=s3cret"] {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
            ("OTEL_EXPORTER_OTLP_HEADERS", headers),
        ];
        let message = read(&variables).unwrap_err().to_string();
        assert!(
            message.contains("OTEL_EXPORTER_OTLP_HEADERS: ") && !message.contains(headers),
            "{message}"
        );
    }
}

#[test]
fn credentials_in_an_endpoint_are_rejected_and_hidden() {
    for endpoint in [
        "http://ann:s3cret@c:4318",
        "https://ann:s3cret@c:4318",
        "ann:s3cret@c",
    ] {
        let message = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)])
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("OTEL_EXPORTER_OTLP_HEADERS") && !message.contains("s3cret"),
            "{message}"
        );
    }
    assert_eq!(
        endpoint(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/@x")]),
        "http://c:1/@x"
    );
}

#[test]
fn jaeger_thrift_endpoint_is_reported() {
    let thrift = ("JAEGER_ENDPOINT", "http://jaeger:14268/api/traces");
    assert!(
        read(&[thrift])
            .unwrap_err()
            .to_string()
            .contains("OTEL_EXPORTER_OTLP_ENDPOINT")
    );
    assert!(read(&[thrift, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]).is_ok());
    assert!(read(&[thrift, ("OTEL_TRACES_EXPORTER", "none")]).is_ok());
}

#[test]
fn exporters_are_a_list() {
    let read = |list| read(&[("OTEL_TRACES_EXPORTER", list)]).unwrap();
    let config = read("otlp, console");
    assert!(config.traces.is_some() && config.prints_spans && !config.prints_metrics);
    let config = read("Console");
    assert!(config.traces.is_none() && config.prints_spans);
    let config = read("none");
    assert!(config.traces.is_none() && !config.prints_spans);
}

#[test]
fn list_without_a_known_propagator_counts_as_unset() {
    let (config, errors) =
        Config::read(&|name| (name == "OTEL_PROPAGATORS").then(|| "xray,ottrace".to_owned()));
    assert_eq!(errors.len(), 2);
    assert_eq!(config.propagators, [Format::W3c, Format::Baggage]);
}

#[test]
fn https_endpoint_needs_the_feature_and_the_warning_names_it() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318");
    let read = read(&[endpoint]);
    if cfg!(feature = "export-tls") {
        let target = read.unwrap().traces.unwrap();
        assert_eq!(target.endpoint, "https://c:4318/v1/traces");
    } else {
        assert!(read.unwrap_err().to_string().contains("`export-tls`"));
    }
}
