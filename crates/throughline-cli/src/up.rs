//! `throughline up`: the collector, from its arguments to its shutdown.

mod access;
pub(crate) mod kafka;

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use throughline_collector::{
    AccessControl, CollectorAddresses, CollectorBindError, CollectorEndpoint, CollectorServer,
    CollectorTls, Config, JaegerPorts, ListenerPort, SpanDestination, WeavingMode, WeavingSettings,
};
use throughline_model::duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use self::access::{AccessFiles, AccessReloader, exposure_warnings};
use self::kafka::SpanRoute;
use crate::args::up::UpArgs;
use crate::daemon::{init_logging, log_filter, raise_nofile_limit, run_until_stopped, stop_signal};
use crate::error::CommandError;
use crate::forward::ForwardTarget;
use crate::store::StoreChoice;

/// Maximum of `--weave-wait`, in nanoseconds: events that wait take memory.
const MAX_WEAVE_WAIT: u64 = 600_000_000_000;

/// Default of `--max-client-connections` on an address that others reach: a quarter of all.
const MAX_CLIENT_CONNECTIONS: usize = 256;

/// Port for queries over gRPC; Jaeger's.
const QUERY_GRPC_PORT: ListenerPort = ListenerPort::IfFree(16685);

/// Value of an optional port that is to stay closed.
const PORT_OFF: &str = "off";

/// Runs a collector until SIGINT or SIGTERM.
pub(crate) fn run(args: &UpArgs) -> Result<(), CommandError> {
    let ParsedUp {
        mut config,
        choice,
        route,
        forward,
        filter,
        warnings,
    } = parse(args).map_err(CommandError::Usage)?;
    init_logging(filter);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
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
        let opened = route.open(&choice)?;
        let exporter = forward.as_ref().map(ForwardTarget::open).transpose()?;
        config.forward = exporter.clone().map(|it| it as _);
        config.decisions = opened.decisions;
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let (tls, access) = (config.tls.clone(), config.access.clone());
        let reloader = AccessReloader::new(AccessFiles::of(args), tls, access, hangup);
        let has_tls = config.tls.is_some();
        let collector = CollectorServer::bind(config)
            .await
            .map_err(|error| bind_error(&error))?;
        let forwarding = forward.as_ref().map(ForwardTarget::describe);
        let destination = [Some(route.describe(&choice)), forwarding];
        let destination: Vec<String> = destination.into_iter().flatten().collect();
        let destination = destination.join(" ");
        print_addresses(
            collector.addresses(),
            (&choice, &route, &destination),
            has_tls,
            json,
        )
        .context("cannot write to stdout")?;
        if let Some(reloader) = reloader {
            tokio::spawn(reloader.run());
        }
        let destination = opened.destination.clone();
        let ran = run_until_stopped(stop, async |stop| {
            let ran = collector.run_with(destination, opened.records, stop).await;
            if let Some(exporter) = exporter {
                exporter.shutdown().await;
            }
            ran
        });
        let ran = ran.await.unwrap_or(Ok(()));
        if let SpanDestination::Store(store) = opened.destination {
            store.sync()?;
        }
        ran.context("the collector stopped by itself")
    })?;
    // A query that is still running must not delay the exit.
    runtime.shutdown_background();
    Ok(())
}

/// The checked arguments.
struct ParsedUp {
    config: Config,
    choice: StoreChoice,
    route: SpanRoute,
    forward: Option<ForwardTarget>,
    filter: EnvFilter,
    /// Messages for the log once it runs.
    warnings: Vec<String>,
}

/// Parses all arguments.
///
/// # Errors
/// Every error, each with its remedy.
fn parse(args: &UpArgs) -> Result<ParsedUp, Vec<String>> {
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
    let warnings = parse_access(args, &mut config, &mut errors);
    config.cors_origins = parse_origins(&args.cors_origin, &mut errors);
    config.allowed_hosts = parse_hosts(&args.allowed_host, &mut errors);
    let choice = StoreChoice::parse(&args.store, &mut errors);
    let route = SpanRoute::parse(args, &mut errors);
    let forward = ForwardTarget::parse(&args.forward, &mut errors);
    if forward.is_some() && (args.store.query_only || matches!(route, Some(SpanRoute::ToTopic(_))))
    {
        errors.push(
            "--forward sends the traces that are woven here, and with --query-only or --to-kafka \
             none are; leave it out"
                .to_owned(),
        );
    }
    config.is_query_only = args.store.query_only;
    match parse_weaving(args) {
        Ok(weaving) => config.weaving = weaving,
        Err(error) => errors.push(error),
    }
    match log_filter("--log", &args.log) {
        // The filter comes last, so that its error is listed with the others.
        Ok(filter) if errors.is_empty() => {
            if let (Some(choice), Some(route)) = (choice, route) {
                return Ok(ParsedUp {
                    config,
                    choice,
                    route,
                    forward,
                    filter,
                    warnings,
                });
            }
        }
        Ok(_) => {}
        Err(error) => errors.push(error),
    }
    Err(errors)
}

