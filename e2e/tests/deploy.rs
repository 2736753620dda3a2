//! The files of `deploy/`: valid by the schemas of Kubernetes, Istio and the Prometheus operator,
//! and rendered by Helm itself.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use throughline_testkit::build::{ProjectBinaries, repository_root};
use throughline_testkit::clients::{KubernetesTools, kubernetes_tools};

/// Everything that the chart has, for the schemas.
const ALL_VALUES: &str = "serviceMonitor.enabled=true,podMonitor.enabled=true,\
    dashboards.enabled=true,collector.volume.enabled=true,webhook.options.sample=0.5,\
    collector.nodeSelector.disk=fast,imagePullSecrets[0].name=registry";

/// Values of collectors that are members of a group, in a bucket, with query nodes.
const SCALED_VALUES: &str = "kafka.brokers=kafka:9092,kafka.decisionsTopic=decisions,\
    kafka.configSecret.name=kafka-login,objects.url=s3://traces/shop,objects.region=eu,\
    objects.endpoint=https://s3.example,objects.credentialsSecret.name=bucket,\
    objects.caSecret.name=authority,objects.serviceAccountAnnotations.role=traces,\
    collector.volume.enabled=true,collector.replicas=3,edge.enabled=true,query.enabled=true,\
    query.nodeSelector.disk=fast,weave.enabled=true,weave.forward=http://tempo:4318,\
    serviceMonitor.enabled=true";

/// Values of the plain manifests, which have no certificate: it is a secret of each installation.
const PLAIN_VALUES: &str = "webhook.existingSecret=throughline-webhook-tls";

/// Lines before the rendered chart in the plain manifests.
const PLAIN_HEAD: &str = "\
# Rendered from deploy/helm/throughline; e2e/tests/deploy.rs writes it with UPDATE_EXPECT=1.
#
#   kubectl apply -f deploy/manifests
#   throughline webhook certificate | kubectl apply --server-side -f -
apiVersion: v1
kind: Namespace
metadata:
  name: throughline
";

fn tools() -> KubernetesTools {
    kubernetes_tools(&mut |_| ()).unwrap()
}

fn deploy() -> PathBuf {
    repository_root().join("deploy")
}

fn read(name: &str) -> String {
    fs::read_to_string(deploy().join(name)).unwrap()
}

fn render(tools: &KubernetesTools, values: &str) -> String {
    let chart = deploy().join("helm/throughline");
    let args = ["template", "throughline", chart.to_str().unwrap()];
    let args = [&args[..], &["--namespace", "throughline", "--set", values]].concat();
    tools.helm(&args).unwrap()
}

/// Runs `throughline inject`.
fn inject(manifest: &str) -> String {
    let throughline = &ProjectBinaries::build().unwrap().throughline;
    let mut inject = Command::new(throughline)
        .arg("inject")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = inject.stdin.take().unwrap();
    stdin.write_all(manifest.as_bytes()).unwrap();
    drop(stdin);
    let output = inject.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the files below a folder of `deploy/`, relative to it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let relative = path.strip_prefix(deploy()).unwrap();
            found.push(relative.to_str().unwrap().to_owned());
        }
    }
    found
}

#[test]
fn every_manifest_is_valid() {
    let tools = tools();
    for file in files(&deploy()) {
        let extension = file.rsplit('.').next().unwrap();
        match (file.as_str(), extension) {
            // Values and a patch, below.
            ("istio/mesh.yaml" | "istio/annotations.yaml", _) => {}
            // Rendered, below.
            (file, _) if file.starts_with("helm/throughline/") => {}
            // e2e/tests/images.rs builds them.
            (file, "Dockerfile" | "rs") if file.starts_with("images/") => {}
            (_, "md") => {}
            (_, "yaml") => {
                let text = read(&file);
                let summary = tools
                    .validate(&text)
                    .unwrap_or_else(|error| panic!("{file}: {error}"));
                assert!(!summary.contains("Valid: 0"), "{file}: {summary}");
            }
            _ => panic!("deploy/{file} has no check; add one"),
        }
    }
    for values in [ALL_VALUES, PLAIN_VALUES, "webhook.enabled=false"] {
        tools.validate(&render(&tools, values)).unwrap();
    }
    let chart = deploy().join("helm/throughline");
    tools
        .helm(&["lint", "--strict", chart.to_str().unwrap()])
        .unwrap();
    // The check finds what the API server would drop silently.
    let misspelt = read("eshop/services.yaml").replace("readinessProbe:", "readynessProbe:");
    let error = tools.validate(&misspelt).unwrap_err().to_string();
    assert!(error.contains("readynessProbe"), "{error}");
}

