use throughline_intercept::kafka::{InjectionMode, SpanNaming};
use throughline_model::context::Format;
use throughline_model::convention::SERVICE_NAME;

use super::*;

fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text.as_bytes(), &|_| None)
}

#[test]
fn empty_configuration_has_all_defaults() {
    for text in ["", "{}", " \n"] {
        let config = parse(text).unwrap();
        assert!(!config.accepts_any_abi && config.brokers.is_empty());
        assert_eq!(config.kafka.inject, InjectionMode::Always);
        assert_eq!(config.shared.capacity.max_held_bytes, DEFAULT_MEMORY);
    }
}

#[test]
fn values_are_read_as_json_types_and_as_text() {
    let typed = parse(
        r#"{"service":"shop","sample":0.5,"inject":false,"propagation":["tracecontext","b3"],
            "max_spans_per_second":1e+03,"memory":"128MiB","naming":"opentracing",
            "topics":[{"topic":"a-*","inject":"uncompressed","max_message_bytes":1048588}],
            "correlation_keys":[{"name":"order","header":"x-order","body":"/id"}],
            "brokers":[{"broker":"kafka-0:9092","listener":"127.0.0.1:19092"}],
            "collector":"http://collector:4318","envoy_abi":"any"}"#,
    )
    .unwrap();
    let kafka = &typed.kafka;
    assert_eq!(kafka.write, [Format::W3c, Format::B3Single]);
    assert_eq!(
        (kafka.sample_ratio, kafka.inject),
        (0.5, InjectionMode::Never)
    );
    assert_eq!(kafka.naming, SpanNaming::OpenTracing);
    assert_eq!(kafka.topic("a-1").max_message_bytes, Some(1_048_588));
    let inject = |topic| kafka.topic(topic).inject;
    assert_eq!(
        (inject("a-1"), inject("b")),
        (InjectionMode::Uncompressed, InjectionMode::Never)
    );
    let name = kafka.resource.attributes.first().unwrap();
    assert_eq!(
        (&*name.key, name.value.as_str()),
        (SERVICE_NAME, Some("shop"))
    );
    let shared = &typed.shared;
    assert_eq!(shared.capacity.max_spans_per_second, 1000);
    assert_eq!(shared.capacity.max_held_bytes, 128 << 20);
    assert_eq!(shared.correlation.keys.len(), 2);
    assert_eq!(
        shared.export.endpoint.to_string(),
        "http://collector:4318/v1/traces"
    );
    let listener = ("127.0.0.1".into(), 19092);
    let broker = ("kafka-0".to_owned(), 9092);
    assert_eq!(*typed.brokers, [BrokerListener { broker, listener }]);
    assert!(typed.accepts_any_abi);
    let text = parse(r#"{"sample":"0.5","inject":"false","propagation":"tracecontext,b3"}"#);
    let text = text.unwrap();
    assert_eq!(
        (text.kafka.sample_ratio, text.kafka.inject),
        (0.5, InjectionMode::Never)
    );
    assert_eq!(text.kafka.write, kafka.write);
}

#[test]
fn every_mistake_is_named() {
    let errors = parse(
        r#"{"sample":2,"naming":"x","memory":"many","relation":{"a":1},"colector":"y",
            "listen":"127.0.0.1:9092","propagation":"w4c","collector":"ftp://x",
            "topics":[{"topic":"t","deliver":"no"}],"brokers":[{"broker":"a","listener":"b:1"}],
            "correlation_keys":[{"name":"k"}]}"#,
    )
    .unwrap_err();
    for key in [
        "sample ",
        "naming ",
        "memory ",
        "relation ",
        "colector:",
        "listen:",
        "propagation:",
        "collector ",
        "topics t:",
        "brokers ",
        "correlation_keys k:",
    ] {
        let about = errors.iter().filter(|error| error.starts_with(key)).count();
        assert_eq!(about, 1, "{key} in {errors:#?}");
    }
    assert_eq!(errors.len(), 11, "{errors:#?}");
    assert!(parse("[1]").unwrap_err().concat().contains("JSON object"));
}

#[test]
fn environment_is_used_where_the_configuration_is_silent() {
    let environment = |name: &str| match name {
        "OTEL_SERVICE_NAME" => Some("named".to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://elsewhere:4318".to_owned()),
        _ => None,
    };
    let config = Config::parse(b"{}", &environment).unwrap();
    let name = config.kafka.resource.attributes.first().unwrap();
    assert_eq!(name.value.as_str(), Some("named"));
    assert_eq!(config.shared.export.endpoint.host(), "elsewhere");
}

#[test]
fn only_shared_keys_decide_whether_filters_share() {
    let identity = |text: &str| parse(text).unwrap().shared.identity;
    assert_eq!(
        identity(r#"{"service":"a"}"#),
        identity(r#"{"service":"a","sample":0.1}"#)
    );
    assert_ne!(
        identity(r#"{"service":"a"}"#),
        identity(r#"{"service":"b"}"#)
    );
}
