use std::collections::BTreeMap;
use std::ffi::OsString;

use throughline_intercept::correlate::{SingleInFlightPolicy, TokenLocation};
use throughline_intercept::http::Direction;
use throughline_intercept::kafka::{DeliveryMode, InjectionMode, ServiceNaming, SpanRelation};
use throughline_model::context::Format;
use throughline_proxy::{ListenerRoute, PortRange, http};

use super::*;

fn parse_with(
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<SidecarConfig, Vec<String>> {
    let arguments = ["throughline", "sidecar"]
        .iter()
        .chain(arguments)
        .map(OsString::from);
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let environment = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let raw = RawConfig::load(&arguments.collect::<Vec<_>>(), &environment)?;
    parse(&raw, &environment)
}

fn broker_ports(config: &SidecarConfig) -> PortRange {
    match &config.proxy.listeners[0].route {
        ListenerRoute::Addressed(addressed) => addressed.broker_ports,
        ListenerRoute::Redirected(_) => panic!("not addressed"),
    }
}

fn direction(route: &ListenerRoute) -> Direction {
    match route {
        ListenerRoute::Redirected(direction) => *direction,
        ListenerRoute::Addressed(_) => panic!("not redirected"),
    }
}

#[test]
fn defaults_need_only_the_address_of_a_broker() {
    let config = parse_with(&["--kafka", "localhost:9092"], &[]).unwrap();
    assert_eq!(
        config.proxy.listeners[0].address.to_string(),
        "127.0.0.1:19092"
    );
    assert_eq!(broker_ports(&config), PortRange::Between(19093, 19192));
    assert_eq!(config.proxy.admin.unwrap().to_string(), "127.0.0.1:19091");
    assert_eq!(
        config.export.endpoint.to_string(),
        "http://localhost:4318/v1/traces"
    );
    let settings = &config.proxy.settings;
    assert_eq!(
        (settings.service, &*settings.write),
        (ServiceNaming::ByApplication, &[Format::W3c][..])
    );
    assert_eq!(settings.read.len(), 4);
    assert!(settings.inject == InjectionMode::Always && settings.default.settle);
}

#[test]
fn correlation_keys_and_routes_are_parsed() {
    let keys =
        "[{name: order, header: x-order, body: /order/id}, {name: customer, record_key: true}]";
    let config = parse_with(
        &[
            "--inbound",
            "8080",
            "--routes",
            "/checkout, /orders/{id}",
            "--sole",
            "never",
            "--correlation-keys",
            keys,
        ],
        &[],
    );
    let http = config.unwrap().proxy.http;
    let names: Vec<&str> = http
        .correlate
        .keys
        .iter()
        .map(|key| key.name.as_str())
        .collect();
    assert_eq!(
        (names, http.correlate.single_in_flight),
        (
            vec!["x-request-id", "order", "customer"],
            SingleInFlightPolicy::Never
        )
    );
    assert_eq!(
        http.correlate.keys[1].locations,
        [
            TokenLocation::Header("x-order".to_owned()),
            TokenLocation::Body("/order/id".to_owned())
        ]
    );
    assert!(http.settings.routes[1].matches("/orders/17"));
    for (option, wrong, expected) in [
        ("--routes", "checkout", "\"checkout\" is not a path"),
        ("--routes", "/orders/:id", "syntax of another router"),
        ("--routes", "/x/{a", "unbalanced braces"),
        (
            "--ignore-paths",
            "probes,internal",
            "\"internal\" is not a path",
        ),
        ("--trust", "10.0.0.0", "'10.0.0.0' has no prefix length"),
        ("--outbound", "9001=http://a/b", "\"http://a/b\" has a path"),
        (
            "--correlation-keys",
            "[{name: order}]",
            "order: has no source",
        ),
        (
            "--correlation-keys",
            "[{name: order, body: id}]",
            "is not a JSON pointer",
        ),
        ("--correlation-keys", "[{header: x}]", "missing field"),
        ("--sole", "sometimes", "use measured or never or always"),
    ] {
        let errors = parse_with(&["--inbound", "8080", option, wrong], &[])
            .unwrap_err()
            .join("\n");
        assert!(
            errors.contains(option) && errors.contains(expected),
            "{errors}"
        );
    }
}

/// Arguments of which every value is invalid.
const INVALID_ARGUMENTS: &[&str] = &[
    "--kafka",
    "nowhere,127.0.0.1:19092",
    "--broker-ports",
    "19000-19100",
    "--advertise",
    "a:1",
    "--admin",
    "127.0.0.1:19050",
    "--connect-timeout",
    "soon",
    "--connections",
    "0",
    "--memory",
    "lots",
    "--sample",
    "2",
    "--naming",
    "best",
    "--relation",
    "x",
    "--propagation",
    "tracecontext,xray",
    "--topics",
    "[{topic: a, injct: true}]",
    "--inject",
    "maybe",
    "--log",
    "x=loud",
    "--client-tls-cert",
    "/no/such/file",
    "--broker-tls-ca",
    "/no/such/ca",
    "--broker-tls-name",
    "a b",
    "--collector",
    "c:4318",
];

#[test]
fn all_errors_are_reported_together_each_with_its_remedy() {
    let variables = [
        ("OTEL_BSP_SCHEDULE_DELAY", "x"),
        ("OTEL_RESOURCE_ATTRIBUTES", "x"),
    ];
    let errors = parse_with(INVALID_ARGUMENTS, &variables).unwrap_err();
    for part in [
        "--kafka \"nowhere\" is",
        "--kafka 127.0.0.1:19092 is the sidecar's own address",
        "--broker-ports contains 19092, the port of --listen",
        "--advertise \"a:1\" is not a host",
        "--admin 127.0.0.1:19050 has one of --broker-ports",
        "--connect-timeout \"soon\" is not a duration",
        "--connections \"0\" is not a number from 1 to",
        "--memory \"lots\" is not a size",
        "--sample \"2\" is not a number from 0 to 1",
        "--naming \"best\" is not supported; use otel or opentracing",
        "--relation \"x\" is not supported; use parent or links",
        "--propagation: unknown format \"xray\"; use tracecontext, b3, b3multi, jaeger or none",
        "--topics cannot be parsed",
        "--inject \"maybe\" is not supported; use always or uncompressed or never",
        "--log \"x=loud\" is not a log filter",
        "--client-tls-key is missing",
        "--client-tls-cert /no/such/file: cannot be read",
        "--broker-tls-ca /no/such/ca: cannot be read",
        "--broker-tls-name \"a b\" is",
        "--collector is",
        "OTEL_BSP_SCHEDULE_DELAY=\"x\"",
        "OTEL_RESOURCE_ATTRIBUTES=\"x\": not of the form",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(part)),
            "{part} is missing in:\n{errors:#?}"
        );
    }
    assert_eq!(errors.len(), 22, "{errors:#?}");
}

