//! Adds the sidecar to one pod.

use serde_json::{Map, Value, json};

use super::container::{self, INIT, SIDECAR};
use super::pod_options::{PREFIX, PodOptions};
use crate::args::inject::InjectedPodArgs;

/// Adds the sidecar to pods, with the settings of a command.
#[derive(Debug)]
pub(crate) struct PodInjector {
    defaults: PodOptions,
}

/// The outcome for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PodInjection {
    /// It has the sidecar.
    Injected,
    /// It is as it was, for this reason.
    Skipped(&'static str),
}

/// Labels that name a service, the most specific first.
const NAME_LABELS: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];

/// Grace period of a pod that does not set it, in seconds.
const GRACE_PERIOD_SECONDS: u64 = 30;

/// Seconds between the end of the drain and the end of the grace period, in which the last spans
/// are exported.
const EXPORT_SECONDS: u64 = 10;

// === impl PodInjector ===

impl PodInjector {
    /// Returns an injector with these settings.
    ///
    /// # Errors
    /// Every error in the settings, each with its remedy.
    pub(crate) fn new(args: &InjectedPodArgs) -> Result<Self, Vec<String>> {
        let defaults = PodOptions::new(args)?;
        Ok(Self { defaults })
    }

    /// Whether a pod has the sidecar.
    pub(crate) fn is_injected(pod: &Value) -> bool {
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        containers(spec).any(|container| is_named(container, SIDECAR))
    }

    /// Adds the sidecar to a pod or pod template, or replaces it. `workload` is the name of the
    /// object that the template is in.
    ///
    /// # Errors
    /// Every error in its annotations; the pod is then unchanged.
    pub(crate) fn inject(
        &self,
        pod: &mut Value,
        workload: Option<&str>,
    ) -> Result<PodInjection, Vec<String>> {
        let annotations = pod.pointer("/metadata/annotations");
        let mut options = self
            .defaults
            .with_annotations(annotations.and_then(Value::as_object))?;
        if let Some(reason) = reason_to_skip(pod, &options) {
            return Ok(PodInjection::Skipped(reason));
        }
        if !options.sidecar.contains_key("service")
            && let Some(name) = service_name(pod, workload)
        {
            options.sidecar.insert("service".to_owned(), Some(name));
        }
        if !options.sidecar.contains_key("drain") {
            let drain = format!("{}s", drain_seconds(pod));
            options.sidecar.insert("drain".to_owned(), Some(drain));
        }
        let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
            return Ok(PodInjection::Skipped("it has no spec"));
        };
        add_containers(spec, &options);
        add_label(pod);
        Ok(PodInjection::Injected)
    }
}

/// Returns why a pod must not have the sidecar.
fn reason_to_skip(pod: &Value, options: &PodOptions) -> Option<&'static str> {
    if !options.inject {
        return Some("annotation throughline.dev/inject is false");
    }
    let spec = pod.get("spec")?;
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Some("hostNetwork is true, so the connections of the node would be redirected");
    }
    if spec.pointer("/os/name").and_then(Value::as_str) == Some("windows") {
        return Some("it is a Windows pod");
    }
    // Two redirections of the same connections: the second would be without effect, or loop.
    if containers(spec).any(|container| is_named(container, "istio-proxy"))
        || pod
            .pointer("/metadata/annotations/sidecar.istio.io~1status")
            .is_some()
    {
        return Some("it has Istio's proxy; use the Envoy module there (docs/istio.md)");
    }
    None
}

/// Returns the containers of a pod, of both lists: a native sidecar is an init container.
fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"]
        .into_iter()
        .filter_map(|list| spec.get(list)?.as_array())
        .flatten()
}

fn is_named(container: &Value, name: &str) -> bool {
    container.get("name").and_then(Value::as_str) == Some(name)
}

/// Puts the containers in front of the init containers, so that these are traced as well.
fn add_containers(spec: &mut Map<String, Value>, options: &PodOptions) {
    let others = spec.remove("initContainers");
    let others = match others {
        Some(Value::Array(containers)) => containers,
        _ => Vec::new(),
    };
    // Those of an earlier injection are replaced.
    let others = others
        .into_iter()
        .filter(|container| !is_named(container, INIT) && !is_named(container, SIDECAR));
    let own = [container::init(options), container::sidecar(options)];
    let all: Vec<Value> = own.into_iter().chain(others).collect();
    spec.insert("initContainers".to_owned(), all.into());
}

/// Marks the pod, for the PodMonitor and for those who look for pods with the sidecar.
fn add_label(pod: &mut Value) {
    let Some(metadata) = object_in(pod, "metadata") else {
        return;
    };
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    // `labels:` without a value is null.
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.insert(format!("{PREFIX}injected"), "true".into());
    }
}

/// Returns the object in a field, which is created if it is missing.
fn object_in<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let fields = value.as_object_mut()?;
    let value = fields.entry(field).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

/// Returns the name of the service in a pod, as its labels or its workload have it.
fn service_name(pod: &Value, workload: Option<&str>) -> Option<String> {
    let metadata = pod.get("metadata");
    let text = |field: &str| metadata?.get(field)?.as_str();
    let labels = metadata.and_then(|metadata| metadata.get("labels"));
    let label = |name: &str| labels?.get(name)?.as_str().filter(|text| !text.is_empty());
    let from_labels = NAME_LABELS.into_iter().find_map(label);
    from_labels
        .or(workload)
        .or_else(|| text("name"))
        .map(str::to_owned)
        // `eshop-v1-7d4b9c6f5-` is what a ReplicaSet asks for.
        .or_else(|| {
            let prefix = text("generateName")?.trim_end_matches('-');
            let hash = label("pod-template-hash").unwrap_or_default();
            let name = prefix.strip_suffix(hash).unwrap_or(prefix);
            Some(name.trim_end_matches('-').to_owned())
        })
}

/// Returns the time for connections to end, within the pod's grace period.
fn drain_seconds(pod: &Value) -> u64 {
    let grace = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_u64)
        .unwrap_or(GRACE_PERIOD_SECONDS);
    // A short grace period is divided.
    (grace / 2).max(grace.saturating_sub(EXPORT_SECONDS))
}
