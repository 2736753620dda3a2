//! The command's arguments. Values are read as text here and understood by the commands, which report all mistakes at once.

use clap::{Parser, Subcommand};

use crate::sidecar::Sidecar;

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
    /// Stand beside a service, and trace what it says by HTTP and Kafka; it stays as it is
    #[command(after_help = SIDECAR_EXAMPLES)]
    Sidecar(Box<Sidecar>),
    /// Redirect this pod's connections to its sidecar (nftables), or no longer
    #[command(after_help = INIT_EXAMPLES)]
    Init(Init),
    /// Show one trace as a tree
    #[command(after_help = TRACE_EXAMPLES)]
    Trace(Trace),
    /// List traces, newest first
    #[command(after_help = SEARCH_EXAMPLES)]
    Search(Search),
}

/// Options of `throughline up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Up {
    /// Address to listen on; 0.0.0.0 lets other machines in, and nothing asks them who they are
    #[arg(
        long,
        env = "THROUGHLINE_HOST",
        default_value = "127.0.0.1",
        value_name = "IP"
    )]
    pub(crate) host: String,

    /// Port for OTLP over gRPC; 0 takes any free one, as with the other ports
    #[arg(
        long,
        env = "THROUGHLINE_OTLP_GRPC_PORT",
        default_value = "4317",
        value_name = "PORT"
    )]
    pub(crate) otlp_grpc_port: String,

    /// Port for OTLP over HTTP (protobuf and JSON, path /v1/traces)
    #[arg(
        long,
        env = "THROUGHLINE_OTLP_HTTP_PORT",
        default_value = "4318",
        value_name = "PORT"
    )]
    pub(crate) otlp_http_port: String,

    /// Port for Zipkin v2 JSON (path /api/v2/spans)
    #[arg(
        long,
        env = "THROUGHLINE_ZIPKIN_PORT",
        default_value = "9411",
        value_name = "PORT"
    )]
    pub(crate) zipkin_port: String,

    /// Port for the web UI and Jaeger's query APIs
    #[arg(
        long,
        env = "THROUGHLINE_QUERY_PORT",
        default_value = "16686",
        value_name = "PORT"
    )]
    pub(crate) query_port: String,

    /// Memory for traces, such as 512MiB or 2GiB; when it is full, the oldest traces go
    #[arg(
        long,
        env = "THROUGHLINE_STORE_MEMORY",
        default_value = "512MiB",
        value_name = "SIZE"
    )]
    pub(crate) store_memory: String,

    /// What to log to stderr: warn, info, debug, or in detail such as info,h2=debug
    #[arg(
        long,
        env = "THROUGHLINE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub(crate) log: String,

    /// Print one line of JSON with the addresses once all are open, for scripts
    #[arg(long, env = "THROUGHLINE_JSON")]
    pub(crate) json: bool,
}

/// Options of `throughline init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The user that the sidecar runs as, whose connections are left alone
    #[arg(
        long,
        env = "THROUGHLINE_INIT_UID",
        default_value = "1337",
        value_name = "NUMBER"
    )]
    pub(crate) uid: String,

    /// The group that the sidecar runs as, whose connections are left alone
    #[arg(
        long,
        env = "THROUGHLINE_INIT_GID",
        default_value = "1337",
        value_name = "NUMBER"
    )]
    pub(crate) gid: String,

    /// Where the sidecar takes what the service connects to (its --listen)
    #[arg(
        long,
        env = "THROUGHLINE_INIT_OUTBOUND_PORT",
        default_value = "19092",
        value_name = "PORT"
    )]
    pub(crate) outbound_port: String,

    /// Where the sidecar takes what connects to the service (its --listen-inbound), or off
    #[arg(
        long,
        env = "THROUGHLINE_INIT_INBOUND_PORT",
        default_value = "19090",
        value_name = "PORT"
    )]
    pub(crate) inbound_port: String,

    /// Ports of others to which connections are left alone, such as 22,6000-6010
    #[arg(
        long,
        env = "THROUGHLINE_INIT_EXCLUDE_OUTBOUND",
        default_value = "",
        value_name = "PORTS"
    )]
    pub(crate) exclude_outbound: String,

    /// Ports of this pod to which connections are left alone. 19091, where the sidecar's metrics are, always is one
    #[arg(
        long,
        env = "THROUGHLINE_INIT_EXCLUDE_INBOUND",
        default_value = "",
        value_name = "PORTS"
    )]
    pub(crate) exclude_inbound: String,

    /// Networks to which connections are left alone, such as 10.0.0.0/8,fd00::/8
    #[arg(
        long,
        env = "THROUGHLINE_INIT_EXCLUDE_NETWORKS",
        default_value = "",
        value_name = "NETWORKS"
    )]
    pub(crate) exclude_networks: String,

    /// Take the rules away again
    #[arg(long)]
    pub(crate) undo: bool,

    /// Print the rules, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
}

