//! Kafka clients of every language, as their users have them: fetched and built once into `.tools/`, started as processes.
//!
//! Their sources, and the command line that they have in common, are in `e2e/clients`. Nothing in them is instrumented, but the
//! two that [`ClientPrograms::agent`] and the Java client's `--tracer` are for.

mod go;
mod h2spec;
mod java;
mod node;
mod python;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::build::repository_root;
use crate::process::ProcessSpec;

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientLibrary {
    /// Apache Kafka's own, in Java.
    Java,
    /// librdkafka with everything compiled in, by way of confluent-kafka for Python.
    Confluent,
    /// librdkafka as the `rdkafka` crate builds it for us: no TLS, no SCRAM.
    Rdkafka,
    /// kafka-python.
    KafkaPython,
    /// kafkajs.
    Kafkajs,
    /// franz-go.
    FranzGo,
}

/// All of them, ready to be started.
#[derive(Debug, Clone)]
pub struct ClientPrograms {
    java: PathBuf,
    python: PathBuf,
    node: PathBuf,
    go: PathBuf,
    rdkafka: PathBuf,
}

// === impl Client ===

impl ClientLibrary {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Java,
        Self::Confluent,
        Self::Rdkafka,
        Self::KafkaPython,
        Self::Kafkajs,
        Self::FranzGo,
    ];

    /// Its name, which it also has as `client.id`.
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

// === impl Clients ===

impl ClientPrograms {
    /// Fetches and builds what is not there yet; `rdkafka` is the binary `rdkafka-client` of the package `e2e`.
    ///
    /// # Errors
    /// When a tool is missing or fails; says how to mend it.
    pub fn provide(rdkafka: &Path, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let sources = repository_root().join("e2e/clients");
        let python = python::provide(&sources.join("python"), progress)?;
        Ok(Self {
            java: java::provide(&sources.join("java"), progress)?,
            node: node::provide(&sources.join("node"), progress)?,
            go: go::provide(&sources.join("go"), &python, progress)?,
            python,
            rdkafka: rdkafka.to_owned(),
        })
    }

    /// The client, to be given its command and options.
    ///
    /// # Errors
    /// When what it runs on is missing.
    pub fn spec(&self, client: ClientLibrary) -> Result<ProcessSpec> {
        let sources = repository_root().join("e2e/clients");
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

    /// The Java client with OpenTelemetry's agent in its JVM; the agent is told what to do by `OTEL_*` variables.
    ///
    /// # Errors
    /// When Java is missing.
    pub fn agent(&self) -> Result<ProcessSpec> {
        self.java(
            &[format!("-javaagent:{}", java::agent(&self.java)?.display())],
            &java::classes(&self.java),
        )
    }

    /// Kafka Streams, for the command `streams`.
    ///
    /// # Errors
    /// When Java is missing.
    pub fn streams(&self) -> Result<ProcessSpec> {
        self.java(&[], &java::streams_classes(&self.java))
    }

    fn java(&self, options: &[String], classes: &str) -> Result<ProcessSpec> {
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

/// Fetches and builds what is not there yet, so that the first test need not.
///
/// # Errors
/// When a tool is missing or fails; says how to mend it.
pub fn fetch(progress: &mut dyn FnMut(&str)) -> Result<()> {
    // The Rust one comes with the workspace.
    ClientPrograms::provide(Path::new("rdkafka-client"), progress)?;
    h2spec(progress).map(drop)
}

/// The program h2spec, fetched and built if it is not there yet.
///
/// # Errors
/// When a tool is missing or fails; says how to mend it.
pub fn h2spec(progress: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let sources = repository_root().join("e2e");
    let python = python::provide(&sources.join("clients/python"), progress)?;
    h2spec::provide(&sources.join("h2spec"), &python, progress)
}

/// A folder of `.tools/` that is named after all that it is made from: when a source changes, it is made anew.
///
/// It appears under its name only when it is complete, so a making that was interrupted is done again.
fn provide(
    name: &str,
    sources: &[PathBuf],
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tools = repository_root().join(".tools");
    let place = tools.join(format!("{name}-{:016x}", fingerprint(sources)?));
    if place.is_dir() {
        return Ok(place);
    }
    fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
    let unfinished = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&tools)?;
    let made = unfinished.path().join(name);
    make(&made)?;
    match fs::rename(&made, &place) {
        Err(_) if place.is_dir() => {}
        renamed => renamed.with_context(|| format!("putting {name} into its place"))?,
    }
    remove_others(&tools, name, &place);
    Ok(place)
}

/// What was made of older sources is of no use any more. That it can be removed is of no matter either.
fn remove_others(tools: &Path, name: &str, place: &Path) {
    let entries = fs::read_dir(tools)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let is_older = |path: &PathBuf| {
        let own = path
            .file_name()
            .and_then(|own| own.to_str())
            .and_then(|own| own.strip_prefix(name));
        // A dash and 16 digits: nobody else's name is like that.
        path != place && own.is_some_and(|rest| rest.len() == 17 && rest.starts_with('-'))
    };
    for older in entries.map(|entry| entry.path()).filter(is_older) {
        drop(fs::remove_dir_all(older));
    }
}

fn fingerprint(sources: &[PathBuf]) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        fs::read(source)
            .with_context(|| format!("reading {}", source.display()))?
            .hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Runs a tool to its end; what it said is in the error when it fails, and `missing` when it is not there.
fn run(command: &mut Command, missing: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!(
            "{program} ended with {}:\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(anyhow!(
            "there is no `{program}` on this machine; {missing}"
        )),
        Err(error) => Err(error).with_context(|| format!("starting {program}")),
    }
}
