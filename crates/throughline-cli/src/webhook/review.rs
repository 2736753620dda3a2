//! Admission reviews (`admission.k8s.io/v1`) of pods.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::inject::{PodInjection, PodInjector};

/// Answers reviews, and counts the outcomes.
#[derive(Debug)]
pub(super) struct PodReviewer {
    injector: PodInjector,
    injected: AtomicU64,
    skipped: AtomicU64,
    failed: AtomicU64,
}

/// A request body that is not an admission review.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReviewError {
    #[error("the body is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the body has no request with a uid; send an AdmissionReview of admission.k8s.io/v1")]
    NoRequest,
}

// === impl PodReviewer ===

impl PodReviewer {
    pub(super) const fn new(injector: PodInjector) -> Self {
        Self {
            injector,
            injected: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Returns the response to an AdmissionReview. It always allows the object.
    ///
    /// # Errors
    /// Fails if the body is not a review.
    pub(super) fn review(&self, body: &[u8]) -> Result<Value, ReviewError> {
        let review: Value = serde_json::from_slice(body)?;
        let request = review.get("request").ok_or(ReviewError::NoRequest)?;
        let uid = request.get("uid").and_then(Value::as_str);
        let uid = uid.ok_or(ReviewError::NoRequest)?;
        let mut response = json!({ "uid": uid, "allowed": true });
        if let Some(fields) = response.as_object_mut() {
            match self.inject(request) {
                Ok(patch) if patch.is_empty() => {}
                Ok(patch) => {
                    let patch = BASE64.encode(Value::from(patch).to_string());
                    fields.insert("patchType".to_owned(), "JSONPatch".into());
                    fields.insert("patch".to_owned(), patch.into());
                }
                Err(warnings) => {
                    fields.insert("warnings".to_owned(), warnings.into());
                }
            }
        }
        Ok(json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "response": response,
        }))
    }

    /// Returns the counters in Prometheus' text format.
    pub(super) fn metrics(&self) -> String {
        let name = "throughline_webhook_pods_total";
        let mut text = format!("# HELP {name} Reviewed pods by outcome.\n# TYPE {name} counter\n");
        for (outcome, counter) in [
            ("injected", &self.injected),
            ("skipped", &self.skipped),
            ("failed", &self.failed),
        ] {
            let count = counter.load(Ordering::Relaxed);
            // Writing to a string cannot fail.
            writeln!(text, "{name}{{outcome=\"{outcome}\"}} {count}").unwrap_or_default();
        }
        text
    }

    /// Returns the patch for the pod of a request, or warnings.
    fn inject(&self, request: &Value) -> Result<Vec<Value>, Vec<String>> {
        let kind = request.pointer("/kind/kind").and_then(Value::as_str);
        let Some(pod) = request.get("object").filter(|_| kind == Some("Pod")) else {
            return Ok(Vec::new());
        };
        // A pod of `throughline inject` has the settings that its author chose.
        if PodInjector::is_injected(pod) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return Ok(Vec::new());
        }
        let mut changed = pod.clone();
        match self.injector.inject(&mut changed, None) {
            Ok(PodInjection::Injected) => {
                self.injected.fetch_add(1, Ordering::Relaxed);
                Ok(patch(pod, &changed))
            }
            Ok(PodInjection::Skipped(reason)) => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(reason, "pod left alone");
                Ok(Vec::new())
            }
            Err(errors) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let namespace = request.get("namespace").and_then(Value::as_str);
                tracing::warn!(?namespace, ?errors, "pod admitted without the sidecar");
                let warning = |error| format!("throughline: not injected: {error}");
                Err(errors.into_iter().map(warning).collect())
            }
        }
    }
}

/// Returns the JSON Patch (RFC 6902) between two objects that differ in fields of fields. `add`
/// replaces a member that exists.
fn patch(before: &Value, after: &Value) -> Vec<Value> {
    let add = |path: String, value: &Value| json!({ "op": "add", "path": path, "value": value });
    let mut patch = Vec::new();
    for (section, fields) in after.as_object().into_iter().flatten() {
        match (before.get(section), fields.as_object()) {
            (Some(old), Some(fields)) if old.is_object() => {
                let changed = fields
                    .iter()
                    .filter(|(field, value)| old.get(field) != Some(value));
                patch.extend(changed.map(|(field, value)| {
                    add(format!("/{}/{}", escape(section), escape(field)), value)
                }));
            }
            (old, _) if old != Some(fields) => {
                patch.push(add(format!("/{}", escape(section)), fields));
            }
            _ => {}
        }
    }
    patch
}

/// Escapes a reference token of a JSON pointer (RFC 6901).
fn escape(token: &str) -> String {
    token.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_has_the_changed_fields_only() {
        let before = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"y": 1}});
        let after = json!({
            "metadata": {"name": "a", "labels": {"x": "1", "z": "2"}},
            "spec": {"y": 1, "a/b~c": []},
            "status": {},
        });
        assert_eq!(
            Value::from(patch(&before, &after)),
            json!([
                {"op": "add", "path": "/metadata/labels", "value": {"x": "1", "z": "2"}},
                {"op": "add", "path": "/spec/a~1b~0c", "value": []},
                {"op": "add", "path": "/status", "value": {}},
            ])
        );
        assert_eq!(patch(&after, &after), Vec::<Value>::new());
    }
}
