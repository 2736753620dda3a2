//! How a body becomes spans in the store: admitted, read, inflated, decoded, kept; each step capped.
//!
//! All doors go through here, so the caps hold for all of them together.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body_util::BodyExt as _;
use throughline_otlp::{DecodedSpans, RejectedSpans};
use throughline_store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Door, Limits};
use crate::metrics::{Counter, Metrics};

/// The way from a body to the store.
pub(crate) struct Intake {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
    limits: Limits,
    /// Places for requests.
    places: Arc<Semaphore>,
    /// Memory for bodies, in [`UNIT`]s.
    memory: Arc<Semaphore>,
    /// Turns at decoding, which takes many times the memory of the body.
    turns: Arc<Semaphore>,
    told_of_eviction: AtomicBool,
}

/// Why a request is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// No place or memory for it now; the client is to come back later.
    #[error("the collector is busy, try again later")]
    Busy,
    /// It is too large, as it came or once inflated.
    #[error("the body is larger than {0} bytes, as sent or inflated")]
    TooLarge(usize),
    /// Its body took too long to come.
    #[error("the body did not arrive in time")]
    Slow,
    /// The connection broke, or the client broke its protocol.
    #[error("the body could not be read: {0}")]
    Broken(#[source] axum::Error),
    /// It is compressed in a way we do not know.
    #[error("content encoding {0:?} is not supported; use gzip or none")]
    Encoding(String),
    /// It says it is gzip and is not.
    #[error("the body is not gzip: {0}")]
    Gzip(#[source] std::io::Error),
    /// It cannot be decoded.
    #[error("{0}")]
    Malformed(String),
    /// Our own fault.
    #[error("the collector failed to decode the body")]
    Internal,
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

/// A body that was let in, with what it holds of our memory.
#[derive(Debug)]
pub(crate) struct Admitted {
    bytes: Vec<u8>,
    lease: Lease,
}

/// A request's place and memory, given back when dropped.
#[derive(Debug)]
struct Lease {
    _place: OwnedSemaphorePermit,
    memory: Arc<Semaphore>,
    held: Vec<OwnedSemaphorePermit>,
    room: usize,
}

// === impl Intake ===

impl Intake {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>, limits: Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.requests_max));
        let memory = Arc::new(Semaphore::new(limits.in_flight_max / UNIT));
        let turns = Arc::new(Semaphore::new(limits.decodings_max));
        Self {
            store,
            metrics,
            limits,
            places,
            memory,
            turns,
            told_of_eviction: AtomicBool::new(false),
        }
    }

    /// Lets a request in and reads its body.
    pub(crate) async fn admit(&self, body: Body) -> Result<Admitted, Refusal> {
        let place = tokio::time::timeout(
            self.limits.admission_wait,
            Arc::clone(&self.places).acquire_owned(),
        );
        let Ok(Ok(place)) = place.await else {
            self.discard(body).await;
            return Err(Refusal::Busy);
        };
        let lease = Lease {
            _place: place,
            memory: Arc::clone(&self.memory),
            held: Vec::new(),
            room: 0,
        };
        tokio::time::timeout(self.limits.body_deadline, self.read(body, lease))
            .await
            .map_err(|_| Refusal::Slow)?
    }

    /// Lets a request in that says in a header how its body is compressed.
    pub(crate) async fn admit_encoded(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Encoding, Admitted), Refusal> {
        match Encoding::of(headers) {
            Ok(encoding) => Ok((encoding, self.admit(body).await?)),
            Err(refusal) => {
                self.discard(body).await;
                Err(refusal)
            }
        }
    }

    async fn read(&self, mut body: Body, mut lease: Lease) -> Result<Admitted, Refusal> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame.map_err(Refusal::Broken)?.into_data() else {
                continue;
            };
            let refusal = if bytes.len() + chunk.len() > self.limits.body_max {
                Refusal::TooLarge(self.limits.body_max)
            } else if !lease.grow(chunk.len()) {
                Refusal::Busy
            } else {
                bytes.extend_from_slice(&chunk);
                continue;
            };
            self.discard(body).await;
            return Err(refusal);
        }
        Ok(Admitted { bytes, lease })
    }

    /// Reads what is left of a refused body, up to as much as is allowed and as long: a client that is still sending when we close
    /// gets a reset in place of our answer, and sends the same again.
    pub(crate) async fn discard(&self, mut body: Body) {
        let read = async {
            let mut left = self.limits.body_max;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, |data| data.len());
                let Some(rest) = left.checked_sub(length) else {
                    return;
                };
                left = rest;
            }
        };
        tokio::time::timeout(self.limits.body_deadline, read)
            .await
            .unwrap_or_default();
    }

    /// Inflates and decodes a body, and keeps its spans; off the threads that serve connections.
    pub(crate) async fn keep<F>(
        self: &Arc<Self>,
        door: Door,
        body: Admitted,
        encoding: Encoding,
        decode: F,
    ) -> Result<RejectedSpans, Refusal>
    where
        F: FnOnce(&[u8]) -> Result<DecodedSpans, Refusal> + Send + 'static,
    {
        let intake = Arc::clone(self);
        // The semaphore is never closed.
        let turn = Arc::clone(&self.turns).acquire_owned().await.ok();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let body = match encoding {
                Encoding::Identity => body,
                Encoding::Gzip => inflate(&body.bytes, body.lease, intake.limits.body_max)?,
            };
            let decoded = decode(&body.bytes)?;
            intake
                .metrics
                .add(Counter::Received(door), decoded.spans.len() as u64);
            for (reason, count) in decoded.rejected.iter() {
                if intake
                    .metrics
                    .add(Counter::Rejected(door, reason.label()), count)
                {
                    let door = door.label();
                    tracing::warn!(
                        door,
                        "rejected a span: {reason}; more like it are only counted, in /metrics"
                    );
                }
            }
            intake.store.insert(decoded.spans);
            intake.tell_of_eviction();
            Ok(decoded.rejected)
        });
        work.await.unwrap_or(Err(Refusal::Internal))
    }

    /// Says once that the store is full, since what is let go is missed by someone.
    fn tell_of_eviction(&self) {
        if self.store.occupancy().evicted_traces > 0
            && !self.told_of_eviction.swap(true, Ordering::Relaxed)
        {
            tracing::info!(
                "the store is full: from now on the oldest traces go; --store-memory gives it more room"
            );
        }
    }

    /// How long a client that was turned away should wait.
    pub(crate) const fn retry_after(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// Inflates gzip, member after member, up to `most` bytes.
fn inflate(bytes: &[u8], mut lease: Lease, most: usize) -> Result<Admitted, Refusal> {
    let mut out = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    let mut decoder = MultiGzDecoder::new(bytes);
    loop {
        let length = decoder.read(&mut chunk).map_err(Refusal::Gzip)?;
        let Some(data) = chunk.get(..length).filter(|data| !data.is_empty()) else {
            break;
        };
        if out.len() + data.len() > most {
            return Err(Refusal::TooLarge(most));
        }
        if !lease.grow(data.len()) {
            return Err(Refusal::Busy);
        }
        out.extend_from_slice(data);
    }
    Ok(Admitted { bytes: out, lease })
}

// === impl Encoding ===

impl Encoding {
    /// From the header `content-encoding`.
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"" | b"identity") => Ok(Self::Identity),
            Some(b"gzip" | b"x-gzip") => Ok(Self::Gzip),
            Some(other) => Err(Refusal::Encoding(
                String::from_utf8_lossy(other).into_owned(),
            )),
        }
    }
}

// === impl Admitted, Lease ===

impl Admitted {
    /// The body as it came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the first bytes of the body.
    pub(crate) fn skip(&mut self, length: usize) {
        self.bytes.drain(..length.min(self.bytes.len()));
    }
}

impl Lease {
    /// Takes memory for `length` more bytes; `false` when there is none.
    fn grow(&mut self, length: usize) -> bool {
        let Some(missing) = length.checked_sub(self.room).filter(|missing| *missing > 0) else {
            self.room = self.room.saturating_sub(length);
            return true;
        };
        let units = missing.div_ceil(UNIT);
        let permit = u32::try_from(units)
            .ok()
            .and_then(|units| Arc::clone(&self.memory).try_acquire_many_owned(units).ok());
        let Some(permit) = permit else { return false };
        self.room = units * UNIT - missing;
        self.held.push(permit);
        true
    }
}

/// Memory is leased in pieces of so many bytes.
const UNIT: usize = 64 << 10;

#[cfg(test)]
mod tests;
