//! `throughline up`: the collector, from its arguments to its shutdown.

use std::io::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, anyhow};
use throughline_collector::{
    CollectorAddresses, CollectorBindError, CollectorEndpoint, CollectorServer, Config,
};
use tracing_subscriber::EnvFilter;

use crate::args::up::UpArgs;
use crate::byte_size;
use crate::daemon::{init_logging, log_filter, raise_nofile_limit, stop_signal};
use crate::error::CommandError;

/// Minimum of `--store-memory`: less would hardly hold a single trace.
const MIN_STORE_MEMORY_BYTES: usize = 1 << 20;

/// Runs a collector until SIGINT or SIGTERM.
pub(crate) fn run(args: &UpArgs) -> Result<(), CommandError> {
    let (config, filter) = parse(args).map_err(CommandError::Usage)?;
    init_logging(filter);
    // Each sender keeps a connection open, and file limits of 1024 are usual.
    raise_nofile_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let json = args.json;
    runtime.block_on(async move {
        // Handlers come first: a script may send a signal once it has read the addresses.
        let stop = stop_signal()?;
        let collector = CollectorServer::bind(config)
            .await
            .map_err(|error| bind_error(&error))?;
        print_addresses(collector.addresses(), json).context("cannot write to stdout")?;
        collector.run(stop).await;
        Ok::<_, anyhow::Error>(())
    })?;
    // A query that is still running must not delay the exit.
    runtime.shutdown_background();
    Ok(())
}

/// Parses all arguments.
///
/// # Errors
/// Every error, each with its remedy.
fn parse(args: &UpArgs) -> Result<(Config, EnvFilter), Vec<String>> {
    let mut errors = Vec::new();
    let mut config = Config::default();
    match args.host.parse::<IpAddr>() {
        Ok(host) => config.host = host,
        Err(_) => errors.push(format!(
            "--host {:?} is not an IP address; use 127.0.0.1, or 0.0.0.0 to accept other machines",
            args.host
        )),
    }
    parse_ports(args, &mut config, &mut errors);
    match parse_store_memory(&args.store_memory) {
        Ok(bytes) => config.max_store_bytes = bytes,
        Err(error) => errors.push(error),
    }
    match log_filter("--log", &args.log) {
        // The filter comes last, so that its error is listed with the others.
        Ok(filter) if errors.is_empty() => return Ok((config, filter)),
        Ok(_) => {}
        Err(error) => errors.push(error),
    }
    Err(errors)
}

fn parse_ports(args: &UpArgs, config: &mut Config, errors: &mut Vec<String>) {
    let mut ports: Vec<(CollectorEndpoint, u16)> = Vec::new();
    for (listener, text) in port_arguments(args) {
        let option = port_option(listener);
        let Ok(port) = text.parse::<u16>() else {
            errors.push(format!(
                "{option} {text:?} is not a port; use a number from 1 to 65535, or 0 for a free one"
            ));
            continue;
        };
        // Port 0 may be used repeatedly: each time another free port is assigned.
        let taken = ports.iter().find(|(_, other)| *other == port && port != 0);
        if let Some((taken, _)) = taken {
            let taken = port_option(*taken);
            errors.push(format!(
                "{option} {port} is also the port of {taken}; use another one"
            ));
        }
        ports.push((listener, port));
    }
    // Set at the end: until then a duplicate may still be found.
    for (listener, port) in ports {
        *port_mut(config, listener) = port;
    }
}

const fn port_arguments(args: &UpArgs) -> [(CollectorEndpoint, &String); 4] {
    [
        (CollectorEndpoint::OtlpGrpc, &args.otlp_grpc_port),
        (CollectorEndpoint::OtlpHttp, &args.otlp_http_port),
        (CollectorEndpoint::Zipkin, &args.zipkin_port),
        (CollectorEndpoint::Query, &args.query_port),
    ]
}

const fn port_mut(config: &mut Config, listener: CollectorEndpoint) -> &mut u16 {
    match listener {
        CollectorEndpoint::OtlpGrpc => &mut config.otlp_grpc_port,
        CollectorEndpoint::OtlpHttp => &mut config.otlp_http_port,
        CollectorEndpoint::Zipkin => &mut config.zipkin_port,
        CollectorEndpoint::Query => &mut config.query_port,
    }
}

const fn port_option(listener: CollectorEndpoint) -> &'static str {
    match listener {
        CollectorEndpoint::OtlpGrpc => "--otlp-grpc-port",
        CollectorEndpoint::OtlpHttp => "--otlp-http-port",
        CollectorEndpoint::Zipkin => "--zipkin-port",
        CollectorEndpoint::Query => "--query-port",
    }
}

fn parse_store_memory(text: &str) -> Result<usize, String> {
    match byte_size::parse(text) {
        Some(bytes) if bytes >= MIN_STORE_MEMORY_BYTES => Ok(bytes),
        Some(_) => Err(format!(
            "--store-memory {text} is too small for a trace; use 1MiB or more"
        )),
        None => Err(format!(
            "--store-memory {text:?} is not a size; write it as 512MiB or 2GiB"
        )),
    }
}

/// Returns the error for a port that cannot be bound, with the option that changes it.
fn bind_error(error: &CollectorBindError) -> anyhow::Error {
    let (option, address) = (port_option(error.endpoint), error.address);
    // By far the most frequent cause: a second collector, or Jaeger on the same ports.
    if error.source.kind() == std::io::ErrorKind::AddrInUse {
        let port = address.port();
        anyhow!(
            "port {port} is in use by another program; choose another one with {option}, or 0 for \
             a free one"
        )
    } else {
        let source = &error.source;
        anyhow!(
            "cannot listen on {address}: {source}; choose another port with {option} or another \
             address with --host"
        )
    }
}

/// Prints the addresses: one line of JSON for scripts, or text.
fn print_addresses(addresses: CollectorAddresses, json: bool) -> std::io::Result<()> {
    let CollectorAddresses {
        otlp_grpc,
        otlp_http,
        zipkin,
        query,
    } = addresses;
    let mut out = std::io::stdout().lock();
    if json {
        // The keys are those of the metric labels, so that scripts need one list of names.
        let line = serde_json::json!({
            CollectorEndpoint::OtlpGrpc.label(): otlp_grpc,
            CollectorEndpoint::OtlpHttp.label(): otlp_http,
            CollectorEndpoint::Zipkin.label(): zipkin,
            CollectorEndpoint::Query.label(): query,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "The collector is up.")?;
        writeln!(out, "  Web UI     http://{query}")?;
        writeln!(out, "  OTLP/HTTP  http://{otlp_http}/v1/traces")?;
        writeln!(out, "  OTLP/gRPC  http://{otlp_grpc}")?;
        writeln!(out, "  Zipkin     http://{zipkin}/api/v2/spans")?;
        writeln!(
            out,
            "Press Ctrl-C to stop. Traces are kept in memory only and are lost then."
        )?;
    }
    out.flush()
}
