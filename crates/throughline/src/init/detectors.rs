//! Attributes of the resource that the process can find out: its instance, host, process, and, in
//! Kubernetes, its pod (resource conventions, "Service", "Host", "Process", "Kubernetes").

use std::fs;

use opentelemetry::KeyValue;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

/// The file of the pod's namespace, in every pod with a service account.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
/// The attributes of a pod, with the variables that manifests usually fill by the downward API.
const POD_VARIABLES: [(&str, &[&str]); 5] = [
    ("k8s.pod.name", &["K8S_POD_NAME", "POD_NAME"]),
    ("k8s.pod.uid", &["K8S_POD_UID", "POD_UID"]),
    (
        "k8s.namespace.name",
        &["K8S_NAMESPACE_NAME", "POD_NAMESPACE"],
    ),
    ("k8s.node.name", &["K8S_NODE_NAME", "NODE_NAME"]),
    (
        "k8s.container.name",
        &["K8S_CONTAINER_NAME", "CONTAINER_NAME"],
    ),
];

/// Returns all attributes that can be found.
pub(super) fn detect(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<KeyValue> {
    let text = |variable: &str| lookup(variable).filter(|value| !value.trim().is_empty());
    let mut attributes = vec![
        KeyValue::new("service.instance.id", random_uuid()),
        KeyValue::new("process.pid", i64::from(std::process::id())),
        KeyValue::new("host.arch", host_arch()),
        KeyValue::new("os.type", std::env::consts::OS),
    ];
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(|path| path.file_name());
    attributes.extend(program.map(|name| {
        KeyValue::new(
            "process.executable.name",
            name.to_string_lossy().into_owned(),
        )
    }));
    let host = read_line("/proc/sys/kernel/hostname").or_else(|| text("HOSTNAME"));
    attributes.extend(host.clone().map(|name| KeyValue::new("host.name", name)));
    // Kubernetes sets this variable in every container.
    if text("KUBERNETES_SERVICE_HOST").is_none() {
        return attributes;
    }
    for (key, variables) in POD_VARIABLES {
        let value = variables.iter().find_map(|variable| text(variable));
        let value = value.or_else(|| match key {
            // The name of a pod is the name of its host, unless it uses the node's network.
            "k8s.pod.name" => text("HOSTNAME").or_else(|| host.clone()),
            "k8s.namespace.name" => read_line(NAMESPACE_FILE),
            _ => None,
        });
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    }
    attributes
}

/// Returns a random UUID (RFC 9562, version 4).
fn random_uuid() -> String {
    let mut bytes = RandomIdGenerator::default().new_trace_id().to_bytes();
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x40;
    *variant = (*variant & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let mut uuid = String::with_capacity(36);
    for (index, digit) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            uuid.push('-');
        }
        uuid.push(digit);
    }
    uuid
}

/// Returns the architecture in the words of the conventions.
const fn host_arch() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

fn read_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(variables: &[(&str, &str)]) -> Vec<(String, String)> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        detect(&lookup)
            .into_iter()
            .map(|one| (one.key.to_string(), one.value.to_string()))
            .collect()
    }

    #[test]
    fn pod_is_described_in_kubernetes_only() {
        let pod = [("POD_NAME", "orders-7d9f"), ("NODE_NAME", "node-3")];
        let is_pod = |(key, _): &(String, String)| key.starts_with("k8s.");
        assert!(!values(&pod).iter().any(is_pod));
        let all = [&pod[..], &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")]].concat();
        let found: Vec<_> = values(&all).into_iter().filter(is_pod).collect();
        let expected = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert!(found.contains(&expected("k8s.pod.name", "orders-7d9f")));
        assert!(found.contains(&expected("k8s.node.name", "node-3")));
    }

    #[test]
    fn instances_have_random_ids_in_the_form_of_a_uuid() {
        let id = |values: Vec<(String, String)>| {
            let mut ids = values
                .into_iter()
                .filter(|(key, _)| key == "service.instance.id");
            ids.next().unwrap().1
        };
        let (first, second) = (id(values(&[])), id(values(&[])));
        assert_ne!(first, second);
        let groups: Vec<_> = first.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        assert!(first.split('-').nth(2).unwrap().starts_with('4'));
    }
}
