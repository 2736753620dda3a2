//! The options of `throughline sidecar`: the one definition of its flags, its variables, the keys of its file, its help and its
//! reference page (`docs/sidecar.md`).
//!
//! A key of the file is the option's name with `_` for `-`; its variable is `THROUGHLINE_SIDECAR_` and the same in capitals. All
//! values are text here; `check` understands them.

use throughline_model::context::{Format, FormatList};

/// Options of `throughline sidecar`.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
pub(crate) struct Sidecar {
    /// The cluster's brokers for the first connection; several with commas, of which the first that answers serves
    #[arg(long, env = "THROUGHLINE_SIDECAR_KAFKA", value_name = "HOST:PORT", help_heading = WAY)]
    pub(crate) kafka: Option<String>,

    /// Where clients connect: their new bootstrap.servers. 0.0.0.0 lets other machines in. With --transparent it is where the service's own connections are redirected to, and the default is that port of ::1, too
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_LISTEN",
        default_value = "127.0.0.1:19092",
        value_name = "IP:PORT",
        help_heading = WAY
    )]
    pub(crate) listen: String,

    /// Local ports for the brokers, one for each. The broker with node id N has the Nth behind FIRST, or the next that is free. The default is the hundred behind the port of --listen; any takes what is free, as brokers are heard of
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_BROKER_PORTS",
        value_name = "FIRST-LAST",
        help_heading = WAY
    )]
    pub(crate) broker_ports: Option<String>,

    /// The host that clients are told to reach the brokers' ports by. The default is the address that each client came to
    #[arg(long, env = "THROUGHLINE_SIDECAR_ADVERTISE", value_name = "HOST", help_heading = WAY)]
    pub(crate) advertise: Option<String>,

    /// Folder where it is written down which broker has which port, so that all keep theirs over restarts even where ports clash
    #[arg(long, env = "THROUGHLINE_SIDECAR_STATE_DIR", value_name = "DIR", help_heading = WAY)]
    pub(crate) state_dir: Option<String>,

    /// Take connections that the system redirects (throughline init, or iptables) and pass each on to where it wanted to go. HTTP and Kafka are known by their first bytes and traced, everything else passes as it is; services and clients stay as they are
    #[arg(long, env = "THROUGHLINE_SIDECAR_TRANSPARENT", help_heading = WAY)]
    pub(crate) transparent: bool,

    /// With --transparent: where connections to the service are redirected to, or off. The default is port 19090 of all addresses
    #[arg(long, env = "THROUGHLINE_SIDECAR_LISTEN_INBOUND", value_name = "IP:PORT", help_heading = WAY)]
    pub(crate) listen_inbound: Option<String>,

    /// How long one broker may take until a connection to it stands
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CONNECT_TIMEOUT",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = WAY
    )]
    pub(crate) connect_timeout: String,

    /// Connections of clients at once; more wait
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CONNECTIONS",
        default_value = "10000",
        value_name = "NUMBER",
        help_heading = WAY
    )]
    pub(crate) connections: String,

    /// Where others ask the service by HTTP, and where it listens itself: 8080 takes requests at 0.0.0.0:8080 and passes them to 127.0.0.1:18080, 8080=3000 to 127.0.0.1:3000, 10.0.0.1:8080=app:3000 as it says. Several with commas
    #[arg(long, env = "THROUGHLINE_SIDECAR_INBOUND", value_name = "PORT[=SERVICE]", help_heading = HTTP)]
    pub(crate) inbound: Option<String>,

    /// Where the service asks others by HTTP: an address takes whole http:// URLs, as clients ask that have it as http_proxy; 9001=URL passes what comes at 127.0.0.1:9001 to that URL. Several with commas, or off. With --inbound the default is 127.0.0.1:19080
    #[arg(long, env = "THROUGHLINE_SIDECAR_OUTBOUND", value_name = "PORT[=URL]", help_heading = HTTP)]
    pub(crate) outbound: Option<String>,

    /// What the service speaks: whatever is spoken to it (same), or HTTP/1.1 (http1) or HTTP/2 (http2) only
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INBOUND_PROTOCOL",
        default_value = "same",
        value_name = "PROTOCOL",
        help_heading = HTTP
    )]
    pub(crate) inbound_protocol: String,

    /// Whose contexts are continued: always, never, or those of networks such as 10.0.0.0/8, several with commas. To those of others the span has a link, and the trace begins here
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_TRUST",
        default_value = "always",
        value_name = "WHOM",
        help_heading = HTTP
    )]
    pub(crate) trust: String,

    /// Paths of the service that name its spans, with {name} for what varies: /checkout,/orders/{id}. Several with commas, of which the first that matches holds; without one the span has the method for its name
    #[arg(long, env = "THROUGHLINE_SIDECAR_ROUTES", value_name = "ROUTES", help_heading = HTTP)]
    pub(crate) routes: Option<String>,

    /// How long who is asked may take to begin its answer; then it is 504. With off it is for whoever asks to give up
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_ANSWER_TIMEOUT",
        default_value = "off",
        value_name = "DURATION",
        help_heading = HTTP
    )]
    pub(crate) answer_timeout: String,

    /// Serve CONNECT where the service asks others: a tunnel to any host and port, in which nothing is seen
    #[arg(long, env = "THROUGHLINE_SIDECAR_ALLOW_CONNECT", help_heading = HTTP)]
    pub(crate) allow_connect: bool,

    /// Certificate to show to those who ask the service, with its chain, in PEM; with it they must speak TLS
    #[arg(long, env = "THROUGHLINE_SIDECAR_INBOUND_TLS_CERT", value_name = "FILE", help_heading = HTTP)]
    pub(crate) inbound_tls_cert: Option<String>,

    /// The key of that certificate, in PEM
    #[arg(long, env = "THROUGHLINE_SIDECAR_INBOUND_TLS_KEY", value_name = "FILE", help_heading = HTTP)]
    pub(crate) inbound_tls_key: Option<String>,

    /// Certificate authorities to trust where others are asked by https://, in PEM. The default is those of this machine
    #[arg(long, env = "THROUGHLINE_SIDECAR_OUTBOUND_TLS_CA", value_name = "FILE", help_heading = HTTP)]
    pub(crate) outbound_tls_ca: Option<String>,

    /// Speak TLS to the brokers, trusting this machine's certificate authorities
    #[arg(long, env = "THROUGHLINE_SIDECAR_BROKER_TLS", help_heading = TLS)]
    pub(crate) broker_tls: bool,

    /// Certificate authorities to trust instead, in PEM
    #[arg(long, env = "THROUGHLINE_SIDECAR_BROKER_TLS_CA", value_name = "FILE", help_heading = TLS)]
    pub(crate) broker_tls_ca: Option<String>,

    /// Certificate to show to the brokers, with its chain, in PEM
    #[arg(long, env = "THROUGHLINE_SIDECAR_BROKER_TLS_CERT", value_name = "FILE", help_heading = TLS)]
    pub(crate) broker_tls_cert: Option<String>,

    /// The key of that certificate, in PEM
    #[arg(long, env = "THROUGHLINE_SIDECAR_BROKER_TLS_KEY", value_name = "FILE", help_heading = TLS)]
    pub(crate) broker_tls_key: Option<String>,

    /// The name that the brokers' certificates must be for, and that they are asked for by SNI. The default is the host of each broker
    #[arg(long, env = "THROUGHLINE_SIDECAR_BROKER_TLS_NAME", value_name = "HOST", help_heading = TLS)]
    pub(crate) broker_tls_name: Option<String>,

    /// Certificate to show to clients, with its chain, in PEM; with it clients must speak TLS
    #[arg(long, env = "THROUGHLINE_SIDECAR_CLIENT_TLS_CERT", value_name = "FILE", help_heading = TLS)]
    pub(crate) client_tls_cert: Option<String>,

    /// The key of that certificate, in PEM
    #[arg(long, env = "THROUGHLINE_SIDECAR_CLIENT_TLS_KEY", value_name = "FILE", help_heading = TLS)]
    pub(crate) client_tls_key: Option<String>,

    /// Where spans go, by OTLP over HTTP. The default is what OTEL_EXPORTER_OTLP_ENDPOINT says, else http://localhost:4318; the other OTEL_EXPORTER_OTLP_* variables hold too, among them PROTOCOL (grpc) and HEADERS
    #[arg(long, env = "THROUGHLINE_SIDECAR_COLLECTOR", value_name = "URL", help_heading = SPANS)]
    pub(crate) collector: Option<String>,

    /// The service that the spans are of (service.name). The default is OTEL_SERVICE_NAME; without it each client is a service of its own, named by its client.id
    #[arg(long, env = "THROUGHLINE_SIDECAR_SERVICE", value_name = "NAME", help_heading = SPANS)]
    pub(crate) service: Option<String>,

    /// The part of the traces that begin here which is recorded, from 0 to 1. Where a record carries a context already, that has decided
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_SAMPLE",
        default_value = "1",
        value_name = "RATIO",
        help_heading = SPANS
    )]
    pub(crate) sample: String,

    /// Names and attributes of the spans: those of OpenTelemetry's conventions (otel) or of opentracing-kafka-client (opentracing)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_NAMING",
        default_value = "otel",
        value_name = "NAMES",
        help_heading = SPANS
    )]
    pub(crate) naming: String,

    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_PROPAGATION",
        value_name = "FORMATS",
        help_heading = SPANS,
        help = propagation_help()
    )]
    pub(crate) propagation: Option<String>,

    /// What besides x-request-id tells by its value which request or record is behind another, as a list in YAML: each with name and any of header (of HTTP or Kafka), record_key (true) and body (a JSON pointer). [{name: order, header: x-order, body: /order/id}]
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_KEYS",
        default_value = "[]",
        value_name = "YAML",
        help_heading = SPANS
    )]
    pub(crate) keys: String,

    /// Whether the one request or record in flight is taken for the parent of what the service sends: where it has been seen to do little of its own (measured), never, or always, for a service that does nothing but answer
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_SOLE",
        default_value = "measured",
        value_name = "WHEN",
        help_heading = SPANS
    )]
    pub(crate) sole: String,

    /// The one switch for contexts in records: with false nothing is written anywhere, and producers and consumers are no longer in one trace
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INJECT",
        default_value = "true",
        value_name = "BOOL",
        help_heading = SPANS
    )]
    pub(crate) inject: String,

    /// Whether records that are not sampled get a context that says so; without it the next hop begins a trace of its own
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INJECT_UNSAMPLED",
        default_value = "true",
        value_name = "BOOL",
        help_heading = SPANS
    )]
    pub(crate) inject_unsampled: String,

    /// How a consumer span relates to the producer's: as its child, with a link too (parent), or by the link alone, in a trace of its own (links)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_RELATION",
        default_value = "parent",
        value_name = "KIND",
        help_heading = SPANS
    )]
    pub(crate) relation: String,

    /// What is done with records on their way to a consumer: they go on as they came (observe), or the span id in their context becomes that of the consumer span, for applications that continue from it (patch)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_DELIVER",
        default_value = "observe",
        value_name = "KIND",
        help_heading = SPANS
    )]
    pub(crate) deliver: String,

    /// Whether commits and acknowledgements make spans that tell how long the handling took. The default is true, and false with --naming opentracing
    #[arg(long, env = "THROUGHLINE_SIDECAR_SETTLE", value_name = "BOOL", help_heading = SPANS)]
    pub(crate) settle: Option<String>,

    /// Whether record keys that are text are put on spans
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MESSAGE_KEY",
        default_value = "false",
        value_name = "BOOL",
        help_heading = SPANS
    )]
    pub(crate) message_key: String,

    /// What is different for some topics, as a list in YAML: each with topic (a name, in which * stands for anything) and any of inject, relation, deliver, settle. The first that matches holds
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_TOPICS",
        default_value = "[]",
        value_name = "YAML",
        help_heading = SPANS
    )]
    pub(crate) topics: String,

    /// Spans that may be made in a second; more are counted and not made
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MAX_SPANS_PER_SECOND",
        default_value = "10000",
        value_name = "NUMBER",
        help_heading = SPANS
    )]
    pub(crate) max_spans_per_second: String,

    /// The longest request that is held to be changed; longer ones pass as they are, untraced
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MAX_FRAME",
        default_value = "64MiB",
        value_name = "SIZE",
        help_heading = SPANS
    )]
    pub(crate) max_frame: String,

    /// Memory for all requests that are held at once; what finds no room passes as it is, untraced
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MEMORY",
        default_value = "256MiB",
        value_name = "SIZE",
        help_heading = SPANS
    )]
    pub(crate) memory: String,

    /// Where /metrics (Prometheus), /ready and /live are answered, or off
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_ADMIN",
        default_value = "127.0.0.1:19091",
        value_name = "IP:PORT",
        help_heading = RUNNING
    )]
    pub(crate) admin: String,

    /// How long connections may take to end what they are at, once the sidecar is told to stop
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_DRAIN",
        default_value = "30s",
        value_name = "DURATION",
        help_heading = RUNNING
    )]
    pub(crate) drain: String,

    /// A file with any of these options, in YAML. Options and variables given otherwise go before it. It is read again when it changes and on SIGHUP
    #[arg(long, env = "THROUGHLINE_SIDECAR_CONFIG", value_name = "FILE", help_heading = RUNNING)]
    pub(crate) config: Option<String>,

    /// Say what is wrong with the configuration, or that nothing is, and end
    #[arg(long, help_heading = RUNNING)]
    pub(crate) check: bool,

    /// Print one line of JSON with the addresses once all are open, for scripts
    #[arg(long, env = "THROUGHLINE_SIDECAR_JSON", help_heading = RUNNING)]
    pub(crate) json: bool,

    /// What to log to stderr: warn, info, debug, or in detail such as info,throughline_proxy=debug
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = RUNNING
    )]
    pub(crate) log: String,
}

const WAY: &str = "The way of the bytes";
const HTTP: &str = "HTTP";
const TLS: &str = "TLS";
const SPANS: &str = "Spans and contexts";
const RUNNING: &str = "Running it";

/// Options that no file can give: they say which file, or what to do with it.
pub(crate) const NOT_IN_FILE: [&str; 2] = ["config", "check"];

/// Options that hold at once when the file is read again; the others hold from the next start on.
pub(crate) const RELOADED: [&str; 14] = [
    "trust",
    "routes",
    "service",
    "sample",
    "naming",
    "propagation",
    "inject",
    "inject_unsampled",
    "relation",
    "deliver",
    "settle",
    "message_key",
    "topics",
    "max_frame",
];

/// Returns the help of `--propagation`, which lists the formats of the registry.
fn propagation_help() -> String {
    let formats = FormatList::names(Format::contexts());
    format!(
        "Formats of the contexts written into headers, separated by commas: {formats}; all of them are \
         read. Default: OTEL_PROPAGATORS, else tracecontext"
    )
}
