//! The calls that a request or a record leads to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::client;
use crate::options::ServiceShape;
use crate::reference::{self, BACKGROUND};

/// A pattern of calls to the backend.
pub(crate) struct BackendCalls {
    shape: ServiceShape,
    backend: SocketAddr,
    background_calls: AtomicU16,
}

/// Paths of the backend; their positions are the steps of references.
const STEPS: [&str; 5] = ["stock", "price", "reserve", "confirm", "refresh"];

const STOCK: usize = 0;
const PRICE: usize = 1;
const RESERVE: usize = 2;
const CONFIRM: usize = 3;
const REFRESH: usize = 4;

/// Attempts of a call that fails.
const MAX_ATTEMPTS: u16 = 3;
/// Longest time between two steps of a request, in microseconds.
const MAX_PAUSE: u64 = 2_000;

// === impl BackendCalls ===

impl BackendCalls {
    pub(crate) const fn new(shape: ServiceShape, backend: SocketAddr) -> Self {
        Self {
            shape,
            backend,
            background_calls: AtomicU16::new(0),
        }
    }

    /// Makes the calls of a request.
    pub(crate) async fn handle(self: &Arc<Self>, request: u64) {
        match self.shape {
            ServiceShape::ThreadPool => {
                let pattern = Arc::clone(self);
                let handled = tokio::task::spawn_blocking(move || pattern.block(request));
                handled.await.unwrap_or_default();
            }
            ServiceShape::FanOut => {
                let [stock, price, reserve] =
                    [STOCK, PRICE, RESERVE].map(|step| self.call(request, step, 0));
                tokio::join!(stock, price, reserve);
                pause().await;
                self.call(request, CONFIRM, 0).await;
            }
            ServiceShape::CacheSkips => {
                self.in_turn(request, fastrand::u8(0..10) < 4).await;
            }
            ServiceShape::Retries => {
                for step in [STOCK, PRICE, RESERVE] {
                    self.retry(request, step).await;
                }
            }
            ServiceShape::ConsumeProduce | ServiceShape::BatchConsumer => {
                pause().await;
                self.call(request, STOCK, 0).await;
            }
            ServiceShape::EventLoop
            | ServiceShape::Async
            | ServiceShape::Timers
            | ServiceShape::Backend
            | ServiceShape::Front => self.in_turn(request, false).await,
        }
    }

    async fn in_turn(&self, request: u64, is_cached: bool) {
        for step in [STOCK, PRICE, RESERVE] {
            pause().await;
            if !(is_cached && step == PRICE) {
                self.call(request, step, 0).await;
            }
        }
        pause().await;
    }

    async fn retry(&self, request: u64, step: usize) {
        for attempt in 0..MAX_ATTEMPTS {
            pause().await;
            if self.call(request, step, attempt).await == Some(200) {
                return;
            }
        }
    }

    fn block(&self, request: u64) {
        for step in [STOCK, PRICE, RESERVE] {
            pause_blocking();
            client::get_blocking(self.backend, &self.path(request, step, 0));
        }
        pause_blocking();
    }

    async fn call(&self, request: u64, step: usize, attempt: u16) -> Option<u16> {
        client::get(self.backend, &self.path(request, step, attempt)).await
    }

    fn path(&self, request: u64, step: usize, attempt: u16) -> String {
        let name = STEPS.get(step).copied().unwrap_or_default();
        // Only a service that repeats its calls has a backend that fails.
        let flaky = if self.shape == ServiceShape::Retries {
            "flaky=1&"
        } else {
            ""
        };
        let step = u8::try_from(step).unwrap_or_default();
        let reference = reference::encode(request, step, attempt);
        format!("/{name}?{flaky}reference={reference}")
    }
}

/// Starts two timers: one makes a call that requests make as well, one a call of its own.
pub(crate) fn start_timers(pattern: &Arc<BackendCalls>) {
    for (step, interval) in [(STOCK, 100), (REFRESH, 250)] {
        let pattern = Arc::clone(pattern);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=2 * interval))).await;
                let number = pattern.background_calls.fetch_add(1, Ordering::Relaxed);
                pattern.call(BACKGROUND, step, number).await;
            }
        });
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(0..=MAX_PAUSE))).await;
}

#[expect(clippy::disallowed_methods, reason = "a blocking service blocks")]
fn pause_blocking() {
    std::thread::sleep(Duration::from_micros(fastrand::u64(0..=MAX_PAUSE)));
}
