//! `throughline up` as a supervised process, and calls to its query API (Jaeger's JSON).

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::http::{self, escape};
use crate::legacy_span;
use crate::process::{ChildProcess, ProcessSpec};

/// A running `throughline up`.
#[derive(Debug)]
pub struct CollectorInstance {
    process: ChildProcess,
    addresses: CollectorEndpoints,
}

/// Listen addresses of the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectorEndpoints {
    /// OTLP over gRPC; 0.0.0.0:0 where the port is closed, here and below.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Zipkin v2.
    pub zipkin: SocketAddr,
    /// Query API and web UI.
    pub query: SocketAddr,
    /// Queries over gRPC; [`None`] if the port was taken or is closed, here and below.
    pub query_grpc: Option<SocketAddr>,
    /// Jaeger's Thrift over HTTP.
    pub jaeger_http: Option<SocketAddr>,
    /// Jaeger's Thrift over UDP, compact protocol.
    pub jaeger_compact: Option<SocketAddr>,
    /// Jaeger's remote sampling.
    pub jaeger_sampling: Option<SocketAddr>,
}

/// Requested ports; 0 selects any free port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectorPorts {
    /// OTLP over gRPC; 4317 by convention.
    pub otlp_grpc: u16,
    /// OTLP over HTTP; 4318 by convention.
    pub otlp_http: u16,
    /// Zipkin v2; 9411 by convention.
    pub zipkin: u16,
    /// Query API and web UI; 16686 by convention.
    pub query: u16,
}

/// Stands for a port that is closed.
const CLOSED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

const START_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Traces per page; a trace of the demo has about 30 KiB of JSON.
const PAGE_SIZE: usize = 500;

// === impl CollectorInstance ===

impl CollectorInstance {
    /// Starts the collector on free ports.
    ///
    /// # Errors
    /// Fails if the process does not become ready; shows its last output lines.
    pub fn start(binary: &Path) -> Result<Self> {
        Self::start_on(binary, CollectorPorts::default(), &[])
    }

    /// Starts the collector on these ports, with further arguments of `throughline up`.
    ///
    /// # Errors
    /// Fails if the process does not become ready; shows its last output lines.
    pub fn start_on(binary: &Path, ports: CollectorPorts, args: &[&str]) -> Result<Self> {
        Self::start_with(binary, ports, args, &[])
    }

    /// Starts the collector on these ports, with further arguments of `throughline up` and
    /// variables.
    ///
    /// # Errors
    /// Fails if the process does not become ready; shows its last output lines.
    pub fn start_with(
        binary: &Path,
        ports: CollectorPorts,
        args: &[&str],
        variables: &[(&str, String)],
    ) -> Result<Self> {
        let spec = ProcessSpec::new("collector", binary)
            .args(["up", "--json"])
            // Not the traces of the user who runs the test.
            .env("THROUGHLINE_STORE", "memory")
            .args(ports.args())
            .args(args.iter().copied());
        let variables = variables.iter();
        let spec = variables.fold(spec, |spec, (name, value)| spec.env(name, value));
        // The collector prints its addresses once all ports are bound, so the line is also the
        // readiness signal.
        let process = spec.spawn()?;
        let json = process.wait_for_line("its listen addresses", START_TIMEOUT, |line| {
            // Log lines on stdout are not JSON objects and are skipped.
            serde_json::from_str::<Value>(line)
                .ok()
                .filter(Value::is_object)
        })?;
        Ok(Self {
            addresses: CollectorEndpoints::read(&json)?,
            process,
        })
    }

    /// Returns the listen addresses.
    pub const fn addresses(&self) -> CollectorEndpoints {
        self.addresses
    }

