//! Hooks of HTTP filters: `throughline_http`.
//!
//! A configuration is made on the main thread and shared by all workers. All hooks of a request run
//! on its worker.

use std::ffi::c_void;
use std::sync::Arc;

use throughline_model::context::HeaderList;
use throughline_model::{SpanId, TraceId};
use tracing::Level;

use super::ffi::{
    EnvoyBuffer, EnvoyHeader, METRIC_SUCCESS, ModuleBuffer, REQUEST_HEADERS, RESPONSE_HEADERS,
    envoy_dynamic_module_callback_http_filter_config_define_counter as define_counter,
    envoy_dynamic_module_callback_http_filter_config_define_gauge as define_gauge,
    envoy_dynamic_module_callback_http_filter_config_set_gauge as set_gauge,
    envoy_dynamic_module_callback_http_filter_increment_counter as increment_counter,
    envoy_dynamic_module_callback_http_get_active_span as active_span,
    envoy_dynamic_module_callback_http_get_header as get_header,
    envoy_dynamic_module_callback_http_get_headers as get_headers,
    envoy_dynamic_module_callback_http_get_headers_size as header_count,
    envoy_dynamic_module_callback_http_set_header as set_header,
    envoy_dynamic_module_callback_http_span_get_span_id as span_id,
    envoy_dynamic_module_callback_http_span_get_trace_id as trace_id,
    envoy_dynamic_module_callback_http_span_set_operation as set_operation,
    envoy_dynamic_module_callback_http_span_set_tag as set_tag,
};
use super::module::{
    count_panics, filter_name, guard, is_validation, log, parse_config, refuse_name,
};
use crate::config::Config;
use crate::counter::{Counter, CounterIds};
use crate::gauge::{Gauge, GaugeHost, GaugeIds};
use crate::host::{FilterStatus, HeaderHost, StreamHost};
use crate::http_filter::{HttpFilter, HttpFilterConfig};
use crate::tracing_process::{GaugeHostId, TracingProcess};

pub(super) const HTTP: &str = "throughline_http";

/// One configuration of the filter. Without its content where Envoy only validates, and after an
/// internal error: requests pass untraced then.
struct StreamConfig {
    filter: Option<Arc<HttpFilterConfig>>,
    counters: Arc<CounterIds>,
    gauges: Option<GaugeHostId>,
}

/// The filter of one request; none where the request passes untraced.
struct StreamFilter {
    filter: Option<HttpFilter>,
    counters: Arc<CounterIds>,
}

/// A request during a hook.
struct EnvoyStream<'a> {
    envoy: *mut c_void,
    counters: &'a CounterIds,
}

/// Signature of the two calls that return an id of a span.
type IdCall = unsafe extern "C" fn(*mut c_void, *mut EnvoyBuffer) -> bool;

/// Starts tracing for a configuration; none where Envoy only validates.
pub(super) fn filter_config(
    name: &str,
    config: Config,
) -> Result<Option<Arc<HttpFilterConfig>>, ()> {
    if is_validation() {
        return Ok(None);
    }
    let settings = config.http;
    match TracingProcess::shared(&config.shared) {
        Ok(process) => Ok(Some(Arc::new(HttpFilterConfig { process, settings }))),
        Err(error) => {
            log(Level::ERROR, &format!("{name}: {error}"));
            Err(())
        }
    }
}

/// The gauges of a configuration, until Envoy destroys it.
struct HttpGauges {
    envoy: *mut c_void,
    ids: GaugeIds,
}

// SAFETY: Envoy's stats are thread-safe, and the pointer is used for nothing else.
unsafe impl Send for HttpGauges {}

// === impl HttpGauges ===

impl HttpGauges {
    fn define(envoy: *mut c_void) -> Self {
        let ids = GaugeIds::define(|name| {
            let mut id = 0;
            let name = ModuleBuffer::new(name.as_bytes());
            // SAFETY: the configuration is being made, which is when gauges may be defined.
            let result = unsafe { define_gauge(envoy, name, std::ptr::null(), 0, &raw mut id) };
            (result == METRIC_SUCCESS).then_some(id)
        });
        Self { envoy, ids }
    }
}

impl GaugeHost for HttpGauges {
    fn set(&self, gauge: Gauge, value: u64) {
        if let Some(id) = self.ids.id(gauge) {
            // SAFETY: the configuration exists: its end waits for the end of this call.
            unsafe { set_gauge(self.envoy, id, std::ptr::null(), 0, value) };
        }
    }
}

// === impl StreamConfig ===

