//! Arguments about woven traces that are sent on to another back end.

use std::path::PathBuf;

const FORWARDING: &str = "Forwarding";

/// Where woven traces are sent on to.
#[derive(Debug, clap::Args)]
pub(crate) struct ForwardArgs {
    /// URL of a back end (Tempo, Jaeger, an OpenTelemetry collector) that gets all spans by
    /// OTLP/HTTP, with the parents and trace ids as woven, once their trace is settled; the path
    /// /v1/traces is added
    #[arg(
        long,
        env = "THROUGHLINE_FORWARD",
        value_name = "URL",
        help_heading = FORWARDING
    )]
    pub(crate) forward: Option<String>,

    /// Header of requests to --forward, such as authorization=Bearer TOKEN; repeatable. The
    /// variable holds one, and is not seen by other users of the machine
    #[arg(
        long,
        env = "THROUGHLINE_FORWARD_HEADER",
        value_name = "NAME=VALUE",
        help_heading = FORWARDING
    )]
    pub(crate) forward_header: Vec<String>,

    /// Certificate authorities in PEM for an https URL of --forward, in place of the system's
    #[arg(
        long,
        env = "THROUGHLINE_FORWARD_CA",
        value_name = "FILE",
        help_heading = FORWARDING
    )]
    pub(crate) forward_ca: Option<PathBuf>,
}
