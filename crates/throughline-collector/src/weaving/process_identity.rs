//! The process that a span is from: its service and its instance.

use throughline_model::{Span, Value};

/// Attributes of a resource or span that distinguish the instances of a service; the first one that
/// is there counts.
const INSTANCE_KEYS: [&str; 6] = [
    "service.instance.id",
    "k8s.pod.uid",
    "k8s.pod.name",
    "container.id",
    "host.name",
    // Envoy: `sidecar~10.1.2.3~billing-7d9f.shop~shop.svc.cluster.local`.
    "node_id",
];

/// The process that a span is from, as far as its sender reports it. Weaving finds parents among
/// the spans of one process, so all of them have to reach one collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessIdentity<'a> {
    /// `service.name`, else `unknown_service`.
    pub service: &'a str,
    /// The instance of the service: the first of `service.instance.id`, `k8s.pod.uid`,
    /// `k8s.pod.name`, `container.id`, `host.name` and `node_id`, of the resource or the span.
    pub instance: Option<&'a str>,
}

// === impl ProcessIdentity ===

impl<'a> ProcessIdentity<'a> {
    /// Returns the process of a span.
    #[must_use]
    pub fn of(span: &'a Span) -> Self {
        let attributes = INSTANCE_KEYS.iter();
        let attributes =
            attributes.flat_map(|key| [span.resource.attribute(key), span.attribute(key)]);
        let mut texts = attributes.flatten().filter_map(Value::as_str);
        let instance = texts.find(|text| !text.is_empty());
        Self {
            service: span.service(),
            instance,
        }
    }

    /// Returns the text `service`, or `service/instance`.
    #[must_use]
    pub fn key(&self) -> String {
        self.instance.map_or_else(
            || self.service.to_owned(),
            |instance| format!("{}/{instance}", self.service),
        )
    }
}
