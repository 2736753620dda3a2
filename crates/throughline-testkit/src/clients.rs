//! Clients in several languages, fetched and built once into `.tools/` and started as processes.
//!
//! Those of tracing back ends are in [`TracingClients`]. The sources of the Kafka clients and their
//! common command line are in `e2e/clients`. None is instrumented, except
//! through [`ClientPrograms::java_with_agent`] and the Java client's `--tracer`.

mod go;
mod go_tool;
mod http_programs;
mod http_servers;
mod install;
mod java;
mod java_old;
mod kubernetes;
mod mirror;
mod node;
mod python;
mod spring;
mod tracing;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use self::http_programs::HttpPrograms;
pub use self::kubernetes::KubernetesTools;
pub use self::spring::spring_eshop;
pub use self::tracing::{TracingClients, run_client};
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
    /// sarama.
    Sarama,
    /// kafka-go.
    KafkaGo,
    /// aiokafka.
    Aiokafka,
    /// Apache Kafka's Java client 2.4.
    Java24,
    /// kafka-python 1.4, which needs a Kafka before 4.0.
    KafkaPython14,
    /// Apache Kafka's Java client 0.11, which needs a Kafka before 4.0.
    Java011,
    /// Apache Kafka's Java client 1.1, which needs a Kafka before 4.0.
    Java11,
}

/// HTTP servers under test, and the client that measures them.
#[derive(Debug, Clone)]
pub struct HttpServerPrograms {
    /// Folder of the virtual environment with uvicorn and gunicorn.
    pub python: PathBuf,
    /// The Go server, relay and client of `e2e/servers/go`.
    pub go: PathBuf,
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

/// Main class of the Java programs.
const MAIN: &str = "clients.Main";

// === impl ClientLibrary ===

impl ClientLibrary {
    /// Clients of the everyday test run.
    pub const ALL: [Self; 6] = [
        Self::Java,
        Self::Confluent,
        Self::Rdkafka,
        Self::KafkaPython,
        Self::Kafkajs,
        Self::FranzGo,
    ];

    /// Further clients of the full test run.
    pub const FURTHER: [Self; 4] = [Self::Sarama, Self::KafkaGo, Self::Aiokafka, Self::Java24];

    /// Clients whose requests a broker since Kafka 4.0 does not accept (KIP-896).
    pub const EARLIER: [Self; 3] = [Self::KafkaPython14, Self::Java011, Self::Java11];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Java => "java",
            Self::Confluent => "confluent",
            Self::Rdkafka => "rdkafka",
            Self::KafkaPython => "kafka-python",
            Self::Kafkajs => "kafkajs",
            Self::FranzGo => "franz-go",
            Self::Sarama => "sarama",
            Self::KafkaGo => "kafka-go",
            Self::Aiokafka => "aiokafka",
            Self::Java24 => "java-2.4",
            Self::KafkaPython14 => "kafka-python-1.4",
            Self::Java011 => "java-0.11",
            Self::Java11 => "java-1.1",
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
            node: node::install_packages(
                "client-node",
                "kafkajs",
                &sources.join("node"),
                progress,
            )?,
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
        let python_of = |environment: &Path, script: &str| {
            let spec = ProcessSpec::new(client.name(), environment.join("bin/python"));
            spec.arg(sources.join("python").join(script))
                .env("PYTHONDONTWRITEBYTECODE", "1")
        };
        let python = |script: &str| python_of(&self.python, script);
        let go = || ProcessSpec::new(client.name(), &self.go).arg(client.name());
        // Installed when they are used first: the everyday run does without them.
        let java_old = |version: &str| {
            let built = java_old::install_client(&sources)?;
            java_spec(&[], &java_old::classes(&built, version), MAIN)
        };
        Ok(match client {
            ClientLibrary::Java => java_spec(&[], &java::classes(&self.java), MAIN)?,
            ClientLibrary::Confluent => python("confluent.py"),
            ClientLibrary::KafkaPython => python("kafka_python.py"),
            ClientLibrary::Kafkajs => {
                let spec =
                    ProcessSpec::new(client.name(), "node").arg(sources.join("node/client.js"));
                spec.env("NODE_PATH", self.node.join("node_modules"))
            }
            ClientLibrary::FranzGo | ClientLibrary::Sarama | ClientLibrary::KafkaGo => go(),
            ClientLibrary::Aiokafka => python("aiokafka_client.py"),
            ClientLibrary::Java24 => java_old("2.4.1")?,
            ClientLibrary::Java11 => java_old("1.1.1")?,
            ClientLibrary::Java011 => java_old("0.11.0.3")?,
            ClientLibrary::KafkaPython14 => {
                let environment = python::install_earlier_client(&sources.join("python"))?;
                python_of(&environment, "kafka_python.py")
            }
            ClientLibrary::Rdkafka => ProcessSpec::new(client.name(), &self.rdkafka),
        })
    }

