//! The filter of one Kafka connection: moves its bytes through a session, both ways.
//!
//! ```text
//!   client bytes --> on_bytes(Client) --> KafkaSession --> the next filter, the broker
//!   broker bytes --> on_bytes(Broker) --> KafkaSession --> the previous filter, the client
//! ```
//!
//! Envoy's buffer holds the bytes of one hook. If the session forwards exactly those, they stay in
//! it: no byte is copied back. Otherwise the session's bytes are appended and the old ones drained
//! from the front. No byte ever waits in Envoy's buffer, because Envoy stops reading when that is
//! full; the session holds the beginning of a frame, within limits of its own.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::correlate::{Correlator, CorrelatorAccess as _, TokenExtractor};
use throughline_intercept::kafka::{
    ClusterHandle, ClusterState, ConnectionEndpoints, NodeId, SessionEvent, Settings,
};
use throughline_intercept::{KafkaSession, Side};

use crate::counter::Counter;
use crate::host::{ConnectionHost, FilterStatus};
use crate::tracing_process::TracingProcess;

/// The parts that the filters of one configuration share.
#[derive(Debug)]
pub struct KafkaFilterConfig {
    /// Tracing of the process.
    pub process: Arc<TracingProcess>,
    /// Settings of the connections.
    pub settings: Arc<Settings>,
    /// Addresses that clients get in place of the brokers' own.
    pub brokers: Arc<[BrokerListener]>,
}

/// A broker and the listener that leads to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerListener {
    /// Host and port that the broker advertises.
    pub broker: (String, u16),
    /// Host and port of the listener, as clients reach it.
    pub listener: (Arc<str>, u16),
}

/// The filter of one connection.
#[derive(Debug)]
pub struct KafkaFilter {
    config: Arc<KafkaFilterConfig>,
    // Borrowed only while no call into Envoy runs: such a call may enter a hook again.
    state: RefCell<State>,
    phase: Cell<HookPhase>,
    /// The client is not read, because too many of its requests are held.
    is_paused: Cell<bool>,
}

#[derive(Debug)]
enum State {
    /// No byte has been seen.
    New,
    Active(Box<ActiveSession>),
    /// Bytes pass unread, after a panic.
    Bypassed,
    Closed,
}

#[derive(Debug)]
struct ActiveSession {
    session: KafkaSession<ProcessCluster>,
    /// The client sends no more, and the broker's stream ends when the session is done.
    is_broker_end_due: bool,
    /// Brokers in responses that have no listener, since the last hook.
    unmapped: Rc<Cell<u64>>,
}

/// How far a hook has come, for a panic in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HookPhase {
    /// The session has not seen the bytes of this hook: they may pass.
    Reading,
    /// Unknown which bytes have been passed on.
    Passing,
}

/// Bytes of held requests from which on the client is not read: Envoy's own default of
/// `per_connection_buffer_limit_bytes`. Envoy does not see the bytes that the session holds, and
/// would read on without a limit.
const MAX_HELD_REQUEST_BYTES: usize = 1 << 20;

/// Output of a session for one hook.
#[derive(Debug, Default)]
struct SessionOutput {
    to_client: Vec<Bytes>,
    to_broker: Vec<Bytes>,
    events: Vec<SessionEvent>,
    spans: u64,
    spans_dropped: u64,
    unmapped: u64,
    /// The end of the client's stream is to wait for the session.
    holds_end: bool,
    /// The end that waited may follow now.
    releases_end: bool,
    /// Bytes of requests that wait for the response to an earlier one.
    held_request_bytes: usize,
}

/// The cluster as the session of one connection sees it.
#[derive(Debug, Clone)]
struct ProcessCluster {
    process: Arc<TracingProcess>,
    brokers: Arc<[BrokerListener]>,
    unmapped: Rc<Cell<u64>>,
}

// === impl KafkaFilter ===

impl KafkaFilter {
    /// Returns the filter of a new connection.
    #[must_use]
    pub const fn new(config: Arc<KafkaFilterConfig>) -> Self {
        Self {
            config,
            state: RefCell::new(State::New),
            phase: Cell::new(HookPhase::Reading),
            is_paused: Cell::new(false),
        }
    }

