//! Types and calls of Envoy.
//!
//! Envoy's program exports the calls, and the loader binds all of them at load: a call that the
//! running Envoy does not have makes the load fail, which is the first check of its version.

use std::ffi::c_void;

use throughline_model::context::HeaderList;

/// Bytes of Envoy, valid during the hook, until the object that they belong to changes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct EnvoyBuffer {
    pub(super) ptr: *const u8,
    pub(super) length: usize,
}

/// Bytes of the module, which Envoy copies during the call.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct ModuleBuffer {
    ptr: *const u8,
    length: usize,
}

/// Levels of Envoy's log.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

/// Ways to close a connection.
#[derive(Debug, Clone, Copy)]
#[repr(u32)]
pub(super) enum CloseType {
    NoFlush = 1,
}

/// Result of a call about a metric.
pub(super) const METRIC_SUCCESS: u32 = 0;

/// Kinds of headers.
pub(super) const REQUEST_HEADERS: u32 = 0;
pub(super) const RESPONSE_HEADERS: u32 = 2;

/// A header of Envoy.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct EnvoyHeader {
    pub(super) key: EnvoyBuffer,
    pub(super) value: EnvoyBuffer,
}

/// Events of a connection that end it.
pub(super) const REMOTE_CLOSE: u32 = 0;
pub(super) const LOCAL_CLOSE: u32 = 1;

// === impl EnvoyHeader ===

impl EnvoyHeader {
    pub(super) const EMPTY: Self = Self {
        key: EnvoyBuffer::EMPTY,
        value: EnvoyBuffer::EMPTY,
    };

    /// Copies headers into a list.
    ///
    /// # Safety
    /// Envoy must have filled them, and no header may change meanwhile.
    pub(super) unsafe fn copy(headers: &[Self]) -> HeaderList {
        let mut list = HeaderList::default();
        for header in headers {
            // SAFETY: the caller keeps the headers unchanged.
            let name = unsafe { header.key.bytes() };
            // SAFETY: as above.
            list.push(name, unsafe { header.value.bytes() });
        }
        list
    }
}

// === impl EnvoyBuffer ===

impl EnvoyBuffer {
    pub(super) const EMPTY: Self = Self {
        ptr: std::ptr::null(),
        length: 0,
    };

    /// Returns the bytes.
    ///
    /// # Safety
    /// Envoy must have filled the buffer, and nothing may change it while the bytes are used.
    pub(super) const unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.length == 0 {
            return &[];
        }
        // SAFETY: Envoy gives pointer and length of one object, and the caller keeps it unchanged.
        unsafe { std::slice::from_raw_parts(self.ptr, self.length) }
    }
}

// === impl ModuleBuffer ===

impl ModuleBuffer {
    /// In place of a header's value: the header is removed.
    pub(super) const NONE: Self = Self {
        ptr: std::ptr::null(),
        length: 0,
    };

    pub(super) const fn new(bytes: &[u8]) -> Self {
        Self {
            ptr: bytes.as_ptr(),
            length: bytes.len(),
        }
    }
}

unsafe extern "C" {
    pub(super) safe fn envoy_dynamic_module_callback_is_validation_mode() -> bool;
    pub(super) fn envoy_dynamic_module_callback_log(level: LogLevel, message: ModuleBuffer);
    pub(super) fn envoy_dynamic_module_callback_network_filter_config_define_counter(
        config: *mut c_void,
        name: ModuleBuffer,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_network_filter_increment_counter(
        filter: *mut c_void,
        id: usize,
        amount: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks_size(
        filter: *mut c_void,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks_size(
        filter: *mut c_void,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks(
        filter: *mut c_void,
        chunks: *mut EnvoyBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks(
        filter: *mut c_void,
        chunks: *mut EnvoyBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_drain_read_buffer(
        filter: *mut c_void,
        count: usize,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_drain_write_buffer(
        filter: *mut c_void,
        count: usize,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_append_read_buffer(
        filter: *mut c_void,
        bytes: ModuleBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_append_write_buffer(
        filter: *mut c_void,
        bytes: ModuleBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_prepend_read_buffer(
        filter: *mut c_void,
        bytes: ModuleBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_prepend_write_buffer(
        filter: *mut c_void,
        bytes: ModuleBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_inject_read_data(
        filter: *mut c_void,
        bytes: ModuleBuffer,
        end_stream: bool,
    );
    pub(super) fn envoy_dynamic_module_callback_network_filter_inject_write_data(
        filter: *mut c_void,
        bytes: ModuleBuffer,
        end_stream: bool,
    );
    pub(super) fn envoy_dynamic_module_callback_network_filter_close(
        filter: *mut c_void,
        kind: CloseType,
    );
    pub(super) fn envoy_dynamic_module_callback_network_filter_read_disable(
        filter: *mut c_void,
        is_disabled: bool,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_network_filter_get_remote_address(
        filter: *mut c_void,
        address: *mut EnvoyBuffer,
        port: *mut u32,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_get_upstream_host_address(
        filter: *mut c_void,
        address: *mut EnvoyBuffer,
        port: *mut u32,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_network_filter_config_define_gauge(
        config: *mut c_void,
        name: ModuleBuffer,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_network_filter_config_set_gauge(
        config: *mut c_void,
        id: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: *mut c_void,
        name: ModuleBuffer,
        labels: *const ModuleBuffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_set_gauge(
        config: *mut c_void,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: *mut c_void,
        name: ModuleBuffer,
        labels: *const ModuleBuffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        filter: *mut c_void,
        id: usize,
        labels: *const ModuleBuffer,
        label_count: usize,
        amount: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_get_headers_size(
        filter: *mut c_void,
        kind: u32,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_http_get_headers(
        filter: *mut c_void,
        kind: u32,
        headers: *mut EnvoyHeader,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_header(
        filter: *mut c_void,
        kind: u32,
        name: ModuleBuffer,
        value: *mut EnvoyBuffer,
        index: usize,
        count: *mut usize,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_set_header(
        filter: *mut c_void,
        kind: u32,
        name: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_active_span(
        filter: *mut c_void,
    ) -> *mut c_void;
    pub(super) fn envoy_dynamic_module_callback_http_span_get_trace_id(
        span: *mut c_void,
        id: *mut EnvoyBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_span_get_span_id(
        span: *mut c_void,
        id: *mut EnvoyBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_span_set_tag(
        span: *mut c_void,
        key: ModuleBuffer,
        value: ModuleBuffer,
    );
    pub(super) fn envoy_dynamic_module_callback_http_span_set_operation(
        span: *mut c_void,
        name: ModuleBuffer,
    );
    pub(super) fn envoy_dynamic_module_callback_early_header_mutation_get_headers_size(
        request: *mut c_void,
    ) -> usize;
    pub(super) fn envoy_dynamic_module_callback_early_header_mutation_get_headers(
        request: *mut c_void,
        headers: *mut EnvoyHeader,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_early_header_mutation_set_header(
        request: *mut c_void,
        name: ModuleBuffer,
        value: ModuleBuffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_early_header_mutation_remove_header(
        request: *mut c_void,
        name: ModuleBuffer,
    ) -> bool;
}
