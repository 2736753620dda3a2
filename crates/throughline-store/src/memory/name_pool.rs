//! Names of services and topics, stored once for all traces.

use std::collections::HashSet;
use std::sync::Arc;

/// Names that many traces share.
#[derive(Debug, Default)]
pub(super) struct NamePool(HashSet<Arc<str>>);

impl NamePool {
    /// Returns the shared copy of a name.
    pub(super) fn acquire(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.0.get(name) {
            return Arc::clone(name);
        }
        let name: Arc<str> = Arc::from(name);
        self.0.insert(Arc::clone(&name));
        name
    }

    /// Gives a name back; the pool drops it when no trace holds it.
    pub(super) fn release(&mut self, name: Arc<str>) {
        let holders = Arc::strong_count(&name);
        // Two references are left: the pool's and the argument.
        if holders <= 2 {
            self.0.remove(&name);
        }
        drop(name);
    }
}
