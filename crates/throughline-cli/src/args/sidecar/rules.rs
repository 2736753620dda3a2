//! Options for single kinds of requests.

const HTTP: &str = "HTTP";

/// Options that decide which requests begin a trace, and what they are sent with.
#[derive(Debug, Clone, clap::Args, serde::Serialize)]
pub(crate) struct RequestRuleArgs {
    /// Inbound requests that begin no recorded trace, comma-separated: probes, routes such as
    /// /internal/*, or none
    ///
    /// probes are /healthz, /livez, /readyz, /actuator/health and what is below them, gRPC's health
    /// service, and the user agents of Kubernetes, load balancers and Prometheus. A request that
    /// carries a sampling decision keeps it.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_IGNORE_PATHS",
        default_value = "probes",
        value_name = "ROUTES",
        help_heading = HTTP
    )]
    pub(crate) ignore_paths: String,

    /// Add x-request-id to requests that have none (true or false)
    ///
    /// Services that copy it to their own requests have these requests attributed exactly. With
    /// --propagation none no id is added.
    #[arg(
        long,
        env = "THROUGHLINE_SIDECAR_REQUEST_ID",
        default_value = "true",
        value_name = "BOOL",
        help_heading = HTTP
    )]
    pub(crate) request_id: String,
}
