//! Hooks of network filters: `throughline_kafka`.
//!
//! A configuration is made on the main thread and shared by all workers. All hooks of a connection
//! run on its worker.

use std::ffi::c_void;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use throughline_intercept::Side;
use throughline_intercept::kafka::ConnectionEndpoints;
use tracing::Level;

use super::ffi::{
    CloseType, EnvoyBuffer, LOCAL_CLOSE, METRIC_SUCCESS, ModuleBuffer, REMOTE_CLOSE,
    envoy_dynamic_module_callback_network_filter_append_read_buffer as append_read,
    envoy_dynamic_module_callback_network_filter_append_write_buffer as append_write,
    envoy_dynamic_module_callback_network_filter_close as close,
    envoy_dynamic_module_callback_network_filter_config_define_counter as define_counter,
    envoy_dynamic_module_callback_network_filter_config_define_gauge as define_gauge,
    envoy_dynamic_module_callback_network_filter_config_set_gauge as set_gauge,
    envoy_dynamic_module_callback_network_filter_drain_read_buffer as drain_read,
    envoy_dynamic_module_callback_network_filter_drain_write_buffer as drain_write,
    envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks as read_chunks,
    envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks_size as read_chunk_count,
    envoy_dynamic_module_callback_network_filter_get_remote_address as remote_address,
    envoy_dynamic_module_callback_network_filter_get_upstream_host_address as upstream_address,
    envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks as write_chunks,
    envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks_size as write_chunk_count,
    envoy_dynamic_module_callback_network_filter_increment_counter as increment_counter,
    envoy_dynamic_module_callback_network_filter_inject_read_data as inject_read,
    envoy_dynamic_module_callback_network_filter_inject_write_data as inject_write,
    envoy_dynamic_module_callback_network_filter_prepend_read_buffer as prepend_read,
    envoy_dynamic_module_callback_network_filter_prepend_write_buffer as prepend_write,
    envoy_dynamic_module_callback_network_filter_read_disable as read_disable,
};
use super::module::{
    count_panics, filter_name, guard, is_validation, log, parse_config, refuse_name,
};
use crate::counter::{Counter, CounterIds};
use crate::gauge::{Gauge, GaugeHost, GaugeIds};
use crate::host::{ConnectionHost, FilterStatus};
use crate::kafka_filter::{KafkaFilter, KafkaFilterConfig};
use crate::tracing_process::{GaugeHostId, TracingProcess};

const KAFKA: &str = "throughline_kafka";

/// One configuration of the filter. Without a filter configuration where Envoy only validates, and
/// after an internal error: connections pass untraced then.
struct NetworkConfig {
    filter: Option<Arc<KafkaFilterConfig>>,
    counters: Arc<CounterIds>,
    gauges: Option<GaugeHostId>,
}

/// The filter of one connection; none where the connection passes untraced.
struct NetworkFilter {
    filter: Option<KafkaFilter>,
    counters: Arc<CounterIds>,
}

/// A connection during a hook.
struct EnvoyConnection<'a> {
    envoy: *mut c_void,
    counters: &'a CounterIds,
}

/// Signature of the two calls that return an address.
type AddressCall = unsafe extern "C" fn(*mut c_void, *mut EnvoyBuffer, *mut u32) -> bool;

// === impl EnvoyConnection ===

