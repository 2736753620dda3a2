//! Configuration of an Envoy beside one service.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::kafka::free_ports;

/// Port that outbound connections of a pod are redirected to, as in Istio.
pub const OUTBOUND_PORT: u16 = 15001;
/// Port that inbound connections of a pod are redirected to, as in Istio.
pub const INBOUND_PORT: u16 = 15006;
/// Port of the admin page in pods, as in Istio.
pub const ADMIN_PORT: u16 = 15000;

/// Cluster that connects to the address that the client wanted.
const ORIGINAL_DESTINATION: &str = "original-destination";

/// Listeners and clusters of the Envoy beside one service.
#[derive(Debug, Clone)]
pub struct EnvoyBootstrap {
    service: String,
    /// Configuration of our filters, without what a listener adds.
    module: Value,
    collector: SocketAddr,
    /// Where Envoy's own tracer sends its spans: Zipkin's receiver, else the collector by OTLP.
    zipkin: Option<SocketAddr>,
    /// Milliseconds between two exports of Envoy's own tracer, and spans that make one due.
    export: (u32, u32),
    /// Address of the admin page.
    admin: SocketAddr,
    listeners: Vec<Value>,
    clusters: Vec<Value>,
}

// === impl EnvoyBootstrap ===

impl EnvoyBootstrap {
    /// Returns the configuration of an Envoy whose spans, its own and those of our filters, belong
    /// to `service` and go to the OTLP/HTTP receiver at `collector`. `keys` are further keys of our
    /// filters.
    #[must_use]
    pub fn new(service: &str, collector: SocketAddr, keys: &Value) -> Self {
        let mut module = json!({
            "service": service,
            "collector": format!("http://{collector}"),
        });
        if let (Some(module), Some(keys)) = (module.as_object_mut(), keys.as_object()) {
            module.extend(keys.clone());
        }
        Self {
            service: service.to_owned(),
            module,
            collector,
            zipkin: None,
            // Tests wait for spans.
            export: (100, 5),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            listeners: Vec::new(),
            clusters: Vec::new(),
        }
    }

    /// Returns the configuration with Envoy's Zipkin tracer, which propagates B3, as our filters do
    /// then.
    #[must_use]
    pub fn with_zipkin(mut self, receiver: SocketAddr) -> Self {
        self.zipkin = Some(receiver);
        insert(&mut self.module, "propagation", json!("b3multi"));
        self
    }

    /// Returns the configuration with the admin page at this address.
    #[must_use]
    pub const fn with_admin(mut self, address: SocketAddr) -> Self {
        self.admin = address;
        self
    }

    /// Makes Envoy's tracer export in batches as large as the sidecar's, for benchmarks.
    pub const fn export_as_in_production(&mut self) {
        self.export = (500, 512);
    }

    /// Returns the number of listeners.
    #[must_use]
    pub const fn listener_count(&self) -> usize {
        self.listeners.len()
    }

