//! Pods by podman, from the manifests of `deploy/`: images built on the spot, one pod for each
//! workload, in one network with names.
//!
//! podman reads pods, not Deployments and StatefulSets, and has no native sidecars: [`manifest`]
//! turns workloads into pods, and [`pod`] starts their containers in the order of the kubelet. DNS
//! names of Services are aliases of the pods, so there is no load balancing and no port mapping.
//!
//! Linux only. Needs root, podman, buildah and runc; see [`missing`].

mod command;
mod dockerfile;
mod image;
mod manifest;
mod pod;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tempfile::TempDir;

use self::command::Podman;
use self::manifest::PodManifest;
use self::pod::RunningPod;
use crate::build::{ProjectBinaries, repository_root};
use crate::demo::{missing_spans, span_ids};
use crate::eshop::{CHECKOUT_BODY, DemoMode};
use crate::http;
use crate::wait;

pub use self::command::missing;
pub use self::dockerfile::DockerfileBuilds;

/// The eshop of `deploy/eshop` with the collector of `deploy/manifests`, in pods.
#[derive(Debug)]
pub struct PodmanEshop {
    // Dropped first: a network with pods in it cannot be removed.
    pods: Vec<RunningPod>,
    podman: Arc<Podman>,
    home: TempDir,
}

/// Name of the pod of the collector.
const COLLECTOR: &str = "throughline-collector";

const START_TIMEOUT: Duration = Duration::from_secs(120);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle seconds after which a sidecar attributes calls from the first request on.
const MIN_IDLE_SECONDS: f64 = 5.0;

/// The services in start order.
const SERVICES: [&str; 6] = crate::eshop::SERVICES;

// === impl PodmanEshop ===

impl PodmanEshop {
    /// Builds the images, injects the sidecar into the manifests with `throughline inject`, starts
    /// the pods and waits until each is ready. Calls `progress` for each step.
    ///
    /// # Errors
    /// Fails if a tool is missing or a pod does not become ready; shows the end of its log.
    pub fn start(binaries: &ProjectBinaries, progress: &mut dyn FnMut(&str)) -> Result<Self> {
        if let Some(missing) = missing() {
            anyhow::bail!("{missing}");
        }
        let home = tempfile::Builder::new()
            .prefix("throughline-pods-")
            .tempdir()?;
        let podman = Arc::new(Podman::create(home.path())?);
        image::build_all(&podman, home.path(), binaries, progress)?;
        let gateway = podman.create_network()?;
        let mut eshop = Self {
            pods: Vec::new(),
            podman,
            home,
        };
        for manifest in manifests(binaries)? {
            progress(&format!("starting the pod {}", manifest.name));
            let pod = RunningPod::start(&eshop.podman, &manifest, &gateway)?;
            eshop.pods.push(pod);
        }
        eshop.wait_until_served()?;
        progress("waiting until every sidecar knows that its idle service makes no calls");
        eshop.wait_until_idle()?;
        Ok(eshop)
    }

    /// Builds the image of the module for Envoy, and runs it as the init container that copies the
    /// module into `folder`, which every user may write to.
    ///
    /// # Errors
    /// Fails if the image cannot be built or run.
    pub fn copy_module(&self, module: &Path, folder: &Path) -> Result<()> {
        let tag = image::build_module(&self.podman, self.home.path(), module)?;
        let volume = format!("{}:/throughline", folder.display());
        self.podman
            .run(&["run", "--rm", "--read-only", "--volume", &volume, &tag])
            .map(drop)
    }

    /// Returns the URL of the checkout.
    ///
    /// # Errors
    /// Fails if there is no such pod.
    pub fn checkout_url(&self) -> Result<String> {
        Ok(format!(
            "http://{}:8080/checkout",
            self.pod("eshop")?.address
        ))
    }

    /// Returns the URL of the collector's web UI and query API.
    ///
    /// # Errors
    /// Fails if there is no such pod.
    pub fn collector_url(&self) -> Result<String> {
        Ok(format!("http://{}:16686", self.pod(COLLECTOR)?.address))
    }

