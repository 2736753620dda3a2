//! The article's application: services with Jaeger's client, which read and write B3 only, behind
//! sidecars with their default configuration.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::{http, wait};

use crate::clients::PROGRAMS;
use crate::transparent::PodsFixture;

/// The sidecars' spans of a checkout, and in the same trace those of the services' own tracers.
const WHOLE: [&str; 5] = [
    "eshop GET",
    "eshop GET",
    "eshop handle",
    "inventory GET",
    "inventory handle",
];

const LIMIT: Duration = Duration::from_secs(60);

/// eshop, which calls inventory, each with a sidecar beside it.
struct JaegerShop {
    collector: CollectorInstance,
    eshop: SidecarInstance,
    inventory: SidecarInstance,
    /// Address of eshop without its sidecar.
    eshop_address: SocketAddr,
    _services: [ChildProcess; 2],
}

// === impl JaegerShop ===

impl JaegerShop {
    /// Starts the shop with these arguments for its sidecars and these options for its JVMs.
    fn start(args: &[&str], options: &[String]) -> Self {
        let throughline = &ProjectBinaries::build().unwrap().throughline;
        let ports = CollectorPorts::default();
        let jaeger = ["--jaeger-http-port", "0"];
        let collector = CollectorInstance::start_on(throughline, ports, &jaeger).unwrap();
        let otlp = collector.addresses().otlp_http;
        let [eshop_address, inventory_address] = free_addresses();
        let sidecar = |name, address| {
            SidecarInstance::start_http(throughline, address, otlp, name, args).unwrap()
        };
        let inventory = sidecar("inventory", inventory_address);
        let eshop = sidecar("eshop", eshop_address);
        // The spans of the clients go to the same collector, through the sidecars.
        let thrift = format!("http://{}/api/traces", jaeger_address(&collector));
        let next = format!("http://{}/createOrder", inventory.http()[0]);
        let start = |sidecar: &SidecarInstance, address, next| {
            let name = sidecar.service();
            let arguments = [name, &format!("{address}"), &thrift, next];
            let options = [options.to_vec(), proxy_options(sidecar.http()[1])].concat();
            start_service(&|spec| spec, arguments, &options)
        };
        let services = [
            start(&inventory, inventory_address, "-"),
            start(&eshop, eshop_address, &next),
        ];
        Self {
            collector,
            eshop,
            inventory,
            eshop_address,
            _services: services,
        }
    }

    fn checkout(&self, address: SocketAddr) -> String {
        http::get(&format!("http://{address}/checkout"), LIMIT)
            .unwrap()
            .body
    }
}

/// Waits for the traces with spans of eshop until they have this number of spans altogether.
fn traces(collector: &CollectorInstance, count: usize) -> Vec<Vec<String>> {
    let read = || {
        let traces = collector.traces("eshop").unwrap();
        traces.iter().map(span_names).collect::<Vec<_>>()
    };
    let count_of = |traces: &[Vec<String>]| traces.iter().map(Vec::len).sum::<usize>();
    wait::until(LIMIT, || {
        Some(read()).filter(|traces| count_of(traces) >= count)
    })
    .unwrap_or_else(|| panic!("{count} spans are expected: {:#?}", read()))
}

/// Returns the address of the collector's port for Jaeger's clients.
fn jaeger_address(collector: &CollectorInstance) -> String {
    let find = |line: &str| {
        let addresses: Value = serde_json::from_str(line).ok()?;
        addresses.get("jaeger_http")?.as_str().map(str::to_owned)
    };
    let process = collector.process();
    process.wait_for_line("its addresses", LIMIT, find).unwrap()
}

/// Starts a service with these options for its JVM.
fn start_service(
    place: &dyn Fn(ProcessSpec) -> ProcessSpec,
    arguments: [&str; 4],
    options: &[String],
) -> ChildProcess {
    let spec = PROGRAMS.jaeger_service(options).unwrap();
    let service = place(spec.args(arguments)).spawn().unwrap();
    service
        .wait_for_line("that it listens", LIMIT, |line| {
            (line == "listening").then_some(())
        })
        .unwrap();
    service
}

/// Options for a JVM whose requests, exports included, go through a proxy.
fn proxy_options(proxy: SocketAddr) -> Vec<String> {
    vec![
        format!("-Dhttp.proxyHost={}", proxy.ip()),
        format!("-Dhttp.proxyPort={}", proxy.port()),
        // Java would not use a proxy for a loopback address.
        "-Dhttp.nonProxyHosts=".to_owned(),
    ]
}