#[test]
fn brokers_are_required_without_transparent() {
    let errors = parse_with(&[], &[]).unwrap_err();
    assert!(
        errors.len() == 1 && errors[0].contains("--kafka is missing"),
        "{errors:?}"
    );
    let config = parse_with(&["--transparent", "--listen", "127.0.0.1:1,[::1]:1"], &[]).unwrap();
    let directions: Vec<_> = config
        .proxy
        .listeners
        .iter()
        .map(|listener| direction(&listener.route))
        .collect();
    assert_eq!(
        directions,
        [Direction::Outbound, Direction::Outbound, Direction::Inbound]
    );
    assert_eq!(config.proxy.listeners[2].address.port(), 19090);
    let config = parse_with(&["--transparent", "--listen-inbound", "off"], &[]).unwrap();
    assert!(
        config
            .proxy
            .listeners
            .iter()
            .all(|listener| direction(&listener.route) == Direction::Outbound)
    );
    assert!(
        parse_with(&["--transparent", "--listen-inbound", "x"], &[]).unwrap_err()[0]
            .contains("--listen-inbound")
    );
    let errors = parse_with(
        &["--transparent", "--kafka", "a:1", "--state-dir", "x"],
        &[],
    )
    .unwrap_err();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert_eq!(
        parse_with(&["--kafka", "a:1", "--listen", "127.0.0.1:1,[::1]:1"], &[])
            .unwrap_err()
            .len(),
        1
    );
}

