//! What the commands that stay have in common: their log, and the signals that end them.

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Completes at the first SIGINT or SIGTERM. Signals count from this call on, not from the first wait.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("told to stop; requests under way may end");
    })
}

/// What is logged, in the notation of `tracing`. `name` is the option's.
pub(crate) fn log_filter(name: &str, text: &str) -> Result<EnvFilter, String> {
    let builder = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into());
    builder.parse(text).map_err(|_| {
        format!("{name} {text:?} cannot be understood; write it as info, debug or warn,h2=trace")
    })
}

/// Logs to stderr.
pub(crate) fn log(filter: EnvFilter) {
    let ansi = crate::terminal::is_coloured(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        .init();
}

/// Takes as many open files as the system allows us: most begin with 1024, for the sake of programs that use `select`. Says how many
/// there are now, if there is a limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of open files");
            limit.current
        }
    }
}