    /// Handles bytes of one side, and the end of its stream.
    pub fn on_bytes(&self, host: &impl ConnectionHost, from: Side, is_end: bool) -> FilterStatus {
        self.phase.set(HookPhase::Reading);
        if matches!(*self.state.borrow(), State::Bypassed | State::Closed) {
            return FilterStatus::Continue;
        }
        // Envoy knows the broker only once it has connected, which is before the first byte.
        if matches!(*self.state.borrow(), State::New) {
            let endpoints = host.endpoints();
            self.start(endpoints);
            host.count(Counter::Connections, 1);
        }
        let input = host.buffered(from);
        self.phase.set(HookPhase::Passing);
        let Some(output) = self.advance(from, &input, is_end) else {
            return FilterStatus::Continue;
        };
        report(host, &output);
        let status = pass_on(host, from, &input, &output, is_end);
        self.pace_client(host, output.held_request_bytes);
        self.phase.set(HookPhase::Reading);
        status
    }

    /// Handles the end of the connection, whichever side caused it. A second call changes nothing.
    pub fn on_close(&self, host: Option<&impl ConnectionHost>) {
        let state = self.state.replace(State::Closed);
        let State::Active(mut active) = state else {
            return;
        };
        let now = self.config.process.now();
        active.session.handle_close(Side::Client, now);
        active.session.handle_close(Side::Broker, now);
        // Bytes can no longer be passed on.
        let output = active.drain(&self.config.process);
        if let Some(host) = host {
            report(host, &output);
        }
    }

    /// Stops reading from the client, or resumes it.
    fn pace_client(&self, host: &impl ConnectionHost, held_request_bytes: usize) {
        let is_behind = held_request_bytes >= MAX_HELD_REQUEST_BYTES;
        if self.is_paused.replace(is_behind) == is_behind {
            return;
        }
        host.set_reading(!is_behind);
        if is_behind {
            host.count(Counter::ReadsPaused, 1);
        }
    }

    /// Handles a panic in [`KafkaFilter::on_bytes`]: from here on all bytes pass unread. Where
    /// bytes may be lost, the connection is closed instead, and the client connects again.
    pub fn on_panic(&self, host: &impl ConnectionHost, from: Side) -> FilterStatus {
        self.pace_client(host, 0);
        let is_intact = self.phase.get() == HookPhase::Reading;
        let state = self.state.try_borrow_mut().ok();
        let state = state.map(|mut state| std::mem::replace(&mut *state, State::Bypassed));
        match state {
            Some(State::Active(mut active)) if is_intact => {
                let now = self.config.process.now();
                active.session.handle_close(Side::Client, now);
                active.session.handle_close(Side::Broker, now);
                let output = active.drain(&self.config.process);
                report(host, &output);
                return_held(host, from, &output);
            }
            Some(State::New | State::Bypassed | State::Closed) if is_intact => {}
            _ => {
                host.count(Counter::PanicsClosed, 1);
                host.close();
                return FilterStatus::Stop;
            }
        }
        FilterStatus::Continue
    }

    fn start(&self, endpoints: ConnectionEndpoints) {
        let unmapped = Rc::default();
        let cluster = ProcessCluster {
            process: Arc::clone(&self.config.process),
            brokers: Arc::clone(&self.config.brokers),
            unmapped: Rc::clone(&unmapped),
        };
        let settings = Arc::clone(&self.config.settings);
        let session = KafkaSession::new(settings, cluster, endpoints, fastrand::u64(..));
        let mut state = self.state.borrow_mut();
        if matches!(*state, State::New) {
            *state = State::Active(Box::new(ActiveSession {
                session,
                is_broker_end_due: false,
                unmapped,
            }));
        }
    }

    /// Moves the session on; none where a call into Envoy has ended the connection meanwhile. No
    /// such call happens in here.
    fn advance(&self, from: Side, input: &Bytes, is_end: bool) -> Option<SessionOutput> {
        let mut state = self.state.borrow_mut();
        let State::Active(active) = &mut *state else {
            return None;
        };
        let process = &self.config.process;
        let now = process.now();
        let session = &mut active.session;
        // Envoy has no timer for filters, so a timeout is handled with the next bytes.
        if session
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now)
        {
            session.handle_timeout(now);
        }
        if !input.is_empty() {
            session.handle_bytes(from, now, input.clone());
        }
        if is_end {
            session.handle_close(from, now);
        }
        let mut output = active.drain(process);
        output.held_request_bytes = active.session.held_request_bytes();
        let may_send = active.session.may_send_requests();
        if is_end && from == Side::Client && may_send {
            // A request that the broker refuses may have to be sent again.
            active.is_broker_end_due = true;
            output.holds_end = true;
        } else if active.is_broker_end_due && !may_send {
            active.is_broker_end_due = false;
            output.releases_end = true;
        }
        Some(output)
    }
}

// === impl ActiveSession ===

