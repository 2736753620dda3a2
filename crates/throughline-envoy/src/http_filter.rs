//! HTTP beside Envoy's own tracer: its spans become activities of the correlator, and its calls get
//! the parent that the correlator finds. No HTTP span is made here.
//!
//! ```text
//!   inbound    Envoy's span --> HttpFilter (filter)  --> an activity, until the response has ended
//!   outbound   early mutation --> the parent's context in the headers
//!              Envoy's span, a child of it
//!              HttpFilter (filter) --> the span's context in all formats, evidence on the span
//! ```
//!
//! Envoy starts its span before any HTTP filter runs, and takes the parent from the headers. So the
//! parent of an outbound request is written by an early header mutation, which runs before that.
//! The mutation and the filter of a request run on one thread, one right after the other.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use throughline_intercept::Timestamp;
use throughline_intercept::correlate::{
    ActivityId, CallHandle, CallOutcome, CallSignature, CarriedContext, CorrelatorAccess as _,
    OutboundCall, ParentDecision, REQUEST_ID, RequestOutcome, TokenSource,
};
use throughline_intercept::http::{Direction, RouteTemplate, request_signature};
use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, FormatSet, HeaderList, PropagatedContext, Sampling,
    SpanContext,
};
use throughline_model::convention::{PARENT_CONFIDENCE, PARENT_EVIDENCE};
use throughline_model::{SpanId, TraceId};

use crate::counter::Counter;
use crate::host::{HeaderHost, StreamHost};
use crate::tracing_process::TracingProcess;

/// The parts that the filters of one configuration share.
#[derive(Debug)]
pub struct HttpFilterConfig {
    /// Tracing of the process.
    pub process: Arc<TracingProcess>,
    /// Settings of the requests.
    pub settings: HttpFilterSettings,
}

/// Settings of HTTP requests.
#[derive(Debug, Clone)]
pub struct HttpFilterSettings {
    /// Direction of the requests, seen from the service; the early mutation needs none.
    pub direction: Option<Direction>,
    /// Formats in which a context is looked for; the first one found wins.
    pub read: Vec<Format>,
    /// Formats in which a context is written; empty where nothing may be written.
    pub write: Vec<Format>,
    /// Whether the service also gets contexts in its own formats.
    pub match_propagation: bool,
    /// Whether Envoy's spans are named by method and route.
    pub names_spans: bool,
    /// Routes of the service, for the names of its spans. The first match wins.
    pub routes: Vec<RouteTemplate>,
}

/// The filter of one request.
#[derive(Debug)]
pub struct HttpFilter {
    config: Arc<HttpFilterConfig>,
    activity: Cell<Option<ActivityId>>,
    call: Cell<Option<CallHandle>>,
    status: Cell<Option<u32>>,
    /// The end of the response has passed.
    is_answered: Cell<bool>,
}

/// The decision of an early mutation, for the filter of the same request.
#[derive(Debug)]
struct PendingCall {
    signature: CallSignature,
    parent: ParentDecision,
    call: CallHandle,
    at: Timestamp,
}

/// The headers of a request, changed here and in Envoy.
struct HostHeaders<'a, H> {
    host: &'a H,
    list: HeaderList,
}

/// The context of a request as it arrived.
struct ArrivedContext {
    propagated: PropagatedContext,
    /// Formats that have a header in the request, valid or not.
    present: FormatSet,
    /// Formats of which the request has a valid header.
    valid: FormatSet,
}

/// Longest time between the early mutation of a request and its filter, in nanoseconds. They are
/// one call; a decision that nobody took is an older one's.
const MAX_PENDING: u64 = 1_000_000_000;

/// Index of the digit in `x-request-id` that holds Envoy's decision about the trace: the version of
/// the UUID, 4, stands for an untraced request, other digits for traced ones.
const TRACE_REASON_INDEX: usize = 14;
const UNTRACED: u8 = b'4';

