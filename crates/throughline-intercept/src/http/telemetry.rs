//! Recognition of requests that carry the telemetry of a service: exports of spans, metrics, logs
//! and profiles, and what their libraries ask their agent for.
//!
//! Such a request belongs to no request of the service. Its span would make a trace for each batch
//! of spans, and its cause, a timer, would be taken for whatever is in flight. It is recognised by
//! what its protocol prescribes, never by the path alone where a service could have one like it:
//! OTLP (specification 1.9), Jaeger's Thrift over HTTP and its sampling endpoint, Zipkin's API v1
//! and v2, Prometheus remote write and Pushgateway, and common vendors' agents.

use std::net::IpAddr;

use throughline_model::context::Carrier;

use super::grpc;
use super::request::{HttpPeer, HttpRequestHead, header_text};
use super::url::{AuthorityParts, split_target};

/// System whose protocol a request with telemetry follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TelemetrySystem {
    /// Any request to the collector that the proxy's own spans go to.
    Collector,
    Otlp,
    OpenCensus,
    Jaeger,
    Zipkin,
    Prometheus,
    Loki,
    Pyroscope,
    Envoy,
    Datadog,
    ElasticApm,
    SkyWalking,
    Sentry,
    Splunk,
    XRay,
}

/// Address of the collector that the proxy exports its spans to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorAddress {
    host: String,
    port: u16,
}

/// Conditions of which all must hold for a request to carry telemetry.
struct TelemetryRule {
    system: TelemetrySystem,
    /// Any of them; empty for every method.
    methods: &'static [&'static str],
    /// Ends of paths, at a slash: receivers may be mounted under a prefix.
    path_ends: &'static [&'static str],
    evidence: RequestEvidence,
}

/// Evidence besides the path that a request carries telemetry.
enum RequestEvidence {
    /// The path is that of one product only.
    Path,
    /// The beginning of a content type.
    ContentType(&'static [&'static str]),
    /// A port that the agent listens on by default.
    Port(&'static [u16]),
    /// A field that only this system's clients send, with the beginning of its value.
    Field(&'static str, &'static str),
}

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const THRIFT: &str = "application/x-thrift";

const OTLP_PATHS: &[&str] = &[
    "/v1/traces",
    "/v1/metrics",
    "/v1/logs",
    "/v1development/profiles",
];
const ZIPKIN_PATHS: &[&str] = &["/api/v2/spans", "/api/v1/spans"];
const DATADOG_AGENT_PATHS: &[&str] = &[
    "/v0.3/traces",
    "/v0.4/traces",
    "/v0.5/traces",
    "/v0.7/traces",
    "/v1.0/traces",
    "/v0.6/stats",
    "/v0.7/config",
    "/v0.1/pipeline_stats",
    "/telemetry/proxy/api/v2/apmtelemetry",
    "/profiling/v1/input",
    "/info",
];
const SKYWALKING_PATHS: &[&str] = &[
    "/v3/segment",
    "/v3/segments",
    "/v3/logs",
    "/v3/management/reportProperties",
    "/v3/management/keepAlive",
];

const POST: &[&str] = &["POST"];
const GET: &[&str] = &["GET"];

