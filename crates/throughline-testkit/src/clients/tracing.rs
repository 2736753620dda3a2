//! Stock clients of tracing back ends, which send one trace and print its id. Their programs are in
//! `e2e/collector_clients`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use super::{go_tool, java, node, python};
use crate::build::repository_root;

/// Package of OpenTelemetry's load generator, which uses its SDK for Go.
const TELEMETRYGEN: &str =
    "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen";

/// Paths of the installed clients.
#[derive(Debug, Clone)]
pub struct TracingClients {
    node: PathBuf,
    python: PathBuf,
    java: PathBuf,
    telemetrygen: PathBuf,
}

// === impl TracingClients ===

impl TracingClients {
    /// Fetches and builds the missing clients.
    ///
    /// # Errors
    /// Fails if a tool is missing or fails; the message names the remedy.
    pub fn install(progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let folder = sources();
        let what = "the SDK for JavaScript and zipkin-js";
        let node = node::install_packages("tracing-node", what, &folder.join("node"), progress)?;
        copy_programs(&folder.join("node"), &node)?;
        let what = "py_zipkin";
        let python =
            python::install_packages("tracing-python", what, &folder.join("python"), progress)?;
        let what = "Jaeger's client for Java";
        let java = java::install_program("tracing-java", what, &folder.join("java"), progress)?;
        let go = folder.join("go");
        Ok(Self {
            telemetrygen: go_tool::install_tool(
                "telemetrygen",
                TELEMETRYGEN,
                &go,
                &python,
                progress,
            )?,
            node,
            python,
            java,
        })
    }

    /// Returns the folder with the npm packages.
    #[must_use]
    pub fn node_modules(&self) -> PathBuf {
        self.node.join("node_modules")
    }

    /// Returns a program of `node/` with its arguments.
    #[must_use]
    pub fn node(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("node");
        command.arg(self.node.join(program)).args(args);
        without_settings(command)
    }

    /// Returns a program of `python/` with its arguments.
    #[must_use]
    pub fn python(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.python.join("bin/python"));
        command
            .arg(sources().join("python").join(program))
            .args(args)
            // Bytecode files would change the folder of sources.
            .env("PYTHONDONTWRITEBYTECODE", "1");
        without_settings(command)
    }

    /// Returns a program of `java/`, which is configured by its environment.
    ///
    /// # Errors
    /// Fails if Java is missing.
    pub fn java(&self, program: &str) -> Result<Command> {
        let mut command = without_settings(Command::new(crate::kafka::java()?));
        let classes = java::classes(&self.java);
        command
            .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-cp", &classes, &format!("clients.{program}")]);
        Ok(command)
    }

    /// Returns OpenTelemetry's load generator with its arguments.
    #[must_use]
    pub fn telemetrygen(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.telemetrygen);
        command.args(args);
        without_settings(command)
    }
}

/// Runs a client to its end and returns what it prints.
///
/// # Errors
/// Fails if it ends with an error; the message has its output.
pub fn run_client(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{stdout}{stderr}",
        output.status
    );
    Ok(stdout.trim().to_owned())
}

/// Copies the programs for Node.js to their packages, beside which it finds them.
fn copy_programs(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs")
            && let Some(name) = path.file_name()
        {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn sources() -> PathBuf {
    repository_root().join("e2e/collector_clients")
}

/// Removes the settings of the machine, which must not change the result.
fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["OTEL_", "JAEGER_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}