/// Returns free addresses: a sidecar has to know the one of a service that starts after it.
fn free_addresses() -> [SocketAddr; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Returns the spans of a trace as `service operation`, sorted.
fn span_names(trace: &Value) -> Vec<String> {
    let spans = trace["spans"].as_array().unwrap();
    let mut names: Vec<String> = spans
        .iter()
        .map(|span| {
            let process = span["processID"].as_str().unwrap();
            let service = trace["processes"][process]["serviceName"].as_str().unwrap();
            format!("{service} {}", span["operationName"].as_str().unwrap())
        })
        .collect();
    names.sort();
    names
}

#[test]
fn first_request_of_services_that_read_b3_only_is_one_trace() {
    let shop = JaegerShop::start(&[], &[]);
    let through = shop.checkout(shop.eshop.http()[0]);
    assert_eq!(through, "eshop inventory");
    assert_eq!(traces(&shop.collector, WHOLE.len()), [WHOLE]);
    // The second request finds the formats learned.
    shop.checkout(shop.eshop.http()[0]);
    assert_eq!(traces(&shop.collector, 2 * WHOLE.len()), [WHOLE, WHOLE]);
    let log = shop.eshop.process().log().join("\n");
    let learned: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("service propagates contexts in these formats"))
        .collect();
    assert!(
        learned.len() == 1 && learned[0].contains("formats=b3multi"),
        "said once: {log}"
    );
    assert!(!log.contains("in a trace of its own"), "{log}");
    // The exports of the clients passed as telemetry, and made no traces of their own.
    let jaeger =
        "throughline_http_telemetry_requests_total{direction=\"outbound\",system=\"jaeger\"}";
    for sidecar in [&shop.eshop, &shop.inventory] {
        let count = sidecar.metric(jaeger).unwrap();
        assert!(count >= 1.0, "{} exported {count}", sidecar.service());
    }
    assert_eq!(
        shop.checkout(shop.eshop_address),
        through,
        "without the sidecar"
    );
}

#[test]
fn first_request_in_pods_of_services_that_read_b3_only_is_one_trace() {
    let Some(pods) = PodsFixture::start(&["eshop", "inventory"]) else {
        return;
    };
    let thrift = format!("http://{}/api/traces", jaeger_address(&pods.collector));
    let services = [
        ("inventory", "-"),
        ("eshop", "http://inventory:8080/createOrder"),
    ]
    .map(|(name, next)| {
        let pod = pods.network.pod(name).unwrap();
        let arguments = [name, "0.0.0.0:8080", &thrift, next];
        start_service(&|spec| pod.enter(spec), arguments, &[])
    });
    let address = pods.network.pod("eshop").unwrap().address();
    let checkout = || http::get(&format!("http://{address}:8080/checkout"), LIMIT).unwrap();
    let direct = checkout().body;
    let sidecars = ["inventory", "eshop"].map(|name| pods.start_sidecar(name));
    assert_eq!(
        (checkout().body, direct.as_str()),
        (direct.clone(), "eshop inventory")
    );
    assert_eq!(traces(&pods.collector, WHOLE.len()), [WHOLE]);
    for sidecar in sidecars {
        sidecar.stop().unwrap();
    }
    drop(services);
}

#[test]
fn trace_that_ends_in_a_service_is_said_and_counted() {
    // The sampler of the client does not sample the traces that it begins.
    let shop = JaegerShop::start(
        &["--match-propagation", "false"],
        &["-Dsampled=false".to_owned()],
    );
    let discontinued = "throughline_process_discontinued_traces_total";
    assert_eq!(shop.eshop.metric(discontinued), Some(0.0));
    assert_eq!(shop.checkout(shop.eshop.http()[0]), "eshop inventory");
    assert_eq!(shop.eshop.metric(discontinued), Some(1.0));
    // Its decision is obeyed.
    assert_eq!(traces(&shop.collector, 1), [["eshop GET"]]);
    shop.checkout(shop.eshop.http()[0]);
    let log = shop.eshop.process().log().join("\n");
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("calls out in a trace of its own"))
        .collect();
    assert!(
        warnings.len() == 1 && warnings[0].contains("sent=b3multi"),
        "at most once a minute: {log}"
    );
}
