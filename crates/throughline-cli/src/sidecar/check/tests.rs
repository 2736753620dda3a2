use std::collections::BTreeMap;
use std::ffi::OsString;

use throughline_intercept::correlate::{SingleInFlightPolicy, TokenLocation};
use throughline_intercept::http::Direction;
use throughline_intercept::kafka::{Deliver, Relation, Service};
use throughline_model::context::Format;
use throughline_proxy::{ListenerRoute, PortRange, http};

use super::*;

fn check(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Plan, Vec<String>> {
    let arguments = ["throughline", "sidecar"]
        .iter()
        .chain(arguments)
        .map(OsString::from);
    let told = Told::new(&arguments.collect::<Vec<_>>())?;
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    plan(&told, &|name| {
        variables.get(name).map(|value| (*value).to_owned())
    })
}

fn ports(plan: &Plan) -> PortRange {
    match &plan.proxy.listeners[0].route {
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
fn the_address_of_a_broker_is_all_that_it_takes() {
    let plan = check(&["--kafka", "localhost:9092"], &[]).unwrap();
    assert_eq!(
        plan.proxy.listeners[0].address.to_string(),
        "127.0.0.1:19092"
    );
    assert_eq!(ports(&plan), PortRange::Between(19093, 19192));
    assert_eq!(plan.proxy.admin.unwrap().to_string(), "127.0.0.1:19091");
    assert_eq!(
        plan.export.endpoint.to_string(),
        "http://localhost:4318/v1/traces"
    );
    let settings = &plan.proxy.settings;
    assert_eq!(
        (settings.service, &*settings.write),
        (Service::ByClientId, &[Format::W3c][..])
    );
    assert_eq!(settings.read.len(), 4);
    assert!(settings.inject && settings.default.settle);
}

#[test]
fn what_tells_parents_and_names_routes_is_taken_as_written() {
    let keys =
        "[{name: order, header: x-order, body: /order/id}, {name: customer, record_key: true}]";
    let plan = check(
        &[
            "--inbound",
            "8080",
            "--routes",
            "/checkout, /orders/{id}",
            "--sole",
            "never",
            "--keys",
            keys,
        ],
        &[],
    );
    let http = plan.unwrap().proxy.http;
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
    for (option, wrong, mend) in [
        ("--routes", "checkout", "\"checkout\" is no path"),
        ("--keys", "[{name: order}]", "order: says nowhere"),
        ("--keys", "[{name: order, body: id}]", "is no JSON pointer"),
        ("--keys", "[{header: x}]", "missing field"),
        ("--sole", "sometimes", "use measured or never or always"),
    ] {
        let told = check(&["--inbound", "8080", option, wrong], &[])
            .unwrap_err()
            .join("\n");
        assert!(told.contains(option) && told.contains(mend), "{told}");
    }
}

#[test]
fn all_mistakes_are_told_together_each_with_its_mend() {
    let told = check(
        &[
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
        ],
        &[
            ("OTEL_BSP_SCHEDULE_DELAY", "x"),
            ("OTEL_RESOURCE_ATTRIBUTES", "x"),
        ],
    )
    .unwrap_err();
    for part in [
        "--kafka \"nowhere\" is not a host and port; write it as host:9092",
        "--kafka 127.0.0.1:19092 is our own address",
        "--broker-ports contain 19092, the port of --listen",
        "--advertise \"a:1\" is no host",
        "--admin 127.0.0.1:19050 has one of the brokers' ports",
        "--connect-timeout \"soon\" is no duration",
        "--connections \"0\" is no number from 1 to",
        "--memory \"lots\" is no size",
        "--sample \"2\" is no number from 0 to 1",
        "--naming \"best\" is not known; use otel or opentracing",
        "--relation \"x\" is not known; use parent or links",
        "--propagation: unknown format \"xray\"; use tracecontext, b3, b3multi, jaeger or none",
        "--topics cannot be understood",
        "--inject \"maybe\" is not known; use true or false",
        "--log \"x=loud\" cannot be understood",
        "--client-tls-key is missing",
        "--client-tls-cert /no/such/file: cannot be read",
        "--broker-tls-ca /no/such/ca: cannot be read",
        "--broker-tls-name \"a b\" is not a host name",
        "--collector is not a URL",
        "OTEL_BSP_SCHEDULE_DELAY=\"x\"",
        "OTEL_RESOURCE_ATTRIBUTES=\"x\": not of the form",
    ] {
        assert!(
            told.iter().any(|mistake| mistake.contains(part)),
            "{part} is missing in:\n{told:#?}"
        );
    }
    assert_eq!(told.len(), 22, "{told:#?}");
}

#[test]
fn a_cluster_is_asked_for_and_transparent_needs_none() {
    let told = check(&[], &[]).unwrap_err();
    assert!(
        told.len() == 1 && told[0].contains("--kafka is missing"),
        "{told:?}"
    );
    let plan = check(&["--transparent", "--listen", "127.0.0.1:1,[::1]:1"], &[]).unwrap();
    let directions: Vec<_> = plan
        .proxy
        .listeners
        .iter()
        .map(|listener| direction(&listener.route))
        .collect();
    assert_eq!(
        directions,
        [Direction::Outbound, Direction::Outbound, Direction::Inbound]
    );
    assert_eq!(plan.proxy.listeners[2].address.port(), 19090);
    let plan = check(&["--transparent", "--listen-inbound", "off"], &[]).unwrap();
    assert!(
        plan.proxy
            .listeners
            .iter()
            .all(|listener| direction(&listener.route) == Direction::Outbound)
    );
    assert!(
        check(&["--transparent", "--listen-inbound", "x"], &[]).unwrap_err()[0]
            .contains("--listen-inbound")
    );
    let told = check(
        &["--transparent", "--kafka", "a:1", "--state-dir", "x"],
        &[],
    )
    .unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        check(&["--kafka", "a:1", "--listen", "127.0.0.1:1,[::1]:1"], &[])
            .unwrap_err()
            .len(),
        1
    );
}

#[test]
fn ports_of_brokers_follow_the_listener() {
    let of = |arguments: &[&str]| {
        ports(&check(&[&["--kafka", "a:1"], arguments].concat(), &[]).unwrap())
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
fn a_service_that_was_named_is_that_of_all_spans() {
    let of = |arguments: &[&str], variables: &[_]| {
        let settings = check(&[&["--kafka", "a:1"], arguments].concat(), variables)
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
        (Service::ByClientId, "kafka-client".to_owned())
    );
    assert_eq!(of(&[], &[attributes]), (Service::Fixed, "res".to_owned()));
    assert_eq!(
        of(&[], &[name, attributes]),
        (Service::Fixed, "env".to_owned())
    );
    assert_eq!(
        of(&["--service", "arg"], &[name, attributes]),
        (Service::Fixed, "arg".to_owned())
    );
}

#[test]
fn opentelemetry_s_variables_hold_where_nothing_else_is_said() {
    let variables = [
        ("OTEL_PROPAGATORS", "b3,baggage"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1"),
    ];
    let plan = check(&["--kafka", "a:1"], &variables).unwrap();
    assert_eq!(plan.proxy.settings.write, [Format::B3Single]);
    assert_eq!(plan.proxy.settings.read[0], Format::B3Single);
    assert_eq!(plan.export.endpoint.to_string(), "http://c:1/v1/traces");
    let plan = check(
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
            &*plan.proxy.settings.write,
            plan.export.endpoint.to_string()
        ),
        (&[][..], "http://d:1/v1/traces".to_owned())
    );
}

#[test]
fn topics_differ_from_the_rest_in_what_they_say() {
    let topics = "[{topic: audit-*, inject: false}, {topic: o, relation: links, deliver: patch, settle: false}]";
    let plan = check(
        &["--kafka", "a:1", "--topics", topics, "--relation", "links"],
        &[],
    )
    .unwrap();
    let settings = &plan.proxy.settings;
    let (audit, orders, other) = (
        settings.topic("audit-1"),
        settings.topic("o"),
        settings.topic("x"),
    );
    assert!(!audit.inject && audit.settle && audit.relation == Relation::LinksOnly);
    assert!(orders.inject && !orders.settle && orders.deliver == Deliver::Patch);
    assert!(other.inject && other.deliver == Deliver::Observe);
}

fn http(arguments: &[&str]) -> Vec<String> {
    let plan = check(arguments, &[]).unwrap();
    let one = |listener: &http::Listener| match &listener.route {
        http::Route::Service { address, protocol } => {
            format!("{} -> {address} {protocol:?}", listener.address)
        }
        http::Route::Fixed(origin) => {
            format!("{} => {} {}", listener.address, origin.address, origin.tls)
        }
        http::Route::Named { connect } => format!("{} proxy {connect}", listener.address),
        http::Route::Original(to) => format!("{} > {to}", listener.address),
    };
    plan.proxy.http.listeners.iter().map(one).collect()
}

#[test]
fn the_port_of_a_service_is_all_that_http_takes() {
    let both = [
        "0.0.0.0:8080 -> 127.0.0.1:18080 Same",
        "127.0.0.1:19080 proxy false",
    ];
    assert_eq!(http(&["--inbound", "8080", "--kafka", "kafka:9092"]), both);
    assert_eq!(http(&["--inbound", "8080"]), both, "without Kafka");
    assert!(
        check(&["--inbound", "8080"], &[])
            .unwrap()
            .proxy
            .listeners
            .is_empty()
    );
    assert_eq!(http(&["--kafka", "kafka:9092"]), [""; 0]);
}

#[test]
fn http_listens_and_goes_where_it_is_told() {
    let inbound =
        |text, more: &[&str]| http(&[&["--outbound", "off", "--inbound", text], more].concat());
    assert_eq!(
        inbound("8080=3000", &[]),
        ["0.0.0.0:8080 -> 127.0.0.1:3000 Same"]
    );
    assert_eq!(
        inbound("[::]:80=app:3000,81=82", &["--inbound-protocol", "http2"]),
        [
            "[::]:80 -> app:3000 Http2",
            "0.0.0.0:81 -> 127.0.0.1:82 Http2"
        ]
    );
    let outbound = |text| http(&["--allow-connect", "--outbound", text]);
    assert_eq!(outbound("19080"), ["127.0.0.1:19080 proxy true"]);
    assert_eq!(
        outbound("9001=https://api.example,0.0.0.0:9002=http://b:81"),
        [
            "127.0.0.1:9001 => api.example:443 true",
            "0.0.0.0:9002 => b:81 false"
        ]
    );
}

#[test]
fn mistakes_of_http_are_told_with_their_mends() {
    let told = check(
        &[
            "--inbound",
            "x,8080=8080,60000",
            "--outbound",
            "9001=api.example",
            "--inbound-protocol",
            "http3",
            "--trust",
            "10.0.0.0/99",
            "--answer-timeout",
            "soon",
            "--inbound-tls-cert",
            "/nowhere",
        ],
        &[],
    )
    .unwrap_err();
    for part in [
        "--inbound \"x\" is no port and its service; write it as 8080",
        "--inbound \"8080=8080\" leads back to the sidecar itself",
        "--inbound \"60000\" is no port and its service",
        "--outbound \"9001=api.example\" is no address; write it as",
        "--inbound-protocol \"http3\" is not known; use same or http1 or http2",
        "--trust has '10.0.0.0/99' is no network: give it as",
        "--answer-timeout \"soon\" is no duration",
        "--inbound-tls-key is missing",
    ] {
        assert!(
            told.iter().any(|mistake| mistake.contains(part)),
            "{part} is missing in:\n{told:#?}"
        );
    }
}

#[test]
fn http_is_traced_as_kafka_is() {
    let settings = |arguments: &[&str]| {
        check(&[&["--inbound", "1"], arguments].concat(), &[])
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
    assert_eq!(one.trust, throughline_intercept::http::Trust::Never);
    let other = settings(&["--inject", "false"]);
    assert_eq!(
        other.resource.attributes[0].value.as_str(),
        Some("unknown_service")
    );
    assert!(other.write.is_empty() && !other.request_id);
}