    /// Returns the Java client with OpenTelemetry's agent in its JVM. `OTEL_*` variables configure
    /// the agent.
    ///
    /// # Errors
    /// Fails if Java is missing.
    pub fn java_with_agent(&self) -> Result<ProcessSpec> {
        java_spec(
            &[format!("-javaagent:{}", java::agent(&self.java)?.display())],
            &java::classes(&self.java),
            MAIN,
        )
    }

    /// Returns the Kafka Streams program, for the command `streams`.
    ///
    /// # Errors
    /// Fails if Java is missing.
    pub fn streams(&self) -> Result<ProcessSpec> {
        java_spec(&[], &java::streams_classes(&self.java), MAIN)
    }
}

/// Returns MirrorMaker 2, configured by a properties file.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn mirror_maker(properties: &Path) -> Result<ProcessSpec> {
    let jars = mirror::install_mirror_maker(&repository_root().join("e2e/clients/mirror"))?;
    let classes = format!("{}/*", jars.display());
    Ok(java_spec(&[], &classes, mirror::MAIN)?.arg(properties))
}

/// Returns the spec of a JVM that runs a class.
fn java_spec(options: &[String], classes: &str, main: &str) -> Result<ProcessSpec> {
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
    Ok(spec.args([log, "-cp", classes, main]))
}

/// Fetches and builds all clients, so that the first test does not have to.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn install_all(progress: &mut dyn FnMut(&str)) -> Result<()> {
    // The Rust client is built with the workspace.
    ClientPrograms::install(Path::new("rdkafka-client"), progress)?;
    TracingClients::install(progress)?;
    HttpPrograms::install(progress)?;
    h2spec(progress)?;
    spring_eshop(progress)?;
    kubernetes_tools(progress)?;
    http_servers(progress).map(drop)
}

/// Returns the HTTP servers; fetches and builds the missing ones. nginx and Node.js are the
/// system's.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn http_servers(progress: &mut dyn FnMut(&str)) -> Result<HttpServerPrograms> {
    let sources = repository_root().join("e2e/servers");
    let python = http_servers::install_python(&sources.join("python"), progress)?;
    let go = http_servers::install_go(&sources.join("go"), &python, progress)?;
    Ok(HttpServerPrograms { python, go })
}

/// Returns the program h2spec; fetches and builds it if it is missing.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn h2spec(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("e2e");
    let python = python::install_client(&sources.join("clients/python"), progress)?;
    let package = "github.com/summerwind/h2spec/cmd/h2spec";
    go_tool::install_tool(
        "h2spec",
        package,
        &sources.join("h2spec"),
        &python,
        progress,
    )
}

/// Returns Jaeger; fetches and builds it if it is missing.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn jaeger(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("e2e");
    let python = python::install_client(&sources.join("clients/python"), progress)?;
    let package = "github.com/jaegertracing/jaeger/cmd/jaeger";
    go_tool::install_tool(
        "jaeger",
        package,
        &sources.join("jaeger"),
        &python,
        progress,
    )
}

/// Returns the programs that check manifests; fetches and builds the missing ones.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn kubernetes_tools(progress: &mut dyn FnMut(&str)) -> Result<KubernetesTools> {
    let sources = repository_root().join("e2e");
    let python = python::install_client(&sources.join("clients/python"), progress)?;
    kubernetes::install_tools(&sources.join("deploy"), &python, progress)
}

/// Returns Kubernetes' API server with etcd, of `e2e/apiserver`; builds it if it is missing.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn kubernetes_api_server(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("e2e");
    let python = python::install_client(&sources.join("clients/python"), progress)?;
    kubernetes::install_api_server(&sources.join("apiserver"), &python, progress)
}

/// Returns the test program of `e2e/istio`, which runs in that folder; builds it if it is missing.
///
/// # Errors
/// Fails if a tool is missing or fails; the message names the remedy.
pub fn istio_tests(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("e2e");
    let python = python::install_client(&sources.join("clients/python"), progress)?;
    kubernetes::install_istio_tests(&sources.join("istio"), &python, progress)
}
