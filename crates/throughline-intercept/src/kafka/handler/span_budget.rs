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
    /// Records of the current batch that are not decided about yet.
    expected_records: u32,
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

/// The most permits that are taken under one lock. Small, so that connections do not hoard them;
/// large enough that the lock is not taken for each record.
const PERMIT_CHUNK: u32 = 64;

// === impl SpanBudget ===

impl SpanBudget {
    pub(super) const fn new(max_open: usize) -> Self {
        Self {
            max_open,
            open: 0,
            permits: SpanPermits::Taken(0),
            expected_records: 0,
            unsampled: 0,
            over_rate: 0,
            over_capacity: 0,
        }
    }

    pub(super) const fn set_max_open(&mut self, max_open: usize) {
        self.max_open = max_open;
    }

    /// Sets the number of records in the batch that is read next, each of which may get a span.
    pub(super) const fn expect_records(&mut self, records: u32) {
        self.expected_records = records;
    }

    /// Returns whether a span is made; counts it when not.
    pub(in crate::kafka) fn admit(
        &mut self,
        cluster: &impl ClusterHandle,
        is_sampled: bool,
        now: Timestamp,
    ) -> bool {
        // No more permits than records: the rest would be missing elsewhere until the end of the
        // frame. The record itself needs one, whatever was expected.
        let wanted = self.expected_records.clamp(1, PERMIT_CHUNK);
        self.expected_records = self.expected_records.saturating_sub(1);
        // Spans that are not sampled must not use up the rate: they are counted first.
        let counter = if !is_sampled {
            &mut self.unsampled
        } else if self.open >= self.max_open {
            &mut self.over_capacity
        } else if !self.permits.take(cluster, now, wanted) {
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
        self.expected_records = self.expected_records.saturating_sub(1);
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
    pub(super) fn flush(&mut self, cluster: &impl ClusterHandle, out: &mut Outbox) {
        self.expected_records = 0;
        let unused = std::mem::replace(&mut self.permits, SpanPermits::Taken(0));
        // Other connections may be waiting for the permits that this frame did not need.
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
    fn take(&mut self, cluster: &impl ClusterHandle, now: Timestamp, wanted: u32) -> bool {
        if *self == Self::Taken(0) {
            let taken = cluster.with_state(|state| state.take_span_permits(now, wanted));
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use bytes::Bytes;
    use throughline_kafka::api::ApiKey;

    use super::*;
    use crate::kafka::handler::{ApiFrame, HandlerContext, Handlers};
    use crate::kafka::{ClusterCapacity, ClusterState, ConnectionEndpoints, Settings};

    const RATE: u32 = 100;

    struct TestCluster(RefCell<ClusterState>);

    impl ClusterHandle for TestCluster {
        fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
            operation(&mut self.0.borrow_mut())
        }
    }

    impl TestCluster {
        fn new() -> Self {
            let capacity = ClusterCapacity {
                max_spans_per_second: RATE,
                ..ClusterCapacity::default()
            };
            Self(RefCell::new(ClusterState::new(capacity)))
        }

        /// Returns the permits that no connection has taken.
        fn permits(&self) -> u32 {
            self.with_state(|state| {
                let permits = state.take_span_permits(0, RATE);
                state.return_span_permits(permits);
                permits
            })
        }
    }

    #[test]
    fn permits_are_taken_for_the_expected_records_only() {
        for (expected, taken) in [(0, 1), (1, 1), (3, 3), (1_000, PERMIT_CHUNK)] {
            let (cluster, mut budget) = (TestCluster::new(), SpanBudget::new(usize::MAX));
            budget.expect_records(expected);
            assert!(budget.admit(&cluster, true, 0));
            assert_eq!(cluster.permits(), RATE - taken, "{expected} expected");
        }
    }

    #[test]
    fn unsampled_records_need_no_permits() {
        let (cluster, mut budget) = (TestCluster::new(), SpanBudget::new(usize::MAX));
        budget.expect_records(10);
        assert!(!budget.admit(&cluster, false, 0));
        budget.count_unsampled();
        assert!(budget.admit(&cluster, true, 0));
        assert_eq!(cluster.permits(), RATE - 8);
    }

    #[test]
    fn request_that_cannot_be_read_leaves_no_permits_behind() {
        let settings = Arc::new(Settings::default());
        let endpoints = ConnectionEndpoints::default();
        let mut context = HandlerContext::new(settings, TestCluster::new(), endpoints, 1);
        let bytes = Bytes::from_static(&[0; 3]);
        let request = ApiFrame {
            bytes: &bytes,
            body_start: 0,
            api: ApiKey::PRODUCE,
            version: 9,
            first_byte: 0,
            last_byte: 0,
            is_buffered: true,
        };
        // A handler that fails half-way leaves the budget like this.
        context.budget.expect_records(RATE);
        assert!(context.budget.admit(&context.cluster, true, 0));
        assert_eq!(context.cluster.permits(), RATE - PERMIT_CHUNK);
        let decision = Handlers::default().on_request(&mut context, &request);
        assert!(decision.is_err());
        assert_eq!(context.cluster.permits(), RATE - 1);
        assert_eq!(context.budget.permits, SpanPermits::Taken(0));
    }
}
