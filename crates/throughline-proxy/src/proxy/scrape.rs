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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use throughline_intercept::correlate::Settings;
    use throughline_intercept::http::Direction;
    use throughline_intercept::kafka::{ApiKey, PartitionIndex};

    use super::*;
    use crate::clock::SpanClock;
    use crate::kafka::cluster::ClusterConfig;
    use crate::listener::protocol::DetectedProtocol;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sidecar.md");

    /// Returns the names in `# TYPE` lines, as they are scraped: counters end with `_total`.
    fn exported(text: &str) -> BTreeSet<String> {
        let lines = text.lines();
        lines
            .filter_map(|line| {
                let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
                let suffix = if kind == "counter" { "_total" } else { "" };
                Some(format!("{name}{suffix}"))
            })
            .collect()
    }

    /// Returns the names in the first column of the tables under "Metrics", with the prefix that
    /// the text before each table states.
    fn documented(page: &str) -> BTreeSet<String> {
        let (_, section) = page.split_once("\n## Metrics\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let mut names = BTreeSet::new();
        let mut prefix = "";
        for line in section.lines() {
            if let Some((_, stated)) = line.split_once("with the prefix `") {
                prefix = stated.split('`').next().unwrap();
            }
            let name = line
                .strip_prefix("| `")
                .and_then(|rest| rest.split('`').next());
            match name {
                // A path of the admin port.
                Some(path) if path.starts_with('/') => {}
                Some(name) if name.starts_with("throughline_") => {
                    names.insert(name.to_owned());
                }
                Some(name) => {
                    names.insert(format!("{prefix}{name}"));
                }
                None => {}
            }
        }
        names
    }

    #[test]
    fn documentation_names_the_metrics_that_are_exported() {
        let clock = SpanClock::new();
        let sources = MetricsSources {
            kafka: Arc::new(KafkaMetrics::new()),
            http: Arc::new(http::HttpMetrics::new()),
            detection: Arc::new(DetectionMetrics::new()),
            correlator: SharedCorrelator::new(Settings::default(), clock),
            clusters: vec![SharedCluster::transparent(ClusterConfig::default())],
            exporter: None,
        };
        // A family without a series is not exported.
        sources.kafka.request(ApiKey::PRODUCE);
        let topic = "t".into();
        sources
            .kafka
            .consumer_lag(None, &topic, PartitionIndex(0), 1);
        sources
            .detection
            .connection_detected(Direction::Outbound, DetectedProtocol::Kafka);
        let exported = exported(&sources.render());
        let page = std::fs::read_to_string(PAGE).unwrap();
        assert_eq!(documented(&page), exported);
    }
}
