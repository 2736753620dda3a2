//! Kafka clients in several languages, fetched and built once into `.tools/` and started as
//! processes.
//!
//! Their sources and their common command line are in `e2e/clients`. None is instrumented, except
//! through [`ClientPrograms::java_with_agent`] and the Java client's `--tracer`.

mod go;
mod h2spec;
mod install;
mod java;
mod node;
mod python;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::build::repository_root;
use crate::process::ProcessSpec;

/// A Kafka client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientLibrary {
    /// Apache Kafka's Java client.
    Java,
    /// librdkafka with all features, as part of confluent-kafka for Python.
    Confluent,
    /// librdkafka as this workspace builds the `rdkafka` crate: no TLS, no SCRAM.
    Rdkafka,
    /// kafka-python.
    KafkaPython,
    /// kafkajs.
    Kafkajs,
    /// franz-go.
    FranzGo,
}

/// Paths of all installed clients.
#[derive(Debug, Clone)]
pub struct ClientPrograms {
    java: PathBuf,
    python: PathBuf,
    node: PathBuf,
    go: PathBuf,
    rdkafka: PathBuf,
}

// === impl ClientLibrary ===

impl ClientLibrary {
    /// All clients.
    pub const ALL: [Self; 6] = [
        Self::Java,
        Self::Confluent,
        Self::Rdkafka,
        Self::KafkaPython,
        Self::Kafkajs,
        Self::FranzGo,
    ];

    /// Returns its name, which is also its `client.id`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Confluent => "confluent",
            Self::Rdkafka => "rdkafka",
            Self::KafkaPython => "kafka-python",
            Self::Kafkajs => "kafkajs",
            Self::FranzGo => "franz-go",
        }
    }
}

// === impl ClientPrograms ===

impl ClientPrograms {
    /// Fetches and builds the missing clients. `rdkafka` is the binary `rdkafka-client` of the
    /// package `e2e`.
    ///
    /// # Errors
    /// Fails if a tool is missing or fails; the message names the remedy.
    pub fn install(rdkafka: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let sources = repository_root().join("e2e/clients");
        let python = python::install_client(&sources.join("python"), progress)?;
        Ok(Self {
            java: java::install_client(&sources.join("java"), progress)?,
            node: node::install_client(&sources.join("node"), progress)?,
            go: go::install_client(&sources.join("go"), &python, progress)?,
            python,
            rdkafka: rdkafka.to_owned(),
        })
    }

    /// Returns the client's process spec, without command and options.
    ///
    /// # Errors
    /// Fails if the client's runtime is missing.
    pub fn spec(&self, client: ClientLibrary) -> Result<ProcessSpec> {
        let sources = repository_root().join("e2e/clients");
        // Bytecode files would change the folder of sources.
        let python = |script: &str| {
            let spec = ProcessSpec::new(client.name(), self.python.join("bin/python"));
            spec.arg(sources.join("python").join(script))
                .env("PYTHONDONTWRITEBYTECODE", "1")
        };
        Ok(match client {
            ClientLibrary::Java => self.java(&[], &java::classes(&self.java))?,
            ClientLibrary::Confluent => python("confluent.py"),
            ClientLibrary::KafkaPython => python("kafka_python.py"),
            ClientLibrary::Kafkajs => {
                let spec =
                    ProcessSpec::new(client.name(), "node").arg(sources.join("node/client.js"));
                spec.env("NODE_PATH", self.node.join("node_modules"))
            }
            ClientLibrary::FranzGo => ProcessSpec::new(client.name(), &self.go),
            ClientLibrary::Rdkafka => ProcessSpec::new(client.name(), &self.rdkafka),
        })
    }

    /// Returns the Java client with OpenTelemetry's agent in its JVM. `OTEL_*` variables configure
    /// the agent.
    ///
    /// # Errors
    /// Fails if Java is missing.
    pub fn java_with_agent(&self) -> Result<ProcessSpec> {
        self.java(
            &[format!("-javaagent:{}", java::agent(&self.java)?.display())],
            &java::classes(&self.java),
        )
    }

    /// Returns the Kafka Streams program, for the command `streams`.
    ///
    /// # Errors
    /// Fails if Java is missing.
    pub fn streams(&self) -> Result<ProcessSpec> {
        self.java(&[], &java::streams_classes(&self.java))
    }

    fn java(&self, options: &[String], classes: &str) -> Result<ProcessSpec> {
        // Tests start many short-lived JVMs: the serial collector and C1 alone start faster and use
        // less memory.
        let tuning = [
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
        ];
        let log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn";
        let spec = ProcessSpec::new("java", crate::kafka::java()?)
            .args(tuning)
            .args(options.iter().cloned());
        Ok(spec.args([log, "-cp", classes, "clients.Main"]))
    }
}

/// Fetches and builds all clients, so that the first test does not have to.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn install_all(progress: &mut dyn FnMut(&str)) -> Result<()> {
    // The Rust client is built with the workspace.
    ClientPrograms::install(Path::new("rdkafka-client"), progress)?;
    h2spec(progress).map(drop)
}

/// Returns the program h2spec; fetches and builds it if it is missing.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn h2spec(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("e2e");
    let python = python::install_client(&sources.join("clients/python"), progress)?;
    h2spec::install_h2spec(&sources.join("h2spec"), &python, progress)
}
