//! One running pod.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::command::Podman;
use super::manifest::{ContainerProbe, PodManifest, StartCondition};
use crate::http;
use crate::wait;

/// A pod, which is removed at the end with its volumes.
#[derive(Debug)]
pub(super) struct RunningPod {
    /// Name of the workload.
    pub(super) workload: String,
    pub(super) address: IpAddr,
    podman: Arc<Podman>,
    name: String,
    containers: Vec<String>,
}

const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

// === impl RunningPod ===

impl RunningPod {
    /// Creates a pod and starts its containers, one after the other as the kubelet does.
    pub(super) fn start(
        podman: &Arc<Podman>,
        manifest: &PodManifest,
        gateway: &str,
    ) -> Result<Self> {
        let name = format!("{}-{}", podman.network, manifest.name);
        let file = podman.write_documents(&name, &manifest.documents(&name, gateway))?;
        let aliases: Vec<String> = manifest
            .aliases
            .iter()
            .map(|alias| format!("alias={alias}"))
            .collect();
        let network = format!("{}:{}", podman.network, aliases.join(","));
        // From here on the pod exists, whatever fails.
        let mut pod = Self {
            workload: manifest.name.clone(),
            address: IpAddr::from([0, 0, 0, 0]),
            podman: Arc::clone(podman),
            name,
            containers: Vec::new(),
        };
        let file = file.display().to_string();
        podman.run(&[
            "kube",
            "play",
            "--start=false",
            "--network",
            &network,
            &file,
        ])?;
        pod.start_containers(manifest).with_context(|| {
            format!(
                "starting {} of {}\n{}",
                manifest.name,
                manifest.namespace(),
                pod.logs()
            )
        })?;
        Ok(pod)
    }

    /// Returns the last lines of every container.
    pub(super) fn logs(&self) -> String {
        let mut text = String::new();
        for container in &self.containers {
            let lines = self.podman.all_output(&["logs", "--tail", "15", container]);
            // Writing to a string cannot fail.
            writeln!(text, "--- {container}\n{}", lines.trim_end()).unwrap_or_default();
        }
        text
    }

    /// Runs a command of podman for the last container, which is the application.
    pub(super) fn control(&self, command: &str) -> Result<()> {
        let container = self.containers.last().context("no container")?;
        self.podman.run(&[command, container]).map(drop)
    }

    fn start_containers(&mut self, manifest: &PodManifest) -> Result<()> {
        let format = "{{.InfraContainerID}}";
        let infra = self
            .podman
            .run(&["pod", "inspect", &self.name, "--format", format])?;
        self.podman.run(&["start", &infra])?;
        let network = &self.podman.network;
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        let address = self.podman.run(&["inspect", &infra, "--format", &format])?;
        self.address = address
            .parse()
            .with_context(|| format!("the address {address:?} of the pod"))?;
        for container in &manifest.containers {
            let name = format!("{}-{}", self.name, container.name);
            self.containers.push(name.clone());
            match &container.until {
                // Attached, podman ends with the exit code of the container.
                StartCondition::Completed => drop(self.podman.run(&["start", "--attach", &name])?),
                StartCondition::Started => drop(self.podman.run(&["start", &name])?),
                StartCondition::Ready(probe) => {
                    self.podman.run(&["start", &name])?;
                    self.wait_until_ready(probe)
                        .with_context(|| format!("{} is not ready", container.name))?;
                }
            }
        }
        Ok(())
    }

    fn wait_until_ready(&self, probe: &ContainerProbe) -> Result<()> {
        let address = SocketAddr::new(self.address, probe.port);
        let is_ready = || match &probe.path {
            Some(path) => {
                let reply = http::get(&format!("http://{address}{path}"), PROBE_TIMEOUT);
                reply.is_ok_and(|reply| reply.status == 200)
            }
            None => TcpStream::connect_timeout(&address, PROBE_TIMEOUT).is_ok(),
        };
        wait::until(probe.limit, || is_ready().then_some(())).context("its probe does not succeed")
    }
}

impl Drop for RunningPod {
    fn drop(&mut self) {
        let volumes = "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{end}}{{end}}";
        let mut names: Vec<String> = Vec::new();
        for container in &self.containers {
            let found = self
                .podman
                .run(&["inspect", container, "--format", volumes]);
            names.extend(
                found
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
        drop(
            self.podman
                .run(&["pod", "rm", "--force", "--time", "2", &self.name]),
        );
        for name in names {
            drop(self.podman.run(&["volume", "rm", "--force", &name]));
        }
    }
}
