//! `throughline sidecar`: the sidecar proxy, from its configuration to its shutdown.

mod config;
mod raw_config;
#[cfg(test)]
mod reference;
mod reload;
mod start_message;

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use throughline_export::Exporter;
use throughline_model::SpanSink;
use throughline_proxy::{ExporterCounts, ListenerPurpose, Proxy, ProxyBindError};

use self::config::SidecarConfig;
use self::raw_config::RawConfig;
use self::reload::ConfigReloader;
use self::start_message::StartMessage;
use crate::daemon::{environment_variable, init_logging, raise_nofile_limit, stop_signal};
use crate::error::CommandError;

/// Time to export the spans in the queue at shutdown.
const EXPORT_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Open files besides client connections: ports, the collector, the runtime, metrics.
const RESERVED_FILES: u64 = 256;

/// Open files of a client connection: the client's socket and the one to the upstream.
const FILES_PER_CONNECTION: u64 = 2;

/// Runs a sidecar until SIGINT or SIGTERM.
pub(crate) fn run() -> Result<(), CommandError> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let raw = RawConfig::load(&arguments, &environment_variable).map_err(CommandError::Usage)?;
    let config = config::parse(&raw, &environment_variable).map_err(CommandError::Usage)?;
    // Before logging starts and before any file is created.
    if raw.options.check {
        return Ok(print_valid(&raw).context("cannot write to stdout")?);
    }
    let SidecarConfig {
        proxy,
        export,
        log_filter,
    } = config;
    init_logging(log_filter);
    for warning in &raw.warnings {
        tracing::warn!("{warning}");
    }
    // Here and not at the first assignment: a read-only volume is an error at the start.
    create_state_dir(&raw)?;
    let max_connections = proxy.limits.max_connections;
    check_nofile_limit(max_connections, raw.is_set("connections"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(serve(raw, arguments, proxy, &export))?;
    runtime.shutdown_background();
    Ok(())
}

/// Checks the arguments of a command line, from the program's name on, without starting.
///
/// # Errors
/// Every error, each with its remedy.
pub(crate) fn check(arguments: &[OsString]) -> Result<(), Vec<String>> {
    let raw = RawConfig::load(arguments, &|_| None)?;
    config::parse(&raw, &|_| None).map(drop)
}

/// Returns the definition of the command, with its options.
pub(crate) fn definition() -> clap::Command {
    raw_config::command()
}

/// Binds, announces and serves; then flushes the exporter.
async fn serve(
    raw: RawConfig,
    arguments: Vec<OsString>,
    config: throughline_proxy::Config,
    export: &throughline_export::Config,
) -> anyhow::Result<()> {
    // Handlers come before the start message, so that a script that has read it can send a signal.
    let stop = stop_signal()?;
    let exporter = Arc::new(Exporter::start(export).context("cannot set up TLS to the collector")?);
    // The proxy reads the exporter's counters whenever its metrics are scraped.
    let counters = Arc::clone(&exporter);
    let sink: Arc<dyn SpanSink> = Arc::<Exporter>::clone(&exporter);
    // The configuration is moved into the proxy; the start message needs these parts.
    let listeners = config.listeners.clone();
    let http_listeners = config.http.listeners.clone();
    let proxy = Proxy::bind(config, sink)
        .await
        .map_err(|error| bind_error(&error))?;
    let proxy = proxy.with_exporter_counts(move || exporter_counters(&counters));
    // From here on SIGHUP reloads; its default action would end the process.
    let reloader = ConfigReloader::new(raw.clone(), arguments, proxy.control())?;
    let message = StartMessage {
        raw: &raw,
        addresses: proxy.addresses(),
        listeners: &listeners,
        http_listeners: &http_listeners,
        collector: &export.endpoint,
    };
    message.print().context("cannot write to stdout")?;
    let reloads = tokio::spawn(reloader.run());
    proxy.run(stop).await;
    // A reload during the drain would have no effect.
    reloads.abort();
    if !exporter.shutdown(EXPORT_FLUSH_TIMEOUT).await {
        tracing::warn!("shutdown dropped spans: the collector did not accept them in time");
    }
    Ok(())
}

fn print_valid(raw: &RawConfig) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for warning in &raw.warnings {
        writeln!(out, "Warning: {warning}")?;
    }
    writeln!(out, "The configuration is valid.")?;
    out.flush()
}

fn create_state_dir(raw: &RawConfig) -> anyhow::Result<()> {
    let Some(dir) = &raw.options.state_dir else {
        return Ok(());
    };
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot create the directory of --state-dir, {dir}"))
}

/// Raises the open-file limit, and warns if it is too low for a number of connections that was
/// asked for. With the default number, it is reported when a connection cannot be accepted.
fn check_nofile_limit(max_connections: usize, is_explicit: bool) {
    let Some(limit) = raise_nofile_limit() else {
        return;
    };
    // An unlimited number of files is `None` above.
    let possible = limit.saturating_sub(RESERVED_FILES) / FILES_PER_CONNECTION;
    let is_too_low = u64::try_from(max_connections).is_ok_and(|wanted| possible < wanted);
    if is_too_low && is_explicit {
        warn_low_nofile(limit, possible);
    } else if is_too_low {
        tracing::debug!(limit, possible, "open-file limit is below --connections");
    }
}

fn warn_low_nofile(limit: u64, possible: u64) {
    tracing::warn!(
        limit,
        possible,
        "open-file limit is too low for --connections; raise the hard limit (ulimit -Hn)"
    );
}

/// Returns the exporter's counters for the proxy's metrics. Spans that its full queue rejects are
/// counted by the proxy itself.
fn exporter_counters(exporter: &Exporter) -> ExporterCounts {
    let counts = exporter.counts();
    let dropped = counts
        .dropped
        .by_reason()
        .into_iter()
        // The proxy sees the rejection first, and would count it twice.
        .filter(|(reason, _)| *reason != "queue_full")
        .collect();
    ExporterCounts {
        sent: counts.sent,
        queued: counts.queued,
        dropped,
    }
}

/// Returns the error for an address that cannot be bound, with the option that changes it.
fn bind_error(error: &ProxyBindError) -> anyhow::Error {
    let ProxyBindError {
        purpose,
        address,
        source,
    } = error;
    let option = match purpose {
        ListenerPurpose::Kafka => "--listen",
        ListenerPurpose::Http => "--inbound or --outbound",
        ListenerPurpose::Admin => "--admin",
    };
    if source.kind() != std::io::ErrorKind::AddrInUse {
        return anyhow!(
            "cannot listen on {address}: {source}; choose another address with {option}"
        );
    }
    // With `--inbound 8080` the service usually still listens on that port itself.
    let hint = if *purpose == ListenerPurpose::Http {
        " (if it is the service itself, let it listen on another port)"
    } else {
        ""
    };
    anyhow!("{address} is in use by another program{hint}; choose another address with {option}")
}
