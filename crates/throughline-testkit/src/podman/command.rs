//! podman and buildah, with a configuration and a network of this process.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Runs podman and buildah. The network is removed at the end.
#[derive(Debug)]
pub(super) struct Podman {
    configuration: PathBuf,
    /// Configuration of a store of its own; the system's by default.
    storage: Option<PathBuf>,
    home: PathBuf,
    pub(super) network: String,
}

/// crun refuses hybrid cgroups, and systemd is not everywhere; the limits of open files may be
/// lower than podman's default.
const CONFIGURATION: &str = "\
[containers]
default_ulimits = [\"nofile=4096:4096\", \"nproc=4096:4096\"]
[engine]
runtime = \"runc\"
cgroup_manager = \"cgroupfs\"
";

/// Returns the reason why pods cannot be run here, or [`None`] if they can.
#[must_use]
pub fn missing() -> Option<String> {
    let works = |program: &str| {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let absent = ["podman", "buildah", "runc"]
        .into_iter()
        .find(|program| !works(program));
    if let Some(program) = absent {
        return Some(format!(
            "{program} is not installed; on Debian: apt-get install podman buildah runc netavark \
             aardvark-dns catatonit iptables"
        ));
    }
    (!rustix::process::geteuid().is_root()).then(|| "pods need root here".to_owned())
}

// === impl Podman ===

impl Podman {
    pub(super) fn create(home: &Path) -> Result<Self> {
        let configuration = home.join("containers.conf");
        fs::write(&configuration, CONFIGURATION)?;
        Ok(Self {
            configuration,
            storage: None,
            home: home.to_owned(),
            network: format!("throughline-{}", std::process::id()),
        })
    }

    /// Returns a podman whose images and containers are in `home`.
    pub(super) fn with_own_store(home: &Path) -> Result<Self> {
        let storage = home.join("storage.conf");
        let path = |name: &str| home.join(name).display().to_string();
        let text = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = {:?}\nrunroot = {:?}\n",
            path("store"),
            path("run")
        );
        fs::write(&storage, text)?;
        let mut podman = Self::create(home)?;
        podman.storage = Some(storage);
        Ok(podman)
    }

    /// Returns the variables that name the configurations.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let storage = self.storage.as_deref();
        let storage = storage.map(|storage| ("CONTAINERS_STORAGE_CONF", storage));
        [("CONTAINERS_CONF", self.configuration.as_path())]
            .into_iter()
            .chain(storage)
    }

    /// Runs podman and returns its stdout.
    pub(super) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String> {
        self.run_program("podman", args)
    }

    /// Runs a program and returns its stdout.
    ///
    /// # Errors
    /// Fails if the program fails; shows its stderr.
    pub(super) fn run_program<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Result<String> {
        let output = self
            .command(program, args)
            .output()
            .with_context(|| format!("starting {program}"))?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        let words: Vec<_> = args
            .iter()
            .map(|arg| arg.as_ref().to_string_lossy())
            .collect();
        ensure!(
            output.status.success(),
            "{program} {}: {}",
            words.join(" "),
            stderr.trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Returns stdout and stderr together, whatever the outcome.
    pub(super) fn all_output(&self, args: &[&str]) -> String {
        let output = self.command("podman", args).output();
        output.map_or_else(
            |error| error.to_string(),
            |output| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                text(&output.stdout) + &text(&output.stderr)
            },
        )
    }

    /// Writes documents for `podman kube play` and returns the file. JSON is YAML.
    pub(super) fn write_documents(&self, name: &str, documents: &[Value]) -> Result<PathBuf> {
        let texts: Vec<String> = documents.iter().map(Value::to_string).collect();
        let file = self.home.join(format!("{name}.yaml"));
        fs::write(&file, texts.join("\n---\n"))?;
        Ok(file)
    }

    /// Creates the network and returns the address of its gateway, which serves DNS.
    pub(super) fn create_network(&self) -> Result<String> {
        self.run(&["network", "create", &self.network])?;
        let format = "{{(index .Subnets 0).Gateway}}";
        self.run(&["network", "inspect", &self.network, "--format", format])
    }

    fn command<S: AsRef<OsStr>>(&self, program: &str, args: &[S]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .envs(self.environment())
            .stdin(std::process::Stdio::null());
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // It does not exist yet if an image could not be built.
        drop(self.run(&["network", "rm", "--force", &self.network]));
    }
}
