//! Pods from workloads, in the part of Kubernetes' API that podman reads.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// A workload as a pod.
#[derive(Debug, Clone)]
pub(super) struct PodManifest {
    /// Name of the workload.
    pub(super) name: String,
    /// Names of its Services in DNS.
    pub(super) aliases: Vec<String>,
    /// Its containers in the kubelet's order.
    pub(super) containers: Vec<ContainerStart>,
    /// Objects that its volumes name.
    config_maps: Vec<Value>,
    spec: Map<String, Value>,
    labels: Value,
    namespace: String,
}

/// A container, and what must have happened before the next one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerStart {
    pub(super) name: String,
    pub(super) until: StartCondition,
}

/// The condition for the start of the next container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StartCondition {
    /// It has ended with success: an init container.
    Completed,
    /// Its probe succeeds.
    Ready(ContainerProbe),
    /// It has been started.
    Started,
}

/// A probe of the kubelet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerProbe {
    pub(super) port: u16,
    /// Path of an HTTP request; [`None`] for a connection.
    pub(super) path: Option<String>,
    pub(super) limit: Duration,
}

/// Fields of a pod that are about scheduling and Kubernetes' API.
const UNSUPPORTED: [&str; 7] = [
    "affinity",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "nodeSelector",
    "securityContext",
    "serviceAccountName",
    "tolerations",
];

/// Fields of a container that podman refuses, or that mean something else to it: it publishes
/// `ports` on the host.
const UNSUPPORTED_IN_CONTAINER: [&str; 6] = [
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resources",
    "restartPolicy",
    "startupProbe",
];

/// Returns the pods of the workloads in a manifest.
pub(super) fn parse(text: &str) -> Result<Vec<PodManifest>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("parsing a manifest")?;
    let kind = |document: &Value| string(document, "/kind");
    let config_maps = documents.iter().filter(|it| kind(it) == "ConfigMap");
    let config_maps: Vec<Value> = config_maps.cloned().collect();
    documents
        .iter()
        .filter(|it| ["Deployment", "StatefulSet"].contains(&&*kind(it)))
        .map(|workload| PodManifest::new(workload, &config_maps))
        .collect()
}

// === impl PodManifest ===

impl PodManifest {
    fn new(workload: &Value, config_maps: &[Value]) -> Result<Self> {
        let name = string(workload, "/metadata/name");
        let namespace = string(workload, "/metadata/namespace");
        let mut spec = workload
            .pointer("/spec/template/spec")
            .and_then(Value::as_object)
            .with_context(|| format!("{name} has no template"))?
            .clone();
        let pod_security = spec.get("securityContext").cloned().unwrap_or_default();
        let mut all = Vec::new();
        let mut containers = Vec::new();
        for (list, is_init) in [("initContainers", true), ("containers", false)] {
            let found = spec.remove(list).unwrap_or_default();
            for mut container in found.as_array().cloned().unwrap_or_default() {
                containers.push(ContainerStart {
                    name: string(&container, "/name"),
                    until: start_condition(&container, is_init),
                });
                convert_container(&mut container, &pod_security, &name, &namespace);
                all.push(container);
            }
        }
        spec.insert("containers".to_owned(), all.into());
        for field in UNSUPPORTED {
            spec.remove(field);
        }
        let host = |host: &str| {
            [
                "",
                &format!(".{namespace}"),
                &format!(".{namespace}.svc.cluster.local"),
            ]
            .map(|domain| format!("{host}{domain}"))
        };
        // The pods of a StatefulSet have names in the domain of its Service.
        let aliases = host(&name)
            .into_iter()
            .chain(host(&format!("{name}-0.{name}")));
        Ok(Self {
            aliases: aliases.collect(),
            containers,
            config_maps: config_maps.to_vec(),
            spec,
            labels: workload
                .pointer("/spec/template/metadata/labels")
                .cloned()
                .unwrap_or_default(),
            namespace,
            name,
        })
    }

    /// Returns the documents for `podman kube play`.
    pub(super) fn documents(&self, pod: &str, gateway: &str) -> Vec<Value> {
        let mut spec = self.spec.clone();
        // `Always` would start a finished init container again.
        spec.insert("restartPolicy".to_owned(), "OnFailure".into());
        // musl asks all servers at once and takes the first answer, which may be the host's.
        spec.insert("dnsPolicy".to_owned(), "None".into());
        let dns = json!({ "nameservers": [gateway], "searches": ["dns.podman"] });
        spec.insert("dnsConfig".to_owned(), dns);
        // podman makes a volume of each ConfigMap, under its name alone.
        let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
        let volumes = volumes.into_iter().flatten();
        for name in volumes.filter_map(|it| it.pointer_mut("/configMap/name")) {
            prefix(name, pod);
        }
        let mut documents = self.config_maps.clone();
        for name in documents
            .iter_mut()
            .filter_map(|it| it.pointer_mut("/metadata/name"))
        {
            prefix(name, pod);
        }
        documents.push(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": pod, "labels": self.labels },
            "spec": spec,
        }));
        documents
    }

    /// Returns the namespace of the workload.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }
}

