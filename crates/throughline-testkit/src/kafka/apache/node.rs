//! One node: its folder, its properties, its JVM.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::kafka::security::{self, SecurityProtocol};
use crate::process::{ChildProcess, ProcessSpec};

/// A node that is broker and controller.
#[derive(Debug)]
pub(super) struct BrokerNode {
    config: NodeConfig,
    jars: PathBuf,
    home: PathBuf,
    process: Option<ChildProcess>,
}

/// Configuration of one node.
#[derive(Debug, Clone)]
pub(super) struct NodeConfig {
    pub(super) id: u16,
    /// Advertised address of each listener.
    pub(super) addresses: BTreeMap<SecurityProtocol, String>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) jvm: Vec<String>,
}

const START_TIMEOUT: Duration = Duration::from_secs(120);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const LOG4J: &str = include_str!("../log4j2.properties");

// === impl BrokerNode ===

impl BrokerNode {
    /// Writes the configuration files into `home` and formats the storage.
    pub(super) fn create(mut config: NodeConfig, jars: &Path, home: PathBuf) -> Result<Self> {
        config
            .properties
            .entry("log.dirs".to_owned())
            .or_insert_with(|| home.join("data").display().to_string());
        let lines = config
            .properties
            .iter()
            .fold(String::new(), |mut lines, (name, value)| {
                // Writing to a string cannot fail.
                writeln!(lines, "{name}={value}").unwrap_or_default();
                lines
            });
        fs::write(home.join("server.properties"), lines)?;
        fs::write(home.join("log4j2.properties"), LOG4J)?;
        let node = Self {
            config,
            jars: jars.to_owned(),
            home,
            process: None,
        };
        node.format()?;
        Ok(node)
    }

    pub(super) const fn id(&self) -> u16 {
        self.config.id
    }

    pub(super) fn address(&self, listener: SecurityProtocol) -> Option<&str> {
        self.config.addresses.get(&listener).map(String::as_str)
    }

    pub(super) const fn process(&self) -> Option<&ChildProcess> {
        self.process.as_ref()
    }

    pub(super) fn is_running(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| process.status().is_none())
    }

    pub(super) fn stop(&mut self) -> Result<()> {
        self.process
            .take()
            .map_or(Ok(()), |process| process.stop(STOP_TIMEOUT).map(drop))
    }

    pub(super) fn spawn(&mut self) -> Result<()> {
        let name = format!("kafka-{}", self.id());
        self.process = Some(
            self.java(&name, "512m", &["kafka.Kafka"])?
                .arg("server.properties")
                .spawn()?,
        );
        Ok(())
    }

    pub(super) fn wait_until_ready(&self) -> Result<()> {
        let process = self
            .process
            .as_ref()
            .context("the broker was not started")?;
        let started = |line: &str| line.contains("Kafka Server started").then_some(());
        process.wait_for_line("its readiness line", START_TIMEOUT, started)
    }

    /// Formats the data folder, which KRaft requires before the first start (KIP-631), and adds the
    /// SCRAM credentials to the cluster metadata (KIP-900).
    fn format(&self) -> Result<()> {
        // Any 16 bytes in URL-safe base64 (org.apache.kafka.common.Uuid): the id is never compared.
        let cluster = "dGhyb3VnaGxpbmUta2Fmaw";
        let format = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            cluster,
            "--config",
            "server.properties",
        ];
        let mut format = self.java("kafka-storage", "128m", &format)?;
        if self
            .config
            .addresses
            .keys()
            .any(|listener| listener.uses_sasl())
        {
            format = format.args(security::scram_credentials());
        }
        let process = format.spawn()?;
        let status = process.wait(START_TIMEOUT)?;
        ensure!(
            status.success(),
            "formatting the storage of Kafka failed:\n{}",
            process.log().join("\n")
        );
        Ok(())
    }

    fn java(&self, name: &str, heap: &str, args: &[&str]) -> Result<ProcessSpec> {
        // Short-lived processes in little memory: the smallest collector, and C1 alone.
        let tuning = [
            &format!("-Xmx{heap}"),
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Djava.awt.headless=true",
        ];
        Ok(ProcessSpec::new(name, java()?)
            .args(tuning)
            .args(self.config.jvm.iter().cloned())
            .arg("-Dlog4j2.configurationFile=log4j2.properties")
            .args(["-cp".to_owned(), format!("{}/*", self.jars.display())])
            .args(args.iter().copied())
            .dir(&self.home))
    }
}

/// Returns the path of the installed Java.
///
/// # Errors
/// Fails if Java is missing; the message names the remedy.
pub(crate) fn java() -> Result<PathBuf> {
    let java = std::env::var_os("JAVA_HOME").map_or_else(
        || "java".into(),
        |home| PathBuf::from(home).join("bin/java"),
    );
    let missing = || {
        anyhow!(
            "Apache Kafka needs Java 17 or later, but `{}` is not installed; \
             on Debian: apt-get install default-jre-headless (the mock broker needs none)",
            java.display()
        )
    };
    match std::process::Command::new(&java).arg("-version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(missing()),
        answered => answered.with_context(|| format!("starting {}", java.display()))?,
    };
    Ok(java)
}
