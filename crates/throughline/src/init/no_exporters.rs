//! In place of the exporters, without the feature `export`: a warning where one is configured.

use std::sync::Arc;

use opentelemetry_sdk::Resource;
use throughline_model::environment::VariableError;

use super::config::Config;
use super::export_stats::SpanExportCounters;
use super::running_exporters::RunningExporters;

/// Starts nothing.
pub(super) fn start(
    config: &Config,
    _resource: &Resource,
    _counters: &Arc<SpanExportCounters>,
    warnings: &mut Vec<VariableError>,
) -> RunningExporters {
    let exports = config.traces.is_some() || config.metrics.is_some();
    if exports || config.prints_spans || config.prints_metrics {
        let problem = "exporters are not built in, so nothing is exported; enable the feature \
                       `export` of throughline";
        warnings.push(VariableError::new("OTEL_TRACES_EXPORTER", problem));
    }
    RunningExporters {
        processors: Vec::new(),
        meters: None,
        runtime: None,
    }
}
