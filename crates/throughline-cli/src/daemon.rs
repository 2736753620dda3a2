//! Process setup of the long-running commands: stop signals, logging and the open-file limit.

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

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
