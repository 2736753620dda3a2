//! Budget for spans: how many may be open, and how many may be made per second.

use super::outbox::Outbox;
use crate::Timestamp;
use crate::kafka::cluster::ClusterHandle;
use crate::kafka::{SessionEvent, SkipReason};

/// Admission of spans, and the count of those that were not admitted.
#[derive(Debug)]
pub(in crate::kafka) struct SpanBudget {
    max_open: usize,
    /// Spans that wait for a response.
    open: usize,
    permits: SpanPermits,
    unsampled: u32,
    over_rate: u32,
    over_capacity: u32,
}

/// Permits of the process's rate limit that this connection has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanPermits {
    Taken(u32),
    /// The process has none left at this moment.
    Exhausted,
}

/// Number of permits that are taken under one lock. Small, so that connections do not hoard them;
/// large enough that the lock is not taken for each record.
const PERMIT_CHUNK: u32 = 64;

// === impl SpanBudget ===

impl SpanBudget {
    pub(super) const fn new(max_open: usize) -> Self {
        Self {
            max_open,
            open: 0,
            permits: SpanPermits::Taken(0),
            unsampled: 0,
            over_rate: 0,
            over_capacity: 0,
        }
    }

    pub(super) const fn set_max_open(&mut self, max_open: usize) {
        self.max_open = max_open;
    }

    /// Returns whether a span is made; counts it when not.
    pub(in crate::kafka) fn admit(
        &mut self,
        cluster: &impl ClusterHandle,
        is_sampled: bool,
        now: Timestamp,
    ) -> bool {
        // Spans that are not sampled must not use up the rate: they are counted first.
        let counter = if !is_sampled {
            &mut self.unsampled
        } else if self.open >= self.max_open {
            &mut self.over_capacity
        } else if !self.permits.take(cluster, now) {
            &mut self.over_rate
        } else {
            return true;
        };
        *counter = counter.saturating_add(1);
        false
    }

    /// Counts a record whose sender decided against a span.
    #[inline]
    pub(in crate::kafka) const fn count_unsampled(&mut self) {
        self.unsampled = self.unsampled.saturating_add(1);
    }

    /// Counts spans that wait for a response.
    pub(in crate::kafka) const fn open(&mut self, spans: usize) {
        self.open = self.open.saturating_add(spans);
    }

    /// Ends the wait of spans.
    pub(in crate::kafka) const fn close(&mut self, spans: usize) {
        self.open = self.open.saturating_sub(spans);
    }

    /// Returns unused permits and reports the counts: once per frame.
    pub(in crate::kafka) fn flush(&mut self, cluster: &impl ClusterHandle, out: &mut Outbox) {
        let unused = std::mem::replace(&mut self.permits, SpanPermits::Taken(0));
        if let SpanPermits::Taken(unused @ 1..) = unused {
            cluster.with_state(|state| state.return_span_permits(unused));
        }
        let records = std::mem::take(&mut self.unsampled);
        if records > 0 {
            out.push_event(SessionEvent::Unsampled { records });
        }
        out.drop_spans(SkipReason::SpanRate, std::mem::take(&mut self.over_rate));
        out.drop_spans(
            SkipReason::Capacity,
            std::mem::take(&mut self.over_capacity),
        );
    }
}

// === impl SpanPermits ===

impl SpanPermits {
    fn take(&mut self, cluster: &impl ClusterHandle, now: Timestamp) -> bool {
        if *self == Self::Taken(0) {
            let taken = cluster.with_state(|state| state.take_span_permits(now, PERMIT_CHUNK));
            *self = Self::Taken(taken);
            if taken == 0 {
                // Until the end of the frame: the other records of it need not ask again.
                *self = Self::Exhausted;
            }
        }
        match self {
            Self::Taken(permits) => {
                *permits = permits.saturating_sub(1);
                true
            }
            Self::Exhausted => false,
        }
    }
}
