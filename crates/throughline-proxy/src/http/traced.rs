//! One exchange under way: what `Exchange` is told, and what becomes of its span.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use throughline_intercept::HttpExchange;
use throughline_intercept::http::{Direction, Failure, Peer, Request, Settings};
use throughline_model::SpanSink;
use tokio::sync::watch;

use super::fields::{Fields, FieldsMut};
use super::metrics::Metrics;
use crate::correlator::SharedCorrelator;
use crate::telemetry::log_throttle::LogThrottle;
use crate::transport::drain::Drain;

/// What all exchanges have in common.
pub(super) struct Tracing {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) process: SharedCorrelator,
    pub(super) sink: Arc<dyn SpanSink>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Drain,
    pub(super) full: LogThrottle,
}

/// An exchange under way. Who lets go of it before it is over has broken it off.
pub(super) struct Traced {
    tracing: Arc<Tracing>,
    exchange: HttpExchange,
    direction: Direction,
    status: Option<u16>,
    begun: u64,
}

// === impl Traced ===

impl Traced {
    /// A request has come; its fields become those that go on.
    pub(super) fn begin(
        tracing: &Arc<Tracing>,
        direction: Direction,
        peer: Peer,
        request: &Request<'_>,
        fields: &mut HeaderMap,
    ) -> Self {
        let settings = Arc::clone(&tracing.settings.borrow());
        let mut exchange = HttpExchange::new(settings, direction, peer, fastrand::u64(..));
        let begun = tracing.process.timestamp();
        exchange.handle_request(begun, request, &mut FieldsMut(fields), &tracing.process);
        tracing
            .metrics
            .rejected
            .inc_by(u64::from(exchange.rejected()));
        Self {
            tracing: Arc::clone(tracing),
            exchange,
            direction,
            status: None,
            begun,
        }
    }

    /// The head of the answer has come.
    pub(super) fn answered(&mut self, status: u16, fields: &HeaderMap) {
        self.status = Some(status);
        let process = &self.tracing.process;
        let now = process.timestamp();
        self.exchange
            .handle_response(now, status, &Fields(fields), process);
        // A tunnel is over for us once it begins.
        if self.exchange.is_over() {
            self.tell(now, None);
        }
    }

    pub(super) fn trailers(&mut self, fields: &HeaderMap) {
        self.exchange.handle_trailers(&Fields(fields));
    }

    /// The answer has gone out to its end.
    pub(super) fn end(mut self) {
        self.finish(None);
    }

    /// It came to nothing.
    pub(super) fn fail(mut self, failure: Failure) {
        self.finish(Some(failure));
    }

    fn finish(&mut self, failure: Option<Failure>) {
        if self.exchange.is_over() {
            return;
        }
        let process = &self.tracing.process;
        let now = process.timestamp();
        match failure {
            None => self.exchange.handle_end(now, process),
            Some(failure) => self.exchange.handle_failure(now, failure, process),
        }
        self.tell(now, failure);
    }

    fn tell(&mut self, now: u64, failure: Option<Failure>) {
        let metrics = &self.tracing.metrics;
        metrics.over(
            self.direction,
            self.status,
            Duration::from_nanos(now.saturating_sub(self.begun)),
            failure,
        );
        let Some(span) = self.exchange.poll_span() else {
            return;
        };
        metrics.spans.inc();
        if self.tracing.sink.try_send(span).is_err() {
            metrics.spans_dropped.inc();
            if let Some(more) = self.tracing.full.permit() {
                tracing::warn!(
                    more,
                    "spans are dropped: the exporter's queue is full; is the collector there?"
                );
            }
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let failure = if self.tracing.stop.is_aborted() {
            Failure::Shutdown
        } else {
            Failure::Cancelled
        };
        self.finish(Some(failure));
    }
}