thread_local! {
    /// The decision of the early mutation that ran last.
    static PENDING: RefCell<Option<PendingCall>> = const { RefCell::new(None) };
}

/// Writes the parent of an outbound request into its headers, before Envoy starts its span.
pub fn mutate_outbound(config: &HttpFilterConfig, host: &impl HeaderHost) {
    let settings = &config.settings;
    let mut headers = HostHeaders::new(host);
    let arrived = ArrivedContext::read(&settings.read, &headers.list);
    let process = &config.process;
    let now = process.now();
    let mut call = OutboundCall {
        signature: signature(&headers.list),
        created_at: None,
        carried: arrived.propagated.context.clone(),
        tokens: process.token_extractor().extract(TokenSource {
            headers: &headers.list,
            key: None,
            body: None,
        }),
        expects_response: true,
    };
    let attribution = process.with_correlator(|correlator| {
        if let Some(context) = &mut call.carried {
            let carried = CarriedContext {
                context,
                formats: arrived.valid,
                signature: call.signature,
            };
            let observed = correlator.observe_propagation(now, &carried);
            // The tracer of the process has cut the id: it means the trace of the activity.
            context.trace_id = observed.full_trace_id.unwrap_or(context.trace_id);
        }
        correlator.attribute_call(now, &call)
    });
    if !settings.write.is_empty()
        && let Some(context) = &attribution.parent.context
    {
        headers.write_context(context, settings.formats().union(arrived.present));
        if let Some(id) = &attribution.request_id
            && headers.list.get(REQUEST_ID).is_none_or(<[u8]>::is_empty)
        {
            // Envoy keeps an id that is there, and with it its own decision about the trace.
            headers.replace(REQUEST_ID, id);
        }
    }
    let pending = PendingCall {
        signature: call.signature,
        parent: attribution.parent,
        call: attribution.call,
        at: now,
    };
    PENDING.with_borrow_mut(|slot| *slot = Some(pending));
}

// === impl HttpFilterSettings ===

impl HttpFilterSettings {
    fn formats(&self) -> FormatSet {
        self.write.iter().copied().collect()
    }

    /// Returns the formats for the service itself: before it has sent a context, it may read any.
    fn formats_for_service(&self, sent: FormatSet) -> FormatSet {
        let configured = self.formats();
        if configured.is_empty() || !self.match_propagation {
            configured
        } else if sent.is_empty() {
            configured.union(Format::contexts().collect())
        } else {
            configured.union(sent)
        }
    }
}

// === impl HttpFilter ===

impl HttpFilter {
    /// Returns the filter of a new request.
    #[must_use]
    pub const fn new(config: Arc<HttpFilterConfig>) -> Self {
        Self {
            config,
            activity: Cell::new(None),
            call: Cell::new(None),
            status: Cell::new(None),
            is_answered: Cell::new(false),
        }
    }

    /// Handles the head of the request. Envoy's span has begun.
    pub fn on_request(&self, host: &impl StreamHost) {
        match self.config.settings.direction {
            Some(Direction::Inbound) => self.on_inbound(host),
            Some(Direction::Outbound) => self.on_outbound(host),
            None => {}
        }
    }

    /// Handles the status of the response.
    pub fn on_response(&self, status: Option<u32>) {
        self.status.set(status);
    }

    /// Handles the end of the response.
    pub fn on_response_end(&self) {
        self.is_answered.set(true);
    }

    /// Handles the end of the request. A second call changes nothing.
    pub fn on_complete(&self) {
        let process = &self.config.process;
        let now = process.now();
        if let Some(activity) = self.activity.take() {
            let outcome = if self.is_answered.get() {
                RequestOutcome::Completed
            } else {
                // The client went away; the handler may still be running.
                RequestOutcome::Aborted
            };
            process.with_correlator(|correlator| correlator.end_request(now, activity, outcome));
        }
        if let Some(call) = self.call.take() {
            let outcome = call_outcome(self.status.get(), self.is_answered.get());
            process.with_correlator(|correlator| correlator.complete_call(now, call, outcome));
        }
    }

