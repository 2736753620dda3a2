//! `throughline up`: the collector, from its options to its end.

use std::io::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, anyhow};
use throughline_collector::{
    CollectorAddresses, CollectorBindError, CollectorEndpoint, CollectorServer, Config,
};
use tracing_subscriber::EnvFilter;

use crate::Failure;
use crate::args::Up;
use crate::daemon::{log, log_filter, stop_signal};

/// Runs a collector until it is told to stop by SIGINT or SIGTERM.
pub(crate) fn run(args: &Up) -> Result<(), Failure> {
    let (config, filter) = configure(args)?;
    log(filter);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    let json = args.json;
    runtime.block_on(async move {
        // Before the addresses are told, so that no signal is missed by one who read them.
        let stop = stop_signal()?;
        let collector = CollectorServer::bind(config)
            .await
            .map_err(|error| explain(&error))?;
        announce(collector.addresses(), json).context("cannot print the addresses")?;
        collector.run(stop).await;
        Ok::<_, anyhow::Error>(())
    })?;
    // A query that still runs must not hold the end up.
    runtime.shutdown_background();
    Ok(())
}

/// Understands all options, or lists every mistake in them.
fn configure(args: &Up) -> Result<(Config, EnvFilter), Failure> {
    let mut mistakes = Vec::new();
    let mut config = Config::default();
    match args.host.parse::<IpAddr>() {
        Ok(host) => config.host = host,
        Err(_) => mistakes.push(format!(
            "--host {:?} is no IP address; use 127.0.0.1, or 0.0.0.0 to let other machines in",
            args.host
        )),
    }
    let mut ports: Vec<(CollectorEndpoint, u16)> = Vec::new();
    for (door, text) in doors(args) {
        match text.parse::<u16>() {
            Ok(port) => {
                if let Some((taken, _)) =
                    ports.iter().find(|(_, other)| *other == port && port != 0)
                {
                    let (own, taken) = (option(door), option(*taken));
                    mistakes.push(format!(
                        "{own} {port} is the port of {taken} as well; give it another one"
                    ));
                }
                ports.push((door, port));
            }
            Err(_) => mistakes.push(format!(
                "{} {text:?} is no port; use a number from 1 to 65535, or 0 for any free port",
                option(door)
            )),
        }
    }
    for (door, port) in ports {
        *port_of(&mut config, door) = port;
    }
    match memory(&args.store_memory) {
        Ok(bytes) => config.max_store_bytes = bytes,
        Err(mistake) => mistakes.push(mistake),
    }
    match log_filter("--log", &args.log) {
        Ok(filter) if mistakes.is_empty() => Ok((config, filter)),
        Ok(_) => Err(Failure::Usage(mistakes)),
        Err(mistake) => {
            mistakes.push(mistake);
            Err(Failure::Usage(mistakes))
        }
    }
}

const fn doors(args: &Up) -> [(CollectorEndpoint, &String); 4] {
    [
        (CollectorEndpoint::OtlpGrpc, &args.otlp_grpc_port),
        (CollectorEndpoint::OtlpHttp, &args.otlp_http_port),
        (CollectorEndpoint::Zipkin, &args.zipkin_port),
        (CollectorEndpoint::Query, &args.query_port),
    ]
}

const fn port_of(config: &mut Config, door: CollectorEndpoint) -> &mut u16 {
    match door {
        CollectorEndpoint::OtlpGrpc => &mut config.otlp_grpc_port,
        CollectorEndpoint::OtlpHttp => &mut config.otlp_http_port,
        CollectorEndpoint::Zipkin => &mut config.zipkin_port,
        CollectorEndpoint::Query => &mut config.query_port,
    }
}

/// The option that sets a door's port.
const fn option(door: CollectorEndpoint) -> &'static str {
    match door {
        CollectorEndpoint::OtlpGrpc => "--otlp-grpc-port",
        CollectorEndpoint::OtlpHttp => "--otlp-http-port",
        CollectorEndpoint::Zipkin => "--zipkin-port",
        CollectorEndpoint::Query => "--query-port",
    }
}

fn memory(text: &str) -> Result<usize, String> {
    match crate::size::parse(text) {
        Some(bytes) if bytes >= MEMORY_MIN => Ok(bytes),
        Some(_) => Err(format!(
            "--store-memory {text} is too little to keep a trace in; give it 1MiB or more"
        )),
        None => Err(format!(
            "--store-memory {text:?} is no size; write it as 512MiB or 2GiB"
        )),
    }
}

/// Says which port is taken and how to have another.
fn explain(error: &CollectorBindError) -> anyhow::Error {
    let (option, address) = (option(error.endpoint), error.address);
    if error.source.kind() == std::io::ErrorKind::AddrInUse {
        let port = address.port();
        anyhow!(
            "port {port} is in use by another program; choose another with {option} PORT, or 0 for any free one"
        )
    } else {
        let source = &error.source;
        anyhow!(
            "cannot listen on {address}: {source}; choose another port with {option} or address with --host"
        )
    }
}

/// Tells where the collector is: one line of JSON for scripts, or words.
fn announce(addresses: CollectorAddresses, json: bool) -> std::io::Result<()> {
    let CollectorAddresses {
        otlp_grpc,
        otlp_http,
        zipkin,
        query,
    } = addresses;
    let mut out = std::io::stdout().lock();
    if json {
        let line = serde_json::json!({
            CollectorEndpoint::OtlpGrpc.label(): otlp_grpc,
            CollectorEndpoint::OtlpHttp.label(): otlp_http,
            CollectorEndpoint::Zipkin.label(): zipkin,
            CollectorEndpoint::Query.label(): query,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "Throughline is up.")?;
        writeln!(out, "  Traces         http://{query}")?;
        writeln!(out, "  OTLP over HTTP http://{otlp_http}")?;
        writeln!(out, "  OTLP over gRPC http://{otlp_grpc}")?;
        writeln!(out, "  Zipkin         http://{zipkin}/api/v2/spans")?;
        writeln!(
            out,
            "Ctrl-C ends it. Traces are kept in memory and end with it."
        )?;
    }
    out.flush()
}

/// Less memory than this holds no trace worth the name.
const MEMORY_MIN: usize = 1 << 20;
