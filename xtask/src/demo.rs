//! `cargo xtask demo`: the whole story on this machine, for a person to look at or a program to read.

use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use throughline_testkit::build::Binaries;
use throughline_testkit::collector::Ports;
use throughline_testkit::demo::{Broker, Config, Demo, Load, SPANS_LIMIT};
use throughline_testkit::eshop::Mode;
use throughline_testkit::network;
use throughline_testkit::process::Crash;
use throughline_testkit::wait;

use crate::{requirements, runner, ui};

/// What `cargo xtask demo` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Modes, in the order in which the trace grows:
  rest     HTTP is traced; the trace ends where the message begins
  kafka    the message is traced too, but what its receiver calls is a trace of its own
  linked   the receiver's calls are below the message: one whole trace
  sidecar  the same whole trace, with nothing in the services: made by a sidecar beside each

Examples:
  cargo xtask demo                               look at the trace in the terminal and in the browser
  cargo xtask demo --mode kafka                  the trace as it was before
  cargo xtask demo --mode sidecar                services that know nothing of tracing
  cargo xtask demo --mode sidecar --netns        each in a network of its own, redirected (needs root)
  cargo xtask demo --mode sidecar --load 20 --for 30s    how often parents are told rightly, wrongly, or not at all
  cargo xtask demo --kafka apache                the same on a real Apache Kafka (needs Java and Maven)
  cargo xtask demo --once --json > traces.json   Jaeger's JSON of all traces of one checkout, for a program")]
pub(crate) struct Options {
    /// What is instrumented: rest, kafka, linked or sidecar
    #[arg(long, default_value = "linked", value_name = "MODE")]
    mode: Mode,
    /// With --mode sidecar: each service in a network namespace of its own, whose connections are redirected to its sidecar (needs root)
    #[arg(long)]
    netns: bool,
    /// The broker: embedded, apache (a real one, fetched and started), or the HOST:PORT of one that runs
    #[arg(long, default_value = "embedded", value_name = "BROKER")]
    kafka: BrokerOption,
    /// End after the checkouts instead of staying until Ctrl-C
    #[arg(long)]
    once: bool,
    /// Print all traces of the checkouts as {"data":[...]} in Jaeger's JSON, and nothing else, on stdout
    #[arg(long)]
    json: bool,
    /// How many checkouts to send, one after the other
    #[arg(long, default_value_t = 1, value_name = "N")]
    requests: u32,
    /// Instead, send so many checkouts a second, then say how many traces are whole and whether any holds what is another's
    #[arg(long, value_name = "RPS", value_parser = rate)]
    load: Option<f64>,
    /// How long the load lasts
    #[arg(long = "for", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    lasts: Duration,
    /// Port of the eshop; 0 takes any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,
    /// Port of the web page; 0 takes any free one
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    ui_port: u16,
}

/// The broker as it is named on the command line.
#[derive(Debug, Clone)]
struct BrokerOption(Broker);

// === impl Options ===

impl Options {
    /// Before anything is built.
    fn check(&self) -> Result<()> {
        if self.netns && self.mode != Mode::Sidecar {
            bail!("--netns is for services with sidecars; add --mode sidecar");
        }
        if self.load.is_some() && self.mode != Mode::Sidecar {
            bail!("--load tells how well sidecars find parents; add --mode sidecar");
        }
        if let Some(missing) = self.netns.then(network::missing).flatten() {
            bail!("{missing}");
        }
        Ok(())
    }
}

// === impl BrokerOption ===

impl FromStr for BrokerOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_address = |text: &str| {
            text.rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        match text {
            "embedded" => Ok(Self(Broker::Embedded)),
            "apache" => Ok(Self(Broker::Apache)),
            address if is_address(address) => Ok(Self(Broker::Remote(address.to_owned()))),
            _ => Err("a broker is embedded, apache, or HOST:PORT".to_owned()),
        }
    }
}

/// Checkouts in a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse::<f64>()
        .ok()
        .filter(|rate| (0.1..=1000.0).contains(rate));
    rate.ok_or_else(|| "a rate is a number of checkouts a second, from 0.1 to 1000".to_owned())
}

/// Seconds, or minutes.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, factor) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor));
    let seconds = seconds.filter(|seconds| (1..=3600).contains(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "a duration is written as 30s or 5m, up to an hour".to_owned())
}

