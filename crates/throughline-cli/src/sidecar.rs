//! `throughline sidecar`: the proxy for Kafka clients, from its options to its end.

mod announce;
mod check;
mod file;
mod options;
#[cfg(test)]
mod reference;
mod reload;

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use throughline_export::Exporter;
use throughline_model::SpanSink;
use throughline_proxy::{ExporterCounts, ListenerPurpose, ListenerRoute, Proxy, ProxyBindError};

pub(crate) use self::options::Sidecar;

use self::check::Plan;
use self::file::Told;
use self::reload::Reload;
use crate::Failure;
use crate::daemon::{log, raise_open_files, stop_signal};

/// Runs a sidecar until it is told to stop by SIGINT or SIGTERM.
pub(crate) fn run() -> Result<(), Failure> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let told = Told::new(&arguments).map_err(Failure::Usage)?;
    let plan = check::plan(&told, &variable).map_err(Failure::Usage)?;
    if told.options.check {
        return Ok(say("The configuration is right.").context("cannot print")?);
    }
    let Plan {
        proxy: config,
        export,
        filter,
    } = plan;
    log(filter);
    make_state_dir(&told)?;
    heed_open_files(config.limits.max_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async move {
        // Before the addresses are told, so that no signal is missed by one who read them.
        let stop = stop_signal()?;
        let exporter =
            Arc::new(Exporter::start(&export).context("cannot set up TLS to the collector")?);
        let counts = Arc::clone(&exporter);
        let sink: Arc<dyn SpanSink> = Arc::<Exporter>::clone(&exporter);
        let routes: Vec<ListenerRoute> = config
            .listeners
            .iter()
            .map(|listener| listener.route.clone())
            .collect();
        let requests = config.http.listeners.clone();
        let proxy = Proxy::bind(config, sink)
            .await
            .map_err(|error| explain(&error))?;
        let proxy = proxy.with_exporter_counts(move || exported(&counts));
        // SIGHUP is heard from here on, and does not end us as it would by default.
        let reload = Reload::new(told.clone(), arguments, proxy.control())?;
        announce::announce(
            &told,
            proxy.addresses(),
            &routes,
            &requests,
            &export.endpoint,
        )
        .context("cannot print the addresses")?;
        let watcher = tokio::spawn(reload.run());
        proxy.run(stop).await;
        watcher.abort();
        if !exporter.shutdown(FLUSH).await {
            tracing::warn!("some spans were not sent: the collector did not take them in time");
        }
        Ok::<_, anyhow::Error>(())
    })?;
    runtime.shutdown_background();
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

fn make_state_dir(told: &Told) -> anyhow::Result<()> {
    let Some(dir) = &told.options.state_dir else {
        return Ok(());
    };
    std::fs::create_dir_all(dir)
        .with_context(|| format!("cannot make the folder of --state-dir, {dir}"))
}

/// Each connection takes two files, and the ports take one each.
fn heed_open_files(connections: usize) {
    let Some(files) = raise_open_files() else {
        return;
    };
    let possible = files.saturating_sub(FILES_BESIDES) / 2;
    if u64::try_from(connections).is_ok_and(|connections| possible < connections) {
        tracing::warn!(
            files,
            possible,
            "the system allows fewer connections than --connections; raise its limit of open files (ulimit -n)"
        );
    }
}

/// What the exporter tells, in the words of the proxy's metrics. What it refused for want of room the proxy counts itself.
fn exported(exporter: &Exporter) -> ExporterCounts {
    let counts = exporter.counts();
    let dropped = counts
        .dropped
        .by_reason()
        .into_iter()
        .filter(|(reason, _)| *reason != "queue_full")
        .collect();
    ExporterCounts {
        sent: counts.sent,
        queued: counts.queued,
        dropped,
    }
}

/// Says which address is taken and how to have another.
fn explain(error: &ProxyBindError) -> anyhow::Error {
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
    if source.kind() == std::io::ErrorKind::AddrInUse {
        let whose = if *purpose == ListenerPurpose::Http {
            " (if that is the service itself, let it listen at another port)"
        } else {
            ""
        };
        anyhow!(
            "{address} is in use by another program{whose}; choose another address with {option}"
        )
    } else {
        anyhow!("cannot listen on {address}: {source}; choose another address with {option}")
    }
}

/// How long spans that wait may take to be sent at the end.
const FLUSH: Duration = Duration::from_secs(5);

/// Files that are no connections of clients: ports, the collector, the runtime, metrics.
const FILES_BESIDES: u64 = 256;
