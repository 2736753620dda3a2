//! Arguments of the commands that query a collector: `throughline trace` and `throughline search`.

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  throughline trace 0af7651916cd43dd8448eb211c80319c
  throughline trace 463ac35c9f6413ad --collector http://traces.example:16686
  throughline trace 463ac35c9f6413ad --json | jq '.data[0].spans | length'

Reading the tree:
  +1.2ms    start of the span, relative to the start of the trace
  \u{2514}\u{2500}        child of the span above
  \u{2514}~>       FOLLOWS_FROM, such as a message's consumer, which the producer does not wait for
  !         error";

pub(super) const SEARCH_EXAMPLES: &str = "\
Examples:
  throughline search
  throughline search --service billing --min-duration 500ms --since 24h
  throughline search --tag error=true --tag http.request.method=GET
  throughline search --service eshop --limit 1 --json";

const FILTERS: &str = "Filters";
const OUTPUT: &str = "Output";
const CONNECTION: &str = "Connection";

/// Arguments of `throughline trace`.
#[derive(Debug, clap::Args)]
pub(crate) struct TraceArgs {
    /// Trace id: up to 32 hex digits
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) collector: CollectorArgs,

    /// Print the trace as Jaeger JSON
    #[arg(long, env = "THROUGHLINE_JSON", help_heading = OUTPUT)]
    pub(crate) json: bool,
}

/// Arguments of `throughline search`.
#[derive(Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Service that takes part in the trace
    #[arg(long, env = "THROUGHLINE_SERVICE", value_name = "NAME", help_heading = FILTERS)]
    pub(crate) service: Option<String>,

    /// Name of a span in the trace; with --service, of a span of that service
    #[arg(long, env = "THROUGHLINE_OPERATION", value_name = "NAME", help_heading = FILTERS)]
    pub(crate) operation: Option<String>,

    /// Attribute of a span in the trace; when repeated, one span must have all of them
    #[arg(long, env = "THROUGHLINE_TAG", value_name = "KEY=VALUE", help_heading = FILTERS)]
    pub(crate) tag: Vec<String>,

    /// Minimum duration of a span in the trace, such as 100ms or 1.5s
    #[arg(
        long,
        env = "THROUGHLINE_MIN_DURATION",
        value_name = "DURATION",
        help_heading = FILTERS
    )]
    pub(crate) min_duration: Option<String>,

    /// Maximum age of the trace, such as 15m or 24h
    #[arg(
        long,
        env = "THROUGHLINE_SINCE",
        default_value = "1h",
        value_name = "DURATION",
        help_heading = FILTERS
    )]
    pub(crate) since: String,

    /// Maximum number of traces to list, from 1 to 1500
    #[arg(
        long,
        env = "THROUGHLINE_LIMIT",
        default_value = "20",
        value_name = "NUMBER",
        help_heading = FILTERS
    )]
    pub(crate) limit: String,

    #[command(flatten)]
    pub(crate) collector: CollectorArgs,

    /// Print the trace summaries as JSON of Jaeger's API v3
    #[arg(long, env = "THROUGHLINE_JSON", help_heading = OUTPUT)]
    pub(crate) json: bool,
}

/// Address of the collector to query.
#[derive(Debug, clap::Args)]
pub(crate) struct CollectorArgs {
    /// Query address of the collector
    #[arg(
        long = "collector",
        env = "THROUGHLINE_COLLECTOR",
        default_value = "http://127.0.0.1:16686",
        value_name = "URL",
        help_heading = CONNECTION
    )]
    pub(crate) url: String,

    /// Certificate authorities in PEM, for an https:// address [default: those of this machine]
    #[arg(
        long = "collector-ca",
        env = "THROUGHLINE_COLLECTOR_CA",
        value_name = "FILE",
        help_heading = CONNECTION
    )]
    pub(crate) ca: Option<String>,

    /// File with the token for queries, where the collector requires one
    #[arg(
        long = "token-file",
        env = "THROUGHLINE_TOKEN_FILE",
        value_name = "FILE",
        help_heading = CONNECTION
    )]
    pub(crate) token_file: Option<String>,
}
