//! What is told about the collector: once when it cannot be reached, once when it can again, and losses now and then.
//!
//! Decides what to say; [`crate::exporter`] says it. Never a line per span or per request.

use std::time::Duration;

use tokio::time::Instant;

use crate::counts::Dropped;

/// What was seen of the collector, and what was said about it.
#[derive(Debug)]
pub(crate) struct Health {
    endpoint: String,
    outage: Option<Outage>,
    last_outage_told: Option<Instant>,
    last_loss_told: Option<Instant>,
    dropped_when_told: Dropped,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    told: bool,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Warn(String),
    Info(String),
}

/// The shortest time between two lines of the same kind.
const PAUSE: Duration = Duration::from_secs(60);

// === impl Health ===

impl Health {
    pub(crate) const fn new(endpoint: String) -> Self {
        let dropped_when_told = Dropped {
            queue_full: 0,
            refused: 0,
            unreachable: 0,
            shutdown: 0,
        };
        Self {
            endpoint,
            outage: None,
            last_outage_told: None,
            last_loss_told: None,
            dropped_when_told,
        }
    }

    /// An attempt failed that may go well later.
    pub(crate) fn failed(&mut self, now: Instant, reason: &str) -> Option<Line> {
        if self.outage.is_some() {
            return None;
        }
        let told = is_time(self.last_outage_told, now);
        self.outage = Some(Outage { since: now, told });
        if !told {
            return None;
        }
        self.last_outage_told = Some(now);
        Some(Line::Warn(format!(
            "the collector at {} does not take spans: {reason}; they are kept for it as long as there is room, then dropped and \
             counted. Start it (`throughline up`), or name another endpoint (OTLP over HTTP is usually at port 4318, gRPC at 4317)",
            self.endpoint
        )))
    }

    /// An attempt went well.
    pub(crate) fn reached(&mut self, now: Instant, dropped: Dropped) -> Option<Line> {
        let outage = self.outage.take()?;
        if !outage.told {
            return None;
        }
        let seconds = now.saturating_duration_since(outage.since).as_secs_f32();
        let lost = dropped
            .total()
            .saturating_sub(self.dropped_when_told.total());
        self.dropped_when_told = dropped;
        Some(Line::Info(format!(
            "the collector at {} takes spans again, after {seconds:.1} s; {lost} spans were dropped meanwhile",
            self.endpoint
        )))
    }

    /// Spans may have been dropped though the collector answers: it refused them, or they came too fast.
    pub(crate) fn lost(
        &mut self,
        now: Instant,
        dropped: Dropped,
        refusal: Option<&str>,
    ) -> Option<Line> {
        // An outage tells its losses at its end.
        if self.outage.is_some() || !is_time(self.last_loss_told, now) {
            return None;
        }
        let before = self.dropped_when_told;
        let refused = dropped.refused.saturating_sub(before.refused);
        let too_many = dropped.queue_full.saturating_sub(before.queue_full);
        let line = match (refused, too_many) {
            (0, 0) => return None,
            (0, _) => format!(
                "{too_many} spans were dropped because they came faster than {} takes them; \
                 sample less, or raise OTEL_BSP_MAX_QUEUE_SIZE",
                self.endpoint
            ),
            _ => format!(
                "{} refused {refused} spans: {}",
                self.endpoint,
                refusal.unwrap_or("it did not say why")
            ),
        };
        self.last_loss_told = Some(now);
        self.dropped_when_told = dropped;
        Some(Line::Warn(line))
    }
}

fn is_time(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> (Health, Instant) {
        (
            Health::new("http://c:4318/v1/traces".to_owned()),
            Instant::now(),
        )
    }

    fn lost(unreachable: u64) -> Dropped {
        Dropped {
            unreachable,
            ..Dropped::default()
        }
    }

    #[test]
    fn an_outage_is_told_once_and_its_end_once_with_what_was_lost() {
        let (mut health, begin) = health();
        let Some(Line::Warn(warning)) = health.failed(begin, "connection refused") else {
            panic!("no warning")
        };
        assert!(
            warning.contains("http://c:4318/v1/traces") && warning.contains("connection refused"),
            "{warning}"
        );
        assert_eq!(
            health.failed(begin + PAUSE * 10, "connection refused"),
            None
        );
        let Some(Line::Info(end)) = health.reached(begin + PAUSE * 20, lost(8)) else {
            panic!("no end")
        };
        assert!(end.contains("1200.0 s; 8 spans"), "{end}");
        assert_eq!(health.reached(begin + PAUSE * 21, lost(8)), None);
    }

    #[test]
    fn outages_that_follow_each_other_closely_are_told_once() {
        let (mut health, begin) = health();
        assert!(health.failed(begin, "no").is_some());
        assert!(health.reached(begin, lost(0)).is_some());
        assert_eq!(health.failed(begin + PAUSE / 2, "no"), None);
        assert_eq!(health.reached(begin + PAUSE / 2, lost(0)), None);
        assert!(health.failed(begin + PAUSE, "no").is_some());
    }

    #[test]
    fn losses_are_told_once_a_while_and_only_what_is_new() {
        let (mut health, begin) = health();
        let dropped = |refused, queue_full| Dropped {
            refused,
            queue_full,
            ..Dropped::default()
        };
        assert_eq!(health.lost(begin, dropped(0, 0), None), None);
        let Some(Line::Warn(line)) = health.lost(begin, dropped(3, 0), Some("bad spans")) else {
            panic!("no line")
        };
        assert!(line.ends_with("refused 3 spans: bad spans"), "{line}");
        assert_eq!(health.lost(begin + PAUSE / 2, dropped(9, 0), None), None);
        let Some(Line::Warn(line)) = health.lost(begin + PAUSE, dropped(3, 5), None) else {
            panic!("no line")
        };
        assert!(line.starts_with("5 spans were dropped"), "{line}");
        assert_eq!(health.lost(begin + PAUSE * 2, dropped(3, 5), None), None);
    }

    #[test]
    fn what_is_lost_in_an_outage_is_told_at_its_end_alone() {
        let (mut health, begin) = health();
        health.failed(begin, "no").unwrap();
        let dropped = Dropped {
            queue_full: 5,
            ..Dropped::default()
        };
        assert_eq!(health.lost(begin, dropped, None), None);
        assert!(health.reached(begin, dropped).is_some());
        assert_eq!(health.lost(begin, dropped, None), None);
    }
}
