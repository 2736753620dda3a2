//! `deploy/` on a real API server of Kubernetes with etcd: it takes every manifest by server-side
//! apply and the chart by `helm install`, and calls the webhook when a pod is created. There is no
//! kubelet: no pod runs.
//!
//! Runs with `THROUGHLINE_FULL=1`, as root: building the API server takes some ten minutes.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::unwrap_in_result,
    reason = "a test fails by panicking"
)]
#![expect(clippy::print_stderr, reason = "shows the progress of long builds")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::clients::{KubernetesTools, kubernetes_api_server, kubernetes_tools};
use throughline_testkit::network::{self, Pod, PodNetwork};
use throughline_testkit::process::{ChildProcess, ProcessSpec};
use throughline_testkit::wait;

const LIMIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "administrator";

#[test]
fn api_server_takes_the_manifests_and_calls_the_webhook() {
    if std::env::var("THROUGHLINE_FULL").is_ok_and(|full| full == "1") {
        if let Some(missing) = network::missing() {
            eprintln!("skipped: {missing}");
            return;
        }
    } else {
        eprintln!("skipped: it runs with THROUGHLINE_FULL=1");
        return;
    }
    let cluster = ApiServer::start();
    cluster.helm(&["install", "throughline", &chart(), "--create-namespace"]);
    let definitions = fs::read_to_string(cluster.tools.istio_definitions()).unwrap();
    cluster.apply(&definitions).unwrap();
    cluster.wait_for_kind("/apis/telemetry.istio.io/v1");
    cluster.wait_for_kind("/apis/networking.istio.io/v1alpha3");
    cluster.apply(&namespace("istio-system")).unwrap();
    for file in [
        "eshop/0-namespace.yaml",
        "eshop/kafka.yaml",
        "eshop/services.yaml",
        "eshop/istio/gateway.yaml",
        "istio/envoyfilter.yaml",
        "istio/kafka-tls.yaml",
        "istio/telemetry.yaml",
    ] {
        let applied = cluster.apply(&read(file));
        assert!(applied.is_ok(), "{file}: {applied:?}");
    }
    // The plain manifests are the chart; the release owns its objects.
    cluster
        .command("dry-run", &read("manifests/throughline.yaml"))
        .unwrap();
    let misspelt = read("eshop/services.yaml").replace("readinessProbe:", "readynessProbe:");
    let refused = cluster.apply(&misspelt).unwrap_err();
    assert!(refused.contains("readynessProbe"), "{refused}");

    let webhook = cluster.start_webhook();
    let pod = cluster.create_pod("with-webhook");
    assert_eq!(
        container_names(&pod, "initContainers"),
        ["throughline-init", "throughline"],
        "{pod:#}"
    );
    webhook.stop(LIMIT).unwrap();
    // `failurePolicy: Ignore`.
    let pod = cluster.create_pod("without-webhook");
    assert!(
        container_names(&pod, "initContainers").is_empty(),
        "{pod:#}"
    );

    let before = cluster.certificate();
    cluster.helm(&["upgrade", "throughline", &chart()]);
    assert_eq!(cluster.certificate(), before, "an upgrade keeps it");
    cluster.helm(&["uninstall", "throughline"]);
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/throughline";
    assert!(cluster.get(path).is_err());
}

/// etcd and kube-apiserver in a network namespace.
struct ApiServer {
    tools: KubernetesTools,
    program: PathBuf,
    home: TempDir,
    // Stopped in this order.
    server: ChildProcess,
    _etcd: ChildProcess,
    network: PodNetwork,
}

