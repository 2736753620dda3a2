//! Hooks that Envoy demands of every module with an HTTP filter, and that are never called here:
//! the filter makes no requests, schedules nothing and has no buffer.

use std::ffi::c_void;

use super::ffi::{EnvoyBuffer, EnvoyHeader};

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _callout: u64,
    _result: u32,
    _headers: *const EnvoyHeader,
    _header_count: usize,
    _body: *const EnvoyBuffer,
    _body_count: usize,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _stream: u64,
    _headers: *const EnvoyHeader,
    _header_count: usize,
    _end_stream: bool,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _stream: u64,
    _data: *const EnvoyBuffer,
    _data_count: usize,
    _end_stream: bool,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _stream: u64,
    _trailers: *const EnvoyHeader,
    _trailer_count: usize,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _stream: u64,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _stream: u64,
    _reason: u32,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _event: u64,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
    _envoy: *mut c_void,
    _filter: *const c_void,
) {
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
    _envoy: *mut c_void,
    _filter: *const c_void,
) {
}
