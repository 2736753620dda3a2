//! Arguments of `throughline sidecar`: the one definition of its options, environment variables,
//! configuration keys, help and reference page (`docs/sidecar.md`).
//!
//! The configuration key of an option is its name with `_` for `-`; its environment variable is
//! `THROUGHLINE_SIDECAR_` and the key in capitals. All values are text here and parsed by
//! `sidecar::config`.

mod examples;
mod injection;
mod keys;
mod rules;

pub(super) use self::examples::EXAMPLES;
use self::examples::propagation_help;
use self::injection::InjectionArgs;
pub(crate) use self::keys::{NOT_IN_FILE, RELOADABLE, RENAMED};
use self::rules::RequestRuleArgs;

const KAFKA: &str = "Kafka";
const REDIRECTED: &str = "Redirected connections";
const HTTP: &str = "HTTP";
const TLS: &str = "TLS";
const SPANS: &str = "Spans";
const CONTEXTS: &str = "Context propagation";
const LIMITS: &str = "Limits and timeouts";
const PROCESS: &str = "Process";

/// Arguments of `throughline sidecar`.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
pub(crate) struct SidecarArgs {
    /// Bootstrap brokers of the cluster, comma-separated; the first reachable one is used
    #[arg(long, env = "THROUGHLINE_SIDECAR_KAFKA", value_name = "HOST:PORT", help_heading = KAFKA)]
    pub(crate) kafka: Option<String>,

