//! Spans of failed sends that no producer sends again: kept by the clusters until that is certain.

use std::sync::Arc;
use std::time::Duration;

use crate::kafka::cluster::SharedCluster;
use crate::kafka::server::KafkaServer;

/// Interval between two searches.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum number of spans that are taken under one lock: all connections wait for it.
const SPANS_CHUNK: usize = 256;

/// Sweeper of all clusters.
pub(crate) struct AbandonedSpanSweeper {
    pub(crate) server: Arc<KafkaServer>,
    pub(crate) clusters: Vec<Arc<SharedCluster>>,
}

// === impl AbandonedSpanSweeper ===

impl AbandonedSpanSweeper {
    /// Sends spans when their time has come, until the drain starts.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.server.drain.draining() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => self.send_until(self.server.clock.now()),
            }
        }
    }

    /// Sends the spans of all sends that failed: no connection is left.
    pub(crate) fn send_all(&self) {
        self.send_until(u64::MAX);
    }

    fn send_until(&self, now: u64) {
        for cluster in &self.clusters {
            while self.send_chunk(cluster, now) == SPANS_CHUNK {}
        }
    }

    /// Sends up to [`SPANS_CHUNK`] spans. Returns their number.
    fn send_chunk(&self, cluster: &SharedCluster, now: u64) -> usize {
        let spans: Vec<_> = cluster.with_state(|state| {
            let spans = std::iter::from_fn(|| state.poll_abandoned_span(now));
            spans.take(SPANS_CHUNK).collect()
        });
        let count = spans.len();
        let dropped = self.server.sink.try_send_all(&mut spans.into_iter());
        let made = u64::try_from(count).unwrap_or(u64::MAX);
        self.server.reporter.spans_made(made, dropped);
        count
    }
}
