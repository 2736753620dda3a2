//! Settings of HTTP tracing.

use std::sync::Arc;

use throughline_model::context::Format;
use throughline_model::{Resource, Scope};

use super::ignored::IgnoredRequests;
use super::route::RouteTemplate;
use super::telemetry::CollectorAddress;
use super::trust::TrustPolicy;
use crate::trace::{default_read_formats, default_scope, default_write_formats};

/// Settings of all exchanges, replaced as a whole when the configuration is reloaded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Resource of the spans: the service beside the proxy.
    pub resource: Arc<Resource>,
    /// Instrumentation scope of the spans.
    pub scope: Arc<Scope>,
    /// Formats in which a context is looked for; the first one found wins.
    pub read: Vec<Format>,
    /// Formats in which a context is written, whether or not the request had them.
    pub write: Vec<Format>,
    /// Whether contexts are written to the service in its own formats as well: those that it has
    /// been seen to send, and all of them before it has sent any.
    pub match_propagation: bool,
    /// Share of the traces that begin here to record, from 0.0 to 1.0.
    pub sample_ratio: f64,
    /// Clients whose contexts are continued.
    pub trust: TrustPolicy,
    /// Routes of the service, for the names of SERVER spans. The first match wins.
    pub routes: Vec<RouteTemplate>,
    /// URL templates of other services, for the names of CLIENT spans. The first match wins.
    pub templates: Vec<RouteTemplate>,
    /// Inbound requests that begin no recorded trace.
    pub ignored: IgnoredRequests,
    /// Whether a request without `x-request-id` gets one.
    pub request_id: bool,
    /// Whether requests with the telemetry of services are forwarded without a trace.
    pub ignore_telemetry: bool,
    /// Collector of the proxy's spans. Requests to it are telemetry, whatever they carry.
    pub collector: Option<CollectorAddress>,
    /// Length at which attribute values are truncated.
    pub max_attribute_bytes: usize,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            resource: Arc::default(),
            scope: default_scope(),
            read: default_read_formats(),
            write: default_write_formats(),
            match_propagation: true,
            sample_ratio: 1.0,
            trust: TrustPolicy::default(),
            routes: Vec::new(),
            templates: Vec::new(),
            ignored: IgnoredRequests::default(),
            request_id: true,
            ignore_telemetry: true,
            collector: None,
            max_attribute_bytes: 4096,
        }
    }
}
