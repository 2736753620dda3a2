//! The text of `/metrics`, collected from all parts of the proxy.

use std::sync::Arc;

use throughline_intercept::kafka::ClusterState;

use crate::correlator::SharedCorrelator;
use crate::http;
use crate::kafka::cluster::SharedCluster;
use crate::listener::detect_server::DetectionMetrics;
use crate::telemetry::kafka_metrics::{ClusterGauges, ExporterCounts, KafkaMetrics};

/// Reads the counters of the span exporter.
pub(super) type ReadExporterCounts = Arc<dyn Fn() -> ExporterCounts + Send + Sync>;

/// The parts of the proxy that have metrics.
pub(super) struct MetricsSources {
    pub(super) kafka: Arc<KafkaMetrics>,
    pub(super) http: Arc<http::HttpMetrics>,
    pub(super) detection: Arc<DetectionMetrics>,
    pub(super) correlator: SharedCorrelator,
    pub(super) clusters: Vec<Arc<SharedCluster>>,
    pub(super) exporter: Option<ReadExporterCounts>,
}

// === impl MetricsSources ===

impl MetricsSources {
    /// Returns all metrics in the OpenMetrics text format.
    pub(super) fn render(&self) -> String {
        if let Some(read_counts) = &self.exporter {
            self.kafka.update_exporter(&read_counts());
        }
        // Each cluster is locked by itself, so that a scrape does not stop all connections.
        let gauges = ClusterGauges {
            held_bytes: self.sum(|state| state.held_bytes()),
            deliveries_open: self.sum(|state| state.pending_deliveries()),
        };
        let others = [
            &self.http.registry,
            &self.detection.registry,
            &self.correlator.metrics(),
        ];
        self.kafka.render(gauges, &others)
    }

    fn sum(&self, read: fn(&mut ClusterState) -> usize) -> usize {
        self.clusters
            .iter()
            .map(|cluster| cluster.with_state(read))
            .sum()
    }
}
