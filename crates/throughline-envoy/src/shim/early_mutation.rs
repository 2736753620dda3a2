//! Hooks of early header mutations: `throughline_http`, for outbound requests.
//!
//! The configuration is shared by all workers. A hook is one request.

use std::ffi::c_void;
use std::sync::Arc;

use throughline_model::context::HeaderList;

use super::ffi::{
    EnvoyBuffer, EnvoyHeader, ModuleBuffer,
    envoy_dynamic_module_callback_early_header_mutation_get_headers as get_headers,
    envoy_dynamic_module_callback_early_header_mutation_get_headers_size as header_count,
    envoy_dynamic_module_callback_early_header_mutation_remove_header as remove_header,
    envoy_dynamic_module_callback_early_header_mutation_set_header as set_header,
};
use super::http::{HTTP, filter_config};
use super::module::{filter_name, guard, parse_config, refuse_name};
use crate::host::HeaderHost;
use crate::http_filter::{HttpFilterConfig, mutate_outbound};

/// One configuration. Without its content where Envoy only validates, and after an internal error.
struct MutationConfig(Option<Arc<HttpFilterConfig>>);

/// A request during its hook.
struct EarlyRequest(*mut c_void);

impl HeaderHost for EarlyRequest {
    fn request_headers(&self) -> HeaderList {
        // SAFETY: Envoy's pointer is that of the running hook.
        let count = unsafe { header_count(self.0) };
        let mut headers = vec![EnvoyHeader::EMPTY; count];
        // SAFETY: the list has room for the count that Envoy has just returned.
        if count == 0 || !unsafe { get_headers(self.0, headers.as_mut_ptr()) } {
            return HeaderList::default();
        }
        // SAFETY: nothing changes a header before they are copied.
        unsafe { EnvoyHeader::copy(&headers) }
    }

    fn set_header(&self, name: &str, value: &[u8]) {
        let (name, value) = (ModuleBuffer::new(name.as_bytes()), ModuleBuffer::new(value));
        // SAFETY: Envoy's pointer is that of the running hook, and Envoy copies both texts.
        unsafe { set_header(self.0, name, value) };
    }

    fn remove_header(&self, name: &str) {
        // SAFETY: as above.
        unsafe { remove_header(self.0, ModuleBuffer::new(name.as_bytes())) };
    }
}

/// Returns null to refuse the configuration.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_early_header_mutation_config_new(
    _envoy: *mut c_void,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
) -> *const c_void {
    let made = guard("early_header_mutation_config_new", || {
        let name = filter_name(name);
        if name != HTTP {
            refuse_name(&name, HTTP);
            return None;
        }
        let config = parse_config(&name, config)?;
        Some(Box::new(MutationConfig(filter_config(&name, config).ok()?)))
    });
    // An internal error is not a mistake in the configuration: Envoy goes on, without tracing.
    made.unwrap_or_else(|| Some(Box::new(MutationConfig(None))))
        .map_or(std::ptr::null(), |config| Box::into_raw(config).cast())
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_early_header_mutation_config_destroy(config: *const c_void) {
    if !config.is_null() {
        // SAFETY: the pointer is the one that was made above, and Envoy destroys it once.
        let config = unsafe { Box::from_raw(config.cast_mut().cast::<MutationConfig>()) };
        guard("early_header_mutation_config_destroy", || drop(config));
    }
}

/// Returns whether the next mutation runs.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_early_header_mutation_mutate(
    config: *const c_void,
    envoy: *mut c_void,
) -> bool {
    // SAFETY: Envoy returns the pointer that it was given, until it destroys the configuration.
    let config = unsafe { config.cast::<MutationConfig>().as_ref() };
    if let Some(MutationConfig(Some(config))) = config {
        guard("early_header_mutation_mutate", || {
            mutate_outbound(config, &EarlyRequest(envoy));
        });
    }
    true
}