impl ApiServer {
    fn start() -> Self {
        let progress = &mut |what: &str| eprintln!("{what}");
        let tools = kubernetes_tools(progress).unwrap();
        let program = kubernetes_api_server(progress).unwrap();
        let home = tempfile::tempdir().unwrap();
        let network = PodNetwork::start(&["control"], &[]).unwrap();
        let pod = network.pod("control").unwrap();
        let etcd = pod
            .enter(ProcessSpec::new("etcd", &program).arg("etcd"))
            .arg(home.path().join("etcd"))
            .spawn()
            .unwrap();
        etcd.wait_for_line("its readiness", LIMIT, |line| {
            (line == "ready").then_some(())
        })
        .unwrap();
        let server = serve(pod, &program, home.path());
        let address = pod.address();
        let cluster = Self {
            tools,
            program,
            home,
            server,
            _etcd: etcd,
            network,
        };
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "test",
                "cluster": {
                    "server": format!("https://{address}:6443"),
                    "insecure-skip-tls-verify": true,
                },
            }],
            "users": [{ "name": "test", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        });
        fs::write(cluster.kubeconfig(), kubeconfig.to_string()).unwrap();
        let is_ready = wait::until(LIMIT, || cluster.run(&["get"], "/readyz").ok());
        assert!(
            is_ready.is_some(),
            "{:?}\n{}",
            cluster.run(&["get"], "/readyz"),
            cluster.server.log().join("\n")
        );
        cluster
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.path().join("kubeconfig")
    }

    fn control(&self) -> &Pod {
        self.network.pod("control").unwrap()
    }

    /// Runs the client; [`Err`] has its stderr.
    fn run(&self, command: &[&str], argument: &str) -> Result<String, String> {
        let output = Command::new(&self.program)
            .args(command)
            .arg(self.kubeconfig())
            .arg(argument)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    /// Returns the objects as the server stores them.
    fn command(&self, command: &str, manifests: &str) -> Result<Vec<Value>, String> {
        let file = self.home.path().join("manifests.yaml");
        fs::write(&file, manifests).unwrap();
        let stored = self.run(&[command], file.to_str().unwrap())?;
        let lines = stored.lines();
        Ok(lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect())
    }

    fn apply(&self, manifests: &str) -> Result<Vec<Value>, String> {
        self.command("apply", manifests)
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let text = self.run(&["get"], path)?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// Waits until the server serves the kinds of a definition.
    fn wait_for_kind(&self, path: &str) {
        let served = wait::until(LIMIT, || self.get(path).ok());
        assert!(served.is_some(), "{path} is not served");
    }

    fn helm(&self, args: &[&str]) {
        let kubeconfig = self.kubeconfig();
        let fixed = [
            "--namespace",
            "throughline",
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
        ];
        self.tools.helm(&[args, &fixed[..]].concat()).unwrap();
    }

    fn certificate(&self) -> Value {
        let path = "/api/v1/namespaces/throughline/secrets/throughline-webhook-tls";
        self.get(path).unwrap()["data"].clone()
    }

    /// Starts the webhook with the arguments and the certificate of the chart, at the address of
    /// its Service, which is where the server looks for it.
    fn start_webhook(&self) -> ChildProcess {
        let path = "/api/v1/namespaces/throughline/services/throughline-webhook";
        let service = self.get(path).unwrap();
        let address = service["spec"]["clusterIP"].as_str().unwrap();
        let control = self.control();
        let on_loopback = format!("{address}/32");
        control
            .run("ip", &["addr", "add", &on_loopback, "dev", "lo"])
            .unwrap();
        for (name, text) in self.certificate().as_object().unwrap() {
            let text = STANDARD.decode(text.as_str().unwrap()).unwrap();
            fs::write(self.home.path().join(name), text).unwrap();
        }
        let path = "/apis/apps/v1/namespaces/throughline/deployments/throughline-webhook";
        let deployment = self.get(path).unwrap();
        let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        let folder = self.home.path().to_str().unwrap();
        let args = args.as_array().unwrap().iter();
        let args = args.map(|arg| arg.as_str().unwrap().replace("/certificate", folder));
        let throughline = &ProjectBinaries::build().unwrap().throughline;
        let spec = ProcessSpec::new("the webhook", throughline)
            .args(args)
            .arg(format!("--listen={address}:443"));
        let webhook = control.enter(spec).spawn().unwrap();
        webhook
            .wait_for_line("its address", LIMIT, |line| {
                line.starts_with("The webhook is up").then_some(())
            })
            .unwrap();
        webhook
    }

    /// Creates a pod of the eshop and returns it as the server stores it.
    fn create_pod(&self, name: &str) -> Value {
        let deployment = self.get("/apis/apps/v1/namespaces/eshop/deployments/eshop");
        let template = &deployment.unwrap()["spec"]["template"];
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "eshop",
                "labels": template["metadata"]["labels"],
            },
            "spec": template["spec"],
        });
        self.apply(&pod.to_string()).unwrap().remove(0)
    }
}

fn serve(pod: &Pod, program: &Path, home: &Path) -> ChildProcess {
    let pair = rcgen::KeyPair::generate().unwrap();
    let [key, public_key] = ["accounts.pem", "accounts.pub.pem"].map(|name| home.join(name));
    fs::write(&key, pair.serialize_pem()).unwrap();
    fs::write(&public_key, pair.public_key_pem()).unwrap();
    let tokens = home.join("tokens.csv");
    fs::write(&tokens, format!("{TOKEN},admin,1,system:masters\n")).unwrap();
    let (key, public_key, tokens) = (key.display(), public_key.display(), tokens.display());
    let spec = ProcessSpec::new("kube-apiserver", program)
        .arg("serve")
        .args([
            "--etcd-servers=http://127.0.0.1:2379".to_owned(),
            "--secure-port=6443".to_owned(),
            format!("--bind-address={}", pod.address()),
            format!("--advertise-address={}", pod.address()),
            format!("--cert-dir={}", home.join("certificates").display()),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={public_key}"),
            format!("--service-account-signing-key-file={key}"),
            format!("--token-auth-file={tokens}"),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
        ]);
    pod.enter(spec).spawn().unwrap()
}

fn chart() -> String {
    let chart = repository_root().join("deploy/helm/throughline");
    chart.display().to_string()
}

fn read(name: &str) -> String {
    fs::read_to_string(repository_root().join("deploy").join(name)).unwrap()
}

fn namespace(name: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }).to_string()
}

fn container_names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().cloned().unwrap_or_default();
    let names = containers.iter().map(|it| it["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}