    fn on_inbound(&self, host: &impl StreamHost) {
        host.count(Counter::InboundRequests, 1);
        let settings = &self.config.settings;
        let mut headers = HostHeaders::new(host);
        let arrived = ArrivedContext::read(&settings.read, &headers.list);
        let Some(context) = span_context(host, &headers.list, &arrived) else {
            return;
        };
        let process = &self.config.process;
        let tokens = process.token_extractor().extract(TokenSource {
            headers: &headers.list,
            key: None,
            body: None,
        });
        let now = process.now();
        let activity_context = context.clone();
        // The authority names the service itself, and clients can write anything there.
        let (method, target) = (text(&headers.list, ":method"), text(&headers.list, ":path"));
        let operation = request_signature(method, "", target);
        let (activity, sent) = process.with_correlator(|correlator| {
            let activity = correlator.begin_request(now, activity_context, operation, tokens);
            (activity, correlator.sent_formats())
        });
        self.activity.set(Some(activity));
        if !settings.write.is_empty() {
            let formats = settings.formats_for_service(sent).union(arrived.present);
            headers.write_context(&context, formats);
        }
        if arrived.propagated.context.is_some() {
            host.tag_span(PARENT_EVIDENCE, "header");
        }
        self.name_span(host, &headers.list, &settings.routes);
    }

    fn on_outbound(&self, host: &impl StreamHost) {
        host.count(Counter::OutboundRequests, 1);
        let settings = &self.config.settings;
        let mut headers = HostHeaders::new(host);
        let pending = take_pending(signature(&headers.list), self.config.process.now());
        if let Some(pending) = &pending {
            self.call.set(Some(pending.call));
            host.count(Counter::Parents(pending.parent.evidence), 1);
        }
        let arrived = ArrivedContext::read(&settings.read, &headers.list);
        let Some(context) = span_context(host, &headers.list, &arrived) else {
            return;
        };
        // Envoy's tracer writes one format, and later; the others would keep the parent's context.
        if !settings.write.is_empty() {
            headers.write_context(&context, settings.formats().union(arrived.present));
        }
        if let Some(PendingCall { parent, .. }) = pending {
            host.tag_span(PARENT_EVIDENCE, parent.evidence.name());
            if let Some(confidence) = parent.confidence {
                host.tag_span(PARENT_CONFIDENCE, &confidence.to_string());
            }
        }
        self.name_span(host, &headers.list, &[]);
    }

    fn name_span(&self, host: &impl StreamHost, headers: &HeaderList, routes: &[RouteTemplate]) {
        if !self.config.settings.names_spans {
            return;
        }
        let method = text(headers, ":method");
        let path = text(headers, ":path").split('?').next().unwrap_or_default();
        let route = routes.iter().find(|route| route.matches(path));
        match route {
            Some(route) => host.name_span(&format!("{method} {}", route.template())),
            None => host.name_span(method),
        }
    }
}

impl Drop for HttpFilter {
    fn drop(&mut self) {
        self.on_complete();
    }
}

// === impl HostHeaders ===

impl<'a, H: HeaderHost> HostHeaders<'a, H> {
    fn new(host: &'a H) -> Self {
        Self {
            host,
            list: host.request_headers(),
        }
    }

    /// Replaces the context in these formats. Baggage stays: it belongs to the application.
    fn write_context(&mut self, context: &SpanContext, formats: FormatSet) {
        let formats: Vec<Format> = formats
            .iter()
            .filter(|format| *format != Format::Baggage)
            .collect();
        context::inject(&formats, context, &Baggage::default(), self);
    }
}

impl<H: HeaderHost> Carrier for HostHeaders<'_, H> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.list.each(visit);
    }
}

