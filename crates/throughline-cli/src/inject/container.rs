//! The two containers that a pod gets.

use serde_json::{Value, json};

use super::pod_options::PodOptions;

/// Name of the sidecar's container.
pub(super) const SIDECAR: &str = "throughline";

/// Name of the container that redirects connections.
pub(super) const INIT: &str = "throughline-init";

/// User and group of the sidecar, whose connections are not redirected.
const USER: u32 = 1337;

/// Port of the sidecar's metrics and probes.
const ADMIN_PORT: u16 = 19_091;

/// Returns the container that redirects the pod's connections, and ends.
pub(super) fn init(options: &PodOptions) -> Value {
    let mut args = vec!["init".to_owned()];
    args.extend(options.init_args());
    json!({
        "name": INIT,
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "args": args,
        // Capabilities are effective for root only, as long as they are not ambient.
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] },
        },
        "resources": {
            "requests": { "cpu": "10m", "memory": "16Mi" },
            "limits": { "memory": "64Mi" },
        },
    })
}

/// Returns the sidecar, as a native one: it starts before the other containers and stops after
/// them (KEP-753).
pub(super) fn sidecar(options: &PodOptions) -> Value {
    let mut args = vec!["sidecar".to_owned(), "--transparent".to_owned()];
    args.push(format!("--admin=0.0.0.0:{ADMIN_PORT}"));
    args.extend(options.sidecar_args());
    let mut container = json!({
        "name": SIDECAR,
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "args": args,
        "restartPolicy": "Always",
        "ports": [
            { "name": "throughline", "containerPort": ADMIN_PORT, "protocol": "TCP" },
        ],
        "env": [
            field("K8S_POD_NAME", "metadata.name"),
            field("K8S_NAMESPACE_NAME", "metadata.namespace"),
            {
                "name": "OTEL_RESOURCE_ATTRIBUTES",
                "value":
                    "k8s.pod.name=$(K8S_POD_NAME),k8s.namespace.name=$(K8S_NAMESPACE_NAME)",
            },
        ],
        // The pod's other containers start when this has succeeded.
        "startupProbe": {
            "httpGet": { "path": "/ready", "port": ADMIN_PORT },
            "periodSeconds": 1,
            "failureThreshold": 60,
        },
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "resources": options.resources,
    });
    if let Some(fields) = container
        .as_object_mut()
        .filter(|_| !options.volume_mounts.is_empty())
    {
        let mounts = options.volume_mounts.iter();
        let mounts =
            mounts.map(|(name, path)| json!({ "name": name, "mountPath": path, "readOnly": true }));
        fields.insert("volumeMounts".to_owned(), mounts.collect());
    }
    container
}

fn field(name: &str, path: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } })
}
