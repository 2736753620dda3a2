//! Log lines about the collector: one when an outage begins, one when it ends, and losses once a
//! minute at most. Never a line for each span or request.
//!
//! This module decides on the lines only; the export task writes them.

use std::time::Duration;

use tokio::time::Instant;

use crate::counts::DroppedSpans;

/// The shortest time between two lines of the same kind.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The state of the collector, and the lines logged about it.
#[derive(Debug)]
pub(crate) struct CollectorHealth {
    endpoint: String,
    outage: Option<CollectorOutage>,
    last_outage_line: Option<Instant>,
    last_loss_line: Option<Instant>,
    /// The losses that the log mentions already.
    logged_losses: DroppedSpans,
}

#[derive(Debug)]
struct CollectorOutage {
    since: Instant,
    is_logged: bool,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogLine {
    Warn(String),
    Info(String),
}

// === impl CollectorHealth ===

impl CollectorHealth {
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            outage: None,
            last_outage_line: None,
            last_loss_line: None,
            logged_losses: DroppedSpans::default(),
        }
    }

    /// Records an attempt that failed and will be retried.
    pub(crate) fn record_failure(&mut self, now: Instant, reason: &str) -> Option<LogLine> {
        if self.outage.is_some() {
            return None;
        }
        // Without this bound a flapping collector would fill the log.
        let is_logged = is_due(self.last_outage_line, now);
        self.outage = Some(CollectorOutage {
            since: now,
            is_logged,
        });
        if !is_logged {
            return None;
        }
        self.last_outage_line = Some(now);
        Some(LogLine::Warn(format!(
            "export to the collector at {} failed: {reason}; spans are queued while there is room, \
             then dropped and counted. Start the collector (`throughline up`), or set another \
             endpoint (the usual port of OTLP over HTTP is 4318, of gRPC 4317)",
            self.endpoint
        )))
    }

    /// Records a response, which ends an outage.
    pub(crate) fn record_response(
        &mut self,
        now: Instant,
        dropped: DroppedSpans,
    ) -> Option<LogLine> {
        // Most responses end no outage, and cost no more than this check.
        let outage = self.outage.take()?;
        if !outage.is_logged {
            return None;
        }
        let seconds = now.saturating_duration_since(outage.since).as_secs_f32();
        let lost = dropped.total().saturating_sub(self.logged_losses.total());
        self.logged_losses = dropped;
        Some(LogLine::Info(format!(
            "export to the collector at {} recovered after {seconds:.1} s; \
             {lost} spans were dropped meanwhile",
            self.endpoint
        )))
    }

    /// Records losses of a reachable collector: spans that it rejected, or that exceeded the queue.
    pub(crate) fn record_losses(
        &mut self,
        now: Instant,
        dropped: DroppedSpans,
        rejection: Option<&str>,
    ) -> Option<LogLine> {
        // The losses of an outage are part of the line at its end.
        if self.outage.is_some() || !is_due(self.last_loss_line, now) {
            return None;
        }
        let before = self.logged_losses;
        let rejected = dropped.refused.saturating_sub(before.refused);
        let overflowed = dropped.queue_full.saturating_sub(before.queue_full);
        let line = match (rejected, overflowed) {
            (0, 0) => return None,
            (0, _) => format!(
                "{overflowed} spans were dropped because the queue for {} was full; \
                 lower the sampling ratio or raise OTEL_BSP_MAX_QUEUE_SIZE",
                self.endpoint
            ),
            _ => format!(
                "{} rejected {rejected} spans: {}",
                self.endpoint,
                rejection.unwrap_or("no reason given")
            ),
        };
        self.last_loss_line = Some(now);
        self.logged_losses = dropped;
        Some(LogLine::Warn(line))
    }
}

/// Returns whether enough time has passed since the last line of this kind.
fn is_due(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= LOG_INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (CollectorHealth, Instant) {
        (
            CollectorHealth::new("http://c:4318/v1/traces".to_owned()),
            Instant::now(),
        )
    }

    fn lost(unreachable: u64) -> DroppedSpans {
        DroppedSpans {
            unreachable,
            ..DroppedSpans::default()
        }
    }

    #[test]
    fn an_outage_is_logged_once_and_its_end_once_with_the_losses() {
        let (mut health, begin) = health();
        let Some(LogLine::Warn(warning)) = health.record_failure(begin, "connection refused")
        else {
            panic!("no warning")
        };
        assert!(
            warning.contains("http://c:4318/v1/traces") && warning.contains("connection refused"),
            "{warning}"
        );
        assert_eq!(
            health.record_failure(begin + LOG_INTERVAL * 10, "connection refused"),
            None
        );
        let Some(LogLine::Info(end)) = health.record_response(begin + LOG_INTERVAL * 20, lost(8))
        else {
            panic!("no end")
        };
        assert!(end.contains("1200.0 s; 8 spans"), "{end}");
        assert_eq!(
            health.record_response(begin + LOG_INTERVAL * 21, lost(8)),
            None
        );
    }

    #[test]
    fn outages_in_quick_succession_are_logged_once() {
        let (mut health, begin) = health();
        assert!(health.record_failure(begin, "no").is_some());
        assert!(health.record_response(begin, lost(0)).is_some());
        assert_eq!(health.record_failure(begin + LOG_INTERVAL / 2, "no"), None);
        assert_eq!(
            health.record_response(begin + LOG_INTERVAL / 2, lost(0)),
            None
        );
        assert!(health.record_failure(begin + LOG_INTERVAL, "no").is_some());
    }

    #[test]
    fn new_losses_are_logged_once_an_interval() {
        let (mut health, begin) = health();
        let dropped = |refused, queue_full| DroppedSpans {
            refused,
            queue_full,
            ..DroppedSpans::default()
        };
        assert_eq!(health.record_losses(begin, dropped(0, 0), None), None);
        let Some(LogLine::Warn(line)) =
            health.record_losses(begin, dropped(3, 0), Some("bad spans"))
        else {
            panic!("no line")
        };
        assert!(line.ends_with("rejected 3 spans: bad spans"), "{line}");
        assert_eq!(
            health.record_losses(begin + LOG_INTERVAL / 2, dropped(9, 0), None),
            None
        );
        let Some(LogLine::Warn(line)) =
            health.record_losses(begin + LOG_INTERVAL, dropped(3, 5), None)
        else {
            panic!("no line")
        };
        assert!(line.starts_with("5 spans were dropped"), "{line}");
        assert_eq!(
            health.record_losses(begin + LOG_INTERVAL * 2, dropped(3, 5), None),
            None
        );
    }

    #[test]
    fn losses_of_an_outage_are_logged_at_its_end_only() {
        let (mut health, begin) = health();
        health.record_failure(begin, "no").unwrap();
        let dropped = DroppedSpans {
            queue_full: 5,
            ..DroppedSpans::default()
        };
        assert_eq!(health.record_losses(begin, dropped, None), None);
        assert!(health.record_response(begin, dropped).is_some());
        assert_eq!(health.record_losses(begin, dropped, None), None);
    }
}