#[test]
fn default_broker_ports_follow_the_listener() {
    let of = |arguments: &[&str]| {
        broker_ports(&parse_with(&[&["--kafka", "a:1"], arguments].concat(), &[]).unwrap())
    };
    assert_eq!(
        of(&["--listen", "0.0.0.0:9092"]),
        PortRange::Between(9093, 9192)
    );
    assert_eq!(of(&["--listen", "127.0.0.1:0"]), PortRange::Any);
    assert_eq!(of(&["--listen", "127.0.0.1:65535"]), PortRange::Any);
    assert_eq!(
        of(&["--broker-ports", "20000-20002"]),
        PortRange::Between(20000, 20002)
    );
    assert_eq!(of(&["--broker-ports", "any"]), PortRange::Any);
}

#[test]
fn configured_service_name_applies_to_all_spans() {
    let of = |arguments: &[&str], variables: &[_]| {
        let settings = parse_with(&[&["--kafka", "a:1"], arguments].concat(), variables)
            .unwrap()
            .proxy
            .settings;
        (settings.service, settings.resource.service().to_owned())
    };
    let (name, attributes) = (
        ("OTEL_SERVICE_NAME", "env"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=res,k=v"),
    );
    assert_eq!(
        of(&[], &[]),
        (ServiceNaming::ByApplication, "kafka-client".to_owned())
    );
    assert_eq!(
        of(&[], &[attributes]),
        (ServiceNaming::Fixed, "res".to_owned())
    );
    assert_eq!(
        of(&[], &[name, attributes]),
        (ServiceNaming::Fixed, "env".to_owned())
    );
    assert_eq!(
        of(&["--service", "arg"], &[name, attributes]),
        (ServiceNaming::Fixed, "arg".to_owned())
    );
}

#[test]
fn opentelemetry_variables_are_defaults() {
    let variables = [
        ("OTEL_PROPAGATORS", "b3,baggage"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
    ];
    let config = parse_with(&["--kafka", "a:1"], &variables).unwrap();
    assert_eq!(config.proxy.settings.write, [Format::B3Single]);
    assert_eq!(config.proxy.settings.read[0], Format::B3Single);
    assert_eq!(config.export.endpoint.to_string(), "http://c:1/v1/traces");
    let config = parse_with(
        &[
            "--kafka",
            "a:1",
            "--propagation",
            "none",
            "--collector",
            "http://d:1",
        ],
        &variables,
    )
    .unwrap();
    assert_eq!(
        (
            &*config.proxy.settings.write,
            config.export.endpoint.to_string()
        ),
        (&[][..], "http://d:1/v1/traces".to_owned())
    );
}

#[test]
fn topic_overrides_change_only_what_they_name() {
    let topics = "[{topic: audit-*, inject: false}, {topic: zip-*, inject: uncompressed}, \
                  {topic: o, relation: links, deliver: patch, settle: false, \
                  max_message_bytes: 10485760}]";
    let config = parse_with(
        &["--kafka", "a:1", "--topics", topics, "--relation", "links"],
        &[],
    )
    .unwrap();
    let settings = &config.proxy.settings;
    let (audit, orders, other) = (
        settings.topic("audit-1"),
        settings.topic("o"),
        settings.topic("x"),
    );
    assert!(audit.settle && audit.relation == SpanRelation::LinksOnly);
    assert_eq!(
        [audit, settings.topic("zip-1"), orders, other].map(|topic| topic.inject),
        [
            InjectionMode::Never,
            InjectionMode::Uncompressed,
            InjectionMode::Always,
            InjectionMode::Always,
        ]
    );
    assert!(!orders.settle && orders.deliver == DeliveryMode::Patch);
    assert!(other.deliver == DeliveryMode::Observe);
    assert_eq!(orders.max_message_bytes, Some(10 << 20));
    assert_eq!(other.max_message_bytes, None);
}

fn http(arguments: &[&str]) -> Vec<String> {
    let config = parse_with(arguments, &[]).unwrap();
    let one = |listener: &http::HttpListenerConfig| match &listener.route {
        http::HttpRoute::Service { address, protocol } => {
            // All addresses, of one family or both: it depends on the machine.
            let listen = listener.address.to_string().replace("[::]", "0.0.0.0");
            format!("{listen} -> {address} {protocol:?}")
        }
        http::HttpRoute::Fixed(origin) => {
            format!("{} => {} {}", listener.address, origin.address, origin.tls)
        }
        http::HttpRoute::Named { connect } => format!("{} proxy {connect}", listener.address),
        http::HttpRoute::Original(to) => format!("{} > {to}", listener.address),
    };
    config.proxy.http.listeners.iter().map(one).collect()
}

#[test]
fn http_needs_only_the_port_of_the_service() {
    let both = [
        "0.0.0.0:8080 -> 127.0.0.1:18080 Same",
        "127.0.0.1:19080 proxy all",
    ];
    assert_eq!(http(&["--inbound", "8080", "--kafka", "kafka:9092"]), both);
    assert_eq!(http(&["--inbound", "8080"]), both, "without Kafka");
    assert!(
        parse_with(&["--inbound", "8080"], &[])
            .unwrap()
            .proxy
            .listeners
            .is_empty()
    );
    assert_eq!(http(&["--kafka", "kafka:9092"]), [""; 0]);
}

#[test]
fn http_listeners_and_upstreams_are_parsed() {
    let inbound =
        |text, more: &[&str]| http(&[&["--outbound", "off", "--inbound", text], more].concat());
    assert_eq!(
        inbound("8080=3000", &[]),
        ["0.0.0.0:8080 -> 127.0.0.1:3000 Same"]
    );
    assert_eq!(
        inbound("[::]:80=app:3000,81=82", &["--inbound-protocol", "http2"]),
        [
            "0.0.0.0:80 -> app:3000 Http2",
            "0.0.0.0:81 -> 127.0.0.1:82 Http2"
        ]
    );
    let outbound = |text| http(&["--outbound", text]);
    assert_eq!(outbound("19080"), ["127.0.0.1:19080 proxy all"]);
    assert_eq!(
        outbound("9001=https://api.example,0.0.0.0:9002=http://b:81"),
        [
            "127.0.0.1:9001 => api.example:443 true",
            "0.0.0.0:9002 => b:81 false"
        ]
    );
}

#[test]
fn connect_is_allowed_on_loopback_and_where_ports_are_given() {
    let outbound = |text, more: &[&str]| http(&[&["--outbound", text], more].concat());
    assert_eq!(
        outbound("19080,[::1]:1,0.0.0.0:2", &[]),
        [
            "127.0.0.1:19080 proxy all",
            "[::1]:1 proxy all",
            "0.0.0.0:2 proxy none"
        ]
    );
    assert_eq!(
        outbound("0.0.0.0:2", &["--allow-connect"]),
        ["0.0.0.0:2 proxy all"]
    );
    for (ports, address) in [
        ("443,8000-8999", "127.0.0.1:1"),
        ("none", "127.0.0.1:1"),
        ("443", "0.0.0.0:1"),
        ("all", "0.0.0.0:1"),
    ] {
        assert_eq!(
            outbound(address, &["--connect-ports", ports]),
            [format!("{address} proxy {ports}")]
        );
    }
}

#[test]
fn http_errors_are_reported_with_their_remedies() {
    let errors = parse_with(
        &[
            "--inbound",
            "x,8080=8080,60000",
            "--outbound",
            "9001=api.example",
            "--inbound-protocol",
            "http3",
            "--trust",
            "10.0.0.0/99",
            "--response-timeout",
            "soon",
            "--inbound-tls-cert",
            "/nowhere",
        ],
        &[],
    )
    .unwrap_err();
    for part in [
        "--inbound \"x\" is not a port and its service; write it as 8080",
        "--inbound \"8080=8080\" forwards to the sidecar itself",
        "--inbound \"60000\" is not a port and its service",
        "--outbound \"api.example\" is not an http:// or https:// URL; write it as",
        "--inbound-protocol \"http3\" is not supported; use same or http1 or http2",
        "--trust: '10.0.0.0/99' is",
        "--response-timeout \"soon\" is not a duration",
        "--inbound-tls-key is missing",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(part)),
            "{part} is missing in:\n{errors:#?}"
        );
    }
}

