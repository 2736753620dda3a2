//! HTTP clients and servers in several languages, from `e2e/http`.

use std::path::PathBuf;

use anyhow::Result;

use super::{java, node, python};
use crate::build::repository_root;
use crate::process::ProcessSpec;

/// Paths of the installed programs.
#[derive(Debug, Clone)]
pub struct HttpPrograms {
    sources: PathBuf,
    python: PathBuf,
    node: PathBuf,
    java: PathBuf,
}

// === impl HttpPrograms ===

impl HttpPrograms {
    /// Fetches and builds what is missing.
    ///
    /// # Errors
    /// Fails if a tool is missing or fails; the message names the remedy.
    pub fn install(progress: &mut dyn FnMut(&str)) -> Result<Self> {
        let sources = repository_root().join("e2e/http");
        let what = "HTTP clients for Python (about 40 MB, once)";
        let python_sources = sources.join("python");
        let python = python::install_packages("http-python", what, &python_sources, progress)?;
        let what = "HTTP clients for Node.js (about 2 MB)";
        let node = node::install_packages("http-node", what, &sources.join("node"), progress)?;
        let what = "a service with Jaeger's client (about 10 MB, once)";
        let java = java::install_program("http-java", what, &sources.join("java"), progress)?;
        Ok(Self {
            sources,
            python,
            node,
            java,
        })
    }

    /// Returns the spec of a Python program, such as `client.py`.
    #[must_use]
    pub fn python(&self, script: &str) -> ProcessSpec {
        // Bytecode files would change the folder of sources.
        ProcessSpec::new(script, self.python.join("bin/python"))
            .arg(self.sources.join("python").join(script))
            .env("PYTHONDONTWRITEBYTECODE", "1")
    }

    /// Returns the spec of a Node.js program, such as `client.js`.
    #[must_use]
    pub fn node(&self, script: &str) -> ProcessSpec {
        ProcessSpec::new(script, "node")
            .arg(self.sources.join("node").join(script))
            .env("NODE_PATH", self.node.join("node_modules"))
    }

    /// Returns the spec of the service with Jaeger's client, whose JVM gets these options.
    ///
    /// # Errors
    /// Fails if Java is missing.
    pub fn jaeger_service(&self, options: &[String]) -> Result<ProcessSpec> {
        let classes = java::classes(&self.java);
        let tuning = [
            "-Xmx128m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        ];
        let spec = ProcessSpec::new("jaeger service", crate::kafka::java()?)
            .args(tuning)
            .args(options.iter().cloned());
        Ok(spec.args(["-cp", classes.as_str(), "clients.JaegerService"]))
    }
}
