//! The exporter as a whole: the sink, the queue, and the thread that sends.
//!
//! Spans are encoded and sent by a thread with a runtime of its own. On a worker of the caller's
//! runtime a batch would delay, by a millisecond, the connections that the worker serves.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use bytes::Bytes;
use throughline_model::{SinkFull, Span, SpanGroup, SpanSink};
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::OtlpClient;
use crate::config::{Config, RetrySettings};
use crate::counts::{ExportCounts, add};
use crate::health::{CollectorHealth, LogLine};
use crate::queue::SpanQueue;
use crate::response::ExportOutcome;
use crate::retry::RetryBackoff;
use crate::tls;

/// Maximum memory of a request that is kept for the next one.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// The name of the sending thread; systems show at most 15 bytes of it.
const THREAD_NAME: &str = "span-export";

/// A background exporter of spans to a collector. Share it in an [`Arc`].
///
/// Ends with [`Exporter::shutdown`]; dropped without it, it ends at once and loses queued spans.
#[derive(Debug)]
pub struct Exporter {
    queue: Arc<SpanQueue>,
    /// Ends the thread, which holds a receiver as long as it runs.
    stop: watch::Sender<bool>,
}

/// The reason why an exporter cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The certificates are invalid.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The system has no thread, or no descriptors, left.
    #[error("cannot start the thread that sends spans; raise the limits of the process")]
    Thread(#[from] io::Error),
}

/// The task that sends batches, one at a time.
struct ExportTask {
    queue: Arc<SpanQueue>,
    client: OtlpClient,
    retry: RetrySettings,
    health: CollectorHealth,
}

// === impl Exporter ===

impl Exporter {
    /// Starts the exporter on a thread of its own. It connects when the first span arrives. Log
    /// lines go to the subscriber of the caller.
    ///
    /// # Errors
    /// When the certificates are invalid, or the thread cannot be started.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let client = OtlpClient::build(config)?;
        let queue = Arc::new(SpanQueue::new(config.batch));
        let health = CollectorHealth::new(config.endpoint.to_string());
        let task = ExportTask {
            queue: Arc::clone(&queue),
            client,
            retry: config.retry,
            health,
        };
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, mut stopped) = watch::channel(false);
        let log = tracing::dispatcher::get_default(Clone::clone);
        let run = move || {
            let _log = tracing::dispatcher::set_default(&log);
            runtime.block_on(async {
                tokio::select! {
                    () = task.run() => {}
                    // Also at the drop of the exporter: the channel is closed then.
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            });
        };
        thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(run)?;
        Ok(Self { queue, stop })
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> ExportCounts {
        self.queue.counts()
    }

    /// Sends the queued spans without waiting for full batches.
    ///
    /// Returns whether all of them were sent or dropped within `timeout`.
    pub async fn flush(&self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.queue.flushed())
            .await
            .is_ok()
    }

    /// Closes the queue and sends the queued spans. Spans that are not sent within `timeout` are
    /// dropped and counted.
    ///
    /// Returns whether there was time for all of them.
    pub async fn shutdown(&self, timeout: Duration) -> bool {
        self.queue.close();
        let is_complete = self.flush(timeout).await;
        // The task must not take another batch while the remaining spans are counted as dropped.
        self.stop.send_replace(true);
        self.stop.closed().await;
        self.queue.abandon();
        is_complete
    }
}

impl SpanSink for Exporter {
    fn try_send(&self, span: Span) -> Result<(), SinkFull> {
        let mut spans = std::iter::once(span);
        match self.queue.push_all(&mut spans) {
            0 => Ok(()),
            _ => Err(SinkFull),
        }
    }

    fn try_send_all(&self, spans: &mut dyn Iterator<Item = Span>) -> usize {
        self.queue.push_all(spans)
    }

    fn try_send_group(&self, group: SpanGroup) -> usize {
        self.queue.push_group(group)
    }
}

// === impl ExportTask ===

impl ExportTask {
    async fn run(mut self) {
        let mut buffer = Vec::new();
        while let Some(batch) = self.queue.next_batch().await {
            let spans = u64::try_from(batch.spans).unwrap_or(u64::MAX);
            let body = self.client.encode(&batch, buffer);
            // Freed before the request, which may be retried for a minute.
            drop(batch);
            self.deliver(&body, spans).await;
            self.queue.complete(spans);
            // Fresh memory for each request costs more than writing the spans into it.
            buffer = body.try_into_mut().map(Vec::from).unwrap_or_default();
            buffer.shrink_to(MAX_KEPT_BYTES);
        }
    }

    /// Sends one batch until it is accepted, rejected, or out of time, and counts the result.
    async fn deliver(&mut self, body: &Bytes, spans: u64) {
        let counters = &self.queue.counters;
        let mut backoff = RetryBackoff::new(self.retry, Instant::now());
        loop {
            let outcome = self.client.send(body.clone()).await;
            let now = Instant::now();
            let interval = match outcome {
                ExportOutcome::Accepted { rejected, message } => {
                    // A collector's count is not trusted beyond the spans that were sent.
                    let rejected = rejected.min(spans);
                    add(&counters.sent, spans - rejected);
                    add(&counters.refused, rejected);
                    let dropped = counters.dropped();
                    log(self.health.record_response(now, dropped));
                    return log(self.health.record_losses(now, dropped, Some(&message)));
                }
                ExportOutcome::Rejected { reason } => {
                    add(&counters.refused, spans);
                    let dropped = counters.dropped();
                    log(self.health.record_response(now, dropped));
                    return log(self.health.record_losses(now, dropped, Some(&reason)));
                }
                ExportOutcome::Retryable {
                    reason,
                    retry_after,
                } => {
                    log(self.health.record_failure(now, &reason));
                    backoff.next_interval(now, retry_after, fastrand::f64())
                }
            };
            let Some(interval) = interval else {
                return add(&counters.unreachable, spans);
            };
            self.queue.wait_for_retry(interval).await;
            add(&counters.retries, 1);
        }
    }
}

fn log(line: Option<LogLine>) {
    match line {
        None => {}
        Some(LogLine::Warn(text)) => tracing::warn!("{text}"),
        Some(LogLine::Info(text)) => tracing::info!("{text}"),
    }
}