#[test]
fn http_takes_its_settings_from_kafka() {
    let settings = |arguments: &[&str]| {
        parse_with(&[&["--inbound", "1"], arguments].concat(), &[])
            .unwrap()
            .proxy
            .http
            .settings
    };
    let one = settings(&[
        "--service",
        "shop",
        "--sample",
        "0.5",
        "--propagation",
        "b3",
        "--trust",
        "never",
    ]);
    assert_eq!(one.resource.attributes[0].value.as_str(), Some("shop"));
    assert_eq!(
        (one.sample_ratio, &one.write[..]),
        (0.5, &[Format::B3Single][..])
    );
    assert_eq!(one.trust, throughline_intercept::http::TrustPolicy::Never);
    let other = settings(&["--propagation", "none"]);
    assert_eq!(
        other.resource.attributes[0].value.as_str(),
        Some("unknown_service")
    );
    assert!(other.write.is_empty() && !other.request_id);
}

#[test]
fn contradicting_options_are_rejected() {
    let kafka = ["--kafka", "a:1"];
    let http = ["--inbound", "8080"];
    let cases: [(&[&str], &[&str], &[&str]); 10] = [
        (
            &kafka,
            &["--max-frame", "1GiB", "--memory", "10MiB"],
            &["--max-frame is larger than --memory"],
        ),
        (&kafka, &["--memory", "0"], &["--memory must not be 0"]),
        (
            &kafka,
            &["--max-frame", "0"],
            &["--max-frame must not be 0"],
        ),
        (
            &kafka,
            &["--topics", "[{topic: a, max_message_bytes: 100000000}]"],
            &["--topics max_message_bytes 100000000 is larger than --max-frame"],
        ),
        (
            &kafka,
            &["--connect-timeout", "0s"],
            &["--connect-timeout must not be 0"],
        ),
        (
            &kafka,
            &["--listen-inbound", "off"],
            &["--listen-inbound has no effect"],
        ),
        (
            &http,
            &["--advertise", "a"],
            &["--advertise has no effect without --kafka"],
        ),
        (
            &http,
            &["--state-dir", "/tmp", "--broker-ports", "any"],
            &["--broker-ports has no effect", "--state-dir has no effect"],
        ),
        (
            &http,
            &["--allow-connect", "--connect-ports", "none"],
            &["--allow-connect allows CONNECT to all ports, and --connect-ports \"none\" does not"],
        ),
        (
            &http,
            &["--allow-connect", "--connect-ports", "443"],
            &["--allow-connect allows CONNECT to all ports, and --connect-ports \"443\" does not"],
        ),
    ];
    for (mode, options, expected) in cases {
        let errors = parse_with(&[mode, options].concat(), &[]).unwrap_err();
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

#[test]
fn default_frame_size_is_within_the_memory() {
    let of = |options: &[&str]| {
        let config = parse_with(&[&["--kafka", "a:1"], options].concat(), &[]).unwrap();
        config.proxy.settings.limits.max_frame_bytes
    };
    assert_eq!(of(&[]), 64 << 20);
    assert_eq!(of(&["--memory", "10MiB"]), 10 << 20);
    assert_eq!(of(&["--memory", "1GiB", "--max-frame", "1GiB"]), 1 << 30);
}

#[test]
fn client_ids_name_services_without_what_is_generated_unless_switched_off() {
    let of = |options: &[&str]| {
        let config = parse_with(&[&["--kafka", "a:1"], options].concat(), &[]).unwrap();
        config.proxy.settings.service
    };
    assert_eq!(of(&[]), ServiceNaming::ByApplication);
    assert_eq!(
        of(&["--strip-client-id", "false"]),
        ServiceNaming::ByClientId
    );
}
