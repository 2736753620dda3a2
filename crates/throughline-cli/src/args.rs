//! The command's arguments. Values are read as text here and understood by the commands, which report all mistakes at once.

use clap::{Parser, Subcommand};

/// One trace per request, from the first HTTP call, through Kafka, to the last side effect.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a collector: takes OTLP and Zipkin, keeps traces in memory, serves queries and the web UI
    #[command(after_help = UP_EXAMPLES)]
    Up(Up),
}

/// Options of `throughline up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Address to listen on; 0.0.0.0 lets other machines in, and nothing asks them who they are
    #[arg(long, env = "THROUGHLINE_HOST", default_value = "127.0.0.1", value_name = "IP")]
    pub(crate) host: String,

    /// Port for OTLP over gRPC; 0 takes any free one, as with the other ports
    #[arg(long, env = "THROUGHLINE_OTLP_GRPC_PORT", default_value = "4317", value_name = "PORT")]
    pub(crate) otlp_grpc_port: String,

    /// Port for OTLP over HTTP (protobuf and JSON, path /v1/traces)
    #[arg(long, env = "THROUGHLINE_OTLP_HTTP_PORT", default_value = "4318", value_name = "PORT")]
    pub(crate) otlp_http_port: String,

    /// Port for Zipkin v2 JSON (path /api/v2/spans)
    #[arg(long, env = "THROUGHLINE_ZIPKIN_PORT", default_value = "9411", value_name = "PORT")]
    pub(crate) zipkin_port: String,

    /// Port for the web UI and Jaeger's query APIs
    #[arg(long, env = "THROUGHLINE_QUERY_PORT", default_value = "16686", value_name = "PORT")]
    pub(crate) query_port: String,

    /// Memory for traces, such as 512MiB or 2GiB; when it is full, the oldest traces go
    #[arg(long, env = "THROUGHLINE_STORE_MEMORY", default_value = "512MiB", value_name = "SIZE")]
    pub(crate) store_memory: String,

    /// Print one line of JSON with the addresses once all are open, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  throughline up                                   start a collector and open http://127.0.0.1:16686
  throughline search --service eshop --since 1h    the newest traces that eshop had a part in
  throughline trace 463ac35c9f6413ad               one trace as a tree

Every option can be given by environment: --query-port is THROUGHLINE_QUERY_PORT.";

const UP_EXAMPLES: &str = "\
Examples:
  throughline up
  throughline up --query-port 8080 --store-memory 2GiB
  throughline up --json --otlp-grpc-port 0 --otlp-http-port 0 --zipkin-port 0 --query-port 0

Send it traces from any OpenTelemetry SDK:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_SERVICE_NAME=eshop ./your-service

What it logs goes to stderr; THROUGHLINE_LOG=debug says more.";
