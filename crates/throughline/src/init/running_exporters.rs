//! The running exporters, whichever are built in.

use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SpanProcessor;

use super::export_runtime::ExportRuntime;

/// The running exporters.
pub(super) struct RunningExporters {
    pub(super) processors: Vec<Box<dyn SpanProcessor>>,
    /// `None` when no metrics are exported: then no instruments are created, and recording costs
    /// nothing.
    pub(super) meters: Option<SdkMeterProvider>,
    pub(super) runtime: Option<ExportRuntime>,
}