impl EnvoyConnection<'_> {
    fn address(&self, call: AddressCall) -> Option<(String, u16)> {
        let (mut address, mut port) = (EnvoyBuffer::EMPTY, 0);
        // SAFETY: Envoy's pointer is that of the running hook, and both results are ours.
        if !unsafe { call(self.envoy, &raw mut address, &raw mut port) } {
            return None;
        }
        // SAFETY: the text belongs to the connection, and is copied at once.
        let text = String::from_utf8_lossy(unsafe { address.bytes() }).into_owned();
        Some((text, u16::try_from(port).ok()?))
    }

    fn chunks(&self, from: Side) -> Vec<EnvoyBuffer> {
        let count = match from {
            // SAFETY: Envoy's pointer is that of the running hook.
            Side::Client => unsafe { read_chunk_count(self.envoy) },
            // SAFETY: as above.
            Side::Broker => unsafe { write_chunk_count(self.envoy) },
        };
        let mut chunks = vec![EnvoyBuffer::EMPTY; count];
        if count == 0 {
            return chunks;
        }
        let is_filled = match from {
            // SAFETY: the list has room for the count that Envoy has just returned.
            Side::Client => unsafe { read_chunks(self.envoy, chunks.as_mut_ptr()) },
            // SAFETY: as above.
            Side::Broker => unsafe { write_chunks(self.envoy, chunks.as_mut_ptr()) },
        };
        if !is_filled {
            chunks.clear();
        }
        chunks
    }
}

impl ConnectionHost for EnvoyConnection<'_> {
    fn buffered(&self, from: Side) -> Bytes {
        let chunks = self.chunks(from);
        let length = chunks.iter().map(|chunk| chunk.length).sum();
        let mut bytes = BytesMut::with_capacity(length);
        for chunk in chunks {
            // SAFETY: the buffer does not change before it is copied here.
            bytes.extend_from_slice(unsafe { chunk.bytes() });
        }
        bytes.freeze()
    }

    fn append(&self, from: Side, bytes: &[u8]) {
        let bytes = ModuleBuffer::new(bytes);
        match from {
            // SAFETY: Envoy's pointer is that of the running hook, and Envoy copies the bytes.
            Side::Client => unsafe { append_read(self.envoy, bytes) },
            // SAFETY: as above.
            Side::Broker => unsafe { append_write(self.envoy, bytes) },
        };
    }

    fn prepend(&self, from: Side, bytes: &[u8]) {
        let bytes = ModuleBuffer::new(bytes);
        match from {
            // SAFETY: Envoy's pointer is that of the running hook, and Envoy copies the bytes.
            Side::Client => unsafe { prepend_read(self.envoy, bytes) },
            // SAFETY: as above.
            Side::Broker => unsafe { prepend_write(self.envoy, bytes) },
        };
    }

    fn drain(&self, from: Side, count: usize) {
        // Envoy takes 0 for a mistake.
        if count == 0 {
            return;
        }
        match from {
            // SAFETY: Envoy's pointer is that of the running hook; Envoy checks the count.
            Side::Client => unsafe { drain_read(self.envoy, count) },
            // SAFETY: as above.
            Side::Broker => unsafe { drain_write(self.envoy, count) },
        };
    }

    fn send(&self, to: Side, bytes: &[u8], is_end: bool) {
        let bytes = ModuleBuffer::new(bytes);
        match to {
            // SAFETY: Envoy's pointer is that of the running hook, and Envoy copies the bytes.
            Side::Client => unsafe { inject_write(self.envoy, bytes, is_end) },
            // SAFETY: as above.
            Side::Broker => unsafe { inject_read(self.envoy, bytes, is_end) },
        }
    }

    fn close(&self) {
        // SAFETY: Envoy's pointer is that of the running hook. The call may enter our hook for
        // events, which borrows nothing that is borrowed here.
        unsafe { close(self.envoy, CloseType::NoFlush) };
    }

    fn set_reading(&self, is_reading: bool) {
        // SAFETY: Envoy's pointer is that of the running hook. Envoy counts the calls of all its
        // parts, and reads when none of them wants it to stop.
        unsafe { read_disable(self.envoy, !is_reading) };
    }

    fn endpoints(&self) -> ConnectionEndpoints {
        let client = self.address(remote_address);
        let broker = self.address(upstream_address);
        ConnectionEndpoints {
            client: client.and_then(|(address, _)| address.parse::<IpAddr>().ok()),
            broker: broker.map(|(address, port)| (address.into(), port)),
        }
    }

    fn count(&self, counter: Counter, amount: u64) {
        if let Some(id) = self.counters.id(counter) {
            // SAFETY: Envoy's pointer is that of the running hook; Envoy checks the id.
            unsafe { increment_counter(self.envoy, id, amount) };
        }
    }
}