    /// Listen address for Kafka clients: their new bootstrap.servers
    ///
    /// 0.0.0.0 accepts other machines. With --transparent it is the address that outbound
    /// connections are redirected to, or a comma-separated list of them; a single 127.0.0.1 opens
    /// the same port of ::1 as well.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_LISTEN",
        default_value = "127.0.0.1:19092",
        value_name = "IP:PORT",
        help_heading = KAFKA
    )]
    pub(crate) listen: String,

    /// Local ports for the brokers, one each. Default: the hundred ports after --listen
    ///
    /// The broker with node id N gets the Nth port after FIRST, or the next free one. The value any
    /// assigns free ports as brokers appear in responses.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_BROKER_PORTS",
        value_name = "FIRST-LAST",
        help_heading = KAFKA
    )]
    pub(crate) broker_ports: Option<String>,

    /// Host name advertised to clients for the brokers' ports. Default: the address that each
    /// client connected to
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_ADVERTISE",
        value_name = "HOST",
        help_heading = KAFKA
    )]
    pub(crate) advertise: Option<String>,

    /// Directory for the port assignments of brokers
    ///
    /// With it brokers keep their ports across restarts, even where a preferred port was taken.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_STATE_DIR",
        value_name = "DIR",
        help_heading = KAFKA
    )]
    pub(crate) state_dir: Option<String>,

    /// Accept connections that the system redirects and forward each to its original destination
    ///
    /// Redirection is set up by throughline init or by iptables. HTTP and Kafka are detected from
    /// the first bytes and traced; everything else passes unmodified. Services and clients keep
    /// their configuration.
    #[arg(long, env = "THROUGHLINE_SIDECAR_TRANSPARENT", help_heading = REDIRECTED)]
    pub(crate) transparent: bool,

    /// Listen address for redirected inbound connections, with --transparent, or off. Default: port
    /// 19090 of all addresses
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_LISTEN_INBOUND",
        value_name = "IP:PORT",
        help_heading = REDIRECTED
    )]
    pub(crate) listen_inbound: Option<String>,

    /// Port of the service that the sidecar takes over, and the service's own address;
    /// comma-separated
    ///
    /// 8080 listens on all addresses and forwards to 127.0.0.1:18080, 8080=3000 forwards to
    /// 127.0.0.1:3000, and 10.0.0.1:8080=app:3000 gives both addresses.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INBOUND",
        value_name = "PORT[=SERVICE]",
        help_heading = HTTP
    )]
    pub(crate) inbound: Option<String>,

    /// Listen address for the service's outbound requests, comma-separated, or off. Default with
    /// --inbound: 127.0.0.1:19080
    ///
    /// An address alone is an HTTP proxy for clients that honor http_proxy. 9001=URL listens on
    /// 127.0.0.1:9001 and forwards every request to that URL.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_OUTBOUND",
        value_name = "PORT[=URL]",
        help_heading = HTTP
    )]
    pub(crate) outbound: Option<String>,

    /// HTTP version to use to the service: that of each client (same), HTTP/1.1 only (http1) or
    /// HTTP/2 only (http2)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INBOUND_PROTOCOL",
        default_value = "same",
        value_name = "PROTOCOL",
        help_heading = HTTP
    )]
    pub(crate) inbound_protocol: String,

    /// Routes of the service that name its spans, comma-separated, such as /checkout,/orders/{id}
    ///
    /// {name} matches one path segment, a final * the rest. The first match is used; without one
    /// the span is named by the method.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_ROUTES",
        value_name = "ROUTES",
        help_heading = HTTP
    )]
    pub(crate) routes: Option<String>,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) rules: RequestRuleArgs,

    /// Leave out requests with telemetry of services: OTLP, Jaeger, Zipkin, Prometheus and others
    /// (true or false)
    ///
    /// Such a request, and any request to the collector of --collector, is forwarded as it came: it
    /// makes no span and is neither parent nor child of anything.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_IGNORE_TELEMETRY",
        default_value = "true",
        value_name = "BOOL",
        help_heading = HTTP
    )]
    pub(crate) ignore_telemetry: String,

    /// Ports that clients of an outbound proxy may reach by CONNECT: all, none, or a list such as
    /// 443,8000-8999. Default: all for a listener on a loopback address, else none
    ///
    /// HTTP in a tunnel is traced as if it had been sent directly; TLS and everything else passes
    /// unmodified, with one span for each tunnel.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CONNECT_PORTS",
        value_name = "PORTS",
        help_heading = HTTP
    )]
    pub(crate) connect_ports: Option<String>,

    /// Allow CONNECT to all ports, on outbound listeners of any address: the same as
    /// --connect-ports all
    #[arg(long, env = "THROUGHLINE_SIDECAR_ALLOW_CONNECT", help_heading = HTTP)]
    pub(crate) allow_connect: bool,

    /// Requests that share HTTP/1 connections to upstream hosts: those of all clients (shared), or
    /// only those of one client connection (per-connection)
    ///
    /// Connections on which a client logs in (NTLM, Negotiate) are never shared, and neither are
    /// those of redirected clients.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_POOL",
        default_value = "shared",
        value_name = "SCOPE",
        help_heading = HTTP
    )]
    pub(crate) pool: String,

    /// Server certificate chain for the service's clients, in PEM; with it they must use TLS
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INBOUND_TLS_CERT",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) inbound_tls_cert: Option<String>,

    /// Private key of --inbound-tls-cert, in PEM
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INBOUND_TLS_KEY",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) inbound_tls_key: Option<String>,

    /// Certificate authorities for outbound https:// requests, in PEM. Default: those of this
    /// machine
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_OUTBOUND_TLS_CA",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) outbound_tls_ca: Option<String>,

    /// Use TLS to the brokers, with this machine's certificate authorities; implied by the other
    /// --broker-tls options
    #[arg(long, env = "THROUGHLINE_SIDECAR_BROKER_TLS", help_heading = TLS)]
    pub(crate) broker_tls: bool,

    /// Certificate authorities for the brokers, in PEM, in place of this machine's
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_BROKER_TLS_CA",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) broker_tls_ca: Option<String>,

    /// Client certificate chain for the brokers, in PEM
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_BROKER_TLS_CERT",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) broker_tls_cert: Option<String>,

    /// Private key of --broker-tls-cert, in PEM
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_BROKER_TLS_KEY",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) broker_tls_key: Option<String>,

    /// Host name expected in the brokers' certificates and sent as SNI. Default: the host of each
    /// broker
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_BROKER_TLS_NAME",
        value_name = "HOST",
        help_heading = TLS
    )]
    pub(crate) broker_tls_name: Option<String>,

    /// Server certificate chain for Kafka clients, in PEM; with it they must use TLS
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CLIENT_TLS_CERT",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) client_tls_cert: Option<String>,

    /// Private key of --client-tls-cert, in PEM
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CLIENT_TLS_KEY",
        value_name = "FILE",
        help_heading = TLS
    )]
    pub(crate) client_tls_key: Option<String>,

    /// OTLP/HTTP endpoint for spans. Default: OTEL_EXPORTER_OTLP_ENDPOINT, else
    /// http://localhost:4318
    ///
    /// The other OTEL_EXPORTER_OTLP_* variables apply too, among them PROTOCOL (grpc) and HEADERS.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_COLLECTOR",
        value_name = "URL",
        help_heading = SPANS
    )]
    pub(crate) collector: Option<String>,

    /// service.name of the spans. Default: OTEL_SERVICE_NAME, else the client.id of each Kafka
    /// client
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_SERVICE",
        value_name = "NAME",
        help_heading = SPANS
    )]
    pub(crate) service: Option<String>,

    /// Name services by client.id without what Kafka's clients generate: threads, counters, UUIDs
    /// (true or false)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_STRIP_CLIENT_ID",
        default_value = "true",
        value_name = "BOOL",
        help_heading = SPANS
    )]
    pub(crate) strip_client_id: String,

    /// Fraction of new traces to record, from 0 to 1
    ///
    /// A request or record that carries a context keeps the sampling decision in it.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_SAMPLE",
        default_value = "1",
        value_name = "RATIO",
        help_heading = SPANS
    )]
    pub(crate) sample: String,

    /// Span names and attributes: OpenTelemetry's conventions (otel) or those of
    /// opentracing-kafka-client (opentracing)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_NAMING",
        default_value = "otel",
        value_name = "NAMES",
        help_heading = SPANS
    )]
    pub(crate) naming: String,

    /// Relation of a consumer span to the producer span: child with a link (parent), or a link from
    /// a trace of its own (links)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_RELATION",
        default_value = "parent",
        value_name = "KIND",
        help_heading = SPANS
    )]
    pub(crate) relation: String,

    /// Spans for offset commits and acknowledgements, which show how long a record was processed
    /// (true or false). Default: true, but false with --naming opentracing
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_SETTLE",
        value_name = "BOOL",
        help_heading = SPANS
    )]
    pub(crate) settle: Option<String>,

    /// Put record keys that are text on spans (true or false)
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MESSAGE_KEY",
        default_value = "false",
        value_name = "BOOL",
        help_heading = SPANS
    )]
    pub(crate) message_key: String,

    /// Overrides by topic, as a YAML list
    ///
    /// Each entry has topic (a name, in which * matches any text) and any of inject, relation,
    /// deliver, settle and max_message_bytes (the largest batch that the topic accepts; learned by
    /// default). The first entry that matches is used: [{topic: audit-*, inject: false}]
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_TOPICS",
        default_value = "[]",
        value_name = "YAML",
        help_heading = SPANS
    )]
    pub(crate) topics: String,

    /// Sources of inbound HTTP requests whose trace context is continued: always, never, or
    /// comma-separated networks such as 10.0.0.0/8
    ///
    /// The context of any other request becomes a link, and a new trace begins.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_TRUST",
        default_value = "always",
        value_name = "SOURCES",
        help_heading = CONTEXTS
    )]
    pub(crate) trust: String,

    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_PROPAGATION",
        value_name = "FORMATS",
        help_heading = CONTEXTS,
        help = propagation_help()
    )]
    pub(crate) propagation: Option<String>,

    /// Write contexts to the service in its own formats as well (true or false)
    ///
    /// Its formats are those in which it has been seen to send contexts. Until it has sent one, it
    /// gets them in all formats. Records that it sends get those of its formats that it has been
    /// seen to send.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MATCH_PROPAGATION",
        default_value = "true",
        value_name = "BOOL",
        help_heading = CONTEXTS
    )]
    pub(crate) match_propagation: String,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) injection: InjectionArgs,

    /// Records delivered to consumers: unmodified (observe), or with the span id of the consumer
    /// span in their context (patch), for applications that continue from it. Compressed batches
    /// are compressed again; topics with --relation links or --inject never stay unmodified
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_DELIVER",
        default_value = "observe",
        value_name = "KIND",
        help_heading = CONTEXTS
    )]
    pub(crate) deliver: String,

    /// Correlation keys besides x-request-id: headers, record keys and JSON body fields, as a YAML
    /// list
    ///
    /// An outbound request or record that has the same value as an inbound one becomes its child.
    /// Each entry has name and any of header (HTTP or Kafka), record_key (true) and body (a JSON
    /// pointer): [{name: order, header: x-order, body: /order/id}]
    #[arg(
        long,
        alias = "keys",
        env = "THROUGHLINE_SIDECAR_CORRELATION_KEYS",
        default_value = "[]",
        value_name = "YAML",
        help_heading = CONTEXTS
    )]
    pub(crate) correlation_keys: String,

    /// Use of the only request or record in flight as the parent of outbound traffic: measured,
    /// never or always
    ///
    /// With measured it is used while the service has been seen to send little on its own. always
    /// is for a service that never sends anything on its own.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_SOLE",
        default_value = "measured",
        value_name = "WHEN",
        help_heading = CONTEXTS
    )]
    pub(crate) sole: String,

    /// Probability from which a parent that the steps of requests show is used for outbound
    /// traffic, from 0.5 to 1, or off
    ///
    /// The sidecar learns in which order, and after what time, requests make their calls. With
    /// several in flight it knows which of them may make a call now. --sole never turns this off.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_INFERENCE_THRESHOLD",
        default_value = "0.998",
        value_name = "PROBABILITY",
        help_heading = CONTEXTS
    )]
    pub(crate) inference_threshold: String,

    /// Maximum number of client connections; further ones wait
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CONNECTIONS",
        default_value = "10000",
        value_name = "NUMBER",
        help_heading = LIMITS
    )]
    pub(crate) connections: String,

    /// Timeout for a connection to a broker or an upstream host, TLS included
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CONNECT_TIMEOUT",
        default_value = "5s",
        value_name = "DURATION",
        help_heading = LIMITS
    )]
    pub(crate) connect_timeout: String,

    /// Timeout for the start of an HTTP response, or off; on expiry the client gets 504
    #[arg(
        long,
        alias = "answer-timeout",
        env = "THROUGHLINE_SIDECAR_RESPONSE_TIMEOUT",
        default_value = "off",
        value_name = "DURATION",
        help_heading = LIMITS
    )]
    pub(crate) response_timeout: String,

    /// Time for connections to finish their requests in flight after a stop signal
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_DRAIN",
        default_value = "30s",
        value_name = "DURATION",
        help_heading = LIMITS
    )]
    pub(crate) drain: String,

    /// Maximum number of spans per second; further ones are dropped and counted
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MAX_SPANS_PER_SECOND",
        default_value = "10000",
        value_name = "NUMBER",
        help_heading = LIMITS
    )]
    pub(crate) max_spans_per_second: String,

    /// Maximum size of a Kafka frame that is read or changed; longer ones pass unmodified and
    /// unread
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MAX_FRAME",
        default_value = "64MiB",
        value_name = "SIZE",
        help_heading = LIMITS
    )]
    pub(crate) max_frame: String,

    /// Maximum memory for Kafka requests and responses that are kept to be read or changed; frames
    /// beyond it pass unmodified and unread
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_MEMORY",
        default_value = "256MiB",
        value_name = "SIZE",
        help_heading = LIMITS
    )]
    pub(crate) memory: String,

    /// Listen address for /metrics (Prometheus), /ready and /live, or off
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_ADMIN",
        default_value = "127.0.0.1:19091",
        value_name = "IP:PORT",
        help_heading = PROCESS
    )]
    pub(crate) admin: String,

    /// Configuration file with any of these options, in YAML
    ///
    /// Options and environment variables take precedence over the file. It is reloaded when it
    /// changes and on SIGHUP.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_CONFIG",
        value_name = "FILE",
        help_heading = PROCESS
    )]
    pub(crate) config: Option<String>,

    /// Validate the configuration and exit: 0 if it is valid, 64 with all errors if not
    #[arg(long, help_heading = PROCESS)]
    pub(crate) check: bool,

    /// Print the listen addresses as one line of JSON once all are open, for scripts
    #[arg(long, env = "THROUGHLINE_SIDECAR_JSON", help_heading = PROCESS)]
    pub(crate) json: bool,

    /// Log filter for stderr: warn, info, debug, or per target such as info,throughline_proxy=debug
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = PROCESS
    )]
    pub(crate) log: String,
}
