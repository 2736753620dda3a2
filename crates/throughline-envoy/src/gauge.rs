//! The gauges among Envoy's stats: what the process knows now.

/// A gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gauge {
    /// Requests and records that the process is assumed to work on.
    InFlight,
    /// Recent seconds in which it worked on none.
    IdleSeconds,
    /// Spans that wait for the collector.
    SpansQueued,
    /// Spans that the collector has accepted.
    SpansSent,
    /// Spans that were lost on the way to the collector.
    SpansLost,
}

/// One filter configuration, which may show gauges. They are set from a thread of the module.
pub trait GaugeHost: Send {
    /// Sets a gauge.
    fn set(&self, gauge: Gauge, value: u64);
}

/// The ids that Envoy has given to gauges.
#[derive(Debug, Default)]
pub struct GaugeIds([Option<usize>; Gauge::ALL.len()]);

// === impl Gauge ===

impl Gauge {
    /// All gauges.
    pub const ALL: [Self; 5] = [
        Self::InFlight,
        Self::IdleSeconds,
        Self::SpansQueued,
        Self::SpansSent,
        Self::SpansLost,
    ];

    /// Returns the name, which follows the metrics namespace.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InFlight => "in_flight",
            Self::IdleSeconds => "idle_seconds",
            Self::SpansQueued => "spans_queued",
            Self::SpansSent => "spans_sent",
            Self::SpansLost => "spans_lost",
        }
    }
}

// === impl GaugeIds ===

impl GaugeIds {
    /// Defines all gauges. A gauge that `define` gives no id is not shown.
    pub fn define(define: impl Fn(&str) -> Option<usize>) -> Self {
        Self(Gauge::ALL.map(|gauge| define(gauge.name())))
    }

    /// Returns the id of a gauge.
    #[must_use]
    pub fn id(&self, gauge: Gauge) -> Option<usize> {
        let index = Gauge::ALL.iter().position(|known| *known == gauge)?;
        self.0.get(index).copied().flatten()
    }
}
