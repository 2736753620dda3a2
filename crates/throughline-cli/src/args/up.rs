//! Arguments of `throughline up`.

pub(super) const EXAMPLES: &str = "\
Examples:
  throughline up
  throughline up --query-port 8080 --store-memory 2GiB
  throughline up --json --otlp-grpc-port 0 --otlp-http-port 0 --zipkin-port 0 --query-port 0

Send traces from any OpenTelemetry SDK:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_SERVICE_NAME=eshop ./your-service";

const LISTENERS: &str = "Listeners";
const STORAGE: &str = "Storage";
const OUTPUT: &str = "Output";

/// Arguments of `throughline up`.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Listen address; 0.0.0.0 accepts other machines, without authentication
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

    /// Port for Zipkin v2 JSON (path /api/v2/spans)
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

    /// Maximum memory for traces, such as 512MiB or 2GiB; the oldest traces are evicted when it is
    /// full
    #[arg(
        long,
        env = "THROUGHLINE_STORE_MEMORY",
        default_value = "512MiB",
        value_name = "SIZE",
        help_heading = STORAGE
    )]
    pub(crate) store_memory: String,

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
