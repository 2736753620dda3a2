//! Programs that check manifests: Helm, kubeconform and the schemas that it reads, Kubernetes' API
//! server, and Istio's control plane.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::install::install;
use super::{go, go_tool};
use crate::tool::run_tool;

/// Paths of the installed programs.
#[derive(Debug, Clone)]
pub struct KubernetesTools {
    helm: PathBuf,
    kubeconform: PathBuf,
    schemas: PathBuf,
}

/// Linker flags with the version that the API server reports; Helm compares it with the chart's.
const API_SERVER_VERSION: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";

/// Builds the missing programs from the sources in `e2e/deploy`.
pub(super) fn install_tools(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<KubernetesTools> {
    let mut tool = |name: &str, package: &str| {
        let binary = go_tool::install_tool(name, package, sources, python, progress)?;
        Ok::<_, anyhow::Error>(binary)
    };
    let helm = tool("helm", "helm.sh/helm/v4/cmd/helm")?;
    let kubeconform = tool(
        "kubeconform",
        "github.com/yannh/kubeconform/cmd/kubeconform",
    )?;
    let files = ["go.mod", "go.sum", "schemas/main.go"].map(|name| sources.join(name));
    let schemas = install("kubernetes-schemas", &files, |into| {
        let go = go::go(python, progress)?;
        progress("fetching the API definitions of Kubernetes and Istio");
        let mut convert = Command::new(&go);
        convert
            .args(["run", "-mod=readonly", "./schemas"])
            .arg(into)
            // The program runs Go itself, which may not be on the PATH.
            .env("GO", &go)
            .current_dir(sources);
        run_tool(&mut convert, "go was removed during the build")
    })?;
    Ok(KubernetesTools {
        helm,
        kubeconform,
        schemas,
    })
}

/// Builds the API server of Kubernetes with etcd, from `e2e/apiserver`.
pub(super) fn install_api_server(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let files = ["go.mod", "go.sum", "main.go"].map(|name| sources.join(name));
    let folder = install("kube-apiserver", &files, |into| {
        let go = go::go(python, progress)?;
        progress("fetching and building Kubernetes' API server (some ten minutes)");
        fs::create_dir_all(into)?;
        let mut build = Command::new(go);
        build
            .args(["build", "-trimpath", "-mod=readonly", "-ldflags"])
            .arg(API_SERVER_VERSION)
            .arg("-o")
            .arg(into.join("apiserver"))
            .arg(".")
            .current_dir(sources);
        run_tool(&mut build, "go was removed during the build")
    })?;
    Ok(folder.join("apiserver"))
}

/// Builds the tests of `e2e/istio`, which run Istio's control plane.
pub(super) fn install_istio_tests(
    sources: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf> {
    let files = [
        "go.mod",
        "go.sum",
        "envoyfilter_test.go",
        "gateway_test.go",
        "injector_test.go",
        "kafka_tls_test.go",
    ];
    let files = files.map(|name| sources.join(name));
    let folder = install("istio-tests", &files, |into| {
        let go = go::go(python, progress)?;
        progress("fetching and building Istio's control plane (some ten minutes)");
        fs::create_dir_all(into)?;
        let mut build = Command::new(go);
        build
            .args(["test", "-mod=readonly", "-vet=off", "-c", "-o"])
            .arg(into.join("istio.test"))
            .arg(".")
            .current_dir(sources);
        run_tool(&mut build, "go was removed during the build")
    })?;
    Ok(folder.join("istio.test"))
}

// === impl KubernetesTools ===

impl KubernetesTools {
    /// Runs Helm and returns its stdout.
    ///
    /// # Errors
    /// Fails if Helm fails; shows its output.
    pub fn helm(&self, args: &[&str]) -> Result<String> {
        output(Command::new(&self.helm).args(args), "")
    }

    /// Returns the file with the definitions of Istio's resources.
    #[must_use]
    pub fn istio_definitions(&self) -> PathBuf {
        self.schemas.join("istio-definitions.yaml")
    }

    /// Checks manifests against the schemas; unknown fields are errors.
    ///
    /// # Errors
    /// Fails if a document is invalid or has no schema; shows kubeconform's output.
    pub fn validate(&self, manifests: &str) -> Result<String> {
        let pattern = "{{.ResourceKind}}{{.KindSuffix}}.json";
        let location = self.schemas.join(pattern);
        let mut kubeconform = Command::new(&self.kubeconform);
        kubeconform
            .args(["-strict", "-summary", "-schema-location"])
            .arg(location)
            .arg("-");
        output(&mut kubeconform, manifests)
    }
}

fn output(command: &mut Command, stdin: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let mut pipe = child.stdin.take().context("no stdin")?;
    // A program that does not read its input closes the pipe.
    pipe.write_all(stdin.as_bytes()).unwrap_or_default();
    drop(pipe);
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(
        output.status.success(),
        "{program} ended with {}:\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}
