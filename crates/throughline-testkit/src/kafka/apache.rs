//! A real Apache Kafka: KRaft, one node that is broker and controller, one JVM.
//!
//! Its data live in a temporary folder that goes with it. Its two ports are chosen once, so it can be stopped and started
//! again as the same broker: same address, same records, same committed offsets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tempfile::TempDir;

use super::{Topic, create_topic, jars};
use crate::process::{Process, Spec};

/// A Kafka broker of our own, or the place where one ran and can run again.
#[derive(Debug)]
pub struct Apache {
    jars: PathBuf,
    bootstrap: String,
    process: Option<Process>,
    // Last, so that the process is gone before its folder is removed.
    home: TempDir,
}

/// What a broker is started with. Later settings of the same name win, also over ours.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    properties: BTreeMap<String, String>,
    topics: Vec<Topic>,
}

const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const LOG4J: &str = include_str!("log4j2.properties");

// === impl Builder ===

impl Builder {
    /// Sets a property of the broker, such as `message.max.bytes`.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.insert(name.into(), value.into());
        self
    }

    /// Creates a topic once the broker runs.
    #[must_use]
    pub fn topic(mut self, topic: Topic) -> Self {
        self.topics.push(topic);
        self
    }

    /// Fetches the jars if need be, formats the storage, starts the broker and waits until it is ready.
    ///
    /// # Errors
    /// When Java or the jars are missing, or the broker does not come up; with its last lines.
    pub fn start(self, progress: &mut dyn FnMut(&str)) -> Result<Apache> {
        let jars = jars::fetch(progress)?;
        progress(&format!("starting Apache Kafka {}", super::VERSION));
        let home = tempfile::Builder::new().prefix("throughline-kafka-").tempdir()?;
        let [client_port, controller_port] = free_ports()?;
        let mut properties = defaults(client_port, controller_port, &home);
        properties.extend(self.properties);
        let lines = properties.iter().fold(String::new(), |mut lines, (name, value)| {
            // Writing to a string does not fail.
            writeln!(lines, "{name}={value}").unwrap_or_default();
            lines
        });
        fs::write(home.path().join("server.properties"), lines)?;
        fs::write(home.path().join("log4j2.properties"), LOG4J)?;
        let mut broker = Apache { jars, bootstrap: format!("127.0.0.1:{client_port}"), process: None, home };
        broker.format()?;
        broker.start()?;
        for topic in &self.topics {
            create_topic(&broker.bootstrap, topic)?;
        }
        Ok(broker)
    }
}

// === impl Apache ===

impl Apache {
    /// A broker to be described further, then started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The address for `bootstrap.servers`; stays the same for the broker's life.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The JVM, unless it was stopped.
    pub const fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Stops the broker in an orderly way; its data stay.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.stop(STOP_LIMIT).map(drop))
    }

    /// Starts the broker that was stopped or killed, with its data and on its port.
    ///
    /// # Errors
    /// When it does not come up; with its last lines.
    pub fn start(&mut self) -> Result<()> {
        ensure!(
            self.process.as_ref().is_none_or(|process| process.status().is_some()),
            "the broker is running already"
        );
        let process = self.java("kafka", "512m", &["kafka.Kafka"])?.arg("server.properties").spawn()?;
        let started = |line: &str| line.contains("Kafka Server started").then_some(());
        process.wait_for_line("that it has started", START_LIMIT, started)?;
        self.process = Some(process);
        Ok(())
    }

    /// Writes the cluster's identity into the empty data folder, which a KRaft broker wants done before its first start.
    fn format(&self) -> Result<()> {
        // Any 16 bytes in URL-safe base64 (org.apache.kafka.common.Uuid); nobody compares clusters here.
        let cluster = "dGhyb3VnaGxpbmUta2Fmaw";
        let format = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", "server.properties"];
        let process = self.java("kafka-storage", "128m", &format)?.spawn()?;
        let status = process.wait(START_LIMIT)?;
        ensure!(status.success(), "formatting the storage of Kafka failed:\n{}", process.log().join("\n"));
        Ok(())
    }

    fn java(&self, name: &str, heap: &str, args: &[&str]) -> Result<Spec> {
        let java =
            std::env::var_os("JAVA_HOME").map_or_else(|| "java".into(), |home| PathBuf::from(home).join("bin/java"));
        let missing = || {
            anyhow!(
                "a real Kafka needs Java 17 or later, and there is no `{}` on this machine; \
                 on Debian: apt-get install default-jre-headless (the embedded broker needs none)",
                java.display()
            )
        };
        match std::process::Command::new(&java).arg("-version").output() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
            answered => answered.with_context(|| format!("starting {}", java.display()))?,
        };
        // A short life in little memory: the smallest collector, and no second round of compiling.
        let tuning =
            [&format!("-Xmx{heap}"), "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"];
        Ok(Spec::new(name, &java)
            .args(tuning)
            .arg("-Dlog4j2.configurationFile=log4j2.properties")
            .args(["-cp".to_owned(), format!("{}/*", self.jars.display())])
            .args(args.iter().copied())
            .dir(self.home.path()))
    }
}

/// Every replication is one, internal topics are small, and groups do not wait for members to come.
fn defaults(client_port: u16, controller_port: u16, home: &TempDir) -> BTreeMap<String, String> {
    let data = home.path().join("data");
    [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller_port}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{client_port},CONTROLLER://127.0.0.1:{controller_port}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{client_port}")),
        ("listener.security.protocol.map", "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned()),
        ("log.dirs", data.display().to_string()),
        ("num.partitions", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
        ("offsets.topic.num.partitions", "4".to_owned()),
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("transaction.state.log.num.partitions", "4".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("share.coordinator.state.topic.num.partitions", "1".to_owned()),
        ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
        ("share.coordinator.state.topic.min.isr", "1".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Two ports that are free now. Kafka must know its ports before it binds them, so another program can, very rarely, come first;
/// the broker then fails with that message.
fn free_ports() -> Result<[u16; 2]> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port");
    let (first, second) = (bind()?, bind()?);
    Ok([first.local_addr()?.port(), second.local_addr()?.port()])
}
