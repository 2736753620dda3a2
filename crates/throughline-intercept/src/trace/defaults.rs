//! Defaults that the settings of HTTP and Kafka have in common.

use std::sync::Arc;

use throughline_model::Scope;
use throughline_model::context::Format;

/// Returns the instrumentation scope of spans that a proxy records.
pub(crate) fn default_scope() -> Arc<Scope> {
    Arc::new(Scope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Scope::default()
    })
}

/// Returns the formats in which contexts are looked for, in the order of their precedence.
pub(crate) fn default_read_formats() -> Vec<Format> {
    Format::contexts().collect()
}

/// Returns the formats in which contexts are written.
pub(crate) fn default_write_formats() -> Vec<Format> {
    vec![Format::W3c]
}