impl ActiveSession {
    /// Takes all output of the session. Its spans go to the exporter, which never blocks.
    fn drain(&mut self, process: &TracingProcess) -> SessionOutput {
        let mut output = SessionOutput::default();
        let session = &mut self.session;
        while let Some((side, bytes)) = session.poll_transmit() {
            output.to(side).push(bytes);
        }
        while let Some(spans) = session.poll_spans() {
            output.spans += u64::try_from(spans.len()).unwrap_or(u64::MAX);
            let dropped = process.send_spans(spans);
            output.spans_dropped += u64::try_from(dropped).unwrap_or(u64::MAX);
        }
        output.unmapped = self.unmapped.take();
        output
            .events
            .extend(std::iter::from_fn(|| session.poll_event()));
        output
    }
}

// === impl SessionOutput ===

impl SessionOutput {
    const fn to(&mut self, side: Side) -> &mut Vec<Bytes> {
        match side {
            Side::Client => &mut self.to_client,
            Side::Broker => &mut self.to_broker,
        }
    }

    const fn of(&self, side: Side) -> &Vec<Bytes> {
        match side {
            Side::Client => &self.to_client,
            Side::Broker => &self.to_broker,
        }
    }
}

// === impl ProcessCluster ===

impl ClusterHandle for ProcessCluster {
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        self.process.with_cluster(operation)
    }

    fn token_extractor(&self) -> Option<&TokenExtractor> {
        Some(self.process.token_extractor())
    }

    fn correlate<T>(&self, operation: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        Some(self.process.with_correlator(operation))
    }

    fn is_addressed(&self) -> bool {
        !self.brokers.is_empty()
    }

    fn local_address(&self, _: NodeId, host: &str, port: i32) -> Option<(Arc<str>, i32)> {
        let is_same = |known: &(String, u16)| known.0 == host && i32::from(known.1) == port;
        let found = self.brokers.iter().find(|entry| is_same(&entry.broker));
        // Responses may hold a null broker, with an empty host and no port.
        if found.is_none() && !host.is_empty() && port > 0 {
            self.unmapped.set(self.unmapped.get() + 1);
        }
        found.map(|entry| (Arc::clone(&entry.listener.0), entry.listener.1.into()))
    }
}

/// Counts the events and spans of a hook.
fn report(host: &impl ConnectionHost, output: &SessionOutput) {
    for event in &output.events {
        if let Some((counter, amount)) = Counter::of_event(event) {
            host.count(counter, amount);
        }
    }
    for (counter, amount) in [
        (Counter::Spans, output.spans),
        (Counter::SpansDropped, output.spans_dropped),
        (Counter::BrokersUnmapped, output.unmapped),
    ] {
        if amount > 0 {
            host.count(counter, amount);
        }
    }
}

/// Passes the output of a hook on. Returns whether Envoy's buffer goes to the next filter.
fn pass_on(
    host: &impl ConnectionHost,
    from: Side,
    input: &Bytes,
    output: &SessionOutput,
    is_end: bool,
) -> FilterStatus {
    let forward = output.of(from.opposite());
    // The session may send to either side, whichever the bytes came from: the buffer of this hook
    // serves one of them.
    for bytes in output.of(from) {
        host.send(from, bytes, false);
    }
    let status = if output.holds_end {
        // Envoy would take the buffer and the end together.
        forward
            .iter()
            .for_each(|bytes| host.send(from.opposite(), bytes, false));
        host.drain(from, input.len());
        FilterStatus::Stop
    } else {
        if !is_same(input, forward) {
            forward.iter().for_each(|bytes| host.append(from, bytes));
            host.drain(from, input.len());
        }
        if forward.is_empty() && !is_end {
            FilterStatus::Stop
        } else {
            FilterStatus::Continue
        }
    };
    if output.releases_end {
        host.send(Side::Broker, &[], true);
    }
    status
}

/// Returns whether the pieces are the input, whole and in order: slices of it, not copies.
fn is_same(input: &Bytes, pieces: &[Bytes]) -> bool {
    let mut next = input.as_ptr_range().start;
    for piece in pieces {
        let range = piece.as_ptr_range();
        if range.start != next && !piece.is_empty() {
            return false;
        }
        if !piece.is_empty() {
            next = range.end;
        }
    }
    next == input.as_ptr_range().end
}

/// Puts bytes that the session held back in front of those of the running hook.
fn return_held(host: &impl ConnectionHost, from: Side, output: &SessionOutput) {
    for bytes in output.of(from.opposite()).iter().rev() {
        host.prepend(from, bytes);
    }
    for bytes in output.of(from) {
        host.send(from, bytes, false);
    }
}

#[cfg(test)]
mod tests;
