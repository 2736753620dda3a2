//! `cargo xtask kafka`: a real Apache Kafka in the foreground.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};
use throughline_testkit::kafka::{ApacheBroker, TopicSpec};
use throughline_testkit::process::ChildProcess;

use crate::{interrupt, requirements};

/// Options of `cargo xtask kafka`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Fetches the jars from Maven Central once, into .tools/. Prints the broker's \
    address as `bootstrap 127.0.0.1:PORT` and runs until Ctrl-C, which deletes its data.\n\n\
    Example: cargo xtask kafka --topic orders:4 --set message.max.bytes=2000000"
)]
pub(crate) struct Options {
    /// Client port, on the loopback interface
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    port: u16,
    /// Topic to create; repeatable
    #[arg(long = "topic", value_name = "NAME[:PARTITIONS]")]
    topics: Vec<TopicSpec>,
    /// Broker property; repeatable
    #[arg(long = "set", value_name = "NAME=VALUE")]
    properties: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    requirements::install_missing(&[requirements::JAVA, requirements::MAVEN])?;
    interrupt::install_handlers()?;
    // Checked here, because the broker would report a taken port with a Java stack trace.
    if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)) {
        bail!(
            "cannot listen on 127.0.0.1:{}: {error}; choose another port with --port",
            options.port
        );
    }
    let mut broker =
        ApacheBroker::builder().behind(format!("127.0.0.1:{}", options.port), options.port);
    for property in &options.properties {
        let Some((name, value)) = property.split_once('=') else {
            bail!("a property is NAME=VALUE, not {property:?}")
        };
        broker = broker.property(name, value);
    }
    for topic in &options.topics {
        broker = broker.topic(topic.clone());
    }
    let mut broker = broker.start(&mut |what| eprintln!("{what}"))?;
    // This is the only line on stdout, for scripts.
    println!("bootstrap {}", broker.bootstrap());
    eprintln!("Ctrl-C stops it");
    match interrupt::wait_for_crash(|| broker.process().and_then(ChildProcess::crashed)) {
        None => broker.stop(),
        Some(crash) => bail!("{crash}"),
    }
}