impl StreamConfig {
    fn new(envoy: *mut c_void, name: EnvoyBuffer, config: EnvoyBuffer) -> Option<Self> {
        let name = filter_name(name);
        if name != HTTP {
            refuse_name(&name, HTTP);
            return None;
        }
        let config = parse_config(&name, config)?;
        if config.http.direction.is_none() {
            let mistake = "direction: is missing; use inbound or outbound";
            log(Level::ERROR, &format!("{name}: {mistake}"));
            return None;
        }
        let counters = define_counters(envoy);
        let filter = filter_config(&name, config).ok()?;
        let gauges = filter.as_ref().map(|filter| {
            let gauges = HttpGauges::define(envoy);
            filter.process.show_gauges(Box::new(gauges))
        });
        Some(Self {
            filter,
            counters,
            gauges,
        })
    }

    const fn untraced(counters: Arc<CounterIds>) -> Self {
        Self {
            filter: None,
            counters,
            gauges: None,
        }
    }
}

impl Drop for StreamConfig {
    fn drop(&mut self) {
        if let (Some(filter), Some(gauges)) = (&self.filter, self.gauges) {
            filter.process.hide_gauges(gauges);
        }
    }
}

// === impl EnvoyStream ===

impl EnvoyStream<'_> {
    /// Returns the span that Envoy's tracer has started, or null.
    fn span(&self) -> *mut c_void {
        // SAFETY: Envoy's pointer is that of the running hook.
        unsafe { active_span(self.envoy) }
    }

    fn status(&self) -> Option<u32> {
        let (mut value, mut count) = (EnvoyBuffer::EMPTY, 0);
        let name = ModuleBuffer::new(b":status");
        let (kind, value_out, count_out) = (RESPONSE_HEADERS, &raw mut value, &raw mut count);
        // SAFETY: Envoy's pointer is that of the running hook, and both results are ours.
        if !unsafe { get_header(self.envoy, kind, name, value_out, 0, count_out) } {
            return None;
        }
        // SAFETY: nothing changes the header before it is parsed.
        let text = str::from_utf8(unsafe { value.bytes() }).ok()?;
        text.parse().ok()
    }
}

impl HeaderHost for EnvoyStream<'_> {
    fn request_headers(&self) -> HeaderList {
        // SAFETY: Envoy's pointer is that of the running hook.
        let count = unsafe { header_count(self.envoy, REQUEST_HEADERS) };
        let mut headers = vec![EnvoyHeader::EMPTY; count];
        let list = headers.as_mut_ptr();
        // SAFETY: the list has room for the count that Envoy has just returned.
        if count == 0 || !unsafe { get_headers(self.envoy, REQUEST_HEADERS, list) } {
            return HeaderList::default();
        }
        // SAFETY: nothing changes a header before they are copied.
        unsafe { EnvoyHeader::copy(&headers) }
    }

    fn set_header(&self, name: &str, value: &[u8]) {
        let (name, value) = (ModuleBuffer::new(name.as_bytes()), ModuleBuffer::new(value));
        // SAFETY: Envoy's pointer is that of the running hook, and Envoy copies both texts.
        unsafe { set_header(self.envoy, REQUEST_HEADERS, name, value) };
    }

    fn remove_header(&self, name: &str) {
        let (name, none) = (ModuleBuffer::new(name.as_bytes()), ModuleBuffer::NONE);
        // SAFETY: as above; a header without a value is removed.
        unsafe { set_header(self.envoy, REQUEST_HEADERS, name, none) };
    }
}

impl StreamHost for EnvoyStream<'_> {
    fn active_span(&self) -> Option<(TraceId, Option<SpanId>)> {
        let span = self.span();
        if span.is_null() {
            return None;
        }
        let trace_id = id_text(span, trace_id)?;
        // Zipkin's tracer may use ids of 64 bits.
        let trace_id = TraceId::from_hex(&format!("{trace_id:0>32}"))?;
        let span_id = id_text(span, span_id);
        Some((trace_id, span_id.and_then(|id| SpanId::from_hex(&id))))
    }

    fn name_span(&self, name: &str) {
        let span = self.span();
        if !span.is_null() {
            // SAFETY: the span lives as long as the request, and Envoy copies the name.
            unsafe { set_operation(span, ModuleBuffer::new(name.as_bytes())) };
        }
    }

    fn tag_span(&self, key: &str, value: &str) {
        let span = self.span();
        if !span.is_null() {
            let (key, value) = (key.as_bytes(), value.as_bytes());
            // SAFETY: the span lives as long as the request, and Envoy copies both texts.
            unsafe { set_tag(span, ModuleBuffer::new(key), ModuleBuffer::new(value)) };
        }
    }

    fn count(&self, counter: Counter, amount: u64) {
        if let Some(id) = self.counters.id(counter) {
            // SAFETY: Envoy's pointer is that of the running hook; Envoy checks the id.
            unsafe { increment_counter(self.envoy, id, std::ptr::null(), 0, amount) };
        }
    }
}

