//! The ingest pipeline, from a request body to spans in the store: admit, read, inflate, decode,
//! insert. Each step has a limit.
//!
//! All endpoints share one pipeline, so the limits hold for all of them together.

mod body;
mod coding;
mod destination;
mod error;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use throughline_otlp::{DecodedSpans, RejectedSpans, decode_protobuf};
use throughline_store::InsertError;
use tokio::sync::Semaphore;

pub(crate) use self::body::AdmittedBody;
use self::body::{MemoryReservation, RESERVATION_UNIT_BYTES};
pub(crate) use self::coding::ContentCodings;
use self::destination::Insertion;
pub use self::destination::{ForwardedSpans, SpanDelivery, SpanDestination, SpanForwarder};
pub(crate) use self::error::{ACCEPTED_CODINGS, IngestError};
pub use self::record::{RecordError, RecordIngest, RecordOutcome, RecordSource};
use crate::access::IngestGrant;
use crate::config::{CollectorEndpoint, CollectorLimits};
use crate::metrics::{CounterKey, IngestSource, Metrics};
use crate::weaving::WeavingFeed;

/// The pipeline and what its limits count.
pub(crate) struct IngestPipeline {
    destination: SpanDestination,
    metrics: Arc<Metrics>,
    limits: CollectorLimits,
    /// One permit for each request.
    requests: Arc<Semaphore>,
    /// Memory for bodies, in units of [`RESERVATION_UNIT_BYTES`].
    memory: Arc<Semaphore>,
    /// One permit for each decode, which takes many times the memory of its body.
    decodes: Arc<Semaphore>,
    eviction_logged: AtomicBool,
    refusal_logged: AtomicBool,
    weaving: WeavingFeed,
}

/// A signal of OpenTelemetry that is accepted and dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IgnoredSignal {
    Metrics,
    Logs,
}

// === impl IgnoredSignal ===

impl IgnoredSignal {
    /// Returns the name in metrics and logs.
    const fn label(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }

    /// Returns the setting that stops an SDK from sending the signal.
    const fn setting(self) -> &'static str {
        match self {
            Self::Metrics => "OTEL_METRICS_EXPORTER=none",
            Self::Logs => "OTEL_LOGS_EXPORTER=none",
        }
    }
}

// === impl IngestPipeline ===

impl IngestPipeline {
    pub(crate) fn new(
        destination: SpanDestination,
        metrics: Arc<Metrics>,
        limits: CollectorLimits,
        weaving: WeavingFeed,
    ) -> Self {
        let requests = Arc::new(Semaphore::new(limits.max_requests));
        let units = limits.max_in_flight_bytes / RESERVATION_UNIT_BYTES;
        let decodes = Arc::new(Semaphore::new(limits.max_concurrent_decodes));
        Self {
            destination,
            metrics,
            limits,
            requests,
            memory: Arc::new(Semaphore::new(units)),
            decodes,
            eviction_logged: AtomicBool::new(false),
            refusal_logged: AtomicBool::new(false),
            weaving,
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
    ) -> Result<(ContentCodings, AdmittedBody), IngestError> {
        match ContentCodings::from_headers(headers) {
            Ok(codings) => Ok((codings, self.admit(body).await?)),
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
        grant: IngestGrant,
        body: AdmittedBody,
        codings: ContentCodings,
        decode: F,
    ) -> Result<RejectedSpans, IngestError>
    where
        F: FnOnce(&[u8]) -> Result<DecodedSpans, IngestError> + Send + 'static,
    {
        let work = move |pipeline: &Self, grant: &IngestGrant, bytes: &[u8]| {
            let decoded = decode(bytes)?;
            pipeline.insert(IngestSource::Endpoint(endpoint), grant, decoded, None)
        };
        self.inflate_and_run(grant, body, codings, work).await
    }

    /// Does the same with a body that is OTLP in protobuf, which the store may keep as it is.
    pub(crate) async fn store_otlp(
        self: &Arc<Self>,
        endpoint: CollectorEndpoint,
        grant: IngestGrant,
        body: AdmittedBody,
        codings: ContentCodings,
    ) -> Result<RejectedSpans, IngestError> {
        let work = move |pipeline: &Self, grant: &IngestGrant, bytes: &[u8]| {
            pipeline.insert_otlp(IngestSource::Endpoint(endpoint), grant, bytes)
        };
        self.inflate_and_run(grant, body, codings, work).await
    }

    /// Inflates a body and runs `work` with it on the blocking pool.
    async fn inflate_and_run<F>(
        self: &Arc<Self>,
        grant: IngestGrant,
        body: AdmittedBody,
        codings: ContentCodings,
        work: F,
    ) -> Result<RejectedSpans, IngestError>
    where
        F: FnOnce(&Self, &IngestGrant, &[u8]) -> Result<Insertion, IngestError> + Send + 'static,
    {
        // Before the decode, which is the costly part.
        if let Some(wait) = grant.wait() {
            return Err(IngestError::RateExceeded(wait));
        }
        let pipeline = Arc::clone(self);
        // The semaphore is never closed. The permit moves into the task: a client that goes away
        // meanwhile does not end the decode, and must not free its permit either.
        let permit = Arc::clone(&self.decodes).acquire_owned().await.ok();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let body = body.decompress(codings, pipeline.limits.max_body_bytes)?;
            // The body and its reservation live until the spans are stored.
            let insertion = work(&pipeline, &grant, body.bytes())?;
            Ok((insertion, grant))
        });
        // A panic in the decoder is one failed request.
        let (insertion, grant) = task.await.unwrap_or(Err(IngestError::Internal))?;
        self.complete(insertion, &grant).await
    }

