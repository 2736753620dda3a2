//! The pods in an object of Kubernetes' API: itself, or the template of a workload.

use serde_json::Value;

/// A pod, or the template of pods, in an object.
#[derive(Debug)]
pub(super) struct PodTemplate<'a> {
    /// An object with `metadata` and `spec` of a pod.
    pub(super) template: &'a mut Value,
    /// Kind, namespace and name of the object, for messages.
    pub(super) title: String,
    /// Name of the object.
    pub(super) workload_name: Option<&'a str>,
}

/// Where each kind has its template.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("v1", "Pod", ""),
    ("v1", "ReplicationController", "/spec/template"),
    ("apps/v1", "Deployment", "/spec/template"),
    ("apps/v1", "StatefulSet", "/spec/template"),
    ("apps/v1", "DaemonSet", "/spec/template"),
    ("apps/v1", "ReplicaSet", "/spec/template"),
    ("batch/v1", "Job", "/spec/template"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template"),
];

/// Nested lists are as deep as the YAML parser allows, so this is for the reader only.
const MAX_LIST_DEPTH: usize = 8;

/// Calls `visit` for each pod in an object of Kubernetes' API, and for those in a `List`.
pub(super) fn for_each_pod(object: &mut Value, visit: &mut dyn FnMut(PodTemplate<'_>)) {
    visit_object(object, MAX_LIST_DEPTH, visit);
}

fn visit_object(object: &mut Value, depth: usize, visit: &mut dyn FnMut(PodTemplate<'_>)) {
    let text = |pointer: &str| {
        let value = object.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    if version == "v1" && kind.ends_with("List") && depth > 0 {
        let items = object.get_mut("items").and_then(Value::as_array_mut);
        for item in items.into_iter().flatten() {
            visit_object(item, depth - 1, visit);
        }
        return;
    }
    // Other groups have kinds of these names whose templates are not pods.
    let pointer = TEMPLATES
        .iter()
        .find(|(known, its_kind, _)| *known == version && *its_kind == kind)
        .map(|(_, _, pointer)| pointer);
    let Some(template) = pointer.and_then(|pointer| object.pointer_mut(pointer)) else {
        return;
    };
    let title = [kind, namespace, name.clone()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    visit(PodTemplate {
        template,
        title,
        workload_name: Some(&*name).filter(|name| !name.is_empty()),
    });
}