/// Reads TLS and tokens, and returns warnings about what they leave open.
fn parse_access(args: &UpArgs, config: &mut Config, errors: &mut Vec<String>) -> Vec<String> {
    match &args.max_client_connections {
        None if config.host.is_loopback() => {}
        None => config.limits.max_client_connections = MAX_CLIENT_CONNECTIONS,
        Some(text) => match text.parse() {
            Ok(max) if max > 0 => config.limits.max_client_connections = max,
            Ok(_) | Err(_) => errors.push(format!(
                "--max-client-connections {text:?} is not a number from 1 on"
            )),
        },
    }
    let settings = match AccessFiles::of(args).read().and_then(|files| files.parse()) {
        Ok(settings) => settings,
        Err(more) => {
            errors.extend(more);
            return Vec::new();
        }
    };
    config.tls = settings
        .tls
        .as_ref()
        .map(|tls| CollectorTls::new(tls.server_config()));
    config.access = AccessControl::new(settings.rules);
    let client_ca = args.tls_client_ca.as_ref();
    let has_client_ca = client_ca.is_some_and(|path| !path.is_empty());
    let mut warnings = exposure_warnings(
        config.host,
        settings.tls.as_ref(),
        has_client_ca,
        &config.access,
    );
    if config.tls.is_some() || config.access.restricts_ingest() {
        let jaeger = &mut config.jaeger;
        for port in [&mut jaeger.compact, &mut jaeger.binary] {
            match port {
                ListenerPort::Closed => {}
                // Opened only where nobody has asked for it.
                ListenerPort::IfFree(_) => *port = ListenerPort::Closed,
                ListenerPort::Required(port) => warnings.push(format!(
                    "the UDP port {port} accepts spans without TLS and tokens, which Jaeger's \
                     protocol does not have"
                )),
            }
        }
    }
    warnings
}

fn parse_ports(args: &UpArgs, config: &mut Config, errors: &mut Vec<String>) {
    let mut ports: Vec<(CollectorEndpoint, u16)> = Vec::new();
    config.jaeger = JaegerPorts::STANDARD;
    config.query_grpc = QUERY_GRPC_PORT;
    for listener in CollectorEndpoint::ALL {
        let option = port_option(listener);
        let is_optional = optional_port_mut(config, listener).is_some();
        // Without an option, the standard ports of Jaeger are opened as far as they are free.
        let Some(text) = port_argument(args, listener) else {
            continue;
        };
        if is_optional && text == PORT_OFF {
            set_port(config, listener, None);
            continue;
        }
        let Ok(port) = text.parse::<u16>() else {
            let off = if is_optional { ", or off for none" } else { "" };
            errors.push(format!(
                "{option} {text:?} is not a port; use a number from 1 to 65535, or 0 for a free \
                 one{off}"
            ));
            continue;
        };
        // Port 0 may be used repeatedly: each time another free port is assigned. A port of UDP is
        // another one than that of TCP with the same number.
        let taken = ports.iter().find(|(other, number)| {
            *number == port && port != 0 && other.is_udp() == listener.is_udp()
        });
        if let Some((taken, _)) = taken {
            let taken = port_option(*taken);
            errors.push(format!(
                "{option} {port} is also the port of {taken}; use another one"
            ));
        }
        ports.push((listener, port));
        set_port(config, listener, Some(port));
    }
}