pub(crate) fn run(options: &Options) -> Result<()> {
    options.check()?;
    end_on_ctrl_c()?;
    let binaries = prepare(options)?;
    let config = Config {
        port: options.port,
        netns: options.netns,
        collector: Ports {
            query: options.ui_port,
            ..Ports::default()
        },
        ..Config::new(options.mode).broker(options.kafka.0.clone())
    };
    let demo = Demo::start(binaries, &config, &mut |what| eprintln!("{what}"))?;
    let shown = match options.load {
        Some(rate) => load(&demo, options, rate),
        None => show(&demo, options, binaries),
    };
    // What was started is ended in an orderly way, whatever came before; the first mistake is the one to tell.
    let stopped = demo.stop();
    shown.and(stopped)
}

/// Builds what is needed, and nothing that is fresh.
fn prepare(options: &Options) -> Result<&'static Binaries> {
    if options.kafka.0 == Broker::Apache {
        requirements::provide(&[requirements::JAVA, requirements::MAVEN])?;
    }
    requirements::provide(&[requirements::COMPILER, requirements::MAKE])?;
    ui::build_if_stale()?;
    eprintln!(
        "building the collector, the eshop and the embedded broker (the first time takes minutes)"
    );
    Binaries::build()
}

/// Drives the eshop, and reports. A span in another's trace is a failure; one whose parent is not found is not.
fn load(demo: &Demo, options: &Options, rate: f64) -> Result<()> {
    let load = Load {
        rate,
        duration: options.lasts,
    };
    eprintln!("sending {rate} checkouts a second for {:?}", load.duration);
    let report = demo.load(&load, &mut |what| eprintln!("{what}"))?;
    if options.json {
        println!("{}", report.json(&load));
    } else {
        println!("{report}");
    }
    if report.wrong > 0 {
        bail!(
            "{} spans are in the trace of another checkout",
            report.wrong
        );
    }
    Ok(())
}

fn show(demo: &Demo, options: &Options, binaries: &Binaries) -> Result<()> {
    let mut traces: Vec<Value> = Vec::new();
    for number in 1..=options.requests {
        eprintln!(
            "checkout {number} of {}: waiting for its spans",
            options.requests
        );
        traces.extend(demo.checkout_and_wait(SPANS_LIMIT)?);
    }
    if options.json {
        println!("{}", json!({ "data": traces }));
    } else {
        for trace in &traces {
            print_tree(demo, trace, binaries)?;
        }
    }
    if options.once {
        return Ok(());
    }
    eprintln!(
        "\nsee it in the browser:  {}",
        trace_url(demo, traces.first())
    );
    eprintln!(
        "send another checkout:  curl {}",
        demo.eshop().checkout_url()
    );
    eprintln!(
        "broker {}; collector: {}",
        demo.kafka().bootstrap(),
        demo.collector().addresses()
    );
    eprintln!("Ctrl-C ends everything");
    match watch(|| demo.crashed()) {
        None => Ok(()),
        Some(crash) => bail!("{crash}"),
    }
}

fn print_tree(demo: &Demo, trace: &Value, binaries: &Binaries) -> Result<()> {
    let id = trace
        .get("traceID")
        .and_then(Value::as_str)
        .context("a trace without an id")?;
    let mut throughline = Command::new(&binaries.throughline);
    runner::run(throughline.args(["trace", id, "--collector", &demo.collector().url()]))?;
    println!();
    Ok(())
}

fn trace_url(demo: &Demo, trace: Option<&Value>) -> String {
    let id = trace
        .and_then(|trace| trace.get("traceID"))
        .and_then(Value::as_str);
    id.map_or_else(
        || demo.collector().url(),
        |id| format!("{}/trace/{id}", demo.collector().url()),
    )
}

/// Ctrl-C and SIGTERM make every wait give up, so that what runs is ended in an orderly way; a second one ends us at once.
pub(crate) fn end_on_ctrl_c() -> Result<()> {
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        let flag = || std::sync::Arc::clone(&wait::INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(crate::INTERRUPTED),
            flag(),
        )?;
        signal_hook::flag::register(signal, flag())?;
    }
    Ok(())
}

/// Waits for a crash; [`None`] when the person ended the wait.
pub(crate) fn watch(crashed: impl Fn() -> Option<Crash>) -> Option<Crash> {
    loop {
        let crash = wait::until(Duration::from_secs(3600), &crashed);
        if crash.is_some() || wait::is_interrupted() {
            return crash;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_one_of_ours_or_an_address() {
        let read = |text: &str| text.parse::<BrokerOption>().map(|option| option.0);
        assert_eq!(read("embedded"), Ok(Broker::Embedded));
        assert_eq!(read("apache"), Ok(Broker::Apache));
        assert_eq!(
            read("kafka.local:9092"),
            Ok(Broker::Remote("kafka.local:9092".to_owned()))
        );
        for wrong in ["redpanda", "host:", "host:99999", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