    /// Adds a listener on this port, 0 for any free one, whose requests go to the service at
    /// `behind`. Returns its address.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub fn inbound(&mut self, port: u16, behind: SocketAddr) -> Result<SocketAddr> {
        let address = match port {
            0 => free_address()?,
            port => SocketAddr::from(([127, 0, 0, 1], port)),
        };
        self.http(address, "inbound", &behind.to_string())?;
        Ok(address)
    }

    /// Adds a listener on a free port for requests of the service to `upstream`. Returns its
    /// address.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub fn outbound(&mut self, upstream: &str) -> Result<SocketAddr> {
        let address = free_address()?;
        self.http(address, "outbound", upstream)?;
        Ok(address)
    }

    fn http(&mut self, address: SocketAddr, direction: &str, upstream: &str) -> Result<()> {
        let cluster = self.cluster(upstream)?;
        let manager = self.connection_manager(direction, &cluster);
        self.listener(address, direction, &[manager]);
        Ok(())
    }

    /// Returns the filter of a listener for HTTP, with our filters and Envoy's tracer.
    fn connection_manager(&self, direction: &str, cluster: &str) -> Value {
        let mut config = self.module.clone();
        insert(&mut config, "direction", json!(direction));
        let filter = json!({
            "name": "envoy.filters.http.dynamic_modules",
            "typed_config": {
                "@type": type_url("filters.http.dynamic_modules.v3.DynamicModuleFilter"),
                "dynamic_module_config": module_config(),
                "filter_name": "throughline_http",
                "filter_config": filter_config(&config),
            },
        });
        let router = json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": type_url("filters.http.router.v3.Router") },
        });
        let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": cluster } });
        let mut manager = json!({
            "@type": type_url(
                "filters.network.http_connection_manager.v3.HttpConnectionManager"
            ),
            "stat_prefix": direction,
            "tracing": { "provider": self.tracer() },
            "route_config": {
                "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [route] }],
            },
            "http_filters": [filter, router],
        });
        if direction == "outbound" {
            let mutation = json!([early_mutation(&config)]);
            insert(&mut manager, "early_header_mutation_extensions", mutation);
        }
        json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        })
    }

    /// Returns Envoy's own tracer.
    fn tracer(&self) -> Value {
        if self.zipkin.is_some() {
            return json!({
                "name": "envoy.tracers.zipkin",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                    "collector_cluster": "zipkin",
                    "collector_endpoint": "/api/v2/spans",
                    "collector_endpoint_version": "HTTP_JSON",
                    "trace_id_128bit": true,
                },
            });
        }
        json!({
            "name": "envoy.tracers.opentelemetry",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
                "service_name": self.service,
                "http_service": {
                    "http_uri": {
                        "uri": format!("http://{}/v1/traces", self.collector),
                        "cluster": "collector",
                        "timeout": "10s",
                    },
                },
            },
        })
    }

    /// Adds a listener on a free port whose connections go to the broker at `upstream`, through our
    /// filter. Clients get its address in place of the broker's. Returns the address.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub fn kafka(&mut self, upstream: &str) -> Result<SocketAddr> {
        let address = free_address()?;
        let mut config = self.module.clone();
        let broker = json!([{ "broker": upstream, "listener": address.to_string() }]);
        insert(&mut config, "brokers", broker);
        let cluster = self.cluster(upstream)?;
        let filters = [kafka_filter(&config), tcp_proxy(&cluster)];
        self.listener(address, "outbound", &filters);
        Ok(address)
    }

    /// Adds a listener on a free port that forwards bytes to `upstream` without a filter of ours.
    /// Returns its address.
    ///
    /// # Errors
    /// Fails if no port is free.
    pub fn plain(&mut self, upstream: &str) -> Result<SocketAddr> {
        let address = free_address()?;
        let cluster = self.cluster(upstream)?;
        self.listener(address, "outbound", &[tcp_proxy(&cluster)]);
        Ok(address)
    }

    /// Adds the listeners of a pod whose connections are redirected to Envoy, as Istio has them:
    /// outbound connections to [`OUTBOUND_PORT`], where each is handed to the listener of its
    /// original port (HTTP on `http_port`, Kafka on `kafka_ports`, others pass), inbound ones to
    /// [`INBOUND_PORT`], where the chain is chosen by the original port.
    pub fn redirected(&mut self, http_port: u16, kafka_ports: &[u16]) {
        let any = |port| SocketAddr::from(([0, 0, 0, 0], port));
        let passing = json!([{ "filters": [tcp_proxy(ORIGINAL_DESTINATION)] }]);
        self.listeners.push(json!({
            "name": "virtual-outbound",
            "traffic_direction": "OUTBOUND",
            "address": socket_address("0.0.0.0", OUTBOUND_PORT),
            "use_original_dst": true,
            "filter_chains": passing,
        }));
        let mut outbound = vec![(
            http_port,
            vec![self.connection_manager("outbound", ORIGINAL_DESTINATION)],
        )];
        // Addresses of brokers stay: the connection to each of them is redirected.
        let kafka = [kafka_filter(&self.module), tcp_proxy(ORIGINAL_DESTINATION)];
        outbound.extend(kafka_ports.iter().map(|port| (*port, kafka.to_vec())));
        for (port, filters) in outbound {
            self.listener(any(port), "outbound", &filters);
            if let Some(listener) = self.listeners.last_mut() {
                insert(listener, "bind_to_port", json!(false));
            }
        }
        let service = format!("127.0.0.1:{http_port}");
        self.clusters
            .push(cluster(&service, "127.0.0.1", http_port));
        self.listeners.push(json!({
            "name": "virtual-inbound",
            "traffic_direction": "INBOUND",
            "address": socket_address("0.0.0.0", INBOUND_PORT),
            "listener_filters": [{
                "name": "envoy.filters.listener.original_dst",
                "typed_config": {
                    "@type": type_url("filters.listener.original_dst.v3.OriginalDst"),
                },
            }],
            "filter_chains": [{
                "filter_chain_match": { "destination_port": http_port },
                "filters": [self.connection_manager("inbound", &service)],
            }],
            "default_filter_chain": { "filters": [tcp_proxy(ORIGINAL_DESTINATION)] },
        }));
        self.clusters.push(json!({
            "name": ORIGINAL_DESTINATION,
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "5s",
        }));
    }

    fn listener(&mut self, address: SocketAddr, direction: &str, filters: &[Value]) {
        self.listeners.push(json!({
            "traffic_direction": direction.to_uppercase(),
            "name": format!("listener-{}", address.port()),
            "address": socket_address(&address.ip().to_string(), address.port()),
            "filter_chains": [{ "filters": filters }],
        }));
    }

    /// Adds a cluster of one endpoint, as `host:port`. Returns its name.
    fn cluster(&mut self, endpoint: &str) -> Result<String> {
        let (host, port) = endpoint
            .rsplit_once(':')
            .ok_or_else(|| anyhow!("{endpoint} is not a host and a port"))?;
        // Envoy refuses two clusters of one name.
        let is_known = |cluster: &Value| cluster.get("name").is_some_and(|name| name == endpoint);
        if !self.clusters.iter().any(is_known) {
            self.clusters.push(cluster(endpoint, host, port.parse()?));
        }
        Ok(endpoint.to_owned())
    }

    /// Replaces a key of our filters, in all listeners.
    pub fn set_key(&mut self, key: &str, value: &Value) {
        replace_key(&mut self.module, key, value);
        for listener in &mut self.listeners {
            replace_key(listener, key, value);
        }
    }

    /// Returns the listeners as a file that Envoy watches.
    pub(super) fn listener_file(&self) -> Value {
        let resource = |listener: &Value| {
            let mut resource = listener.clone();
            let kind = "type.googleapis.com/envoy.config.listener.v3.Listener";
            insert(&mut resource, "@type", json!(kind));
            resource
        };
        let resources: Vec<Value> = self.listeners.iter().map(resource).collect();
        json!({ "resources": resources })
    }

    /// Returns the bootstrap configuration; the listeners are in a file of their own.
    pub(super) fn json(&self, listeners: &Path) -> Value {
        let (host, port) = (self.collector.ip().to_string(), self.collector.port());
        let mut clusters = self.clusters.clone();
        clusters.push(cluster("collector", &host, port));
        let zipkin = self
            .zipkin
            .map(|address| (address.ip().to_string(), address.port()));
        clusters.extend(zipkin.map(|(host, port)| cluster("zipkin", &host, port)));
        json!({
            "admin": { "address": socket_address(&self.admin.ip().to_string(), self.admin.port()) },
            "layered_runtime": { "layers": [{
                "name": "static",
                "static_layer": {
                    "tracing.opentelemetry.flush_interval_ms": self.export.0,
                    "tracing.opentelemetry.min_flush_spans": self.export.1,
                    "tracing.zipkin.flush_interval_ms": self.export.0,
                },
            }] },
            "node": { "id": self.service, "cluster": self.service },
            "dynamic_resources": {
                "lds_config": { "path_config_source": { "path": listeners } },
            },
            "static_resources": { "clusters": clusters },
        })
    }
}