const fn port_argument(args: &UpArgs, listener: CollectorEndpoint) -> Option<&String> {
    match listener {
        CollectorEndpoint::OtlpGrpc => Some(&args.otlp_grpc_port),
        CollectorEndpoint::OtlpHttp => Some(&args.otlp_http_port),
        CollectorEndpoint::Zipkin => Some(&args.zipkin_port),
        CollectorEndpoint::Query => Some(&args.query_port),
        CollectorEndpoint::QueryGrpc => args.query_grpc_port.as_ref(),
        CollectorEndpoint::JaegerHttp => args.jaeger_http_port.as_ref(),
        CollectorEndpoint::JaegerCompact => args.jaeger_compact_port.as_ref(),
        CollectorEndpoint::JaegerBinary => args.jaeger_binary_port.as_ref(),
        CollectorEndpoint::JaegerSampling => args.jaeger_sampling_port.as_ref(),
    }
}

/// Sets the port of a listener, which is then required; `None` closes it, if it is optional.
const fn set_port(config: &mut Config, listener: CollectorEndpoint, port: Option<u16>) {
    if let Some(own) = optional_port_mut(config, listener) {
        *own = match port {
            Some(port) => ListenerPort::Required(port),
            None => ListenerPort::Closed,
        };
        return;
    }
    let Some(port) = port else { return };
    match listener {
        CollectorEndpoint::OtlpGrpc => config.otlp_grpc_port = port,
        CollectorEndpoint::OtlpHttp => config.otlp_http_port = port,
        CollectorEndpoint::Zipkin => config.zipkin_port = port,
        CollectorEndpoint::Query
        | CollectorEndpoint::QueryGrpc
        | CollectorEndpoint::JaegerHttp
        | CollectorEndpoint::JaegerCompact
        | CollectorEndpoint::JaegerBinary
        | CollectorEndpoint::JaegerSampling => config.query_port = port,
    }
}

/// Returns the port if it is optional.
const fn optional_port_mut(
    config: &mut Config,
    listener: CollectorEndpoint,
) -> Option<&mut ListenerPort> {
    let ports = &mut config.jaeger;
    match listener {
        CollectorEndpoint::QueryGrpc => Some(&mut config.query_grpc),
        CollectorEndpoint::JaegerHttp => Some(&mut ports.http),
        CollectorEndpoint::JaegerCompact => Some(&mut ports.compact),
        CollectorEndpoint::JaegerBinary => Some(&mut ports.binary),
        CollectorEndpoint::JaegerSampling => Some(&mut ports.sampling),
        CollectorEndpoint::OtlpGrpc
        | CollectorEndpoint::OtlpHttp
        | CollectorEndpoint::Zipkin
        | CollectorEndpoint::Query => None,
    }
}

const fn port_option(listener: CollectorEndpoint) -> &'static str {
    match listener {
        CollectorEndpoint::OtlpGrpc => "--otlp-grpc-port",
        CollectorEndpoint::OtlpHttp => "--otlp-http-port",
        CollectorEndpoint::Zipkin => "--zipkin-port",
        CollectorEndpoint::Query => "--query-port",
        CollectorEndpoint::QueryGrpc => "--query-grpc-port",
        CollectorEndpoint::JaegerHttp => "--jaeger-http-port",
        CollectorEndpoint::JaegerCompact => "--jaeger-compact-port",
        CollectorEndpoint::JaegerBinary => "--jaeger-binary-port",
        CollectorEndpoint::JaegerSampling => "--jaeger-sampling-port",
    }
}

/// Parses the origins of web pages: scheme and authority as a browser sends them, or `*`.
fn parse_origins(origins: &[String], errors: &mut Vec<String>) -> Vec<String> {
    let origins = non_empty(origins);
    for origin in &origins {
        let authority = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        // A browser sends no path, not even a slash, so such an origin would never match.
        let is_origin = authority.is_some_and(|text| !text.is_empty() && !text.contains('/'));
        if origin != "*" && !is_origin {
            errors.push(format!(
                "--cors-origin {origin:?} is not an origin; write it as https://shop.example, \
                 without a path, or as * for all"
            ));
        }
    }
    origins
}

/// Parses host names: names alone, without scheme and port.
fn parse_hosts(hosts: &[String], errors: &mut Vec<String>) -> Vec<String> {
    let hosts = non_empty(hosts);
    for host in &hosts {
        if host.contains(['/', ':', '*']) {
            errors.push(format!(
                "--allowed-host {host:?} is not a host name; write it as traces.example, without \
                 scheme and port"
            ));
        }
    }
    hosts
}

