//! Client and broker with a session between them, a virtual clock, and bytes cut by a seed.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use throughline_intercept::correlate::{Correlator, CorrelatorAccess as _, TokenExtractor};
use throughline_intercept::kafka::{
    BatchSize, ClusterCapacity, ClusterHandle, ClusterState, ConnectionEndpoints, KafkaSession,
    NodeId, SessionEvent, Settings, SkipReason,
};
use throughline_intercept::{Side, Timestamp};
use throughline_model::{Span, Value};

use super::wire::TOPIC;
use crate::support::shared_correlator::SharedCorrelator;

/// Start of the simulation: 2023-11-14, in nanoseconds.
pub(crate) const BEGIN: Timestamp = 1_700_000_000_000_000_000;
pub(crate) const MILLISECOND: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MILLISECOND;

/// Simulated process: state that its connections share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Process {
    pub(crate) known: Rc<RefCell<ClusterState>>,
    /// Local addresses by the ports of brokers.
    pub(crate) addresses: Rc<HashMap<i32, (Arc<str>, i32)>>,
    /// Correlator, if all clients belong to one process.
    pub(crate) correlator: Option<Rc<SharedCorrelator>>,
    /// Makes the next access to the shared state panic: an internal error.
    pub(crate) panics_once: Rc<Cell<bool>>,
}

/// Division of bytes into pieces.
#[derive(Debug, Clone)]
pub(crate) enum Chunking {
    /// One piece.
    Whole,
    Each(usize),
    Random(fastrand::Rng),
}

/// Connection with everything that came out of its session.
pub(crate) struct Pair {
    pub(crate) session: KafkaSession<Process>,
    process: Process,
    pub(crate) now: Timestamp,
    pub(crate) cut: Chunking,
    /// Bytes for the client and for the broker.
    pub(crate) to_client: Vec<u8>,
    pub(crate) to_broker: Vec<u8>,
    pub(crate) spans: Vec<Span>,
    pub(crate) events: Vec<SessionEvent>,
}

// === impl Process ===

impl Process {
    pub(crate) fn with(capacity: ClusterCapacity) -> Self {
        Self {
            known: Rc::new(RefCell::new(ClusterState::new(capacity))),
            ..Self::default()
        }
    }
}

impl ClusterHandle for Process {
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        assert!(!self.panics_once.take(), "broken on purpose");
        operation(&mut self.known.borrow_mut())
    }

    fn token_extractor(&self) -> Option<&TokenExtractor> {
        Some(self.correlator.as_ref()?.token_extractor())
    }

    fn correlate<T>(&self, operation: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        Some(self.correlator.as_ref()?.with_correlator(operation))
    }

    fn is_addressed(&self) -> bool {
        !self.addresses.is_empty()
    }

    fn local_address(&self, _: NodeId, _: &str, port: i32) -> Option<(Arc<str>, i32)> {
        self.addresses.get(&port).cloned()
    }
}

// === impl Pair ===

impl Pair {
    /// Returns a connection of a process that has seen the topic accept batches.
    pub(crate) fn new(settings: Settings) -> Self {
        let process = Process::default();
        let size = BatchSize {
            sent: 500_000,
            uncompressed: 500_000,
        };
        let mut known = process.known.borrow_mut();
        known.learn_batch_limits(TOPIC, |limits| limits.accept(size));
        drop(known);
        Self::of(&process, settings)
    }

    /// Returns another connection of a process.
    pub(crate) fn of(process: &Process, settings: Settings) -> Self {
        Self::seeded(process, settings, 7)
    }

