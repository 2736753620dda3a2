//! The span of one exchange, from the request head to the end of the response.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use throughline_intercept::http::{
    Direction, ExchangeFailure, HttpPeer, HttpRequestHead, Settings,
};
use throughline_intercept::{HttpExchange, Timestamp, TokenBucket};
use throughline_model::SpanSink;
use tokio::sync::watch;

use super::error::{ProxyError, is_grpc};
use super::header::{HttpHeaderCarrier, HttpHeaderCarrierMut};
use super::metrics::HttpMetrics;
use crate::correlator::SharedCorrelator;
use crate::telemetry::log_throttle::LogThrottle;
use crate::telemetry::propagation_log::PropagationLog;
use crate::transport::drain::Drain;

/// Settings, sink and metrics that all exchanges share.
pub(super) struct ExchangeContext {
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) correlator: SharedCorrelator,
    pub(super) sink: Arc<dyn SpanSink>,
    pub(super) metrics: Arc<HttpMetrics>,
    pub(super) drain: Drain,
    pub(super) dropped_span_log: LogThrottle,
    pub(super) propagation_log: PropagationLog,
    pub(super) refused_tunnel_log: LogThrottle,
    pub(super) span_rate: Mutex<TokenBucket>,
    pub(super) max_spans_per_second: u32,
}

/// The span of an exchange in progress. Dropping it before its end records a cancellation.
pub(super) struct ExchangeSpan {
    context: Arc<ExchangeContext>,
    exchange: HttpExchange,
    direction: Direction,
    status: Option<u16>,
    started_at_ns: u64,
    is_grpc: bool,
    is_http2: bool,
}

// === impl ExchangeContext ===

impl ExchangeContext {
    /// Whether one more span is within the limit of spans per second.
    fn admits_span(&self, now: Timestamp) -> bool {
        let mut rate = self
            .span_rate
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        rate.take(now, self.max_spans_per_second, 1) == 1
    }

    /// Returns the time in nanoseconds, by the clock of the spans.
    pub(super) fn now_ns(&self) -> u64 {
        self.correlator.timestamp()
    }

    /// Logs a CONNECT that was refused: its client usually shows no reason.
    pub(super) fn report_refused_tunnel(&self, error: ProxyError) {
        if let Some(suppressed) = self.refused_tunnel_log.permit() {
            tracing::warn!(reason = %error, suppressed, "tunnel refused");
        }
    }
}

// === impl ExchangeSpan ===

impl ExchangeSpan {
    /// Starts the span of a request, and writes its context into the headers to forward.
    pub(super) fn start(
        context: &Arc<ExchangeContext>,
        direction: Direction,
        peer: HttpPeer,
        request: &HttpRequestHead<'_>,
        headers: &mut HeaderMap,
    ) -> Self {
        Self::start_at(context, context.now_ns(), direction, peer, request, headers)
    }

    /// Starts the span of a request that arrived at an earlier time.
    pub(super) fn start_at(
        context: &Arc<ExchangeContext>,
        now: u64,
        direction: Direction,
        peer: HttpPeer,
        request: &HttpRequestHead<'_>,
        headers: &mut HeaderMap,
    ) -> Self {
        // The settings at the start apply to the whole exchange, whatever a reload changes.
        let settings = Arc::clone(&context.settings.borrow());
        // The exchange is pure: its random ids come from the seed, its times from the arguments.
        let mut exchange = HttpExchange::new(settings, direction, peer, fastrand::u64(..));
        let correlator = &context.correlator;
        let is_grpc = is_grpc(headers);
        let mut headers = HttpHeaderCarrierMut::new(headers);
        exchange.handle_request(now, request, &mut headers, correlator);
        context
            .metrics
            .contexts_rejected
            .inc_by(u64::from(exchange.rejected()));
        context.propagation_log.report(exchange.propagation());
        if let Some(system) = exchange.telemetry() {
            context.metrics.telemetry_forwarded(direction, system);
        }
        Self {
            context: Arc::clone(context),
            exchange,
            direction,
            status: None,
            started_at_ns: now,
            is_grpc,
            is_http2: request.version == "2",
        }
    }

    /// Records the head of the response.
    pub(super) fn record_response(&mut self, status: u16, headers: &HeaderMap) {
        self.status = Some(status);
        let correlator = &self.context.correlator;
        let now = correlator.timestamp();
        self.exchange
            .handle_response(now, status, &HttpHeaderCarrier(headers), correlator);
        // The span of an upgrade or CONNECT ends when the tunnel begins.
        if self.exchange.is_over() {
            self.export(now, None);
        }
    }

    /// Ends the span with an error of the proxy, with the status that the client gets for it.
    pub(super) fn fail_with(mut self, error: ProxyError, failure: ExchangeFailure) {
        let is_unanswered = error == ProxyError::IncompleteRequest
            || error.termination(self.is_http2, self.is_grpc).is_some();
        if is_unanswered {
            // The client gets no status.
        } else if self.is_grpc {
            // In HTTP the response is a success: its status is that of gRPC. A call that was not
            // answered has one as well, which the client's library makes up.
            let response: Response<Bytes> = error.response(true);
            self.record_response(response.status().as_u16(), response.headers());
        } else if self.direction == Direction::Inbound {
            // An outbound span has no status: the upstream has not responded.
            self.record_response(error.status().as_u16(), &HeaderMap::new());
        }
        self.fail(failure);
    }

    /// Counts bytes of the response body.
    pub(super) fn count_body_bytes(&self, bytes: u64) {
        let counters = self.context.metrics.body_counters(self.direction);
        counters.response.inc_by(bytes);
    }

    pub(super) fn record_trailers(&mut self, trailers: &HeaderMap) {
        self.exchange.handle_trailers(&HttpHeaderCarrier(trailers));
    }

    /// Ends the span: the response has been sent completely.
    pub(super) fn end(mut self) {
        self.finish(None);
    }

    /// Ends the span with a failure.
    pub(super) fn fail(mut self, failure: ExchangeFailure) {
        self.finish(Some(failure));
    }

    fn finish(&mut self, failure: Option<ExchangeFailure>) {
        // The span of a tunnel has ended before its guard is dropped.
        if self.exchange.is_over() {
            return;
        }
        let correlator = &self.context.correlator;
        let now = correlator.timestamp();
        match failure {
            None => self.exchange.handle_end(now, correlator),
            Some(failure) => self.exchange.handle_failure(now, failure, correlator),
        }
        self.export(now, failure);
    }

    fn export(&mut self, now: u64, failure: Option<ExchangeFailure>) {
        let metrics = &self.context.metrics;
        metrics.request_finished(
            self.direction,
            self.status,
            Duration::from_nanos(now.saturating_sub(self.started_at_ns)),
            failure,
        );
        // An unsampled exchange has no span.
        let Some(span) = self.exchange.poll_span() else {
            return;
        };
        if !self.context.admits_span(now) {
            metrics.spans_over_rate.inc();
            return;
        }
        metrics.spans.inc();
        if self.context.sink.try_send(span).is_err() {
            metrics.spans_dropped.inc();
            if let Some(suppressed) = self.context.dropped_span_log.permit() {
                tracing::warn!(
                    suppressed,
                    "spans dropped: the export queue is full; check that the collector is reachable"
                );
            }
        }
    }
}

impl Drop for ExchangeSpan {
    fn drop(&mut self) {
        let failure = if self.context.drain.is_aborted() {
            ExchangeFailure::Shutdown
        } else {
            ExchangeFailure::Cancelled
        };
        self.finish(Some(failure));
    }
}