    /// Sends a checkout, waits until all its spans have arrived, and returns its traces in Jaeger's
    /// JSON.
    ///
    /// # Errors
    /// Fails if the checkout fails or spans are missing after `limit`; names them.
    pub fn checkout_and_wait(&self, limit: Duration) -> Result<Vec<Value>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        let reply = http::get(&self.checkout_url()?, REQUEST_TIMEOUT)?;
        ensure!(
            reply.status == 200 && reply.body == CHECKOUT_BODY,
            "the checkout returned status {}: {}\n{}",
            reply.status,
            reply.body,
            self.logs()
        );
        let mut before = None;
        let mut missing_parts = String::new();
        let traces = wait::until(limit, || {
            let traces = self.traces_since(since).ok()?;
            missing_parts = missing_spans(DemoMode::Sidecar, &traces).join(", ");
            // Complete, and unchanged since the last poll: nothing more is in transit.
            let spans = span_ids(&traces);
            let is_settled = missing_parts.is_empty() && before.as_ref() == Some(&spans);
            before = Some(spans);
            is_settled.then_some(traces)
        });
        traces.ok_or_else(|| {
            anyhow!(
                "the checkout's traces are not complete: {missing_parts}\n{}",
                self.logs()
            )
        })
    }

    /// Waits until the eshop responds: a pod's sidecar accepts connections before its service does.
    fn wait_until_served(&self) -> Result<()> {
        let url = format!("http://{}:8080/", self.pod("eshop")?.address);
        let is_served = || {
            let reply = http::get(&url, REQUEST_TIMEOUT).ok()?;
            (reply.status == 404).then_some(())
        };
        wait::until(START_TIMEOUT, is_served)
            .with_context(|| format!("the eshop does not respond\n{}", self.logs()))
    }

    fn traces_since(&self, since: u128) -> Result<Vec<Value>> {
        let mut traces: Vec<Value> = Vec::new();
        for service in ["eshop", "kafka-consumer", "notification"] {
            let query = format!("/api/traces?service={service}&start={since}&limit=100");
            let url = format!("{}{query}", self.collector_url()?);
            let answer = http::get_json(&url, REQUEST_TIMEOUT)?;
            let found = answer.get("data").and_then(Value::as_array).cloned();
            for trace in found.unwrap_or_default() {
                let is_known = |known: &Value| known.get("traceID") == trace.get("traceID");
                if !traces.iter().any(is_known) {
                    traces.push(trace);
                }
            }
        }
        Ok(traces)
    }

    /// Stops the processes of a workload's application until [`Self::resume`].
    ///
    /// # Errors
    /// Fails if podman fails.
    pub fn pause(&self, workload: &str) -> Result<()> {
        self.pod(workload)?.control("pause")
    }

    /// Continues what [`Self::pause`] stopped.
    ///
    /// # Errors
    /// Fails if podman fails.
    pub fn resume(&self, workload: &str) -> Result<()> {
        self.pod(workload)?.control("unpause")
    }

    fn wait_until_idle(&self) -> Result<()> {
        for service in SERVICES {
            let url = format!("http://{}:19091/metrics", self.pod(service)?.address);
            let idle = || {
                let text = http::get(&url, REQUEST_TIMEOUT).ok()?.body;
                let mut lines = text.lines();
                let line = lines
                    .find_map(|line| line.strip_prefix("throughline_process_idle_seconds "))?;
                line.parse::<f64>()
                    .ok()
                    .filter(|idle| *idle >= MIN_IDLE_SECONDS)
            };
            wait::until(START_TIMEOUT, idle).with_context(|| {
                format!("the sidecar of {service} is not idle\n{}", self.logs())
            })?;
        }
        Ok(())
    }

    fn pod(&self, name: &str) -> Result<&RunningPod> {
        let found = self.pods.iter().find(|pod| pod.workload == name);
        found.with_context(|| format!("no pod of {name}"))
    }

    /// Returns the last lines of every container.
    fn logs(&self) -> String {
        self.pods.iter().map(RunningPod::logs).collect()
    }
}

/// Returns the pods in start order.
fn manifests(binaries: &ProjectBinaries) -> Result<Vec<PodManifest>> {
    let deploy = repository_root().join("deploy");
    let read = |name: &str| fs::read_to_string(deploy.join(name)).with_context(|| name.to_owned());
    let installed = manifest::parse(&read("manifests/throughline.yaml")?)?;
    let kafka = manifest::parse(&read("eshop/kafka.yaml")?)?;
    // The manifest that a user pipes through the command.
    let injected = inject(binaries, &read("eshop/services.yaml")?)?;
    let services = manifest::parse(&injected)?;
    let mut pods = Vec::new();
    pods.extend(installed.into_iter().filter(|pod| pod.name == COLLECTOR));
    pods.extend(kafka);
    for service in SERVICES {
        pods.extend(services.iter().filter(|pod| pod.name == service).cloned());
    }
    ensure!(
        pods.len() == SERVICES.len() + 2,
        "the manifests have {} workloads",
        pods.len()
    );
    Ok(pods)
}

/// Runs `throughline inject` as a user would.
fn inject(binaries: &ProjectBinaries, manifest: &str) -> Result<String> {
    let mut inject = Command::new(&binaries.throughline)
        .arg("inject")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting throughline inject")?;
    let mut stdin = inject.stdin.take().context("no stdin")?;
    stdin.write_all(manifest.as_bytes())?;
    drop(stdin);
    let output = inject.wait_with_output()?;
    ensure!(output.status.success(), "throughline inject failed");
    Ok(String::from_utf8(output.stdout)?)
}