    /// Decodes a datagram and stores its spans. A datagram is small and each socket has one at a
    /// time, so it needs no admission, and waits for no larger body either.
    pub(crate) async fn store_datagram<F>(
        self: &Arc<Self>,
        endpoint: CollectorEndpoint,
        datagram: Vec<u8>,
        decode: F,
    ) where
        F: FnOnce(&[u8]) -> Result<DecodedSpans, IngestError> + Send + 'static,
    {
        let pipeline = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let decoded = decode(&datagram)?;
            let source = IngestSource::Endpoint(endpoint);
            pipeline.insert(source, &IngestGrant::default(), decoded, None)
        });
        let result = match task.await.unwrap_or(Err(IngestError::Internal)) {
            // A datagram has no token.
            Ok(insertion) => self.complete(insertion, &IngestGrant::default()).await,
            Err(error) => Err(error),
        };
        // Counted as the requests over HTTP are, by the status that such a request would get.
        let status = match &result {
            Ok(_) => StatusCode::ACCEPTED,
            Err(error) => error.status().0,
        };
        let key = CounterKey::Requests(endpoint, status.as_u16());
        let is_first = self.metrics.add(key, 1);
        if let (true, Err(error)) = (is_first, result) {
            tracing::warn!(
                endpoint = endpoint.label(),
                %error,
                "datagram rejected; further ones are only counted, see /metrics"
            );
        }
    }

    /// Keeps or forwards the spans of a request in protobuf, as it came where that is possible.
    fn insert_otlp(
        &self,
        source: IngestSource,
        grant: &IngestGrant,
        otlp: &[u8],
    ) -> Result<Insertion, IngestError> {
        let must_decode = grant.is_limited_to_services() || self.weaving.wants(otlp);
        if let (SpanDestination::Store(store), false) = (&self.destination, must_decode)
            && let Some(inserted) = store.insert_undecoded(otlp)
        {
            let count = inserted.map_err(|error| self.refuse(error))?;
            self.weaving.skip(otlp);
            return Ok(Insertion::kept(source, count, DecodedSpans::default()));
        }
        let decoded = decode_protobuf(otlp);
        let decoded = decoded.map_err(|error| IngestError::Malformed(error.to_string()))?;
        self.insert(source, grant, decoded, Some(otlp))
    }

    /// Keeps or forwards the spans of a request; `otlp` is the request where that is its encoding.
    fn insert(
        &self,
        source: IngestSource,
        grant: &IngestGrant,
        mut decoded: DecodedSpans,
        otlp: Option<&[u8]>,
    ) -> Result<Insertion, IngestError> {
        let sent = decoded.spans.len();
        grant.retain_allowed(&mut decoded);
        // The request as it came has the spans that are not allowed as well.
        let otlp = otlp.filter(|_| decoded.spans.len() == sent);
        let spans = std::mem::take(&mut decoded.spans);
        let store = match &self.destination {
            SpanDestination::Store(store) => store,
            SpanDestination::Forwarder(forwarder) => {
                let otlp = otlp.filter(|_| decoded.rejected.total() == 0);
                let forwarded = forwarder.forward(&spans, otlp, source.sends_fragments());
                let forwarded = forwarded.map_err(|error| self.refuse(error))?;
                return Ok(Insertion::forwarded(source, decoded, forwarded));
            }
        };
        let count = spans.len() as u64;
        let weaving = self.weaving.read(&spans);
        let inserted = if source.sends_fragments() {
            store.insert_fragments(spans)
        } else if let Some(otlp) = otlp {
            store.insert_request(spans, otlp)
        } else {
            store.insert(spans)
        };
        inserted.map_err(|error| self.refuse(error))?;
        self.weaving.share(&weaving, source);
        self.weaving.offer(weaving);
        Ok(Insertion::kept(source, count, decoded))
    }

    /// Waits until spans are where they are sent, if anywhere, and counts them.
    async fn complete(
        &self,
        mut insertion: Insertion,
        grant: &IngestGrant,
    ) -> Result<RejectedSpans, IngestError> {
        if let Some(delivery) = insertion.delivery.take() {
            delivery.await.map_err(|error| self.refuse(error))?;
        }
        Ok(self.count(insertion, grant))
    }

    /// Reads and drops a request of a signal that is not stored, and counts it. The answer is a
    /// success: SDKs send all signals to one endpoint by default, and log every failure.
    pub(crate) async fn drop_signal(
        &self,
        endpoint: CollectorEndpoint,
        signal: IgnoredSignal,
        body: Body,
    ) {
        self.discard(body).await;
        if self
            .metrics
            .add(CounterKey::Dropped(endpoint, signal.label()), 1)
        {
            tracing::info!(
                endpoint = endpoint.label(),
                "{} are received and dropped, because only traces are stored; {} stops them",
                signal.label(),
                signal.setting()
            );
        }
    }

    /// Returns the error for spans that the store refuses, and logs the first one.
    fn refuse(&self, error: InsertError) -> IngestError {
        if !self.refusal_logged.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "spans refused; senders are asked to repeat them");
        }
        IngestError::Store(error)
    }

    /// Counts spans once they are kept: a sender repeats a request that was refused.
    fn count(&self, insertion: Insertion, grant: &IngestGrant) -> RejectedSpans {
        let Insertion {
            source,
            count,
            decoded,
            delivery: _,
        } = insertion;
        grant.take(count);
        self.metrics.add(CounterKey::Received(source), count);
        for (kind, count) in decoded.repairs.iter() {
            let repaired = CounterKey::Repaired(source, kind.label());
            if self.metrics.add(repaired, count) {
                tracing::warn!(
                    endpoint = source.label(),
                    "value repaired: {kind}; further ones are only counted, see /metrics"
                );
            }
        }
        for (reason, count) in decoded.rejected.iter() {
            let rejected = CounterKey::Rejected(source, reason.label());
            if self.metrics.add(rejected, count) {
                tracing::warn!(
                    endpoint = source.label(),
                    "span rejected: {reason}; further ones are only counted, see /metrics"
                );
            }
        }
        self.log_first_eviction();
        decoded.rejected
    }

    /// Logs the first eviction only: from then on it is the normal state of a full store.
    fn log_first_eviction(&self) {
        let SpanDestination::Store(store) = &self.destination else {
            return;
        };
        if !self.eviction_logged.load(Ordering::Relaxed)
            && store.has_evicted()
            && !self.eviction_logged.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                "the store is full: the oldest traces are evicted from now on; \
                 raise --retention-bytes (--store-memory with --store memory) to keep more"
            );
        }
    }
}

#[cfg(test)]
mod tests;