    /// Returns the supervised process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// Returns the URL of the web UI.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.query)
    }

    /// Sends a GET to the query API, such as `/api/services` or `/metrics`, and returns the
    /// response with any status.
    ///
    /// # Errors
    /// Fails if no response arrives within seconds.
    pub fn get(&self, path: &str) -> Result<http::HttpReply> {
        http::get(&format!("{}{path}", self.url()), RESPONSE_TIMEOUT)
    }

    /// Returns the names of all services that sent spans, sorted.
    ///
    /// # Errors
    /// Fails if the query API is unreachable or returns an error.
    pub fn services(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .data("/api/services")?
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        // The API does not promise an order; tests compare whole lists.
        names.sort_unstable();
        Ok(names)
    }

    /// Returns the traces with a span of `service`, newest first, at most a thousand.
    ///
    /// # Errors
    /// Fails if the query API is unreachable or returns an error.
    pub fn traces(&self, service: &str) -> Result<Vec<Value>> {
        self.search(&[("service", service), ("limit", "1000")])
    }

    /// Returns the result of `GET /api/traces` with these parameters.
    ///
    /// # Errors
    /// Fails if the query API is unreachable or returns an error.
    pub fn search(&self, parameters: &[(&str, &str)]) -> Result<Vec<Value>> {
        let query: Vec<String> = parameters
            .iter()
            // Operation names contain spaces and slashes.
            .map(|(name, value)| format!("{name}={}", escape(value)))
            .collect();
        self.data(&format!("/api/traces?{}", query.join("&")))
    }

    /// Returns all traces with a span of `service` since a time in microseconds, by id; raw as the
    /// spans were reported, otherwise as the collector joined them.
    ///
    /// # Errors
    /// Fails if the query API is unreachable or returns an error.
    pub fn traces_since(
        &self,
        service: &str,
        since: u128,
        is_raw: bool,
    ) -> Result<BTreeMap<String, Value>> {
        let (since, limit) = (since.to_string(), PAGE_SIZE.to_string());
        let mut traces: BTreeMap<String, Value> = BTreeMap::new();
        // The query API orders by start time, so the next page ends where this one began.
        let mut end = u64::MAX >> 1;
        loop {
            let until = end.to_string();
            let found = self.search(&[
                ("service", service),
                ("start", &since),
                ("end", &until),
                ("limit", &limit),
                ("raw", if is_raw { "true" } else { "false" }),
            ])?;
            let first = found.iter().filter_map(legacy_span::begin).min();
            // A page that is not full is the last one.
            let is_last = found.len() < PAGE_SIZE;
            let named = found
                .into_iter()
                .filter_map(|trace| Some((trace.get("traceID")?.as_str()?.to_owned(), trace)));
            traces.extend(named);
            match first {
                Some(first) if !is_last && first < end => end = first,
                _ => return Ok(traces),
            }
        }
    }

    /// Returns one trace, or [`None`] if the collector does not have it.
    ///
    /// # Errors
    /// Fails if the query API is unreachable or returns an error.
    pub fn trace(&self, id: &str) -> Result<Option<Value>> {
        let path = format!("/api/traces/{}", escape(id));
        let reply = self.get(&path)?;
        // Jaeger reports an unknown trace as 404 with an error body.
        if reply.status == 404 {
            return Ok(None);
        }
        ensure!(
            reply.status == 200,
            "GET {path} returned status {}: {}",
            reply.status,
            reply.body
        );
        Ok(data(serde_json::from_str(&reply.body)?).into_iter().next())
    }

    fn data(&self, path: &str) -> Result<Vec<Value>> {
        Ok(data(http::get_json(
            &format!("{}{path}", self.url()),
            RESPONSE_TIMEOUT,
        )?))
    }
}

/// Extracts the list from Jaeger's envelope. Jaeger writes an empty list as null.
fn data(mut envelope: Value) -> Vec<Value> {
    match envelope.get_mut("data").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

// === impl CollectorEndpoints ===

impl CollectorEndpoints {
    fn read(json: &Value) -> Result<Self> {
        let address = |name: &str| -> Result<SocketAddr> {
            if json.get(name).is_some_and(Value::is_null) {
                return Ok(CLOSED);
            }
            let text = json
                .get(name)
                .and_then(Value::as_str)
                .with_context(|| format!("no address {name:?} in {json}"))?;
            text.parse()
                .with_context(|| format!("invalid address {name:?} in {json}"))
        };
        let optional = |name: &str| address(name).ok().filter(|it| *it != CLOSED);
        Ok(Self {
            otlp_grpc: address("otlp_grpc")?,
            otlp_http: address("otlp_http")?,
            zipkin: address("zipkin")?,
            query: address("query")?,
            query_grpc: optional("query_grpc"),
            jaeger_http: optional("jaeger_http"),
            jaeger_compact: optional("jaeger_compact"),
            jaeger_sampling: optional("jaeger_sampling"),
        })
    }
}

// === impl CollectorPorts ===

impl CollectorPorts {
    /// The conventional ports of each protocol.
    pub const CONVENTIONAL: Self = Self {
        otlp_grpc: 4317,
        otlp_http: 4318,
        zipkin: 9411,
        query: 16686,
    };

    fn args(self) -> [String; 8] {
        let option = |name: &str, port: u16| [format!("--{name}-port"), port.to_string()];
        let [a, b] = option("otlp-grpc", self.otlp_grpc);
        let [c, d] = option("otlp-http", self.otlp_http);
        let [e, f] = option("zipkin", self.zipkin);
        let [g, h] = option("query", self.query);
        [a, b, c, d, e, f, g, h]
    }
}

impl fmt::Display for CollectorEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            otlp_grpc,
            otlp_http,
            zipkin,
            query,
            ..
        } = self;
        write!(
            f,
            "OTLP/gRPC {otlp_grpc}, OTLP/HTTP {otlp_http}, Zipkin {zipkin}, query {query}"
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn address_line_is_parsed() {
        let line = json!({
            "otlp_grpc": "127.0.0.1:1",
            "otlp_http": "127.0.0.1:2",
            "zipkin": "127.0.0.1:3",
            "query": "[::1]:4",
        });
        let addresses = CollectorEndpoints::read(&line).unwrap();
        assert_eq!(
            (addresses.otlp_http.port(), addresses.query.to_string()),
            (2, "[::1]:4".to_owned())
        );
    }

    #[test]
    fn missing_address_is_named_in_the_error() {
        let error = CollectorEndpoints::read(&json!({"otlp_grpc": "127.0.0.1:1"}))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no address \"otlp_http\" in"), "{error}");
    }

    #[test]
    fn null_data_is_an_empty_list() {
        assert_eq!(data(json!({"data": null})), Vec::<Value>::new());
        assert_eq!(data(json!({"data": [1]})), vec![json!(1)]);
    }
}
