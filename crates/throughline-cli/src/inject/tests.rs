use std::fs;
use std::path::Path;

use clap::Parser as _;
use serde_json::Value;

use super::manifest::InjectedManifest;
use super::*;
use crate::args::{CliArgs, CliCommand};

fn injector(args: &[&str]) -> Result<PodInjector, Vec<String>> {
    let image = ["--image", "throughline:test"];
    let args = ["throughline", "inject"].iter().chain(&image).chain(args);
    match CliArgs::try_parse_from(args).map(|args| args.command) {
        Ok(CliCommand::Inject(args)) => PodInjector::new(&args.pod),
        other => panic!("not the inject command: {other:?}"),
    }
}

fn inject(text: &str) -> InjectedManifest {
    manifest::inject(text, &injector(&[]).unwrap()).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    manifest::inject(text, &injector(&[]).unwrap()).unwrap_err()
}

fn parse(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Returns a pod with these lines in its metadata and its spec.
fn pod(metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: billing\n{metadata}spec:\n{spec}  \
         containers:\n  - name: app\n    image: app\n"
    )
}

fn sidecar_args(text: &str) -> Vec<String> {
    let pod = parse(&inject(text).text);
    let args = pod.pointer("/spec/initContainers/1/args").unwrap();
    serde_json::from_value(args.clone()).unwrap()
}

/// Compares the output for each manifest in `tests/inject` with the file beside it.
/// `UPDATE_EXPECT=1` writes these files.
#[test]
fn manifests_become_those_of_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inject");
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let input = entry.unwrap().path();
        let name = input.file_name().unwrap().to_str().unwrap();
        let Some(stem) = name.strip_suffix(".in.yaml") else {
            continue;
        };
        count += 1;
        let output = folder.join(format!("{stem}.out.yaml"));
        let injected = inject(&fs::read_to_string(&input).unwrap());
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&output, &injected.text).unwrap();
        }
        let expected = fs::read_to_string(&output).unwrap();
        assert!(injected.text == expected, "{name}:\n{}", injected.text);
        // A second run changes nothing.
        assert_eq!(inject(&injected.text).text, injected.text, "{name}");
    }
    assert_eq!(count, 4);
}

#[test]
fn documents_without_pods_keep_their_bytes() {
    let text = "# A comment.\n---\n# Another.\nkind: Service\napiVersion: v1\nspec: {type:   \
                ClusterIP} # odd\n--- # marker\nkind: Rollout\napiVersion: argoproj.io/v1alpha1\n\
                spec: {template: {spec: {containers: []}}}\n---\n\n---\ndata: |\n  --- not a \
                marker\nkind: ConfigMap\napiVersion: v1";
    assert_eq!(inject(text).text, text);
    assert_eq!(inject("").text, "");
}

