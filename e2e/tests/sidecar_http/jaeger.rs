//! The article's application: services with Jaeger's client, which read and write B3 only, behind
//! sidecars with their default configuration.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value;
use throughline_testkit::build::ProjectBinaries;
use throughline_testkit::collector::{CollectorInstance, CollectorPorts};
use throughline_testkit::process::ChildProcess;
use throughline_testkit::sidecar::SidecarInstance;
use throughline_testkit::{http, wait};

use crate::clients::PROGRAMS;

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
    fn start(args: &[&str], options: &[&str]) -> Self {
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
            start_service(arguments, options, sidecar.http()[1])
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

    /// Waits for the traces with spans of eshop until they have this number of spans altogether.
    fn traces(&self, count: usize) -> Vec<Vec<String>> {
        let read = || {
            let traces = self.collector.traces("eshop").unwrap();
            traces.iter().map(span_names).collect::<Vec<_>>()
        };
        let count_of = |traces: &[Vec<String>]| traces.iter().map(Vec::len).sum::<usize>();
        wait::until(LIMIT, || {
            Some(read()).filter(|traces| count_of(traces) >= count)
        })
        .unwrap_or_else(|| panic!("{count} spans are expected: {:#?}", read()))
    }
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

/// Starts a service whose requests, exports included, go through the proxy of its sidecar.
fn start_service(arguments: [&str; 4], options: &[&str], proxy: SocketAddr) -> ChildProcess {
    let mut all: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
    all.extend([
        format!("-Dhttp.proxyHost={}", proxy.ip()),
        format!("-Dhttp.proxyPort={}", proxy.port()),
        // Java would not use a proxy for a loopback address.
        "-Dhttp.nonProxyHosts=".to_owned(),
    ]);
    let spec = PROGRAMS.jaeger_service(&all).unwrap();
    let service = spec.args(arguments).spawn().unwrap();
    service
        .wait_for_line("that it listens", LIMIT, |line| {
            (line == "listening").then_some(())
        })
        .unwrap();
    service
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
    // The sidecars' spans, and in the same trace those of the services' own tracers.
    let whole = [
        "eshop GET",
        "eshop GET",
        "eshop handle",
        "inventory GET",
        "inventory handle",
    ];
    assert_eq!(shop.traces(whole.len()), [whole]);
    // The second request finds the formats learned.
    shop.checkout(shop.eshop.http()[0]);
    assert_eq!(shop.traces(2 * whole.len()), [whole, whole]);
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
fn trace_that_ends_in_a_service_is_said_and_counted() {
    // The sampler of the client does not sample the traces that it begins.
    let shop = JaegerShop::start(&["--match-propagation", "false"], &["-Dsampled=false"]);
    let discontinued = "throughline_process_discontinued_traces_total";
    assert_eq!(shop.eshop.metric(discontinued), Some(0.0));
    assert_eq!(shop.checkout(shop.eshop.http()[0]), "eshop inventory");
    assert_eq!(shop.eshop.metric(discontinued), Some(1.0));
    // Its decision is obeyed.
    assert_eq!(shop.traces(1), [["eshop GET"]]);
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
