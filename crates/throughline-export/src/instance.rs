//! The id of this process among the instances of its service.

use std::sync::OnceLock;

/// Returns an id of this process for `service.instance.id`: random, as the semantic conventions
/// recommend, and always the same, however often a configuration is loaded.
#[must_use]
pub fn instance_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(
        || match std::fs::read_to_string("/proc/sys/kernel/random/uuid") {
            Ok(id) => id.trim().to_owned(),
            Err(_) => std::process::id().to_string(),
        },
    )
}