/// Returns the values without empty ones: a variable that is set to nothing means none.
fn non_empty(values: &[String]) -> Vec<String> {
    values
        .iter()
        .filter(|value| !value.is_empty())
        .cloned()
        .collect()
}

fn parse_weaving(args: &UpArgs) -> Result<WeavingSettings, String> {
    let mode = match args.weave.as_str() {
        "all" => WeavingMode::All,
        "offsets" => WeavingMode::Offsets,
        "off" => WeavingMode::Off,
        other => {
            return Err(format!(
                "--weave {other:?} is not supported; use all, offsets or off"
            ));
        }
    };
    let confidence = &args.weave_confidence;
    let parsed = confidence.parse().ok();
    let min_confidence = parsed
        .filter(|it| (0.5..=1.0).contains(it))
        .ok_or_else(|| {
            format!("--weave-confidence {confidence:?} is not a number from 0.5 to 1")
        })?;
    let wait = &args.weave_wait;
    let parsed = duration::parse(wait).filter(|it| *it <= MAX_WEAVE_WAIT);
    let wait = parsed.ok_or_else(|| {
        format!("--weave-wait {wait:?} is not a duration up to 10m; write it as 5s or 500ms")
    })?;
    Ok(WeavingSettings {
        mode,
        min_confidence,
        wait: Duration::from_nanos(wait),
    })
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
fn print_addresses(
    addresses: CollectorAddresses,
    (choice, route, destination): (&StoreChoice, &SpanRoute, &str),
    has_tls: bool,
    json: bool,
) -> std::io::Result<()> {
    let CollectorAddresses {
        otlp_grpc,
        otlp_http,
        zipkin,
        query,
        query_grpc,
        jaeger_http,
        jaeger_compact,
        jaeger_binary,
        jaeger_sampling,
    } = addresses;
    let open = |address: SocketAddr| Some(address).filter(|it| it.port() != 0);
    let mut out = std::io::stdout().lock();
    if json {
        // The keys are those of the metric labels, so that scripts need one list of names.
        let line = serde_json::json!({
            // Null for a port that is closed, here and below.
            CollectorEndpoint::OtlpGrpc.label(): open(otlp_grpc),
            CollectorEndpoint::OtlpHttp.label(): open(otlp_http),
            CollectorEndpoint::Zipkin.label(): open(zipkin),
            CollectorEndpoint::Query.label(): query,
            CollectorEndpoint::QueryGrpc.label(): query_grpc,
            CollectorEndpoint::JaegerHttp.label(): jaeger_http,
            CollectorEndpoint::JaegerCompact.label(): jaeger_compact,
            CollectorEndpoint::JaegerBinary.label(): jaeger_binary,
            CollectorEndpoint::JaegerSampling.label(): jaeger_sampling,
            // Null where traces are kept in memory only, or not at all.
            "data": choice.location().filter(|_| !route.is_forwarding()),
        });
        writeln!(out, "{line}")?;
    } else {
        let http = if has_tls { "https" } else { "http" };
        writeln!(out, "The collector is up.")?;
        if route.is_forwarding() {
            writeln!(out, "  Metrics    {http}://{query}/metrics")?;
        } else {
            writeln!(out, "  Web UI     {http}://{query}")?;
        }
        for (name, address, path) in [
            ("OTLP/HTTP", otlp_http, "/v1/traces"),
            ("OTLP/gRPC", otlp_grpc, ""),
            ("Zipkin", zipkin, "/api/v2/spans"),
        ] {
            if let Some(address) = open(address) {
                writeln!(out, "  {name:<9}  {http}://{address}{path}")?;
            }
        }
        if let Some(address) = query_grpc {
            writeln!(out, "  Queries    {http}://{address} (gRPC)")?;
        }
        if let Some(address) = jaeger_http {
            writeln!(out, "  Jaeger     {http}://{address}/api/traces")?;
        }
        for address in [jaeger_compact, jaeger_binary].into_iter().flatten() {
            writeln!(out, "  Jaeger     udp://{address}")?;
        }
        if let Some(address) = jaeger_sampling {
            writeln!(out, "  Sampling   {http}://{address}/sampling")?;
        }
        writeln!(out, "Press Ctrl-C to stop. {destination}")?;
    }
    out.flush()
}