/// Returns the rendered object of this kind and name.
fn object<'a>(rendered: &'a str, kind: &str, name: &str) -> &'a str {
    let head = [format!("kind: {kind}\n"), format!("\n  name: {name}\n")];
    let mut objects = rendered.split("\n---\n");
    let found = objects.find(|object| head.iter().all(|part| object.contains(part)));
    assert!(found.is_some(), "no {kind} {name} in {rendered}");
    found.unwrap()
}

#[test]
fn collectors_scale_by_values_of_the_chart() {
    let tools = tools();
    let rendered = render(&tools, SCALED_VALUES);
    let bucket_secret = "secretKeyRef: { name: bucket, key: AWS_SECRET_ACCESS_KEY }";
    let kafka_secret = "secret: { secretName: kafka-login, items: [{ key: kafka.properties,";
    let args = |kind: &str, name: &str, parts: &[&str]| {
        let object = object(&rendered, kind, name);
        for part in parts {
            assert!(object.contains(part), "{name} has no {part}: {object}");
        }
    };
    args("ServiceAccount", "throughline-collector", &["role: traces"]);
    args(
        "StatefulSet",
        "throughline-collector",
        &[
            "replicas: 3",
            "--data=s3://traces/shop\n            - --local-folder=/var/lib/throughline\n",
            "--from-kafka=kafka:9092",
            "--decisions-topic=decisions",
            "--group=throughline\n",
            bucket_secret,
            kafka_secret,
            "{ name: AWS_CA_BUNDLE, value: /etc/throughline/bucket/ca.crt }",
            "secret: { secretName: authority,",
        ],
    );
    args(
        "Deployment",
        "throughline-query",
        &[
            "--query-only\n            - --data=s3://traces/shop\n",
            "emptyDir: { sizeLimit: 5Gi }",
            "disk: fast",
            bucket_secret,
        ],
    );
    let to_kafka = ["--to-kafka=kafka:9092", kafka_secret];
    args("Deployment", "throughline-edge", &to_kafka);
    let forward = ["--forward=http://tempo:4318", "--group=throughline-weave\n"];
    args("Deployment", "throughline-weave", &forward);
    let edge = ["--collector=http://throughline-edge.throughline:4318"];
    args("Deployment", "throughline-webhook", &edge);
    for name in ["edge", "query", "weave", "collector"] {
        let name = format!("throughline-{name}");
        args("NetworkPolicy", &name, &["egress:\n    - {}"]);
    }
    // The command knows all options.
    let throughline = &ProjectBinaries::build().unwrap().throughline;
    let help = ["up", "weave", "webhook"].map(|command| {
        let mut help = Command::new(throughline);
        let output = help.args([command, "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let options = rendered.lines().filter_map(|line| {
        let option = line.trim().strip_prefix("- --")?;
        Some(format!("--{}", option.split('=').next()?))
    });
    let mut count = 0;
    for option in options {
        assert!(help.iter().any(|help| help.contains(&option)), "{option}");
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn each_part_of_the_chart_is_valid_alone_and_mistakes_are_named() {
    let tools = tools();
    let kafka = "kafka.brokers=kafka:9092,collector.volume.enabled=true";
    let bucket = "objects.url=s3://traces,collector.volume.enabled=true";
    let no_collector = "webhook.enabled=false,collector.enabled=false";
    for values in [
        SCALED_VALUES.to_owned(),
        kafka.to_owned(),
        bucket.to_owned(),
        format!("{bucket},query.enabled=true,objects.allowHttp=true"),
        format!("{no_collector},kafka.brokers=kafka:9092,edge.enabled=true"),
        format!("{no_collector},kafka.brokers=kafka:9092,weave.enabled=true,weave.toTopic=woven"),
        format!("{no_collector},objects.url=s3://traces,query.enabled=true"),
    ] {
        let validated = tools.validate(&render(&tools, &values));
        validated.unwrap_or_else(|error| panic!("{values}: {error}"));
    }
    let chart = deploy().join("helm/throughline");
    let args = ["template", "t", chart.to_str().unwrap(), "--set"];
    for (values, expected) in [
        ("kafka.brokers=k:9092", "collector.volume.enabled=true is"),
        ("objects.url=s3://a", "collector.volume.enabled=true is"),
        ("collector.replicas=2", "needs kafka.brokers, which gives"),
        ("query.enabled=true", "query.enabled needs objects.url"),
        ("edge.enabled=true", "edge.enabled needs kafka.brokers"),
        ("weave.enabled=true", "weave.enabled needs kafka.brokers"),
        ("collector.enabled=false", "webhook.collector is needed"),
        (
            "collector.enabled=false,edge.enabled=true,weave.enabled=true,kafka.brokers=k:9092",
            "needs one of weave.forward and weave.toTopic",
        ),
    ] {
        let error = tools.helm(&[&args[..], &[values]].concat()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{values}: {error}");
    }
}

#[test]
fn plain_manifests_are_those_of_the_chart() {
    let rendered = render(&tools(), PLAIN_VALUES);
    let expected = format!("{PLAIN_HEAD}{rendered}");
    let file = deploy().join("manifests/throughline.yaml");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&file, &expected).unwrap();
    }
    let text = read("manifests/throughline.yaml");
    assert!(
        text == expected,
        "run this test with UPDATE_EXPECT=1:\n{expected}"
    );
    assert!(!text.contains("kind: Secret"), "{text}");
}

#[test]
fn injected_manifests_are_valid() {
    let tools = tools();
    let injected = inject(&read("eshop/services.yaml"));
    assert_eq!(
        injected.matches("restartPolicy: Always").count(),
        6,
        "{injected}"
    );
    tools.validate(&injected).unwrap();
    assert_eq!(inject(&injected), injected);
    // Kafka and the chart's own pods are left alone.
    for file in ["eshop/kafka.yaml", "manifests/throughline.yaml"] {
        assert_eq!(inject(&read(file)), read(file), "{file}");
    }
}

/// Names that several files must have in common.
#[test]
fn files_agree_on_names() {
    let tools = tools();
    let chart = render(&tools, ALL_VALUES);
    let mesh = read("istio/mesh.yaml");
    for (file, text, part) in [
        // The collector, in the defaults of the injection, the chart and the Envoy module.
        (
            "chart",
            &chart,
            "--collector=http://throughline-collector.throughline:4318",
        ),
        (
            "services",
            &inject(&read("eshop/services.yaml")),
            "http://throughline-collector.throughline:4318",
        ),
        (
            "envoyfilter",
            &read("istio/envoyfilter.yaml"),
            "http://throughline-collector.throughline:4318",
        ),
        (
            "mesh",
            &mesh,
            "service: throughline-collector.throughline.svc.cluster.local",
        ),
        // The provider of tracing.
        ("mesh", &mesh, "name: throughline\n"),
        (
            "telemetry",
            &read("istio/telemetry.yaml"),
            "name: throughline\n",
        ),
        // The folder of the module.
        (
            "mesh",
            &mesh,
            "ENVOY_DYNAMIC_MODULES_SEARCH_PATH: /throughline\n",
        ),
        (
            "annotations",
            &read("istio/annotations.yaml"),
            "\"mountPath\":\"/throughline\"",
        ),
        // The namespaces that get the sidecar, and the images.
        ("chart", &chart, "throughline.dev/injection: enabled"),
        (
            "namespace",
            &read("eshop/0-namespace.yaml"),
            "throughline.dev/injection: enabled",
        ),
        ("chart", &chart, "image: throughline:0.1.0"),
        (
            "services",
            &inject(&read("eshop/services.yaml")),
            "image: throughline:0.1.0",
        ),
        // The name that the broker advertises is the StatefulSet's.
        (
            "kafka",
            &read("eshop/kafka.yaml"),
            "PLAINTEXT://kafka-0.kafka.eshop.svc.cluster.local:9092",
        ),
    ] {
        assert!(text.contains(part), "{file} has no {part}");
    }
}

#[test]
fn dashboards_ask_for_metrics_that_exist() {
    let mut count = 0;
    let documented = fs::read_to_string(repository_root().join("docs/sidecar.md")).unwrap();
    for file in files(&deploy().join("helm/throughline/dashboards")) {
        let text = read(&file);
        assert!(text.starts_with("{\n"), "{file}");
        for part in text.split("throughline_").skip(1) {
            let name: String = part
                .chars()
                .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                .collect();
            // The collector's own are in its code.
            if name.starts_with("store_") {
                continue;
            }
            let name = name.trim_end_matches("_bucket");
            let short = name
                .trim_start_matches("kafka_")
                .trim_start_matches("http_");
            let known = [format!("`{short}`"), format!("`throughline_{name}`")];
            assert!(
                known.iter().any(|known| documented.contains(known)),
                "{file}: throughline_{name} is not in docs/sidecar.md"
            );
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
