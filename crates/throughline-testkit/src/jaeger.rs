//! A stock Jaeger as a process: over a store of its own, or over the collector's by its Remote
//! Storage API.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::kafka::free_ports;
use crate::process::{ChildProcess, ProcessSpec};
use crate::wait;

/// Time until a Jaeger answers queries; the first start of its binary reads 150 MB.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The store of a Jaeger.
#[derive(Debug, Clone)]
pub enum JaegerStore {
    /// In memory, with at most this number of traces.
    Memory {
        /// Number of traces.
        max_traces: usize,
    },
    /// Badger, in this folder.
    Badger(PathBuf),
    /// In memory, by way of a Kafka topic: what it receives goes into the topic, and what it reads
    /// there is stored.
    Topic {
        /// Address of a broker.
        bootstrap: String,
        /// Name of the topic.
        topic: String,
    },
    /// That of a collector.
    Remote {
        /// Address of its queries over gRPC.
        reader: SocketAddr,
        /// Address of OTLP over gRPC.
        writer: SocketAddr,
        /// Tokens for the two.
        tokens: [String; 2],
    },
}

/// A running Jaeger.
#[derive(Debug)]
pub struct JaegerInstance {
    process: ChildProcess,
    /// Address of its HTTP query API.
    pub query: SocketAddr,
    /// Address of OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// Address of OTLP over HTTP.
    pub otlp_http: SocketAddr,
    _home: TempDir,
}

// === impl JaegerInstance ===

impl JaegerInstance {
    /// Starts a Jaeger on free ports and waits until it answers queries. With the batch processor,
    /// as in Jaeger's own configurations, spans are acknowledged before they are stored.
    ///
    /// # Errors
    /// Fails if it does not become ready; shows its last output lines.
    pub fn start(binary: &Path, store: &JaegerStore, is_batching: bool) -> Result<Self> {
        let ports = free_ports(4)?;
        let [query, query_grpc, otlp_grpc, otlp_http] = *ports else {
            bail!("no free ports");
        };
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let home = tempfile::tempdir()?;
        // YAML reads JSON.
        let config = home.path().join("config.yaml");
        let listen = [query, query_grpc, otlp_grpc, otlp_http].map(at);
        fs::write(&config, store.config(listen, is_batching).to_string())?;
        let process = ProcessSpec::new("jaeger", binary)
            .arg("--config")
            .arg(&config)
            .spawn()?;
        let jaeger = Self {
            process,
            query: at(query),
            otlp_grpc: at(otlp_grpc),
            otlp_http: at(otlp_http),
            _home: home,
        };
        let ready = wait::until(START_TIMEOUT, || {
            let ended = jaeger.process.crashed().is_some();
            (ended || jaeger.get("/api/services").is_ok()).then_some(!ended)
        });
        if ready != Some(true) {
            bail!("jaeger is not ready:\n{}", jaeger.process.log().join("\n"));
        }
        Ok(jaeger)
    }

    /// Returns the supervised process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// Returns the `data` of a response of its query API.
    ///
    /// # Errors
    /// Fails if the query API is unreachable or returns an error.
    pub fn get(&self, path: &str) -> Result<Value> {
        let url = format!("http://{}{path}", self.query);
        let mut reply = http::get_json(&url, RESPONSE_TIMEOUT)?;
        let data = reply.get_mut("data").map(Value::take);
        data.with_context(|| format!("GET {path} returned {reply}"))
    }
}

// === impl JaegerStore ===

impl JaegerStore {
    /// Returns the configuration of a Jaeger with these addresses.
    fn config(
        &self,
        [query, query_grpc, otlp_grpc, otlp_http]: [SocketAddr; 4],
        is_batching: bool,
    ) -> Value {
        let processors = if is_batching {
            json!(["batch"])
        } else {
            json!([])
        };
        let endpoint = |address: SocketAddr| json!({ "endpoint": address.to_string() });
        let pipeline = |from: &str, to: &str| {
            let (receivers, exporters) = ([from], [to]);
            json!({ "receivers": receivers, "processors": processors, "exporters": exporters })
        };
        let stored = "jaeger_storage_exporter";
        let pipelines = match self {
            Self::Topic { .. } => json!({
                "traces/received": pipeline("otlp", "kafka"),
                "traces/read": pipeline("kafka", stored),
            }),
            Self::Memory { .. } | Self::Badger(_) | Self::Remote { .. } => {
                json!({ "traces": pipeline("otlp", stored) })
            }
        };
        let [from_topic, to_topic] = self.topic();
        json!({
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "pipelines": pipelines,
                "telemetry": { "metrics": { "level": "none" }, "logs": { "level": "warn" } },
            },
            "extensions": {
                "jaeger_query": {
                    "storage": { "traces": "store" },
                    "http": endpoint(query),
                    "grpc": endpoint(query_grpc),
                },
                "jaeger_storage": { "backends": { "store": self.backend() } },
            },
            "receivers": {
                "otlp": { "protocols": {
                    "grpc": endpoint(otlp_grpc),
                    "http": endpoint(otlp_http),
                } },
                "kafka": from_topic,
            },
            "processors": { "batch": null },
            "exporters": {
                "jaeger_storage_exporter": { "trace_storage": "store" },
                "kafka": to_topic,
            },
        })
    }

    /// Returns the configuration of its store.
    fn backend(&self) -> Value {
        let plain = json!({ "insecure": true });
        match self {
            Self::Memory { max_traces } => json!({ "memory": { "max_traces": max_traces } }),
            Self::Topic { .. } => json!({ "memory": { "max_traces": 10_000 } }),
            Self::Badger(folder) => json!({ "badger": {
                "directories": { "keys": folder, "values": folder },
                "ephemeral": false,
            } }),
            Self::Remote {
                reader,
                writer,
                tokens: [read, write],
            } => {
                let bearer = |token: &str| json!({ "authorization": format!("Bearer {token}") });
                json!({ "grpc": {
                    "endpoint": reader.to_string(),
                    "tls": plain,
                    "headers": bearer(read),
                    "writer": {
                        "endpoint": writer.to_string(),
                        "tls": plain,
                        "headers": bearer(write),
                    },
                } })
            }
        }
    }

    /// Returns the configurations of the components that read from the topic and write to it; null
    /// for those that are not used.
    fn topic(&self) -> [Value; 2] {
        let Self::Topic { bootstrap, topic } = self else {
            return [Value::Null, Value::Null];
        };
        let traces = json!({ "topic": topic, "encoding": "otlp_proto" });
        [
            json!({ "brokers": [bootstrap], "traces": traces, "initial_offset": "earliest" }),
            json!({ "brokers": [bootstrap], "traces": traces }),
        ]
    }
}