/// Options of `throughline trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct Trace {
    /// The trace's id: 32 hex digits, or 16 of a 64-bit one
    pub(crate) id: String,

    /// Print the trace in Jaeger's JSON
    #[arg(long, env = "THROUGHLINE_JSON")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) collector: CollectorAddress,
}

/// Options of `throughline search`.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Only traces in which this service had a part
    #[arg(long, env = "THROUGHLINE_SERVICE", value_name = "NAME")]
    pub(crate) service: Option<String>,

    /// Only traces with a span of this name (of that service, if given)
    #[arg(long, env = "THROUGHLINE_OPERATION", value_name = "NAME")]
    pub(crate) operation: Option<String>,

    /// Only traces with a span that has this attribute; repeat it for more, which the same span must have
    #[arg(long, env = "THROUGHLINE_TAG", value_name = "KEY=VALUE")]
    pub(crate) tag: Vec<String>,

    /// Only traces with a span that took at least so long, such as 100ms or 1.5s
    #[arg(long, env = "THROUGHLINE_MIN_DURATION", value_name = "DURATION")]
    pub(crate) min_duration: Option<String>,

    /// How far to look back, such as 15m or 24h
    #[arg(
        long,
        env = "THROUGHLINE_SINCE",
        default_value = "1h",
        value_name = "DURATION"
    )]
    pub(crate) since: String,

    /// How many traces to list, up to 1500
    #[arg(
        long,
        env = "THROUGHLINE_LIMIT",
        default_value = "20",
        value_name = "NUMBER"
    )]
    pub(crate) limit: String,

    /// Print the summaries of the traces in the JSON of Jaeger's API v3
    #[arg(long, env = "THROUGHLINE_JSON")]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) collector: CollectorAddress,
}

/// Where the collector is.
#[derive(Debug, clap::Args)]
pub(crate) struct CollectorAddress {
    /// The collector's address for queries
    #[arg(
        long = "collector",
        env = "THROUGHLINE_COLLECTOR",
        default_value = "http://127.0.0.1:16686",
        value_name = "URL"
    )]
    pub(crate) url: String,
}

const EXAMPLES: &str = "\
Examples:
  throughline up                                   start a collector and open http://127.0.0.1:16686
  throughline sidecar --kafka localhost:9092       trace Kafka clients that connect to 127.0.0.1:19092
  throughline sidecar --inbound 8080               trace HTTP in front of a service and behind it
  throughline search --service eshop --since 1h    the newest traces that eshop had a part in
  throughline trace 463ac35c9f6413ad               one trace as a tree

Every option can be given by environment: --query-port is THROUGHLINE_QUERY_PORT.";

const UP_EXAMPLES: &str = "\
Examples:
  throughline up
  throughline up --query-port 8080 --store-memory 2GiB
  throughline up --json --otlp-grpc-port 0 --otlp-http-port 0 --zipkin-port 0 --query-port 0

Send it traces from any OpenTelemetry SDK:
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 OTEL_SERVICE_NAME=eshop ./your-service";

const SIDECAR_EXAMPLES: &str = "\
Examples:
  throughline sidecar --kafka localhost:9092                    Kafka alone: clients connect to 127.0.0.1:19092
  throughline sidecar --inbound 8080 --kafka kafka:9092         and HTTP: the service listens at 18080 instead
  throughline sidecar --transparent                             a whole pod, after throughline init
  throughline sidecar --kafka broker-1:9093,broker-2:9093 --broker-tls-ca ca.pem --service billing --sample 0.1
  throughline sidecar --config sidecar.yaml --check

Point the clients at it in place of the brokers; nothing else about them changes:
  kafka-console-producer.sh --bootstrap-server 127.0.0.1:19092 --topic orders

A file holds the same options, with _ for - in their names:
  kafka: [broker-1:9092, broker-2:9092]
  sample: 0.1
  topics:
    - topic: audit-*
      inject: false";

const INIT_EXAMPLES: &str = "\
Examples:
  throughline init                              then run the sidecar as user 1337: throughline sidecar --transparent
  throughline init --exclude-outbound 5432      leave connections to this port alone
  throughline init --print                      show the rules
  throughline init --undo

What it sets up is one table of nftables, named throughline, for IPv4 and IPv6. Doing it again changes nothing. It takes
root (CAP_NET_ADMIN) in the network namespace of the pod, so in Kubernetes it is for an init container.";

const TRACE_EXAMPLES: &str = "\
Examples:
  throughline trace 0af7651916cd43dd8448eb211c80319c
  throughline trace 463ac35c9f6413ad --collector http://traces.example:16686
  throughline trace 463ac35c9f6413ad --json | jq '.data[0].spans | length'

How to read it:
  +1.2ms    began so long after the trace did
  \u{2514}\u{2500}        is a child of the span above
  \u{2514}~>       follows from it: a message's receiver, which the sender does not wait for
  !         failed";

const SEARCH_EXAMPLES: &str = "\
Examples:
  throughline search
  throughline search --service billing --min-duration 500ms --since 24h
  throughline search --tag error=true --tag http.request.method=GET
  throughline search --service eshop --limit 1 --json";
