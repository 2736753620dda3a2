//! Taking the current span along into work that runs elsewhere: spawned tasks and blocking threads.
//!
//! A future keeps its context across its own `await`s. A *spawned* task or thread is not part of the future that spawned
//! it and starts with an empty context; that is what these two helpers are for.

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, WithContext};

/// The future, with the context that is current now. Wrap what is handed to a task spawner:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let task = tokio::task::spawn(throughline::carry(async { /* spans in here are children of the current one */ }));
/// # task.await.unwrap();
/// # }
/// ```
pub fn carry<F: Future>(future: F) -> WithContext<F> {
    future.with_context(Context::current())
}

/// The closure, with the context that is current now. Wrap what is handed to another thread:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let thread = tokio::task::spawn_blocking(throughline::carry_fn(|| { /* likewise */ }));
/// # thread.await.unwrap();
/// # }
/// ```
pub fn carry_fn<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let context = Context::current();
    move || {
        let _attached = context.attach();
        work()
    }
}