/// The gauges of a configuration, until Envoy destroys it.
struct NetworkGauges {
    envoy: *mut c_void,
    ids: GaugeIds,
}

// SAFETY: Envoy's stats are thread-safe, and the pointer is used for nothing else.
unsafe impl Send for NetworkGauges {}

// === impl NetworkGauges ===

impl NetworkGauges {
    fn define(envoy: *mut c_void) -> Self {
        let ids = GaugeIds::define(|name| {
            let mut id = 0;
            let name = ModuleBuffer::new(name.as_bytes());
            // SAFETY: the configuration is being made, which is when gauges may be defined.
            let result = unsafe { define_gauge(envoy, name, &raw mut id) };
            (result == METRIC_SUCCESS).then_some(id)
        });
        Self { envoy, ids }
    }
}

impl GaugeHost for NetworkGauges {
    fn set(&self, gauge: Gauge, value: u64) {
        if let Some(id) = self.ids.id(gauge) {
            // SAFETY: the configuration exists: its end waits for the end of this call.
            unsafe { set_gauge(self.envoy, id, value) };
        }
    }
}

// === impl NetworkConfig ===

impl NetworkConfig {
    fn new(envoy: *mut c_void, name: EnvoyBuffer, config: EnvoyBuffer) -> Option<Self> {
        let name = filter_name(name);
        if name != KAFKA {
            refuse_name(&name, KAFKA);
            return None;
        }
        let config = parse_config(&name, config)?;
        let counters = define_counters(envoy);
        if is_validation() {
            return Some(Self::untraced(counters));
        }
        match TracingProcess::shared(&config.shared) {
            Ok(process) => {
                let gauges = process.show_gauges(Box::new(NetworkGauges::define(envoy)));
                let filter = KafkaFilterConfig {
                    process,
                    settings: config.kafka,
                    brokers: config.brokers,
                };
                Some(Self {
                    filter: Some(Arc::new(filter)),
                    counters,
                    gauges: Some(gauges),
                })
            }
            Err(error) => {
                log(Level::ERROR, &format!("{name}: {error}"));
                None
            }
        }
    }

    const fn untraced(counters: Arc<CounterIds>) -> Self {
        Self {
            filter: None,
            counters,
            gauges: None,
        }
    }
}

impl Drop for NetworkConfig {
    fn drop(&mut self) {
        if let (Some(filter), Some(gauges)) = (&self.filter, self.gauges) {
            filter.process.hide_gauges(gauges);
        }
    }
}

fn define_counters(envoy: *mut c_void) -> Arc<CounterIds> {
    Arc::new(CounterIds::define(|name| {
        let mut id = 0;
        let name = ModuleBuffer::new(name.as_bytes());
        // SAFETY: the configuration is being made, which is when counters may be defined.
        let result = unsafe { define_counter(envoy, name, &raw mut id) };
        (result == METRIC_SUCCESS).then_some(id)
    }))
}

/// Runs a hook for bytes of one side.
fn on_bytes(envoy: *mut c_void, filter: *const c_void, from: Side, is_end: bool) -> FilterStatus {
    let Some(NetworkFilter { filter, counters }) = filter_of(filter) else {
        return FilterStatus::Continue;
    };
    let host = EnvoyConnection { envoy, counters };
    let hook = match from {
        Side::Client => "network_filter_read",
        Side::Broker => "network_filter_write",
    };
    let status = filter.as_ref().and_then(|filter| {
        guard(hook, || filter.on_bytes(&host, from, is_end))
            .or_else(|| guard("the end of tracing", || filter.on_panic(&host, from)))
    });
    count_panics(|panics| host.count(Counter::Panics, panics));
    status.unwrap_or(FilterStatus::Continue)
}