fn cluster(name: &str, host: &str, port: u16) -> Value {
    let address = socket_address(host, port);
    json!({
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "5s",
        // Envoy allows 1,024 connections by default.
        "circuit_breakers": { "thresholds": [{ "max_connections": 10_000 }] },
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
        },
    })
}

fn tcp_proxy(cluster: &str) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": type_url("filters.network.tcp_proxy.v3.TcpProxy"),
            "stat_prefix": "kafka",
            "cluster": cluster,
        },
    })
}

fn early_mutation(config: &Value) -> Value {
    json!({
        "name": "envoy.http.early_header_mutation.dynamic_modules",
        "typed_config": {
            "@type": type_url(
                "http.early_header_mutation.dynamic_modules.v3.DynamicModuleEarlyHeaderMutation"
            ),
            "dynamic_module_config": module_config(),
            "early_header_mutation_name": "throughline_http",
            "early_header_mutation_config": filter_config(config),
        },
    })
}

/// Sets a key of an object.
fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

/// Replaces a key in all configurations of our filters: objects that have a service.
fn replace_key(value: &mut Value, key: &str, new: &Value) {
    match value {
        Value::Object(fields) => {
            if fields.contains_key("service") && fields.contains_key("collector") {
                fields.insert(key.to_owned(), new.clone());
            }
            fields
                .values_mut()
                .for_each(|field| replace_key(field, key, new));
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| replace_key(item, key, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn kafka_filter(config: &Value) -> Value {
    json!({
        "name": "envoy.filters.network.dynamic_modules",
        "typed_config": {
            "@type": type_url("filters.network.dynamic_modules.v3.DynamicModuleNetworkFilter"),
            "dynamic_module_config": module_config(),
            "filter_name": "throughline_kafka",
            "filter_config": filter_config(config),
        },
    })
}

fn module_config() -> Value {
    json!({
        "name": "throughline_envoy",
        "do_not_close": true,
        "metrics_namespace": "throughline",
    })
}

fn filter_config(config: &Value) -> Value {
    json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": config })
}

fn type_url(extension: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{extension}")
}

fn socket_address(host: &str, port: u16) -> Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

fn free_address() -> Result<SocketAddr> {
    let port = free_ports(1)?.first().copied().context("no free port")?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}