const RULES: &[TelemetryRule] = &[
    TelemetryRule {
        system: TelemetrySystem::Otlp,
        methods: POST,
        path_ends: OTLP_PATHS,
        evidence: RequestEvidence::ContentType(&[PROTOBUF]),
    },
    // A service may well have a resource `/v1/logs` or `/v1/metrics` in JSON, so these need more.
    TelemetryRule {
        system: TelemetrySystem::Otlp,
        methods: POST,
        path_ends: &["/v1/traces", "/v1development/profiles"],
        evidence: RequestEvidence::ContentType(&[JSON]),
    },
    TelemetryRule {
        system: TelemetrySystem::Otlp,
        methods: POST,
        path_ends: OTLP_PATHS,
        evidence: RequestEvidence::Port(&[4318]),
    },
    // "OTel-OTLP-Exporter-Python/1.38", "OTel OTLP Exporter Go/1.38": OTLP, "User Agent".
    TelemetryRule {
        system: TelemetrySystem::Otlp,
        methods: POST,
        path_ends: OTLP_PATHS,
        evidence: RequestEvidence::Field("user-agent", "otel"),
    },
    TelemetryRule {
        system: TelemetrySystem::Jaeger,
        methods: POST,
        path_ends: &["/api/traces"],
        evidence: RequestEvidence::ContentType(&[THRIFT, "application/vnd.apache.thrift"]),
    },
    // The remote sampler and the baggage restrictions of Jaeger's clients, asked once a minute. The
    // port is an agent's, which answers nothing else; the Java client asks for `/?service=NAME`.
    TelemetryRule {
        system: TelemetrySystem::Jaeger,
        methods: GET,
        path_ends: &[],
        evidence: RequestEvidence::Port(&[5778, 5779]),
    },
    TelemetryRule {
        system: TelemetrySystem::Jaeger,
        methods: GET,
        path_ends: &["/sampling", "/api/sampling"],
        evidence: RequestEvidence::Port(&[14268]),
    },
    TelemetryRule {
        system: TelemetrySystem::Zipkin,
        methods: POST,
        path_ends: ZIPKIN_PATHS,
        evidence: RequestEvidence::ContentType(&[JSON, PROTOBUF, THRIFT]),
    },
    TelemetryRule {
        system: TelemetrySystem::Prometheus,
        methods: POST,
        path_ends: &[],
        evidence: RequestEvidence::Field("x-prometheus-remote-write-version", ""),
    },
    TelemetryRule {
        system: TelemetrySystem::Loki,
        methods: POST,
        path_ends: &["/loki/api/v1/push"],
        evidence: RequestEvidence::Path,
    },
    TelemetryRule {
        system: TelemetrySystem::Datadog,
        methods: &[],
        path_ends: &[],
        evidence: RequestEvidence::Field("datadog-meta-lang", ""),
    },
    TelemetryRule {
        system: TelemetrySystem::Datadog,
        methods: &[],
        path_ends: DATADOG_AGENT_PATHS,
        evidence: RequestEvidence::Port(&[8126]),
    },
    TelemetryRule {
        system: TelemetrySystem::ElasticApm,
        methods: &[],
        path_ends: &["/intake/v2/events", "/config/v1/agents"],
        evidence: RequestEvidence::Path,
    },
    TelemetryRule {
        system: TelemetrySystem::SkyWalking,
        methods: POST,
        path_ends: SKYWALKING_PATHS,
        evidence: RequestEvidence::Port(&[12800]),
    },
    TelemetryRule {
        system: TelemetrySystem::Sentry,
        methods: POST,
        path_ends: &[],
        evidence: RequestEvidence::Field("x-sentry-auth", "sentry "),
    },
    TelemetryRule {
        system: TelemetrySystem::Sentry,
        methods: POST,
        path_ends: &[],
        evidence: RequestEvidence::ContentType(&["application/x-sentry-envelope"]),
    },
    TelemetryRule {
        system: TelemetrySystem::Splunk,
        methods: POST,
        path_ends: &["/services/collector", "/services/collector/event"],
        evidence: RequestEvidence::Field("authorization", "splunk "),
    },
    TelemetryRule {
        system: TelemetrySystem::Splunk,
        methods: POST,
        path_ends: &["/v2/trace", "/v2/datapoint", "/v2/event"],
        evidence: RequestEvidence::Field("x-sf-token", ""),
    },
    TelemetryRule {
        system: TelemetrySystem::XRay,
        methods: POST,
        path_ends: &["/GetSamplingRules", "/SamplingTargets"],
        evidence: RequestEvidence::Port(&[2000]),
    },
];

/// Beginnings of the paths of gRPC methods: `/package.` or `/package.Service/`.
const GRPC_METHODS: &[(&str, TelemetrySystem)] = &[
    ("/opentelemetry.proto.collector.", TelemetrySystem::Otlp),
    (
        "/opentelemetry.proto.experimental.arrow.",
        TelemetrySystem::Otlp,
    ),
    ("/opencensus.proto.agent.", TelemetrySystem::OpenCensus),
    // The package has a query service as well, which the service may well call.
    ("/jaeger.api_v2.CollectorService/", TelemetrySystem::Jaeger),
    ("/jaeger.api_v2.SamplingManager/", TelemetrySystem::Jaeger),
    ("/zipkin.proto3.SpanService/", TelemetrySystem::Zipkin),
    ("/logproto.Pusher/", TelemetrySystem::Loki),
    ("/push.v1.PusherService/", TelemetrySystem::Pyroscope),
    ("/skywalking.v3.", TelemetrySystem::SkyWalking),
    ("/envoy.service.accesslog.", TelemetrySystem::Envoy),
    ("/envoy.service.metrics.", TelemetrySystem::Envoy),
    ("/envoy.service.trace.", TelemetrySystem::Envoy),
];