impl<H: HeaderHost> CarrierMut for HostHeaders<'_, H> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        self.list.replace(name, value);
        self.host.set_header(name, value);
    }

    fn remove(&mut self, name: &str) {
        if self.list.last(name).is_some() {
            self.list.remove(name);
            self.host.remove_header(name);
        }
    }
}

// === impl ArrivedContext ===

impl ArrivedContext {
    fn read(formats: &[Format], headers: &HeaderList) -> Self {
        let mut present = FormatSet::default();
        headers.each(&mut |name, _| {
            if let Some(format) = Format::of_context_header(name) {
                present.insert(format);
            }
        });
        let is_valid = |format: &Format| {
            let found = context::extract(std::slice::from_ref(format), headers);
            found.context.is_some() || found.sampling.is_some()
        };
        Self {
            propagated: context::extract(formats, headers),
            present,
            valid: present.iter().filter(is_valid).collect(),
        }
    }
}

/// Returns the context of Envoy's span, with Envoy's decision about the trace.
fn span_context(
    host: &impl StreamHost,
    headers: &HeaderList,
    arrived: &ArrivedContext,
) -> Option<SpanContext> {
    let Some((trace_id, span_id)) = host.active_span() else {
        host.count(Counter::RequestsWithoutSpan, 1);
        return None;
    };
    let parent = arrived.propagated.context.as_ref();
    let parent = parent.filter(|parent| parent.trace_id == trace_id);
    // Zipkin's span shares the id of its parent by default; without one, it has the low half of the
    // trace's id. Where it does neither, the parent stands for it: the trace is right.
    let span_id = span_id
        .or_else(|| parent.map(|parent| parent.span_id))
        .or_else(|| low_half(trace_id))?;
    let sampling = match parent.map(|parent| parent.sampling) {
        Some(Sampling::Drop) => Sampling::Drop,
        Some(Sampling::Debug) => Sampling::Debug,
        _ if is_untraced(headers) => Sampling::Drop,
        _ => Sampling::Sample,
    };
    let mut context = SpanContext::new(trace_id, span_id, sampling);
    if let Some(parent) = parent {
        context.random = parent.random;
        context.trace_state = parent.trace_state.clone();
    }
    Some(context)
}

fn low_half(trace_id: TraceId) -> Option<SpanId> {
    let hex = trace_id.to_hex();
    let low = str::from_utf8(hex.get(16..)?).ok()?;
    SpanId::from_hex(low)
}

/// Returns whether Envoy has decided not to trace the request.
fn is_untraced(headers: &HeaderList) -> bool {
    let id = headers.get(REQUEST_ID).unwrap_or_default();
    id.get(TRACE_REASON_INDEX) == Some(&UNTRACED)
}

/// Takes the decision of the early mutation of this request.
fn take_pending(signature: CallSignature, now: Timestamp) -> Option<PendingCall> {
    let pending = PENDING.with_borrow_mut(Option::take);
    pending.filter(|pending| {
        pending.signature == signature && now.saturating_sub(pending.at) <= MAX_PENDING
    })
}

fn signature(headers: &HeaderList) -> CallSignature {
    let method = text(headers, ":method");
    request_signature(method, text(headers, ":authority"), text(headers, ":path"))
}

fn text<'a>(headers: &'a HeaderList, name: &str) -> &'a str {
    let value = headers.get(name).unwrap_or_default();
    str::from_utf8(value).unwrap_or_default()
}

/// Returns how a call ended for the correlator: callers retry what failed.
fn call_outcome(status: Option<u32>, is_answered: bool) -> CallOutcome {
    // 408, 425 and 429 ask the client to send the request again later.
    let is_retryable = |status: u32| status >= 500 || matches!(status, 408 | 425 | 429);
    if is_answered && status.is_some_and(|status| !is_retryable(status)) {
        CallOutcome::Succeeded
    } else {
        CallOutcome::Failed
    }
}

#[cfg(test)]
mod tests;
