//! The exporter as a whole: the sink in front, the queue, and the one task that sends.

use std::sync::Arc;
use std::time::Duration;

use throughline_model::{SinkFull, Span, SpanSink};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{Config, Retry};
use crate::counts::{Counts, add};
use crate::health::{Health, Line};
use crate::queue::Queue;
use crate::retry::Backoff;
use crate::transport::{Outcome, TlsError, Transport};

/// Sends spans to a collector, in the background. Cheap to share in an [`Arc`].
///
/// Ends with [`Exporter::shutdown`]; dropped without it, it ends at once and what still waits is lost.
#[derive(Debug)]
pub struct Exporter {
    queue: Arc<Queue>,
    sending: JoinHandle<()>,
}

/// The task that sends.
struct Sender {
    queue: Arc<Queue>,
    transport: Transport,
    retry: Retry,
    health: Health,
}

// === impl Exporter ===

impl Exporter {
    /// Starts the task that sends, on the runtime of the caller. Nothing is connected before there is a span.
    ///
    /// # Errors
    /// When the certificates cannot be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and IO.
    pub fn start(config: &Config) -> Result<Self, TlsError> {
        let transport = Transport::build(config)?;
        let queue = Arc::new(Queue::new(config.batching));
        let health = Health::new(config.endpoint.to_string());
        let sender = Sender {
            queue: Arc::clone(&queue),
            transport,
            retry: config.retry,
            health,
        };
        Ok(Self {
            queue,
            sending: tokio::spawn(sender.run()),
        })
    }

    /// What has become of the spans so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.queue.counts()
    }

    /// Sends what waits now without waiting for more. Tells whether all of it was sent or given up within this time.
    pub async fn flush(&self, within: Duration) -> bool {
        tokio::time::timeout(within, self.queue.flushed())
            .await
            .is_ok()
    }

    /// Takes no more spans and sends what waits. What is not sent within this time is dropped and counted; tells whether there was
    /// none.
    pub async fn shutdown(&self, within: Duration) -> bool {
        self.queue.close();
        let all = self.flush(within).await;
        self.sending.abort();
        self.queue.abandon();
        all
    }
}

impl SpanSink for Exporter {
    fn try_send(&self, span: Span) -> Result<(), SinkFull> {
        self.queue.push(span)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

// === impl Sender ===

impl Sender {
    async fn run(mut self) {
        while let Some(batch) = self.queue.next_batch().await {
            let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let body = self.transport.body(&batch);
            drop(batch);
            self.deliver(body, spans).await;
            self.queue.settle(spans);
        }
    }

    /// Sends one batch until it is taken, refused, or has had its time; and counts it.
    async fn deliver(&mut self, body: bytes::Bytes, spans: u64) {
        let counters = &self.queue.counters;
        let mut backoff = Backoff::new(self.retry, Instant::now());
        loop {
            let outcome = self.transport.send(body.clone()).await;
            let now = Instant::now();
            let pause = match outcome {
                Outcome::Taken { refused, message } => {
                    let refused = refused.min(spans);
                    add(&counters.sent, spans - refused);
                    add(&counters.refused, refused);
                    say(self.health.reached(now, counters.dropped()));
                    return say(self.health.lost(now, counters.dropped(), Some(&message)));
                }
                Outcome::Refused { reason } => {
                    add(&counters.refused, spans);
                    say(self.health.reached(now, counters.dropped()));
                    return say(self.health.lost(now, counters.dropped(), Some(&reason)));
                }
                Outcome::Failed { reason, asked } => {
                    say(self.health.failed(now, &reason));
                    backoff.pause(now, asked, fastrand::f64())
                }
            };
            let Some(pause) = pause else {
                return add(&counters.unreachable, spans);
            };
            self.queue.pause(pause).await;
            add(&counters.retries, 1);
        }
    }
}

fn say(line: Option<Line>) {
    match line {
        None => {}
        Some(Line::Warn(text)) => tracing::warn!("{text}"),
        Some(Line::Info(text)) => tracing::info!("{text}"),
    }
}