fn id_text(span: *mut c_void, call: IdCall) -> Option<String> {
    let mut id = EnvoyBuffer::EMPTY;
    // SAFETY: the span is one that Envoy has just returned, and the result is ours.
    if !unsafe { call(span, &raw mut id) } {
        return None;
    }
    // SAFETY: the text is Envoy's until the next such call, and is copied at once.
    let bytes = unsafe { id.bytes() };
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn define_counters(envoy: *mut c_void) -> Arc<CounterIds> {
    Arc::new(CounterIds::define(|name| {
        let mut id = 0;
        let (name, none) = (ModuleBuffer::new(name.as_bytes()), std::ptr::null());
        // SAFETY: the configuration is being made, which is when counters may be defined.
        let result = unsafe { define_counter(envoy, name, none, 0, &raw mut id) };
        (result == METRIC_SUCCESS).then_some(id)
    }))
}

/// Returns the filter that [`envoy_dynamic_module_on_http_filter_new`] has made.
fn filter_of<'a>(filter: *const c_void) -> Option<&'a StreamFilter> {
    // SAFETY: Envoy returns the pointer that it was given, until it destroys the filter. References
    // are shared, also where hooks nest.
    unsafe { filter.cast::<StreamFilter>().as_ref() }
}

/// Runs a hook of a request. After a panic the request goes on.
fn with_stream(
    hook: &str,
    envoy: *mut c_void,
    filter: *const c_void,
    run: impl FnOnce(&HttpFilter, &EnvoyStream<'_>),
) {
    let Some(StreamFilter { filter, counters }) = filter_of(filter) else {
        return;
    };
    let host = EnvoyStream { envoy, counters };
    if let Some(filter) = filter {
        guard(hook, || run(filter, &host));
    }
    count_panics(|panics| host.count(Counter::Panics, panics));
}

/// Returns null to refuse the configuration.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    envoy: *mut c_void,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
) -> *const c_void {
    let made = guard("http_filter_config_new", || {
        StreamConfig::new(envoy, name, config)
    });
    // An internal error is not a mistake in the configuration: Envoy goes on, without tracing.
    let made = made.unwrap_or_else(|| {
        let counters = guard("counters", || define_counters(envoy));
        Some(StreamConfig::untraced(counters.unwrap_or_default()))
    });
    made.map_or(std::ptr::null(), |config| {
        Box::into_raw(Box::new(config)).cast()
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void) {
    if !config.is_null() {
        // SAFETY: the pointer is the one that was made above, and Envoy destroys it once.
        let config = unsafe { Box::from_raw(config.cast_mut().cast::<StreamConfig>()) };
        guard("http_filter_config_destroy", || drop(config));
    }
}

/// Never returns null, with which the request would fail: after an internal error it passes
/// untraced.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: *const c_void,
    _envoy: *mut c_void,
) -> *const c_void {
    // SAFETY: Envoy returns the pointer that it was given, until it destroys the configuration.
    let config = unsafe { config.cast::<StreamConfig>().as_ref() };
    let make = || config?.filter.clone().map(HttpFilter::new);
    let filter = guard("http_filter_new", make).flatten();
    let counters = config.map_or_else(Arc::default, |config| Arc::clone(&config.counters));
    Box::into_raw(Box::new(StreamFilter { filter, counters })).cast()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void) {
    if !filter.is_null() {
        // SAFETY: the pointer is the one that was made above, and Envoy destroys it once, after all
        // other hooks have returned.
        let filter = unsafe { Box::from_raw(filter.cast_mut().cast::<StreamFilter>()) };
        guard("http_filter_destroy", || drop(filter));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    envoy: *mut c_void,
    filter: *const c_void,
    _end_stream: bool,
) -> FilterStatus {
    let hook = "http_filter_request_headers";
    with_stream(hook, envoy, filter, |filter, host| filter.on_request(host));
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    _envoy: *mut c_void,
    _filter: *const c_void,
    _end_stream: bool,
) -> FilterStatus {
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    _envoy: *mut c_void,
    _filter: *const c_void,
) -> FilterStatus {
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    envoy: *mut c_void,
    filter: *const c_void,
    end_stream: bool,
) -> FilterStatus {
    let hook = "http_filter_response_headers";
    with_stream(hook, envoy, filter, |filter, host| {
        filter.on_response(host.status());
        if end_stream {
            filter.on_response_end();
        }
    });
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    envoy: *mut c_void,
    filter: *const c_void,
    end_stream: bool,
) -> FilterStatus {
    if end_stream {
        let hook = "http_filter_response_body";
        with_stream(hook, envoy, filter, |filter, _| filter.on_response_end());
    }
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    envoy: *mut c_void,
    filter: *const c_void,
) -> FilterStatus {
    let hook = "http_filter_response_trailers";
    with_stream(hook, envoy, filter, |filter, _| filter.on_response_end());
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    envoy: *mut c_void,
    filter: *const c_void,
) {
    let hook = "http_filter_stream_complete";
    with_stream(hook, envoy, filter, |filter, _| filter.on_complete());
}