/// Beginning of a Pushgateway's path: `/metrics/job/NAME` or `/metrics/job@base64/NAME`.
const PUSHGATEWAY_PATHS: [&str; 2] = ["/metrics/job/", "/metrics/job@base64/"];

/// Returns the system whose telemetry a request carries; [`None`] for any other request.
pub(super) fn recognize(
    request: &HttpRequestHead<'_>,
    headers: &(impl Carrier + ?Sized),
) -> Option<TelemetrySystem> {
    let (path, _) = split_target(request.target);
    let content_type = header_text(headers, "content-type").unwrap_or_default();
    if grpc::is_content_type(content_type) {
        let mut methods = GRPC_METHODS.iter();
        return methods
            .find(|(begin, _)| path.starts_with(begin))
            .map(|(_, system)| *system);
    }
    if PUSHGATEWAY_PATHS
        .iter()
        .any(|begin| path.starts_with(begin))
    {
        return Some(TelemetrySystem::Prometheus);
    }
    RULES
        .iter()
        .find(|rule| rule.matches(request, path, content_type, headers))
        .map(|rule| rule.system)
}

// === impl CollectorAddress ===

impl CollectorAddress {
    /// Creates an address of a host name or an IP address, which may be in brackets.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Self {
            host: host.to_ascii_lowercase(),
            port,
        }
    }

    /// Returns whether a request goes to the collector, by its authority or the address of its
    /// upstream.
    pub(super) fn receives(&self, request: &HttpRequestHead<'_>, peer: HttpPeer) -> bool {
        let AuthorityParts { host, port, .. } = AuthorityParts::parse(request.authority);
        let default_port = if request.scheme == "https" { 443 } else { 80 };
        let is_named = port.unwrap_or(default_port) == self.port && self.is_host(host);
        let is_peer = peer.port == Some(self.port)
            && peer
                .address
                .is_some_and(|address| self.is_host(&address.to_canonical().to_string()));
        is_named || is_peer
    }

    fn is_host(&self, host: &str) -> bool {
        let is_loopback = |host: &str| {
            host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        };
        // `localhost` is the loopback of either family.
        host.eq_ignore_ascii_case(&self.host) || (is_loopback(host) && is_loopback(&self.host))
    }
}

// === impl TelemetryRule ===

impl TelemetryRule {
    fn matches(
        &self,
        request: &HttpRequestHead<'_>,
        path: &str,
        content_type: &str,
        headers: &(impl Carrier + ?Sized),
    ) -> bool {
        let is_method = self.methods.is_empty() || self.methods.contains(&request.method);
        let is_path = self.path_ends.is_empty() || {
            let path = path.strip_suffix('/').unwrap_or(path);
            self.path_ends.iter().any(|end| path.ends_with(end))
        };
        is_method
            && is_path
            && match self.evidence {
                RequestEvidence::Path => true,
                RequestEvidence::ContentType(types) => types
                    .iter()
                    .any(|begin| starts_with_ignoring_case(content_type, begin)),
                RequestEvidence::Port(ports) => AuthorityParts::parse(request.authority)
                    .port
                    .is_some_and(|port| ports.contains(&port)),
                RequestEvidence::Field(name, begin) => header_text(headers, name)
                    .is_some_and(|value| starts_with_ignoring_case(value, begin)),
            }
    }
}

fn starts_with_ignoring_case(text: &str, begin: &str) -> bool {
    text.as_bytes()
        .get(..begin.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(begin.as_bytes()))
}

// === impl TelemetrySystem ===

