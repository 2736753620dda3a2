//! Panics on purpose, for tests of what a panic in a hook does to traffic. Development builds only:
//! in a release the call is empty.

/// Variable with the path of a file that names the hook to panic in.
#[cfg(debug_assertions)]
const FAULT_FILE: &str = "THROUGHLINE_ENVOY_FAULT_FILE";

/// Panics if the file names this hook.
#[cfg(debug_assertions)]
#[expect(clippy::panic, reason = "the purpose of this module")]
pub(super) fn trigger(hook: &str) {
    static PATH: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let Some(path) = PATH.get_or_init(|| std::env::var_os(FAULT_FILE)) else {
        return;
    };
    if std::fs::read_to_string(path).is_ok_and(|named| named.trim() == hook) {
        panic!("{hook}: on purpose");
    }
}

#[cfg(not(debug_assertions))]
pub(super) const fn trigger(_: &str) {}
