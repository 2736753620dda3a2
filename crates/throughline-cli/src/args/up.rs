//! Arguments of `throughline up`.

use super::forward::ForwardArgs;
use super::kafka::KafkaArgs;
use super::store::StoreArgs;

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline up
  throughline up --data ./traces --retention 72h
  throughline up --query-port 8080 --store memory --store-memory 2GiB
  throughline up --host 0.0.0.0 --tls-cert tls.crt --tls-key tls.key --access access.yaml
  throughline up --to-kafka kafka:9092
  throughline up --from-kafka kafka:9092 --data /var/lib/throughline
  throughline up --forward http://tempo:4318
  throughline up --from-kafka kafka:9092 --data s3://traces/shop --local-folder /var/lib/throughline
  throughline up --query-only --data s3://traces/shop
  throughline up --json --otlp-grpc-port 0 --otlp-http-port 0 --zipkin-port 0 --query-port 0

Send traces from any OpenTelemetry SDK:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_SERVICE_NAME=eshop ./your-service";

const LISTENERS: &str = "Listeners";
const JAEGER: &str = "Jaeger's clients";
const BROWSERS: &str = "Browsers";
const ACCESS: &str = "TLS and access";
const WEAVING: &str = "Weaving";
const OUTPUT: &str = "Output";

