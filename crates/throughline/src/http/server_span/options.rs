//! The settings of the server layer.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use opentelemetry::{Array, KeyValue, StringValue, Value};

use crate::http::RequestMetadata;

type HeadPredicate = dyn Fn(&RequestMetadata<'_>) -> bool + Send + Sync;
type HeadName = dyn Fn(&RequestMetadata<'_>) -> Option<String> + Send + Sync;
type HeadAttributes = dyn Fn(&RequestMetadata<'_>, &mut Vec<KeyValue>) + Send + Sync;

/// The settings, which all clones of a service share.
#[derive(Clone, Default)]
pub(in crate::http) struct ServerOptions {
    pub(in crate::http) untraced_paths: Vec<String>,
    pub(in crate::http) filter: Option<Arc<HeadPredicate>>,
    pub(in crate::http) name: Option<Arc<HeadName>>,
    pub(in crate::http) attributes: Option<Arc<HeadAttributes>>,
    pub(in crate::http) request_headers: Vec<HeaderName>,
    pub(in crate::http) response_headers: Vec<HeaderName>,
    pub(in crate::http) trusts_forwarded: bool,
}

// === impl ServerOptions ===

impl ServerOptions {
    pub(in crate::http) fn is_traced(&self, head: &RequestMetadata<'_>) -> bool {
        let path = head.uri.path();
        let is_listed = self.untraced_paths.iter().any(|listed| {
            // A trailing `*` stands for any rest.
            listed.strip_suffix('*').map_or_else(
                || path == listed.as_str(),
                |prefix| path.starts_with(prefix),
            )
        });
        !is_listed && self.filter.as_ref().is_none_or(|filter| filter(head))
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("untraced_paths", &self.untraced_paths)
            .field("request_headers", &self.request_headers)
            .field("response_headers", &self.response_headers)
            .field("trusts_forwarded", &self.trusts_forwarded)
            .finish_non_exhaustive()
    }
}

/// Adds the values of these headers, as `<prefix><name>` (HTTP spans, `http.request.header.<key>`).
pub(super) fn push_headers(
    names: &[HeaderName],
    headers: &HeaderMap,
    prefix: &str,
    attributes: &mut Vec<KeyValue>,
) {
    for name in names {
        let values: Vec<StringValue> = headers
            .get_all(name)
            .iter()
            .map(|value| {
                String::from_utf8_lossy(value.as_bytes())
                    .into_owned()
                    .into()
            })
            .collect();
        if !values.is_empty() {
            let key = [prefix, name.as_str()].concat();
            attributes.push(KeyValue::new(key, Value::Array(Array::String(values))));
        }
    }
}
