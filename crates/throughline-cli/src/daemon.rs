//! Process setup of the long-running commands: stop signals, logging and the open-file limit.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing_subscriber::EnvFilter;

/// Time that a stop takes at most, whatever is waited for: less than the 30 s after which
/// Kubernetes kills a container.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// The stop of [`run_until_stopped`].
pub(crate) type BoxedStop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Returns a future that completes at the first SIGINT or SIGTERM. The handlers are installed by
/// this call, so a signal that arrives before the first poll is not lost.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stop signal received; draining requests in flight");
    })
}

/// Runs `work` with a stop, after which it has a limited time; [`None`] if it takes longer. Its
/// tasks are left alone then, because the process is about to end.
pub(crate) async fn run_until_stopped<T, F: Future<Output = T>>(
    stop: impl Future<Output = ()> + Send + 'static,
    work: impl FnOnce(BoxedStop) -> F,
) -> Option<T> {
    let stopped = Arc::new(Notify::new());
    let begin = Arc::clone(&stopped);
    let stop = Box::pin(async move {
        stop.await;
        begin.notify_one();
    });
    let deadline = async {
        stopped.notified().await;
        sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        outcome = work(stop) => Some(outcome),
        () = deadline => {
            let seconds = STOP_TIMEOUT.as_secs();
            tracing::warn!("not all has ended {seconds} s after the stop; it is left");
            None
        }
    }
}

/// Returns an environment variable; [`None`] if it is unset or not Unicode.
pub(crate) fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Parses a log filter in the syntax of `tracing`; `name` is the option's, for the error.
pub(crate) fn log_filter(name: &str, text: &str) -> Result<EnvFilter, String> {
    // A filter for one target leaves all others at info.
    let builder = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    builder.parse(text).map_err(|_| {
        format!("{name} {text:?} is not a log filter; write it as info, debug or warn,h2=trace")
    })
}

/// Starts logging to stderr.
pub(crate) fn init_logging(filter: EnvFilter) {
    let ansi = crate::terminal::is_color_enabled(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
}

/// Raises the soft limit of open files to the hard limit, and returns the limit that now holds;
/// [`None`] when there is none.
pub(crate) fn raise_nofile_limit() -> Option<u64> {
    // The soft limit is usually 1024 for programs that use select(2), whose sets end there.
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            // Some sandboxes forbid it; the current limit may be enough.
            tracing::debug!(%error, "cannot raise the open-file limit");
            limit.current
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_has_a_limited_time_after_the_stop() {
        let begin = Instant::now();
        let day = Duration::from_secs(86_400);
        let ended = run_until_stopped(sleep(day), async |stop| {
            stop.await;
            pending::<()>().await;
        });
        assert_eq!(ended.await, None);
        assert_eq!(begin.elapsed(), day + STOP_TIMEOUT);
        let ended = run_until_stopped(ready(()), async |stop| {
            stop.await;
            sleep(STOP_TIMEOUT / 2).await;
            7
        });
        assert_eq!(ended.await, Some(7));
        let ended = run_until_stopped(pending(), async |_| sleep(day).await);
        assert_eq!(ended.await, Some(()));
    }
}
