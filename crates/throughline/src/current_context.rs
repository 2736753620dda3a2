//! The current span in spawned tasks and blocking threads.
//!
//! A future keeps its context across its own `await`s. A *spawned* task or thread is not part of
//! the future that spawned it, and starts with an empty context.

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, WithContext};
use tracing::instrument::{Instrument as _, Instrumented};

/// Attaches the current context and the current `tracing` span to a future, for a task spawner:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Spans inside the task are children of the current one.
/// let task = tokio::task::spawn(throughline::with_current_context(async {}));
/// # task.await.unwrap();
/// # }
/// ```
pub fn with_current_context<F: Future>(future: F) -> Instrumented<WithContext<F>> {
    future.with_context(Context::current()).in_current_span()
}

/// Attaches the current context and the current `tracing` span to a closure, for another thread:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // Spans inside the closure are children of the current one.
/// let thread = tokio::task::spawn_blocking(throughline::with_current_context_fn(|| {}));
/// # thread.await.unwrap();
/// # }
/// ```
pub fn with_current_context_fn<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    // Captured here, on the thread of the caller, and not when the closure runs.
    let (context, span) = (Context::current(), tracing::Span::current());
    move || {
        let _entered = span.enter();
        let _attached = context.attach();
        work()
    }
}
