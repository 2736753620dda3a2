//! The ingest pipeline, from a request body to spans in the store: admit, read, inflate, decode,
//! insert. Each step has a limit.
//!
//! All endpoints share one pipeline, so the limits hold for all of them together.

mod body;
mod error;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use throughline_otlp::{DecodedSpans, RejectedSpans};
use throughline_store::Store;
use tokio::sync::Semaphore;

pub(crate) use self::body::{AdmittedBody, ContentEncoding};
use self::body::{MemoryReservation, RESERVATION_UNIT_BYTES};
pub(crate) use self::error::IngestError;
use crate::config::{CollectorEndpoint, CollectorLimits};
use crate::metrics::{CounterKey, Metrics};

/// Time after which a client should repeat a request that was rejected as retryable.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The pipeline and what its limits count.
pub(crate) struct IngestPipeline {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    limits: CollectorLimits,
    /// One permit for each request.
    requests: Arc<Semaphore>,
    /// Memory for bodies, in units of [`RESERVATION_UNIT_BYTES`].
    memory: Arc<Semaphore>,
    /// One permit for each decode, which takes many times the memory of its body.
    decodes: Arc<Semaphore>,
    eviction_logged: AtomicBool,
}

// === impl IngestPipeline ===

impl IngestPipeline {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        metrics: Arc<Metrics>,
        limits: CollectorLimits,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(limits.max_requests));
        let units = limits.max_in_flight_bytes / RESERVATION_UNIT_BYTES;
        let decodes = Arc::new(Semaphore::new(limits.max_concurrent_decodes));
        Self {
            store,
            metrics,
            limits,
            requests,
            memory: Arc::new(Semaphore::new(units)),
            decodes,
            eviction_logged: AtomicBool::new(false),
        }
    }

    /// Admits a request and reads its body.
    pub(crate) async fn admit(&self, body: Body) -> Result<AdmittedBody, IngestError> {
        let permit = tokio::time::timeout(
            self.limits.admission_timeout,
            Arc::clone(&self.requests).acquire_owned(),
        );
        // The client waits a little rather than retrying at once.
        let Ok(Ok(permit)) = permit.await else {
            self.discard(body).await;
            return Err(IngestError::Busy);
        };
        let reservation = MemoryReservation::new(permit, Arc::clone(&self.memory));
        tokio::time::timeout(
            self.limits.body_read_timeout,
            self.read_body(body, reservation),
        )
        .await
        .map_err(|_| IngestError::Timeout)?
    }

    /// Admits a request whose `content-encoding` header names the compression of its body.
    pub(crate) async fn admit_encoded(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(ContentEncoding, AdmittedBody), IngestError> {
        match ContentEncoding::from_headers(headers) {
            Ok(encoding) => Ok((encoding, self.admit(body).await?)),
            Err(error) => {
                self.discard(body).await;
                Err(error)
            }
        }
    }

    async fn read_body(
        &self,
        mut body: Body,
        mut reservation: MemoryReservation,
    ) -> Result<AdmittedBody, IngestError> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            // Trailers are ignored.
            let Ok(chunk) = frame.map_err(IngestError::BodyRead)?.into_data() else {
                continue;
            };
            // Memory is reserved for bytes that arrived, never for an announced length.
            let error = if bytes.len() + chunk.len() > self.limits.max_body_bytes {
                IngestError::TooLarge(self.limits.max_body_bytes)
            } else if !reservation.grow(chunk.len()) {
                IngestError::Busy
            } else {
                bytes.extend_from_slice(&chunk);
                continue;
            };
            self.discard(body).await;
            return Err(error);
        }
        Ok(AdmittedBody::new(bytes, reservation))
    }

    /// Reads the rest of a rejected body, within the limits for size and time. A client that is
    /// still sending when the connection closes gets a reset in place of the response, and sends
    /// the same request again.
    pub(crate) async fn discard(&self, mut body: Body) {
        let read = async {
            let mut left = self.limits.max_body_bytes;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, |data| data.len());
                let Some(rest) = left.checked_sub(length) else {
                    return;
                };
                left = rest;
            }
        };
        // Errors and timeouts do not matter: the request is rejected either way.
        tokio::time::timeout(self.limits.body_read_timeout, read)
            .await
            .unwrap_or_default();
    }

    /// Inflates and decodes a body and stores its spans. Runs on the blocking pool, not on the
    /// threads that serve connections.
    pub(crate) async fn store<F>(
        self: &Arc<Self>,
        endpoint: CollectorEndpoint,
        body: AdmittedBody,
        encoding: ContentEncoding,
        decode: F,
    ) -> Result<RejectedSpans, IngestError>
    where
        F: FnOnce(&[u8]) -> Result<DecodedSpans, IngestError> + Send + 'static,
    {
        let pipeline = Arc::clone(self);
        // The semaphore is never closed. The permit moves into the task: a client that goes away
        // meanwhile does not end the decode, and must not free its permit either.
        let permit = Arc::clone(&self.decodes).acquire_owned().await.ok();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let body = match encoding {
                ContentEncoding::Identity => body,
                ContentEncoding::Gzip => body.inflate(pipeline.limits.max_body_bytes)?,
            };
            // The body and its reservation live until the spans are stored.
            let decoded = decode(body.bytes())?;
            pipeline.count(endpoint, &decoded);
            if endpoint == CollectorEndpoint::Zipkin {
                // Only Zipkin's clients send a span in parts.
                pipeline.store.insert_fragments(decoded.spans);
            } else {
                pipeline.store.insert(decoded.spans);
            }
            pipeline.log_first_eviction();
            Ok(decoded.rejected)
        });
        // A panic in the decoder is one failed request.
        task.await.unwrap_or(Err(IngestError::Internal))
    }

    fn count(&self, endpoint: CollectorEndpoint, decoded: &DecodedSpans) {
        let received = CounterKey::Received(endpoint);
        self.metrics.add(received, decoded.spans.len() as u64);
        for (kind, count) in decoded.repairs.iter() {
            let repaired = CounterKey::Repaired(endpoint, kind.label());
            if self.metrics.add(repaired, count) {
                tracing::warn!(
                    endpoint = endpoint.label(),
                    "value repaired: {kind}; further ones are only counted, see /metrics"
                );
            }
        }
        for (reason, count) in decoded.rejected.iter() {
            let rejected = CounterKey::Rejected(endpoint, reason.label());
            if self.metrics.add(rejected, count) {
                tracing::warn!(
                    endpoint = endpoint.label(),
                    "span rejected: {reason}; further ones are only counted, see /metrics"
                );
            }
        }
    }

    /// Logs the first eviction only: from then on it is the normal state of a full store.
    fn log_first_eviction(&self) {
        if self.store.occupancy().evicted_traces > 0
            && !self.eviction_logged.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                "the store is full: the oldest traces are evicted from now on; \
                 raise --store-memory to keep more"
            );
        }
    }
}

#[cfg(test)]
mod tests;