/// Returns the filter that [`envoy_dynamic_module_on_network_filter_new`] has made.
fn filter_of<'a>(filter: *const c_void) -> Option<&'a NetworkFilter> {
    // SAFETY: Envoy returns the pointer that it was given, until it destroys the filter. References
    // are shared, also where hooks nest.
    unsafe { filter.cast::<NetworkFilter>().as_ref() }
}

/// Returns null to refuse the configuration.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_config_new(
    envoy: *mut c_void,
    name: EnvoyBuffer,
    config: EnvoyBuffer,
) -> *const c_void {
    let made = guard("network_filter_config_new", || {
        NetworkConfig::new(envoy, name, config)
    });
    // An internal error is not a mistake in the configuration: Envoy goes on, without tracing.
    let made = made.unwrap_or_else(|| {
        let counters = guard("counters", || define_counters(envoy));
        Some(NetworkConfig::untraced(counters.unwrap_or_default()))
    });
    made.map_or(std::ptr::null(), |config| {
        Box::into_raw(Box::new(config)).cast()
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_config_destroy(config: *const c_void) {
    if !config.is_null() {
        // SAFETY: the pointer is the one that was made above, and Envoy destroys it once.
        let config = unsafe { Box::from_raw(config.cast_mut().cast::<NetworkConfig>()) };
        guard("network_filter_config_destroy", || drop(config));
    }
}

/// Never returns null, with which Envoy would close the connection: after an internal error it
/// passes untraced.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_new(
    config: *const c_void,
    envoy: *mut c_void,
) -> *const c_void {
    // SAFETY: Envoy returns the pointer that it was given, until it destroys the configuration.
    let config = unsafe { config.cast::<NetworkConfig>().as_ref() };
    let make = || config?.filter.clone().map(KafkaFilter::new);
    let filter = guard("network_filter_new", make).flatten();
    let counters = config.map_or_else(Arc::default, |config| Arc::clone(&config.counters));
    let host = EnvoyConnection {
        envoy,
        counters: &counters,
    };
    count_panics(|panics| host.count(Counter::Panics, panics));
    if filter.is_none() {
        host.count(Counter::ConnectionsUntraced, 1);
    }
    Box::into_raw(Box::new(NetworkFilter { filter, counters })).cast()
}

#[unsafe(no_mangle)]
const extern "C" fn envoy_dynamic_module_on_network_filter_new_connection(
    _envoy: *mut c_void,
    _filter: *const c_void,
) -> FilterStatus {
    FilterStatus::Continue
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_read(
    envoy: *mut c_void,
    filter: *const c_void,
    _length: usize,
    end_stream: bool,
) -> FilterStatus {
    on_bytes(envoy, filter, Side::Client, end_stream)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_write(
    envoy: *mut c_void,
    filter: *const c_void,
    _length: usize,
    end_stream: bool,
) -> FilterStatus {
    on_bytes(envoy, filter, Side::Broker, end_stream)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_event(
    envoy: *mut c_void,
    filter: *const c_void,
    event: u32,
) {
    if let (REMOTE_CLOSE | LOCAL_CLOSE, Some(NetworkFilter { filter, counters })) =
        (event, filter_of(filter))
    {
        let host = EnvoyConnection { envoy, counters };
        let filter = filter.as_ref();
        guard("network_filter_event", || {
            filter.map(|filter| filter.on_close(Some(&host)))
        });
        count_panics(|panics| host.count(Counter::Panics, panics));
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_destroy(filter: *const c_void) {
    if filter.is_null() {
        return;
    }
    // SAFETY: the pointer is the one that was made above, and Envoy destroys it once, after all
    // other hooks have returned.
    let filter = unsafe { Box::from_raw(filter.cast_mut().cast::<NetworkFilter>()) };
    guard("network_filter_destroy", || {
        if let Some(filter) = &filter.filter {
            filter.on_close(None::<&EnvoyConnection<'_>>);
        }
        drop(filter);
    });
}
