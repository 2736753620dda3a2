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

/// A broker that is also a controller.
#[derive(Debug)]
pub(super) struct BrokerNode {
    plan: NodeConfig,
    jars: PathBuf,
    home: PathBuf,
    process: Option<ChildProcess>,
}

/// What one node is to be.
#[derive(Debug, Clone)]
pub(super) struct NodeConfig {
    pub(super) id: u16,
    /// What clients are told, by the way they come.
    pub(super) addresses: BTreeMap<SecurityProtocol, String>,
    pub(super) properties: BTreeMap<String, String>,
    pub(super) jvm: Vec<String>,
}

const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const LOG4J: &str = include_str!("../log4j2.properties");

// === impl Node ===

impl BrokerNode {
    /// Writes its files into `home` and formats its storage.
    pub(super) fn create(mut plan: NodeConfig, jars: &Path, home: PathBuf) -> Result<Self> {
        plan.properties
            .entry("log.dirs".to_owned())
            .or_insert_with(|| home.join("data").display().to_string());
        let lines = plan
            .properties
            .iter()
            .fold(String::new(), |mut lines, (name, value)| {
                // Writing to a string does not fail.
                writeln!(lines, "{name}={value}").unwrap_or_default();
                lines
            });
        fs::write(home.join("server.properties"), lines)?;
        fs::write(home.join("log4j2.properties"), LOG4J)?;
        let node = Self {
            plan,
            jars: jars.to_owned(),
            home,
            process: None,
        };
        node.format()?;
        Ok(node)
    }

    pub(super) const fn id(&self) -> u16 {
        self.plan.id
    }

    pub(super) fn address(&self, listener: SecurityProtocol) -> Option<&str> {
        self.plan.addresses.get(&listener).map(String::as_str)
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
            .map_or(Ok(()), |process| process.stop(STOP_LIMIT).map(drop))
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
        process.wait_for_line("that it has started", START_LIMIT, started)
    }

    /// Writes the cluster's identity into the empty data folder, which a KRaft broker wants done before its first start; and
    /// the passwords of SCRAM, which live in the cluster's metadata.
    fn format(&self) -> Result<()> {
        // Any 16 bytes in URL-safe base64 (org.apache.kafka.common.Uuid); nobody compares clusters here.
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
            .plan
            .addresses
            .keys()
            .any(|listener| listener.has_login())
        {
            format = format.args(security::scram_credentials());
        }
        let process = format.spawn()?;
        let status = process.wait(START_LIMIT)?;
        ensure!(
            status.success(),
            "formatting the storage of Kafka failed:\n{}",
            process.log().join("\n")
        );
        Ok(())
    }

    fn java(&self, name: &str, heap: &str, args: &[&str]) -> Result<ProcessSpec> {
        // A short life in little memory: the smallest collector, and no second round of compiling.
        let tuning = [
            &format!("-Xmx{heap}"),
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Djava.awt.headless=true",
        ];
        Ok(ProcessSpec::new(name, java()?)
            .args(tuning)
            .args(self.plan.jvm.iter().cloned())
            .arg("-Dlog4j2.configurationFile=log4j2.properties")
            .args(["-cp".to_owned(), format!("{}/*", self.jars.display())])
            .args(args.iter().copied())
            .dir(&self.home))
    }
}

/// The Java that is here.
///
/// # Errors
/// When there is none; says how to get one.
pub(crate) fn java() -> Result<PathBuf> {
    let java = std::env::var_os("JAVA_HOME").map_or_else(
        || "java".into(),
        |home| PathBuf::from(home).join("bin/java"),
    );
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
    Ok(java)
}
