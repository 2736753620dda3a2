//! The module as a whole: its load, its log, its configurations, and the guard of all hooks.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Level;

use super::fault;
use super::ffi::{
    EnvoyBuffer, LogLevel, ModuleBuffer, envoy_dynamic_module_callback_is_validation_mode,
    envoy_dynamic_module_callback_log,
};
use crate::abi;
use crate::config::Config;
use crate::log::EnvoyLog;

/// [`abi::TESTED_ABI`] for C.
const ABI: &CStr = c"v0.2.0";

/// Panics that no stat has counted yet: some hooks have nothing to count with.
static UNCOUNTED_PANICS: AtomicU64 = AtomicU64::new(0);

/// Runs a hook, by its name in the ABI. A panic must not leave it: it would end Envoy.
pub(super) fn guard<T>(hook: &str, run: impl FnOnce() -> T) -> Option<T> {
    let result = catch_unwind(AssertUnwindSafe(|| {
        fault::trigger(hook);
        run()
    }));
    if result.is_err() {
        UNCOUNTED_PANICS.fetch_add(1, Ordering::Relaxed);
        log(
            Level::ERROR,
            &format!("throughline: internal error in {hook}; please report this bug"),
        );
    }
    result.ok()
}

/// Counts the panics of this and of earlier hooks, at the end of a hook that can count.
pub(super) fn count_panics(count: impl FnOnce(u64)) {
    // A load is cheaper than a swap, and there is hardly ever one.
    if UNCOUNTED_PANICS.load(Ordering::Relaxed) > 0 {
        count(UNCOUNTED_PANICS.swap(0, Ordering::Relaxed));
    }
}

/// Parses a configuration and checks whether it may be used in this Envoy. Mistakes are logged.
pub(super) fn parse_config(filter: &str, config: EnvoyBuffer) -> Option<Config> {
    // SAFETY: Envoy keeps the configuration during the hook.
    let text = unsafe { config.bytes() };
    let refuse = |mistake: &str| log(Level::ERROR, &format!("{filter}: {mistake}"));
    let parsed = Config::parse(text, &|name| std::env::var(name).ok());
    let config = match parsed {
        Ok(config) => config,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| refuse(mistake));
            return None;
        }
    };
    match abi::check_running_program() {
        Err(error) if config.accepts_any_abi => log(Level::WARN, &format!("{filter}: {error}")),
        Err(error) => {
            refuse(&error);
            return None;
        }
        Ok(()) => {}
    }
    Some(config)
}

/// Returns whether Envoy only checks its configuration: nothing may be started then.
pub(super) fn is_validation() -> bool {
    envoy_dynamic_module_callback_is_validation_mode()
}

/// Returns the name of a filter in Envoy's configuration.
pub(super) fn filter_name(name: EnvoyBuffer) -> String {
    // SAFETY: Envoy keeps the name during the hook.
    String::from_utf8_lossy(unsafe { name.bytes() }).into_owned()
}

/// Reports a filter name that the module does not have.
pub(super) fn refuse_name(name: &str, known: &str) {
    log(
        Level::ERROR,
        &format!("throughline: no filter is named {name:?} here; use {known}"),
    );
}

/// Writes a line to Envoy's log.
pub(super) fn log(level: Level, line: &str) {
    let level = match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        _ => LogLevel::Trace,
    };
    // SAFETY: Envoy copies the line during the call, which any thread may make.
    unsafe { envoy_dynamic_module_callback_log(level, ModuleBuffer::new(line.as_bytes())) };
}

/// Called once when the module is loaded. Returns the version of the ABI, for Envoy's own check.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    EnvoyLog::install(log);
    ABI.as_ptr()
}