impl TelemetrySystem {
    /// All systems, for metrics.
    pub const ALL: [Self; 15] = [
        Self::Collector,
        Self::Otlp,
        Self::OpenCensus,
        Self::Jaeger,
        Self::Zipkin,
        Self::Prometheus,
        Self::Loki,
        Self::Pyroscope,
        Self::Envoy,
        Self::Datadog,
        Self::ElasticApm,
        Self::SkyWalking,
        Self::Sentry,
        Self::Splunk,
        Self::XRay,
    ];

    /// Returns the value of a metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Collector => "collector",
            Self::Otlp => "otlp",
            Self::OpenCensus => "opencensus",
            Self::Jaeger => "jaeger",
            Self::Zipkin => "zipkin",
            Self::Prometheus => "prometheus",
            Self::Loki => "loki",
            Self::Pyroscope => "pyroscope",
            Self::Envoy => "envoy",
            Self::Datadog => "datadog",
            Self::ElasticApm => "elastic_apm",
            Self::SkyWalking => "skywalking",
            Self::Sentry => "sentry",
            Self::Splunk => "splunk",
            Self::XRay => "xray",
        }
    }
}

#[cfg(test)]
mod tests {
    use throughline_model::context::HeaderList;

    use super::*;

    /// Recognises `METHOD http://authority/target`, with fields `name: value`.
    fn found(line: &str, fields: &[&str]) -> Option<TelemetrySystem> {
        let (method, url) = line.split_once(" http://").unwrap_or_default();
        let (authority, target) = url.split_at(url.find('/').unwrap_or_default());
        assert!(!authority.is_empty(), "no URL in {line}");
        let mut headers = HeaderList::default();
        for field in fields {
            let (name, value) = field.split_once(": ").unwrap_or_default();
            headers.push(name, value);
        }
        let request = HttpRequestHead {
            method,
            scheme: "http",
            authority,
            target,
            version: "1.1",
            body: None,
        };
        recognize(&request, &headers)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, one entry for each client")]
    fn exports_of_known_clients_are_recognized() {
        use TelemetrySystem as System;
        let thrift = "content-type: application/vnd.apache.thrift.binary";
        let protobuf = "content-type: application/x-protobuf";
        let json = "content-type: application/json";
        let grpc = "content-type: application/grpc";
        for (line, fields, system) in [
            (
                "POST http://otel:4318/v1/traces",
                &[protobuf][..],
                System::Otlp,
            ),
            (
                "POST http://tempo/otlp/v1/metrics",
                &[protobuf],
                System::Otlp,
            ),
            ("POST http://otel:4318/v1/logs", &[json], System::Otlp),
            (
                "POST http://otel/v1/traces/",
                &["content-type: application/json; charset=utf-8"],
                System::Otlp,
            ),
            (
                "POST http://otel/v1/logs",
                &[json, "user-agent: OTel-OTLP-Exporter-JavaScript/0.209.0"],
                System::Otlp,
            ),
            (
                "POST http://otel/v1/metrics",
                &[json, "user-agent: OTel OTLP Exporter Go/1.38.0"],
                System::Otlp,
            ),
            (
                "POST http://otel:4317/opentelemetry.proto.collector.trace.v1.TraceService/Export",
                &[grpc],
                System::Otlp,
            ),
            (
                "POST http://j:14250/jaeger.api_v2.CollectorService/PostSpans",
                &["content-type: application/grpc+proto"],
                System::Jaeger,
            ),
            (
                "POST http://j:14268/api/traces?format=jaeger.thrift",
                &["content-type: application/x-thrift"],
                System::Jaeger,
            ),
            (
                "POST http://collector/api/traces",
                &[thrift],
                System::Jaeger,
            ),
            (
                "GET http://localhost:5778/?service=eshop",
                &[],
                System::Jaeger,
            ),
            (
                "GET http://agent:5778/sampling?service=eshop",
                &[],
                System::Jaeger,
            ),
            (
                "GET http://j:14268/api/sampling?service=eshop",
                &[],
                System::Jaeger,
            ),
            ("POST http://z:9411/api/v2/spans", &[json], System::Zipkin),
            (
                "POST http://z:9411/api/v1/spans",
                &["content-type: application/x-thrift"],
                System::Zipkin,
            ),
            (
                "POST http://mimir/api/v1/push",
                &[protobuf, "X-Prometheus-Remote-Write-Version: 0.1.0"],
                System::Prometheus,
            ),
            (
                "PUT http://push:9091/metrics/job/nightly/instance/a",
                &[],
                System::Prometheus,
            ),
            (
                "POST http://loki:3100/loki/api/v1/push",
                &[json],
                System::Loki,
            ),
            (
                "PUT http://dd:8126/v0.4/traces",
                &[
                    "content-type: application/msgpack",
                    "Datadog-Meta-Lang: python",
                ],
                System::Datadog,
            ),
            ("GET http://dd:8126/info", &[], System::Datadog),
            (
                "POST http://apm:8200/intake/v2/events",
                &["content-type: application/x-ndjson"],
                System::ElasticApm,
            ),
            (
                "POST http://oap:11800/skywalking.v3.TraceSegmentReportService/collect",
                &[grpc],
                System::SkyWalking,
            ),
            (
                "POST http://sentry/api/1/envelope/",
                &["content-type: application/x-sentry-envelope"],
                System::Sentry,
            ),
            (
                "POST http://hec:8088/services/collector",
                &["Authorization: Splunk 0000"],
                System::Splunk,
            ),
        ] {
            assert_eq!(found(line, fields), Some(system), "{line} {fields:?}");
        }
    }

    #[test]
    fn collector_is_known_by_its_name_and_its_address() {
        let receives = |collector: (&str, u16), authority, peer: &str| {
            let request = HttpRequestHead {
                method: "POST",
                scheme: "http",
                authority,
                target: "/anything",
                version: "1.1",
                body: None,
            };
            let peer: Option<std::net::SocketAddr> = peer.parse().ok();
            let peer = HttpPeer {
                address: peer.map(|peer| peer.ip()),
                port: peer.map(|peer| peer.port()),
            };
            CollectorAddress::new(collector.0, collector.1).receives(&request, peer)
        };
        assert!(receives(("Otel.svc", 4318), "otel.svc:4318", ""));
        assert!(receives(("otel", 80), "otel", ""));
        assert!(receives(("localhost", 4318), "127.0.0.1:4318", ""));
        assert!(receives(("[::1]", 4318), "localhost:4318", ""));
        assert!(receives(("10.0.0.7", 4318), "otel", "10.0.0.7:4318"));
        assert!(!receives(("otel", 4318), "otel:8080", "10.0.0.7:8080"));
        assert!(!receives(("otel", 4318), "shop:4318", "10.0.0.8:4318"));
        assert!(!receives(("10.0.0.7", 4318), "shop", "10.0.0.7:8080"));
    }

    #[test]
    fn requests_that_only_look_like_exports_are_traced() {
        let json = "content-type: application/json";
        let grpc = "content-type: application/grpc";
        for (line, fields) in [
            ("GET http://tempo/v1/traces", &[][..]),
            ("POST http://shop/v1/logs", &[json]),
            ("POST http://shop/v1/metrics", &[json]),
            ("POST http://shop/v1/traces", &["content-type: text/plain"]),
            ("POST http://shop/v1/traces/7", &[json]),
            ("POST http://shop/my-v1/tracesets", &[json]),
            ("GET http://jaeger:16686/api/traces?service=shop", &[]),
            ("POST http://shop/api/traces", &[json]),
            ("GET http://shop:8080/sampling?service=cleaning", &[]),
            ("GET http://zipkin:9411/api/v2/spans?serviceName=shop", &[]),
            (
                "POST http://shop/api/v1/write",
                &["content-type: application/octet-stream"],
            ),
            ("GET http://shop:8080/metrics", &[]),
            ("GET http://shop/metrics/jobs", &[]),
            ("GET http://shop/info", &[]),
            ("POST http://shop/v3/segments", &[json]),
            (
                "POST http://jaeger:16685/jaeger.api_v2.QueryService/GetTrace",
                &[grpc],
            ),
            ("POST http://shop/shop.v1.Orders/Export", &[grpc]),
            (
                "POST http://shop/services/collector",
                &["authorization: Bearer 1"],
            ),
        ] {
            assert_eq!(found(line, fields), None, "{line} {fields:?}");
        }
    }
}