/// Arguments of `throughline up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Listen address; 0.0.0.0 accepts other machines, which should need TLS and tokens
    #[arg(
        long,
        env = "THROUGHLINE_HOST",
        default_value = "127.0.0.1",
        value_name = "IP",
        help_heading = LISTENERS
    )]
    pub(crate) host: String,

    /// Port for OTLP over gRPC; 0 selects a free port, for all of the port options
    #[arg(
        long,
        env = "THROUGHLINE_OTLP_GRPC_PORT",
        default_value = "4317",
        value_name = "PORT",
        help_heading = LISTENERS
    )]
    pub(crate) otlp_grpc_port: String,

    /// Port for OTLP over HTTP, protobuf and JSON (path /v1/traces)
    #[arg(
        long,
        env = "THROUGHLINE_OTLP_HTTP_PORT",
        default_value = "4318",
        value_name = "PORT",
        help_heading = LISTENERS
    )]
    pub(crate) otlp_http_port: String,

    /// Port for Zipkin JSON (path /api/v2/spans)
    #[arg(
        long,
        env = "THROUGHLINE_ZIPKIN_PORT",
        default_value = "9411",
        value_name = "PORT",
        help_heading = LISTENERS
    )]
    pub(crate) zipkin_port: String,

    /// Port for the web UI, the query API and Jaeger's query APIs
    #[arg(
        long,
        env = "THROUGHLINE_QUERY_PORT",
        default_value = "16686",
        value_name = "PORT",
        help_heading = LISTENERS
    )]
    pub(crate) query_port: String,

    /// Port for queries over gRPC: Jaeger's API v3, and its Remote Storage API for a Jaeger that
    /// reads these traces [default: 16685 if free]; `off` opens none
    #[arg(
        long,
        env = "THROUGHLINE_QUERY_GRPC_PORT",
        value_name = "PORT",
        help_heading = LISTENERS
    )]
    pub(crate) query_grpc_port: Option<String>,

    /// Port for Jaeger's Thrift over HTTP (path /api/traces) [default: 14268 if free]; `off` opens
    /// none, for all of the Jaeger ports
    #[arg(
        long,
        env = "THROUGHLINE_JAEGER_HTTP_PORT",
        value_name = "PORT",
        help_heading = JAEGER
    )]
    pub(crate) jaeger_http_port: Option<String>,

    /// UDP port for Jaeger's compact Thrift [default: 6831 if free]
    #[arg(
        long,
        env = "THROUGHLINE_JAEGER_COMPACT_PORT",
        value_name = "PORT",
        help_heading = JAEGER
    )]
    pub(crate) jaeger_compact_port: Option<String>,

    /// UDP port for Jaeger's binary Thrift [default: 6832 if free]
    #[arg(
        long,
        env = "THROUGHLINE_JAEGER_BINARY_PORT",
        value_name = "PORT",
        help_heading = JAEGER
    )]
    pub(crate) jaeger_binary_port: Option<String>,

    /// Port for Jaeger's remote sampling, which answers that every trace is sampled [default: 5778
    /// if free]
    #[arg(
        long,
        env = "THROUGHLINE_JAEGER_SAMPLING_PORT",
        value_name = "PORT",
        help_heading = JAEGER
    )]
    pub(crate) jaeger_sampling_port: Option<String>,

    /// Origin of web pages that may send spans to the OTLP/HTTP and Zipkin ports, such as
    /// `https://shop.example`; `*` allows all; none by default; repeatable
    #[arg(
        long,
        env = "THROUGHLINE_CORS_ORIGIN",
        value_delimiter = ',',
        value_name = "ORIGIN",
        help_heading = BROWSERS
    )]
    pub(crate) cors_origin: Vec<String>,

    /// Host name under which the web UI and the query API are served on a loopback address, besides
    /// localhost and IP addresses; repeatable
    #[arg(
        long,
        env = "THROUGHLINE_ALLOWED_HOST",
        value_delimiter = ',',
        value_name = "NAME",
        help_heading = BROWSERS
    )]
    pub(crate) allowed_host: Vec<String>,

    /// Certificate chain in PEM, for TLS on all TCP ports; read again when it changes
    #[arg(long, env = "THROUGHLINE_TLS_CERT", value_name = "FILE", help_heading = ACCESS)]
    pub(crate) tls_cert: Option<String>,

    /// Private key of --tls-cert in PEM
    #[arg(long, env = "THROUGHLINE_TLS_KEY", value_name = "FILE", help_heading = ACCESS)]
    pub(crate) tls_key: Option<String>,

    /// Certificate authorities in PEM; clients must have a certificate of one of them
    #[arg(long, env = "THROUGHLINE_TLS_CLIENT_CA", value_name = "FILE", help_heading = ACCESS)]
    pub(crate) tls_client_ca: Option<String>,

    /// Tokens of senders and of queries in YAML; read again when it changes
    #[arg(long, env = "THROUGHLINE_ACCESS", value_name = "FILE", help_heading = ACCESS)]
    pub(crate) access: Option<String>,

    /// Maximum number of connections of one client to one port [default: 256, no limit of its own
    /// on a loopback address]
    #[arg(
        long,
        env = "THROUGHLINE_MAX_CLIENT_CONNECTIONS",
        value_name = "NUMBER",
        help_heading = ACCESS
    )]
    pub(crate) max_client_connections: Option<String>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) kafka: KafkaArgs,

    /// Parents to find for spans that were reported without one: by the offsets of records, which
    /// are exact (offsets), by inference within processes as well (all), or none (off)
    #[arg(
        long,
        env = "THROUGHLINE_WEAVE",
        default_value = "all",
        value_name = "EVIDENCE",
        help_heading = WEAVING
    )]
    pub(crate) weave: String,

    /// Least confidence of an inferred parent that joins two traces, from 0.5 to 1
    #[arg(
        long,
        env = "THROUGHLINE_WEAVE_CONFIDENCE",
        default_value = "0.95",
        value_name = "PROBABILITY",
        help_heading = WEAVING
    )]
    pub(crate) weave_confidence: String,

    /// Time after a span until its parent is inferred; the spans of a longer request arrive later
    #[arg(
        long,
        env = "THROUGHLINE_WEAVE_WAIT",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = WEAVING
    )]
    pub(crate) weave_wait: String,

    #[command(flatten)]
    pub(crate) forward: ForwardArgs,

    /// Log filter for stderr: warn, info, debug, or per target such as info,h2=debug
    #[arg(
        long,
        env = "THROUGHLINE_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = OUTPUT
    )]
    pub(crate) log: String,

    /// Print the listen addresses as one line of JSON once all are open, for scripts
    #[arg(long, env = "THROUGHLINE_JSON", help_heading = OUTPUT)]
    pub(crate) json: bool,
}
