//! `throughline webhook` over HTTPS, with curl as the API server.
#![expect(
    clippy::expect_used,
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tempfile::TempDir;

const THROUGHLINE: &str = env!("CARGO_BIN_EXE_throughline");
const REVIEW: &str = include_str!("webhook/review.json");
const LIMIT: Duration = Duration::from_secs(60);

/// A webhook that is killed with the test.
struct WebhookProcess {
    child: Child,
    address: String,
    folder: TempDir,
}

// === impl WebhookProcess ===

impl WebhookProcess {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut child = Command::new(THROUGHLINE)
            .args(["webhook", "--listen", "127.0.0.1:0", "--image", "mine:1"])
            .args([
                "--tls-cert",
                &file("tls.crt"),
                "--tls-key",
                &file("tls.key"),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().trim_end_matches("/inject");
        let (_, address) = address.split_once("https://").expect(&line);
        Self {
            child,
            address: address.to_owned(),
            folder,
        }
    }

    /// Sends a request to the webhook's host name; returns the body, or [`None`] without a success.
    fn request(&self, path: &str, ca: &Path, body: Option<&str>) -> Option<String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--max-time", "20", "--noproxy", "*"])
            .arg("--cacert")
            .arg(ca)
            .args(["--connect-to", &format!("::{}", self.address)])
            .arg(format!("https://throughline-webhook.throughline.svc{path}"));
        if body.is_some() {
            curl.args([
                "-H",
                "content-type: application/json",
                "--data-binary",
                "@-",
            ]);
        }
        let mut curl = curl
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl is needed; on Debian: apt-get install curl");
        let mut stdin = curl.stdin.take().unwrap();
        stdin
            .write_all(body.unwrap_or_default().as_bytes())
            .unwrap();
        drop(stdin);
        let output = curl.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(text)
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    fn review(&self, review: &Value) -> Value {
        let answer = self.request("/inject", &self.ca(), Some(&review.to_string()));
        serde_json::from_str(&answer.unwrap()).unwrap()
    }
}

impl Drop for WebhookProcess {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Writes the files of the Secret that the command prints, as Kubernetes mounts them.
fn write_certificate(folder: &Path) {
    let output = Command::new(THROUGHLINE)
        .args(["webhook", "certificate"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        let prefix = format!("{name}: ");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(&prefix));
        let pem = BASE64.decode(line.expect(&text)).unwrap();
        // Replaced as a whole, as Kubernetes does.
        let path = folder.join(name);
        std::fs::write(path.with_extension("new"), pem).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
    }
    assert!(
        text.contains("kind: MutatingWebhookConfiguration\n"),
        "{text}"
    );
}

/// Applies the `add` operations of a JSON Patch to an object.
fn apply(object: &mut Value, patch: &Value) {
    for operation in patch.as_array().unwrap() {
        assert_eq!(operation["op"], "add", "{patch}");
        let path = operation["path"].as_str().unwrap();
        let (parent, field) = path.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap();
        parent[field] = operation["value"].clone();
    }
}

#[test]
fn a_pod_is_admitted_with_the_sidecar() {
    let webhook = WebhookProcess::start();
    let review: Value = serde_json::from_str(REVIEW).unwrap();
    let answer = webhook.review(&review);
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["kind"], "AdmissionReview");
    let response = &answer["response"];
    assert_eq!(response["uid"], review["request"]["uid"]);
    assert_eq!(response["allowed"], true);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = BASE64.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();

    let mut pod = review["request"]["object"].clone();
    apply(&mut pod, &patch);
    let sidecar = &pod["spec"]["initContainers"][1];
    assert_eq!(sidecar["name"], "throughline");
    assert_eq!(sidecar["image"], "mine:1");
    assert_eq!(sidecar["restartPolicy"], "Always");
    let args = sidecar["args"].to_string();
    for part in ["--service=billing\"", "--sample=0.25", "--drain=20s"] {
        assert!(args.contains(part), "{part} is missing in {args}");
    }
    assert_eq!(pod["metadata"]["labels"]["app"], "billing");
    assert_eq!(
        pod["metadata"]["labels"]["throughline.dev/injected"],
        "true"
    );
    assert_eq!(
        pod["spec"]["containers"],
        review["request"]["object"]["spec"]["containers"]
    );

    // The pod is left alone when it comes again, as with reinvocation.
    let mut again = review;
    again["request"]["object"] = pod;
    let allowed = json!({ "uid": again["request"]["uid"], "allowed": true });
    assert_eq!(webhook.review(&again)["response"], allowed);
}

#[test]
fn a_pod_that_cannot_be_changed_is_admitted_as_it_is() {
    let webhook = WebhookProcess::start();
    let mut review: Value = serde_json::from_str(REVIEW).unwrap();
    let uid = review["request"]["uid"].clone();
    let allowed = json!({ "uid": uid, "allowed": true });
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["throughline.dev/sample"] = "much".into();
    let response = webhook.review(&review)["response"].clone();
    assert_eq!(response["allowed"], true);
    assert_eq!(response.get("patch"), None);
    let warning = response["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("throughline: not injected: --sample \"much\""),
        "{warning}"
    );
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["throughline.dev/inject"] = "false".into();
    assert_eq!(webhook.review(&review)["response"], allowed);
    review["request"]["kind"]["kind"] = "Service".into();
    assert_eq!(webhook.review(&review)["response"], allowed);
    // Without a uid there is nothing to respond to: the API server's failure policy decides.
    for body in ["{}", "not JSON", "null"] {
        assert_eq!(webhook.request("/inject", &webhook.ca(), Some(body)), None);
    }
    assert_eq!(
        webhook.request("/healthz", &webhook.ca(), None).as_deref(),
        Some("ok\n")
    );
    let metrics = webhook.request("/metrics", &webhook.ca(), None).unwrap();
    for line in [
        "throughline_webhook_pods_total{outcome=\"failed\"} 1\n",
        "throughline_webhook_pods_total{outcome=\"skipped\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[test]
fn a_replaced_certificate_is_presented_without_a_restart() {
    let webhook = WebhookProcess::start();
    let former = webhook.folder.path().join("former.crt");
    std::fs::copy(webhook.ca(), &former).unwrap();
    assert!(webhook.request("/healthz", &former, None).is_some());
    // An invalid file changes nothing.
    std::fs::write(webhook.folder.path().join("tls.crt"), "none").unwrap();
    assert!(webhook.request("/healthz", &former, None).is_some());
    write_certificate(webhook.folder.path());
    let begin = Instant::now();
    // Each request takes a process and a handshake, so this does not spin.
    while webhook.request("/healthz", &webhook.ca(), None).is_none() {
        assert!(begin.elapsed() < LIMIT, "the new certificate is not used");
    }
    assert!(webhook.request("/healthz", &former, None).is_none());
}

#[test]
fn mistakes_are_reported_together_with_exit_code_64() {
    let output = Command::new(THROUGHLINE)
        .args(["webhook", "--listen", "here", "--tls-cert", "/no/tls.crt"])
        .args(["--tls-key", "/no/tls.key", "--image-pull-policy", "daily"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    for part in ["--listen \"here\"", "--tls-cert /no/tls.crt", "daily"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}