#[test]
fn scalars_keep_their_type_in_the_yaml_of_kubernetes() {
    let spec = "  volumes:
  - {name: a, configMap: {name: b, defaultMode: 0644}}
  - {name: c, hostPath: {path: 'on'}}
  - {name: d, hostPath: {path: \"0123\"}}
  - {name: e, hostPath: {path: \"1e3\"}}
  - {name: f, hostPath: {path: \"a\\nb \\n\"}}
";
    let text = inject(&pod("", spec)).text;
    let volumes = parse(&text);
    let volumes = volumes.pointer("/spec/volumes").unwrap();
    assert_eq!(
        volumes.pointer("/0/configMap/defaultMode"),
        Some(&420.into())
    );
    for (index, path) in [(1, "on"), (2, "0123"), (3, "1e3"), (4, "a\nb \n")] {
        let pointer = format!("/{index}/hostPath/path");
        assert_eq!(volumes.pointer(&pointer), Some(&path.into()), "{text}");
    }
    // A YAML 1.1 parser would read these as a boolean and as numbers without quotes.
    for bare in ["path: on\n", "path: 0123\n", "path: 1e3\n"] {
        assert!(!text.contains(bare), "{text}");
    }
}

#[test]
fn json_stays_json() {
    let text =
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}}"#;
    let injected = inject(text).text;
    let value: Value = serde_json::from_str(&injected).unwrap();
    assert_eq!(
        value.pointer("/spec/initContainers/1/name"),
        Some(&"throughline".into())
    );
}

#[test]
fn pods_are_left_alone_with_a_note() {
    for (metadata, spec, reason) in [
        (
            "  annotations: {throughline.dev/inject: \"false\"}\n",
            "",
            "throughline.dev/inject",
        ),
        ("", "  hostNetwork: true\n", "hostNetwork"),
        ("", "  os: {name: windows}\n", "Windows"),
        (
            "",
            "  initContainers: [{name: istio-proxy, image: proxy}]\n",
            "Istio's proxy",
        ),
        (
            "  annotations: {sidecar.istio.io/status: \"{}\"}\n",
            "",
            "Istio's proxy",
        ),
    ] {
        let text = pod(metadata, spec);
        let injected = inject(&text);
        assert_eq!(injected.text, text);
        let [note] = &injected.notes[..] else {
            panic!("{:?}", injected.notes)
        };
        assert!(
            note.starts_with("document 1 (line 1), Pod billing: not injected: ")
                && note.contains(reason),
            "{note}"
        );
    }
}

#[test]
fn the_service_is_named_by_annotation_label_or_workload() {
    let named = |metadata: &str, name: &str| {
        let args = sidecar_args(&pod(metadata, ""));
        let service = format!("--service={name}");
        assert!(args.contains(&service), "{args:?}");
    };
    named("", "billing");
    named("  labels: {app: pay}\n", "pay");
    named(
        "  labels: {app: pay, app.kubernetes.io/name: ledger}\n",
        "ledger",
    );
    named(
        "  labels: {app: pay}\n  annotations: {throughline.dev/service: bank}\n",
        "bank",
    );
    let mut created = parse(
        "metadata:\n  generateName: eshop-v1-7d4b9c6f5-\n  labels: {pod-template-hash: \
         7d4b9c6f5}\nspec: {containers: []}\n",
    );
    let injection = injector(&[]).unwrap().inject(&mut created, None).unwrap();
    assert_eq!(injection, PodInjection::Injected);
    assert!(
        created.to_string().contains("--service=eshop-v1\""),
        "{created}"
    );
}

#[test]
fn the_drain_ends_within_the_grace_period() {
    for (spec, drain) in [
        ("", "20s"),
        ("  terminationGracePeriodSeconds: 3600\n", "3590s"),
        ("  terminationGracePeriodSeconds: 8\n", "4s"),
    ] {
        let args = sidecar_args(&pod("", spec));
        assert!(args.contains(&format!("--drain={drain}")), "{args:?}");
    }
}

#[test]
fn annotations_set_options_of_both_containers() {
    let metadata = "  annotations:
    throughline.dev/keys: '[{name: order, header: x-order}]'
    throughline.dev/sample: \"0.1\"
    throughline.dev/inject-batches: never
    throughline.dev/broker-tls: \"true\"
    throughline.dev/broker-tls-ca: /etc/kafka-ca/ca.crt
    throughline.dev/volume-mounts: kafka-ca=/etc/kafka-ca
    throughline.dev/exclude-outbound: \"22,6000-6010\"
    throughline.dev/image: other:1
    throughline.dev/resources: '{limits: {memory: 1Gi}}'
    other.dev/sample: \"2\"
";
    let pod = parse(&inject(&pod(metadata, "")).text);
    let at = |pointer: &str| pod.pointer(pointer).unwrap().to_string();
    let args = at("/spec/initContainers/1/args");
    for part in [
        "--correlation-keys=[{name: order, header: x-order}]",
        "--sample=0.1",
        "--inject=never",
        "\"--broker-tls\"",
        "--broker-tls-ca=/etc/kafka-ca/ca.crt",
    ] {
        assert!(args.contains(part), "{part} is missing in {args}");
    }
    assert!(at("/spec/initContainers/0/args").contains("--exclude-outbound=22,6000-6010"));
    assert_eq!(at("/spec/initContainers/1/image"), "\"other:1\"");
    assert_eq!(
        at("/spec/initContainers/1/volumeMounts"),
        r#"[{"name":"kafka-ca","mountPath":"/etc/kafka-ca","readOnly":true}]"#
    );
    assert_eq!(
        at("/spec/initContainers/1/resources"),
        r#"{"limits":{"memory":"1Gi"}}"#
    );
}

#[test]
fn every_error_names_its_document_and_its_annotation() {
    let metadata = "  annotations:
    throughline.dev/sample: \"2\"
    throughline.dev/listen: 127.0.0.1:1
    throughline.dev/simple: \"1\"
    throughline.dev/settle: true
    throughline.dev/exclude-inbound: x
";
    let text = format!("kind: A\n---\n{}", pod(metadata, ""));
    let errors = errors(&text);
    for part in [
        "--sample \"2\" is not a number from 0 to 1",
        "annotation throughline.dev/listen cannot be set",
        "annotation throughline.dev/simple is unknown",
        "annotation throughline.dev/settle is not text; put it in quotes",
        "--exclude-inbound: \"x\" is not a port",
    ] {
        let prefix = "document 2 (line 2), Pod billing: ";
        assert!(
            errors
                .iter()
                .any(|error| error.starts_with(prefix) && error.contains(part)),
            "{part} is missing in {errors:#?}"
        );
    }
    assert_eq!(errors.len(), 5, "{errors:#?}");
}

#[test]
fn invalid_yaml_is_an_error_with_its_document() {
    let errors = errors("kind: A\n---\nkind: [\n---\nkind: A\nkind: B\n");
    assert!(errors[0].starts_with("document 2 (line 2): "), "{errors:?}");
    assert!(errors[1].starts_with("document 3 (line 4): "), "{errors:?}");
    assert_eq!(errors.len(), 2);
}

#[test]
fn settings_of_the_command_are_checked() {
    let args = [
        "--image-pull-policy",
        "sometimes",
        "--resources",
        "much",
        "--option",
        "sample",
        "--option",
        "admin=off",
        "--collector",
        "nowhere",
    ];
    let errors = injector(&args).unwrap_err();
    for part in [
        "--image-pull-policy \"sometimes\" is not a policy",
        "--resources \"much\" is not a map",
        "--option \"sample\" has no value",
        "--option admin cannot be set",
        "--collector",
    ] {
        assert!(
            errors.iter().any(|error| error.contains(part)),
            "{part} is missing in {errors:#?}"
        );
    }
}