fn start_condition(container: &Value, is_init: bool) -> StartCondition {
    let probe = |name: &str| container_probe(container, container.get(name)?);
    let is_native_sidecar = string(container, "/restartPolicy") == "Always";
    let ready = if is_init {
        if !is_native_sidecar {
            return StartCondition::Completed;
        }
        probe("startupProbe")
    } else {
        probe("readinessProbe")
    };
    ready.map_or(StartCondition::Started, StartCondition::Ready)
}

fn container_probe(container: &Value, probe: &Value) -> Option<ContainerProbe> {
    let action = probe.get("httpGet").or_else(|| probe.get("tcpSocket"))?;
    let port = action.get("port")?;
    let port = match port.as_str() {
        None => port.as_u64()?,
        Some(name) => {
            let ports = container.get("ports")?.as_array()?;
            let named = |port: &&Value| string(port, "/name") == name;
            ports.iter().find(named)?.get("containerPort")?.as_u64()?
        }
    };
    let path = action.get("path").and_then(Value::as_str);
    // Twice the kubelet's time, on a machine that does much else.
    Some(ContainerProbe {
        port: u16::try_from(port).ok()?,
        path: path.map(str::to_owned),
        limit: Duration::from_secs(120),
    })
}

fn convert_container(container: &mut Value, pod_security: &Value, name: &str, namespace: &str) {
    let Some(fields) = container.as_object_mut() else {
        return;
    };
    for field in UNSUPPORTED_IN_CONTAINER {
        fields.remove(field);
    }
    let mut security = fields.get("securityContext").cloned().unwrap_or(json!({}));
    if let Some(security) = security.as_object_mut() {
        for field in ["runAsUser", "runAsGroup", "runAsNonRoot"] {
            if let Some(value) = pod_security.get(field) {
                security.entry(field).or_insert_with(|| value.clone());
            }
        }
    }
    fields.insert("securityContext".to_owned(), security);
    let variables = fields.get_mut("env").and_then(Value::as_array_mut);
    for variable in variables.into_iter().flatten() {
        resolve(variable, name, namespace);
    }
}

/// Puts values in the place of references to the pod, which podman does not know.
fn resolve(variable: &mut Value, name: &str, namespace: &str) {
    let value = match &*string(variable, "/valueFrom/fieldRef/fieldPath") {
        "metadata.name" => name.to_owned(),
        "metadata.namespace" => namespace.to_owned(),
        _ => string(variable, "/value")
            .replace("$(K8S_POD_NAME)", name)
            .replace("$(K8S_NAMESPACE_NAME)", namespace),
    };
    if let Some(fields) = variable.as_object_mut() {
        fields.remove("valueFrom");
        fields.insert("value".to_owned(), value.into());
    }
}

fn prefix(name: &mut Value, pod: &str) {
    *name = format!("{pod}-{}", name.as_str().unwrap_or_default()).into();
}

fn string(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_start_in_the_order_of_the_kubelet() {
        let text = "\
kind: Deployment
metadata: {name: a, namespace: shop}
spec:
  template:
    spec:
      securityContext: {runAsUser: 7, fsGroup: 7}
      initContainers:
      - {name: init, image: i, securityContext: {runAsUser: 0}}
      - name: sidecar
        image: i
        restartPolicy: Always
        startupProbe: {httpGet: {path: /ready, port: 9}}
        env: [{name: K8S_POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
      containers:
      - name: app
        image: i
        ports: [{name: http, containerPort: 80}]
        readinessProbe: {tcpSocket: {port: http}}
---
kind: Service
metadata: {name: a}
";
        let [pod] = &parse(text).unwrap()[..] else {
            panic!("not one pod")
        };
        let conditions: Vec<_> = pod.containers.iter().map(|it| it.until.clone()).collect();
        let probe = |port, path: Option<&str>| {
            StartCondition::Ready(ContainerProbe {
                port,
                path: path.map(str::to_owned),
                limit: Duration::from_secs(120),
            })
        };
        assert_eq!(
            conditions,
            [
                StartCondition::Completed,
                probe(9, Some("/ready")),
                probe(80, None)
            ]
        );
        let documents = pod.documents("p", "10.0.0.1");
        let spec = documents[0].pointer("/spec").unwrap();
        assert_eq!(spec.pointer("/initContainers"), None);
        assert_eq!(
            spec.pointer("/containers/0/securityContext/runAsUser"),
            Some(&0.into())
        );
        assert_eq!(
            spec.pointer("/containers/2/securityContext/runAsUser"),
            Some(&7.into())
        );
        assert_eq!(spec.pointer("/containers/1/env/0/value"), Some(&"a".into()));
        assert!(
            pod.aliases
                .contains(&"a-0.a.shop.svc.cluster.local".to_owned())
        );
    }
}