    /// Returns another connection, with ids of its own.
    pub(crate) fn seeded(process: &Process, settings: Settings, seed: u64) -> Self {
        let peer = ConnectionEndpoints {
            client: Some([10, 0, 0, 7].into()),
            broker: Some(("broker".into(), 9092)),
        };
        let session = KafkaSession::new(Arc::new(settings), process.clone(), peer, seed);
        Self {
            session,
            process: process.clone(),
            now: BEGIN,
            cut: Chunking::Whole,
            to_client: Vec::new(),
            to_broker: Vec::new(),
            spans: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn cut(self, cut: Chunking) -> Self {
        Self { cut, ..self }
    }

    /// Sends bytes of the client.
    pub(crate) fn client(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(Side::Client, bytes.as_ref());
    }

    /// Sends bytes of the broker.
    pub(crate) fn broker(&mut self, bytes: impl AsRef<[u8]>) {
        self.send(Side::Broker, bytes.as_ref());
    }

    fn send(&mut self, from: Side, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let length = match &mut self.cut {
                Chunking::Whole => bytes.len(),
                Chunking::Each(length) => *length,
                Chunking::Random(random) => {
                    // Short pieces and long ones.
                    let most = random.usize(1..=bytes.len().min(400));
                    random.usize(1..=3 * most)
                }
            };
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            self.session
                .handle_bytes(from, self.now, Bytes::copy_from_slice(piece));
            self.drain();
            bytes = rest;
        }
    }

    pub(crate) fn close(&mut self, side: Side) {
        self.session.handle_close(side, self.now);
        self.drain();
    }

    /// Takes the spans of sends that failed: their producer does not send them again.
    pub(crate) fn abandon_retries(&mut self) {
        let mut known = self.process.known.borrow_mut();
        self.spans
            .extend(std::iter::from_fn(|| known.poll_abandoned_span(u64::MAX)));
    }

    /// Advances the clock and runs timeouts that are due.
    pub(crate) fn wait(&mut self, nanoseconds: u64) {
        let until = self.now + nanoseconds;
        while let Some(due) = self.session.poll_timeout().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.session.handle_timeout(self.now);
            self.drain();
            assert!(
                self.session.poll_timeout().is_none_or(|next| next > due),
                "a timeout makes progress"
            );
        }
        self.now = until;
    }

    fn drain(&mut self) {
        while let Some((to, bytes)) = self.session.poll_transmit() {
            assert!(!bytes.is_empty());
            match to {
                Side::Client => self.to_client.extend_from_slice(&bytes),
                Side::Broker => self.to_broker.extend_from_slice(&bytes),
            }
        }
        self.spans
            .extend(std::iter::from_fn(|| self.session.poll_span()));
        self.events
            .extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    /// Takes the bytes for the broker.
    pub(crate) fn take_broker(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_broker)
    }

    pub(crate) fn take_client(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.to_client)
    }

    pub(crate) fn take_spans(&mut self) -> Vec<Span> {
        std::mem::take(&mut self.spans)
    }

    /// Returns the reasons for which bytes passed unmodified.
    pub(crate) fn skipped(&self) -> Vec<SkipReason> {
        let reason = |event: &SessionEvent| match event {
            SessionEvent::Skipped { reason, .. } => Some(*reason),
            _ => None,
        };
        self.events.iter().filter_map(reason).collect()
    }

    /// Returns the number of dropped spans and unsampled records.
    pub(crate) fn dropped(&self) -> u32 {
        let count = |event: &SessionEvent| match event {
            SessionEvent::SpansDropped { spans, .. } => *spans,
            SessionEvent::Unsampled { records } => *records,
            _ => 0,
        };
        self.events.iter().map(count).sum()
    }

    pub(crate) fn injected(&self) -> u32 {
        let count = |event: &SessionEvent| {
            if let SessionEvent::Injected { records } = event {
                *records
            } else {
                0
            }
        };
        self.events.iter().map(count).sum()
    }
}

pub(crate) fn attribute<'a>(span: &'a Span, key: &str) -> &'a Value {
    span.attribute(key)
        .unwrap_or_else(|| panic!("{} has no {key}", span.name))
}

pub(crate) fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    attribute(span, key)
        .as_str()
        .unwrap_or_else(|| panic!("{key} is no text"))
}

pub(crate) fn int(span: &Span, key: &str) -> i64 {
    if let Value::Int(number) = attribute(span, key) {
        *number
    } else {
        panic!("{key} is no whole number")
    }
}

pub(crate) fn double(span: &Span, key: &str) -> f64 {
    if let Value::Double(number) = attribute(span, key) {
        *number
    } else {
        panic!("{key} is no number")
    }
}
